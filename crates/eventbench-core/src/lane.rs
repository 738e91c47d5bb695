//! The lane: a share of the schedule, the books and the recorder, owned by one thread.

use crate::arrival::Schedule;
use crate::host::Clock;
use crate::observe::{Latency, Recorder, StreamSent, Window};
use crate::payload::Content;
use crate::stamp::Stamp;
use crate::ticket::{Outcome, Tally, Ticket};
use crate::trial::{Signals, Trial};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
    users: Option<UserLoop>,
    settles_response: bool,
    promises_delivery: bool,
    /// Response times of each of several tasks, and which of them a stream belongs to.
    tasks: Option<TaskTimes>,
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
    failed: u64,
}

/// The virtual users of one lane: when each takes its next task.
struct UserLoop {
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    /// Tasks taken so far, by the user's place among those of the lane.
    turns: Vec<u64>,
}

/// Response times by task, for streams of different names.
struct TaskTimes {
    names: Vec<String>,
    of_stream: Vec<u16>,
    times: Vec<Latency>,
}

/// More names than this are no tasks, and each would cost a histogram.
const MOST_TASKS: usize = 16;

impl TaskTimes {
    fn of(names: &[String]) -> Option<TaskTimes> {
        let mut distinct: Vec<String> = Vec::new();
        let mut of_stream = Vec::with_capacity(names.len());
        for name in names {
            let known = distinct.iter().position(|n| n == name);
            of_stream.push(known.unwrap_or(distinct.len()) as u16);
            if known.is_none() {
                distinct.push(name.clone());
            }
            if distinct.len() > MOST_TASKS {
                return None;
            }
        }
        (distinct.len() > 1).then(|| TaskTimes {
            times: distinct.iter().map(|_| Latency::new()).collect(),
            names: distinct,
            of_stream,
        })
    }
}

/// What a lane is made from.
pub struct LaneSpec {
    /// Which of the lanes, from 0.
    pub id: u32,
    /// The whole schedule; the lane takes its share.
    pub schedule: Schedule,
    /// Its place in time.
    pub window: Window,
    /// The names of the driver's streams; their number is a multiple of that of lanes.
    pub streams: Vec<String>,
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
        let streams = spec.streams.len() as u32;
        let users = spec.schedule.main().users().map(|users| {
            let of_lane = || (spec.id..users.most()).step_by(trial.lanes as usize);
            UserLoop {
                waiting: of_lane()
                    .filter_map(|user| Some(Reverse((users.next_active(user, 0)?, user))))
                    .collect(),
                turns: vec![0; of_lane().count()],
            }
        });
        let mut lane = Self {
            id: spec.id,
            lanes: trial.lanes,
            clock: trial.clock.clone(),
            signals,
            deadline_ns: spec.deadline_ns,
            schedule: spec.schedule,
            window: spec.window,
            streams,
            seed: trial.seed,
            number: trial.number,
            epoch_ms: trial.epoch_ms,
            next_k: u64::from(spec.id),
            next_stream: spec.id,
            most_events,
            next_due: None,
            in_flight: 0,
            workers,
            users,
            tasks: spec.settles_response.then(|| TaskTimes::of(&spec.streams)).flatten(),
            settles_response: spec.settles_response,
            promises_delivery: spec.promises_delivery,
            warmup: Tally::default(),
            measured: Tally::default(),
            recorder: Recorder::new(spec.window),
            books: vec![StreamSent::default(); streams as usize],
            seqs: vec![0; streams as usize],
            acked: 0,
            failed: 0,
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

    /// Whether the load is virtual users.
    pub fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// What there is to wait for.
    #[inline]
    pub fn wake(&self) -> Wake {
        if let Some(users) = &self.users {
            return match users.waiting.peek() {
                _ if self.closed_ended(self.clock.now_ns()) => Wake::Ended,
                Some(Reverse((due, _))) => Wake::At(self.window.start_ns + due),
                None if self.in_flight > 0 => Wake::WhenSettled,
                None => Wake::Ended,
            };
        }
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
    /// With users it is the one whose turn comes first, at the instant at which it has finished thinking. In an open loop its intended instant is the scheduled one however late it is taken, so late events are sent late
    /// and measured as late, never skipped. In a closed loop the intended instant is `now_ns`.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> Option<Ticket> {
        if self.users.is_some() {
            return self.take_of_user(now_ns);
        }
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
        Some(self.mint(stream, 0, intended_ns))
    }

    fn mint(&mut self, stream: u32, user: u32, intended_ns: u64) -> Ticket {
        let seq = self.seqs[stream as usize];
        self.seqs[stream as usize] += 1;
        self.in_flight += 1;
        let measured = self.window.measures(intended_ns);
        self.tally(measured).mint();
        Ticket {
            stream,
            seq,
            user,
            intended_ns,
            sent_ns: 0,
            measured,
        }
    }

    /// The next task of the user whose turn is the earliest, when it has come.
    fn take_of_user(&mut self, now_ns: u64) -> Option<Ticket> {
        if now_ns < self.window.start_ns || self.closed_ended(now_ns) {
            return None;
        }
        let plan = self.schedule.main().users()?;
        let users = self.users.as_mut()?;
        let Reverse((due, user)) = *users.waiting.peek()?;
        let intended_ns = self.window.start_ns + due;
        if intended_ns > now_ns {
            return None;
        }
        users.waiting.pop();
        let turn = &mut users.turns[(user / self.lanes) as usize];
        let choice = plan.choice(user, *turn, self.streams / self.lanes);
        *turn += 1;
        Some(self.mint(self.id + choice * self.lanes, user, intended_ns))
    }

    /// Lets a user whose task has ended think, and come back unless it is not there any more.
    fn think(&mut self, ticket: &Ticket, ended_ns: u64) {
        let (Some(plan), Some(users)) = (self.schedule.main().users(), self.users.as_mut()) else {
            return;
        };
        let offset = |ns: u64| ns.saturating_sub(self.window.start_ns);
        let turn = users.turns[(ticket.user / self.lanes) as usize];
        if let Some(due) = plan.next(ticket.user, turn, offset(ticket.intended_ns), offset(ended_ns)) {
            users.waiting.push(Reverse((due, ticket.user)));
        }
    }

    /// Response times by task, where the driver's streams have several names.
    pub fn task_times(&self) -> impl Iterator<Item = (&str, &Latency)> {
        let tasks = self.tasks.iter();
        tasks.flat_map(|t| t.names.iter().map(String::as_str).zip(&t.times))
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
        if self.users.is_some() {
            self.think(&ticket, at_ns);
        }
        if outcome == Outcome::Acked {
            self.acked += 1;
            if self.promises_delivery {
                self.books[ticket.stream as usize].acked.insert(ticket.seq);
            }
            if self.settles_response {
                self.recorder.done(ticket.intended_ns, ticket.sent_ns, at_ns);
                if let Some(tasks) = self.tasks.as_mut().filter(|_| ticket.measured) {
                    let task = tasks.of_stream[ticket.stream as usize];
                    tasks.times[usize::from(task)].record_between(ticket.intended_ns, at_ns);
                }
            }
            self.signals
                .note_first(&self.signals.first_acked_after, ticket.intended_ns, at_ns);
        } else {
            self.failed += 1;
            if outcome != Outcome::Disconnected {
                // What a lost connection takes with it has no time of its own.
                self.recorder.refused(ticket.intended_ns, at_ns);
            }
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
        if self.failed > 0 {
            self.signals
                .failed
                .fetch_add(std::mem::take(&mut self.failed), Ordering::Relaxed);
        }
        if self.settles_response {
            self.signals.show_recent(&self.recorder);
        }
    }

    #[inline]
    fn tally(&mut self, measured: bool) -> &mut Tally {
        if measured { &mut self.measured } else { &mut self.warmup }
    }
}
