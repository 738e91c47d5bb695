//! Runs that are held against another: the same suite faster or slower, and one with every kind of row in its comparison.

use super::simulate::Simulated;
use eventbench_core::judge::compare::{
    ComparedRow, ComparedRun, Decision, MarginSource, Mismatch, Role, RunComparison, Scale,
};
use eventbench_core::metric::Better;
use eventbench_core::plan::Placement;
use eventbench_core::record::{Pair, Revision, RunRecord};
use eventbench_core::units::Unit;
use std::collections::BTreeMap;

/// A run of two latency benchmarks, so many times slower than usual, of so many trials.
pub fn latency(id: &str, started_unix_ms: i64, slower: f64, trials: u32) -> RunRecord {
    let single = Simulated {
        trials,
        base_us: 1_400.0 * slower,
        wander: 0.002,
        ..Simulated::new(111)
    };
    let reply = Simulated {
        trials,
        rate: 200,
        closed: true,
        base_us: 210.0 * slower,
        wander: 0.002,
        observed: false,
        ..Simulated::new(112)
    };
    let mut record = super::run(
        id,
        vec![
            single.benchmark("single-event-latency", "EB-1", "latency", &["must mean < 5ms"]),
            reply.benchmark("request-reply-latency", "EB-2", "latency", &["must mean < 10ms"]),
        ],
    );
    record.run.started_unix_ms = started_unix_ms;
    record
}

/// A run that is slower than its baseline, with a row of every decision, role and scale; the second of a duel, with its
/// cores and the state of its source.
pub fn compared() -> RunRecord {
    let mut record = latency("20251114-192021-slwr", 1_763_148_021_000, 1.124, 5);
    record.run.source = Some(Revision {
        commit: "8d5c1ee2b7a94f0c6a3f4f1a0c7e9d2b5a6c7d8e".to_owned(),
        branch: Some("queue-by-subject".to_owned()),
    });
    record.run.placement = Some(Placement {
        broker: vec![0],
        services: vec![0],
        instrument: vec![1],
        awake: true,
    });
    record.run.pair = Some(Pair {
        partner: "20251114-192019-base".to_owned(),
        label: "queue-by-subject".to_owned(),
        first: false,
        settings: vec!["service.store.queue=subject".to_owned()],
    });
    record.comparison = Some(comparison());
    record
}

/// Names and texts in a comparison that would break a table, a page, a terminal or a spreadsheet.
pub(super) fn hostile_comparison(benchmark: &str) -> RunComparison {
    let mut comparison = comparison();
    comparison.a.label = "=cmd|' /C calc'!A0\u{1b}[2J".to_owned();
    comparison.b.label = "<b>`|`</b>\n# b".to_owned();
    comparison.b.commit = Some("|<i>\u{202e}".to_owned());
    comparison.notes = vec!["note | <iframe>\u{9b}2J\n```".to_owned(), "@everyone".to_owned()];
    comparison.mismatches = vec![Mismatch {
        what: "CPU | <i>model</i>".to_owned(),
        a: "`c`\n<d>".to_owned(),
        b: "\u{7}{{ 7*7 }}".to_owned(),
    }];
    for row in &mut comparison.rows {
        row.benchmark = benchmark.to_owned();
        row.words = "+1 \u{1b}]0;title\u{7} | <svg onload=1>\n---".to_owned();
        row.tags = BTreeMap::from([("stream".to_owned(), "=1+1|<b>`x`\u{1b}[31m".to_owned())]);
    }
    comparison
}

fn side(run: &str, label: &str, started_unix_ms: i64, commit: Option<&str>) -> ComparedRun {
    ComparedRun {
        run: run.to_owned(),
        label: label.to_owned(),
        started_unix_ms,
        commit: commit.map(str::to_owned),
    }
}

fn comparison() -> RunComparison {
    let row = |benchmark: &str, metric: &str, stat: &str, words: &str| ComparedRow {
        benchmark: benchmark.to_owned(),
        metric: metric.to_owned(),
        tags: BTreeMap::new(),
        stat: stat.to_owned(),
        unit: Unit::Nanoseconds,
        better: Better::Lower,
        role: Role::Gate,
        a: None,
        b: None,
        trials_a: 5,
        trials_b: 5,
        scale: Scale::Ratio,
        effect: None,
        interval: None,
        margin: Some(0.05),
        margin_source: MarginSource::Default,
        visible: None,
        p: None,
        decision: Decision::Same,
        words: words.to_owned(),
    };
    let single = "single-event-latency";
    let reply = "request-reply-latency";
    let worse = ComparedRow {
        a: Some(1_461_000.0),
        b: Some(1_642_164.0),
        effect: Some(0.124),
        interval: Some((0.101, 0.149)),
        visible: Some(0.018),
        p: Some(0.0002),
        decision: Decision::Worse,
        ..row(
            single,
            "response_time",
            "p(50)",
            "worse: the whole interval lies beyond the margin of 5 %",
        )
    };
    let threshold = ComparedRow {
        role: Role::Threshold,
        a: Some(1_700_000.0),
        b: Some(1_870_000.0),
        effect: Some(0.1),
        interval: Some((0.04, 0.16)),
        margin: Some(0.15),
        margin_source: MarginSource::User,
        ..row(single, "response_time", "p(95)", "within the threshold p(95):15%")
    };
    let unsure = ComparedRow {
        a: Some(273_000.0),
        b: Some(281_190.0),
        effect: Some(0.03),
        interval: Some((-0.012, 0.071)),
        visible: Some(0.06),
        margin_source: MarginSource::Noise,
        margin: Some(0.06),
        decision: Decision::Inconclusive { more_trials: Some(6) },
        ..row(
            reply,
            "response_time",
            "p(50)",
            "the interval straddles the margin: about 6 more trials a side would decide it",
        )
    };
    let weak = ComparedRow {
        a: Some(339_000.0),
        b: Some(340_000.0),
        effect: Some(0.00295),
        interval: Some((-0.08, 0.09)),
        margin: Some(0.02),
        margin_source: MarginSource::User,
        visible: Some(0.11),
        decision: Decision::Underpowered,
        ..row(
            reply,
            "response_time",
            "p(99)",
            "a change of 2 % was asked for, and the smallest that is visible here is 11 %: run more trials, or pin the cores",
        )
    };
    let missing = ComparedRow {
        a: Some(12_000.0),
        trials_b: 0,
        decision: Decision::NoData,
        ..row(
            "burst",
            "response_time",
            "p(50)",
            "b has no such benchmark: it was not run, or it was renamed",
        )
    };
    let advisory = |metric: &str, process: Option<&str>, unit, words: &str| ComparedRow {
        role: Role::Advisory,
        unit,
        tags: process
            .map(|p| ("process".to_owned(), p.to_owned()))
            .into_iter()
            .collect(),
        ..row(single, metric, "value", words)
    };
    let better = ComparedRow {
        a: Some(612_000.0),
        b: Some(540_000.0),
        effect: Some(-0.118),
        interval: Some((-0.131, -0.104)),
        p: Some(0.004),
        decision: Decision::Better,
        ..advisory("cpu.per_event", Some("store"), Unit::Nanoseconds, "less CPU an event")
    };
    let lossy = ComparedRow {
        better: Better::Lower,
        scale: Scale::Difference,
        a: Some(0.0),
        b: Some(2.0),
        effect: Some(2.0),
        interval: Some((1.0, 3.0)),
        margin: Some(0.0),
        p: Some(0.03),
        decision: Decision::Worse,
        ..advisory("lost", None, Unit::Count, "more events lost")
    };
    let quiet = ComparedRow {
        better: Better::Higher,
        a: Some(100.0),
        b: Some(100.1),
        effect: Some(0.001),
        interval: Some((-0.001, 0.003)),
        p: Some(1.0),
        ..advisory("delivered.rate", None, Unit::PerSecond, "no change that is certain")
    };
    RunComparison {
        a: side("20251114-192019-base", "main", 1_763_148_019_000, None),
        b: side(
            "20251114-192021-slwr",
            "queue-by-subject",
            1_763_148_021_000,
            Some("8d5c1ee2b7a94f0c6a3f4f1a0c7e9d2b5a6c7d8e"),
        ),
        paired: true,
        confidence: 0.95,
        draws: 10_000,
        seed: 1,
        mismatches: vec![Mismatch {
            what: "nats-server".to_owned(),
            a: "2.15.1".to_owned(),
            b: "2.16.0".to_owned(),
        }],
        rows: vec![worse, missing, weak, unsure, threshold, lossy, better, quiet],
        notes: vec!["the load at the start was 1.9 with b and 0.1 with a".to_owned()],
    }
}
