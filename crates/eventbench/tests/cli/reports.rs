//! Reports are pure functions of the record: the same bytes whenever they are made, and safe to show anywhere.

use crate::common::*;
use eventbench_report::{DIRECTORY_REPORTS, REPORTS, SCHEMA};

const HOSTILE: &str = "=1+1|<b>`x`\\u001b[31m";

/// A run with a service and streams whose names are meant to break reports, in every format.
fn hostile_run(place: &Place) {
    let suite = format!(
        r#"{HEAD}
[service."{HOSTILE}"]
run = ["sleep", "60"]

[[benchmark]]
name = "one"
trials = 2
category = "{HOSTILE}"
about = "=HYPERLINK(\"x\") | <script>alert(1)</script>\nnext"
observe = {{ driver = "nats", subject = "a.>" }}
load = {{ arrival = "constant", rate = "400/s", duration = "1s" }}
limits = ["p(90) < 50s", "lost == 0"]
[benchmark.drive]
driver = "nats"
mix = [
  {{ name = "{HOSTILE}", subject = "a.b", payload = "{{stamp}}" }},
  {{ name = "-2,\"3\"\n4", subject = "a.c", payload = "{{stamp}}" }},
]
"#
    );
    place.write("suite.toml", suite);
    let outputs: Vec<String> = REPORTS.iter().map(|r| format!("{}=run.{}", r.name, r.name)).collect();
    let mut args = vec!["run", "suite.toml"];
    outputs.iter().for_each(|o| args.extend(["-o", o]));
    place.run(&args).exits(0);
}

#[test]
fn a_stored_run_gives_the_same_bytes_again_and_no_name_breaks_them() {
    let (_load, place) = (load(), Place::new());
    hostile_run(&place);
    for report in REPORTS {
        let first = std::fs::read(place.path(&format!("run.{}", report.name))).unwrap();
        assert!(!first.is_empty(), "{}", report.name);
        for copy in ["again", "and-again"] {
            place
                .run(&["report", "latest", "-o", &format!("{}={copy}", report.name)])
                .exits(0);
            let again = std::fs::read(place.path(copy)).unwrap();
            assert!(
                first == again,
                "{} differs from what the run wrote:\n{}",
                report.name,
                String::from_utf8_lossy(&again)
            );
        }
        let printed = place.run(&["report", "latest", "-o", report.name]).exits(0);
        assert!(
            printed.out.as_bytes() == first,
            "{} differs on standard output",
            report.name
        );
        // JSON escapes it, and CSV (Otava's is one) carries data to programs as it is.
        if !["json", "csv", "otava"].contains(&report.name) {
            assert!(
                !first.contains(&0x1b),
                "{} lets an escape sequence through",
                report.name
            );
        }
    }
    directories_hold_the_same_files_again(&place);
    no_name_breaks_the_csv(&place);
    no_name_breaks_the_markdown(&place);
    the_json_is_as_the_schema_says(&place);
    colour_is_for_terminals_and_those_who_ask(&place);
}

fn directories_hold_the_same_files_again(place: &Place) {
    for report in DIRECTORY_REPORTS {
        let written = |directory: &str| {
            let output = format!("{}={directory}", report.name);
            place.run(&["report", "latest", "-o", &output]).exits(0);
            let entries = std::fs::read_dir(place.path(directory)).unwrap();
            let mut files: Vec<_> = entries
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap()))
                .collect();
            files.sort();
            files
        };
        let (one, other) = (format!("{}-one", report.name), format!("{}-other", report.name));
        let first = written(&one);
        assert!(
            !first.is_empty() && first.iter().all(|f| !f.1.contains(&0x1b)),
            "{}",
            report.name
        );
        // Into a directory that is there already, and into one that is not.
        assert!(
            first == written(&one) && first == written(&other),
            "{} differs",
            report.name
        );
        for (output, says) in [
            (report.name.to_owned(), "name a directory"),
            (format!("{}=run.json", report.name), "name a directory"),
            (format!("{}=no/such/place", report.name), "cannot be made"),
        ] {
            place
                .run(&["report", "latest", "-o", &output])
                .exits(2)
                .complains(&[says]);
        }
    }
}

fn no_name_breaks_the_csv(place: &Place) {
    let rows = parse_csv(&place.read("run.csv"));
    let columns = rows[0].len();
    let tags = rows[0].iter().position(|c| c == "tags").unwrap();
    assert!(rows.len() > 50);
    for row in &rows {
        assert_eq!(row.len(), columns, "{row:?}");
        for cell in row {
            let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
            assert!(!formula, "{cell:?} is a formula to a spreadsheet");
        }
    }
    for name in [HOSTILE.replace("\\u001b", "\u{1b}"), "-2,\"3\"\n4".to_owned()] {
        assert!(
            rows.iter().any(|r| r[tags].contains(&name)),
            "{name:?} is not in the CSV"
        );
    }
}

/// RFC 4180, read without the library that wrote it.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => cell.push(c),
        }
    }
    assert!(
        !quoted && row.is_empty() && cell.is_empty(),
        "the last line does not end"
    );
    rows
}

fn no_name_breaks_the_markdown(place: &Place) {
    // What stands between fences is shown as it is; no name may end a fence.
    let whole = place.read("run.markdown");
    let (mut text, mut fenced, mut fences) = (String::new(), false, 0);
    for line in whole.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            fences += 1;
        } else if !fenced {
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(!fenced && fences > 0 && text.contains("1+1"), "{whole}");
    for raw in ["<script>", "<b>"] {
        assert!(!text.contains(raw), "{raw} stands in the Markdown as it was");
    }
    // A row of a table has as many cells as the line of dashes above it.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut width = 0;
    for line in text.lines() {
        if line.starts_with('|') && line.contains("---") {
            width = cells(line);
        } else if !line.starts_with('|') {
            width = 0;
        }
        assert!(width == 0 || cells(line) == width, "not {width} bars: {line}");
    }
}

fn the_json_is_as_the_schema_says(place: &Place) {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let json: serde_json::Value = serde_json::from_str(&place.read("run.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&json)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(json["benchmarks"][0]["trials"].as_array().unwrap().len(), 2);
}

fn colour_is_for_terminals_and_those_who_ask(place: &Place) {
    let colour = |args: &[&str], no_color: bool| {
        let mut command = place.tool(args);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let ran = place.finish(command).exits(0);
        (ran.out + &ran.err).contains('\u{1b}')
    };
    assert!(!colour(&["report"], false), "a pipe is no terminal");
    assert!(!colour(&["report"], true));
    assert!(!colour(&["report", "--color", "never"], false));
    assert!(colour(&["report", "--color", "always"], false));
    assert!(
        colour(&["report", "--color", "always"], true),
        "the flag goes before NO_COLOR"
    );
}

#[test]
fn a_run_that_is_not_there_is_named() {
    let (_load, place) = (load(), Place::new());
    hostile_run(&place);
    place
        .run(&["report", "19990101"])
        .exits(3)
        .complains(&["no run \"19990101\""]);
    place.run(&["report", "latest~5"]).exits(3).complains(&["latest~5"]);
    place
        .run(&["report", "latest", "-o", "json=no/such/file"])
        .exits(2)
        .complains(&["no/such"]);
}
