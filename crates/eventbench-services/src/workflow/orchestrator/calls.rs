//! Calls one capability: picks an instance, waits for its answer, and attempts it again elsewhere as long as that may
//! help.

use super::outcome::Failure;
use crate::kit::pool::Pool;
use crate::kit::reply::ErrorReply;
use crate::platform::monotonic_ns;
use crate::workflow::hops::{Times, Way};
use crate::workflow::request::STEPS;
use crate::workflow::router::{Discovery, NoRoute, Picked, Router, Suspect};
use async_nats::Request;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// The hop of all calls together.
pub(crate) const SERVICES: &str = "services";
/// Error replies to the same content after which it, and no instance, is to blame.
const MOST_ERROR_REPLIES: usize = 3;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How calls are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSettings {
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
}

/// What a worker answers; each capability fills what it finds out.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkerReply {
    /// When the worker took the request from its subscription.
    pub(crate) received_ns: u64,
    /// When the worker had found the answer.
    pub(crate) answered_ns: u64,
    #[serde(default)]
    pub(crate) hash: Option<String>,
    #[serde(default)]
    pub(crate) bytes: Option<u64>,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
}

/// A call that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: WorkerReply,
    pub(crate) sent_ns: u64,
    pub(crate) back_ns: u64,
}

/// A call with everything that happened on the way.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) capability: String,
    pub(crate) outcome: Result<Answered, Failure>,
    /// Length of each choice of an instance.
    pub(crate) routing_ns: Vec<u64>,
    /// Beginning and end of each attempt that failed.
    pub(crate) failed: Vec<(u64, u64)>,
}

impl Called {
    /// Notes the parts of the hop [`SERVICES`] that this call makes up.
    pub(crate) fn note_parts(&self, way: &mut Way) {
        let capability = &self.capability;
        for &(from, until) in &self.failed {
            way.part(SERVICES, format!("{capability}: failed attempt"), from, until);
        }
        if let Ok(answered) = &self.outcome {
            let reply = &answered.reply;
            for (what, from, until) in [
                ("way there", answered.sent_ns, reply.received_ns),
                ("work", reply.received_ns, reply.answered_ns),
                ("way back", reply.answered_ns, answered.back_ns),
            ] {
                way.part(SERVICES, format!("{capability}: {what}"), from, until);
            }
        }
    }
}

/// How an attempt ended.
enum Attempt {
    Answered(Answered),
    /// It would fail in the same way everywhere.
    Final(Failure),
    /// The instance has failed on it, with this reply.
    ErrorReply(Failure, Suspect),
    /// The instance was not reached, or has not answered.
    Unanswered(Failure),
}

/// Calls capabilities.
pub(crate) struct Calls {
    pub(crate) pool: Arc<Pool>,
    pub(crate) router: Arc<Router>,
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) settings: CallSettings,
}

impl Calls {
    /// Calls a capability with the request of a workflow.
    pub(crate) async fn call(&self, capability: &str, payload: Bytes, intended_ns: u64) -> Called {
        let mut called = Called {
            capability: capability.to_owned(),
            outcome: Err(Failure::new("not-attempted", "no attempt was allowed")),
            routing_ns: Vec::with_capacity(2),
            failed: Vec::new(),
        };
        let mut tried: Vec<String> = Vec::new();
        let mut suspects: Vec<Suspect> = Vec::new();
        let mut pause = self.settings.backoff;
        for attempt in 0..self.settings.attempts {
            let begin_ns = monotonic_ns();
            let picked = self.router.pick(capability, &tried);
            called.routing_ns.push(monotonic_ns().saturating_sub(begin_ns));
            let must_pause = match picked {
                Ok(picked) => {
                    let id = picked.id().to_owned();
                    let failure = match self.attempt(picked, capability, &payload, intended_ns).await {
                        Attempt::Answered(answered) => {
                            suspects.into_iter().for_each(Suspect::blame);
                            called.outcome = Ok(answered);
                            return called;
                        }
                        Attempt::Final(failure) => {
                            called.outcome = Err(failure);
                            return called;
                        }
                        Attempt::ErrorReply(failure, suspect) => {
                            suspects.push(suspect);
                            failure
                        }
                        Attempt::Unanswered(failure) => failure,
                    };
                    tracing::debug!("{capability}: {}", failure.message);
                    called.failed.push((begin_ns, monotonic_ns()));
                    called.outcome = Err(failure);
                    if suspects.len() >= MOST_ERROR_REPLIES {
                        return called;
                    }
                    // A first attempt elsewhere need not wait; a second one on the same instance must.
                    let is_again = tried.contains(&id);
                    tried.push(id);
                    is_again
                }
                Err(no_route) => {
                    if !self.router.knows(capability) {
                        self.discovery.look_for(capability).await;
                    }
                    let is_unknown = matches!(no_route, NoRoute::Unknown(_)) && !self.router.knows(capability);
                    let is_usual = STEPS.contains(&capability);
                    let cause = if is_unknown && !is_usual {
                        "unknown-capability"
                    } else {
                        "no-instance"
                    };
                    // What the attempts before met says more than that nobody is left.
                    if called.failed.is_empty() {
                        called.outcome = Err(Failure::new(cause, no_route.to_string()));
                    }
                    if is_unknown && !is_usual {
                        return called;
                    }
                    true
                }
            };
            if must_pause && attempt + 1 < self.settings.attempts {
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
        called
    }

    async fn attempt(&self, picked: Picked, capability: &str, payload: &Bytes, intended_ns: u64) -> Attempt {
        let id = picked.id().to_owned();
        let sent_ns = monotonic_ns();
        let times = Times { intended_ns, sent_ns };
        let request = Request::new()
            .payload(payload.clone())
            .headers(times.headers())
            .timeout(Some(self.settings.timeout));
        let sent = self.pool.next().send_request(picked.subject.clone(), request).await;
        let back_ns = monotonic_ns();
        let message = match sent {
            Ok(message) => message,
            Err(cause) if cause.kind() == RequestErrorKind::MaxPayloadExceeded => {
                let text = format!("the workflow cannot be passed on to '{capability}': {cause}");
                return Attempt::Final(Failure::new("payload-too-large", text));
            }
            Err(cause) => {
                picked.failed();
                let (word, what) = match cause.kind() {
                    RequestErrorKind::NoResponders => ("instance-gone", "is gone".to_owned()),
                    RequestErrorKind::TimedOut => {
                        let limit_ms = self.settings.timeout.as_millis();
                        ("call-timed-out", format!("has not answered within {limit_ms} ms"))
                    }
                    _ => ("call-failed", format!("was not reached: {cause}")),
                };
                return Attempt::Unanswered(Failure::new(word, format!("'{capability}' on instance {id} {what}")));
            }
        };
        if let Some(error) = ErrorReply::of_reply(message.headers.as_ref(), &message.payload) {
            let text = format!("'{capability}' on instance {id}: {error}");
            if (400..500).contains(&error.code) {
                picked.succeeded();
                let cause = error.details["cause"].as_str().unwrap_or("refused-by-worker");
                return Attempt::Final(Failure::new(cause, text));
            }
            return Attempt::ErrorReply(Failure::new("worker-failed", text), picked.suspected());
        }
        match serde_json::from_slice(&message.payload) {
            Ok(reply) => {
                picked.succeeded();
                Attempt::Answered(Answered {
                    reply,
                    sent_ns,
                    back_ns,
                })
            }
            Err(cause) => {
                let text = format!("'{capability}' on instance {id}: its answer cannot be read: {cause}");
                Attempt::ErrorReply(Failure::new("worker-failed", text), picked.suspected())
            }
        }
    }
}
