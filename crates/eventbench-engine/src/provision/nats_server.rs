//! A `nats-server` of our own: started on free loopback ports, ready when it says so, stopped on every way out.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::broker::{self, Broker, Node};
use super::monitor::Monitor;
use super::ports::{PortHolder, loopback_port_is_free, port_holder};
use super::process::{Child, Exit, ProcessError, Spec, StopReport};
use crate::linux::{monotonic_ns, sleep_until_ns};

/// How often readiness is looked at, in nanoseconds: a server is ready after some 30 ms.
const LOOK_NS: u64 = 1_000_000;

/// How long one question to a starting server may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Whether streams are offered.
    pub jetstream: bool,
    /// Where streams are kept; a directory that goes when the server is dropped, when `None`.
    pub store_dir: Option<PathBuf>,
    /// How many servers form the broker. Only 1 is offered yet.
    pub nodes: usize,
    /// The client port; a free one when `None`.
    pub port: Option<u16>,
    /// The monitoring port; a free one when `None`.
    pub monitor_port: Option<u16>,
    /// The largest message; the server's own limit (1 MiB) when `None`.
    pub max_payload_bytes: Option<u64>,
    /// Text put into the server's configuration file as it is.
    pub config: Option<String>,
    /// Further arguments of the program.
    pub args: Vec<OsString>,
    /// The file that its log is appended to; one in a directory that goes with the server when `None`.
    pub log: Option<PathBuf>,
    /// The CPUs it is bound to (Linux).
    pub cpus: Option<Vec<usize>>,
    /// How long it may take to become ready.
    pub start_limit: Duration,
    /// How long it may take to end when asked, before it is killed.
    pub stop_grace: Duration,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            jetstream: false,
            store_dir: None,
            nodes: 1,
            port: None,
            monitor_port: None,
            max_payload_bytes: None,
            config: None,
            args: Vec::new(),
            log: None,
            cpus: None,
            start_limit: Duration::from_secs(15),
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another number of servers than is offered.
    #[error(
        "a managed broker of {nodes} servers is not offered; write nodes = 1, or start the cluster yourself and give its `url`"
    )]
    Nodes {
        /// The number asked for.
        nodes: usize,
    },
    /// A port that was asked for is taken.
    #[error(
        "port {port} of 127.0.0.1 is in use{}; free it, or leave the port out to have a free one chosen",
        by(holder)
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// Who listens there, when the system tells.
        holder: Option<PortHolder>,
    },
    /// A directory or file that the server needs cannot be made.
    #[error("cannot prepare {} for nats-server: {cause}", path.display())]
    Files {
        /// The directory or file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The program could not be started, watched or stopped.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended instead of becoming ready.
    #[error("nats-server {exit} instead of becoming ready{}", log_words(log))]
    Ended {
        /// How it ended.
        exit: Exit,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It runs but did not become ready in time.
    #[error("nats-server is not ready after {limit_ms} ms: {missing}{}", log_words(log))]
    NotReady {
        /// The time it was given, in milliseconds.
        limit_ms: u128,
        /// What it had not done yet.
        missing: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
}

fn by(holder: &Option<PortHolder>) -> String {
    holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default()
}

fn log_words(log: &[String]) -> String {
    if log.is_empty() {
        "; it wrote nothing".to_owned()
    } else {
        format!("; its log ends: {}", log.join(" | "))
    }
}

/// What a server writes into its ports file.
#[derive(Debug, Deserialize)]
struct Ports {
    #[serde(default)]
    nats: Vec<String>,
    #[serde(default)]
    monitoring: Vec<String>,
}

/// What has been seen of a starting server.
struct Ready {
    node: Node,
    version: String,
}

/// A running broker of our own. Dropping it kills its processes and removes its temporary directories.
#[derive(Debug)]
pub struct NatsServer {
    broker: Broker,
    program: PathBuf,
    settings: NatsSettings,
    children: Vec<Child>,
    // After the processes, so that nothing writes there any more when it is removed.
    scratch: TempDir,
}

impl NatsServer {
    /// Starts `program` and waits until it is ready: its ports are known, its monitoring says that it is well, and it
    /// greets a client.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(program: &Path, settings: NatsSettings) -> Result<Self, StartError> {
        if settings.nodes != 1 {
            return Err(StartError::Nodes { nodes: settings.nodes });
        }
        let scratch = tempfile::Builder::new()
            .prefix("eventbench-nats-")
            .tempdir()
            .map_err(|cause| StartError::Files {
                path: "a temporary directory".into(),
                cause,
            })?;
        let (child, ready) = launch(program, &settings, scratch.path(), settings.port, settings.monitor_port)?;
        let broker = Broker {
            url: ready.node.url.clone(),
            monitor_url: ready.node.monitor_url.clone(),
            nodes: vec![ready.node],
            version: ready.version,
        };
        Ok(Self {
            broker,
            program: program.to_owned(),
            settings,
            children: vec![child],
            scratch,
        })
    }

    /// Where it is and what it says of itself.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The process of the server `node` (from 0), to pause, kill or watch it.
    pub fn process(&mut self, node: usize) -> Option<&mut Child> {
        self.children.get_mut(node)
    }

    /// Starts the server `node` anew with the same ports and the same store, stopping it first when it runs. Gives
    /// its new process id. Clients that reconnect find it where it was.
    ///
    /// # Errors
    /// [`StartError`]; the server is not running then.
    pub fn restart(&mut self, node: usize) -> Result<u32, StartError> {
        let (Some(child), Some(place)) = (self.children.get_mut(node), self.broker.nodes.get_mut(node)) else {
            return Err(StartError::Nodes { nodes: node + 1 });
        };
        child.stop(self.settings.stop_grace)?;
        let port = place.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let monitor = place
            .monitor_url
            .as_ref()
            .and_then(|url| url.rsplit_once(':')?.1.parse().ok());
        let (new, ready) = launch(&self.program, &self.settings, self.scratch.path(), port, monitor)?;
        *child = new;
        *place = ready.node;
        Ok(child.pid())
    }

    /// Stops its processes in order and tells how that went, one report a server.
    ///
    /// # Errors
    /// [`ProcessError`] of the first that could not be stopped; the others are killed.
    pub fn stop(mut self) -> Result<Vec<StopReport>, ProcessError> {
        let grace = self.settings.stop_grace;
        self.children.iter_mut().map(|child| child.stop(grace)).collect()
    }
}

fn launch(
    program: &Path,
    settings: &NatsSettings,
    scratch: &Path,
    port: Option<u16>,
    monitor_port: Option<u16>,
) -> Result<(Child, Ready), StartError> {
    for port in [port, monitor_port].into_iter().flatten() {
        refuse_taken(port)?;
    }
    let ports_dir = scratch.join("ports");
    // A server that was killed has left its ports file behind.
    match std::fs::remove_dir_all(&ports_dir) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(StartError::Files { path: ports_dir, cause });
        }
        _ => {}
    }
    std::fs::create_dir(&ports_dir).map_err(|cause| StartError::Files {
        path: ports_dir.clone(),
        cause,
    })?;
    let args = arguments(settings, scratch, &ports_dir, port, monitor_port)?;
    let log = settings.log.clone().unwrap_or_else(|| scratch.join("nats-server.log"));
    let spec = Spec {
        name: "nats-server".into(),
        program: program.to_owned(),
        args,
        log: Some(log),
        cpus: settings.cpus.clone(),
        ..Spec::default()
    };
    let mut child = Child::spawn(spec)?;
    let ready = wait_until_ready(&mut child, &ports_dir, settings.start_limit);
    match ready {
        // The port may have been taken between the question and the start.
        Err(StartError::Ended { exit, log }) => {
            for port in [port, monitor_port].into_iter().flatten() {
                refuse_taken(port)?;
            }
            Err(StartError::Ended { exit, log })
        }
        Err(other) => Err(other),
        Ok(ready) => Ok((child, ready)),
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

fn arguments(
    settings: &NatsSettings,
    scratch: &Path,
    ports_dir: &Path,
    port: Option<u16>,
    monitor_port: Option<u16>,
) -> Result<Vec<OsString>, StartError> {
    // -1 has the server choose a free port itself, so nobody can take it in between.
    let number = |port: Option<u16>| OsString::from(port.map_or(-1, i32::from).to_string());
    let mut args: Vec<OsString> = vec!["-a".into(), "127.0.0.1".into(), "-p".into(), number(port)];
    args.extend([
        "-m".into(),
        number(monitor_port),
        "--ports_file_dir".into(),
        ports_dir.into(),
    ]);
    if settings.jetstream {
        let store = settings.store_dir.clone().unwrap_or_else(|| scratch.join("store"));
        std::fs::create_dir_all(&store).map_err(|cause| StartError::Files {
            path: store.clone(),
            cause,
        })?;
        args.extend(["-js".into(), "-sd".into(), store.into()]);
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
        let path = scratch.join("nats-server.conf");
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

fn wait_until_ready(child: &mut Child, ports_dir: &Path, limit: Duration) -> Result<Ready, StartError> {
    let end_ns = monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let missing = match look(child.pid(), ports_dir) {
            Ok(ready) => return Ok(ready),
            Err(missing) => missing,
        };
        if let Some(exit) = child.try_wait()? {
            return Err(StartError::Ended {
                exit,
                log: child.tail(4),
            });
        }
        if monotonic_ns() >= end_ns {
            return Err(StartError::NotReady {
                limit_ms: limit.as_millis(),
                missing,
                log: child.tail(4),
            });
        }
        sleep_until_ns(monotonic_ns() + LOOK_NS);
    }
}

/// One look at a starting server: either all that readiness asks for, or what is missing first.
fn look(pid: u32, ports_dir: &Path) -> Result<Ready, String> {
    let ports = read_ports(ports_dir).ok_or("its ports file is not written yet")?;
    let url = ports.nats.first().ok_or("it names no client port")?.clone();
    let monitor_url = ports
        .monitoring
        .first()
        .ok_or("it names no monitoring port")?
        .trim_end_matches('/')
        .to_owned();
    Monitor::new(&monitor_url, QUESTION_LIMIT)
        .health()
        .map_err(|e| e.to_string())?;
    let address = broker::host_and_port(&url).map_err(|e| e.to_string())?;
    let info = broker::read_info(&address, QUESTION_LIMIT).map_err(|e| e.to_string())?;
    let node = Node {
        name: info.server_name,
        url,
        monitor_url: Some(monitor_url),
        pid: Some(pid),
    };
    Ok(Ready {
        node,
        version: info.version,
    })
}

/// The ports file, when it is there and whole: the server does not write it in one step.
fn read_ports(dir: &Path) -> Option<Ports> {
    let file = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "ports"))?;
    serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()
}
