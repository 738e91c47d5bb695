//! A connection that its thread owns: frames are collected in one buffer and
//! written together, what arrives is parsed where it lies.
//!
//! Nothing happens behind the caller's back but this: a PING of the server is
//! answered when its bytes are looked at, and they are looked at in
//! [`poll_read`](Connection::poll_read) with [`next_op`](Connection::next_op),
//! in [`settle`](Connection::settle), and in [`flush`](Connection::flush)
//! while it has to wait. Who only ever publishes must call one of the first
//! two now and then, or the server takes the connection for dead (after four
//! minutes, by its defaults).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;

use super::encode;
use super::error::WireError;
use super::info::ServerInfo;
use super::parse::{Frame, Kind, Op, ParseError, Parser};
use super::transport::Transport;
use super::wait::{Deadline, wait_fd};

/// How much is worth collecting before it is written: larger writes gain
/// nothing.
pub const OUT_TARGET_BYTES: usize = 64 * 1024;

/// One connection to one server.
pub struct Connection {
    address: String,
    transport: Transport,
    input: Parser,
    out: Vec<u8>,
    // How much of `out` the transport has taken.
    out_sent: usize,
    info: ServerInfo,
    max_payload_bytes: usize,
    pings: u64,
    pongs: u64,
    last_sid: u64,
    // The last read filled all its space, so that more is likely there and a
    // read is worth trying before a wait.
    read_first: bool,
    // The server's parting words.
    fatal: Option<String>,
    written_bytes: u64,
    read_bytes: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("client_id", &self.info.client_id)
            .field("unsent_bytes", &self.unsent_bytes())
            .field("unread_bytes", &self.input.unread_bytes())
            .finish_non_exhaustive()
    }
}

impl AsFd for Connection {
    /// The socket, to be polled. For many connections
    /// [`PollSet`](super::PollSet) is right and safe: a readable socket is
    /// not the only sign that there is something to do (see
    /// [`has_buffered`](Connection::has_buffered)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}

impl Connection {
    pub(super) fn over(address: String, transport: Transport, input: Parser, info: ServerInfo) -> Self {
        let mut connection = Self {
            address,
            transport,
            input,
            out: Vec::with_capacity(OUT_TARGET_BYTES + 4096),
            out_sent: 0,
            info: ServerInfo::default(),
            max_payload_bytes: 0,
            pings: 0,
            pongs: 0,
            last_sid: 0,
            read_first: false,
            fatal: None,
            written_bytes: 0,
            read_bytes: 0,
        };
        connection.set_info(info);
        connection
    }

    /// Forgets the counts of the handshake.
    pub(super) fn begin_counting(&mut self) {
        self.pings = 0;
        self.pongs = 0;
        self.written_bytes = 0;
        self.read_bytes = 0;
    }

    fn set_info(&mut self, info: ServerInfo) {
        self.input.set_max_payload(info.max_payload);
        self.max_payload_bytes = usize::try_from(info.max_payload).unwrap_or(usize::MAX);
        self.info = info;
    }

    /// The latest INFO of the server.
    pub fn server_info(&self) -> &ServerInfo {
        &self.info
    }

    /// `host:port` of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes given to the transport since the handshake (before encryption).
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes received since the handshake (after decryption).
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    // ---- writing ----

    /// The output buffer, to which whole frames may be appended (see
    /// [`encode`]); what is in it already must stay.
    #[inline]
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes framed but not yet taken by the socket's buffer. Encrypted bytes
    /// that still wait count as one.
    #[inline]
    pub fn unsent_bytes(&self) -> usize {
        self.out.len().saturating_sub(self.out_sent) + usize::from(self.transport.has_rest())
    }

    /// Whether enough is collected that collecting more gains nothing.
    #[inline]
    pub fn wants_flush(&self) -> bool {
        self.out.len() - self.out_sent.min(self.out.len()) >= OUT_TARGET_BYTES
    }

    /// Frames a publication.
    ///
    /// # Errors
    ///
    /// [`WireError::Subject`] or [`WireError::MaxPayload`], with nothing
    /// framed.
    #[inline]
    pub fn pub_frame(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), WireError> {
        let subject = subject.as_ref();
        self.check(subject, reply, payload.len())?;
        encode::publish(&mut self.out, subject, reply, payload);
        Ok(())
    }

    /// Frames a publication with a header block, as
    /// [`encode::header_block`] makes it.
    ///
    /// # Errors
    ///
    /// As [`pub_frame`](Self::pub_frame); headers count towards the limit.
    #[inline]
    pub fn hpub_frame(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), WireError> {
        let subject = subject.as_ref();
        self.check(subject, reply, headers.len() + payload.len())?;
        encode::publish_with_headers(&mut self.out, subject, reply, headers, payload);
        Ok(())
    }

    /// Frames a subscription and gives its number, which its messages carry.
    ///
    /// # Errors
    ///
    /// [`WireError::Subject`] for the subject or the queue.
    pub fn sub(&mut self, subject: impl AsRef<[u8]>, queue: Option<&[u8]>) -> Result<u64, WireError> {
        let subject = subject.as_ref();
        self.check(subject, queue, 0)?;
        self.last_sid += 1;
        encode::subscribe(&mut self.out, subject, queue, self.last_sid);
        Ok(self.last_sid)
    }

    /// Frames the end of a subscription: at once, or after `max` messages in
    /// all.
    pub fn unsub(&mut self, sid: u64, max: Option<u64>) {
        encode::unsubscribe(&mut self.out, sid, max);
    }

    /// Frames a ping and gives its ticket: the server has processed all that
    /// was framed before as soon as [`pongs`](Self::pongs) reaches it.
    pub fn ping(&mut self) -> u64 {
        encode::ping(&mut self.out);
        self.pings += 1;
        self.pings
    }

    /// How many pings were answered.
    #[inline]
    pub fn pongs(&self) -> u64 {
        self.pongs
    }

    #[inline]
    fn check(&self, subject: &[u8], other: Option<&[u8]>, size_bytes: usize) -> Result<(), WireError> {
        if !encode::is_subject(subject) {
            return Err(bad_subject(subject));
        }
        if let Some(other) = other
            && !encode::is_subject(other)
        {
            return Err(bad_subject(other));
        }
        if size_bytes > self.max_payload_bytes {
            return Err(WireError::MaxPayload {
                size_bytes,
                max_bytes: self.max_payload_bytes,
            });
        }
        Ok(())
    }

    /// Writes what the socket takes without waiting; whether that was all.
    ///
    /// # Errors
    ///
    /// [`WireError::Disconnected`], with the server's reason if it gave one.
    pub fn try_flush(&mut self) -> Result<bool, WireError> {
        while let Some(rest) = self.out.get(self.out_sent..).filter(|rest| !rest.is_empty()) {
            match self.transport.write(rest) {
                Ok(0) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.out_sent += n;
                    self.written_bytes += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.out_sent >= OUT_TARGET_BYTES.max(self.out.len() / 2) {
                        self.out.drain(..self.out_sent);
                        self.out_sent = 0;
                    }
                    return Ok(false);
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        match self.transport.send_rest() {
            Ok(all) => Ok(all),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Writes everything. While the socket takes nothing this reads, so that
    /// a server which itself waits for us to read goes on, and its pings are
    /// answered; messages stay for [`next_op`](Self::next_op).
    ///
    /// That all was written means that the system has it, not the server:
    /// see [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// [`WireError::Timeout`] with what is left (which stays, for another
    /// attempt), [`WireError::Backlog`] if meanwhile more arrived than the
    /// connection may hold, [`WireError::Server`] or
    /// [`WireError::Disconnected`] if the connection is over.
    pub fn flush(&mut self, until: Deadline) -> Result<(), WireError> {
        while !self.try_flush()? {
            self.read_ahead(PollFlags::OUT, until, "writing")?;
        }
        Ok(())
    }

    /// Writes everything and waits until the server has processed it, as an
    /// answered ping proves. Messages that arrive stay for
    /// [`next_op`](Self::next_op).
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn settle(&mut self, until: Deadline) -> Result<(), WireError> {
        let ticket = self.ping();
        self.flush(until)?;
        self.look_ahead()?;
        while self.pongs < ticket {
            let flags = if self.try_flush()? {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            self.read_ahead(flags, until, "waiting for PONG")?;
        }
        // A ping of the server may have been answered last.
        self.try_flush()?;
        Ok(())
    }

    /// Waits for the socket and keeps what can be read, looking at it without
    /// taking it.
    fn read_ahead(&mut self, flags: PollFlags, until: Deadline, doing: &'static str) -> Result<(), WireError> {
        let full = self.input.space().is_empty();
        if full && flags.is_empty() {
            return Err(self.backlog());
        }
        if self.transport.has_buffered() && !full {
            self.fill()?;
            return self.look_ahead();
        }
        let flags = if full { flags } else { flags | PollFlags::IN };
        let events = self.wait(flags, until)?;
        if events.is_empty() {
            return Err(if full {
                self.backlog()
            } else {
                WireError::Timeout {
                    address: self.address.clone(),
                    doing,
                    unsent_bytes: self.unsent_bytes(),
                    unread_bytes: self.input.unread_bytes(),
                }
            });
        }
        if !full && events != PollFlags::OUT {
            self.fill()?;
            self.look_ahead()?;
        }
        Ok(())
    }

    // ---- reading ----

    /// Whether [`poll_read`](Self::poll_read) would return at once, whatever
    /// the socket says: operations were read ahead, or bytes are decrypted
    /// already.
    #[inline]
    pub fn has_buffered(&self) -> bool {
        self.input.may_have_op() || self.transport.has_buffered()
    }

    /// Waits until there is something for [`next_op`](Self::next_op) to look
    /// at; false when the deadline passed. Take all operations before calling
    /// it again. If it has to wait it writes what is framed first: an answer
    /// to what was never sent does not come.
    ///
    /// # Errors
    ///
    /// [`WireError::Disconnected`] at the end of the stream.
    pub fn poll_read(&mut self, until: Deadline) -> Result<bool, WireError> {
        if self.input.may_have_op() && self.input.has_op() {
            return Ok(true);
        }
        if until != Deadline::NOW && self.unsent_bytes() > 0 {
            self.try_flush()?;
        }
        if (until == Deadline::NOW || self.read_first || self.transport.has_buffered()) && self.fill()? > 0 {
            return Ok(true);
        }
        if until == Deadline::NOW {
            return Ok(false);
        }
        loop {
            let mut flags = PollFlags::IN;
            if self.unsent_bytes() > 0 {
                flags |= PollFlags::OUT;
            }
            let events = self.wait(flags, until)?;
            if events.is_empty() {
                return Ok(false);
            }
            if events.contains(PollFlags::OUT) {
                self.try_flush()?;
            }
            if events != PollFlags::OUT && self.fill()? > 0 {
                return Ok(true);
            }
        }
    }

    /// The next operation received, if it is complete. It borrows the
    /// connection; to answer it without copying use
    /// [`next_op_with`](Self::next_op_with).
    ///
    /// # Errors
    ///
    /// [`WireError::Server`] for an error that ends the connection (others
    /// are [`Op::Err`]) and [`WireError::Protocol`] for what is not NATS.
    #[inline]
    pub fn next_op(&mut self) -> Option<Result<Op<'_>, WireError>> {
        match self.advance() {
            Ok(None) => None,
            Ok(Some((at, frame))) => Some(Ok(self.input.op(at, frame))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Gives the next operation to a function together with the output
    /// buffer, so that an answer can be framed (see [`encode`]) from what the
    /// message holds.
    ///
    /// # Errors
    ///
    /// As [`next_op`](Self::next_op).
    #[inline]
    pub fn next_op_with<R>(&mut self, take: impl FnOnce(Op<'_>, &mut Vec<u8>) -> R) -> Option<Result<R, WireError>> {
        match self.advance() {
            Ok(None) => None,
            Ok(Some((at, frame))) => Some(Ok(take(self.input.op(at, frame), &mut self.out))),
            Err(error) => Some(Err(error)),
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<(usize, Frame)>, WireError> {
        let frame = match self.input.peek() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(source) => return Err(self.protocol(source)),
        };
        let (at, fresh) = self.input.take(frame);
        if !matches!(frame.kind, Kind::Msg(_)) {
            self.heed(at, frame, fresh)?;
        }
        Ok(Some((at, frame)))
    }

    /// Does what an operation that is no message asks for.
    fn heed(&mut self, at: usize, frame: Frame, fresh: bool) -> Result<(), WireError> {
        if fresh {
            self.note(at, frame)?;
            if matches!(frame.kind, Kind::Ping) {
                self.try_flush()?;
            }
        }
        match self.input.op(at, frame) {
            Op::Err(text) if is_fatal(text) => Err(WireError::Server {
                address: self.address.clone(),
                text: text.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Notes an operation when it is seen for the first time.
    fn note(&mut self, at: usize, frame: Frame) -> Result<(), WireError> {
        match self.input.op(at, frame) {
            Op::Ping => encode::pong(&mut self.out),
            Op::Pong if self.pongs == self.pings => {
                return Err(self.protocol(ParseError::Unexpected(
                    "it sent a PONG that no PING asked for".to_owned(),
                )));
            }
            Op::Pong => self.pongs += 1,
            Op::Info(json) => match serde_json::from_slice(json) {
                Ok(info) => self.set_info(info),
                Err(error) => return Err(self.protocol(ParseError::Info(error.to_string()))),
            },
            Op::Err(text) if is_fatal(text) => self.fatal = Some(text.to_owned()),
            Op::Err(_) | Op::Ok | Op::Msg(_) => {}
        }
        Ok(())
    }

    /// Notes all that was read, without taking it.
    fn look_ahead(&mut self) -> Result<(), WireError> {
        loop {
            match self.input.scan() {
                Ok(Some((at, frame))) => self.note(at, frame)?,
                Ok(None) => break,
                Err(source) => return Err(self.protocol(source)),
            }
        }
        match &self.fatal {
            Some(text) => Err(WireError::Server {
                address: self.address.clone(),
                text: text.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Reads once without waiting; how many bytes came.
    fn fill(&mut self) -> Result<usize, WireError> {
        loop {
            let space = self.input.space();
            let room = space.len();
            if room == 0 {
                return Err(self.backlog());
            }
            match self.transport.read(space) {
                Ok(0) => return Err(self.disconnected("the server closed the connection".to_owned())),
                Ok(n) => {
                    self.input.filled(n);
                    self.read_bytes += n as u64;
                    self.read_first = n == room;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.read_first = false;
                    return Ok(0);
                }
                Err(error) => return Err(self.disconnected(error.to_string())),
            }
        }
    }

    fn wait(&self, flags: PollFlags, until: Deadline) -> Result<PollFlags, WireError> {
        wait_fd(self, flags, until).map_err(|source| WireError::Io {
            address: self.address.clone(),
            doing: "waiting for the socket",
            source,
        })
    }

    // ---- errors ----

    #[cold]
    fn protocol(&self, source: ParseError) -> WireError {
        WireError::Protocol {
            address: self.address.clone(),
            source,
        }
    }

    #[cold]
    fn backlog(&self) -> WireError {
        WireError::Backlog {
            address: self.address.clone(),
            unread_bytes: self.input.unread_bytes(),
            unsent_bytes: self.unsent_bytes(),
        }
    }

    #[cold]
    fn disconnected(&self, reason: String) -> WireError {
        WireError::Disconnected {
            address: self.address.clone(),
            reason: match &self.fatal {
                Some(words) => format!("the server said {words}; {reason}"),
                None => reason,
            },
            unsent_bytes: self.unsent_bytes(),
            unread_bytes: self.input.unread_bytes(),
            unanswered_pings: self.pings - self.pongs,
        }
    }

    /// A write failed: the server may have said why.
    #[cold]
    fn broken(&mut self, error: io::Error) -> WireError {
        while !self.input.space().is_empty() && matches!(self.fill(), Ok(1..)) {}
        // Whatever else is wrong with it, the write has failed already.
        let _ = self.look_ahead();
        self.disconnected(error.to_string())
    }
}

#[cold]
fn bad_subject(subject: &[u8]) -> WireError {
    WireError::Subject {
        subject: subject.escape_ascii().to_string(),
    }
}

/// Whether the server ends the connection after this error.
fn is_fatal(text: &str) -> bool {
    let words = text.trim_matches('\'').to_ascii_lowercase();
    let harmless = [
        "permissions violation",
        "invalid subject",
        "invalid publish subject",
        "maximum subscriptions",
    ];
    !harmless.iter().any(|start| words.starts_with(start))
}
