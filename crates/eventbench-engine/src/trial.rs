//! One trial: a fresh stage, fresh connections, the load, the books, the values and the cross-checks.

use crate::crosscheck;
use crate::drive::{Conducted, FaultLog, conduct};
use crate::engine::Engine;
use crate::linux;
use crate::probes::broker::BrokerReadings;
use crate::stage::{Stage, StageError};
use eventbench_core::arrival::{ARRIVALS, Schedule};
use eventbench_core::driver::{Driver, DriverError, Shares};
use eventbench_core::event::Sink;
use eventbench_core::lane::{Lane, LaneSpec};
use eventbench_core::metric::{MetricKey, MetricValue, Values};
use eventbench_core::mix::mix2;
use eventbench_core::observe::{Causes, Close, HopTimes, Ledger, StreamSeen, StreamSent, Timeline, Window};
use eventbench_core::plan::{Benchmark, Plan};
use eventbench_core::record::{CheckResult, TrialRecord};
use eventbench_core::ticket::{OUTCOMES, Outcome, Tally};
use eventbench_core::trial::{Signals, Trial, epoch_ms};
use eventbench_core::view::View;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The stage could not be set.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A driver or an observer could not be opened.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The load makes no sense after profile and overrides.
    #[error("benchmark \"{benchmark}\": {cause}")]
    Load {
        /// Which.
        benchmark: String,
        /// Why.
        cause: String,
    },
}

/// What a trial gives beside its record.
pub struct TrialResult {
    /// For the run's record.
    pub record: TrialRecord,
    /// Cross-checks.
    pub checks: Vec<CheckResult>,
    /// Version of the broker.
    pub broker_version: Option<String>,
    /// Whether the user stopped it before its end.
    pub interrupted: bool,
}

/// The schedule of a benchmark's load.
pub fn schedule(benchmark: &Benchmark, seed: u64) -> Result<Schedule, RunError> {
    let mut load = benchmark.load.value.clone();
    load.seed = load.seed.or(Some(seed));
    let refused = |cause: String| RunError::Load {
        benchmark: benchmark.name.value.clone(),
        cause,
    };
    let def = ARRIVALS
        .iter()
        .find(|a| a.name == load.arrival)
        .ok_or_else(|| refused(format!("unknown arrival \"{}\"", load.arrival)))?;
    let arrival = (def.build)(&load).map_err(refused)?;
    Ok(Schedule::new(arrival, load.warmup.map_or(0, |w| w.ns()), load.events))
}

/// Runs one trial of a benchmark or of its baseline variant.
pub fn run_trial(
    engine: &Engine<'_>,
    plan: &Plan,
    benchmark: &Benchmark,
    variant: &str,
    number: u32,
    sink: &mut dyn Sink,
) -> Result<TrialResult, RunError> {
    let schedule = schedule(benchmark, plan.suite.seed)?;
    let clock = engine.clock();
    let mut stage = if clock.is_real() {
        Some(Stage::set(engine, plan, benchmark)?)
    } else {
        None
    };
    let unique = mix2(clock.now_ns() ^ u64::from(std::process::id()) << 32, u64::from(number)) as u32 & 0xff_ffff;
    let trial = Trial {
        number: unique,
        seed: plan.suite.seed,
        epoch_ms: epoch_ms(engine.host),
        clock: clock.clone(),
        variables: stage.as_ref().map(|s| s.variables.clone()).unwrap_or_default(),
        connections: benchmark.load.connections.unwrap_or(1),
        lanes: benchmark.load.lanes.unwrap_or(1),
        name: format!("eventbench {unique:06x}"),
    };
    let name = benchmark.drive.text("driver").unwrap_or_default();
    let unknown = |what: &str, name: &str| RunError::Load {
        benchmark: benchmark.name.value.clone(),
        cause: format!("unknown {what} \"{name}\""),
    };
    let def = engine.registry.driver(name).ok_or_else(|| unknown("driver", name))?;
    let driver: Arc<dyn Driver> = Arc::from((def.open)(&benchmark.drive.without("driver"), &trial)?);
    let streams = driver.streams();
    let signals = Arc::new(Signals::default());
    let mut sessions = Vec::new();
    for lane in 0..trial.lanes {
        sessions.push(driver.session(&trial, lane)?);
    }
    let mut observers = Vec::new();
    for settings in &benchmark.observe {
        let name = settings.text("driver").unwrap_or_default();
        let def = engine
            .registry
            .observer(name)
            .ok_or_else(|| unknown("observer", name))?;
        let late_after_ns = 1_000_000_000;
        let observer = (def.open)(&settings.without("driver"), &trial, driver.clone())?;
        observers.push((late_after_ns, observer));
    }
    let before = stage.as_ref().and_then(|s| BrokerReadings::read(s.monitors(), false));
    let suspended_before = linux::suspended_ns();

    // Far enough ahead that every thread is up and waiting when the first event is due.
    let start_ns = clock.now_ns() + if clock.is_real() { 30_000_000 } else { 0 };
    let window = Window {
        start_ns,
        measure_from_ns: start_ns + schedule.warmup_ns(),
        measure_until_ns: start_ns + schedule.duration_ns(),
    };
    let drain_ns = benchmark.drain.map_or(5_000_000_000, |d| d.ns());
    let count = streams.len() as u32;
    let lanes = sessions
        .into_iter()
        .enumerate()
        .map(|(id, session)| {
            let spec = LaneSpec {
                id: id as u32,
                schedule: schedule.clone(),
                window,
                streams: streams.iter().map(|s| s.name.clone()).collect(),
                deadline_ns: window.measure_until_ns + drain_ns,
                settles_response: observers.is_empty(),
                promises_delivery: driver.promises_delivery() || observers.is_empty(),
            };
            (Lane::new(spec, &trial, signals.clone()), session)
        })
        .collect();
    let has_observers = !observers.is_empty();
    let views = observers
        .into_iter()
        .map(|(late_ns, observer)| (View::new(&trial, window, count, late_ns, signals.clone()), observer))
        .collect();
    let faults = FaultLog::new(&benchmark.fault, window.start_ns, window.measure_from_ns);
    let mut conducted = conduct(
        engine, &mut stage, window, drain_ns, lanes, views, faults, &signals, sink,
    );
    let interrupted = engine.stopped();

    let mut checks = Vec::new();
    let names: Vec<&str> = streams.iter().map(|s| s.name.as_str()).collect();
    let books = Books::close(&conducted, &names, has_observers, &schedule, &window);
    books.check(&mut checks);
    crosscheck::observers(&mut conducted, &mut checks);
    let monitors = stage.as_ref().map_or(&[][..], Stage::monitors);
    crosscheck::broker(monitors, &trial.name, books.ledger.total.sent, &conducted, &mut checks);
    crosscheck::clock(suspended_before, &mut checks);

    let mut values = Values::default();
    let after = BrokerReadings::read(monitors, false);
    if let (Some(before), Some(after)) = (before, after)
        && let Some(delta) = after.since(&before)
    {
        for (metric, counted) in [
            ("broker.in_msgs", delta.client_in_msgs),
            ("broker.out_msgs", delta.client_out_msgs),
        ] {
            if let Some(counted) = counted {
                values.count(metric, counted);
            }
        }
        values.count("broker.slow_consumers", delta.slow_consumers);
        values.gauge("broker.subscriptions", after.subscriptions() as f64);
    }
    let startup_ns = stage.as_ref().map_or(0, |s| s.startup_ns);
    let broker_version = stage.as_ref().and_then(Stage::broker_version).map(str::to_owned);
    let remarks = stage.take().map(Stage::clear).unwrap_or_default();
    let record = record(
        conducted,
        books,
        window,
        startup_ns,
        &signals,
        values,
        &mut checks,
        plan,
        variant,
        number,
        remarks,
    );
    Ok(TrialResult {
        record,
        checks,
        broker_version,
        interrupted,
    })
}

/// The closed books, with what faults cost.
struct Books {
    ledger: Ledger,
    measured: Tally,
    all: Tally,
    /// Whether events had instants at which they were meant to be sent.
    has_due_times: bool,
    /// (sent from the first outage until ready, lost of those, sent from its beginning on, lost of those).
    gap: Option<(u64, u64, u64, u64)>,
}

impl Books {
    fn close(conducted: &Conducted, names: &[&str], observed: bool, schedule: &Schedule, window: &Window) -> Books {
        let streams = names.len();
        let mut sent = vec![StreamSent::default(); streams];
        let (mut measured, mut all) = (Tally::default(), Tally::default());
        for (lane, _) in &conducted.lanes {
            measured.merge(&lane.measured);
            all.merge(&lane.measured);
            all.merge(&lane.warmup);
            // Lanes share no stream, so taking each stream's owner is the whole of merging.
            for stream in lane.streams() {
                if let (Some(slot), Some(book)) = (sent.get_mut(stream as usize), lane.books.get(stream as usize)) {
                    *slot = book.clone();
                }
            }
        }
        let mut seen = vec![StreamSeen::default(); streams];
        for (view, _) in &conducted.views {
            for (slot, other) in seen.iter_mut().zip(&view.seen) {
                slot.merge(other);
            }
        }
        let close: Vec<Close<'_>> = (0..streams)
            .map(|s| Close {
                name: names[s],
                sent: &sent[s],
                seen: observed.then_some(&seen[s]),
            })
            .collect();
        let outage = conducted.faults.outages.first().copied();
        let (mut lost_in_gap, mut lost_since) = (0, 0);
        let due = |k: u64| schedule.due(k).map(|d| window.start_ns + d);
        let mut ledger = Ledger::close(&close, |stream, seq, _| {
            if let Some(outage) = &outage {
                let at = due(seq * streams as u64 + u64::from(stream)).unwrap_or(0);
                lost_in_gap += u64::from(at >= outage.begun_ns && outage.ready_ns.is_some_and(|ready| at < ready));
                lost_since += u64::from(at >= outage.begun_ns);
            }
        });
        for (view, _) in &conducted.views {
            ledger.foreign += view.foreign;
            ledger.corrupt += view.corrupt;
        }
        let total = schedule.total().unwrap_or(0);
        let until = |at_ns: u64| first_due_at(schedule, total, at_ns.saturating_sub(window.start_ns));
        let gap = outage.filter(|_| total > 0).map(|o| {
            let (begun, ready) = (until(o.begun_ns), o.ready_ns.map_or(total, until));
            (ready - begun, lost_in_gap, total - begun, lost_since)
        });
        Books {
            ledger,
            measured,
            all,
            has_due_times: schedule.main().workers().is_none(),
            gap,
        }
    }

    fn check(&self, checks: &mut Vec<CheckResult>) {
        let t = &self.ledger.total;
        checks.push(CheckResult {
            name: "the books balance".to_owned(),
            holds: Some(self.all.balanced() && self.ledger.balanced() && t.unexpected == 0 && t.sent == self.all.sent),
            detail: format!(
                "offered {} = acked {} + rejected {} + timed out {} + disconnected {} + abandoned {}; sent {} = delivered {} + lost {}; seen but not sent {}",
                self.all.offered,
                self.all.count(Outcome::Acked),
                self.all.count(Outcome::Rejected),
                self.all.count(Outcome::TimedOut),
                self.all.count(Outcome::Disconnected),
                self.all.abandoned(),
                t.sent,
                t.delivered,
                t.lost(),
                t.unexpected
            ),
        });
    }

    fn values(&self, values: &mut Values, window: &Window, timeline: &Timeline) {
        let m = &self.measured;
        values.count("offered", m.offered);
        values.count("sent", m.sent);
        let names = ["acked", "rejected", "timed_out", "disconnected"];
        for (name, outcome) in names.into_iter().zip(OUTCOMES) {
            values.count(name, m.count(outcome));
        }
        values.count("abandoned", m.abandoned());
        let t = &self.ledger.total;
        values.count("delivered", t.delivered);
        values.count("duplicates", t.duplicates);
        values.count("reordered", t.reordered);
        values.count("late", t.late);
        values.count("lost", t.lost());
        values.count("lost.acked", t.lost_after_ack);
        values.count("lost.unacked", t.lost_before_ack);
        values.count("unexpected", t.unexpected);
        values.count("corrupt", self.ledger.corrupt);
        values.count("foreign", self.ledger.foreign);
        let seconds = window.seconds();
        if m.offered > 0 {
            values.gauge("offered.rate", m.offered as f64 / seconds);
            values.gauge("sent.rate", m.sent as f64 / seconds);
        }
        if t.sent > 0 {
            values.gauge("delivered.ratio", t.delivered as f64 / t.sent as f64);
            values.gauge("acked.ratio", self.all.count(Outcome::Acked) as f64 / t.sent as f64);
        }
        if let Some((_, last)) = timeline.done_span
            && last > window.measure_from_ns
        {
            let span = (last - window.measure_from_ns) as f64 / 1e9;
            values.gauge("delivered.rate", timeline.response.count() as f64 / span);
            values.gauge("makespan", span * 1e9);
        }
        if self.ledger.streams.len() > 1 {
            for stream in &self.ledger.streams {
                let mut put = |metric: &str, n: u64| {
                    values.put(
                        MetricKey::tagged(metric, "stream", &stream.stream),
                        MetricValue::Count(n),
                    );
                };
                put("delivered", stream.delivered);
                put("lost", stream.lost());
                put("duplicates", stream.duplicates);
            }
        }
        if let Some((sent, lost, since, lost_since)) = self.gap {
            values.count("gap.sent", sent);
            values.count("gap.lost", lost);
            if since > 0 {
                values.gauge("gap.recovered", 1.0 - lost_since as f64 / since as f64);
            }
        }
    }
}

/// The number of the first event due at or after an offset; `due` is monotone.
fn first_due_at(schedule: &Schedule, total: u64, offset_ns: u64) -> u64 {
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = low + (high - low) / 2;
        if schedule.due(middle).is_some_and(|d| d < offset_ns) {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

#[allow(
    clippy::too_many_arguments,
    reason = "each is a part of the trial that the step consumes; a struct for one call would only rename them"
)]
fn record(
    conducted: Conducted,
    books: Books,
    window: Window,
    startup_ns: u64,
    signals: &Signals,
    mut values: Values,
    checks: &mut Vec<CheckResult>,
    plan: &Plan,
    variant: &str,
    number: u32,
    remarks: Vec<String>,
) -> TrialRecord {
    let Conducted {
        mut lanes,
        views,
        mut errors,
        lanes_ended_ns,
        drained_ns,
        backlog,
        sampler,
        faults,
    } = conducted;
    // Every lane and every observer knows its own share.
    let mut extras: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shares: Option<Shares> = None;
    let (mut causes, mut hops) = (Causes::default(), HopTimes::default());
    for (lane, session) in &mut lanes {
        debug_assert_eq!(lane.recorder.window(), window);
        for (key, value) in session.measures() {
            values.put(key, value);
        }
        for (task, times) in lane.task_times() {
            values.put(
                MetricKey::tagged("response_time", "stream", task),
                MetricValue::Latency(Box::new(times.clone())),
            );
        }
        causes.merge(session.causes());
        hops.merge(session.hops());
        for (metric, n) in session.extras() {
            *extras.entry(metric).or_default() += n;
        }
        if let Some(of_lane) = session.shares() {
            shares.get_or_insert_default().merge(of_lane);
        }
    }
    if let Some(shares) = &shares {
        for (instance, n) in &shares.answers {
            values.put(
                MetricKey::tagged("replies", "instance", instance),
                MetricValue::Count(*n),
            );
        }
        if let Some(fairness) = shares.fairness() {
            values.gauge("fairness", fairness);
        }
    }
    let median = |metric: &str| match values.get(&MetricKey::plain(metric)) {
        Some(MetricValue::Latency(times)) => times.quantile_ns(0.5),
        _ => None,
    };
    if let (Some(cached), Some(fresh @ 1.0..)) = (median("read_time.cached"), median("read_time.fresh")) {
        values.gauge("read_time.ratio", cached / fresh);
    }
    for (hop, length) in hops.lengths() {
        values.put(
            MetricKey::tagged("hop_time", "hop", hop),
            MetricValue::Latency(Box::new(length.clone())),
        );
    }
    let observed = !views.is_empty();
    let mut resolution = eventbench_core::observe::Latency::new();
    let mut recorders = Vec::new();
    for (view, observer) in views {
        for (metric, n) in observer.extras() {
            *extras.entry(metric).or_default() += n;
        }
        resolution.merge(&view.resolution);
        recorders.push(view.recorder);
    }
    let wire = extras.get("wire.sent").zip(extras.get("wire.received"));
    if let Some((sent, received)) = wire
        && books.all.sent > 0
    {
        values.gauge("wire.per_event", (sent + received) as f64 / books.all.sent as f64);
    }
    for (metric, n) in extras {
        values.count(metric, n);
    }
    recorders.extend(lanes.into_iter().map(|(lane, _)| lane.recorder));
    let timeline = Timeline::merge(recorders);
    books.values(&mut values, &window, &timeline);
    crosscheck::hops(&hops, checks);
    let span = timeline
        .done_span
        .map_or(0, |s| s.1.saturating_sub(window.measure_from_ns));
    if let (Some(events), 1..) = (values.number(&MetricKey::plain("events")), span) {
        values.gauge("events.rate", events / (span as f64 / 1e9));
    }
    if observed {
        values.count("backlog.end", backlog);
    }
    if startup_ns > 0 {
        values.gauge("startup", startup_ns as f64);
    }
    if let Some(outage) = faults.outages.first() {
        if let Some(ready) = outage.ready_ns {
            values.gauge("downtime", ready.saturating_sub(outage.begun_ns) as f64);
        }
        if let (Some(restarted), Some(ready)) = (outage.restarted_ns, outage.ready_ns) {
            values.gauge("restart", ready.saturating_sub(restarted) as f64);
        }
        let first = signals
            .first_after
            .get(outage.mark)
            .map_or(0, |f| f.load(Ordering::Relaxed));
        if first > 0 {
            values.gauge("recovery", first.saturating_sub(outage.begun_ns) as f64);
        }
        let acked = signals
            .first_acked_after
            .get(outage.mark)
            .map_or(0, |f| f.load(Ordering::Relaxed));
        if acked > 0 {
            values.gauge("recovery.ack", acked.saturating_sub(outage.begun_ns) as f64);
        }
        if let Some(ns) = timeline.back_at_rate(&window, window.measure_from_ns, outage.begun_ns) {
            values.gauge("recovery.rate", ns as f64);
        }
    }
    if let Some((begun, elected)) = faults.elections.first() {
        values.gauge("election", elected.saturating_sub(*begun) as f64);
    }
    let ended_ns = timeline.done_span.map_or(window.measure_until_ns, |s| s.1);
    sampler.values(&window, ended_ns, timeline.response.count(), &mut values);
    sampler.by_events(&window, &timeline.slices, &mut values);
    errors.extend(faults.errors);
    errors.extend(remarks);
    errors.extend(sampler.problems().iter().cloned());
    if books.has_due_times && timeline.lateness.count() > 0 {
        let limit = plan.suite.max_lateness.0;
        let late = timeline.lateness.quantile_ns(0.99).unwrap_or(0.0);
        checks.push(CheckResult {
            name: "the generator kept up".to_owned(),
            holds: Some(late <= limit),
            detail: format!(
                "99 % of the events were sent at most {:.3} ms late ({:.0} ms allowed)",
                late / 1e6,
                limit / 1e6
            ),
        });
    }
    if timeline.response.count() > 0 {
        values.latency("response_time", timeline.response);
        values.latency("service_time", timeline.service);
    }
    if timeline.refused.count() > 0 {
        values.latency("error_time", timeline.refused);
    }
    if timeline.lateness.count() > 0 {
        values.latency("lateness", timeline.lateness);
    }
    if resolution.count() > 0 {
        values.latency("resolution", resolution);
    }
    TrialRecord {
        variant: variant.to_owned(),
        number,
        warmup_s: (window.measure_from_ns - window.start_ns) as f64 / 1e9,
        measured_s: window.seconds(),
        drain_s: drained_ns.saturating_sub(lanes_ended_ns) as f64 / 1e9,
        values,
        ledger: books.ledger,
        timeline: timeline.intervals,
        marks: faults.marks,
        errors,
        causes: causes.record(window.start_ns),
        hops: hops.record(),
    }
}
