//! A signature over octets as received, for lists and for responses: OpenSSL verifies it, by the algorithms that path
//! validation accepts at its security level and no others. So there is no MD5 and no SHA-1, neither by name nor as a
//! default of RSASSA-PSS. What is signed is read once ([`Algorithm::message`]), so that to try one more key costs the same
//! for one octet as for 64 MiB of them. Whose key it has to be, and what is signed, is left to the two.

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::md::Md;
use openssl::pkey::{Id, PKey};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};

use crate::pki::certificate::Certificate;
use crate::pki::der::{self, DerError, Oid, Reader};

/// An algorithm that is trusted.
pub(super) struct Algorithm {
    /// None where the algorithm brings its own.
    digest: Option<MessageDigest>,
    /// The kinds of key that it works with.
    keys: &'static [Id],
    /// The length of the salt, for RSASSA-PSS.
    salt: Option<i32>,
}

/// What is signed, as far as a key needs it.
#[derive(Eq, PartialEq)]
pub(super) enum Message {
    /// Of the digest of the algorithm.
    Digest(Box<[u8]>),
    /// All of it, because the algorithm brings its own digest and reads more than once (RFC 8032 §5.1.7).
    Whole(Box<[u8]>),
}

impl Algorithm {
    /// From the content of an `AlgorithmIdentifier` (RFC 4055, RFC 5758, RFC 8410), or the name of one that is not
    /// trusted.
    pub(super) fn read(content: &[u8]) -> Result<Self, String> {
        let (oid, parameters) = split(content).map_err(|DerError| "it cannot be read".to_owned())?;
        let (digest, keys): (_, &[Id]) = match oid.as_str() {
            "1.2.840.113549.1.1.14" => (Some(MessageDigest::sha224()), &[Id::RSA]),
            "1.2.840.113549.1.1.11" => (Some(MessageDigest::sha256()), &[Id::RSA]),
            "1.2.840.113549.1.1.12" => (Some(MessageDigest::sha384()), &[Id::RSA]),
            "1.2.840.113549.1.1.13" => (Some(MessageDigest::sha512()), &[Id::RSA]),
            "1.2.840.10045.4.3.1" => (Some(MessageDigest::sha224()), &[Id::EC]),
            "1.2.840.10045.4.3.2" => (Some(MessageDigest::sha256()), &[Id::EC]),
            "1.2.840.10045.4.3.3" => (Some(MessageDigest::sha384()), &[Id::EC]),
            "1.2.840.10045.4.3.4" => (Some(MessageDigest::sha512()), &[Id::EC]),
            "1.3.101.112" => (None, &[Id::ED25519]),
            "1.3.101.113" => (None, &[Id::ED448]),
            "1.2.840.113549.1.1.10" => {
                let read = parameters.map_or(Err(DerError), pss_parameters);
                let (digest, salt) =
                    read.map_err(|DerError| "RSASSA-PSS with SHA-1 or odd parameters".to_owned())?;
                return Ok(Self { digest: Some(digest), keys: &[Id::RSA, Id::RSA_PSS], salt: Some(salt) });
            }
            "1.2.840.113549.1.1.5" => return Err("RSA with SHA-1".into()),
            "1.2.840.10045.4.1" => return Err("ECDSA with SHA-1".into()),
            other => return Err(other.to_owned()),
        };
        // RSA says NULL, or nothing; the others say nothing
        if parameters.is_some_and(|parameters| parameters != NULL || keys != [Id::RSA]) {
            return Err(format!("{oid} with parameters"));
        }
        Ok(Self { digest, keys, salt: None })
    }

    /// Reads all of `data`, whatever its length; whoever knows the key can come later.
    pub(super) fn message(&self, data: &[u8]) -> Message {
        match self.digest.map(|digest| hash(digest, data)) {
            Some(Ok(digest)) => Message::Digest((*digest).into()),
            // without memory for a digest nothing verifies, and of an empty one neither
            Some(Err(_)) => Message::Digest(Box::default()),
            None => Message::Whole(data.into()),
        }
    }

    /// Whether the key of `signer` made `signature` over `message`, which this algorithm has read.
    pub(super) fn verifies(&self, signer: &Certificate, signature: &[u8], message: &Message) -> bool {
        let holds = self.try_verify(signer.public_key(), signature, message);
        drop(ErrorStack::get());
        holds.unwrap_or(false)
    }

    fn try_verify(&self, public_key: &[u8], signature: &[u8], message: &Message) -> Result<bool, ErrorStack> {
        let key = PKey::public_key_from_der(public_key)?;
        if !self.keys.contains(&key.id()) {
            return Ok(false);
        }
        match (self.digest, message) {
            (Some(digest), Message::Digest(octets)) => {
                let Some(digest) = Md::from_nid(digest.type_()) else { return Ok(false) };
                let mut context = PkeyCtx::new(&key)?;
                context.verify_init()?;
                if let Some(salt) = self.salt {
                    context.set_rsa_padding(Padding::PKCS1_PSS)?;
                    context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt))?;
                }
                // after this only octets of its length are a digest
                context.set_signature_md(digest)?;
                context.verify(octets, signature)
            }
            (None, Message::Whole(data)) => {
                Verifier::new_without_digest(&key)?.verify_oneshot(signature, data)
            }
            _ => Ok(false),
        }
    }
}

const NULL: &[u8] = &[0x05, 0x00];

/// `RSASSA-PSS-params` (RFC 4055 §3.1): digest and length of the salt. Not read are SHA-1, which is the default, and a
/// mask by another digest, which OpenSSL takes to be the same.
fn pss_parameters(parameters: &[u8]) -> Result<(MessageDigest, i32), DerError> {
    let mut fields = Reader::new(der::only(parameters, der::SEQUENCE)?);
    let (digest, _) = split(der::only(fields.expect(0xa0)?, der::SEQUENCE)?)?;
    let (mask, mask_parameters) = split(der::only(fields.expect(0xa1)?, der::SEQUENCE)?)?;
    let (mask_digest, _) = split(der::only(mask_parameters.ok_or(DerError)?, der::SEQUENCE)?)?;
    let salt = match fields.optional(0xa2)? {
        None => 20,
        Some(salt) => match *der::only(salt, der::INTEGER)? {
            [salt @ 0..0x80] | [0x00, salt] => i32::from(salt),
            _ => return Err(DerError),
        },
    };
    // trailerField, of which there is but one
    let is_usual = fields.optional(0xa3)?.is_none_or(|trailer| trailer == [der::INTEGER, 1, 1]);
    fields.finish()?;
    if mask != "1.2.840.113549.1.1.8" || mask_digest != digest || !is_usual {
        return Err(DerError);
    }
    Ok((
        match digest.as_str() {
            "2.16.840.1.101.3.4.2.4" => MessageDigest::sha224(),
            "2.16.840.1.101.3.4.2.1" => MessageDigest::sha256(),
            "2.16.840.1.101.3.4.2.2" => MessageDigest::sha384(),
            "2.16.840.1.101.3.4.2.3" => MessageDigest::sha512(),
            _ => return Err(DerError),
        },
        salt,
    ))
}

/// Object identifier and parameters of the content of an `AlgorithmIdentifier`.
fn split(content: &[u8]) -> Result<(String, Option<&[u8]>), DerError> {
    let mut fields = Reader::new(content);
    let oid = Oid::from_content(fields.expect(der::OBJECT_IDENTIFIER)?)?.to_string();
    let parameters = if fields.is_empty() { None } else { Some(fields.element()?.raw) };
    fields.finish()?;
    Ok((oid, parameters))
}
