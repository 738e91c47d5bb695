//! What serves: the state that all workers share, and that of one worker, which is one thread.

use super::accounts::{Database, Directory};
use super::fault::Faults;
use super::kept::KeptRuns;
use super::metrics::{Outcome, Shard};
use super::workflow::Workflow;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How far the end of the service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Runs are taken.
    Serving,
    /// No run is taken; those that are open go on.
    Draining,
    /// Runs that are open end now.
    Ending,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) faults: Faults,
    pub(crate) kept: Mutex<KeptRuns>,
    pub(crate) open_runs: Arc<AtomicUsize>,
    pub(crate) registry: Registry,
    pub(crate) phase: watch::Receiver<Phase>,
    /// The same as `phase` being past `Serving`, for a question at each request.
    pub(crate) draining: AtomicBool,
    /// Numbers the runs that come without ids.
    pub(crate) unnamed_runs: AtomicU64,
    /// `CLOCK_MONOTONIC` at the start: tells the unnamed runs of this service from those of the one before.
    pub(crate) started_ns: u64,
    pub(crate) max_runs: usize,
    pub(crate) max_body: usize,
    pub(crate) pace: Duration,
    pub(crate) heartbeat: Duration,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shard: Arc<Shard>,
    /// Locked by this worker's thread alone: the lock only lets its tasks be sent, as the server demands.
    pub(crate) database: Mutex<Database>,
}

impl Worker {
    /// A place among the open runs, unless all are taken.
    pub(crate) fn open_run(self: &Arc<Worker>, workflow: Workflow) -> Option<OpenRun> {
        let most = self.shared.max_runs;
        let taken = |open: usize| (open < most).then_some(open + 1);
        self.shared.open_runs.fetch_update(Relaxed, Relaxed, taken).ok()?;
        Some(OpenRun {
            worker: Arc::clone(self),
            workflow,
            outcome: Some(Outcome::Cancelled),
        })
    }
}

/// The place of a run among the open ones; when it goes, the run has ended.
#[derive(Debug)]
pub(crate) struct OpenRun {
    worker: Arc<Worker>,
    workflow: Workflow,
    /// How the run ends; it is cancelled until it is known to end otherwise, and not counted without an outcome.
    pub(crate) outcome: Option<Outcome>,
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        self.worker.shared.open_runs.fetch_sub(1, Relaxed);
        if let Some(outcome) = self.outcome {
            self.worker.shard.run(self.workflow, outcome);
        }
    }
}
