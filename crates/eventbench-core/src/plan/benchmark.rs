//! `benchmark`: one question, the load that asks it and the limits that judge the answer.

use super::{At, Fault, Grading, LimitEntry, Load, ProfileOverride, Search, Settings, Sweep};
use crate::units::Duration;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

/// A benchmark.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Its name, unique in the suite.
    pub name: At<String>,
    /// The question it answers, in a sentence.
    pub about: Option<String>,
    /// The id of the requirement it covers.
    pub requirement: Option<String>,
    /// The section of the report it stands in; the first tag if absent.
    pub category: Option<String>,
    /// Words to select it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How often it is run, each time with fresh processes, connections and files; the profile's or 3 if absent.
    pub trials: Option<u32>,
    /// What sends the events.
    pub drive: Settings,
    /// Where they must arrive; without it, the driver's own confirmation is their end.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "one_or_many_schema")]
    pub observe: Vec<Settings>,
    /// When they are meant to be sent.
    pub load: At<Load>,
    /// The same at several concurrencies, a benchmark for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<At<Sweep>>,
    /// A search for the highest rate at which limits hold; it goes before the rate of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<At<Search>>,
    /// How long after the last event the observers wait for what is missing; 5 s if absent.
    pub drain: Option<Duration>,
    /// The services it needs; all that are not `on_request` if absent.
    pub services: Option<Vec<At<String>>>,
    /// Whether it needs the broker; true if absent.
    pub broker: Option<bool>,
    /// Whether the broker must have JetStream, whatever `[broker.nats]` says.
    pub jetstream: Option<bool>,
    /// How many servers its broker has, whatever `[broker.nats]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<At<u32>>,
    /// What is done to services while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<At<Fault>>,
    /// A second variant, run interleaved (A B B A …) as the baseline of the overhead metrics.
    pub against: Option<Against>,
    /// What must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<At<LimitEntry>>,
    /// A scale of grades that a report shows beside the verdict; it decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<At<Grading>>,
    /// Changes for a profile.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub profile: IndexMap<String, ProfileOverride>,
}

/// The baseline variant of a comparison; what is absent is as in the benchmark.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Against {
    /// Its name in the report, such as "direct".
    pub name: String,
    /// What sends the events.
    pub drive: Option<Settings>,
    /// Where they must arrive.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "one_or_many_schema")]
    pub observe: Vec<Settings>,
    /// The services it needs.
    pub services: Option<Vec<At<String>>>,
    /// Whether it needs the broker.
    pub broker: Option<bool>,
}

impl Benchmark {
    /// The baseline variant as a benchmark of its own; `None` where there is none to compare with.
    pub fn baseline(&self) -> Option<Benchmark> {
        let against = self.against.as_ref()?;
        let mut other = self.clone();
        other.against = None;
        if let Some(drive) = &against.drive {
            other.drive = drive.clone();
        }
        if !against.observe.is_empty() {
            other.observe = against.observe.clone();
        }
        if against.services.is_some() {
            other.services = against.services.clone();
        }
        other.broker = against.broker.or(other.broker);
        Some(other)
    }

    /// The section of the report it stands in.
    pub fn category(&self) -> &str {
        self.category
            .as_deref()
            .or(self.tags.first().map(String::as_str))
            .unwrap_or("general")
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Settings>, D::Error> {
    struct Either;
    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = Vec<Settings>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table such as { driver = \"sqlite\", … } or a list of them")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Settings::from_map(map).map(|s| vec![s])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Either)
}

fn one_or_many_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<Settings>();
    json_schema!({ "oneOf": [one, { "type": "array", "items": one }] })
}
