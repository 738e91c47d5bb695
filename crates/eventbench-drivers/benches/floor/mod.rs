//! The floor that clients are measured against: a raw socket, and how figures are taken from it.

#![allow(dead_code, missing_docs)]

use eventbench_drivers::wire::{encode, monotonic_ns};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::net::TcpStream;

pub fn thread_cpu_s() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A blocking socket that the server has accepted.
pub fn raw(port: u16) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    raw_settle(&mut socket, b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    socket
}

/// Writes and waits until the server has processed it.
pub fn raw_settle(socket: &mut TcpStream, last: &[u8]) {
    socket.write_all(last).unwrap();
    socket.write_all(b"PING\r\n").unwrap();
    let mut seen = Vec::new();
    let mut buf = [0; 4096];
    while !seen.windows(6).any(|six| six == b"PONG\r\n") {
        let n = socket.read(&mut buf).unwrap();
        assert!(n > 0, "the server closed the connection");
        seen.extend_from_slice(&buf[..n]);
    }
}

/// Messages a second and CPU seconds of this thread for a million.
pub struct Flood {
    pub per_s: f64,
    pub cpu_s_per_million: f64,
}

pub fn flood(messages: u64, run: impl FnOnce()) -> Flood {
    let (start_ns, start_cpu_s) = (monotonic_ns(), thread_cpu_s());
    run();
    let millions = messages as f64 / 1e6;
    Flood {
        per_s: messages as f64 / ((monotonic_ns() - start_ns) as f64 / 1e9),
        cpu_s_per_million: (thread_cpu_s() - start_cpu_s) / millions,
    }
}

pub fn flood_raw(port: u16, payload: &[u8], messages: u64) -> Flood {
    let mut socket = raw(port);
    flood(messages, || {
        let mut out = Vec::with_capacity(80 * 1024);
        for _ in 0..messages {
            encode::publish(&mut out, b"bench.flood", None, payload);
            if out.len() >= 64 * 1024 {
                socket.write_all(&out).unwrap();
                out.clear();
            }
        }
        raw_settle(&mut socket, &out);
    })
}

/// Answers every request on `echo` until its connection ends.
pub fn respond(mut socket: TcpStream) {
    let mut buf = vec![0; 64 * 1024];
    let (mut end, mut out) = (0, Vec::new());
    while let Ok(n @ 1..) = socket.read(&mut buf[end..]) {
        end += n;
        let mut start = 0;
        loop {
            start += pings(&buf[start..end], &mut out);
            let Some((reply, payload, len)) = message(&buf[start..end]) else {
                break;
            };
            encode::publish(&mut out, reply, None, payload);
            start += len;
        }
        buf.copy_within(start..end, 0);
        end -= start;
        if socket.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}

/// Answers the pings at the beginning; how many bytes they take.
pub fn pings(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while bytes[at..].starts_with(b"PING\r\n") {
        encode::pong(out);
        at += 6;
    }
    at
}

/// The last word before the size, the payload and the length of the first
/// message, if it is there whole.
pub fn message(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let line_end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let mut words = bytes[..line_end].rsplit(|&b| b == b' ');
    let size: usize = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let len = line_end + 2 + size + 2;
    (bytes.len() >= len).then(|| (words.next().unwrap_or_default(), &bytes[line_end + 2..len - 2], len))
}

/// Times each of so many calls; microseconds of the median and of the
/// hundredth part that is slowest.
pub fn times(calls: usize, mut call: impl FnMut()) -> (f64, f64) {
    for _ in 0..calls / 10 {
        call();
    }
    let mut us: Vec<_> = (0..calls)
        .map(|_| {
            let start_ns = monotonic_ns();
            call();
            (monotonic_ns() - start_ns) as f64 / 1e3
        })
        .collect();
    (median(&mut us), us[us.len() * 99 / 100])
}

pub fn request_raw(port: u16, payload: &[u8], calls: usize) -> (f64, f64) {
    let mut socket = raw(port);
    raw_settle(&mut socket, b"SUB inbox.raw 1\r\n");
    let (mut out, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
    times(calls, || {
        out.clear();
        encode::publish(&mut out, b"echo", Some(b"inbox.raw"), payload);
        socket.write_all(&out).unwrap();
        let mut end = 0;
        loop {
            let n = socket.read(&mut buf[end..]).unwrap();
            assert!(n > 0, "the server closed the connection");
            end += n;
            out.clear();
            let start = pings(&buf[..end], &mut out);
            if !out.is_empty() {
                socket.write_all(&out).unwrap();
            }
            if let Some((_, answer, _)) = message(&buf[start..end]) {
                assert!(answer == payload);
                return;
            }
        }
    })
}

/// Runs A B B A so many times.
pub fn interleaved<R>(rounds: usize, mut a: impl FnMut() -> R, mut b: impl FnMut() -> R) -> (Vec<R>, Vec<R>) {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_a.push(a());
        of_b.push(b());
        of_b.push(b());
        of_a.push(a());
    }
    (of_a, of_b)
}
