//! Benchmarks simulated event by event: what golden records are made of.

use super::check;
use eventbench_core::judge::{Figure, Limit, LimitResult, Verdict, judge_limit, standard_figures};
use eventbench_core::metric::{MetricKey, MetricValue, Series, Values};
use eventbench_core::mix::{mix3, unit};
use eventbench_core::observe::{Close, Latency, Ledger, Recorder, StreamSeen, StreamSent, Timeline, Window};
use eventbench_core::plan::{LimitEntry, Severity};
use eventbench_core::record::{BenchmarkRecord, TrialRecord};

const S: u64 = 1_000_000_000;
/// A miss by less than this share of a bound is a warning.
pub(super) const WARN_MARGIN: f64 = 0.2;

/// Adds values of its own to a trial of this number.
pub(super) type Extra = dyn Fn(u32, &mut Values);

/// What a simulated benchmark is like; the defaults are those of a quiet one.
pub(super) struct Simulated<'a> {
    pub seed: u64,
    pub rate: u64,
    pub seconds: u64,
    pub trials: u32,
    pub closed: bool,
    /// Whether something other than the driver sees the events.
    pub observed: bool,
    /// Whether the system confirms events before they end.
    pub acked: bool,
    pub streams: &'a [&'a str],
    pub base_us: f64,
    /// The share by which the trials differ from each other.
    pub wander: f64,
    pub tail_every: u64,
    pub tail_us: f64,
    pub late_us: f64,
    pub lose_every: u64,
    pub lose_between: Option<(u64, u64)>,
    pub duplicate_every: u64,
    pub store_cores: f64,
    pub instrument_cores: f64,
    pub growth_bytes_per_s: f64,
    pub extra: Option<&'a Extra>,
}

impl<'a> Simulated<'a> {
    pub fn new(seed: u64) -> Self {
        Simulated {
            seed,
            rate: 100,
            seconds: 5,
            trials: 3,
            closed: false,
            observed: true,
            acked: false,
            streams: &["chat"],
            base_us: 1_400.0,
            wander: 0.02,
            tail_every: 97,
            tail_us: 3_800.0,
            late_us: 60.0,
            lose_every: 0,
            lose_between: None,
            duplicate_every: 0,
            store_cores: 0.06,
            instrument_cores: 0.04,
            growth_bytes_per_s: 0.0,
            extra: None,
        }
    }

    fn lost(&self, k: u64) -> bool {
        (self.lose_every > 0 && k % self.lose_every == self.lose_every - 1)
            || self.lose_between.is_some_and(|(from, to)| (from..to).contains(&k))
    }

    pub fn trial(&self, number: u32) -> TrialRecord {
        let window = Window {
            start_ns: 0,
            measure_from_ns: S,
            measure_until_ns: (1 + self.seconds) * S,
        };
        let mut recorder = Recorder::new(window);
        let mut halves: Vec<(StreamSent, StreamSeen)> = self.streams.iter().map(|_| Default::default()).collect();
        let total = (1 + self.seconds) * self.rate;
        let (mut offered, mut done, mut measured_done) = (0u64, 0u64, 0u64);
        for k in 0..total {
            let intended = k * S / self.rate;
            let draw = |what: u64| unit(mix3(self.seed * 100 + u64::from(number), k, what));
            let late = self.late_us * (0.5 + draw(1)) * 1e3;
            let scale = 1.0 + self.wander * (f64::from(number) - 2.0);
            let tail = if k % self.tail_every == self.tail_every - 1 {
                self.tail_us * draw(2)
            } else {
                0.0
            };
            let service = (self.base_us * scale * (0.8 + 0.4 * draw(3)) + tail) * 1e3;
            let sent = intended + late as u64;
            recorder.sent(intended, sent);
            offered += u64::from(window.measures(intended));
            let (stream, seq) = ((k % self.streams.len() as u64) as usize, k / self.streams.len() as u64);
            let (sender, seen) = &mut halves[stream];
            sender.sent.insert(seq);
            // Every other one of the lost was confirmed, where the system confirms at all.
            if !self.observed || (self.acked && (!self.lost(k) || (k / self.lose_every.max(1)).is_multiple_of(2))) {
                sender.acked.insert(seq);
            }
            if self.lost(k) {
                continue;
            }
            seen.note(seq, false);
            if self.duplicate_every > 0 && k % self.duplicate_every == 7 {
                seen.note(seq, false);
            }
            recorder.done(intended, sent, sent + service as u64);
            done += 1;
            measured_done += u64::from(window.measures(intended));
        }
        let closes: Vec<Close<'_>> = self
            .streams
            .iter()
            .zip(&halves)
            .map(|(name, (sent, seen))| Close {
                name,
                sent,
                seen: self.observed.then_some(seen),
            })
            .collect();
        let mut ledger = Ledger::close(&closes, |_, _, _| {});
        if !self.observed {
            ledger.lost_examples.clear();
        }
        let timeline = Timeline::merge([recorder]);
        let values = self.values(
            number,
            &timeline,
            &ledger,
            Counted {
                offered,
                total,
                done,
                measured_done,
            },
        );
        TrialRecord {
            variant: String::new(),
            number,
            warmup_s: 1.0,
            measured_s: self.seconds as f64,
            drain_s: if ledger.total.lost() > 0 { 5.0 } else { 0.012 },
            values,
            ledger,
            timeline: timeline.intervals,
            marks: Vec::new(),
            errors: Vec::new(),
            causes: Vec::new(),
            hops: Vec::new(),
        }
    }

    fn values(&self, number: u32, timeline: &Timeline, ledger: &Ledger, counted: Counted) -> Values {
        let mut v = Values::default();
        v.latency("response_time", timeline.response.clone());
        v.latency("service_time", timeline.service.clone());
        v.latency("lateness", timeline.lateness.clone());
        if self.observed {
            let mut resolution = Latency::new();
            (0..50 * self.seconds).for_each(|i| resolution.record(180_000 + i % 7 * 1_000));
            v.latency("resolution", resolution);
        }
        let book = &ledger.total;
        for (metric, n) in [
            ("offered", counted.offered),
            ("sent", counted.offered),
            (
                "acked",
                if self.acked || !self.observed {
                    counted.measured_done
                } else {
                    0
                },
            ),
            ("delivered", book.delivered),
            ("duplicates", book.duplicates),
            ("lost", book.lost()),
            ("lost.acked", book.lost_after_ack),
            ("lost.unacked", book.lost_before_ack),
            ("broker.in_msgs", counted.total),
            ("broker.out_msgs", counted.done),
            ("broker.slow_consumers", 0),
        ] {
            v.count(metric, n);
        }
        let seconds = self.seconds as f64;
        v.gauge("offered.rate", counted.offered as f64 / seconds);
        v.gauge("sent.rate", counted.offered as f64 / seconds);
        if let Some((_, last)) = timeline.done_span {
            v.gauge(
                "delivered.rate",
                counted.measured_done as f64 / ((last - S) as f64 / S as f64).max(seconds),
            );
        }
        v.gauge("delivered.ratio", book.delivered as f64 / book.sent as f64);
        for (process, cores, rss) in [("nats", 0.02, 21e6), ("store", self.store_cores, 12e6)] {
            let cores = cores * (1.0 + 0.01 * f64::from(number));
            let gauge = |x: f64| MetricValue::Gauge(x);
            v.put(MetricKey::tagged("cpu", "process", process), gauge(cores));
            v.put(
                MetricKey::tagged("cpu.per_event", "process", process),
                gauge(cores * S as f64 / self.rate as f64),
            );
            let growth = if process == "store" {
                self.growth_bytes_per_s
            } else {
                0.0
            };
            let points = (0..=(1 + self.seconds) * 4)
                .map(|i| {
                    (
                        i as f64 / 4.0,
                        rss + growth * i as f64 / 4.0 + (4096.0 * (8.0 * unit(mix3(self.seed, i, 9))).floor()),
                    )
                })
                .collect();
            v.put(
                MetricKey::tagged("rss", "process", process),
                MetricValue::Series(Series {
                    points,
                    measured_from_s: 1.0,
                }),
            );
        }
        v.gauge("instrument.cpu", self.instrument_cores);
        if let Some(extra) = self.extra {
            extra(number, &mut v);
        }
        v
    }

    pub fn benchmark(&self, name: &str, requirement: &str, category: &str, that: &[&str]) -> BenchmarkRecord {
        let trials: Vec<TrialRecord> = (1..=self.trials).map(|n| self.trial(n)).collect();
        let limits = limits(that, &trials);
        let load = if self.closed {
            format!("closed loop, 4 in flight, {} s", self.seconds)
        } else {
            format!("{}/s evenly, {} s", self.rate, self.seconds)
        };
        BenchmarkRecord {
            name: name.to_owned(),
            about: Some("How long does an event take from its intended instant to its end?".to_owned()),
            requirement: Some(requirement.to_owned()),
            category: category.to_owned(),
            tags: vec![category.to_owned()],
            load,
            closed_loop: self.closed,
            observed_by: if self.observed {
                vec!["sqlite".to_owned()]
            } else {
                Vec::new()
            },
            verdict: Verdict::highest(limits.iter().map(|l| l.counts_as)),
            figures: figures(&trials),
            baseline: None,
            limits,
            checks: vec![
                check("books balance", Some(true), "sent = delivered + lost in every trial"),
                check("no clock step", Some(true), "0 ns"),
            ],
            warnings: Vec::new(),
            trials,
            error: None,
            interrupted: false,
            grade: None,
        }
    }
}

/// Events counted while simulating: offered in the measured phase, in all, seen, and seen of the measured phase.
struct Counted {
    offered: u64,
    total: u64,
    done: u64,
    measured_done: u64,
}

fn own(trials: &[TrialRecord]) -> Vec<&Values> {
    trials
        .iter()
        .filter(|t| t.variant.is_empty())
        .map(|t| &t.values)
        .collect()
}

pub(super) fn figures(trials: &[TrialRecord]) -> Vec<Figure> {
    standard_figures(&trials.iter().map(|t| &t.values).collect::<Vec<_>>())
}

/// Limits written as `severity that`.
pub(super) fn limits(that: &[&str], trials: &[TrialRecord]) -> Vec<LimitResult> {
    let parsed = that.iter().filter_map(|text| {
        let (word, that) = text.split_once(' ')?;
        let severity = match word {
            "must" => Severity::Must,
            "should" => Severity::Should,
            _ => Severity::May,
        };
        Limit::parse(&LimitEntry {
            that: that.to_owned(),
            severity,
            min_samples: None,
        })
        .ok()
    });
    let limits: Vec<LimitResult> = parsed
        .map(|limit| judge_limit(&limit, &own(trials), WARN_MARGIN, None))
        .collect();
    assert_eq!(
        limits.len(),
        that.len(),
        "a limit of a golden record does not parse: {that:?}"
    );
    limits
}
