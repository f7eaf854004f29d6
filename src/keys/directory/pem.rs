//! Private keys as text: the one form that lies in the directory (PKCS#8 in PEM, RFC 7468 §10), and what
//! OpenSSL writes elsewhere (PKCS#1 and SEC1 too), for import. What a key must be is `key.rs`'s to judge.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{Id, PKey};
use zeroize::Zeroizing;

use crate::keys::SigningAlgorithm;

/// What is wrong, and what to do about it.
pub(in crate::keys) type Fault = (&'static str, &'static str);

const NO_KEY: Fault =
    ("there is no private key in PEM here", "write it as PKCS#8 in PEM: openssl pkey -in FILE -out NEW");

/// The PKCS#8 in a text that has one PEM block of it and nothing else.
pub(super) fn read(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let text = std::str::from_utf8(pem).map_err(|_| NO_KEY)?.trim_ascii();
    let body = text
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
        .filter(|body| !body.contains('-'))
        .ok_or_else(|| what_else(text))?;
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let pkcs8 = STANDARD.decode(&*base64);
    pkcs8.map(Zeroizing::new).map_err(|_| ("the base64 of the key is damaged", "restore the file"))
}

/// PKCS#8 in PEM.
pub(super) fn write(pkcs8: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let pem = PKey::private_key_from_pkcs8(pkcs8).and_then(|key| key.private_key_to_pem_pkcs8());
    pem.map(Zeroizing::new).map_err(io::Error::other)
}

/// A private key from elsewhere, as PKCS#8, and what it signs with: for RSA `configured` if that is an RSA
/// algorithm, else PS256. Certificates and curve parameters beside the key do not matter.
pub(in crate::keys) fn read_foreign(
    pem: &[u8],
    configured: Option<SigningAlgorithm>,
) -> Result<(SigningAlgorithm, Zeroizing<Vec<u8>>), Fault> {
    let text = std::str::from_utf8(pem).map_err(|_| NO_KEY)?;
    let is_key = |line: &&str| line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    match text.lines().filter(is_key).count() {
        1 if !text.contains("ENCRYPTED") => {}
        0 | 1 => return Err(what_else(text)),
        _ => return Err(("there are several private keys in this file", "import one at a time")),
    }
    // With a passphrase given, OpenSSL never asks for one at the terminal.
    let key = PKey::private_key_from_pem_passphrase(pem, b"").map_err(|_| DAMAGED)?;
    let is_rsa = |algorithm: &_| matches!(algorithm, SigningAlgorithm::Ps256 | SigningAlgorithm::Rs256);
    let algorithm = match key.id() {
        Id::RSA => configured.filter(is_rsa).unwrap_or(SigningAlgorithm::Ps256),
        Id::ED25519 => SigningAlgorithm::EdDsa,
        Id::EC => SigningAlgorithm::Es256,
        _ => {
            return Err((
                "a key of this type signs nothing here",
                "import a P-256, an Ed25519 or an RSA key",
            ));
        }
    };
    let pkcs8 = key.private_key_to_pkcs8().map_err(|_| DAMAGED)?;
    Ok((algorithm, Zeroizing::new(pkcs8)))
}

const DAMAGED: Fault = ("the private key is damaged", "restore the file");

/// Why a text is not what [`read`] wants.
fn what_else(text: &str) -> Fault {
    if text.contains("ENCRYPTED") {
        return ("the key is encrypted", "decrypt it: openssl pkey -in FILE -out NEW");
    }
    if text.contains("-----BEGIN PRIVATE KEY-----") {
        return (
            "something stands before, in or after the key",
            "leave one whole PRIVATE KEY block and nothing else",
        );
    }
    if text.contains("PRIVATE KEY-----") {
        return ("the key is not in PKCS#8", "certbound keys import FILE");
    }
    if text.contains("-----BEGIN PUBLIC KEY-----") || text.contains("-----BEGIN CERTIFICATE-----") {
        return ("this is public, and a signing key is private", "put the private key here");
    }
    NO_KEY
}
