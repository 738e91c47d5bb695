//! Events from core NATS: one subscription in a queue group, on a connection and a thread of its own.
//!
//! Queries use another connection, so that an answer never waits behind a flood of events, and a full queue may block
//! this thread: it then stops reading its socket, and the pressure reaches the broker.

use super::queue::{Queue, Received};
use super::rate_limit::RateLimit;
use super::stats::Stats;
use super::writer::{count_received, sort};
use crate::ServiceError;
use crate::connection::{NatsArgs, confirm};
use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Messages that the client library may hold for us. It reads its socket until it is empty and *drops* what does not
/// fit, so this must exceed what one visit to the socket can bring (128 reads of 64 KiB); memory is taken only as used.
pub(crate) const SUBSCRIPTION_CAPACITY: usize = 1 << 20;
/// Most messages taken before they are handed to the queue.
const GROUP: usize = 1_024;
/// How long the broker may take to confirm a subscription.
pub(crate) const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// What a source of events needs of the service.
pub(crate) struct Source {
    pub(crate) broker: NatsArgs,
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) max_payload: usize,
    /// Told once the broker has confirmed that events come here.
    pub(crate) ready: oneshot::Sender<()>,
    /// Becomes true when the service is to stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Hears what happens to a connection.
pub(crate) fn note_events(stats: Arc<Stats>) -> impl Fn(Event) + Send + Sync + 'static {
    move |event| match event {
        Event::SlowConsumer(_) => {
            // The library reports each message that it dropped.
            if stats.slow_consumer.fetch_add(1, Relaxed).is_multiple_of(10_000) {
                tracing::error!("slow consumer: messages are dropped because the client's buffer is full");
            }
        }
        Event::Disconnected => {
            stats.disconnected.fetch_add(1, Relaxed);
            tracing::warn!("connection to NATS lost; connecting again");
        }
        Event::ServerError(cause) => tracing::error!("NATS server: {cause}"),
        Event::ClientError(cause) => tracing::error!("NATS client: {cause}"),
        Event::Connected | Event::Draining | Event::Closed | Event::LameDuckMode => tracing::debug!("NATS: {event}"),
    }
}

/// Subscribes and hands events to the queue until told to stop; then drains the subscription.
pub(crate) async fn run(source: Source, queue_group: String) -> Result<(), ServiceError> {
    let failed = |action: &str, cause: String| ServiceError::Nats {
        action: action.to_owned(),
        cause,
    };
    let draining = |cause: async_nats::UnsubscribeError| failed("draining", cause.to_string());
    let on_event = note_events(Arc::clone(&source.stats));
    let client = source
        .broker
        .connect("event-store", SUBSCRIPTION_CAPACITY, on_event)
        .await?;
    let mut events = client
        .queue_subscribe("bus.>", queue_group)
        .await
        .map_err(|cause| failed("subscribing to bus.>", cause.to_string()))?;
    confirm(&client, CONFIRM_LIMIT).await?;
    // The receiver is gone only if the service ends already; the stop flag tells then.
    let _ = source.ready.send(());

    let mut stop = source.stop.clone();
    let mut hand_over = HandOver::new(&source.queue, &source.stats, source.max_payload);
    tokio::select! {
        () = hand_over.until_end(&mut events) => Err(failed("receiving", "the connection was closed".to_owned())),
        _ = stop.wait_for(|stop| *stop) => {
            // First what the broker has queued for us up to now, however much that is; then the little that it sends
            // until the subscription ends.
            hand_over.until_confirmed(&client, &mut events).await;
            // The library's own drain forgets a subscription the next time that it has read its socket empty, without
            // waiting for the broker to have seen the end, and so loses what comes in between. So the broker is asked to
            // end it after more messages than it can count, which it does at once, while the library waits for that
            // many: what it says next on the connection then comes after the last event.
            events.unsubscribe_after(u64::MAX).await.map_err(draining)?;
            hand_over.until_confirmed(&client, &mut events).await;
            // Nothing more comes; what is here already is still given out.
            events.unsubscribe().await.map_err(draining)?;
            hand_over.until_end(&mut events).await;
            Ok(())
        }
    }
}

/// Moves messages from a subscription to the queue, all that one wake-up brought at once.
struct HandOver<'a> {
    queue: &'a Queue,
    stats: &'a Stats,
    max_payload: usize,
    refusals: RateLimit,
    group: Vec<Received>,
}

impl<'a> HandOver<'a> {
    fn new(queue: &'a Queue, stats: &'a Stats, max_payload: usize) -> HandOver<'a> {
        HandOver {
            queue,
            stats,
            max_payload,
            refusals: RateLimit::default(),
            group: Vec::with_capacity(GROUP),
        }
    }

    /// Returns when everything has been handed over that the broker had sent before it heard of this.
    async fn until_confirmed(&mut self, client: &Client, events: &mut Subscriber) {
        tokio::select! {
            () = self.until_end(events) => {}
            caught_up = confirm(client, CONFIRM_LIMIT) => {
                if let Err(cause) = caught_up {
                    tracing::warn!("events that the broker still held for this service are lost: {cause}");
                }
            }
        }
    }

    /// Returns when the subscription ends.
    async fn until_end(&mut self, events: &mut Subscriber) {
        // The runtime lets a task take 128 messages at a time; the library's task would meanwhile read far more.
        tokio::task::unconstrained(async {
            let mut groups = events.ready_chunks(GROUP);
            while let Some(messages) = groups.next().await {
                for message in messages {
                    let subject = message.subject.as_str();
                    // The subscription covers the queries too; they are answered on the other connection.
                    if subject.starts_with("bus.query.") || subject == "bus.health" {
                        continue;
                    }
                    let event = sort(
                        self.stats,
                        &mut self.refusals,
                        self.max_payload,
                        subject,
                        message.payload,
                    );
                    self.group.extend(event);
                }
                count_received(self.stats, &self.group);
                if self.queue.push_all(&mut self.group).is_err() {
                    return;
                }
            }
        })
        .await;
    }
}
