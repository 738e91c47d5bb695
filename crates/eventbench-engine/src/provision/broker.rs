//! Where the broker is, whoever started it, and the first word that a NATS server says.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;

use crate::linux::monotonic_ns;

/// The port of a NATS server where an address names none.
const DEFAULT_PORT: u16 = 4222;
/// The longest first line that is believed to be one of a NATS server, in bytes.
const MOST_INFO_BYTES: usize = 64 * 1024;

/// A broker that can be driven: managed by this process or attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The address for clients, as in `nats://127.0.0.1:4222`.
    pub url: String,
    /// The base address of its monitoring, when there is one, as in `http://127.0.0.1:8222`.
    pub monitor_url: Option<String>,
    /// Its servers, one each; at least one.
    pub nodes: Vec<Node>,
    /// Its version as it says itself.
    pub version: String,
}

/// One server of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name that the server gives itself.
    pub name: String,
    /// The address for clients.
    pub url: String,
    /// The base address of its monitoring, when there is one.
    pub monitor_url: Option<String>,
    /// Its process on this machine; `None` when it was attached to.
    pub pid: Option<u32>,
}

/// Why a broker cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is not of the form that is understood.
    #[error("{url:?} is no NATS address: {why}; write nats://host:port")]
    Address {
        /// The address as given, without user and password.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error(
        "NATS is not running at {address}: {cause}; start it, or leave out `url` to have a server of its own started"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// Something answers that is no NATS server.
    #[error("what listens at {address} is no NATS server: {why}")]
    NotNats {
        /// Host and port.
        address: String,
        /// What it did instead.
        why: String,
    },
}

impl Broker {
    /// The broker at `url` (of several, separated by commas, the first that answers), which somebody else has started and
    /// will stop. It is asked for its version; credentials are not tried here.
    ///
    /// # Errors
    /// [`BrokerError`] of the first, each within `limit`.
    pub fn attach(url: &str, monitor_url: Option<&str>, limit: Duration) -> Result<Self, BrokerError> {
        let ask = |one: &str| -> Result<Info, BrokerError> { read_info(&host_and_port(one)?, limit) };
        let mut servers = url.split(',').map(str::trim);
        let mut one = servers.next().unwrap_or(url);
        let mut answer = ask(one);
        for other in servers {
            if answer.is_ok() {
                break;
            }
            if let Ok(info) = ask(other) {
                (one, answer) = (other, Ok(info));
            }
        }
        let info = answer?;
        let monitor_url = monitor_url.map(|m| m.trim_end_matches('/').to_owned());
        let node = Node {
            name: info.server_name,
            url: one.to_owned(),
            monitor_url: monitor_url.clone(),
            pid: None,
        };
        Ok(Self {
            url: url.to_owned(),
            monitor_url,
            nodes: vec![node],
            version: info.version,
        })
    }
}

/// What a server says of itself when a client connects; only what is needed here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) server_name: String,
    #[serde(default)]
    pub(super) version: String,
}

/// `host:port` of an address with or without scheme, user and port.
pub(super) fn host_and_port(url: &str) -> Result<String, BrokerError> {
    let rest = match url.split_once("://") {
        Some(("nats" | "tls", rest)) => rest,
        Some((_, rest)) => return Err(bad_address(rest, "the scheme is neither nats nor tls")),
        None => url,
    };
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // The colons of an IPv6 address are inside its brackets.
    let after_brackets = place.rfind(']').map_or(place, |at| &place[at..]);
    let (host, port) = match after_brackets.rsplit_once(':') {
        Some((_, port)) => (&place[..place.len() - port.len() - 1], Some(port)),
        None => (place, None),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(bad_address(place, "it names no host"));
    }
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{host}:{DEFAULT_PORT}")),
        Some(Ok(port)) if port > 0 => Ok(format!("{host}:{port}")),
        Some(_) => Err(bad_address(place, "its port is no number from 1 to 65535")),
    }
}

fn bad_address(place: &str, why: &'static str) -> BrokerError {
    // Whatever stands before the @ may be a password.
    let shown = place.rsplit_once('@').map_or(place, |(_, place)| place);
    BrokerError::Address {
        url: shown.to_owned(),
        why,
    }
}

/// Connects to `address` and reads the INFO line, which a server sends before anything else, TLS included.
pub(super) fn read_info(address: &str, limit: Duration) -> Result<Info, BrokerError> {
    let unreachable = |cause| BrokerError::Unreachable {
        address: address.to_owned(),
        cause,
    };
    let not_nats = |why: String| BrokerError::NotNats {
        address: address.to_owned(),
        why,
    };
    let end_ns = monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let left = || match end_ns.saturating_sub(monotonic_ns()) {
        0 => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} ms", limit.as_millis()),
        )),
        ns => Ok(Duration::from_nanos(ns)),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let mut stream = None;
    for place in address.to_socket_addrs().map_err(unreachable)? {
        match left().and_then(|left| TcpStream::connect_timeout(&place, left)) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(cause) => last = cause,
        }
    }
    let Some(mut stream) = stream else {
        return Err(unreachable(last));
    };
    let mut line = Vec::new();
    while !line.contains(&b'\n') {
        if line.len() > MOST_INFO_BYTES {
            return Err(not_nats("its first line has no end".into()));
        }
        stream
            .set_read_timeout(Some(left().map_err(unreachable)?))
            .map_err(unreachable)?;
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) => return Err(not_nats("it closed the connection without a word".into())),
            Ok(n) => line.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(not_nats(format!("it said nothing within {} ms", limit.as_millis())));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreachable(e)),
        }
    }
    let text = String::from_utf8_lossy(&line);
    let first = text.lines().next().unwrap_or_default();
    let Some(json) = first.strip_prefix("INFO ") else {
        let shown: String = super::tail::printable(first).chars().take(60).collect();
        return Err(not_nats(format!("it began with {shown:?}")));
    };
    serde_json::from_str(json.trim()).map_err(|e| not_nats(format!("its INFO line is not understood: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn addresses_are_understood_or_refused() {
        for (url, expected) in [
            ("nats://127.0.0.1:4333", "127.0.0.1:4333"),
            ("nats://host", "host:4222"),
            ("host:1", "host:1"),
            ("tls://u:p@ss@host:99/x", "host:99"),
            ("nats://[::1]:4222", "[::1]:4222"),
            ("nats://[::1]", "[::1]:4222"),
        ] {
            assert_eq!(host_and_port(url).unwrap(), expected, "{url}");
        }
        for url in [
            "http://h:1",
            "nats://",
            "nats://h:0",
            "nats://h:70000",
            "nats://h:x",
            "nats://:4222",
            "nats://a b",
        ] {
            assert!(host_and_port(url).is_err(), "{url}");
        }
        let shown = host_and_port("nats://me:secret@h:x").unwrap_err().to_string();
        assert!(!shown.contains("secret"), "{shown}");
        let shown = host_and_port("http://me:secret@h:1").unwrap_err().to_string();
        assert!(!shown.contains("secret"), "{shown}");
    }

    fn answer(bytes: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(bytes).unwrap();
            // Stays open until the other side has had enough.
            let _ = stream.read(&mut [0]);
        });
        address
    }

    #[test]
    fn a_stranger_on_the_port_is_told_from_a_server() {
        let limit = Duration::from_millis(200);
        let said = |bytes| read_info(&answer(bytes), limit).unwrap_err().to_string();
        assert!(said(b"SSH-2.0-OpenSSH\x1b[31m\r\n").contains("began with \"SSH-2.0-OpenSSH\""));
        assert!(said(b"").contains("said nothing within 200 ms"));
        assert!(said(b"INFO {\"server_name\": 3}\r\n").contains("not understood"));
        assert!(said(&[b'x'; 100_000]).contains("no end"));
        let info = read_info(
            &answer(b"INFO {\"server_name\":\"a\",\"version\":\"2.15.1\",\"new\":[]} \r\n"),
            limit,
        )
        .unwrap();
        assert_eq!((info.server_name.as_str(), info.version.as_str()), ("a", "2.15.1"));
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let port = crate::provision::free_loopback_port().unwrap();
        let said = Broker::attach(&format!("nats://127.0.0.1:{port}"), None, Duration::from_secs(1)).unwrap_err();
        assert!(
            said.to_string()
                .starts_with(&format!("NATS is not running at 127.0.0.1:{port}")),
            "{said}"
        );
        // Of several, one that answers is enough.
        let there = answer(b"INFO {\"server_name\":\"b\",\"version\":\"2.15.1\"} \r\n");
        let list = format!("nats://127.0.0.1:{port}, nats://{there}");
        let broker = Broker::attach(&list, None, Duration::from_secs(10)).unwrap();
        assert_eq!((broker.nodes[0].name.as_str(), broker.url), ("b", list));
    }
}
