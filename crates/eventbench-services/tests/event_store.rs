//! The event store against a real broker and a real database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy takes only functions with #[test] for tests"
)]

use eventbench_services::event_store::{Args, run_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for anything; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for one answer; a request may meet a service that is just ending.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A nats-server of its own for one test, stopped when dropped.
struct Broker {
    process: Child,
    port: u16,
}

impl Broker {
    #[allow(
        clippy::disallowed_methods,
        reason = "the test starts the broker that the service needs"
    )]
    fn start(directory: &Path) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(eventbench_testkit::broker::nats_server())
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(directory.join("jetstream"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Broker { process, port };
        until("the broker listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        broker
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a deadline of the test itself")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The service in a thread of this process.
struct Service {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
    db: PathBuf,
}

impl Service {
    fn start(db: PathBuf, arguments: &[&str]) -> Service {
        let args = parse(&db, arguments);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            run_until(args, stopped).map_err(|error| error.to_string())
        });
        Service {
            stop: Some(stop),
            thread: Some(thread),
            db,
        }
    }

    fn stop(&mut self) -> Result<(), String> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }

    fn count(&self, sql: &str) -> i64 {
        rusqlite::Connection::open(&self.db)
            .unwrap()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }
}

fn parse(db: &Path, arguments: &[&str]) -> Args {
    use clap::{Args as _, FromArgMatches as _};
    let command = Args::augment_args(clap::Command::new("event-store").no_binary_name(true));
    let matches = command.get_matches_from(
        ["--db", db.to_str().unwrap()]
            .into_iter()
            .chain(arguments.iter().copied()),
    );
    Args::from_arg_matches(&matches).unwrap()
}

/// A client that speaks the wire protocol itself, so that the test shares nothing with the service.
struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    inbox: String,
}

impl Client {
    fn connect(broker: &Broker) -> Client {
        let writer = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
        writer.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let inbox = format!("_INBOX.test{}", writer.local_addr().unwrap().port());
        let mut client = Client { reader, writer, inbox };
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB {}.> 1\r\n",
            client.inbox
        );
        client.writer.write_all(hello.as_bytes()).unwrap();
        client.sync();
        client
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) {
        let mut frame = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        frame.extend_from_slice(payload);
        frame.extend_from_slice(b"\r\n");
        self.writer.write_all(&frame).unwrap();
    }

    fn chat(&mut self, numbers: std::ops::Range<usize>) {
        let mut frames = Vec::new();
        for n in numbers {
            let payload = chat(n);
            frames.extend_from_slice(format!("PUB bus.chat.message {}\r\n{payload}\r\n", payload.len()).as_bytes());
        }
        self.writer.write_all(&frames).unwrap();
    }

    /// Returns once the server has taken everything sent so far.
    fn sync(&mut self) {
        self.writer.write_all(b"PING\r\n").unwrap();
        until("the broker answers PING", || self.line().as_deref() == Some("PONG"));
    }

    /// `None`: nothing came within the time that an answer takes at most.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(_) => {}
            Err(error) if line.is_empty() && error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error} after {line:?}"),
        }
        assert!(!line.starts_with("-ERR"), "{line}");
        Some(line.trim_end().to_owned())
    }

    /// `None`: nobody listens there, or who did has gone without an answer.
    fn request(&mut self, subject: &str, payload: &str) -> Option<Value> {
        let frame = format!("PUB {subject} {}.1 {}\r\n{payload}\r\n", self.inbox, payload.len());
        self.writer.write_all(frame.as_bytes()).unwrap();
        loop {
            let line = self.line()?;
            if line.starts_with("HMSG") {
                return None;
            }
            if let Some(header) = line.strip_prefix("MSG ") {
                let bytes: usize = header.rsplit(' ').next().unwrap().parse().unwrap();
                let mut body = vec![0; bytes + 2];
                std::io::Read::read_exact(&mut self.reader, &mut body).unwrap();
                return Some(serde_json::from_slice(&body[..bytes]).unwrap());
            }
        }
    }

    fn wait_ready(&mut self) {
        until("the service answers bus.health", || {
            self.request("bus.health", "").is_some()
        });
    }

    fn wait_stored(&mut self, events: u64) -> Value {
        let mut stats = Value::Null;
        until("the events are stored", || {
            stats = self.request("bus.query.stats", "").unwrap_or_default();
            stats["stored"].as_u64() >= Some(events)
        });
        stats
    }
}

fn chat(n: usize) -> String {
    format!(r#"{{"username":"user{}","msg":"m{n}","time":{n}}}"#, n % 100)
}

#[test]
fn every_type_of_event_becomes_a_row_and_bad_ones_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let log = directory.path().join("commits.log");
    let arguments = [
        "--nats",
        &broker.url(),
        "--commit-log",
        log.to_str().unwrap(),
        "--max-payload",
        "1000",
    ];
    let mut service = Service::start(directory.path().join("events.db"), &arguments);
    let mut client = Client::connect(&broker);
    client.wait_ready();
    let health = client.request("bus.health", "").unwrap();
    assert_eq!((&health["status"], &health["mode"]), (&json!("ok"), &json!("nats")));

    client.chat(0..5_000);
    for (subject, payload) in [
        ("bus.user.joined", r#"{"username":"new","time":1,"msg":"mark"}"#),
        ("bus.user.left", r#"{"username":"new","time":2}"#),
        (
            "bus.media.played",
            r#"{"title":"t","username":"user1","duration_s":12.5,"time":3}"#,
        ),
        (
            "bus.pm.command",
            r#"{"username":"user1","command":"kick","args":["bob"],"time":4}"#,
        ),
        ("bus.stats.users", r#"{"count":17,"time":5}"#),
        ("bus.chat.message", "{"),
        ("bus.chat.message", r#"{"username":"u"}"#),
        ("bus.chat.nonsense", "{}"),
    ] {
        client.publish(subject, payload.as_bytes());
    }
    client.publish("bus.chat.message", &[b' '; 1_001]);
    let stats = client.wait_stored(5_005);
    for (field, expected) in [
        ("messages", 5_000),
        ("users", 101),
        ("user_actions", 2),
        ("media", 1),
        ("pm_commands", 1),
        ("received", 5_008),
        ("stored", 5_005),
        ("malformed", 3),
        ("unknown_subject", 1),
        ("failed", 0),
        ("queue_depth", 0),
    ] {
        assert_eq!(stats[field], json!(expected), "{field} in {stats}");
    }
    assert_eq!(stats["high_water"], json!({ "count": 17, "time": 5 }));
    let recent = client.request("bus.query.recent", r#"{"limit":1}"#).unwrap();
    assert_eq!(recent["messages"][0]["msg"], json!("m4999"));
    let error = client.request("bus.query.recent", r#"{"limit":1000}"#).unwrap();
    assert!(error["error"].is_string(), "{error}");

    service.stop().unwrap();
    assert_eq!(service.count("SELECT count(DISTINCT msg) FROM messages"), 5_000);
    assert_eq!(service.count("SELECT count(*) FROM user_actions WHERE msg = 'mark'"), 1);
    let logged: i64 = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>())
        .filter(|fields| fields[1] == "messages")
        .map(|fields| fields[3].parse::<i64>().unwrap() - fields[2].parse::<i64>().unwrap() + 1)
        .sum();
    assert_eq!(logged, 5_000, "the commit log accounts for every row");
}

#[test]
fn counters_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let db = directory.path().join("events.db");
    let mut client = Client::connect(&broker);
    for round in 1..=2 {
        let mut service = Service::start(db.clone(), &["--nats", &broker.url()]);
        client.wait_ready();
        client.chat(0..100);
        let stats = client.wait_stored(100);
        assert_eq!(
            (&stats["messages"], &stats["users"]),
            (&json!(100 * round), &json!(100))
        );
        service.stop().unwrap();
    }
}

#[test]
fn a_member_that_leaves_the_queue_group_under_load_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let mut stays = Service::start(directory.path().join("a.db"), &["--nats", &broker.url()]);
    let mut client = Client::connect(&broker);
    client.wait_ready();
    const EVENTS: usize = 10_000;
    for round in 0..4 {
        // Both are members once each has been seen to answer.
        let mut leaves = Service::start(
            directory.path().join(format!("b{round}.db")),
            &["--nats", &broker.url()],
        );
        let mut answered = std::collections::HashSet::new();
        until("both members answer", || {
            answered.insert(client.request("bus.health", "").unwrap()["db"].to_string());
            answered.len() == 2
        });
        let publisher = std::thread::spawn({
            let mut client = Client::connect(&broker);
            move || {
                // About 20,000 events a second: the load, not a wait.
                for first in (0..EVENTS).step_by(20) {
                    client.chat(first..first + 20);
                    std::thread::sleep(Duration::from_millis(1));
                }
                client.sync();
            }
        });
        until("the member that leaves has stored some", || {
            leaves.db.exists()
                && leaves.count("SELECT count(*) FROM sqlite_master WHERE name = 'messages'") == 1
                && leaves.count("SELECT count(*) FROM messages") > 500
        });
        leaves.stop().unwrap();
        publisher.join().unwrap();
        let left = leaves.count("SELECT count(*) FROM messages");
        let expected = (round + 1) * EVENTS as i64;
        let others: i64 = (0..round)
            .map(|earlier| {
                let db = rusqlite::Connection::open(directory.path().join(format!("b{earlier}.db"))).unwrap();
                db.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0))
                    .unwrap()
            })
            .sum();
        let stored = |service: &Service| service.count("SELECT count(*) FROM messages") + left + others;
        until(&format!("{expected} events are stored, {} are", stored(&stays)), || {
            stored(&stays) == expected
        });
    }
    stays.stop().unwrap();
}

#[test]
fn a_stop_under_flood_stores_all_that_was_received() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let db = directory.path().join("events.db");
    // A slow writer and a short queue: at the stop, events wait in the queue, in the client and in the socket.
    let arguments = [
        "--nats",
        &broker.url(),
        "--slow",
        "20us",
        "--queue-depth",
        "100",
        "--batch-count",
        "10",
    ];
    let mut service = Service::start(db, &arguments);
    let mut client = Client::connect(&broker);
    client.wait_ready();
    client.chat(0..20_000);
    client.sync();
    client.wait_stored(100);
    service.stop().unwrap();
    assert_eq!(service.count("SELECT count(*) FROM messages"), 20_000);
}

#[test]
fn jetstream_stores_what_was_published_while_the_service_was_away() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let db = directory.path().join("events.db");
    let arguments = ["--nats", &broker.url(), "--jetstream", "--ack-wait", "1s"];
    let mut client = Client::connect(&broker);

    let mut service = Service::start(db.clone(), &arguments);
    client.wait_ready();
    client.chat(0..3_000);
    client.publish("bus.chat.message", b"never an event");
    client.wait_stored(3_000);
    service.stop().unwrap();
    client.chat(3_000..6_000);

    let mut service = Service::start(db, &arguments);
    let stats = client.wait_stored(3_000);
    assert_eq!((&stats["messages"], &stats["redelivered"]), (&json!(6_000), &json!(0)));
    service.stop().unwrap();
    assert_eq!(service.count("SELECT count(*) FROM messages"), 6_000);
    assert_eq!(service.count("SELECT count(DISTINCT msg) FROM messages"), 6_000);
}

#[test]
fn jetstream_delivers_again_what_could_not_be_committed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let db = directory.path().join("events.db");
    let arguments = ["--nats", &broker.url(), "--jetstream", "--ack-wait", "3s"];
    let mut service = Service::start(db.clone(), &arguments);
    let mut client = Client::connect(&broker);
    client.wait_ready();
    let other = rusqlite::Connection::open(&db).unwrap();
    other.busy_timeout(LIMIT).unwrap();
    other
        .execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    client.chat(0..50);
    until("the batch is given up", || {
        client.request("bus.query.stats", "").unwrap()["failed"] == json!(50)
    });
    assert_eq!(client.request("bus.health", "").unwrap()["status"], json!("degraded"));
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    let stats = client.wait_stored(50);
    assert_eq!(stats["redelivered"], json!(50));
    assert_eq!(client.request("bus.health", "").unwrap()["status"], json!("ok"));
    service.stop().unwrap();
    assert_eq!(service.count("SELECT count(DISTINCT msg) FROM messages"), 50);
}

#[test]
fn queries_do_not_wait_for_a_locked_database() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path());
    let db = directory.path().join("events.db");
    let mut service = Service::start(db.clone(), &["--nats", &broker.url()]);
    let mut client = Client::connect(&broker);
    client.wait_ready();
    client.chat(0..10);
    client.wait_stored(10);
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    client.chat(10..20);
    let recent = client.request("bus.query.recent", "{}").unwrap();
    assert_eq!(recent["messages"].as_array().unwrap().len(), 10, "committed rows only");
    until("the first attempt to commit has failed", || {
        client.request("bus.query.stats", "").unwrap()["commit_errors"].as_u64() > Some(0)
    });
    other.execute_batch("ROLLBACK").unwrap();
    client.wait_stored(20);
    service.stop().unwrap();
}

#[test]
fn direct_mode_stores_at_the_due_time_and_answers() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("direct.sock");
    let log = directory.path().join("commits.log");
    let arguments = [
        "--direct",
        socket.to_str().unwrap(),
        "--commit-log",
        log.to_str().unwrap(),
        "--batch-count",
        "1",
    ];
    let mut service = Service::start(directory.path().join("events.db"), &arguments);
    until("the socket is there", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |stream: &mut UnixStream, subject: &str, payload: &str| -> Value {
        write!(stream, "query {subject} {}\n{payload}\n", payload.len()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(ask(&mut stream, "bus.health", "")["mode"], json!("direct"));

    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let due_ns: Vec<u64> = (0..50).map(|n| now_ns + n * 2_000_000).collect();
    let mut frames = String::new();
    for (n, due_ns) in due_ns.iter().enumerate() {
        let payload = chat(n);
        frames += &format!("{due_ns} bus.chat.message {}\n{payload}\n", payload.len());
    }
    // Not due within the life of this test: read ahead, never handed over.
    frames += &format!("{} bus.chat.message 2\n{{}}\n", u64::MAX);
    stream.write_all(frames.as_bytes()).unwrap();
    let mut stats = Value::Null;
    until("the events are stored", || {
        stats = ask(&mut stream, "bus.query.stats", "");
        stats["stored"] == json!(50)
    });
    assert_eq!((&stats["messages"], &stats["received"]), (&json!(50), &json!(50)));
    assert!(ask(&mut stream, "bus.query.none", "")["error"].is_string());
    service.stop().unwrap();
    assert!(!socket.exists(), "the socket is removed");
    let committed_ns: Vec<u64> = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| line.split('\t').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(committed_ns.len(), 50);
    for (committed_ns, due_ns) in committed_ns.iter().zip(&due_ns) {
        assert!(committed_ns >= due_ns, "committed before it was due");
    }
}

#[test]
fn a_frame_that_cannot_be_read_is_answered_and_ends_only_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("direct.sock");
    let mut service = Service::start(
        directory.path().join("events.db"),
        &["--direct", socket.to_str().unwrap()],
    );
    until("the socket is there", || UnixStream::connect(&socket).is_ok());
    for bad in ["nonsense\n", "1 a 99999999999\n", "1 bus.chat.message 2\n{}x"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(bad.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(
            serde_json::from_str::<Value>(&line).unwrap()["error"].is_string(),
            "{line}"
        );
    }
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"query bus.health 0\n\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["status"], json!("ok"));
    service.stop().unwrap();
}

#[test]
fn metrics_and_health_are_served_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("direct.sock");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = [
        "--direct",
        socket.to_str().unwrap(),
        "--metrics-port",
        &port.to_string(),
    ];
    let mut service = Service::start(directory.path().join("events.db"), &arguments);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        std::io::read_to_string(stream).ok()
    };
    until("the port answers", || get("/health").is_some());
    assert!(get("/health").unwrap().contains(r#""status":"ok""#));
    assert!(
        get("/metrics")
            .unwrap()
            .contains("event_store_events_stored_total{type=\"chat_message\"} 0")
    );
    service.stop().unwrap();
}

#[test]
fn a_start_that_cannot_succeed_says_what_to_do_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("nats://127.0.0.1:{port}");
    let absent = Service::start(directory.path().join("a.db"), &["--nats", &url])
        .thread
        .unwrap()
        .join()
        .unwrap();
    let absent = absent.unwrap_err();
    assert!(absent.contains(&url) && absent.contains("nats-server -p"), "{absent}");
    assert!(!absent.contains('\n'), "{absent}");

    let db = directory.path().join("b.db");
    drop(rusqlite::Connection::open(&db).unwrap());
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("CREATE TABLE x(y); BEGIN IMMEDIATE").unwrap();
    let locked = Service::start(db, &["--nats", &url])
        .thread
        .unwrap()
        .join()
        .unwrap()
        .unwrap_err();
    assert!(locked.contains("another process holds its lock"), "{locked}");
}
