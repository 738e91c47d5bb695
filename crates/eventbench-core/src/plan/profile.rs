//! `profile`: how much of a suite is run: quick, standard, soak, or a user's own.

use crate::units::{Duration, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A profile of a suite.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in a line.
    pub about: Option<String>,
    /// Trials of each benchmark that does not say otherwise.
    pub trials: Option<u32>,
    /// Factor on every duration (not on warm-ups or fault times).
    pub duration_scale: Option<f64>,
    /// Factor on every rate.
    pub rate_scale: Option<f64>,
    /// Only benchmarks of these names or tags.
    #[serde(default)]
    pub only: Vec<String>,
    /// None of these.
    #[serde(default)]
    pub skip: Vec<String>,
}

/// What a benchmark says of itself for one profile; it goes before the profile's own factors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileOverride {
    /// Trials.
    pub trials: Option<u32>,
    /// Length of the measured phase.
    pub duration: Option<Duration>,
    /// Length of the warm-up.
    pub warmup: Option<Duration>,
    /// Events per second.
    pub rate: Option<Rate>,
    /// Measured events at most.
    pub events: Option<u64>,
}
