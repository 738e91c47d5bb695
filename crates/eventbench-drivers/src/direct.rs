//! Direct mode: the same events handed over inside the service's own process, without a broker.
//!
//! The driver writes each event ahead of its due instant to the service's Unix socket; the service hands it to its own
//! store when it is due. So the events, their bytes and their schedule are those of the NATS path, and the difference
//! in cost is that of the path. An event counts as sent at its due instant when it was written before it.

use crate::mix::{Mix, MixEntry};
use crate::wire::encode;
use eventbench_core::driver::{Driver, DriverDef, DriverError, Session};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::payload::Template;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::ticket::{Outcome, Ticket};
use eventbench_core::trial::{StreamSpec, Trial};
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Direct {
    /// The service's socket, such as "{scratch}/direct.sock".
    socket: String,
    /// The subject that the event would have been published to.
    subject: Option<String>,
    /// The payload template.
    payload: Option<String>,
    /// Several kinds of events in proportion, in place of `subject` and `payload`.
    #[serde(default)]
    mix: Vec<MixEntry>,
    /// How long before it is due an event is written; 100 ms if absent.
    ahead: Option<Duration>,
    /// What is asked, about once a second, to know that everything before it was taken in; "bus.health" if absent.
    confirm: Option<String>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "direct",
    about: "hands events over inside the service's own process: the baseline without a broker",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Direct).to_value(),
    open: |settings, trial| {
        let (own, mix) = read(settings).map_err(|e| DriverError::new("direct", e))?;
        let socket = trial
            .variables
            .expand(&own.socket)
            .map_err(|e| DriverError::new("direct", e))?;
        Ok(Box::new(Handing {
            mix: Arc::new(mix.over(trial.connections)),
            socket,
            ahead_ns: own.ahead.map_or(100_000_000, Duration::ns),
            confirm: own.confirm.unwrap_or_else(|| "bus.health".to_owned()),
        }))
    },
};

fn read(settings: &Settings) -> Result<(Direct, Mix), SettingsError> {
    let own: Direct = settings.read()?;
    let mix = Mix::read(settings, own.subject.as_deref(), own.payload.as_deref(), &own.mix)?;
    Ok((own, mix))
}

struct Handing {
    mix: Arc<Mix>,
    socket: String,
    ahead_ns: u64,
    confirm: String,
}

impl Driver for Handing {
    fn streams(&self) -> Vec<StreamSpec> {
        self.mix.streams()
    }

    fn session(&self, _trial: &Trial, _lane: u32) -> Result<Box<dyn Session>, DriverError> {
        let failed = |e| DriverError::new(format!("direct socket {}", self.socket), e);
        let stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .map_err(failed)?;
        stream
            .set_write_timeout(Some(std::time::Duration::from_secs(10)))
            .map_err(failed)?;
        let replies = BufReader::new(stream.try_clone().map_err(failed)?);
        Ok(Box::new(Hand {
            mix: self.mix.clone(),
            stream,
            replies,
            ahead_ns: self.ahead_ns,
            confirm: format!("query {} 0\n\n", self.confirm).into_bytes(),
            socket: self.socket.clone(),
            out: Vec::with_capacity(256 << 10),
            payload: Vec::with_capacity(64 << 10),
            waiting: VecDeque::with_capacity(4096),
        }))
    }

    fn template(&self, stream: u32) -> Option<&Template> {
        Some(&self.mix.entry(stream).template)
    }
}

struct Hand {
    mix: Arc<Mix>,
    stream: UnixStream,
    replies: BufReader<UnixStream>,
    ahead_ns: u64,
    confirm: Vec<u8>,
    socket: String,
    out: Vec<u8>,
    payload: Vec<u8>,
    waiting: VecDeque<Ticket>,
}

impl Session for Hand {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        if lane.workers().is_some() {
            return Err(DriverError::new(
                "direct",
                "events are handed over at their due instants, which a closed loop does not have; use an open arrival",
            ));
        }
        let result = self.run(lane);
        let now = lane.clock.now_ns();
        let outcome = if result.is_ok() {
            Outcome::Acked
        } else {
            Outcome::Disconnected
        };
        if !lane.signals.stopped() {
            for ticket in self.waiting.drain(..) {
                lane.settle(ticket, outcome, now);
            }
        }
        lane.publish_progress(0);
        result
    }
}

impl Hand {
    fn run(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let mut confirm_at = lane.clock.now_ns() + 1_000_000_000;
        loop {
            let now = lane.clock.now_ns();
            if lane.signals.stopped() || now >= lane.deadline_ns {
                return Ok(());
            }
            self.write_ahead(lane, now)?;
            if now >= confirm_at {
                // Everything whose due instant had passed before the question was taken in.
                self.ask()?;
                while let Some(ticket) = self.waiting.pop_front_if(|t| t.intended_ns < now) {
                    lane.settle(ticket, Outcome::Acked, now);
                }
                confirm_at = now + 1_000_000_000;
            }
            match lane.wake() {
                // Written a whole look-ahead at a time: one wake-up for many events.
                Wake::At(due) => lane.clock.sleep_until(
                    due.saturating_sub(self.ahead_ns)
                        .max(now + self.ahead_ns / 4)
                        .min(now + 200_000_000),
                ),
                Wake::Ended | Wake::WhenSettled => break,
            }
        }
        let last_due = self.waiting.back().map_or(0, |t| t.intended_ns);
        while lane.clock.now_ns() < last_due && !lane.signals.stopped() {
            lane.clock.sleep_until(last_due.min(lane.clock.now_ns() + 200_000_000));
        }
        self.ask()
    }

    fn write_ahead(&mut self, lane: &mut Lane, now_ns: u64) -> Result<(), DriverError> {
        let mut sent = 0;
        while let Some(mut ticket) = lane.take(now_ns + self.ahead_ns) {
            let entry = self.mix.entry(ticket.stream);
            let sent_ns = now_ns.max(ticket.intended_ns);
            self.payload.clear();
            entry
                .template
                .render(&lane.content(&ticket, sent_ns), &mut self.payload);
            encode::number(&mut self.out, ticket.intended_ns);
            self.out.push(b' ');
            self.out.extend_from_slice(&entry.subject);
            self.out.push(b' ');
            encode::number(&mut self.out, self.payload.len() as u64);
            self.out.push(b'\n');
            self.out.extend_from_slice(&self.payload);
            self.out.push(b'\n');
            lane.sent(&mut ticket, sent_ns);
            self.waiting.push_back(ticket);
            sent += 1;
            if self.out.len() >= 192 << 10 {
                self.write_out()?;
            }
        }
        self.write_out()?;
        if sent > 0 {
            lane.publish_progress(sent);
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), DriverError> {
        let result = self
            .stream
            .write_all(&self.out)
            .map_err(|e| DriverError::new(format!("direct socket {}", self.socket), e));
        self.out.clear();
        result
    }

    fn ask(&mut self) -> Result<(), DriverError> {
        let failed = |e| DriverError::new(format!("direct socket {}", self.socket), e);
        self.stream.write_all(&self.confirm).map_err(failed)?;
        let mut line = String::new();
        if self.replies.read_line(&mut line).map_err(failed)? == 0 {
            return Err(DriverError::new(
                format!("direct socket {}", self.socket),
                "the service closed it",
            ));
        }
        Ok(())
    }
}
