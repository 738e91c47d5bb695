//! NATS request/reply: one reply expected for each event.

use crate::mix::{Mix, MixEntry};
use crate::requests::{Judge, Requesting};
use eventbench_core::driver::{Driver, DriverDef, DriverError, Session};
use eventbench_core::payload::Template;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::ticket::Outcome;
use eventbench_core::trial::{StreamSpec, Trial};
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The subject to ask.
    subject: Option<String>,
    /// The payload template; may be empty.
    payload: Option<String>,
    /// Several kinds of requests in proportion, in place of `subject` and `payload`.
    #[serde(default)]
    mix: Vec<MixEntry>,
    /// How long a reply may take; 5 s if absent.
    timeout: Option<Duration>,
    /// A reply that does not contain this text is a rejection.
    expect: Option<String>,
    /// A reply that contains this text is a rejection.
    reject: Option<String>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "nats-request",
    about: "asks a subject and waits for the reply; no responder and refusals are rejections",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Request).to_value(),
    open: |settings, trial| {
        let (own, mix) = read(settings).map_err(|e| DriverError::new("nats-request", e))?;
        let expect = own
            .expect
            .map(|t| memchr::memmem::Finder::new(t.as_bytes()).into_owned());
        let reject = own
            .reject
            .map(|t| memchr::memmem::Finder::new(t.as_bytes()).into_owned());
        let judge: Judge = Arc::new(move |message| {
            let wanted = expect.as_ref().is_none_or(|f| f.find(message.payload).is_some());
            let unwanted = reject.as_ref().is_some_and(|f| f.find(message.payload).is_some());
            if wanted && !unwanted {
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

fn read(settings: &Settings) -> Result<(Request, Mix), SettingsError> {
    let own: Request = settings.read()?;
    let payload = own.payload.as_deref().or(own.subject.as_ref().map(|_| ""));
    let mix = Mix::read(settings, own.subject.as_deref(), payload, &own.mix)?;
    Ok((own, mix))
}

/// A driver of requests, whatever their replies mean.
pub struct Requests {
    /// What is asked.
    pub mix: Arc<Mix>,
    /// What a reply means.
    pub judge: Judge,
    /// How long it may take.
    pub timeout_ns: u64,
}

impl Driver for Requests {
    fn streams(&self) -> Vec<StreamSpec> {
        self.mix.streams()
    }

    fn session(&self, trial: &Trial, lane: u32) -> Result<Box<dyn Session>, DriverError> {
        Ok(Box::new(Requesting::open(
            self.mix.clone(),
            self.judge.clone(),
            self.timeout_ns,
            trial,
            lane,
        )?))
    }

    fn template(&self, stream: u32) -> Option<&Template> {
        Some(&self.mix.entry(stream).template)
    }
}
