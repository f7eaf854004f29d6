//! Certificates, made anew for every test.

use std::time::Duration;

use certbound::clock::{Clock as _, SystemClock, Timestamp};
use certbound::pki::workshop::{Authority, Identity, LeafPurpose, Template};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A certificate chain with its key, as a client shows it.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

impl From<&Identity> for Shown {
    fn from(identity: &Identity) -> Self {
        Self { chain: vec![identity.certificate_der().to_vec()], key: identity.key_der().to_vec() }
    }
}

impl Shown {
    /// With more certificates after the leaf.
    pub(crate) fn with(mut self, more: &[&[u8]]) -> Self {
        self.chain.extend(more.iter().map(|der| der.to_vec()));
        self
    }

    /// The leaf.
    pub(crate) fn certificate_pem(&self) -> String {
        let certificate = openssl::x509::X509::from_der(&self.chain[0]).unwrap();
        String::from_utf8(certificate.to_pem().unwrap()).unwrap()
    }

    /// The thumbprint of the leaf, computed by other means than the server's.
    pub(crate) fn thumbprint(&self) -> String {
        use base64::Engine as _;
        let hash = openssl::sha::sha256(&self.chain[0]);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash)
    }
}

/// A CA for clients, one for the server, and times that fit the real clock.
#[derive(Clone)]
pub(crate) struct Pki {
    pub(crate) now: Timestamp,
    pub(crate) corp: Authority,
    pub(crate) server_ca: Authority,
    pub(crate) server: Identity,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let now = SystemClock.now();
        let (from, to) = (now.minus(DAY), now.plus(DAY * 3650));
        let corp = Authority::new(&Template::new("Corp CA", from, to)).unwrap();
        let server_ca = Authority::new(&Template::new("Server CA", from, to)).unwrap();
        let server = server_ca
            .issue(&Template {
                purpose: LeafPurpose::Server,
                dns: vec!["localhost".to_owned()],
                ip: vec!["127.0.0.1".parse().unwrap()],
                ..Template::new("localhost", from, to)
            })
            .unwrap();
        Self { now, corp, server_ca, server }
    }

    /// A year of validity around now.
    pub(crate) fn template(&self, cn: &str) -> Template {
        Template::new(cn, self.now.minus(DAY), self.now.plus(DAY * 365))
    }

    /// A client certificate of the corp CA with this DNS name.
    pub(crate) fn client(&self, dns: &str) -> Shown {
        self.issue(&Template { dns: vec![dns.to_owned()], ..self.template(dns) })
    }

    /// A client certificate of the corp CA.
    pub(crate) fn issue(&self, template: &Template) -> Shown {
        Shown::from(&self.corp.issue(template).unwrap())
    }

    /// A certificate that nobody vouches for but itself.
    pub(crate) fn self_signed(&self, cn: &str) -> Shown {
        Shown::from(&Identity::self_signed(&self.template(cn)).unwrap())
    }
}
