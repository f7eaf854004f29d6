//! The seal on private keys that lie where others can read: AES-256-GCM (NIST SP 800-38D) under a key of 32 bytes that
//! only the nodes have.
//!
//! A nonce of 96 random bits goes before the sealed bytes; a key is sealed once in its life, so that there are never enough
//! of them for two to meet. `kid` and algorithm are authenticated with it: a key that was put under the name of another
//! does not open. Where the sealing key comes from is `config`'s, where the sealed keys lie `shared.rs`'s.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::SigningAlgorithm;

/// The length of a sealing key in bytes.
const LENGTH: usize = 32;

/// Before what is hashed to the name of a sealing key, so that the hash is of use for nothing else.
const NAMING: &[u8] = b"certbound sealing key\0";

/// How many characters a [`SealId`] has: enough to tell any two keys apart.
const NAME_LENGTH: usize = 22;

/// The key that seals and opens.
pub struct SealingKey {
    key: RandomizedNonceKey,
    id: SealId,
}

/// The name of a sealing key, by which nodes find out that they have different ones. Says nothing of the key, which has
/// 256 random bits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealId(Box<str>);

/// A text that is no sealing key. Never says what it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is not 32 bytes in base64")]
pub struct NotASealingKey;

/// Something that was sealed by another key, under another name, or was changed since.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it does not open")]
pub struct DoesNotOpen;

impl SealingKey {
    /// From 32 bytes in base64 (RFC 4648 §4), as `openssl rand -base64 32` writes them.
    pub fn parse(text: &str) -> Result<Self, NotASealingKey> {
        let bytes = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new).map_err(|_| NotASealingKey)?;
        if bytes.len() != LENGTH {
            return Err(NotASealingKey);
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| NotASealingKey)?;
        let name = Sha256::new().chain_update(NAMING).chain_update(&*bytes).finalize();
        let mut id = URL_SAFE_NO_PAD.encode(name);
        id.truncate(NAME_LENGTH);
        Ok(Self { key, id: SealId(id.into()) })
    }

    /// What it is called.
    pub const fn id(&self) -> &SealId {
        &self.id
    }

    /// Seals a private key for the row of this `kid`. Fails where the system has no random bytes.
    pub fn seal(&self, kid: &str, algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let mut private = Zeroizing::new(Vec::with_capacity(pkcs8.len() + AES_256_GCM.tag_len()));
        private.extend_from_slice(pkcs8);
        let nonce = self.key.seal_in_place_append_tag(belongs_to(kid, algorithm), &mut *private);
        let nonce = nonce.map_err(|_| DoesNotOpen)?;
        Ok([nonce.as_ref().as_slice(), private.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] made for the same `kid` and algorithm.
    pub fn open(
        &self,
        kid: &str,
        algorithm: SigningAlgorithm,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opening = self.key.open_in_place(nonce, belongs_to(kid, algorithm), &mut opened);
        let length = opening.map_err(|_| DoesNotOpen)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

/// Neither `kid` nor algorithm has a `|` in it.
fn belongs_to(kid: &str, algorithm: SigningAlgorithm) -> Aad<Vec<u8>> {
    Aad::from(format!("{kid}|{}", algorithm.as_str()).into_bytes())
}

/// Only the name: the rest is secret.
impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

impl SealId {
    /// The text as it stands in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ES: SigningAlgorithm = SigningAlgorithm::Es256;

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_is_not_to_be_read_before() {
        let private = b"a private key that nobody may read";
        let sealed = key(1).seal("kid", ES, private).unwrap();
        assert_eq!(key(1).open("kid", ES, &sealed).unwrap().as_slice(), private);
        assert!(!sealed.windows(8).any(|window| private.windows(8).any(|clear| clear == window)));
        assert_ne!(sealed, key(1).seal("kid", ES, private).unwrap(), "a nonce of its own");
    }

    #[test]
    fn another_key_another_name_another_algorithm_or_one_changed_bit_does_not_open() {
        let sealed = key(1).seal("kid", ES, b"private").unwrap();
        assert_eq!(key(2).open("kid", ES, &sealed).unwrap_err(), DoesNotOpen);
        assert_eq!(key(1).open("dik", ES, &sealed).unwrap_err(), DoesNotOpen);
        assert_eq!(key(1).open("kid", SigningAlgorithm::Ps256, &sealed).unwrap_err(), DoesNotOpen);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(1).open("kid", ES, &changed).unwrap_err(), DoesNotOpen, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key(1).open("kid", ES, &sealed[..length]).unwrap_err(), DoesNotOpen, "{length} bytes");
        }
    }

    #[test]
    fn a_sealing_key_is_32_bytes_in_base64_and_a_line_end_does_not_matter() {
        let text = STANDARD.encode([7; 32]);
        assert_eq!(SealingKey::parse(&format!("{text}\n")).unwrap().id(), key(7).id());
        for wrong in ["", "secret", &text[1..], &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            assert_eq!(SealingKey::parse(wrong).unwrap_err(), NotASealingKey, "{wrong}");
        }
    }

    #[test]
    fn the_name_tells_keys_apart_and_nothing_shows_the_key() {
        assert_ne!(key(1).id(), key(2).id());
        assert_eq!(key(1).id().as_str().len(), NAME_LENGTH);
        let shown = format!("{:?} {}", key(1), key(1).id());
        assert!(!shown.contains(&STANDARD.encode([1; 32])[..8]), "{shown}");
    }
}
