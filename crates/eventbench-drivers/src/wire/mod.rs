//! The NATS client protocol for the load path: one thread owns its sockets and
//! drives them with `poll`; there is no runtime, lock, channel or, after
//! set-up, allocation for each message.
//!
//! [`Parser`] and [`encode`] do no input or output and are tested apart;
//! [`Connection`] joins them to a socket, with or without TLS.

mod connection;
mod credentials;
pub mod encode;
mod endpoint;
mod error;
mod handshake;
mod info;
mod parse;
mod tls;
mod transport;
mod wait;

pub use connection::{Connection, OUT_TARGET_BYTES};
pub use endpoint::{Auth, Endpoint, TlsOptions};
pub use error::WireError;
pub use info::ServerInfo;
pub use parse::{HARD_MESSAGE_LIMIT_BYTES, MAX_LINE_BYTES, MAX_TEXT_LINE_BYTES, Message, Op, ParseError, Parser};
pub use wait::{Deadline, PollSet, monotonic_ns};
