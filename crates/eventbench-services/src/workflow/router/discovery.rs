//! Where the router learns of instances: the registry if there is one, else a list from the command line, else what the
//! workers answer to `$SRV.INFO`. Asked again and again in the background; calls only ever read what was learnt.

use super::table::{Listed, Router};
use crate::ServiceError;
use crate::kit::service::name;
use crate::workflow::request::STEPS;
use crate::workflow::subjects;
use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the registry may take to answer.
const REGISTRY_LIMIT: Duration = Duration::from_secs(2);
/// How long workers may take to answer for one round of `$SRV.INFO`.
const INFO_WINDOW: Duration = Duration::from_millis(250);
/// Rounds of `$SRV.INFO` that an instance may leave unanswered before it counts as down.
const MISSED_ROUNDS: u32 = 3;
/// Capabilities beyond the usual ones that are asked for in the background.
const MOST_ASKED: usize = 64;

/// Instances of a list on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listing {
    id: String,
    capabilities: Vec<String>,
}

/// Reads `NAME=CAPABILITY+CAPABILITY`.
pub(crate) fn listed(text: &str) -> Result<Listing, String> {
    let refuse = || format!("'{text}' names no instance: write NAME=CAPABILITY+CAPABILITY, as in w1=metadata+tree");
    let (id, capabilities) = text.split_once('=').ok_or_else(refuse)?;
    let capabilities: Result<Vec<String>, String> = capabilities.split('+').map(name).collect();
    Ok(Listing {
        id: name(id)?,
        capabilities: capabilities?,
    })
}

/// Who was asked last with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Source {
    Nobody,
    Registry,
    List,
    Workers,
}

const SOURCES: [(Source, &str); 4] = [
    (Source::Nobody, "nobody"),
    (Source::Registry, "registry"),
    (Source::List, "list"),
    (Source::Workers, "workers"),
];

/// What a registry answers.
#[derive(Debug, Deserialize)]
struct Instances {
    instances: Vec<Listed>,
}

/// What is needed of an answer to `$SRV.INFO`.
#[derive(Debug, Deserialize)]
struct Info {
    id: String,
    endpoints: Vec<InfoEndpoint>,
}

#[derive(Debug, Deserialize)]
struct InfoEndpoint {
    name: String,
    subject: String,
}

/// An instance that was heard of by `$SRV.INFO`.
#[derive(Debug)]
struct Heard {
    subject: String,
    capabilities: Vec<String>,
    missed: u32,
}

/// Learns of instances.
pub(crate) struct Discovery {
    client: Client,
    router: Arc<Router>,
    list: Vec<Listing>,
    source: AtomicU8,
    asked: Mutex<BTreeSet<String>>,
    /// One inbox for all rounds of `$SRV.INFO`.
    answers: tokio::sync::Mutex<(String, Subscriber, BTreeMap<String, Heard>)>,
}

impl Discovery {
    pub(crate) async fn new(
        client: Client,
        router: Arc<Router>,
        list: Vec<Listing>,
    ) -> Result<Arc<Discovery>, ServiceError> {
        let inbox = client.new_inbox();
        let answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|cause| ServiceError::Nats {
                action: "subscribing to the answers of workers".to_owned(),
                cause: cause.to_string(),
            })?;
        Ok(Arc::new(Discovery {
            client,
            router,
            list,
            source: AtomicU8::new(Source::Nobody as u8),
            asked: Mutex::new(STEPS.iter().map(|&step| step.to_owned()).collect()),
            answers: tokio::sync::Mutex::new((inbox, answers, BTreeMap::new())),
        }))
    }

    /// Who was asked last with success, in a word.
    pub(crate) fn source(&self) -> &'static str {
        let source = self.source.load(Relaxed);
        SOURCES
            .iter()
            .find(|(known, _)| *known as u8 == source)
            .map_or("nobody", |(_, name)| name)
    }

    /// Asks again and again.
    pub(crate) async fn run(&self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh().await;
        }
    }

    /// Asks for a capability that the router does not know yet, now.
    pub(crate) async fn look_for(&self, capability: &str) {
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            // A client that asks for ever new capabilities must not make us ask for all of them forever.
            if asked.len() < MOST_ASKED {
                asked.insert(capability.to_owned());
            }
        }
        if let Some(Some(instances)) = self.ask_registry(capability).await {
            self.router.learn(capability, instances);
        }
    }

    /// Asks once for everything.
    pub(crate) async fn refresh(&self) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for capability in &asked {
            match self.ask_registry(capability).await {
                Some(Some(instances)) => {
                    self.source.store(Source::Registry as u8, Relaxed);
                    self.router.learn(capability, instances);
                }
                // It is there, but slow or confused: what is known stays.
                Some(None) => {}
                // A registry that was there comes back; until then its last word counts.
                None if self.source.load(Relaxed) == Source::Registry as u8 => return,
                None => return self.without_registry().await,
            }
        }
    }

    /// `None` without a registry, `Some(None)` without an answer that can be read.
    async fn ask_registry(&self, capability: &str) -> Option<Option<Vec<Listed>>> {
        let body = serde_json::to_vec(&json!({ "capability": capability })).unwrap_or_default();
        let request = Request::new().payload(body.into()).timeout(Some(REGISTRY_LIMIT));
        match self.client.send_request(subjects::REGISTRY_INSTANCES, request).await {
            Ok(reply) => match serde_json::from_slice::<Instances>(&reply.payload) {
                Ok(Instances { instances }) => Some(Some(instances)),
                Err(cause) => {
                    tracing::warn!("the registry's answer cannot be read: {cause}");
                    Some(None)
                }
            },
            Err(cause) if cause.kind() == RequestErrorKind::NoResponders => None,
            Err(cause) => {
                tracing::warn!("the registry does not answer: {cause}");
                Some(None)
            }
        }
    }

    async fn without_registry(&self) {
        let mut by_capability: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
        let mut add = |capabilities: &[String], id: &str, subject: &str, healthy: bool| {
            for capability in capabilities {
                by_capability.entry(capability.clone()).or_default().push(Listed {
                    id: id.to_owned(),
                    subject: subject.to_owned(),
                    healthy,
                    load: 0.0,
                });
            }
        };
        let source = if self.list.is_empty() {
            let mut answers = self.answers.lock().await;
            let (inbox, subscriber, heard) = &mut *answers;
            if let Err(cause) = self.ask_workers(inbox, subscriber, heard).await {
                tracing::warn!("workers cannot be asked: {cause}");
                return;
            }
            for (id, instance) in heard.iter() {
                add(
                    &instance.capabilities,
                    id,
                    &instance.subject,
                    instance.missed < MISSED_ROUNDS,
                );
            }
            Source::Workers
        } else {
            for listing in &self.list {
                add(&listing.capabilities, &listing.id, &subjects::worker(&listing.id), true);
            }
            Source::List
        };
        self.source.store(source as u8, Relaxed);
        for (capability, instances) in by_capability {
            self.router.learn(&capability, instances);
        }
    }

    async fn ask_workers(
        &self,
        inbox: &str,
        subscriber: &mut Subscriber,
        heard: &mut BTreeMap<String, Heard>,
    ) -> Result<(), async_nats::PublishError> {
        let subject = format!("$SRV.INFO.{}", subjects::WORKER);
        self.client
            .publish_with_reply(subject, inbox.to_owned(), "".into())
            .await?;
        for instance in heard.values_mut() {
            instance.missed = instance.missed.saturating_add(1);
        }
        let collect = async {
            while let Some(message) = subscriber.next().await {
                let Ok(info) = serde_json::from_slice::<Info>(&message.payload) else {
                    continue;
                };
                let subject = subjects::worker(&info.id);
                let capabilities = info.endpoints.into_iter();
                let capabilities = capabilities
                    .filter(|endpoint| endpoint.subject == subjects::capability(&subject, &endpoint.name))
                    .filter(|endpoint| endpoint.name != "health")
                    .map(|endpoint| endpoint.name)
                    .collect();
                heard.insert(
                    info.id,
                    Heard {
                        subject,
                        capabilities,
                        missed: 0,
                    },
                );
            }
        };
        // The time being over is how this ends: nobody says how many workers there are.
        let _ = tokio::time::timeout(INFO_WINDOW, collect).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_a_list_have_a_name_and_capabilities() {
        let listing = listed("w1=metadata+tree").unwrap();
        assert_eq!((listing.id.as_str(), listing.capabilities.len()), ("w1", 2));
        for bad in ["w1", "=tree", "w1=", "w1=a.b", "w.1=tree"] {
            assert!(listed(bad).is_err(), "{bad}");
        }
    }
}
