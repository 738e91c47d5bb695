//! The project's configuration: each layer goes before the one below it, and what is wrong in the file is told with its
//! line.

use crate::common::*;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const FILE: &str = "eventbench.toml";

/// The binary in a directory of the place, without the history that other tests name by flag and environment.
fn tool(place: &Place, directory: &str, args: &[&str]) -> Command {
    let mut command = place.command(env!("CARGO_BIN_EXE_eventbench"));
    command.args(args).current_dir(place.path(directory));
    for name in [
        "EVENTBENCH_HISTORY",
        "EVENTBENCH_PROFILE",
        "EVENTBENCH_BASELINE",
        "EVENTBENCH_PLACEMENT",
        "CI",
    ] {
        command.env_remove(name);
    }
    // Whatever lies above the directory of the tests is none of theirs.
    command.env("HOME", place.path(""));
    command
}

fn ran(place: &Place, args: &[&str]) -> Ran {
    place.finish(tool(place, "", args))
}

/// What `config --json` says of a key: its value, and where that comes from.
fn setting(command: Command, place: &Place, key: &str) -> (Value, Value) {
    let json: Value = serde_json::from_str(&place.finish(command).exits(0).out).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let found = settings.iter().find(|s| s["key"] == key);
    let found = found.unwrap_or_else(|| panic!("no {key} in {json:#}"));
    (found["value"].clone(), found["from"].clone())
}

#[test]
fn each_layer_goes_before_the_one_below() {
    let place = Place::new();
    let profile = |args: &[&str], variable: Option<&str>| {
        let mut command = tool(&place, "", &[&["config", "--json"], args].concat());
        command.envs(variable.map(|value| ("EVENTBENCH_PROFILE", value)));
        let (value, from) = setting(command, &place, "profile");
        (value.as_str().unwrap().to_owned(), from)
    };
    let (value, from) = profile(&[], None);
    assert_eq!((value.as_str(), &from["kind"]), ("quick", &Value::from("built_in")));
    place.write(FILE, "# of this project\nprofile = \"soak\"\n");
    let (value, from) = profile(&[], None);
    assert_eq!(
        (value.as_str(), &from["kind"], &from["line"]),
        ("soak", &Value::from("file"), &Value::from(2))
    );
    assert!(from["path"].as_str().unwrap().ends_with(FILE), "{from}");
    let (value, from) = profile(&[], Some("standard"));
    assert_eq!(
        (value.as_str(), &from["variable"]),
        ("standard", &Value::from("EVENTBENCH_PROFILE"))
    );
    let (value, from) = profile(&["--profile", "quick"], Some("standard"));
    assert_eq!((value.as_str(), &from["flag"]), ("quick", &Value::from("--profile")));
    let (value, from) = profile(&["--no-config"], None);
    assert_eq!((value.as_str(), &from["kind"]), ("quick", &Value::from("built_in")));

    // A run obeys the same order, and so do the words for people.
    let planned = |args: &[&str], variable: Option<&str>| {
        let mut command = tool(&place, "", &[&["run", "--dry-run"], args].concat());
        command.envs(variable.map(|value| ("EVENTBENCH_PROFILE", value)));
        let out = place.finish(command).exits(0).out;
        out.lines().next().unwrap().to_owned()
    };
    assert!(planned(&[], None).starts_with("event-bus (soak)"));
    assert!(planned(&[], Some("standard")).starts_with("event-bus (standard)"));
    assert!(planned(&["--profile", "quick"], Some("standard")).starts_with("event-bus (quick)"));
    assert!(planned(&["--no-config"], None).starts_with("event-bus (quick)"));
    let table = ran(&place, &["config"]).exits(0).out;
    assert!(
        table.contains("eventbench.toml:2") && table.contains("built in"),
        "{table}"
    );
}

#[test]
fn the_file_is_found_from_below_and_its_paths_are_its_own() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("project/deep/er")).unwrap();
    std::fs::create_dir(place.path("project/.git")).unwrap();
    place.write(FILE, "profile = \"of another\"\n");
    let (_, from) = setting(
        tool(&place, "project/deep/er", &["config", "--json"]),
        &place,
        "profile",
    );
    assert_eq!(from["kind"], "built_in", "a repository's root ends the search");
    place.write(
        "project/eventbench.toml",
        "suite = \"own.toml\"\nhistory = \"kept/runs.db\"\n",
    );
    place.run(&["init", "project/own.toml"]).exits(0);
    let out = place
        .finish(tool(&place, "project/deep/er", &["run", "--dry-run"]))
        .exits(0)
        .out;
    assert!(out.starts_with("my-system "), "{out}");
    let other = place.write("other.toml", "suite = \"event-bus\"\n");
    let other = other.to_str().unwrap();
    let out = place
        .finish(tool(
            &place,
            "project/deep/er",
            &["run", "--dry-run", "--config", other],
        ))
        .exits(0)
        .out;
    assert!(out.starts_with("event-bus "), "{out}");
    // What was said on the command line goes before the suite of the file.
    let out = place
        .finish(tool(&place, "project/deep/er", &["run", "rpc-events", "--dry-run"]))
        .exits(0)
        .out;
    assert!(out.starts_with("rpc-events "), "{out}");
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_before_any_load() {
    let place = Place::new();
    place.write(FILE, "suite = \"event-bus\"\nproflie = \"soak\"\nopen = 3\n");
    let says = [
        "eventbench.toml:2:1: unknown key \"proflie\"; did you mean \"profile\"?",
        "eventbench.toml:3:8: open: expected true or false, found integer",
    ];
    for command in [&["run"][..], &["config"], &["report"], &["history"]] {
        ran(&place, command).exits(2).complains(&says);
    }
    // What a command does not need cannot stop it.
    ran(&place, &["list"]).exits(0);
    ran(&place, &["run", "--dry-run", "--no-config"]).exits(0);
    place.write(FILE, "[env]\nBENCHMARK_LATENCY_MAX = \"fast\"\n");
    ran(&place, &["run", "--dry-run", "--only", "EB-1"])
        .exits(2)
        .complains(&["BENCHMARK_LATENCY_MAX=\"fast\": expected a plain number"]);
    ran(&place, &["run", "--config", "nowhere.toml"])
        .exits(2)
        .complains(&["nowhere.toml", "config --init"]);
    ran(&place, &["run", "--config", "a", "--no-config"]).exits(2);
}

#[test]
fn the_example_is_written_once_and_changes_nothing() {
    let place = Place::new();
    ran(&place, &["config", "--init"]).exits(0);
    let text = place.read(FILE);
    for key in [
        "suite",
        "profile",
        "reports",
        "baseline",
        "fail_on",
        "placement",
        "history",
        "open",
        "[env]",
    ] {
        assert!(text.contains(&format!("# {key}")), "{key}: {text}");
    }
    ran(&place, &["config", "--init"])
        .exits(2)
        .complains(&["left as it is"]);
    assert_eq!(place.read(FILE), text);
    let out = ran(&place, &["run", "--dry-run"]).exits(0).out;
    assert!(out.starts_with("event-bus (quick)"), "{out}");
}

/// A suite that passes wherever it is run.
fn suite(place: &Place) -> PathBuf {
    place.write(
        "suite.toml",
        format!(
            r#"{HEAD}
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a.b", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a.>" }}
load = {{ arrival = "constant", rate = "100/s", duration = "500ms" }}
limits = ["mean < 50s", "lost == 0"]
"#
        ),
    )
}

#[test]
fn a_run_takes_its_reports_bounds_and_baseline_from_the_file() {
    let (_load, place) = (load(), Place::new());
    suite(&place);
    place.write(
        FILE,
        "suite = \"suite.toml\"\nhistory = \"kept.db\"\nbaseline = \"main\"\nfail_on = \"mean:100000%\"\n\
         reports = [\"json=out/deep/run.json\"]\n[env]\nBENCHMARK_LATENCY_MAX = 40000\n",
    );
    let read = |name: &str| -> Value { serde_json::from_str(&place.read(name)).unwrap() };
    // There is nothing to compare with, and a gate that opens by itself is none.
    ran(&place, &["run"])
        .exits(2)
        .complains(&["there is no baseline \"main\""]);
    let first = ran(&place, &["run", "--save-baseline", "main"]).exits(0);
    assert!(first.err.contains("becomes the baseline"), "{}", first.err);
    let json = read("out/deep/run.json");
    assert_eq!(
        json["run"]["overrides"][0], "BENCHMARK_LATENCY_MAX=40000 (eventbench.toml:7)",
        "{}",
        json["run"]
    );
    let limit = &benchmark(&json, "one")["limits"][0];
    assert_eq!(limit["bound"].as_f64(), Some(40e9), "{limit:#}");
    assert!(place.path("kept.db").is_file() && !place.path(".eventbench").exists());

    // The second run is compared, and flags go before the file: its report goes to standard output alone.
    std::fs::remove_file(place.path("out/deep/run.json")).unwrap();
    let second = ran(&place, &["run", "-o", "json"]);
    let json: Value = serde_json::from_str(&second.out).unwrap_or_else(|e| panic!("{e}: {second:?}"));
    assert!(json["comparison"].is_object(), "{second:?}");
    assert!(!place.path("out/deep/run.json").exists());
    // A variable of the environment goes before the file's.
    let mut command = tool(&place, "", &["run", "--save-baseline", "later", "-o", "json"]);
    command.env("BENCHMARK_LATENCY_MAX", "30000");
    let json: Value = serde_json::from_str(&place.finish(command).out).unwrap();
    assert_eq!(benchmark(&json, "one")["limits"][0]["bound"].as_f64(), Some(30e9));
    assert_eq!(
        json["run"]["overrides"].as_array().map(Vec::len),
        Some(0),
        "{}",
        json["run"]
    );
    // `compare` holds the latest run against the same baseline; it may find what it likes, but not nothing.
    let compared = ran(&place, &["compare", "-o", "json"]);
    assert!(compared.out.contains("\"main\""), "{compared:?}");
}

#[test]
fn the_html_report_is_opened_by_the_flag_and_never_in_a_pipeline() {
    let (_load, place) = (load(), Place::new());
    suite(&place);
    ran(&place, &["run", "suite.toml", "--quiet", "--history", "runs.db"]).exits(0);
    // The opener of this machine is one of ours, which tells what it was given.
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let opener = bin.join("xdg-open");
    std::fs::write(
        &opener,
        format!("#!/bin/sh\necho \"$1\" > '{}'\n", place.path("opened").display()),
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = |args: &[&str], ci: Option<&str>, path: &std::path::Path| {
        let mut command = tool(&place, "", &[&["report", "--history", "runs.db"], args].concat());
        command.env("PATH", path).envs(ci.map(|ci| ("CI", ci)));
        place.finish(command).exits(0)
    };
    let html = place.path("own.html");
    report(&["--open", "-o", "html=own.html"], None, &bin);
    let opened = || place.read("opened").trim().to_owned();
    assert!(
        within(std::time::Duration::from_secs(30), || opened().ends_with("own.html")),
        "{}",
        opened()
    );
    assert!(std::fs::read_to_string(&html).unwrap().contains("<html"));
    std::fs::remove_file(place.path("opened")).unwrap();

    let said = report(&["--open"], Some("true"), &bin).err;
    assert!(said.contains("CI is set"), "{said}");
    let kept: Vec<_> = std::fs::read_dir(place.path("reports")).unwrap().collect();
    assert_eq!(kept.len(), 1, "it is written beside the history all the same");
    // Without an opener the report's place is told, and the command has done what it could.
    let said = report(&["--open"], None, &place.path("tmp")).err;
    assert!(
        said.contains("warning: nothing here opens") && flat(&said).contains(".html"),
        "{said}"
    );
    assert!(!place.path("opened").exists());
}
