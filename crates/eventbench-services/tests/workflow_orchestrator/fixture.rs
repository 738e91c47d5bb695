//! A broker and the services of the workflow system on it, and waits with a generous limit.

use crate::process::Process;
use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use eventbench_services::kit::reply::ErrorReply;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The environment variable that makes a test the process of a service: its name and arguments, separated by line ends.
pub const ARGUMENTS: &str = "EVENTBENCH_TEST_WORKFLOW_SERVICE";

/// Waits until `holds` says so.
#[allow(clippy::disallowed_methods, reason = "a deadline of the test itself")]
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// A nats-server of its own for one test, stopped when dropped.
pub struct Broker {
    process: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Broker {
    #[allow(
        clippy::disallowed_methods,
        reason = "the test starts the broker that the services need"
    )]
    pub async fn start(jetstream: bool) -> Broker {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(eventbench_testkit::broker::nats_server());
        // The server finds a free port by itself and writes it into a file.
        command
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(directory.path());
        if jetstream {
            command.arg("-js").arg("-sd").arg(directory.path().join("jetstream"));
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut broker = Broker {
            process,
            url: String::new(),
            directory,
        };
        let directory = broker.directory.path();
        let url = std::cell::RefCell::new(None);
        until("the broker writes its ports", || async {
            *url.borrow_mut() = port_in(directory);
            url.borrow().is_some()
        })
        .await;
        broker.url = url.take().unwrap();
        broker
    }

    /// Where a file of this test is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub async fn client(&self) -> Client {
        async_nats::connect(&self.url).await.unwrap()
    }

    /// Starts a service and waits until this instance answers.
    pub async fn service(&self, name: &str, instance: &str, arguments: &[&str]) -> Process {
        let common = ["--nats", &self.url, "--instance", instance, "--log", "warn"];
        let all: Vec<&str> = common.into_iter().chain(arguments.iter().copied()).collect();
        let mut process = Process::spawn(name, &all);
        let client = self.client().await;
        let ping = format!("$SRV.PING.{name}.{instance}");
        let has_ended = std::cell::RefCell::new(|| process.has_ended());
        until("the instance answers", || async {
            assert!(!(has_ended.borrow_mut())(), "{name} {instance} has ended");
            client.request(ping.clone(), Bytes::new()).await.is_ok()
        })
        .await;
        process
    }

    /// An orchestrator on the database of this test, so patient that a machine on which nothing runs for seconds makes
    /// no difference; a test that is about impatience says so.
    pub async fn orchestrator(&self, arguments: &[&str]) -> Process {
        let db = self.path("orchestrator.db");
        let patient = [
            ("--db", db.to_str().unwrap()),
            ("--refresh", "50ms"),
            ("--call-timeout", "60s"),
            ("--attempts", "100"),
            ("--stored-limit", "60s"),
            ("--patience", "60s"),
        ];
        let defaults = patient.iter().filter(|(option, _)| !arguments.contains(option));
        let mut all: Vec<&str> = defaults.flat_map(|(option, value)| [*option, *value]).collect();
        all.extend(arguments);
        self.service("orchestrator", "o1", &all).await
    }

    /// A reducer on the database of this test.
    pub async fn reducer(&self) -> Process {
        let db = self.path("reducer.db");
        self.service("reducer", "r1", &["--db", db.to_str().unwrap()]).await
    }

    /// A worker that can do everything.
    pub async fn worker(&self, instance: &str, arguments: &[&str]) -> Process {
        let common = ["--capability", "metadata,tree,hook", "--hook-timeout", "60s"];
        let all: Vec<&str> = common.into_iter().chain(arguments.iter().copied()).collect();
        self.service("worker", instance, &all).await
    }

    /// Waits until the reducer has the stamps of so many workflows, and makes sure that it has none twice.
    pub async fn reduced_to(&self, workflows: usize) {
        let expected = i64::try_from(workflows).unwrap();
        until("the reducer has every stamp", || async {
            self.reduced("SELECT count(DISTINCT tag) FROM stamps") == expected
        })
        .await;
        assert_eq!(self.reduced("SELECT count(*) FROM stamps"), expected);
    }

    /// How many rows a query of the reducer's database counts.
    pub fn reduced(&self, sql: &str) -> i64 {
        let database = rusqlite::Connection::open(self.path("reducer.db")).unwrap();
        database.busy_timeout(LIMIT).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn port_in(directory: &Path) -> Option<String> {
    let mut files = std::fs::read_dir(directory).unwrap().flatten();
    let file = files.find(|file| file.path().extension().is_some_and(|extension| extension == "ports"))?;
    // The file may be there before its content is.
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls a method of the orchestrator: its reply, or the error reply.
pub async fn call(client: &Client, method: &str, parameters: &Value) -> Result<Value, ErrorReply> {
    let reply = call_with(client, method, parameters, HeaderMap::new()).await;
    match ErrorReply::of_reply(reply.headers.as_ref(), &reply.payload) {
        Some(error) => Err(error),
        None => Ok(serde_json::from_slice(&reply.payload).unwrap()),
    }
}

pub async fn call_with(client: &Client, method: &str, parameters: &Value, headers: HeaderMap) -> Message {
    let request = Request::new()
        .payload(parameters.to_string().into())
        .headers(headers)
        .timeout(Some(LIMIT));
    let subject = format!("rpc.orchestrator.{method}");
    client.send_request(subject, request).await.unwrap()
}

/// Runs a workflow and returns its outcome.
pub async fn run(client: &Client, workflow: &Value) -> Value {
    call(client, "run", workflow).await.unwrap()
}

/// The orchestrator's counters.
pub async fn stats(client: &Client) -> Value {
    call(client, "stats", &json!({})).await.unwrap()
}

/// Waits until the orchestrator's router has this instance for each of the usual steps.
pub async fn known(client: &Client, instance: &str) {
    until("the router knows the instance", || async {
        let stats = stats(client).await;
        let instances = stats["instances"].as_array().unwrap().iter();
        instances
            .filter(|known| known["id"] == instance && known["healthy"] == true)
            .count()
            == 3
    })
    .await;
}

/// The hops that make up the way, checked to follow each other without a gap.
pub fn way(outcome: &Value) -> Vec<(String, u64, u64)> {
    let hops: Vec<_> = outcome["hops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hop| hop["within"].is_null())
        .map(|hop| {
            let instant = |name: &str| hop[name].as_u64().unwrap();
            (
                hop["hop"].as_str().unwrap().to_owned(),
                instant("from"),
                instant("until"),
            )
        })
        .collect();
    assert!(hops.iter().all(|(_, from, until)| from <= until), "{hops:?}");
    assert!(hops.windows(2).all(|pair| pair[0].2 == pair[1].1), "a gap: {hops:?}");
    hops
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}
