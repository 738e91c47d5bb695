//! The command line of the reducer.

use super::window::Policy;
use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use crate::platform::nanos;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

const SERVICE: &str = "Service";
const WINDOWS: &str = "Windows";
const OPERATION: &str = "Operation";

/// Arguments of `reducer`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// SQLite database; created if absent
    #[arg(long, value_name = "PATH", help_heading = SERVICE)]
    pub db: PathBuf,
    /// Name of this instance; pid-PID if absent
    #[arg(long, value_name = "ID", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Connections to the broker; the methods' subscriptions are spread over them in turn
    #[arg(long, value_name = "N", default_value = "2", help_heading = SERVICE)]
    pub connections: NonZeroUsize,

    /// Items of a window by count
    #[arg(long, value_name = "N", default_value = "100", help_heading = WINDOWS)]
    pub window_count: NonZeroU64,
    /// Length of a window of event time
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = window, help_heading = WINDOWS)]
    pub window_span: Duration,
    /// How long a window of event time stays open beyond its end, in event time; what comes later is counted as late
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration::parse, help_heading = WINDOWS)]
    pub lateness: Duration,

    /// Most time that a drain waits for calls that were taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = OPERATION)]
    pub drain_limit: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,
}

fn window(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    // Event times of stamps are stored in milliseconds.
    if duration.is_zero() || !nanos(duration).is_multiple_of(1_000_000) {
        return Err(format!("'{text}' is no window: write whole milliseconds, at least 1ms"));
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

    /// When windows close.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            count: self.window_count,
            span_ns: NonZeroU64::new(nanos(self.window_span)).unwrap_or(NonZeroU64::MIN),
            lateness_ns: nanos(self.lateness),
        }
    }
}
