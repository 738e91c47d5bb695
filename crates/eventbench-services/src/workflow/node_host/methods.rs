//! The methods of the node host: each has its nodes do something on their runtime and tells how long everything took.

use super::host::{Host, Place, Rounds};
use crate::kit::method::{Call, Method};
use crate::kit::reply::{Answer, ErrorReply};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Most rounds that one request may ask for.
const MOST_ROUNDS: u64 = 100_000;
/// Most beats that one request may ask for.
const MOST_BEATS: u64 = 10_000_000;
/// Longest time that one request may ask for, in milliseconds.
const MOST_MS: u64 = 600_000;

/// Parameters of `beat`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Beat {
    /// All if absent.
    nodes: Option<usize>,
    rounds: Option<u64>,
    /// Go on with rounds until this much time has passed.
    for_ms: u64,
    mode: Mode,
    resources: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Parallel,
    Sequential,
}

/// Parameters of `collect`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Collect {
    /// All if absent.
    nodes: Option<usize>,
    fresh: bool,
}

/// All methods but `health`, which the kit adds.
pub(crate) fn methods(place: &Place) -> Vec<Method> {
    let (beating, collecting) = (Arc::clone(place), Arc::clone(place));
    vec![
        Method::waiting("beat", move |call| beat(Arc::clone(&beating), call)),
        Method::waiting("collect", move |call| collect(Arc::clone(&collecting), call)),
    ]
}

async fn beat(place: Place, call: Call) -> Answer {
    let host = host(&place)?;
    let asked: Beat = call.parameters()?;
    let nodes = nodes(host, asked.nodes)?;
    let rounds = asked.rounds.unwrap_or(1);
    if rounds > MOST_ROUNDS || rounds * nodes as u64 > MOST_BEATS {
        let told = format!("{rounds} rounds of {nodes} nodes; at most {MOST_ROUNDS} rounds and {MOST_BEATS} beats");
        return Err(ErrorReply::new(400, told));
    }
    if asked.for_ms > MOST_MS {
        return Err(ErrorReply::new(400, format!("{} ms; at most {MOST_MS}", asked.for_ms)));
    }
    let asked = Rounds {
        nodes,
        rounds,
        lasting: Duration::from_millis(asked.for_ms),
        parallel: asked.mode == Mode::Parallel,
        resources: asked.resources,
    };
    let there = Arc::clone(host);
    let beaten = host.runtime().spawn(async move { there.beat(asked).await });
    let beaten = beaten.await.map_err(|cause| ended(&cause))?;
    call.answer(&json!({
        "work_ns": [beaten.elapsed_ns],
        "sent": beaten.sent,
        "confirmed": beaten.confirmed,
        "error": beaten.error,
        "elapsed_ns": beaten.elapsed_ns,
        "rounds": beaten.rounds_ns.count,
        "second_half": beaten.halves.map(|halves| halves.mean),
        "second_half_median": beaten.halves.map(|halves| halves.median),
        "beat_max_ns": beaten.beat_ns.max,
        "beat_ns": beaten.beat_ns.into_values(),
        "rounds_ns": beaten.rounds_ns.into_values(),
        "ticks": beaten.late_ns.count,
        "tick_late_max_ns": beaten.late_ns.max,
        "tick_late_ns": beaten.late_ns.into_values(),
    }))
}

async fn collect(place: Place, call: Call) -> Answer {
    let host = host(&place)?;
    let asked: Collect = call.parameters()?;
    let nodes = nodes(host, asked.nodes)?;
    let there = Arc::clone(host);
    let collected = host
        .runtime()
        .spawn(async move { there.collect(nodes, asked.fresh).await });
    let collected = collected.await.map_err(|cause| ended(&cause))?;
    call.answer(&json!({
        "work_ns": [collected.elapsed_ns],
        "collected": collected.collected,
        "failed": collected.failed,
        "error": collected.error,
        "elapsed_ns": collected.elapsed_ns,
        "read_fresh_ns": collected.fresh_ns.into_values(),
        "read_cached_ns": collected.cached_ns.into_values(),
        "ticks": collected.late_ns.count,
        "tick_late_max_ns": collected.late_ns.max,
        "tick_late_ns": collected.late_ns.into_values(),
    }))
}

fn host(place: &Place) -> Result<&Arc<Host>, ErrorReply> {
    place
        .get()
        .ok_or_else(|| ErrorReply::new(503, "the nodes are not there yet"))
}

fn nodes(host: &Host, asked: Option<usize>) -> Result<usize, ErrorReply> {
    let there = host.nodes();
    let nodes = asked.unwrap_or(there);
    if (1..=there).contains(&nodes) {
        return Ok(nodes);
    }
    let told = format!("{nodes} nodes; this host has {there}: give it more with --nodes");
    Err(ErrorReply::new(400, told))
}

fn ended(cause: &tokio::task::JoinError) -> ErrorReply {
    ErrorReply::new(503, format!("the nodes have ended meanwhile: {cause}"))
}
