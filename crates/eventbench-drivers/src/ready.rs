//! Ways to tell that a service is ready: it answers.

use crate::endpoint;
use crate::wire::{Connection, Deadline, Op};
use eventbench_core::driver::{DriverError, ReadyDef};
use eventbench_core::host::monotonic_ns;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::Variables;
use std::any::Any;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// `ready = { subject = "bus.health" }`: a request to the subject is answered.
pub const SUBJECT: ReadyDef = ReadyDef {
    name: "subject",
    about: "a request to this NATS subject is answered",
    check: |s| only(s, "subject", &[]),
    ask: ask_subject,
};

/// `ready = { socket = "{scratch}/direct.sock", query = "bus.health" }`: a query over a service's own socket is answered.
pub const SOCKET: ReadyDef = ReadyDef {
    name: "socket",
    about: "a query over this Unix socket is answered",
    check: |s| only(s, "socket", &["query"]),
    ask: ask_socket,
};

/// `ready = { tcp = "127.0.0.1:8080" }`: the address takes connections.
pub const TCP: ReadyDef = ReadyDef {
    name: "tcp",
    about: "this TCP address takes connections",
    check: |s| only(s, "tcp", &[]),
    ask: ask_tcp,
};

/// Refuses every key but `key`, which must be a text, and `more`.
pub fn only(settings: &Settings, key: &str, more: &[&str]) -> Result<(), SettingsError> {
    for found in settings.keys() {
        if found != key && !more.contains(&found) {
            return Err(settings.error(found, format!("unknown key `{found}` beside `{key}`")));
        }
    }
    settings
        .text(key)
        .map(drop)
        .ok_or_else(|| settings.error(key, format!("`{key}` must be a text")))
}

/// A text of the settings with its variables replaced.
pub fn text(settings: &Settings, key: &str, variables: &Variables) -> Result<String, DriverError> {
    variables
        .expand(settings.text(key).unwrap_or_default())
        .map_err(|e| DriverError::new("ready", e))
}

/// The time that is left, and no less than a millisecond.
pub fn left(deadline_ns: u64) -> Duration {
    Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()).max(1_000_000))
}

/// A connection with an inbox, kept from one question to the next.
struct Asking {
    connection: Connection,
    inbox: String,
    asked: u64,
}

fn ask_subject(
    settings: &Settings,
    variables: &Variables,
    deadline_ns: u64,
    kept: &mut Option<Box<dyn Any>>,
) -> Result<bool, DriverError> {
    let subject = text(settings, "subject", variables)?;
    if kept.as_ref().and_then(|k| k.downcast_ref::<Asking>()).is_none() {
        let mut connection = endpoint::connect(variables, "eventbench ready")?;
        let inbox = format!("_INBOX.ebready{:x}.{:x}", std::process::id(), monotonic_ns());
        let address = connection.address().to_owned();
        connection
            .sub(format!("{inbox}.*"), None)
            .map_err(|e| endpoint::broken(&address, e))?;
        *kept = Some(Box::new(Asking {
            connection,
            inbox,
            asked: 0,
        }));
    }
    let Some(asking) = kept.as_mut().and_then(|k| k.downcast_mut::<Asking>()) else {
        return Ok(false);
    };
    asking.asked += 1;
    let address = asking.connection.address().to_owned();
    let broken = |e| endpoint::broken(&address, e);
    let reply = format!("{}.{}", asking.inbox, asking.asked);
    asking
        .connection
        .pub_frame(&subject, Some(reply.as_bytes()), b"")
        .map_err(broken)?;
    let until = Deadline::at_ns(deadline_ns);
    asking.connection.flush(until).map_err(broken)?;
    loop {
        while let Some(op) = asking.connection.next_op() {
            // No responder (a status) means: not yet. Answers to earlier questions do not count.
            if let Op::Msg(message) = op.map_err(broken)?
                && message.subject == reply.as_bytes()
            {
                return Ok(message.status().is_none());
            }
        }
        if !asking.connection.poll_read(until).map_err(broken)? {
            return Ok(false);
        }
    }
}

fn ask_socket(
    settings: &Settings,
    variables: &Variables,
    deadline_ns: u64,
    _: &mut Option<Box<dyn Any>>,
) -> Result<bool, DriverError> {
    let path = text(settings, "socket", variables)?;
    let query = settings.text("query").unwrap_or("bus.health");
    let Ok(mut stream) = UnixStream::connect(&path) else {
        return Ok(false);
    };
    let timeouts = stream
        .set_read_timeout(Some(left(deadline_ns)))
        .and_then(|()| stream.set_write_timeout(Some(left(deadline_ns))));
    let asked = timeouts.and_then(|()| stream.write_all(format!("query {query} 0\n\n").as_bytes()));
    let mut line = String::new();
    let answered = asked.and_then(|()| BufReader::new(stream).read_line(&mut line));
    Ok(answered.is_ok_and(|n| n > 0))
}

fn ask_tcp(
    settings: &Settings,
    variables: &Variables,
    deadline_ns: u64,
    _: &mut Option<Box<dyn Any>>,
) -> Result<bool, DriverError> {
    let address = text(settings, "tcp", variables)?;
    let mut addresses = address
        .to_socket_addrs()
        .map_err(|e| DriverError::new(format!("ready tcp {address}"), e))?;
    Ok(addresses.any(|a| TcpStream::connect_timeout(&a, left(deadline_ns)).is_ok()))
}
