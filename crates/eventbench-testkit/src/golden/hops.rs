//! A run whose system told where the time of its events went, with failures by cause, a grade and a comparison.

use super::simulate::Simulated;
use super::{compared, mark, run};
use eventbench_core::record::{Cause, Grade, Hop, RunRecord};

/// Workflows from request to stored result: hops with parts, causes of what failed, a grade, and a baseline that was
/// faster.
pub fn hops() -> RunRecord {
    let workflow = Simulated {
        rate: 200,
        seconds: 12,
        base_us: 42_000.0,
        tail_us: 160_000.0,
        tail_every: 60,
        lose_between: Some((900, 912)),
        streams: &["analysis", "review"],
        ..Simulated::new(121)
    };
    let mut workflow = workflow.benchmark(
        "workflow-end-to-end",
        "WF-10",
        "workflow",
        &[
            "must max < 500ms",
            "should p(95) < 400ms",
            "must p(99) < 150ms",
            "must lost == 0",
        ],
    );
    for trial in &mut workflow.trials {
        let slower = 1.0 + 0.03 * (f64::from(trial.number) - 2.0);
        trial.hops = path(slower);
        trial.causes = vec![
            cause(
                "timed out",
                "review",
                9,
                (3.5, 5.25),
                "workflow 904: no reply within 5 s",
            ),
            cause(
                "status 503",
                "analysis",
                3,
                (3.6, 3.9),
                "tree: {\"error\":\"database is locked\"}",
            ),
        ];
        trial.marks = vec![mark(3.5, "stop tree"), mark(5.0, "start tree"), mark(5.2, "tree ready")];
    }
    let mut grades = Simulated {
        base_us: 900.0,
        ..Simulated::new(122)
    }
    .benchmark("batch-100", "WF-1", "aggregation", &["must p(95) < 100ms"]);
    grades.grade = Some(Grade {
        grade: Some("A".to_owned()),
        of: "response_time mean".to_owned(),
        scale: "A < 1 ms, B < 2 ms".to_owned(),
    });
    let mut record = run("20251115-202122-hops", vec![workflow, grades]);
    record.run.suite = "workflow".to_owned();
    record.run.about = Some("Orchestrator, reducer and heartbeats over NATS".to_owned());
    record.comparison = compared().comparison;
    record
}

fn path(slower: f64) -> Vec<Hop> {
    let hop = |name: &str, within: Option<&str>, from_ms: f64, to_ms: f64| Hop {
        name: name.to_owned(),
        within: within.map(str::to_owned),
        count: 2_388,
        begin_ns: from_ms * 1e6 * slower,
        end_ns: to_ms * 1e6 * slower,
        p50_ns: (to_ms - from_ms) * 0.93e6 * slower,
        p99_ns: (to_ms - from_ms) * 2.7e6 * slower,
    };
    vec![
        hop("to the orchestrator", None, 0.0, 1.1),
        hop("orchestrator", None, 1.1, 31.4),
        hop("wait", Some("orchestrator"), 1.1, 4.2),
        hop("call metadata", Some("orchestrator"), 4.2, 12.9),
        hop("call tree", Some("orchestrator"), 12.9, 24.0),
        hop("call hook", Some("orchestrator"), 24.0, 31.0),
        hop("to the reducer", None, 31.4, 33.0),
        hop("reducer", None, 33.0, 39.5),
        hop("store", None, 39.5, 43.8),
    ]
}

fn cause(cause: &str, stream: &str, count: u64, (first_s, last_s): (f64, f64), example: &str) -> Cause {
    Cause {
        cause: cause.to_owned(),
        stream: stream.to_owned(),
        count,
        first_s,
        last_s,
        example: example.to_owned(),
    }
}
