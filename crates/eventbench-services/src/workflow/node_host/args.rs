//! The command line of the node host.

use super::resources::How;
use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use std::num::NonZeroUsize;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

const SERVICE: &str = "Service";
const NODES: &str = "Nodes";
const OPERATION: &str = "Operation";

/// Arguments of `node-host`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// Name of this instance; pid-PID if absent
    #[arg(long, value_name = "ID", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Threads of the runtime that all nodes share
    #[arg(long, value_name = "N", default_value = "1", help_heading = SERVICE)]
    pub threads: NonZeroUsize,

    /// Nodes in this process, named INSTANCE-0, INSTANCE-1, …
    #[arg(long, value_name = "N", default_value = "1", help_heading = NODES)]
    pub nodes: NonZeroUsize,
    /// What the nodes say that they can do; may be given several times
    #[arg(long, value_name = "NAME", default_value = "node", help_heading = NODES)]
    pub capability: Vec<String>,
    /// Time between two beats of a node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = NODES)]
    pub beat_every: Duration,
    /// Whether the nodes beat by themselves; off: only when a request asks for it
    #[arg(long, value_name = "ON|OFF", default_value = "on", value_enum, help_heading = NODES)]
    pub beat: Switch,
    /// Where and how often resources are read
    #[arg(long, value_name = "HOW", value_enum, default_value_t = How::Cached, help_heading = NODES)]
    pub resources: How,
    /// How long a cached reading is good for
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse, help_heading = NODES)]
    pub ttl: Duration,
    /// Read again and again for this long at each reading, as on a machine where it is slow
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse, help_heading = NODES)]
    pub reading_takes: Duration,

    /// How long the nodes wait at the start for a registry that takes them
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = OPERATION)]
    pub registry_limit: Duration,
    /// Most time that a drain waits for calls that were taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = OPERATION)]
    pub drain_limit: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// It is done
    On,
    /// It is not done
    Off,
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() {
        return Err("0 is no time between two beats: write at least 1ms".to_owned());
    }
    Ok(duration)
}

impl Args {
    /// The name of this instance, given or made of the process id.
    pub fn instance(&self) -> String {
        self.instance
            .clone()
            .unwrap_or_else(|| format!("pid-{}", std::process::id()))
    }

    /// Time between two beats in the background; `None` if there are none.
    pub(crate) fn background(&self) -> Option<Duration> {
        (self.beat == Switch::On).then_some(self.beat_every)
    }
}
