//! What the drivers cost over a raw socket, through one server in one run: the whole load path with schedule, tickets,
//! stamps, payloads, books and histograms. And how late the pacer is beside a broker on the same cores.
//! The variants alternate (A B B A), so that a machine that slows down does not favour either.

// A benchmark prints its figures, and reads its own clock.
#![allow(clippy::disallowed_macros, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;
mod floor;

use common::NatsServer;
use eventbench_core::arrival::{Arrival, Closed, Constant, Schedule};
use eventbench_core::host::{Clock, precise_timers};
use eventbench_core::lane::{Lane, LaneSpec};
use eventbench_core::observe::Window;
use eventbench_core::plan::Settings;
use eventbench_core::ticket::Outcome;
use eventbench_core::trial::{Signals, Trial, Variables};
use eventbench_drivers::REGISTRY;
use floor::{Flood, flood_raw, interleaved, median, raw, raw_settle, request_raw, respond, thread_cpu_s};
use std::sync::Arc;

const ROUNDS: usize = 3;

/// Drives one lane through a driver and gives it back with the seconds from its start to its last settlement and the
/// CPU seconds of its thread.
fn drive(server: &NatsServer, settings: &str, arrival: Arrival, events: Option<u64>) -> (Lane, f64, f64) {
    let mut variables = Variables::default();
    variables.set("broker.nats.url", format!("nats://127.0.0.1:{}", server.port));
    let trial = Trial {
        number: 1,
        seed: 1,
        epoch_ms: 0,
        clock: Clock::Monotonic,
        variables,
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
        streams: vec![String::new()],
        deadline_ns: window.measure_until_ns + 10_000_000_000,
        settles_response: true,
        promises_delivery: true,
    };
    let mut lane = Lane::new(spec, &trial, Arc::new(Signals::default()));
    // In a thread of its own, as in a run, so that its CPU time and timer slack are its own.
    std::thread::spawn(move || {
        precise_timers();
        Clock::Monotonic.sleep_until(start_ns);
        let cpu_s = thread_cpu_s();
        session.drive(&mut lane).unwrap();
        let seconds = (Clock::Monotonic.now_ns() - start_ns) as f64 / 1e9;
        (lane, seconds, thread_cpu_s() - cpu_s)
    })
    .join()
    .unwrap()
}

fn flood_driver(server: &NatsServer, bytes: usize, messages: u64) -> Flood {
    // Below the size of a stamp there is room for letters only.
    let payload = if bytes >= 52 {
        format!("{{stamp}}{{text:{}}}", bytes - 52)
    } else {
        format!("{{text:{bytes}}}")
    };
    let settings = format!("driver = \"nats\"\nsubject = \"bench.flood\"\npayload = \"{payload}\"");
    let closed = Arrival::Closed(Closed {
        workers: 200_000,
        duration_ns: 60_000_000_000,
    });
    let (lane, seconds, cpu_s) = drive(server, &settings, closed, Some(messages));
    assert_eq!(lane.measured.count(Outcome::Acked), messages);
    Flood {
        per_s: messages as f64 / seconds,
        cpu_s_per_million: cpu_s / (messages as f64 / 1e6),
    }
}

fn request_driver(server: &NatsServer, calls: u64) -> (f64, f64) {
    let settings = "driver = \"nats-request\"\nsubject = \"echo\"\npayload = \"{stamp}{text:76}\"";
    let closed = Arrival::Closed(Closed {
        workers: 1,
        duration_ns: 60_000_000_000,
    });
    let (lane, _, _) = drive(server, settings, closed, Some(calls));
    let us = |q: f64| lane.recorder.service.quantile_ns(q).unwrap() / 1e3;
    assert_eq!(lane.recorder.service.count(), calls);
    (us(0.5), us(0.99))
}

fn main() {
    // Cargo runs benchmarks as tests too; there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = NatsServer::start("");
    println!(
        "flood of publications, medians of {} runs each, interleaved A B B A",
        ROUNDS * 2
    );
    println!(
        "{:>8} {:>12} {:>12} {:>7}   CPU-s per million raw, driver",
        "bytes", "raw per s", "driver per s", "ratio"
    );
    for (bytes, messages) in [(16, 6_000_000), (128, 4_000_000), (1024, 1_500_000)] {
        let payload = vec![b'x'; bytes];
        let (raw, own) = interleaved(
            ROUNDS,
            || flood_raw(server.port, &payload, messages),
            || flood_driver(&server, bytes, messages),
        );
        let rate = |runs: &[Flood]| median(&mut runs.iter().map(|run| run.per_s).collect::<Vec<_>>());
        let cpu_s = |runs: &[Flood]| median(&mut runs.iter().map(|run| run.cpu_s_per_million).collect::<Vec<_>>());
        let (raw_rate, own_rate) = (rate(&raw), rate(&own));
        println!(
            "{bytes:>8} {raw_rate:>12.0} {own_rate:>12.0} {:>7.3}   {:.4} {:.4}",
            own_rate / raw_rate,
            cpu_s(&raw),
            cpu_s(&own)
        );
    }

    let (responder, hang_up) = {
        let mut socket = raw(server.port);
        raw_settle(&mut socket, b"SUB echo 1\r\n");
        let hang_up = socket.try_clone().unwrap();
        (std::thread::spawn(|| respond(socket)), hang_up)
    };
    let payload = [b'x'; 128];
    let (raw, own) = interleaved(
        ROUNDS * 2,
        // In a new thread like the driver's, with the same timers: where a thread runs decides such short times.
        || {
            std::thread::scope(|scope| {
                let floor = scope.spawn(|| {
                    precise_timers();
                    request_raw(server.port, &payload, 5_000)
                });
                floor.join().unwrap()
            })
        },
        || request_driver(&server, 5_000),
    );
    let p50 = |runs: &[(f64, f64)]| median(&mut runs.iter().map(|run| run.0).collect::<Vec<_>>());
    let p99 = |runs: &[(f64, f64)]| median(&mut runs.iter().map(|run| run.1).collect::<Vec<_>>());
    println!("request and reply of 128 bytes, one in flight, responder in another thread");
    println!(
        "    p50 µs: raw {:.1}, driver {:.1}, ratio {:.3}",
        p50(&raw),
        p50(&own),
        p50(&own) / p50(&raw)
    );
    println!(
        "    p99 µs: raw {:.1}, driver {:.1}, ratio {:.3}",
        p99(&raw),
        p99(&own),
        p99(&own) / p99(&raw)
    );
    hang_up.shutdown(std::net::Shutdown::Both).unwrap();
    responder.join().unwrap();

    println!("pacing beside the broker: lateness of one lane, 128 bytes, 5 s each");
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>12}",
        "per s", "p50 µs", "p99 µs", "max µs", "cores"
    );
    for rate_per_s in [
        1_000.0,
        10_000.0,
        50_000.0,
        100_000.0,
        200_000.0,
        500_000.0,
        1_000_000.0,
        2_000_000.0,
    ] {
        let settings = "driver = \"nats\"\nsubject = \"bench.paced\"\npayload = \"{stamp}{text:76}\"";
        let constant = Arrival::Constant(Constant {
            rate_per_s,
            duration_ns: 5_000_000_000,
        });
        let (lane, seconds, cpu_s) = drive(&server, settings, constant, None);
        assert_eq!(lane.measured.count(Outcome::Acked), lane.measured.offered);
        let us = |q: f64| lane.recorder.lateness.quantile_ns(q).unwrap() / 1e3;
        println!(
            "{rate_per_s:>10.0} {:>10.1} {:>10.1} {:>10.1} {:>12.3}",
            us(0.5),
            us(0.99),
            us(1.0),
            cpu_s / seconds
        );
    }
}
