//! JetStream publish: an event is acked when the stream has acknowledged it, by name and number.

use super::ack::PublishAck;
use super::stream::{Held, Stream};
use crate::mix::{Mix, MixEntry};
use crate::nats_request::Requests;
use crate::requests::{Answer, Asked, Judge, Ways};
use crate::wire::Message;
use eventbench_core::driver::{DriverDef, DriverError};
use eventbench_core::observe::{Causes, SeqSet};
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Settings of the driver. How many acknowledgements may be outstanding is the load's `workers`.
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
    /// The stream to make, or to find as it is described here; without it, one must be there.
    stream: Option<Stream>,
    /// Gives each event an id, by which the stream keeps a second one out; false if absent.
    #[serde(default)]
    ids: bool,
    /// How long a lost connection is tried again, which a killed node of a cluster asks for; not at all if absent.
    reconnect: Option<Duration>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "jetstream",
    about: "publishes to a JetStream stream; acked by the stream's acknowledgement",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Publish).to_value(),
    open: |settings, trial| {
        let (own, mix) = read(settings).map_err(|e| DriverError::new("jetstream", e))?;
        let held: Option<Held> = match &own.stream {
            Some(stream) => Some(stream.hold(&trial.variables, &trial.name)?),
            None => None,
        };
        let stream: Arc<[u8]> = own.stream.map_or_else(Vec::new, |s| s.name.into_bytes()).into();
        Ok(Box::new(Requests {
            mix: Arc::new(mix.over(trial.connections)),
            judge: Arc::new(move || Box::new(Acks::of(stream.clone()))),
            ways: Ways {
                timeout_ns: own.timeout.map_or(5_000_000_000, Duration::ns),
                reconnect_ns: own.reconnect.map_or(0, Duration::ns),
                ids: own.ids,
                codec: None,
            },
            _held: held,
        }))
    },
};

fn read(settings: &Settings) -> Result<(Publish, Mix), SettingsError> {
    let own: Publish = settings.read()?;
    if let Some(stream) = &own.stream {
        stream.check().map_err(|e| settings.error("stream", e))?;
    }
    let mix = Mix::read(settings, own.subject.as_deref(), own.payload.as_deref(), &own.mix)?;
    Ok((own, mix))
}

/// Numbers this much lower than the first one seen are still told apart: other connections' acknowledgements overtake.
const OVERTAKING: u64 = 1 << 16;

/// Reads acknowledgements and checks that they name one stream and that no number comes twice.
struct Acks {
    /// The stream that must acknowledge; the first one that does if empty.
    stream: Arc<[u8]>,
    first: Option<u64>,
    numbers: SeqSet,
    duplicate: u64,
    wrong: u64,
    refused: u64,
    causes: Causes,
}

impl Acks {
    fn of(stream: Arc<[u8]>) -> Acks {
        Acks {
            stream,
            first: None,
            numbers: SeqSet::default(),
            duplicate: 0,
            wrong: 0,
            refused: 0,
            causes: Causes::default(),
        }
    }

    /// What an acknowledgement that was read `at_ns` means.
    fn read(&mut self, payload: &[u8], at_ns: u64) -> Answer {
        let text = || String::from_utf8_lossy(payload).into_owned();
        let Some(ack) = PublishAck::read(payload) else {
            self.refused += 1;
            self.causes.note("refused by the stream", "", at_ns, text);
            return Answer::Rejected;
        };
        if self.stream.is_empty() {
            self.stream = ack.stream.into();
        }
        if ack.duplicate {
            self.duplicate += 1;
            return Answer::Acked;
        }
        let first = *self.first.get_or_insert(ack.seq.saturating_sub(OVERTAKING));
        let known = ack.seq >= first && !self.numbers.insert(ack.seq - first);
        if known || *self.stream != *ack.stream {
            self.wrong += 1;
            self.causes.note("wrong acknowledgement", "", at_ns, text);
            return Answer::Rejected;
        }
        Answer::Acked
    }
}

impl Judge for Acks {
    fn judge(&mut self, message: &Message<'_>, asked: &Asked<'_>) -> Answer {
        self.read(message.payload, asked.now_ns)
    }

    fn causes(&mut self) -> Causes {
        std::mem::take(&mut self.causes)
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("acks.duplicate", self.duplicate),
            ("acks.wrong", self.wrong),
            ("rejected.error", self.refused),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(acks: &mut Acks, payload: &str) -> Answer {
        acks.read(payload.as_bytes(), 0)
    }

    #[test]
    fn an_acknowledgement_counts_once_and_from_one_stream() {
        let mut acks = Acks::of(Arc::from(&b""[..]));
        for (text, answer) in [
            (r#"{"stream":"A","seq":70000}"#, Answer::Acked),
            (r#"{"stream":"A","seq":70001}"#, Answer::Acked),
            (r#"{"stream":"A","seq":69999}"#, Answer::Acked),
            (r#"{"stream":"A","seq":70001}"#, Answer::Rejected),
            (r#"{"stream":"A","seq":70001,"duplicate":true}"#, Answer::Acked),
            (r#"{"stream":"B","seq":70002}"#, Answer::Rejected),
            (r#"{"error":{"code":503}}"#, Answer::Rejected),
        ] {
            assert_eq!(judged(&mut acks, text), answer, "{text}");
        }
        assert_eq!(
            acks.extras(),
            [("acks.duplicate", 1), ("acks.wrong", 2), ("rejected.error", 1)]
        );
    }
}
