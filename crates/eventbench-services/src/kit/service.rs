//! One instance of a service: puts its connections, methods, parts and presence together, and takes them apart in the
//! order in which nothing taken is lost.

use super::method::{Endpoint, Method, queue_group, subject};
use super::pool::{ConnectionNotes, Pool, connect};
use super::protocol::{Identity, Protocol};
use super::registry::{Presence, RegistrySettings};
use super::serve::{CONFIRM_LIMIT, Cost, Server, failed};
use crate::ServiceError;
use crate::connection::{NatsArgs, confirm};
use async_nats::Client;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long beyond the limit of a drain the threads may take to end by themselves.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What a part of a service tells and hears.
#[derive(Debug)]
pub struct Signals {
    /// Told once the part does its work.
    pub ready: oneshot::Sender<()>,
    /// Becomes true when the part is to finish what it has taken, and end.
    pub stop: watch::Receiver<bool>,
    /// Closed once every call that was taken has been answered: a part that answers calls works on until then.
    pub calls_ended: watch::Receiver<()>,
    /// What happens to its connections.
    pub notes: Arc<ConnectionNotes>,
}

type Run = Box<dyn FnOnce(Signals) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>>>> + Send>;

/// A part of a service besides its methods, such as a consumer of events: a thread of its own with its own runtime.
pub struct Part {
    name: &'static str,
    run: Run,
}

impl Part {
    /// A part whose future is made and driven on its own thread.
    pub fn new<F: Future<Output = Result<(), ServiceError>> + 'static>(
        name: &'static str,
        run: impl FnOnce(Signals) -> F + Send + 'static,
    ) -> Part {
        Part {
            name,
            run: Box::new(move |signals| Box::pin(run(signals))),
        }
    }
}

/// An instance of a service, before it runs.
pub struct Service {
    /// How to reach the broker.
    pub broker: NatsArgs,
    /// Name of the service; a [`name`].
    pub name: String,
    /// Name of this instance; a [`name`], different from that of any other instance.
    pub instance: String,
    /// One line that `$SRV.INFO` shows.
    pub about: String,
    /// Connections for requests; the methods' subscriptions are spread over them in turn.
    pub connections: NonZeroUsize,
    /// What every call costs beyond its method.
    pub cost: Cost,
    /// The registry to be in, if any; it needs JetStream.
    pub registry: Option<RegistrySettings>,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Most time that a drain waits for calls that were taken.
    pub drain_limit: Duration,
    /// What happens to the connections.
    pub notes: Arc<ConnectionNotes>,
    parts: Vec<Part>,
    endpoints: Vec<Arc<Endpoint>>,
}

/// Checks the name of a service or an instance: the characters that the service protocol allows.
///
/// # Errors
/// A sentence that names the text and what is allowed.
pub fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(format!("'{text}' is no name: write letters, digits, - and _"));
    }
    // These stand where a service's name stands in the subjects of commands.
    if ["progress", "callback"].contains(&text) {
        return Err(format!(
            "'{text}' has a meaning of its own in commands.{text}.<id>: take another name"
        ));
    }
    Ok(text.to_owned())
}

impl Service {
    /// An instance with these methods and `health`, which every service has, three connections and a heartbeat a
    /// second.
    pub fn new(broker: NatsArgs, service: String, instance: String, methods: Vec<Method>) -> Service {
        let body = json!({ "status": "ok", "service": service, "instance": instance });
        let health = Method::instant("health", move |call| call.answer(&body));
        let endpoints = methods
            .into_iter()
            .chain([health])
            .map(|method| Arc::new(Endpoint::new(&service, method)))
            .collect();
        Service {
            broker,
            name: service,
            instance,
            about: String::new(),
            connections: NonZeroUsize::MIN.saturating_add(2),
            cost: Cost::default(),
            registry: None,
            heartbeat: Duration::from_secs(1),
            drain_limit: Duration::from_secs(30),
            notes: Arc::default(),
            parts: Vec::new(),
            endpoints,
        }
    }

    /// The same service with its methods on subjects of this instance alone, `rpc.<service>.<instance>.<method>`: for
    /// callers that choose the instance themselves.
    pub fn addressed(mut self) -> Service {
        for endpoint in &mut self.endpoints {
            // Nobody else holds an endpoint before the service runs, or a clone keeps the subject that it has seen.
            if let Some(endpoint) = Arc::get_mut(endpoint) {
                endpoint.subject = subject(&format!("{}.{}", self.name, self.instance), endpoint.method.name);
            }
        }
        self
    }

    /// Adds a part; parts are started in this order, before the methods.
    pub fn part(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// The methods with their counters; `health` is the last.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Runs until `stop` is ready, then drains: takes nothing more, finishes and answers what was taken, leaves the
    /// registry.
    ///
    /// # Errors
    /// Anything that keeps the service from starting or that ended it, and a drain that exceeds its limit.
    pub async fn run_until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
        // Polled from the start, so that a signal is caught while the service still starts.
        let mut stop = tokio::spawn(stop);
        let control = connect(&self.broker, &format!("{} control", self.name), &self.notes).await?;
        let identity = Identity::new(
            self.name.clone(),
            self.instance.clone(),
            self.about.clone(),
            self.connections.get(),
            self.endpoints.clone(),
        );
        let mut presence = Presence::open(&control, self.registry.as_ref(), &identity).await?;

        let (stop_sender, stop_receiver) = watch::channel(false);
        let (calls, calls_ended) = watch::channel(());
        let mut threads = Threads::default();
        let mut parts = std::mem::take(&mut self.parts);
        let (heartbeat, drain_limit, notes) = (self.heartbeat, self.drain_limit, Arc::clone(&self.notes));
        parts.push(self.methods(calls));
        let mut started = true;
        for part in parts {
            let (ready, is_ready) = oneshot::channel();
            let signals = Signals {
                ready,
                stop: stop_receiver.clone(),
                calls_ended: calls_ended.clone(),
                notes: Arc::clone(&notes),
            };
            threads.spawn(part, signals)?;
            started = tokio::select! {
                // An error says that the part has ended instead.
                is_ready = is_ready => is_ready.is_ok(),
                _ = &mut stop => false,
            };
            if !started {
                break;
            }
        }

        let mut outcome = Ok(());
        if started {
            outcome = tokio::select! {
                lived = live(&control, &identity, &mut presence, heartbeat) => lived,
                ended = threads.first() => ended,
                _ = &mut stop => Ok(()),
            };
        }
        // The threads may have ended by themselves already; nobody listens then.
        let _ = stop_sender.send(true);
        let ended = match tokio::time::timeout(drain_limit + END_LIMIT, threads.all()).await {
            Ok(ended) => ended,
            Err(_) => Err(failed("draining", "a part of the service did not end within its limit")),
        };
        let outcome = outcome.and(ended);
        // After an error the broker may be away; the registry forgets the entry by itself.
        if started && outcome.is_ok() {
            presence.leave().await;
        }
        outcome
    }

    /// The part that serves the methods. It holds `calls` until all have been answered.
    fn methods(self, calls: watch::Sender<()>) -> Part {
        Part::new("methods", move |mut signals| async move {
            let _calls = calls;
            let pool = Pool::connect(&self.broker, &self.name, self.connections, &signals.notes).await?;
            let group = queue_group(&self.name);
            let mut server = Server::new(self.cost);
            let (health, methods) = self.endpoints.split_last().unzip();
            for endpoint in methods.unwrap_or_default() {
                server.subscribe(&pool, Arc::clone(endpoint), &group).await?;
            }
            pool.confirm(CONFIRM_LIMIT).await?;
            // Whoever gets an answer here meets subscriptions that the broker knows.
            if let Some(health) = health {
                server.subscribe(&pool, Arc::clone(health), &group).await?;
            }
            pool.confirm(CONFIRM_LIMIT).await?;
            // The receiver is gone only if the service ends already; the stop flag tells then.
            let _ = signals.ready.send(());
            server.run(&pool, &mut signals.stop, self.drain_limit).await
        })
    }
}

/// Makes the instance known and keeps it so. Returns only with an error.
async fn live(
    control: &Client,
    identity: &Identity,
    presence: &mut Presence,
    heartbeat: Duration,
) -> Result<(), ServiceError> {
    let mut protocol = Protocol::subscribe(control, identity).await?;
    confirm(control, CONFIRM_LIMIT).await?;
    tracing::info!(
        "ready: {} instance {}, {} methods on rpc.{}.*, {} connections",
        identity.service,
        identity.instance,
        identity.endpoints.len(),
        identity.service,
        identity.connections
    );
    let beats = async {
        let mut ticks = tokio::time::interval(heartbeat);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            presence.beat(identity).await;
        }
    };
    tokio::select! {
        () = protocol.answer(identity) => Err(failed("answering the service protocol", "the connection was closed")),
        () = beats => Ok(()),
    }
}

/// The threads of a service.
#[derive(Default)]
struct Threads {
    ended: FuturesUnordered<JoinHandle<Result<(), ServiceError>>>,
}

impl Threads {
    fn spawn(&mut self, part: Part, signals: Signals) -> Result<(), ServiceError> {
        let Part { name, run } = part;
        let failed = move |cause: String| ServiceError::Thread { name, cause };
        let (sender, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = runtime(name).and_then(|runtime| {
                    let result = runtime.block_on(run(signals));
                    // A call that computes beyond the limit of the drain must not hold the end of the process.
                    runtime.shutdown_background();
                    result
                });
                // Nobody waits any more only when the service has ended with an error.
                let _ = sender.send(result);
            })
            .map_err(|cause| failed(cause.to_string()))?;
        self.ended.push(tokio::spawn(async move {
            ended
                .await
                .unwrap_or_else(|_| Err(failed("ended in a panic".to_owned())))
        }));
        Ok(())
    }

    /// The end of whichever ends first; without threads, never.
    async fn first(&mut self) -> Result<(), ServiceError> {
        match self.ended.next().await {
            Some(ended) => joined(ended),
            None => std::future::pending().await,
        }
    }

    /// The first error of all that have not been asked for yet, once all have ended.
    async fn all(&mut self) -> Result<(), ServiceError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.ended.next().await {
            outcome = outcome.and(joined(ended));
        }
        outcome
    }
}

fn joined(ended: Result<Result<(), ServiceError>, tokio::task::JoinError>) -> Result<(), ServiceError> {
    ended.unwrap_or_else(|cause| {
        Err(ServiceError::Thread {
            name: "service",
            cause: cause.to_string(),
        })
    })
}

/// A runtime that runs everything on the calling thread.
///
/// # Errors
/// [`ServiceError::Thread`] if the system gives none.
pub fn runtime(name: &'static str) -> Result<tokio::runtime::Runtime, ServiceError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| ServiceError::Thread {
            name,
            cause: cause.to_string(),
        })
}

/// Returns at the first SIGTERM or SIGINT.
pub async fn signalled() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_tokens_of_a_subject() {
        for good in ["echo", "a-1_B", "Progress"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a.b", "a b", "*", ">", "é", "progress", "callback"] {
            assert!(name(bad).unwrap_err().contains(&format!("'{bad}'")));
        }
    }

    #[test]
    fn an_addressed_service_has_subjects_of_its_own() {
        let service = Service::new(NatsArgs::default(), "echo".to_owned(), "a".to_owned(), Vec::new()).addressed();
        assert_eq!(service.endpoints()[0].subject, "rpc.echo.a.health");
    }

    #[test]
    fn the_last_endpoint_of_every_service_is_its_health() {
        let service = Service::new(NatsArgs::default(), "echo".to_owned(), "a".to_owned(), Vec::new());
        let subjects: Vec<_> = service
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.subject.as_str())
            .collect();
        assert_eq!(subjects, ["rpc.echo.health"]);
        assert_eq!(service.connections.get(), 3);
    }
}
