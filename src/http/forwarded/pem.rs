//! PEM in a header: percent-encoded, or with a blank for each line end. nginx, Apache, AWS, and the values of Envoy.
//!
//! The strict form of RFC 7468 §3 and nothing before, between or after the blocks: a block with another label, a private
//! key above all, makes the value malformed. Lines may be of any length.

use super::{Fault, bare, der, escaped};

/// What Apache writes where there is no certificate.
pub(super) const NULL: &[u8] = b"(null)";

/// Percent-encoded blocks, at least one.
pub(super) fn escaped(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    blocks(&escaped::decode(value)?, '\n')
}

/// Exactly one percent-encoded block.
pub(super) fn escaped_one(value: &[u8]) -> Result<Vec<u8>, Fault> {
    one(escaped(value)?)
}

/// Exactly one block with blanks for line ends; `mod_headers` puts one in the place of each.
pub(super) fn folded(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    one(blocks(value, ' ')?).map(|leaf| vec![leaf])
}

fn one(certificates: Vec<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let [leaf] = <[_; 1]>::try_from(certificates)
        .map_err(|_| Fault::Malformed("holds several certificates where exactly one belongs"))?;
    Ok(leaf)
}

fn blocks(text: &[u8], line_end: char) -> Result<Vec<Vec<u8>>, Fault> {
    let mut rest = str::from_utf8(text).map_err(|_| NOT_PEM)?;
    let mut certificates = Vec::new();
    loop {
        let (body, after) = block(rest, line_end).ok_or(NOT_PEM)?;
        certificates.push(der::one(bare::decode(body.as_bytes())?)?);
        rest = match after.strip_prefix(line_end) {
            Some(next) => next,
            None if after.is_empty() => after,
            None => return Err(NOT_PEM),
        };
        if rest.is_empty() {
            return Ok(certificates);
        }
    }
}

/// The base64 of the first block without its line ends, and what follows the block.
fn block(text: &str, line_end: char) -> Option<(String, &str)> {
    let (body, after) = text.strip_prefix(BEGIN)?.split_once(END)?;
    let lines = body.strip_prefix(line_end)?.strip_suffix(line_end)?;
    let has_empty_line = lines.split(line_end).any(str::is_empty);
    (!has_empty_line).then(|| (lines.replace(line_end, ""), after))
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const NOT_PEM: Fault = Fault::Malformed("holds something else than PEM of certificates");
