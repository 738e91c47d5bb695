//! What follows a fault to a server of the broker: when another leads in its place, when it is well again. Seen by
//! threads of their own, so that neither the load nor the readings of the processes wait for an election.

use crate::linux::{monotonic_ns, sleep_until_ns};
use crate::provision::{Census, Led, Monitor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often is looked, in nanoseconds: by so much an instant may be seen late. An election takes seconds.
const LOOK_NS: u64 = 10_000_000;
/// How long a single server may take to answer.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A server says that it leads, after the one that led was hit.
    Elected {
        /// When the fault began.
        begun_ns: u64,
        /// When it was seen.
        at_ns: u64,
        /// The new leader's number.
        node: usize,
        /// What it leads.
        led: Led,
    },
    /// A server that was started again says that it is well: with JetStream, that all it keeps is current.
    Well {
        /// Its number.
        node: usize,
        /// When it was seen.
        at_ns: u64,
    },
}

/// The threads that look, and what they have seen. Dropping it ends them.
pub struct Watchers {
    seen: Receiver<Seen>,
    tell: Sender<Seen>,
    over: Arc<AtomicBool>,
    /// How many are still looking for a leader, and how many for a server that is to come back.
    elections: usize,
    recoveries: usize,
}

impl Default for Watchers {
    fn default() -> Self {
        let (tell, seen) = channel();
        Self {
            seen,
            tell,
            over: Arc::default(),
            elections: 0,
            recoveries: 0,
        }
    }
}

impl Watchers {
    /// Watches for a server that leads `led` in place of `node`, or `node` itself once it has been started again and is
    /// well. One that is only `frozen` may still take itself for the leader when it goes on, and is not asked; it may also
    /// go on before anybody has missed it, so that nothing is elected and nothing awaited.
    pub fn election(&mut self, census: Census, led: Led, node: usize, frozen: bool, begun_ns: u64) {
        self.elections += usize::from(!frozen);
        self.look(move || {
            let again = || (!frozen && census.leads_and_is_well(node, &led)).then_some(node);
            let leader = census.leader_but(&led, node).or_else(again)?;
            Some(Seen::Elected {
                begun_ns,
                at_ns: monotonic_ns(),
                node: leader,
                led: led.clone(),
            })
        });
    }

    /// Watches for the server `node` to be well.
    pub fn recovery(&mut self, monitor_url: &str, node: usize) {
        let monitor = Monitor::new(monitor_url, QUESTION_LIMIT);
        self.recoveries += 1;
        self.look(move || {
            monitor.health().ok()?;
            Some(Seen::Well {
                node,
                at_ns: monotonic_ns(),
            })
        });
    }

    /// Whether another leader is still expected, or a server to be well again.
    pub fn awaits(&self) -> bool {
        self.elections + self.recoveries > 0
    }

    /// Whether a server is still expected to be well again.
    pub fn awaits_recovery(&self) -> bool {
        self.recoveries > 0
    }

    /// What was seen since the last question.
    pub fn seen(&mut self) -> Vec<Seen> {
        let seen: Vec<Seen> = self.seen.try_iter().collect();
        let well = seen.iter().filter(|s| matches!(s, Seen::Well { .. })).count();
        self.recoveries = self.recoveries.saturating_sub(well);
        self.elections = self.elections.saturating_sub(seen.len() - well);
        seen
    }

    fn look(&self, mut see: impl FnMut() -> Option<Seen> + Send + 'static) {
        let (tell, over) = (self.tell.clone(), self.over.clone());
        let spawned = thread::Builder::new().name("fault watch".to_owned()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Some(seen) = see() {
                    // Nobody listens any more when the trial is over.
                    let _ = tell.send(seen);
                    return;
                }
                sleep_until_ns(monotonic_ns() + LOOK_NS);
            }
        });
        // Without a thread the metric is missing, as it is when nothing is seen.
        drop(spawned);
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
