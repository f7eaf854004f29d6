//! Certificates for checks (RFC 5280), put together octet by octet and signed by OpenSSL: a check that needs a certificate
//! which no tool makes (version 1, a NUL in a name, an iPAddress of five octets) describes it as a [`Leaf`].

mod crl;
mod name;
mod shown;

pub use name::{Name, Rdn, attribute};
pub(crate) use shown::pem;
pub use shown::{Key, Shown};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::error::ErrorStack;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::{clock, der};

/// One day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A keyUsage bit (RFC 5280 §4.2.1.3).
pub const DIGITAL_SIGNATURE: u8 = 0x80;
/// A keyUsage bit (RFC 5280 §4.2.1.3).
pub const KEY_ENCIPHERMENT: u8 = 0x20;
/// A keyUsage bit (RFC 5280 §4.2.1.3).
pub const KEY_CERT_SIGN: u8 = 0x04;
/// A keyUsage bit (RFC 5280 §4.2.1.3).
pub const CRL_SIGN: u8 = 0x02;
/// id-kp-clientAuth.
pub const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
/// id-kp-serverAuth.
pub const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
/// anyExtendedKeyUsage.
pub const ANY_USAGE: &str = "2.5.29.37.0";

/// What a certificate says; by default a version 3 leaf for TLS clients, valid from yesterday for a year, with a fresh P-256
/// key. Made into a certificate by [`Authority::issue`] or [`Leaf::self_signed`].
#[derive(Clone)]
pub struct Leaf {
    subject: Name,
    names: Vec<Vec<u8>>,
    from: SystemTime,
    to: SystemTime,
    key: Option<Key>,
    usage: Option<u8>,
    extended: Vec<&'static str>,
    ca: Option<PathLength>,
    more: Vec<Vec<u8>>,
    serial: Option<Vec<u8>>,
    version_1: bool,
    broken_signature: bool,
}

/// How many CAs may come below one (RFC 5280 §4.2.1.9), if that is said.
#[derive(Clone, Copy)]
struct PathLength(Option<u8>);

/// A certificate that issues others, with its key and the certificates above it.
#[derive(Clone)]
pub struct Authority {
    subject: Name,
    key: Key,
    /// Its own certificate first, without the root.
    chain: Vec<Vec<u8>>,
}

impl Leaf {
    /// A leaf with this common name as its subject.
    #[must_use]
    pub fn new(common_name: &str) -> Self {
        Self::of(Name::new().cn(common_name))
    }

    /// A leaf with this subject.
    #[must_use]
    pub fn of(subject: Name) -> Self {
        let now = clock::now();
        Self {
            subject,
            names: Vec::new(),
            from: now - DAY,
            to: now + DAY * 365,
            key: None,
            usage: Some(DIGITAL_SIGNATURE),
            extended: vec![CLIENT_AUTH],
            ca: None,
            more: Vec::new(),
            serial: None,
            version_1: false,
            broken_signature: false,
        }
    }

    /// A CA: cA TRUE, keyCertSign and cRLSign, no extended key usage; for [`Authority::authority`].
    #[must_use]
    pub fn authority(common_name: &str) -> Self {
        Self::new(common_name).ca(None).usage(Some(KEY_CERT_SIGN | CRL_SIGN)).extended(&[]).days(-1, 3650)
    }

    /// Adds a dNSName.
    #[must_use]
    pub fn dns(self, name: &str) -> Self {
        self.general_name(0x82, name.as_bytes())
    }

    /// Adds a uniformResourceIdentifier.
    #[must_use]
    pub fn uri(self, uri: &str) -> Self {
        self.general_name(0x86, uri.as_bytes())
    }

    /// Adds an rfc822Name.
    #[must_use]
    pub fn email(self, address: &str) -> Self {
        self.general_name(0x81, address.as_bytes())
    }

    /// Adds an iPAddress of any number of octets.
    #[must_use]
    pub fn ip(self, octets: &[u8]) -> Self {
        self.general_name(0x87, octets)
    }

    /// Adds an otherName with a `UTF8String`.
    #[must_use]
    pub fn other_name(self, oid: &str, text: &str) -> Self {
        let contents = [der::oid(oid), der::element(0xa0, &der::utf8(text))].concat();
        self.general_name(0xa0, &contents)
    }

    /// Adds a directoryName.
    #[must_use]
    pub fn directory_name(self, name: &Name) -> Self {
        self.general_name(0xa4, &name.der())
    }

    /// Adds a `GeneralName` by its tag and contents (RFC 5280 §4.2.1.6).
    #[must_use]
    pub fn general_name(mut self, tag: u8, contents: &[u8]) -> Self {
        self.names.push(der::element(tag, contents));
        self
    }

    /// Valid from so many days from now to so many; negative ones are in the past.
    #[must_use]
    pub fn days(mut self, from: i32, to: i32) -> Self {
        let at = |days: i32| {
            let distance = DAY * days.unsigned_abs();
            if days < 0 { clock::now() - distance } else { clock::now() + distance }
        };
        (self.from, self.to) = (at(from), at(to));
        self
    }

    /// Valid up to this moment.
    #[must_use]
    pub const fn until(mut self, to: SystemTime) -> Self {
        self.to = to;
        self
    }

    /// With this key rather than a fresh one.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// keyUsage, or none.
    #[must_use]
    pub const fn usage(mut self, bits: Option<u8>) -> Self {
        self.usage = bits;
        self
    }

    /// The purposes of extKeyUsage; without any the extension is left out.
    #[must_use]
    pub fn extended(mut self, purposes: &[&'static str]) -> Self {
        self.extended = purposes.to_vec();
        self
    }

    /// basicConstraints with cA TRUE and, if given, a path length.
    #[must_use]
    pub const fn ca(mut self, path_length: Option<u8>) -> Self {
        self.ca = Some(PathLength(path_length));
        self
    }

    /// One more extension.
    #[must_use]
    pub fn extension(mut self, oid: &str, critical: bool, value: &[u8]) -> Self {
        self.more.push(extension(oid, critical, value));
        self
    }

    /// nameConstraints (RFC 5280 §4.2.1.10), critical, from `GeneralNames` as [`der::element`] makes them.
    #[must_use]
    pub fn name_constraints(self, permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> Self {
        let subtrees = |tag: u8, names: &[Vec<u8>]| {
            let trees: Vec<u8> = names.iter().flat_map(|name| der::sequence(&[name])).collect();
            if trees.is_empty() { Vec::new() } else { der::element(tag, &trees) }
        };
        let value = der::sequence(&[&subtrees(0xa0, permitted), &subtrees(0xa1, excluded)]);
        self.extension("2.5.29.30", true, &value)
    }

    /// With this serial number.
    #[must_use]
    pub fn serial(mut self, octets: &[u8]) -> Self {
        self.serial = Some(octets.to_vec());
        self
    }

    /// As a version 1 certificate: no extensions at all.
    #[must_use]
    pub const fn version_1(mut self) -> Self {
        self.version_1 = true;
        self
    }

    /// With a signature of which one bit is wrong.
    #[must_use]
    pub const fn broken_signature(mut self) -> Self {
        self.broken_signature = true;
        self
    }

    /// Signed by its own key, with itself as the issuer.
    ///
    /// # Errors
    /// OpenSSL cannot make or use the key.
    pub fn self_signed(&self) -> Result<Shown, ErrorStack> {
        let key = self.key_or_fresh()?;
        let certificate = self.certificate(&self.subject, &key, &key)?;
        Ok(Shown { chain: vec![certificate], key })
    }

    fn key_or_fresh(&self) -> Result<Key, ErrorStack> {
        self.key.clone().map_or_else(Key::p256, Ok)
    }

    fn certificate(&self, issuer: &Name, own: &Key, signer: &Key) -> Result<Vec<u8>, ErrorStack> {
        let algorithm = signer.algorithm();
        let mut serial = [0; 12];
        openssl::rand::rand_bytes(&mut serial)?;
        let serial = self.serial.clone().unwrap_or_else(|| serial.to_vec());
        let version = if self.version_1 { Vec::new() } else { der::element(0xa0, &der::integer(&[2])) };
        let extensions = if self.version_1 {
            Vec::new()
        } else {
            der::element(0xa3, &der::element(0x30, &self.extensions(own)?))
        };
        let tbs = der::sequence(&[
            &version,
            &der::integer(&serial),
            &algorithm,
            &issuer.der(),
            &der::sequence(&[&moment(self.from), &moment(self.to)]),
            &self.subject.der(),
            &own.public_der()?,
            &extensions,
        ]);
        let mut signature = signer.sign(&tbs)?;
        if self.broken_signature
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        Ok(der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)]))
    }

    fn extensions(&self, own: &Key) -> Result<Vec<u8>, ErrorStack> {
        let mut all = vec![extension("2.5.29.14", false, &der::octet_string(&own.identifier()?))];
        if let Some(PathLength(path_length)) = self.ca {
            let length = path_length.map(|length| der::integer(&[length])).unwrap_or_default();
            all.push(extension("2.5.29.19", true, &der::sequence(&[der::TRUE, &length])));
        }
        if let Some(bits) = self.usage {
            let unused = u8::try_from(bits.trailing_zeros().min(7)).unwrap_or_default();
            all.push(extension("2.5.29.15", true, &der::element(0x03, &[unused, bits])));
        }
        if !self.extended.is_empty() {
            let purposes: Vec<u8> = self.extended.iter().flat_map(|purpose| der::oid(purpose)).collect();
            all.push(extension("2.5.29.37", false, &der::element(0x30, &purposes)));
        }
        if !self.names.is_empty() {
            all.push(extension("2.5.29.17", false, &der::element(0x30, &self.names.concat())));
        }
        all.extend(self.more.clone());
        Ok(all.concat())
    }
}

impl Authority {
    /// A root: self-signed, cA TRUE.
    ///
    /// # Errors
    /// OpenSSL cannot make or use the key.
    pub fn root(common_name: &str) -> Result<Self, ErrorStack> {
        let leaf = Leaf::authority(common_name);
        let shown = leaf.self_signed()?;
        Ok(Self { subject: leaf.subject, key: shown.key, chain: shown.chain })
    }

    /// A CA from files: its certificate and its key, as PEM or DER.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, ErrorStack> {
        let shown = Shown::read(certificate, key)?;
        let first = openssl::x509::X509::from_der(shown.leaf())?;
        let subject = Name::from_der(first.subject_name().to_der()?);
        Ok(Self { subject, key: shown.key, chain: shown.chain })
    }

    /// A leaf of this CA; its chain has the certificates between it and the root after it.
    ///
    /// # Errors
    /// OpenSSL cannot make or use the key.
    pub fn issue(&self, leaf: &Leaf) -> Result<Shown, ErrorStack> {
        let key = leaf.key_or_fresh()?;
        let certificate = leaf.certificate(&self.subject, &key, &self.key)?;
        let above = if self.is_root() { Vec::new() } else { self.chain.clone() };
        Ok(Shown { chain: std::iter::once(certificate).chain(above).collect(), key })
    }

    /// A CA below this one.
    ///
    /// # Errors
    /// OpenSSL cannot make or use the key.
    pub fn authority(&self, leaf: &Leaf) -> Result<Self, ErrorStack> {
        let shown = self.issue(leaf)?;
        Ok(Self { subject: leaf.subject.clone(), key: shown.key, chain: shown.chain })
    }

    /// A leaf that has issued others, as a CA; what it issues is chained to it.
    #[must_use]
    pub fn of(shown: &Shown, subject: &Name) -> Self {
        Self { subject: subject.clone(), key: shown.key.clone(), chain: shown.chain.clone() }
    }

    /// Another CA of the same name with a key of its own.
    ///
    /// # Errors
    /// OpenSSL cannot make or use the key.
    pub fn impostor(&self) -> Result<Self, ErrorStack> {
        let leaf = Leaf { subject: self.subject.clone(), ..Leaf::authority("impostor") };
        let shown = leaf.self_signed()?;
        Ok(Self { subject: leaf.subject, key: shown.key, chain: shown.chain })
    }

    /// Its subject.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Its certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.certificate())
    }

    fn is_root(&self) -> bool {
        self.chain.len() == 1
            && openssl::x509::X509::from_der(self.certificate())
                .is_ok_and(|own| own.issued(&own) == openssl::x509::X509VerifyResult::OK)
    }
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { der::TRUE } else { &[] };
    der::sequence(&[&der::oid(oid), critical, &der::octet_string(value)])
}

/// `UTCTime` up to 2049, `GeneralizedTime` after (RFC 5280 §4.1.2.5).
fn moment(at: SystemTime) -> Vec<u8> {
    let seconds = at.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap_or_default())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let short = format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    let long = format_description!("[year][month][day][hour][minute][second]Z");
    if at.year() < 2050 {
        der::element(0x17, at.format(&short).unwrap_or_default().as_bytes())
    } else {
        der::element(0x18, at.format(&long).unwrap_or_default().as_bytes())
    }
}
