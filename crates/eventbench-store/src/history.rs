//! Opening a history and writing to it: a benchmark is committed as soon as it is put, so that a run that is cut off
//! loses only the benchmark under way.

use crate::comparisons;
use crate::error::HistoryError;
use crate::migrations::{self, Found};
use crate::tall;
use eventbench_core::record::{BenchmarkRecord, RECORD_VERSION, RunHead, RunRecord};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process waits for another that is writing. A commit takes milliseconds; seconds mean that one hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A history of runs in one file.
#[derive(Debug)]
pub struct History {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    /// The version of its tables: below [`migrations::VERSION`] only where it may not be written.
    pub(crate) version: i64,
    patience: Duration,
}

impl History {
    /// Opens the history at a path for reading and writing; makes the file and its directory when they are not there.
    ///
    /// # Errors
    /// Says what the path is when it is not a history that this version can write, and what to do; such a file is left
    /// as it is.
    pub fn open(path: &Path) -> Result<History, HistoryError> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|cause| HistoryError::Directory {
                path: directory.to_owned(),
                cause,
            })?;
        }
        Self::open_with(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            PATIENCE,
        )
    }

    /// Opens a history that is there, for reading; nothing is made. A history that may only be read will do.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] when there is none, else as [`History::open`].
    pub fn open_existing(path: &Path) -> Result<History, HistoryError> {
        if !path.exists() {
            return Err(HistoryError::Missing { path: path.to_owned() });
        }
        let refused = |e: &HistoryError| matches!(e, HistoryError::ReadOnly { .. } | HistoryError::CannotOpen { .. });
        Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE, PATIENCE)
            .or_else(|e| {
                if refused(&e) {
                    Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY, PATIENCE)
                } else {
                    Err(e)
                }
            })
            .or_else(|e| {
                if refused(&e) {
                    Self::open_unchanging(path).map_err(|_| e)
                } else {
                    Err(e)
                }
            })
    }

    /// Opens a history in a place where not even the files beside it can be made, such as a read-only file system.
    /// SQLite then takes no locks, which is sound only where nobody writes: not when a log of writes lies beside it.
    pub(crate) fn open_unchanging(path: &Path) -> Result<History, HistoryError> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let name = path.to_str().filter(|_| !Path::new(&log).exists());
        let Some(name) = name else {
            return Err(HistoryError::ReadOnly { path: path.to_owned() });
        };
        let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
            .map_err(|e| HistoryError::of(path, 0, e))?;
        let mut history = History {
            connection,
            path: path.to_owned(),
            version: migrations::VERSION,
            patience: PATIENCE,
        };
        history.prepare(true)?;
        Ok(history)
    }

    pub(crate) fn open_with(path: &Path, flags: OpenFlags, patience: Duration) -> Result<History, HistoryError> {
        let failed = |cause| HistoryError::of(path, patience.as_millis(), cause);
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let mut history = History {
            connection,
            path: path.to_owned(),
            version: migrations::VERSION,
            patience,
        };
        history.prepare(flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        Ok(history)
    }

    fn prepare(&mut self, read_only: bool) -> Result<(), HistoryError> {
        self.connection
            .busy_timeout(self.patience)
            .map_err(|e| self.failed(e))?;
        let version = match migrations::look(&self.connection).map_err(|e| self.failed(e))? {
            Found::Foreign(what) => {
                return Err(HistoryError::Foreign {
                    path: self.path.clone(),
                    what,
                });
            }
            Found::Version(found) if found > migrations::VERSION => {
                return Err(HistoryError::Newer {
                    path: self.path.clone(),
                    found,
                    known: migrations::VERSION,
                });
            }
            Found::Version(found) => found,
        };
        if read_only {
            // An earlier form is read as it is: what it does not have yet is not there.
            self.version = version;
            return if version < migrations::READABLE {
                Err(HistoryError::ReadOnly {
                    path: self.path.clone(),
                })
            } else {
                Ok(())
            };
        }
        migrations::migrate(&mut self.connection).map_err(|e| self.failed(e))?;
        // A reader and a writer then do not wait for each other. Where another process is in the middle of something the
        // switch is refused without waiting; without it everything works as well, only with more waiting, and the next
        // one to open the file makes it.
        match self.connection.pragma_update(None, "journal_mode", "wal") {
            Ok(()) => {}
            Err(error) if busy(&error) => {}
            Err(error) => return Err(self.failed(error)),
        }
        // A commit is on the disk when it is said to be: there is one for each benchmark, so it costs nothing.
        self.connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(|e| self.failed(e))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records that a run has begun.
    ///
    /// # Errors
    /// When the id is taken, or the file cannot be written.
    pub fn begin(&mut self, run: &RunHead) -> Result<(), HistoryError> {
        let head = self.json(&run.id, run)?;
        insert_run(&self.connection, RECORD_VERSION, run, &head)
            .map_err(|e| self.taken(e, || format!("a run {}", run.id)))?;
        Ok(())
    }

    /// Writes a finished benchmark of a run, all of it in one transaction, and commits it.
    ///
    /// # Errors
    /// When the run was not begun, the place is taken, or the file cannot be written; then nothing of it is there.
    pub fn put(&mut self, run: &str, index: usize, benchmark: &BenchmarkRecord) -> Result<(), HistoryError> {
        let number = self.number(run)?;
        let written = self.written(run, benchmark)?;
        let result = (|| {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert_benchmark(&transaction, number, index, benchmark, &written)?;
            transaction.commit()
        })();
        result.map_err(|e| self.taken(e, || format!("a benchmark {} of run {run}", index + 1)))
    }

    /// Keeps a whole record, such as one that was measured elsewhere, in one transaction. Whether it was new: the same
    /// record may be put again, which changes nothing.
    ///
    /// # Errors
    /// When the id is there with other content, or the file cannot be written; then nothing of it is there.
    pub fn put_record(&mut self, record: &RunRecord) -> Result<bool, HistoryError> {
        self.writable()?;
        let id = &record.run.id;
        if self.number(id).is_ok() {
            let (there, given) = (self.json(id, &self.load(id)?)?, self.json(id, record)?);
            return if there == given {
                Ok(false)
            } else {
                Err(HistoryError::Exists {
                    path: self.path.clone(),
                    what: format!("a run {id} with other content"),
                })
            };
        }
        let head = self.json(id, &record.run)?;
        let comparison = match &record.comparison {
            Some(comparison) => Some(self.written_comparison(id, comparison)?),
            None => None,
        };
        let written: Vec<Written> = record
            .benchmarks
            .iter()
            .map(|b| self.written(id, b))
            .collect::<Result<_, _>>()?;
        let result = (|| {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert_run(&transaction, record.version, &record.run, &head)?;
            let number = transaction.last_insert_rowid();
            for (index, (benchmark, written)) in record.benchmarks.iter().zip(&written).enumerate() {
                insert_benchmark(&transaction, number, index, benchmark, written)?;
            }
            if let Some((verdict, body)) = &comparison {
                comparisons::write(&transaction, number, verdict, body)?;
            }
            transaction.commit()
        })();
        result.map_err(|e| self.taken(e, || format!("a run {id}")))?;
        Ok(true)
    }

    fn written(&self, run: &str, benchmark: &BenchmarkRecord) -> Result<Written, HistoryError> {
        Ok(Written {
            body: self.json(run, benchmark)?,
            verdict: self.json(run, &benchmark.verdict)?.trim_matches('"').to_owned(),
        })
    }

    /// Records how a run ended: its head replaces the one that it began with.
    ///
    /// # Errors
    /// When the run was not begun, or the file cannot be written.
    pub fn finish(&mut self, run: &RunHead) -> Result<(), HistoryError> {
        let head = self.json(&run.id, run)?;
        let changed = self
            .connection
            .execute(
                "UPDATE runs SET head = ?, suite = ?, profile = ? WHERE id = ?",
                params![head, run.suite, run.profile, run.id],
            )
            .map_err(|e| self.failed(e))?;
        if changed == 0 {
            return Err(HistoryError::UnknownRun {
                wanted: run.id.clone(),
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Refuses to write to a history of an earlier form, which could be opened only for reading.
    pub(crate) fn writable(&self) -> Result<(), HistoryError> {
        if self.version < migrations::VERSION {
            return Err(HistoryError::ReadOnly {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// The row number of a run by its whole id.
    pub(crate) fn number(&self, run: &str) -> Result<i64, HistoryError> {
        self.connection
            .query_row("SELECT number FROM runs WHERE id = ?", [run], |row| row.get(0))
            .optional()
            .map_err(|e| self.failed(e))?
            .ok_or_else(|| HistoryError::UnknownRun {
                wanted: run.to_owned(),
                path: self.path.clone(),
            })
    }

    pub(crate) fn json(&self, run: &str, value: &impl serde::Serialize) -> Result<String, HistoryError> {
        serde_json::to_string(value).map_err(|e| self.unreadable(run, e))
    }

    pub(crate) fn unreadable(&self, run: &str, cause: impl std::fmt::Display) -> HistoryError {
        HistoryError::Record {
            run: run.to_owned(),
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }

    pub(crate) fn failed(&self, cause: rusqlite::Error) -> HistoryError {
        HistoryError::of(&self.path, self.patience.as_millis(), cause)
    }

    fn taken(&self, cause: rusqlite::Error, what: impl Fn() -> String) -> HistoryError {
        match cause.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => HistoryError::Exists {
                path: self.path.clone(),
                what: what(),
            },
            _ => self.failed(cause),
        }
    }
}

/// A benchmark as the table of benchmarks holds it.
struct Written {
    body: String,
    verdict: String,
}

fn insert_run(connection: &Connection, version: u32, run: &RunHead, head: &str) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO runs (id, version, suite, profile, started_unix_ms, head) VALUES (?, ?, ?, ?, ?, ?)",
        params![run.id, version, run.suite, run.profile, run.started_unix_ms, head],
    )
}

fn insert_benchmark(
    transaction: &Transaction<'_>,
    run: i64,
    index: usize,
    benchmark: &BenchmarkRecord,
    written: &Written,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO benchmarks (run, place, name, verdict, body) VALUES (?, ?, ?, ?, ?)",
        params![run, index as i64, benchmark.name, written.verdict, written.body],
    )?;
    tall::write(transaction, run, index as i64, benchmark)
}

fn busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}
