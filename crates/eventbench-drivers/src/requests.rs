//! Requests over NATS: a reply subject for each event in flight, an outcome for each reply, a time-out for each silence.
//! What a reply means is its caller's to say.

use crate::endpoint;
use crate::mix::{Mix, Route};
use crate::wire::{Connection, Deadline, Message, Op, PollSet, encode};
use eventbench_core::driver::{DriverError, Session};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::ticket::{Outcome, Ticket};
use eventbench_core::trial::Trial;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a reply means.
pub type Judge = Arc<dyn Fn(&Message<'_>) -> Outcome + Send + Sync>;

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
    judge: Judge,
    timeout_ns: u64,
    links: Vec<Link>,
    poll: PollSet,
    payload: Vec<u8>,
    reply: Vec<u8>,
    routes: Vec<Route>,
    settled: Vec<(Ticket, Outcome)>,
    rejections: u64,
}

impl Requesting {
    /// Opens the connections of a lane and subscribes to their inboxes.
    pub fn open(
        mix: Arc<Mix>,
        judge: Judge,
        timeout_ns: u64,
        trial: &Trial,
        lane: u32,
    ) -> Result<Requesting, DriverError> {
        let mut links = Vec::new();
        for index in (lane..trial.connections).step_by(trial.lanes as usize) {
            let mut connection = endpoint::connect(&trial.variables, &trial.name)?;
            // The number of the trial keeps inboxes of different trials apart.
            let inbox = format!("_INBOX.eb{:x}.{:x}.{index}.", std::process::id(), trial.number).into_bytes();
            let all = [inbox.as_slice(), b"*"].concat();
            let address = connection.address().to_owned();
            connection.sub(&all, None).map_err(|e| endpoint::broken(&address, e))?;
            connection
                .settle(Deadline::after(std::time::Duration::from_secs(5)))
                .map_err(|e| endpoint::broken(&address, e))?;
            links.push(Link {
                connection,
                inbox,
                slots: Vec::with_capacity(1024),
                free: Vec::with_capacity(1024),
                order: VecDeque::with_capacity(1024),
                in_flight: 0,
            });
        }
        let poll = PollSet::with_capacity(links.len());
        let routes = mix.routes(trial.lanes);
        let buffer = Vec::with_capacity(64 << 10);
        Ok(Requesting {
            mix,
            judge,
            timeout_ns,
            links,
            poll,
            payload: buffer,
            reply: Vec::with_capacity(128),
            routes,
            settled: Vec::with_capacity(1024),
            rejections: 0,
        })
    }

    fn run(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        loop {
            let now = lane.clock.now_ns();
            self.send_due(lane, now)?;
            self.time_out(lane, now);
            if lane.signals.stopped() || now >= lane.deadline_ns {
                break;
            }
            let open = self.links.iter().any(|l| l.in_flight > 0);
            let until = match lane.wake() {
                Wake::Ended if !open => break,
                Wake::Ended | Wake::WhenSettled => lane.deadline_ns,
                Wake::At(due) if due <= now && lane.workers().is_some() => continue,
                Wake::At(due) => due,
            };
            let oldest = self
                .links
                .iter()
                .filter_map(|l| l.order.front())
                .map(|o| o.2 + self.timeout_ns)
                .min()
                .unwrap_or(u64::MAX);
            self.wait(lane, until.min(oldest).min(now + 200_000_000))?;
        }
        Ok(())
    }

    fn send_due(&mut self, lane: &mut Lane, now_ns: u64) -> Result<(), DriverError> {
        let mut now = now_ns;
        let mut sent = 0;
        while let Some(mut ticket) = lane.take(now) {
            let route = self.routes[ticket.stream as usize];
            let index = usize::from(route.link);
            let entry = self.mix.by_index(route.entry);
            let link = &mut self.links[index];
            self.payload.clear();
            entry.template.render(&lane.content(&ticket, now), &mut self.payload);
            lane.sent(&mut ticket, now);
            link.hold(ticket, now, &mut self.reply);
            encode::publish(link.connection.out(), &entry.subject, Some(&self.reply), &self.payload);
            sent += 1;
            if link.connection.wants_flush() {
                link.connection
                    .flush(Deadline::at_ns(lane.deadline_ns))
                    .map_err(|e| endpoint::broken(link.connection.address(), e))?;
                self.read(lane, index)?;
                now = lane.clock.now_ns();
                if lane.signals.stopped() {
                    break;
                }
            }
        }
        if sent > 0 {
            for link in &mut self.links {
                link.connection
                    .try_flush()
                    .map_err(|e| endpoint::broken(link.connection.address(), e))?;
            }
            lane.publish_progress(sent);
        }
        Ok(())
    }

    fn wait(&mut self, lane: &mut Lane, until_ns: u64) -> Result<(), DriverError> {
        let deadline = Deadline::at_ns(until_ns);
        if let [link] = self.links.as_mut_slice() {
            if link
                .connection
                .poll_read(deadline)
                .map_err(|e| endpoint::broken(link.connection.address(), e))?
            {
                self.read(lane, 0)?;
            }
            return Ok(());
        }
        let ready = self
            .poll
            .wait(self.links.iter().map(|l| &l.connection), deadline)
            .map_err(|e| DriverError::new("waiting for NATS", e))?;
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
    fn read(&mut self, lane: &mut Lane, index: usize) -> Result<(), DriverError> {
        let link = &mut self.links[index];
        link.connection
            .poll_read(Deadline::NOW)
            .map_err(|e| endpoint::broken(link.connection.address(), e))?;
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
                Some(Err(e)) => return Err(endpoint::broken(connection.address(), e)),
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
                            Outcome::Rejected
                        } else {
                            (self.judge)(&message)
                        };
                        held.generation = held.generation.wrapping_add(1);
                        free.push(slot);
                        *in_flight -= 1;
                        self.settled.push((ticket, outcome));
                    }
                }
                Op::Err(text) => {
                    let cause = text.to_owned();
                    return Err(DriverError::new(format!("NATS at {}", connection.address()), cause));
                }
                _ => {}
            }
        }
        for (ticket, outcome) in self.settled.drain(..) {
            self.rejections += u64::from(outcome == Outcome::Rejected);
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
                    Some(_) if now_ns < sent_ns + self.timeout_ns => break,
                    Some(held) => {
                        held.generation = held.generation.wrapping_add(1);
                        if let Some(ticket) = held.ticket.take() {
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
}
