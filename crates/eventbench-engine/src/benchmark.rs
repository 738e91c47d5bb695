//! One benchmark: its trials, interleaved with those of its baseline variant, its figures, its judgement.

use crate::engine::Engine;
use crate::search::search_trial;
use crate::trial::{RunError, TrialResult, run_trial};
use eventbench_core::event::{Event, Sink};
use eventbench_core::judge::{Figure, Limit, LimitResult, Verdict, from_environment, judge_limit, standard_figures};
use eventbench_core::metric::{MetricKey, MetricValue, Statistic, Values};
use eventbench_core::plan::{Benchmark, LimitEntry, Plan, Severity};
use eventbench_core::record::{BaselineRecord, BenchmarkRecord, CheckResult, TrialRecord};
use eventbench_core::units::Unit;

/// What a benchmark gives beside its record.
pub struct BenchmarkResult {
    /// For the run's record.
    pub record: BenchmarkRecord,
    /// Version of the broker it ran against.
    pub broker_version: Option<String>,
}

/// Runs a benchmark. What cannot be run becomes an error in its record; only an environment that offers no stage at all is an error of the run.
pub fn run_benchmark(
    engine: &Engine<'_>,
    plan: &Plan,
    benchmark: &Benchmark,
    sink: &mut dyn Sink,
) -> Result<BenchmarkResult, RunError> {
    let baseline = benchmark.baseline();
    let baseline_name = benchmark.against.as_ref().map(|a| a.name.clone()).unwrap_or_default();
    let trials = benchmark.trials.unwrap_or(3);
    let mut records: Vec<TrialRecord> = Vec::new();
    let mut checks: Vec<CheckResult> = Vec::new();
    let mut broker_version = None;
    let mut error = None;
    let mut cut_off = false;
    for (index, is_baseline) in order(trials, baseline.is_some()).into_iter().enumerate() {
        if engine.stopped() {
            break;
        }
        let (variant, which) = match &baseline {
            Some(other) if is_baseline => (baseline_name.as_str(), other),
            _ => ("", benchmark),
        };
        let number = records.iter().filter(|r| r.variant == variant).count() as u32 + 1;
        let expected_s = which.load.warmup.map_or(0.0, |d| d.0 / 1e9) + which.load.duration.map_or(0.0, |d| d.0 / 1e9);
        sink.hear(Event::TrialStarted {
            number: index as u32 + 1,
            variant: variant.to_owned(),
            expected_s,
        });
        let outcome = match &which.search {
            Some(search) => search_trial(engine, plan, which, search, number, sink),
            None => run_trial(engine, plan, which, variant, number, sink),
        };
        match outcome {
            Ok(TrialResult {
                record,
                checks: of_trial,
                broker_version: version,
                interrupted,
            }) => {
                cut_off |= interrupted;
                broker_version = version.or(broker_version);
                let failed = !record.errors.is_empty();
                records.push(record);
                merge_checks(&mut checks, of_trial);
                if failed {
                    // A system that broke once will break again; the next benchmark gets its chance.
                    break;
                }
            }
            // Nothing was measured yet, and nothing of this suite can be: the run ends here.
            Err(e @ (RunError::Stage(_) | RunError::Driver(_))) if records.is_empty() && !engine.stopped() => {
                return Err(e);
            }
            Err(e) => {
                if !engine.stopped() {
                    error = Some(e.to_string());
                }
                break;
            }
        }
    }
    let planned = order(trials, baseline.is_some()).len();
    let interrupted = cut_off || engine.stopped() && records.len() < planned;
    let record = judge(
        engine,
        plan,
        benchmark,
        records,
        checks,
        error,
        interrupted,
        baseline_name,
    )?;
    Ok(BenchmarkResult { record, broker_version })
}

/// The order of trials: A A A, or with a baseline A B B A A B B A …, which cancels a drift of the machine.
fn order(trials: u32, paired: bool) -> Vec<bool> {
    if !paired {
        return vec![false; trials as usize];
    }
    (0..trials)
        .flat_map(|i| if i % 2 == 0 { [false, true] } else { [true, false] })
        .collect()
}

/// One row a check: it holds if it held in every trial, and shows the first trial in which it did not.
pub(crate) fn merge_checks(all: &mut Vec<CheckResult>, more: Vec<CheckResult>) {
    for check in more {
        match all.iter_mut().find(|c| c.name == check.name) {
            Some(known) if known.holds != Some(false) && check.holds != Some(true) => *known = check,
            Some(known) if known.holds == Some(true) && check.holds == Some(true) => known.detail = check.detail,
            Some(_) => {}
            None => all.push(check),
        }
    }
}

/// What must hold although no suite says so.
const ALWAYS: &[&str] = &["corrupt == 0"];

#[allow(
    clippy::too_many_arguments,
    reason = "each is a part of the trial that the step consumes; a struct for one call would only rename them"
)]
pub(crate) fn judge(
    engine: &Engine<'_>,
    plan: &Plan,
    benchmark: &Benchmark,
    mut records: Vec<TrialRecord>,
    checks: Vec<CheckResult>,
    error: Option<String>,
    interrupted: bool,
    baseline_name: String,
) -> Result<BenchmarkRecord, RunError> {
    if benchmark.against.is_some() {
        overheads(plan, benchmark, &mut records);
    }
    let own: Vec<&Values> = records
        .iter()
        .filter(|r| r.variant.is_empty())
        .map(|r| &r.values)
        .collect();
    let other: Vec<&Values> = records
        .iter()
        .filter(|r| !r.variant.is_empty())
        .map(|r| &r.values)
        .collect();
    let mut limits = Vec::new();
    // Where nothing at all arrived, nothing was measured of the system, whatever the suite's own limits speak of.
    let arrived = |values: &Values| {
        values.number(&MetricKey::plain("delivered")) != Some(0.0)
            || values.number(&MetricKey::plain("sent")) == Some(0.0)
    };
    let always: Vec<LimitEntry> = ALWAYS
        .iter()
        .chain((!own.iter().all(|values| arrived(values))).then_some(&"delivered > 0"))
        .filter(|_| !benchmark.observe.is_empty())
        .map(|that| LimitEntry {
            that: (*that).to_owned(),
            severity: Severity::Must,
            min_samples: None,
        })
        .collect();
    for entry in benchmark.limits.iter().map(|l| &l.value).chain(&always) {
        let refused = |cause: String| RunError::Load {
            benchmark: benchmark.name.value.clone(),
            cause,
        };
        let mut limit = Limit::parse(entry).map_err(refused)?;
        let by = from_environment(&mut limit, |name| engine.host.env(name)).map_err(refused)?;
        limits.push(judge_limit(&limit, &own, plan.suite.warn_margin.0, by));
    }
    let figures = standard_figures(&own);
    let grade = benchmark.grade.as_ref().and_then(|grade| grade.judge(&own));
    let baseline = benchmark.against.as_ref().map(|_| BaselineRecord {
        name: baseline_name,
        figures: standard_figures(&other),
    });
    let failures: Vec<String> = error
        .iter()
        .cloned()
        .chain(records.iter().flat_map(|r| r.errors.iter().cloned()))
        .collect();
    let warnings = warnings(plan, benchmark, &figures, &limits, &own);
    let invalid = checks.iter().any(|c| c.holds == Some(false));
    let mut verdict = Verdict::highest(limits.iter().map(|l| l.counts_as));
    if benchmark.limits.is_empty() && figures.iter().all(|f| f.metric != "response_time") {
        verdict = verdict.max(Verdict::NoData);
    }
    if own.is_empty() {
        verdict = verdict.max(Verdict::NoData);
    }
    if lost_unasked(&own, &limits) {
        // Good figures of the events that were left are no reason to pass.
        verdict = verdict.max(Verdict::Warn);
    }
    if interrupted {
        // Half a measurement passes nothing.
        verdict = verdict.max(Verdict::NoData);
    }
    if !failures.is_empty() {
        verdict = verdict.max(Verdict::Fail);
    }
    if invalid && !interrupted {
        verdict = Verdict::Invalid;
    }
    Ok(BenchmarkRecord {
        name: benchmark.name.value.clone(),
        about: benchmark.about.clone(),
        requirement: benchmark.requirement.clone(),
        category: benchmark.category().to_owned(),
        tags: benchmark.tags.clone(),
        load: benchmark.load.describe(),
        closed_loop: matches!(benchmark.load.arrival.as_str(), "closed" | "users"),
        observed_by: benchmark
            .observe
            .iter()
            .filter_map(|o| o.text("driver").map(str::to_owned))
            .collect(),
        verdict,
        figures,
        baseline,
        limits,
        checks,
        warnings,
        trials: records,
        error: (!failures.is_empty()).then(|| failures.join("\n")),
        interrupted,
        grade,
    })
}

/// Puts the overhead of each trial over its partner of the baseline variant into the trial's values.
fn overheads(plan: &Plan, benchmark: &Benchmark, records: &mut [TrialRecord]) {
    let baseline: Vec<Values> = records
        .iter()
        .filter(|r| !r.variant.is_empty())
        .map(|r| r.values.clone())
        .collect();
    let services = |variant: &Benchmark| -> Vec<String> {
        let named = |name: &str| {
            variant
                .services
                .as_ref()
                .map(|list| list.iter().any(|n| n.as_str() == name))
        };
        plan.services
            .iter()
            .filter(|(name, s)| named(name).unwrap_or(!s.on_request))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let own_services = services(benchmark);
    let other_services = benchmark.baseline().map(|b| services(&b)).unwrap_or_default();
    for (record, other) in records.iter_mut().filter(|r| r.variant.is_empty()).zip(&baseline) {
        let of = |values: &Values, metric: &str| values.number(&MetricKey::tagged(metric, "process", "system"));
        let values = &mut record.values;
        let plain = |values: &Values, metric: &str| values.number(&MetricKey::plain(metric));
        if let (Some(a), Some(b)) = (plain(values, "delivered.rate"), plain(other, "delivered.rate")) {
            values.gauge("rate.ratio", a / b);
        }
        if let (Some(a), Some(b)) = (middle(values), middle(other)) {
            values.gauge("latency.ratio", a / b);
        }
        if let (Some(a), Some(b)) = (of(values, "cpu"), of(other, "cpu")) {
            values.gauge("cpu.overhead", a - b);
            values.gauge("cpu.overhead.ratio", a / b - 1.0);
        }
        if let (Some(a), Some(b)) = (of(values, "cpu.per_event"), of(other, "cpu.per_event")) {
            values.gauge("cpu.overhead.per_event", a - b);
        }
        for (metric, overhead) in [("rss", "rss.overhead"), ("pss", "pss.overhead")] {
            if let (Some(a), Some(b)) = (
                memory(values, metric, &own_services),
                memory(other, metric, &other_services),
            ) {
                values.gauge(overhead, a / b - 1.0);
            }
        }
    }
}

/// The median response time.
fn middle(values: &Values) -> Option<f64> {
    let value = values.get(&MetricKey::plain("response_time"))?;
    Some(Statistic::parse("med")?.ask(value)?.value)
}

/// The mean of a memory reading over the measured phase, all services together.
fn memory(values: &Values, metric: &str, services: &[String]) -> Option<f64> {
    let mean = Statistic::parse("mean")?;
    let mut total = 0.0;
    for service in services {
        let value: &MetricValue = values.get(&MetricKey::tagged(metric, "process", service))?;
        total += mean.ask(value)?.value;
    }
    (total > 0.0).then_some(total)
}

/// Remarks that a careful reader would make, each with advice.
fn warnings(
    plan: &Plan,
    benchmark: &Benchmark,
    figures: &[Figure],
    limits: &[LimitResult],
    own: &[&Values],
) -> Vec<String> {
    let mut out = Vec::new();
    let find = |metric: &str, stat: &str| {
        figures
            .iter()
            .find(|f| f.metric == metric && f.tags.is_empty() && f.stat == stat)
    };
    let limited = |f: &Figure| {
        limits
            .iter()
            .any(|l| l.metric == f.key().to_string() && l.stat == f.stat)
    };
    for figure in figures
        .iter()
        .filter(|f| limited(f) || (f.metric == "response_time" && f.stat == "mean"))
    {
        // A count or an overhead may well be near zero, where a relative spread says nothing.
        let relative = matches!(figure.unit, Unit::Nanoseconds | Unit::Bytes | Unit::PerSecond);
        if let (Some(spread), Some((low, high)), true) = (figure.spread, figure.range, relative)
            && spread > plan.suite.max_spread.0
        {
            out.push(format!(
                "{} of {} differs between trials by ±{:.0} % ({} to {}): close other programs, take more trials (--trials) or longer ones (--duration)",
                figure.stat,
                figure.key(),
                spread * 100.0,
                figure.unit.show(low),
                figure.unit.show(high)
            ));
        }
    }
    if lost_unasked(own, limits) {
        out.push(
            "events were lost, and no limit speaks of loss: add \"lost == 0\", or say how much may be lost".to_owned(),
        );
    }
    let instrument = find("instrument.cpu", "value").and_then(|f| f.value).unwrap_or(0.0);
    if instrument > 0.8 {
        out.push(format!(
            "the instrument itself took {} : with few cores, it competes with what it measures",
            Unit::Cores.show(instrument)
        ));
    }
    if benchmark.limits.is_empty() && !own.is_empty() {
        out.push("no limits: nothing was judged; add `limits` to have a verdict that means something".to_owned());
    }
    out
}

/// Whether events were lost in any trial without a limit that speaks of it.
fn lost_unasked(own: &[&Values], limits: &[LimitResult]) -> bool {
    let lost = own
        .iter()
        .any(|values| values.number(&MetricKey::plain("lost")).is_some_and(|n| n > 0.0));
    let speaks = |l: &LimitResult| {
        [
            "lost",
            "delivered.ratio",
            "gap.recovered",
            "acked",
            "rejected",
            "timed_out",
        ]
        .iter()
        .any(|m| l.metric.starts_with(m))
    };
    lost && !limits.iter().any(speaks)
}
