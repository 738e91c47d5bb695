//! A broker of three servers under load: the books balance, what the servers count agrees, and faults to servers are
//! told by name.

use crate::common::*;
use serde_json::Value;
use std::time::Duration;

/// A suite with three servers and one benchmark that publishes to a subscriber.
fn suite(broker: &str, more: &str) -> String {
    format!(
        r#"{HEAD}nodes = 3
{broker}
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a.b", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a.>" }}
load = {{ arrival = "constant", rate = "200/s", duration = "1500ms" }}
{more}
"#
    )
}

/// What happened when, in words.
fn marks(json: &Value) -> Vec<String> {
    let marks = benchmark(json, "one")["trials"][0]["marks"].as_array().cloned();
    let words = marks.unwrap_or_default().into_iter();
    words
        .map(|m| m["what"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The value of a figure of a process of "one", if there is one.
fn of_process(json: &Value, metric: &str, process: &str) -> Option<f64> {
    let figures = benchmark(json, "one")["figures"].as_array().unwrap();
    let found = figures
        .iter()
        .find(|f| f["metric"] == metric && f["tags"]["process"] == process && f["stat"] == "value");
    found.and_then(|f| f["value"].as_f64())
}

#[test]
fn three_servers_carry_the_load_and_their_counts_agree() {
    let (_load, place) = (load(), Place::new());
    let (ran, json) = place.measure(&suite("", "limits = [\"lost == 0\"]"));
    ran.exits(0);
    assert_eq!((books(&json, "sent"), books(&json, "delivered")), (300, 300));
    checks_hold(&json);
    // Each message counts once, however many servers it passes; the cross-check above is over all of them.
    assert!(figure(&json, "broker.in_msgs", "value") >= 300.0);
    assert!(figure(&json, "broker.out_msgs", "value") < 600.0);
    let parts: Vec<f64> = (1..=3)
        .map(|k| of_process(&json, "cpu", &format!("broker-{k}")).unwrap_or_else(|| panic!("no CPU of broker-{k}")))
        .collect();
    let (sum, whole) = (parts.iter().sum::<f64>(), of_process(&json, "cpu", "broker").unwrap());
    assert!((sum - whole).abs() <= 0.02 + sum * 0.2, "{parts:?} {whole}");
    assert!(of_process(&json, "cpu", "system").is_some());
    assert_eq!(place.left_behind(), Vec::<std::path::PathBuf>::new());
}

/// Neither the publisher nor the subscriber is attached to the second server, so nothing is lost with it.
#[test]
fn a_server_that_nobody_is_attached_to_goes_and_comes_back_without_loss() {
    let (_load, place) = (load(), Place::new());
    let fault = r#"fault = [{ at = "300ms", action = "kill", node = 1 }, { at = "600ms", action = "start", node = 1 }]
drain = "30s"
limits = ["lost == 0"]"#;
    let (ran, json) = place.measure(&suite("", fault));
    ran.exits(0);
    assert_eq!((books(&json, "sent"), books(&json, "delivered")), (300, 300));
    assert_eq!(marks(&json), ["kill node 1 (n2)", "start node 1 (n2)", "n2 ready"]);
    let (down, restart) = (figure(&json, "downtime", "value"), figure(&json, "restart", "value"));
    assert!(restart > 0.0 && restart < down, "{down} {restart}");
    checks_hold(&json);
}

/// The first server is the one that publisher and subscriber are attached to.
#[test]
fn what_is_lost_with_the_server_of_the_publisher_is_named() {
    let (_load, place) = (load(), Place::new());
    let fault = "fault = [{ at = \"500ms\", action = \"kill\", node = 0 }]\nlimits = [\"lost == 0\"]";
    // The load would go on for long: whenever the server goes, there is something left to send.
    let (ran, json) = place.measure(&suite("", fault).replace("1500ms", "30s"));
    let ran = ran.exits(1);
    assert_eq!(marks(&json), ["kill node 0 (n1)"]);
    let said = flat(&ran.out).to_lowercase();
    assert!(
        said.contains("disconnected") || said.contains("closed the connection"),
        "{}",
        ran.out
    );
    let one = benchmark(&json, "one");
    let balance = one["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "the books balance")
        .unwrap();
    assert_eq!(balance["holds"], true, "{balance}");
    let (sent, delivered) = (books(&json, "sent"), books(&json, "delivered"));
    let lost = books(&json, "lost_before_ack") + books(&json, "lost_after_ack");
    assert_eq!(sent, delivered + lost);
    assert!(sent < 6_000, "{sent}");
    // It was no accident, so nothing says that the broker ended by itself.
    assert!(!said.contains("ended in the middle of the run"), "{}", ran.out);
}

/// The load does not touch the broker, so that nothing depends on which server happens to lead.
#[test]
fn the_leader_is_found_by_its_role_and_followed_until_there_is_another() {
    let (_load, place) = (load(), Place::new());
    let fault = r#"fault = [
  { at = "300ms", action = "kill", node = "meta-leader" },
  { at = "600ms", action = "start", node = "meta-leader" },
]
drain = "50s"
limits = ["election > 0ms"]"#;
    let nats = r#"driver = "nats", subject = "a.b", payload = "{stamp}""#;
    let text = suite("jetstream = true", fault).replace(nats, r#"driver = "fake", latency = "1ms""#);
    let observe = r#"observe = { driver = "nats", subject = "a.>" }"#;
    let (ran, json) = place.measure(&text.replace(observe, ""));
    ran.exits(0);
    let marks = marks(&json);
    let node = marks[0]
        .strip_prefix("kill meta-leader (")
        .and_then(|rest| rest.strip_suffix(')'));
    let node = node.unwrap_or_else(|| panic!("{marks:?}"));
    assert!(["n1", "n2", "n3"].contains(&node), "{marks:?}");
    assert_eq!(marks[1], format!("start meta-leader ({node})"));
    assert!(marks.contains(&format!("{node} ready")), "{marks:?}");
    assert_eq!(
        marks.iter().filter(|m| m.ends_with(" leads JetStream")).count(),
        1,
        "{marks:?}"
    );
    assert_eq!(marks.len(), 4, "{marks:?}");
    assert!(figure(&json, "downtime", "value") > 0.0);
}

#[test]
fn a_killed_tool_takes_all_servers_with_it() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", suite("jetstream = true", "").replace("1500ms", "50s"));
    let running = Running::start(&place, place.tool(&["run", "suite.toml"]));
    let mut started = Vec::new();
    let up = within(Duration::from_secs(30), || {
        started = children(running.pid());
        started.iter().filter(|p| p.name == "nats-server").count() == 3
    });
    assert!(up, "{started:?}\n{}", running.err());
    running.signal(rustix::process::Signal::KILL);
    let gone = within(Duration::from_secs(30), || !started.iter().any(lives));
    assert!(gone, "{started:?}");
    assert_eq!(running.wait().code, None);
}

#[test]
fn clusters_and_faults_that_make_no_sense_are_refused_at_their_line() {
    let place = Place::new();
    let refused = |text: String, says: &str| {
        place.write("suite.toml", text);
        place.run(&["check", "suite.toml"]).exits(2).complains(&[says]);
    };
    for nodes in ["0", "2", "4", "6"] {
        let text = suite("", "").replace("nodes = 3", &format!("nodes = {nodes}"));
        refused(
            text,
            &format!("expected 1, 3 or 5, not {nodes}: the servers of a cluster decide by majority"),
        );
    }
    refused(suite("url = \"nats://127.0.0.1:4222\"", ""), "leave `nodes` out");
    refused(suite("port = 65534", ""), "there are none beyond 65535");
    let fault = |broker: &str, fault: &str| suite(broker, &format!("fault = [{{ at = \"500ms\", {fault} }}]"));
    let attached = |text: String| text.replace("nodes = 3", "url = \"nats://127.0.0.1:4222\"");
    let single = |text: String| text.replace("nodes = 3", "nodes = 1");
    refused(
        attached(fault("", "action = \"kill\", node = 0")),
        "was started by somebody else and is left alone",
    );
    refused(
        fault("", "action = \"kill\", node = 3"),
        "the broker has 3 servers, so the last is node 2",
    );
    refused(
        fault("", "action = \"kill\", node = \"meta-leader\""),
        "servers have roles only with JetStream",
    );
    refused(
        fault("", "action = \"kill\", node = \"boss\""),
        "unknown node \"boss\", expected \"stream-leader\"",
    );
    refused(
        fault("", "action = \"kill\""),
        "name its `service`, or the `node` of the broker",
    );
    refused(
        fault("", "action = \"kill\", node = 0, service = \"store\""),
        "it names a service and a node",
    );
    refused(
        fault("", "action = \"kill\", node = 0, stream = \"EVENTS\""),
        "`stream` belongs to",
    );
    refused(
        fault("", "action = \"start\", node = 0"),
        "no server was stopped or killed before",
    );
    refused(
        fault("", "action = \"resume\", node = 0"),
        "no server was paused before",
    );
    refused(
        single(fault("jetstream = true", "action = \"kill\", node = \"follower\"")),
        "a single server has no follower",
    );
    place.write("suite.toml", single(fault("", "action = \"kill\", node = 0")));
    place.run(&["check", "suite.toml"]).exits(0);
}
