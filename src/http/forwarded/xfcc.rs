//! Envoy's `x-forwarded-client-cert`: elements separated by `,`, in each pairs separated by `;`, in each a key and a value.
//!
//! Envoy's documentation, "HTTP header manipulation": keys are case-insensitive; a value with `,`, `;` or `=` stands in
//! double quotes, in which `\"` is a quote. Subjects come as RFC 2253 writes them, where `\` escapes any character, so
//! it does here. Each proxy on the way may append an element: only a header of exactly one leaves no question whose
//! certificate it holds (`forward_client_cert_details: SANITIZE_SET`). The names in `Subject`, `URI`, `DNS` and `By` are
//! not read. Envoy does not quote URIs, so one with a `,` in it is refused as a second element.

use super::{Fault, pem};
use crate::pki::Thumbprint;

/// The certificate of `Cert`, and of `Chain` what follows it there.
pub(super) fn certificates(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let element = Element::read(value)?;
    let leaf =
        element.cert.ok_or(Fault::Malformed("has no `Cert`; set `set_current_client_cert_details`"))?;
    let leaf = pem::escaped_one(leaf)?;
    if element.hash.is_some_and(|hash| !is_hash_of(hash, &leaf)) {
        return Err(Fault::Malformed("has a `Hash` of another certificate"));
    }
    let Some(chain) = element.chain else { return Ok(vec![leaf]) };
    let chain = pem::escaped(chain)?;
    if chain.first() != Some(&leaf) {
        return Err(Fault::Malformed("has a `Chain` that begins with another certificate than `Cert`"));
    }
    Ok(chain)
}

/// SHA-256 in hexadecimal digits.
fn is_hash_of(hash: &[u8], leaf: &[u8]) -> bool {
    let hash = str::from_utf8(hash).ok().and_then(|hash| hash.parse::<Thumbprint>().ok());
    hash == Some(Thumbprint::of(leaf))
}

/// What is read of the one element, quotes taken away.
#[derive(Default)]
struct Element<'v> {
    cert: Option<&'v [u8]>,
    chain: Option<&'v [u8]>,
    hash: Option<&'v [u8]>,
}

impl<'v> Element<'v> {
    fn read(value: &'v [u8]) -> Result<Self, Fault> {
        let mut element = Self::default();
        let mut rest = value;
        loop {
            let (key, after) = key(rest).ok_or(MALFORMED)?;
            let (value, after) = quoted(after).or_else(|| plain(after)).ok_or(MALFORMED)?;
            element.take(key, value)?;
            rest = match after {
                [] => return Ok(element),
                [b';', next @ ..] => next,
                [b',', ..] => return Err(Fault::Malformed("has more than one element")),
                _ => return Err(MALFORMED),
            };
        }
    }

    fn take(&mut self, key: &[u8], value: &'v [u8]) -> Result<(), Fault> {
        let slot = match key.to_ascii_lowercase().as_slice() {
            b"cert" => &mut self.cert,
            b"chain" => &mut self.chain,
            b"hash" => &mut self.hash,
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Fault::Malformed("has `Cert`, `Chain` or `Hash` twice")),
        }
    }
}

const MALFORMED: Fault = Fault::Malformed("is no element of keys and values");

/// Up to the first `=`; letters only, so that nothing passes for another key or hides one.
fn key(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = pair.iter().position(|octet| !octet.is_ascii_alphabetic())?;
    let (key, after) = pair.split_at_checked(end)?;
    let value = after.strip_prefix(b"=")?;
    (!key.is_empty()).then_some((key, value))
}

/// What stands between double quotes, with its escapes as they are; and what follows.
fn quoted(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = value.strip_prefix(b"\"")?;
    let mut is_escaped = false;
    let end = inside.iter().position(|&octet| {
        let is_end = octet == b'"' && !is_escaped;
        is_escaped = octet == b'\\' && !is_escaped;
        is_end
    })?;
    let (inside, after) = inside.split_at_checked(end)?;
    Some((inside, after.strip_prefix(b"\"")?))
}

/// Up to the next separator; a quote in it would leave open where it ends.
fn plain(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = value.iter().position(|octet| b";,".contains(octet)).unwrap_or(value.len());
    let (plain, after) = value.split_at_checked(end)?;
    (!plain.contains(&b'"')).then_some((plain, after))
}
