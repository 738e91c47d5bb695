//! A suite file as it is written.

use super::{At, Benchmark, Brokers, PlacementSetting, PlanErrors, Profile, Service, Source};
use crate::units::{Duration, Ratio};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A whole suite file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What holds for all benchmarks.
    pub suite: SuiteHead,
    /// The broker.
    #[serde(default)]
    pub broker: Brokers,
    /// The systems under test, started in the order of the file.
    #[serde(default)]
    pub service: IndexMap<String, At<Service>>,
    /// The questions.
    #[serde(default)]
    pub benchmark: Vec<Benchmark>,
    /// How much of it is run.
    #[serde(default)]
    pub profile: IndexMap<String, Profile>,
}

/// `[suite]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteHead {
    /// Its name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: Option<String>,
    /// A miss by less than this share of the limit is a warning; 20 % if absent.
    #[serde(default = "default_warn_margin")]
    pub warn_margin: Ratio,
    /// A spread between trials beyond this share of the median raises a warning; 10 % if absent.
    #[serde(default = "default_spread")]
    pub max_spread: Ratio,
    /// The pacer may be this late at its 99th percentile before the run is invalid; 20 ms if absent.
    #[serde(default = "default_lateness")]
    pub max_lateness: Duration,
    /// Which cores broker, services and instrument are kept to: "free" (the default), "pinned", or core lists.
    #[serde(default = "default_placement", skip_serializing_if = "is_free")]
    pub placement: At<PlacementSetting>,
    /// The figures that decide a comparison, at most three, such as "response_time p(50)".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<At<String>>,
    /// The change of those figures that a comparison tolerates; 5 % if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Ratio>,
    /// The seed of payloads and schedules; 1 if absent.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

fn default_warn_margin() -> Ratio {
    Ratio(0.2)
}

fn default_spread() -> Ratio {
    Ratio(0.1)
}

fn default_lateness() -> Duration {
    Duration(20e6)
}

fn default_seed() -> u64 {
    1
}

fn default_placement() -> At<PlacementSetting> {
    PlacementSetting::default().into()
}

fn is_free(placement: &At<PlacementSetting>) -> bool {
    placement.is_free()
}

impl Suite {
    /// Reads a suite file.
    ///
    /// # Errors
    /// Points at the line of what is unknown, missing or of the wrong kind.
    pub fn parse(source: &Source) -> Result<Suite, PlanErrors> {
        toml::from_str(&source.text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', "; ");
            let mut wrong = source.error(error.span().unwrap_or(0..0), message);
            if wrong.message.starts_with("unknown field") {
                wrong = wrong.with_help("`eventbench schema` prints everything a suite file may hold");
            }
            PlanErrors {
                source: source.clone(),
                errors: vec![wrong],
            }
        })
    }
}
