//! A fixed number of connections to the broker, used in turn.

use crate::ServiceError;
use crate::connection::{NatsArgs, confirm};
use async_nats::{Client, Event};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Messages that the client library may hold for one subscription. It *drops* what does not fit, so this must exceed
/// what one visit to the socket can bring (128 reads of 64 KiB); memory is taken only as used.
const SUBSCRIPTION_CAPACITY: usize = 1 << 20;

/// What happened to the connections of a process.
#[derive(Debug, Default)]
pub struct ConnectionNotes {
    /// Connections lost; each is made again by itself.
    pub disconnected: AtomicU64,
    /// Messages dropped because a subscription's buffer was full.
    pub dropped: AtomicU64,
}

impl ConnectionNotes {
    /// Hears one event of a connection.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::SlowConsumer(_) => {
                // The library reports each message that it dropped.
                if self.dropped.fetch_add(1, Relaxed).is_multiple_of(10_000) {
                    tracing::error!("slow consumer: messages are dropped because the client's buffer is full");
                }
            }
            Event::Disconnected => {
                self.disconnected.fetch_add(1, Relaxed);
                tracing::warn!("connection to NATS lost; connecting again");
            }
            Event::ServerError(cause) => tracing::error!("NATS server: {cause}"),
            Event::ClientError(cause) => tracing::error!("NATS client: {cause}"),
            Event::Connected | Event::Draining | Event::Closed | Event::LameDuckMode => {
                tracing::debug!("NATS: {event}")
            }
        }
    }
}

/// Connects once, with the options and notes that every connection of the kit has.
///
/// # Errors
/// [`ServiceError::Connect`].
pub async fn connect(broker: &NatsArgs, name: &str, notes: &Arc<ConnectionNotes>) -> Result<Client, ServiceError> {
    let notes = Arc::clone(notes);
    broker
        .connect(name, SUBSCRIPTION_CAPACITY, move |event| notes.hear(&event))
        .await
}

/// Connections used in turn. The runtime on which they are made drives them.
#[derive(Debug)]
pub struct Pool {
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Pool {
    /// Makes `connections` connections, named `NAME 1`, `NAME 2`, ….
    ///
    /// # Errors
    /// [`ServiceError::Connect`] of the first that fails.
    pub async fn connect(
        broker: &NatsArgs,
        name: &str,
        connections: NonZeroUsize,
        notes: &Arc<ConnectionNotes>,
    ) -> Result<Pool, ServiceError> {
        let mut clients = Vec::with_capacity(connections.get());
        for number in 1..=connections.get() {
            clients.push(connect(broker, &format!("{name} {number}"), notes).await?);
        }
        Ok(Pool {
            clients,
            next: AtomicUsize::new(0),
        })
    }

    /// The connection whose turn it is.
    pub fn next(&self) -> &Client {
        // There is at least one, so the remainder is an index.
        &self.clients[self.next.fetch_add(1, Relaxed) % self.clients.len()]
    }

    /// All of them, in the order in which they were made.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Returns once the server has done all that was sent so far on each connection.
    ///
    /// # Errors
    /// [`ServiceError::Nats`] of the first that does not answer within `limit`.
    pub async fn confirm(&self, limit: Duration) -> Result<(), ServiceError> {
        for client in &self.clients {
            confirm(client, limit).await?;
        }
        Ok(())
    }
}
