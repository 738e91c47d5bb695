//! A NATS broker of our own, one server or a cluster: started on free loopback ports, ready when it says so, stopped on
//! every way out.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::broker::Broker;
use super::cluster;
use super::node::{Home, is_well};
use super::ports::PortHolder;
use super::process::{Child, Exit, ProcessError, StopReport};
use crate::linux::monotonic_ns;

/// How often readiness is looked at, in nanoseconds: a server is ready after some 30 ms.
const LOOK_NS: u64 = 1_000_000;

/// How often a cluster is started on other ports when one of them has been taken just before it could be used.
const MOST_STARTS: u32 = 5;

/// How a broker is to be started. What is said of one server holds for each.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Whether streams are offered.
    pub jetstream: bool,
    /// Where streams are kept, in a directory for each server of a cluster; one that goes when the broker is dropped, when
    /// `None`.
    pub store_dir: Option<PathBuf>,
    /// How many servers form the broker: 1, 3 or 5.
    pub nodes: usize,
    /// The client port of the first server, the others have those after it; free ones when `None`.
    pub port: Option<u16>,
    /// The monitoring port of the first server, the others have those after it; free ones when `None`.
    pub monitor_port: Option<u16>,
    /// The largest message; the server's own limit (1 MiB) when `None`.
    pub max_payload_bytes: Option<u64>,
    /// Text put into the server's configuration file as it is.
    pub config: Option<String>,
    /// Further arguments of the program.
    pub args: Vec<OsString>,
    /// The file that its log is appended to, in a cluster with the server's name put before the extension; one in a
    /// directory that goes with the broker when `None`.
    pub log: Option<PathBuf>,
    /// The CPUs it is bound to (Linux).
    pub cpus: Option<Vec<usize>>,
    /// How long all of it may take to become ready.
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
            start_limit: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another number of servers than is offered.
    #[error(
        "a broker of {nodes} servers is not offered: servers decide by majority, so it has 1, 3 or 5; start another cluster yourself and give its `url`"
    )]
    Nodes {
        /// The number asked for.
        nodes: usize,
    },
    /// There is no such server.
    #[error("the broker has {size} servers, and none with the number {node} (the first is 0)")]
    Absent {
        /// The number asked for.
        node: usize,
        /// How many there are.
        size: usize,
    },
    /// It runs, so it cannot be started.
    #[error("server {name} runs already, so it cannot be started; stop or kill it before")]
    Runs {
        /// Its name.
        name: String,
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
    #[error("{server} {exit} instead of becoming ready{}", log_words(log))]
    Ended {
        /// Which.
        server: String,
        /// How it ended.
        exit: Exit,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It runs but did not become ready in time.
    #[error("{server} is not ready after {limit_ms} ms: {missing}{}", log_words(log))]
    NotReady {
        /// Which.
        server: String,
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

/// A server of the broker with the duty to stop it, and what faults have made of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) home: Home,
    pub(super) child: Child,
    /// Whether it was taken down on purpose, so that its absence is no accident.
    pub(super) down: bool,
    /// Whether it was frozen on purpose.
    pub(super) paused: bool,
}

/// A running broker of our own. Dropping it kills its processes and removes its temporary directories.
#[derive(Debug)]
pub struct NatsServer {
    pub(super) broker: Broker,
    pub(super) settings: NatsSettings,
    pub(super) members: Vec<Member>,
    // After the processes, so that nothing writes there any more when it is removed.
    _scratch: TempDir,
}

impl NatsServer {
    /// Starts `program` as often as there are to be servers, and waits until the broker is ready: all ports are known,
    /// every server says that it is well and greets a client. The servers of a cluster have routes to each other and,
    /// with JetStream, a leader that finds all of them current.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(program: &Path, settings: NatsSettings) -> Result<Self, StartError> {
        let scratch = tempfile::Builder::new()
            .prefix("eventbench-nats-")
            .tempdir()
            .map_err(|cause| StartError::Files {
                path: "a temporary directory".into(),
                cause,
            })?;
        let mut starts = 0;
        let (broker, members) = loop {
            starts += 1;
            let homes = cluster::homes(program, &settings, scratch.path())?;
            match launch(&homes, &settings) {
                Err(error) if starts < MOST_STARTS && cluster::lost_a_port(&error, &settings) => {
                    cluster::forget(&homes)?;
                }
                other => break other?,
            }
        };
        Ok(Self {
            broker,
            settings,
            members,
            _scratch: scratch,
        })
    }

    /// Where it is and what it says of itself.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The process of the server `node` (from 0), to watch it, or to do to it what nobody else needs to know of.
    pub fn process(&mut self, node: usize) -> Option<&mut Child> {
        self.members.get_mut(node).map(|m| &mut m.child)
    }

    /// Starts the server `node` anew with the same ports and the same store, stopping it first when it runs, and waits
    /// until it is well. Gives its new process id. Clients that reconnect find it where it was.
    ///
    /// # Errors
    /// [`StartError`]; the server is not running then.
    pub fn restart(&mut self, node: usize) -> Result<u32, StartError> {
        let size = self.members.len();
        let (limit, grace) = (self.settings.start_limit, self.settings.stop_grace);
        let member = self.members.get_mut(node).ok_or(StartError::Absent { node, size })?;
        member.child.stop(grace)?;
        member.down = true;
        self.start_node(node)?;
        let member = self.members.get_mut(node).ok_or(StartError::Absent { node, size })?;
        let awaited = await_one(&member.home, &mut member.child, limit);
        if awaited.is_err() {
            member.down = true;
            member.child.kill()?;
        }
        awaited.map(|_| member.child.pid())
    }

    /// Stops its processes in order and tells how that went, one report a server.
    ///
    /// # Errors
    /// [`ProcessError`] of the first that could not be stopped; the others are killed.
    pub fn stop(mut self) -> Result<Vec<StopReport>, ProcessError> {
        let grace = self.settings.stop_grace;
        self.members.iter_mut().map(|m| m.child.stop(grace)).collect()
    }
}

/// Starts a process for each home and waits until all act as one broker; kills all of them otherwise.
fn launch(homes: &[Home], settings: &NatsSettings) -> Result<(Broker, Vec<Member>), StartError> {
    let mut children = Vec::new();
    for home in homes {
        children.push(home.spawn(settings)?);
    }
    let greeted = match (homes, children.as_mut_slice()) {
        ([home], [child]) => vec![await_one(home, child, settings.start_limit)?],
        _ => cluster::await_all(homes, &mut children, settings.jetstream, settings.start_limit)?,
    };
    let version = greeted.first().map(|g| g.version.clone()).unwrap_or_default();
    let nodes: Vec<_> = greeted.into_iter().map(|g| g.node).collect();
    let broker = Broker {
        url: nodes.iter().map(|n| n.url.as_str()).collect::<Vec<_>>().join(","),
        monitor_url: nodes.first().and_then(|n| n.monitor_url.clone()),
        nodes,
        version,
    };
    let members = homes.iter().zip(children).map(|(home, child)| {
        // What the first start chose, every later one keeps.
        let mut home = home.clone();
        let place = broker.nodes.iter().find(|n| n.pid == Some(child.pid()));
        home.port = home.port.or_else(|| port_of(&place?.url));
        home.monitor_port = home.monitor_port.or_else(|| port_of(place?.monitor_url.as_deref()?));
        Member {
            home,
            child,
            down: false,
            paused: false,
        }
    });
    let members = members.collect();
    Ok((broker, members))
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

/// Waits until one server greets its clients and says that it is well.
fn await_one(home: &Home, child: &mut Child, limit: Duration) -> Result<super::node::Greeted, StartError> {
    let until_ns = monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let pid = child.pid();
    home.await_that(child, limit, until_ns, LOOK_NS, || {
        let greeted = home.greeting(pid)?;
        is_well(greeted.node.monitor_url.as_deref())?;
        Ok(greeted)
    })
}
