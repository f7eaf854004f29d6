//! Signing keys that several nodes share: rows of the database, each private key under the [seal](super::seal).
//!
//! Every change is one transaction that holds the row of the store, so of several nodes that want the same there is one
//! winner, and a node that dies in the middle has changed nothing. Each change is a new generation; nodes see it with
//! their next beat and read the keys again, and the row of each says which generation it has in force. No key is made to
//! begin before every live node has it: what is wanted is in `draft.rs`, what happens without anybody wanting it in
//! `standby.rs`. The time is the database's, whoever asks.

mod draft;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::draft::{Draft, NewKey, Patience, Statement, Stop, StoredKey, Wish};
use super::directory::pem;
use super::seal::SealId;
use super::standby::{Held, Plan};
use super::{
    Begin, Changed, KeyFileError, KeyId, KeysError, Reading, Schedule, SealingKey, SigningAlgorithm,
    SigningKey, SigningKeys,
};
use crate::clock::Timestamp;
use crate::cluster::LIVE;
use crate::database::{Connection, Database, DatabaseError, Row, SqlError, column};

/// How long live nodes have to take in a change. They look every second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often one looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a problem with all keys is told of.
const ALL: &str = "the signing keys in the database";

/// The row that every change holds, and the time.
const HOLD: &str = "SELECT keys_generation, seal, floor(extract(epoch FROM clock_timestamp()))::bigint
    FROM certbound.store FOR UPDATE";

const ROWS: &str =
    "SELECT kid, algorithm, signs_from, removed IS NOT NULL FROM certbound.signing_keys ORDER BY kid";

/// Generation, seal and keys of one moment: one statement, so that they belong together.
const KEYS: &str = "SELECT s.keys_generation, s.seal, k.kid, k.algorithm, k.signs_from, k.sealed
    FROM certbound.store s LEFT JOIN certbound.signing_keys k ON k.removed IS NULL";

/// The live nodes that have not taken in a generation.
const BEHIND: &str = "SELECT name FROM certbound.nodes
    WHERE keys_generation < $1 AND seen > floor(extract(epoch FROM clock_timestamp()))::bigint - $2
    ORDER BY name";

/// Keys in the database, and what opens them. A clone is another handle on the same keys.
#[derive(Clone, Debug)]
pub struct Shared {
    database: Database,
    sealing: Arc<SealingKey>,
}

/// What became of a transaction.
type Outcome = Result<Done, Stop>;

struct Done {
    generation: i64,
    kid: Option<KeyId>,
}

impl Shared {
    /// The keys in `database`, sealed with `sealing`. Nothing is asked yet.
    pub fn new(database: Database, sealing: SealingKey) -> Self {
        Self { database, sealing: Arc::new(sealing) }
    }

    /// Reads every key; where one does not open, that of `previous` with the same `kid` stays, and where the sealing key
    /// is not the right one, all of `previous` do.
    pub async fn read(&self, previous: &SigningKeys) -> Result<Reading, KeysError> {
        let rows = self
            .database
            .call(|connection| Box::pin(async move { connection.query(KEYS, &[]).await }))
            .await?;
        let first = rows.first().ok_or_else(no_store)?;
        let mut reading = Reading { generation: column(first, 0)?, ..Reading::default() };
        let seal: Option<Vec<u8>> = column(first, 1)?;
        if let Some(error) = is_sealed_by_another(seal.as_deref(), self.sealing.id()) {
            reading.errors.push(error);
            reading.keys = previous.clone();
            return Ok(reading);
        }
        let (mut keys, mut held) = (Vec::new(), Vec::new());
        for row in &rows {
            let Some(kid) = column::<Option<String>>(row, 2)? else { break };
            let algorithm: String = column(row, 3)?;
            let signs_from = Timestamp::from_unix(column(row, 4)?);
            let sealed: Vec<u8> = column(row, 5)?;
            let opened = algorithm_of(&kid, &algorithm).and_then(|algorithm| {
                held.push(Held { id: KeyId::stored(&kid), algorithm, signs_from });
                self.open(&kid, algorithm, signs_from, &sealed)
            });
            match opened {
                Ok(key) => keys.push(Arc::new(key)),
                Err(error) => {
                    reading.errors.push(error);
                    keys.extend(previous.all().iter().find(|key| key.id().as_str() == kid).cloned());
                }
            }
        }
        reading.keys = SigningKeys::of(keys);
        reading.plan = Some(Plan::new(held));
        Ok(reading)
    }

    /// Does what the schedule wants done, if anything.
    pub async fn tend(&self, schedule: &Schedule) -> Result<(), KeysError> {
        self.change(&Wish::Tend, schedule).await.map(drop)
    }

    /// Has the standby begin (`keys rotate`), and returns when every live node has heard of it.
    pub async fn rotate(&self, schedule: &Schedule, begin: Begin) -> Result<Changed, KeysError> {
        self.change(&Wish::Rotate(begin), schedule).await?.ok_or_else(unknown)
    }

    /// Takes over a private key in PEM, to sign in 15 minutes. See [`super::Directory::import`].
    pub async fn import(&self, pem: &[u8], schedule: &Schedule) -> Result<Changed, KeysError> {
        let (algorithm, pkcs8) =
            pem::read_foreign(pem, Some(schedule.algorithm)).map_err(|fault| refused(IMPORTED, fault))?;
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, Timestamp::from_unix(0)).map_err(|error| {
            let instead = "import a P-256, an Ed25519 or an RSA key of 2048 to 8192 bits";
            refused(IMPORTED, (&error.what, instead))
        })?;
        let key = Arc::new(self.sealed(key.id().clone(), algorithm, &pkcs8)?);
        self.change(&Wish::Import(key), schedule).await?.ok_or_else(unknown)
    }

    /// Ends a key at once; `None` if there is no such key. From the commit on the store calls every token that it signed
    /// ended; this returns when every live node has taken it out of the set, or names those that have not.
    pub async fn revoke(&self, kid: &str, schedule: &Schedule) -> Result<Option<Changed>, KeysError> {
        self.change(&Wish::Revoke(KeyId::stored(kid)), schedule).await
    }

    /// Makes `wish` come true and waits until the live nodes know. `None` if it is about a key that is not there.
    async fn change(&self, wish: &Wish, schedule: &Schedule) -> Result<Option<Changed>, KeysError> {
        let end = Instant::now() + PATIENCE;
        let mut spare: Vec<Arc<NewKey>> = Vec::new();
        loop {
            let is_late = Instant::now() >= end;
            let is_urgent = is_late && matches!(wish, Wish::Revoke(_));
            let patience = if is_urgent { Patience::AtItsEnd } else { Patience::Left };
            match self.attempt(wish, schedule, &spare, patience).await? {
                Ok(Done { generation, kid: Some(kid) }) => {
                    let unconfirmed = self.settle(generation).await;
                    return Ok(Some(Changed { kid, unconfirmed }));
                }
                Ok(Done { kid: None, .. }) | Err(Stop::Unknown) => return Ok(None),
                // Made here and not where the row is held: an RSA key takes its time.
                Err(Stop::Lacks) => spare.push(Arc::new(self.fresh(schedule.algorithm)?)),
                Err(Stop::Untended) => drop(Box::pin(self.change(&Wish::Tend, schedule)).await?),
                Err(Stop::Behind(nodes)) if is_late => return Err(not_everywhere(&nodes)),
                Err(Stop::Behind(_)) => sleep(LOOK_EVERY).await,
                Err(Stop::Refused(fault)) => return Err(fault.into()),
            }
        }
    }

    async fn attempt(
        &self,
        wish: &Wish,
        schedule: &Schedule,
        spare: &[Arc<NewKey>],
        patience: Patience,
    ) -> Result<Outcome, KeysError> {
        let (seal, wish, schedule) = (self.sealing.id().clone(), wish.clone(), schedule.clone());
        let spare = spare.to_vec();
        let outcome = self.database.repeat(move |connection| {
            Box::pin(transact(
                connection,
                seal.clone(),
                (wish.clone(), schedule.clone()),
                spare.clone(),
                patience,
            ))
        });
        Ok(outcome.await?)
    }

    /// Waits until every live node has this generation in force; gives those that have not after [`PATIENCE`].
    async fn settle(&self, generation: i64) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let look = self.database.call(move |connection| Box::pin(behind(connection, generation)));
            let unconfirmed = match look.await {
                Ok(nodes) if nodes.is_empty() => return nodes,
                Ok(nodes) => nodes,
                Err(error) => vec![format!("every node ({error})")],
            };
            if Instant::now() >= end {
                return unconfirmed;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn fresh(&self, algorithm: SigningAlgorithm) -> Result<NewKey, KeysError> {
        let failed = |_| refused(ALL, ("no key could be made", "see whether the system has random bytes"));
        let pkcs8 = SigningKey::generate(algorithm).map_err(failed)?;
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, Timestamp::from_unix(0))?;
        self.sealed(key.id().clone(), algorithm, &pkcs8)
    }

    fn sealed(&self, id: KeyId, algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<NewKey, KeysError> {
        let failed = |_| refused(ALL, ("no key could be sealed", "see whether the system has random bytes"));
        let sealed = self.sealing.seal(id.as_str(), algorithm, pkcs8).map_err(failed)?;
        Ok(NewKey { id, algorithm, sealed })
    }

    fn open(
        &self,
        kid: &str,
        algorithm: SigningAlgorithm,
        signs_from: Timestamp,
        sealed: &[u8],
    ) -> Result<SigningKey, KeyFileError> {
        let damaged = |what: &str| {
            let instead =
                format!("restore the row from a backup, or end the key: certbound keys revoke {kid}");
            fault(&name(kid), what, &instead)
        };
        let pkcs8 = self.sealing.open(kid, algorithm, sealed).map_err(|_| {
            damaged("the key does not open: it was changed, put under another kid, or sealed for another")
        })?;
        let key =
            SigningKey::from_pkcs8(algorithm, &pkcs8, signs_from).map_err(|error| damaged(&error.what))?;
        if key.id().as_str() == kid { Ok(key) } else { Err(damaged("the key has another kid")) }
    }
}

fn is_sealed_by_another(seal: Option<&[u8]>, own: &SealId) -> Option<KeyFileError> {
    let seal = seal.filter(|seal| *seal != own.as_str().as_bytes())?;
    let seal = String::from_utf8_lossy(seal);
    let what = format!("they are sealed with the sealing key {seal}, and this node has {own}");
    Some(fault(ALL, &what, "give every node the same key in signing.sealing_key"))
}

/// One transaction; without an edit nothing is written.
async fn transact(
    connection: &mut Connection,
    seal: SealId,
    (wish, schedule): (Wish, Schedule),
    spare: Vec<Arc<NewKey>>,
    patience: Patience,
) -> Result<Outcome, SqlError> {
    connection.begin().await?;
    let Some(store) = connection.query_opt(HOLD, &[]).await? else {
        return Ok(Err(Stop::Refused(fault(ALL, "there is no store", "certbound serve makes it"))));
    };
    let (generation, now): (i64, i64) = (store.try_get(0)?, store.try_get(2)?);
    if let Some(error) = is_sealed_by_another(store.try_get(1)?, &seal) {
        return Ok(Err(Stop::Refused(error)));
    }
    let rows = connection.query(ROWS, &[]).await?;
    let rows = rows.iter().map(stored).collect::<Result<Vec<_>, SqlError>>()?;
    let behind = behind(connection, generation).await?;
    let mut draft = Draft::new(rows, spare, (behind, patience), Timestamp::from_unix(now));
    let kid = match draft.fulfil(&wish, &schedule) {
        Ok(kid) => kid,
        Err(stop) => return Ok(Err(stop)),
    };
    if draft.statements().is_empty() {
        connection.commit().await?;
        return Ok(Ok(Done { generation, kid }));
    }
    for statement in draft.statements() {
        carry_out(connection, statement, now).await?;
    }
    let turn = "UPDATE certbound.store SET keys_generation = keys_generation + 1, seal = coalesce(seal, $1)";
    connection.execute(turn, &[&seal.as_str().as_bytes()]).await?;
    connection.commit().await?;
    Ok(Ok(Done { generation: generation + 1, kid }))
}

/// What an imported key is called before it has a row.
const IMPORTED: &str = "the key to import";

async fn behind(connection: &mut Connection, generation: i64) -> Result<Vec<String>, SqlError> {
    let live = i64::try_from(LIVE.as_secs()).unwrap_or(i64::MAX);
    let rows = connection.query(BEHIND, &[&generation, &live]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn carry_out(connection: &mut Connection, statement: &Statement, now: i64) -> Result<(), SqlError> {
    match statement {
        Statement::Insert(key, signs_from) => {
            let insert = "INSERT INTO certbound.signing_keys (kid, algorithm, signs_from, sealed)
                VALUES ($1, $2, $3, $4)";
            let (kid, algorithm, begin) = (key.id.as_str(), key.algorithm.as_str(), signs_from.as_unix());
            connection.execute(insert, &[&kid, &algorithm, &begin, &key.sealed]).await
        }
        Statement::Begin(id, signs_from) => {
            let begin = "UPDATE certbound.signing_keys SET signs_from = $2 WHERE kid = $1";
            connection.execute(begin, &[&id.as_str(), &signs_from.as_unix()]).await
        }
        // The private key goes; that it was removed stays for ever.
        Statement::Remove(id) => {
            let remove = "UPDATE certbound.signing_keys SET removed = $2, sealed = '' WHERE kid = $1";
            connection.execute(remove, &[&id.as_str(), &now]).await
        }
        Statement::Forget(id) => {
            let forget = "DELETE FROM certbound.signing_keys WHERE kid = $1 AND removed IS NULL";
            connection.execute(forget, &[&id.as_str()]).await
        }
    }
    .map(drop)
}

/// A row without what is sealed in it.
fn stored(row: &Row) -> Result<StoredKey, SqlError> {
    let (kid, algorithm): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(StoredKey {
        id: KeyId::stored(kid),
        algorithm: SigningAlgorithm::parse(algorithm),
        signs_from: Timestamp::from_unix(row.try_get(2)?),
        is_removed: row.try_get(3)?,
    })
}

fn algorithm_of(kid: &str, text: &str) -> Result<SigningAlgorithm, KeyFileError> {
    let unknown =
        || fault(&name(kid), "its algorithm is none of this version", "update certbound on this node");
    SigningAlgorithm::parse(text).ok_or_else(unknown)
}

fn name(kid: &str) -> String {
    format!("signing key {kid} in the database")
}

fn fault(file: &str, what: &str, instead: &str) -> KeyFileError {
    KeyFileError { file: file.to_owned(), what: what.to_owned(), instead: instead.to_owned() }
}

fn refused(file: &str, (what, instead): (&str, &str)) -> KeysError {
    fault(file, what, instead).into()
}

fn not_everywhere(nodes: &[String]) -> KeysError {
    let what = format!("the next key is not in the key set of every node yet; not at: {}", nodes.join(", "));
    refused(ALL, (&what, "see to these nodes and try again, or leave out --now"))
}

/// A wish that is always about a key was about none.
fn unknown() -> KeysError {
    refused(ALL, ("there is no such key", "certbound keys list"))
}

fn no_store() -> KeysError {
    KeysError::Database(DatabaseError::Corrupt("the row of the store is gone".to_owned()))
}
