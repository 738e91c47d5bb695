//! Puts the service together: database, writer, source of events, queries; and takes it apart in the order in which
//! nothing accepted is lost.

use super::args::Args;
use super::batch::BatchPolicy;
use super::commit_log::CommitLog;
use super::direct::{Direct, Socket};
use super::fault::Faults;
use super::jetstream;
use super::metrics;
use super::nats::{self, CONFIRM_LIMIT, Source, note_events};
use super::query::Answers;
use super::queue::Queue;
use super::stats::{Stats, sum};
use super::store::Store;
use super::writer::Writer;
use crate::connection::confirm;
use crate::platform::nanos;
use crate::{ServiceDef, ServiceError, log};
use async_nats::{Client, Subscriber};
use clap::{Args as _, FromArgMatches as _};
use futures_util::StreamExt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The event store's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "event-store",
    about: "Stores the events of a NATS event bus in SQLite",
    command,
    run,
};

/// Most time that the end of the service waits for the broker on account of queries.
const CLOSE_LIMIT: Duration = Duration::from_millis(100);
/// Requests that may wait for an answer.
const QUERY_CAPACITY: usize = 8_192;

fn command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Returns at the first SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(cause), _) | (_, Err(cause)) => {
            tracing::error!("cannot listen to signals, stop the service by SIGKILL: {cause}");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
}

/// Runs the event store in this thread and a few of its own until `stop` is ready, then stores everything that was
/// accepted and returns.
///
/// # Errors
/// Anything that keeps the service from starting, or that ended its source of events.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    runtime("control")?.block_on(serve(args, stop))
}

fn runtime(name: &'static str) -> Result<tokio::runtime::Runtime, ServiceError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| ServiceError::Thread {
            name,
            cause: cause.to_string(),
        })
}

async fn serve(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    // Polled from the start, so that a signal is caught while the service still starts.
    let mut stop = tokio::spawn(stop);
    let (store, totals) = Store::open(&args.db)?;
    let commit_log = args.commit_log.as_deref().map(CommitLog::open).transpose()?;
    let stats = Arc::new(Stats::new(&totals));
    let queue = Arc::new(Queue::new(args.queue_depth.get()));
    let answers = Answers::open(&args.db, args.mode(), Arc::clone(&stats), Arc::clone(&queue))?;
    let answers = Arc::new(answers.burning(args.faults.burn.map(nanos)));
    if let Some(port) = args.metrics_port {
        metrics::serve(port, Arc::clone(&stats), Arc::clone(&queue), Arc::clone(&answers)).await?;
    }

    let (settled_sender, settled) = mpsc::unbounded_channel();
    let writer = Writer {
        store,
        queue: Arc::clone(&queue),
        policy: BatchPolicy {
            count: args.batch_count.get(),
            time_ns: nanos(args.batch_time),
        },
        stats: Arc::clone(&stats),
        faults: Faults::new(&args.faults),
        commit_log,
        settled: args.jetstream.then_some(settled_sender),
    };
    let (stop_sender, stop_receiver) = watch::channel(false);
    let (ready_sender, ready) = oneshot::channel();
    let mode = args.mode();
    let depth = args.queue_depth;

    // The connection for queries subscribes before the events flow and answers only afterwards: a request for health
    // never meets a service whose events would be lost, and never goes unheard by one that is about to be ready.
    let mut queries = match &args.direct {
        Some(_) => None,
        None => Some(Queries::subscribe(&args, Arc::clone(&stats)).await?),
    };
    let writer = spawn("event-writer", move || {
        writer.run();
        Ok(())
    })?;
    let source = match (&args.direct, &queries) {
        (Some(path), _) => {
            let direct = Arc::new(Direct {
                queue: Arc::clone(&queue),
                stats: Arc::clone(&stats),
                answers: Arc::clone(&answers),
                max_payload: args.max_payload.get(),
                stop: AtomicBool::new(false),
            });
            spawn_direct(path.clone(), direct, ready_sender, stop_receiver)
        }
        (None, _) => spawn_nats(&args, &queue, &stats, settled, ready_sender, stop_receiver),
    };
    let mut source = match source {
        Ok(source) => source,
        Err(error) => {
            queue.close();
            return Err(error);
        }
    };

    let outcome = tokio::select! {
        _ = ready => {
            tracing::info!("ready: {mode}, database {}, queue of {depth} events", args.db.display());
            tokio::select! {
                ended = &mut source => Some(ended),
                _ = &mut stop => None,
                () = answer(&mut queries, &answers) => None,
            }
        }
        ended = &mut source => Some(ended),
        _ = &mut stop => None,
    };
    answers.drain();
    // The source may have ended by itself already; nobody listens then.
    let _ = stop_sender.send(true);
    let drained = async {
        let ended = match outcome {
            Some(ended) => ended,
            None => (&mut source).await,
        };
        queue.close();
        let written = writer.await;
        flatten("event-source", ended).and(flatten("event-writer", written))
    };
    let result = tokio::select! {
        result = drained => result,
        // Queries are answered to the end; without any this never ends.
        () = async { answer(&mut queries, &answers).await; std::future::pending().await } => Ok(()),
    };
    if let Some(queries) = queries {
        queries.close(&answers).await;
    }
    tracing::info!(
        "stopped: {} received, {} stored, {} failed",
        sum(&stats.received),
        sum(&stats.stored),
        sum(&stats.failed)
    );
    result
}

/// The end of a thread, awaited without blocking the runtime. An error of the channel says that the thread panicked.
type Ended = oneshot::Receiver<Result<(), ServiceError>>;

fn flatten(
    name: &'static str,
    ended: Result<Result<(), ServiceError>, oneshot::error::RecvError>,
) -> Result<(), ServiceError> {
    ended.unwrap_or_else(|_| {
        Err(ServiceError::Thread {
            name,
            cause: "ended in a panic".to_owned(),
        })
    })
}

fn spawn(
    name: &'static str,
    body: impl FnOnce() -> Result<(), ServiceError> + Send + 'static,
) -> Result<Ended, ServiceError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Nobody waits any more only when the service has ended with an error.
            let _ = sender.send(body());
        })
        .map_err(|cause| ServiceError::Thread {
            name,
            cause: cause.to_string(),
        })?;
    Ok(receiver)
}

fn spawn_nats(
    args: &Args,
    queue: &Arc<Queue>,
    stats: &Arc<Stats>,
    settled: mpsc::UnboundedReceiver<Vec<super::writer::Settled>>,
    ready: oneshot::Sender<()>,
    stop: watch::Receiver<bool>,
) -> Result<Ended, ServiceError> {
    const NAME: &str = "event-source";
    let source = Source {
        broker: args.broker.clone(),
        queue: Arc::clone(queue),
        stats: Arc::clone(stats),
        max_payload: args.max_payload.get(),
        ready,
        stop,
    };
    let names = jetstream::Names {
        stream: args.stream.clone(),
        durable: args.durable.clone(),
        ack_wait: args.ack_wait,
    };
    let (is_jetstream, group) = (args.jetstream, args.queue.clone());
    spawn(NAME, move || {
        let runtime = runtime(NAME)?;
        if is_jetstream {
            runtime.block_on(jetstream::run(source, names, settled))
        } else {
            runtime.block_on(nats::run(source, group))
        }
    })
}

fn spawn_direct(
    path: PathBuf,
    direct: Arc<Direct>,
    ready: oneshot::Sender<()>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, ServiceError> {
    let socket = Socket::listen(&path)?;
    let stopped = Arc::clone(&direct);
    tokio::spawn(async move {
        // An error says that the service has ended; the socket is to end all the same.
        let _ = stop.wait_for(|stop| *stop).await;
        stopped.stop.store(true, SeqCst);
        Socket::wake(&path);
    });
    spawn("direct-accept", move || {
        // From the bind on, a client's connection waits for us: that is readiness.
        let _ = ready.send(());
        socket.serve(&direct);
        Ok(())
    })
}

/// The connection for queries and its two subscriptions.
struct Queries {
    client: Client,
    requests: futures_util::stream::Select<Subscriber, Subscriber>,
}

impl Queries {
    async fn subscribe(args: &Args, stats: Arc<Stats>) -> Result<Queries, ServiceError> {
        let failed = |cause: async_nats::SubscribeError| ServiceError::Nats {
            action: "subscribing to queries".to_owned(),
            cause: cause.to_string(),
        };
        let client = args
            .broker
            .connect("event-store queries", QUERY_CAPACITY, note_events(stats))
            .await?;
        // A group of its own: the broker delivers a message once to each group *name*, whatever the subjects of its
        // members, and the events' subscription covers these subjects too.
        let group = format!("{}.queries", args.queue);
        let queries = client
            .queue_subscribe("bus.query.*", group.clone())
            .await
            .map_err(failed)?;
        let health = client.queue_subscribe("bus.health", group).await.map_err(failed)?;
        confirm(&client, CONFIRM_LIMIT).await?;
        Ok(Queries {
            client,
            requests: futures_util::stream::select(queries, health),
        })
    }
}

impl Queries {
    /// Ends the subscriptions and answers what came before, so that the next request meets a broker that says at
    /// once that nobody listens, instead of a connection that is just closing.
    async fn close(mut self, answers: &Answers) {
        let (queries, health) = self.requests.get_mut();
        let (queries, health) = (queries.drain().await, health.drain().await);
        if queries.and(health).is_err() || confirm(&self.client, CLOSE_LIMIT).await.is_err() {
            tracing::debug!("the connection for queries was closed before its subscriptions were");
            return;
        }
        let client = self.client.clone();
        answer(&mut Some(self), answers).await;
        // The answers themselves must have left before the process does.
        let _ = confirm(&client, CLOSE_LIMIT).await;
    }
}

/// Answers requests until the connection is closed; without a connection, never returns.
async fn answer(queries: &mut Option<Queries>, answers: &Answers) {
    let Some(queries) = queries else {
        return std::future::pending().await;
    };
    while let Some(request) = queries.requests.next().await {
        let Some(reply) = request.reply else { continue };
        let body = answers.answer(&request.subject, &request.payload);
        if let Err(cause) = queries.client.publish(reply, body.into()).await {
            tracing::warn!("an answer could not be sent: {cause}");
        }
    }
}
