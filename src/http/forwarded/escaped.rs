//! Percent-encoding (RFC 3986 §2.1), in which `+` is a plus sign and never a blank: base64 is full of them.

use super::Fault;

/// The octets that were encoded. Whatever is not visible ASCII has to be, so PEM as it is does not pass for escaped PEM.
pub(super) fn decode(value: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let octet = digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4) | low);
                octets.push(octet.ok_or(NOT_ESCAPED)?);
                after
            }
            (b'!'..=b'~', _) if first != b'%' => {
                octets.push(first);
                after
            }
            _ => return Err(NOT_ESCAPED),
        };
    }
    Ok(octets)
}

const NOT_ESCAPED: Fault = Fault::Malformed("is not percent-encoded");

fn digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
