//! The floor of request/reply: one blocking socket, one call in flight, frames made and found by hand. It offers nothing
//! that a client offers, and is there for what it costs: a client's own share is what it takes beyond this.

use crate::endpoint;
use crate::mix::Mix;
use crate::wire::{Auth, Deadline, encode};
use eventbench_core::driver::{Driver, DriverDef, DriverError, Session};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::ticket::Outcome;
use eventbench_core::trial::StreamSpec;
use memchr::memmem::find;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// The subject to ask.
    subject: String,
    /// The payload template.
    payload: String,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "nats-floor",
    about: "asks over one blocking socket without a client: the floor to hold nats-request against, with workers = 1",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Ask).to_value(),
    open: |settings, _| {
        let mix = read(settings).map_err(|e| DriverError::new("nats-floor", e))?;
        Ok(Box::new(Floor { mix: Arc::new(mix) }))
    },
};

fn read(settings: &Settings) -> Result<Mix, SettingsError> {
    let own: Ask = settings.read()?;
    Mix::read(settings, Some(&own.subject), Some(&own.payload), &[])
}

struct Floor {
    mix: Arc<Mix>,
}

impl Driver for Floor {
    fn streams(&self) -> Vec<StreamSpec> {
        self.mix.streams()
    }

    fn session(&self, trial: &eventbench_core::trial::Trial, _lane: u32) -> Result<Box<dyn Session>, DriverError> {
        if trial.connections != 1 || trial.lanes != 1 {
            return Err(DriverError::new(
                "nats-floor",
                "it is one socket with one call in flight; leave out `connections` and `lanes`",
            ));
        }
        let endpoint = endpoint::endpoint(&trial.variables, &trial.name)?;
        if endpoint.auth != Auth::None || endpoint.tls.required {
            return Err(DriverError::new(
                "nats-floor",
                "it knows neither credentials nor TLS; use it with a broker of the run's own",
            ));
        }
        let inbox = format!("_INBOX.ebf{:x}.{:x}", std::process::id(), trial.number).into_bytes();
        let socket = open(&endpoint.address(), &trial.name, &inbox)
            .map_err(|e| DriverError::new(format!("NATS at {}", endpoint.address()), e))?;
        Ok(Box::new(Calling {
            mix: self.mix.clone(),
            socket,
            inbox,
            payload: Vec::with_capacity(64 << 10),
            out: Vec::with_capacity(64 << 10),
            input: vec![0; 64 << 10],
            end: 0,
        }))
    }
}

/// A socket that the server has accepted, subscribed to its inbox.
fn open(address: &str, name: &str, inbox: &[u8]) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut out = format!(
        "CONNECT {}\r\n",
        serde_json::json!({ "verbose": false, "pedantic": false, "name": name })
    )
    .into_bytes();
    encode::subscribe(&mut out, inbox, None, 1);
    encode::ping(&mut out);
    socket.write_all(&out)?;
    let (mut seen, mut input) = (Vec::new(), [0; 4096]);
    while find(&seen, b"PONG\r\n").is_none() {
        let n = socket.read(&mut input)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&input[..n]);
    }
    Ok(socket)
}

struct Calling {
    mix: Arc<Mix>,
    socket: TcpStream,
    inbox: Vec<u8>,
    payload: Vec<u8>,
    out: Vec<u8>,
    input: Vec<u8>,
    end: usize,
}

impl Calling {
    fn run(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        loop {
            let now = lane.clock.now_ns();
            if lane.signals.stopped() || now >= lane.deadline_ns {
                return Ok(());
            }
            let Some(mut ticket) = lane.take(now) else {
                match lane.wake() {
                    Wake::At(due) => lane.clock.sleep_until(due),
                    Wake::Ended | Wake::WhenSettled => return Ok(()),
                }
                continue;
            };
            let entry = self.mix.entry(ticket.stream);
            self.payload.clear();
            entry.template.render(&lane.content(&ticket, now), &mut self.payload);
            self.out.clear();
            encode::publish(&mut self.out, &entry.subject, Some(&self.inbox), &self.payload);
            lane.sent(&mut ticket, now);
            match self.call(lane.deadline_ns) {
                Ok(()) => lane.settle(ticket, Outcome::Acked, lane.clock.now_ns()),
                Err(e) => {
                    lane.settle(ticket, Outcome::Disconnected, lane.clock.now_ns());
                    return Err(DriverError::new("nats-floor", e));
                }
            }
            lane.publish_progress(1);
        }
    }

    /// Writes the frame and reads until one whole message is there.
    fn call(&mut self, deadline_ns: u64) -> std::io::Result<()> {
        self.socket.write_all(&self.out)?;
        let until = Deadline::at_ns(deadline_ns);
        loop {
            if let Some(length) = message(&self.input[..self.end]) {
                self.input.copy_within(length..self.end, 0);
                self.end -= length;
                return Ok(());
            }
            if self.input[..self.end].starts_with(b"PING\r\n") {
                self.socket.write_all(b"PONG\r\n")?;
                self.input.copy_within(6..self.end, 0);
                self.end -= 6;
                continue;
            }
            if self.end == self.input.len() {
                self.input.resize(self.end * 2, 0);
            }
            match self.socket.read(&mut self.input[self.end..]) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.end += n,
                Err(e) if until.has_passed() => return Err(e),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The length of the message at the beginning, when it is there whole. Its last word is the size of what follows the line.
fn message(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"MSG ") && !bytes.starts_with(b"HMSG ") {
        return None;
    }
    let line_end = find(bytes, b"\r\n")?;
    let size = bytes[..line_end].rsplit(|b| *b == b' ').next()?;
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let length = line_end + 2 + size + 2;
    (bytes.len() >= length).then_some(length)
}

impl Session for Calling {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let result = self.run(lane);
        lane.publish_progress(0);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_or_not_there() {
        let whole = b"MSG in 1 3\r\nabc\r\n";
        assert_eq!(message(whole), Some(whole.len()));
        assert_eq!(message(b"HMSG in 1 12 15\r\nNATS/1.0\r\n\r\nabc\r\nMSG"), Some(34));
        for cut in 0..whole.len() {
            assert_eq!(message(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(message(b"PING\r\n"), None);
        assert_eq!(message(b"MSG in 1 x\r\n\r\n"), None);
    }
}
