//! Closed loop: each worker sends its next event when the last one is done.
//!
//! Nothing says when an event *ought* to have been sent, so a stall of the system slows the load down with it and its
//! response time equals its service time. Reports say so beside the figure.

use super::{Arrival, duration};
use crate::plan::Load;

/// Workers in a closed loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// Events in flight at most.
    pub workers: u32,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    match load.workers {
        Some(workers) if workers > 0 => Ok(Arrival::Closed(Closed {
            workers,
            duration_ns: duration(load)?,
        })),
        _ => Err("arrival \"closed\" needs `workers` above zero, such as workers = 1".to_owned()),
    }
}
