//! A lane of HTTP/1.1: one thread, one set of sockets, connections that are used again.

use super::connection::{Connection, Step};
use super::deadlines::Deadlines;
use super::epoll::Epoll;
use super::exchange::{End, Exchange};
use super::measures::Measures;
use super::plan::Plan;
use super::settings::Reuse;
use super::target::From;
use super::tls::{self, Tls};
use eventbench_core::driver::{DriverError, Session};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::Causes;
use eventbench_core::ticket::Ticket;
use std::io;
use std::sync::Arc;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// Requests that are sent before what has come is looked at.
const BATCH: usize = 64;
/// Reads of one socket before the others have their turn.
const READS: usize = 8;
/// After a connection that could not be made, a closed loop waits for so long: it would do nothing but fail.
const PAUSE_NS: u64 = 10_000_000;

/// What a socket is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// The same, or room to write.
    ReadWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    Connecting,
    Shaking,
    Busy,
    Idle,
}

/// A place for a connection.
struct Slot {
    /// Which of the connections that have been here; what the kernel says of an earlier one is nobody's.
    generation: u32,
    phase: Phase,
    connection: Option<Connection>,
    exchange: Option<Exchange>,
    begun_ns: u64,
    /// Whether it has carried a request before.
    used: bool,
    interest: Interest,
}

/// The session of one lane.
pub struct HttpLane {
    plan: Arc<Plan>,
    lanes: u32,
    most: u32,
    from: From,
    epoll: Epoll,
    slots: Vec<Slot>,
    free: Vec<u32>,
    idle: Vec<(u32, u32)>,
    open: u32,
    busy: u32,
    deadlines: Deadlines,
    ready: Vec<u64>,
    /// Connections with more to read than they were given time for.
    again: Vec<u64>,
    buffer: Vec<u8>,
    out: Vec<u8>,
    body: Vec<u8>,
    measures: Measures,
    pause_until_ns: u64,
    sent_bytes: u64,
    received_bytes: u64,
    retried: u64,
}

impl HttpLane {
    /// A lane with at most `most` connections.
    pub fn new(plan: Arc<Plan>, lanes: u32, most: u32, epoch_ms: i64) -> io::Result<Self> {
        let measures = Measures::new(epoch_ms, plan.tasks.any_stream());
        Ok(Self {
            lanes,
            most,
            from: From::new(plan.sources.as_ref(), plan.address, lanes),
            plan,
            epoll: Epoll::new()?,
            slots: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            open: 0,
            busy: 0,
            deadlines: Deadlines::default(),
            ready: Vec::new(),
            again: Vec::new(),
            buffer: vec![0; READ_BYTES],
            out: Vec::with_capacity(4096),
            body: Vec::with_capacity(4096),
            measures,
            pause_until_ns: 0,
            sent_bytes: 0,
            received_bytes: 0,
            retried: 0,
        })
    }

    /// Sends what is due, gives up what has waited too long, and reads what comes; `false` when there is nothing left.
    fn turn(&mut self, lane: &mut Lane) -> io::Result<bool> {
        let sent = self.send_due(lane);
        if sent > 0 {
            lane.publish_progress(sent as u64);
        }
        let now = lane.clock.now_ns();
        while let Some((slot, at)) = self.deadlines.oldest().filter(|o| o.1 + self.plan.timeout_ns <= now) {
            debug_assert!(at <= now);
            self.end(lane, slot, End::TimedOut, now);
        }
        if lane.signals.stopped() || now >= lane.deadline_ns {
            return Ok(false);
        }
        let mut until = match lane.wake() {
            Wake::Ended if self.busy == 0 => return Ok(false),
            Wake::Ended | Wake::WhenSettled => lane.deadline_ns,
            // Only an end can make room.
            Wake::At(_) if !self.has_room() => lane.deadline_ns,
            Wake::At(due) if lane.workers().is_some() => due.max(self.pause_until_ns),
            Wake::At(due) => due,
        };
        if let Some((_, at)) = self.deadlines.oldest() {
            until = until.min(at + self.plan.timeout_ns);
        }
        if !self.again.is_empty() {
            until = 0;
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.append(&mut self.again);
        self.epoll.wait(until.min(now + 200_000_000), &mut ready)?;
        for number in &ready {
            self.serve(lane, *number);
        }
        self.ready = ready;
        Ok(true)
    }

    fn has_room(&self) -> bool {
        !self.idle.is_empty() || self.open < self.most
    }

    fn send_due(&mut self, lane: &mut Lane) -> usize {
        let mut sent = 0;
        while sent < BATCH && self.has_room() {
            // Each at its own instant: a connection takes 20 µs and more to begin.
            let now = lane.clock.now_ns();
            if lane.workers().is_some() && now < self.pause_until_ns {
                break;
            }
            let Some(mut ticket) = lane.take(now) else { break };
            lane.sent(&mut ticket, now);
            sent += 1;
            self.begin(lane, ticket, now);
        }
        sent
    }

    fn begin(&mut self, lane: &mut Lane, ticket: Ticket, now: u64) {
        let index = self.plan.tasks.of_stream(ticket.stream, self.lanes);
        let exchange = Exchange::new(ticket, index, self.plan.tasks.get(index), &mut self.measures);
        self.busy += 1;
        while let Some((slot, generation)) = self.idle.pop() {
            let place = &mut self.slots[slot as usize];
            if place.generation == generation && place.phase == Phase::Idle {
                place.exchange = Some(exchange);
                place.phase = Phase::Busy;
                self.deadlines.push(slot, now);
                return self.transmit(lane, slot, now);
            }
        }
        self.connect(lane, exchange, now);
    }

    fn connect(&mut self, lane: &mut Lane, exchange: Exchange, now: u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                phase: Phase::Empty,
                connection: None,
                exchange: None,
                begun_ns: 0,
                used: false,
                interest: Interest::ReadWrite,
            });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        place.exchange = Some(exchange);
        place.begun_ns = now;
        place.used = false;
        place.interest = Interest::ReadWrite;
        place.phase = Phase::Connecting;
        self.open += 1;
        self.deadlines.push(slot, now);
        let number = number(slot, place.generation);
        let made = self
            .from
            .connect(self.plan.address, self.open - 1)
            .and_then(|(socket, there)| {
                let tls = match &self.plan.tls {
                    Some((config, name)) => {
                        let session = Tls::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                        Some(Box::new(session))
                    }
                    None => None,
                };
                self.epoll.add(&socket, number, Interest::ReadWrite)?;
                Ok((Connection::new(socket, tls), there))
            });
        match made {
            Ok((connection, there)) => {
                place.connection = Some(connection);
                if there {
                    self.connected(lane, slot, now);
                }
            }
            Err(e) => self.lose(lane, slot, &e, now),
        }
    }

    /// The socket is connected: shakes hands if need be, and sends the request.
    fn connected(&mut self, lane: &mut Lane, slot: u32, now: u64) {
        let place = &mut self.slots[slot as usize];
        let Some(connection) = &mut place.connection else {
            return;
        };
        place.phase = Phase::Shaking;
        match connection.shake() {
            Err(e) if connection.has_tls() => {
                self.end(lane, slot, End::Lost("TLS", tls::explain(&e)), now);
            }
            Err(e) => self.lose(lane, slot, &e, now),
            Ok(false) => self.attend(lane, slot, now),
            Ok(true) => {
                place.phase = Phase::Busy;
                if place.exchange.as_ref().is_some_and(|e| e.ticket().measured) {
                    self.measures.connect.record_between(place.begun_ns, now);
                }
                self.transmit(lane, slot, now);
            }
        }
    }

    fn transmit(&mut self, lane: &mut Lane, slot: u32, now: u64) {
        let place = &mut self.slots[slot as usize];
        let (Some(connection), Some(exchange)) = (&mut place.connection, &mut place.exchange) else {
            return;
        };
        let request = &self.plan.requests[exchange.task()];
        let content = lane.content(exchange.ticket(), exchange.ticket().sent_ns);
        self.out.clear();
        self.body.clear();
        request.head.render(&content, &mut self.out);
        let task = self.plan.tasks.get(exchange.task() as u16);
        if let Some(template) = &task.body {
            template.render(&content, &mut self.body);
            self.out.extend_from_slice(b"Content-Length: ");
            crate::wire::encode::number(&mut self.out, self.body.len() as u64);
            self.out.extend_from_slice(b"\r\n\r\n");
            self.out.extend_from_slice(&self.body);
        } else if task.method == "GET" || task.method == "HEAD" {
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        }
        exchange.asked(&self.body);
        self.sent_bytes += self.out.len() as u64;
        match connection.send(&self.out) {
            Ok(()) => self.attend(lane, slot, now),
            Err(e) => self.lose(lane, slot, &e, now),
        }
    }

    /// Tells the kernel what the connection waits for, where that has changed.
    fn attend(&mut self, lane: &mut Lane, slot: u32, now: u64) {
        let place = &mut self.slots[slot as usize];
        let Some(connection) = &place.connection else { return };
        let interest = if connection.wants_write() {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        if interest != place.interest {
            place.interest = interest;
            if let Err(e) = self.epoll.change(connection, number(slot, place.generation), interest) {
                self.lose(lane, slot, &e, now);
            }
        }
    }

    /// The kernel, or an earlier turn, says that there is something to do.
    fn serve(&mut self, lane: &mut Lane, number: u64) {
        let (slot, generation) = (number as u32, (number >> 32) as u32);
        let Some(place) = self.slots.get_mut(slot as usize).filter(|p| p.generation == generation) else {
            return;
        };
        let now = lane.clock.now_ns();
        let Some(connection) = &mut place.connection else {
            return;
        };
        match place.phase {
            Phase::Connecting => match connection.take_error() {
                Ok(()) => self.connected(lane, slot, now),
                Err(e) => self.lose(lane, slot, &e, now),
            },
            Phase::Shaking => self.connected(lane, slot, now),
            Phase::Idle => {
                // The end, or bytes that nobody asked for.
                if !matches!(connection.read(&mut self.buffer), Err(e) if e.kind() == io::ErrorKind::WouldBlock) {
                    self.close(slot);
                }
            }
            Phase::Busy => {
                if connection.wants_write() {
                    if let Err(e) = connection.flush() {
                        return self.lose(lane, slot, &e, now);
                    }
                    self.attend(lane, slot, now);
                }
                self.read(lane, slot, number);
            }
            Phase::Empty => {}
        }
    }

    fn read(&mut self, lane: &mut Lane, slot: u32, number: u64) {
        let plan = self.plan.clone();
        for _ in 0..READS {
            let place = &mut self.slots[slot as usize];
            let (Some(connection), Some(exchange)) = (&mut place.connection, &mut place.exchange) else {
                return;
            };
            let n = match connection.read(&mut self.buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return self.lose(lane, slot, &e, lane.clock.now_ns()),
                Ok(0) => return self.ended(lane, slot),
                Ok(n) => n,
            };
            // All of one read is seen at one instant: that of the read.
            let now = lane.clock.now_ns();
            self.received_bytes += n as u64;
            let task = plan.tasks.get(exchange.task() as u16);
            let step = connection.take(&self.buffer[..n], now, exchange, task, &mut self.measures);
            let drained = n < self.buffer.len() && !connection.has_tls();
            match step {
                Step::More if drained => return,
                Step::More => {}
                Step::Whole { reusable } => return self.complete(lane, slot, reusable, now),
                Step::Stop => return self.end(lane, slot, End::GivenUp, now),
                Step::Malformed(why) => return self.end(lane, slot, End::Malformed(why), now),
            }
        }
        self.again.push(number);
    }

    /// The server has closed the connection.
    fn ended(&mut self, lane: &mut Lane, slot: u32) {
        let now = lane.clock.now_ns();
        let place = &self.slots[slot as usize];
        let Some(connection) = &place.connection else { return };
        if connection.may_end() {
            self.end(lane, slot, End::Complete, now);
        } else if self.may_retry(slot) {
            self.retry(lane, slot, now);
        } else {
            let why = if connection.is_silent() {
                "the server closed the connection"
            } else {
                "the server closed the connection in the midst of the response"
            };
            self.end(lane, slot, End::Lost("closed without an answer", why.to_owned()), now);
        }
    }

    /// The connection is lost, or could not be made.
    fn lose(&mut self, lane: &mut Lane, slot: u32, error: &io::Error, now: u64) {
        if self.may_retry(slot) {
            return self.retry(lane, slot, now);
        }
        let connecting = self.slots[slot as usize].phase == Phase::Connecting;
        if connecting {
            self.pause_until_ns = now + PAUSE_NS;
        }
        let (cause, advice) = cause(error, connecting);
        self.end(lane, slot, End::Lost(cause, format!("{error}{advice}")), now);
    }

    /// A server may close a connection that waits at any time, also while a request is on its way to it: such a request,
    /// of whose answer nothing has come, is sent once more.
    fn may_retry(&self, slot: u32) -> bool {
        let place = &self.slots[slot as usize];
        let silent = place.connection.as_ref().is_some_and(Connection::is_silent);
        place.used && place.phase == Phase::Busy && silent && place.exchange.as_ref().is_some_and(|e| !e.retried)
    }

    fn retry(&mut self, lane: &mut Lane, slot: u32, now: u64) {
        let exchange = self.slots[slot as usize].exchange.take();
        self.close(slot);
        if let Some(mut exchange) = exchange {
            exchange.retried = true;
            self.retried += 1;
            self.connect(lane, exchange, now);
        }
    }

    /// A response has come as a whole.
    fn complete(&mut self, lane: &mut Lane, slot: u32, reusable: bool, now: u64) {
        if !reusable || self.plan.reuse == Reuse::PerRequest {
            return self.end(lane, slot, End::Complete, now);
        }
        let place = &mut self.slots[slot as usize];
        place.phase = Phase::Idle;
        place.used = true;
        self.idle.push((slot, place.generation));
        let exchange = place.exchange.take();
        self.deadlines.remove(slot);
        self.settle(lane, exchange, End::Complete, now);
    }

    /// The request on a connection ends, and the connection with it.
    fn end(&mut self, lane: &mut Lane, slot: u32, how: End, now: u64) {
        let exchange = self.slots[slot as usize].exchange.take();
        self.close(slot);
        self.settle(lane, exchange, how, now);
    }

    fn settle(&mut self, lane: &mut Lane, exchange: Option<Exchange>, how: End, now: u64) {
        if let Some(exchange) = exchange {
            self.busy -= 1;
            let task = self.plan.tasks.get(exchange.task() as u16);
            let (ticket, outcome) = exchange.end(how, now, task, &mut self.measures);
            lane.settle(ticket, outcome, now);
        }
    }

    fn close(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        if place.phase != Phase::Empty {
            place.phase = Phase::Empty;
            place.connection = None;
            self.epoll.forget(number(slot, place.generation));
            place.generation = place.generation.wrapping_add(1);
            self.open -= 1;
            self.deadlines.remove(slot);
            self.free.push(slot);
        }
    }
}

fn number(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

/// What a lost connection counts as, and what to do about it.
pub fn cause(error: &io::Error, connecting: bool) -> (&'static str, &'static str) {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) => ("connection refused", ""),
        Some(Errno::CONNRESET | Errno::PIPE) => ("connection reset", ""),
        Some(Errno::ADDRNOTAVAIL) => (
            "no port left",
            "; all ports of the source address are in use (give more `sources`, or keep connections alive), or it is not this machine's",
        ),
        Some(Errno::MFILE | Errno::NFILE) => (
            "no descriptor left",
            "; raise the limit of open files (ulimit -n), or set `pool`",
        ),
        _ if connecting => ("connection failed", ""),
        _ => ("connection lost", ""),
    }
}

impl Session for HttpLane {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let result = loop {
            match self.turn(lane) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(e) => break Err(DriverError::new(format!("waiting for {}", self.plan.address), e)),
            }
        };
        lane.publish_progress(0);
        result
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("wire.sent", self.sent_bytes),
            ("wire.received", self.received_bytes),
            ("reconnects", self.retried),
        ]
    }

    fn measures(&mut self) -> Vec<(MetricKey, MetricValue)> {
        self.measures.take()
    }

    fn causes(&mut self) -> Causes {
        std::mem::take(&mut self.measures.causes)
    }
}
