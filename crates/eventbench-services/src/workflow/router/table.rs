//! The instances of each capability, as they were last heard of, and the choice among them.

use super::breaker::{Breaker, BreakerSettings};
use crate::platform::monotonic_ns;
use crate::workflow::subjects;
use async_nats::Subject;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An instance as the registry lists it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) subject: String,
    #[serde(default = "yes")]
    pub(crate) healthy: bool,
    #[serde(default)]
    pub(crate) load: f64,
}

fn yes() -> bool {
    true
}

/// Why no instance can be picked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    /// Nobody has ever offered it.
    #[error("no instance offers the capability '{0}'")]
    Unknown(String),
    /// It is known, but nobody takes calls.
    #[error(
        "no instance of the capability '{capability}' takes calls: {known} known, {healthy} of them healthy, \
         the circuit breaker of each healthy one is open"
    )]
    Down {
        capability: String,
        known: usize,
        healthy: usize,
    },
}

/// One instance; what is known of it here outlives each listing.
#[derive(Debug)]
struct Instance {
    id: String,
    outstanding: AtomicU32,
    breaker: Mutex<Breaker>,
}

impl Instance {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self) {
        let mut breaker = self.breaker();
        let before = breaker.name();
        breaker.failed(monotonic_ns());
        if breaker.name() == "open" && before != "open" {
            tracing::warn!("the circuit breaker of instance {} opens", self.id);
        }
    }
}

/// An instance as the provider of one capability.
#[derive(Clone, Debug)]
struct Route {
    instance: Arc<Instance>,
    subject: Subject,
    healthy: bool,
    load: f64,
}

#[derive(Debug, Default)]
struct Table {
    instances: HashMap<String, Arc<Instance>>,
    by_capability: BTreeMap<String, Vec<Route>>,
    /// Grows with each choice, so that equals take turns.
    turn: usize,
}

/// Picks instances.
#[derive(Debug)]
pub(crate) struct Router {
    breaker: BreakerSettings,
    table: Mutex<Table>,
}

/// What an operator sees of one route.
#[derive(Debug, Serialize)]
pub(crate) struct InstanceView {
    id: String,
    capability: String,
    healthy: bool,
    load: f64,
    outstanding: u32,
    breaker: &'static str,
}

/// An instance that was picked for one call, which counts as outstanding until this is dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    instance: Arc<Instance>,
    pub(crate) subject: Subject,
    told: bool,
}

impl Picked {
    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.instance.id
    }

    /// The instance has answered, if only that the request was wrong.
    pub(crate) fn succeeded(mut self) {
        self.told = true;
        self.instance.breaker().succeeded();
    }

    /// The instance has not answered.
    pub(crate) fn failed(mut self) {
        self.told = true;
        self.instance.note_failure();
    }

    /// The instance has answered with an error of its own: it or the content is to blame, which only an attempt
    /// elsewhere can tell. The call is over.
    pub(crate) fn suspected(mut self) -> Suspect {
        self.told = true;
        Suspect {
            instance: Arc::clone(&self.instance),
            told: false,
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.instance.outstanding.fetch_sub(1, Relaxed);
        if !self.told {
            self.instance.breaker().abandoned(monotonic_ns());
        }
    }
}

/// An instance that answered with an error. Dropped, it is not held against it: content that no instance can bear must
/// not open the circuit breakers of all.
#[derive(Debug)]
pub(crate) struct Suspect {
    instance: Arc<Instance>,
    told: bool,
}

impl Suspect {
    /// Another attempt has succeeded, so the instance was to blame.
    pub(crate) fn blame(mut self) {
        self.told = true;
        self.instance.note_failure();
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        if !self.told {
            self.instance.breaker().abandoned(monotonic_ns());
        }
    }
}

impl Router {
    pub(crate) fn new(breaker: BreakerSettings) -> Router {
        Router {
            breaker,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is now known of a capability: those that are not listed any more are forgotten, breakers and
    /// outstanding calls of the others stay as they are.
    pub(crate) fn learn(&self, capability: &str, listed: Vec<Listed>) {
        let mut table = self.table();
        if listed.is_empty() && !table.by_capability.contains_key(capability) {
            return;
        }
        let routes = listed
            .into_iter()
            .map(|listed| {
                let instance = table.instances.entry(listed.id.clone()).or_insert_with(|| {
                    Arc::new(Instance {
                        id: listed.id,
                        outstanding: AtomicU32::new(0),
                        breaker: Mutex::new(Breaker::new(self.breaker)),
                    })
                });
                Route {
                    instance: Arc::clone(instance),
                    subject: subjects::capability(&listed.subject, capability).into(),
                    healthy: listed.healthy,
                    load: listed.load,
                }
            })
            .collect();
        table.by_capability.insert(capability.to_owned(), routes);
        let Table {
            instances,
            by_capability,
            ..
        } = &mut *table;
        instances.retain(|id, _| by_capability.values().flatten().any(|route| route.instance.id == *id));
    }

    /// Whether anybody has ever offered it.
    pub(crate) fn knows(&self, capability: &str) -> bool {
        self.table().by_capability.contains_key(capability)
    }

    /// Picks the healthy instance with the fewest outstanding calls of ours, and among equals the one with the least
    /// load; those in `tried` only if there is no other.
    ///
    /// # Errors
    /// See [`NoRoute`].
    pub(crate) fn pick(&self, capability: &str, tried: &[String]) -> Result<Picked, NoRoute> {
        let now_ns = monotonic_ns();
        let mut table = self.table();
        table.turn = table.turn.wrapping_add(1);
        let turn = table.turn;
        let Some(routes) = table.by_capability.get(capability) else {
            return Err(NoRoute::Unknown(capability.to_owned()));
        };
        let count = routes.len();
        // Whoever is first among equals changes from choice to choice.
        let in_turn = (0..count).map(|step| &routes[(turn + step) % count]);
        let best = in_turn
            .filter(|route| route.healthy && route.instance.breaker().admits(now_ns))
            .min_by(|a, b| {
                let rank = |route: &Route| {
                    let again = tried.contains(&route.instance.id);
                    (again, route.instance.outstanding.load(Relaxed))
                };
                rank(a).cmp(&rank(b)).then(a.load.total_cmp(&b.load))
            });
        let Some(route) = best else {
            return Err(NoRoute::Down {
                capability: capability.to_owned(),
                known: count,
                healthy: routes.iter().filter(|route| route.healthy).count(),
            });
        };
        route.instance.breaker().begin();
        route.instance.outstanding.fetch_add(1, Relaxed);
        Ok(Picked {
            instance: Arc::clone(&route.instance),
            subject: route.subject.clone(),
            told: false,
        })
    }

    /// All routes, for an operator.
    pub(crate) fn view(&self) -> Vec<InstanceView> {
        let table = self.table();
        let routes = table
            .by_capability
            .iter()
            .flat_map(|(capability, routes)| routes.iter().map(move |route| (capability, route)));
        routes
            .map(|(capability, route)| InstanceView {
                id: route.instance.id.clone(),
                capability: capability.clone(),
                healthy: route.healthy,
                load: route.load,
                outstanding: route.instance.outstanding.load(Relaxed),
                breaker: route.instance.breaker().name(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        Router::new(BreakerSettings {
            failures: 2,
            open_ns: u64::MAX,
        })
    }

    fn listed(id: &str, healthy: bool, load: f64) -> Listed {
        Listed {
            id: id.to_owned(),
            subject: format!("rpc.worker.{id}"),
            healthy,
            load,
        }
    }

    #[test]
    fn the_least_outstanding_is_picked_and_equals_by_load() {
        let router = router();
        router.learn(
            "tree",
            vec![listed("a", true, 0.9), listed("b", true, 0.1), listed("c", false, 0.0)],
        );
        let first = router.pick("tree", &[]).unwrap();
        assert_eq!((first.id(), first.subject.as_str()), ("b", "rpc.worker.b.tree"));
        let second = router.pick("tree", &[]).unwrap();
        assert_eq!(second.id(), "a");
        drop(second);
        assert_eq!(router.pick("tree", &[]).unwrap().id(), "a", "b has a call outstanding");
        drop(first);
        assert_eq!(router.pick("tree", &["b".to_owned()]).unwrap().id(), "a");
        let tried = ["a".to_owned(), "b".to_owned()];
        assert_eq!(router.pick("tree", &tried).unwrap().id(), "b", "there is no other");
    }

    #[test]
    fn equals_take_turns() {
        let router = router();
        router.learn(
            "tree",
            vec![listed("a", true, 0.5), listed("b", true, 0.5), listed("c", true, 0.5)],
        );
        let mut picked: Vec<String> = (0..6)
            .map(|_| router.pick("tree", &[]).unwrap().id().to_owned())
            .collect();
        picked.sort();
        assert_eq!(picked, ["a", "a", "b", "b", "c", "c"]);
    }

    #[test]
    fn an_error_reply_is_held_against_an_instance_only_if_it_was_to_blame() {
        let router = router();
        router.learn("tree", vec![listed("a", true, 0.0)]);
        for _ in 0..5 {
            drop(router.pick("tree", &[]).unwrap().suspected());
        }
        let suspect = router.pick("tree", &[]).unwrap().suspected();
        assert_eq!(router.view()[0].outstanding, 0);
        suspect.blame();
        router.pick("tree", &[]).unwrap().suspected().blame();
        assert!(router.pick("tree", &[]).is_err());
    }

    #[test]
    fn the_unknown_and_the_down_are_told_apart() {
        let router = router();
        router.learn("nothing", Vec::new());
        assert_eq!(
            router.pick("nothing", &[]).unwrap_err(),
            NoRoute::Unknown("nothing".to_owned())
        );
        router.learn("tree", vec![listed("a", false, 0.0), listed("b", true, 0.0)]);
        for _ in 0..2 {
            router.pick("tree", &[]).unwrap().failed();
        }
        let down = NoRoute::Down {
            capability: "tree".to_owned(),
            known: 2,
            healthy: 1,
        };
        assert_eq!(router.pick("tree", &[]).unwrap_err(), down);
        // What is listed again keeps its breaker; what is gone is forgotten.
        router.learn("tree", vec![listed("b", true, 0.0)]);
        assert!(router.pick("tree", &[]).is_err());
        router.learn("tree", Vec::new());
        assert!(router.knows("tree") && router.view().is_empty());
        router.learn("tree", vec![listed("b", true, 0.0)]);
        assert_eq!(router.pick("tree", &[]).unwrap().id(), "b");
    }
}
