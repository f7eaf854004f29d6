//! Revocation lists (RFC 5280 §5), put together octet by octet, so that they can be as odd as they like.

use std::time::Duration;

use certbound::clock::Timestamp;
use certbound::pki::Certificate;
use certbound::pki::workshop::Authority;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::x509::X509;

const HOUR: Duration = Duration::from_secs(3600);

/// A list to be.
#[derive(Clone)]
pub(crate) struct List {
    number: u32,
    from: Timestamp,
    to: Timestamp,
    serials: Vec<Vec<u8>>,
}

impl List {
    /// Made an hour ago, good for a week, with nobody on it.
    pub(crate) fn new(number: u32, now: Timestamp) -> Self {
        Self { number, from: now.minus(HOUR), to: now.plus(HOUR * 24 * 7), serials: Vec::new() }
    }

    /// There will be a newer one at that moment.
    pub(crate) fn until(mut self, to: Timestamp) -> Self {
        self.to = to;
        self
    }

    /// With this certificate on it.
    pub(crate) fn revoking(mut self, der: &[u8]) -> Self {
        self.serials.push(Certificate::parse(der).unwrap().serial().to_vec());
        self
    }

    /// With so many others on it.
    pub(crate) fn and_others(mut self, count: u32) -> Self {
        let serial = |number: u32| [[0x41; 12].as_slice(), number.to_be_bytes().as_slice()].concat();
        self.serials.extend((0..count).map(serial));
        self
    }

    /// DER.
    pub(crate) fn signed_by(&self, ca: &Authority) -> Vec<u8> {
        let algorithm = tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        let issuer = X509::from_der(ca.identity().certificate_der()).unwrap();
        let key_id = issuer.subject_key_id().map(|id| tlv(0x30, &tlv(0x80, id.as_slice())));
        let number = tlv(0x02, &[&[0][..], &self.number.to_be_bytes()].concat()[self.leading_zeros()..]);
        let extensions = [
            key_id.map(|value| extension(&[0x55, 0x1d, 0x23], &value)).unwrap_or_default(),
            extension(&[0x55, 0x1d, 0x14], &number),
        ]
        .concat();
        let revoked: Vec<u8> = self
            .serials
            .iter()
            .flat_map(|serial| tlv(0x30, &[tlv(0x02, serial), time(self.from)].concat()))
            .collect();
        let revoked = if revoked.is_empty() { Vec::new() } else { tlv(0x30, &revoked) };
        let tbs = [
            tlv(0x02, &[1]),
            algorithm.clone(),
            issuer.subject_name().to_der().unwrap(),
            time(self.from),
            time(self.to),
            revoked,
            tlv(0xa0, &tlv(0x30, &extensions)),
        ]
        .concat();
        let tbs = tlv(0x30, &tbs);
        let key = PKey::private_key_from_pkcs8(&ca.identity().key_der()).unwrap();
        let signature =
            Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(&tbs).unwrap();
        tlv(0x30, &[tbs, algorithm, tlv(0x03, &[vec![0], signature].concat())].concat())
    }

    /// DER has no more octets in a number than it needs; the first bit is the sign.
    fn leading_zeros(&self) -> usize {
        let zeros = usize::try_from(self.number.leading_zeros() / 8).unwrap().min(3);
        if self.number.to_be_bytes()[zeros] < 0x80 { zeros + 1 } else { zeros }
    }
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x06, oid), tlv(0x04, value)].concat())
}

/// `UTCTime`, until 2049.
fn time(at: Timestamp) -> Vec<u8> {
    let text: String = at.to_string().chars().skip(2).filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
    tlv(0x17, text.as_bytes())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let octets: Vec<u8> = length.to_be_bytes().iter().copied().skip_while(|octet| *octet == 0).collect();
    let head = match length {
        0..0x80 => vec![tag, u8::try_from(length).unwrap()],
        _ => [&[tag, 0x80 | u8::try_from(octets.len()).unwrap()], octets.as_slice()].concat(),
    };
    [head, content.to_vec()].concat()
}
