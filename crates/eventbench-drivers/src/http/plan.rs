//! What all lanes of a trial share: the target, the tasks, and how they are asked.

use super::settings::{self, Reuse, Sources, Version};
use super::target::Target;
use super::task::{Request, Tasks};
use super::tls;
use eventbench_core::driver::{Driver, DriverError, Session};
use eventbench_core::payload::Template;
use eventbench_core::plan::Settings;
use eventbench_core::trial::{StreamSpec, Trial};
use eventbench_core::units::Duration;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;

/// Descriptors that the rest of the process is left.
const SPARE_FILES: u64 = 200;

/// What all lanes share.
pub struct Plan {
    /// Where requests go.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How to encrypt, and the name to look for; `None` without TLS.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What is asked.
    pub tasks: Tasks,
    /// For each task what its requests begin with.
    pub requests: Vec<Request>,
    /// How long a request may take.
    pub timeout_ns: u64,
    /// How connections are used.
    pub reuse: Reuse,
    /// Where connections come from.
    pub sources: Option<Sources>,
}

/// The driver.
pub struct Http {
    plan: Arc<Plan>,
    version: Version,
    lanes: u32,
    /// The most connections of all lanes together; `None` for as many as are needed.
    pool: Option<u32>,
}

impl Http {
    /// Makes the driver from its settings.
    ///
    /// # Errors
    /// In words: settings that make no sense, a host without an address, a CA file that cannot be read.
    pub fn open(name: &str, streams: bool, settings: &Settings, trial: &Trial) -> Result<Self, DriverError> {
        let failed = |e: String| DriverError::new(name, e);
        let (own, tasks) = settings::read(settings, streams).map_err(|e| failed(e.to_string()))?;
        let url = trial.variables.expand(&own.url).map_err(failed)?;
        let target = Target::parse(&url).map_err(|e| failed(e.to_string()))?;
        let address = target
            .resolve()
            .map_err(|e| DriverError::new(format!("{name} {url}"), format!("the host cannot be found: {e}")))?;
        let tls = if target.tls {
            let protocol: &[u8] = if own.http == Version::Two { b"h2" } else { b"http/1.1" };
            let ca = own
                .ca
                .as_deref()
                .map(|ca| trial.variables.expand(ca))
                .transpose()
                .map_err(failed)?;
            let config = tls::config(ca.as_deref(), own.insecure, protocol).map_err(failed)?;
            Some((config, tls::server_name(&target.host).map_err(failed)?))
        } else {
            None
        };
        let requests = tasks
            .requests(&target, own.connection, &trial.variables)
            .map_err(failed)?;
        Ok(Self {
            version: own.http,
            lanes: trial.lanes,
            pool: own.pool.or((trial.connections > 1).then_some(trial.connections)),
            plan: Arc::new(Plan {
                target,
                address,
                tls,
                tasks,
                requests,
                timeout_ns: own.timeout.map_or(60_000_000_000, Duration::ns),
                reuse: own.connection,
                sources: own.sources,
            }),
        })
    }
}

impl Driver for Http {
    fn streams(&self) -> Vec<StreamSpec> {
        self.plan.tasks.streams(self.lanes)
    }

    fn session(&self, trial: &Trial, lane: u32) -> Result<Box<dyn Session>, DriverError> {
        let share = |n: u32| n / trial.lanes + u32::from(lane < n % trial.lanes);
        let files = (open_files().saturating_sub(SPARE_FILES) / u64::from(trial.lanes)).max(1) as u32;
        let most = self.pool.map_or(files, |n| share(n).max(1).min(files));
        let failed = |e| DriverError::new("sockets of the instrument", e);
        match self.version {
            Version::One => {
                let session = super::lane::HttpLane::new(self.plan.clone(), trial.lanes, most, trial.epoch_ms);
                Ok(Box::new(session.map_err(failed)?))
            }
            Version::Two => Ok(Box::new(super::h2::H2Lane::new(
                self.plan.clone(),
                trial.lanes,
                most,
                trial.epoch_ms,
            ))),
        }
    }

    fn template(&self, stream: u32) -> Option<&Template> {
        let tasks = &self.plan.tasks;
        tasks.get(tasks.of_stream(stream, self.lanes)).body.as_ref()
    }
}

/// How many files may be open, after asking for as many as are allowed.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum.unwrap_or(1 << 20);
    }
    limit.current.unwrap_or(1 << 20)
}
