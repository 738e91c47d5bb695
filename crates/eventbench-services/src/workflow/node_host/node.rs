//! One logical node: who it is, its beats, what it reads.

use super::resources::Source;
use crate::kit::reply::ErrorReply;
use crate::platform::monotonic_ns;
use crate::workflow::registry::membership::{Beat, Registration};
use crate::workflow::subjects::{BEAT, REGISTRY_REGISTER};
use async_nats::Client;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long a node waits for a reply that is asked for by a request. Generous: a reply that is slow is a figure, not an
/// error.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Where a node takes its leave.
const REGISTRY_LEAVE: &str = "rpc.registry.leave";

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) registration: Registration,
    pub(crate) source: Source,
    /// Number of the next beat.
    seq: AtomicU64,
    registering: AtomicBool,
}

/// What the node reads of the registry's reply to a beat.
#[derive(Debug, Deserialize)]
struct Confirmed {
    ok: bool,
    seq: u64,
    #[serde(default)]
    registered: bool,
    #[serde(default)]
    reason: Option<String>,
}

impl Node {
    pub(crate) fn new(registration: Registration, source: Source) -> Node {
        Node {
            registration,
            source,
            seq: AtomicU64::new(0),
            registering: AtomicBool::new(false),
        }
    }

    /// Makes itself known to the registry.
    ///
    /// # Errors
    /// A sentence, if the registry does not take it.
    pub(crate) async fn register(&self, client: &Client) -> Result<(), String> {
        request(client, REGISTRY_REGISTER, &self.registration, LIMIT).await?;
        Ok(())
    }

    /// Takes its leave. A registry that does not hear it counts the node as lost after a while.
    pub(crate) async fn leave(&self, client: &Client) {
        let leave = serde_json::json!({ "id": self.registration.id });
        if let Err(cause) = request(client, REGISTRY_LEAVE, &leave, LIMIT).await {
            tracing::debug!("node {} left without a word: {cause}", self.registration.id);
        }
    }

    /// Sends a beat and waits until the registry confirms this very one, for at most `limit`; returns how long that took,
    /// the reading of resources included, in nanoseconds.
    ///
    /// # Errors
    /// A sentence, if it is not confirmed.
    pub(crate) async fn beat(&self, client: &Client, with_resources: bool, limit: Duration) -> Result<u64, String> {
        let begin_ns = monotonic_ns();
        let resources = if with_resources {
            Some(self.source.read(false).await?.resources)
        } else {
            None
        };
        let seq = self.seq.fetch_add(1, Relaxed);
        let busy = resources.or_else(|| self.source.last());
        let beat = Beat {
            id: self.registration.id.clone(),
            seq,
            at_ns: monotonic_ns(),
            load: busy.map_or(0.0, |read| f64::from(read.cpu_percent) / 100.0),
            outstanding: 0,
            resources,
        };
        let reply = request(client, BEAT, &beat, limit).await?;
        let took_ns = monotonic_ns().saturating_sub(begin_ns);
        let confirmed: Confirmed =
            serde_json::from_slice(&reply).map_err(|cause| format!("the reply to a beat: {cause}"))?;
        if !confirmed.ok || confirmed.seq != seq {
            let reason = confirmed.reason.unwrap_or_else(|| "no reason given".to_owned());
            return Err(format!("beat {seq} was not confirmed, but {}: {reason}", confirmed.seq));
        }
        // The registry was started again and knows nobody.
        if !confirmed.registered && !self.registering.swap(true, Relaxed) {
            let registered = self.register(client).await;
            self.registering.store(false, Relaxed);
            registered?;
        }
        Ok(took_ns)
    }
}

/// Asks, and takes an error reply for the error that it is.
async fn request<T: Serialize>(
    client: &Client,
    subject: &'static str,
    body: &T,
    limit: Duration,
) -> Result<Bytes, String> {
    let body = serde_json::to_vec(body).map_err(|cause| cause.to_string())?;
    let request = async_nats::Request::new().payload(body.into()).timeout(Some(limit));
    let reply = client
        .send_request(subject, request)
        .await
        .map_err(|cause| format!("{subject}: {cause}"))?;
    match ErrorReply::of_reply(reply.headers.as_ref(), &reply.payload) {
        Some(error) => Err(format!("{subject}: {error}")),
        None => Ok(reply.payload),
    }
}
