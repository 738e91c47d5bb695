//! The stage of a trial: broker and services of a benchmark, fresh, held by guards that stop only what they started.

use crate::engine::Engine;
use crate::placement::{ApplyError, Placed};
use crate::probes::sampler::Process;
use crate::provision::{Broker, Child, Monitor, NatsServer, NatsSettings, Spec};
use eventbench_core::host::Clock;
use eventbench_core::mix::mix2;
use eventbench_core::plan::{Benchmark, Placement, Plan, Service};
use eventbench_core::trial::Variables;
use std::any::Any;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a stage could not be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The broker.
    #[error("broker: {0}")]
    Broker(String),
    /// A service.
    #[error("service \"{name}\": {cause}{}", log_lines(.log))]
    Service {
        /// Which.
        name: String,
        /// What went wrong and what to do.
        cause: String,
        /// The last lines it wrote.
        log: Vec<String>,
    },
    /// Cores.
    #[error("placement: {0}")]
    Placement(#[from] ApplyError),
    /// Ports.
    #[error("no free port was found on 127.0.0.1 for the services: {0}")]
    Port(std::io::Error),
    /// Files of the run.
    #[error("scratch directory: {0}; is there space, and may the tool write to the temporary directory?")]
    Scratch(std::io::Error),
}

/// A port of 127.0.0.1 that nobody listens on, below those that the kernel deals out to connections, so that it stays
/// free also while a service is restarted under load.
fn free_port() -> Result<u16, StageError> {
    const FROM: u16 = 20_000;
    const UNTIL: u16 = 32_000;
    let first = mix2(u64::from(std::process::id()), crate::linux::monotonic_ns());
    let mut refused = std::io::ErrorKind::AddrInUse.into();
    for k in 0..1_000 {
        let port = FROM + (first.wrapping_add(k * 7) % u64::from(UNTIL - FROM)) as u16;
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(e) => refused = e,
        }
    }
    Err(StageError::Port(refused))
}

fn log_lines(lines: &[String]) -> String {
    lines.iter().map(|l| format!("\n  | {l}")).collect()
}

/// A service on the stage.
pub struct RunningService {
    /// Its name in the plan.
    pub name: String,
    plan: Service,
    spec: Spec,
    child: Child,
    /// Whether a fault has taken it away, so that its absence is no accident.
    pub expected_down: bool,
    /// Whether it is frozen.
    paused: bool,
}

/// Broker and services of one trial.
pub struct Stage {
    /// What `{name}` stands for.
    pub variables: Variables,
    /// The services, in the order of the plan.
    pub services: Vec<RunningService>,
    /// Start of the services until all were ready, in nanoseconds.
    pub startup_ns: u64,
    server: Option<NatsServer>,
    broker: Option<Broker>,
    monitors: Vec<Monitor>,
    placed: Placed,
    // Last, so that files go when nobody uses them any more.
    scratch: tempfile::TempDir,
}

impl Stage {
    /// Starts what a benchmark needs and waits until it is ready.
    ///
    /// # Errors
    /// [`StageError`]; nothing is left running then.
    pub fn set(engine: &Engine<'_>, plan: &Plan, benchmark: &Benchmark) -> Result<Stage, StageError> {
        let scratch = tempfile::Builder::new()
            .prefix("eventbench-")
            .tempdir()
            .map_err(StageError::Scratch)?;
        // First, so that the instrument's connections and threads are made where they are to stay.
        let placed = Placed::apply(engine, scratch.path())?;
        let mut variables = Variables::default();
        variables.set("self", engine.program.display().to_string());
        variables.set("scratch", scratch.path().display().to_string());
        let mut stage = Stage {
            variables,
            services: Vec::new(),
            startup_ns: 0,
            server: None,
            broker: None,
            monitors: Vec::new(),
            placed,
            scratch,
        };
        for name in plan.services.keys() {
            stage.variables.set(format!("port.{name}"), free_port()?.to_string());
        }
        if benchmark.broker != Some(false) {
            stage.start_broker(engine, plan, benchmark)?;
        }
        let started = engine.clock().now_ns();
        for (name, service) in services(plan, benchmark) {
            stage.start_service(engine, name, service)?;
        }
        stage.startup_ns = engine.clock().now_ns() - started;
        Ok(stage)
    }

    fn start_broker(&mut self, engine: &Engine<'_>, plan: &Plan, benchmark: &Benchmark) -> Result<(), StageError> {
        let Some(nats) = plan.broker.nats.as_ref().map(|nats| nats.of(benchmark)) else {
            return Ok(());
        };
        let failed = |e: &dyn std::fmt::Display| StageError::Broker(e.to_string());
        let broker = match &nats.url {
            Some(url) => {
                let broker =
                    Broker::attach(url, nats.monitor.as_deref(), Duration::from_secs(5)).map_err(|e| failed(&e))?;
                let secrets = [
                    ("creds", &nats.creds),
                    ("user", &nats.user),
                    ("password", &nats.password),
                    ("token", &nats.token),
                    ("tls_ca", &nats.tls_ca),
                ];
                self.variables.set("broker.nats.attached", "yes".to_owned());
                for (key, value) in secrets {
                    if let Some(value) = value {
                        self.variables.set(format!("broker.nats.{key}"), value.clone());
                    }
                }
                broker
            }
            None => {
                let Some(program) = &engine.nats_server else {
                    return Err(StageError::Broker("no nats-server was found".to_owned()));
                };
                let jetstream = benchmark.jetstream.unwrap_or(nats.jetstream);
                let settings = NatsSettings {
                    jetstream,
                    nodes: nats.size() as usize,
                    store_dir: jetstream.then(|| self.scratch.path().join("jetstream")),
                    port: nats.port,
                    config: nats.config.clone(),
                    log: Some(self.scratch.path().join("nats-server.log")),
                    cpus: cores(engine, |placement| &placement.broker),
                    ..NatsSettings::default()
                };
                let server = NatsServer::start(program, settings).map_err(|e| failed(&e))?;
                let broker = server.broker().clone();
                self.server = Some(server);
                broker
            }
        };
        self.variables.set("broker.nats.url", broker.url.clone());
        for (k, node) in broker.nodes.iter().enumerate() {
            self.variables
                .set(format!("broker.nats.url.{}", k + 1), node.url.clone());
        }
        let monitors = broker.nodes.iter().filter_map(|node| node.monitor_url.as_ref());
        self.monitors = monitors.map(|url| Monitor::new(url, Duration::from_secs(2))).collect();
        self.broker = Some(broker);
        Ok(())
    }

    fn start_service(&mut self, engine: &Engine<'_>, name: &str, service: &Service) -> Result<(), StageError> {
        let failed = |cause: String| StageError::Service {
            name: name.to_owned(),
            cause,
            log: Vec::new(),
        };
        let mut words = Vec::new();
        for word in &service.run {
            words.push(self.variables.expand(word).map_err(&failed)?);
        }
        let Some((program, args)) = words.split_first() else {
            return Err(failed("`run` is empty".to_owned()));
        };
        let mut env = Vec::new();
        for (key, value) in &service.env {
            env.push((key.into(), self.variables.expand(value).map_err(&failed)?.into()));
        }
        let spec = Spec {
            name: name.to_owned(),
            program: PathBuf::from(program),
            args: args.iter().map(Into::into).collect(),
            env,
            cwd: None,
            log: Some(self.scratch.path().join(format!("{name}.log"))),
            cpus: cores(engine, |placement| &placement.services),
            own_session: false,
        };
        let child = Child::spawn(spec.clone()).map_err(|e| failed(e.to_string()))?;
        self.variables
            .set(format!("service.{name}.pid"), child.pid().to_string());
        let mut running = RunningService {
            name: name.to_owned(),
            plan: service.clone(),
            spec,
            child,
            expected_down: false,
            paused: false,
        };
        running.wait_ready(engine, &self.variables)?;
        self.services.push(running);
        Ok(())
    }

    /// The servers of our own broker that have ended although no fault took them down, in words.
    pub fn broker_gone(&mut self) -> Vec<String> {
        self.server.as_mut().map(NatsServer::ended_unasked).unwrap_or_default()
    }

    /// The broker, where it is one of ours.
    pub fn server(&mut self) -> Option<&mut NatsServer> {
        self.server.as_mut()
    }

    /// Whether the cores may fall asleep although they are to be kept awake.
    pub fn fell_asleep(&mut self) -> Option<String> {
        self.placed.fell_asleep()
    }

    /// Where the monitoring of the broker's servers is read; empty where it is not known.
    pub fn monitors(&self) -> &[Monitor] {
        &self.monitors
    }

    /// The broker's version.
    pub fn broker_version(&self) -> Option<&str> {
        self.broker.as_ref().map(|b| b.version.as_str())
    }

    /// The files of the trial.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A service by name.
    pub fn service(&mut self, name: &str) -> Option<&mut RunningService> {
        self.services.iter_mut().find(|s| s.name == name)
    }

    /// Every process of ours on the stage. The servers of a cluster stand apart and together as "broker".
    pub fn processes(&self) -> Vec<Process> {
        let mut all: Vec<Process> = Vec::new();
        let mut put = |name: String, pid: u32, part_of| all.push(Process { name, pid, part_of });
        for service in &self.services {
            put(service.name.clone(), service.child.pid(), None);
        }
        let nodes = self.server.as_ref().map_or(&[][..], |s| &s.broker().nodes);
        for (k, node) in nodes.iter().enumerate() {
            match node.pid {
                Some(pid) if nodes.len() == 1 => put("broker".to_owned(), pid, None),
                Some(pid) => put(format!("broker-{}", k + 1), pid, Some("broker")),
                None => {}
            }
        }
        all
    }

    /// Ends everything, services first and in reverse, so that none of them sees its broker go. What did not end by
    /// itself is told.
    pub fn clear(mut self) -> Vec<String> {
        let mut remarks = Vec::new();
        while let Some(mut service) = self.services.pop() {
            if service.paused {
                let _ = service.child.resume();
            }
            if service.expected_down {
                continue;
            }
            match service.child.stop(service.stop_within()) {
                Ok(report) if report.killed => {
                    remarks.push(format!(
                        "service \"{}\" did not end within {} s of SIGTERM and was killed",
                        service.name,
                        service.stop_within().as_secs_f64()
                    ));
                }
                Ok(_) => {}
                Err(e) => remarks.push(e.to_string()),
            }
        }
        if let Some(server) = self.server.take()
            && let Err(e) = server.stop()
        {
            remarks.push(e.to_string());
        }
        remarks
    }
}

/// The cores of a role; `None` where the kernel chooses.
fn cores(engine: &Engine<'_>, of: fn(&Placement) -> &Vec<usize>) -> Option<Vec<usize>> {
    engine
        .placement
        .as_ref()
        .map(of)
        .filter(|cores| !cores.is_empty())
        .cloned()
}

/// The services that a benchmark needs, in the order of the plan.
fn services<'a>(plan: &'a Plan, benchmark: &'a Benchmark) -> impl Iterator<Item = (&'a String, &'a Service)> {
    plan.services
        .iter()
        .filter(|(name, service)| match &benchmark.services {
            Some(named) => named.iter().any(|n| n.as_str() == name.as_str()),
            None => !service.on_request,
        })
}

impl RunningService {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn stop_within(&self) -> Duration {
        Duration::from_nanos(self.plan.stop_within.map_or(5_000_000_000, |d| d.ns()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(exit)) => {
                let tail = log_lines(&self.child.tail(5));
                Some(format!(
                    "service \"{}\" ended in the middle of the run: {exit}{tail}",
                    self.name
                ))
            }
            _ => None,
        }
    }

    /// Waits until it is ready.
    fn wait_ready(&mut self, engine: &Engine<'_>, variables: &Variables) -> Result<(), StageError> {
        let Some(settings) = self.plan.ready.clone() else {
            return Ok(());
        };
        let Some(def) = settings.keys().find_map(|key| engine.registry.ready(key)) else {
            return Ok(());
        };
        let limit_ns = self.plan.ready_within.map_or(10_000_000_000, |d| d.ns());
        let clock = Clock::Monotonic;
        let deadline = clock.now_ns() + limit_ns;
        let mut kept: Option<Box<dyn Any>> = None;
        let mut last = String::new();
        loop {
            if let Some(ended) = self.ended() {
                return Err(self.failed(ended.replace(" in the middle of the run", " before it was ready")));
            }
            let now = clock.now_ns();
            match (def.ask)(&settings, variables, deadline.min(now + 250_000_000), &mut kept) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) => {
                    kept = None;
                    last = format!("; {e}");
                }
            }
            if clock.now_ns() >= deadline || engine.stopped() {
                let asked = settings.text(def.name).unwrap_or_default().to_owned();
                return Err(self.failed(format!(
                    "not ready within {} s ({} \"{asked}\" was not answered){last}",
                    limit_ns as f64 / 1e9,
                    def.name
                )));
            }
            // A service answers within milliseconds of its start; asked every half, a restart is timed to that.
            clock.sleep_until(clock.now_ns() + 500_000);
        }
    }

    fn failed(&self, cause: String) -> StageError {
        StageError::Service {
            name: self.name.clone(),
            cause,
            log: self.child.tail(8),
        }
    }

    /// Asks it to end and waits for it. Gives the instant of the request and the instant of its end.
    pub fn stop(&mut self, clock: &Clock) -> Result<(u64, u64), StageError> {
        let begun = clock.now_ns();
        self.expected_down = true;
        let grace = self.stop_within();
        let report = self.child.stop(grace).map_err(|e| self.failed(e.to_string()))?;
        Ok((report.signal_sent_at_ns.unwrap_or(begun), clock.now_ns()))
    }

    /// Ends it without warning. Gives the instants of the signal and of its end.
    pub fn kill(&mut self, clock: &Clock) -> Result<(u64, u64), StageError> {
        let begun = clock.now_ns();
        self.expected_down = true;
        self.child.kill().map_err(|e| self.failed(e.to_string()))?;
        Ok((begun, clock.now_ns()))
    }

    /// Freezes it.
    pub fn pause(&mut self) -> Result<(), StageError> {
        self.child.pause().map_err(|e| self.failed(e.to_string()))?;
        self.paused = true;
        Ok(())
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<(), StageError> {
        self.child.resume().map_err(|e| self.failed(e.to_string()))?;
        self.paused = false;
        Ok(())
    }

    /// Starts it anew and waits until it is ready. Gives the instant of the start.
    pub fn start(&mut self, engine: &Engine<'_>, variables: &Variables) -> Result<u64, StageError> {
        if !self.expected_down {
            return Err(self.failed("it runs already, so it cannot be started; stop or kill it before".to_owned()));
        }
        let begun = engine.clock().now_ns();
        self.child = Child::spawn(self.spec.clone()).map_err(|e| self.failed(e.to_string()))?;
        self.wait_ready(engine, variables)?;
        self.expected_down = false;
        Ok(begun)
    }
}
