//! Serves the methods of one instance: reads the requests of all its connections on one thread, answers them, and
//! drains so that every request that was taken is answered and every other goes to another instance.
//!
//! One thread with one runtime drives all connections and runs the instant methods in place. The requests that one
//! wake-up brought are answered together, and the client library writes their replies together, so a busy service
//! makes few system calls; a task, a channel or a lock for each request would cost more than the request.

use super::codec::Codec;
use super::method::{Call, Endpoint, Handler};
use super::pool::Pool;
use super::reply::{Answer, ErrorReply};
use super::work::burn;
use crate::ServiceError;
use crate::platform::monotonic_ns;
use async_nats::client::PublishErrorKind;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long the broker may take to confirm something.
pub(crate) const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// Most requests taken from a subscription at a time.
const GROUP: usize = 256;
/// Calls that may wait or compute at once; a further one is refused with code 503 instead of filling the memory.
const IN_FLIGHT: u32 = 100_000;

/// What every call costs beyond what its method does: an instance that is slower than the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time by which each answer is later; other calls go on meanwhile. The timer's resolution is a millisecond.
    pub slow: Duration,
    /// CPU time that each call burns on the thread that reads the requests.
    pub burn: Duration,
}

/// A method's subscription on one of the connections.
struct Lane {
    endpoint: Arc<Endpoint>,
    client: Client,
    requests: Subscriber,
    ended: bool,
}

/// The subscriptions of one instance.
pub(crate) struct Server {
    lanes: Vec<Lane>,
    /// The lane that is asked first, so that a flood of one method does not starve the others.
    first: usize,
    cost: Cost,
    in_flight: Arc<Semaphore>,
}

impl Server {
    pub(crate) fn new(cost: Cost) -> Server {
        Server {
            lanes: Vec::new(),
            first: 0,
            cost,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
        }
    }

    /// Subscribes to a method on the connection whose turn it is.
    pub(crate) async fn subscribe(
        &mut self,
        pool: &Pool,
        endpoint: Arc<Endpoint>,
        queue_group: &str,
    ) -> Result<(), ServiceError> {
        let client = pool.next().clone();
        let requests = client
            .queue_subscribe(endpoint.subject.clone(), queue_group.to_owned())
            .await
            .map_err(|cause| failed(&format!("subscribing to {}", endpoint.subject), cause))?;
        self.lanes.push(Lane {
            endpoint,
            client,
            requests,
            ended: false,
        });
        Ok(())
    }

    /// Answers until told to stop; then drains, for at most `limit` once the broker sends nothing more.
    pub(crate) async fn run(
        &mut self,
        pool: &Pool,
        stop: &mut watch::Receiver<bool>,
        limit: Duration,
    ) -> Result<(), ServiceError> {
        if self.answer_until(stop.wait_for(|stop| *stop)).await.is_none() {
            return Err(failed("receiving requests", "the connections were closed"));
        }
        self.end_subscriptions(pool).await?;
        let finished = async {
            self.answer_until(std::future::pending::<()>()).await;
            self.in_flight.acquire_many(IN_FLIGHT).await.is_ok()
        };
        if tokio::time::timeout(limit, finished).await.is_err() {
            let left = IN_FLIGHT as usize - self.in_flight.available_permits();
            return Err(failed(
                "draining",
                format!("{left} calls were not finished within {} ms", limit.as_millis()),
            ));
        }
        // The answers themselves must have left before the process does.
        pool.confirm(CONFIRM_LIMIT).await
    }

    /// Ends all subscriptions at the broker so that what it has sent already still arrives.
    ///
    /// The library's own drain forgets a subscription the next time that it has read its socket empty, without waiting
    /// for the broker to have seen the end, and so loses the requests that come in between. So the broker is asked to
    /// end each subscription after more messages than it can count, which it does at once, while the library waits for
    /// that many. What the broker says next on the connection then comes after the last request. A further
    /// subscription, the marker, shows that the broker understands it so; another kind of broker gets the library's
    /// drain.
    async fn end_subscriptions(&mut self, pool: &Pool) -> Result<(), ServiceError> {
        let refused = |cause: async_nats::UnsubscribeError| failed("draining", cause);
        let mut markers = Vec::new();
        for client in pool.clients() {
            let subject = client.new_inbox();
            let marker = client.subscribe(subject.clone()).await;
            markers.push((client, subject, marker.map_err(|cause| failed("draining", cause))?));
        }
        for lane in &mut self.lanes {
            lane.requests.unsubscribe_after(u64::MAX).await.map_err(refused)?;
        }
        for (client, subject, marker) in &mut markers {
            marker.unsubscribe_after(u64::MAX).await.map_err(refused)?;
            let sent = client.publish(subject.clone(), Bytes::new()).await;
            sent.map_err(|cause| failed("draining", cause))?;
        }
        // Without a broker there is nobody to answer, and no use in waiting longer.
        self.answer_until(pool.confirm(CONFIRM_LIMIT)).await.unwrap_or(Ok(()))?;
        let heard = markers
            .iter_mut()
            .any(|(_, _, marker)| marker.next().now_or_never().flatten().is_some());
        if heard {
            tracing::warn!("the broker ends subscriptions in a way of its own; requests on their way may be lost");
        }
        for lane in &mut self.lanes {
            let ended = if heard {
                lane.requests.drain().await
            } else {
                // Nothing more comes; what is here already is still given out.
                lane.requests.unsubscribe().await
            };
            ended.map_err(refused)?;
        }
        Ok(())
    }

    /// Answers requests until `end` is ready, and returns what it says; `None` once all subscriptions have ended. A group
    /// that was begun is answered to its end first, so that no request is dropped.
    async fn answer_until<T>(&mut self, end: impl Future<Output = T>) -> Option<T> {
        let mut end = std::pin::pin!(end);
        // The runtime lets a task take 128 messages at a time; the library's tasks would meanwhile read far more.
        tokio::task::unconstrained(async {
            let mut group = Vec::with_capacity(GROUP);
            loop {
                let lane = tokio::select! {
                    biased;
                    end = &mut end => return Some(end),
                    lane = self.next_group(&mut group) => lane?,
                };
                let begin_ns = monotonic_ns();
                let count = group.len() as u64;
                for message in group.drain(..) {
                    self.take(lane, message, begin_ns).await;
                }
                let lane = &self.lanes[lane];
                if matches!(lane.endpoint.method.handler, Handler::Instant(_)) && self.cost.slow.is_zero() {
                    lane.endpoint.requests.fetch_add(count, Relaxed);
                    let spent_ns = monotonic_ns().saturating_sub(begin_ns);
                    lane.endpoint.processing_ns.fetch_add(spent_ns, Relaxed);
                }
            }
        })
        .await
    }

    /// Fills `group` with what is waiting in one lane and returns its index; `None` once every lane has ended.
    async fn next_group(&mut self, group: &mut Vec<Message>) -> Option<usize> {
        std::future::poll_fn(|context| {
            let lanes = self.lanes.len();
            let mut open = false;
            for step in 0..lanes {
                let index = (self.first + step) % lanes;
                let lane = &mut self.lanes[index];
                while !lane.ended && group.len() < GROUP {
                    match lane.requests.poll_next_unpin(context) {
                        Poll::Ready(Some(message)) => group.push(message),
                        Poll::Ready(None) => lane.ended = true,
                        Poll::Pending => break,
                    }
                }
                if !group.is_empty() {
                    self.first = (index + 1) % lanes;
                    return Poll::Ready(Some(index));
                }
                open |= !lane.ended;
            }
            if open { Poll::Pending } else { Poll::Ready(None) }
        })
        .await
    }

    async fn take(&self, lane: usize, message: Message, received_ns: u64) {
        let Lane { endpoint, client, .. } = &self.lanes[lane];
        if !self.cost.burn.is_zero() {
            burn(self.cost.burn);
        }
        let call = Call {
            payload: message.payload,
            headers: message.headers,
            received_ns,
        };
        if let (Handler::Instant(run), true) = (&endpoint.method.handler, self.cost.slow.is_zero()) {
            let answer = guard(endpoint, || run(&call));
            send(client, endpoint, message.reply, &call.payload, answer).await;
            return;
        }
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            endpoint.requests.fetch_add(1, Relaxed);
            let refusal = ErrorReply::new(503, format!("{IN_FLIGHT} calls are in flight already"));
            send(client, endpoint, message.reply, &call.payload, Err(refusal)).await;
            return;
        };
        let (endpoint, client) = (Arc::clone(endpoint), client.clone());
        tokio::spawn(later(endpoint, client, call, message.reply, self.cost.slow, permit));
    }
}

/// A call that waits or computes, in a task of its own.
async fn later(
    endpoint: Arc<Endpoint>,
    client: Client,
    call: Call,
    reply: Option<Subject>,
    slow: Duration,
    permit: OwnedSemaphorePermit,
) {
    let begin_ns = monotonic_ns();
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    let answer = match &endpoint.method.handler {
        Handler::Instant(run) => guard(&endpoint, || run(&call)),
        Handler::Blocking(run) => {
            let (run, call) = (Arc::clone(run), call.clone());
            let run = tokio::task::spawn_blocking(move || run(&call));
            run.await.unwrap_or_else(|_| Err(panicked(&endpoint)))
        }
        Handler::Waiting(run) => {
            // Making the future is the method's code too.
            let made = catch_unwind(AssertUnwindSafe(|| run(call.clone())));
            let answer = match made {
                Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            answer.unwrap_or_else(|_| Err(panicked(&endpoint)))
        }
    };
    endpoint.requests.fetch_add(1, Relaxed);
    let spent_ns = monotonic_ns().saturating_sub(begin_ns);
    endpoint.processing_ns.fetch_add(spent_ns, Relaxed);
    send(&client, &endpoint, reply, &call.payload, answer).await;
    drop(permit);
}

/// Runs a method so that a panic in it becomes an error reply and ends nothing else.
fn guard(endpoint: &Endpoint, run: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked(endpoint)))
}

fn panicked(endpoint: &Endpoint) -> ErrorReply {
    // The panic itself, with its place, is on standard error already; a caller has no use for it.
    ErrorReply::new(500, format!("the method {} panicked", endpoint.method.name))
}

/// Sends an answer, if anybody asked for one, and counts an error.
async fn send(client: &Client, endpoint: &Endpoint, reply: Option<Subject>, request: &[u8], answer: Answer) {
    let error = match (answer, &reply) {
        (Err(error), _) => error,
        (Ok(_), None) => return,
        (Ok(body), Some(reply)) => {
            let bytes = body.len();
            match client.publish(reply.clone(), body).await {
                Ok(()) => return,
                Err(cause) if cause.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    let limit = client.max_payload();
                    ErrorReply::new(
                        413,
                        format!("the reply of {bytes} bytes is larger than the broker's limit of {limit}"),
                    )
                }
                Err(cause) => {
                    tracing::warn!("a reply could not be sent: {cause}");
                    return;
                }
            }
        }
    };
    endpoint.note_error(&error);
    let Some(reply) = reply else { return };
    let body = error.body(Codec::of_reply(request));
    if let Err(cause) = client.publish_with_headers(reply, error.headers(), body).await {
        tracing::warn!("an error reply could not be sent: {cause}");
    }
}

pub(crate) fn failed(action: &str, cause: impl ToString) -> ServiceError {
    ServiceError::Nats {
        action: action.to_owned(),
        cause: cause.to_string(),
    }
}
