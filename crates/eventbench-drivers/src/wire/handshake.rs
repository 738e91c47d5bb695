//! From an [`Endpoint`] to a connection that the server has accepted: TCP,
//! INFO, TLS, CONNECT, and the PONG that proves it.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustix::event::PollFlags;

use super::connection::Connection;
use super::credentials::{Identity, identify};
use super::endpoint::Endpoint;
use super::error::WireError;
use super::info::ServerInfo;
use super::parse::{Op, ParseError, Parser};
use super::tls::TlsStream;
use super::transport::Transport;
use super::wait::{Deadline, wait_fd};

/// `max_payload` of a server that has not yet said its own.
const DEFAULT_MAX_PAYLOAD_BYTES: u64 = 1024 * 1024;

#[derive(serde::Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    headers: bool,
    no_responders: bool,
    echo: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    #[serde(flatten)]
    identity: Identity,
}

impl Connection {
    /// Connects and waits until the server has accepted us; of several servers
    /// the first that can be reached. The timeout is for all steps together, and
    /// each server has an equal share of what is left of it; only the resolution
    /// of a host name follows the system's own limit.
    ///
    /// # Errors
    ///
    /// What [`WireError`] says of a server that is absent, silent, not NATS,
    /// not to be trusted, or that refuses us. A server that is there and
    /// refuses us ends the search: the others of its cluster would too.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, WireError> {
        if endpoint.others.is_empty() {
            return Self::connect_to(endpoint, Deadline::after(timeout));
        }
        let until = Deadline::after(timeout);
        let mut left_servers = 1 + endpoint.others.len() as u32;
        let mut errors: Vec<String> = Vec::new();
        for server in endpoint.servers() {
            let share = until.remaining() / left_servers;
            left_servers -= 1;
            match Self::connect_to(&server, Deadline::after(share)) {
                Ok(connection) => return Ok(connection),
                Err(error) if error.is_of_one_server() => errors.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Err(WireError::NoServer {
            errors: errors.join("; "),
        })
    }

    fn connect_to(endpoint: &Endpoint, until: Deadline) -> Result<Self, WireError> {
        let address = endpoint.address();
        let mut socket = open(endpoint, until)?;
        let mut input = Parser::new(DEFAULT_MAX_PAYLOAD_BYTES, endpoint.backlog_bytes);
        let info = greeting(&mut socket, &mut input, &address, until)?;
        let encrypt = endpoint.tls.required || info.tls_required;
        let transport = if encrypt {
            if !info.tls_required && !info.tls_available {
                let reason = "the url asks for it but the server does not offer it; \
                              configure its tls block or use nats://";
                return Err(WireError::Tls {
                    address,
                    reason: reason.to_owned(),
                });
            }
            if input.unread_bytes() > 0 {
                // Whatever came before the handshake could be anybody's.
                let reason = "it sent something between INFO and the TLS handshake".to_owned();
                return Err(WireError::Protocol {
                    address,
                    source: ParseError::Unexpected(reason),
                });
            }
            Transport::Tls(Box::new(TlsStream::connect(endpoint, socket, until)?))
        } else {
            Transport::Plain(socket)
        };
        let connect = Connect {
            verbose: false,
            pedantic: false,
            headers: true,
            no_responders: true,
            echo: endpoint.echo,
            tls_required: encrypt,
            name: &endpoint.name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            identity: identify(&endpoint.auth, &info.nonce)?,
        };
        let json = serde_json::to_vec(&connect).map_err(|error| WireError::Io {
            address: address.clone(),
            doing: "writing CONNECT",
            source: error.into(),
        })?;
        let mut connection = Self::over(address, transport, input, info);
        let out = connection.out();
        out.extend_from_slice(b"CONNECT ");
        out.extend_from_slice(&json);
        out.extend_from_slice(b"\r\n");
        match connection.settle(until) {
            Ok(()) => {}
            Err(WireError::Server { address, text }) if text.to_ascii_lowercase().contains("auth") => {
                return Err(WireError::Auth {
                    address,
                    used: endpoint.auth.kind(),
                    text,
                });
            }
            Err(error) => return Err(error),
        }
        // What the handshake left behind is not the caller's concern.
        while let Some(op) = connection.next_op().transpose()? {
            if op == Op::Pong {
                break;
            }
        }
        connection.begin_counting();
        Ok(connection)
    }
}

fn open(endpoint: &Endpoint, until: Deadline) -> Result<TcpStream, WireError> {
    let address = endpoint.address();
    let resolved = (endpoint.host.as_str(), endpoint.port)
        .to_socket_addrs()
        .map_err(|source| WireError::Resolve {
            address: address.clone(),
            source,
        })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for place in resolved {
        let left = until.remaining();
        if left.is_zero() {
            last = io::ErrorKind::TimedOut.into();
            break;
        }
        match TcpStream::connect_timeout(&place, left) {
            Ok(socket) => {
                let ready = socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true));
                return ready.map(|()| socket).map_err(|source| WireError::Io {
                    address,
                    doing: "preparing the socket",
                    source,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(match last.kind() {
        io::ErrorKind::ConnectionRefused => WireError::Refused { address },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => WireError::Timeout {
            address,
            doing: "connecting",
            unsent_bytes: 0,
            unread_bytes: 0,
        },
        _ => WireError::Io {
            address,
            doing: "connecting",
            source: last,
        },
    })
}

/// Reads INFO, with which every server begins.
fn greeting(
    socket: &mut TcpStream,
    input: &mut Parser,
    address: &str,
    until: Deadline,
) -> Result<ServerInfo, WireError> {
    let protocol = |source| WireError::Protocol {
        address: address.to_owned(),
        source,
    };
    let failed = |source| WireError::Io {
        address: address.to_owned(),
        doing: "reading INFO",
        source,
    };
    loop {
        match input.next_op().transpose().map_err(protocol)? {
            Some(Op::Info(json)) => {
                let info: ServerInfo =
                    serde_json::from_slice(json).map_err(|error| protocol(ParseError::Info(error.to_string())))?;
                return Ok(info);
            }
            Some(Op::Err(text)) => {
                return Err(WireError::Server {
                    address: address.to_owned(),
                    text: text.to_owned(),
                });
            }
            Some(_) => {
                return Err(protocol(ParseError::Unexpected(
                    "the server's first operation is not INFO".to_owned(),
                )));
            }
            None => {}
        }
        match socket.read(input.space()) {
            Ok(0) => {
                return Err(WireError::Disconnected {
                    address: address.to_owned(),
                    reason: "the server closed the connection before INFO".to_owned(),
                    unsent_bytes: 0,
                    unread_bytes: input.unread_bytes(),
                    unanswered_pings: 0,
                });
            }
            Ok(n) => input.filled(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if wait_fd(&*socket, PollFlags::IN, until).map_err(failed)?.is_empty() {
                    return Err(WireError::Timeout {
                        address: address.to_owned(),
                        doing: "waiting for INFO",
                        unsent_bytes: 0,
                        unread_bytes: input.unread_bytes(),
                    });
                }
            }
            Err(error) => return Err(failed(error)),
        }
    }
}
