//! The service in a thread of the test, and waits with a generous limit.

use crate::client::{Response, request};
use eventbench_services::agent::{Agent, Args};
use serde_json::Value;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for anything; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A pause that no test waits for: what comes after it, never comes.
pub const NEVER_MS: u64 = 3_600_000;

/// `CLOCK_MONOTONIC`, which the stamps of the events are of.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// Waits until `holds` says so.
#[allow(clippy::disallowed_methods, reason = "a deadline of the test itself")]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running service with a database of its own.
pub struct Service {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
    _directory: tempfile::TempDir,
}

pub fn args(directory: &tempfile::TempDir, arguments: &[&str]) -> Args {
    use clap::{Args as _, FromArgMatches as _};
    let command = Args::augment_args(clap::Command::new("agent").no_binary_name(true));
    let db = directory.path().join("accounts.db");
    let common = ["--db", db.to_str().unwrap(), "--accounts", "40"];
    // What a test says comes first: an option may be given once.
    let listen = ["--listen", "127.0.0.1:0"];
    let listen = if arguments.contains(&"--listen") {
        &listen[..0]
    } else {
        &listen[..]
    };
    let all = common.iter().chain(listen).chain(arguments);
    Args::from_arg_matches(&command.get_matches_from(all)).unwrap()
}

impl Service {
    pub fn start(arguments: &[&str]) -> Service {
        Service::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub fn start_in(directory: tempfile::TempDir, arguments: &[&str]) -> Service {
        let agent = Agent::bind(args(&directory, arguments)).unwrap();
        let address = agent.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            agent.run_until(stopped).map_err(|error| error.to_string())
        });
        Service {
            address,
            stop: Some(stop),
            thread: Some(thread),
            _directory: directory,
        }
    }

    /// Posts a run as JSON.
    pub fn post(&self, body: &Value) -> Response {
        self.post_with("/api/copilotkit", &[], body)
    }

    /// Posts a run to a path with further headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let mut all = vec![("Content-Type", "application/json"), ("Accept", "text/event-stream")];
        all.extend(headers);
        request(self.address, "POST", path, &all, body.to_string().as_bytes())
    }

    pub fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path, &[], b"")
    }

    /// The value of a metric, named with its labels as the text names it.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.parse().unwrap()
    }

    /// Tells the service to drain, without waiting for its end.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops the service and returns what it says to that.
    pub fn stop(mut self) -> Result<(), String> {
        self.begin_stop();
        self.ended()
    }

    /// Waits for the end of the service.
    pub fn ended(&mut self) -> Result<(), String> {
        let thread = self.thread.take().unwrap();
        until("the service ends", || thread.is_finished());
        thread.join().unwrap()
    }
}
