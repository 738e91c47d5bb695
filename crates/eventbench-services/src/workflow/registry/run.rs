//! Puts the registry together: its methods, and the part that hears the beats.

use super::args::Args;
use super::beats::hear;
use super::membership::{Membership, Node, Registration, Resources, State};
use crate::kit::method::{Call, Method};
use crate::kit::reply::{Answer, ErrorReply};
use crate::kit::service::{Part, Service, runtime, signalled};
use crate::platform::monotonic_ns;
use crate::workflow::subjects::REGISTRY;
use crate::{ServiceDef, ServiceError, log};
use clap::{Args as _, FromArgMatches as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The registry's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "registry",
    about: "Knows which nodes are there and what they can do, by their heartbeats over NATS",
    command: clap_command,
    run,
};

/// Most nodes that one question is told one by one.
const MOST_TOLD: usize = 1_000;

fn clap_command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Runs the service until `stop` is ready, then answers what it has taken.
///
/// # Errors
/// Anything that keeps the service from starting or that ended it, and a drain that exceeds its limit.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    let membership = Arc::new(Mutex::new(Membership::new(args.policy()?)));
    runtime("control")?.block_on(async move {
        let methods = methods(&membership);
        let mut service = Service::new(args.broker.clone(), REGISTRY.to_owned(), args.instance(), methods);
        service.about = SERVICE.about.to_owned();
        service.connections = args.connections;
        service.drain_limit = args.drain_limit;
        let heard = Arc::clone(&membership);
        service.part(Part::new("beats", move |signals| hear(signals, args.broker, heard)));
        let outcome = service.run_until(stop).await;
        let beats = lock(&membership).beats;
        tracing::info!(
            "stopped: {} beats received, {} of them again",
            beats.received,
            beats.duplicates
        );
        outcome
    })
}

fn lock(membership: &Mutex<Membership>) -> MutexGuard<'_, Membership> {
    membership.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parameters of `leave`.
#[derive(Debug, Default, Deserialize)]
struct Leave {
    id: String,
}

/// Parameters of `instances`.
#[derive(Debug, Default, Deserialize)]
struct Instances {
    capability: String,
}

/// Parameters of `nodes`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nodes {
    after: String,
    limit: Option<usize>,
}

/// A node in the reply to `instances`.
#[derive(Debug, Serialize)]
struct Instance<'a> {
    id: &'a str,
    subject: &'a str,
    capabilities: &'a [String],
    healthy: bool,
    state: State,
    load: f64,
    outstanding: u64,
}

/// A node in the reply to `nodes`.
#[derive(Debug, Serialize)]
struct OneNode<'a> {
    id: &'a str,
    state: State,
    registered: bool,
    /// Greatest number of its beats.
    seq: u64,
    /// Beats received, each once.
    beats: u64,
    /// Time since it was last heard of, in nanoseconds.
    silent_ns: u64,
    load: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
}

/// All methods but `health`, which the kit adds.
fn methods(membership: &Arc<Mutex<Membership>>) -> Vec<Method> {
    let method = |name, run: fn(&Call, &mut Membership) -> Answer| {
        let membership = Arc::clone(membership);
        Method::instant(name, move |call| run(call, &mut lock(&membership)))
    };
    vec![
        method("register", |call, membership| {
            let registration: Registration = call.parameters()?;
            let refused = |reason| ErrorReply::new(422, reason);
            membership.register(monotonic_ns(), registration).map_err(refused)?;
            call.answer(&json!({ "ok": true }))
        }),
        method("leave", |call, membership| {
            let Leave { id } = call.parameters()?;
            let known = membership.leave(&id);
            call.answer(&json!({ "ok": true, "known": known }))
        }),
        method("instances", |call, membership| {
            let Instances { capability } = call.parameters()?;
            let instances: Vec<Instance<'_>> = membership
                .instances(monotonic_ns(), &capability)
                .into_iter()
                .map(|(id, node, state)| Instance {
                    id,
                    subject: &node.subject,
                    capabilities: &node.capabilities,
                    healthy: state == State::Alive,
                    state,
                    load: node.load,
                    outstanding: node.outstanding,
                })
                .collect();
            call.answer(&json!({ "instances": instances }))
        }),
        method("nodes", nodes),
    ]
}

fn nodes(call: &Call, membership: &mut Membership) -> Answer {
    let Nodes { after, limit } = call.parameters()?;
    let now_ns = monotonic_ns();
    let one = |(id, node, state): (_, &Node, _)| OneNode {
        id,
        state,
        registered: node.registered,
        seq: node.seq,
        beats: node.beats,
        silent_ns: now_ns.saturating_sub(node.heard_ns),
        load: node.load,
        resources: node.resources,
    };
    let limit = limit.unwrap_or(MOST_TOLD).min(MOST_TOLD);
    let per_node: Vec<OneNode<'_>> = membership.nodes(now_ns, &after, limit).into_iter().map(one).collect();
    call.answer(&json!({
        "states": membership.states(now_ns),
        "beats": membership.beats,
        "forgotten": membership.forgotten,
        "nodes": per_node,
    }))
}
