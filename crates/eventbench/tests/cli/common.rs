//! What the tests share: a directory with a history, the binary with deadlines, suites, and the reading of a run's JSON.

use eventbench_core::stamp::Stamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No run of these tests takes as long.
const LONGEST: Duration = Duration::from_secs(60);

/// Held by each test that loads the machine, so that they run one at a time.
pub fn load() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed while it held the lock says nothing of the next one.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in which the binary runs, with its history, its temporary files and its reports.
pub struct Place {
    dir: tempfile::TempDir,
}

/// How the binary ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Asserts the exit code; shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Asserts that standard error holds each text, wherever its lines are broken.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Ran {
        let flat = flat(&self.err);
        for text in texts {
            assert!(
                flat.contains(&crate::common::flat(text)),
                "{text:?} is not in\n{}",
                self.err
            );
        }
        self
    }
}

/// A text without the decoration of an error report, its words one space apart.
pub fn flat(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || "│×╭╰─·".contains(c))
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("eb").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn history(&self) -> PathBuf {
        self.path("history.db")
    }

    /// A command of this directory: its history, its own temporary files, and nothing of the tester's environment that
    /// would change what is said or judged.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env("TMPDIR", self.path("tmp"))
            .env("EVENTBENCH_HISTORY", self.history());
        command.env("EVENTBENCH_NATS_SERVER", eventbench_testkit::broker::nats_server());
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "RUST_LOG"] {
            command.env_remove(name);
        }
        // These tests may themselves be run there.
        for name in [
            "CI",
            "GITHUB_ACTIONS",
            "GITHUB_STEP_SUMMARY",
            "EVENTBENCH_PROFILE",
            "EVENTBENCH_BASELINE",
            "EVENTBENCH_PLACEMENT",
        ] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("BENCHMARK_")) {
            command.env_remove(name);
        }
        command
    }

    /// The binary with these arguments and this directory's history.
    pub fn tool(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_eventbench"));
        command.args(args).arg("--history").arg(self.history());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.finish(self.tool(args))
    }

    /// Runs a command to its end.
    pub fn finish(&self, command: Command) -> Ran {
        Running::start(self, command).wait()
    }

    /// Runs one suite, written to a file, and gives what became of it with the JSON of its record.
    pub fn measure(&self, suite: &str) -> (Ran, Value) {
        self.write("suite.toml", suite);
        let ran = self.run(&["run", "suite.toml", "-o", "json=run.json"]);
        let json = serde_json::from_str(&self.read("run.json"))
            .unwrap_or_else(|e| panic!("no JSON ({e})\n--- stdout\n{}\n--- stderr\n{}", ran.out, ran.err));
        (ran, json)
    }

    /// What is left of temporary files.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.path("tmp"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect()
    }
}

/// The binary at work; killed when dropped.
pub struct Running {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts a command with its output in files, which never fill up as a pipe does.
    pub fn start(place: &Place, mut command: Command) -> Running {
        let unique = tempfile::Builder::new()
            .prefix("said-")
            .tempdir_in(place.dir.path())
            .unwrap()
            .keep();
        let (out, err) = (unique.join("out"), unique.join("err"));
        command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        Running {
            child: command.spawn().unwrap(),
            out,
            err,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(pid(self.pid()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let mut status = None;
        let ended = within(LONGEST, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let said = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let (out, err) = (said(&self.out), said(&self.err));
        assert!(
            ended,
            "still running after {LONGEST:?}\n--- stdout\n{out}\n--- stderr\n{err}"
        );
        Ran {
            code: status.unwrap().code(),
            out,
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a condition comes true in time; asked again and again.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn pid(id: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// A process that another has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub pid: u32,
    pub name: String,
    begun: String,
}

/// The processes that `parent` has started and that live.
pub fn children(parent: u32) -> Vec<Started> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|e| e.file_name().to_string_lossy().parse().ok());
    pids.filter_map(|pid: u32| look(pid).filter(|(p, _)| *p == parent).map(|(_, started)| started))
        .collect()
}

/// Whether it still lives: the same process, and not only its exit status.
pub fn lives(process: &Started) -> bool {
    look(process.pid).is_some_and(|(_, now)| now.begun == process.begun)
}

/// Parent and identity of a living process (`/proc/PID/stat`, fields 2, 3, 4 and 22).
fn look(pid: u32) -> Option<(u32, Started)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    if ["Z", "X"].contains(fields.first()?) {
        return None;
    }
    Some((
        fields.get(1)?.parse().ok()?,
        Started {
            pid,
            name,
            begun: (*fields.get(19)?).to_owned(),
        },
    ))
}

/// The head of every suite here: a loaded test machine must not make a run invalid, since no test is about its speed.
pub const HEAD: &str = "[suite]\nname = \"t\"\nmax_lateness = \"10s\"\nmax_spread = \"1000%\"\n[broker.nats]\n";

/// Publishing chat messages, as the event store stores them.
pub const CHAT: &str = r#"drive = { driver = "nats", subject = "bus.chat.message", payload = '{"username":"u{int:0..9}","msg":"{stamp}","time":{now_ms}}' }"#;

/// A suite with the event store, its database at a place that outlives the run, and one benchmark.
pub struct StoreSuite<'a> {
    pub place: &'a Place,
    /// More arguments of the store.
    pub store: &'a [&'a str],
    /// `drive = …`, if not chat messages.
    pub drive: &'a str,
    /// What stands in `load = { … }`.
    pub load: &'a str,
    /// More lines of the benchmark, such as its limits.
    pub more: &'a str,
}

impl StoreSuite<'_> {
    pub fn text(&self) -> String {
        let db = self.place.path("events.db").display().to_string();
        let more: String = self.store.iter().map(|arg| format!(", {arg:?}")).collect();
        let (drive, load, rest) = (self.drive, self.load, self.more);
        format!(
            r#"{HEAD}
[service.store]
run = ["{{self}}", "service", "event-store", "--nats", "{{broker.nats.url}}", "--db", {db:?}, "--log", "warn"{more}]
ready = {{ subject = "bus.health" }}

[[benchmark]]
name = "one"
trials = 1
{drive}
observe = {{ driver = "sqlite", path = {db:?}, query = "SELECT id, msg FROM messages WHERE id > :last ORDER BY id" }}
load = {{ {load} }}
{rest}
"#
        )
    }
}

/// The stored messages: row id and the stamp in the text, read from the database by a connection of our own.
pub fn stored(place: &Place) -> BTreeMap<i64, Stamp> {
    let database = rusqlite::Connection::open(place.path("events.db")).unwrap();
    let mut query = database.prepare("SELECT id, msg FROM messages").unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .unwrap();
    rows.map(|row| {
        let (id, text) = row.unwrap();
        (
            id,
            Stamp::decode(text.as_bytes()).unwrap_or_else(|| panic!("no stamp in {text:?}")),
        )
    })
    .collect()
}

/// The benchmark of that name.
#[track_caller]
pub fn benchmark<'a>(json: &'a Value, name: &str) -> &'a Value {
    json["benchmarks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|b| b["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {json:#}"))
}

/// The value of a figure without tags of the benchmark "one".
#[track_caller]
pub fn figure(json: &Value, metric: &str, stat: &str) -> f64 {
    let figures = benchmark(json, "one")["figures"].as_array().unwrap();
    let found = figures
        .iter()
        .find(|f| f["metric"] == metric && f["stat"] == stat && f.get("tags").is_none());
    found
        .and_then(|f| f["value"].as_f64())
        .unwrap_or_else(|| panic!("no {stat} of {metric} in {figures:#?}"))
}

/// A number of the books of the first trial of "one".
#[track_caller]
pub fn books(json: &Value, field: &str) -> u64 {
    let total = &benchmark(json, "one")["trials"][0]["ledger"]["total"];
    total[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {total:#}"))
}

/// Asserts that every cross-check of the instrument holds.
#[track_caller]
pub fn checks_hold(json: &Value) {
    let checks = benchmark(json, "one")["checks"].as_array().unwrap();
    assert!(checks.iter().all(|c| c["holds"] == true), "{checks:#?}");
}
