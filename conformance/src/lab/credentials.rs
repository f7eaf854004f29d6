//! The clients that are there before the first check: one for each way to be recognized, and a resource server.

use openssl::rand::rand_bytes;

use super::{Document, Lab};
use crate::check::{Halt, untestable};
use crate::pki::{Authority, Leaf, Name, Shown};

/// A registered client with what it shows.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Its certificate.
    pub shown: Shown,
}

/// What a registered client is there for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// By `tls_client_auth_san_dns`.
    Dns,
    /// By `tls_client_auth_subject_dn`.
    Dn,
    /// By `tls_client_auth_san_uri`.
    Uri,
    /// By `tls_client_auth_san_ip`.
    Ip,
    /// By `tls_client_auth_san_email`.
    Email,
    /// By a registered certificate.
    SelfSigned,
    /// Another client of the CA, which may get only the first word of the scope.
    Other,
    /// A client of the CA that may ask for tokens for the default resource and for the second one.
    Both,
    /// May introspect tokens for the default resource, and gets none.
    ResourceServer,
    /// May introspect tokens for the second resource, and gets none.
    SecondResourceServer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Dns,
        Self::Dn,
        Self::Uri,
        Self::Ip,
        Self::Email,
        Self::SelfSigned,
        Self::Other,
        Self::Both,
        Self::ResourceServer,
        Self::SecondResourceServer,
    ];

    /// Its name in the config.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Dn => "dn",
            Self::Uri => "uri",
            Self::Ip => "ip",
            Self::Email => "email",
            Self::SelfSigned => "self_signed",
            Self::Other => "other",
            Self::Both => "both",
            Self::ResourceServer => "resource_server",
            Self::SecondResourceServer => "second_resource_server",
        }
    }

    /// What it is registered as, and with which certificate.
    pub(super) fn make(self, ca: Option<&Authority>) -> Result<(Document, Shown), Halt> {
        let own = unique();
        if self == Self::SelfSigned {
            let shown = Leaf::new(&own).self_signed()?;
            return Ok((Document::self_signed(&[&shown])?, shown));
        }
        let Some(ca) = ca else {
            return untestable("the suite has no CA that the server trusts (client_ca)");
        };
        let host = format!("{own}.suite.example");
        let dn = format!("CN={own},O=Suite,C=GB");
        let name = Name::new().c("GB").o("Suite").cn(&own);
        let (document, leaf) = match self {
            Self::Dn => (Document::pki("subject_dn", &dn), Leaf::of(name)),
            Self::Uri => {
                let uri = format!("spiffe://suite.example/{own}");
                (Document::pki("san_uri", &uri), Leaf::new(&own).uri(&uri))
            }
            Self::Ip => {
                let mut octets = [10, 0, 0, 0];
                rand_bytes(octets.split_at_mut(1).1)?;
                let [a, b, c, d] = octets;
                (Document::pki("san_ip", &format!("{a}.{b}.{c}.{d}")), Leaf::new(&own).ip(&octets))
            }
            Self::Email => {
                let address = format!("{own}@suite.example");
                (Document::pki("san_email", &address), Leaf::new(&own).email(&address))
            }
            Self::Other => {
                (Document::pki("san_dns", &host).with("scope", "read"), Leaf::new(&own).dns(&host))
            }
            _ => (Document::pki("san_dns", &host), Leaf::new(&own).dns(&host)),
        };
        Ok((document, ca.issue(&leaf)?))
    }
}

/// A name that nobody else has.
#[must_use]
pub(super) fn unique() -> String {
    let mut octets = [0; 6];
    // Without random octets the names are equal, and registration will say so.
    let _ = rand_bytes(&mut octets);
    octets.iter().fold("c".to_owned(), |name, octet| format!("{name}{octet:02x}"))
}

impl Lab {
    /// A name that nobody else has, to be part of a host name, a subject, an identifier.
    #[must_use]
    pub fn unique(&self) -> String {
        unique()
    }

    /// The client of this role.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn client(&self, role: Role) -> Result<&Client, Halt> {
        match self.target().client(role) {
            Ok(client) => Ok(client),
            Err(why) => untestable(format_args!("no client for the role {:?}: {why}", role.name())),
        }
    }

    /// A client of the CA, by a DNS name.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn pki_client(&self) -> Result<&Client, Halt> {
        self.client(Role::Dns)
    }

    /// A client with a registered self-signed certificate.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn self_signed_client(&self) -> Result<&Client, Halt> {
        self.client(Role::SelfSigned)
    }

    /// Another client of the CA.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn other_client(&self) -> Result<&Client, Halt> {
        self.client(Role::Other)
    }

    /// The resource server that may introspect.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn resource_server(&self) -> Result<&Client, Halt> {
        self.client(Role::ResourceServer)
    }
}
