//! The evidence in the database. What of it cannot be read is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::Postgres;
use super::founding::PATIENCE;
use super::roll::client;
use crate::clock::Timestamp;
use crate::database::{Row, Values, column};
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::store::StoreError;
use crate::store::evidence::{
    Evidence, REFUSAL_LIFE, REFUSALS_OF_A_CLIENT, REFUSALS_OF_CLIENTS, REFUSALS_OF_STRANGERS, RefusalRecord,
    SIGHTING_LIFE, SIGHTING_NEEDED, SIGHTINGS_KEPT, Sighting, encode_chain, parse_chain, plain_reference,
};

/// How many rows are written at once. A chain has up to 64 KiB.
const AT_ONCE: usize = 256;
/// How many are read.
pub(super) const PAGE: usize = 64;

const NOTE: &str = "INSERT INTO certbound.sightings (client, thumbprint, chain, first_seen, last_seen)
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[])
    ON CONFLICT (client, thumbprint) DO UPDATE SET
        chain = excluded.chain,
        first_seen = least(sightings.first_seen, excluded.first_seen),
        last_seen = greatest(sightings.last_seen, excluded.last_seen)";

const NOTE_AGAIN: &str = "UPDATE certbound.sightings
    SET last_seen = greatest(sightings.last_seen, seen.last)
    FROM (SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS uses (client, thumbprint, last)) AS seen
    WHERE sightings.client = seen.client AND sightings.thumbprint = seen.thumbprint
    RETURNING sightings.client, sightings.thumbprint";

const SIGHTING: &str = "SELECT client, thumbprint, chain, first_seen, last_seen FROM certbound.sightings
    WHERE client = $1 AND thumbprint = $2";

const SIGHTINGS: &str = "SELECT client, thumbprint, chain, first_seen, last_seen FROM certbound.sightings
    WHERE (client, thumbprint) > ($1, $2) ORDER BY client, thumbprint LIMIT 64";

const SIGHTINGS_OF: &str = "SELECT client, thumbprint, chain, first_seen, last_seen FROM certbound.sightings
    WHERE client = $1 AND thumbprint > $2 ORDER BY thumbprint LIMIT 64";

const NOTE_REFUSALS: &str = "INSERT INTO certbound.refusals (reference, at, client, record)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[])
    ON CONFLICT (reference) DO UPDATE SET at = excluded.at, client = excluded.client, record = excluded.record";

const REFUSAL: &str = "SELECT record FROM certbound.refusals WHERE reference = $1";

const LATEST: &str = "SELECT record, at, reference FROM certbound.refusals
    WHERE (at, reference) < ($1, $2) ORDER BY at DESC, reference DESC LIMIT 64";

const FORGET_OLD_REFUSALS: &str = "DELETE FROM certbound.refusals WHERE at < $1";

/// All but the newest of each client, and of strangers, who are all one.
const FORGET_SPARE_REFUSALS: &str = "DELETE FROM certbound.refusals WHERE reference IN (
        SELECT reference FROM (
            SELECT reference, client,
                row_number() OVER (PARTITION BY client ORDER BY at DESC, reference DESC) AS place
            FROM certbound.refusals) AS placed
        WHERE place > CASE WHEN client IS NULL THEN $1::bigint ELSE $2::bigint END)";

const FORGET_SPARE_OF_CLIENTS: &str = "DELETE FROM certbound.refusals WHERE reference IN (
        SELECT reference FROM (
            SELECT reference, row_number() OVER (ORDER BY at DESC, reference DESC) AS place
            FROM certbound.refusals WHERE client IS NOT NULL) AS placed
        WHERE place > $1::bigint)";

/// `$1`: seen before this, none is kept; `$2`: seen before this, only so many of each client; `$3`: how many.
const FORGET_SIGHTINGS: &str =
    "DELETE FROM certbound.sightings WHERE last_seen < $2 AND (client, thumbprint) IN (
        SELECT client, thumbprint FROM (
            SELECT client, thumbprint, last_seen,
                row_number() OVER (PARTITION BY client ORDER BY last_seen DESC, first_seen DESC) AS place
            FROM certbound.sightings) AS placed
        WHERE last_seen < CASE WHEN place <= $3::bigint THEN $1::bigint ELSE $2::bigint END)";

#[async_trait]
impl Evidence for Postgres {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        self.note_all_first(std::slice::from_ref(sighting)).await
    }

    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        for some in sightings.chunks(AT_ONCE) {
            // A statement takes a row once.
            let mut once: BTreeMap<(&str, [u8; 32]), Sighting> = BTreeMap::new();
            for sighting in some {
                let key = (sighting.client.as_str(), *sighting.thumbprint.as_bytes());
                once.entry(key)
                    .and_modify(|known| {
                        known.chain.clone_from(&sighting.chain);
                        known.first_seen = known.first_seen.min(sighting.first_seen);
                        known.last_seen = known.last_seen.max(sighting.last_seen);
                    })
                    .or_insert_with(|| sighting.clone());
            }
            let values: Values = vec![
                Box::new(once.keys().map(|key| key.0.to_owned()).collect::<Vec<_>>()),
                Box::new(once.keys().map(|key| key.1.to_vec()).collect::<Vec<_>>()),
                Box::new(once.values().map(|seen| encode_chain(&seen.chain)).collect::<Vec<_>>()),
                Box::new(once.values().map(|seen| seen.first_seen.as_unix()).collect::<Vec<_>>()),
                Box::new(once.values().map(|seen| seen.last_seen.as_unix()).collect::<Vec<_>>()),
            ];
            self.rows(NOTE, values).await?;
        }
        Ok(())
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        let mut unknown = Vec::new();
        for some in seen.chunks(AT_ONCE) {
            let mut latest: BTreeMap<(&str, [u8; 32]), i64> = BTreeMap::new();
            for (client, thumbprint, at) in some {
                let last = latest.entry((client.as_str(), *thumbprint.as_bytes())).or_insert(i64::MIN);
                *last = at.as_unix().max(*last);
            }
            let values: Values = vec![
                Box::new(latest.keys().map(|key| key.0.to_owned()).collect::<Vec<_>>()),
                Box::new(latest.keys().map(|key| key.1.to_vec()).collect::<Vec<_>>()),
                Box::new(latest.values().copied().collect::<Vec<_>>()),
            ];
            let rows = self.rows(NOTE_AGAIN, values).await?;
            let known: BTreeSet<(&str, &[u8])> = rows
                .iter()
                .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
                .collect::<Result<_, StoreError>>()?;
            let is_known = |client: &ClientId, thumbprint: &Thumbprint| {
                known.contains(&(client.as_str(), &thumbprint.as_bytes()[..]))
            };
            let strange = some.iter().filter(|(client, thumbprint, _)| !is_known(client, thumbprint));
            unknown.extend(strange.map(|(client, thumbprint, _)| (client.clone(), *thumbprint)));
        }
        Ok(unknown)
    }

    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError> {
        let values: Values = vec![Box::new(client.to_string()), Box::new(thumbprint.as_bytes().to_vec())];
        Ok(self.rows(SIGHTING, values).await?.first().and_then(sighting))
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        let mut all = Vec::new();
        let mut after = client.map(|client| (client.to_string(), Vec::new()));
        loop {
            let (rows, next) = match client {
                Some(_) => self.sightings_after(SIGHTINGS_OF, after.unwrap_or_default()).await?,
                None => self.sightings_after(SIGHTINGS, after.unwrap_or_default()).await?,
            };
            all.extend(rows.iter().filter_map(sighting));
            after = next;
            if after.is_none() {
                break;
            }
        }
        all.sort_by_key(|sighting| sighting.first_seen);
        Ok(all)
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        for some in refusals.chunks(AT_ONCE) {
            let mut once = BTreeMap::new();
            for record in some {
                // What nobody can ask for is not kept.
                if let (Some(reference), Ok(octets)) =
                    (plain_reference(&record.reference), serde_json::to_vec(record))
                {
                    once.insert(
                        reference,
                        (record.at, record.client().map(|client| client.to_string()), octets),
                    );
                }
            }
            let values: Values = vec![
                Box::new(once.keys().cloned().collect::<Vec<_>>()),
                Box::new(once.values().map(|record| record.0).collect::<Vec<_>>()),
                Box::new(once.values().map(|record| record.1.clone()).collect::<Vec<_>>()),
                Box::new(once.values().map(|record| record.2.clone()).collect::<Vec<_>>()),
            ];
            self.rows(NOTE_REFUSALS, values).await?;
        }
        // Strangers make them as fast as they can connect: what is kept does not wait for the next forgetting.
        let noted = self.refusals_noted.fetch_add(refusals.len(), Ordering::Relaxed) + refusals.len();
        if noted > REFUSALS_OF_STRANGERS {
            self.forget_spare_refusals().await?;
        }
        Ok(())
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        let Some(reference) = plain_reference(reference) else { return Ok(None) };
        Ok(self.rows(REFUSAL, vec![Box::new(reference)]).await?.first().and_then(refusal))
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        let mut latest = Vec::new();
        let mut before = Some(AFTER_REFUSALS);
        while let Some(from) = before.take().filter(|_| latest.len() < limit) {
            let (rows, next) = self.refusals_before(from).await?;
            latest.extend(rows.iter().filter_map(refusal));
            before = next;
        }
        latest.truncate(limit);
        Ok(latest)
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        let (old, needed) = (now.minus(SIGHTING_LIFE).as_unix(), now.minus(SIGHTING_NEEDED).as_unix());
        let sightings =
            self.forget_rows(FORGET_SIGHTINGS, vec![Box::new(old), Box::new(needed), number(SIGHTINGS_KEPT)]);
        let sightings = sightings.await?;
        let oldest = now.minus(REFUSAL_LIFE).as_unix();
        let refusals = self.forget_rows(FORGET_OLD_REFUSALS, vec![Box::new(oldest)]).await?;
        Ok(sightings + refusals + self.forget_spare_refusals().await?)
    }
}

/// After all of them: the moment and the reference, which is made of letters and digits.
pub(super) const AFTER_REFUSALS: (i64, String) = (i64::MAX, String::new());

impl Postgres {
    /// A page of sightings, and after which the next begins.
    pub(super) async fn sightings_after(
        &self,
        sql: &'static str,
        after: (String, Vec<u8>),
    ) -> Result<(Vec<Row>, Option<(String, Vec<u8>)>), StoreError> {
        let rows = self.rows(sql, vec![Box::new(after.0), Box::new(after.1)]).await?;
        let next = match rows.last() {
            Some(last) if rows.len() == PAGE => Some((column(last, 0)?, column(last, 1)?)),
            _ => None,
        };
        Ok((rows, next))
    }

    /// A page of refusals, the newest first, and before which the next begins.
    pub(super) async fn refusals_before(
        &self,
        before: (i64, String),
    ) -> Result<(Vec<Row>, Option<(i64, String)>), StoreError> {
        let rows = self.rows(LATEST, vec![Box::new(before.0), Box::new(before.1)]).await?;
        let next = match rows.last() {
            Some(last) if rows.len() == PAGE => Some((column(last, 1)?, column(last, 2)?)),
            _ => None,
        };
        Ok((rows, next))
    }

    async fn forget_spare_refusals(&self) -> Result<u64, StoreError> {
        self.refusals_noted.store(0, Ordering::Relaxed);
        let values: Values = vec![number(REFUSALS_OF_STRANGERS), number(REFUSALS_OF_A_CLIENT)];
        let of_each = self.forget_rows(FORGET_SPARE_REFUSALS, values).await?;
        Ok(of_each + self.forget_rows(FORGET_SPARE_OF_CLIENTS, vec![number(REFUSALS_OF_CLIENTS)]).await?)
    }

    /// A look at a whole table takes its time.
    async fn forget_rows(&self, sql: &'static str, values: Values) -> Result<u64, StoreError> {
        let forgotten = self.database.call_within(PATIENCE, move |connection| {
            Box::pin(async move {
                connection.begin().await?;
                connection.batch("SET LOCAL statement_timeout = '15s'").await?;
                let values: Vec<_> = values.iter().map(|value| &**value as _).collect();
                let count = connection.execute(sql, &values).await?;
                connection.commit().await?;
                Ok(count)
            })
        });
        Ok(forgotten.await?)
    }
}

/// Every sighting, for an export.
pub(super) const ALL_SIGHTINGS: &str = SIGHTINGS;

pub(super) fn sighting(row: &Row) -> Option<Sighting> {
    let moment = |index| column(row, index).ok().map(Timestamp::from_unix);
    let thumbprint: &[u8] = column(row, 1).ok()?;
    Some(Sighting {
        client: client(column(row, 0).ok()?).ok()?,
        thumbprint: Thumbprint::from_bytes(thumbprint.try_into().ok()?),
        chain: parse_chain(column(row, 2).ok()?)?,
        first_seen: moment(3)?,
        last_seen: moment(4)?,
    })
}

pub(super) fn refusal(row: &Row) -> Option<RefusalRecord> {
    serde_json::from_slice(column(row, 0).ok()?).ok()
}

fn number(count: usize) -> Box<dyn crate::database::ToSql + Send + Sync> {
    Box::new(i64::try_from(count).unwrap_or(i64::MAX))
}
