//! What holds for every report.

use crate::{DIRECTORY_REPORTS, REPORTS, RenderOptions, find, find_directory};
use eventbench_core::record::RunRecord;
use eventbench_testkit::golden;

fn render(name: &str, record: &RunRecord, options: &RenderOptions) -> String {
    String::from_utf8((find(name).unwrap().render)(record, options).unwrap()).unwrap()
}

fn variations() -> Vec<RenderOptions> {
    let plain = RenderOptions::default();
    vec![
        RenderOptions {
            color: true,
            verbose: true,
            ..plain.clone()
        },
        RenderOptions {
            ascii: true,
            width: 80,
            verbose: true,
            ..plain.clone()
        },
        RenderOptions {
            width: 1,
            ..plain.clone()
        },
        RenderOptions {
            width: 250,
            history: Some(".eventbench/history.db".to_owned()),
            ..plain.clone()
        },
        plain,
    ]
}

#[test]
fn the_table_is_in_order() {
    for (i, report) in REPORTS.iter().enumerate() {
        assert!(
            REPORTS[..i].iter().all(|r| r.name != report.name),
            "{} stands twice",
            report.name
        );
        assert!(
            !report.about.is_empty() && !report.extension.is_empty() && !report.extension.starts_with('.'),
            "{}",
            report.name
        );
    }
    assert!(find("pdf").is_none());
}

#[test]
fn every_directory_has_files_of_safe_and_different_names_and_the_same_bytes_again() {
    for (i, report) in DIRECTORY_REPORTS.iter().enumerate() {
        let twice = DIRECTORY_REPORTS[..i].iter().any(|r| r.name == report.name);
        assert!(!twice && find(report.name).is_none(), "{} stands twice", report.name);
        assert!(find_directory(report.name).is_some() && !report.about.is_empty());
        for (name, record) in golden::records() {
            let files = (report.files)(&record, &RenderOptions::default()).unwrap();
            let again = (report.files)(&record, &RenderOptions::default()).unwrap();
            assert!(files == again, "{name} as {} differs", report.name);
            let mut names: Vec<String> = files.iter().map(|f| f.0.to_lowercase()).collect();
            for file in &names {
                let safe = file.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                assert!(
                    safe && !file.starts_with(['.', '-']),
                    "{name} as {}: {file:?}",
                    report.name
                );
            }
            names.sort();
            names.dedup();
            assert_eq!(
                names.len(),
                files.len(),
                "{name} as {}: two files of one name",
                report.name
            );
        }
    }
}

#[test]
fn a_stored_record_renders_to_the_same_bytes_as_the_live_one_and_again() {
    for (name, record) in golden::records() {
        let stored: RunRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        for report in REPORTS {
            for options in variations() {
                let live = (report.render)(&record, &options).unwrap();
                assert!(!live.is_empty());
                assert!(
                    live == (report.render)(&record, &options).unwrap(),
                    "{name} as {} differs",
                    report.name
                );
                assert!(
                    live == (report.render)(&stored, &options).unwrap(),
                    "{name} as {} differs when stored",
                    report.name
                );
            }
        }
    }
}

#[test]
fn no_report_for_people_lets_control_characters_through() {
    const SHOWN: [&str; 10] = [
        "terminal",
        "markdown",
        "html",
        "log",
        "junit",
        "ctrf",
        "github-summary",
        "github-annotations",
        "pr-comment",
        "prometheus",
    ];
    for report in REPORTS.iter().filter(|r| SHOWN.contains(&r.name)) {
        for options in variations().into_iter().filter(|o| !o.color) {
            let text = render(report.name, &golden::hostile(), &options);
            let acts = text
                .chars()
                .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(acts, None, "{} with {options:?}", report.name);
        }
    }
    let colored = render(
        "terminal",
        &golden::hostile(),
        &RenderOptions {
            color: true,
            ..Default::default()
        },
    );
    for escape in colored.split('\u{1b}').skip(1) {
        assert!(
            ["[0m", "[1m", "[32m", "[33m", "[35m", "[1;31m", "[1;35m"]
                .iter()
                .any(|e| escape.starts_with(e)),
            "{escape:?}"
        );
    }
}

#[test]
fn ascii_is_ascii_and_lines_keep_to_the_width() {
    for (name, record) in golden::records() {
        for verbose in [false, true] {
            let text = render(
                "terminal",
                &record,
                &RenderOptions {
                    ascii: true,
                    verbose,
                    ..Default::default()
                },
            );
            assert!(text.is_ascii(), "{name}");
            if name != "hostile" {
                let long: Vec<&str> = text.lines().filter(|l| l.len() > 100).collect();
                assert!(long.is_empty(), "{name}: {long:#?}");
            }
        }
    }
}

#[test]
fn every_report_tells_the_verdict() {
    for (name, record) in golden::records() {
        for report in [
            "terminal",
            "markdown",
            "html",
            "log",
            "junit",
            "ctrf",
            "github-summary",
            "pr-comment",
        ] {
            assert!(
                render(report, &record, &RenderOptions::default()).contains(record.verdict().word()),
                "{name} as {report}"
            );
        }
    }
}

#[test]
fn what_is_doubtful_says_so() {
    let options = RenderOptions::default();
    let closed = render("terminal", &golden::mixed_streams(), &options);
    assert!(closed.contains("* closed loop"), "{closed}");
    let few = render("terminal", &golden::no_data(), &options);
    assert!(few.contains("too small"), "{few}");
    let warn = render("terminal", &golden::warn(), &options);
    assert!(warn.contains("straddles"), "{warn}");
    let resolution = render("terminal", &golden::all_pass(), &options);
    assert!(resolution.contains("seen by sqlite (183 µs)"), "{resolution}");
}

#[test]
fn a_pass_for_a_terminal() {
    let mut record = golden::all_pass();
    record.benchmarks.truncate(2);
    record.run.planned.truncate(2);
    insta::assert_snapshot!(render("terminal", &record, &RenderOptions::default()), @r#"
PASS  event-bus (standard): 2 passed, 1 min 15 s

────────────────────────────────────────────────────────────────────────────────────────────────
benchmark                   mean      p50      p95      p99      max       lost   rate  verdict
════════════════════════════════════════════════════════════════════════════════════════════════
single-event-latency     1.48 ms  1.46 ms   1.7 ms  1.76 ms  4.89 ms       0 of  100/s  PASS
EB-1: 100/s evenly, 5 s                                                   1,800
seen by sqlite (183 µs)
────────────────────────────────────────────────────────────────────────────────────────────────
request-reply-latency    290 µs*  273 µs*  323 µs*  339 µs*  3.8 ms*       0 of  200/s  PASS
EB-2: closed loop, 4 in                                                   3,600
flight, 5 s
────────────────────────────────────────────────────────────────────────────────────────────────
Times are response times: from the instant at which an event was meant to be sent to its end.
Beside who saw the events: how far apart it looks, by which a time may read too long.
* closed loop: it sends less when the system is slow, so these times hide what waited.

What it cost
───────────────────────────────────────────────────────────────────────────────────────
benchmark              CPU of a core  CPU per event  most memory  instrument  late p99
═══════════════════════════════════════════════════════════════════════════════════════
single-event-latency   nats 2.04 %    nats 204 µs    nats 21 MB   4 %         89.4 µs
                       store 6.12 %   store 612 µs   store 12 MB
───────────────────────────────────────────────────────────────────────────────────────
request-reply-latency  nats 2.04 %    nats 102 µs    nats 21 MB   4 %         89.5 µs
                       store 6.12 %   store 306 µs   store 12 MB
───────────────────────────────────────────────────────────────────────────────────────
Instrument: its own CPU, of a core. Late: the generator's own delay, contained in every response
  time.

What to do
  request-reply-latency: a limit on latency is judged by a closed loop. A closed loop sends less
    when the system is slow, and so hides the waiting: judge latency with an open-loop load.

Linux 6.8.0-45-generic, Example CPU @ 2.60GHz, 2 cores, 24 GiB, eventbench 0.1.0, nats-server
  2.15.1, sqlite 3.50.2, governor performance, load at start 0.12, open files limit 20000;
  2025-11-03 14:25:36 UTC
Recorded as 20251103-142536-kqzv.
Next: `eventbench report 20251103-142536-kqzv -o markdown=report.md` writes the whole report, -v
  shows everything here
"#);
}

#[test]
fn a_failure_for_a_terminal() {
    let options = RenderOptions {
        history: Some(".eventbench/history.db".to_owned()),
        ..Default::default()
    };
    insta::assert_snapshot!(render("terminal", &golden::fail_with_losses(), &options), @r#"
FAIL  event-bus (standard): 1 passed, 1 failed, 46.5 s

───────────────────────────────────────────────────────────────────────────────────────────────────
benchmark                    mean      p50      p95      p99      max       lost     rate  verdict
═══════════════════════════════════════════════════════════════════════════════════════════════════
single-event-latency      1.48 ms  1.46 ms  1.71 ms  1.75 ms  4.36 ms       0 of    100/s  PASS
EB-1: 100/s evenly, 5 s                                                    1,800
seen by sqlite (183 µs)
───────────────────────────────────────────────────────────────────────────────────────────────────
burst                      209 ms   181 ms   214 ms   1.61 s   2.58 s     159 of  1,117/s  FAIL
EB-5: 2000/s evenly, 3 s                                                  24,000
seen by sqlite (183 µs)
lost.acked 27 a trial
delivered.ratio 99.3 %
───────────────────────────────────────────────────────────────────────────────────────────────────
Times are response times: from the instant at which an event was meant to be sent to its end.
Beside who saw the events: how far apart it looks, by which a time may read too long.

FAIL  burst (EB-5)
  PASS     must p(95) < 500ms: 214 ms (95 % interval 214 ms … 214 ms)
  FAIL     must lost.acked == 0: 27 a trial
  PASS     must stored.ratio >= 95%: 99.3 %

What it cost
──────────────────────────────────────────────────────────────────────────────────────
benchmark             CPU of a core  CPU per event  most memory  instrument  late p99
══════════════════════════════════════════════════════════════════════════════════════
single-event-latency  nats 2.04 %    nats 204 µs    nats 21 MB   4 %         89.1 µs
                      store 6.12 %   store 612 µs   store 12 MB
──────────────────────────────────────────────────────────────────────────────────────
burst                 nats 2.04 %    nats 10.2 µs   nats 21 MB   4 %         89.3 µs
                      store 100 %    store 500 µs   store 12 MB
──────────────────────────────────────────────────────────────────────────────────────
Instrument: its own CPU, of a core. Late: the generator's own delay, contained in every response
  time.

What to do
  burst: 81 of 23,922 confirmed events were never seen (such as chat:149, chat:299, chat:449).
    Confirm an event only after it is durable: acknowledge after the commit, not on receipt, and let
    the sender retry what is not confirmed.
  burst: 78 of 24,000 events were sent and never seen, without having been confirmed (such as
    chat:149, chat:299, chat:449). Nothing had promised these events. Where none may be lost,
    publish through a stream with acknowledgement (JetStream) and a durable consumer; else look for
    a full queue, a slow consumer or a restart.
  burst: 60 sightings were of events seen before (0.252 % of those delivered). Make the receiver
    idempotent, or look for redelivery: an acknowledgement that comes too late or goes to the wrong
    subject.
  burst: 1,117/s of 2,000/s offered were delivered. The offered rate is more than the system
    sustains: latencies of this benchmark grow with its length. Find the highest rate that it holds
    (a `steps` load), then look at the process with the most CPU.
  burst: store takes 100 % of a core. This process is the bottleneck: profile it first; a faster
    machine elsewhere will not help.
  burst: p99 is 1.61 s, 8.9 times the median of 181 ms; the longest, 2.6 s, in second 3 of trial 1.
    A few events wait for something that most do not meet: commits and checkpoints, garbage
    collection, batching timers, the scheduler. The timeline shows whether they come together (a
    stall) or evenly.

Linux 6.8.0-45-generic, Example CPU @ 2.60GHz, 2 cores, 24 GiB, eventbench 0.1.0, nats-server
  2.15.1, sqlite 3.50.2, governor performance, load at start 0.12, open files limit 20000;
  2025-11-03 14:25:36 UTC
Recorded as 20251105-101112-fzdq in .eventbench/history.db.
Next: `eventbench report 20251105-101112-fzdq -o markdown=report.md` writes the whole report, -v
  shows everything here
"#);
}

#[test]
fn a_few_lines_for_a_log() {
    let mut text = render("log", &golden::all_pass(), &RenderOptions::default());
    text.push_str(&render("log", &golden::interrupted(), &RenderOptions::default()));
    insta::assert_snapshot!(text, @r#"
event-bus benchmarks - 2025-11-03
=================================
single-event-latency:   1.48 ms mean (p95 1.7 ms), 100/s PASS
request-reply-latency:  290 µs mean (p95 323 µs), closed loop, 200/s PASS
sustained-throughput:   978 µs mean (p95 1.13 ms), delivered.ratio 100 %, 1,000/s PASS
memory-stability:       1.44 ms mean (p95 1.68 ms), rss{process:store}.increase 0.0835 %, rss{process:store}.slope 810 kB/h, 100/s PASS
PASS: 4 passed (run 20251103-142536-kqzv, 1 min 15 s)
event-bus benchmarks - 2025-11-03
=================================
single-event-latency:  1.48 ms mean (p95 1.71 ms), 100/s PASS
burst:                 1.45 ms mean (p95 1.69 ms), delivered.ratio 100 %, 100/s PASS
The run was interrupted before its end.
PASS: 2 passed (run 20251108-131415-intr, –)
"#);
}
