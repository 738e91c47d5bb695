//! Events from a JetStream stream through a durable pull consumer.
//!
//! An event is acknowledged only after the commit of its batch. A crash in between leaves it unacknowledged, so it
//! comes again and becomes a second row: a duplicate that can be seen, never a row that is missing.

use super::nats::{CONFIRM_LIMIT, SUBSCRIPTION_CAPACITY, Source, note_events};
use super::queue::Received;
use super::rate_limit::RateLimit;
use super::writer::{Settled, count_received, sort};
use crate::ServiceError;
use crate::connection::confirm;
use async_nats::Client;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
    stream::{Config, StorageType},
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// What the stream captures: the events, never the queries, whose replies the stream's acknowledgements would spoil.
const SUBJECTS: [&str; 5] = ["bus.chat.>", "bus.user.>", "bus.media.>", "bus.pm.>", "bus.stats.>"];
/// Deliveries that may be unacknowledged at once; bounds the duplicates after a crash.
const MAX_ACK_PENDING: i64 = 20_000;
/// Messages asked for at a time.
const PULL_BATCH: usize = 5_000;
/// Most messages taken before they are handed to the queue.
const GROUP: usize = 1_024;

/// Names of the stream and its consumer.
pub(crate) struct Names {
    pub(crate) stream: String,
    pub(crate) durable: String,
    pub(crate) ack_wait: Duration,
}

/// Consumes until told to stop; then waits until the writer has settled everything, and acknowledges it.
pub(crate) async fn run(
    source: Source,
    names: Names,
    mut settled: UnboundedReceiver<Vec<Settled>>,
) -> Result<(), ServiceError> {
    let on_event = note_events(Arc::clone(&source.stats));
    let client = source
        .broker
        .connect("event-store", SUBSCRIPTION_CAPACITY, on_event)
        .await?;
    let mut messages = consume(&client, &names).await?.ready_chunks(GROUP);
    confirm(&client, CONFIRM_LIMIT).await?;
    // The receiver is gone only if the service ends already; the stop flag tells then.
    let _ = source.ready.send(());

    let mut stop = source.stop.clone();
    let mut refusals = RateLimit::default();
    let mut group: Vec<Received> = Vec::with_capacity(GROUP);
    let ended = loop {
        tokio::select! {
            biased;
            Some(settled) = settled.recv() => acknowledge(&client, settled).await?,
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            received = messages.next() => {
                let Some(received) = received else {
                    break Err(failed("receiving", "the consumer was closed"));
                };
                let mut refused = Vec::new();
                for message in received {
                    let message = match message {
                        Ok(message) => message,
                        Err(cause) => {
                            // The stream of messages recovers by itself, or ends, which the loop notices.
                            tracing::warn!("JetStream: {cause}");
                            continue;
                        }
                    };
                    if is_redelivery(&message) {
                        source.stats.redelivered.fetch_add(1, Relaxed);
                    }
                    let message = message.message;
                    let payload = message.payload;
                    match (sort(&source.stats, &mut refusals, source.max_payload, &message.subject, payload), message.reply) {
                        (Some(event), receipt) => group.push(Received { receipt, ..event }),
                        (None, Some(receipt)) => refused.push(Settled::Refused(receipt)),
                        (None, None) => {}
                    }
                }
                acknowledge(&client, refused).await?;
                count_received(&source.stats, &group);
                if source.queue.push_all(&mut group).is_err() {
                    break Ok(());
                }
            }
        }
    };
    // What the library still holds was never acknowledged and comes again.
    drop(messages);
    source.queue.close();
    while let Some(settled) = settled.recv().await {
        acknowledge(&client, settled).await?;
    }
    confirm(&client, CONFIRM_LIMIT).await?;
    ended
}

async fn consume(client: &Client, names: &Names) -> Result<pull::Stream, ServiceError> {
    let context = jetstream::new(client.clone());
    let stream = context
        .get_or_create_stream(Config {
            name: names.stream.clone(),
            subjects: SUBJECTS.map(str::to_owned).to_vec(),
            storage: StorageType::File,
            ..Config::default()
        })
        .await
        .map_err(|cause| {
            failed(
                &format!("opening the JetStream stream {}", names.stream),
                &cause.to_string(),
            )
        })?;
    let captured = &stream.cached_info().config.subjects;
    if let Some(missing) = SUBJECTS
        .iter()
        .find(|subject| !captured.iter().any(|captured| captured == *subject))
    {
        return Err(failed(
            &format!("using the JetStream stream {}", names.stream),
            &format!("it exists and does not capture {missing}; give another --stream"),
        ));
    }
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some(names.durable.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: names.ack_wait,
            max_ack_pending: MAX_ACK_PENDING,
            ..pull::Config::default()
        })
        .await
        .map_err(|cause| {
            failed(
                &format!("opening the durable consumer {}", names.durable),
                &cause.to_string(),
            )
        })?;
    consumer
        .stream()
        .max_messages_per_batch(PULL_BATCH)
        .messages()
        .await
        .map_err(|cause| failed("asking for messages", &cause.to_string()))
}

/// Whether the broker has delivered this event before, as its reply subject tells.
fn is_redelivery(message: &jetstream::Message) -> bool {
    message.info().is_ok_and(|info| info.delivered > 1)
}

async fn acknowledge(client: &Client, settled: Vec<Settled>) -> Result<(), ServiceError> {
    for settled in settled {
        let (receipt, word) = match settled {
            Settled::Stored(receipt) => (receipt, Bytes::from_static(b"+ACK")),
            Settled::Refused(receipt) => (receipt, Bytes::from_static(b"+TERM")),
        };
        client
            .publish(receipt, word)
            .await
            .map_err(|cause| failed("acknowledging", &cause.to_string()))?;
    }
    Ok(())
}

fn failed(action: &str, cause: &str) -> ServiceError {
    ServiceError::Nats {
        action: action.to_owned(),
        cause: cause.to_owned(),
    }
}
