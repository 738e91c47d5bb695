//! Faults: what is done to services while the load runs, and the instants that recovery is measured from.

use crate::engine::Engine;
use crate::stage::{Stage, StageError};
use eventbench_core::plan::{At, Fault, FaultAction};
use eventbench_core::record::Mark;
use eventbench_core::trial::{MARKS, Signals};
use std::sync::atomic::Ordering;

/// A service's absence.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outage {
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
    /// What happened when.
    pub marks: Vec<Mark>,
    /// What could not be done.
    pub errors: Vec<String>,
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
            marks: Vec::new(),
            errors: Vec::new(),
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
            let what = format!("{} {}", fault.action.word(), fault.service);
            self.mark(engine.clock().now_ns(), what.clone());
            match self.perform(&fault, engine, stage, signals) {
                Ok(()) => done.push(what),
                Err(e) => self.errors.push(format!("fault {what}: {e}")),
            }
        }
        done
    }

    fn mark(&mut self, at_ns: u64, what: String) {
        self.marks.push(Mark {
            at_s: at_ns.saturating_sub(self.start_ns) as f64 / 1e9,
            what,
        });
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
        let Some(service) = stage.service(&fault.service) else {
            return Err(StageError::Service {
                name: fault.service.clone(),
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
            let mark = self.outages.len().min(MARKS - 1);
            // Only an event that was meant to be sent after the old process had gone can tell that the new one works.
            if let Some(slot) = signals.marks.get(mark) {
                slot.store(ended_ns, Ordering::Relaxed);
            }
            self.outages.push(Outage {
                begun_ns,
                ended_ns,
                mark,
                ..Outage::default()
            });
        }
        match fault.action {
            FaultAction::Start | FaultAction::Restart => {
                let restarted_ns = service.start(engine, &variables)?;
                let ready_ns = clock.now_ns();
                if let Some(outage) = self.outages.last_mut() {
                    outage.restarted_ns = Some(restarted_ns);
                    outage.ready_ns = Some(ready_ns);
                }
                self.mark(ready_ns, format!("{} ready", fault.service));
            }
            FaultAction::Pause => service.pause()?,
            FaultAction::Resume => service.resume()?,
            FaultAction::Stop | FaultAction::Kill => {}
        }
        Ok(())
    }
}
