//! A server that follows a script on real sockets, and a lane that asks it.

// Each test target uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use eventbench_core::arrival::{Arrival, Closed, Schedule};
use eventbench_core::host::{Clock, monotonic_ns};
use eventbench_core::lane::{Lane, LaneSpec};
use eventbench_core::metric::{MetricValue, definition};
use eventbench_core::observe::{Latency, Window};
use eventbench_core::plan::Settings;
use eventbench_core::record::Cause;
use eventbench_core::ticket::{Outcome, Tally};
use eventbench_core::trial::{Signals, Trial, Variables};
use eventbench_drivers::REGISTRY;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Nothing here takes so long unless it is broken.
pub const LONG: Duration = Duration::from_secs(60);

/// A server; it takes no more connections once dropped.
pub struct Served {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Served {
    /// Runs the script on every connection, in a thread each, with the number of the connection.
    pub fn new(script: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped, script) = (connections.clone(), stop.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(socket) = socket else { continue };
                socket.set_read_timeout(Some(LONG)).unwrap();
                socket.set_write_timeout(Some(LONG)).unwrap();
                socket.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                std::thread::spawn(move || script(number, socket));
            }
        });
        Served {
            address,
            connections,
            stop,
        }
    }

    /// Answers every request of every connection, with the number of the request on all of them.
    pub fn answering(answer: impl Fn(usize, &Request, &mut TcpStream) + Send + Sync + 'static) -> Served {
        let asked = AtomicUsize::new(0);
        Served::new(move |_, mut socket| {
            while let Some(request) = Request::read(&mut socket) {
                answer(asked.fetch_add(1, Ordering::SeqCst), &request, &mut socket);
            }
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// A URL at which nobody answers, as long as the port is kept: bound, so that nobody else gets it, and not listened at.
pub fn nobody() -> (std::os::fd::OwnedFd, String) {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, format!("http://{address}"))
}

/// A request as the server reads it.
pub struct Request {
    pub head: String,
    pub body: String,
}

impl Request {
    /// The next one; `None` when the connection has ended.
    pub fn read(stream: &mut impl Read) -> Option<Request> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
        stream.read_exact(&mut body).ok()?;
        Some(Request {
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// A text of the body's JSON.
    pub fn text(&self, key: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body[key].as_str().unwrap().to_owned()
    }
}

/// A whole response with a body.
pub fn respond(socket: &mut impl Write, status: &str, headers: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let _ = socket.write_all((head + body).as_bytes());
}

/// The head of a stream.
pub const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A run of AG-UI for a request, one event an item. Every event says when it was made.
pub fn run_of(request: &Request) -> Vec<String> {
    let (thread, run) = (request.text("threadId"), request.text("runId"));
    let mut events = vec![
        format!(r#""type":"RUN_STARTED","threadId":"{thread}","runId":"{run}""#),
        r#""type":"STATE_SNAPSHOT","snapshot":{"step":0}"#.to_owned(),
        r#""type":"STEP_STARTED","stepName":"look""#.to_owned(),
        r#""type":"TEXT_MESSAGE_START","messageId":"m1","role":"assistant""#.to_owned(),
    ];
    for n in 0..8 {
        events.push(format!(
            r#""type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"word {n} é""#
        ));
    }
    events.extend(
        [
            r#""type":"TEXT_MESSAGE_END","messageId":"m1""#,
            r#""type":"TOOL_CALL_START","toolCallId":"c1","toolCallName":"score""#,
            r#""type":"TOOL_CALL_ARGS","toolCallId":"c1","delta":"{\"account\":7}""#,
            r#""type":"TOOL_CALL_END","toolCallId":"c1""#,
            r#""type":"TOOL_CALL_RESULT","messageId":"m2","toolCallId":"c1","content":"0.5""#,
            r#""type":"STATE_DELTA","delta":[{"op":"replace","path":"/step","value":1}]"#,
            r#""type":"STEP_FINISHED","stepName":"look""#,
        ]
        .map(str::to_owned),
    );
    events.push(format!(
        r#""type":"RUN_FINISHED","threadId":"{thread}","runId":"{run}""#
    ));
    events
}

/// An event on the wire, made now.
pub fn event(fields: &str) -> String {
    format!("data: {{{fields},\"emitNs\":{}}}\n\n", monotonic_ns())
}

/// Streams a run, one chunk an event, and its end.
pub fn stream(socket: &mut impl Write, events: &[String]) {
    let mut bytes = STREAM.to_vec();
    for fields in events {
        bytes.extend_from_slice(&chunk(event(fields).as_bytes()));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let _ = socket.write_all(&bytes);
}

/// Settings of a driver that asks for runs.
pub fn runs(url: &str, more: &str) -> String {
    format!(
        r#"driver = "sse"
url = "{url}"
path = "/api/copilotkit"
protocol = "ag-ui"
body = '{{"threadId":"t{{stream}}","runId":"r{{seq}}","messages":[],"tools":[],"context":[]}}'
{more}"#
    )
}

/// What came of a lane.
pub struct Came {
    pub tally: Tally,
    pub values: BTreeMap<String, MetricValue>,
    pub causes: Vec<Cause>,
    pub lane: Lane,
}

impl Came {
    /// Acked, rejected, timed out, disconnected.
    pub fn ends(&self) -> [u64; 4] {
        [
            Outcome::Acked,
            Outcome::Rejected,
            Outcome::TimedOut,
            Outcome::Disconnected,
        ]
        .map(|o| self.tally.count(o))
    }

    /// The only cause, with its example.
    pub fn cause(&self) -> (&str, &str) {
        let [cause] = self.causes.as_slice() else {
            panic!("{:?}", self.causes)
        };
        (&cause.cause, &cause.example)
    }

    pub fn count(&self, key: &str) -> u64 {
        match self.values.get(key) {
            Some(MetricValue::Count(n)) => *n,
            None => 0,
            other => panic!("{key}: {other:?}"),
        }
    }

    pub fn times(&self, key: &str) -> &Latency {
        match self.values.get(key) {
            Some(MetricValue::Latency(times)) => times,
            other => panic!("{key}: {other:?} of {:?}", self.values.keys()),
        }
    }
}

/// So many at a time in a closed loop until so many have ended.
pub fn closed(settings: &str, workers: u32, events: u64) -> Came {
    let arrival = Arrival::Closed(Closed {
        workers,
        duration_ns: LONG.as_nanos() as u64,
    });
    drive(settings, Schedule::new(arrival, 0, Some(events)))
}

/// Drives one lane through a schedule.
pub fn drive(settings: &str, schedule: Schedule) -> Came {
    let trial = Trial {
        number: 1,
        seed: 1,
        epoch_ms: 0,
        clock: Clock::Monotonic,
        variables: Variables::default(),
        connections: 1,
        lanes: 1,
        name: "test".into(),
    };
    let settings = Settings::from_table(settings.parse().unwrap());
    let def = REGISTRY.driver(settings.text("driver").unwrap()).unwrap();
    let settings = settings.without("driver");
    (def.check)(&settings).unwrap();
    let driver = (def.open)(&settings, &trial).unwrap();
    let mut session = driver.session(&trial, 0).unwrap();
    let start_ns = Clock::Monotonic.now_ns();
    let window = Window {
        start_ns,
        measure_from_ns: start_ns,
        measure_until_ns: start_ns + schedule.duration_ns(),
    };
    let spec = LaneSpec {
        id: 0,
        schedule,
        window,
        streams: driver.streams().into_iter().map(|s| s.name).collect(),
        deadline_ns: window.measure_until_ns + LONG.as_nanos() as u64,
        settles_response: true,
        promises_delivery: true,
    };
    let mut lane = Lane::new(spec, &trial, Arc::new(Signals::default()));
    session.drive(&mut lane).unwrap();
    let mut values = BTreeMap::new();
    for (key, value) in session.measures() {
        assert!(definition(&key.metric).is_some(), "{key} is in no table");
        values.insert(key.to_string(), value);
    }
    for (metric, n) in session.extras() {
        assert!(definition(metric).is_some(), "{metric} is in no table");
        values.insert(metric.to_owned(), MetricValue::Count(n));
    }
    let causes = session.causes();
    let tally = lane.measured.clone();
    assert_eq!(tally.abandoned(), 0, "{causes:?}");
    assert_eq!(
        causes.total(),
        tally.offered - tally.count(Outcome::Acked),
        "every failure has its cause"
    );
    assert_eq!(lane.in_flight(), 0);
    Came {
        tally,
        values,
        causes: causes.record(start_ns),
        lane,
    }
}
