//! NATS request/reply: one reply expected for each event.

use crate::codec::Codec;
use crate::jetstream::Held;
use crate::mix::{Mix, MixEntry};
use crate::requests::{Answer, Asked, Judge, NewJudge, Requesting, Ways};
use crate::told::{Tell, Told};
use crate::wire::Message;
use eventbench_core::driver::{Driver, DriverDef, DriverError, Session, Shares};
use eventbench_core::observe::Causes;
use eventbench_core::payload::Template;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::{StreamSpec, Trial};
use eventbench_core::units::Duration;
use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Settings of the driver. The pool of connections is the load's `connections`, used in turn.
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
    /// Counts the replies by the instance that gave them: the text between `after` and `until` in the reply.
    shares: Option<Instances>,
    /// Encodes each request and decodes each reply, as a client library does, the payload being JSON text: "json" or
    /// "msgpack". Without it the payload's bytes are sent as they are.
    codec: Option<Codec>,
    /// What is read from the replies, which must be JSON: times by the service's own clock, hops, an aggregate to check.
    tell: Option<Tell>,
    /// How long a lost connection is tried again, which a killed node of a cluster asks for; not at all if absent.
    reconnect: Option<Duration>,
}

/// Which instance has answered.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Instances {
    /// What stands before an instance's name in a reply.
    after: String,
    /// What stands behind it.
    until: String,
    /// How many there are.
    of: u32,
}

/// More names than this are not instances; those beyond are counted as "other".
const MOST_INSTANCES: usize = 64;

/// Counts replies by instance.
#[derive(Clone)]
struct Tellers {
    after: Finder<'static>,
    until: Finder<'static>,
    of: u32,
    answers: Vec<(Vec<u8>, u64)>,
}

impl Tellers {
    fn note(&mut self, payload: &[u8]) {
        let name = self.after.find(payload).and_then(|at| {
            let rest = &payload[at + self.after.needle().len()..];
            Some(&rest[..self.until.find(rest)?])
        });
        let name = name.unwrap_or(b"unknown");
        let full = self.answers.len() >= MOST_INSTANCES;
        match self.answers.iter_mut().find(|(known, _)| known == name) {
            Some((_, n)) => *n += 1,
            None if !full => self.answers.push((name.to_vec(), 1)),
            None => match self.answers.iter_mut().find(|(known, _)| known == b"other") {
                Some((_, n)) => *n += 1,
                None => self.answers.push((b"other".to_vec(), 1)),
            },
        }
    }

    fn shares(&self) -> Shares {
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Shares {
            instances: self.of,
            answers: self.answers.iter().map(|(n, count)| (name(n), *count)).collect(),
        }
    }
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "nats-request",
    about: "asks a subject and waits for the reply; no responder and refusals are rejections",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Request).to_value(),
    open: |settings, trial| {
        let (own, mix) = read(settings).map_err(|e| DriverError::new("nats-request", e))?;
        let finder = |text: Option<String>| text.map(|t| Finder::new(t.as_bytes()).into_owned());
        let tellers = own.shares.map(|instances| Tellers {
            after: Finder::new(instances.after.as_bytes()).into_owned(),
            until: Finder::new(instances.until.as_bytes()).into_owned(),
            of: instances.of,
            answers: Vec::new(),
        });
        let replies = Replies {
            expect: finder(own.expect),
            reject: finder(own.reject),
            codec: own.codec,
            tellers,
            told: own.tell.map(Told::new),
            errors: 0,
            causes: Causes::default(),
        };
        Ok(Box::new(Requests {
            mix: Arc::new(mix.over(trial.connections)),
            judge: Arc::new(move || Box::new(replies.clone())),
            ways: Ways {
                timeout_ns: own.timeout.map_or(5_000_000_000, Duration::ns),
                reconnect_ns: own.reconnect.map_or(0, Duration::ns),
                ids: false,
                codec: own.codec,
            },
            _held: None,
        }))
    },
};

fn read(settings: &Settings) -> Result<(Request, Mix), SettingsError> {
    let own: Request = settings.read()?;
    if let Some(Err(message)) = own.tell.as_ref().map(Tell::check) {
        return Err(settings.error("tell", message));
    }
    let payload = own.payload.as_deref().or(own.subject.as_ref().map(|_| ""));
    let mix = Mix::read(settings, own.subject.as_deref(), payload, &own.mix)?;
    Ok((own, mix))
}

/// What a reply means: an error by its header, or by what it holds and what it lacks.
#[derive(Clone)]
struct Replies {
    expect: Option<Finder<'static>>,
    reject: Option<Finder<'static>>,
    codec: Option<Codec>,
    tellers: Option<Tellers>,
    told: Option<Told>,
    errors: u64,
    causes: Causes,
}

impl Judge for Replies {
    fn judge(&mut self, message: &Message<'_>, asked: &Asked<'_>) -> Answer {
        let text = || String::from_utf8_lossy(message.payload).into_owned();
        // The service protocol of NATS marks an error reply by this header; a good reply has no headers to look through.
        if message.headers.is_some()
            && let Some(code) = message.header("Nats-Service-Error-Code")
        {
            self.errors += 1;
            let cause = format!("error {}", String::from_utf8_lossy(code).escape_debug());
            self.causes.note(&cause, "", asked.now_ns, || {
                let said = message.header("Nats-Service-Error");
                said.map_or_else(text, |said| String::from_utf8_lossy(said).into_owned())
            });
            return Answer::Rejected;
        }
        let readable = self.codec.is_none_or(|codec| codec.decodes(message.payload));
        let wanted = self.expect.as_ref().is_none_or(|f| f.find(message.payload).is_some());
        let unwanted = self.reject.as_ref().is_some_and(|f| f.find(message.payload).is_some());
        if let Some(tellers) = &mut self.tellers {
            tellers.note(message.payload);
        }
        let cause = match () {
            () if !readable => "not in the codec",
            () if !wanted => "not what was expected",
            () if unwanted => "what was to be rejected",
            () => match self.told.as_mut().map(|told| told.read(message.payload, asked)) {
                Some(Err(cause)) => {
                    self.causes.note(&cause, "", asked.now_ns, text);
                    return Answer::Rejected;
                }
                _ => return Answer::Acked,
            },
        };
        self.causes.note(cause, "", asked.now_ns, text);
        Answer::Rejected
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        vec![("rejected.error", self.errors)]
    }

    fn shares(&self) -> Option<Shares> {
        self.tellers.as_ref().map(Tellers::shares)
    }

    fn told(&mut self) -> Option<&mut Told> {
        self.told.as_mut()
    }

    fn causes(&mut self) -> Causes {
        std::mem::take(&mut self.causes)
    }
}

/// A driver of requests, whatever their replies mean.
pub struct Requests {
    /// What is asked.
    pub mix: Arc<Mix>,
    /// What a reply means.
    pub judge: NewJudge,
    /// How it is asked.
    pub ways: Ways,
    /// A stream that lives as long as the driver.
    pub _held: Option<Held>,
}

impl Driver for Requests {
    fn streams(&self) -> Vec<StreamSpec> {
        self.mix.streams()
    }

    fn session(&self, trial: &Trial, lane: u32) -> Result<Box<dyn Session>, DriverError> {
        Ok(Box::new(Requesting::open(
            self.mix.clone(),
            (self.judge)(),
            self.ways,
            trial,
            lane,
        )?))
    }

    fn template(&self, stream: u32) -> Option<&Template> {
        Some(&self.mix.entry(stream).template)
    }
}
