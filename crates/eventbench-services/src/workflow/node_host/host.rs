//! All nodes of a process: they register, beat in the background, and do what a request asks of many of them at once.

use super::args::Args;
use super::node::{LIMIT, Node};
use super::resources::{Reading, Settings, Source};
use super::sample::Sample;
use super::ticks::Ticks;
use crate::ServiceError;
use crate::connection::confirm;
use crate::kit::pool;
use crate::kit::service::Signals;
use crate::platform::{monotonic_ns, nanos};
use crate::workflow::registry::membership::Registration;
use async_nats::Client;
use futures_util::{StreamExt, stream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Pause before a node that could not register tries again.
const REGISTER_PAUSE: Duration = Duration::from_millis(100);
/// How long a beat in the background waits for its reply at least.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Time between two complaints about beats in the background.
const COMPLAIN_EVERY_NS: u64 = 5_000_000_000;
/// Nodes that register at a time.
const REGISTER_AT_ONCE: usize = 256;
/// Readings that are made at a time; more would only wait for each other.
const READINGS_AT_ONCE: usize = 8;
/// How long the broker may take to confirm something.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// How long the nodes may take to take their leave; it ends within the limit of a drain.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
/// Durations of beats and readings that a reply holds.
pub(crate) const MOST_BEATS: usize = 10_000;
/// Durations of rounds that a reply holds.
const MOST_ROUNDS: usize = 10_000;

/// The nodes, where they run.
#[derive(Debug)]
pub(crate) struct Host {
    client: Client,
    runtime: Handle,
    nodes: Vec<Arc<Node>>,
    /// Held for reading while a request is worked on, so that the end waits for it.
    busy: RwLock<()>,
}

/// Where the host is found once it is there.
pub(crate) type Place = Arc<OnceLock<Arc<Host>>>;

/// Rounds of beats that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) nodes: usize,
    /// Rounds at least.
    pub(crate) rounds: u64,
    /// Time at least, in which rounds go on.
    pub(crate) lasting: Duration,
    /// All nodes of a round at once, or one after the other.
    pub(crate) parallel: bool,
    pub(crate) resources: bool,
}

/// What rounds of beats came to.
#[derive(Debug)]
pub(crate) struct Beaten {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    /// Why the first one failed that did.
    pub(crate) error: Option<String>,
    pub(crate) elapsed_ns: u64,
    pub(crate) beat_ns: Sample,
    pub(crate) rounds_ns: Sample,
    /// How the rounds changed; none of fewer than two rounds.
    pub(crate) halves: Option<Halves>,
    pub(crate) late_ns: Sample,
}

/// The time of a round in the second half of the rounds over that in the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Halves {
    pub(crate) mean: f64,
    /// The same of the medians, which a single stall of the machine does not move.
    pub(crate) median: f64,
}

/// What collecting resources came to.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) collected: u64,
    pub(crate) failed: u64,
    /// Why the first one failed that did.
    pub(crate) error: Option<String>,
    pub(crate) elapsed_ns: u64,
    pub(crate) fresh_ns: Sample,
    pub(crate) cached_ns: Sample,
    pub(crate) late_ns: Sample,
}

/// Runs the nodes on the runtime that this is called on, until told to stop.
pub(crate) async fn host(args: Args, mut signals: Signals, place: Place) -> Result<(), ServiceError> {
    let client = pool::connect(&args.broker, "nodes", &signals.notes).await?;
    let settings = Settings {
        how: args.resources,
        ttl: args.ttl,
        takes: args.reading_takes,
        gate: Arc::new(Semaphore::new(READINGS_AT_ONCE)),
    };
    let instance = args.instance();
    let nodes: Vec<Arc<Node>> = (0..args.nodes.get())
        .map(|index| {
            let id = format!("{instance}-{index}");
            let registration = Registration {
                subject: format!("rpc.nodes.{id}"),
                id,
                capabilities: args.capability.clone(),
            };
            Arc::new(Node::new(registration, Source::new(settings.clone())))
        })
        .collect();
    register(&client, &nodes, args.registry_limit).await?;
    let host = Arc::new(Host {
        client,
        runtime: Handle::current(),
        nodes,
        busy: RwLock::new(()),
    });
    // Set once: the part is started once.
    let _ = place.set(Arc::clone(&host));
    // Nobody waits any more only if the service ends already; the stop flag tells then.
    let _ = signals.ready.send(());
    let mut background = JoinSet::new();
    if let Some(every) = args.background() {
        let complaints: Arc<Complaints> = Arc::default();
        for (index, node) in host.nodes.iter().enumerate() {
            // Spread over the time between two beats, so that they do not come all at once.
            let phase = every.mul_f64(index as f64 / host.nodes.len() as f64);
            let (client, node) = (host.client.clone(), Arc::clone(node));
            background.spawn(beat_for_ever(client, node, phase, every, Arc::clone(&complaints)));
        }
    }
    // An error says that the service is gone, which is an end too.
    let _ = signals.stop.wait_for(|stop| *stop).await;
    background.shutdown().await;
    let _idle = host.busy.write().await;
    host.leave().await;
    confirm(&host.client, CONFIRM_LIMIT).await
}

/// Registers all nodes; waits for a registry that is still to come.
async fn register(client: &Client, nodes: &[Arc<Node>], limit: Duration) -> Result<(), ServiceError> {
    let deadline = Instant::now() + limit;
    let registering: Vec<_> = nodes.iter().map(|node| register_one(client, node, deadline)).collect();
    let mut registered = stream::iter(registering).buffer_unordered(REGISTER_AT_ONCE);
    while let Some(outcome) = registered.next().await {
        outcome?;
    }
    Ok(())
}

async fn register_one(client: &Client, node: &Node, deadline: Instant) -> Result<(), ServiceError> {
    while let Err(cause) = node.register(client).await {
        if Instant::now() >= deadline {
            let id = &node.registration.id;
            return Err(ServiceError::Nats {
                action: format!("registering node {id} (start `eventbench service registry` first)"),
                cause,
            });
        }
        sleep(REGISTER_PAUSE).await;
    }
    Ok(())
}

/// Beats at absolute times; one that is late is not made up for. A reply that has not come when the next beat is due is not
/// waited for, or a registry that went away would hold the node up.
async fn beat_for_ever(client: Client, node: Arc<Node>, phase: Duration, every: Duration, complaints: Arc<Complaints>) {
    let limit = every.max(LEAST_WAIT);
    let mut due = Instant::now() + phase;
    loop {
        sleep_until(due).await;
        if let Err(cause) = node.beat(&client, true, limit).await {
            complaints.complain(&node.registration.id, &cause);
        }
        let missed = nanos(Instant::now().saturating_duration_since(due)) / nanos(every).max(1);
        due += every.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
    }
}

/// Complaints of all nodes: one in a while, because when the registry is away all of them have the same to say.
#[derive(Debug, Default)]
struct Complaints {
    next_ns: AtomicU64,
    count: AtomicU64,
}

impl Complaints {
    fn complain(&self, id: &str, cause: &str) {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let now_ns = monotonic_ns();
        if now_ns >= self.next_ns.load(Relaxed) {
            self.next_ns.store(now_ns + COMPLAIN_EVERY_NS, Relaxed);
            tracing::warn!("{count} beats have failed so far; the last, of {id}: {cause}");
        }
    }
}

impl Host {
    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Where the nodes run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Has nodes beat in rounds. A round ends once all its beats are confirmed or have failed.
    pub(crate) async fn beat(&self, asked: Rounds) -> Beaten {
        let _busy = self.busy.read().await;
        let ticks = Ticks::start(&self.runtime);
        let mut beaten = Beaten {
            sent: 0,
            confirmed: 0,
            error: None,
            elapsed_ns: 0,
            beat_ns: Sample::new(MOST_BEATS),
            rounds_ns: Sample::new(MOST_ROUNDS),
            halves: None,
            late_ns: Sample::new(2),
        };
        let nodes = &self.nodes[..asked.nodes.min(self.nodes.len())];
        let mut all_rounds_ns = Vec::new();
        let begin_ns = monotonic_ns();
        let until_ns = begin_ns.saturating_add(nanos(asked.lasting));
        let mut round = 0;
        while round < asked.rounds || monotonic_ns() < until_ns {
            let round_ns = monotonic_ns();
            if asked.parallel {
                let mut beats = JoinSet::new();
                for node in nodes {
                    let (node, client) = (Arc::clone(node), self.client.clone());
                    beats.spawn_on(
                        async move { node.beat(&client, asked.resources, LIMIT).await },
                        &self.runtime,
                    );
                }
                while let Some(ended) = beats.join_next().await {
                    beaten.note(ended.unwrap_or_else(|cause| Err(cause.to_string())));
                }
            } else {
                for node in nodes {
                    beaten.note(node.beat(&self.client, asked.resources, LIMIT).await);
                }
            }
            let round_ns = monotonic_ns().saturating_sub(round_ns);
            beaten.rounds_ns.take(round_ns);
            all_rounds_ns.push(round_ns);
            round += 1;
        }
        beaten.elapsed_ns = monotonic_ns().saturating_sub(begin_ns);
        beaten.halves = halves(&all_rounds_ns);
        beaten.late_ns = ticks.stop().await;
        beaten
    }

    /// Has nodes read their resources, all at once; with `fresh` each reads anew and then once more from its cache.
    pub(crate) async fn collect(&self, nodes: usize, fresh: bool) -> Collected {
        let _busy = self.busy.read().await;
        let ticks = Ticks::start(&self.runtime);
        let begin_ns = monotonic_ns();
        let mut reads = JoinSet::new();
        for node in &self.nodes[..nodes.min(self.nodes.len())] {
            let node = Arc::clone(node);
            reads.spawn_on(async move { read(&node, fresh).await }, &self.runtime);
        }
        let mut collected = Collected {
            collected: 0,
            failed: 0,
            error: None,
            elapsed_ns: 0,
            fresh_ns: Sample::new(MOST_BEATS),
            cached_ns: Sample::new(MOST_BEATS),
            late_ns: Sample::new(2),
        };
        while let Some(ended) = reads.join_next().await {
            match ended.unwrap_or_else(|cause| Err(cause.to_string())) {
                Ok(readings) => {
                    collected.collected += 1;
                    for reading in readings {
                        match reading.cached {
                            true => collected.cached_ns.take(reading.took_ns),
                            false => collected.fresh_ns.take(reading.took_ns),
                        }
                    }
                }
                Err(cause) => {
                    collected.failed += 1;
                    collected.error.get_or_insert(cause);
                }
            }
        }
        collected.elapsed_ns = monotonic_ns().saturating_sub(begin_ns);
        collected.late_ns = ticks.stop().await;
        collected
    }

    /// The nodes take their leave of the registry, which may be gone.
    async fn leave(&self) {
        let leaving: Vec<_> = self.nodes.iter().map(|node| node.leave(&self.client)).collect();
        let leaving = stream::iter(leaving).buffer_unordered(REGISTER_AT_ONCE);
        let _ = timeout(LEAVE_LIMIT, leaving.collect::<Vec<()>>()).await;
    }
}

impl Beaten {
    fn note(&mut self, beat: Result<u64, String>) {
        self.sent += 1;
        match beat {
            Ok(took_ns) => {
                self.confirmed += 1;
                self.beat_ns.take(took_ns);
            }
            Err(cause) => {
                self.error.get_or_insert(cause);
            }
        }
    }
}

async fn read(node: &Node, fresh: bool) -> Result<Vec<Reading>, String> {
    let mut readings = Vec::with_capacity(2);
    if fresh {
        readings.push(node.source.read(true).await?);
    }
    readings.push(node.source.read(false).await?);
    Ok(readings)
}

/// The second half of the rounds over the first; a round in the middle belongs to neither.
fn halves(rounds_ns: &[u64]) -> Option<Halves> {
    let half = rounds_ns.len() / 2;
    let first = rounds_ns.get(..half)?;
    let second = rounds_ns.get(rounds_ns.len() - half..)?;
    let ratio = |of: fn(&[u64]) -> f64| Some(of(second) / of(first)).filter(|ratio| ratio.is_finite());
    Some(Halves {
        mean: ratio(|rounds| rounds.iter().map(|ns| *ns as f64).sum())?,
        median: ratio(median)?,
    })
}

/// The middle value, or the lower of the two in the middle.
fn median(values: &[u64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).map_or(f64::NAN, |ns| *ns as f64)
}

#[cfg(test)]
mod tests {
    use super::{Halves, halves};

    #[test]
    fn the_halves_are_of_equal_size_and_one_long_round_moves_the_mean_alone() {
        let told = |rounds: &[u64]| halves(rounds).map(|Halves { mean, median }| (mean, median));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[7]), None);
        assert_eq!(told(&[2, 4]), Some((2.0, 2.0)));
        assert_eq!(told(&[2, 1_000, 1]), Some((0.5, 0.5)));
        assert_eq!(told(&[1, 1, 3, 3]), Some((3.0, 3.0)));
        assert_eq!(told(&[2, 2, 2, 2, 14, 2]), Some((3.0, 1.0)));
        assert_eq!(told(&[0, 0]), None);
    }
}
