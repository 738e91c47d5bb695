//! A limit as a suite writes it: the expression, and how much it matters.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// How much a limit matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A miss beyond the warn margin fails the run (P0).
    #[default]
    Must,
    /// A miss makes the run a warning (P1).
    Should,
    /// A miss is shown (P2).
    May,
}

/// One of `limits`: a bare expression, or a table that says more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitEntry {
    /// The expression, such as `p(95) < 10ms`.
    pub that: String,
    /// How much it matters.
    pub severity: Severity,
    /// Samples below which there is no data to judge by; the statistic's own minimum when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<u64>,
}

impl<'de> Deserialize<'de> for LimitEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            that: String,
            #[serde(default)]
            severity: Severity,
            min_samples: Option<u64>,
        }
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = LimitEntry;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a limit such as \"p(95) < 10ms\", or { that = \"p(95) < 10ms\", severity = \"should\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<LimitEntry, E> {
                Ok(LimitEntry {
                    that: text.to_owned(),
                    severity: Severity::Must,
                    min_samples: None,
                })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<LimitEntry, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(LimitEntry {
                    that: table.that,
                    severity: table.severity,
                    min_samples: table.min_samples,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for LimitEntry {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let severity = generator.subschema_for::<Severity>();
        json_schema!({
            "description": "A limit such as \"p(95) < 10ms\", alone or in a table with its severity",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "required": ["that"],
                    "additionalProperties": false,
                    "properties": { "that": { "type": "string" }, "severity": severity, "min_samples": { "type": "integer", "minimum": 0 } }
                }
            ]
        })
    }
}
