//! Burst arrival: many events at one instant.

use super::{Arrival, duration};
use crate::plan::Load;

/// A number of events at one instant, once or again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Burst {
    /// Events in a burst.
    pub size: u64,
    /// From one burst to the next in nanoseconds; `None` for a single one.
    pub every_ns: Option<u64>,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

impl Burst {
    /// When event `k` is due.
    pub fn due(&self, k: u64) -> Option<u64> {
        (k < self.total()).then(|| k / self.size * self.every_ns.unwrap_or(0))
    }

    /// How many events there are.
    pub fn total(&self) -> u64 {
        self.size * self.every_ns.map_or(1, |every| self.duration_ns.div_ceil(every))
    }
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    let size = match load.size {
        Some(size) if size > 0 => size,
        _ => return Err("arrival \"burst\" needs `size` above zero, such as size = 1000".to_owned()),
    };
    if load.every.is_some_and(|e| e.ns() == 0) {
        return Err("`every` must be above zero".to_owned());
    }
    Ok(Arrival::Burst(Burst {
        size,
        every_ns: load.every.map(|e| e.ns()),
        duration_ns: duration(load)?,
    }))
}
