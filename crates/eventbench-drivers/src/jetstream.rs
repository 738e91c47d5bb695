//! JetStream publish: an event is acked when the stream has acknowledged it.

use crate::mix::{Mix, MixEntry};
use crate::nats_request::Requests;
use crate::requests::Judge;
use eventbench_core::driver::{DriverDef, DriverError};
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::ticket::Outcome;
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publish {
    /// The subject to publish to; a stream must take it.
    subject: Option<String>,
    /// The payload template.
    payload: Option<String>,
    /// Several kinds of events in proportion, in place of `subject` and `payload`.
    #[serde(default)]
    mix: Vec<MixEntry>,
    /// How long an acknowledgement may take; 5 s if absent.
    timeout: Option<Duration>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "jetstream",
    about: "publishes to a JetStream stream; acked by the stream's acknowledgement",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Publish).to_value(),
    open: |settings, trial| {
        let (own, mix) = read(settings).map_err(|e| DriverError::new("jetstream", e))?;
        // An acknowledgement names its stream; an error, or an answer of somebody else, does not.
        let judge: Judge = Arc::new(|message| {
            let named = memchr::memmem::find(message.payload, b"\"stream\"").is_some();
            let error = memchr::memmem::find(message.payload, b"\"error\"").is_some();
            if named && !error {
                Outcome::Acked
            } else {
                Outcome::Rejected
            }
        });
        let timeout_ns = own.timeout.map_or(5_000_000_000, Duration::ns);
        Ok(Box::new(Requests {
            mix: Arc::new(mix.over(trial.connections)),
            judge,
            timeout_ns,
        }))
    },
};

fn read(settings: &Settings) -> Result<(Publish, Mix), SettingsError> {
    let own: Publish = settings.read()?;
    let mix = Mix::read(settings, own.subject.as_deref(), own.payload.as_deref(), &own.mix)?;
    Ok((own, mix))
}
