//! Puts the RPC service together: its methods, and with JetStream its registry, its consumer and its worker.

use super::args::Args;
use super::event_log::EventLog;
use super::methods::{command, methods};
use super::metrics::{self, Counters};
use crate::kit::commands::Worker;
use crate::kit::events::{self, ConsumerSettings, ConsumerStats};
use crate::kit::registry::RegistrySettings;
use crate::kit::service::{Part, Service, runtime, signalled};
use crate::kit::streams::{self, StreamSettings};
use crate::kit::{Cost, pool};
use crate::{ServiceDef, ServiceError, log};
use async_nats::jetstream::{self, stream::StorageType};
use clap::{Args as _, FromArgMatches as _};
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The RPC service's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "rpc",
    about: "Answers RPC calls over NATS; with JetStream, consumes events and works on commands",
    command: clap_command,
    run,
};

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
    runtime("control")?.block_on(async move {
        let mut service = Service::new(args.broker.clone(), args.name.clone(), args.instance(), methods(&args));
        service.about = SERVICE.about.to_owned();
        service.connections = args.connections;
        service.cost = Cost {
            slow: args.slow,
            burn: args.burn,
        };
        service.heartbeat = args.heartbeat;
        service.drain_limit = args.drain_limit;
        service.registry = args.jetstream.then(|| RegistrySettings {
            bucket: args.registry.clone(),
            ttl: args.registry_ttl,
            storage: args.storage.unwrap_or(StorageType::File),
            replicas: args.replicas.map_or(1, NonZeroUsize::get),
        });
        let counters = Counters {
            endpoints: service.endpoints().to_vec(),
            notes: Arc::clone(&service.notes),
            consumer: args.consume.is_some().then(Arc::default),
            commands: args.commands.then(Arc::default),
        };
        if let Some(port) = args.metrics_port {
            metrics::serve(port, counters.clone()).await?;
        }
        if let (Some(filter), Some(stats)) = (args.consume.clone(), counters.consumer.clone()) {
            service.part(consumer(args.clone(), filter, stats)?);
        }
        if let Some(ended) = counters.commands.clone() {
            service.part(worker(args.clone(), ended));
        }
        let outcome = service.run_until(stop).await;
        let requests: u64 = counters
            .endpoints
            .iter()
            .map(|endpoint| endpoint.requests.load(Relaxed))
            .sum();
        let handled = counters.consumer.map_or(0, |stats| stats.handled.load(Relaxed));
        tracing::info!("stopped: {requests} calls answered, {handled} events handled");
        outcome
    })
}

/// The part that consumes events, on a connection of its own.
fn consumer(args: Args, filter: String, stats: Arc<ConsumerStats>) -> Result<Part, ServiceError> {
    let mut event_log = EventLog::open(args.db.as_deref(), &args.faults)?;
    Ok(Part::new("events", move |signals| async move {
        let client = pool::connect(&args.broker, &format!("{} events", args.name), &signals.notes).await?;
        let settings = StreamSettings {
            name: args.stream.clone(),
            subjects: vec![filter.clone()],
            work_queue: false,
            storage: args.storage,
            replicas: args.replicas.map(NonZeroUsize::get),
        };
        let stream = streams::open(&jetstream::new(client.clone()), &settings).await?;
        let consumer = ConsumerSettings {
            durable: args.durable().to_owned(),
            filter,
            ack_wait: args.ack_wait,
            max_deliver: args.max_deliver.get(),
            batch: events::BATCH,
        };
        events::run_consumer(signals, client, stream, consumer, stats, move |deliveries| {
            Ok(event_log.handle(deliveries))
        })
        .await
    }))
}

/// The part that works on commands, on a connection of its own.
fn worker(args: Args, ended: Arc<AtomicU64>) -> Part {
    Part::new("commands", move |signals| async move {
        let client = pool::connect(&args.broker, &format!("{} commands", args.name), &signals.notes).await?;
        let worker = Worker {
            service: args.name.clone(),
            ack_wait: args.ack_wait,
            storage: args.storage,
            replicas: args.replicas.map(NonZeroUsize::get),
            run: Arc::new(command),
            ended,
        };
        worker.run(signals, client).await
    })
}
