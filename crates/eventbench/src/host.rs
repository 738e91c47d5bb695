//! The real host: the machine's clock and environment, and where the tool keeps its files.
#![allow(clippy::disallowed_methods, reason = "this is the door that all others go through")]

use etcetera::BaseStrategy as _;
use eventbench_core::host::{Clock, Host};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine.
pub struct Machine;

impl Host for Machine {
    fn clock(&self) -> Clock {
        Clock::Monotonic
    }

    fn wall_unix_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// The search path for programs.
pub fn path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

/// Where fetched programs are kept: `EVENTBENCH_CACHE`, else the user's cache directory.
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("EVENTBENCH_CACHE").filter(|d| !d.is_empty()) {
        return Some(PathBuf::from(dir));
    }
    etcetera::choose_base_strategy()
        .ok()
        .map(|s| s.cache_dir().join("eventbench"))
}
