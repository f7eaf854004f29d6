//! The nodes at work on one database, and what each has to know of the others.
//!
//! Once a second every node says in one statement that it lives, and hears what time it is, whether the signing keys or
//! the roll of clients changed, and who else is there with which configuration. A node that was not heard for [`LIVE`] is
//! gone. Its row counts its beats: a database that has fewer than it acknowledged, or none, went back in time, and what
//! it says of revocations is not to be believed. What follows from all that is done by `tasks`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::database::{Connection, Database, DatabaseError, Row, SqlError, ToSql, column};

/// How long after its last beat a node counts as alive.
pub const LIVE: Duration = Duration::from_secs(15);

/// How many beats in a row must find another configuration before it is told: nodes that read the same change a second
/// apart have different ones for a moment.
const TOLD_AFTER: u32 = 3;

/// The longest name that is written down, in characters.
const LONGEST_NAME: usize = 100;

/// How long the row of a node that ended without saying so is kept. A node that was cut off for longer would find its
/// row gone and think that the database went back in time.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Comes to a database where it has no row yet; the rows of the long dead go.
const COME: &str = "WITH forgotten AS (DELETE FROM certbound.nodes
        WHERE seen < floor(extract(epoch FROM clock_timestamp()))::bigint - $7::bigint)
    INSERT INTO certbound.nodes AS n
        (id, name, started, seen, beat, config_hash, keys_generation, skew_ms)
    VALUES ($1, $2, floor(extract(epoch FROM clock_timestamp()))::bigint,
        floor(extract(epoch FROM clock_timestamp()))::bigint, $3::bigint + 1, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, beat = n.beat + 1";

/// One beat. There is a row without a beat if its own is gone or has counted less than was acknowledged.
const BEAT: &str = "WITH own AS (
        UPDATE certbound.nodes SET beat = beat + 1, config_hash = $4, keys_generation = $5, skew_ms = $6, name = $2,
            seen = floor(extract(epoch FROM clock_timestamp()))::bigint
        WHERE id = $1 AND beat >= $3::bigint RETURNING beat)
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, s.keys_generation, s.roll_version, own.beat,
        o.id, o.name, o.config_hash
    FROM certbound.store s LEFT JOIN own ON true LEFT JOIN certbound.nodes o
        ON o.id <> $1 AND o.seen > floor(extract(epoch FROM clock_timestamp()))::bigint - $7::bigint
    ORDER BY o.name, o.id";

const LEAVE: &str = "DELETE FROM certbound.nodes WHERE id = $1";

/// This process among the nodes.
#[derive(Debug)]
pub struct Node {
    database: Database,
    id: [u8; 16],
    name: String,
    /// The beats that the database has acknowledged; 0 until it has the row.
    acknowledged: i64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The hash of clients and policies in force.
    pub config_hash: String,
    /// Which generation of the signing keys is in force.
    pub keys_generation: i64,
    /// How far its wall clock is ahead of the database's, in milliseconds.
    pub skew_millis: i64,
}

/// What a node hears.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hearing {
    /// What the clock of the database says, in milliseconds since 1970.
    pub database_millis: i64,
    /// Another number than before: the signing keys were changed.
    pub keys_generation: i64,
    /// Another number than before: a client was marked as gone.
    pub roll_version: i64,
    /// The other live nodes.
    pub others: Vec<Other>,
}

/// Another live node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Other {
    /// What it is called in `/readyz` and in the log.
    pub name: String,
    /// The hash of clients and policies in force there.
    pub config_hash: String,
}

/// Whether the nodes agree, over several beats.
#[derive(Debug, Default)]
pub struct Agreement {
    /// How many beats in a row found each other node with another configuration.
    differs_since: BTreeMap<String, u32>,
}

impl Node {
    /// A node that nobody has heard of yet: `id` is random and its own, `host` names the machine.
    pub fn new(database: &Database, id: [u8; 16], host: &str) -> Self {
        Self { database: database.regardless(), id, name: name(host, id), acknowledged: 0 }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says that it lives. [`DatabaseError::Corrupt`] if the database has forgotten what it acknowledged.
    pub async fn beat(&mut self, report: &Report) -> Result<Hearing, DatabaseError> {
        let (id, name, report, acknowledged) =
            (self.id, self.name.clone(), report.clone(), self.acknowledged);
        let heard = self.database.repeat(move |connection| {
            Box::pin(say(connection, id, name.clone(), report.clone(), acknowledged))
        });
        let rows = heard.await?;
        let corrupt = |what: &str| DatabaseError::Corrupt(what.to_owned());
        let first = rows.first().ok_or_else(|| corrupt("the row of the store is gone"))?;
        let hearing = Hearing {
            database_millis: column(first, 0)?,
            keys_generation: column(first, 1)?,
            roll_version: column(first, 2)?,
            others: rows.iter().filter_map(|row| other(row).transpose()).collect::<Result<_, _>>()?,
        };
        let beats: Option<i64> = column(first, 3)?;
        self.acknowledged = beats.ok_or_else(|| {
            corrupt("the database has gone back in time: it has forgotten what it told this node; revocations may be lost")
        })?;
        Ok(hearing)
    }

    /// Says goodbye, so that nobody waits for it.
    pub async fn leave(&self) -> Result<(), DatabaseError> {
        let id = self.id;
        let gone = self.database.call(move |connection| {
            Box::pin(async move { connection.execute(LEAVE, &[&id.as_slice()]).await })
        });
        gone.await.map(drop)
    }
}

async fn say(
    connection: &mut Connection,
    id: [u8; 16],
    name: String,
    report: Report,
    acknowledged: i64,
) -> Result<Vec<Row>, SqlError> {
    let Report { config_hash, keys_generation, skew_millis } = report;
    let (id, live, kept) = (id.as_slice(), in_seconds(LIVE), in_seconds(KEPT));
    let own: [&(dyn ToSql + Sync); 6] =
        [&id, &name, &acknowledged, &config_hash, &keys_generation, &skew_millis];
    let with = |last| [own.as_slice(), &[last]].concat();
    if acknowledged == 0 {
        connection.execute(COME, &with(&kept)).await?;
    }
    connection.query(BEAT, &with(&live)).await
}

impl Agreement {
    /// Takes in what a beat has heard; gives a sentence for each node that goes on having another configuration than
    /// `own`.
    pub fn differences(&mut self, own: &str, others: &[Other]) -> Vec<String> {
        self.differs_since.retain(|name, _| others.iter().any(|other| other.name == *name));
        let mut sentences = Vec::new();
        for Other { name, config_hash } in others {
            let since = self.differs_since.entry(name.clone()).or_default();
            *since = if config_hash == own { 0 } else { since.saturating_add(1) };
            if *since >= TOLD_AFTER {
                sentences.push(format!(
                    "the node {name} has other clients or policies than this one: its hash is {config_hash}, here it \
                     is {own}"
                ));
            }
        }
        sentences
    }
}

/// Every other node has a row of its own; if there is none, there is one row without.
fn other(row: &Row) -> Result<Option<Other>, DatabaseError> {
    let id: Option<Vec<u8>> = column(row, 4)?;
    id.map(|_| Ok(Other { name: column(row, 5)?, config_hash: column(row, 6)? })).transpose()
}

/// The host, and the beginning of the id: there may be several on one host, and one after the other.
fn name(host: &str, id: [u8; 16]) -> String {
    let plain = host.trim().chars().filter(char::is_ascii_graphic).take(LONGEST_NAME);
    let host: String = plain.collect();
    let [a, b, c, d, ..] = id;
    let id = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    if host.is_empty() { id } else { format!("{host}/{id}") }
}

fn in_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str, config_hash: &str) -> Other {
        Other { name: name.to_owned(), config_hash: config_hash.to_owned() }
    }

    #[test]
    fn a_node_that_goes_on_having_another_configuration_is_named() {
        let mut agreement = Agreement::default();
        let both = [other("n1", "same"), other("n2", "different")];
        assert!(agreement.differences("same", &both).is_empty(), "it may be about to change");
        assert!(agreement.differences("same", &both).is_empty());
        let told = agreement.differences("same", &both);
        assert!(told.len() == 1 && told[0].contains("n2") && told[0].contains("different"), "{told:?}");
        assert!(agreement.differences("same", &both[..1]).is_empty(), "it is gone");
        assert!(agreement.differences("same", &both).is_empty(), "and back");
    }

    #[test]
    fn a_difference_that_passes_is_not_told() {
        let mut agreement = Agreement::default();
        for hash in ["old", "old", "new", "old", "old", "new"] {
            assert!(agreement.differences("new", &[other("n1", hash)]).is_empty(), "{hash}");
        }
    }

    #[test]
    fn a_name_is_plain_and_says_which_of_several_on_a_host() {
        let id = [0x3f, 0x9a, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
        assert_eq!(name("web-1\n", id), "web-1/3f9a0001");
        assert_eq!(name("\u{202e}é ", id), "3f9a0001");
        assert_eq!(name(&"x".repeat(500), id).len(), LONGEST_NAME + 9);
    }
}
