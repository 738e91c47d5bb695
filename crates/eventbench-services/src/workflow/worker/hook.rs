//! Delivery to a subscriber, and the subscriber that a worker brings along if there is no other.
//!
//! A delivery is the workflow as its client sent it, and any reply is its acknowledgement. It may come twice: the
//! orchestrator calls again when it has not heard of an end.

use crate::ServiceError;
use crate::connection::{NatsArgs, confirm};
use crate::kit::pool::{ConnectionNotes, connect};
use crate::kit::reply::ErrorReply;
use crate::workflow::request::refused;
use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long the broker may take to confirm something.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// What the subscriber that a worker brings along replies.
const ACKNOWLEDGEMENT: &[u8] = b"+ACK";

/// Delivers to one subject.
pub(crate) struct Hook {
    client: Client,
    pub(crate) subject: String,
    timeout: Duration,
    /// Deliveries that wait for their acknowledgement.
    pub(crate) outstanding: AtomicU64,
}

/// Counts a delivery for as long as it waits, however it ends.
struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Hook {
    /// A hook with a connection of its own.
    pub(crate) async fn connect(
        broker: &NatsArgs,
        subject: String,
        timeout: Duration,
        notes: &Arc<ConnectionNotes>,
    ) -> Result<Arc<Hook>, ServiceError> {
        let client = connect(broker, "worker hook", notes).await?;
        Ok(Arc::new(Hook {
            client,
            subject,
            timeout,
            outstanding: AtomicU64::new(0),
        }))
    }

    /// Delivers and waits for the acknowledgement.
    pub(crate) async fn deliver(&self, payload: Bytes) -> Result<(), ErrorReply> {
        self.outstanding.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.outstanding);
        let request = Request::new().payload(payload).timeout(Some(self.timeout));
        let sent = self.client.send_request(self.subject.clone(), request).await;
        sent.map(|_| ()).map_err(|cause| match cause.kind() {
            RequestErrorKind::TimedOut => {
                let limit_ms = self.timeout.as_millis();
                let text = format!(
                    "the subscriber {} has not acknowledged within {limit_ms} ms",
                    self.subject
                );
                refused(504, "subscriber-silent", text)
            }
            RequestErrorKind::NoResponders => {
                refused(502, "no-subscriber", format!("nobody subscribes to {}", self.subject))
            }
            _ => refused(502, "not-delivered", cause.to_string()),
        })
    }
}

/// Subscribes on a connection of its own, and acknowledges every delivery for as long as the runtime lives.
pub(crate) async fn subscribe(
    broker: &NatsArgs,
    subject: &str,
    notes: &Arc<ConnectionNotes>,
) -> Result<(), ServiceError> {
    let client = connect(broker, "worker subscriber", notes).await?;
    let deliveries = client
        .subscribe(subject.to_owned())
        .await
        .map_err(|cause| ServiceError::Nats {
            action: format!("subscribing to {subject}"),
            cause: cause.to_string(),
        })?;
    confirm(&client, CONFIRM_LIMIT).await?;
    tokio::spawn(acknowledge(client, deliveries));
    Ok(())
}

async fn acknowledge(client: Client, mut deliveries: Subscriber) {
    while let Some(delivery) = deliveries.next().await {
        let Some(reply) = delivery.reply else { continue };
        if let Err(cause) = client.publish(reply, Bytes::from_static(ACKNOWLEDGEMENT)).await {
            tracing::warn!("a delivery could not be acknowledged: {cause}");
        }
    }
}
