//! Who is there: heartbeats on `internal.heartbeat.<service>`, and an entry for each instance in a key-value bucket.
//!
//! Each heartbeat renews the entry. An instance that drains removes its entry; one that is killed leaves an entry that
//! the bucket forgets after its time to live.

use super::protocol::Identity;
use super::serve::failed;
use super::work::unix_ms;
use crate::ServiceError;
use async_nats::Client;
use async_nats::jetstream::{self, kv, stream::StorageType};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The bucket that all services share unless told otherwise.
pub const BUCKET: &str = "service_registry";

/// Where the registry is kept.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Name of the key-value bucket; created if absent.
    pub bucket: String,
    /// Age at which the bucket forgets an entry; only for a bucket that does not exist yet.
    pub ttl: Duration,
    /// Where a new bucket is stored.
    pub storage: StorageType,
    /// Replicas of a new bucket.
    pub replicas: usize,
}

/// An entry of the registry, as JSON under the key `<service>.<instance>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The service.
    pub service: String,
    /// The instance.
    pub instance: String,
    /// Version of the service.
    pub version: String,
    /// When the instance became ready, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it was last heard of, in milliseconds since 1970.
    pub last_beat_ms: u64,
    /// Names of its methods.
    pub methods: Vec<String>,
}

/// A heartbeat, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The service.
    pub service: String,
    /// The instance.
    pub instance: String,
    /// When it was sent, in milliseconds since 1970.
    pub at_ms: u64,
    /// Calls answered so far by all methods.
    pub requests: u64,
    /// Error replies among them.
    pub errors: u64,
}

/// Where the heartbeats of a service are heard.
pub fn heartbeat_subject(service: &str) -> String {
    format!("internal.heartbeat.{service}")
}

/// The key of an instance in the registry.
pub fn key(service: &str, instance: &str) -> String {
    format!("{service}.{instance}")
}

/// One instance's presence.
pub(crate) struct Presence {
    client: Client,
    bucket: Option<kv::Store>,
    entry: Entry,
}

impl Presence {
    /// Opens the bucket, without entering yet.
    pub(crate) async fn open(
        client: &Client,
        settings: Option<&RegistrySettings>,
        identity: &Identity,
    ) -> Result<Presence, ServiceError> {
        let bucket = match settings {
            Some(settings) => Some(open_bucket(client, settings).await?),
            None => None,
        };
        let now_ms = unix_ms();
        Ok(Presence {
            client: client.clone(),
            bucket,
            entry: Entry {
                service: identity.service.clone(),
                instance: identity.instance.clone(),
                version: Identity::version(),
                started_ms: now_ms,
                last_beat_ms: now_ms,
                methods: identity
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.method.name.to_owned())
                    .collect(),
            },
        })
    }

    /// Beats once. Trouble is logged, never returned: a service does not end because its registry is away.
    pub(crate) async fn beat(&mut self, identity: &Identity) {
        let at_ms = unix_ms();
        let total = |counter: fn(&super::method::Endpoint) -> u64| identity.endpoints.iter().map(|e| counter(e)).sum();
        let beat = Beat {
            service: identity.service.clone(),
            instance: identity.instance.clone(),
            at_ms,
            requests: total(|endpoint| endpoint.requests.load(Relaxed)),
            errors: total(|endpoint| endpoint.errors.load(Relaxed)),
        };
        let body = serde_json::to_vec(&beat).unwrap_or_default();
        let subject = heartbeat_subject(&identity.service);
        if let Err(cause) = self.client.publish(subject, body.into()).await {
            tracing::warn!("a heartbeat could not be sent: {cause}");
        }
        self.entry.last_beat_ms = at_ms;
        if let Some(bucket) = &self.bucket {
            let body = serde_json::to_vec(&self.entry).unwrap_or_default();
            if let Err(cause) = bucket.put(self.key(), body.into()).await {
                tracing::warn!("the entry in the registry could not be renewed: {cause}");
            }
        }
    }

    /// Removes the entry.
    pub(crate) async fn leave(&self) {
        if let Some(bucket) = &self.bucket
            && let Err(cause) = bucket.purge(self.key()).await
        {
            tracing::warn!("the entry in the registry could not be removed and will age: {cause}");
        }
    }

    fn key(&self) -> String {
        key(&self.entry.service, &self.entry.instance)
    }
}

async fn open_bucket(client: &Client, settings: &RegistrySettings) -> Result<kv::Store, ServiceError> {
    let context = jetstream::new(client.clone());
    if let Ok(store) = context.get_key_value(settings.bucket.clone()).await {
        return Ok(store);
    }
    let created = context
        .create_key_value(kv::Config {
            bucket: settings.bucket.clone(),
            description: "Instances of services".to_owned(),
            history: 1,
            max_age: settings.ttl,
            storage: settings.storage,
            num_replicas: settings.replicas,
            ..kv::Config::default()
        })
        .await;
    match created {
        Ok(store) => Ok(store),
        // Another instance may have created it, with other settings, in the meantime.
        Err(cause) => context.get_key_value(settings.bucket.clone()).await.map_err(|_| {
            let action = format!("opening the registry {}", settings.bucket);
            let hint = "is JetStream on (`nats-server -js`), and are there servers enough for the replicas?";
            failed(&action, format!("{cause}; {hint}"))
        }),
    }
}
