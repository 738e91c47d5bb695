//! The reducer's database: its schema, the transactions that carry out what the reducer means to be written, and how the
//! open windows are found again after a restart.
//!
//! | table | a row is |
//! |---|---|
//! | `stamps` | a stamp; ids of rows follow each other in the order of the commits, and `stamp_id` is unique |
//! | `totals` | what the stamps of one group add up to, by dimension and key |
//! | `windows` | a window that has closed, of the stamps (`stream` is empty) or of a stream |
//! | `streams`, `batches` | the open windows of a stream, and which of its batches are in them |
//! | `refused` | a payload that was refused, with the reason; `deliveries` says how often it came |
//! | `settings` | when windows close; windows of two lengths in one table would count items twice |
//!
//! The open windows of the stamps are not written down: they are what the stamps after the last closed windows add up
//! to, so there is nothing that could disagree with the rows after a crash.

use super::aggregate::{Aggregate, Item};
use super::reduce::{Dimension, Input, Intent, Known};
use super::stamp::Stamp;
use super::window::{Closed, Policy, Windows};
use crate::ServiceError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, params};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// `PRAGMA user_version` of the schema below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE stamps(id INTEGER PRIMARY KEY, stamp_id TEXT NOT NULL UNIQUE, tag TEXT NOT NULL, workflow TEXT NOT NULL, namespace TEXT NOT NULL, file TEXT NOT NULL, content_type TEXT NOT NULL, bytes INTEGER NOT NULL, hash TEXT NOT NULL, event_ms INTEGER NOT NULL, late INTEGER NOT NULL) STRICT;
CREATE TABLE totals(dimension TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL, min_bytes INTEGER NOT NULL, max_bytes INTEGER NOT NULL, PRIMARY KEY (dimension, key)) STRICT, WITHOUT ROWID;
CREATE TABLE windows(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, kind TEXT NOT NULL, key INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL, min_bytes INTEGER NOT NULL, max_bytes INTEGER NOT NULL, batch INTEGER NOT NULL, through INTEGER NOT NULL, tally TEXT NOT NULL, UNIQUE (stream, kind, key)) STRICT;
CREATE INDEX windows_of_batch ON windows(stream, batch);
CREATE TABLE streams(stream TEXT PRIMARY KEY, ended INTEGER NOT NULL, windows TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE batches(stream TEXT NOT NULL, batch INTEGER NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (stream, batch, part)) STRICT, WITHOUT ROWID;
CREATE TABLE refused(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, stamp_id TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL, deliveries INTEGER NOT NULL) STRICT;
CREATE TABLE settings(id INTEGER PRIMARY KEY CHECK (id = 1), policy TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
";

/// How long one attempt waits for another process that holds the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// Most bytes of a refused payload that are kept.
const KEPT_BYTES: usize = 4_096;
/// Most rows of totals that one question returns.
const MOST_TOTALS: i64 = 1_000;

/// The writer's connection.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
}

/// A stream's windows as they are written down.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Stream {
    pub(crate) windows: Windows,
    pub(crate) ended: bool,
}

/// A window as it is written down and told in replies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredWindow {
    pub(crate) kind: String,
    pub(crate) key: u64,
    pub(crate) tally: super::window::Tally,
}

/// What the database holds, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Stamps stored.
    pub(crate) stamps: u64,
    /// Of these, those that came too late for their window of event time.
    pub(crate) late: u64,
    /// Windows closed, of stamps and of streams.
    pub(crate) windows: u64,
    /// Distinct payloads refused.
    pub(crate) refused: u64,
    /// How often refused payloads came.
    pub(crate) refused_deliveries: u64,
    /// Batches of streams that were taken.
    pub(crate) batches: u64,
}

impl Store {
    /// Opens or creates the database, and finds the open windows of the stamps.
    pub(crate) fn open(path: &Path, policy: &Policy) -> std::result::Result<(Store, Windows), ServiceError> {
        let failed = |action: &'static str| move |cause| database_error(path, action, cause);
        let connection = Connection::open(path).map_err(failed("opening"))?;
        configure(&connection).map_err(failed("configuring"))?;
        // Taking the write lock shows now, not at the first stamp, that the file is locked or read-only.
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(failed("opening for writing"))?;
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed("reading the schema version"))?;
        match version {
            SCHEMA_VERSION => {}
            0 => connection
                .execute_batch(SCHEMA)
                .map_err(failed("creating the tables"))?,
            found => {
                return Err(ServiceError::Schema {
                    path: path.to_owned(),
                    found,
                    expected: SCHEMA_VERSION,
                });
            }
        }
        let ours = json(policy);
        connection
            .execute("INSERT OR IGNORE INTO settings(id, policy) VALUES (1, ?1)", [&ours])
            .map_err(failed("writing the settings"))?;
        let theirs: String = connection
            .query_row("SELECT policy FROM settings", [], |row| row.get(0))
            .map_err(failed("reading the settings"))?;
        if theirs != ours {
            let told = format!("its windows are {theirs}, asked for are {ours}; give the same options or another --db");
            return Err(ServiceError::Open {
                what: "database",
                place: path.display().to_string(),
                cause: std::io::Error::other(told),
            });
        }
        connection
            .execute_batch("COMMIT")
            .map_err(failed("creating the tables"))?;
        let windows = open_windows(&connection, policy).map_err(failed("reading the open windows"))?;
        Ok((Store { connection }, windows))
    }

    /// Runs `work` in a transaction. After an error nothing of it is stored, and it may be repeated.
    pub(crate) fn transaction<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = &self.connection;
        let outcome = (|| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let done = work(connection)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(done)
        })();
        if outcome.is_err() && !connection.is_autocommit() {
            // Nothing to be done if this fails too: closing the connection rolls back.
            let _ = connection.execute_batch("ROLLBACK");
        }
        outcome
    }
}

/// What is stored under a stamp's id.
pub(crate) fn known(connection: &Connection, stamp: &Stamp) -> Result<Known> {
    let mut statement = connection
        .prepare_cached("SELECT workflow, namespace, content_type, hash, bytes FROM stamps WHERE stamp_id = ?1")?;
    let stored = statement
        .query_row([&stamp.id], |row| {
            Ok(Stamp {
                workflow: row.get(0)?,
                namespace: row.get(1)?,
                content_type: row.get(2)?,
                hash: row.get(3)?,
                bytes: unsigned(row.get(4)?),
                ..Stamp::default()
            })
        })
        .optional()?;
    Ok(match stored {
        None => Known::No,
        Some(stored) if stored.says_the_same(stamp) => Known::Same,
        Some(_) => Known::Other,
    })
}

/// Carries out what the reducer said about these inputs; `payloads` are what they were read from.
pub(crate) fn carry_out(
    connection: &Connection,
    intents: &[Intent],
    inputs: &[Input],
    payloads: &[&[u8]],
) -> Result<()> {
    let mut last_row = 0;
    for intent in intents {
        match intent {
            Intent::Store { input, late } => {
                if let Some(Input::Stamp(stamp, _)) = inputs.get(*input) {
                    last_row = insert_stamp(connection, stamp, *late)?;
                }
            }
            Intent::Refuse { input, poison } => {
                let payload = payloads.get(*input).copied().unwrap_or_default();
                connection
                    .prepare_cached(
                        "INSERT INTO refused(digest, stamp_id, reason, payload, deliveries) VALUES (?1, ?2, ?3, ?4, 1) \
                         ON CONFLICT (digest) DO UPDATE SET deliveries = deliveries + 1",
                    )?
                    .execute(params![
                        blake3::hash(payload).to_hex().as_str(),
                        poison.id,
                        poison.reason,
                        &payload[..payload.len().min(KEPT_BYTES)]
                    ])?;
            }
            Intent::Close(closed) => insert_window(connection, "", 0, last_row, closed)?,
            Intent::Add { dimension, key, added } => add(connection, *dimension, key, added)?,
        }
    }
    Ok(())
}

fn insert_stamp(connection: &Connection, stamp: &Stamp, late: bool) -> Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO stamps(stamp_id, tag, workflow, namespace, file, content_type, bytes, hash, event_ms, late) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            stamp.id,
            stamp.tag,
            stamp.workflow,
            stamp.namespace,
            stamp.file,
            stamp.content_type,
            signed(stamp.bytes),
            stamp.hash,
            signed(stamp.event_ms),
            late
        ])?;
    Ok(connection.last_insert_rowid())
}

fn add(connection: &Connection, dimension: Dimension, key: &str, added: &Aggregate) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO totals(dimension, key, count, bytes, min_bytes, max_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (dimension, key) DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes, \
             min_bytes = min(min_bytes, excluded.min_bytes), max_bytes = max(max_bytes, excluded.max_bytes)",
        )?
        .execute(params![
            dimension.name(),
            key,
            signed(added.count),
            signed(added.bytes),
            signed(added.min),
            signed(added.max)
        ])?;
    Ok(())
}

fn insert_window(connection: &Connection, stream: &str, batch: u64, through: i64, closed: &Closed) -> Result<()> {
    let Aggregate { count, bytes, min, max } = closed.tally.total;
    connection
        .prepare_cached(
            "INSERT INTO windows(stream, kind, key, count, bytes, min_bytes, max_bytes, batch, through, tally) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            stream,
            closed.kind.name(),
            signed(closed.key),
            signed(count),
            signed(bytes),
            signed(min),
            signed(max),
            signed(batch),
            through,
            json(&closed.tally)
        ])?;
    Ok(())
}

/// A stream's windows; new ones if nothing of it is known.
pub(crate) fn stream(connection: &Connection, stream: &str) -> Result<Stream> {
    let mut statement = connection.prepare_cached("SELECT windows, ended FROM streams WHERE stream = ?1")?;
    let found = statement
        .query_row([stream], |row| {
            let windows: String = row.get(0)?;
            Ok(Stream {
                windows: parsed(0, &windows)?,
                ended: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Whether a part of a batch of a stream has been taken.
pub(crate) fn was_taken(connection: &Connection, stream: &str, batch: u64, part: u64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM batches WHERE stream = ?1 AND batch = ?2 AND part = ?3")?
        .exists(params![stream, signed(batch), signed(part)])
}

/// Notes that a part of a batch of a stream is taken.
pub(crate) fn note_batch(connection: &Connection, stream: &str, batch: u64, part: u64) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO batches(stream, batch, part) VALUES (?1, ?2, ?3)")?
        .execute(params![stream, signed(batch), signed(part)])?;
    Ok(())
}

/// Writes down where a stream has come to, and the windows that a batch closed.
pub(crate) fn put_stream(
    connection: &Connection,
    name: &str,
    batch: u64,
    stream: &Stream,
    closed: &[Closed],
) -> Result<()> {
    for closed in closed {
        insert_window(connection, name, batch, 0, closed)?;
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO streams(stream, ended, windows) VALUES (?1, ?2, ?3)")?
        .execute(params![name, stream.ended, json(&stream.windows)])?;
    Ok(())
}

/// The windows that a batch of a stream closed, in the order in which they did.
pub(crate) fn windows_of(connection: &Connection, stream: &str, batch: u64) -> Result<Vec<StoredWindow>> {
    let mut statement = connection
        .prepare_cached("SELECT kind, key, tally FROM windows WHERE stream = ?1 AND batch = ?2 ORDER BY id")?;
    let rows = statement.query_map(params![stream, signed(batch)], |row| {
        let tally: String = row.get(2)?;
        Ok(StoredWindow {
            kind: row.get(0)?,
            key: unsigned(row.get(1)?),
            tally: parsed(2, &tally)?,
        })
    })?;
    rows.collect()
}

/// Opens a second connection that only reads, so that a question never waits for the writer.
pub(crate) fn open_reader(path: &Path) -> std::result::Result<Connection, ServiceError> {
    let failed = |cause| database_error(path, "opening for reading", cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    Ok(connection)
}

/// Counts what the database holds.
pub(crate) fn counts(connection: &Connection) -> Result<Counts> {
    connection.query_row(
        "SELECT (SELECT coalesce(max(id), 0) FROM stamps), (SELECT count(*) FROM stamps WHERE late = 1), \
         (SELECT coalesce(max(id), 0) FROM windows), (SELECT count(*) FROM refused), \
         (SELECT coalesce(sum(deliveries), 0) FROM refused), (SELECT count(*) FROM batches)",
        [],
        |row| {
            let column = |index| row.get(index).map(unsigned);
            Ok(Counts {
                stamps: column(0)?,
                late: column(1)?,
                windows: column(2)?,
                refused: column(3)?,
                refused_deliveries: column(4)?,
                batches: column(5)?,
            })
        },
    )
}

/// The totals of one dimension by key, at most a thousand.
pub(crate) fn totals(connection: &Connection, dimension: Dimension) -> Result<BTreeMap<String, Aggregate>> {
    let mut statement = connection.prepare(
        "SELECT key, count, bytes, min_bytes, max_bytes FROM totals WHERE dimension = ?1 ORDER BY key LIMIT ?2",
    )?;
    let rows = statement.query_map(params![dimension.name(), MOST_TOTALS], |row| {
        let column = |index| row.get(index).map(unsigned);
        let total = Aggregate {
            count: column(1)?,
            bytes: column(2)?,
            min: column(3)?,
            max: column(4)?,
        };
        Ok((row.get(0)?, total))
    })?;
    rows.collect()
}

/// What the stamps after the last closed windows add up to.
fn open_windows(connection: &Connection, policy: &Policy) -> Result<Windows> {
    let (number, through): (i64, i64) = connection.query_row(
        "SELECT coalesce(max(key) + 1, 0), coalesce(max(through), 0) FROM windows WHERE stream = '' AND kind = 'count'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let (watermark_ms, late): (i64, i64) = connection.query_row(
        "SELECT coalesce(max(event_ms), 0), coalesce(sum(late), 0) FROM stamps",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut windows = Windows {
        number: unsigned(number),
        watermark_ns: unsigned(watermark_ms) * 1_000_000,
        late: unsigned(late),
        ..Windows::default()
    };
    let open_from_ns = windows.closed_through_ns(policy);
    let mut statement = connection.prepare(
        "SELECT id, namespace, content_type, bytes, event_ms, late FROM stamps WHERE id > ?1 OR event_ms >= ?2",
    )?;
    let mut rows = statement.query(params![through, signed(open_from_ns / 1_000_000)])?;
    while let Some(row) = rows.next()? {
        let (id, late): (i64, bool) = (row.get(0)?, row.get(5)?);
        let (namespace, content_type): (String, String) = (row.get(1)?, row.get(2)?);
        let item = Item {
            namespace: &namespace,
            file_type: &content_type,
            workflow: "",
            bytes: unsigned(row.get(3)?),
            at_ns: unsigned(row.get(4)?) * 1_000_000,
        };
        if id > through {
            windows.by_count.add(&item);
        }
        if !late && item.at_ns >= open_from_ns {
            let start_ns = item.at_ns - item.at_ns % policy.span_ns;
            windows.by_time.entry(start_ns).or_default().add(&item);
        }
    }
    Ok(windows)
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    // A stop must be quick: what is in the write-ahead log is safe there, and the next start reads it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn database_error(path: &Path, action: &'static str, cause: rusqlite::Error) -> ServiceError {
    use rusqlite::ErrorCode;
    let hint = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds its lock: stop that process or use another --db"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "the file is no sound SQLite database: use another --db"
        }
        _ => "check that the directory exists, is writable, and has room",
    };
    ServiceError::Database {
        path: path.to_owned(),
        action,
        cause,
        hint,
    }
}

/// All numbers that are stored are checked to be far below the greatest that SQLite takes.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn json<T: Serialize>(value: &T) -> String {
    // Numbers and maps with texts as keys: there is nothing that JSON could not hold.
    serde_json::to_string(value).unwrap_or_default()
}

fn parsed<T: serde::de::DeserializeOwned>(column: usize, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(cause))
    })
}

#[cfg(test)]
mod tests;
