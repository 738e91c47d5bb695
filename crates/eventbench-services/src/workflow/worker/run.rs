//! Puts a worker together: its capabilities on subjects of its own, its subscriber, its presence in the registry.

use super::args::{Args, Capability};
use super::hook::{Hook, subscribe};
use super::methods::methods;
use super::presence::Presence;
use crate::kit::Cost;
use crate::kit::pool::{ConnectionNotes, connect};
use crate::kit::service::{Service, runtime, signalled};
use crate::workflow::subjects;
use crate::{ServiceDef, ServiceError, log};
use clap::{Args as _, FromArgMatches as _};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The worker's entry in the table of services.
pub const SERVICE: ServiceDef = ServiceDef {
    name: "worker",
    about: "Works on the files of workflows: stamps them, classifies them, delivers them to a subscriber",
    command,
    run,
};

fn command() -> clap::Command {
    Args::augment_args(clap::Command::new(SERVICE.name).about(SERVICE.about))
}

fn run(matches: &clap::ArgMatches) -> Result<(), ServiceError> {
    let args = Args::from_arg_matches(matches)?;
    log::start(args.log);
    run_until(args, signalled())
}

/// Runs the worker until `stop` is ready, then finishes and answers what it has taken.
///
/// # Errors
/// Anything that keeps the service from starting or that ended it, and a drain that exceeds its limit.
pub fn run_until(args: Args, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServiceError> {
    runtime("control")?.block_on(async move {
        let notes: Arc<ConnectionNotes> = Arc::default();
        let capabilities = args.capabilities();
        let instance = args.instance();
        let hook = if capabilities.contains(&Capability::Hook) {
            let subject = match &args.hook_subject {
                Some(subject) => subject.clone(),
                None => {
                    let subject = format!("hook.{instance}");
                    subscribe(&args.broker, &subject, &notes).await?;
                    subject
                }
            };
            Some(Hook::connect(&args.broker, subject, args.hook_timeout, &notes).await?)
        } else {
            None
        };
        let presence = Presence {
            client: connect(&args.broker, "worker presence", &notes).await?,
            instance: instance.clone(),
            capabilities: capabilities.iter().map(|capability| capability.name()).collect(),
            every: args.heartbeat,
            outstanding: {
                let hook = hook.clone();
                Arc::new(move || hook.as_ref().map_or(0, |hook| hook.outstanding.load(Relaxed)))
            },
        };
        let methods = methods(&args, hook);
        let name = subjects::WORKER.to_owned();
        let mut service = Service::new(args.broker.clone(), name, instance, methods).addressed();
        service.about = SERVICE.about.to_owned();
        service.connections = args.connections;
        service.cost = Cost {
            slow: args.faults.slow,
            ..Cost::default()
        };
        service.heartbeat = args.heartbeat;
        service.drain_limit = args.drain_limit;
        service.notes = notes;
        let (client, leaving) = (presence.client.clone(), presence.instance.clone());
        let presence = tokio::spawn(presence.run());
        let beating = presence.abort_handle();
        let outcome = service.run_until(async move {
            stop.await;
            // A registration after it has left would bring it back.
            beating.abort();
            Presence::leave(client, &leaving).await;
        });
        let outcome = outcome.await;
        presence.abort();
        outcome
    })
}
