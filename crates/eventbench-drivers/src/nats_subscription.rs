//! A NATS subscription as observer: an event has ended when it arrives at a subscriber. The whole payload is checked.

use crate::endpoint;
use crate::wire::{Connection, Deadline, Op};
use eventbench_core::driver::{Driver, DriverError, Observer, ObserverDef};
use eventbench_core::payload::Content;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::view::View;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the observer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Subscription {
    /// The subject, with wildcards, or several.
    subject: OneOrMany,
    /// A queue group to take part in.
    queue: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The observer's row.
pub const OBSERVER: ObserverDef = ObserverDef {
    name: "nats",
    about: "a subscription: events end when they arrive there",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Subscription).to_value(),
    open: |settings, trial, driver| {
        let own = read(settings).map_err(|e| DriverError::new("observe nats", e))?;
        let mut connection = endpoint::connect(&trial.variables, &format!("{} observer", trial.name))?;
        let address = connection.address().to_owned();
        let broken = |e| endpoint::broken(&address, e);
        let subjects = match &own.subject {
            OneOrMany::One(subject) => std::slice::from_ref(subject),
            OneOrMany::Many(subjects) => subjects,
        };
        for subject in subjects {
            connection
                .sub(subject, own.queue.as_deref().map(str::as_bytes))
                .map_err(broken)?;
        }
        connection
            .settle(Deadline::after(Duration::from_secs(5)))
            .map_err(broken)?;
        Ok(Box::new(Subscriber {
            connection,
            driver,
            seed: trial.seed,
            epoch_ms: trial.epoch_ms,
            scratch: Vec::new(),
        }))
    },
};

fn read(settings: &Settings) -> Result<Subscription, SettingsError> {
    let own: Subscription = settings.read()?;
    let empty = match &own.subject {
        OneOrMany::One(subject) => subject.is_empty(),
        OneOrMany::Many(subjects) => subjects.is_empty() || subjects.iter().any(String::is_empty),
    };
    if empty {
        Err(settings.error("subject", "expected a subject such as \"bus.>\""))
    } else {
        Ok(own)
    }
}

struct Subscriber {
    connection: Connection,
    driver: Arc<dyn Driver>,
    seed: u64,
    epoch_ms: i64,
    scratch: Vec<u8>,
}

impl Observer for Subscriber {
    fn watch(&mut self, view: &mut View) -> Result<(), DriverError> {
        loop {
            let closing = view.closing();
            let until = if closing {
                Deadline::NOW
            } else {
                Deadline::at_ns(view.clock.now_ns() + 20_000_000)
            };
            let address = self.connection.address().to_owned();
            let arrived = self
                .connection
                .poll_read(until)
                .map_err(|e| endpoint::broken(&address, e))?;
            // Everything that one read brought was there at the instant of the read.
            let now = view.clock.now_ns();
            while let Some(op) = self.connection.next_op() {
                match op.map_err(|e| endpoint::broken(&address, e))? {
                    Op::Msg(message) => {
                        let Some(stamp) = view.sight(message.payload, now) else {
                            continue;
                        };
                        let content = Content {
                            stamp,
                            seed: self.seed,
                            epoch_ms: self.epoch_ms,
                        };
                        let intact = self
                            .driver
                            .template(stamp.stream)
                            .is_none_or(|t| t.matches(&content, message.payload, &mut self.scratch));
                        if !intact {
                            view.damaged();
                        }
                    }
                    Op::Err(text) => return Err(DriverError::new(format!("NATS at {address}"), text)),
                    _ => {}
                }
            }
            view.publish_progress();
            if closing && !arrived {
                return Ok(());
            }
        }
    }
}
