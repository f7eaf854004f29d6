//! What was seen: certificates that served a client, and refusals. Public data only.
//!
//! A second narrow contract beside [`super::TokenStore`]. A store that loses this loses explanations, and the link
//! from a token to the certificate behind it (RFC 8705 §3.1), never a revocation: so what cannot be read here is
//! left out, and is no reason to stop. What requests keep of it in memory is `witness`; who may see it is left to
//! `admin` and `cli`.

mod chain;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub(super) use self::chain::{encode_chain, parse_chain};
use super::StoreError;
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::Thumbprint;

/// Remembers what was seen.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// A certificate serves a client for the first time, or with another chain. Durable when it returns. If it is known,
    /// the earlier first and the later last moment are kept, and this chain.
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError>;

    /// Several of them, as after an outage: [`Evidence::note_first`] for each, at the price of one where the store
    /// can. After an error some of them may have been kept.
    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        for sighting in sightings {
            self.note_first(sighting).await?;
        }
        Ok(())
    }

    /// Certificates that served again. Never moves `last_seen` back. Gives those that are unknown, of which nothing was
    /// kept: who knows them must note them as [`Evidence::note_first`] does.
    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError>;

    /// One sighting.
    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError>;

    /// All sightings, or those of one client, oldest first sight first.
    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError>;

    /// Refusals, in one batch. One whose reference is known takes its place.
    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError>;

    /// The refusal of this reference, written in any way that [`plain_reference`] reads.
    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError>;

    /// The latest refusals, newest first, `limit` at most.
    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError>;

    /// Drops what nobody needs and gives the number dropped.
    ///
    /// Refusals go that are older than [`REFUSAL_LIFE`]. Of the others, those of registered clients and those of strangers
    /// have room apart, so that no stranger drives out the explanation that a client asks for: the newest
    /// [`REFUSALS_OF_A_CLIENT`] of each client ([`RefusalRecord::client`]) are kept, of these the newest
    /// [`REFUSALS_OF_CLIENTS`], and the newest [`REFUSALS_OF_STRANGERS`] of all strangers together.
    ///
    /// Sightings go that were last seen more than [`SIGHTING_LIFE`] ago, and of each client all but the
    /// [`SIGHTINGS_KEPT`] seen last; of these none that was seen within [`SIGHTING_NEEDED`], however many there are.
    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// How long a refusal can be explained.
pub const REFUSAL_LIFE: Duration = Duration::from_secs(30 * DAY);

/// How many refusals of registered clients can be explained.
pub const REFUSALS_OF_CLIENTS: usize = 8_000;

/// How many of each of them.
pub const REFUSALS_OF_A_CLIENT: usize = 200;

/// How many refusals of anybody else.
pub const REFUSALS_OF_STRANGERS: usize = 2_000;

/// How long a certificate is remembered that serves nobody any more.
pub const SIGHTING_LIFE: Duration = Duration::from_secs(400 * DAY);

/// How many certificates of one client are remembered, not counting those that are [needed](SIGHTING_NEEDED).
pub const SIGHTINGS_KEPT: usize = 100;

/// How long a certificate is remembered in any case: while tokens that are bound to it can live. The longest life of a token
/// (24 h) and an hour for the clocks, counted from its last use; and that may be up to [`SIGHTING_RENEWED`] later than the
/// store knows, and a minute for what is on its way.
pub const SIGHTING_NEEDED: Duration = Duration::from_secs(2 * 25 * HOUR + 60);

/// A certificate that serves again when the last use that the store has is older than this is noted before its token
/// leaves; sooner, a little later will do.
pub const SIGHTING_RENEWED: Duration = Duration::from_secs(25 * HOUR);

const HOUR: u64 = 3600;
const DAY: u64 = 24 * 3600;

/// A certificate that authenticated a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// Whom.
    pub client: ClientId,
    /// Of the leaf.
    pub thumbprint: Thumbprint,
    /// DER, leaf first, as it was presented the first time, or when that did not lead to an anchor any more.
    pub chain: Vec<Vec<u8>>,
    /// When it first did.
    pub first_seen: Timestamp,
    /// When it last did.
    pub last_seen: Timestamp,
}

/// A refused authentication.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RefusalRecord {
    /// What the client was told: 16 characters of Crockford base32, with dashes.
    pub reference: String,
    /// When, Unix seconds.
    pub at: i64,
    /// The `client_id` of the request, cut to 255 characters.
    pub claimed: Option<String>,
    /// Whether that is a registered client. Not in records of before this was known: they count as a stranger's.
    #[serde(default)]
    pub is_registered: bool,
    /// The route.
    pub path: String,
    /// `mtls`, `public` or `forwarded`.
    pub listener: String,
    /// One of the closed set of reasons.
    pub reason: String,
    /// The check that failed, what it expected and saw (cut to 1024 characters each).
    pub check: String,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub seen: String,
    /// Standard base64 of DER, leaf first, as presented; at most [`RefusalRecord::LONGEST_CHAIN`] of DER, else empty.
    pub chain: Vec<String>,
}

impl RefusalRecord {
    /// The most octets of DER in the chain of a record.
    pub const LONGEST_CHAIN: usize = 8 * 1024;

    /// The registered client that was refused; None for a stranger.
    pub fn client(&self) -> Option<ClientId> {
        self.claimed
            .as_deref()
            .filter(|_| self.is_registered)
            .and_then(|claimed| ClientId::parse(claimed).ok())
    }

    /// The same with every field as long as it may be: a refusal is what strangers make, as many as they like.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if let Some(claimed) = &mut self.claimed {
            cut(claimed, 255);
        }
        for text in [&mut self.check, &mut self.expected, &mut self.seen] {
            cut(text, 1024);
        }
        let octets = |base64: &String| base64.trim_end_matches('=').len().saturating_mul(3) / 4;
        if self.chain.iter().map(octets).sum::<usize>() > Self::LONGEST_CHAIN {
            self.chain = Vec::new();
        }
        self
    }
}

/// The characters of a reference alone, as stores look it up: without dashes and in upper case, with `0` for O and `1` for
/// I and L, as Crockford reads what people write. None for what is no reference.
pub fn plain_reference(reference: &str) -> Option<String> {
    let plain = |sign: char| match sign.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let reference = reference.trim();
    let signs: String =
        reference.chars().filter(|sign| *sign != '-').take(LONGEST_REFERENCE + 1).map(plain).collect();
    let is_one = (1..=LONGEST_REFERENCE).contains(&signs.len())
        && signs.bytes().all(|sign| sign.is_ascii_alphanumeric());
    is_one.then_some(signs)
}

/// Ours have 16.
const LONGEST_REFERENCE: usize = 64;

fn cut(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_people_write_it() {
        for written in
            ["01AB-CDEF-GHJK-MNPQ", "01abcdefghjkmnpq", " oLAB-cdef-ghjk-mnpq\n", "OIabcdefghjkmnpq"]
        {
            assert_eq!(plain_reference(written).as_deref(), Some("01ABCDEFGHJKMNPQ"), "{written}");
        }
        for no_reference in ["", "----", "01AB CDEF", "01AB\0", "é", &"A".repeat(65)] {
            assert_eq!(plain_reference(no_reference), None, "{no_reference:?}");
        }
    }

    fn record(claimed: &str, text: &str, chain: Vec<String>) -> RefusalRecord {
        RefusalRecord {
            reference: "R".into(),
            at: 0,
            claimed: Some(claimed.into()),
            is_registered: true,
            path: "/token".into(),
            listener: "mtls".into(),
            reason: "untrusted".into(),
            check: text.into(),
            expected: text.into(),
            seen: text.into(),
            chain,
        }
    }

    #[test]
    fn a_record_is_of_a_client_only_if_it_says_so_and_an_old_one_does_not() {
        let of_client = record("billing", "", Vec::new());
        assert_eq!(of_client.client(), ClientId::parse("billing").ok());
        let nobody = RefusalRecord { claimed: None, ..of_client.clone() };
        let stranger = RefusalRecord { is_registered: false, ..of_client.clone() };
        assert_eq!((nobody.client(), stranger.client()), (None, None));
        let mut old = serde_json::to_value(of_client).unwrap();
        old.as_object_mut().unwrap().remove("is_registered").unwrap();
        assert_eq!(serde_json::from_value::<RefusalRecord>(old).unwrap(), stranger);
    }

    #[test]
    fn a_record_is_cut_to_its_bounds_and_a_long_chain_left_out() {
        let long = "é".repeat(2_000);
        let record = |chain: Vec<String>| record(&long, &long, chain);
        // 4096 octets are 5462 characters and two signs of padding.
        let half = format!("{}==", "A".repeat(5_462));
        let kept = record(vec![half.clone(), half.clone()]).bounded();
        assert_eq!(kept.chain.len(), 2);
        assert_eq!(kept.claimed.map(|claimed| claimed.chars().count()), Some(255));
        for text in [kept.check, kept.expected, kept.seen] {
            assert_eq!(text.chars().count(), 1024);
        }
        assert!(record(vec![half.clone(), half, "AA==".into()]).bounded().chain.is_empty());
    }
}
