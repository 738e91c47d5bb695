//! Requests over NATS: a reply subject for each event in flight, an outcome for each reply, a time-out for each silence.
//! What a reply means is its caller's to say.

use crate::codec::Codec;
use crate::endpoint;
use crate::mix::{Mix, Route};
use crate::told::Told;
use crate::wire::{Connection, Deadline, Message, Op, PollSet, WireError, encode};
use eventbench_core::driver::{DriverError, Session, Shares};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::{Causes, HopTimes};
use eventbench_core::payload::{Content, Template};
use eventbench_core::stamp::Stamp;
use eventbench_core::ticket::{Outcome, Ticket};
use eventbench_core::trial::{Trial, Variables};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a reply comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    Acked,
    /// A refusal.
    Rejected,
}

/// The request that a reply belongs to.
pub struct Asked<'a> {
    /// Its ticket.
    pub ticket: &'a Ticket,
    /// What its payload was derived from.
    pub content: Content,
    /// The template of its payload.
    pub template: &'a Template,
    /// When the reply was read.
    pub now_ns: u64,
}

/// What replies mean; each lane has one of its own.
pub trait Judge: Send {
    /// What one reply means. Why it is a refusal is the judge's to note.
    fn judge(&mut self, message: &Message<'_>, asked: &Asked<'_>) -> Answer;

    /// What was counted beside, as (metric id, value).
    fn extras(&self) -> Vec<(&'static str, u64)>;

    /// How often each instance has answered, where that was asked for.
    fn shares(&self) -> Option<Shares> {
        None
    }

    /// What replies told beside.
    fn told(&mut self) -> Option<&mut Told> {
        None
    }

    /// Why replies were refusals.
    fn causes(&mut self) -> Causes {
        Causes::default()
    }
}

/// Makes a judge for a lane.
pub type NewJudge = Arc<dyn Fn() -> Box<dyn Judge> + Send + Sync>;

/// How requests are made.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// How long a reply may take.
    pub timeout_ns: u64,
    /// How long a lost connection is tried again; 0 ends the lane instead.
    pub reconnect_ns: u64,
    /// Whether each event carries an id by which a stream keeps a second one out.
    pub ids: bool,
    /// What each payload is encoded with.
    pub codec: Option<Codec>,
}

/// Slots of events in flight on one connection.
struct Slot {
    ticket: Option<Ticket>,
    generation: u32,
}

struct Link {
    connection: Connection,
    inbox: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// (slot, generation, sent) in the order of sending, so that the oldest is found first.
    order: VecDeque<(u32, u32, u64)>,
    in_flight: usize,
}

/// A lane that sends requests.
pub struct Requesting {
    mix: Arc<Mix>,
    judge: Box<dyn Judge>,
    ways: Ways,
    variables: Variables,
    name: String,
    links: Vec<Link>,
    poll: PollSet,
    payload: Vec<u8>,
    encoded: Vec<u8>,
    headers: Vec<u8>,
    reply: Vec<u8>,
    routes: Vec<Route>,
    settled: Vec<(Ticket, Outcome)>,
    no_responder: u64,
    reconnects: u64,
    causes: Causes,
}

/// Why a turn of the loop could not be finished.
enum Trouble {
    /// A connection is gone.
    Lost { link: usize, error: WireError },
    /// Nothing of this kind would go any better a second time.
    Fatal(DriverError),
}

impl Requesting {
    /// Opens the connections of a lane and subscribes to their inboxes.
    pub fn open(
        mix: Arc<Mix>,
        judge: Box<dyn Judge>,
        ways: Ways,
        trial: &Trial,
        lane: u32,
    ) -> Result<Requesting, DriverError> {
        let mut links = Vec::new();
        for index in (lane..trial.connections).step_by(trial.lanes as usize) {
            // The number of the trial keeps inboxes of different trials apart.
            let inbox = format!("_INBOX.eb{:x}.{:x}.{index}.", std::process::id(), trial.number).into_bytes();
            links.push(Link {
                connection: subscribed(&trial.variables, &trial.name, &inbox)?,
                inbox,
                slots: Vec::with_capacity(1024),
                free: Vec::with_capacity(1024),
                order: VecDeque::with_capacity(1024),
                in_flight: 0,
            });
        }
        let poll = PollSet::with_capacity(links.len());
        let routes = mix.routes(trial.lanes);
        Ok(Requesting {
            mix,
            judge,
            ways,
            variables: trial.variables.clone(),
            name: trial.name.clone(),
            links,
            poll,
            payload: Vec::with_capacity(64 << 10),
            encoded: Vec::new(),
            headers: Vec::with_capacity(128),
            reply: Vec::with_capacity(128),
            routes,
            settled: Vec::with_capacity(1024),
            no_responder: 0,
            reconnects: 0,
            causes: Causes::default(),
        })
    }

    fn run(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        loop {
            match self.turn(lane) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Lost { link, error }) => self.reconnect(lane, link, error)?,
            }
        }
    }

    /// Sends what is due, gives up what has waited too long, and waits for replies; `false` when there is nothing left.
    fn turn(&mut self, lane: &mut Lane) -> Result<bool, Trouble> {
        let now = lane.clock.now_ns();
        self.send_due(lane, now)?;
        self.time_out(lane, now);
        if lane.signals.stopped() || now >= lane.deadline_ns {
            return Ok(false);
        }
        let open = self.links.iter().any(|l| l.in_flight > 0);
        let until = match lane.wake() {
            Wake::Ended if !open => return Ok(false),
            Wake::Ended | Wake::WhenSettled => lane.deadline_ns,
            Wake::At(due) if due <= now && lane.workers().is_some() => return Ok(true),
            Wake::At(due) => due,
        };
        let oldest = self
            .links
            .iter()
            .filter_map(|l| l.order.front())
            .map(|o| o.2 + self.ways.timeout_ns)
            .min()
            .unwrap_or(u64::MAX);
        self.wait(lane, until.min(oldest).min(now + 200_000_000))?;
        Ok(true)
    }

    /// Settles what was under way on a lost connection and makes it again, with the next server that answers.
    fn reconnect(&mut self, lane: &mut Lane, index: usize, error: WireError) -> Result<(), DriverError> {
        let begun = lane.clock.now_ns();
        let link = &mut self.links[index];
        if self.ways.reconnect_ns == 0 || !is_loss(&error) {
            return Err(endpoint::broken(link.connection.address(), error));
        }
        for (number, slot) in link.slots.iter_mut().enumerate() {
            if let Some(ticket) = slot.ticket.take() {
                // An answer that still comes belongs to nobody.
                slot.generation = slot.generation.wrapping_add(1);
                link.free.push(number as u32);
                self.causes.note("connection lost", "", begun, || error.to_string());
                lane.settle(ticket, Outcome::Disconnected, begun);
            }
        }
        link.in_flight = 0;
        link.order.clear();
        loop {
            match subscribed(&self.variables, &self.name, &link.inbox) {
                Ok(connection) => {
                    link.connection = connection;
                    self.reconnects += 1;
                    return Ok(());
                }
                Err(e) => {
                    let now = lane.clock.now_ns();
                    if now >= begun + self.ways.reconnect_ns || now >= lane.deadline_ns || lane.signals.stopped() {
                        return Err(e);
                    }
                    // Refused at once while no server listens: asked again a hundred times a second.
                    lane.clock.sleep_until(now + 10_000_000);
                }
            }
        }
    }

    fn send_due(&mut self, lane: &mut Lane, now_ns: u64) -> Result<(), Trouble> {
        let mut now = now_ns;
        let mut sent = 0;
        while let Some(mut ticket) = lane.take(now) {
            let route = self.routes[ticket.stream as usize];
            let index = usize::from(route.link);
            let entry = self.mix.by_index(route.entry);
            let link = &mut self.links[index];
            self.payload.clear();
            entry.template.render(&lane.content(&ticket, now), &mut self.payload);
            if let Some(codec) = self.ways.codec {
                codec.encode(&mut self.payload, &mut self.encoded);
            }
            lane.sent(&mut ticket, now);
            if self.ways.ids {
                id_header(&mut self.headers, &lane.content(&ticket, now).stamp);
            }
            link.hold(ticket, now, &mut self.reply);
            let (out, reply) = (link.connection.out(), Some(self.reply.as_slice()));
            if self.ways.ids {
                encode::publish_with_headers(out, &entry.subject, reply, &self.headers, &self.payload);
            } else {
                encode::publish(out, &entry.subject, reply, &self.payload);
            }
            sent += 1;
            if link.connection.wants_flush() {
                let deadline = Deadline::at_ns(lane.deadline_ns);
                link.connection.flush(deadline).map_err(lost(index))?;
                self.read(lane, index)?;
                now = lane.clock.now_ns();
                if lane.signals.stopped() {
                    break;
                }
            }
        }
        if sent > 0 {
            lane.publish_progress(sent);
            for (index, link) in self.links.iter_mut().enumerate() {
                link.connection.try_flush().map_err(lost(index))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, lane: &mut Lane, until_ns: u64) -> Result<(), Trouble> {
        let deadline = Deadline::at_ns(until_ns);
        if let [link] = self.links.as_mut_slice() {
            if link.connection.poll_read(deadline).map_err(lost(0))? {
                self.read(lane, 0)?;
            }
            return Ok(());
        }
        let ready = self
            .poll
            .wait(self.links.iter().map(|l| &l.connection), deadline)
            .map_err(|e| Trouble::Fatal(DriverError::new("waiting for NATS", e)))?;
        if ready > 0 {
            for index in 0..self.links.len() {
                if self.poll.is_ready(index) {
                    self.read(lane, index)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what has arrived on a connection and settles what it answers. All of it is seen at one instant: that of the read.
    fn read(&mut self, lane: &mut Lane, index: usize) -> Result<(), Trouble> {
        let link = &mut self.links[index];
        link.connection.poll_read(Deadline::NOW).map_err(lost(index))?;
        let now = lane.clock.now_ns();
        let Link {
            connection,
            inbox,
            slots,
            free,
            in_flight,
            ..
        } = link;
        loop {
            let op = match connection.next_op() {
                None => break,
                Some(Ok(op)) => op,
                Some(Err(e)) => return Err(lost(index)(e)),
            };
            match op {
                Op::Msg(message) => {
                    let Some((slot, generation)) = message.subject.strip_prefix(inbox.as_slice()).and_then(token)
                    else {
                        continue;
                    };
                    let Some(held) = slots.get_mut(slot as usize).filter(|s| s.generation == generation) else {
                        continue;
                    };
                    if let Some(ticket) = held.ticket.take() {
                        // No responder is an answer of the server itself.
                        let outcome = if message.status().is_some() {
                            self.no_responder += 1;
                            let subject = &self.mix.entry(ticket.stream).subject;
                            self.causes.note("no responder", "", now, || {
                                format!("nobody listens on {}", String::from_utf8_lossy(subject))
                            });
                            Outcome::Rejected
                        } else {
                            let asked = Asked {
                                content: lane.content(&ticket, ticket.sent_ns),
                                ticket: &ticket,
                                template: &self.mix.entry(ticket.stream).template,
                                now_ns: now,
                            };
                            match self.judge.judge(&message, &asked) {
                                Answer::Acked => Outcome::Acked,
                                Answer::Rejected => Outcome::Rejected,
                            }
                        };
                        held.generation = held.generation.wrapping_add(1);
                        free.push(slot);
                        *in_flight -= 1;
                        self.settled.push((ticket, outcome));
                    }
                }
                Op::Err(text) => {
                    let cause = text.to_owned();
                    let error = DriverError::new(format!("NATS at {}", connection.address()), cause);
                    return Err(Trouble::Fatal(error));
                }
                _ => {}
            }
        }
        for (ticket, outcome) in self.settled.drain(..) {
            lane.settle(ticket, outcome, now);
        }
        Ok(())
    }

    fn time_out(&mut self, lane: &mut Lane, now_ns: u64) {
        for link in &mut self.links {
            while let Some((slot, generation, sent_ns)) = link.order.front().copied() {
                let held = link
                    .slots
                    .get_mut(slot as usize)
                    .filter(|s| s.generation == generation && s.ticket.is_some());
                match held {
                    Some(_) if now_ns < sent_ns + self.ways.timeout_ns => break,
                    Some(held) => {
                        held.generation = held.generation.wrapping_add(1);
                        if let Some(ticket) = held.ticket.take() {
                            let limit_ns = self.ways.timeout_ns;
                            self.causes.note("no reply in time", "", now_ns, || {
                                format!("none within {} ms", limit_ns / 1_000_000)
                            });
                            lane.settle(ticket, Outcome::TimedOut, now_ns);
                        }
                        link.free.push(slot);
                        link.in_flight -= 1;
                    }
                    None => {}
                }
                link.order.pop_front();
            }
        }
    }
}

impl Link {
    /// Keeps a ticket and writes the subject that its reply will come to.
    fn hold(&mut self, ticket: Ticket, now_ns: u64, reply: &mut Vec<u8>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                ticket: None,
                generation: 0,
            });
            self.slots.len() as u32 - 1
        });
        let held = &mut self.slots[slot as usize];
        held.ticket = Some(ticket);
        reply.clear();
        reply.extend_from_slice(&self.inbox);
        encode::number(reply, u64::from(held.generation) << 32 | u64::from(slot));
        self.order.push_back((slot, held.generation, now_ns));
        self.in_flight += 1;
        // Answered events leave their places in `order` behind; they go when they come to the front.
        while let Some((slot, generation, _)) = self.order.front().copied() {
            let answered = self
                .slots
                .get(slot as usize)
                .is_none_or(|s| s.generation != generation || s.ticket.is_none());
            if !answered {
                break;
            }
            self.order.pop_front();
        }
    }
}

/// A connection to the run's broker that hears what comes to its inbox.
fn subscribed(variables: &Variables, name: &str, inbox: &[u8]) -> Result<Connection, DriverError> {
    let mut connection = endpoint::connect(variables, name)?;
    let all = [inbox, b"*"].concat();
    let address = connection.address().to_owned();
    let broken = |e| endpoint::broken(&address, e);
    connection.sub(&all, None).map_err(broken)?;
    connection
        .settle(Deadline::after(std::time::Duration::from_secs(5)))
        .map_err(broken)?;
    Ok(connection)
}

fn lost(link: usize) -> impl Fn(WireError) -> Trouble {
    move |error| Trouble::Lost { link, error }
}

/// Whether an error says that the connection is gone, rather than that something on it was wrong.
fn is_loss(error: &WireError) -> bool {
    matches!(
        error,
        WireError::Disconnected { .. } | WireError::Io { .. } | WireError::Refused { .. } | WireError::Server { .. }
    )
}

/// A header block with an id that is the event's own: run, stream and number.
fn id_header(out: &mut Vec<u8>, stamp: &Stamp) {
    out.clear();
    out.extend_from_slice(b"NATS/1.0\r\nNats-Msg-Id: ");
    encode::number(out, u64::from(stamp.run));
    out.push(b'-');
    encode::number(out, u64::from(stamp.stream));
    out.push(b'-');
    encode::number(out, stamp.seq);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Slot and generation of a reply subject's last part.
fn token(digits: &[u8]) -> Option<(u32, u32)> {
    let mut number = 0u64;
    for d in digits {
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(d.checked_sub(b'0').filter(|d| *d < 10)?))?;
    }
    Some((number as u32, (number >> 32) as u32))
}

impl Session for Requesting {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let result = self.run(lane);
        if result.is_err() {
            let now = lane.clock.now_ns();
            for ticket in self
                .links
                .iter_mut()
                .flat_map(|l| l.slots.iter_mut().filter_map(|s| s.ticket.take()))
            {
                lane.settle(ticket, Outcome::Disconnected, now);
            }
        }
        lane.publish_progress(0);
        result
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        let mut extras = self.judge.extras();
        extras.extend([
            ("rejected.no_responder", self.no_responder),
            ("reconnects", self.reconnects),
            (
                "wire.sent",
                self.links.iter().map(|l| l.connection.written_bytes()).sum(),
            ),
            (
                "wire.received",
                self.links.iter().map(|l| l.connection.read_bytes()).sum(),
            ),
        ]);
        extras
    }

    fn shares(&self) -> Option<Shares> {
        self.judge.shares()
    }

    fn measures(&mut self) -> Vec<(MetricKey, MetricValue)> {
        self.judge.told().map_or_else(Vec::new, Told::measures)
    }

    fn hops(&mut self) -> HopTimes {
        self.judge.told().map_or_else(HopTimes::default, Told::hops)
    }

    fn causes(&mut self) -> Causes {
        let mut causes = std::mem::take(&mut self.causes);
        causes.merge(self.judge.causes());
        causes
    }
}
