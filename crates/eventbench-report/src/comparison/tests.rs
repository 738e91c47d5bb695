//! What comparisons say, and what holds for each format.

use super::*;
use eventbench_testkit::golden;

fn compared() -> RunComparison {
    golden::compared().comparison.unwrap()
}

fn render(name: &str, comparison: &RunComparison, options: &RenderOptions) -> String {
    let report = COMPARISON_REPORTS.iter().find(|r| r.name == name).unwrap();
    String::from_utf8((report.render)(comparison, options).unwrap()).unwrap()
}

/// The comparison with only the rows of these decisions' words.
fn only(words: &[&str]) -> RunComparison {
    let mut comparison = compared();
    comparison.rows.retain(|r| words.contains(&r.decision.word()));
    comparison
}

#[test]
fn the_verdict_is_said_in_words() {
    let of = |words: &[&str]| ComparisonView::of(&only(words)).sentence;
    assert_eq!(
        of(&["WORSE", "SAME"]),
        "slower: 1 of 2 deciding figures is worse; response_time p(50) of single-event-latency +12.4 % (10.1 to 14.9 %), margin 5 %"
    );
    assert_eq!(
        ComparisonView::of(&compared()).sentence,
        "slower: 1 of 5 deciding figures is worse, and 1 without data; response_time p(50) of single-event-latency +12.4 % (10.1 to 14.9 %), margin 5 %"
    );
    assert_eq!(
        of(&["NO DATA", "INCONCLUSIVE", "SAME"]),
        "no data: 1 of 3 deciding figures has no data on one side; response_time p(50) of burst: b has no such benchmark: it was not run, or it was renamed"
    );
    assert_eq!(
        of(&["INCONCLUSIVE", "SAME"]),
        "cannot tell: 1 of 2 deciding figures is undecided; response_time p(50) of request-reply-latency +3 % (−1.2 to 7.1 %), margin 6 %; about 6 more trials a side would decide it"
    );
    assert_eq!(
        of(&["UNDERPOWERED"]),
        "cannot tell: 1 of 1 deciding figure is undecided; response_time p(99) of request-reply-latency +0.295 % (−8 to 9 %), margin 2 %; the smallest change visible here is 11 %"
    );
    assert_eq!(
        of(&["SAME"]),
        "no change beyond the margin: 1 of 1 deciding figure lies within it"
    );
    assert_eq!(
        of(&["BETTER"]),
        "no data: no figure decides, so there is nothing to judge by"
    );
    let mut better = only(&["BETTER"]);
    better.rows[0].role = Role::Gate;
    assert!(ComparisonView::of(&better).sentence.starts_with("better: 1 of 1 deciding figure is better, none worse; cpu.per_event{process:store} of single-event-latency −11.8 %"));
    better.rows[0].metric = "response_time".to_owned();
    assert!(ComparisonView::of(&better).sentence.starts_with("faster: "));
}

#[test]
fn a_comparison_for_a_terminal() {
    insta::assert_snapshot!(render("terminal", &compared(), &RenderOptions::default()), @r#"
FAIL  slower: 1 of 5 deciding figures is worse, and 1 without data; response_time p(50) of
      single-event-latency +12.4 % (10.1 to 14.9 %), margin 5 %
a: main, run 20251114-192019-base of 2025-11-14 19:20:19 UTC
b: queue-by-subject, run 20251114-192021-slwr of 2025-11-14 19:20:21 UTC, commit 8d5c1ee2b7a9
Not the same: nats-server is 2.15.1 with a and 2.16.0 with b.
Note: the load at the start was 1.9 with b and 0.1 with a
───────────────────────────────────────────────────────────────────────────────────────────────────
figure                               a         b            change   margin  visible  decision
═══════════════════════════════════════════════════════════════════════════════════════════════════
single-event-latency           1.46 ms   1.64 ms           +12.4 %      5 %    1.8 %  WORSE
response_time p(50)           5 trials  5 trials    10.1 to 14.9 %  default
───────────────────────────────────────────────────────────────────────────────────────────────────
burst                            12 µs         –                 –      5 %           NO DATA
response_time p(50)           5 trials  0 trials                    default
───────────────────────────────────────────────────────────────────────────────────────────────────
request-reply-latency           339 µs    340 µs          +0.295 %      2 %     11 %  UNDERPOWERED
response_time p(99)           5 trials  5 trials         −8 to 9 %
───────────────────────────────────────────────────────────────────────────────────────────────────
request-reply-latency           273 µs    281 µs              +3 %      6 %      6 %  INCONCLUSIVE
response_time p(50)           5 trials  5 trials     −1.2 to 7.1 %    noise
───────────────────────────────────────────────────────────────────────────────────────────────────
single-event-latency            1.7 ms   1.87 ms             +10 %     15 %           SAME
response_time p(95)           5 trials  5 trials         4 to 16 %                    threshold
───────────────────────────────────────────────────────────────────────────────────────────────────
single-event-latency                 0         2                +2        0           WORSE
lost                          5 trials  5 trials            1 to 3  default           advisory
───────────────────────────────────────────────────────────────────────────────────────────────────
single-event-latency            612 µs    540 µs           −11.8 %      5 %           BETTER
cpu.per_event{process:store}  5 trials  5 trials  −13.1 to −10.4 %  default           advisory
───────────────────────────────────────────────────────────────────────────────────────────────────
  WORSE  single-event-latency, response_time p(50): worse: the whole interval lies beyond the margin
    of 5 %
  NO DATA  burst, response_time p(50): b has no such benchmark: it was not run, or it was renamed
  UNDERPOWERED  request-reply-latency, response_time p(99): a change of 2 % was asked for, and the
    smallest that is visible here is 11 %: run more trials, or pin the cores
  INCONCLUSIVE  request-reply-latency, response_time p(50): the interval straddles the margin: about
    6 more trials a side would decide it
And 1 further figure without a change that is certain (-v shows them).
Trials were run in turn and are compared pair by pair; intervals at 95 % confidence from 10,000
  resamples (seed 1).
Visible: the smallest change that so many trials show on this machine, as `eventbench calibrate` has
  found.
"#);
}

#[test]
fn a_comparison_as_a_page() {
    insta::assert_snapshot!(render("markdown", &compared(), &RenderOptions::default()), @r#"
# Comparison: queue-by-subject with main

**FAIL**: slower: 1 of 5 deciding figures is worse, and 1 without data; response_time p(50) of single-event-latency +12.4 % (10.1 to 14.9 %), margin 5 %

- a: main, run 20251114-192019-base of 2025-11-14 19:20:19 UTC
- b: queue-by-subject, run 20251114-192021-slwr of 2025-11-14 19:20:21 UTC, commit 8d5c1ee2b7a9
- **Not the same**: nats-server is 2.15.1 with a and 2.16.0 with b
- Note: the load at the start was 1.9 with b and 0.1 with a

| Benchmark | Figure | a | b | Change | Interval | Margin | Visible here | Role | Decision |
|---|---|---|---|---|---|---|---|---|---|
| single-event-latency | response_time p(50) | 1.46 ms | 1.64 ms | +12.4 % | 10.1 to 14.9 % | 5 % (default) | 1.8 % | gate | WORSE |
| burst | response_time p(50) | 12 µs | – | – |  | 5 % (default) |  | gate | NO DATA |
| request-reply-latency | response_time p(99) | 339 µs | 340 µs | +0.295 % | −8 to 9 % | 2 % | 11 % | gate | UNDERPOWERED |
| request-reply-latency | response_time p(50) | 273 µs | 281 µs | +3 % | −1.2 to 7.1 % | 6 % (noise) | 6 % | gate | INCONCLUSIVE |
| single-event-latency | response_time p(95) | 1.7 ms | 1.87 ms | +10 % | 4 to 16 % | 15 % |  | threshold | SAME |
| single-event-latency | lost | 0 | 2 | +2 | 1 to 3 | 0 (default) |  | advisory | WORSE |
| single-event-latency | cpu.per_event{process:store} | 612 µs | 540 µs | −11.8 % | −13.1 to −10.4 % | 5 % (default) |  | advisory | BETTER |
| single-event-latency | delivered.rate | 100/s | 100/s | +0.1 % | −0.1 to 0.3 % | 5 % (default) |  | advisory | SAME |

- WORSE: single-event-latency, response_time p(50): worse: the whole interval lies beyond the margin of 5 %
- NO DATA: burst, response_time p(50): b has no such benchmark: it was not run, or it was renamed
- UNDERPOWERED: request-reply-latency, response_time p(99): a change of 2 % was asked for, and the smallest that is visible here is 11 %: run more trials, or pin the cores
- INCONCLUSIVE: request-reply-latency, response_time p(50): the interval straddles the margin: about 6 more trials a side would decide it
- SAME: single-event-latency, response_time p(95): within the threshold p(95):15%
- WORSE: single-event-latency, lost: more events lost
- BETTER: single-event-latency, cpu.per_event{process:store}: less CPU an event

Trials were run in turn and are compared pair by pair; intervals at 95 % confidence from 10,000 resamples (seed 1). A change is worse or better when its whole interval lies beyond the margin; advisory figures have no say, and
their certainty is corrected for their number.
"#);
}

#[test]
fn what_has_not_changed_is_shown_on_demand() {
    let verbose = RenderOptions {
        verbose: true,
        ..Default::default()
    };
    let (brief, whole) = (
        render("terminal", &compared(), &RenderOptions::default()),
        render("terminal", &compared(), &verbose),
    );
    assert!(
        !brief.contains("delivered.rate") && brief.contains("And 1 further figure without a change"),
        "{brief}"
    );
    assert!(
        whole.contains("delivered.rate") && !whole.contains("(-v shows them)"),
        "{whole}"
    );
}

#[test]
fn deciding_rows_stand_first_whatever_the_order_was() {
    let mut turned = compared();
    turned.rows.reverse();
    let rows = ComparisonView::of(&turned).rows;
    let first_advisory = rows.iter().position(|r| !r.decides).unwrap();
    assert!(rows[first_advisory..].iter().all(|r| !r.decides));
}

#[test]
fn every_row_is_a_row_of_the_csv_in_base_units() {
    let comparison = compared();
    let text = render("csv", &comparison, &RenderOptions::default());
    let mut reader = ::csv::ReaderBuilder::new().from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), &csv::HEADER[..]);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), comparison.rows.len());
    let worse: Vec<&str> = rows[0].iter().collect();
    assert_eq!(
        worse,
        [
            "20251114-192019-base",
            "20251114-192021-slwr",
            "main",
            "queue-by-subject",
            "single-event-latency",
            "response_time",
            "",
            "p(50)",
            "ns",
            "lower",
            "gate",
            "1461000",
            "1642164",
            "5",
            "5",
            "ratio",
            "0.124",
            "0.101",
            "0.149",
            "0.05",
            "default",
            "0.018",
            "0.0002",
            "worse"
        ]
    );
    assert!(rows.iter().any(|r| &r[23] == "inconclusive") && rows.iter().any(|r| &r[23] == "no_data"));
    let hostile = render("csv", &golden::hostile().comparison.unwrap(), &RenderOptions::default());
    let mut reader = ::csv::ReaderBuilder::new().from_reader(hostile.as_bytes());
    for cell in reader
        .records()
        .flat_map(|r| r.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
    {
        assert!(
            !cell.starts_with(['=', '@']) && (!cell.starts_with(['+', '-']) || cell.parse::<f64>().is_ok()),
            "{cell:?}"
        );
    }
}

#[test]
fn no_name_acts_in_a_comparison() {
    let hostile = golden::hostile().comparison.unwrap();
    for name in ["terminal", "markdown"] {
        for verbose in [false, true] {
            let text = render(
                name,
                &hostile,
                &RenderOptions {
                    verbose,
                    ..Default::default()
                },
            );
            let acts = text
                .chars()
                .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(acts, None, "{name}");
        }
    }
    let ascii = RenderOptions {
        ascii: true,
        verbose: true,
        ..Default::default()
    };
    assert!(render("terminal", &hostile, &ascii).is_ascii());
    let page = render("markdown", &hostile, &RenderOptions::default());
    assert!(
        !page.contains("<iframe>") && !page.contains("<svg") && !page.contains("<b>"),
        "{page}"
    );
    // Every row of the table has as many cells as its head.
    let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with('|')).collect();
    assert_eq!(rows.len(), hostile.rows.len() + 2);
    assert!(rows.iter().all(|r| cells(r) == cells(rows[0])), "{page}");
}
