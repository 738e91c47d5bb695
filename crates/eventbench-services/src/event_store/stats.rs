//! What the service counts about itself, shared between the receiver, the writer and whoever asks.

use super::event::{HighWater, Kind};
use super::store::{Committed, Table, Totals};
use crate::platform::monotonic_ns;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// One counter for each type of event.
pub(crate) type ByKind = [AtomicU64; Kind::COUNT];

/// Counters since the start, and running totals of the committed rows since the database was created.
#[derive(Debug)]
pub(crate) struct Stats {
    started_ns: u64,
    /// Events that came in on a known subject, well-formed or not.
    pub(crate) received: ByKind,
    /// Events committed.
    pub(crate) stored: ByKind,
    /// Events that could not be parsed or were too large.
    pub(crate) malformed: ByKind,
    /// Messages on a subject of the bus that carries no known event.
    pub(crate) unknown: AtomicU64,
    /// Events given up after the database had failed too often.
    pub(crate) failed: ByKind,
    /// Messages that the client library dropped because its buffer was full.
    pub(crate) slow_consumer: AtomicU64,
    /// Connections lost.
    pub(crate) disconnected: AtomicU64,
    /// JetStream: deliveries that were not the first of their event.
    pub(crate) redelivered: AtomicU64,
    /// Failed attempts to commit a batch.
    pub(crate) commit_errors: AtomicU64,
    /// Set while the last attempt to commit has failed.
    pub(crate) degraded: AtomicBool,
    /// Events in each committed batch.
    pub(crate) batch_size: Histogram,
    /// Seconds from the begin of a transaction to the end of its commit.
    pub(crate) commit_seconds: Histogram,
    rows: [AtomicU64; Table::COUNT],
    users: AtomicU64,
    high_water: Mutex<Option<HighWater>>,
}

impl Stats {
    /// Starts from what the database holds.
    pub(crate) fn new(totals: &Totals) -> Stats {
        Stats {
            started_ns: monotonic_ns(),
            received: ByKind::default(),
            stored: ByKind::default(),
            malformed: ByKind::default(),
            unknown: AtomicU64::new(0),
            failed: ByKind::default(),
            slow_consumer: AtomicU64::new(0),
            disconnected: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
            commit_errors: AtomicU64::new(0),
            degraded: AtomicBool::new(false),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            commit_seconds: Histogram::new(exponential_buckets(10e-6, 2.0, 18)),
            rows: totals.rows.map(AtomicU64::new),
            users: AtomicU64::new(totals.users),
            high_water: Mutex::new(totals.high_water),
        }
    }

    /// Adds a committed batch.
    pub(crate) fn committed(&self, batch: &Committed) {
        for (counter, stored) in self.stored.iter().zip(batch.by_kind) {
            if stored > 0 {
                counter.fetch_add(stored, Relaxed);
            }
        }
        for (counter, range) in self.rows.iter().zip(&batch.ids) {
            if let Some(range) = range {
                counter.fetch_add(range.len(), Relaxed);
            }
        }
        if batch.new_users > 0 {
            self.users.fetch_add(batch.new_users, Relaxed);
        }
        if batch.high_water.is_some() {
            *self.high_water.lock().unwrap_or_else(PoisonError::into_inner) = batch.high_water;
        }
    }

    /// Rows committed to a table since the database was created.
    pub(crate) fn rows(&self, table: Table) -> u64 {
        self.rows[table as usize].load(Relaxed)
    }

    /// Distinct user names committed since the database was created.
    pub(crate) fn users(&self) -> u64 {
        self.users.load(Relaxed)
    }

    /// The highest user count committed.
    pub(crate) fn high_water(&self) -> Option<HighWater> {
        *self.high_water.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the service was started.
    pub(crate) fn uptime_ms(&self) -> u64 {
        (monotonic_ns() - self.started_ns) / 1_000_000
    }
}

/// The sum over all types of event.
pub(crate) fn sum(counters: &ByKind) -> u64 {
    counters.iter().map(|counter| counter.load(Relaxed)).sum()
}
