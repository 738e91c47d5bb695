//! The tables of a history, step by step: step n leads from version n to version n + 1.

use rusqlite::{Connection, TransactionBehavior};

/// Marks the file as ours in its header ("evbh"), so that another program's database is never touched.
pub(crate) const APPLICATION_ID: i64 = 0x6576_6268;

/// Every step ever published; a published one is never changed.
const STEPS: &[&str] = &[
    "
    CREATE TABLE runs (
        number      INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        version     INTEGER NOT NULL,
        suite       TEXT NOT NULL,
        profile     TEXT NOT NULL,
        started_unix_ms INTEGER NOT NULL,
        head        TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_start ON runs (started_unix_ms, number);
    CREATE INDEX runs_by_suite ON runs (suite, profile, started_unix_ms);

    CREATE TABLE benchmarks (
        run         INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        place       INTEGER NOT NULL,
        name        TEXT NOT NULL,
        verdict     TEXT NOT NULL,
        body        TEXT NOT NULL,
        PRIMARY KEY (run, place)
    ) STRICT;
    CREATE INDEX benchmarks_by_name ON benchmarks (name, run);

    -- One row a figure: of a trial, or, where trial is NULL, over the trials.
    CREATE TABLE metrics (
        run         INTEGER NOT NULL,
        place       INTEGER NOT NULL,
        benchmark   TEXT NOT NULL,
        variant     TEXT NOT NULL,
        trial       INTEGER,
        metric      TEXT NOT NULL,
        tags        TEXT NOT NULL,
        stat        TEXT NOT NULL,
        unit        TEXT NOT NULL,
        value       REAL,
        low         REAL,
        high        REAL,
        samples     INTEGER,
        FOREIGN KEY (run, place) REFERENCES benchmarks (run, place) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX metrics_of_benchmark ON metrics (run, place);
    CREATE INDEX metrics_for_trends ON metrics (benchmark, metric, stat, variant, trial, run);

    -- Whole distributions in the reference V2 encoding of HdrHistogram, nanoseconds.
    CREATE TABLE histograms (
        run         INTEGER NOT NULL,
        place       INTEGER NOT NULL,
        variant     TEXT NOT NULL,
        trial       INTEGER NOT NULL,
        metric      TEXT NOT NULL,
        tags        TEXT NOT NULL,
        count       INTEGER NOT NULL,
        hdr_v2      BLOB NOT NULL,
        PRIMARY KEY (run, place, variant, trial, metric, tags),
        FOREIGN KEY (run, place) REFERENCES benchmarks (run, place) ON DELETE CASCADE
    ) STRICT;
",
    "
    -- A name for a run of a suite. The run cannot be deleted while a name stands for it.
    CREATE TABLE baselines (
        name        TEXT NOT NULL,
        suite       TEXT NOT NULL,
        run         INTEGER NOT NULL REFERENCES runs (number) ON DELETE RESTRICT,
        saved_unix_ms INTEGER NOT NULL,
        PRIMARY KEY (name, suite)
    ) STRICT;
    CREATE INDEX baselines_by_run ON baselines (run);

    CREATE TABLE comparisons (
        run         INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
        verdict     TEXT NOT NULL,
        body        TEXT NOT NULL
    ) STRICT;

    -- One row a calibration of a figure on a machine, its values pair by pair.
    CREATE TABLE noise (
        number      INTEGER PRIMARY KEY,
        machine     TEXT NOT NULL,
        suite       TEXT NOT NULL,
        benchmark   TEXT NOT NULL,
        metric      TEXT NOT NULL,
        tags        TEXT NOT NULL,
        stat        TEXT NOT NULL,
        at_unix_ms  INTEGER NOT NULL,
        session     TEXT NOT NULL
    ) STRICT;
    CREATE INDEX noise_by_figure ON noise (machine, suite, benchmark, metric, tags, stat, at_unix_ms);
",
];

/// The version that this program writes.
pub(crate) const VERSION: i64 = STEPS.len() as i64;
/// The first version that can be read as it is, where it cannot be brought to [`VERSION`].
pub(crate) const READABLE: i64 = 1;
/// The version that brought baselines, comparisons and noise.
pub(crate) const WITH_BASELINES: i64 = 2;

/// What a file is, judged by its header.
pub(crate) enum Found {
    /// A history, or an empty file that may become one, of this version.
    Version(i64),
    /// Another program's database.
    Foreign(String),
}

/// Reads the header without changing anything.
pub(crate) fn look(connection: &Connection) -> rusqlite::Result<Found> {
    // One snapshot for all three questions: another process may be making the tables at this very moment.
    let connection = connection.unchecked_transaction()?;
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application == APPLICATION_ID {
        return Ok(Found::Version(version));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(Found::Version(0));
    }
    Ok(Found::Foreign(format!(
        "an SQLite database of another program, with {tables} tables and indexes"
    )))
}

/// Brings the tables to [`VERSION`]; nothing happens when they are there. Two processes may do it at the same time.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // The write lock first, then the version: whoever comes second finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    if from < VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// A history as an earlier version left it.
#[cfg(test)]
pub(crate) fn make_old(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for step in STEPS.iter().take(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
