//! The entries of the embedded store as bytes. One tree, four kinds of keys, so that one batch is atomic (the evidence has
//! another tree, see `evidence`):
//!
//! | key | value |
//! |---|---|
//! | `h` | the head: schema, id, sequence number, number and fingerprint of the records, `ended` |
//! | `t` `jti` | a token that ended: at, until |
//! | `c` `client_id` | a client whose earlier tokens ended: at, until |
//! | `p` `client_id` | a client that was registered: gone since, or nothing |
//! | `x` `due` `key` | the record at `key` is not needed from `due` on |
//!
//! Numbers are big-endian. Anything of another shape is [`Malformed`].

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};
use crate::store::StoreError;
pub(super) use crate::store::record::{Entry, Mark};

/// The version of this layout. A store with a higher one was made by a newer program.
pub(super) const SCHEMA: u32 = 1;

/// The key of the [`Head`].
pub(super) const HEAD: &[u8] = b"h";

/// First bytes of the keys, see the table above.
pub(super) const TOKEN: u8 = b't';
pub(super) const CLIENT: u8 = b'c';
pub(super) const PRESENCE: u8 = b'p';
pub(super) const DUE: u8 = b'x';

/// A value or key of the wrong shape.
#[derive(Debug)]
pub(super) struct Malformed(pub String);

impl From<Malformed> for StoreError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Corrupt { what }
    }
}

/// What is true of the store as a whole; rewritten with every batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// The name of the store; zeros while an import is under way.
    pub id: [u8; 16],
    /// The number of batches so far.
    pub sequence: u64,
    /// The number of records (`t`, `c` and `p`).
    pub records: u64,
    /// The sum of [`fingerprint`] over the records.
    pub fingerprint: u64,
    /// Every token issued up to this moment has ended, whoever has it.
    pub ended: Option<Timestamp>,
}

impl Head {
    /// Of a store that holds nothing yet.
    pub(super) const fn new(id: [u8; 16], ended: Option<Timestamp>) -> Self {
        Self { id, sequence: 0, records: 0, fingerprint: 0, ended }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let ended = self.ended.map_or(i64::MIN, Timestamp::as_unix);
        let mut bytes = Vec::with_capacity(52);
        bytes.extend(SCHEMA.to_be_bytes());
        bytes.extend(self.id);
        for number in [self.sequence, self.records, self.fingerprint] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(ended.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let wrong = || Malformed("the head has the wrong shape".into());
        let (schema, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
        let schema = u32::from_be_bytes(*schema);
        if schema != SCHEMA {
            return Err(Malformed(format!("its format is {schema}, this program knows {SCHEMA}")));
        }
        let (id, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (sequence, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (records, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (fingerprint, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let ended = i64::from_be_bytes(rest.try_into().map_err(|_| wrong())?);
        Ok(Self {
            id: *id,
            sequence: u64::from_be_bytes(*sequence),
            records: u64::from_be_bytes(*records),
            fingerprint: u64::from_be_bytes(*fingerprint),
            ended: (ended != i64::MIN).then_some(Timestamp::from_unix(ended)),
        })
    }

    /// The schema number alone, of any version.
    pub(super) fn schema(bytes: &[u8]) -> Option<u32> {
        bytes.first_chunk().map(|schema| u32::from_be_bytes(*schema))
    }
}

impl Mark {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let wrong = || Malformed("a revocation has the wrong shape".into());
        let (at, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
        let until = rest.try_into().map_err(|_| wrong())?;
        Ok(Self { at: moment(*at), until: moment(until) })
    }

    fn encode(self) -> Vec<u8> {
        [self.at, self.until].iter().flat_map(|moment| moment.as_unix().to_be_bytes()).collect()
    }
}

impl Entry {
    pub(super) fn parse(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let (kind, name) = key.split_first().ok_or_else(|| Malformed("an empty key".into()))?;
        match *kind {
            TOKEN => {
                let jti = name.try_into().map_err(|_| Malformed("a jti is not 16 bytes long".into()))?;
                Ok(Self::Token(Jti::from_bytes(jti), Mark::parse(value)?))
            }
            CLIENT => Ok(Self::Client(client(name)?, Mark::parse(value)?)),
            PRESENCE if value.is_empty() => Ok(Self::Presence(client(name)?, None)),
            PRESENCE => {
                let since = value
                    .try_into()
                    .map_err(|_| Malformed("the presence of a client has the wrong shape".into()))?;
                Ok(Self::Presence(client(name)?, Some(moment(since))))
            }
            other => Err(Malformed(format!("a key of the unknown kind {other:#04x}"))),
        }
    }

    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Self::Token(jti, _) => token_key(jti),
            Self::Client(client, _) => client_key(client),
            Self::Presence(client, _) => presence_key(client),
        }
    }

    pub(super) fn value(&self) -> Vec<u8> {
        match self {
            Self::Token(_, mark) | Self::Client(_, mark) => mark.encode(),
            Self::Presence(_, since) => {
                since.map(|since| since.as_unix().to_be_bytes().to_vec()).unwrap_or_default()
            }
        }
    }
}

/// Where the revocation of a token is.
pub(super) fn token_key(jti: &Jti) -> Vec<u8> {
    let mut key = vec![TOKEN];
    key.extend(jti.as_bytes());
    key
}

/// Where the revocation of a client's earlier tokens is.
pub(super) fn client_key(client: &ClientId) -> Vec<u8> {
    let mut key = vec![CLIENT];
    key.extend(client.as_str().as_bytes());
    key
}

/// Where it is kept whether a client is there.
pub(super) fn presence_key(client: &ClientId) -> Vec<u8> {
    let mut key = vec![PRESENCE];
    key.extend(client.as_str().as_bytes());
    key
}

/// Where it is kept that the record at `key` is not needed from `due` on; sorts by `due`.
pub(super) fn due_key(due: Timestamp, key: &[u8]) -> Vec<u8> {
    let mut bytes = vec![DUE];
    bytes.extend(sortable(due));
    bytes.extend(key);
    bytes
}

/// Reads what [`due_key`] writes.
pub(super) fn parse_due_key(bytes: &[u8]) -> Result<(Timestamp, &[u8]), Malformed> {
    let wrong = || Malformed("an entry of the order of forgetting has the wrong shape".into());
    let rest = bytes.strip_prefix(&[DUE]).ok_or_else(wrong)?;
    let (due, key) = rest.split_first_chunk().ok_or_else(wrong)?;
    Ok((from_sortable(*due), key))
}

/// A moment as bytes that sort as the moments do.
pub(super) fn sortable(moment: Timestamp) -> [u8; 8] {
    (moment.as_unix().cast_unsigned() ^ SIGN).to_be_bytes()
}

/// Reads what [`sortable`] writes.
pub(super) fn from_sortable(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_unix((u64::from_be_bytes(bytes) ^ SIGN).cast_signed())
}

/// A number that changes with every byte of a record. Sums of it tell whether a record was lost, brought
/// back or changed, whatever the order.
pub(super) fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let digest = Sha256::new_with_prefix(u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes())
        .chain_update(key)
        .chain_update(value)
        .finalize();
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Makes signed numbers sort as bytes.
const SIGN: u64 = 1 << 63;

fn moment(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_unix(i64::from_be_bytes(bytes))
}

fn client(name: &[u8]) -> Result<ClientId, Malformed> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| ClientId::parse(name).ok())
        .ok_or_else(|| Malformed("a key names no client_id".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_moment() -> impl Strategy<Value = Timestamp> {
        any::<i64>().prop_map(Timestamp::from_unix)
    }

    fn an_entry() -> impl Strategy<Value = Entry> {
        let mark = (a_moment(), a_moment()).prop_map(|(at, until)| Mark { at, until });
        let name = "[ -~]{1,255}".prop_map(|name| ClientId::parse(&name).unwrap());
        (any::<[u8; 16]>(), name, mark, proptest::option::of(a_moment()), 0..3).prop_map(
            |(jti, client, mark, since, kind)| match kind {
                0 => Entry::Token(Jti::from_bytes(jti), mark),
                1 => Entry::Client(client, mark),
                _ => Entry::Presence(client, since),
            },
        )
    }

    proptest! {
        #[test]
        fn every_entry_reads_back(entry in an_entry()) {
            prop_assert_eq!(Entry::parse(&entry.key(), &entry.value()).unwrap(), entry);
        }

        #[test]
        fn strange_bytes_are_malformed_or_an_entry_and_nothing_else(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(entry) = Entry::parse(&key, &value) {
                prop_assert_eq!((entry.key(), entry.value()), (key, value));
            } else {
                let _ = (Head::parse(&value), parse_due_key(&key));
            }
        }

        #[test]
        fn the_order_of_forgetting_is_the_order_of_time(one in a_moment(), two in a_moment()) {
            prop_assert_eq!(due_key(one, b"t").cmp(&due_key(two, b"t")), one.cmp(&two));
            let key = due_key(one, b"t1");
            let (due, record) = parse_due_key(&key).unwrap();
            prop_assert_eq!((due, record), (one, &b"t1"[..]));
        }

        #[test]
        fn the_head_reads_back(
            id in any::<[u8; 16]>(), sequence in any::<u64>(), ended in proptest::option::of(0_i64..1 << 40),
        ) {
            let head = Head { sequence, ..Head::new(id, ended.map(Timestamp::from_unix)) };
            prop_assert_eq!(Head::parse(&head.encode()).unwrap(), head);
        }
    }
}
