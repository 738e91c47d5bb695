//! Commands: work that takes a while, handed over through a work queue that survives a crash of the worker.
//!
//! The sender chooses the command's id, which is also its message id: sent twice, it is done once. While it works, the
//! worker tells its progress on `commands.progress.<id>`, and in the end the result on `commands.callback.<id>`; only
//! then is the command acknowledged. A worker that crashes leaves the command to another, which begins anew. Progress
//! and callback are core NATS messages: a sender that wants them subscribes before it sends, which [`send`] does.

use super::codec::{Codec, decode_any};
use super::events::{ConsumerSettings, PublishError, Publisher, Puller};
use super::reply::ErrorReply;
use super::serve::{CONFIRM_LIMIT, failed};
use super::service::Signals;
use super::streams::{self, StreamSettings};
use crate::ServiceError;
use crate::connection::confirm;
use async_nats::jetstream::message::AckKind;
use async_nats::jetstream::{self, stream::StorageType};
use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The stream of commands.
pub const STREAM: &str = "COMMANDS";
/// Deliveries, each ended by a crash of its worker, after which a command is left alone.
const MAX_DELIVER: u32 = 5;

/// Where a command is sent.
pub fn subject(service: &str, command: &str) -> String {
    format!("commands.{service}.{command}")
}

/// Where the progress of a command is told.
pub fn progress_subject(id: &str) -> String {
    format!("commands.progress.{id}")
}

/// Where the end of a command is told.
pub fn callback_subject(id: &str) -> String {
    format!("commands.callback.{id}")
}

/// How far a command has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The command.
    pub id: String,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
}

/// How a command ended: with a result or with an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Callback {
    /// The command.
    pub id: String,
    /// What it returned; null after an error.
    #[serde(default)]
    pub result: Value,
    /// Why it failed; null after a success.
    #[serde(default)]
    pub error: Option<ErrorReply>,
}

/// A command that is being worked on.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Its name: the last token of the subject.
    pub name: String,
    /// Its parameters.
    pub payload: Bytes,
    codec: Codec,
    client: Client,
    receipt: Subject,
}

impl Command {
    /// The parameters, of whichever codec the payload shows.
    ///
    /// # Errors
    /// An error with code 400.
    pub fn parameters<T: serde::de::DeserializeOwned + Default>(&self) -> Result<T, ErrorReply> {
        decode_any(&self.payload).map_err(|cause| ErrorReply::malformed(&cause))
    }

    /// Tells how far it has come, to the sender and to the stream, which then waits longer for the end.
    pub async fn progress(&self, done: u64, total: u64) {
        let progress = Progress {
            id: self.id.clone(),
            done,
            total,
        };
        let body = self.codec.encode(&progress).unwrap_or_default();
        for (subject, body) in [
            (progress_subject(&self.id).into(), body),
            (self.receipt.clone(), AckKind::Progress.into()),
        ] {
            if let Err(cause) = self.client.publish(subject, body).await {
                tracing::warn!("progress of command {} could not be sent: {cause}", self.id);
            }
        }
    }

    async fn call_back(&self, answer: Result<Value, ErrorReply>) -> Result<(), ServiceError> {
        let (result, error) = match answer {
            Ok(result) => (result, None),
            Err(error) => (Value::Null, Some(error)),
        };
        let callback = Callback {
            id: self.id.clone(),
            result,
            error,
        };
        let body = self.codec.encode(&callback).unwrap_or_default();
        let failed = |cause| failed("telling the end of a command", cause);
        self.client
            .publish(callback_subject(&self.id), body)
            .await
            .map_err(failed)?;
        self.client
            .publish(self.receipt.clone(), AckKind::Ack.into())
            .await
            .map_err(failed)
    }
}

/// What a command's work returns.
pub type Work = Pin<Box<dyn Future<Output = Result<Value, ErrorReply>> + Send>>;

/// What works on the commands of a service.
#[derive(Clone)]
pub struct Worker {
    /// The service.
    pub service: String,
    /// Time after which a command without a sign of progress goes to another worker.
    pub ack_wait: Duration,
    /// Where a new stream is stored.
    pub storage: Option<StorageType>,
    /// Replicas of a new stream.
    pub replicas: Option<usize>,
    /// Does the work of one command; an unknown name is its error to return.
    pub run: Arc<dyn Fn(Command) -> Work + Send + Sync>,
    /// Commands ended, with whatever outcome.
    pub ended: Arc<AtomicU64>,
}

impl Worker {
    /// Works on one command after the other until told to stop; the one begun is finished.
    ///
    /// # Errors
    /// [`ServiceError::Nats`] if the stream or the consumer cannot be had, or ends.
    pub async fn run(self, mut signals: Signals, client: Client) -> Result<(), ServiceError> {
        let filter = subject(&self.service, "*");
        let stream = streams::open(
            &jetstream::new(client.clone()),
            &StreamSettings {
                name: STREAM.to_owned(),
                // Not `commands.>`: nobody would ever take progress and callbacks out of the queue again.
                subjects: vec![filter.clone()],
                work_queue: true,
                storage: self.storage,
                replicas: self.replicas,
            },
        )
        .await?;
        let consumer = ConsumerSettings {
            durable: format!("commands-{}", self.service),
            filter,
            ack_wait: self.ack_wait,
            max_deliver: MAX_DELIVER,
            // What is not begun stays with the broker, for another worker.
            batch: NonZeroUsize::MIN,
        };
        let mut puller = Puller::open(stream, consumer).await?;
        confirm(&client, CONFIRM_LIMIT).await?;
        // The receiver is gone only if the service ends already; the stop flag tells then.
        let _ = signals.ready.send(());
        while let Some(messages) = puller.next(&mut signals.stop).await? {
            for message in messages {
                self.work(&client, message).await?;
            }
        }
        drop(puller);
        confirm(&client, CONFIRM_LIMIT).await
    }

    async fn work(&self, client: &Client, message: jetstream::Message) -> Result<(), ServiceError> {
        let message = message.message;
        let Some(receipt) = message.reply else { return Ok(()) };
        let id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID));
        let Some(id) = id else {
            tracing::warn!(
                "a command on {} has no message id, so nobody could hear of it",
                message.subject
            );
            return client
                .publish(receipt, AckKind::Term.into())
                .await
                .map_err(|cause| failed("refusing a command", cause));
        };
        let command = Command {
            id: id.as_str().to_owned(),
            name: message.subject.rsplit('.').next().unwrap_or_default().to_owned(),
            codec: Codec::of_reply(&message.payload),
            payload: message.payload,
            client: client.clone(),
            receipt,
        };
        let work = AssertUnwindSafe((self.run)(command.clone())).catch_unwind().await;
        let answer =
            work.unwrap_or_else(|_| Err(ErrorReply::new(500, format!("the command {} panicked", command.name))));
        command.call_back(answer).await?;
        self.ended.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// A command that was sent, and what is heard of it.
pub struct Sent {
    progress: Subscriber,
    callback: Subscriber,
}

/// Sends a command under an id that the caller chose, a single token of a subject; sent twice under one id, it is done
/// once.
///
/// # Errors
/// See [`PublishError`].
pub async fn send(
    client: &Client,
    publisher: &Publisher,
    subject: &str,
    id: &str,
    payload: Bytes,
) -> Result<Sent, PublishError> {
    let refused = |cause: String| PublishError::Refused(cause);
    let mut subscribers = Vec::with_capacity(2);
    for subject in [callback_subject(id), progress_subject(id)] {
        subscribers.push(
            client
                .subscribe(subject)
                .await
                .map_err(|cause| refused(cause.to_string()))?,
        );
    }
    // The publisher may use another connection: the broker must know of the subscriptions before it has the command.
    confirm(client, CONFIRM_LIMIT)
        .await
        .map_err(|cause| refused(cause.to_string()))?;
    publisher.publish(subject, payload, Some(id)).await?;
    match (subscribers.pop(), subscribers.pop()) {
        (Some(progress), Some(callback)) => Ok(Sent { progress, callback }),
        _ => Err(refused("the subscriptions are gone".to_owned())),
    }
}

impl Sent {
    /// Waits for the end, with every step of progress that came before it.
    ///
    /// # Errors
    /// An error reply with code 504 if the end is not told within `limit`, 502 if it cannot be read.
    pub async fn end(mut self, limit: Duration) -> Result<(Vec<Progress>, Callback), ErrorReply> {
        let read = |payload: &[u8]| -> Result<Callback, ErrorReply> {
            Codec::of_reply(payload)
                .decode(payload)
                .map_err(|cause| ErrorReply::new(502, format!("the callback cannot be read: {cause}")))
        };
        let late = || {
            ErrorReply::new(
                504,
                format!("the end of the command was not told within {} ms", limit.as_millis()),
            )
        };
        let message = tokio::time::timeout(limit, self.callback.next())
            .await
            .map_err(|_| late())?;
        let callback = read(&message.ok_or_else(late)?.payload)?;
        // The worker sent all progress before the end, on the same connection, so it is here already.
        let mut progress = Vec::new();
        while let Some(Some(message)) = self.progress.next().now_or_never() {
            if let Ok(step) = Codec::of_reply(&message.payload).decode(&message.payload) {
                progress.push(step);
            }
        }
        Ok((progress, callback))
    }
}
