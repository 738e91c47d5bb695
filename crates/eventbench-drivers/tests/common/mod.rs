//! A real nats-server for tests and benchmarks: found, started on a free
//! loopback port, and stopped with the guard.

// Each test target uses a part of this.
#![allow(dead_code)]
// A test fixture has no host to ask: it reads the environment and starts the
// server itself.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use eventbench_drivers::wire::Endpoint;

/// A running server; killed when dropped.
pub struct NatsServer {
    child: Child,
    pub port: u16,
    log: Option<JoinHandle<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl NatsServer {
    /// Starts a server with these lines in its configuration, and waits until
    /// it says that it is ready.
    pub fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nats.conf");
        std::fs::write(&path, format!("host: 127.0.0.1\nport: -1\n{config}\n")).unwrap();
        let mut child = Command::new(eventbench_testkit::broker::nats_server())
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server can't be started");
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut seen = Vec::new();
        let mut port = None;
        for line in lines.by_ref() {
            if let Some((_, place)) = line.split_once("Listening for client connections on ") {
                port = place.rsplit(':').next().and_then(|port| port.trim().parse().ok());
            }
            let ready = line.contains("Server is ready");
            seen.push(line);
            if ready {
                break;
            }
        }
        let Some(port) = port else {
            panic!("nats-server did not start:\n{}", seen.join("\n"))
        };
        // Its pipe must be emptied, or it would come to a stop.
        let log = std::thread::spawn(move || lines.collect());
        Self {
            child,
            port,
            log: Some(log),
            _directory: directory,
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        if let Some(log) = self.log.take() {
            let lines = log.join().unwrap_or_default();
            if std::thread::panicking() {
                std::io::Write::write_all(&mut std::io::stderr(), lines.join("\n").as_bytes()).unwrap();
            }
        }
    }
}
