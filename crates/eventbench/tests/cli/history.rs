//! A history that cannot be used is left as it is and named; one that fills up costs the record and not the report.

use crate::common::*;
use std::path::Path;

/// A quick benchmark that writes no file of its own.
fn quick(service: &str) -> String {
    format!(
        r#"{HEAD}{service}
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a" }}
load = {{ arrival = "constant", rate = "200/s", duration = "300ms" }}
limits = ["lost == 0"]
"#
    )
}

#[track_caller]
fn left_alone(place: &Place, says: &[&str]) {
    let before = std::fs::read(place.history()).ok();
    place.write("suite.toml", quick(""));
    let ran = place.run(&["run", "suite.toml"]).exits(3).complains(says);
    assert!(!ran.err.contains("benchmarks, about"), "something was run: {}", ran.err);
    assert_eq!(std::fs::read(place.history()).ok(), before);
    place.run(&["report", "latest"]).exits(3).complains(&says[..1]);
}

#[test]
fn a_file_that_is_no_history_is_left_alone() {
    let place = Place::new();
    place.write(
        "history.db",
        "this is no database at all, but a text of some length, which somebody may still want to have".repeat(20),
    );
    left_alone(&place, &["history.db", "is not a history of eventbench"]);
    let place = Place::new();
    rusqlite::Connection::open(place.history())
        .unwrap()
        .execute_batch("CREATE TABLE mine (x)")
        .unwrap();
    left_alone(&place, &["history.db", "is not a history of eventbench"]);
}

#[test]
fn a_directory_in_its_place_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.history()).unwrap();
    left_alone(&place, &["history.db", "check that it is a file"]);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    place.write("suite.toml", quick(""));
    place.write("file", "");
    let mut command = place.command(env!("CARGO_BIN_EXE_eventbench"));
    command.args(["run", "suite.toml", "--history", "file/history.db"]);
    place.finish(command).exits(3).complains(&["file", "--history"]);
}

#[test]
fn damaged_and_newer_ones_are_left_alone() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", quick(""));
    place.run(&["run", "suite.toml"]).exits(0);
    let good = std::fs::read(place.history()).unwrap();

    let mut damaged = good.clone();
    damaged[100..].fill(0xa5);
    place.write("history.db", &damaged);
    left_alone(&place, &["history.db", "damaged"]);

    place.write("history.db", &good);
    let database = rusqlite::Connection::open(place.history()).unwrap();
    database
        .execute_batch("PRAGMA user_version = 4711; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(database);
    left_alone(&place, &["history.db", "4711", "newer eventbench"]);
}

/// The report of a run whose record could not be kept.
#[track_caller]
fn still_reported(ran: Ran, says: &[&str]) {
    let ran = ran.exits(3).complains(says);
    assert!(
        ran.out.contains("one") && ran.out.contains("0 of 60"),
        "the report is missing:\n{}\n{}",
        ran.out,
        ran.err
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_in_mid_run_costs_the_record_and_not_the_report() {
    let (_load, place) = (load(), Place::new());
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    // A service that fills the disk before the load begins, and after the history has been opened on it.
    let fills = format!(
        "[service.filler]\nrun = [\"sh\", \"-c\", \"cat /dev/zero > {}/ballast; echo full; exec sleep 60\"]\n",
        disk.display()
    );
    place.write("suite.toml", quick(&fills));
    // A small file system of the run's own, in a mount namespace that ends with it.
    let mount = format!("mount -t tmpfs -o size=1m tmpfs {} && exec \"$@\"", disk.display());
    let mut inside = vec!["--mount", "--map-root-user", "sh", "-c", &mount, "sh"];
    let mut trial = place.command("unshare");
    trial.args(&inside).arg("true");
    if place.finish(trial).code != Some(0) {
        inside.retain(|a| *a != "--map-root-user");
    }
    let mut command = place.command("unshare");
    command.args(&inside).arg(env!("CARGO_BIN_EXE_eventbench"));
    command
        .args(["run", "suite.toml", "--history"])
        .arg(disk.join("history.db"));
    let ran = place.finish(command);
    if ran.err.contains("unshare:") || ran.err.contains("mount:") {
        // No file system of one's own is to be had here: the limit on file sizes is the same to the program.
        return full_by_limit(&place);
    }
    still_reported(ran, &["disk is full", "history.db", "free some space"]);
}

#[test]
fn a_history_that_may_not_grow_costs_the_record_and_not_the_report() {
    let (_load, place) = (load(), Place::new());
    full_by_limit(&place);
}

/// A limit on the size of files that the history's next record goes beyond.
fn full_by_limit(place: &Place) {
    place.write("suite.toml", quick(""));
    place.run(&["run", "suite.toml"]).exits(0);
    // In blocks of 512 bytes: the head of a run fits into the log of writes, its benchmark does not.
    let mut command = place.command("sh");
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 80; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_eventbench"),
        "run",
        "suite.toml",
        "--history",
    ]);
    command.arg(place.history());
    still_reported(place.finish(command), &["history.db"]);
    // The earlier run is as it was.
    assert_eq!(runs(place, &place.history()), 1 + 1);
    place.run(&["report", "latest~1", "-o", "csv"]).exits(0);
}

fn runs(place: &Place, history: &Path) -> usize {
    let mut command = place.command(env!("CARGO_BIN_EXE_eventbench"));
    command.args(["report", "--list", "--history"]).arg(history);
    place.finish(command).exits(0).out.lines().count()
}

#[test]
fn two_runs_at_once_share_a_history() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", quick(""));
    let both = [0, 1].map(|_| Running::start(&place, place.tool(&["run", "suite.toml"])));
    for running in both {
        let ran = running.wait().exits(0);
        assert!(ran.out.contains("PASS"), "{}", ran.out);
    }
    assert_eq!(runs(&place, &place.history()), 2);
    for run in ["latest", "latest~1"] {
        let json: serde_json::Value =
            serde_json::from_str(&place.run(&["report", run, "-o", "json"]).exits(0).out).unwrap();
        assert_eq!(
            (&json["run"]["ended"], books(&json, "delivered")),
            (&"complete".into(), 60)
        );
    }
}

#[test]
fn without_a_history_none_is_made() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", quick(""));
    place.run(&["run", "suite.toml", "--no-history"]).exits(0);
    assert!(!place.history().exists());
    place
        .run(&["report"])
        .exits(3)
        .complains(&["there is no history", "eventbench run"]);
}
