//! Limits, and requests that are refused: each with a status and a body that says what to do.

use crate::client::{Response, connect, request, send};
use crate::fixture::{NEVER_MS, Service, args, until};
use eventbench_services::agent::Agent;
use serde_json::json;
use std::io::Write;

const PATH: &str = "/api/copilotkit";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Checks that a refusal says in JSON what happened and what to do.
fn refused(response: Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{code}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.json();
    assert_eq!(body["error"]["code"], code);
    for part in ["message", "hint"] {
        assert!(!body["error"][part].as_str().unwrap().is_empty(), "{body}");
    }
}

#[test]
fn more_runs_than_allowed_are_sent_away() {
    let service = Service::start(&["--max-runs", "2"]);
    let endless = json!({ "workflow": "reference", "options": { "pace_ms": NEVER_MS } });
    let mut open = [service.post(&endless), service.post(&endless)];
    for response in &mut open {
        assert!(response.event().is_some());
    }
    let short = json!({ "workflow": "reference" });
    let one_too_many = service.post(&short);
    assert_eq!(one_too_many.header("retry-after"), Some("1"));
    refused(one_too_many, 429, "too_many_runs");
    assert_eq!(service.metric("ag_ui_concurrent_streams"), 2.0);
    assert_eq!(service.metric("ag_ui_requests_refused_total{status=\"429\"}"), 1.0);
    drop(open);
    until("there is a place again", || service.post(&short).status == 200);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let service = Service::start(&["--max-body", "1000"]);
    let headers = [("Content-Type", "application/json")];
    let fits = format!("{{\"workflow\":\"reference\",\"other\":\"{}\"}}", "x".repeat(950));
    assert_eq!(
        request(service.address, "POST", PATH, &headers, fits.as_bytes()).status,
        200
    );
    let large = format!("{{\"workflow\":\"reference\",\"other\":\"{}\"}}", "x".repeat(990));
    refused(
        request(service.address, "POST", PATH, &headers, large.as_bytes()),
        413,
        "body_too_large",
    );
    // Without a length that tells it beforehand.
    let chunked = [headers[0], ("Transfer-Encoding", "chunked")];
    let pieces = format!("1f4\r\n{0}\r\n1f5\r\n{0}x\r\n0\r\n\r\n", " ".repeat(500));
    refused(
        request(service.address, "POST", PATH, &chunked, pieces.as_bytes()),
        413,
        "body_too_large",
    );
    // In pieces that fit together.
    let (head, tail) = fits.split_at(300);
    let pieces = format!("{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n", head.len(), tail.len());
    assert_eq!(
        request(service.address, "POST", PATH, &chunked, pieces.as_bytes()).status,
        200
    );
}

#[test]
fn what_cannot_be_run_is_refused_with_advice() {
    let service = Service::start(&[]);
    let json_type = ("Content-Type", "application/json");
    let run = "{\"workflow\":\"reference\"}";
    let cases: [(Headers<'_>, &str, u16, &str); 14] = [
        (&[json_type], "", 400, "empty_body"),
        (&[json_type], "{\"workflow\":", 400, "bad_body"),
        (&[json_type], "<!doctype html><h1>Hi</h1>", 400, "bad_body"),
        (&[json_type], "\"reference\"", 400, "bad_body"),
        (&[json_type], "{\"workflow\":\"nap\"}", 400, "unknown_workflow"),
        (&[json_type], "{\"account_id\":\"ACC-000001\"}", 400, "missing_workflow"),
        (
            &[json_type],
            "{\"workflow\":\"risk_assessment\"}",
            400,
            "missing_account",
        ),
        (&[json_type], "{\"messages\":[]}", 400, "missing_id"),
        (
            &[json_type],
            "{\"workflow\":\"reference\",\"options\":{\"pace_ms\":-5}}",
            400,
            "bad_pace",
        ),
        (&[("Content-Type", "text/html")], run, 415, "not_json"),
        (&[("Content-Type", "application/jsonp")], run, 415, "not_json"),
        (&[], run, 415, "not_json"),
        (
            &[json_type, ("Accept", "application/json")],
            run,
            406,
            "no_stream_accepted",
        ),
        (&[json_type, ("Last-Event-ID", "x")], run, 400, "bad_last_event_id"),
    ];
    for (headers, body, status, code) in cases {
        refused(
            request(service.address, "POST", PATH, headers, body.as_bytes()),
            status,
            code,
        );
    }
    let charset = [
        ("Content-Type", "Application/JSON; charset=utf-8"),
        ("Accept", "text/html, */*;q=0.1"),
    ];
    assert_eq!(
        request(service.address, "POST", PATH, &charset, run.as_bytes()).status,
        200
    );
    assert_eq!(service.metric("ag_ui_requests_refused_total{status=\"415\"}"), 3.0);
}

#[test]
fn other_paths_and_methods_are_told_where_to_go() {
    let service = Service::start(&[]);
    for (method, path, allowed) in [
        ("GET", PATH, "POST"),
        ("DELETE", PATH, "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/api/copilotkit/health", "GET, HEAD"),
    ] {
        let response = request(service.address, method, path, &[], b"");
        assert_eq!(response.header("allow"), Some(allowed), "{method} {path}");
        refused(response, 405, "wrong_method");
    }
    for path in ["/", "/api/copilotkit/", "/api/copilotkit/runs", "/metrics/x"] {
        refused(request(service.address, "POST", path, &[], b"{}"), 404, "not_found");
    }
}

#[test]
fn a_client_that_breaks_off_harms_nobody() {
    let service = Service::start(&["--threads", "1"]);
    for part in [
        "POST /api",
        "POST /api/copilotkit HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"wor",
    ] {
        let mut stream = connect(service.address);
        stream.write_all(part.as_bytes()).unwrap();
        drop(stream);
    }
    let stream = send(connect(service.address), "BREW", "/pot", &[], b"\0\0\0");
    assert_eq!(Response::read(stream).status, 404);
    assert_eq!(service.get("/api/copilotkit/health").status, 200);
}

#[test]
fn what_keeps_it_from_starting_is_one_line_with_advice() {
    let running = Service::start(&[]);
    let taken = running.address.to_string();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.pem");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let [missing, empty] = [&missing, &empty].map(|path| path.to_str().unwrap());
    for (arguments, parts) in [
        (&["--listen", &taken][..], [taken.as_str(), "--listen"]),
        (
            &["--tls-cert", missing, "--tls-key", missing],
            ["missing.pem", "--tls-cert"],
        ),
        (&["--tls-cert", empty, "--tls-key", empty], ["empty.pem", "--tls-cert"]),
    ] {
        let error = match Agent::bind(args(&directory, arguments)) {
            Ok(_) => panic!("{arguments:?} started"),
            Err(error) => error.to_string(),
        };
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
