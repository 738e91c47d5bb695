use super::*;
use eventbench_core::judge::change_points::ChangeOptions;
use eventbench_core::judge::series::LeftOut;
use eventbench_core::metric::Better;

const DAY_MS: i64 = 86_400_000;

/// Noise that is the same every time: multiples of the golden ratio.
fn noise(i: usize) -> f64 {
    1.0 + 0.02 * (i as f64 * 0.618_033_988_75).fract()
}

fn trend(metric: &str, unit: Unit, better: Better, levels: &[(usize, f64)]) -> Trend {
    let values = levels.iter().flat_map(|(n, level)| std::iter::repeat_n(*level, *n));
    let points = values
        .enumerate()
        .map(|(i, level)| TrendPoint {
            run: format!("202601{:02}-060000-{i:04x}", i + 1),
            started_unix_ms: 1_767_247_200_000 + i as i64 * DAY_MS,
            commit: Some(format!("{i:02}23456789abcdef")),
            value: level * noise(i),
            range: Some((level * 0.97, level * 1.03)),
            trials: 3,
        })
        .collect();
    let trend = Trend {
        suite: "event-bus".to_owned(),
        benchmark: "single-event-latency".to_owned(),
        metric: metric.to_owned(),
        tags: String::new(),
        stat: "p(50)".to_owned(),
        unit,
        better,
        gate: unit == Unit::Nanoseconds,
        points,
        changes: Vec::new(),
    };
    trend.judged(&ChangeOptions::default())
}

fn series(runs: usize) -> RunSeries {
    RunSeries {
        suite: "event-bus".to_owned(),
        profile: "quick".to_owned(),
        machine: "abc".to_owned(),
        branch: Some("main".to_owned()),
        runs: (0..runs).map(|i| i.to_string()).collect(),
        left_out: vec![
            LeftOut {
                why: "interrupted".to_owned(),
                runs: 2,
            },
            LeftOut {
                why: "of another branch".to_owned(),
                runs: 7,
            },
        ],
    }
}

fn two() -> [Trend; 2] {
    [
        trend(
            "response_time",
            Unit::Nanoseconds,
            Better::Lower,
            &[(22, 520e3), (8, 580e3)],
        ),
        trend(
            "delivered.rate",
            Unit::PerSecond,
            Better::Higher,
            &[(15, 100.0), (15, 80.0)],
        ),
    ]
}

fn plain(width: u16) -> RenderOptions {
    RenderOptions {
        width,
        ..RenderOptions::default()
    }
}

#[test]
fn a_benchmark_says_since_when_and_by_how_much() {
    let text = benchmark(&series(30), &two(), &plain(100));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "event-bus (quick), branch main: 30 runs, 2026-01-01 to 2026-01-30"
    );
    assert_eq!(lines[2], "single-event-latency");
    assert_eq!(
        lines[4],
        "response_time p(50) *    30        591 µs     +1.3 %  ▂▃▂▃▂▂▃▂▃▃▂▃▂▂▃▂▃▃▂▃▂▃▇▆▇▆▆▇▆▇"
    );
    let words = "    since run 20260123-060000-0016 (2026-01-23, commit 2223456789): 11.6 % slower, 525 µs → 586 µs";
    assert_eq!(lines[5], words);
    // A rate that falls; what does not fit is broken at a word.
    assert!(
        lines[7].ends_with("19.9 % less, which is worse,") && lines[8] == "      101/s → 80.8/s",
        "{text}"
    );
    assert_eq!(lines.last(), Some(&"Left out: 2 interrupted, 7 of another branch."));
}

#[test]
fn a_figure_lists_every_run_and_marks_the_moves() {
    let text = figure(&series(30), &two()[0], &plain(100));
    let lines: Vec<&str> = text.lines().collect();
    let mark = lines.iter().position(|l| l.starts_with("--- ")).unwrap();
    assert_eq!(
        lines[mark - 1..=mark + 1],
        [
            "2026-01-22 06:00:00 UTC  20260122-060000-0015  2123456789        530 µs   ±2.94 %",
            "--- 11.6 % slower, 525 µs → 586 µs",
            "2026-01-23 06:00:00 UTC  20260123-060000-0016  2223456789        587 µs   ±2.96 %",
        ]
    );
    assert_eq!(lines.iter().filter(|l| l.contains("UTC")).count(), 30);
}

#[test]
fn the_overview_has_a_line_for_each_benchmark() {
    let text = overview(&series(30), &two()[..1], &plain(100));
    assert!(
        text.contains("\nsingle-event-latency  response_time p(50)    30        591 µs     +1.3 %  "),
        "{text}"
    );
    assert!(text.contains("11.6 % slower"), "{text}");
}

#[test]
fn ascii_width_and_colour_are_kept_to() {
    for width in [60, 80, 120] {
        let options = RenderOptions {
            ascii: true,
            ..plain(width)
        };
        let trends = two();
        for text in [
            overview(&series(30), &trends, &options),
            benchmark(&series(30), &trends, &options),
            figure(&series(30), &trends[0], &options),
        ] {
            assert!(text.is_ascii(), "{text}");
            assert!(!text.contains('\u{1b}'));
            let longest = text.lines().map(str::len).max().unwrap();
            assert!(longest <= usize::from(width), "{longest} of {width}:\n{text}");
        }
    }
    let color = RenderOptions {
        color: true,
        ..plain(100)
    };
    assert!(benchmark(&series(30), &two(), &color).contains("\u{1b}[31m    since run"));
}

#[test]
fn names_that_a_terminal_would_obey_are_shown() {
    let mut hostile = two();
    hostile[0].benchmark = "a\u{1b}[2Jb\nc".to_owned();
    hostile[0].points[29].run = "\u{1b}]0;x".to_owned();
    hostile[0].points[29].commit = Some("\u{9b}31m".to_owned());
    hostile[0].changes[0].run = "\u{1b}[31m".to_owned();
    let options = plain(100);
    for text in [
        overview(&series(30), &hostile, &options),
        benchmark(&series(30), &hostile, &options),
        figure(&series(30), &hostile[0], &options),
    ] {
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }
}

#[test]
fn a_line_of_blocks_shows_steps_and_not_noise() {
    assert_eq!(sparkline(&[1.0, 1.0, 1.0, 2.0, 2.0], 60, true), "___##");
    assert_eq!(sparkline(&[1.0, 1.0, 1.0, 2.0, 2.0], 60, false), "▁▁▁██");
    assert_eq!(
        sparkline(&[100.0, 100.4, 99.8, 100.1], 60, true)
            .chars()
            .filter(|c| "-=+*".contains(*c))
            .count(),
        4
    );
    assert_eq!(sparkline(&[], 60, true), "");
    assert_eq!(sparkline(&[0.0, 0.0], 60, true).len(), 2);
    let long: Vec<f64> = (0..1_000).map(|i| f64::from(i / 500)).collect();
    assert_eq!(sparkline(&long, 10, true), "_____#####");
}
