//! Step arrival: constant rates one after the other.

use super::Arrival;
use crate::plan::Load;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Events per second.
    pub rate_per_s: f64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

/// Constant rates one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// The steps in order.
    pub steps: Vec<Step>,
    /// For each step: the events before it and its start.
    starts: Vec<(u64, u64)>,
    total: u64,
}

impl Steps {
    /// Lays the steps end to end.
    pub fn new(steps: Vec<Step>) -> Self {
        // Each step begins where the integral of the rate is, so a fraction of an event left by one is made up by the next.
        let (mut events, mut at_ns) = (0.0, 0);
        let starts: Vec<(u64, u64)> = steps
            .iter()
            .map(|step| {
                let start = (f64::floor(events + 1e-9) as u64, at_ns);
                events += step.rate_per_s * step.duration_ns as f64 / 1e9;
                at_ns += step.duration_ns;
                start
            })
            .collect();
        Self {
            starts,
            total: f64::floor(events + 1e-9) as u64,
            steps,
        }
    }

    /// When event `k` is due.
    pub fn due(&self, k: u64) -> Option<u64> {
        if k >= self.total() {
            return None;
        }
        let i = self.starts.partition_point(|s| s.0 <= k).checked_sub(1)?;
        let (step, (before, start)) = (self.steps.get(i)?, self.starts.get(i)?);
        let within = ((k - before) as f64 * (1e9 / step.rate_per_s)) as u64;
        Some(start + within.min(step.duration_ns))
    }

    /// How many events there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Length in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.steps.iter().map(|s| s.duration_ns).sum()
    }
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    let steps = load.steps.as_deref().unwrap_or_default();
    if steps.is_empty() {
        return Err(
            "arrival \"steps\" needs `steps`, such as steps = [{ rate = \"100/s\", duration = \"5s\" }]".to_owned(),
        );
    }
    if steps.iter().any(|s| s.rate.0 <= 0.0 || s.duration.ns() == 0) {
        return Err("each of `steps` needs a rate and a duration above zero".to_owned());
    }
    Ok(Arrival::Steps(Steps::new(
        steps
            .iter()
            .map(|s| Step {
                rate_per_s: s.rate.0,
                duration_ns: s.duration.ns(),
            })
            .collect(),
    )))
}
