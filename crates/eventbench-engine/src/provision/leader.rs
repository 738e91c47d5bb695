//! Who leads: what the roles of servers mean at an instant, asked of all servers that answer.

use std::time::Duration;

use eventbench_core::plan::Node;

use super::broker::Broker;
use super::monitor::{Group, Monitor};
use crate::linux::{monotonic_ns, sleep_until_ns};

/// How long a single server may take to answer.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);
/// How long a role may be without holder before it is given up, and how often that is looked at: between two leaders
/// there is an election.
const SEARCH_NS: u64 = 10_000_000_000;
const LOOK_NS: u64 = 20_000_000;

/// What is led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// The group that places streams and consumers.
    Meta,
    /// A stream.
    Stream(String),
}

impl std::fmt::Display for Led {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Led::Meta => f.write_str("JetStream"),
            Led::Stream(name) => write!(f, "stream {name}"),
        }
    }
}

/// A server found by its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number, from 0.
    pub node: usize,
    /// What it led at that instant, if it was looked for as a leader.
    pub led: Option<Led>,
}

/// Why nobody has a role.
enum Nobody {
    /// It may have a holder in a moment.
    Now(String),
    /// It has none as long as the streams are what they are.
    Ever(String),
}

/// A way to ask each server of a broker who leads. Clones share nothing but their connections.
#[derive(Debug, Clone)]
pub struct Census {
    nodes: Vec<(String, Monitor)>,
}

impl Census {
    /// Of the servers whose monitoring is known.
    pub fn of(broker: &Broker) -> Self {
        let nodes = broker.nodes.iter();
        Self {
            nodes: nodes
                .filter_map(|n| Some((n.name.clone(), Monitor::new(n.monitor_url.as_deref()?, QUESTION_LIMIT))))
                .collect(),
        }
    }

    /// The server that says of itself that it leads, if any does.
    pub fn leader(&self, of: &Led) -> Option<usize> {
        (0..self.nodes.len()).find(|node| self.leads(*node, of))
    }

    /// As [`Census::leader`], without asking `node`: it is down, or frozen and would keep the question waiting.
    pub fn leader_but(&self, of: &Led, node: usize) -> Option<usize> {
        (0..self.nodes.len()).find(|other| *other != node && self.leads(*other, of))
    }

    /// Whether the server `node` says that it leads and that it is well. One that has just been started may take itself for
    /// the leader that it was, until it has heard of the others.
    pub fn leads_and_is_well(&self, node: usize, what: &Led) -> bool {
        self.leads(node, what)
            && self
                .nodes
                .get(node)
                .is_some_and(|(_, monitor)| monitor.health().is_ok())
    }

    /// Whether the server `node` answers and says that it leads.
    fn leads(&self, node: usize, what: &Led) -> bool {
        let Some((name, _)) = self.nodes.get(node) else {
            return false;
        };
        // A server that leads a group says so first of all; one that keeps its streams alone leads all of them.
        self.group(node, what)
            .is_some_and(|group| group.is_none_or(|g| g.leader.as_ref() == Some(name)))
    }

    /// The server in the role `wanted` at this instant; `stream` says of which stream where there are several. A role
    /// that nobody holds is looked for again for some seconds.
    ///
    /// # Errors
    /// In words, why there is no such server.
    pub fn find(&self, wanted: Node, stream: Option<&str>) -> Result<Holder, String> {
        let until_ns = monotonic_ns() + SEARCH_NS;
        loop {
            let why = match self.look(wanted, stream) {
                Ok(holder) => return Ok(holder),
                Err(Nobody::Ever(why)) => return Err(why),
                Err(Nobody::Now(why)) => why,
            };
            if monotonic_ns() >= until_ns {
                return Err(why);
            }
            sleep_until_ns(monotonic_ns() + LOOK_NS);
        }
    }

    fn look(&self, wanted: Node, stream: Option<&str>) -> Result<Holder, Nobody> {
        let led = match wanted {
            Node::Number(number) => {
                return Ok(Holder {
                    node: number as usize,
                    led: None,
                });
            }
            Node::MetaLeader => Led::Meta,
            Node::StreamLeader => match self.stream(stream)? {
                Some(name) => Led::Stream(name),
                None => return Err(Nobody::Ever("there is no stream that could have a leader".to_owned())),
            },
            Node::Follower => self.stream(stream)?.map_or(Led::Meta, Led::Stream),
        };
        let leader = self
            .leader(&led)
            .ok_or_else(|| Nobody::Now(format!("no server says that it leads {led}")))?;
        if wanted != Node::Follower {
            return Ok(Holder {
                node: leader,
                led: Some(led),
            });
        }
        let replicas = self
            .group(leader, &led)
            .flatten()
            .map(|g| g.replicas)
            .unwrap_or_default();
        let current = replicas.iter().filter(|r| r.current && !r.offline);
        let node = current
            .filter_map(|r| self.nodes.iter().position(|(name, _)| *name == r.name))
            .find(|node| *node != leader)
            .ok_or_else(|| {
                let name = &self.nodes[leader].0;
                Nobody::Now(format!("no other server than {name} keeps a current copy of {led}"))
            })?;
        Ok(Holder { node, led: None })
    }

    /// The stream that is meant: the one named, else the only one. `None` when there is none at all.
    fn stream(&self, named: Option<&str>) -> Result<Option<String>, Nobody> {
        let mut names: Vec<String> = Vec::new();
        for (_, monitor) in &self.nodes {
            // What a server that is down keeps, the others that keep it tell of.
            for stream in monitor.streams().unwrap_or_default() {
                if !names.contains(&stream.name) {
                    names.push(stream.name);
                }
            }
        }
        names.sort();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        match (named, names.as_slice()) {
            (Some(named), all) if all.iter().any(|n| n == named) => Ok(Some(named.to_owned())),
            (Some(named), _) => Err(Nobody::Ever(format!(
                "no server keeps a stream {named}; there is {known}"
            ))),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, _) => Err(Nobody::Ever(format!(
                "name the `stream` that is meant; there are {known}"
            ))),
        }
    }

    /// What the server `node` says of the servers that share `what`: `None` without answer or without part in it,
    /// `Some(None)` when it keeps it alone.
    fn group(&self, node: usize, what: &Led) -> Option<Option<Group>> {
        let (_, monitor) = self.nodes.get(node)?;
        match what {
            Led::Meta => {
                let reading = monitor.jetstream().ok()?;
                (!reading.disabled).then_some(reading.meta)
            }
            Led::Stream(name) => {
                let streams = monitor.streams().ok()?;
                streams.into_iter().find(|s| s.name == *name).map(|s| s.group)
            }
        }
    }
}
