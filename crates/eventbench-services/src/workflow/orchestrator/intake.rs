//! Takes workflows from JetStream: acknowledges each once it is durable, and knows one that comes again by its place in
//! the stream.

use super::args::Args;
use super::engine::Engine;
use crate::ServiceError;
use crate::kit::events::{BATCH, ConsumerSettings, Puller};
use crate::kit::streams::{self, StreamSettings};
use crate::workflow::request::Request;
use crate::workflow::subjects;
use async_nats::Client;
use async_nats::jetstream::{self, message::AckKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Deliveries after which the broker leaves a workflow alone. Only a database that cannot be written to, for long, lets
/// one come again so often.
const MAX_DELIVER: u32 = 1_000;
/// Pause before a workflow that could not be made durable comes again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Pulls until told to stop.
///
/// # Errors
/// [`ServiceError::Nats`] if the stream or the consumer cannot be had, or ends.
pub(crate) async fn run(
    args: Args,
    client: Client,
    engine: Arc<Engine>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServiceError> {
    let settings = StreamSettings {
        name: args.stream.clone(),
        subjects: vec![subjects::SUBMIT.to_owned()],
        work_queue: true,
        storage: None,
        replicas: None,
    };
    let stream = streams::open(&jetstream::new(client.clone()), &settings).await?;
    // A stream that was deleted and made again counts from one again.
    let made = stream.cached_info().created.unix_timestamp_nanos();
    let consumer = ConsumerSettings {
        durable: args.durable.clone(),
        filter: subjects::SUBMIT.to_owned(),
        ack_wait: args.ack_wait,
        max_deliver: MAX_DELIVER,
        batch: BATCH,
    };
    let mut puller = Puller::open(stream, consumer).await?;
    while let Some(messages) = puller.next(&mut stop).await? {
        for message in messages {
            let Ok(sequence) = message.info().map(|info| info.stream_sequence) else {
                continue;
            };
            let source = format!("{}.{made:x}.{sequence}", args.stream);
            let Some(place) = engine.place().await else {
                return Ok(());
            };
            // Side by side, so that those that came together become durable together.
            let (engine, client, limit) = (Arc::clone(&engine), client.clone(), args.max_content);
            tokio::spawn(async move {
                let message = message.message;
                let word = match Request::read(&message.payload, limit) {
                    Ok(_) => {
                        let accepted_ms = crate::kit::unix_ms();
                        match engine.accept(Some(source), message.payload, accepted_ms).await {
                            Ok(seq) => {
                                tokio::spawn(Arc::clone(&engine).take_up(seq, place));
                                AckKind::Ack
                            }
                            // An earlier delivery of it was accepted, and the acknowledgement was lost.
                            Err(error) if error.code == 409 => AckKind::Ack,
                            Err(error) => {
                                tracing::error!("{error}");
                                AckKind::Nak(Some(AGAIN_AFTER))
                            }
                        }
                    }
                    Err(error) => {
                        tracing::warn!("message {source} is no workflow: {error}");
                        AckKind::Term
                    }
                };
                if let Some(receipt) = message.reply
                    && let Err(cause) = client.publish(receipt, word.into()).await
                {
                    tracing::warn!("a workflow could not be acknowledged: {cause}");
                }
            });
        }
    }
    Ok(())
}
