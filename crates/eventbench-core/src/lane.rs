//! The lane: a share of the schedule, the books and the recorder, owned by one thread.

use crate::arrival::Schedule;
use crate::host::Clock;
use crate::observe::{Recorder, StreamSent, Window};
use crate::payload::Content;
use crate::stamp::Stamp;
use crate::ticket::{Outcome, Tally, Ticket};
use crate::trial::{Signals, Trial};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How one lane's schedule is told to end, and what there is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The next event is due at this instant.
    At(u64),
    /// A closed loop is full: the next event may go when one is settled.
    WhenSettled,
    /// Nothing more will be due.
    Ended,
}

/// What a session sends from and records into: a share of the schedule, the books and the recorder. Owned by one thread.
pub struct Lane {
    /// Which of the lanes, from 0.
    pub id: u32,
    /// How many there are.
    pub lanes: u32,
    /// The clock.
    pub clock: Clock,
    /// What all share.
    pub signals: Arc<Signals>,
    /// The instant at which everything still open is given up.
    pub deadline_ns: u64,
    schedule: Schedule,
    window: Window,
    streams: u32,
    seed: u64,
    number: u32,
    epoch_ms: i64,
    next_k: u64,
    next_stream: u32,
    /// This lane's share of the measured events there may be.
    most_events: u64,
    next_due: Option<u64>,
    in_flight: u32,
    workers: Option<u32>,
    settles_response: bool,
    promises_delivery: bool,
    /// What became of the warm-up's tickets.
    pub warmup: Tally,
    /// What became of the measured tickets.
    pub measured: Tally,
    /// Times.
    pub recorder: Recorder,
    /// The senders' half of the ledger, by stream.
    pub books: Vec<StreamSent>,
    seqs: Vec<u64>,
    acked: u64,
}

/// What a lane is made from.
pub struct LaneSpec {
    /// Which of the lanes, from 0.
    pub id: u32,
    /// The whole schedule; the lane takes its share.
    pub schedule: Schedule,
    /// Its place in time.
    pub window: Window,
    /// The number of streams of the driver; a multiple of the number of lanes.
    pub streams: u32,
    /// The instant at which everything still open is given up.
    pub deadline_ns: u64,
    /// Whether the driver's own confirmation is the end of an event (no observer is there).
    pub settles_response: bool,
    /// Whether the driver's confirmation promises delivery.
    pub promises_delivery: bool,
}

impl Lane {
    /// A lane of a trial.
    pub fn new(spec: LaneSpec, trial: &Trial, signals: Arc<Signals>) -> Self {
        let workers = spec
            .schedule
            .main()
            .workers()
            .map(|w| w / trial.lanes + u32::from(spec.id < w % trial.lanes));
        let (lanes, id) = (u64::from(trial.lanes), u64::from(spec.id));
        let most_events = spec
            .schedule
            .events()
            .map_or(u64::MAX, |n| n / lanes + u64::from(id < n % lanes));
        let mut lane = Self {
            id: spec.id,
            lanes: trial.lanes,
            clock: trial.clock.clone(),
            signals,
            deadline_ns: spec.deadline_ns,
            schedule: spec.schedule,
            window: spec.window,
            streams: spec.streams,
            seed: trial.seed,
            number: trial.number,
            epoch_ms: trial.epoch_ms,
            next_k: u64::from(spec.id),
            next_stream: spec.id,
            most_events,
            next_due: None,
            in_flight: 0,
            workers,
            settles_response: spec.settles_response,
            promises_delivery: spec.promises_delivery,
            warmup: Tally::default(),
            measured: Tally::default(),
            recorder: Recorder::new(spec.window),
            books: vec![StreamSent::default(); spec.streams as usize],
            seqs: vec![0; spec.streams as usize],
            acked: 0,
        };
        lane.next_due = lane.schedule.due(lane.next_k);
        lane
    }

    /// The streams of this lane.
    pub fn streams(&self) -> impl Iterator<Item = u32> + use<> {
        (self.id..self.streams).step_by(self.lanes as usize)
    }

    /// The workers of this lane's closed loop; `None` when arrival is open.
    pub fn workers(&self) -> Option<u32> {
        self.workers
    }

    /// What there is to wait for.
    #[inline]
    pub fn wake(&self) -> Wake {
        match self.workers {
            None => match self.next_due {
                Some(due) => Wake::At(self.window.start_ns + due),
                None => Wake::Ended,
            },
            Some(_) if self.closed_ended(self.clock.now_ns()) => Wake::Ended,
            Some(workers) if self.in_flight >= workers => Wake::WhenSettled,
            Some(_) => Wake::At(self.window.start_ns),
        }
    }

    fn closed_ended(&self, now_ns: u64) -> bool {
        now_ns >= self.window.measure_until_ns || self.measured.offered >= self.most_events
    }

    /// The next ticket, when one is due by `now_ns`.
    ///
    /// In an open loop its intended instant is the scheduled one however late it is taken, so late events are sent late
    /// and measured as late, never skipped. In a closed loop the intended instant is `now_ns`.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> Option<Ticket> {
        let intended_ns = match self.workers {
            None => {
                let intended = self.window.start_ns + self.next_due?;
                if intended > now_ns {
                    return None;
                }
                intended
            }
            Some(workers) => {
                if self.in_flight >= workers || now_ns < self.window.start_ns || self.closed_ended(now_ns) {
                    return None;
                }
                now_ns
            }
        };
        // The number of streams is a multiple of that of lanes, so going round them is k modulo streams without a division.
        let stream = self.next_stream;
        self.next_stream += self.lanes;
        if self.next_stream >= self.streams {
            self.next_stream = self.id;
        }
        self.next_k += u64::from(self.lanes);
        if self.workers.is_none() {
            self.next_due = self.schedule.due(self.next_k);
        }
        let seq = self.seqs[stream as usize];
        self.seqs[stream as usize] += 1;
        self.in_flight += 1;
        let measured = self.window.measures(intended_ns);
        self.tally(measured).mint();
        Some(Ticket {
            stream,
            seq,
            intended_ns,
            sent_ns: 0,
            measured,
        })
    }

    /// What the payload of a ticket that is sent at `sent_ns` is derived from.
    #[inline]
    pub fn content(&self, ticket: &Ticket, sent_ns: u64) -> Content {
        Content {
            stamp: Stamp {
                run: self.number,
                stream: ticket.stream,
                seq: ticket.seq,
                intended_ns: ticket.intended_ns,
                late_ns: sent_ns.saturating_sub(ticket.intended_ns),
            },
            seed: self.seed,
            epoch_ms: self.epoch_ms,
        }
    }

    /// Notes that a ticket's event was handed to the system at `at_ns`.
    #[inline]
    pub fn sent(&mut self, ticket: &mut Ticket, at_ns: u64) {
        ticket.sent_ns = at_ns;
        self.tally(ticket.measured).sent();
        self.books[ticket.stream as usize].sent.insert(ticket.seq);
        self.recorder.sent(ticket.intended_ns, at_ns);
    }

    /// Settles a ticket.
    #[inline]
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, at_ns: u64) {
        self.tally(ticket.measured).settle(outcome);
        self.in_flight -= 1;
        if outcome == Outcome::Acked {
            self.acked += 1;
            if self.promises_delivery {
                self.books[ticket.stream as usize].acked.insert(ticket.seq);
            }
            if self.settles_response {
                self.recorder.done(ticket.intended_ns, ticket.sent_ns, at_ns);
            }
            self.signals
                .note_first(&self.signals.first_acked_after, ticket.intended_ns, at_ns);
        } else if outcome != Outcome::Disconnected {
            // What a lost connection takes with it has no time of its own.
            self.recorder.refused(ticket.intended_ns, at_ns);
        }
    }

    /// Tickets minted and not yet settled.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Shows the others how far this lane is; call once a batch.
    pub fn publish_progress(&mut self, sent: u64) {
        self.signals.sent.fetch_add(sent, Ordering::Relaxed);
        self.signals
            .acked
            .fetch_add(std::mem::take(&mut self.acked), Ordering::Relaxed);
        if self.settles_response {
            self.signals
                .recent_p99_ns
                .store(self.recorder.recent_p99_ns(), Ordering::Relaxed);
        }
    }

    #[inline]
    fn tally(&mut self, measured: bool) -> &mut Tally {
        if measured { &mut self.measured } else { &mut self.warmup }
    }
}
