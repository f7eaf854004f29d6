//! The tables, step by step: `migrations/NNNN_name.sql`, each in force once and for ever.
//!
//! Several nodes may start at once, so this happens under an advisory lock, the only one; a database without such locks
//! (some that scale out have none) is migrated by one node before the others start. A program works with tables that are
//! newer than it as long as no step says that it must not: so nodes can be replaced one after the other.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::connection::Connection;
use super::{DatabaseError, SqlError};

/// The number of the last step that this program knows.
pub const SCHEMA: i64 = 1;

/// How long the steps may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The steps: number, name, the oldest program (by its [`SCHEMA`]) that may still work beside it, SQL.
const STEPS: &[(i64, &str, i64, &str)] =
    &[(1, "tables", 1, include_str!("../../migrations/0001_tables.sql"))];

/// Any number that nobody else uses.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7166258441209345)";

const LEDGER: &str = "CREATE SCHEMA IF NOT EXISTS certbound;
    CREATE TABLE certbound.migrations (
        number bigint PRIMARY KEY,
        name text NOT NULL,
        oldest bigint NOT NULL
    )";

/// What the tables are.
enum Tables {
    /// There are none.
    Missing,
    /// This number of steps was made.
    At(i64),
    /// A program that knows this many steps is needed.
    Newer(i64),
}

/// Whether there is nothing of ours in the database.
pub async fn is_empty(connection: &mut Connection) -> Result<bool, DatabaseError> {
    Ok(matches!(look(connection).await.map_err(failed)?, Tables::Missing))
}

/// Whether this program may work with the tables as they are.
pub async fn needed_schema(connection: &mut Connection) -> Result<(), DatabaseError> {
    match look(connection).await.map_err(failed)? {
        Tables::Newer(needed) => Err(newer(needed)),
        Tables::At(_) | Tables::Missing => Ok(()),
    }
}

/// Makes the tables, or brings them up to [`SCHEMA`]. Nothing is changed by an error.
pub async fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    match look(connection).await.map_err(failed)? {
        Tables::Newer(needed) => return Err(newer(needed)),
        Tables::At(number) if number >= SCHEMA => return Ok(()),
        Tables::At(_) | Tables::Missing => {}
    }
    let changed = change(connection).await;
    if changed.is_err() {
        // If even that fails, the connection goes, and the transaction with it.
        let _ = connection.roll_back().await;
    }
    changed?
}

async fn change(connection: &mut Connection) -> Result<Result<(), DatabaseError>, DatabaseError> {
    let all = async {
        connection.begin().await?;
        connection.batch("SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '60s'").await?;
        connection.batch(LOCK).await?;
        // Somebody else may have been faster.
        let done = match look(connection).await? {
            Tables::Newer(needed) => {
                connection.roll_back().await?;
                return Ok(Err(newer(needed)));
            }
            Tables::At(number) => number,
            Tables::Missing => {
                connection.batch(LEDGER).await?;
                0
            }
        };
        for (number, name, oldest, sql) in STEPS.iter().filter(|step| step.0 > done) {
            connection.batch(sql).await?;
            let note = "INSERT INTO certbound.migrations (number, name, oldest) VALUES ($1, $2, $3)";
            connection.execute(note, &[number, name, oldest]).await?;
        }
        connection.commit().await?;
        Ok(Ok(()))
    };
    all.await.map_err(failed)
}

async fn look(connection: &mut Connection) -> Result<Tables, SqlError> {
    let exists =
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'certbound' AND tablename = 'migrations'";
    if connection.query(exists, &[]).await?.is_empty() {
        return Ok(Tables::Missing);
    }
    // Not prepared: a table may be new, and a prepared statement old.
    let numbers = "SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM certbound.migrations";
    let rows = connection.simple(numbers).await?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let number = |index| row.and_then(|row| row.get(index)).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (made, oldest) = (number(0), number(1));
    Ok(if oldest > SCHEMA { Tables::Newer(oldest) } else { Tables::At(made) })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn failed(error: SqlError) -> DatabaseError {
    DatabaseError::from(&error)
}

fn newer(needed: i64) -> DatabaseError {
    DatabaseError::Unfit(format!(
        "the tables of the database are of format {needed}, made by a newer certbound; this one knows format {SCHEMA}"
    ))
}
