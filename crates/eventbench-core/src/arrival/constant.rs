//! Constant arrival: evenly spaced events.

use super::{Arrival, duration, rate};
use crate::plan::Load;

/// Evenly spaced at a rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Events per second.
    pub rate_per_s: f64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

impl Constant {
    /// When event `k` is due.
    #[inline]
    pub fn due(&self, k: u64) -> Option<u64> {
        // Below 2^53 the product is exact to well under a nanosecond for every rate in use.
        let due = (k as f64 * (1e9 / self.rate_per_s)) as u64;
        (k < self.total()).then_some(due.min(self.duration_ns))
    }

    /// How many events there are.
    #[inline]
    pub fn total(&self) -> u64 {
        (self.rate_per_s * self.duration_ns as f64 / 1e9 + 1e-9).floor() as u64
    }
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    Ok(Arrival::Constant(Constant {
        rate_per_s: rate(load)?,
        duration_ns: duration(load)?,
    }))
}
