//! `fault`: what is done to a service or to a server of the broker while the load runs, and when.

use super::{At, Benchmark, NatsBroker};
use crate::units::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FaultAction {
    /// Ask it to end (SIGTERM) and wait for it.
    Stop,
    /// Start it again and wait until it is ready.
    Start,
    /// Stop, then start at once.
    Restart,
    /// End it without warning (SIGKILL).
    Kill,
    /// Freeze it (SIGSTOP).
    Pause,
    /// Let it go on (SIGCONT).
    Resume,
}

impl FaultAction {
    /// The word that suites use.
    pub fn word(self) -> &'static str {
        match self {
            FaultAction::Stop => "stop",
            FaultAction::Start => "start",
            FaultAction::Restart => "restart",
            FaultAction::Kill => "kill",
            FaultAction::Pause => "pause",
            FaultAction::Resume => "resume",
        }
    }
}

/// A server of the managed broker, by what it is at the instant of the fault or by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The one that leads a stream.
    StreamLeader,
    /// The one that leads the group that places streams and consumers.
    MetaLeader,
    /// One that keeps a copy of a stream and does not lead it; without streams, one that does not lead the meta group.
    Follower,
    /// The server of that number, from 0.
    Number(u32),
}

/// What may stand for a node, in words.
const NODES: &str = "\"stream-leader\", \"meta-leader\", \"follower\" or the number of a server, from 0";

impl Node {
    /// The role, where it is one.
    fn role(self) -> Option<&'static str> {
        match self {
            Node::StreamLeader => Some("stream-leader"),
            Node::MetaLeader => Some("meta-leader"),
            Node::Follower => Some("follower"),
            Node::Number(_) => None,
        }
    }

    /// Whether only JetStream can tell which server it is.
    pub fn needs_jetstream(self) -> bool {
        self.role().is_some()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.role(), self) {
            (None, Node::Number(number)) => write!(f, "node {number}"),
            (role, _) => f.write_str(role.unwrap_or_default()),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.role(), self) {
            (None, Node::Number(number)) => serializer.serialize_u32(*number),
            (role, _) => serializer.serialize_str(role.unwrap_or_default()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    // Not derived: an untagged enum could only say that no variant fits.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl Visitor<'_> for Forms {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(NODES)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
                [Node::StreamLeader, Node::MetaLeader, Node::Follower]
                    .into_iter()
                    .find(|node| node.role() == Some(text))
                    .ok_or_else(|| E::custom(format!("unknown node \"{text}\", expected {NODES}")))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Node, E> {
                let number = u32::try_from(number).map_err(|_| E::custom(format!("no broker has {number} servers")))?;
                Ok(Node::Number(number))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Node, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::custom(format!("node {number} is not possible, expected {NODES}"))),
                }
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Node {
    fn schema_name() -> Cow<'static, str> {
        "Node".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A server of the managed broker: by its role at the instant of the fault, or by its number from 0.",
            "oneOf": [
                { "enum": ["stream-leader", "meta-leader", "follower"] },
                { "type": "integer", "minimum": 0 }
            ]
        })
    }
}

/// One fault, to a service or to a server of the broker.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, from the start of the measured phase.
    pub at: Duration,
    /// What is done.
    pub action: FaultAction,
    /// To which service; this or `node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// To which server of the managed broker; this or `service`. With "start" and "resume" a role means the server that
    /// was taken down or paused last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// The stream that "stream-leader" and "follower" speak of; the only one there is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

impl Fault {
    /// What it is done to, in words.
    pub fn target(&self) -> String {
        match (&self.service, &self.node) {
            (Some(service), _) => service.clone(),
            (None, Some(node)) => node.to_string(),
            (None, None) => "nothing".to_owned(),
        }
    }

    /// Refuses what can't be done to the stage of `benchmark`; whether a service of that name exists is asked elsewhere.
    pub(super) fn check(&self, benchmark: &Benchmark, broker: Option<&NatsBroker>) -> Result<(), String> {
        let refused = |why: &str| Err(format!("fault \"{} {}\": {why}", self.action.word(), self.target()));
        let node = match (&self.service, self.node) {
            (Some(_), Some(_)) => return refused("it names a service and a node; write two faults"),
            (None, None) => return refused("name its `service`, or the `node` of the broker"),
            (_, node) => node,
        };
        if self.stream.is_some() && !matches!(node, Some(Node::StreamLeader | Node::Follower)) {
            return refused("`stream` belongs to node = \"stream-leader\" or \"follower\"");
        }
        let Some(node) = node else { return Ok(()) };
        let broker = match broker {
            Some(broker) if benchmark.broker != Some(false) => broker,
            _ => return refused("the benchmark has no broker; add [broker.nats], or remove `broker = false`"),
        };
        if broker.url.is_some() {
            return refused(
                "the broker at `url` was started by somebody else and is left alone; leave out `url` to have one of its own started",
            );
        }
        let size = broker.size();
        match node {
            Node::Number(number) if number >= size => {
                let last = size.saturating_sub(1);
                return refused(&format!(
                    "the broker has {size} servers, so the last is node {last}; see [broker.nats] nodes"
                ));
            }
            Node::Follower if size == 1 => {
                return refused("a single server has no follower; set [broker.nats] nodes = 3");
            }
            _ if node.needs_jetstream() && !benchmark.jetstream.unwrap_or(broker.jetstream) => {
                return refused(
                    "servers have roles only with JetStream; set `jetstream = true`, or name the node by its number",
                );
            }
            _ => {}
        }
        let before = |wanted: &[FaultAction]| {
            let earlier = |f: &&At<Fault>| f.at.0 < self.at.0 && f.node.is_some() && wanted.contains(&f.action);
            benchmark.fault.iter().any(|f| earlier(&f))
        };
        match self.action {
            FaultAction::Start if !before(&[FaultAction::Stop, FaultAction::Kill]) => {
                refused("no server was stopped or killed before, so none can be started")
            }
            FaultAction::Resume if !before(&[FaultAction::Pause]) => {
                refused("no server was paused before, so none can be resumed")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_by_role_or_number_and_written_back() {
        for (text, node, words) in [
            ("\"stream-leader\"", Node::StreamLeader, "stream-leader"),
            ("\"meta-leader\"", Node::MetaLeader, "meta-leader"),
            ("\"follower\"", Node::Follower, "follower"),
            ("2", Node::Number(2), "node 2"),
        ] {
            assert_eq!(serde_json::from_str::<Node>(text).unwrap(), node);
            assert_eq!(serde_json::to_string(&node).unwrap(), text);
            assert_eq!(node.to_string(), words);
        }
        for (text, says) in [
            ("\"leader\"", "unknown node \"leader\", expected \"stream-leader\""),
            ("-1", "node -1 is not possible"),
            ("99999999999", "no broker has"),
            ("true", "expected \"stream-leader\""),
        ] {
            let refused = serde_json::from_str::<Node>(text).unwrap_err().to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
