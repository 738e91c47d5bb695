//! The command line of the orchestrator.

use crate::connection::NatsArgs;
use crate::duration;
use crate::kit::service::name;
use crate::workflow::router::{Listing, listed};
use crate::workflow::subjects;
use clap::builder::NonEmptyStringValueParser;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// Arguments of `orchestrator`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to reach the broker.
    #[command(flatten)]
    pub broker: NatsArgs,

    /// SQLite database with the states of all workflows; created if absent, and nobody else's
    #[arg(long, value_name = "PATH", help_heading = SERVICE)]
    pub db: PathBuf,
    /// Name of this instance, different from that of any other; pid-PID if absent
    #[arg(long, value_name = "ID", value_parser = name, help_heading = SERVICE)]
    pub instance: Option<String>,
    /// Connections to the broker for requests, and as many again for calls
    #[arg(long, value_name = "N", default_value = "1", help_heading = SERVICE)]
    pub connections: NonZeroUsize,
    /// Most bytes of a workflow's content
    #[arg(long, value_name = "N", default_value = "786432", help_heading = SERVICE)]
    pub max_content: usize,
    /// Workflows that are worked on at once; further ones wait
    #[arg(long, value_name = "N", default_value = "512", help_heading = SERVICE)]
    pub concurrency: NonZeroU32,
    /// Workflows that are accepted and have not ended; a further one is refused with code 503
    #[arg(long, value_name = "N", default_value = "20000", help_heading = SERVICE)]
    pub backlog: NonZeroU32,
    /// How long a request with until=stored waits for the reducer's row
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse, help_heading = SERVICE)]
    pub stored_limit: Duration,
    /// Most time that a drain waits for requests that were taken; workflows that have not ended go on after the next start
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = SERVICE)]
    pub drain_limit: Duration,

    /// Time after which a call of a worker counts as failed
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse, help_heading = CALLS)]
    pub call_timeout: Duration,
    /// How often a call is attempted, on another instance where there is one
    #[arg(long, value_name = "N", default_value = "6", help_heading = CALLS)]
    pub attempts: NonZeroU32,
    /// Pause before an attempt when every instance has been tried; each further one is twice as long
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = duration::parse, help_heading = CALLS)]
    pub backoff: Duration,
    /// Failures in a row that open the circuit breaker of an instance
    #[arg(long, value_name = "N", default_value = "5", help_heading = CALLS)]
    pub breaker_failures: NonZeroU32,
    /// How long a circuit breaker stays open before one call is let through
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse, help_heading = CALLS)]
    pub breaker_open: Duration,
    /// Workers to call as long as no registry answers, as in w1=metadata+tree,w2=hook; those that answer $SRV.INFO if absent
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = listed, help_heading = CALLS)]
    pub(crate) instances: Vec<Listing>,
    /// Time between two questions to the registry
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = positive, help_heading = CALLS)]
    pub refresh: Duration,
    /// How long workflows from before a restart wait for workers to be there
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, help_heading = CALLS)]
    pub patience: Duration,

    /// Take workflows from JetStream too, through a durable consumer
    #[arg(long, help_heading = JETSTREAM)]
    pub jetstream: bool,
    /// Stream of the workflows; created if absent
    #[arg(long, value_name = "NAME", default_value = "WORKFLOWS", value_parser = NonEmptyStringValueParser::new(), help_heading = JETSTREAM)]
    pub stream: String,
    /// Durable consumer
    #[arg(long, value_name = "NAME", default_value = subjects::ORCHESTRATOR, value_parser = NonEmptyStringValueParser::new(), help_heading = JETSTREAM)]
    pub durable: String,
    /// Time after which a workflow without acknowledgement is delivered again
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive, help_heading = JETSTREAM)]
    pub ack_wait: Duration,

    /// Time between two heartbeats on internal.heartbeat.orchestrator
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = OPERATION)]
    pub heartbeat: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = OPERATION)]
    pub log: LevelFilter,
}

const SERVICE: &str = "Service";
const CALLS: &str = "Calls of workers";
const JETSTREAM: &str = "JetStream";
const OPERATION: &str = "Operation";

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() {
        return Err("0 is no time between two: write at least 1ms".to_owned());
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("orchestrator").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_database_is_all_that_must_be_given() {
        let args = parse(&["--db", "x"]).unwrap();
        assert_eq!((args.attempts.get(), args.connections.get()), (6, 1));
        assert_eq!(
            (args.stream.as_str(), args.durable.as_str()),
            ("WORKFLOWS", "orchestrator")
        );
        let args = parse(&["--db", "x", "--instances", "a=tree,b=metadata+hook"]).unwrap();
        assert_eq!(args.instances.len(), 2);
        for arguments in [
            &[][..],
            &["--db", "x", "--instances", "a"],
            &["--db", "x", "--attempts", "0"],
            &["--db", "x", "--refresh", "0"],
            &["--db", "x", "--instance", "a.b"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
