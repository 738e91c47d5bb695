//! The writer thread: takes batches off the queue, parses and stores them, and says what became of each event.
//!
//! Parsing happens here, not where events are received: the strings can then borrow from the payload all the way
//! into SQLite, and the receiver stays free to empty its socket.

use super::batch::{BatchPolicy, Step};
use super::commit_log::CommitLog;
use super::event::{Event, Kind, parse};
use super::fault::Faults;
use super::queue::{Queue, Received};
use super::rate_limit::RateLimit;
use super::stats::Stats;
use super::store::{Committed, Store};
use crate::platform::{monotonic_ns, sleep_until, wake_precisely};
use async_nats::Subject;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Pauses before each further attempt to commit a batch. After the last one the batch counts as failed.
const RETRY_PAUSES_MS: [u64; 5] = [10, 30, 90, 270, 810];

/// What is to be told to the broker about an event (JetStream).
#[derive(Debug)]
pub(crate) enum Settled {
    /// Stored: acknowledge.
    Stored(Subject),
    /// Can never be stored: acknowledge so that it does not come again.
    Refused(Subject),
}

/// Where the writer reports settled events to; `None` outside JetStream.
pub(crate) type SettledSender = tokio::sync::mpsc::UnboundedSender<Vec<Settled>>;

pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) queue: Arc<Queue>,
    pub(crate) policy: BatchPolicy,
    pub(crate) stats: Arc<Stats>,
    pub(crate) faults: Faults,
    pub(crate) commit_log: Option<CommitLog>,
    pub(crate) settled: Option<SettledSender>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        wake_precisely();
        let mut batch = Vec::with_capacity(self.policy.count.min(65_536));
        let mut malformed_log = RateLimit::default();
        while self.queue.wait_for_first(&mut batch, self.policy.count) {
            self.fill(&mut batch);
            self.faults.pause();
            let stored = self.write(&batch, &mut malformed_log);
            self.settle(&mut batch, &stored);
            batch.clear();
            if let Some(log) = &mut self.commit_log
                && self.queue.waiting().0 == 0
            {
                log.flush();
            }
        }
        if let Some(log) = &mut self.commit_log {
            log.flush();
        }
    }

    /// Adds to a batch that holds its first events until the policy closes it.
    fn fill(&self, batch: &mut Vec<Received>) {
        let opened_ns = monotonic_ns();
        loop {
            let (waiting, closed) = self.queue.waiting();
            // After the close there is nothing to wait for.
            let policy = BatchPolicy {
                time_ns: if closed { 0 } else { self.policy.time_ns },
                ..self.policy
            };
            match policy.next(batch.len(), waiting, opened_ns, monotonic_ns()) {
                Step::Commit => return,
                Step::TakeWaiting { room } => self.queue.take_waiting(batch, room),
                Step::WaitUntil { deadline_ns, room } => self.queue.wait_until(deadline_ns, batch, room),
            }
        }
    }

    /// Stores what can be stored of a batch and returns what became of each event.
    fn write(&mut self, batch: &[Received], malformed_log: &mut RateLimit) -> Vec<Fate> {
        let mut events = Vec::with_capacity(batch.len());
        let mut fates = Vec::new();
        for received in batch {
            let fate = if self.faults.drops() {
                Fate::Done
            } else {
                match parse(received.kind, &received.payload) {
                    Ok(event) => {
                        self.faults.slow();
                        events.push(event);
                        Fate::Written
                    }
                    Err(error) => {
                        self.stats.malformed[received.kind.index()].fetch_add(1, Relaxed);
                        if let Some(more) = malformed_log.pass() {
                            tracing::warn!("malformed event, not stored: {error} (and {more} before it)");
                        }
                        Fate::Refused
                    }
                }
            };
            if self.settled.is_some() {
                fates.push(fate);
            }
        }
        if !events.is_empty() && !self.write_with_retries(&events) {
            fates
                .iter_mut()
                .filter(|fate| **fate == Fate::Written)
                .for_each(|fate| *fate = Fate::Failed);
        }
        fates
    }

    fn write_with_retries(&mut self, events: &[Event<'_>]) -> bool {
        let mut pauses_ms = RETRY_PAUSES_MS.iter();
        loop {
            let begun_ns = monotonic_ns();
            let cause = match self.store.write(events) {
                Ok(committed) => {
                    self.note_commit(begun_ns, events.len(), &committed);
                    return true;
                }
                Err(cause) => cause,
            };
            self.stats.commit_errors.fetch_add(1, Relaxed);
            self.stats.degraded.store(true, Relaxed);
            match pauses_ms.next() {
                Some(pause_ms) => {
                    tracing::warn!(
                        "a batch of {} events was not committed: {cause}; again in {pause_ms} ms",
                        events.len()
                    );
                    sleep_until(monotonic_ns() + pause_ms * 1_000_000);
                }
                None => {
                    tracing::error!("a batch of {} events is given up: {cause}", events.len());
                    for event in events {
                        self.stats.failed[event.kind().index()].fetch_add(1, Relaxed);
                    }
                    return false;
                }
            }
        }
    }

    fn note_commit(&mut self, begun_ns: u64, events: usize, committed: &Committed) {
        let committed_ns = monotonic_ns();
        if let Some(log) = &mut self.commit_log {
            log.append(committed_ns, committed);
        }
        self.stats.committed(committed);
        self.stats.batch_size.observe(events as f64);
        self.stats
            .commit_seconds
            .observe((committed_ns - begun_ns) as f64 / 1e9);
        if self.stats.degraded.swap(false, Relaxed) {
            tracing::info!("the database takes events again");
        }
    }

    /// Reports the events of a batch whose fate is final. Those that failed stay without acknowledgement, so that
    /// the broker delivers them again.
    fn settle(&self, batch: &mut Vec<Received>, fates: &[Fate]) {
        let Some(sender) = &self.settled else { return };
        let settled: Vec<Settled> = batch
            .drain(..)
            .zip(fates)
            .filter_map(|(received, fate)| match (received.receipt, fate) {
                (Some(receipt), Fate::Written | Fate::Done) => Some(Settled::Stored(receipt)),
                (Some(receipt), Fate::Refused) => Some(Settled::Refused(receipt)),
                (Some(_), Fate::Failed) | (None, _) => None,
            })
            .collect();
        // The receiver is gone only when the connection is; then the broker delivers again.
        let _ = sender.send(settled);
    }
}

/// What became of one event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    Done,
    Refused,
    Failed,
}

/// Sorts one incoming message: makes it an event for the queue, or refuses it. `None`: refused, counted and logged.
/// An event that is not refused is still to be counted as received, by whoever hands it to the queue.
pub(crate) fn sort(
    stats: &Stats,
    refusals: &mut RateLimit,
    max_payload: usize,
    subject: &str,
    payload: bytes::Bytes,
) -> Option<Received> {
    use super::event::EventError;
    let error = match Kind::of_subject(subject) {
        Some(kind) => {
            if payload.len() <= max_payload {
                return Some(Received {
                    kind,
                    payload,
                    receipt: None,
                });
            }
            stats.received[kind.index()].fetch_add(1, Relaxed);
            stats.malformed[kind.index()].fetch_add(1, Relaxed);
            EventError::TooLarge {
                subject: kind.subject(),
                bytes: payload.len(),
                limit_bytes: max_payload,
            }
        }
        None => {
            stats.unknown.fetch_add(1, Relaxed);
            EventError::UnknownSubject(subject.to_owned())
        }
    };
    if let Some(more) = refusals.pass() {
        tracing::warn!("malformed event, not stored: {error} (and {more} before it)");
    }
    None
}

/// Counts events as received, just before they go to the queue.
pub(crate) fn count_received(stats: &Stats, group: &[Received]) {
    let mut by_kind = [0; Kind::COUNT];
    for received in group {
        by_kind[received.kind.index()] += 1;
    }
    for (counter, count) in stats.received.iter().zip(by_kind) {
        if count > 0 {
            counter.fetch_add(count, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::FaultArgs;
    use super::super::stats::sum;
    use super::super::store::Table;
    use super::*;
    use std::num::NonZeroU64;

    fn message(n: usize, receipt: bool) -> Received {
        let payload = match n % 10 {
            9 => "{}".to_owned(),
            _ => format!(r#"{{"username":"u","msg":"{n}","time":{n}}}"#),
        };
        Received {
            kind: Kind::ChatMessage,
            payload: payload.into(),
            receipt: receipt.then(|| Subject::from(format!("ack.{n}"))),
        }
    }

    struct Run {
        stats: Arc<Stats>,
        settled: Vec<Settled>,
        commits: Vec<(String, i64, i64)>,
    }

    /// Feeds `events` messages, every tenth malformed, through a writer.
    fn run(events: usize, policy: BatchPolicy, faults: FaultArgs, prepare: &str) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let log = directory.path().join("commits.log");
        let (store, totals) = Store::open(&path).unwrap();
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(prepare)
            .unwrap();
        let stats = Arc::new(Stats::new(&totals));
        let queue = Arc::new(Queue::new(events.max(1)));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        queue
            .push_all(&mut (0..events).map(|n| message(n, true)).collect())
            .unwrap();
        queue.close();
        Writer {
            store,
            queue,
            policy,
            stats: Arc::clone(&stats),
            faults: Faults::new(&faults),
            commit_log: Some(CommitLog::open(&log).unwrap()),
            settled: Some(sender),
        }
        .run();
        let mut settled = Vec::new();
        while let Ok(group) = receiver.try_recv() {
            settled.extend(group);
        }
        let commits = std::fs::read_to_string(&log)
            .unwrap()
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                (
                    fields[1].to_owned(),
                    fields[2].parse().unwrap(),
                    fields[3].parse().unwrap(),
                )
            })
            .collect();
        Run {
            stats,
            settled,
            commits,
        }
    }

    #[test]
    fn every_event_is_stored_or_counted_and_batches_close_by_count() {
        let run = run(
            100,
            BatchPolicy {
                count: 30,
                time_ns: u64::MAX,
            },
            FaultArgs::default(),
            "",
        );
        assert_eq!((sum(&run.stats.stored), sum(&run.stats.malformed)), (90, 10));
        assert_eq!(run.stats.rows(Table::Messages), 90);
        let ranges: Vec<_> = run
            .commits
            .iter()
            .map(|(table, first, last)| (table.as_str(), *first, *last))
            .collect();
        assert_eq!(
            ranges,
            [
                ("messages", 1, 27),
                ("messages", 28, 54),
                ("messages", 55, 81),
                ("messages", 82, 90)
            ]
        );
        let refused = run
            .settled
            .iter()
            .filter(|settled| matches!(settled, Settled::Refused(_)))
            .count();
        assert_eq!((run.settled.len(), refused), (100, 10));
    }

    #[test]
    fn injected_drops_are_silent() {
        let faults = FaultArgs {
            drop_every: NonZeroU64::new(2),
            ..FaultArgs::default()
        };
        let run = run(
            100,
            BatchPolicy {
                count: 1_000,
                time_ns: 0,
            },
            faults,
            "",
        );
        assert_eq!(
            (
                sum(&run.stats.stored),
                sum(&run.stats.malformed),
                sum(&run.stats.failed)
            ),
            (50, 0, 0)
        );
        assert_eq!(run.settled.len(), 100);
    }

    #[test]
    fn a_database_that_refuses_is_retried_then_counted_and_not_acknowledged() {
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END";
        let run = run(
            10,
            BatchPolicy {
                count: 1_000,
                time_ns: 0,
            },
            FaultArgs::default(),
            refuse,
        );
        assert_eq!(
            (
                sum(&run.stats.stored),
                sum(&run.stats.failed),
                sum(&run.stats.malformed)
            ),
            (0, 9, 1)
        );
        assert_eq!(run.stats.commit_errors.load(Relaxed), 1 + RETRY_PAUSES_MS.len() as u64);
        assert!(run.stats.degraded.load(Relaxed));
        assert!(
            matches!(run.settled.as_slice(), [Settled::Refused(_)]),
            "{:?}",
            run.settled
        );
    }

    #[test]
    fn unknown_subjects_and_large_payloads_are_refused_and_counted() {
        let stats = Stats::new(&Default::default());
        let mut limit = RateLimit::default();
        let event = sort(&stats, &mut limit, 4, "bus.chat.message", "1234".into()).unwrap();
        count_received(&stats, &[event]);
        assert!(sort(&stats, &mut limit, 4, "bus.chat.message", "12345".into()).is_none());
        assert!(sort(&stats, &mut limit, 4, "bus.nonsense", "1".into()).is_none());
        assert_eq!(
            (sum(&stats.received), sum(&stats.malformed), stats.unknown.load(Relaxed)),
            (2, 1, 1)
        );
    }
}
