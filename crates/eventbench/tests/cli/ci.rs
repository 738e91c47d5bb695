//! What builds rely on: the wrapper script, the commands that `docs/ci.md` shows, and what a run tells GitHub by itself.

use crate::common::*;
use eventbench_report::{COMPARISON_REPORTS, DIRECTORY_REPORTS, REPORTS};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn script(place: &Place, args: &[&str]) -> Ran {
    let mut command = place.command("bash");
    command.arg(root().join("scripts/run_benchmarks.sh")).args(args);
    command.env("EVENTBENCH", env!("CARGO_BIN_EXE_eventbench"));
    command.env_remove("BENCHMARK_RESULTS");
    place.finish(command)
}

#[test]
fn the_script_passes_on_what_it_is_given() {
    let place = Place::new();
    let help = script(&place, &["--help"]).exits(0);
    assert!(help.out.contains("--with-load-test"), "{}", help.out);
    let shown = script(&place, &["--dry-run"]).exits(0);
    assert!(shown.out.contains("event-bus (quick)"), "{}", shown.out);
    assert!(!place.path("benchmark-results").exists(), "a dry run writes nothing");
    let shown = script(
        &place,
        &[
            "event-bus",
            "rpc-events",
            "--dry-run",
            "--profile",
            "standard",
            "--only",
            "latency",
        ],
    )
    .exits(0);
    for suite in ["event-bus (standard)", "rpc-events (standard)"] {
        assert!(shown.out.contains(suite), "no {suite} in {}", shown.out);
    }
    assert!(!shown.out.contains("sustained-throughput"), "{}", shown.out);
    // The gravest exit code of several suites, and what was wrong.
    script(&place, &["event-bus", "--dry-run", "--only", "no-such-benchmark"])
        .exits(2)
        .complains(&["no-such-benchmark"]);
    script(&place, &["no-such-suite", "event-bus", "--dry-run"])
        .exits(2)
        .complains(&["no suite \"no-such-suite\""]);
}

#[test]
fn the_script_runs_a_suite_of_ones_own_and_writes_its_reports() {
    let (_load, place) = (load(), Place::new());
    place.write("mine.toml", suite("\"lost == 0\""));
    let ran = script(&place, &["mine.toml", "--trials", "1"]).exits(0);
    assert!(ran.out.contains("PASS"), "{}", ran.out);
    for report in ["mine.md", "mine.json", "mine.xml"] {
        let written = place.read(&format!("benchmark-results/{report}"));
        assert!(!written.is_empty(), "no {report}");
    }
}

/// Events from a connection to itself, with these limits.
fn suite(limits: &str) -> String {
    format!(
        r#"{HEAD}
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a.b", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a.>" }}
load = {{ arrival = "constant", rate = "200/s", duration = "1s" }}
limits = [
  {limits},
]
"#
    )
}

#[test]
fn github_is_told_once() {
    let (_load, place) = (load(), Place::new());
    place.write(
        "suite.toml",
        suite("\"sent == 0\",\n  { that = \"sent < 1\", severity = \"should\" }"),
    );
    place.write("summary.md", "# Of a step before\n");
    let run = |args: &[&str], code: i32| {
        let mut command = place.tool(args);
        command.env("GITHUB_ACTIONS", "true");
        command.env("GITHUB_STEP_SUMMARY", place.path("summary.md"));
        place.finish(command).exits(code)
    };
    let annotated = |text: &str, kind: &str| text.lines().filter(|l| l.starts_with(kind)).count();
    let ran = run(&["run", "suite.toml"], 1);
    let line = place
        .read("suite.toml")
        .lines()
        .position(|l| l.contains("\"sent == 0\""))
        .unwrap()
        + 1;
    let place_of_limit =
        format!("::error file=suite.toml,line={line},title=FAIL t.one%3A sent == 0::must sent == 0: 200");
    assert!(ran.out.contains(&place_of_limit), "no {place_of_limit} in\n{}", ran.out);
    assert_eq!(annotated(&ran.out, "::error "), 1, "{}", ran.out);
    assert_eq!(annotated(&ran.out, "::warning "), 1, "{}", ran.out);
    let summaries = || place.read("summary.md").matches("## ❌ eventbench t: FAIL").count();
    assert!(place.read("summary.md").starts_with("# Of a step before\n\n## ❌"));
    assert_eq!(summaries(), 1);
    // A second run of the same step adds its own.
    run(&["run", "suite.toml"], 1);
    assert_eq!(summaries(), 2);
    // Who writes them by an output gets them there alone; and a report on standard output stays whole.
    let ran = run(&["run", "suite.toml", "-o", "github-summary=own.md", "-o", "json"], 1);
    assert_eq!(summaries(), 2);
    assert!(place.read("own.md").contains("FAIL"));
    serde_json::from_str::<serde_json::Value>(&ran.out).unwrap();
    assert_eq!(annotated(&ran.err, "::error "), 1, "{}", ran.err);
    // Without the variables, nothing of it; and a stored run is told to nobody.
    let ran = place.run(&["run", "suite.toml"]).exits(1);
    assert!(!ran.out.contains("::error") && !ran.err.contains("::error"));
    let ran = run(&["report", "latest"], 0);
    assert!(!ran.out.contains("::error"));
    assert_eq!(summaries(), 2);
    // A full page is no reason to fail, nor is one that cannot be written.
    place.write("summary.md", "x".repeat(1_048_000));
    let ran = run(&["run", "suite.toml"], 1);
    assert!(ran.err.contains("no summary for GitHub"), "{}", ran.err);
    assert_eq!(place.read("summary.md").len(), 1_048_000);
}

/// The commands of the program in the fenced blocks of a page, lines that end in a backslash put together, variables of
/// shells and services replaced by a word.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let (mut fenced, mut whole) = (false, String::new());
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            continue;
        }
        whole.push_str(line.trim().trim_end_matches('\\'));
        if line.ends_with('\\') {
            whole.push(' ');
            continue;
        }
        let line = std::mem::take(&mut whole);
        let Some(at) = line
            .match_indices("eventbench ")
            .map(|m| m.0)
            .find(|at| begins_a_command(&line, *at))
        else {
            continue;
        };
        let words = line[at..]
            .split_whitespace()
            .map(|w| w.trim_end_matches(['\'', ')', ';', '"']));
        let words = words.take_while(|w| !["|", "||", "&&", ">", "then"].contains(w));
        found.push(words.filter(|w| !w.contains('$')).map(str::to_owned).collect());
    }
    found
}

/// Whether the name at this place is the command and not a part of a sentence, a path or an address.
fn begins_a_command(line: &str, at: usize) -> bool {
    let before = line[..at].trim_end();
    let ends = ["", "elif", "if", "then", "run:", "&&", "||", ";", "-", "script: '", "}"];
    ends.iter().any(|end| {
        if end.is_empty() {
            before.is_empty()
        } else {
            before.ends_with(end)
        }
    })
}

#[test]
fn the_page_on_ci_shows_commands_that_exist() {
    let place = Place::new();
    let page = std::fs::read_to_string(root().join("docs/ci.md")).unwrap();
    let commands = commands(&page);
    let subcommand = |name: &str| commands.iter().filter(|c| c.get(1).is_some_and(|w| w == name)).count();
    assert!(
        subcommand("run") >= 3 && subcommand("baseline") >= 3 && subcommand("duel") >= 1,
        "{commands:#?}"
    );
    let formats: Vec<&str> = REPORTS
        .iter()
        .map(|r| r.name)
        .chain(DIRECTORY_REPORTS.iter().map(|r| r.name))
        .chain(COMPARISON_REPORTS.iter().map(|r| r.name))
        .collect();
    for command in &commands {
        let help = place.run(&[&command[1], "--help"]).exits(0).out;
        for (i, word) in command.iter().enumerate().skip(2) {
            let flag = word.split('=').next().unwrap();
            if flag.starts_with('-') {
                let known = help
                    .split(|c: char| !(c.is_alphanumeric() || c == '-'))
                    .any(|w| w == flag);
                assert!(known, "{flag} of {command:?} is not in\n{help}");
            }
            if command[i - 1] == "-o" {
                assert!(formats.contains(&flag), "{flag} of {command:?} is no format");
            }
        }
        if command[1] == "run" {
            // What the flags take is checked by the program itself.
            let mut args: Vec<&str> = command[1..].iter().map(String::as_str).collect();
            args.push("--dry-run");
            place.run(&args).exits(0);
        }
    }
    // And every format that the table names.
    for line in page.lines().filter(|l| l.starts_with("| `")) {
        let cell = line.split('|').nth(1).unwrap();
        for named in cell.split('`').skip(1).step_by(2) {
            let format = named.split('=').next().unwrap();
            assert!(formats.contains(&format), "{format} of {line}");
        }
    }
}
