//! NATS core publish: many connections, everything that is due in one write, confirmed by the server's PONG.
//!
//! A publication to core NATS is not acknowledged. What can be known is that the server has *processed* it: when it
//! answers a PING that was written after it. Events are settled as acked by that answer; how often is asked is set by
//! `flush_every`, so that confirmation costs little beside the load.

use crate::endpoint;
use crate::mix::{Mix, MixEntry, Route};
use crate::wire::{Connection, Deadline, Op, PollSet, encode};
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
use std::sync::Arc;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publish {
    /// The subject to publish to.
    subject: Option<String>,
    /// The payload template.
    payload: Option<String>,
    /// Several kinds of events in proportion, in place of `subject` and `payload`.
    #[serde(default)]
    mix: Vec<MixEntry>,
    /// How often a connection asks the server to confirm what it has processed; 10 ms if absent.
    flush_every: Option<Duration>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "nats",
    about: "publishes to core NATS; confirmed when the server answers a PING written after the event",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Publish).to_value(),
    open: |settings, trial| {
        let (mix, flush_every_ns) = read(settings).map_err(|e| DriverError::new("nats", e))?;
        Ok(Box::new(Publisher {
            mix: Arc::new(mix.over(trial.connections)),
            flush_every_ns,
        }))
    },
};

fn read(settings: &Settings) -> Result<(Mix, u64), SettingsError> {
    let own: Publish = settings.read()?;
    let mix = Mix::read(settings, own.subject.as_deref(), own.payload.as_deref(), &own.mix)?;
    Ok((mix, own.flush_every.map_or(10_000_000, Duration::ns)))
}

struct Publisher {
    mix: Arc<Mix>,
    flush_every_ns: u64,
}

impl Driver for Publisher {
    fn streams(&self) -> Vec<StreamSpec> {
        self.mix.streams()
    }

    fn promises_delivery(&self) -> bool {
        // The server has processed it; whether anybody was there to receive it is another matter.
        false
    }

    fn session(&self, trial: &Trial, lane: u32) -> Result<Box<dyn Session>, DriverError> {
        let mut links = Vec::new();
        for _ in (lane..trial.connections).step_by(trial.lanes as usize) {
            links.push(Link::new(endpoint::connect(&trial.variables, &trial.name)?));
        }
        let poll = PollSet::with_capacity(links.len());
        Ok(Box::new(Publishing {
            mix: self.mix.clone(),
            flush_every_ns: self.flush_every_ns,
            links,
            poll,
            payload: Vec::with_capacity(64 << 10),
            routes: self.mix.routes(trial.lanes),
        }))
    }

    fn template(&self, stream: u32) -> Option<&Template> {
        Some(&self.mix.entry(stream).template)
    }
}

/// One connection with the events that await its next PONG.
struct Link {
    connection: Connection,
    waiting: VecDeque<Ticket>,
    /// For the PING under way: its ticket number and how many of `waiting` it covers.
    asked: Option<(u64, usize)>,
    asked_at_ns: u64,
}

impl Link {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            waiting: VecDeque::with_capacity(4096),
            asked: None,
            asked_at_ns: 0,
        }
    }

    /// Asks for confirmation when there is something to confirm and the last question is answered and old enough.
    fn ask(&mut self, now_ns: u64, every_ns: u64) {
        if self.asked.is_none() && !self.waiting.is_empty() && now_ns >= self.asked_at_ns + every_ns {
            self.asked = Some((self.connection.ping(), self.waiting.len()));
            self.asked_at_ns = now_ns;
        }
    }

    /// When it wants to ask next; `None` when there is nothing to ask or a question is under way.
    fn asks_at(&self, every_ns: u64) -> Option<u64> {
        (self.asked.is_none() && !self.waiting.is_empty()).then_some(self.asked_at_ns + every_ns)
    }

    /// Reads what has arrived and settles what it confirms.
    fn read(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let mut error = None;
        self.connection.poll_read(Deadline::NOW).map_err(|e| self.broken(e))?;
        while let Some(op) = self.connection.next_op() {
            match op {
                Ok(Op::Err(text)) => error = Some(text.to_owned()),
                Ok(_) => {}
                Err(e) => return Err(self.broken(e)),
            }
        }
        if let Some((ping, covered)) = self.asked
            && self.connection.pongs() >= ping
        {
            self.asked = None;
            let now = lane.clock.now_ns();
            for ticket in self.waiting.drain(..covered) {
                lane.settle(ticket, Outcome::Acked, now);
            }
        }
        match error {
            // A violation says which subject is forbidden; every further event would meet the same.
            Some(text) => Err(DriverError::new(format!("NATS at {}", self.connection.address()), text)),
            None => Ok(()),
        }
    }

    fn broken(&self, error: crate::wire::WireError) -> DriverError {
        endpoint::broken(self.connection.address(), error)
    }
}

struct Publishing {
    mix: Arc<Mix>,
    flush_every_ns: u64,
    links: Vec<Link>,
    poll: PollSet,
    payload: Vec<u8>,
    routes: Vec<Route>,
}

impl Session for Publishing {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let result = self.run(lane);
        if result.is_err() {
            let now = lane.clock.now_ns();
            for ticket in self.links.iter_mut().flat_map(|l| l.waiting.drain(..)) {
                lane.settle(ticket, Outcome::Disconnected, now);
            }
        }
        lane.publish_progress(0);
        result
    }
}

impl Publishing {
    fn run(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        // In a closed loop the confirmation is what the next event waits for, so it is asked for at once.
        let every_ns = if lane.workers().is_some() {
            0
        } else {
            self.flush_every_ns
        };
        loop {
            let now = lane.clock.now_ns();
            self.send_due(lane, now)?;
            for link in &mut self.links {
                link.ask(now, every_ns);
                link.connection.try_flush().map_err(|e| link.broken(e))?;
            }
            if lane.signals.stopped() || now >= lane.deadline_ns {
                break;
            }
            let until = match lane.wake() {
                Wake::Ended if self.links.iter().all(|l| l.waiting.is_empty()) => break,
                Wake::Ended | Wake::WhenSettled => lane.deadline_ns,
                Wake::At(due) => due,
            };
            let asks = self
                .links
                .iter()
                .filter_map(|l| l.asks_at(every_ns))
                .min()
                .unwrap_or(u64::MAX);
            // At least five times a second, so that a stop is heard.
            self.wait(lane, until.min(asks).min(now + 200_000_000))?;
        }
        Ok(())
    }

    /// Sends everything that is due by `now_ns`, a buffer's worth at a time.
    fn send_due(&mut self, lane: &mut Lane, now_ns: u64) -> Result<(), DriverError> {
        let mut now = now_ns;
        let mut sent = 0;
        while let Some(mut ticket) = lane.take(now) {
            let route = self.routes[ticket.stream as usize];
            let entry = self.mix.by_index(route.entry);
            let link = &mut self.links[usize::from(route.link)];
            self.payload.clear();
            entry.template.render(&lane.content(&ticket, now), &mut self.payload);
            encode::publish(link.connection.out(), &entry.subject, None, &self.payload);
            lane.sent(&mut ticket, now);
            link.waiting.push_back(ticket);
            sent += 1;
            if link.connection.wants_flush() {
                link.ask(now, 0);
                let deadline = Deadline::at_ns(lane.deadline_ns);
                link.connection.flush(deadline).map_err(|e| link.broken(e))?;
                link.read(lane)?;
                // What was written has taken its time; the next buffer is sent at a later instant.
                now = lane.clock.now_ns();
                if lane.signals.stopped() {
                    break;
                }
            }
        }
        if sent > 0 {
            lane.publish_progress(sent);
        }
        Ok(())
    }

    fn wait(&mut self, lane: &mut Lane, until_ns: u64) -> Result<(), DriverError> {
        let deadline = Deadline::at_ns(until_ns);
        if let [link] = self.links.as_mut_slice() {
            if link.connection.poll_read(deadline).map_err(|e| link.broken(e))? {
                link.read(lane)?;
            }
            return Ok(());
        }
        let ready = self
            .poll
            .wait(self.links.iter().map(|l| &l.connection), deadline)
            .map_err(|e| DriverError::new("waiting for NATS", e))?;
        if ready > 0 {
            for (index, link) in self.links.iter_mut().enumerate() {
                if self.poll.is_ready(index) {
                    link.read(lane)?;
                }
            }
        }
        Ok(())
    }
}
