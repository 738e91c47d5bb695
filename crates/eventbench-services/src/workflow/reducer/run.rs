//! Puts the reducer together: its thread, and the methods that feed it.

use super::args::Args;
use super::methods::methods;
use super::store::Store;
use super::writer::{Counters, Writer};
use crate::kit::service::{Service, runtime, signalled};
use crate::workflow::subjects::REDUCER;
use crate::{ServiceDef, ServiceError, log};
use clap::{Args as _, FromArgMatches as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};

/// The reducer's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "reducer",
    about: "Adds up stamps, batches and streams over NATS and stores what they come to in SQLite",
    command: clap_command,
    run,
};

const THREAD: &str = "reducer";

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
    let policy = args.policy();
    let (store, windows) = Store::open(&args.db, &policy)?;
    let counters: Arc<Counters> = Arc::default();
    let (jobs, waiting) = mpsc::channel();
    let writer = Writer {
        store,
        windows,
        policy,
        counters: Arc::clone(&counters),
    };
    let failed = |cause: String| ServiceError::Thread { name: THREAD, cause };
    let thread = std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || writer.run(&waiting))
        .map_err(|cause| failed(cause.to_string()))?;
    let methods = methods(jobs, policy, args.db.clone(), Arc::clone(&counters));
    let outcome = runtime("control")?.block_on(async move {
        let mut service = Service::new(args.broker.clone(), REDUCER.to_owned(), args.instance(), methods);
        service.about = SERVICE.about.to_owned();
        service.connections = args.connections;
        service.drain_limit = args.drain_limit;
        service.run_until(stop).await
    });
    if outcome.is_ok() {
        // The service has dropped its methods, and with them the last way to ask the thread anything.
        thread.join().map_err(|_| failed("ended in a panic".to_owned()))?;
    }
    tracing::info!("stopped: {} transactions of stamps", counters.commits.load(Relaxed));
    outcome
}
