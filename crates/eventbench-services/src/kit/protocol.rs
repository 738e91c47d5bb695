//! The NATS service protocol (ADR-32): answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, for all services, for this
//! service by name, and for this instance by id.
//!
//! The client library has a service of its own, which this does not use: an instance here spans several connections
//! and names itself, its error replies have a body, its drain ends the subscriptions without losing a request, and
//! counting a reply takes no lock. What is sent are the library's own types, so the JSON cannot differ from its.

use super::method::{Endpoint, queue_group};
use super::serve::failed;
use crate::ServiceError;
use async_nats::datetime::{self, DateTime};
use async_nats::service::{self, Info, PingResponse, endpoint};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What an instance tells about itself.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) about: String,
    pub(crate) connections: usize,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    started: DateTime,
}

impl Identity {
    pub(crate) fn new(
        service: String,
        instance: String,
        about: String,
        connections: usize,
        endpoints: Vec<Arc<Endpoint>>,
    ) -> Identity {
        Identity {
            service,
            instance,
            about,
            connections,
            endpoints,
            started: datetime::now(),
        }
    }

    pub(crate) fn version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            ("instance".to_owned(), self.instance.clone()),
            ("connections".to_owned(), self.connections.to_string()),
        ])
    }

    fn ping(&self) -> PingResponse {
        PingResponse {
            kind: "io.nats.micro.v1.ping_response".to_owned(),
            name: self.service.clone(),
            id: self.instance.clone(),
            version: Identity::version(),
            metadata: self.metadata(),
        }
    }

    fn info(&self) -> Info {
        let group = queue_group(&self.service);
        let endpoints = self.endpoints.iter().map(|endpoint| endpoint::Info {
            name: endpoint.method.name.to_owned(),
            subject: endpoint.subject.clone(),
            queue_group: group.clone(),
            metadata: HashMap::new(),
        });
        Info {
            kind: "io.nats.micro.v1.info_response".to_owned(),
            name: self.service.clone(),
            id: self.instance.clone(),
            description: self.about.clone(),
            version: Identity::version(),
            metadata: self.metadata(),
            endpoints: endpoints.collect(),
        }
    }

    fn stats(&self) -> service::Stats {
        let group = queue_group(&self.service);
        let endpoints = self.endpoints.iter().map(|endpoint| {
            let requests = endpoint.requests.load(Relaxed);
            let processing_ns = endpoint.processing_ns.load(Relaxed);
            endpoint::Stats {
                name: endpoint.method.name.to_owned(),
                subject: endpoint.subject.clone(),
                requests: usize::try_from(requests).unwrap_or(usize::MAX),
                errors: usize::try_from(endpoint.errors.load(Relaxed)).unwrap_or(usize::MAX),
                processing_time: Duration::from_nanos(processing_ns),
                average_processing_time: Duration::from_nanos(processing_ns.checked_div(requests).unwrap_or(0)),
                last_error: endpoint.last_error().map(|error| service::error::Error {
                    status: error.message,
                    code: error.code.into(),
                }),
                data: None,
                queue_group: group.clone(),
            }
        });
        service::Stats {
            kind: "io.nats.micro.v1.stats_response".to_owned(),
            name: self.service.clone(),
            id: self.instance.clone(),
            version: Identity::version(),
            started: self.started,
            endpoints: endpoints.collect(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Ping,
    Info,
    Stats,
}

/// The subscriptions of the service protocol.
pub(crate) struct Protocol {
    client: Client,
    requests: SelectAll<futures_util::stream::BoxStream<'static, (Verb, async_nats::Message)>>,
}

impl Protocol {
    /// Subscribes; from the broker's next confirmation on, requests are heard.
    pub(crate) async fn subscribe(client: &Client, identity: &Identity) -> Result<Protocol, ServiceError> {
        let mut streams = Vec::new();
        for (verb, word) in [(Verb::Ping, "PING"), (Verb::Info, "INFO"), (Verb::Stats, "STATS")] {
            for subject in [
                format!("$SRV.{word}"),
                format!("$SRV.{word}.{}", identity.service),
                format!("$SRV.{word}.{}.{}", identity.service, identity.instance),
            ] {
                let subscriber: Subscriber = client
                    .subscribe(subject.clone())
                    .await
                    .map_err(|cause| failed(&format!("subscribing to {subject}"), cause))?;
                streams.push(subscriber.map(move |message| (verb, message)).boxed());
            }
        }
        Ok(Protocol {
            client: client.clone(),
            requests: select_all(streams),
        })
    }

    /// Answers requests; returns only when the connection is closed.
    pub(crate) async fn answer(&mut self, identity: &Identity) {
        while let Some((verb, request)) = self.requests.next().await {
            let Some(reply) = request.reply else { continue };
            let body = match verb {
                Verb::Ping => json(&identity.ping()),
                Verb::Info => json(&identity.info()),
                Verb::Stats => json(&identity.stats()),
            };
            if let Err(cause) = self.client.publish(reply, body.into()).await {
                tracing::warn!("an answer of the service protocol could not be sent: {cause}");
            }
        }
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // These types hold only strings, numbers and a time, which JSON can always hold.
    serde_json::to_vec(value).unwrap_or_default()
}
