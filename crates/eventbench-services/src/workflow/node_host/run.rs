//! Puts the node host together: its methods, and the part in which the nodes live.

use super::args::Args;
use super::host::{Place, host};
use super::methods::methods;
use crate::kit::service::{Part, Service, Signals, runtime, signalled};
use crate::{ServiceDef, ServiceError, log};
use clap::{Args as _, FromArgMatches as _};
use tokio::runtime::Handle;

/// The node host's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "node-host",
    about: "Many logical nodes in one process that beat to the registry and read their machine's resources",
    command: clap_command,
    run,
};

/// The name in subjects: `rpc.nodes.<method>`.
const NAME: &str = "nodes";

fn clap_command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Runs the service until `stop` is ready, then finishes and answers what it has taken.
///
/// # Errors
/// Anything that keeps the service from starting or that ended it, and a drain that exceeds its limit.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    let place = Place::default();
    runtime("control")?.block_on(async move {
        let mut service = Service::new(args.broker.clone(), NAME.to_owned(), args.instance(), methods(&place));
        service.about = SERVICE.about.to_owned();
        service.connections = std::num::NonZeroUsize::MIN;
        service.drain_limit = args.drain_limit;
        service.part(Part::new(NAME, move |signals| nodes(args, signals, place)));
        service.run_until(stop).await
    })
}

/// The nodes, on the part's own thread or on as many as are asked for.
async fn nodes(args: Args, signals: Signals, place: Place) -> Result<(), ServiceError> {
    let failed = |cause: String| ServiceError::Thread { name: NAME, cause };
    let threads = args.threads.get();
    let many = if threads > 1 {
        let many = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(NAME)
            .enable_all()
            .build();
        Some(many.map_err(|cause| failed(cause.to_string()))?)
    } else {
        None
    };
    let handle = many.as_ref().map_or_else(Handle::current, |many| many.handle().clone());
    let outcome = handle.spawn(host(args, signals, place)).await;
    if let Some(many) = many {
        many.shutdown_background();
    }
    outcome.unwrap_or_else(|cause| Err(failed(cause.to_string())))
}
