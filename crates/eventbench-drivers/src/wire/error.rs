//! What can go wrong between this client and a server: what, where, why and
//! what to do next.

use std::io;

use super::parse::ParseError;

/// An error of the wire client. `address` is always `host:port`, never a
/// secret.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The text given as a server's address can't be understood.
    #[error(
        "`{url}` is not a NATS address: {reason}; write nats://host:port, nats://user:password@host:port or tls://host:port"
    )]
    Address {
        /// The address without what stands before its `@`.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A credentials file, seed or CA file can't be used.
    #[error("credentials from {path}: {reason}")]
    Credentials {
        /// The file, or what stands for it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host has no address.
    #[error("{address}: the host name can't be resolved ({source}); correct the name, or give an IP address")]
    Resolve {
        /// `host:port`.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// Nothing listens there.
    #[error(
        "{address}: connection refused: nothing listens there; start a nats-server on that port or correct the url"
    )]
    Refused {
        /// `host:port`.
        address: String,
    },
    /// None of the servers of a list can be reached.
    #[error("none of the servers can be reached: {errors}")]
    NoServer {
        /// What was wrong with each, in the order of the list.
        errors: String,
    },
    /// An operation of the socket failed.
    #[error("{address}: {doing}: {source}")]
    Io {
        /// `host:port`.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The deadline passed.
    #[error(
        "{address}: timed out while {doing} ({unsent_bytes} bytes not sent, {unread_bytes} received and not read); \
         is the server overloaded, stopped or behind a firewall?"
    )]
    Timeout {
        /// `host:port`.
        address: String,
        /// What was being waited for.
        doing: &'static str,
        /// Bytes framed but not handed to the socket.
        unsent_bytes: usize,
        /// Bytes received that the caller has not taken.
        unread_bytes: usize,
    },
    /// The caller takes no messages while the server keeps sending them.
    #[error(
        "{address}: {unread_bytes} received bytes have not been read, which is the limit of the input buffer; \
         take messages with next_op between writes, or raise backlog_bytes"
    )]
    Backlog {
        /// `host:port`.
        address: String,
        /// Bytes received that the caller has not taken.
        unread_bytes: usize,
        /// Bytes framed but not handed to the socket.
        unsent_bytes: usize,
    },
    /// TLS could not be set up or broke.
    #[error("{address}: TLS: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// The cause and what to do.
        reason: String,
    },
    /// The server did not accept who we are.
    #[error("{address}: the server refused {used}: {text}; check the credentials and the server's accounts")]
    Auth {
        /// `host:port`.
        address: String,
        /// The kind of credentials that were presented.
        used: &'static str,
        /// The server's words.
        text: String,
    },
    /// The server ended the connection with a reason.
    #[error("{address}: the server closed the connection: {text}")]
    Server {
        /// `host:port`.
        address: String,
        /// The server's words.
        text: String,
    },
    /// What came is not the NATS protocol.
    #[error("{address}: {source}; is this a NATS server's client port?")]
    Protocol {
        /// `host:port`.
        address: String,
        /// What was wrong.
        source: ParseError,
    },
    /// The message is larger than the server takes. Nothing was framed.
    #[error(
        "a message of {size_bytes} bytes (headers and payload) exceeds the server's max_payload of {max_bytes}; send less or raise max_payload"
    )]
    MaxPayload {
        /// Headers and payload together.
        size_bytes: usize,
        /// The server's limit.
        max_bytes: usize,
    },
    /// A subject, queue or reply that would break the framing. Nothing was framed.
    #[error("`{subject}` can't be a subject: it must not be empty and must hold no white space or control characters")]
    Subject {
        /// The subject, escaped.
        subject: String,
    },
    /// The connection is gone.
    #[error(
        "{address}: disconnected ({reason}) with {unsent_bytes} bytes not sent, {unread_bytes} received and not read, \
         {unanswered_pings} pings unanswered"
    )]
    Disconnected {
        /// `host:port`.
        address: String,
        /// The server's last words, or the socket's error.
        reason: String,
        /// Bytes framed but not handed to the socket. What was handed to it
        /// may be lost as well: only an answered ping proves arrival.
        unsent_bytes: usize,
        /// Bytes received that the caller has not taken; whole messages
        /// among them can still be taken.
        unread_bytes: usize,
        /// Pings sent without an answer.
        unanswered_pings: u64,
    },
}

impl WireError {
    /// Whether another server of the same cluster may well be reached.
    pub(super) fn is_of_one_server(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Refused { .. }
                | Self::Io { .. }
                | Self::Timeout { .. }
                | Self::Disconnected { .. }
                | Self::Server { .. }
        )
    }

    /// Whether the connection can still be used after this error.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::MaxPayload { .. } | Self::Subject { .. } | Self::Timeout { .. } | Self::Backlog { .. }
        )
    }
}
