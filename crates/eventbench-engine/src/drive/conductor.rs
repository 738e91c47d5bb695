//! The conductor: starts lanes and observers, reads processes, does the faults, and waits until the books balance.

use super::FaultLog;
use crate::engine::Engine;
use crate::probes::process::Depth;
use crate::probes::sampler::Sampler;
use crate::stage::Stage;
use eventbench_core::driver::{DriverError, Observer, Session};
use eventbench_core::event::{Event, Sink};
use eventbench_core::host::precise_timers;
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::observe::Window;
use eventbench_core::trial::Signals;
use eventbench_core::view::View;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Light readings are taken so often.
const READ_NS: u64 = 250_000_000;
/// Full readings (proportional memory, descriptors) so often.
const READ_FULL_NS: u64 = 1_000_000_000;

/// What came of a trial's load.
pub struct Conducted {
    /// Lanes with what they recorded, and their sessions, still connected.
    pub lanes: Vec<(Lane, Box<dyn Session>)>,
    /// Observers with what they saw.
    pub views: Vec<(View, Box<dyn Observer>)>,
    /// What went wrong, in words.
    pub errors: Vec<String>,
    /// When the last lane had ended.
    pub lanes_ended_ns: u64,
    /// When the drain had ended.
    pub drained_ns: u64,
    /// Events sent and not yet seen when the last lane had ended.
    pub backlog: u64,
    /// Readings of the processes.
    pub sampler: Sampler,
    /// Faults done.
    pub faults: FaultLog,
}

/// Runs lanes and observers to their end.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a part of the trial that the step consumes; a struct for one call would only rename them"
)]
pub fn conduct(
    engine: &Engine<'_>,
    stage: &mut Option<Stage>,
    window: Window,
    drain_ns: u64,
    lanes: Vec<(Lane, Box<dyn Session>)>,
    observers: Vec<(View, Box<dyn Observer>)>,
    faults: FaultLog,
    signals: &Arc<Signals>,
    sink: &mut dyn Sink,
) -> Conducted {
    let mut conducted = Conducted {
        lanes: Vec::new(),
        views: Vec::new(),
        errors: Vec::new(),
        lanes_ended_ns: 0,
        drained_ns: 0,
        backlog: 0,
        sampler: Sampler::default(),
        faults,
    };
    if !engine.clock().is_real() {
        // Virtual time belongs to whoever sleeps; with one thread it can be followed.
        for (mut lane, mut session) in lanes {
            let result = session.drive(&mut lane);
            finish_lane(&mut lane, result, &mut conducted.errors);
            conducted.lanes.push((lane, session));
        }
        conducted.lanes_ended_ns = engine.clock().now_ns();
        conducted.drained_ns = conducted.lanes_ended_ns;
        return conducted;
    }
    let watching: Vec<_> = observers
        .into_iter()
        .filter_map(|(mut view, mut observer)| {
            let spawned = thread::Builder::new().name("observer".to_owned()).spawn(move || {
                let result = observer.watch(&mut view);
                (view, observer, result)
            });
            spawned
                .map_err(|e| conducted.errors.push(format!("no thread for an observer: {e}")))
                .ok()
        })
        .collect();
    let driving: Vec<_> = lanes
        .into_iter()
        .filter_map(|(mut lane, mut session)| {
            let spawned = thread::Builder::new().name("lane".to_owned()).spawn(move || {
                precise_timers();
                if let Wake::At(first) = lane.wake() {
                    lane.clock.sleep_until(first.saturating_sub(1_000_000));
                }
                let result = session.drive(&mut lane);
                (lane, session, result)
            });
            spawned
                .map_err(|e| conducted.errors.push(format!("no thread for a lane: {e}")))
                .ok()
        })
        .collect();

    let mut watch = Watch::new(window);
    while driving.iter().any(|d| !d.is_finished()) {
        if engine.stopped() {
            signals.stop.store(true, Ordering::Relaxed);
        }
        watch.step(engine, stage, signals, sink, &mut conducted);
    }
    for lane in driving {
        match lane.join() {
            Ok((mut lane, session, result)) => {
                finish_lane(&mut lane, result, &mut conducted.errors);
                conducted.lanes.push((lane, session));
            }
            Err(_) => conducted
                .errors
                .push("a lane of the instrument panicked; this is a defect of eventbench".to_owned()),
        }
    }
    let clock = engine.clock();
    conducted.lanes_ended_ns = clock.now_ns();
    let sent: u64 = conducted
        .lanes
        .iter()
        .flat_map(|(lane, _)| &lane.books)
        .map(|book| book.sent.len())
        .sum();
    conducted.backlog = sent.saturating_sub(signals.delivered.load(Ordering::Relaxed));
    if watching.is_empty() {
        conducted.backlog = 0;
    } else {
        let limit = conducted.lanes_ended_ns + drain_ns;
        while signals.delivered.load(Ordering::Relaxed) < sent
            && clock.now_ns() < limit
            && !engine.stopped()
            && !watching.iter().any(|w| w.is_finished())
        {
            watch.step(engine, stage, signals, sink, &mut conducted);
        }
    }
    // The processes are read until the measured phase has ended, also when everything was done long before.
    while clock.now_ns() < window.measure_until_ns
        && !engine.stopped()
        && conducted.errors.is_empty()
        && !signals.stopped()
    {
        watch.step(engine, stage, signals, sink, &mut conducted);
    }
    conducted.drained_ns = clock.now_ns();
    // What follows from a fault is seen to its end, also when the load needs it no more.
    let limit = conducted.drained_ns + drain_ns;
    while conducted.faults.awaits(clock.now_ns())
        && clock.now_ns() < limit
        && !engine.stopped()
        && conducted.errors.is_empty()
        && !signals.stopped()
    {
        watch.step(engine, stage, signals, sink, &mut conducted);
    }
    let broke_off = engine.stopped() || signals.stopped() || !conducted.errors.is_empty();
    conducted.faults.end(broke_off);
    watch.read(stage, Depth::Full, &mut conducted);
    signals.close.store(true, Ordering::Release);
    for observer in watching {
        match observer.join() {
            Ok((view, observer, result)) => {
                if let Err(e) = result {
                    conducted.errors.push(format!("observer: {e}"));
                }
                conducted.views.push((view, observer));
            }
            Err(_) => conducted
                .errors
                .push("an observer of the instrument panicked; this is a defect of eventbench".to_owned()),
        }
    }
    // The totals as they stand when nothing more can come.
    watch.tick(clock.now_ns(), signals, sink);
    conducted
}

/// What an early end leaves unsent counts as offered and abandoned, unless the user stopped the run.
fn finish_lane(lane: &mut Lane, result: Result<(), DriverError>, errors: &mut Vec<String>) {
    if let Err(e) = result {
        errors.push(e.to_string());
    }
    if !lane.signals.stopped() && lane.workers().is_none() && !lane.has_users() {
        while lane.take(u64::MAX).is_some() {}
    }
}

/// What the conductor does while others work.
struct Watch {
    edges: Vec<u64>,
    next_read_ns: u64,
    next_full_ns: u64,
    next_tick_ns: u64,
    last_tick: (u64, u64, u64),
    window: Window,
    gone: bool,
}

impl Watch {
    fn new(window: Window) -> Self {
        // Edges of the measured phase, the last first.
        let edges = vec![window.measure_until_ns, window.measure_from_ns];
        Self {
            edges,
            next_read_ns: window.start_ns,
            next_full_ns: window.start_ns,
            next_tick_ns: window.start_ns,
            last_tick: (window.start_ns, 0, 0),
            window,
            gone: false,
        }
    }

    /// Sleeps until there is something to do, and does it.
    fn step(
        &mut self,
        engine: &Engine<'_>,
        stage: &mut Option<Stage>,
        signals: &Signals,
        sink: &mut dyn Sink,
        conducted: &mut Conducted,
    ) {
        let clock = engine.clock();
        let now = clock.now_ns();
        let mut next = now + 20_000_000;
        for due in [
            Some(self.next_read_ns),
            self.edges.last().copied(),
            conducted.faults.next_ns(),
        ]
        .into_iter()
        .flatten()
        {
            next = next.min(due);
        }
        clock.sleep_until(next);
        let now = clock.now_ns();
        if self.edges.pop_if(|edge| *edge <= now).is_some() {
            self.read(stage, Depth::Full, conducted);
            self.next_read_ns = now + READ_NS;
            self.next_full_ns = now + READ_FULL_NS;
        } else if now >= self.next_read_ns {
            let full = now >= self.next_full_ns;
            self.read(stage, if full { Depth::Full } else { Depth::Light }, conducted);
            self.next_read_ns = now + READ_NS;
            if full {
                self.next_full_ns = now + READ_FULL_NS;
            }
        }
        if let Some(stage) = stage {
            if conducted.faults.next_ns().is_some_and(|due| due <= now) {
                // The CPU of a process that is about to end must be read before it does.
                conducted.sampler.read(&stage.processes(), Depth::Light);
                for what in conducted.faults.act(engine, stage, signals) {
                    sink.hear(Event::Marked(what));
                }
            }
            for what in conducted.faults.attend(stage) {
                sink.hear(Event::Marked(what));
            }
            self.look_after(stage, signals, conducted);
        }
        if now >= self.next_tick_ns {
            self.tick(now, signals, sink);
            self.next_tick_ns = now + 250_000_000;
        }
    }

    fn read(&self, stage: &Option<Stage>, depth: Depth, conducted: &mut Conducted) {
        let processes = stage.as_ref().map(Stage::processes).unwrap_or_default();
        conducted.sampler.read(&processes, depth);
    }

    /// A process that ends unasked ends the trial: what comes after would be measured of something else.
    fn look_after(&mut self, stage: &mut Stage, signals: &Signals, conducted: &mut Conducted) {
        if self.gone {
            return;
        }
        let mut ended: Vec<String> = stage
            .services
            .iter_mut()
            .filter(|s| !s.expected_down)
            .filter_map(|s| s.ended())
            .collect();
        ended.extend(stage.broker_gone());
        ended.extend(stage.fell_asleep());
        if !ended.is_empty() {
            self.gone = true;
            conducted.errors.extend(ended);
            signals.stop.store(true, Ordering::Relaxed);
        }
    }

    fn tick(&mut self, now: u64, signals: &Signals, sink: &mut dyn Sink) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (sent, delivered, failed) = (read(&signals.sent), read(&signals.delivered), read(&signals.failed));
        // Where somebody looks at the other end, an event that was refused may still arrive, so it stays open.
        let (done, ended) = match delivered {
            0 => (read(&signals.acked), read(&signals.acked) + failed),
            _ => (delivered, delivered),
        };
        let (at, last_sent, last_done) = self.last_tick;
        let seconds = now.saturating_sub(at) as f64 / 1e9;
        if seconds > 0.0 {
            sink.hear(Event::Tick {
                elapsed_s: now.saturating_sub(self.window.start_ns) as f64 / 1e9,
                sent_per_s: sent.saturating_sub(last_sent) as f64 / seconds,
                done_per_s: done.saturating_sub(last_done) as f64 / seconds,
                p50_ns: read(&signals.recent_p50_ns),
                p99_ns: read(&signals.recent_p99_ns),
                open: sent.saturating_sub(ended),
                sent,
                done,
                failed,
            });
        }
        self.last_tick = (now, sent, done);
    }
}
