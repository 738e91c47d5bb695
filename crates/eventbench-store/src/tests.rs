//! The history against real files, a full disk, foreign and damaged files, and other processes.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start this very program a second time, and tell it by its environment what to do"
)]

use crate::{History, HistoryError};
use eventbench_core::judge::Verdict;
use eventbench_core::record::{Ended, RunRecord};
use eventbench_testkit::golden;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".eventbench/history.db");
    (directory, path)
}

pub(crate) fn keep(history: &mut History, record: &RunRecord) -> Result<(), HistoryError> {
    history.begin(&record.run)?;
    for (i, benchmark) in record.benchmarks.iter().enumerate() {
        history.put(&record.run.id, i, benchmark)?;
    }
    if let Some(comparison) = &record.comparison {
        history.put_comparison(&record.run.id, comparison)?;
    }
    history.finish(&record.run)
}

pub(crate) fn json(record: &RunRecord) -> String {
    serde_json::to_string(record).unwrap()
}

/// A record of another id and start.
pub(crate) fn renamed(record: &RunRecord, id: &str, started_unix_ms: i64) -> RunRecord {
    let mut record = record.clone();
    record.run.id = id.to_owned();
    record.run.started_unix_ms = started_unix_ms;
    record
}

#[test]
fn what_is_loaded_is_byte_for_byte_what_was_put() {
    let (_directory, path) = place();
    for (name, record) in golden::records() {
        keep(&mut History::open(&path).unwrap(), &record).unwrap();
        // From another connection, so from the file.
        let loaded = History::open_existing(&path).unwrap().load(&record.run.id).unwrap();
        assert_eq!(json(&loaded), json(&record), "{name}");
    }
    let runs = History::open(&path).unwrap().list(100).unwrap();
    assert_eq!(runs.len(), golden::records().len());
    for run in runs {
        let record = golden::records().into_iter().find(|r| r.1.run.id == run.id).unwrap().1;
        assert_eq!(
            (run.verdict, run.ended, run.counts.total()),
            (record.verdict(), record.run.ended, record.benchmarks.len()),
            "{}",
            run.id
        );
    }
}

#[test]
fn figures_can_be_queried_without_reading_a_record() {
    let (_directory, path) = place();
    let (mut history, record) = (History::open(&path).unwrap(), golden::comparison());
    keep(&mut history, &record).unwrap();
    let figure = record.benchmarks[0].figure("response_time", &[], "p(95)").unwrap();
    let query = "SELECT value FROM metrics WHERE benchmark = 'cpu-overhead' AND metric = 'response_time' AND stat = 'p(95)' AND variant = ? ORDER BY trial";
    let values = |variant: &str| -> Vec<Option<f64>> {
        let mut statement = history.connection.prepare(query).unwrap();
        statement
            .query_map([variant], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let mut expected = vec![figure.value];
    expected.extend_from_slice(&figure.trials);
    assert_eq!(values(""), expected);
    assert_eq!(values("direct").len(), 4);
    let tags: String = history
        .connection
        .query_row("SELECT tags FROM metrics WHERE metric = 'cpu' LIMIT 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(tags, "process:nats");
    let blob: Vec<u8> = history
        .connection
        .query_row(
            "SELECT hdr_v2 FROM histograms WHERE metric = 'response_time' AND variant = '' AND trial = 1 AND place = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let read: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut blob.as_slice())
        .unwrap();
    assert_eq!(read.len(), 500);
    let plan: String = history
        .connection
        .query_row(&format!("EXPLAIN QUERY PLAN {}", query.replace('?', "''")), [], |row| {
            row.get(3)
        })
        .unwrap();
    assert!(plan.contains("metrics_for_trends"), "{plan}");
}

#[test]
fn a_run_is_found_by_what_people_type() {
    let (_directory, path) = place();
    let mut history = History::open(&path).unwrap();
    let error = history.find("latest").unwrap_err().to_string();
    assert!(error.contains("no runs yet"), "{error}");
    let base = golden::empty();
    for (id, started) in [
        ("20251101-000000-aaaa", 1),
        ("20251102-000000-bbbb", 2),
        ("20251102-000000-bbcc", 3),
    ] {
        keep(&mut history, &renamed(&base, id, started)).unwrap();
    }
    for (wanted, id) in [
        ("latest", "20251102-000000-bbcc"),
        ("latest~1", "20251102-000000-bbbb"),
        ("latest~2", "20251101-000000-aaaa"),
        ("20251101", "20251101-000000-aaaa"),
        ("20251102-000000-bbb", "20251102-000000-bbbb"),
        ("20251102-000000-bbcc", "20251102-000000-bbcc"),
    ] {
        assert_eq!(history.find(wanted).unwrap(), id, "{wanted}");
    }
    assert_eq!(history.latest().unwrap().run.id, "20251102-000000-bbcc");
    let error = history.find("20251102").unwrap_err().to_string();
    assert!(error.contains("20251102-000000-bbbb, 20251102-000000-bbcc"), "{error}");
    for wanted in ["latest~3", "latest~x", "latestx", "%", "_", "", "2026"] {
        assert!(
            matches!(history.find(wanted), Err(HistoryError::UnknownRun { .. })),
            "{wanted}"
        );
    }
    assert_eq!(
        history
            .list(2)
            .unwrap()
            .iter()
            .map(|r| r.id.as_str())
            .collect::<Vec<_>>(),
        ["20251102-000000-bbcc", "20251102-000000-bbbb"]
    );
}

#[test]
fn nothing_is_overwritten() {
    let (_directory, path) = place();
    let (mut history, record) = (History::open(&path).unwrap(), golden::no_data());
    keep(&mut history, &record).unwrap();
    assert!(matches!(history.begin(&record.run), Err(HistoryError::Exists { .. })));
    let error = history
        .put(&record.run.id, 0, &golden::warn().benchmarks[0])
        .unwrap_err()
        .to_string();
    assert!(error.contains("already has a benchmark 1"), "{error}");
    assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
    assert!(matches!(
        history.put("nowhere", 0, &record.benchmarks[0]),
        Err(HistoryError::UnknownRun { .. })
    ));
    assert!(matches!(
        history.finish(&golden::warn().run),
        Err(HistoryError::UnknownRun { .. })
    ));
}

#[test]
fn a_missing_history_is_made_only_by_who_writes() {
    let (_directory, path) = place();
    assert!(matches!(
        History::open_existing(&path),
        Err(HistoryError::Missing { .. })
    ));
    assert!(!path.exists());
    History::open(&path).unwrap();
    assert!(path.exists());
}

fn refused_and_untouched(path: &Path, says: &[&str]) {
    let before = std::fs::read(path).unwrap();
    for open in [History::open, History::open_existing] {
        let error = open(path).unwrap_err().to_string();
        for part in says.iter().chain([&path.to_str().unwrap()]) {
            assert!(error.contains(part), "\"{part}\" is not in: {error}");
        }
    }
    assert_eq!(std::fs::read(path).unwrap(), before, "the file was changed");
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "These are my notes. ".repeat(100)).unwrap();
    refused_and_untouched(&text, &["not a history", "move it away"]);

    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE runs (a); INSERT INTO runs VALUES (1);")
        .unwrap();
    refused_and_untouched(&other, &["another program", "move it away"]);
}

#[test]
fn a_newer_history_is_refused_and_left_alone() {
    let (_directory, path) = place();
    let history = History::open(&path).unwrap();
    history.connection.execute_batch("PRAGMA user_version = 99;").unwrap();
    drop(history);
    refused_and_untouched(&path, &["version 99", "newer eventbench"]);
}

#[test]
fn a_damaged_history_is_named_and_left_alone() {
    let (_directory, path) = place();
    let record = golden::all_pass();
    keep(&mut History::open(&path).unwrap(), &record).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // The header stays, every page after the first becomes noise.
    bytes[4096..]
        .iter_mut()
        .enumerate()
        .for_each(|(i, b)| *b = (i * 31 % 251) as u8);
    std::fs::write(&path, &bytes).unwrap();
    let error = match History::open_existing(&path) {
        Err(error) => error,
        Ok(history) => history.load(&record.run.id).unwrap_err(),
    };
    assert!(matches!(error, HistoryError::Damaged { .. }), "{error:?}");
    let error = error.to_string();
    assert!(
        error.contains("damaged") && error.contains(".recover") && error.contains("mv "),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    let mut first_page = bytes.clone();
    first_page[100..4096].fill(0xee);
    std::fs::write(&path, &first_page).unwrap();
    refused_and_untouched(&path, &["damaged", "move it away"]);
}

#[test]
fn a_full_disk_loses_only_the_benchmark_under_way() {
    let (_directory, path) = place();
    let (mut history, record) = (History::open(&path).unwrap(), golden::all_pass());
    history.begin(&record.run).unwrap();
    history.put(&record.run.id, 0, &record.benchmarks[0]).unwrap();
    // SQLite answers as it does on a full file system when the file may not grow beyond so many pages.
    let pages: i64 = history
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    history
        .connection
        .execute_batch(&format!("PRAGMA max_page_count = {};", pages + 2))
        .unwrap();
    let error = history.put(&record.run.id, 1, &record.benchmarks[1]).unwrap_err();
    assert!(matches!(error, HistoryError::Full { .. }), "{error:?}");
    assert!(
        error.to_string().contains("disk is full") && error.to_string().contains("history.db"),
        "{error}"
    );
    assert_eq!(
        json(&RunRecord {
            benchmarks: record.benchmarks[..1].to_vec(),
            ..record.clone()
        }),
        json(&history.load(&record.run.id).unwrap())
    );
    // And goes on once there is space again.
    history
        .connection
        .execute_batch("PRAGMA max_page_count = 1000000;")
        .unwrap();
    history.put(&record.run.id, 1, &record.benchmarks[1]).unwrap();
    assert_eq!(history.load(&record.run.id).unwrap().benchmarks.len(), 2);
}

#[test]
fn a_lock_is_waited_for_and_then_named() {
    let (_directory, path) = place();
    let record = golden::no_data();
    History::open(&path).unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let mut history = History::open_with(&path, flags, Duration::from_millis(50)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = history.begin(&record.run).unwrap_err();
    assert!(matches!(error, HistoryError::Locked { waited_ms: 50, .. }), "{error:?}");
    assert!(error.to_string().contains("another process"), "{error}");
    // Reading goes on beside a writer.
    assert_eq!(history.list(1).unwrap(), []);
    let error = History::open_with(&path, flags, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, HistoryError::Locked { .. }), "{error:?}");
    other.execute_batch("COMMIT").unwrap();
    keep(&mut history, &record).unwrap();
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let (directory, path) = place();
    // A directory in place of the file: refused for every user, whatever the permissions.
    let error = History::open(directory.path()).unwrap_err();
    assert!(matches!(error, HistoryError::CannotOpen { .. }), "{error:?}");
    assert!(error.to_string().contains("check that it is a file"), "{error}");
    // A file in place of the directory.
    std::fs::write(directory.path().join(".eventbench"), "").unwrap();
    let error = History::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Directory { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot create the directory"), "{error}");
}

#[test]
fn what_may_only_be_read_can_be_read_and_says_so_when_written() {
    let (_directory, path) = place();
    let record = golden::no_data();
    keep(&mut History::open(&path).unwrap(), &record).unwrap();
    let mut history = History::open_with(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, Duration::from_millis(50)).unwrap();
    assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
    let error = history.begin(&golden::warn().run).unwrap_err();
    assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[test]
fn a_history_on_a_read_only_file_system_can_be_read_without_a_file_beside_it() {
    let (directory, path) = place();
    let record = golden::no_data();
    keep(&mut History::open(&path).unwrap(), &record).unwrap();
    let odd = directory.path().join("100% mine? #1.db");
    std::fs::rename(&path, &odd).unwrap();
    let history = History::open_unchanging(&odd).unwrap();
    assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
    let beside = std::fs::read_dir(directory.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().is_file())
        .count();
    assert_eq!(beside, 1, "a file was made beside the history");
    // With a log of writes beside it, what the file alone says may be old.
    std::fs::write(directory.path().join("100% mine? #1.db-wal"), "").unwrap();
    assert!(matches!(
        History::open_unchanging(&odd),
        Err(HistoryError::ReadOnly { .. })
    ));
}

#[test]
fn a_record_of_another_form_is_named() {
    let (_directory, path) = place();
    let (mut history, record) = (History::open(&path).unwrap(), golden::no_data());
    keep(&mut history, &record).unwrap();
    history.connection.execute("UPDATE runs SET version = 7", []).unwrap();
    let error = history.load(&record.run.id).unwrap_err().to_string();
    assert!(error.contains("version 7") && error.contains(&record.run.id), "{error}");
    history
        .connection
        .execute("UPDATE runs SET version = 1, head = '{}'", [])
        .unwrap();
    assert!(matches!(history.load(&record.run.id), Err(HistoryError::Record { .. })));
}

/// Names the history to a second process of this test program; its presence says that this is the second one.
const PATH: &str = "EVENTBENCH_STORE_TEST_PATH";
/// A name that tells several second processes apart.
const NAME: &str = "EVENTBENCH_STORE_TEST_NAME";

/// Starts this program again with nothing but the same test, which then finds itself told what to do.
fn second_process(test: &str, path: &Path, name: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::{test}")])
        .env(PATH, path)
        .env(NAME, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the second process was told: the path and its name.
fn told() -> Option<(PathBuf, String)> {
    Some((PathBuf::from(std::env::var(PATH).ok()?), std::env::var(NAME).ok()?))
}

#[test]
fn processes_that_write_at_the_same_time_all_succeed() {
    let record = golden::no_data();
    if let Some((path, name)) = told() {
        for i in 0..10 {
            keep(
                &mut History::open(&path).unwrap(),
                &renamed(&record, &format!("{name}-{i}"), i),
            )
            .unwrap();
        }
        return;
    }
    let (_directory, path) = place();
    let start = |name| second_process("processes_that_write_at_the_same_time_all_succeed", &path, name);
    for mut writer in ["a", "b", "c", "d"].map(start) {
        assert!(writer.wait().unwrap().success());
    }
    let history = History::open_existing(&path).unwrap();
    assert_eq!(history.list(100).unwrap().len(), 40);
    for id in ["a-0", "b-5", "c-9", "d-9"] {
        assert_eq!(
            json(&history.load(id).unwrap()),
            json(&renamed(&record, id, id[2..].parse().unwrap()))
        );
    }
}

#[test]
fn a_crash_loses_only_the_benchmark_under_way() {
    let mut record = golden::interrupted();
    record.run.ended = Ended::Unfinished;
    if let Some((path, _)) = told() {
        let mut history = History::open(&path).unwrap();
        history.begin(&record.run).unwrap();
        history.put(&record.run.id, 0, &record.benchmarks[0]).unwrap();
        // In the middle of the next benchmark's transaction.
        let half = "BEGIN IMMEDIATE; INSERT INTO benchmarks VALUES (1, 1, 'burst', 'pass', '{}');";
        history.connection.execute_batch(half).unwrap();
        std::process::abort();
    }
    let (_directory, path) = place();
    let mut crashed = second_process("a_crash_loses_only_the_benchmark_under_way", &path, "");
    assert!(!crashed.wait().unwrap().success());
    let history = History::open(&path).unwrap();
    let left = history.latest().unwrap();
    record.benchmarks.truncate(1);
    assert_eq!(json(&left), json(&record));
    let summary = &history.list(1).unwrap()[0];
    assert_eq!(
        (summary.verdict, summary.counts.total(), summary.planned),
        (Verdict::Pass, 1, 3)
    );
}

#[test]
fn a_new_history_can_be_opened_by_many_at_the_same_moment() {
    for _ in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let together = std::sync::Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    together.wait();
                    History::open(&path).unwrap();
                });
            }
        });
    }
}
