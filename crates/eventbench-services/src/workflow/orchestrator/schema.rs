//! The orchestrator's database: its tables, and the statements of one group of changes.
//!
//! A row of `requests` is a workflow that has not ended, a row of `outbox` a stamp that the reducer has not confirmed:
//! what is to be done after a crash is exactly what these two tables hold.

use super::state::State;
use crate::ServiceError;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, TransactionBehavior, params};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

/// `PRAGMA user_version` of the schema below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE origin(id INTEGER PRIMARY KEY CHECK (id = 1), prefix TEXT NOT NULL) STRICT;
CREATE TABLE workflows(seq INTEGER PRIMARY KEY, state TEXT NOT NULL, source TEXT, accepted_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL, cause TEXT, error TEXT) STRICT;
CREATE UNIQUE INDEX workflow_sources ON workflows(source) WHERE source IS NOT NULL;
CREATE TABLE requests(seq INTEGER PRIMARY KEY, request BLOB NOT NULL) STRICT;
CREATE TABLE outbox(seq INTEGER PRIMARY KEY, stamp BLOB NOT NULL, refused TEXT) STRICT;
PRAGMA user_version = 1;
";

/// How long one attempt waits for another process that holds the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// What a database held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The beginning of the ids of its workflows; no two databases share it.
    pub(crate) prefix: String,
    /// The highest number of a workflow.
    pub(crate) last: u64,
    /// Workflows by state, in the order of [`State::ALL`].
    pub(crate) by_state: [u64; 4],
    /// Workflows that have not ended, the oldest first.
    pub(crate) open: Vec<u64>,
    /// Stamps that have not been confirmed, the oldest first.
    pub(crate) unconfirmed: Vec<u64>,
    /// Stamps that the reducer has refused for good.
    pub(crate) refused: u64,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A new workflow, PENDING. With a source that is known already, nothing changes.
    Accept {
        seq: u64,
        source: Option<String>,
        request: Bytes,
        accepted_ms: u64,
    },
    /// A transition, which happens only if the workflow is in the state `from`.
    Move {
        seq: u64,
        from: State,
        to: State,
        changed_ms: u64,
        /// Cause and message of a failure.
        failure: Option<(String, String)>,
        /// The stamp of what has completed, as it goes to the reducer.
        stamp: Option<Bytes>,
    },
    /// The reducer has a stamp's row.
    Confirm { seq: u64 },
    /// The reducer will never take a stamp.
    Refuse { seq: u64, reason: String },
}

/// A workflow that has not ended.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) state: State,
    pub(crate) accepted_ms: u64,
    pub(crate) request: Bytes,
}

/// What is known of a workflow.
#[derive(Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) state: State,
    pub(crate) cause: Option<String>,
    pub(crate) error: Option<String>,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Opens or creates the database, and makes sure that it can be written.
///
/// # Errors
/// [`ServiceError::Database`] and [`ServiceError::Schema`].
pub(crate) fn open(path: &Path) -> std::result::Result<(Connection, Found), ServiceError> {
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
    connection.set_prepared_statement_cache_capacity(32);
    // Taking the write lock shows now, not at the first workflow, that the file is locked or read-only.
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
            .and_then(|()| connection.execute("INSERT INTO origin VALUES (1, ?1)", [new_prefix()]))
            .map(|_| ())
            .map_err(|cause| failed("creating the tables", cause))?,
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
        .map_err(|cause| failed("creating the tables", cause))?;
    let found = read(&connection).map_err(|cause| failed("reading what is to be done", cause))?;
    Ok((connection, found))
}

/// Eight hexadecimal digits that the standard library's seed makes random.
fn new_prefix() -> String {
    format!("{:08x}", RandomState::new().hash_one("prefix") & 0xffff_ffff)
}

fn read(connection: &Connection) -> Result<Found> {
    let mut found = Found {
        prefix: connection.query_row("SELECT prefix FROM origin", [], |row| row.get(0))?,
        ..Found::default()
    };
    found.last = connection
        .query_row("SELECT max(seq) FROM workflows", [], |row| row.get::<_, Option<i64>>(0))?
        .map_or(0, unsigned);
    let mut counts = connection.prepare("SELECT state, count(*) FROM workflows GROUP BY state")?;
    let mut rows = counts.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Some(state) = State::of_name(&name) {
            found.by_state[state as usize] = unsigned(row.get(1)?);
        }
    }
    found.open = numbers(connection, "SELECT seq FROM requests ORDER BY seq")?;
    found.unconfirmed = numbers(connection, "SELECT seq FROM outbox WHERE refused IS NULL ORDER BY seq")?;
    let refused = "SELECT count(*) FROM outbox WHERE refused IS NOT NULL";
    found.refused = unsigned(connection.query_row(refused, [], |row| row.get(0))?);
    Ok(found)
}

fn numbers(connection: &Connection, sql: &str) -> Result<Vec<u64>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0).map(unsigned))?;
    rows.collect()
}

/// Makes all changes in one transaction and says of each whether it changed anything. After an error nothing has
/// changed.
pub(crate) fn apply<'a>(connection: &mut Connection, changes: impl Iterator<Item = &'a Change>) -> Result<Vec<bool>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = changes
        .map(|change| apply_one(&transaction, change))
        .collect::<Result<Vec<bool>>>()?;
    transaction.commit()?;
    Ok(changed)
}

fn apply_one(connection: &Connection, change: &Change) -> Result<bool> {
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> Result<bool> {
        Ok(connection.prepare_cached(sql)?.execute(parameters)? > 0)
    };
    match change {
        Change::Accept {
            seq,
            source,
            request,
            accepted_ms,
        } => {
            let accepted_ms = signed(*accepted_ms);
            let is_new = run(
                "INSERT INTO workflows(seq, state, source, accepted_ms, changed_ms) VALUES (?1, 'PENDING', ?2, ?3, ?3) \
                 ON CONFLICT(source) WHERE source IS NOT NULL DO NOTHING",
                params![signed(*seq), source, accepted_ms],
            )?;
            if is_new {
                let request: &[u8] = request;
                run(
                    "INSERT INTO requests(seq, request) VALUES (?1, ?2)",
                    params![signed(*seq), request],
                )?;
            }
            Ok(is_new)
        }
        Change::Move {
            seq,
            from,
            to,
            changed_ms,
            failure,
            stamp,
        } => {
            let (cause, error) = failure.as_ref().map(|(cause, error)| (cause, error)).unzip();
            let has_moved = run(
                "UPDATE workflows SET state = ?2, changed_ms = ?3, cause = ?4, error = ?5 WHERE seq = ?1 AND state = ?6",
                params![signed(*seq), to.name(), signed(*changed_ms), cause, error, from.name()],
            )?;
            if has_moved && to.is_end() {
                run("DELETE FROM requests WHERE seq = ?1", params![signed(*seq)])?;
            }
            if has_moved && let Some(stamp) = stamp {
                let stamp: &[u8] = stamp;
                run(
                    "INSERT INTO outbox(seq, stamp) VALUES (?1, ?2)",
                    params![signed(*seq), stamp],
                )?;
            }
            Ok(has_moved)
        }
        Change::Confirm { seq } => run("DELETE FROM outbox WHERE seq = ?1", params![signed(*seq)]),
        Change::Refuse { seq, reason } => run(
            "UPDATE outbox SET refused = ?2 WHERE seq = ?1 AND refused IS NULL",
            params![signed(*seq), reason],
        ),
    }
}

/// A workflow that has not ended; `None` if it has, or never was.
pub(crate) fn open_workflow(connection: &Connection, seq: u64) -> Result<Option<Open>> {
    let sql = "SELECT state, accepted_ms, request FROM workflows JOIN requests USING (seq) WHERE seq = ?1";
    connection
        .prepare_cached(sql)?
        .query_row([signed(seq)], |row| {
            Ok(Open {
                state: state_of(&row.get::<_, String>(0)?),
                accepted_ms: unsigned(row.get(1)?),
                request: row.get::<_, Vec<u8>>(2)?.into(),
            })
        })
        .optional()
}

/// What is known of a workflow.
pub(crate) fn known(connection: &Connection, seq: u64) -> Result<Option<Known>> {
    connection
        .prepare_cached("SELECT state, cause, error FROM workflows WHERE seq = ?1")?
        .query_row([signed(seq)], |row| {
            Ok(Known {
                state: state_of(&row.get::<_, String>(0)?),
                cause: row.get(1)?,
                error: row.get(2)?,
            })
        })
        .optional()
}

/// The stamp of a workflow as long as it is to be delivered.
pub(crate) fn unconfirmed_stamp(connection: &Connection, seq: u64) -> Result<Option<Bytes>> {
    connection
        .prepare_cached("SELECT stamp FROM outbox WHERE seq = ?1 AND refused IS NULL")?
        .query_row([signed(seq)], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))
        .optional()
}

/// Only this service writes the column; anything else in it has never been called, so it begins anew.
fn state_of(name: &str) -> State {
    State::of_name(name).unwrap_or(State::Pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(seq: u64, source: Option<&str>) -> Change {
        Change::Accept {
            seq,
            source: source.map(str::to_owned),
            request: Bytes::from_static(b"{}"),
            accepted_ms: 5,
        }
    }

    fn step(seq: u64, from: State, to: State, stamp: Option<&'static [u8]>) -> Change {
        Change::Move {
            seq,
            from,
            to,
            changed_ms: 6,
            failure: (to == State::Failed).then(|| ("cause".to_owned(), "why".to_owned())),
            stamp: stamp.map(Bytes::from_static),
        }
    }

    #[test]
    fn what_is_left_to_do_survives_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orchestrator.db");
        let (mut connection, found) = open(&path).unwrap();
        let prefix = found.prefix;
        assert_eq!((prefix.len(), found.last, found.open.len()), (8, 0, 0));
        let changes = [
            accept(1, None),
            accept(2, Some("s.1")),
            accept(3, Some("s.1")),
            accept(4, None),
            accept(5, None),
            step(1, State::Pending, State::Processing, None),
            step(1, State::Processing, State::Completed, Some(b"one")),
            step(1, State::Processing, State::Failed, Some(b"again")),
            step(2, State::Pending, State::Processing, None),
            step(4, State::Pending, State::Processing, None),
            step(4, State::Processing, State::Failed, None),
        ];
        let changed = apply(&mut connection, changes.iter()).unwrap();
        let expected = [true, true, false, true, true, true, true, false, true, true, true];
        assert_eq!(changed, expected);
        drop(connection);

        let (mut connection, found) = open(&path).unwrap();
        assert_eq!(found.prefix, prefix);
        assert_eq!((found.last, found.by_state), (5, [1, 1, 1, 1]));
        assert_eq!((found.open, found.unconfirmed, found.refused), (vec![2, 5], vec![1], 0));
        let open_two = open_workflow(&connection, 2).unwrap().unwrap();
        assert_eq!((open_two.state, open_two.accepted_ms), (State::Processing, 5));
        assert!(open_workflow(&connection, 1).unwrap().is_none());
        let failed = known(&connection, 4).unwrap().unwrap();
        assert_eq!((failed.state, failed.error.as_deref()), (State::Failed, Some("why")));
        assert_eq!(known(&connection, 3).unwrap(), None);
        assert_eq!(unconfirmed_stamp(&connection, 1).unwrap().as_deref(), Some(&b"one"[..]));
        let reason = "no".to_owned();
        let changes = [Change::Refuse { seq: 1, reason }, Change::Confirm { seq: 2 }];
        assert_eq!(apply(&mut connection, changes.iter()).unwrap(), [true, false]);
        assert_eq!(unconfirmed_stamp(&connection, 1).unwrap(), None);
    }

    #[test]
    fn after_an_error_nothing_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (mut connection, _) = open(&directory.path().join("orchestrator.db")).unwrap();
        let changes = [accept(1, None), accept(1, None)];
        assert!(apply(&mut connection, changes.iter()).is_err());
        assert_eq!(known(&connection, 1).unwrap(), None);
        assert_eq!(apply(&mut connection, changes[..1].iter()).unwrap(), [true]);
    }
}
