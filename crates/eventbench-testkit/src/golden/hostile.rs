//! Names and texts that would break what shows them.

use super::simulate::Simulated;
use super::{check, mark, run};
use eventbench_core::judge::Verdict;
use eventbench_core::metric::{MetricKey, MetricValue, Series};
use eventbench_core::record::{Cause, Grade, Hop, RunRecord};

/// Names and texts that would break a table, a page, a terminal or a spreadsheet.
pub fn hostile() -> RunRecord {
    let streams = &[
        "=cmd|' /C calc'!A0",
        "</script><img src=x onerror=alert(1)>",
        "tab\tand\r\nline",
    ];
    let mut benchmark = Simulated {
        streams,
        lose_every: 90,
        ..Simulated::new(101)
    }
    .benchmark(
        "a|b`c`<script>alert('x')</script>\n# heading\u{1b}[31mred\u{202e}gnp.exe",
        "=HYPERLINK(\"http://x\")",
        "lat|ency <b>\n---",
        &["must lost == 0"],
    );
    benchmark.about = Some("${7*7} {{ 7*7 }} {% raw %} *bold* _it_ [link](javascript:alert(1)) &lt;".to_owned());
    benchmark.tags = vec!["-1+1".to_owned(), "@sum".to_owned(), "||".to_owned()];
    benchmark.load = "100/s | evenly\u{0}".to_owned();
    benchmark.observed_by = vec!["`sqlite`".to_owned(), "<sse>".to_owned()];
    benchmark.warnings = vec!["```\n| a | b |\n```".to_owned()];
    benchmark.error = Some("Error: <nil> at `x`\n\u{7}\u{1b}]0;title\u{7}: unexpected \"}\"".to_owned());
    benchmark
        .checks
        .push(check("books | balance", Some(false), "<b>1</b> != 2"));
    benchmark.trials[0]
        .errors
        .push("+1 \u{9b}2J a payload {\"user\":\"<svg onload=1>\"}".to_owned());
    benchmark.trials[0].marks.push(mark(1.0, "stop ```store```"));
    let trial = &mut benchmark.trials[0];
    trial.causes = vec![Cause {
        cause: "status <b>503</b> | \u{1b}[31m".to_owned(),
        stream: streams[1].to_owned(),
        count: 7,
        first_s: 1.25,
        last_s: 4.0,
        example: "</td></table><script>window.hostile = 1</script>\u{202e}".to_owned(),
    }];
    trial.hops = [
        "</text><script>window.hostile = 1</script>",
        "a \" onload=\"window.hostile = 1",
        "]]>&#x3c;b>",
    ]
    .map(|name| Hop {
        name: name.to_owned(),
        within: None,
        count: 100,
        begin_ns: 0.0,
        end_ns: 1.5e6,
        p50_ns: 1.4e6,
        p99_ns: 2.2e6,
    })
    .to_vec();
    let points = (0..24)
        .map(|i| (f64::from(i) / 4.0, 1e7 + f64::from(i) * 4096.0))
        .collect();
    trial.values.put(
        MetricKey::tagged(
            "rss",
            "process",
            "</path></svg><img src=x onerror=window.hostile=1>\u{9b}",
        ),
        MetricValue::Series(Series {
            points,
            measured_from_s: 1.0,
        }),
    );
    benchmark.grade = Some(Grade {
        grade: Some("<script>A</script>".to_owned()),
        of: "<i>mean</i>".to_owned(),
        scale: "A < 1 ms & B < 2 ms \"".to_owned(),
    });
    benchmark.verdict = Verdict::Invalid;
    let mut record = run("20251112-171819-hstl", vec![benchmark]);
    record.run.suite = "-suite|`\u{1b}[2J<h1>".to_owned();
    record.run.about = Some("<!-- --> | &amp;".to_owned());
    record.run.notes = vec!["note | <iframe>".to_owned(), "@everyone".to_owned()];
    record.run.overrides = vec!["BENCHMARK_LATENCY_MAX=<5>|".to_owned()];
    record.run.environment.cpu = "CPU | <i>model</i>".to_owned();
    record
        .run
        .environment
        .facts
        .insert("a|b".to_owned(), "`c`\n<d>".to_owned());
    record.comparison = Some(super::compared::hostile_comparison(&record.benchmarks[0].name));
    record
}
