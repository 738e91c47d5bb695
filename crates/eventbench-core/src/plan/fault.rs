//! `fault`: what is done to a service while the load runs, and when.

use crate::units::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FaultAction {
    /// Ask it to end (SIGTERM) and wait for it.
    Stop,
    /// Start it again and wait until it is ready.
    Start,
    /// Stop, then start at once.
    Restart,
    /// End it without warning (SIGKILL).
    Kill,
    /// Freeze it (SIGSTOP).
    Pause,
    /// Let it go on (SIGCONT).
    Resume,
}

impl FaultAction {
    /// The word that suites use.
    pub fn word(self) -> &'static str {
        match self {
            FaultAction::Stop => "stop",
            FaultAction::Start => "start",
            FaultAction::Restart => "restart",
            FaultAction::Kill => "kill",
            FaultAction::Pause => "pause",
            FaultAction::Resume => "resume",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, from the start of the measured phase.
    pub at: Duration,
    /// What is done.
    pub action: FaultAction,
    /// To which service.
    pub service: String,
}
