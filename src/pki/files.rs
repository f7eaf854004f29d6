//! Files that hold certificates and keys, told apart by content and never by suffix: PEM (RFC 7468),
//! DER, and PKCS#12 (RFC 7292).
//!
//! Everything here takes the bytes of a file that somebody else read. Which files may hold what (exactly one
//! certificate, no private key) is said by the function that is called; whether a certificate is any good is
//! said by [`Certificate`] and [`super::trust`].

mod pem;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::certificate::{Certificate, CertificateError};
use pem::Block;

/// The most bytes that a file of certificates may have.
pub const MAX_FILE: usize = 1024 * 1024;

/// What a file held.
pub struct Bundle {
    /// DER, in file order (PKCS#12: leaf first).
    pub certificates: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// DER.
    pub crls: Vec<Vec<u8>>,
}

/// Why a file is not what was expected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileError {
    /// Nothing of a known form (contract §1: exit 2).
    #[error("there is no PEM, DER or PKCS#12 in it")]
    Nothing,
    /// Of a known form, and broken.
    #[error("{0}")]
    Malformed(String),
    /// Needs a password, or the given one is wrong.
    #[error("it does not open with this password (none given counts as the empty one)")]
    Password,
    /// Protected with a cipher that OpenSSL 3 has retired; the message has the line that converts it.
    #[error("{0}")]
    OldCipher(String),
    /// A private key where only certificates belong.
    #[error("there is a private key in it, where only certificates belong")]
    PrivateKey,
    /// Exactly one certificate was expected.
    #[error("it holds {0} certificates, where exactly one belongs")]
    NotOne(usize),
}

impl From<CertificateError> for FileError {
    fn from(error: CertificateError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Everything in a file. `password` is for PKCS#12 and encrypted keys; `None` counts as the empty one.
pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Bundle, FileError> {
    if bytes.len() > MAX_FILE {
        return Err(FileError::Malformed(format!("it is larger than {MAX_FILE} bytes")));
    }
    if is_der(bytes) {
        return read_der(bytes, password);
    }
    read_pem(bytes, password)
}

/// Every certificate in a file that may have no private key (anchors, intermediates).
pub fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, FileError> {
    let bundle = read(bytes, None)?;
    if bundle.key.is_some() {
        return Err(FileError::PrivateKey);
    }
    if bundle.certificates.is_empty() {
        return Err(FileError::Malformed("there is no certificate in it".into()));
    }
    bundle.certificates.iter().map(|der| Ok(Certificate::parse(der)?)).collect()
}

/// The DER of every CRL in a file of PEM or DER. How large it may be is for the caller to say: a list of 100,000
/// entries has four megabytes. Its octets are not looked into.
pub fn crls(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    if is_der(bytes) {
        return Ok(vec![bytes.to_vec()]);
    }
    let lists = pem::blocks(bytes)?.into_iter().filter(|block| block.label == CRL);
    let lists: Vec<_> =
        lists.map(|block| Ok(block.contents()?.to_vec())).collect::<Result<_, FileError>>()?;
    if lists.is_empty() { Err(FileError::Nothing) } else { Ok(lists) }
}

/// Exactly one certificate and no private key, as a client's registered certificate files must be.
pub fn one_certificate(bytes: &[u8]) -> Result<Certificate, FileError> {
    let mut certificates = certificates(bytes)?;
    match (certificates.pop(), certificates.len()) {
        (Some(only), 0) => Ok(only),
        (_, others) => Err(FileError::NotOne(others + 1)),
    }
}

/// Whether `pkcs8` is the private half of the certificate's key. By OpenSSL, because webpki does not read
/// version 1 certificates.
pub fn key_matches(certificate_der: &[u8], pkcs8: &[u8]) -> bool {
    let public = X509::from_der(certificate_der).and_then(|certificate| certificate.public_key());
    let private = PKey::private_key_from_pkcs8(pkcs8);
    drop(ErrorStack::get());
    matches!((public, private), (Ok(public), Ok(private)) if public.public_eq(&private))
}

/// `-----BEGIN CERTIFICATE-----` and so on (RFC 7468 §5).
pub fn to_pem(certificate_der: &[u8]) -> String {
    pem::write("CERTIFICATE", certificate_der)
}

/// `-----BEGIN X509 CRL-----` and so on (RFC 7468 §6).
pub fn crl_to_pem(crl_der: &[u8]) -> String {
    pem::write(CRL, crl_der)
}

/// The label of RFC 7468 §6.
const CRL: &str = "X509 CRL";

/// DER begins with a SEQUENCE. A short one (fewer than 128 octets) is no certificate, and a text file may
/// begin with "0" too.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0x84, ..])
}

fn read_der(bytes: &[u8], password: Option<&str>) -> Result<Bundle, FileError> {
    let mut bundle = Bundle { certificates: Vec::new(), key: None, crls: Vec::new() };
    // PFX ::= SEQUENCE { version INTEGER, authSafe SEQUENCE …}, and PKCS#8 and PKCS#1 keys begin alike
    if content_tag(bytes) == Some(0x02) {
        if let Ok(archive) = Pkcs12::from_der(bytes) {
            return read_pkcs12(&archive, password);
        }
        drop(ErrorStack::get());
        let key = PKey::private_key_from_der(bytes)
            .map_err(|_| FileError::Malformed("this DER is neither PKCS#12 nor a private key".into()))?;
        bundle.key = Some(pkcs8(&key)?);
        return Ok(bundle);
    }
    match Certificate::parse(bytes) {
        Ok(_) => bundle.certificates.push(bytes.to_vec()),
        Err(_) if matches!(CertificateRevocationList::from_der(bytes), Ok(([], _))) => {
            bundle.crls.push(bytes.to_vec());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(bundle)
}

/// The tag of the first element inside the outer SEQUENCE.
fn content_tag(bytes: &[u8]) -> Option<u8> {
    let length = *bytes.get(1)?;
    let header = if length & 0x80 == 0 { 2 } else { 2 + usize::from(length & 0x7f) };
    bytes.get(header).copied()
}

fn read_pkcs12(archive: &Pkcs12, password: Option<&str>) -> Result<Bundle, FileError> {
    let password = password.unwrap_or_default();
    if password.contains('\0') {
        return Err(FileError::Password);
    }
    let parsed = archive.parse2(password).map_err(|errors| pkcs12_error(&errors))?;
    let leaf = parsed.cert.iter().map(|certificate| certificate.to_der());
    let others = parsed.ca.iter().flatten().map(X509Ref::to_der);
    let certificates = leaf
        .chain(others)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|errors| broken("certificate in the PKCS#12 file", &errors))?;
    let key = parsed.pkey.as_ref().map(pkcs8).transpose()?;
    Ok(Bundle { certificates, key, crls: Vec::new() })
}

/// OpenSSL 3 keeps RC2 and single DES in a provider that is not loaded, and reports them as "unsupported".
fn pkcs12_error(errors: &ErrorStack) -> FileError {
    let says = |word: &str| {
        errors.errors().iter().any(|error| error.reason().is_some_and(|reason| reason.contains(word)))
    };
    if says("mac verify failure") {
        return FileError::Password;
    }
    if says("unsupported") || says("unknown cipher") {
        return FileError::OldCipher(
            "this PKCS#12 file is protected with a cipher that OpenSSL 3 has retired; convert it with \
             `openssl pkcs12 -legacy -in OLD.p12 -nodes -out ALL.pem` and \
             `openssl pkcs12 -export -in ALL.pem -out NEW.p12`"
                .into(),
        );
    }
    broken("PKCS#12 file", errors)
}

fn read_pem(bytes: &[u8], password: Option<&str>) -> Result<Bundle, FileError> {
    let mut bundle = Bundle { certificates: Vec::new(), key: None, crls: Vec::new() };
    let mut found = false;
    for block in pem::blocks(bytes)? {
        found = true;
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => bundle.certificates.push(block.contents()?.to_vec()),
            CRL => bundle.crls.push(block.contents()?.to_vec()),
            "TRUSTED CERTIFICATE" => {
                return Err(FileError::Malformed(
                    "it holds an OpenSSL TRUSTED CERTIFICATE, whose trust settings would be lost; write a \
                     plain one with `openssl x509 -in FILE -clrtrust -out NEW.pem`"
                        .into(),
                ));
            }
            "PKCS7" => {
                return Err(FileError::Malformed(
                    "it holds PKCS#7; write its certificates with `openssl pkcs7 -in FILE -print_certs`"
                        .into(),
                ));
            }
            label if label.ends_with("PRIVATE KEY") => {
                if bundle.key.is_some() {
                    return Err(FileError::Malformed("it holds more than one private key".into()));
                }
                bundle.key = Some(pkcs8(&private_key(&block, password)?)?);
            }
            // EC PARAMETERS, PUBLIC KEY, CERTIFICATE REQUEST: known to stand beside what is looked for
            _ => {}
        }
    }
    if found { Ok(bundle) } else { Err(FileError::Nothing) }
}

/// Never asks a terminal for a password, which OpenSSL does when it is not given one.
fn private_key(block: &Block, password: Option<&str>) -> Result<PKey<Private>, FileError> {
    let password = password.unwrap_or_default().as_bytes();
    let mut asked = false;
    let key = PKey::private_key_from_pem_callback(block.text.as_bytes(), |buffer| {
        asked = true;
        match buffer.get_mut(..password.len()) {
            Some(room) => room.copy_from_slice(password),
            None => return Ok(0),
        }
        Ok(password.len())
    });
    key.map_err(|errors| if asked { FileError::Password } else { broken("private key", &errors) })
}

fn pkcs8(key: &PKey<Private>) -> Result<Zeroizing<Vec<u8>>, FileError> {
    key.private_key_to_pkcs8().map(Zeroizing::new).map_err(|errors| broken("private key", &errors))
}

fn broken(what: &str, errors: &ErrorStack) -> FileError {
    let reason = errors.errors().first().and_then(openssl::error::Error::reason).unwrap_or("unreadable");
    FileError::Malformed(format!("the {what} is broken: {reason}"))
}

#[cfg(test)]
mod tests;
