//! The outer frame of a certificate, by which one is told from two and from anything longer.
//!
//! `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE …` (RFC 5280 §4.1) with a length in the one form that DER has
//! (X.690 §10.1): another form of the same certificate would have another thumbprint. What is inside is left to
//! [`crate::pki::Certificate`].

use super::Fault;

const SEQUENCE: u8 = 0x30;

/// The one certificate that these octets are.
pub(super) fn one(octets: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match split(&octets) {
        Some((_, [])) => Ok(octets),
        Some(_) => Err(Fault::Malformed("holds octets after the certificate")),
        None => Err(NO_CERTIFICATE),
    }
}

/// The certificates that stand one after another in these octets; at least one.
pub(super) fn several(octets: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut certificates = Vec::new();
    let mut rest = octets;
    loop {
        let (certificate, after) = split(rest).ok_or(NO_CERTIFICATE)?;
        certificates.push(certificate.to_vec());
        if after.is_empty() {
            return Ok(certificates);
        }
        rest = after;
    }
}

const NO_CERTIFICATE: Fault = Fault::Malformed("holds something that is no certificate in DER");

/// The first certificate, and what follows it.
fn split(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&SEQUENCE, rest) = octets.split_first()? else { return None };
    let (&first, rest) = rest.split_first()?;
    let (length, content) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => long_length(rest.split_at_checked(usize::from(first - 0x80))?)?,
        _ => return None,
    };
    let (inside, after) = content.split_at_checked(length)?;
    // Private keys and PKCS#12 begin with an INTEGER.
    if inside.first() != Some(&SEQUENCE) {
        return None;
    }
    octets.split_at_checked(octets.len() - after.len())
}

/// In as few octets as can be, and only where the short form does not do.
fn long_length<'d>((digits, rest): (&[u8], &'d [u8])) -> Option<(usize, &'d [u8])> {
    let length = digits.iter().fold(0, |length, &digit| (length << 8) | usize::from(digit));
    let is_shortest = digits.first() != Some(&0) && length >= 0x80;
    is_shortest.then_some((length, rest))
}
