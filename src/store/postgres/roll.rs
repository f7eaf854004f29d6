//! The roll call of several nodes. What one node misses another may have: whoever has a client says so within a second
//! (`roll_version` tells that somebody was missed), so a client whose document lies on one node only keeps its tokens. A
//! node misses a client once; what it reported before it leaves to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use super::{Postgres, another};
use crate::clock::Timestamp;
use crate::database::{Connection, Row, SqlError, Values, column};
use crate::oauth::ClientId;
use crate::store::StoreError;
use crate::store::record::Mark;

/// A client that is back after this long has the tokens ended that it had before.
const GONE_FOR_GOOD: std::time::Duration = std::time::Duration::from_secs(5);

/// How many clients are read, or written, at once.
const AT_ONCE: usize = 5000;

/// What this node has said.
#[derive(Debug, Default)]
pub(super) struct Roll {
    missed: BTreeSet<ClientId>,
}

impl Roll {
    pub(super) fn report_anew(&mut self) {
        self.missed.clear();
    }
}

const CLIENTS: &str =
    "SELECT client, gone_since FROM certbound.clients WHERE client > $1 ORDER BY client LIMIT 5000";

const MISS: &str =
    "UPDATE certbound.clients SET gone_since = $2 WHERE client = ANY($1) AND gone_since IS NULL";

const TELL: &str = "UPDATE certbound.store SET roll_version = roll_version + 1 WHERE id = $1";

const GREET: &str =
    "INSERT INTO certbound.clients (client) SELECT unnest($1::text[]) ON CONFLICT (client) DO NOTHING";

const BACK: &str = "SELECT client, gone_since FROM certbound.clients
    WHERE client = ANY($1) AND gone_since IS NOT NULL ORDER BY client FOR UPDATE";

const END: &str = "INSERT INTO certbound.ended_clients (client, ended_at, until, due)
    SELECT unnest($1::text[]), $2::bigint, $3::bigint, $4::bigint
    ON CONFLICT (client) DO UPDATE SET
        ended_at = greatest(ended_clients.ended_at, excluded.ended_at),
        until = greatest(ended_clients.until, excluded.until),
        due = greatest(ended_clients.due, excluded.due)";

const RETURN: &str = "UPDATE certbound.clients SET gone_since = NULL WHERE client = ANY($1)";

impl Postgres {
    pub(super) fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `mark`: now, and until when the end of a client's tokens is remembered.
    pub(super) async fn take_the_roll(
        &self,
        present: &BTreeSet<ClientId>,
        mark: Mark,
    ) -> Result<Vec<ClientId>, StoreError> {
        let known = self.clients().await?;
        let missing: Vec<_> = {
            let mut roll = self.roll();
            roll.missed.retain(|client| known.contains_key(client) && !present.contains(client));
            let is_news = |client: &ClientId| !present.contains(client) && !roll.missed.contains(client);
            known.keys().filter(|client| is_news(client)).cloned().collect()
        };
        for some in missing.chunks(AT_ONCE) {
            self.miss(some, mark.at).await?;
            self.roll().missed.extend(some.iter().cloned());
        }
        let new: Vec<_> = present.iter().filter(|client| !known.contains_key(*client)).collect();
        for some in new.chunks(AT_ONCE) {
            self.rows(GREET, vec![Box::new(names(some.iter().copied()))]).await?;
        }
        let returned: Vec<_> = present
            .iter()
            .filter(|client| known.get(*client).is_some_and(Option::is_some))
            .cloned()
            .collect();
        let mut ended = Vec::new();
        for some in returned.chunks(AT_ONCE) {
            ended.extend(self.welcome(some, mark).await?);
        }
        Ok(ended)
    }

    /// All clients that were ever here, with the moment since which each is gone.
    pub(super) async fn clients(&self) -> Result<BTreeMap<ClientId, Option<Timestamp>>, StoreError> {
        let mut known = BTreeMap::new();
        let mut after = String::new();
        loop {
            let values: Values = vec![Box::new(after)];
            let rows = self.rows(CLIENTS, values).await?;
            for row in &rows {
                let (client, since) = presence(row)?;
                known.insert(client, since);
            }
            match rows.last() {
                Some(last) if rows.len() == AT_ONCE => after = column(last, 0)?,
                _ => return Ok(known),
            }
        }
    }

    async fn miss(&self, clients: &[ClientId], now: Timestamp) -> Result<(), StoreError> {
        let (names, id) = (names(clients), self.id().await?);
        let missed = self.database.repeat(move |connection| {
            let (names, id) = (names.clone(), id.clone());
            Box::pin(async move {
                connection.begin().await?;
                let is_news = connection.execute(MISS, &[&names, &now.as_unix()]).await? > 0;
                let is_told = !is_news || connection.execute(TELL, &[&id]).await? == 1;
                if is_told {
                    connection.commit().await?;
                }
                Ok(is_told)
            })
        });
        if missed.await? { Ok(()) } else { Err(another()) }
    }

    /// Those that were gone are back. Gives those that were gone for good.
    async fn welcome(&self, clients: &[ClientId], mark: Mark) -> Result<Vec<ClientId>, StoreError> {
        let names = names(clients);
        let rows = self.database.repeat(move |connection| {
            let names = names.clone();
            Box::pin(async move {
                connection.begin().await?;
                let back = welcome(connection, &names, mark).await?;
                connection.commit().await?;
                Ok(back)
            })
        });
        rows.await?.iter().map(|name| client(name)).collect()
    }
}

async fn welcome(connection: &mut Connection, names: &[String], mark: Mark) -> Result<Vec<String>, SqlError> {
    let mut ended = Vec::new();
    for row in connection.query(BACK, &[&names]).await? {
        let since = Timestamp::from_unix(row.try_get(1)?);
        // A clock that went back says nothing of how long it was: taken as long.
        if mark.at.since(since).max(since.since(mark.at)) >= GONE_FOR_GOOD {
            ended.push(row.try_get(0)?);
        }
    }
    if !ended.is_empty() {
        let (at, until, due) = (mark.at.as_unix(), mark.until.as_unix(), mark.due().as_unix());
        connection.execute(END, &[&ended, &at, &until, &due]).await?;
    }
    connection.execute(RETURN, &[&names]).await?;
    Ok(ended)
}

fn names<'a>(clients: impl IntoIterator<Item = &'a ClientId>) -> Vec<String> {
    clients.into_iter().map(ToString::to_string).collect()
}

fn presence(row: &Row) -> Result<(ClientId, Option<Timestamp>), StoreError> {
    let since: Option<i64> = column(row, 1)?;
    Ok((client(column(row, 0)?)?, since.map(Timestamp::from_unix)))
}

pub(super) fn client(name: &str) -> Result<ClientId, StoreError> {
    ClientId::parse(name).map_err(|_| StoreError::Corrupt { what: "a row names no client_id".into() })
}
