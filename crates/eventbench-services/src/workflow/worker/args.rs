//! The command line of a worker.

use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// What a worker can do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Capability {
    /// Stamp its content: BLAKE3 and length
    Metadata,
    /// Classify it by its content
    Tree,
    /// Deliver it to a subscriber and wait for the acknowledgement
    Hook,
}

impl Capability {
    /// The last token of the subject where it is called.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Metadata => "metadata",
            Capability::Tree => "tree",
            Capability::Hook => "hook",
        }
    }
}

/// Arguments of `worker`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// What it offers, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        required = true,
        help_heading = SERVICE
    )]
    pub capability: Vec<Capability>,
    /// Name of this instance, different from that of any other; pid-PID if absent
    #[arg(long, value_name = "NAME", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Connections to the broker; the subscriptions are spread over them in turn
    #[arg(long, value_name = "N", default_value = "1", help_heading = SERVICE)]
    pub connections: NonZeroUsize,
    /// Subject to which hook delivers; a subscriber of the worker's own on another connection if absent
    #[arg(long, value_name = "SUBJECT", value_parser = NonEmptyStringValueParser::new(), help_heading = SERVICE)]
    pub hook_subject: Option<String>,
    /// How long hook waits for the subscriber's acknowledgement
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = SERVICE)]
    pub hook_timeout: Duration,
    /// Most time that a drain waits for calls that were taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = SERVICE)]
    pub drain_limit: Duration,

    /// Time between two heartbeats, to the registry and on internal.heartbeat.worker
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = OPERATION)]
    pub heartbeat: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,

    /// Faults to inject; for tests only.
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// Faults that a worker injects into itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FaultArgs {
    /// Delay every answer by this long, without holding up other calls (resolution 1 ms)
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse, help_heading = FAULTS)]
    pub slow: Duration,
    /// Fault injection: answer every Nth call with error 500
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = FAULTS)]
    pub fail_every: Option<NonZeroU64>,
    /// Fault injection: panic over content that holds this text
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), hide_short_help = true, help_heading = FAULTS)]
    pub poison: Option<String>,
}

const SERVICE: &str = "Service";
const OPERATION: &str = "Operation";
const FAULTS: &str = "Fault injection (tests only)";

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() {
        return Err("0 is too short: write at least 1ms".to_owned());
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

    /// What it offers, each once.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut capabilities = self.capability.clone();
        capabilities.sort_unstable();
        capabilities.dedup();
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("worker").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn capabilities_are_a_list_and_each_counts_once() {
        let args = parse(&["--capability", "hook,metadata,hook", "--instance", "w1"]).unwrap();
        assert_eq!(args.capabilities(), [Capability::Metadata, Capability::Hook]);
        for capability in Capability::value_variants() {
            let value = capability.to_possible_value().unwrap();
            assert_eq!(value.get_name(), capability.name());
        }
        for arguments in [
            &[][..],
            &["--capability", "magic"],
            &["--capability", "tree", "--fail-every", "0"],
            &["--capability", "tree", "--instance", "a.b"],
            &["--capability", "tree", "--hook-timeout", "0"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
