//! Ramp arrival: a rate that changes linearly.

use super::{Arrival, duration};
use crate::plan::Load;

/// From one rate to another, linearly.
#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    /// Events per second at the start.
    pub from_per_s: f64,
    /// Events per second at the end.
    pub to_per_s: f64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

impl Ramp {
    /// When event `k` is due: the t at which the integral of the rate, `a t + (b - a) t² / 2T`, reaches k.
    pub fn due(&self, k: u64) -> Option<u64> {
        if k >= self.total() {
            return None;
        }
        let whole_s = self.duration_ns as f64 / 1e9;
        let slope = (self.to_per_s - self.from_per_s) / whole_s;
        let root = (self.from_per_s.powi(2) + 2.0 * slope * k as f64).max(0.0).sqrt();
        // The usual quadratic formula loses its digits for a small slope; this form of it does not.
        let t = if k == 0 {
            0.0
        } else {
            2.0 * k as f64 / (self.from_per_s + root)
        };
        Some(((t * 1e9) as u64).min(self.duration_ns))
    }

    /// How many events there are.
    pub fn total(&self) -> u64 {
        ((self.from_per_s + self.to_per_s) / 2.0 * self.duration_ns as f64 / 1e9 + 1e-9).floor() as u64
    }
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    let (Some(from), Some(to)) = (load.from, load.to) else {
        return Err("arrival \"ramp\" needs `from` and `to`, such as from = \"10/s\", to = \"1000/s\"".to_owned());
    };
    if from.0 <= 0.0 && to.0 <= 0.0 {
        return Err("one of `from` and `to` must be above zero".to_owned());
    }
    Ok(Arrival::Ramp(Ramp {
        from_per_s: from.0,
        to_per_s: to.0,
        duration_ns: duration(load)?,
    }))
}
