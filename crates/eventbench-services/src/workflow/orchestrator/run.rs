//! Puts the orchestrator together: database, methods, and the part that works on the workflows.

use super::args::Args;
use super::calls::{CallSettings, Calls};
use super::engine::{Engine, EngineSettings};
use super::intake;
use super::journal::{self, Journal};
use super::methods::{Order, methods};
use super::outbox::Outbox;
use super::schema::Found;
use crate::kit::pool::Pool;
use crate::kit::service::{Part, Service, Signals, runtime, signalled};
use crate::platform::nanos;
use crate::workflow::router::{BreakerSettings, Discovery, Router};
use crate::workflow::subjects;
use crate::{ServiceDef, ServiceError, log};
use clap::{Args as _, FromArgMatches as _};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The orchestrator's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "orchestrator",
    about: "Runs workflows durably: calls workers through a router and hands stamps to the reducer",
    command,
    run,
};

/// How long the broker may take to confirm something.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// Most time for what nobody waits for any more once all calls are answered; the rest is done after the next start.
const REST_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at whether workers are there.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

fn command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Runs the orchestrator until `stop` is ready, then ends what it has accepted; what is not ended within the limit of
/// the drain is done after the next start.
///
/// # Errors
/// Anything that keeps the service from starting or that ended it.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    runtime("control")?.block_on(async move {
        let (journal, thread, found) = journal::open(&args.db)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let methods = methods(&orders, args.max_content);
        let name = subjects::ORCHESTRATOR.to_owned();
        let mut service = Service::new(args.broker.clone(), name, args.instance(), methods);
        service.about = SERVICE.about.to_owned();
        service.connections = args.connections;
        service.heartbeat = args.heartbeat;
        service.drain_limit = args.drain_limit;
        service.part(Part::new("workflows", move |signals| {
            work(args, journal, found, inbox, signals)
        }));
        let outcome = service.run_until(stop).await;
        thread.close();
        outcome
    })
}

/// The part that works on the workflows, with connections of its own for calls.
async fn work(
    args: Args,
    journal: Journal,
    found: Found,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    signals: Signals,
) -> Result<(), ServiceError> {
    let Signals {
        ready,
        stop,
        mut calls_ended,
        notes,
    } = signals;
    let pool = Arc::new(Pool::connect(&args.broker, "orchestrator calls", args.connections, &notes).await?);
    let router = Arc::new(Router::new(BreakerSettings {
        failures: args.breaker_failures.get(),
        open_ns: nanos(args.breaker_open),
    }));
    let discovery = Discovery::new(pool.next().clone(), Arc::clone(&router), args.instances.clone()).await?;
    discovery.refresh().await;
    let outbox = Outbox::new(
        Arc::clone(&pool),
        journal.clone(),
        found.unconfirmed.clone(),
        found.refused,
    );
    let outbox = Arc::new(outbox);
    let calls = Calls {
        pool: Arc::clone(&pool),
        router,
        discovery: Arc::clone(&discovery),
        settings: CallSettings {
            timeout: args.call_timeout,
            attempts: args.attempts.get(),
            backoff: args.backoff,
        },
    };
    let settings = EngineSettings {
        concurrency: args.concurrency.get(),
        backlog: args.backlog.get(),
        stored_limit: args.stored_limit,
    };
    let engine = Engine::new(journal, calls, Arc::clone(&outbox), settings, &found);
    pool.confirm(CONFIRM_LIMIT).await?;
    if !found.open.is_empty() || !found.unconfirmed.is_empty() {
        tracing::info!(
            "{} workflows from before are taken up, {} stamps are delivered",
            found.open.len(),
            found.unconfirmed.len()
        );
    }

    let refresh = args.refresh;
    let looking = Arc::clone(&discovery);
    tokio::spawn(async move { looking.run(refresh).await });
    tokio::spawn(async move { outbox.run().await });
    tokio::spawn(take_up(Arc::clone(&engine), found.open, args.patience));
    let mut intake = args.jetstream.then(|| {
        let client = pool.next().clone();
        Box::pin(intake::run(args.clone(), client, Arc::clone(&engine), stop))
    });
    // The receiver is gone only if the service ends already; the end of the calls tells then.
    let _ = ready.send(());

    let mut outcome = Ok(());
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                Some(order) => obey(&engine, order),
                None => break,
            },
            ended = async { match intake.as_mut() {
                Some(intake) => intake.await,
                None => std::future::pending().await,
            } } => {
                intake = None;
                outcome = ended;
                if outcome.is_err() {
                    break;
                }
            }
            // Nobody ever sends anything: an end is all that it tells.
            _ = calls_ended.changed() => break,
        }
    }
    if tokio::time::timeout(REST_LIMIT, engine.drained()).await.is_err() {
        tracing::warn!("workflows that have not ended are taken up after the next start");
    }
    outcome.and(pool.confirm(CONFIRM_LIMIT).await)
}

fn obey(engine: &Arc<Engine>, order: Order) {
    let engine = Arc::clone(engine);
    match order {
        Order::Job(job) => {
            tokio::spawn(engine.take(*job));
        }
        Order::Stats { answer } => {
            // Whoever asked may have gone.
            let _ = answer.send(engine.stats());
        }
        Order::Standing { id, answer } => {
            tokio::spawn(async move {
                let _ = answer.send(engine.standing(&id).await);
            });
        }
        Order::Wish { id, to, reason, answer } => {
            tokio::spawn(async move {
                let _ = answer.send(engine.wish(&id, to, &reason).await);
            });
        }
    }
}

/// Takes up the workflows from before a restart, once there are workers for them, or none have come within `patience`.
async fn take_up(engine: Arc<Engine>, open: Vec<u64>, patience: Duration) {
    if open.is_empty() {
        return;
    }
    let workers = async {
        while !engine.has_workers() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    if tokio::time::timeout(patience, workers).await.is_err() {
        tracing::warn!(
            "no workers within {} ms; workflows from before may fail",
            patience.as_millis()
        );
    }
    for seq in open {
        let Some(place) = engine.place().await else { return };
        tokio::spawn(Arc::clone(&engine).take_up(seq, place));
    }
}
