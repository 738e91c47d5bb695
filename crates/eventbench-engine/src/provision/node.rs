//! One `nats-server` process: what it is started with, which ports it took, and what is missing until it is ready.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::broker::{self, Node};
use super::monitor::Monitor;
use super::nats_server::{NatsSettings, StartError};
use super::ports::{loopback_port_is_free, port_holder};
use super::process::{Child, Spec};
use crate::linux::{monotonic_ns, sleep_until_ns};

/// How long one question to a starting server may take.
pub(super) const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How many of its last lines are quoted of a server that does not come up.
const QUOTED_LINES: usize = 4;

/// Where one server lives: all that its next start has in common with the one before.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// The program.
    pub(super) program: PathBuf,
    /// How messages call it: "nats-server", or "nats-server n2" in a cluster.
    pub(super) called: String,
    /// The directory of its configuration, its ports file and what else it needs.
    pub(super) dir: PathBuf,
    /// Where its streams are kept, with JetStream.
    pub(super) store: Option<PathBuf>,
    /// The file that its log is appended to.
    pub(super) log: PathBuf,
    /// The client port; a free one when `None`.
    pub(super) port: Option<u16>,
    /// The monitoring port; a free one when `None`.
    pub(super) monitor_port: Option<u16>,
    /// Its place in a cluster.
    pub(super) seat: Option<Seat>,
}

/// A server's place in a cluster.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    /// The cluster's name; servers of another refuse each other.
    pub(super) cluster: String,
    /// The server's own name.
    pub(super) name: String,
    /// The port at which the other servers reach it.
    pub(super) route_port: u16,
    /// Those ports of all servers, its own included: from their number it knows how many make a majority.
    pub(super) all_route_ports: Vec<u16>,
}

/// What a server writes into its ports file.
#[derive(Debug, Deserialize)]
struct Ports {
    #[serde(default)]
    nats: Vec<String>,
    #[serde(default)]
    monitoring: Vec<String>,
}

/// What has been seen of a server that greets its clients.
pub(super) struct Greeted {
    /// Where it is.
    pub(super) node: Node,
    /// Its version.
    pub(super) version: String,
}

impl Home {
    /// Starts the process; nothing is known of it then but that it was started.
    pub(super) fn spawn(&self, settings: &NatsSettings) -> Result<Child, StartError> {
        for port in self.fixed_ports() {
            refuse_taken(port)?;
        }
        let ports_dir = self.ports_dir();
        // A server that was killed has left its ports file behind.
        match std::fs::remove_dir_all(&ports_dir) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(StartError::Files { path: ports_dir, cause });
            }
            _ => {}
        }
        std::fs::create_dir_all(&ports_dir).map_err(|cause| StartError::Files {
            path: ports_dir.clone(),
            cause,
        })?;
        let spec = Spec {
            name: self.called.clone(),
            program: self.program.clone(),
            args: self.arguments(settings, &ports_dir)?,
            log: Some(self.log.clone()),
            cpus: settings.cpus.clone(),
            ..Spec::default()
        };
        Ok(Child::spawn(spec)?)
    }

    /// The ports that it must have.
    pub(super) fn fixed_ports(&self) -> impl Iterator<Item = u16> + '_ {
        let route = self.seat.as_ref().map(|seat| seat.route_port);
        [self.port, self.monitor_port, route].into_iter().flatten()
    }

    fn ports_dir(&self) -> PathBuf {
        self.dir.join("ports")
    }

    /// Whether it greets its clients; else what is missing first.
    pub(super) fn greeting(&self, pid: u32) -> Result<Greeted, String> {
        let ports = read_ports(&self.ports_dir()).ok_or("its ports file is not written yet")?;
        let url = ports.nats.first().ok_or("it names no client port")?.clone();
        let monitor_url = ports.monitoring.first().ok_or("it names no monitoring port")?;
        let address = broker::host_and_port(&url).map_err(|e| e.to_string())?;
        let info = broker::read_info(&address, QUESTION_LIMIT).map_err(|e| e.to_string())?;
        let node = Node {
            name: info.server_name,
            url,
            monitor_url: Some(monitor_url.trim_end_matches('/').to_owned()),
            pid: Some(pid),
        };
        Ok(Greeted {
            node,
            version: info.version,
        })
    }

    /// Waits until `look` finds nothing missing, and gives what it found. Looked at every `every_ns`.
    pub(super) fn await_that<T>(
        &self,
        child: &mut Child,
        limit: Duration,
        until_ns: u64,
        every_ns: u64,
        mut look: impl FnMut() -> Result<T, String>,
    ) -> Result<T, StartError> {
        loop {
            let missing = match look() {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            self.still_runs(child)?;
            if monotonic_ns() >= until_ns {
                return Err(self.not_ready(child, limit, missing));
            }
            sleep_until_ns(monotonic_ns() + every_ns);
        }
    }

    /// An error when the process has ended: the taken port that it met, or its last words.
    pub(super) fn still_runs(&self, child: &mut Child) -> Result<(), StartError> {
        let Some(exit) = child.try_wait()? else { return Ok(()) };
        // The port may have been taken between the question and the start.
        for port in self.fixed_ports() {
            refuse_taken(port)?;
        }
        Err(StartError::Ended {
            server: self.called.clone(),
            exit,
            log: child.tail(QUOTED_LINES),
        })
    }

    pub(super) fn not_ready(&self, child: &Child, limit: Duration, missing: String) -> StartError {
        StartError::NotReady {
            server: self.called.clone(),
            limit_ms: limit.as_millis(),
            missing,
            log: child.tail(QUOTED_LINES),
        }
    }

    fn arguments(&self, settings: &NatsSettings, ports_dir: &Path) -> Result<Vec<OsString>, StartError> {
        // -1 has the server choose a free port itself, so nobody can take it in between.
        let number = |port: Option<u16>| OsString::from(port.map_or(-1, i32::from).to_string());
        let mut args: Vec<OsString> = vec!["-a".into(), "127.0.0.1".into(), "-p".into(), number(self.port)];
        args.extend([
            "-m".into(),
            number(self.monitor_port),
            "--ports_file_dir".into(),
            ports_dir.into(),
        ]);
        if let Some(store) = &self.store {
            std::fs::create_dir_all(store).map_err(|cause| StartError::Files {
                path: store.clone(),
                cause,
            })?;
            args.extend(["-js".into(), "-sd".into(), store.into()]);
        }
        if let Some(seat) = &self.seat {
            let route = |port: &u16| format!("nats://127.0.0.1:{port}");
            let routes: Vec<String> = seat.all_route_ports.iter().map(route).collect();
            args.extend(["-n".into(), seat.name.clone().into()]);
            args.extend(["--cluster_name".into(), seat.cluster.clone().into()]);
            args.extend(["--cluster".into(), route(&seat.route_port).into()]);
            args.extend(["--routes".into(), routes.join(",").into()]);
        }
        let mut config = String::new();
        if let Some(bytes) = settings.max_payload_bytes {
            config.push_str(&format!("max_payload: {bytes}\n"));
            // The server refuses a payload limit above what it may hold for one client (64 MiB).
            if bytes > 64 * 1024 * 1024 {
                config.push_str(&format!("max_pending: {bytes}\n"));
            }
        }
        if let Some(text) = &settings.config {
            config.push_str(text);
            config.push('\n');
        }
        if !config.is_empty() {
            let path = self.dir.join("nats-server.conf");
            let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(config.as_bytes()));
            written.map_err(|cause| StartError::Files {
                path: path.clone(),
                cause,
            })?;
            args.extend(["-c".into(), path.into()]);
        }
        args.extend(settings.args.iter().cloned());
        Ok(args)
    }
}

fn refuse_taken(port: u16) -> Result<(), StartError> {
    match loopback_port_is_free(port) {
        // An error to ask is left to the server to meet: it says best what it cannot do.
        Ok(true) | Err(_) => Ok(()),
        Ok(false) => Err(StartError::PortInUse {
            port,
            holder: port_holder(port),
        }),
    }
}

/// Whether the server at `monitor_url` says that it is well: with JetStream, that all it keeps is current.
pub(super) fn is_well(monitor_url: Option<&str>) -> Result<(), String> {
    let url = monitor_url.ok_or("it has no monitoring")?;
    Monitor::new(url, QUESTION_LIMIT).health().map_err(|e| e.to_string())
}

/// The ports file, when it is there and whole: the server does not write it in one step.
fn read_ports(dir: &Path) -> Option<Ports> {
    let file = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "ports"))?;
    serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()
}
