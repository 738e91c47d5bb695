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
/// Most time that a drain waits for the broker to have seen the end of the subscription.
const DRAIN_CONFIRM_LIMIT: Duration = Duration::from_millis(250);

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
    /// The connection for queries and the runtime that drives it: the second line on which a drain asks the broker.
    pub(crate) control: (tokio::runtime::Handle, Client),
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
            tokio::select! {
                () = hand_over.until_end(&mut events) => {}
                caught_up = confirm(&client, CONFIRM_LIMIT) => {
                    if let Err(cause) = caught_up {
                        tracing::warn!("events that the broker still held for this service are lost: {cause}");
                    }
                }
            }
            drain(&client, &mut events, &source.control).await?;
            hand_over.until_end(&mut events).await;
            Ok(())
        }
    }
}

/// Ends the subscription so that what the broker has sent already still arrives.
///
/// The client library ends a drained subscription the next time that it has read its socket empty, without waiting
/// for the broker to see the end. So this holds the thread, and with it the library, until the other connection has
/// seen that the broker dropped the subscription: by then everything is on its way to our socket. What does not fit
/// the socket's buffer in that time (a flood of hundreds of thousands of events a second) may still be lost to the
/// queue group; core NATS promises no more, JetStream does.
async fn drain(
    client: &Client,
    events: &mut Subscriber,
    control: &(tokio::runtime::Handle, Client),
) -> Result<(), ServiceError> {
    let failed = |cause: String| ServiceError::Nats {
        action: "draining".to_owned(),
        cause,
    };
    // The broker takes one connection's commands in order: once nobody listens to the marker, nobody does to the events.
    let marker_subject = client.new_inbox();
    let mut marker = client
        .subscribe(marker_subject.clone())
        .await
        .map_err(|cause| failed(cause.to_string()))?;
    events.drain().await.map_err(|cause| failed(cause.to_string()))?;
    marker.drain().await.map_err(|cause| failed(cause.to_string()))?;
    // Lets the library's task send all of it.
    tokio::task::yield_now().await;
    let (sender, receiver) = std::sync::mpsc::channel();
    let (handle, other) = control.clone();
    handle.spawn(async move {
        let gone = async {
            while !has_no_listener(&other, &marker_subject).await {}
            // One more exchange gives the broker the time to write what it had still queued for us.
            let _ = confirm(&other, DRAIN_CONFIRM_LIMIT).await;
        };
        let _ = tokio::time::timeout(DRAIN_CONFIRM_LIMIT, gone).await;
        let _ = sender.send(());
    });
    if receiver.recv_timeout(2 * DRAIN_CONFIRM_LIMIT).is_err() {
        tracing::warn!("the broker did not confirm the end of the subscription; events on their way may be lost");
    }
    Ok(())
}

/// Whether the broker says that nobody subscribes to `subject`. A listener that does not answer is not waited for.
async fn has_no_listener(client: &Client, subject: &str) -> bool {
    let request = async_nats::Request::new().timeout(Some(Duration::from_millis(2)));
    match client.send_request(subject.to_owned(), request).await {
        Ok(_) => false,
        Err(cause) => cause.kind() == async_nats::RequestErrorKind::NoResponders,
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
