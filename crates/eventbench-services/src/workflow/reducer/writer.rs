//! The reducer's thread: takes what is waiting, reduces it, stores it in one transaction, and answers once that is
//! committed.
//!
//! All state is this thread's. Stamps that wait together are committed together, so one commit pays for many when many
//! come, and none waits for others that may never come.

use super::batch::{Entry, Sieve};
use super::reduce::{Fate, Input, Reduced, reduce};
use super::reply::{BatchRequest, StampReply, StreamReply, WindowReply};
use super::stamp::{Now, Poison, Stamp};
use super::store::{self, Store};
use super::window::{Policy, Windows};
use crate::kit::method::Call;
use crate::kit::reply::{Answer, ErrorReply};
use crate::kit::unix_ms;
use crate::platform::{monotonic_ns, sleep_until};
use crate::workflow::hops::Way;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Most requests that one transaction takes.
const GROUP: usize = 1_024;
/// Pauses before each further attempt to commit. After the last one the senders are told, and may try again.
const RETRY_PAUSES_MS: [u64; 4] = [10, 30, 90, 270];

/// What is asked of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To store a stamp.
    Stamp,
    /// To take a batch of a stream.
    Stream,
}

/// A request on its way to the thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) ask: Ask,
    pub(crate) call: Call,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What the thread has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Stamps that came again.
    pub(crate) duplicates: AtomicU64,
    /// Stamps that were refused.
    pub(crate) refused: AtomicU64,
    /// Transactions that stored stamps.
    pub(crate) commits: AtomicU64,
    /// Attempts to commit that failed.
    pub(crate) commit_errors: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) windows: Windows,
    pub(crate) policy: Policy,
    pub(crate) counters: Arc<Counters>,
}

impl Writer {
    /// Runs until nobody can ask any more.
    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let begin_ns = monotonic_ns();
            let waiting = std::iter::once(first).chain(jobs.try_iter()).take(GROUP);
            let (stamps, streams): (Vec<Job>, Vec<Job>) = waiting.partition(|job| job.ask == Ask::Stamp);
            if !stamps.is_empty() {
                self.stamps(stamps, begin_ns);
            }
            for job in streams {
                let answer = self.stream(&job.call);
                // Whoever asked may have gone; what was stored stays.
                let _ = job.answer.send(answer);
            }
        }
    }

    fn stamps(&mut self, jobs: Vec<Job>, begin_ns: u64) {
        let now = Now {
            unix_ms: unix_ms(),
            monotonic_ns: begin_ns,
        };
        let read: Vec<Result<Stamp, Poison>> = jobs.iter().map(|job| Stamp::read(&job.call.payload, now)).collect();
        let payloads: Vec<&[u8]> = jobs.iter().map(|job| job.call.payload.as_ref()).collect();
        let (windows, policy) = (&self.windows, &self.policy);
        let outcome = persistently(&mut self.store, &self.counters, |store| {
            store.transaction(|connection| {
                let mut inputs = Vec::with_capacity(read.len());
                for stamp in &read {
                    inputs.push(match stamp {
                        Ok(stamp) => Input::Stamp(stamp.clone(), store::known(connection, stamp)?),
                        Err(poison) => Input::Poison(poison.clone()),
                    });
                }
                let reduced = reduce(windows, policy, &inputs);
                let reduced_ns = monotonic_ns();
                store::carry_out(connection, &reduced.intents, &inputs, &payloads)?;
                Ok((reduced, reduced_ns))
            })
        });
        let committed_ns = monotonic_ns();
        let (reduced, reduced_ns) = match outcome {
            Ok(done) => done,
            Err(refusal) => {
                for job in jobs {
                    let _ = job.answer.send(Err(refusal.clone()));
                }
                return;
            }
        };
        let Reduced { windows, fates, .. } = reduced;
        self.windows = windows;
        self.counters.commits.fetch_add(1, Relaxed);
        for ((job, stamp), fate) in jobs.into_iter().zip(&read).zip(fates) {
            let duplicate = match fate {
                Fate::Stored => false,
                Fate::Duplicate => {
                    self.counters.duplicates.fetch_add(1, Relaxed);
                    true
                }
                Fate::Refused(reason) => {
                    self.counters.refused.fetch_add(1, Relaxed);
                    let _ = job.answer.send(Err(refusal(reason)));
                    continue;
                }
            };
            let Ok(stamp) = stamp else { continue };
            let mut way = Way::from(job.call.received_ns);
            let started_ns = way.reached_at("reducer: wait", begin_ns);
            way.reached_at("reducer: reduce", reduced_ns);
            let until_ns = way.reached_at("reducer: row committed", committed_ns);
            let reply = StampReply {
                stored: true,
                duplicate,
                id: &stamp.id,
                tag: &stamp.tag,
                work_ns: [until_ns - started_ns],
                hops: way.into_hops(),
            };
            let _ = job.answer.send(job.call.answer(&reply));
        }
    }

    fn stream(&mut self, call: &Call) -> Answer {
        let begin_ns = monotonic_ns();
        let mut request: BatchRequest = call.parameters()?;
        let read_ns = monotonic_ns() - begin_ns;
        let Some(batch) = request.batch else {
            return Err(ErrorReply::new(400, "the request says no number of the batch"));
        };
        super::batch::check_name("stream", &request.stream).map_err(|reason| ErrorReply::new(400, reason))?;
        let entries = entries(&mut request)?;
        let mut reply = StreamReply {
            stream: request.stream.clone(),
            batch,
            duplicate: true,
            items: 0,
            closed: Vec::new(),
            late: 0,
            open: 0,
            work_ns: Vec::new(),
            commit_ns: Vec::new(),
            read_ns,
            expand_ns: monotonic_ns() - begin_ns - read_ns,
            left_out: Default::default(),
            tag: std::mem::take(&mut request.tag),
        };
        let size = request.batch_items.map_or(entries.len(), usize::from).max(1);
        let mut groups: Vec<&[Entry]> = entries.chunks(size).collect();
        if groups.is_empty() {
            // An empty batch may still end its stream.
            groups.push(&[]);
        }
        let last_group = groups.len() - 1;
        let mut sieve = Sieve::default();
        for (part, group) in groups.into_iter().enumerate() {
            let end = request.last && part == last_group;
            self.group(&mut reply, &mut sieve, group, &request.workflow, part as u64, end)?;
        }
        reply.left_out = sieve.left_out;
        let span_ns = self.policy.span_ns.get();
        let told = self.store.transaction(|connection| {
            let stream = store::stream(connection, &reply.stream)?;
            Ok((stream, store::windows_of(connection, &reply.stream, batch)?))
        });
        let (stream, closed) = told.map_err(|cause| unstored(&cause))?;
        reply.late = stream.windows.late;
        reply.open = stream.windows.by_count.total.count;
        reply.closed = closed.iter().map(|window| WindowReply::new(window, span_ns)).collect();
        call.answer(&reply)
    }

    /// Takes one group of a batch, unless it was taken before.
    fn group<'a>(
        &mut self,
        reply: &mut StreamReply,
        sieve: &mut Sieve<'a>,
        group: &'a [Entry],
        workflow: &'a str,
        part: u64,
        end: bool,
    ) -> Result<(), ErrorReply> {
        let begin_ns = monotonic_ns();
        let items: Vec<_> = group.iter().filter_map(|entry| sieve.pass(entry, workflow)).collect();
        let sieved_ns = monotonic_ns();
        let policy = &self.policy;
        let (name, batch) = (reply.stream.as_str(), reply.batch);
        let taken = persistently(&mut self.store, &self.counters, |store| {
            store.transaction(|connection| {
                if store::was_taken(connection, name, batch, part)? {
                    return Ok(Group::Before);
                }
                let mut stream = store::stream(connection, name)?;
                if stream.ended {
                    return Ok(Group::AfterEnd);
                }
                store::note_batch(connection, name, batch, part)?;
                let reduce_ns = monotonic_ns();
                let mut closed = Vec::new();
                for item in &items {
                    closed.extend(stream.windows.take(policy, item));
                }
                if end {
                    closed.extend(stream.windows.end());
                    stream.ended = true;
                }
                let reduced_ns = monotonic_ns() - reduce_ns;
                store::put_stream(connection, name, batch, &stream, &closed)?;
                Ok(Group::Taken { reduced_ns })
            })
        })?;
        match taken {
            Group::Before => {}
            Group::AfterEnd => {
                let told = format!("the stream '{name}' has ended; batch {batch} is not taken");
                return Err(ErrorReply::new(409, told));
            }
            Group::Taken { reduced_ns } => {
                let whole_ns = monotonic_ns() - sieved_ns;
                reply.duplicate = false;
                reply.items += items.len() as u64;
                reply.work_ns.push(sieved_ns - begin_ns + reduced_ns);
                reply.commit_ns.push(whole_ns.saturating_sub(reduced_ns));
            }
        }
        Ok(())
    }
}

/// What became of a group of a stream's batch.
enum Group {
    Before,
    AfterEnd,
    Taken { reduced_ns: u64 },
}

/// The items of a batch, sent or made by its recipe.
pub(crate) fn entries(request: &mut BatchRequest) -> Result<Vec<Entry>, ErrorReply> {
    match (request.items.take(), request.generate) {
        (Some(items), None) => Ok(items),
        (None, Some(recipe)) => recipe.entries().map_err(|reason| ErrorReply::new(400, reason)),
        (None, None) => Err(ErrorReply::new(400, "the request has neither items nor generate")),
        (Some(_), Some(_)) => Err(ErrorReply::new(400, "the request has both items and generate")),
    }
}

/// Tries a transaction until it is done, a few times.
fn persistently<T>(
    store: &mut Store,
    counters: &Counters,
    mut work: impl FnMut(&mut Store) -> rusqlite::Result<T>,
) -> Result<T, ErrorReply> {
    let mut pauses_ms = RETRY_PAUSES_MS.iter();
    loop {
        let cause = match work(store) {
            Ok(done) => return Ok(done),
            Err(cause) => cause,
        };
        counters.commit_errors.fetch_add(1, Relaxed);
        match pauses_ms.next() {
            Some(pause_ms) => {
                tracing::warn!("a transaction was not committed: {cause}; again in {pause_ms} ms");
                sleep_until(monotonic_ns() + pause_ms * 1_000_000);
            }
            None => {
                tracing::error!("a transaction is given up: {cause}");
                return Err(unstored(&cause));
            }
        }
    }
}

fn unstored(cause: &rusqlite::Error) -> ErrorReply {
    ErrorReply::new(503, format!("nothing was stored: {cause}; send it again"))
}

/// The reply to poison.
fn refusal(reason: String) -> ErrorReply {
    ErrorReply {
        code: 422,
        details: json!({ "refused": true, "reason": reason }),
        message: reason,
    }
}
