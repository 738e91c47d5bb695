//! `service`: a system under test that the run starts, and how to tell that it is ready.

use super::Settings;
use crate::units::Duration;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Program and arguments; variables such as {self}, {scratch} and {broker.nats.url} are filled in.
    pub run: Vec<String>,
    /// How to tell that it is ready, such as { subject = "bus.health" }; without it, a process that runs is ready.
    pub ready: Option<Settings>,
    /// How long it may take until it is ready; 10 s if absent.
    pub ready_within: Option<Duration>,
    /// How long it may take to end after SIGTERM; 5 s if absent.
    pub stop_within: Option<Duration>,
    /// Environment variables beyond those inherited.
    #[serde(default)]
    pub env: IndexMap<String, String>,
    /// Started only for benchmarks that name it in `services`.
    #[serde(default)]
    pub on_request: bool,
}
