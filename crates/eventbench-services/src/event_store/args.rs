//! The event store's command line.

use crate::connection::NatsArgs;
use crate::duration;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// Arguments of `event-store`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// SQLite database to store into; created if absent
    #[arg(long, value_name = "PATH", help_heading = "Storage")]
    pub db: PathBuf,
    /// Commit a batch at this many events
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Storage")]
    pub batch_count: NonZeroUsize,
    /// Commit a batch this long after its first event (0, 500us, 2ms, 1s); 0 commits as soon as nothing more is waiting
    #[arg(long, value_name = "DURATION", default_value = "200us", value_parser = duration::parse, help_heading = "Storage")]
    pub batch_time: Duration,
    /// Events that may wait for the writer; when full, the service stops reading instead of growing
    #[arg(long, value_name = "N", default_value = "65536", help_heading = "Storage")]
    pub queue_depth: NonZeroUsize,
    /// Largest payload accepted, in bytes; a larger one counts as malformed
    #[arg(long, value_name = "BYTES", default_value = "262144", help_heading = "Storage")]
    pub max_payload: NonZeroUsize,
    /// Append a line for each commit and table: CLOCK_MONOTONIC in ns, table, first id, last id, separated by tabs
    #[arg(long, value_name = "FILE", help_heading = "Storage")]
    pub commit_log: Option<PathBuf>,

    /// Queue group of the subscriptions: of several stores with one group, each event goes to one
    #[arg(long, value_name = "GROUP", default_value = "event-store", help_heading = "Source")]
    pub queue: String,
    /// Consume from a JetStream stream with explicit acknowledgement after the commit (at least once)
    #[arg(long, conflicts_with = "direct", help_heading = "Source")]
    pub jetstream: bool,
    /// JetStream: stream to consume; created with file storage if absent
    #[arg(long, value_name = "NAME", default_value = "EVENTBUS", help_heading = "Source")]
    pub stream: String,
    /// JetStream: durable consumer; created if absent
    #[arg(long, value_name = "NAME", default_value = "event-store", help_heading = "Source")]
    pub durable: String,
    /// JetStream: time after which an event without acknowledgement is delivered again
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse, help_heading = "Source")]
    pub ack_wait: Duration,
    /// Take events from this Unix socket instead of NATS, each at its due time
    #[arg(long, value_name = "SOCKET", conflicts_with = "nats", help_heading = "Source")]
    pub direct: Option<PathBuf>,

    /// Serve /metrics (Prometheus text) and /health on this port of 127.0.0.1
    #[arg(long, value_name = "PORT", help_heading = "Operation")]
    pub metrics_port: Option<u16>,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Operation")]
    pub log: LevelFilter,

    /// Faults to inject; for tests only.
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// Faults that the service injects into itself, so that a test can see that they are noticed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FaultArgs {
    /// Fault injection: stall the writer once in each such period (with --pause-for)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "pause_for", hide_short_help = true, help_heading = FAULTS)]
    pub pause_every: Option<Duration>,
    /// Fault injection: how long each stall of the writer lasts
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "pause_every", hide_short_help = true, help_heading = FAULTS)]
    pub pause_for: Option<Duration>,
    /// Fault injection: drop each Nth event silently
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = FAULTS)]
    pub drop_every: Option<NonZeroU64>,
    /// Fault injection: make the handling of each event this much slower (below 1 ms by burning CPU, above by sleeping)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, hide_short_help = true, help_heading = FAULTS)]
    pub slow: Option<Duration>,
    /// Fault injection: burn this much CPU time for each event, in the writer's thread between parsing and storing it, and
    /// for each query on bus.query.*, in the thread that answers it, before it does. Counted by that thread's CPU clock;
    /// events that are dropped or malformed, health and /metrics burn nothing
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, hide_short_help = true, help_heading = FAULTS)]
    pub burn: Option<Duration>,
}

const FAULTS: &str = "Fault injection (tests only)";

impl Args {
    /// Where the events come from, in one word, as `bus.health` shows it.
    pub fn mode(&self) -> &'static str {
        match (&self.direct, self.jetstream) {
            (Some(_), _) => "direct",
            (None, true) => "jetstream",
            (None, false) => "nats",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("event-store").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn defaults_are_those_that_the_help_names() {
        let args = parse(&["--db", "x.db"]).unwrap();
        assert_eq!(args.batch_count.get(), 1_000);
        assert_eq!(args.batch_time, Duration::from_micros(200));
        assert_eq!(args.queue_depth.get(), 65_536);
        assert_eq!(
            (args.queue.as_str(), args.stream.as_str(), args.durable.as_str()),
            ("event-store", "EVENTBUS", "event-store")
        );
        assert_eq!(args.broker.url(), "nats://127.0.0.1:4222");
        assert_eq!(args.mode(), "nats");
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [
            &["--nats", "nats://localhost"][..],
            &["--db", "x", "--direct", "s", "--jetstream"],
            &["--db", "x", "--direct", "s", "--nats", "nats://localhost"],
            &["--db", "x", "--pause-every", "1s"],
            &["--db", "x", "--user", "a"],
            &["--db", "x", "--batch-count", "0"],
            &["--db", "x", "--batch-time", "fast"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn faults_are_left_out_of_the_short_help_and_named_in_the_long_one() {
        let mut command = Args::augment_args(clap::Command::new("event-store"));
        assert!(!command.render_help().to_string().contains("--drop-every"));
        assert!(command.render_long_help().to_string().contains("Fault injection"));
    }
}
