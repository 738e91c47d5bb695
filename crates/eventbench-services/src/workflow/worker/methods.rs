//! What a worker answers for each capability. Each reply tells when the request was taken and when the answer was found.

use super::args::{Args, Capability, FaultArgs};
use super::classify::{By, of_content, of_name};
use super::hook::Hook;
use crate::kit::method::{Call, Method};
use crate::kit::reply::{Answer, ErrorReply};
use crate::platform::monotonic_ns;
use crate::workflow::request::{Request, Text, refused};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Serialize)]
struct Reply<'a, T: Serialize> {
    instance: &'a str,
    received_ns: u64,
    answered_ns: u64,
    #[serde(flatten)]
    found: T,
}

#[derive(Serialize)]
struct Metadata {
    hash: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Tree {
    content_type: &'static str,
    by: &'static str,
}

#[derive(Serialize)]
struct Delivered<'a> {
    subscriber: &'a str,
}

/// Faults to inject.
#[derive(Debug)]
struct Faults {
    fail_every: Option<u64>,
    poison: Option<String>,
    calls: AtomicU64,
}

impl Faults {
    fn new(args: &FaultArgs) -> Faults {
        Faults {
            fail_every: args.fail_every.map(Into::into),
            poison: args.poison.clone(),
            calls: AtomicU64::new(0),
        }
    }

    fn befall(&self, content: Option<&str>) -> Result<(), ErrorReply> {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        if self.fail_every.is_some_and(|every| call.is_multiple_of(every)) {
            return Err(refused(500, "injected", format!("call {call} fails, as asked")));
        }
        if let (Some(poison), Some(content)) = (&self.poison, content) {
            // The kit turns a panic of a method into an error reply; this is how a test gets one.
            assert!(!content.contains(poison), "the content is poisonous, as asked");
        }
        Ok(())
    }
}

/// The methods of the capabilities asked for. `hook` is there if that one is.
pub(crate) fn methods(args: &Args, hook: Option<Arc<Hook>>) -> Vec<Method> {
    let instance: Arc<str> = args.instance().into();
    let faults = Arc::new(Faults::new(&args.faults));
    let mut methods = Vec::new();
    for capability in args.capabilities() {
        let (instance, faults) = (Arc::clone(&instance), Arc::clone(&faults));
        let name = capability.name();
        // A hash of the largest content that the broker takes lasts under a millisecond, and that of a small file a
        // microsecond: a thread of its own for each call would cost more.
        methods.push(match capability {
            Capability::Metadata => Method::instant(name, move |call| metadata(&instance, &faults, call)),
            Capability::Tree => Method::instant(name, move |call| tree(&instance, &faults, call)),
            Capability::Hook => {
                let hook = hook.clone();
                Method::waiting(name, move |call| {
                    let (instance, faults, hook) = (Arc::clone(&instance), Arc::clone(&faults), hook.clone());
                    async move { deliver(&instance, &faults, hook.as_deref(), call).await }
                })
            }
        });
    }
    methods
}

/// The request was checked when it was accepted; whoever calls a worker himself has no limit but the broker's.
fn read(call: &Call) -> Result<Request<'_>, ErrorReply> {
    Request::read(&call.payload, usize::MAX)
}

fn answer<T: Serialize>(instance: &str, call: &Call, found: T) -> Answer {
    call.answer(&Reply {
        instance,
        received_ns: call.received_ns,
        answered_ns: monotonic_ns(),
        found,
    })
}

fn metadata(instance: &str, faults: &Faults, call: &Call) -> Answer {
    let request = read(call)?;
    let content = request.content.as_ref().map(|Text(content)| content.as_ref());
    faults.befall(content)?;
    let expected = request.hash.as_ref().map(|Text(hash)| hash.to_ascii_lowercase());
    let found = match (content, expected) {
        (Some(content), expected) => {
            let hash = blake3::hash(content.as_bytes()).to_hex().to_string();
            if let Some(expected) = expected.filter(|expected| *expected != hash) {
                let text = format!("the content has the hash {hash}, and not {expected}");
                return Err(refused(422, "hash-mismatch", text));
            }
            Metadata {
                hash,
                bytes: content.len() as u64,
            }
        }
        (None, expected) => Metadata {
            hash: expected.unwrap_or_default(),
            bytes: 0,
        },
    };
    answer(instance, call, found)
}

fn tree(instance: &str, faults: &Faults, call: &Call) -> Answer {
    let request = read(call)?;
    let content = request.content.as_ref().map(|Text(content)| content.as_ref());
    faults.befall(content)?;
    let (content_type, by) = match content {
        Some(content) => of_content(&request.file, content),
        None => (of_name(&request.file).unwrap_or("application/octet-stream"), By::Name),
    };
    let by = match by {
        By::Content => "content",
        By::Name => "name",
    };
    answer(instance, call, Tree { content_type, by })
}

async fn deliver(instance: &str, faults: &Faults, hook: Option<&Hook>, call: Call) -> Answer {
    let content = read(&call)?.content.map(|Text(content)| content.into_owned());
    faults.befall(content.as_deref())?;
    let hook = hook.ok_or_else(|| refused(500, "no-subscriber", "this worker delivers nothing".to_owned()))?;
    hook.deliver(call.payload.clone()).await?;
    answer(
        instance,
        &call,
        Delivered {
            subscriber: &hook.subject,
        },
    )
}
