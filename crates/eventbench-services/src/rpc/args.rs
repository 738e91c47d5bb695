//! The command line of the RPC service.

use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use crate::kit::{events, registry};
use async_nats::jetstream::stream::StorageType;
use clap::builder::NonEmptyStringValueParser;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// Arguments of `rpc`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// Name of the service: its methods are called on rpc.NAME.METHOD, in the queue group rpc.NAME
    #[arg(long, value_name = "NAME", default_value = "echo", value_parser = name, help_heading = SERVICE)]
    pub name: String,
    /// Name of this instance, different from that of any other; pid-PID if absent
    #[arg(long, value_name = "ID", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Connections to the broker; the methods' subscriptions are spread over them in turn
    #[arg(long, value_name = "N", default_value = "3", help_heading = SERVICE)]
    pub connections: NonZeroUsize,
    /// How long a call of the method slow waits unless it asks for another time
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = duration::parse, help_heading = SERVICE)]
    pub slow_call: Duration,
    /// CPU time that a call of the method burn uses, on a thread of its own, unless it asks for another
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = duration::parse, help_heading = SERVICE)]
    pub burn_call: Duration,
    /// Delay every answer by this long, without holding up other calls (resolution 1 ms): an instance slower than the others
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse, help_heading = SERVICE)]
    pub slow: Duration,
    /// Burn this much CPU time for every call, on the thread that reads the requests
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse, help_heading = SERVICE)]
    pub burn: Duration,
    /// Most time that a drain waits for calls that were taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = SERVICE)]
    pub drain_limit: Duration,

    /// Use JetStream: keep an entry in the registry
    #[arg(long, help_heading = JETSTREAM)]
    pub jetstream: bool,
    /// Consume events through a durable consumer: those of SUBJECT, or of events.>
    #[arg(long, value_name = "SUBJECT", num_args = 0..=1, default_missing_value = events::SUBJECTS, requires = "jetstream", help_heading = JETSTREAM)]
    pub consume: Option<String>,
    /// Work on commands.NAME.*
    #[arg(long, requires = "jetstream", help_heading = JETSTREAM)]
    pub commands: bool,
    /// Write each event that was handled to this SQLite database, before it is acknowledged
    #[arg(long, value_name = "PATH", requires = "consume", help_heading = JETSTREAM)]
    pub db: Option<PathBuf>,
    /// Stream of the events; created if absent
    #[arg(long, value_name = "NAME", default_value = events::STREAM, value_parser = NonEmptyStringValueParser::new(), help_heading = JETSTREAM)]
    pub stream: String,
    /// Durable consumer, shared by the instances that are to share the events; NAME of the service if absent
    #[arg(long, value_name = "NAME", help_heading = JETSTREAM)]
    pub durable: Option<String>,
    /// Time after which an event without acknowledgement is delivered again
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse, help_heading = JETSTREAM)]
    pub ack_wait: Duration,
    /// Deliveries after which an event that fails is given up
    #[arg(long, value_name = "N", default_value = "20", help_heading = JETSTREAM)]
    pub max_deliver: NonZeroU32,
    /// Storage of streams and bucket: demanded of those that exist if given; else any is taken, and new ones are in files
    #[arg(long, value_name = "WHERE", value_parser = storage, help_heading = JETSTREAM)]
    pub storage: Option<StorageType>,
    /// Replicas of streams and bucket: demanded of those that exist if given; else any is taken, and new ones have one
    #[arg(long, value_name = "N", help_heading = JETSTREAM)]
    pub replicas: Option<NonZeroUsize>,
    /// Key-value bucket of the registry; created if absent
    #[arg(long, value_name = "NAME", default_value = registry::BUCKET, help_heading = JETSTREAM)]
    pub registry: String,
    /// Age at which a new registry forgets an instance that no longer beats
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, help_heading = JETSTREAM)]
    pub registry_ttl: Duration,

    /// Time between two heartbeats on internal.heartbeat.NAME
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = OPERATION)]
    pub heartbeat: Duration,
    /// Serve /metrics (Prometheus text) and /health on this port of 127.0.0.1
    #[arg(long, value_name = "PORT", help_heading = OPERATION)]
    pub metrics_port: Option<u16>,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,

    /// Faults to inject; for tests only.
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// Faults that the consumer of events injects into itself, so that a test can see that they are noticed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FaultArgs {
    /// Fault injection: fail the first N deliveries of events, which then come again
    #[arg(
        long,
        value_name = "N",
        requires = "consume",
        hide_short_help = true,
        help_heading = FAULTS
    )]
    pub fail_first: Option<NonZeroU64>,
    /// Fault injection: abort the process once N events are handled (and written), before these are acknowledged
    #[arg(
        long,
        value_name = "N",
        requires = "consume",
        hide_short_help = true,
        help_heading = FAULTS
    )]
    pub crash_after: Option<NonZeroU64>,
}

const SERVICE: &str = "Service";
const JETSTREAM: &str = "JetStream";
const OPERATION: &str = "Operation";
const FAULTS: &str = "Fault injection (tests only)";

fn storage(text: &str) -> Result<StorageType, String> {
    match text {
        "file" => Ok(StorageType::File),
        "memory" => Ok(StorageType::Memory),
        _ => Err(format!("'{text}' is no storage: write file or memory")),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() {
        return Err("0 is no time between two heartbeats: write at least 1ms".to_owned());
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

    /// The name of the durable consumer.
    pub fn durable(&self) -> &str {
        self.durable.as_deref().unwrap_or(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("rpc").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn defaults_are_those_that_the_help_names() {
        let args = parse(&[]).unwrap();
        assert_eq!(
            (args.name.as_str(), args.durable(), args.connections.get()),
            ("echo", "echo", 3)
        );
        assert_eq!((args.slow, args.burn), (Duration::ZERO, Duration::ZERO));
        assert_eq!((args.consume.as_deref(), args.stream.as_str()), (None, "EVENTS"));
        assert_eq!(args.instance(), format!("pid-{}", std::process::id()));
        assert_eq!((args.storage, args.replicas), (None, None));
    }

    #[test]
    fn consuming_takes_all_events_or_those_asked_for() {
        assert_eq!(
            parse(&["--jetstream", "--consume"]).unwrap().consume.as_deref(),
            Some("events.>")
        );
        let some = parse(&["--consume", "events.chat.*", "--jetstream", "--db", "x"]).unwrap();
        assert_eq!(some.consume.as_deref(), Some("events.chat.*"));
        let memory = parse(&["--storage", "memory", "--replicas", "3"]).unwrap();
        assert_eq!(
            (memory.storage, memory.replicas.map(NonZeroUsize::get)),
            (Some(StorageType::Memory), Some(3))
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [
            &["--consume"][..],
            &["--commands"],
            &["--jetstream", "--db", "x"],
            &["--jetstream", "--crash-after", "1"],
            &["--jetstream", "--consume", "--crash-after", "0"],
            &["--connections", "0"],
            &["--name", "a.b"],
            &["--name", "progress"],
            &["--instance", ""],
            &["--storage", "tape"],
            &["--replicas", "0"],
            &["--heartbeat", "0"],
            &["--slow", "fast"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
