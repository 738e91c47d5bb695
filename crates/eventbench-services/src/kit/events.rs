//! Events in JetStream: published with an acknowledgement and a message id, consumed by a durable pull consumer with
//! explicit acknowledgement.
//!
//! An event is acknowledged only after it was handled. One that fails comes again after a pause that grows, up to a
//! number of deliveries; one that a crash left unacknowledged comes again after `ack_wait`. So every event is handled
//! at least once, and a second time is possible.

use super::pool::Pool;
use super::serve::{CONFIRM_LIMIT, failed};
use super::service::Signals;
use crate::ServiceError;
use crate::connection::confirm;
use async_nats::Client;
use async_nats::jetstream::consumer::pull::MessagesErrorKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{AckKind, PublishMessage};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::ReadyChunks;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// The stream of events.
pub const STREAM: &str = "EVENTS";
/// What it captures.
pub const SUBJECTS: &str = "events.>";
/// Deliveries that may be unacknowledged at once; bounds the duplicates after a crash.
const MAX_ACK_PENDING: i64 = 20_000;
/// Events to ask for at a time unless there is a reason for another number.
pub const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_999);
/// Time after which the broker gives a request for messages up, and is asked again.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// Time between two signs that the broker still knows of such a request; two missing ones mean that it does not.
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Pause before a consumer that was lost is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Most events handled together.
const GROUP: usize = 1_024;
/// Pause before the second delivery; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where events of a type are published.
pub fn subject(domain: &str, kind: &str) -> String {
    format!("events.{domain}.{kind}")
}

/// Why an event is not known to be in the stream.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody captures the subject: the stream is missing or JetStream is off.
    #[error("no stream captures {0}")]
    NoStream(String),
    /// The event is larger than the broker takes.
    #[error("the event is larger than the broker's limit of {0} bytes")]
    TooLarge(usize),
    /// No acknowledgement came in time; the event may be in the stream or not. A repetition under the same id is safe.
    #[error("no acknowledgement came in time")]
    TimedOut,
    /// The broker refused, or the connection is gone.
    #[error("{0}")]
    Refused(String),
}

/// Publishes events over a pool of connections.
#[derive(Debug)]
pub struct Publisher {
    contexts: Vec<Context>,
    next: AtomicUsize,
}

impl Publisher {
    /// A publisher on these connections, which waits at most `ack_limit` for an acknowledgement.
    pub fn new(pool: &Pool, ack_limit: Duration) -> Publisher {
        let contexts = pool.clients().iter().map(|client| {
            let mut context = jetstream::new(client.clone());
            context.set_timeout(ack_limit);
            context
        });
        Publisher {
            contexts: contexts.collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Publishes one event and waits until the stream has it. A second event with the same `id` within the stream's
    /// window is acknowledged as a duplicate and not stored.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, subject: &str, payload: Bytes, id: Option<&str>) -> Result<PublishAck, PublishError> {
        let context = &self.contexts[self.next.fetch_add(1, Relaxed) % self.contexts.len()];
        let mut message = PublishMessage::build().payload(payload);
        if let Some(id) = id {
            message = message.message_id(id);
        }
        let sent = async { context.send_publish(subject.to_owned(), message).await?.await };
        sent.await.map_err(|cause| match cause.kind() {
            PublishErrorKind::StreamNotFound => PublishError::NoStream(subject.to_owned()),
            PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge(context.client().max_payload()),
            PublishErrorKind::TimedOut => PublishError::TimedOut,
            _ => PublishError::Refused(cause.to_string()),
        })
    }
}

/// A durable consumer.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Its name; instances that share it share the events.
    pub durable: String,
    /// The events that it takes, with wildcards.
    pub filter: String,
    /// Time after which an event without acknowledgement is delivered again.
    pub ack_wait: Duration,
    /// Deliveries after which an event is given up.
    pub max_deliver: u32,
    /// Messages asked for at a time.
    pub batch: NonZeroUsize,
}

/// Pulls the messages of a durable consumer, and opens it again when the broker has lost sight of it, as when the
/// server that led it was killed. What was on its way then comes again after `ack_wait`.
pub(crate) struct Puller {
    stream: Stream,
    settings: ConsumerSettings,
    messages: ReadyChunks<pull::Stream>,
}

impl Puller {
    /// Opens the consumer and begins to pull.
    ///
    /// # Errors
    /// [`ServiceError::Nats`] if the broker refuses.
    pub(crate) async fn open(stream: Stream, settings: ConsumerSettings) -> Result<Puller, ServiceError> {
        let messages = pull(&stream, &settings).await?;
        Ok(Puller {
            stream,
            settings,
            messages,
        })
    }

    /// What one wake-up brought, at least one message; `None` once told to stop.
    ///
    /// # Errors
    /// [`ServiceError::Nats`] if the consumer was removed or is not ours.
    pub(crate) async fn next(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Vec<jetstream::Message>>, ServiceError> {
        use MessagesErrorKind::{ConsumerDeleted, PushBasedConsumer, RequestLimitExceeded};
        loop {
            let received = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
                received = self.messages.next() => received,
            };
            let mut is_lost = received.is_none();
            let mut group = Vec::new();
            for message in received.unwrap_or_default() {
                match message {
                    Ok(message) => group.push(message),
                    Err(cause) => match cause.kind() {
                        ConsumerDeleted | PushBasedConsumer | RequestLimitExceeded => {
                            return Err(failed(&format!("pulling for {}", self.settings.durable), cause));
                        }
                        _ => {
                            tracing::warn!("JetStream: {cause}; opening {} again", self.settings.durable);
                            is_lost = true;
                        }
                    },
                }
            }
            if is_lost {
                self.reopen(stop).await;
            }
            if !group.is_empty() {
                return Ok(Some(group));
            }
        }
    }

    /// Tries until it succeeds or is told to stop.
    async fn reopen(&mut self, stop: &mut watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(REOPEN_PAUSE) => {}
            }
            match pull(&self.stream, &self.settings).await {
                Ok(messages) => {
                    self.messages = messages;
                    return;
                }
                Err(cause) => tracing::warn!("{cause}"),
            }
        }
    }
}

async fn pull(stream: &Stream, settings: &ConsumerSettings) -> Result<ReadyChunks<pull::Stream>, ServiceError> {
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some(settings.durable.clone()),
            filter_subject: settings.filter.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: settings.ack_wait,
            max_deliver: settings.max_deliver.into(),
            max_ack_pending: MAX_ACK_PENDING,
            ..pull::Config::default()
        })
        .await
        .map_err(|cause| failed(&format!("opening the durable consumer {}", settings.durable), cause))?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(settings.batch.get())
        .expires(PULL_EXPIRES)
        .heartbeat(PULL_HEARTBEAT)
        .messages()
        .await
        .map_err(|cause| failed("asking for messages", cause))?;
    Ok(messages.ready_chunks(settings.batch.get().min(GROUP)))
}

/// One delivery of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where it was published.
    pub subject: String,
    /// What was published.
    pub payload: Bytes,
    /// Its number in the stream.
    pub stream_sequence: u64,
    /// How often it has been delivered, this time included.
    pub delivered: u64,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done and need not come again.
    Handled,
    /// It is to come again after a pause.
    Failed,
    /// It can never be handled and must not come again.
    Refused,
}

/// Counters of a consumer.
#[derive(Debug, Default)]
pub struct ConsumerStats {
    /// Deliveries.
    pub received: AtomicU64,
    /// Deliveries after the first of an event.
    pub redelivered: AtomicU64,
    /// Events handled and acknowledged.
    pub handled: AtomicU64,
    /// Deliveries that failed and come again.
    pub failed: AtomicU64,
    /// Events that can never be handled.
    pub refused: AtomicU64,
    /// Events that failed as often as they may.
    pub given_up: AtomicU64,
}

/// Consumes until told to stop. `handle` gets what one wake-up brought and returns an outcome for each, in order;
/// it runs on the calling thread, which nothing else should share.
///
/// # Errors
/// [`ServiceError::Nats`] if the consumer ends; an error of `handle` ends it too, with nothing of that group
/// acknowledged.
pub async fn run_consumer(
    mut signals: Signals,
    client: Client,
    stream: Stream,
    settings: ConsumerSettings,
    stats: Arc<ConsumerStats>,
    mut handle: impl FnMut(&[Delivery]) -> Result<Vec<Outcome>, ServiceError>,
) -> Result<(), ServiceError> {
    let mut puller = Puller::open(stream, settings.clone()).await?;
    confirm(&client, CONFIRM_LIMIT).await?;
    // The receiver is gone only if the service ends already; the stop flag tells then.
    let _ = signals.ready.send(());
    while let Some(received) = puller.next(&mut signals.stop).await? {
        let (mut deliveries, mut receipts) = (Vec::new(), Vec::new());
        for message in received {
            let Ok(info) = message.info() else { continue };
            let (stream_sequence, delivered) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(0));
            if delivered > 1 {
                stats.redelivered.fetch_add(1, Relaxed);
            }
            let message = message.message;
            let Some(receipt) = message.reply else { continue };
            deliveries.push(Delivery {
                subject: message.subject.to_string(),
                payload: message.payload,
                stream_sequence,
                delivered,
            });
            receipts.push(receipt);
        }
        stats.received.fetch_add(deliveries.len() as u64, Relaxed);
        let outcomes = handle(&deliveries)?;
        for ((delivery, receipt), outcome) in deliveries.iter().zip(receipts).zip(outcomes) {
            let word = settle(&stats, &settings, delivery, outcome);
            client
                .publish(receipt, word.into())
                .await
                .map_err(|cause| failed("acknowledging", cause))?;
        }
    }
    // What the library still holds was never acknowledged and comes again.
    drop(puller);
    confirm(&client, CONFIRM_LIMIT).await
}

/// Counts an outcome and says how it is told to the broker.
fn settle(stats: &ConsumerStats, settings: &ConsumerSettings, delivery: &Delivery, outcome: Outcome) -> AckKind {
    match outcome {
        Outcome::Handled => {
            stats.handled.fetch_add(1, Relaxed);
            AckKind::Ack
        }
        Outcome::Failed if delivery.delivered < settings.max_deliver.into() => {
            stats.failed.fetch_add(1, Relaxed);
            AckKind::Nak(Some(pause(delivery.delivered)))
        }
        Outcome::Failed => {
            stats.given_up.fetch_add(1, Relaxed);
            tracing::error!(
                "event {} on {} is given up after {} deliveries",
                delivery.stream_sequence,
                delivery.subject,
                delivery.delivered
            );
            AckKind::Term
        }
        Outcome::Refused => {
            stats.refused.fetch_add(1, Relaxed);
            AckKind::Term
        }
    }
}

/// The pause after the `delivered`th delivery failed.
fn pause(delivered: u64) -> Duration {
    let doublings = u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    LONGEST_PAUSE.min(FIRST_PAUSE * (1 << doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_has_an_end() {
        let ms: Vec<u128> = [0, 1, 2, 3, 9, 10, 11, 1_000].map(|n| pause(n).as_millis()).to_vec();
        assert_eq!(ms, [10, 10, 20, 40, 2_560, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn each_outcome_is_counted_once_and_told_to_the_broker() {
        let stats = ConsumerStats::default();
        let settings = ConsumerSettings {
            durable: "d".to_owned(),
            filter: SUBJECTS.to_owned(),
            ack_wait: Duration::from_secs(1),
            max_deliver: 3,
            batch: BATCH,
        };
        let delivery = |delivered| Delivery {
            subject: subject("chat", "sent"),
            payload: Bytes::new(),
            stream_sequence: 7,
            delivered,
        };
        let told = |delivered, outcome| Bytes::from(settle(&stats, &settings, &delivery(delivered), outcome));
        assert_eq!(told(1, Outcome::Handled), "+ACK");
        assert_eq!(told(2, Outcome::Failed), "-NAK {\"delay\":20000000}");
        assert_eq!(told(3, Outcome::Failed), "+TERM");
        assert_eq!(told(1, Outcome::Refused), "+TERM");
        let counts = [&stats.handled, &stats.failed, &stats.given_up, &stats.refused].map(|n| n.load(Relaxed));
        assert_eq!(counts, [1, 1, 1, 1]);
    }
}
