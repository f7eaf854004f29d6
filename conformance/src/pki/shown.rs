//! What a client shows in a handshake: certificates and a key, which need not fit each other.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::der;

/// A private key.
#[derive(Clone)]
pub struct Key(PKey<Private>);

/// A certificate chain, the leaf first, and a key.
#[derive(Clone)]
pub struct Shown {
    /// DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The key that signs the handshake.
    pub key: Key,
}

impl Key {
    /// A fresh P-256 key.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn p256() -> Result<Self, ErrorStack> {
        Self::curve(Nid::X9_62_PRIME256V1)
    }

    /// A fresh key on this curve.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn curve(curve: Nid) -> Result<Self, ErrorStack> {
        let key = EcKey::generate(EcGroup::from_curve_name(curve)?.as_ref())?;
        Ok(Self(PKey::from_ec_key(key)?))
    }

    /// A fresh RSA key of so many bits.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn rsa(bits: u32) -> Result<Self, ErrorStack> {
        Ok(Self(PKey::from_rsa(Rsa::generate(bits)?)?))
    }

    /// A fresh Ed25519 key.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn ed25519() -> Result<Self, ErrorStack> {
        Ok(Self(PKey::generate_ed25519()?))
    }

    /// From PEM or DER.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(octets: &[u8]) -> Result<Self, ErrorStack> {
        let key = PKey::private_key_from_pem(octets).or_else(|_| PKey::private_key_from_der(octets))?;
        Ok(Self(key))
    }

    /// The key as OpenSSL has it.
    #[must_use]
    pub const fn openssl(&self) -> &PKey<Private> {
        &self.0
    }

    /// PKCS#8 DER.
    ///
    /// # Errors
    /// OpenSSL cannot encode it.
    pub fn pkcs8(&self) -> Result<Vec<u8>, ErrorStack> {
        self.0.private_key_to_pkcs8()
    }

    /// PKCS#8 PEM.
    ///
    /// # Errors
    /// OpenSSL cannot encode it.
    pub fn pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.0.private_key_to_pem_pkcs8()
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, ErrorStack> {
        self.0.public_key_to_der()
    }

    /// An identifier of the public key for subjectKeyIdentifier.
    pub(crate) fn identifier(&self) -> Result<Vec<u8>, ErrorStack> {
        Ok(openssl::sha::sha1(&self.public_der()?).to_vec())
    }

    /// `AlgorithmIdentifier` of the signatures that this key makes of certificates.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self.0.id() {
            Id::RSA => der::sequence(&[&der::oid("1.2.840.113549.1.1.11"), &[5, 0]]),
            Id::ED25519 => der::sequence(&[&der::oid("1.3.101.112")]),
            _ => der::sequence(&[&der::oid("1.2.840.10045.4.3.2")]),
        }
    }

    pub(crate) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        if self.0.id() == Id::ED25519 {
            return Signer::new_without_digest(&self.0)?.sign_oneshot_to_vec(octets);
        }
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0)?;
        signer.sign_oneshot_to_vec(octets)
    }

    /// The public members of the JWK (RFC 7518 §6, RFC 8037 §2).
    ///
    /// # Errors
    /// OpenSSL cannot take the key apart.
    pub fn jwk(&self) -> Result<Value, ErrorStack> {
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        if let Ok(rsa) = self.0.rsa() {
            return Ok(json!({"kty": "RSA", "n": text(&rsa.n().to_vec()), "e": text(&rsa.e().to_vec())}));
        }
        let Ok(ec) = self.0.ec_key() else {
            return Ok(json!({"kty": "OKP", "crv": "Ed25519", "x": text(&self.0.raw_public_key()?)}));
        };
        let (crv, size) = match ec.group().curve_name() {
            Some(Nid::SECP384R1) => ("P-384", 48),
            Some(Nid::SECP521R1) => ("P-521", 66),
            _ => ("P-256", 32),
        };
        let (mut x, mut y) = (openssl::bn::BigNum::new()?, openssl::bn::BigNum::new()?);
        ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
        Ok(
            json!({"kty": "EC", "crv": crv, "x": text(&x.to_vec_padded(size)?), "y": text(&y.to_vec_padded(size)?)}),
        )
    }
}

impl Shown {
    /// From files: PEM with one or several certificates, or DER, and a key.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(certificates: &[u8], key: &[u8]) -> Result<Self, ErrorStack> {
        let mut chain = X509::stack_from_pem(certificates)?;
        if chain.is_empty() {
            chain.push(X509::from_der(certificates)?);
        }
        let chain = chain.iter().map(|certificate| certificate.to_der()).collect::<Result<_, _>>()?;
        Ok(Self { chain, key: Key::read(key)? })
    }

    /// The leaf, DER.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// The leaf, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.leaf())
    }

    /// `x5t#S256` of the leaf (RFC 8705 §3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(openssl::sha::sha256(self.leaf()))
    }

    /// With the key of another: the handshake is signed with a key that the certificate is not about.
    #[must_use]
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self { chain: self.chain.clone(), key: other.key.clone() }
    }

    /// The leaf without what comes after it.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { chain: self.chain.iter().take(1).cloned().collect(), key: self.key.clone() }
    }

    /// With more certificates after those it has.
    #[must_use]
    pub fn and(mut self, more: &[&[u8]]) -> Self {
        self.chain.extend(more.iter().map(|der| der.to_vec()));
        self
    }

    /// The JWK of the key with the leaf in `x5c` (RFC 7517 §4.7).
    ///
    /// # Errors
    /// OpenSSL cannot take the key apart.
    pub fn jwk(&self) -> Result<Value, ErrorStack> {
        let mut jwk = self.key.jwk()?;
        if let Some(members) = jwk.as_object_mut() {
            members.insert("x5c".to_owned(), json!([STANDARD.encode(self.leaf())]));
        }
        Ok(jwk)
    }

    /// What people call it: the subject, or the length if it cannot be read.
    #[must_use]
    pub fn label(&self) -> String {
        let subject = X509::from_der(self.leaf()).ok().map(|certificate| {
            let entries = certificate.subject_name().entries();
            let texts = entries.map(|entry| {
                let name = entry.object().nid().short_name().unwrap_or("?");
                format!("{name}={}", String::from_utf8_lossy(entry.data().as_slice()))
            });
            texts.collect::<Vec<_>>().join(", ")
        });
        subject.unwrap_or_else(|| format!("{} octets that are no certificate", self.leaf().len()))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("subject", &self.label()).finish_non_exhaustive()
    }
}

/// A PEM block.
pub(crate) fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}
