//! What the wire client costs over a raw socket, in one run and through one
//! server: a flood of publications, and a request that waits for its answer.
//! The variants alternate (A B B A), so that a machine that slows down does
//! not favour either.

// A benchmark prints its figures, and reads its own clock.
#![allow(clippy::disallowed_macros, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;
mod floor;

use std::time::Duration;

use common::NatsServer;
use eventbench_drivers::wire::{Connection, Deadline, Op};
use floor::{Flood, flood, flood_raw, interleaved, median, raw, raw_settle, request_raw, respond, times};

const ROUNDS: usize = 3;
const LONG: Duration = Duration::from_secs(60);

fn flood_wire(server: &NatsServer, payload: &[u8], messages: u64) -> Flood {
    let mut connection = Connection::connect(&server.endpoint(), LONG).unwrap();
    flood(messages, || {
        let until = Deadline::after(LONG);
        for _ in 0..messages {
            connection.pub_frame("bench.flood", None, payload).unwrap();
            if connection.wants_flush() {
                connection.flush(until).unwrap();
            }
        }
        connection.settle(until).unwrap();
    })
}

fn request_wire(server: &NatsServer, payload: &[u8], calls: usize) -> (f64, f64) {
    let mut connection = Connection::connect(&server.endpoint(), LONG).unwrap();
    connection.sub("inbox.wire", None).unwrap();
    let until = Deadline::after(LONG);
    connection.settle(until).unwrap();
    while connection.next_op().is_some() {}
    times(calls, || {
        connection.pub_frame("echo", Some(b"inbox.wire"), payload).unwrap();
        connection.flush(until).unwrap();
        loop {
            assert!(connection.poll_read(until).unwrap(), "no answer");
            while let Some(op) = connection.next_op() {
                if let Op::Msg(m) = op.unwrap() {
                    assert!(m.payload == payload);
                    return;
                }
            }
        }
    })
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
        "{:>8} {:>12} {:>12} {:>7}   {:>24}",
        "bytes", "raw per s", "wire per s", "ratio", "CPU-s per million raw, wire"
    );
    for (bytes, messages) in [(16, 6_000_000), (128, 4_000_000), (1024, 1_500_000)] {
        let payload = vec![b'x'; bytes];
        let (raw, wire) = interleaved(
            ROUNDS,
            || flood_raw(server.port, &payload, messages),
            || flood_wire(&server, &payload, messages),
        );
        let rate = |runs: &[Flood]| median(&mut runs.iter().map(|run| run.per_s).collect::<Vec<_>>());
        let cpu_s = |runs: &[Flood]| median(&mut runs.iter().map(|run| run.cpu_s_per_million).collect::<Vec<_>>());
        println!(
            "{bytes:>8} {:>12.0} {:>12.0} {:>7.3}   {:>12.4} {:>12.4}",
            rate(&raw),
            rate(&wire),
            rate(&wire) / rate(&raw),
            cpu_s(&raw),
            cpu_s(&wire)
        );
    }

    let responder = {
        let mut socket = raw(server.port);
        raw_settle(&mut socket, b"SUB echo 1\r\n");
        let hang_up = socket.try_clone().unwrap();
        (std::thread::spawn(|| respond(socket)), hang_up)
    };
    println!("request and reply of 128 bytes, one in flight, responder in another thread");
    let payload = [b'x'; 128];
    let (raw, wire) = interleaved(
        ROUNDS * 2,
        || request_raw(server.port, &payload, 5_000),
        || request_wire(&server, &payload, 5_000),
    );
    let p50 = |runs: &[(f64, f64)]| median(&mut runs.iter().map(|run| run.0).collect::<Vec<_>>());
    let p99 = |runs: &[(f64, f64)]| median(&mut runs.iter().map(|run| run.1).collect::<Vec<_>>());
    println!(
        "    p50 µs: raw {:.1}, wire {:.1}, ratio {:.3}",
        p50(&raw),
        p50(&wire),
        p50(&wire) / p50(&raw)
    );
    println!(
        "    p99 µs: raw {:.1}, wire {:.1}, ratio {:.3}",
        p99(&raw),
        p99(&wire),
        p99(&wire) / p99(&raw)
    );
    responder.1.shutdown(std::net::Shutdown::Both).unwrap();
    responder.0.join().unwrap();
}
