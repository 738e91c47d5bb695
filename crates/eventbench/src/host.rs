//! The real host: the machine's clock and environment, and where the tool keeps its files.
#![allow(clippy::disallowed_methods, reason = "this is the door that all others go through")]

use etcetera::BaseStrategy as _;
use eventbench_core::host::{Clock, Host};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
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
        variable(name)
    }
}

/// What the project's configuration says of variables, by name: the value, and the place where it stands.
static UNDERLAY: OnceLock<BTreeMap<String, (String, String)>> = OnceLock::new();

/// Lays variables under those of the environment, once, before anything is read: a variable of the environment goes before.
pub fn lay_under(variables: BTreeMap<String, (String, String)>) {
    // A second time would mean two configurations, of which the first has been acted on already.
    let _ = UNDERLAY.set(variables);
}

/// A variable of the environment, or else of the project's configuration.
pub fn variable(name: &str) -> Option<String> {
    own_env(name).or_else(|| UNDERLAY.get()?.get(name).map(|(value, _)| value.clone()))
}

/// A variable of the environment alone.
pub fn own_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where the project's configuration sets a variable, if it is what counts.
pub fn laid_by(name: &str) -> Option<&'static str> {
    let (_, place) = UNDERLAY.get()?.get(name)?;
    own_env(name).is_none().then_some(place.as_str())
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
