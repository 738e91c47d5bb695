//! The command line of the registry.

use super::membership::Policy;
use crate::ServiceError;
use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use crate::platform::nanos;
use clap::error::ErrorKind;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

const SERVICE: &str = "Service";
const BEATS: &str = "Heartbeats";
const OPERATION: &str = "Operation";

/// Arguments of `registry`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// Name of this instance; pid-PID if absent
    #[arg(long, value_name = "ID", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Connections to the broker for requests; heartbeats have one of their own
    #[arg(long, value_name = "N", default_value = "1", help_heading = SERVICE)]
    pub connections: NonZeroUsize,

    /// Time between two beats of a node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse, help_heading = BEATS)]
    pub beat_every: Duration,
    /// Missed beats after which a node is suspect
    #[arg(long, value_name = "N", default_value = "3", help_heading = BEATS)]
    pub suspect_after: NonZeroU64,
    /// Missed beats after which a node is lost; more than make it suspect
    #[arg(long, value_name = "N", default_value = "6", help_heading = BEATS)]
    pub lost_after: NonZeroU64,

    /// Most time that a drain waits for calls that were taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = OPERATION)]
    pub drain_limit: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,
}

impl Args {
    /// The name of this instance, given or made of the process id.
    pub fn instance(&self) -> String {
        self.instance
            .clone()
            .unwrap_or_else(|| format!("pid-{}", std::process::id()))
    }

    /// When nodes count as suspect and as lost.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] if no node could ever be suspect, or all always are.
    pub(crate) fn policy(&self) -> Result<Policy, ServiceError> {
        let refused = |told: &str| clap::Error::raw(ErrorKind::ValueValidation, format!("{told}\n"));
        if self.lost_after <= self.suspect_after {
            return Err(refused("--lost-after must be more than --suspect-after").into());
        }
        if self.beat_every.is_zero() {
            return Err(refused("--beat-every 0 is no time between two beats: write at least 1ms").into());
        }
        Ok(Policy {
            every_ns: nanos(self.beat_every),
            suspect_after: self.suspect_after.get(),
            lost_after: self.lost_after.get(),
        })
    }
}
