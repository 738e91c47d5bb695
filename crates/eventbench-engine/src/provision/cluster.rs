//! Several servers as one broker: where each has its seat, and what is missing until they act together.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eventbench_core::mix::mix2;

use super::monitor::{Group, Monitor};
use super::nats_server::{NatsSettings, StartError};
use super::node::{Greeted, Home, QUESTION_LIMIT, Seat, is_well};
use super::ports::quiet_loopback_ports;
use super::process::Child;
use crate::linux::{monotonic_ns, sleep_until_ns};

/// How many servers a broker of our own may have: an even number tolerates no more failures than one server less.
const SIZES: [usize; 3] = [1, 3, 5];

/// How often forming clusters are looked at, in nanoseconds. An election takes some tenths of a second, and a server
/// logs each time that it is asked for its health too early.
const LOOK_NS: u64 = 10_000_000;

/// The homes of the servers that `settings` ask for, in `scratch`. A single server chooses its ports itself. Those of a
/// cluster are chosen here, since each must know how to reach the others before they run, and so that a server which
/// was down finds its ports free again.
///
/// # Errors
/// [`StartError::Nodes`] for a size that is not offered, [`StartError::Files`] without ports or directories.
pub(super) fn homes(program: &Path, settings: &NatsSettings, scratch: &Path) -> Result<Vec<Home>, StartError> {
    let size = settings.nodes;
    if !SIZES.contains(&size) {
        return Err(StartError::Nodes { nodes: size });
    }
    let store = |dir: &Path| settings.store_dir.clone().unwrap_or_else(|| dir.join("store"));
    if size == 1 {
        return Ok(vec![Home {
            program: program.to_owned(),
            called: "nats-server".to_owned(),
            dir: scratch.to_owned(),
            store: settings.jetstream.then(|| store(scratch)),
            log: settings.log.clone().unwrap_or_else(|| scratch.join("nats-server.log")),
            port: settings.port,
            monitor_port: settings.monitor_port,
            seat: None,
        }]);
    }
    let seed = mix2(monotonic_ns(), u64::from(std::process::id()));
    let chosen = quiet_loopback_ports(3 * size, seed).map_err(|cause| StartError::Files {
        path: "ports of 127.0.0.1".into(),
        cause,
    })?;
    // Unique among all that run now, as the name of a temporary directory is: servers of another cluster are refused.
    let cluster = scratch.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let all_route_ports = chosen[..size].to_vec();
    // The ports that were asked for are those of the first server; the others follow.
    let after = |first: Option<u16>, k: usize, chosen: u16| match first {
        Some(first) => u16::try_from(usize::from(first) + k).ok(),
        None => Some(chosen),
    };
    let home = |k: usize| -> Result<Home, StartError> {
        let name = format!("n{}", k + 1);
        let dir = scratch.join(&name);
        std::fs::create_dir_all(&dir).map_err(|cause| StartError::Files {
            path: dir.clone(),
            cause,
        })?;
        Ok(Home {
            program: program.to_owned(),
            called: format!("nats-server {name}"),
            store: settings.jetstream.then(|| match &settings.store_dir {
                Some(named) => named.join(&name),
                None => store(&dir),
            }),
            log: match &settings.log {
                Some(log) => of_server(log, &name),
                None => dir.join("nats-server.log"),
            },
            port: after(settings.port, k, chosen[size + k]),
            monitor_port: after(settings.monitor_port, k, chosen[2 * size + k]),
            seat: Some(Seat {
                cluster: cluster.clone(),
                name,
                route_port: all_route_ports[k],
                all_route_ports: all_route_ports.clone(),
            }),
            dir,
        })
    };
    (0..size).map(home).collect()
}

/// `nats-server.log` as `nats-server-n2.log`.
fn of_server(log: &Path, name: &str) -> PathBuf {
    let part = |text: Option<&std::ffi::OsStr>| text.map(|t| t.to_string_lossy().into_owned());
    let stem = part(log.file_stem()).unwrap_or_default();
    let dot = part(log.extension()).map(|e| format!(".{e}")).unwrap_or_default();
    log.with_file_name(format!("{stem}-{name}{dot}"))
}

/// Waits until the servers act as one: each greets its clients and has routes to all others, with JetStream they have
/// a leader and each is current with it, and each says that it is well.
pub(super) fn await_all(
    homes: &[Home],
    children: &mut [Child],
    jetstream: bool,
    limit: Duration,
) -> Result<Vec<Greeted>, StartError> {
    let until_ns = monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let mut greeted: Vec<Greeted> = Vec::new();
    let mut monitors: Vec<Monitor> = Vec::new();
    loop {
        while let (Some(home), Some(child)) = (homes.get(greeted.len()), children.get(greeted.len())) {
            let Ok(one) = home.greeting(child.pid()) else { break };
            monitors.push(Monitor::new(
                one.node.monitor_url.as_deref().unwrap_or_default(),
                QUESTION_LIMIT,
            ));
            greeted.push(one);
        }
        let (of, missing) = match (homes.get(greeted.len()), children.get(greeted.len())) {
            (Some(home), Some(child)) => match home.greeting(child.pid()) {
                Ok(_) => continue,
                Err(missing) => (greeted.len(), missing),
            },
            _ => match first_missing(&greeted, &monitors, jetstream) {
                Ok(()) => return Ok(greeted),
                Err(missing) => missing,
            },
        };
        for (home, child) in homes.iter().zip(children.iter_mut()) {
            home.still_runs(child)?;
        }
        if monotonic_ns() >= until_ns
            && let (Some(home), Some(child)) = (homes.get(of), children.get(of))
        {
            return Err(home.not_ready(child, limit, missing));
        }
        sleep_until_ns(monotonic_ns() + LOOK_NS);
    }
}

/// What servers that all greet their clients lack until they act as one, and which of them lacks it.
fn first_missing(greeted: &[Greeted], monitors: &[Monitor], jetstream: bool) -> Result<(), (usize, String)> {
    let others = |of: usize| {
        let names = greeted.iter().enumerate().filter(move |(k, _)| *k != of);
        names.map(|(_, g)| g.node.name.as_str())
    };
    for (k, monitor) in monitors.iter().enumerate() {
        let peers = monitor.peers().map_err(|e| (k, e.to_string()))?;
        if let Some(unseen) = others(k).find(|name| !peers.iter().any(|p| p == name)) {
            return Err((k, format!("it has no route to {unseen} yet")));
        }
    }
    if jetstream {
        let mut groups = Vec::new();
        for (k, monitor) in monitors.iter().enumerate() {
            groups.push(
                monitor
                    .jetstream()
                    .map_err(|e| (k, e.to_string()))?
                    .meta
                    .unwrap_or_default(),
            );
        }
        let names: Vec<&str> = greeted.iter().map(|g| g.node.name.as_str()).collect();
        agreed(&names, &groups)?;
    }
    for (k, greeted) in greeted.iter().enumerate() {
        is_well(greeted.node.monitor_url.as_deref()).map_err(|missing| (k, missing))?;
    }
    Ok(())
}

/// Whether all name the same leader, and that one knows all others and finds them current.
fn agreed(names: &[&str], groups: &[Group]) -> Result<(), (usize, String)> {
    let leader = groups.first().and_then(|g| g.leader.clone());
    for (k, group) in groups.iter().enumerate() {
        match &group.leader {
            None => return Err((k, "it knows no leader of JetStream yet".to_owned())),
            Some(other) if Some(other) != leader.as_ref() => {
                return Err((
                    k,
                    format!("it takes {other} for the leader of JetStream, and others do not"),
                ));
            }
            Some(_) => {}
        }
    }
    let Some(k) = names.iter().position(|name| Some(*name) == leader.as_deref()) else {
        return Err((
            0,
            format!(
                "it takes {} for the leader, which is none of us",
                leader.unwrap_or_default()
            ),
        ));
    };
    for name in names
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != k)
        .map(|(_, name)| *name)
    {
        if !groups[k].replicas.iter().any(|r| r.name == name && r.current) {
            return Err((k, format!("it leads JetStream, and {name} is not current with it yet")));
        }
    }
    Ok(())
}

/// Whether a start failed because a port that was chosen for it has been taken in the meantime.
pub(super) fn lost_a_port(error: &StartError, settings: &NatsSettings) -> bool {
    let asked_for = |port: u16| {
        let size = u16::try_from(settings.nodes).unwrap_or(u16::MAX);
        let among = |first: Option<u16>| first.is_some_and(|first| (first..first.saturating_add(size)).contains(&port));
        among(settings.port) || among(settings.monitor_port)
    };
    match error {
        StartError::PortInUse { port, .. } => settings.nodes > 1 && !asked_for(*port),
        StartError::Ended { log, .. } => {
            settings.nodes > 1 && log.iter().any(|line| line.contains("address already in use"))
        }
        _ => false,
    }
}

/// Forgets what a start that failed has left.
pub(super) fn forget(homes: &[Home]) -> Result<(), StartError> {
    for home in homes.iter().filter(|h| h.seat.is_some()) {
        for dir in std::iter::once(&home.dir).chain(&home.store) {
            match std::fs::remove_dir_all(dir) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(StartError::Files {
                        path: dir.clone(),
                        cause,
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Exit;
    use crate::provision::monitor::Replica;

    fn settings(nodes: usize) -> NatsSettings {
        NatsSettings {
            jetstream: true,
            nodes,
            log: Some("/somewhere/nats-server.log".into()),
            ..NatsSettings::default()
        }
    }

    #[test]
    fn each_server_has_a_home_of_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let three = homes(Path::new("nats-server"), &settings(3), scratch.path()).unwrap();
        let mut ports: Vec<u16> = three.iter().flat_map(Home::fixed_ports).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
        let logs: Vec<_> = three.iter().map(|h| h.log.display().to_string()).collect();
        assert_eq!(logs[1], "/somewhere/nats-server-n2.log");
        assert_eq!(three[2].store, Some(scratch.path().join("n3/store")));
        let seat = three[0].seat.clone().unwrap();
        assert_eq!((seat.name.as_str(), seat.all_route_ports.len()), ("n1", 3));
        assert_eq!(seat.all_route_ports, three[2].seat.clone().unwrap().all_route_ports);

        let fixed = NatsSettings {
            port: Some(30_000),
            ..settings(3)
        };
        let three = homes(Path::new("nats-server"), &fixed, scratch.path()).unwrap();
        assert_eq!(
            three.iter().map(|h| h.port.unwrap()).collect::<Vec<_>>(),
            [30_000, 30_001, 30_002]
        );

        let one = homes(Path::new("nats-server"), &settings(1), scratch.path()).unwrap();
        assert_eq!((one[0].fixed_ports().count(), one[0].seat.is_none()), (0, true));
        for size in [0, 2, 4, 6, 7] {
            let refused = homes(Path::new("nats-server"), &settings(size), scratch.path()).unwrap_err();
            assert!(refused.to_string().contains("majority"), "{refused}");
        }
    }

    #[test]
    fn only_a_port_that_was_chosen_here_is_worth_another_try() {
        let in_use = |port| StartError::PortInUse { port, holder: None };
        let ended = |line: &str| StartError::Ended {
            server: "nats-server n1".into(),
            exit: Exit {
                code: Some(1),
                signal: None,
                seen_at_ns: 0,
            },
            log: vec![line.into()],
        };
        let fixed = NatsSettings {
            port: Some(30_000),
            ..settings(3)
        };
        assert!(lost_a_port(&in_use(20_000), &fixed));
        assert!(!lost_a_port(&in_use(30_002), &fixed));
        assert!(!lost_a_port(&in_use(20_000), &settings(1)));
        assert!(lost_a_port(
            &ended("listen tcp 127.0.0.1:20000: bind: address already in use"),
            &settings(3)
        ));
        assert!(!lost_a_port(&ended("unknown field"), &settings(3)));
    }

    #[test]
    fn agreement_is_one_leader_that_finds_all_others_current() {
        let group = |leader: Option<&str>, current: &[&str]| Group {
            leader: leader.map(str::to_owned),
            replicas: current
                .iter()
                .map(|name| Replica {
                    name: (*name).to_owned(),
                    current: true,
                    offline: false,
                })
                .collect(),
            cluster_size: 3,
        };
        let names = ["n1", "n2", "n3"];
        let said = |groups: &[Group]| agreed(&names, groups).unwrap_err();
        let follower = || group(Some("n2"), &[]);
        assert!(agreed(&names, &[follower(), group(Some("n2"), &["n1", "n3"]), follower()]).is_ok());
        assert!(
            said(&[follower(), group(Some("n2"), &["n1"]), follower()])
                .1
                .contains("n3 is not current")
        );
        assert_eq!(said(&[follower(), follower(), group(None, &[])]).0, 2);
        assert!(
            said(&[follower(), group(Some("n3"), &[]), follower()])
                .1
                .contains("others do not")
        );
        let stranger = || group(Some("n9"), &[]);
        assert!(said(&[stranger(), stranger(), stranger()]).1.contains("none of us"));
    }
}
