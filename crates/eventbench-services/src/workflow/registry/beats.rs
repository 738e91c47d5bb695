//! Hears the beats: a thread with a connection of its own, so that neither waits for the other's requests.

use super::membership::{Beat, Membership, Received};
use crate::ServiceError;
use crate::connection::{NatsArgs, confirm};
use crate::kit::codec::{Codec, decode_any};
use crate::kit::pool;
use crate::kit::service::Signals;
use crate::platform::monotonic_ns;
use crate::workflow::subjects::BEAT;
use async_nats::Message;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the broker may take to confirm something.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// Most beats that are taken at a time.
const GROUP: usize = 256;

/// The reply to a beat that asks for one.
#[derive(Debug, Serialize)]
struct BeatReply {
    ok: bool,
    seq: u64,
    /// When the registry took it from its connection; `CLOCK_MONOTONIC` in nanoseconds.
    received_ns: u64,
    /// Whether the node is registered; if not, it had better do so.
    registered: bool,
    /// Whether the beat had been received before.
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Hears beats until told to stop, and answers those that ask for it.
pub(crate) async fn hear(
    mut signals: Signals,
    broker: NatsArgs,
    membership: Arc<Mutex<Membership>>,
) -> Result<(), ServiceError> {
    let failed = |action: &str, cause: String| ServiceError::Nats {
        action: action.to_owned(),
        cause,
    };
    let client = pool::connect(&broker, "registry beats", &signals.notes).await?;
    let subscription = client.subscribe(BEAT).await;
    let subscription = subscription.map_err(|cause| failed("subscribing to the beats", cause.to_string()))?;
    confirm(&client, CONFIRM_LIMIT).await?;
    // Nobody waits any more only if the service ends already; the stop flag tells then.
    let _ = signals.ready.send(());
    let mut groups = subscription.ready_chunks(GROUP);
    loop {
        let group = tokio::select! {
            biased;
            _ = signals.stop.wait_for(|stop| *stop) => break,
            group = groups.next() => group,
        };
        let Some(group) = group else {
            return Err(failed("hearing beats", "the connection was closed".to_owned()));
        };
        for (reply, body) in take(&membership, group) {
            if let Err(cause) = client.publish(reply, body).await {
                tracing::warn!("the reply to a beat could not be sent: {cause}");
            }
        }
    }
    // The replies must have left before the process does.
    confirm(&client, CONFIRM_LIMIT).await
}

/// Takes a group of beats under one lock; returns the replies.
fn take(membership: &Mutex<Membership>, group: Vec<Message>) -> Vec<(async_nats::Subject, Bytes)> {
    let received_ns = monotonic_ns();
    let beats: Vec<_> = group
        .into_iter()
        .map(|message| {
            let beat = decode_any::<Beat>(&message.payload).map_err(|cause| cause.to_string());
            (message.reply, Codec::of_reply(&message.payload), beat)
        })
        .collect();
    let mut replies = Vec::new();
    let mut membership = membership.lock().unwrap_or_else(PoisonError::into_inner);
    for (reply, codec, beat) in beats {
        let (seq, outcome) = match beat {
            Ok(beat) => (beat.seq, membership.beat(received_ns, &beat)),
            Err(reason) => {
                membership.beats.refused += 1;
                (0, Err(reason))
            }
        };
        let Some(reply) = reply else { continue };
        let (ok, what, reason) = match outcome {
            Ok(what) => (true, Some(what), None),
            Err(reason) => (false, None, Some(reason)),
        };
        let body = codec.encode(&BeatReply {
            ok,
            seq,
            received_ns,
            registered: what.is_some_and(|(_, registered)| registered),
            duplicate: what.is_some_and(|(received, _)| received == Received::Duplicate),
            reason,
        });
        // Numbers, flags and a text: both codecs can hold them.
        replies.push((reply, body.unwrap_or_default()));
    }
    replies
}
