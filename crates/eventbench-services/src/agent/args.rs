//! The command line of the agent service.

use super::fault::Fault;
use crate::duration;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// Arguments of `agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to serve on, over HTTP/1.1 and HTTP/2; port 0 takes a free one, which the log names
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000", help_heading = SERVER)]
    pub listen: SocketAddr,
    /// Serve over TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = SERVER)]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = SERVER)]
    pub tls_key: Option<PathBuf>,
    /// Threads that serve; as many as there are cores if absent
    #[arg(long, value_name = "N", help_heading = SERVER)]
    pub threads: Option<NonZeroUsize>,
    /// Runs that may be open at once; one more is refused with status 429
    #[arg(long, value_name = "N", default_value = "20000", help_heading = SERVER)]
    pub max_runs: NonZeroUsize,
    /// Largest body of a request, in bytes; a larger one is refused with status 413
    #[arg(long, value_name = "BYTES", default_value = "1048576", help_heading = SERVER)]
    pub max_body: NonZeroUsize,
    /// Runs whose request is kept for a resume by Last-Event-ID; the oldest goes first
    #[arg(long, value_name = "N", default_value = "1024", help_heading = SERVER)]
    pub keep_runs: NonZeroUsize,
    /// Send a comment on a stream that was silent for this long; 0 sends none
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::parse, help_heading = SERVER)]
    pub heartbeat: Duration,
    /// Most time that a drain leaves open runs to finish; what is open then ends with RUN_ERROR
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, help_heading = SERVER)]
    pub drain_limit: Duration,
    /// Log level on standard error: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = SERVER)]
    pub log: LevelFilter,

    /// SQLite database of the accounts; created and seeded if absent
    #[arg(long, value_name = "PATH", help_heading = RUNS)]
    pub db: PathBuf,
    /// Accounts in a new database, named ACC-000001 and so on
    #[arg(long, value_name = "N", default_value = "1000", help_heading = RUNS)]
    pub accounts: NonZeroU32,
    /// Seed of a new database: the same seed makes the same accounts
    #[arg(long, value_name = "S", default_value = "1", help_heading = RUNS)]
    pub seed: u64,
    /// Time between two events of a run unless the request asks for another (options.pace_ms or forwardedProps.pace_ms);
    /// 0 sends each as soon as it is there
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse, help_heading = RUNS)]
    pub pace: Duration,

    /// Fault injection; may be given several times:
    ///
    /// truncate=N  cut every Nth run before RUN_FINISHED;
    /// wrong-ids=N  give every Nth run another runId than was asked for;
    /// unknown-tool-result=N  name an unknown call in the tool results of every Nth run;
    /// bad-delta=N  send a STATE_DELTA that does not apply in every Nth run;
    /// drop-every=N  drop every Nth event of each run;
    /// slow=DURATION  hold each event back for this long after it was stamped;
    /// stall=DURATION:N  hold the 10th event of every Nth run back for this long;
    /// leak=SIZE  keep this much memory (as in 64KB, 1MB) of each run for ever.
    #[arg(
        long = "fault",
        value_name = "FAULT=VALUE",
        value_parser = Fault::parse,
        verbatim_doc_comment,
        hide_short_help = true,
        help_heading = FAULTS
    )]
    pub faults: Vec<Fault>,
}

const SERVER: &str = "Server";
const RUNS: &str = "Runs";
const FAULTS: &str = "Fault injection (tests only)";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("agent").no_binary_name(true));
        let all = ["--db", "x"].iter().chain(arguments);
        Args::from_arg_matches(&command.try_get_matches_from(all)?)
    }

    #[test]
    fn defaults_are_those_that_the_help_names() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.listen, SocketAddr::from(([127, 0, 0, 1], 8000)));
        assert_eq!(
            (args.max_runs.get(), args.max_body.get(), args.keep_runs.get()),
            (20_000, 1 << 20, 1024)
        );
        assert_eq!((args.pace, args.heartbeat), (Duration::ZERO, Duration::from_secs(15)));
        assert_eq!((args.accounts.get(), args.seed, args.threads), (1_000, 1, None));
        assert!(args.faults.is_empty());
    }

    #[test]
    fn every_fault_is_in_the_help() {
        let help = Args::augment_args(clap::Command::new("agent"))
            .render_long_help()
            .to_string();
        for name in Fault::NAMES {
            assert!(help.contains(&format!("{name}=")), "{name} is not in\n{help}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [
            &["--listen", "8000"][..],
            &["--tls-cert", "cert.pem"],
            &["--tls-key", "key.pem"],
            &["--max-runs", "0"],
            &["--threads", "0"],
            &["--accounts", "0"],
            &["--pace", "5"],
            &["--fault", "slow"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
