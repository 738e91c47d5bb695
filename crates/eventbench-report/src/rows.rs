//! The rows of the view: what a benchmark's record becomes when it is shown.

use crate::breakdown;
use crate::text::duration;
use crate::view::{Books, Cost, DASH, FigureRow, LimitRow, Row, TOO_SMALL, Times};
use eventbench_core::judge::{Figure, LimitResult, Verdict};
use eventbench_core::observe::StreamLedger;
use eventbench_core::plan::Severity;
use eventbench_core::record::{BenchmarkRecord, Grade, TrialRecord};
use eventbench_core::units::{Unit, digits};

/// A benchmark's row.
pub(crate) fn row(number: usize, b: &BenchmarkRecord) -> Row {
    let limits: Vec<LimitRow> = b.limits.iter().map(|l| limit(b, l)).collect();
    let checks: Vec<_> = b
        .checks
        .iter()
        .map(|c| (c.name.clone(), holds(c.holds), c.detail.clone()))
        .collect();
    let failed_checks = b.checks.iter().filter(|c| c.holds == Some(false)).count();
    let own: Vec<&TrialRecord> = b.trials.iter().filter(|t| t.variant.is_empty()).collect();
    let trial_errors = b.trials.iter().flat_map(|t| {
        t.errors
            .iter()
            .map(move |e| format!("trial {}{}: {e}", t.number, variant(&t.variant)))
    });
    let errors: Vec<String> = b.error.clone().into_iter().chain(trial_errors).collect();
    let clean = b.verdict == Verdict::Pass
        && failed_checks == 0
        && b.warnings.is_empty()
        && errors.is_empty()
        && !b.interrupted
        && limits.iter().all(|l| l.clean);
    let rates = [
        ("offered", "offered.rate"),
        ("sent", "sent.rate"),
        ("delivered", "delivered.rate"),
    ];
    Row {
        number,
        name: b.name.clone(),
        about: b.about.clone(),
        requirement: b.requirement.clone().unwrap_or_else(|| DASH.to_owned()),
        category: b.category.clone(),
        tags: b.tags.clone(),
        load: b.load.clone(),
        closed_loop: b.closed_loop,
        observed_by: if b.observed_by.is_empty() {
            "the driver's own confirmation".to_owned()
        } else {
            b.observed_by.join(", ")
        },
        resolution: b
            .figure("resolution", &[], "med")
            .and_then(|f| f.value)
            .map(|ns| Unit::Nanoseconds.show(ns)),
        verdict: b.verdict,
        word: b.verdict.word(),
        clean,
        times: [
            ("response time", "response_time"),
            ("service time", "service_time"),
            ("lateness", "lateness"),
        ]
        .iter()
        .filter_map(|(of, metric)| times(&b.figures, of, metric))
        .collect(),
        rates: rates
            .iter()
            .filter_map(|(name, metric)| b.figure(metric, &[], "value").map(|f| (*name, with_spread(f))))
            .collect(),
        rate: b
            .figure("delivered.rate", &[], "value")
            .map_or_else(|| DASH.to_owned(), Figure::show),
        lost: lost(&own),
        key: key(b),
        limits,
        checks,
        failed_checks,
        warnings: b.warnings.clone(),
        errors,
        costs: costs(b),
        grade: b.grade.as_ref().map(grade),
        causes: breakdown::causes(b),
        hops: breakdown::hops(b),
        instrument: b
            .figure("instrument.cpu", &[], "value")
            .and_then(|f| f.value)
            .map_or_else(|| DASH.to_owned(), percent),
        lateness: lateness(b),
        streams: streams(&own),
        marks: own
            .first()
            .map(|t| {
                t.marks
                    .iter()
                    .map(|m| format!("{} s: {}", digits(m.at_s), m.what))
                    .collect()
            })
            .unwrap_or_default(),
        figures: figures(b),
        trials: trials(b),
    }
}

fn grade(grade: &Grade) -> String {
    let letter = grade.grade.as_deref().unwrap_or("none, without data");
    format!("{letter} ({}: {})", grade.of, grade.scale)
}

fn holds(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "DOES NOT HOLD",
        None => "unknown",
    }
}

fn variant(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    }
}

fn percent(cores: f64) -> String {
    format!("{} %", digits(cores * 100.0))
}

fn with_spread(figure: &Figure) -> String {
    match figure.spread {
        Some(spread) => format!("{} ±{}", figure.show(), Unit::Ratio.show(spread)),
        None => figure.show(),
    }
}

fn times(figures: &[Figure], of: &'static str, metric: &str) -> Option<Times> {
    let find = |stat: &str| {
        figures
            .iter()
            .find(|f| f.metric == metric && f.tags.is_empty() && f.stat == stat)
    };
    let count = find("count")?;
    let any = count.value.is_some_and(|n| n > 0.0);
    let text = |stat: &str| match find(stat).and_then(|f| Some((f, f.value?))) {
        Some((figure, value)) => figure.unit.show(value),
        None if any && stat.starts_with("p(") => TOO_SMALL.to_owned(),
        None => DASH.to_owned(),
    };
    Some(Times {
        of,
        samples: Unit::Count.show(count.trials.iter().flatten().sum()),
        mean: text("mean"),
        med: text("med"),
        p95: text("p(95)"),
        p99: text("p(99)"),
        p999: text("p(99.9)"),
        min: text("min"),
        max: text("max"),
        stddev: text("stddev"),
        spread: find("mean")
            .and_then(|f| f.spread)
            .map_or_else(|| DASH.to_owned(), |s| format!("±{}", Unit::Ratio.show(s))),
    })
}

/// Statistics that the columns of every table show, so that they are no key figures.
fn shown(metric: &str, stat: &str) -> bool {
    match metric {
        "response_time" => ["mean", "med", "p(95)", "p(99)", "max"].contains(&stat),
        // Damage is told with the limits, and there is nearly always none.
        "delivered.rate" | "lost" | "corrupt" => true,
        _ => false,
    }
}

/// Metrics that are what their benchmark is about, so that they are key figures with a limit or without.
const NOTABLE: [&str; 11] = [
    "cpu.overhead",
    "cpu.overhead.ratio",
    "cpu.overhead.per_event",
    "rss.overhead",
    "pss.overhead",
    "downtime",
    "restart",
    "recovery",
    "election",
    "gap.lost",
    "gap.recovered",
];

/// The name of a figure as a limit writes it.
fn name(metric: &str, stat: &str) -> String {
    if stat == "value" {
        metric.to_owned()
    } else {
        format!("{metric}.{stat}")
    }
}

/// What a count needs beside it where it is that of the worst of several trials and not their sum.
fn per_trial(b: &BenchmarkRecord, l: &LimitResult) -> &'static str {
    let trials = b.trials.iter().filter(|t| t.variant.is_empty()).count();
    if l.unit == Unit::Count && l.stat == "value" && trials > 1 {
        " a trial"
    } else {
        ""
    }
}

fn key(b: &BenchmarkRecord) -> Vec<(String, String)> {
    let mut key: Vec<(String, String)> = Vec::new();
    for limit in b.limits.iter().filter(|l| !shown(&l.metric, &l.stat)) {
        let value = limit.value.map_or_else(
            || DASH.to_owned(),
            |v| format!("{}{}", limit.unit.show(v), per_trial(b, limit)),
        );
        let pair = (name(&limit.metric, &limit.stat), value);
        if !key.contains(&pair) {
            key.push(pair);
        }
    }
    let notable = b
        .figures
        .iter()
        .filter(|f| f.stat == "value" && f.value.is_some() && NOTABLE.contains(&f.metric.as_str()));
    for figure in notable.filter(|f| f.tags.is_empty()) {
        if key.iter().all(|k| k.0 != figure.metric) {
            let each = if figure.unit == Unit::Count && figure.trials.len() > 1 {
                " a trial"
            } else {
                ""
            };
            key.push((figure.metric.clone(), format!("{}{each}", figure.show())));
        }
    }
    key
}

fn limit(b: &BenchmarkRecord, l: &LimitResult) -> LimitRow {
    let value = match l.value {
        // Three digits may hide on which side of the bound a value lies.
        Some(v) if v != l.bound && l.unit.show(v) == l.unit.show(l.bound) => {
            let sign = if v > l.bound { "over" } else { "under" };
            format!("{} ({sign} by {})", l.unit.show(v), l.unit.show((v - l.bound).abs()))
        }
        Some(v) => format!("{}{}", l.unit.show(v), per_trial(b, l)),
        None => DASH.to_owned(),
    };
    let figure = b
        .figures
        .iter()
        .find(|f| f.stat == l.stat && f.key().to_string() == l.metric);
    let interval = match l.interval {
        Some(_) if l.value.is_none() => String::new(),
        Some((low, high)) if low == high => String::new(),
        Some((low, high)) if figure.is_some_and(|f| f.interval.is_some()) => {
            format!("95 % interval {} … {}", l.unit.show(low), l.unit.show(high))
        }
        Some((low, high)) => format!("trials {} … {}", l.unit.show(low), l.unit.show(high)),
        None => String::new(),
    };
    let mut remarks = Vec::new();
    if l.straddles {
        remarks.push("straddles: the interval contains the bound".to_owned());
    }
    remarks.extend(
        l.overridden_by
            .iter()
            .map(|by| format!("bound {} from {by}", l.unit.show(l.bound))),
    );
    match too_small(b, l) {
        Some(n) => remarks.push(format!("{TOO_SMALL}: {} a trial", Unit::Count.show(n))),
        None => remarks.extend(l.note.clone()),
    }
    if l.counts_as != l.outcome {
        remarks.push(format!("counts as {}", l.counts_as.word()));
    }
    LimitRow {
        that: l.that.clone(),
        severity: match l.severity {
            Severity::Must => "must",
            Severity::Should => "should",
            Severity::May => "may",
        },
        value,
        interval,
        outcome: l.outcome.word(),
        clean: l.outcome == Verdict::Pass && !l.straddles,
        remarks,
    }
}

/// How many samples there are where they are too few for the percentile that a limit asks for.
fn too_small(b: &BenchmarkRecord, l: &LimitResult) -> Option<f64> {
    if l.value.is_some() || !l.stat.starts_with("p(") {
        return None;
    }
    b.figures
        .iter()
        .find(|f| f.stat == "count" && f.key().to_string() == l.metric)
        .and_then(|f| f.value)
        .filter(|n| *n > 0.0)
}

fn lost(own: &[&TrialRecord]) -> String {
    let lost: u64 = own.iter().map(|t| t.ledger.total.lost()).sum();
    let sent: u64 = own.iter().map(|t| t.ledger.total.sent).sum();
    format!("{} of {}", Unit::Count.show(lost as f64), Unit::Count.show(sent as f64))
}

fn lateness(b: &BenchmarkRecord) -> String {
    let of = |stat| {
        b.figure("lateness", &[], stat)
            .and_then(|f| f.value)
            .map(|ns| Unit::Nanoseconds.show(ns))
    };
    match (of("p(99)"), of("max")) {
        (Some(p99), _) => p99,
        (None, Some(max)) => format!("max {max}"),
        _ => DASH.to_owned(),
    }
}

fn costs(b: &BenchmarkRecord) -> Vec<Cost> {
    let mut costs = process_costs(&b.figures, "");
    if let Some(baseline) = &b.baseline {
        costs.extend(process_costs(&baseline.figures, &baseline.name));
    }
    costs
}

fn process_costs(figures: &[Figure], variant_name: &str) -> Vec<Cost> {
    let mut processes: Vec<&str> = Vec::new();
    for process in figures.iter().filter_map(|f| f.tags.get("process")) {
        if !processes.contains(&process.as_str()) {
            processes.push(process);
        }
    }
    let cost = |process: &str| {
        let find = |metric: &str, stat: &str| {
            figures.iter().find(|f| {
                f.metric == metric
                    && f.stat == stat
                    && f.tags.len() == 1
                    && f.tags.get("process").is_some_and(|p| p == process)
            })
        };
        let show = |metric, stat| find(metric, stat).map_or_else(|| DASH.to_owned(), Figure::show);
        Cost {
            process: format!("{process}{}", variant(variant_name)),
            cpu: find("cpu", "value")
                .and_then(|f| f.value)
                .map_or_else(|| DASH.to_owned(), percent),
            per_event: show("cpu.per_event", "value"),
            rss: show("rss", "max"),
            growth: find("rss", "slope").map_or_else(
                || DASH.to_owned(),
                |f| format!("{}{}", f.show(), certainty(f, " (", ")")),
            ),
        }
    };
    processes.into_iter().map(cost).collect()
}

/// How sure a figure is, between two texts; nothing when nothing is known of it.
fn certainty(f: &Figure, before: &str, after: &str) -> String {
    match (f.value, f.interval, f.range.filter(|(low, high)| low != high)) {
        (Some(_), Some((low, high)), _) => format!(
            "{before}95 % interval {} … {}{after}",
            f.unit.show(low),
            f.unit.show(high)
        ),
        (Some(_), None, Some((low, high))) => {
            format!("{before}trials {} … {}{after}", f.unit.show(low), f.unit.show(high))
        }
        _ => String::new(),
    }
}

fn streams(own: &[&TrialRecord]) -> Vec<Books> {
    let mut sums: Vec<StreamLedger> = Vec::new();
    for book in own.iter().flat_map(|t| &t.ledger.streams) {
        add(&mut sums, book);
    }
    if sums.len() > 1 {
        let mut total = Vec::new();
        own.iter().for_each(|t| add(&mut total, &t.ledger.total));
        sums.extend(total);
    }
    sums.iter().map(books).collect()
}

/// Adds a stream's books of one trial to those of the others.
fn add(sums: &mut Vec<StreamLedger>, book: &StreamLedger) {
    match sums.iter_mut().find(|s| s.stream == book.stream) {
        Some(sum) => sum.add(book),
        None => sums.push(book.clone()),
    }
}

fn books(l: &StreamLedger) -> Books {
    let n = |n: u64| Unit::Count.show(n as f64);
    Books {
        stream: l.stream.clone(),
        sent: n(l.sent),
        acked: n(l.acked),
        delivered: n(l.delivered),
        duplicates: n(l.duplicates),
        reordered: n(l.reordered),
        late: n(l.late),
        lost_before_ack: n(l.lost_before_ack),
        lost_after_ack: n(l.lost_after_ack),
        unexpected: n(l.unexpected),
    }
}

/// Whether there is anything at all behind a figure.
fn measured(figures: &[Figure], of: &Figure) -> bool {
    figures
        .iter()
        .any(|f| f.stat == "count" && f.metric == of.metric && f.tags == of.tags && f.value.is_some_and(|n| n > 0.0))
}

fn figures(b: &BenchmarkRecord) -> Vec<FigureRow> {
    let all = |figures: &[Figure], variant_name: &str| -> Vec<FigureRow> {
        figures
            .iter()
            .map(|f| FigureRow {
                id: f.metric.clone(),
                metric: format!("{}{}", f.key(), variant(variant_name)),
                stat: f.stat.clone(),
                value: match f.value {
                    None if f.stat.starts_with("p(") && measured(figures, f) => TOO_SMALL.to_owned(),
                    _ => f.show(),
                },
                interval: certainty(f, "", ""),
                samples: Unit::Count.show(f.samples as f64),
            })
            .collect()
    };
    let mut rows = all(&b.figures, "");
    if let Some(baseline) = &b.baseline {
        rows.extend(all(&baseline.figures, &baseline.name));
    }
    rows
}

fn trials(b: &BenchmarkRecord) -> String {
    let own: Vec<&TrialRecord> = b.trials.iter().filter(|t| t.variant.is_empty()).collect();
    let Some(first) = own.first() else {
        return "no trial".to_owned();
    };
    let baseline = b.trials.len() - own.len();
    let interleaved = if baseline > 0 {
        format!(", interleaved with {baseline} of the baseline")
    } else {
        String::new()
    };
    let trials = if own.len() == 1 { "trial" } else { "trials" };
    format!(
        "{} {trials} of {} after {} of warm-up{interleaved}",
        own.len(),
        duration(first.measured_s),
        duration(first.warmup_s)
    )
}
