//! DER in base64 (RFC 4648 §4) and nothing around it: Azure App Service, `HAProxy`, Traefik.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Fault, der, escaped};

/// Exactly one certificate.
pub(super) fn one(value: &[u8]) -> Result<Vec<u8>, Fault> {
    der::one(decode(value)?)
}

/// Certificates one after another before they were encoded, as `ssl_c_chain_der` gives them.
pub(super) fn concatenated(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    der::several(&decode(value)?)
}

/// Certificates encoded one by one and joined by commas. Traefik took away the armour and the line ends of PEM; its
/// versions before 2.9.2 escaped what was left for a query, where `+`, `/` and `=` cannot stand for themselves.
pub(super) fn list(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    if !value.contains(&b'%') {
        return value.split(|&octet| octet == b',').map(one).collect();
    }
    if value.iter().any(|octet| b"+/=".contains(octet)) {
        return Err(Fault::Malformed("is escaped in part"));
    }
    escaped::decode(value)?.split(|&octet| octet == b',').map(one).collect()
}

/// No blank, no line end, no other alphabet; padded, and with pad bits of zero.
pub(super) fn decode(value: &[u8]) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(value).map_err(|_| Fault::Malformed("holds something that is no base64"))
}
