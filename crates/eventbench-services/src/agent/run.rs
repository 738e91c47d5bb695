//! Puts the service together: database, workers, port; and takes it apart so that no run is left without an end.

use super::accounts::{Database, Directory};
use super::args::Args;
use super::fault::Faults;
use super::kept::KeptRuns;
use super::listener::{self, Incoming};
use super::metrics::{self, Counters, Shard};
use super::server;
use super::worker::{Phase, Shared, Worker};
use crate::kit::service::{runtime, signalled};
use crate::platform::monotonic_ns;
use crate::{ServiceDef, ServiceError, log};
use axum::extract::Request;
use axum::handler::HandlerWithoutStateExt;
use clap::{Args as _, FromArgMatches as _};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// The agent service's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "agent",
    about: "Runs agent workflows and streams them as AG-UI events over server-sent events",
    command,
    run,
};

/// How long connections may take to close after the last run has ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

fn command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Runs the service until `stop` is ready, then takes nothing more and lets the open runs end.
///
/// # Errors
/// Anything that keeps the service from starting or that ended it.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    Agent::bind(args)?.run_until(stop)
}

/// The service with its port open and its database read: clients may connect, and are served once it runs.
pub struct Agent {
    address: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    phase: watch::Sender<Phase>,
    drain_limit: Duration,
}

impl Agent {
    /// Opens the port, and the database, which is seeded if it is new.
    ///
    /// # Errors
    /// A port, a certificate or a database that cannot be used, and what to do about it.
    pub fn bind(args: Args) -> Result<Agent, ServiceError> {
        let tls = listener::tls(&args)?;
        // Before the database, which takes longer: a port in use is told at once.
        let listener = listener::bind(args.listen)?;
        let address = listener.local_addr().map_err(|cause| ServiceError::Open {
            what: "listening address",
            place: args.listen.to_string(),
            cause,
        })?;
        listener::allow_many_connections();
        Database::seed(&args.db, args.accounts, args.seed)?;
        let directory: Directory = Database::open(&args.db)?.directory(&args.db)?;
        let threads = args
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let shards: Vec<Arc<Shard>> = (0..threads).map(|_| Arc::default()).collect();
        let open_runs = Arc::default();
        let (phase, watched) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
            directory,
            faults: Faults::new(args.faults),
            kept: Mutex::new(KeptRuns::new(args.keep_runs.get())),
            open_runs: Arc::clone(&open_runs),
            registry: metrics::registry(Counters {
                shards: shards.clone(),
                open_runs,
            }),
            phase: watched,
            draining: AtomicBool::new(false),
            unnamed_runs: AtomicU64::new(1),
            started_ns: monotonic_ns(),
            max_runs: args.max_runs.get(),
            max_body: args.max_body.get(),
            pace: args.pace,
            heartbeat: args.heartbeat,
        });
        let workers = shards
            .into_iter()
            .map(|shard| {
                Ok(Worker {
                    shared: Arc::clone(&shared),
                    shard,
                    database: Mutex::new(Database::open(&args.db)?),
                })
            })
            .collect::<Result<Vec<Worker>, ServiceError>>()?;
        Ok(Agent {
            address,
            listener,
            tls,
            shared,
            workers,
            phase,
            drain_limit: args.drain_limit,
        })
    }

    /// Where it listens, with the port that was taken for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then drains: closes the port, lets the open runs finish within the limit, and ends
    /// those that have not by RUN_ERROR.
    ///
    /// # Errors
    /// A thread that cannot be started or that ended before its time.
    pub fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
        runtime("control")?.block_on(self.serve(stop))
    }

    async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(|cause| ServiceError::Open {
            what: "listening address",
            place: self.address.to_string(),
            cause,
        })?;
        let threads = self.workers.len();
        let mut senders = Vec::with_capacity(threads);
        let mut ends = Vec::with_capacity(threads);
        for worker in self.workers {
            let (sender, accepted) = mpsc::unbounded_channel();
            senders.push(sender);
            let incoming = Incoming::new(self.address, accepted, self.tls.clone());
            ends.push(spawn(worker, incoming)?);
        }
        let mut all_ended = std::pin::pin!(futures_util::future::try_join_all(ends));
        tracing::info!(
            "ready: {scheme}://{}/api/copilotkit, {} accounts, {threads} threads",
            self.address,
            self.shared.directory.len()
        );
        tokio::select! {
            () = stop => {}
            () = listener::deal(&listener, &senders) => {}
            // A worker ends by itself only in a panic.
            ended = &mut all_ended => return ended.map(drop).map_err(panicked),
        }
        // First this, so that nobody who finds the port closed is served all the same.
        self.shared.draining.store(true, SeqCst);
        drop((listener, senders));
        // There is always a receiver: the shared state holds one.
        let _ = self.phase.send(Phase::Draining);
        let left = || self.shared.open_runs.load(Relaxed);
        let mut ended = tokio::time::timeout(self.drain_limit, &mut all_ended).await;
        if ended.is_err() {
            tracing::warn!(
                "{} runs are still open after {:?}: they end now",
                left(),
                self.drain_limit
            );
            let _ = self.phase.send(Phase::Ending);
            ended = tokio::time::timeout(CLOSE_LIMIT, &mut all_ended).await;
        }
        match ended {
            Ok(ended) => ended.map(drop).map_err(panicked)?,
            Err(_) => tracing::warn!(
                "some clients neither read nor close: left behind, {} of them in a run",
                left()
            ),
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn panicked(_: oneshot::error::RecvError) -> ServiceError {
    ServiceError::Thread {
        name: WORKER,
        cause: "ended in a panic".to_owned(),
    }
}

const WORKER: &str = "agent-worker";

/// Starts the thread of a worker. The receiver hears of its end; an error of the channel says that it panicked.
fn spawn(worker: Worker, incoming: Incoming) -> Result<oneshot::Receiver<()>, ServiceError> {
    let (ended, end) = oneshot::channel();
    let runtime = runtime(WORKER)?;
    std::thread::Builder::new()
        .name(WORKER.to_owned())
        .spawn(move || {
            runtime.block_on(work(worker, incoming));
            // Nobody waits any more when the service has ended with an error.
            let _ = ended.send(());
        })
        .map_err(|cause| ServiceError::Thread {
            name: WORKER,
            cause: cause.to_string(),
        })?;
    Ok(end)
}

/// Serves the connections of one worker until the service drains and they are done.
async fn work(worker: Worker, incoming: Incoming) {
    let mut phase = worker.shared.phase.clone();
    let draining = async move {
        // An error says that the service is gone.
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    };
    let worker = Arc::new(worker);
    let handler = move |request: Request| server::answer(Arc::clone(&worker), request);
    let serve = axum::serve(incoming, handler.into_make_service());
    // It never fails: what can go wrong with a connection is that connection's own.
    let _ = serve.with_graceful_shutdown(draining).await;
}
