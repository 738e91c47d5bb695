//! Why a service could not start or had to end.

use std::path::PathBuf;

/// A reason to end a service. Each message is one line: what failed, where, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The arguments do not parse.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// The broker does not answer or does not let us in.
    #[error("cannot connect to NATS at {url}: {cause}; {hint}")]
    Connect {
        /// Address as it was given.
        url: String,
        /// What the connection met.
        cause: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The broker refused something after the connection was made.
    #[error("NATS: {action} failed: {cause}")]
    Nats {
        /// What was asked of the broker.
        action: String,
        /// What it answered.
        cause: String,
    },
    /// The database cannot be opened, is locked, or is not ours.
    #[error("database {}: {action} failed: {cause}; {hint}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// SQLite's answer.
        cause: rusqlite::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The database was written by another version of the service.
    #[error("database {} has schema version {found}, this service writes version {expected}; give it another --db", path.display())]
    Schema {
        /// The database file.
        path: PathBuf,
        /// `PRAGMA user_version` of the file.
        found: i64,
        /// The version that this service writes.
        expected: i64,
    },
    /// A file, socket or port could not be opened.
    #[error("{what} {place}: {cause}")]
    Open {
        /// What kind of thing it is (`commit log`, `metrics port`, …).
        what: &'static str,
        /// Its path or address.
        place: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A thread or a runtime of the service could not be started, or ended before its time.
    #[error("thread {name}: {cause}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// What happened.
        cause: String,
    },
}
