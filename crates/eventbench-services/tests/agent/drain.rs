//! The end of the service: runs that are open finish or end with an error, and nobody gets in any more.

use crate::client::{Response, connect, send};
use crate::fixture::{NEVER_MS, Service};
use crate::verify::verify;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

fn body(pace_ms: u64) -> Value {
    json!({
        "account_id": "ACC-000001", "workflow": "reference", "thread_id": "t", "run_id": "r",
        "options": { "pace_ms": pace_ms },
    })
}

/// A connection that was served and waits for its next request; the service closes it when it drains.
fn idle(service: &Service) -> TcpStream {
    let mut stream = send(connect(service.address), "GET", "/api/copilotkit/health", &[], b"");
    let mut response = Vec::new();
    while !response.ends_with(b"}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        response.extend(byte);
    }
    stream
}

#[test]
fn an_open_run_finishes() {
    let mut service = Service::start(&["--drain-limit", "60s"]);
    let mut response = service.post(&body(20));
    let mut events = vec![response.event().unwrap().1];
    let mut idle = idle(&service);
    service.begin_stop();
    // Connections without a run are closed at once, and those with one are not.
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    events.extend(std::iter::from_fn(|| response.event()).map(|(_, event)| event));
    assert!(verify(&events, "t", "r").unwrap().finished);
    service.ended().unwrap();
}

#[test]
fn a_run_that_takes_too_long_ends_with_an_error() {
    let mut service = Service::start(&["--drain-limit", "50ms"]);
    let mut response = service.post(&body(NEVER_MS));
    let mut events = vec![response.event().unwrap().1];
    service.begin_stop();
    events.extend(std::iter::from_fn(|| response.event()).map(|(_, event)| event));
    assert!(!verify(&events, "t", "r").unwrap().finished);
    assert_eq!(events[1]["code"], "shutdown");
    service.ended().unwrap();
}

#[test]
fn a_run_that_comes_too_late_is_sent_away() {
    let mut service = Service::start(&["--drain-limit", "60s"]);
    let run = body(0).to_string();
    let mut stream = connect(service.address);
    let head = format!(
        "POST /api/copilotkit HTTP/1.1\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        run.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    // The service waits for the body now: the connection is in use and is not closed.
    let mut idle = idle(&service);
    service.begin_stop();
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    stream.write_all(run.as_bytes()).unwrap();
    let response = Response::read(stream);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert_eq!(response.json()["error"]["code"], "draining");
    service.ended().unwrap();
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let service = Service::start(&["--drain-limit", "50ms"]);
    let response = service.post(&body(NEVER_MS));
    // The response's head was read, its body is not.
    assert_eq!(service.stop(), Ok(()));
    drop(response);
}

#[test]
fn it_stops_at_once_without_runs() {
    let service = Service::start(&[]);
    assert_eq!(service.get("/api/copilotkit/health").status, 200);
    service.stop().unwrap();
}
