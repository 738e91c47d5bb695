//! What reading streams costs over counting their bytes: runs of twenty events at full speed, small responses, and many
//! streams held open, from a server in a process of its own. The variants alternate (A B B A), so that a machine that
//! slows down does not favour either.

// A benchmark prints its figures, starts its server, and reads its own clock.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod floor;
mod runs;

use eventbench_core::arrival::{Arrival, Closed, Constant, Schedule};
use eventbench_core::host::{Clock, precise_timers};
use eventbench_core::lane::{Lane, LaneSpec};
use eventbench_core::metric::MetricValue;
use eventbench_core::observe::Window;
use eventbench_core::plan::Settings;
use eventbench_core::ticket::Outcome;
use eventbench_core::trial::{Signals, Trial, Variables};
use eventbench_drivers::REGISTRY;
use floor::{interleaved, median, thread_cpu_s};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 100;
const RUNS: u64 = 150_000;
const RESPONSES: u64 = 500_000;

/// Per second, CPU seconds of the client's thread for a thousand.
type Speed = (f64, f64);

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--serve")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Server {
            child,
            port: line.trim().parse().unwrap(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Driven {
    lane: Lane,
    values: BTreeMap<String, MetricValue>,
    seconds: f64,
    cpu_s: f64,
}

fn drive(settings: &str, arrival: Arrival, events: Option<u64>) -> Driven {
    let trial = Trial {
        number: 1,
        seed: 1,
        epoch_ms: 0,
        clock: Clock::Monotonic,
        variables: Variables::default(),
        connections: 1,
        lanes: 1,
        name: "bench".into(),
    };
    let settings = Settings::from_table(settings.parse().unwrap());
    let name = settings.text("driver").unwrap().to_owned();
    let driver = (REGISTRY.driver(&name).unwrap().open)(&settings.without("driver"), &trial).unwrap();
    let mut session = driver.session(&trial, 0).unwrap();
    let schedule = Schedule::new(arrival, 0, events);
    let start_ns = Clock::Monotonic.now_ns() + 1_000_000;
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
        deadline_ns: window.measure_until_ns + 60_000_000_000,
        settles_response: true,
        promises_delivery: true,
    };
    let mut lane = Lane::new(spec, &trial, Arc::new(Signals::default()));
    let driven = std::thread::spawn(move || {
        precise_timers();
        Clock::Monotonic.sleep_until(start_ns);
        let cpu_s = thread_cpu_s();
        session.drive(&mut lane).unwrap();
        let cpu_s = thread_cpu_s() - cpu_s;
        let seconds = (Clock::Monotonic.now_ns() - start_ns) as f64 / 1e9;
        let causes = session.causes();
        assert_eq!(causes.total(), 0, "{causes:?}");
        Driven {
            lane,
            values: session
                .measures()
                .into_iter()
                .map(|(k, v)| (k.to_string(), v))
                .collect(),
            seconds,
            cpu_s,
        }
    });
    driven.join().unwrap()
}

fn closed(settings: &str, count: u64) -> Speed {
    let arrival = Arrival::Closed(Closed {
        workers: CONNECTIONS as u32,
        duration_ns: 120_000_000_000,
    });
    let driven = drive(settings, arrival, Some(count));
    assert_eq!(driven.lane.measured.count(Outcome::Acked), count);
    (count as f64 / driven.seconds, driven.cpu_s / (count as f64 / 1e3))
}

fn counted(port: u16, request: &[u8], count: u64) -> Speed {
    let cpu_s = thread_cpu_s();
    let seconds = runs::count_bytes(port, request, CONNECTIONS, count);
    (count as f64 / seconds, (thread_cpu_s() - cpu_s) / (count as f64 / 1e3))
}

fn compare(what: &str, count: u64, floor: impl Fn() -> Speed, own: impl Fn() -> Speed) {
    let (floors, owns) = interleaved(ROUNDS, floor, own);
    let middle = |speeds: &[Speed], part: fn(&Speed) -> f64| median(&mut speeds.iter().map(part).collect::<Vec<_>>());
    let (a, b) = (middle(&floors, |s| s.0), middle(&owns, |s| s.0));
    let (a_cpu, b_cpu) = (middle(&floors, |s| s.1), middle(&owns, |s| s.1));
    println!(
        "{what:<24} {a:>12.0} {b:>12.0} {:>7.3}   {a_cpu:.4} {b_cpu:.4}   (medians of {} runs of {count})",
        b / a,
        floors.len()
    );
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

fn main() {
    if std::env::args().any(|argument| argument == "--serve") {
        return runs::serve();
    }
    // Cargo runs benchmarks as tests too; there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = Server::start();
    let url = format!("http://127.0.0.1:{}", server.port);
    let body = r#"{"threadId":"thread-0","runId":"run-00000000","messages":[{"id":"m","role":"user","content":"analyse"}],"tools":[],"context":[]}"#;
    let request = format!(
        "POST /run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let runs = format!(
        "driver = \"sse\"\nurl = \"{url}\"\npath = \"/run\"\nprotocol = \"ag-ui\"\nevents = 20\nbody = '{}'",
        body.replace("run-00000000", "run-{hex:8}")
    );
    println!("{CONNECTIONS} connections, each asking again when it has its answer");
    println!(
        "{:<24} {:>12} {:>12} {:>7}   CPU-s per 1,000: counting bytes, driver",
        "", "counting/s", "driver/s", "ratio"
    );
    compare(
        "runs of 20 events",
        RUNS,
        || counted(server.port, request.as_bytes(), RUNS),
        || closed(&runs, RUNS),
    );
    let health = format!("driver = \"http\"\nurl = \"{url}\"\npath = \"/health\"");
    let get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    compare(
        "GET of 2 bytes",
        RESPONSES,
        || counted(server.port, get, RESPONSES),
        || closed(&health, RESPONSES),
    );

    println!("streams of 20 events 500 ms apart, all begun within 2 s");
    println!(
        "{:>8} {:>8} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "streams", "cores", "RSS MB", "late p99 ms", "event p50 ms", "event p99 ms", "stall max ms"
    );
    for streams in [1_000u64, 10_000, 18_000] {
        let server = Server::start();
        let slow = runs
            .replace("/run\"", "/slow\"")
            .replace(&url, &format!("http://127.0.0.1:{}", server.port));
        let constant = Arrival::Constant(Constant {
            rate_per_s: streams as f64 / 2.0,
            duration_ns: 2_000_000_000,
        });
        let watch = std::thread::spawn(|| {
            (0..100)
                .map(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    resident_bytes()
                })
                .max()
        });
        let driven = drive(&slow, constant, None);
        assert_eq!(driven.lane.measured.count(Outcome::Acked), streams);
        let rss = watch.join().unwrap().unwrap();
        let ms = |key: &str, q: f64| match driven.values.get(key) {
            Some(MetricValue::Latency(times)) => times.quantile_ns(q).unwrap() / 1e6,
            other => panic!("{key}: {other:?}"),
        };
        println!(
            "{streams:>8} {:>8.3} {:>10.1} {:>12.3} {:>12.3} {:>12.3} {:>12.3}",
            driven.cpu_s / driven.seconds,
            rss as f64 / 1e6,
            driven.lane.recorder.lateness.quantile_ns(0.99).unwrap() / 1e6,
            ms("event_time", 0.5),
            ms("event_time", 0.99),
            ms("stall", 1.0),
        );
    }
}
