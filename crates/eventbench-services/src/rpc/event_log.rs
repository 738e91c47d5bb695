//! What the consumer of events does with each: finds its text mark, and writes it to SQLite before it is acknowledged.
//!
//! A row is one delivery that was handled. A crash between commit and acknowledgement makes the event come again and
//! become a second row: a duplicate that can be seen, never a row that is missing.

use super::args::FaultArgs;
use crate::ServiceError;
use crate::kit::codec::Codec;
use crate::kit::events::{Delivery, Outcome};
use rusqlite::{Connection, params};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// `PRAGMA user_version` of the schema below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE events(id INTEGER PRIMARY KEY, msg TEXT NOT NULL, subject TEXT NOT NULL, stream_sequence INTEGER NOT NULL, delivered INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
";

/// How long one attempt waits for another process that holds the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// The part of an event that is followed. Everything else in it is the publisher's business.
#[derive(Debug, Deserialize)]
struct Marked {
    msg: String,
}

/// Handles deliveries.
#[derive(Debug)]
pub(crate) struct EventLog {
    database: Option<Connection>,
    to_fail: u64,
    crash_after: Option<u64>,
    handled: u64,
}

impl EventLog {
    /// A log that writes to `path`, or only counts without one.
    pub(crate) fn open(path: Option<&Path>, faults: &FaultArgs) -> Result<EventLog, ServiceError> {
        Ok(EventLog {
            database: path.map(open).transpose()?,
            to_fail: faults.fail_first.map_or(0, Into::into),
            crash_after: faults.crash_after.map(Into::into),
            handled: 0,
        })
    }

    /// Handles a group: its rows are committed when this returns.
    pub(crate) fn handle(&mut self, deliveries: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(deliveries.len());
        let mut rows = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if self.to_fail > 0 {
                self.to_fail -= 1;
                outcomes.push(Outcome::Failed);
                continue;
            }
            let Some(mark) = mark(&delivery.payload) else {
                tracing::warn!("event {} on {} has no text", delivery.stream_sequence, delivery.subject);
                outcomes.push(Outcome::Refused);
                continue;
            };
            rows.push((mark, delivery));
            outcomes.push(Outcome::Handled);
            if self.crash_after == Some(self.handled + rows.len() as u64) {
                break;
            }
        }
        if let Err(cause) = self.write(&rows) {
            // Nothing of the group is in the database; all of it comes again after a pause.
            tracing::error!("events could not be written: {cause}");
            return vec![Outcome::Failed; deliveries.len()];
        }
        self.handled += rows.len() as u64;
        if self.crash_after.is_some_and(|limit| self.handled >= limit) {
            tracing::error!("crash after {} events, as asked", self.handled);
            std::process::abort();
        }
        outcomes
    }

    fn write(&mut self, rows: &[(String, &Delivery)]) -> rusqlite::Result<()> {
        let Some(connection) = &mut self.database else {
            return Ok(());
        };
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut insert = transaction
            .prepare_cached("INSERT INTO events(msg, subject, stream_sequence, delivered) VALUES (?1, ?2, ?3, ?4)")?;
        for (mark, delivery) in rows {
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            insert.execute(params![
                mark,
                delivery.subject,
                number(delivery.stream_sequence),
                number(delivery.delivered)
            ])?;
        }
        drop(insert);
        transaction.commit()
    }
}

/// The text by which an event is followed: the field `msg` of a MessagePack or JSON map, or else the whole payload if it
/// is text; `None` if it is neither.
fn mark(payload: &[u8]) -> Option<String> {
    let marked = match Codec::detect(payload) {
        Ok(Some(codec)) => codec.decode::<Marked>(payload).ok(),
        _ => None,
    };
    match marked {
        Some(Marked { msg }) => Some(msg),
        None => std::str::from_utf8(payload).ok().map(str::to_owned),
    }
}

fn open(path: &Path) -> Result<Connection, ServiceError> {
    let failed = |action, cause| ServiceError::Database {
        path: path.to_owned(),
        action,
        cause,
        hint: "give a writable --db that no other program holds",
    };
    let connection = Connection::open(path).map_err(|cause| failed("opening", cause))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())))
        .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
        .map_err(|cause| failed("configuring", cause))?;
    // Taking the write lock shows now, not at the first event, that the file is locked or read-only.
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(|cause| failed("opening for writing", cause))?;
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|cause| failed("reading the schema version", cause))?;
    match version {
        SCHEMA_VERSION => {}
        0 => connection
            .execute_batch(SCHEMA)
            .map_err(|cause| failed("creating the table", cause))?,
        found => {
            return Err(ServiceError::Schema {
                path: path.to_owned(),
                found,
                expected: SCHEMA_VERSION,
            });
        }
    }
    connection
        .execute_batch("COMMIT")
        .map_err(|cause| failed("creating the table", cause))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    fn deliveries(payloads: &[&[u8]]) -> Vec<Delivery> {
        let numbered = payloads.iter().zip(1..);
        numbered
            .map(|(payload, stream_sequence)| Delivery {
                subject: "events.chat.sent".to_owned(),
                payload: Bytes::copy_from_slice(payload),
                stream_sequence,
                delivered: 1,
            })
            .collect()
    }

    #[test]
    fn the_mark_is_the_field_or_the_whole_text() {
        let value = json!({ "msg": "mark 7", "user": "ann" });
        for codec in Codec::ALL {
            assert_eq!(
                mark(&codec.encode(&value).unwrap()).as_deref(),
                Some("mark 7"),
                "{codec:?}"
            );
        }
        for text in ["", "mark 7", "{\"text\":1}", "[1]", "7"] {
            assert_eq!(mark(text.as_bytes()).as_deref(), Some(text));
        }
        assert_eq!(mark(b"\xff\xfe"), None);
        assert_eq!(mark(&Codec::MessagePack.encode(&json!({ "text": 1 })).unwrap()), None);
    }

    #[test]
    fn what_was_handled_is_in_the_database_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let faults = FaultArgs {
            fail_first: std::num::NonZeroU64::new(2),
            crash_after: None,
        };
        let mut log = EventLog::open(Some(&path), &faults).unwrap();
        let outcomes = log.handle(&deliveries(&[b"a", b"b", b"c", b"\xff\xfe", b"d"]));
        use Outcome::{Failed, Handled, Refused};
        assert_eq!(outcomes, [Failed, Failed, Handled, Refused, Handled]);
        let rows = |sql: &str| -> String {
            let connection = Connection::open(&path).unwrap();
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(
            rows("SELECT group_concat(msg || stream_sequence, ' ') FROM events"),
            "c3 d5"
        );
        assert_eq!(log.handle(&[]), []);
        drop(log);
        // A second start continues the same table.
        let mut log = EventLog::open(Some(&path), &FaultArgs::default()).unwrap();
        log.handle(&deliveries(&[b"c"]));
        assert_eq!(rows("SELECT group_concat(msg, ' ') FROM events"), "c d c");
    }

    #[test]
    fn a_locked_database_makes_the_events_come_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let mut log = EventLog::open(Some(&path), &FaultArgs::default()).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert_eq!(log.handle(&deliveries(&[b"a"])), [Outcome::Failed]);
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(log.handle(&deliveries(&[b"a"])), [Outcome::Handled]);
    }

    #[test]
    fn a_database_of_another_kind_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 9)
            .unwrap();
        let error = EventLog::open(Some(&path), &FaultArgs::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("version 9"), "{error}");
    }
}
