//! A run on its way to the client: events are stamped and written when they are due, all that are due as one piece.

use super::event::{Frames, Kind, Stamp, write_frame};
use super::fault::RunFaults;
use super::metrics::{Batch, Outcome};
use super::pipeline::{Pipeline, Recipe};
use super::worker::{OpenRun, Phase, Worker};
use crate::platform::{monotonic_ns, nanos};
use axum::body::{Body, Bytes};
use futures_util::Stream;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The comment that keeps an idle stream alive.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// What the events of a run that is written at once take, in bytes; more is added as it is needed.
const WHOLE_BYTES: usize = 4_096;

/// What a paced event takes.
const EVENT_BYTES: usize = 256;

/// An event that is next to be written.
#[derive(Debug)]
struct Pending {
    kind: Kind,
    rendered: Range<usize>,
    number: u64,
    due_ns: u64,
    /// When it was emitted, once it was.
    emitted_ns: Option<u64>,
}

/// A run that is being streamed.
#[derive(Debug)]
pub(crate) struct Run {
    worker: Arc<Worker>,
    open: OpenRun,
    pipeline: Pipeline,
    faults: RunFaults,
    frames: Frames,
    /// Number of the event that was rendered last, from 1.
    number: u64,
    /// Events up to this number are known to the client.
    after: u64,
    /// Whether each event carries its number.
    numbered: bool,
    pending: Option<Pending>,
    pace_ns: u64,
    /// When the first event is due, on `CLOCK_MONOTONIC`.
    origin_ns: u64,
    written_ns: u64,
    over: bool,
}

impl Run {
    /// A run from the event after number `after` on; `None` if there is nothing to send.
    pub(crate) fn new(
        worker: &Arc<Worker>,
        mut open: OpenRun,
        recipe: Recipe,
        after: Option<u64>,
        numbered: bool,
    ) -> Option<Run> {
        let faults = worker.shared.faults.next_run();
        let pace_ns = nanos(recipe.pace);
        let resumed = after.is_some();
        if resumed {
            open.outcome = None;
        }
        let now_ns = monotonic_ns();
        let mut run = Run {
            worker: Arc::clone(worker),
            open,
            pipeline: Pipeline::new(recipe, faults),
            faults,
            frames: Frames::default(),
            number: 0,
            after: after.unwrap_or(0),
            numbered,
            pending: None,
            pace_ns,
            origin_ns: now_ns,
            written_ns: now_ns,
            over: false,
        };
        if resumed {
            if !run.prepare() {
                return None;
            }
            run.open.outcome = Some(Outcome::Cancelled);
        }
        Some(run)
    }

    /// The body of the response.
    pub(crate) fn body(mut self) -> Body {
        if self.pace_ns > 0 || self.faults.holds() {
            let run = Box::new(self);
            return Body::from_stream(futures_util::stream::unfold(run, async |mut run| {
                let chunk = run.next_chunk().await?;
                Some((Ok::<_, Infallible>(chunk), run))
            }));
        }
        // Nothing has to be waited for: all of it is one piece.
        let mut out = Vec::with_capacity(WHOLE_BYTES);
        self.write_due(&mut out);
        Body::from_stream(Whole {
            chunk: Some(out.into()),
            _open: self.open,
        })
    }

    /// Makes sure that the next event is pending; false at the end of the run.
    fn prepare(&mut self) -> bool {
        if self.pending.is_some() {
            return true;
        }
        loop {
            while let Some((kind, rendered)) = self.frames.take() {
                self.number += 1;
                if self.number <= self.after {
                    continue;
                }
                let cut = self.faults.truncate && kind.ends_run();
                if cut || self.faults.drops(self.number) {
                    continue;
                }
                // Counted from the first event that the client does not know; a dropped one leaves its place empty.
                let place = self.number - self.after - 1;
                self.pending = Some(Pending {
                    kind,
                    rendered,
                    number: self.number,
                    due_ns: self.origin_ns.saturating_add(place.saturating_mul(self.pace_ns)),
                    emitted_ns: None,
                });
                return true;
            }
            if self.pipeline.is_over() {
                return false;
            }
            self.frames.clear();
            let database = self.worker.database.lock().unwrap_or_else(PoisonError::into_inner);
            self.pipeline
                .advance(&database, &self.worker.shared.directory, &mut self.frames);
        }
    }

    /// Appends every event that is due. Returns when the next one is, or `None` when the run is over.
    fn write_due(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let mut batch = Batch::default();
        let offset_ns = unix_less_monotonic_ns();
        let next_ns = loop {
            if !self.prepare() {
                self.over = true;
                if self.open.outcome == Some(Outcome::Cancelled) {
                    // All was written, and what ends a run was not among it.
                    self.open.outcome = Some(Outcome::Truncated);
                }
                break None;
            }
            let Some(pending) = &mut self.pending else { break None };
            let now_ns = monotonic_ns();
            if self.pace_ns > 0 && now_ns < pending.due_ns {
                break Some(pending.due_ns);
            }
            let emitted_ns = *pending.emitted_ns.get_or_insert(now_ns);
            let hold_ns = self.faults.hold_ns(pending.number);
            if hold_ns > 0 && now_ns < emitted_ns.saturating_add(hold_ns) {
                break Some(emitted_ns.saturating_add(hold_ns));
            }
            let stamp = Stamp {
                unix_ms: (emitted_ns + offset_ns) / 1_000_000,
                monotonic_ns: emitted_ns,
            };
            let number = self.numbered.then_some(pending.number);
            write_frame(out, number, self.frames.rendered(pending.rendered.clone()), stamp);
            // Without a pace an event is due as soon as it is there.
            batch.note(pending.kind, if self.pace_ns > 0 { pending.due_ns } else { emitted_ns });
            match pending.kind {
                Kind::RunFinished => self.open.outcome = Some(Outcome::Finished),
                Kind::RunError => self.open.outcome = Some(Outcome::Error),
                _ => {}
            }
            self.pending = None;
        };
        batch.count(&self.worker.shard);
        next_ns
    }

    /// The next piece of a run that takes time.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        let mut phase = self.worker.shared.phase.clone();
        while !self.over {
            let mut out = Vec::with_capacity(EVENT_BYTES);
            let next_ns = self.write_due(&mut out);
            let now_ns = monotonic_ns();
            if !out.is_empty() {
                self.written_ns = now_ns;
                return Some(out.into());
            }
            let next_ns = next_ns?;
            let heartbeat_ns = match nanos(self.worker.shared.heartbeat) {
                0 => u64::MAX,
                period_ns => self.written_ns.saturating_add(period_ns),
            };
            if now_ns >= heartbeat_ns {
                self.written_ns = now_ns;
                return Some(Bytes::from_static(KEEP_ALIVE));
            }
            let pause = Duration::from_nanos(next_ns.min(heartbeat_ns).saturating_sub(now_ns));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // An error says that the service is gone: then the runs are at their end as well.
                _ = phase.wait_for(|phase| *phase == Phase::Ending) => return Some(self.cut_short()),
            }
        }
        None
    }

    /// Ends the run because the service ends. The event has no number: a resume goes on after the one before.
    fn cut_short(&mut self) -> Bytes {
        self.over = true;
        self.open.outcome = Some(Outcome::Error);
        let now_ns = monotonic_ns();
        let mut frames = Frames::default();
        frames.push(
            Kind::RunError,
            &json!({ "message": "the service is shutting down: run it again", "code": "shutdown" }),
        );
        let mut out = Vec::with_capacity(EVENT_BYTES);
        let mut batch = Batch::default();
        if let Some((kind, rendered)) = frames.take() {
            let stamp = Stamp {
                unix_ms: (now_ns + unix_less_monotonic_ns()) / 1_000_000,
                monotonic_ns: now_ns,
            };
            write_frame(&mut out, None, frames.rendered(rendered), stamp);
            batch.note(kind, now_ns);
        }
        batch.count(&self.worker.shard);
        out.into()
    }
}

/// What to add to `CLOCK_MONOTONIC` for the time since the Unix epoch, in nanoseconds.
fn unix_less_monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let unix_ns = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
    unix_ns.saturating_sub(monotonic_ns())
}

/// A run that is one piece. It is open until the server has taken the end of it.
struct Whole {
    chunk: Option<Bytes>,
    _open: OpenRun,
}

impl Stream for Whole {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.chunk.take().map(Ok))
    }
}
