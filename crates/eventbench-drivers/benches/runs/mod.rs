//! What the driver of streams is measured against: a server of reference runs, in a process of its own, and a client that
//! only counts bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use eventbench_core::host::{monotonic_ns, precise_timers};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::AsFd;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};

const EVERY_NS: u64 = 500_000_000;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The twenty events of the reference run, without their ends: ids are put in, and the instant of emission.
fn events(thread: &str, run: &str) -> Vec<String> {
    let mut events = vec![
        format!(r#"{{"type":"RUN_STARTED","threadId":"{thread}","runId":"{run}""#),
        r#"{"type":"STATE_SNAPSHOT","snapshot":{"step":0,"account":{"id":7,"tier":"gold"},"progress":[]}"#.to_owned(),
        r#"{"type":"STEP_STARTED","stepName":"account_analysis""#.to_owned(),
        r#"{"type":"TEXT_MESSAGE_START","messageId":"msg-1","role":"assistant""#.to_owned(),
    ];
    for n in 0..8 {
        events.push(format!(
            r#"{{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg-1","delta":"A piece of text number {n}. ""#
        ));
    }
    events.extend(
        [
            r#"{"type":"TEXT_MESSAGE_END","messageId":"msg-1""#,
            r#"{"type":"TOOL_CALL_START","toolCallId":"call-1","toolCallName":"risk_score""#,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"call-1","delta":"{\"account\":7,\"window\":30}""#,
            r#"{"type":"TOOL_CALL_END","toolCallId":"call-1""#,
            r#"{"type":"TOOL_CALL_RESULT","messageId":"msg-2","toolCallId":"call-1","content":"0.42""#,
            r#"{"type":"STATE_DELTA","delta":[{"op":"replace","path":"/step","value":1}]"#,
            r#"{"type":"STEP_FINISHED","stepName":"account_analysis""#,
        ]
        .map(str::to_owned),
    );
    events.push(format!(
        r#"{{"type":"RUN_FINISHED","threadId":"{thread}","runId":"{run}""#
    ));
    events
}

fn chunk(out: &mut Vec<u8>, event: &str) {
    // The instant has always 20 digits, so that every run has the same length.
    let data = format!("data: {event},\"emitNs\":{:20}}}\n\n", monotonic_ns());
    write!(out, "{:x}\r\n{data}\r\n", data.len()).unwrap();
}

struct Client {
    socket: TcpStream,
    part: Vec<u8>,
    /// Events still to come, the last first.
    left: Vec<String>,
}

/// Serves runs until the process is killed: at once on /run, with pauses on /slow, "ok" on everything else. Prints its
/// port.
pub fn serve() {
    precise_timers();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    listener.set_nonblocking(true).unwrap();
    // The standard library's backlog of 128 would make the kernel refuse a burst.
    rustix::net::listen(&listener, 4096).unwrap();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(
        &set,
        &listener,
        epoll::EventData::new_u64(u64::MAX),
        epoll::EventFlags::IN,
    )
    .unwrap();
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut due: VecDeque<(u64, usize)> = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let now = monotonic_ns();
        while due.front().is_some_and(|d| d.0 <= now) {
            let (at, place) = due.pop_front().unwrap();
            let Some(client) = clients.get_mut(place).and_then(Option::as_mut) else {
                continue;
            };
            let Some(event) = client.left.pop() else { continue };
            out.clear();
            chunk(&mut out, &event);
            if client.left.is_empty() {
                out.extend_from_slice(b"0\r\n\r\n");
            } else {
                due.push_back((at + EVERY_NS, place));
            }
            let _ = client.socket.write_all(&out);
        }
        let mut room = [const { MaybeUninit::uninit() }; 512];
        let ready = wait(&set, &mut room, due.front().map_or(u64::MAX, |d| d.0));
        for number in ready {
            if number == u64::MAX {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true).unwrap();
                    socket.set_nodelay(true).unwrap();
                    let data = epoll::EventData::new_u64(clients.len() as u64);
                    epoll::add(&set, &socket, data, epoll::EventFlags::IN).unwrap();
                    clients.push(Some(Client {
                        socket,
                        part: Vec::new(),
                        left: Vec::new(),
                    }));
                }
                continue;
            }
            let place = number as usize;
            let Some(client) = clients[place].as_mut() else {
                continue;
            };
            match client.socket.read(&mut buffer) {
                Ok(0) => clients[place] = None,
                Ok(n) => {
                    client.part.extend_from_slice(&buffer[..n]);
                    answer(client, place, &mut due, &mut out);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => clients[place] = None,
            }
        }
    }
}

fn wait(set: impl AsFd, room: &mut [MaybeUninit<epoll::Event>], until_ns: u64) -> Vec<u64> {
    let left = until_ns.saturating_sub(monotonic_ns()).min(1_000_000_000);
    let timeout = Timespec {
        tv_sec: (left / 1_000_000_000) as _,
        tv_nsec: (left % 1_000_000_000) as _,
    };
    let _ = poll(
        &mut [PollFd::from_borrowed_fd(set.as_fd(), PollFlags::IN)],
        Some(&timeout),
    );
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let (events, _) = epoll::wait(&set, room, Some(&now)).unwrap();
    events.iter().map(|e| e.data.u64()).collect()
}

fn answer(client: &mut Client, place: usize, due: &mut VecDeque<(u64, usize)>, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(&client.part).into_owned();
    let Some(end) = text.find("\r\n\r\n") else { return };
    let length = text
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "))
        .map_or(0, |n| n.parse().unwrap());
    if text.len() < end + 4 + length {
        return;
    }
    let body = &text[end + 4..];
    let id = |key: &str| {
        body.split_once(key)
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    };
    client.part.clear();
    out.clear();
    if text.starts_with("POST /run ") {
        out.extend_from_slice(HEAD.as_bytes());
        for event in events(&id("\"threadId\":\""), &id("\"runId\":\"")) {
            chunk(out, &event);
        }
        out.extend_from_slice(b"0\r\n\r\n");
    } else if text.starts_with("POST /slow ") {
        out.extend_from_slice(HEAD.as_bytes());
        client.left = events(&id("\"threadId\":\""), &id("\"runId\":\""));
        client.left.reverse();
        due.push_back((monotonic_ns(), place));
    } else {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    client.socket.write_all(out).unwrap();
}

/// Asks for `count` responses over so many connections and only counts their bytes; gives the seconds.
pub fn count_bytes(port: u16, request: &[u8], connections: usize, count: u64) -> f64 {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut sockets: Vec<(TcpStream, usize)> = (0..connections)
        .map(|place| {
            let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            socket.set_nodelay(true).unwrap();
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(&set, &socket, data, epoll::EventFlags::IN).unwrap();
            (socket, 0)
        })
        .collect();
    // How long a response is: every one is as long as the first.
    let first = &mut sockets[0].0;
    first.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let ends = |bytes: &[u8]| bytes.ends_with(b"0\r\n\r\n") || bytes.ends_with(b"\r\n\r\nok");
    while !ends(&bytes) {
        let n = first.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..n]);
    }
    let whole = bytes.len();
    let start_ns = monotonic_ns();
    let (mut asked, mut done) = (0, 0);
    for (socket, _) in &mut sockets {
        socket.write_all(request).unwrap();
        asked += 1;
    }
    while done < count {
        let mut room = [const { MaybeUninit::uninit() }; 512];
        let (events, _) = epoll::wait(&set, &mut room, None).unwrap();
        for event in events.iter() {
            let (socket, seen) = &mut sockets[event.data.u64() as usize];
            *seen += socket.read(&mut buffer).unwrap();
            if *seen >= whole {
                *seen = 0;
                done += 1;
                if asked < count {
                    socket.write_all(request).unwrap();
                    asked += 1;
                }
            }
        }
    }
    (monotonic_ns() - start_ns) as f64 / 1e9
}
