//! Who is there: nodes by name, their last beat, and whether they are alive, suspect or lost. Pure: every instant is
//! given in.
//!
//! A node's state follows from the beats that it has missed: those that were due since its last one came. A beat is
//! received once: the greatest number seen and the 63 before it are remembered, so that one that comes again is a duplicate
//! and one that was overtaken is out of order, and what is received in all is exact. A beat that is a duplicate or was
//! overtaken is no sign of life, because a later one has come before it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Most nodes that are known at a time.
pub const MOST_NODES: usize = 200_000;
/// Most capabilities of one node.
const MOST_CAPABILITIES: usize = 64;
/// Most bytes of an id, a subject or a capability.
const MOST_NAME_BYTES: usize = 256;

/// When a node counts as suspect and as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Time between two beats, in nanoseconds; at least 1.
    pub every_ns: u64,
    /// Missed beats after which a node is suspect.
    pub suspect_after: u64,
    /// Missed beats after which it is lost.
    pub lost_after: u64,
}

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its beats come.
    Alive,
    /// Some have not come.
    Suspect,
    /// So many have not come that it is taken to be gone.
    Lost,
}

impl Policy {
    /// The state of a node that was last heard of at `heard_ns`.
    pub fn state(&self, heard_ns: u64, now_ns: u64) -> State {
        let missed = now_ns.saturating_sub(heard_ns) / self.every_ns.max(1);
        if missed >= self.lost_after {
            State::Lost
        } else if missed >= self.suspect_after {
            State::Suspect
        } else {
            State::Alive
        }
    }
}

/// What a node says of the machine that it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU in use, of all cores together, from 0 to 100.
    pub cpu_percent: f32,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Memory in all.
    pub memory_total_bytes: u64,
    /// Room on the disks together.
    pub disk_free_bytes: u64,
    /// Size of the disks together.
    pub disk_total_bytes: u64,
}

/// A node that makes itself known.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Registration {
    /// Its name.
    pub id: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The beginning of where it is called.
    #[serde(default)]
    pub subject: String,
}

/// A heartbeat.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Beat {
    /// Name of the node.
    pub id: String,
    /// Number of the beat: each greater than the last, since the node registered.
    #[serde(default)]
    pub seq: u64,
    /// When the node sent it; `CLOCK_MONOTONIC` in nanoseconds.
    #[serde(default)]
    pub at_ns: u64,
    /// How busy it is: 0 is idle.
    #[serde(default)]
    pub load: f64,
    /// Calls that it works on.
    #[serde(default)]
    pub outstanding: u64,
    /// What it reads of its machine, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// What a beat was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The newest of its node.
    Newest,
    /// Overtaken by a later one, and received for the first time.
    OutOfOrder,
    /// Received before.
    Duplicate,
    /// So far behind that it cannot be told whether it was received before; it counts as not received.
    TooOld,
}

/// A node, as it is known.
#[derive(Clone, Debug)]
pub struct Node {
    /// Whether it has registered; one that only beats has no capabilities.
    pub registered: bool,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The beginning of where it is called.
    pub subject: String,
    /// Instant of its registration or last beat.
    pub heard_ns: u64,
    /// Greatest number of its beats; meaningful if bits of `window` are set.
    pub seq: u64,
    /// Bit `i` is set if beat `seq - i` was received.
    window: u64,
    /// Beats received, each once, since the registry started.
    pub beats: u64,
    /// How busy it said that it is.
    pub load: f64,
    /// Calls that it said it works on.
    pub outstanding: u64,
    /// What it last read of its machine.
    pub resources: Option<Resources>,
}

/// Beats by what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Beats {
    /// Received, each once.
    pub received: u64,
    /// Of these, those that were overtaken.
    pub out_of_order: u64,
    /// That came again.
    pub duplicates: u64,
    /// That came too late to tell.
    pub too_old: u64,
    /// That could not be read, or were refused.
    pub refused: u64,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct States {
    /// Alive.
    pub alive: u64,
    /// Suspect.
    pub suspect: u64,
    /// Lost.
    pub lost: u64,
}

/// All nodes.
#[derive(Debug)]
pub struct Membership {
    policy: Policy,
    nodes: HashMap<String, Node>,
    /// The names of the registered nodes with each capability, so that a question looks at those alone.
    able: HashMap<String, BTreeSet<String>>,
    /// Beats of all nodes, forgotten ones too.
    pub beats: Beats,
    /// Lost nodes that were forgotten to make room.
    pub forgotten: u64,
}

impl Membership {
    /// Nobody is there.
    pub fn new(policy: Policy) -> Membership {
        Membership {
            policy,
            nodes: HashMap::new(),
            able: HashMap::new(),
            beats: Beats::default(),
            forgotten: 0,
        }
    }

    /// A node makes itself known, for the first time or again. Its beats count from anew, because a node that was
    /// started again does too.
    ///
    /// # Errors
    /// A sentence, if what it says makes no sense or there is no room.
    pub fn register(&mut self, now_ns: u64, registration: Registration) -> Result<(), String> {
        let Registration {
            id,
            capabilities,
            subject,
        } = registration;
        check("id", &id)?;
        if !subject.is_empty() {
            check("subject", &subject)?;
            if subject.contains(char::is_whitespace) || subject.contains(['*', '>']) {
                return Err(format!("'{}' is no subject to call", subject.escape_default()));
            }
        }
        if capabilities.len() > MOST_CAPABILITIES {
            return Err(format!(
                "{} capabilities; at most {MOST_CAPABILITIES}",
                capabilities.len()
            ));
        }
        for capability in &capabilities {
            check("capability", capability)?;
        }
        self.node(now_ns, id.clone())?;
        self.set_able(&id, &capabilities);
        let node = self.node(now_ns, id)?;
        node.registered = true;
        node.capabilities = capabilities;
        node.subject = subject;
        node.heard_ns = node.heard_ns.max(now_ns);
        (node.seq, node.window) = (0, 0);
        Ok(())
    }

    /// A beat comes. Returns what it was, and whether its node has registered.
    ///
    /// # Errors
    /// A sentence, if it makes no sense or there is no room for its node; it is counted as refused.
    pub fn beat(&mut self, now_ns: u64, beat: &Beat) -> Result<(Received, bool), String> {
        let heard = self.hear(now_ns, beat);
        match heard {
            Ok((Received::Newest, _)) => self.beats.received += 1,
            Ok((Received::OutOfOrder, _)) => {
                self.beats.received += 1;
                self.beats.out_of_order += 1;
            }
            Ok((Received::Duplicate, _)) => self.beats.duplicates += 1,
            Ok((Received::TooOld, _)) => self.beats.too_old += 1,
            Err(_) => self.beats.refused += 1,
        }
        heard
    }

    fn hear(&mut self, now_ns: u64, beat: &Beat) -> Result<(Received, bool), String> {
        if !beat.load.is_finite() || beat.load < 0.0 {
            return Err(format!("a load of {} is none: it is a number from 0", beat.load));
        }
        if !self.nodes.contains_key(&beat.id) {
            check("id", &beat.id)?;
        }
        let node = self.node_of(now_ns, &beat.id)?;
        let received = node.note(beat.seq);
        if received == Received::Newest {
            node.heard_ns = node.heard_ns.max(now_ns);
            node.load = beat.load;
            node.outstanding = beat.outstanding;
            node.resources = beat.resources.or(node.resources);
        }
        if matches!(received, Received::Newest | Received::OutOfOrder) {
            node.beats += 1;
        }
        Ok((received, node.registered))
    }

    /// The node of this name, without copying the name of one that is there.
    fn node_of(&mut self, now_ns: u64, id: &str) -> Result<&mut Node, String> {
        if !self.nodes.contains_key(id) {
            return self.node(now_ns, id.to_owned());
        }
        self.nodes.get_mut(id).ok_or_else(|| "gone".to_owned())
    }

    fn node(&mut self, now_ns: u64, id: String) -> Result<&mut Node, String> {
        if self.nodes.len() >= MOST_NODES && !self.nodes.contains_key(&id) {
            self.forget_lost(now_ns);
            if self.nodes.len() >= MOST_NODES {
                return Err(format!("{MOST_NODES} nodes are known already and none of them is lost"));
            }
        }
        Ok(self.nodes.entry(id).or_insert_with(|| Node::new(now_ns)))
    }

    /// Notes what a node can do now, in place of what it could before.
    fn set_able(&mut self, id: &str, capabilities: &[String]) {
        for capability in self.nodes.get(id).into_iter().flat_map(|node| &node.capabilities) {
            if let Some(names) = self.able.get_mut(capability) {
                names.remove(id);
                if names.is_empty() {
                    self.able.remove(capability);
                }
            }
        }
        for capability in capabilities {
            self.able.entry(capability.clone()).or_default().insert(id.to_owned());
        }
    }

    fn forget_lost(&mut self, now_ns: u64) {
        let lost: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| self.policy.state(node.heard_ns, now_ns) == State::Lost)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &lost {
            self.leave(id);
        }
        self.forgotten += lost.len() as u64;
    }

    /// A node is heard no more, by its own word. Whether it was known.
    pub fn leave(&mut self, id: &str) -> bool {
        self.set_able(id, &[]);
        self.nodes.remove(id).is_some()
    }

    /// The registered nodes with a capability, by name, each with its state.
    pub fn instances(&self, now_ns: u64, capability: &str) -> Vec<(&str, &Node, State)> {
        let names = self.able.get(capability).into_iter().flatten();
        names
            .filter_map(|name| self.nodes.get_key_value(name))
            .map(|(id, node)| (id.as_str(), node, self.policy.state(node.heard_ns, now_ns)))
            .collect()
    }

    /// All nodes whose names come after `after`, by name, at most `limit`.
    pub fn nodes(&self, now_ns: u64, after: &str, limit: usize) -> Vec<(&str, &Node, State)> {
        let mut found: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, _)| id.as_str() > after)
            .map(|(id, node)| (id.as_str(), node, self.policy.state(node.heard_ns, now_ns)))
            .collect();
        found.sort_unstable_by_key(|(id, _, _)| *id);
        found.truncate(limit);
        found
    }

    /// How many nodes are in each state.
    pub fn states(&self, now_ns: u64) -> States {
        let mut states = States::default();
        for node in self.nodes.values() {
            match self.policy.state(node.heard_ns, now_ns) {
                State::Alive => states.alive += 1,
                State::Suspect => states.suspect += 1,
                State::Lost => states.lost += 1,
            }
        }
        states
    }
}

impl Node {
    fn new(now_ns: u64) -> Node {
        Node {
            registered: false,
            capabilities: Vec::new(),
            subject: String::new(),
            heard_ns: now_ns,
            seq: 0,
            window: 0,
            beats: 0,
            load: 0.0,
            outstanding: 0,
            resources: None,
        }
    }

    /// Notes the number of a beat.
    fn note(&mut self, seq: u64) -> Received {
        if self.window == 0 || seq > self.seq {
            let ahead = seq.saturating_sub(self.seq);
            let moved = u32::try_from(ahead).ok().and_then(|by| self.window.checked_shl(by));
            self.window = moved.unwrap_or(0) | 1;
            self.seq = seq;
            return Received::Newest;
        }
        let Some(bit) = u32::try_from(self.seq - seq)
            .ok()
            .and_then(|back| 1_u64.checked_shl(back))
        else {
            return Received::TooOld;
        };
        if self.window & bit != 0 {
            return Received::Duplicate;
        }
        self.window |= bit;
        Received::OutOfOrder
    }
}

fn check(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MOST_NAME_BYTES {
        return Err(format!(
            "the {what} has {} bytes; from 1 to {MOST_NAME_BYTES}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the {what} '{}' has control characters", text.escape_default()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
