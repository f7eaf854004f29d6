//! The entries of the evidence as bytes, in a tree of their own beside the revocations: an older program opens the
//! store and does not see it, and the head counts nothing of it.
//!
//! | key | value |
//! |---|---|
//! | `s` `client_id` `00` thumbprint | a sighting: first seen, last seen |
//! | `c` `client_id` `00` thumbprint piece | its chain: each certificate after its length |
//! | `r` `at` reference `00` piece | a refusal, JSON |
//! | `n` reference | where it is: `at`, and then the `client_id` if it is of a registered client |
//!
//! The moments of a sighting change all the time and its chain never, so they lie apart. Every value begins with
//! [`VERSION`], a long one on its first piece. Numbers are big-endian. What is of another shape, or of another
//! version, is nothing to whoever reads.

use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::store::evidence::{RefusalRecord, Sighting, plain_reference};
pub(super) use crate::store::evidence::{encode_chain, parse_chain};
use crate::store::sled::format::{from_sortable, sortable};

/// The name of the tree.
pub(super) const TREE: &str = "evidence";

/// First bytes of the keys, see the table above.
pub(in crate::store::sled) const SIGHTING: u8 = b's';
pub(super) const CHAIN: u8 = b'c';
pub(super) const REFUSAL: u8 = b'r';
pub(super) const NAME: u8 = b'n';

/// How long a piece of a value is at most. sled writes a page of up to 20 entries as one message, and a message
/// over 128 KiB into a file of its own, which it does not fsync.
pub(super) const PIECE: usize = 4096;

const VERSION: u8 = 1;

/// When a certificate was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moments {
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Moments {
    pub(super) fn of(sighting: &Sighting) -> Self {
        Self { first: sighting.first_seen, last: sighting.last_seen.max(sighting.first_seen) }
    }

    /// From the first of both to the last of both.
    pub(super) fn with(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for moment in [self.first, self.last] {
            bytes.extend(moment.as_unix().to_be_bytes());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
        let moment = |bytes| Timestamp::from_unix(i64::from_be_bytes(bytes));
        Some(Self { first: moment(*first), last: moment(rest.try_into().ok()?) })
    }
}

/// Where the moments of a sighting are.
pub(super) fn sighting_key(client: &ClientId, thumbprint: Thumbprint) -> Vec<u8> {
    of_client(SIGHTING, client, thumbprint.as_bytes())
}

/// What the pieces of its chain begin with.
pub(super) fn chain_key(client: &ClientId, thumbprint: Thumbprint) -> Vec<u8> {
    of_client(CHAIN, client, thumbprint.as_bytes())
}

/// What the keys of a client's sightings begin with.
pub(super) fn sightings_of(client: &ClientId) -> Vec<u8> {
    of_client(SIGHTING, client, &[])
}

/// Reads what [`sighting_key`] writes.
pub(super) fn parse_sighting_key(key: &[u8]) -> Option<(ClientId, Thumbprint)> {
    let (client, thumbprint) = key.strip_prefix(&[SIGHTING])?.split_last_chunk::<32>()?;
    let client = std::str::from_utf8(client.strip_suffix(&[0])?).ok()?;
    Some((ClientId::parse(client).ok()?, Thumbprint::from_bytes(*thumbprint)))
}

/// What the pieces of a refusal begin with, with the plain characters of its reference; sorts by time.
pub(super) fn refusal_key(at: Timestamp, reference: &str) -> Vec<u8> {
    let mut key = vec![REFUSAL];
    key.extend(sortable(at));
    key.extend(reference.as_bytes());
    key.push(0);
    key
}

/// When the refusal was that a piece belongs to, its plain reference, and what all its pieces begin with.
pub(super) fn parse_refusal_key(piece: &[u8]) -> Option<(Timestamp, &str, &[u8])> {
    let (start, _number) = piece.split_last_chunk::<2>()?;
    let (at, rest) = start.strip_prefix(&[REFUSAL])?.split_first_chunk()?;
    let reference = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some((from_sortable(*at), reference, start))
}

pub(super) fn encode_refusal(record: &RefusalRecord) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record)?;
    Ok(bytes)
}

/// The refusal with these plain characters.
pub(super) fn parse_refusal(bytes: &[u8], reference: &str) -> Option<RefusalRecord> {
    let record: RefusalRecord = serde_json::from_slice(bytes.strip_prefix(&[VERSION])?).ok()?;
    (plain_reference(&record.reference).as_deref() == Some(reference)).then_some(record)
}

/// Where it is kept when the refusal was.
pub(super) fn name_key(reference: &str) -> Vec<u8> {
    let mut key = vec![NAME];
    key.extend(reference.as_bytes());
    key
}

pub(super) fn encode_name(at: Timestamp, client: Option<&ClientId>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(at.as_unix().to_be_bytes());
    bytes.extend(client.map(ClientId::as_str).unwrap_or_default().as_bytes());
    bytes
}

pub(super) fn parse_name(bytes: &[u8]) -> Option<(Timestamp, Option<ClientId>)> {
    let (at, client) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
    let client = std::str::from_utf8(client).ok()?;
    let client = if client.is_empty() { None } else { Some(ClientId::parse(client).ok()?) };
    Some((Timestamp::from_unix(i64::from_be_bytes(*at)), client))
}

/// A long value as entries: `start` and a number, a piece.
pub(super) fn pieces<'a>(start: &'a [u8], value: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a {
    (0..=u16::MAX).zip(value.chunks(PIECE)).map(|(number, piece)| {
        let mut key = start.to_vec();
        key.extend(number.to_be_bytes());
        (key, piece.to_vec())
    })
}

/// A `client_id` has no zero octet.
fn of_client(kind: u8, client: &ClientId, rest: &[u8]) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(client.as_str().as_bytes());
    key.push(0);
    key.extend(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn a_moment() -> impl Strategy<Value = Timestamp> {
        any::<i64>().prop_map(Timestamp::from_unix)
    }

    proptest! {
        #[test]
        fn a_sighting_reads_back(
            name in "[ -~]{1,255}", thumbprint in any::<[u8; 32]>(), first in a_moment(), last in a_moment(),
            chain in vec(vec(any::<u8>(), 0..300), 0..5),
        ) {
            let (client, thumbprint) = (ClientId::parse(&name).unwrap(), Thumbprint::from_bytes(thumbprint));
            let key = sighting_key(&client, thumbprint);
            prop_assert!(key.starts_with(&sightings_of(&client)));
            prop_assert_eq!(parse_sighting_key(&key), Some((client, thumbprint)));
            let moments = Moments { first, last };
            prop_assert_eq!(Moments::parse(&moments.encode()), Some(moments));
            prop_assert_eq!(parse_chain(&encode_chain(&chain)), Some(chain));
        }

        #[test]
        fn refusals_sort_by_time_and_their_keys_read_back(
            one in a_moment(), two in a_moment(), reference in "[0-9A-Z]{1,64}", value in vec(any::<u8>(), 1..9_000),
            client in proptest::option::of("[ -~]{1,255}"),
        ) {
            let client = client.map(|name| ClientId::parse(&name).unwrap());
            prop_assert_eq!(parse_name(&encode_name(one, client.as_ref())), Some((one, client)));
            let start = refusal_key(one, &reference);
            prop_assert_eq!(refusal_key(two, &reference).cmp(&start), two.cmp(&one));
            let mut joined = Vec::new();
            for (key, piece) in pieces(&start, &value) {
                prop_assert_eq!(parse_refusal_key(&key), Some((one, reference.as_str(), start.as_slice())));
                joined.extend(piece);
            }
            prop_assert_eq!(joined, value);
        }

        #[test]
        fn strange_bytes_are_nothing(bytes in vec(any::<u8>(), 0..60)) {
            if let Some((client, thumbprint)) = parse_sighting_key(&bytes) {
                prop_assert_eq!(&sighting_key(&client, thumbprint), &bytes);
            }
            if let Some(chain) = parse_chain(&bytes) {
                prop_assert_eq!(&encode_chain(&chain), &bytes);
            }
            let _ = (Moments::parse(&bytes), parse_name(&bytes), parse_refusal(&bytes, "A"), parse_refusal_key(&bytes));
        }
    }
}
