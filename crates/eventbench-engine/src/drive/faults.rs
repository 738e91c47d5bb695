//! Faults: what is done to services and to servers of the broker while the load runs, and the instants that recovery is
//! measured from.

use super::watch::{Seen, Watchers};
use crate::engine::Engine;
use crate::provision::{Census, Holder, NatsServer};
use crate::stage::{Stage, StageError};
use eventbench_core::plan::{At, Fault, FaultAction, Node};
use eventbench_core::record::Mark;
use eventbench_core::trial::{MARKS, Signals};
use std::sync::atomic::Ordering;

/// The absence of a service or of a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outage {
    /// The number of the server; `None` for a service.
    pub node: Option<usize>,
    /// When it was told to end, or ended.
    pub begun_ns: u64,
    /// When its process had ended.
    pub ended_ns: u64,
    /// When the new process was started.
    pub restarted_ns: Option<u64>,
    /// When that was ready.
    pub ready_ns: Option<u64>,
    /// Which of the shared marks follows it.
    pub mark: usize,
}

/// Faults to come, and what came of those that were done.
pub struct FaultLog {
    due: Vec<(u64, Fault)>,
    start_ns: u64,
    /// Absences, in order.
    pub outages: Vec<Outage>,
    /// Elections that a fault brought about: when it began, and when another server led.
    pub elections: Vec<(u64, u64)>,
    /// What happened when.
    pub marks: Vec<Mark>,
    /// What could not be done.
    pub errors: Vec<String>,
    /// Servers that were taken down, and those that were frozen, by number, the last at the end.
    down: Vec<usize>,
    paused: Vec<usize>,
    /// The names of servers whose counters went with their process.
    pub forgotten: Vec<String>,
    watchers: Watchers,
}

impl FaultLog {
    /// The faults of a benchmark whose measured phase begins at `measure_from_ns`.
    pub fn new(faults: &[At<Fault>], start_ns: u64, measure_from_ns: u64) -> Self {
        let mut due: Vec<(u64, Fault)> = faults
            .iter()
            .map(|f| (measure_from_ns + f.at.ns(), f.value.clone()))
            .collect();
        // The last comes first to be popped from the end.
        due.sort_by_key(|f| std::cmp::Reverse(f.0));
        Self {
            due,
            start_ns,
            outages: Vec::new(),
            elections: Vec::new(),
            marks: Vec::new(),
            errors: Vec::new(),
            down: Vec::new(),
            paused: Vec::new(),
            forgotten: Vec::new(),
            watchers: Watchers::default(),
        }
    }

    /// When the next fault is due.
    pub fn next_ns(&self) -> Option<u64> {
        self.due.last().map(|f| f.0)
    }

    /// Does what is due by now; gives what was done, in words.
    pub fn act(&mut self, engine: &Engine<'_>, stage: &mut Stage, signals: &Signals) -> Vec<String> {
        let mut done = Vec::new();
        while let Some((_, fault)) = self.due.pop_if(|(at, _)| *at <= engine.clock().now_ns()) {
            let mut what = format!("{} {}", fault.action.word(), fault.target());
            let performed = match fault.node {
                Some(node) => self.injure(&fault, node, &mut what, stage, signals),
                None => {
                    self.mark(engine.clock().now_ns(), what.clone());
                    self.perform(&fault, engine, stage, signals)
                }
            };
            match performed {
                Ok(()) => done.push(what),
                Err(e) => self.errors.push(format!("fault {what}: {e}")),
            }
        }
        done
    }

    /// Takes down what has been seen of servers since the last look; gives it in words.
    pub fn attend(&mut self, stage: &mut Stage) -> Vec<String> {
        let seen = self.watchers.seen();
        let Some(server) = stage.server().filter(|_| !seen.is_empty()) else {
            return Vec::new();
        };
        let mut words = Vec::new();
        for seen in seen {
            let (at_ns, what) = match seen {
                Seen::Elected {
                    begun_ns,
                    at_ns,
                    node,
                    led,
                } => {
                    self.elections.push((begun_ns, at_ns));
                    (at_ns, format!("{} leads {led}", name(server, node)))
                }
                Seen::Well { node, at_ns } => {
                    let mut absences = self.outages.iter_mut().rev();
                    if let Some(outage) = absences.find(|o| o.node == Some(node)) {
                        outage.ready_ns = Some(at_ns);
                    }
                    (at_ns, format!("{} ready", name(server, node)))
                }
            };
            self.mark(at_ns, what.clone());
            words.push(what);
        }
        words
    }

    /// Whether there is more to wait for: a fault that has fallen due and is not done, another leader, a server that is to
    /// be well again.
    pub fn awaits(&self, now_ns: u64) -> bool {
        self.watchers.awaits() || self.next_ns().is_some_and(|due| due <= now_ns)
    }

    /// Whether a server of the broker is down now.
    pub fn is_any_down(&self) -> bool {
        !self.down.is_empty()
    }

    /// Ends the watching; what was started and never seen well is an error.
    pub fn end(&mut self, broke_off: bool) {
        if self.watchers.awaits_recovery() && !broke_off {
            self.errors.push(
                "a server of the broker that was started again was not well when the trial ended; give it a longer `drain`"
                    .to_owned(),
            );
        }
        self.watchers = Watchers::default();
    }

    fn mark(&mut self, at_ns: u64, what: String) {
        self.marks.push(Mark {
            at_s: at_ns.saturating_sub(self.start_ns) as f64 / 1e9,
            what,
        });
    }

    fn outage(&mut self, node: Option<usize>, begun_ns: u64, ended_ns: u64, signals: &Signals) {
        let mark = self.outages.len().min(MARKS - 1);
        // Only an event that was meant to be sent after the old process had gone can tell that the new one works.
        if let Some(slot) = signals.marks.get(mark) {
            slot.store(ended_ns, Ordering::Relaxed);
        }
        self.outages.push(Outage {
            node,
            begun_ns,
            ended_ns,
            mark,
            ..Outage::default()
        });
    }

    /// Does a fault to a server of the broker, and completes `what` by the server that it hit.
    fn injure(
        &mut self,
        fault: &Fault,
        wanted: Node,
        what: &mut String,
        stage: &mut Stage,
        signals: &Signals,
    ) -> Result<(), StageError> {
        let failed = |e: &dyn std::fmt::Display| StageError::Broker(e.to_string());
        let Some(server) = stage.server() else {
            return Err(failed(&"there is none of our own on the stage of this benchmark"));
        };
        let census = Census::of(server.broker());
        let Holder { node, led } = match (fault.action, wanted) {
            (_, Node::Number(number)) => Holder {
                node: number as usize,
                led: None,
            },
            // What is down or frozen holds no role any more: what is meant is the server that lost it.
            (FaultAction::Start, _) => of(&self.down, "down").map_err(|e| failed(&e))?,
            (FaultAction::Resume, _) => of(&self.paused, "frozen").map_err(|e| failed(&e))?,
            _ => census.find(wanted, fault.stream.as_deref()).map_err(|e| failed(&e))?,
        };
        if server.broker().nodes.len() > 1 {
            what.push_str(&format!(" ({})", name(server, node)));
        }
        let mut begun_ns = crate::linux::monotonic_ns();
        self.mark(begun_ns, what.clone());
        if matches!(
            fault.action,
            FaultAction::Stop | FaultAction::Restart | FaultAction::Kill
        ) {
            let report = if fault.action == FaultAction::Kill {
                server.kill_node(node)
            } else {
                server.stop_node(node)
            };
            let report = report.map_err(|e| failed(&e))?;
            begun_ns = report.signal_sent_at_ns.unwrap_or(begun_ns);
            self.down.push(node);
            self.forgotten.push(name(server, node));
            self.outage(Some(node), begun_ns, report.exit.seen_at_ns, signals);
        }
        match fault.action {
            FaultAction::Start | FaultAction::Restart => {
                let restarted_ns = server.start_node(node).map_err(|e| failed(&e))?;
                self.down.retain(|other| *other != node);
                let mut absences = self.outages.iter_mut().rev();
                if let Some(outage) = absences.find(|o| o.node == Some(node)) {
                    outage.restarted_ns = Some(restarted_ns);
                }
                if let Some(url) = server.broker().nodes.get(node).and_then(|n| n.monitor_url.as_deref()) {
                    self.watchers.recovery(url, node);
                }
            }
            FaultAction::Pause => {
                server.pause_node(node).map_err(|e| failed(&e))?;
                self.paused.push(node);
            }
            FaultAction::Resume => {
                server.resume_node(node).map_err(|e| failed(&e))?;
                self.paused.retain(|other| *other != node);
            }
            FaultAction::Stop | FaultAction::Kill => {}
        }
        if let (Some(led), 2..) = (led, server.broker().nodes.len()) {
            let frozen = fault.action == FaultAction::Pause;
            self.watchers.election(census, led, node, frozen, begun_ns);
        }
        Ok(())
    }

    fn perform(
        &mut self,
        fault: &Fault,
        engine: &Engine<'_>,
        stage: &mut Stage,
        signals: &Signals,
    ) -> Result<(), StageError> {
        let clock = engine.clock();
        let variables = stage.variables.clone();
        let name = fault.target();
        let Some(service) = stage.service(&name) else {
            return Err(StageError::Service {
                name,
                cause: "is not on the stage of this benchmark".to_owned(),
                log: Vec::new(),
            });
        };
        if matches!(
            fault.action,
            FaultAction::Stop | FaultAction::Restart | FaultAction::Kill
        ) {
            let (begun_ns, ended_ns) = if fault.action == FaultAction::Kill {
                service.kill(&clock)?
            } else {
                service.stop(&clock)?
            };
            self.outage(None, begun_ns, ended_ns, signals);
        }
        match fault.action {
            FaultAction::Start | FaultAction::Restart => {
                let restarted_ns = service.start(engine, &variables)?;
                let ready_ns = clock.now_ns();
                if let Some(outage) = self.outages.iter_mut().rev().find(|o| o.node.is_none()) {
                    outage.restarted_ns = Some(restarted_ns);
                    outage.ready_ns = Some(ready_ns);
                }
                self.mark(ready_ns, format!("{name} ready"));
            }
            FaultAction::Pause => service.pause()?,
            FaultAction::Resume => service.resume()?,
            FaultAction::Stop | FaultAction::Kill => {}
        }
        Ok(())
    }
}

/// The last of the servers that are so.
fn of(list: &[usize], so: &str) -> Result<Holder, String> {
    let last = list.last().copied();
    let node = last.ok_or_else(|| format!("no server is {so}"))?;
    Ok(Holder { node, led: None })
}

/// How marks call a server: by its name in a cluster.
fn name(server: &NatsServer, node: usize) -> String {
    match server.broker().nodes.as_slice() {
        [_] => "broker".to_owned(),
        nodes => nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |n| n.name.clone()),
    }
}
