//! An environment in which nothing can be measured: exit code 3, and a message that says what to do.

use crate::common::*;
use std::net::TcpListener;

/// A benchmark over a subscription, which needs a broker and no service.
const PUBLISH: &str = r#"
[[benchmark]]
name = "one"
trials = 1
drive = { driver = "nats", subject = "a", payload = "{stamp}" }
observe = { driver = "nats", subject = "a" }
load = { arrival = "constant", rate = "100/s", duration = "300ms" }
limits = ["lost == 0"]
"#;

#[track_caller]
fn cannot_run(place: &Place, suite: &str, says: &[&str]) {
    place.write("suite.toml", suite);
    let ran = place.run(&["run", "suite.toml"]).exits(3).complains(says);
    assert!(!ran.out.contains("PASS"), "{}", ran.out);
    assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
}

#[test]
fn a_port_in_use_is_named() {
    let (_load, place) = (load(), Place::new());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    cannot_run(
        &place,
        &format!("{HEAD}port = {port}\n{PUBLISH}"),
        &["broker", &port.to_string(), "in use"],
    );
}

#[test]
fn a_fixed_port_is_taken() {
    let (_load, place) = (load(), Place::new());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (ran, json) = place.measure(&format!("{HEAD}port = {port}\n{PUBLISH}"));
    ran.exits(0);
    assert_eq!(books(&json, "delivered"), 30);
}

#[test]
fn a_broker_that_does_not_answer_is_named() {
    let (_load, place) = (load(), Place::new());
    // Bound and released: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    cannot_run(
        &place,
        &format!("{HEAD}url = \"nats://127.0.0.1:{port}\"\n{PUBLISH}"),
        &["broker", &format!("127.0.0.1:{port}")],
    );
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    cannot_run(
        &place,
        &format!("{HEAD}url = \"nats://{address}\"\n{PUBLISH}"),
        &["broker", &address],
    );
}

fn with_service(run: &str, more: &str) -> String {
    format!("{HEAD}[service.mine]\nrun = {run}\n{more}\n{PUBLISH}")
}

#[test]
fn a_service_that_ends_at_once_is_shown_with_its_last_words() {
    let (_load, place) = (load(), Place::new());
    let ends = r#"["sh", "-c", "echo first words; echo cannot read my settings >&2; exit 7"]"#;
    let says = [
        "service \"mine\"",
        "before it was ready",
        "7",
        "cannot read my settings",
    ];
    cannot_run(&place, &with_service(ends, "ready = { subject = \"x\" }"), &says);
}

#[test]
fn a_service_that_never_gets_ready_is_shown_with_its_last_words() {
    let (_load, place) = (load(), Place::new());
    let waits = r#"["sh", "-c", "echo waiting for the moon; exec sleep 60"]"#;
    let ready = "ready = { subject = \"mine.health\" }\nready_within = \"300ms\"";
    cannot_run(
        &place,
        &with_service(waits, ready),
        &[
            "service \"mine\"",
            "not ready within 0.3 s",
            "mine.health",
            "waiting for the moon",
        ],
    );
}

#[test]
fn a_service_that_does_not_exist_is_named() {
    let (_load, place) = (load(), Place::new());
    cannot_run(
        &place,
        &with_service("[\"/no/such/service\"]", ""),
        &["service \"mine\"", "/no/such/service"],
    );
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let (_load, place) = (load(), Place::new());
    let missing = place.path("missing.db");
    let rows = format!("driver = \"sqlite\", path = {missing:?}, query = \"SELECT id, msg FROM m WHERE id > :last\"");
    let suite = format!(
        "{HEAD}{}",
        PUBLISH.replace(
            "observe = { driver = \"nats\", subject = \"a\" }",
            &format!("observe = {{ {rows} }}")
        )
    );
    place.write("suite.toml", &suite);
    place.run(&["run", "suite.toml"]).exits(3).complains(&["missing.db"]);
    assert!(
        !missing.exists(),
        "the observer made the database that it should only read"
    );
}

#[test]
fn a_nats_server_that_is_no_program_is_named() {
    let place = Place::new();
    place.write("suite.toml", format!("{HEAD}{PUBLISH}"));
    let text = place.write("nats-server", "no program");
    for (program, says) in [(text, "nats-server"), (place.path("nowhere"), "nowhere")] {
        let mut command = place.tool(&["run", "suite.toml"]);
        command.env("EVENTBENCH_NATS_SERVER", program);
        place
            .finish(command)
            .exits(3)
            .complains(&["EVENTBENCH_NATS_SERVER", says]);
    }
}
