//! One HTTP/1.1 connection: bytes out, and a response taken apart as it comes in.

use super::body::Body;
use super::exchange::{Answer, Exchange, Flow};
use super::head::{self, Found, Framing};
use super::measures::Measures;
use super::task::Task;
use super::tls::Tls;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// What bytes have made of the response under way.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    More,
    /// All of it has come; whether the connection can take another request.
    Whole {
        /// Whether the connection can be used again.
        reusable: bool,
    },
    /// It is not worth going on.
    Stop,
    /// It cannot be understood.
    Malformed(String),
}

/// A connection and what of a message is unfinished on it.
pub struct Connection {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
    /// What the socket has not taken.
    out: Vec<u8>,
    /// The beginning of a head.
    part: Vec<u8>,
    body: Option<Body>,
    keeps_alive: bool,
}

impl Connection {
    /// A connection over a socket that does not wait.
    pub fn new(socket: TcpStream, tls: Option<Box<Tls>>) -> Self {
        Self {
            socket,
            tls,
            out: Vec::new(),
            part: Vec::new(),
            body: None,
            keeps_alive: false,
        }
    }

    /// Why connecting failed, if it did.
    pub fn take_error(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Whether it is encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Goes on with the handshake; whether there is none or it is done.
    pub fn shake(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.shake(&mut self.socket))
    }

    /// Sends a request, or keeps what the socket does not take.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut self.socket, bytes);
        }
        let mut at = 0;
        if self.out.is_empty() {
            at = write_some(&mut self.socket, bytes)?;
        }
        self.out.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    /// Sends what is left to be sent.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.flush(&mut self.socket);
        }
        let n = write_some(&mut self.socket, &self.out)?;
        self.out.drain(..n);
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Whether something is left to be sent.
    pub fn wants_write(&self) -> bool {
        !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads what is there; `WouldBlock` when nothing is, 0 at the end.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => tls.read(&mut self.socket, buffer),
        }
    }

    /// Takes the bytes that were read for the response to `exchange`.
    pub fn take(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        exchange: &mut Exchange,
        task: &Task,
        measures: &mut Measures,
    ) -> Step {
        if self.body.is_some() || self.part.is_empty() {
            return self.walk(bytes, now_ns, exchange, task, measures);
        }
        let mut whole = std::mem::take(&mut self.part);
        whole.extend_from_slice(bytes);
        self.walk(&whole, now_ns, exchange, task, measures)
    }

    fn walk(
        &mut self,
        mut bytes: &[u8],
        now_ns: u64,
        exchange: &mut Exchange,
        task: &Task,
        measures: &mut Measures,
    ) -> Step {
        while self.body.is_none() {
            if bytes.is_empty() {
                return Step::More;
            }
            match head::read(bytes) {
                Err(why) => return Step::Malformed(format!("{why}: {}", beginning(bytes))),
                Ok(Found::Part) => {
                    self.part.extend_from_slice(bytes);
                    return Step::More;
                }
                Ok(Found::Whole(head, len)) => {
                    bytes = &bytes[len..];
                    // An interim answer says nothing; switching protocols was not asked for.
                    if head.status < 200 && head.status != 101 {
                        continue;
                    }
                    let answer = Answer {
                        status: head.status,
                        content_type: head.content_type,
                        encoding: head.encoding,
                        location: head.location,
                    };
                    exchange.head(answer, now_ns, task, measures);
                    let bodiless = task.method == "HEAD";
                    self.keeps_alive =
                        head.keeps_alive && head.status != 101 || bodiless && head.framing != Framing::UntilClose;
                    self.body = Some(Body::new(if bodiless { Framing::Length(0) } else { head.framing }));
                }
            }
        }
        let Some(body) = &mut self.body else { return Step::More };
        loop {
            match body.next(&mut bytes) {
                Ok(Some(piece)) => {
                    if exchange.data(piece, now_ns, task, measures) == Flow::Stop {
                        return Step::Stop;
                    }
                }
                Ok(None) => break,
                Err(e) => return Step::Malformed(e.to_string()),
            }
        }
        if !body.is_done() {
            return Step::More;
        }
        if !bytes.is_empty() {
            return Step::Malformed(format!("bytes behind its end: {}", beginning(bytes)));
        }
        self.body = None;
        Step::Whole {
            reusable: self.keeps_alive && !self.wants_write(),
        }
    }

    /// Whether a response may end here with the connection.
    pub fn may_end(&self) -> bool {
        self.body.as_ref().is_some_and(Body::ends_with_connection)
    }

    /// Whether nothing at all of a response has come.
    pub fn is_silent(&self) -> bool {
        self.body.is_none() && self.part.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match socket.write(&bytes[at..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned()
}
