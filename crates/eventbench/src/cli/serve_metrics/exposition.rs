//! The state of a run as Prometheus reads it (text format 0.0.4), and as the page does (JSON).

use super::live::{Finished, Live};
use eventbench_core::judge::Verdict;
use eventbench_report::{RenderOptions, printable};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The report whose text is served for what has been finished.
const FINISHED: &str = "prometheus";

const VERDICTS: [Verdict; 5] = [
    Verdict::Pass,
    Verdict::Warn,
    Verdict::NoData,
    Verdict::Fail,
    Verdict::Invalid,
];

/// The figures of the moment, and below them those of the benchmarks that have been finished. Labels are names of the
/// plan, so there are as many series as the plan has benchmarks, whatever happens.
///
/// # Errors
/// When the finished figures cannot be rendered.
pub fn prometheus(live: &Live, now_ns: u64) -> Result<String, String> {
    let mut text = String::new();
    moment(&mut text, live, now_ns);
    if let Some(finished) = &live.finished {
        text.push_str(&figures(finished)?);
    }
    Ok(text)
}

fn moment(text: &mut String, live: &Live, now_ns: u64) {
    let suite = live.finished.as_ref().map(|f| printable(&f.record.run.suite));
    let suite = suite.as_deref();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(Vec<(&str, &str)>, f64)>| {
        // A family without samples says nothing, and promtool takes it for a mistake.
        if samples.is_empty() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels = suite.map(|s| ("suite", s)).into_iter().chain(labels);
            let labels: Vec<String> = labels.map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let running = live.finished.is_some() && live.verdict.is_none();
    family(
        "eventbench_live_running",
        "gauge",
        "Whether a run goes on.",
        vec![(vec![], f64::from(u8::from(running)))],
    );
    family(
        "eventbench_live_elapsed_seconds",
        "gauge",
        "Seconds since the run began.",
        vec![(vec![], live.elapsed_s(now_ns))],
    );
    family(
        "eventbench_live_expected_seconds",
        "gauge",
        "About how long the whole run takes.",
        vec![(vec![], live.expected_s)],
    );
    family(
        "eventbench_live_benchmarks",
        "gauge",
        "Benchmarks of the run: planned, and finished so far.",
        vec![
            (vec![("state", "planned")], live.benchmarks as f64),
            (vec![("state", "finished")], live.summaries.len() as f64),
        ],
    );
    let verdicts = VERDICTS.iter().map(|verdict| {
        let count = live.summaries.iter().filter(|s| s.1 == *verdict).count();
        (vec![("verdict", name_of(*verdict))], count as f64)
    });
    family(
        "eventbench_live_verdicts",
        "gauge",
        "Finished benchmarks by verdict.",
        verdicts.collect(),
    );
    let counted: Vec<_> = live.counted().collect();
    for (name, help, of) in [
        ("eventbench_live_sent_total", "Events sent, warm-up included.", 0),
        (
            "eventbench_live_done_total",
            "Events that ended well, warm-up included.",
            1,
        ),
        (
            "eventbench_live_failed_total",
            "Events that ended otherwise: rejected, timed out, disconnected.",
            2,
        ),
    ] {
        let samples = counted.iter().map(|(benchmark, totals)| {
            let value = [totals.sent, totals.done, totals.failed][of];
            (vec![("benchmark", *benchmark)], value as f64)
        });
        family(name, "counter", help, samples.collect());
    }
    let Some(current) = &live.current else { return };
    let benchmark = ("benchmark", current.name.as_str());
    let now = &live.now;
    for (name, help, value) in [
        (
            "eventbench_live_benchmark",
            "The benchmark that is being run, by its number.",
            current.number as f64,
        ),
        (
            "eventbench_live_trial",
            "Its trial that is being run, by its number.",
            f64::from(current.trial),
        ),
        ("eventbench_live_trials", "Its trials.", f64::from(current.trials)),
        (
            "eventbench_live_sent_per_second",
            "Events sent per second, over the last second.",
            now.sent_per_s,
        ),
        (
            "eventbench_live_done_per_second",
            "Events that ended well per second, over the last second.",
            now.done_per_s,
        ),
        (
            "eventbench_live_open_events",
            "Events sent and not yet ended.",
            now.open as f64,
        ),
    ] {
        family(name, "gauge", help, vec![(vec![benchmark], value)]);
    }
    let quantiles = [("med", now.p50_ns), ("p99", now.p99_ns)];
    let known = quantiles.iter().filter(|(_, ns)| *ns > 0);
    family(
        "eventbench_live_response_time_seconds",
        "gauge",
        "Response time of the last second, intended instant to end; every number of samples counts.",
        known
            .map(|(stat, ns)| (vec![benchmark, ("stat", *stat)], *ns as f64 / 1e9))
            .collect(),
    );
}

/// The figures of what has been finished, made once.
fn figures(finished: &Finished) -> Result<String, String> {
    if let Some(text) = finished.text.get() {
        return Ok(text.clone());
    }
    let report = eventbench_report::find(FINISHED).ok_or_else(|| format!("there is no report {FINISHED}"))?;
    let bytes = (report.render)(&finished.record, &RenderOptions::default()).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    Ok(finished.text.get_or_init(|| text).clone())
}

fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::NoData => "no_data",
        Verdict::Fail => "fail",
        Verdict::Invalid => "invalid",
    }
}

/// A label's value, as the format escapes it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What the page shows, with the points that come after number `after`.
pub fn page_state(live: &Live, after: u64, now_ns: u64) -> Value {
    let head = live.finished.as_ref().map(|f| &f.record.run);
    let current = live.current.as_ref().map(|c| {
        json!({
            "number": c.number, "name": printable(&c.name), "load": printable(&c.load), "trial": c.trial,
            "trials": c.trials, "variant": printable(&c.variant),
        })
    });
    let totals = live.counted().last().map(|(_, t)| t).unwrap_or_default();
    let finished = live.summaries.iter().map(|(name, verdict, summary)| {
        json!({ "name": printable(name), "verdict": verdict.word(), "summary": printable(summary) })
    });
    let points = live.points.iter().filter(|p| p.number > after).map(|p| {
        json!([
            p.number,
            p.at_s,
            p.benchmark,
            p.sent_per_s,
            p.done_per_s,
            p.p50_ns,
            p.p99_ns,
            p.open,
            p.failed
        ])
    });
    json!({
        "run": head.map(|h| printable(&h.id)),
        "suite": head.map(|h| printable(&h.suite)),
        "profile": head.map(|h| printable(&h.profile)),
        "preparing": printable(&live.preparing),
        "benchmarks": live.benchmarks,
        "elapsed_s": live.elapsed_s(now_ns),
        "expected_s": live.expected_s,
        "current": current,
        "now": {
            "sent_per_s": live.now.sent_per_s, "done_per_s": live.now.done_per_s, "p50_ns": live.now.p50_ns,
            "p99_ns": live.now.p99_ns, "open": live.now.open, "sent": totals.sent, "done": totals.done,
            "failed": totals.failed,
        },
        "finished": finished.collect::<Vec<_>>(),
        "notes": live.notes.iter().map(|n| printable(n)).collect::<Vec<_>>(),
        "points": points.collect::<Vec<_>>(),
        "verdict": live.verdict.map(Verdict::word),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::event::Event;

    #[test]
    fn names_are_escaped_and_a_family_stands_once() {
        let mut live = Live::default();
        live.hear(
            &Event::BenchmarkStarted {
                number: 1,
                name: "a\"b\\c\nd".to_owned(),
                load: "100/s".to_owned(),
                trials: 3,
            },
            1,
        );
        let text = prometheus(&live, 1).unwrap();
        assert!(
            text.contains("eventbench_live_sent_total{benchmark=\"a\\\"b\\\\c\\nd\"} 0\n"),
            "{text}"
        );
        let mut types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        let all = types.len();
        types.dedup();
        assert!(types.len() == all && all > 10, "{text}");
        // Nothing has been timed, which is not the same as a response time of nothing.
        assert!(!text.contains("response_time"), "{text}");
    }

    #[test]
    fn the_page_gets_only_what_is_new_and_nothing_that_a_terminal_would_obey() {
        let mut live = Live::default();
        live.hear(&Event::Note("\u{1b}[31mred".to_owned()), 1);
        for second in 1..=3u64 {
            live.hear(
                &Event::Tick {
                    elapsed_s: second as f64,
                    sent_per_s: 0.0,
                    done_per_s: 0.0,
                    p50_ns: 0,
                    p99_ns: 0,
                    open: 0,
                    sent: second,
                    done: second,
                    failed: 0,
                },
                second,
            );
        }
        let numbers = |after| {
            let state = page_state(&live, after, 1);
            let points = state["points"].as_array().unwrap().iter();
            points.map(|p| p[0].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((numbers(0), numbers(2)), (vec![1, 2, 3], vec![3]));
        assert!(!page_state(&live, 0, 1).to_string().contains("\\u001b"));
    }
}
