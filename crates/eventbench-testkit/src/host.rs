//! A virtual host: time that only sleeping moves, and an environment of one's own.

use eventbench_core::host::{Clock, Host};
use std::collections::BTreeMap;

/// A machine without time and surroundings.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    clock: Clock,
    env: BTreeMap<String, String>,
}

impl VirtualHost {
    /// With an empty environment.
    pub fn new() -> Self {
        Self {
            clock: Clock::virtual_time(),
            env: BTreeMap::new(),
        }
    }

    /// The same with an environment variable.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Default for VirtualHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for VirtualHost {
    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn wall_unix_ms(&self) -> i64 {
        // An afternoon of 2026, plus what has been slept.
        1_795_247_999_000 + (self.clock.now_ns() / 1_000_000) as i64
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}
