//! A broker of three servers on the real `nats-server`: it comes up as one, survives the loss of a server, and goes down
//! without a trace.

#![allow(
    clippy::disallowed_methods,
    reason = "a test binary is its own host: it reads its environment itself"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use eventbench_core::plan::Node;
use eventbench_engine::linux;
use eventbench_engine::probes::broker::BrokerReadings;
use eventbench_engine::probes::process::{Depth, ProcessProbe, ProcessReading};
use eventbench_engine::provision::{
    Broker, Census, Child, InjuryError, Led, Monitor, NatsServer, NatsSettings, Spec, StartError,
    loopback_port_is_free, quiet_loopback_ports,
};
use eventbench_testkit::broker::{nats_server, start};
use futures_util::StreamExt;

/// Nothing here takes as long, also on a machine that has other work to do.
const LONG: Duration = Duration::from_secs(60);

/// Held by each test that starts a cluster: elections among starved servers take long.
fn load() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed while it held the lock says nothing of the next one.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn three(jetstream: bool) -> NatsSettings {
    NatsSettings {
        nodes: 3,
        jetstream,
        start_limit: LONG,
        stop_grace: LONG,
        ..NatsSettings::default()
    }
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end_ns = linux::monotonic_ns() + LONG.as_nanos() as u64;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(linux::monotonic_ns() < end_ns, "never came: {what}");
        linux::sleep_until_ns(linux::monotonic_ns() + 10_000_000);
    }
}

fn is_gone(pid: u32) -> bool {
    ProcessReading::read(pid, Depth::Light).unwrap().is_none()
}

fn pids(broker: &Broker) -> Vec<u32> {
    broker.nodes.iter().map(|n| n.pid.unwrap()).collect()
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn monitors(broker: &Broker) -> Vec<Monitor> {
    let urls = broker.nodes.iter().map(|n| n.monitor_url.as_deref().unwrap());
    urls.map(|url| Monitor::new(url, LONG)).collect()
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A client of the servers `urls`, which waits for answers as long as a busy machine may take.
async fn connect(urls: &str) -> async_nats::Client {
    let servers: Vec<&str> = urls.split(',').collect();
    let options = async_nats::ConnectOptions::new().request_timeout(Some(Duration::from_secs(10)));
    options.connect(servers.as_slice()).await.unwrap()
}

#[test]
fn a_cluster_comes_up_and_goes_down_twice_and_leaves_neither_process_nor_port() {
    let _load = load();
    for _ in 0..2 {
        let server = start(three(true));
        let broker = server.broker().clone();
        let names: Vec<&str> = broker.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        let urls: Vec<&str> = broker.nodes.iter().map(|n| n.url.as_str()).collect();
        assert_eq!(broker.url, urls.join(","));
        for (k, monitor) in monitors(&broker).iter().enumerate() {
            let others: Vec<&str> = names
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != k)
                .map(|(_, n)| *n)
                .collect();
            assert_eq!(monitor.peers().unwrap(), others);
            assert!(monitor.jetstream().unwrap().meta.unwrap().leader.is_some());
        }
        let pids = pids(&broker);
        let reports = server.stop().unwrap();
        assert!(reports.len() == 3 && reports.iter().all(|r| !r.killed), "{reports:?}");
        assert!(pids.into_iter().all(is_gone));
        for node in &broker.nodes {
            assert!(loopback_port_is_free(port_of(&node.url)).unwrap());
            assert!(loopback_port_is_free(port_of(node.monitor_url.as_deref().unwrap())).unwrap());
        }
    }
}

#[test]
fn a_replicated_stream_survives_its_leader_which_comes_back_to_it() {
    let _load = load();
    let mut server = start(three(true));
    let broker = server.broker().clone();
    let census = Census::of(&broker);
    assert!(
        census
            .find(Node::StreamLeader, Some("EVENTS"))
            .unwrap_err()
            .contains("no server keeps a stream EVENTS")
    );
    let meta = census.find(Node::MetaLeader, None).unwrap();
    assert_eq!(meta.led, Some(Led::Meta));
    // Without streams a follower is one of the meta group.
    assert_ne!(census.find(Node::Follower, None).unwrap().node, meta.node);

    let runtime = runtime();
    let publish = |js: &jetstream::Context, from: u64, until: u64| {
        for k in from..until {
            // The id keeps a second attempt from being stored twice.
            let once = || async {
                let message = jetstream::message::PublishMessage::build()
                    .payload(k.to_string().into())
                    .message_id(format!("event {k}"));
                js.send_publish("events.a", message).await.ok()?.await.ok()
            };
            eventually("an acknowledgement", || runtime.block_on(once()));
        }
    };
    let js = runtime.block_on(async { jetstream::new(connect(&broker.url).await) });
    let config = stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.>".to_owned()],
        num_replicas: 3,
        ..stream::Config::default()
    };
    runtime.block_on(js.create_stream(config)).unwrap();
    publish(&js, 0, 50);

    let led = Led::Stream("EVENTS".to_owned());
    let leader = census.find(Node::StreamLeader, None).unwrap();
    assert_eq!(leader.led, Some(led.clone()));
    let follower = census.find(Node::Follower, Some("EVENTS")).unwrap();
    assert_ne!(follower.node, leader.node);

    server.kill_node(leader.node).unwrap();
    assert!(is_gone(pids(&broker)[leader.node]));
    assert!(matches!(server.kill_node(leader.node), Err(InjuryError::Down { .. })));
    assert_eq!(server.ended_unasked(), Vec::<String>::new());
    let next = eventually("another leader", || census.leader_but(&led, leader.node));
    assert_ne!(next, leader.node);
    publish(&js, 50, 100);

    server.start_node(leader.node).unwrap();
    assert_ne!(server.broker().nodes[leader.node].pid, broker.nodes[leader.node].pid);
    assert_eq!(server.broker().nodes[leader.node].url, broker.nodes[leader.node].url);
    let monitors = monitors(&broker);
    eventually("the server that was killed is well", || {
        monitors[leader.node].health().ok()
    });
    eventually("all copies are current", || {
        let leads = census.leader(&led)?;
        let group = monitors[leads].streams().ok()?.pop()?.group?;
        let current = group.replicas.iter().filter(|r| r.current).count();
        (current == 2).then_some(())
    });
    let stored = eventually("the state of the stream", || {
        let info = async {
            js.get_stream("EVENTS")
                .await
                .ok()?
                .info()
                .await
                .ok()
                .map(|i| i.state.messages)
        };
        runtime.block_on(info)
    });
    assert_eq!(stored, 100);
    assert!(server.stop().is_ok());
}

#[test]
fn messages_that_servers_pass_on_to_each_other_are_counted_once() {
    let _load = load();
    let server = start(three(false));
    let broker = server.broker().clone();
    let monitors = monitors(&broker);
    let before = BrokerReadings::read(&monitors, false).unwrap();
    runtime().block_on(async {
        // Each client of its own server, so that all has to be passed on.
        let (sends, hears) = (connect(&broker.nodes[0].url).await, connect(&broker.nodes[2].url).await);
        let mut heard = hears.subscribe("a.b").await.unwrap();
        hears.flush().await.unwrap();
        // Interest spreads from server to server in its own time.
        while tokio::time::timeout(Duration::from_millis(20), heard.next())
            .await
            .is_err()
        {
            sends.publish("a.b", "interest?".into()).await.unwrap();
            sends.flush().await.unwrap();
        }
        sends.publish("a.b", "begin".into()).await.unwrap();
        while heard.next().await.unwrap().payload != "begin" {}
        for _ in 0..300 {
            sends.publish("a.b", "hello".into()).await.unwrap();
        }
        sends.flush().await.unwrap();
        for _ in 0..300 {
            tokio::time::timeout(LONG, heard.next()).await.unwrap().unwrap();
        }
    });
    let delta = eventually("counters that stand still", || {
        let delta = BrokerReadings::read(&monitors, false)?.since(&before)?;
        (delta.client_in_msgs? >= 301 && delta.in_msgs >= delta.client_in_msgs? + 301).then_some(delta)
    });
    // The first ones asked for interest, and not all of them found it.
    let (sent, received) = (delta.client_in_msgs.unwrap(), delta.client_out_msgs.unwrap());
    assert!(received >= 301 && received <= sent, "{delta:?}");
    assert!(delta.in_msgs >= sent + received, "{delta:?}");
    assert_eq!(delta.slow_consumers, 0);
}

#[test]
fn a_single_server_can_be_taken_down_frozen_and_brought_back() {
    let mut server = start(NatsSettings {
        jetstream: true,
        ..NatsSettings::default()
    });
    let url = server.broker().monitor_url.clone().unwrap();
    let census = Census::of(server.broker());
    assert_eq!(census.find(Node::MetaLeader, None).unwrap().node, 0);
    assert!(census.find(Node::StreamLeader, None).unwrap_err().contains("no stream"));
    assert!(matches!(server.start_node(0), Err(StartError::Runs { .. })));
    assert!(matches!(
        server.kill_node(1),
        Err(InjuryError::Start(StartError::Absent { node: 1, size: 1 }))
    ));

    server.pause_node(0).unwrap();
    assert!(Monitor::new(&url, Duration::from_millis(100)).health().is_err());
    server.resume_node(0).unwrap();
    Monitor::new(&url, LONG).health().unwrap();

    server.kill_node(0).unwrap();
    assert_eq!(server.ended_unasked(), Vec::<String>::new());
    server.start_node(0).unwrap();
    eventually("it is well again", || Monitor::new(&url, LONG).health().ok());
    // One that dies without being told to is no fault of a plan.
    server.process(0).unwrap().kill().unwrap();
    let said = server.ended_unasked();
    assert!(
        said.len() == 1 && said[0].contains("the broker ended in the middle of the run"),
        "{said:?}"
    );
}

#[test]
fn a_cluster_that_does_not_come_up_says_which_server_lacks_what() {
    let _load = load();
    let dir = tempfile::tempdir().unwrap();
    let fail = |program: &Path, settings: NatsSettings| NatsServer::start(program, settings).unwrap_err().to_string();

    let config = NatsSettings {
        config: Some("no_such_setting: 1".into()),
        ..three(true)
    };
    let said = fail(nats_server(), config);
    // All three refuse it; the one that is told of is the first that has ended.
    assert!(
        said.contains("nats-server n") && said.contains("no_such_setting"),
        "{said}"
    );

    let file = dir.path().join("pids");
    let hangs = format!("echo garbage; echo $$ >> {}; exec sleep 1000", file.display());
    let hangs = script(dir.path(), "hangs", &hangs);
    let limited = NatsSettings {
        start_limit: Duration::from_millis(500),
        ..three(false)
    };
    let said = fail(&hangs, limited);
    assert!(
        said.contains("nats-server n1 is not ready after 500 ms: its ports file is not written yet"),
        "{said}"
    );
    let started = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(started.lines().all(|pid| is_gone(pid.parse().unwrap())), "{started}");

    // A port that was asked for and is taken is not replaced silently.
    let (port, _holder) = eventually("two free ports side by side", || {
        let port = quiet_loopback_ports(1, linux::monotonic_ns()).unwrap()[0];
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1));
        holder.ok().map(|holder| (port, holder))
    });
    let fixed = NatsSettings {
        port: Some(port),
        ..three(false)
    };
    let said = fail(nats_server(), fixed);
    assert!(
        said.contains(&format!("port {} of 127.0.0.1 is in use", port + 1)),
        "{said}"
    );
}

#[test]
fn a_port_lost_to_another_process_is_replaced() {
    let _load = load();
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("lost");
    let real = nats_server().display();
    // The first server that starts finds its port taken, as by a process that was quicker.
    let text = format!(
        "if mkdir {flag} 2>/dev/null; then echo 'listen tcp 127.0.0.1:1: bind: address already in use' >&2; exit 1; fi\n\
         exec {real} \"$@\"",
        flag = flag.display()
    );
    let server = NatsServer::start(&script(dir.path(), "unlucky", &text), three(true)).unwrap();
    assert!(flag.is_dir());
    assert_eq!(server.broker().nodes.len(), 3);
    server.stop().unwrap();
}

const HELPER: &str = "EVENTBENCH_TEST_HELPER_WRITES_PIDS_TO";

/// The program to be killed. Run as a test it has nothing to do.
#[test]
fn helper_that_starts_a_cluster_and_hangs() {
    let Some(file) = std::env::var_os(HELPER).map(PathBuf::from) else {
        return;
    };
    let server = start(three(true));
    let pids: Vec<String> = pids(server.broker()).iter().map(u32::to_string).collect();
    let written = file.with_extension("new");
    std::fs::write(&written, pids.join("\n")).unwrap();
    std::fs::rename(&written, &file).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_starter_killed_without_warning_takes_all_servers_with_it() {
    let _load = load();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut helper = Child::spawn(Spec {
        name: "helper".into(),
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "helper_that_starts_a_cluster_and_hangs", "--nocapture"]
            .map(OsString::from)
            .to_vec(),
        env: vec![
            (HELPER.into(), file.clone().into()),
            // What it cannot remove any more goes with this test's own directory.
            ("TMPDIR".into(), dir.path().into()),
        ],
        log: Some(dir.path().join("log")),
        ..Spec::default()
    })
    .unwrap();
    let pids = eventually("the helper's cluster", || {
        assert!(helper.try_wait().unwrap().is_none(), "{:?}", helper.tail(20));
        std::fs::read_to_string(&file).ok()
    });
    let servers: Vec<ProcessProbe> = pids
        .lines()
        .map(|pid| ProcessProbe::attach(pid.parse().unwrap()).unwrap().expect("it runs"))
        .collect();
    assert_eq!(servers.len(), 3);
    let report = helper.kill().unwrap();
    assert_eq!(report.exit.signal, Some(9));
    for server in servers {
        eventually("a server of the killed starter is gone", || {
            server.read(Depth::Light).unwrap().is_none().then_some(())
        });
    }
}
