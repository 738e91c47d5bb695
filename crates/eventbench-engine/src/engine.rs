//! What every part of a run needs beside the plan.

use eventbench_core::driver::Registry;
use eventbench_core::host::{Clock, Host};
use eventbench_core::plan::Placement;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a run needs beside its plan.
pub struct Engine<'a> {
    /// Drivers, observers and readiness checks.
    pub registry: Registry,
    /// Clock and environment.
    pub host: &'a dyn Host,
    /// The program that `{self}` stands for.
    pub program: PathBuf,
    /// The nats-server for managed brokers.
    pub nats_server: Option<PathBuf>,
    /// Which cores each role is kept to; where absent the kernel chooses.
    pub placement: Option<Placement>,
    /// Set from outside to stop and keep what was measured.
    pub stop: &'a AtomicBool,
}

impl Engine<'_> {
    /// The clock.
    pub fn clock(&self) -> Clock {
        self.host.clock()
    }

    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
