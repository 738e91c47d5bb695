//! What a server sends, read from a buffer as it grows, without copying and
//! without input or output: the bytes are put in by whoever has a socket.

use memchr::memchr;

/// The longest line of a message operation (subject, reply and sizes). The
/// server's own default for a control line is 4 KiB; this is twice that.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// The longest INFO or -ERR line: INFO lists every address of a cluster.
pub const MAX_TEXT_LINE_BYTES: usize = 64 * 1024;
/// No server may be configured to a larger `max_payload`; one that claims more
/// is not believed.
pub const HARD_MESSAGE_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// What a server may add to a message beyond `max_payload`: JetStream's own
/// headers.
const HEADER_SLACK_BYTES: usize = 64 * 1024;
const FIRST_BUFFER_BYTES: usize = 64 * 1024;
const LEAST_SPACE_BYTES: usize = 4 * 1024;

/// What is wrong with the bytes that came. After one of these the stream can't
/// be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An operation that the protocol does not have.
    #[error("not the NATS protocol: it sent `{0}`")]
    Unknown(String),
    /// A line without an end.
    #[error("a line of the server exceeds {0} bytes")]
    LineTooLong(usize),
    /// A message operation with wrong or missing fields.
    #[error("malformed message line `{0}`")]
    Arguments(String),
    /// A message larger than the server's own limit.
    #[error("the server announced a message of {size_bytes} bytes; at most {max_bytes} are possible by its INFO")]
    TooLarge {
        /// What the line says.
        size_bytes: u64,
        /// `max_payload` and what headers the server may add.
        max_bytes: usize,
    },
    /// A message that does not end where its line said.
    #[error("a message does not end after the announced {0} bytes")]
    Unterminated(usize),
    /// INFO without the JSON it should hold.
    #[error("INFO can't be read: {0}")]
    Info(String),
    /// An operation at the wrong time.
    #[error("{0}")]
    Unexpected(String),
}

/// A part of a frame, from the frame's first byte.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    fn of(self, frame: &[u8]) -> &[u8] {
        let at = self.at as usize;
        frame.get(at..at + self.len as usize).unwrap_or_default()
    }
}

/// The extent of one operation, without a borrow of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    len: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Msg(Shape),
    Ping,
    Pong,
    Ok,
    Info(Text),
    Err(Text),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Text(Span);

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    sid: u64,
    subject: Span,
    reply: Option<Span>,
    headers: Option<Span>,
    payload: Span,
}

/// One operation of the server; what it borrows lives until the next call on
/// the parser or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// A message, with or without headers.
    Msg(Message<'a>),
    /// The server asks whether we live; a [`Connection`](super::Connection)
    /// has answered by the time this is seen.
    Ping,
    /// The answer to the oldest unanswered ping.
    Pong,
    /// The server's state changed; raw JSON.
    Info(&'a [u8]),
    /// Acknowledgement in verbose mode.
    Ok,
    /// An error after which the connection goes on, such as a permissions
    /// violation (from the bare parser: any error).
    Err(&'a str),
}

/// A delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The subject it was published to.
    pub subject: &'a [u8],
    /// The subscription it matched.
    pub sid: u64,
    /// Where an answer is expected.
    pub reply: Option<&'a [u8]>,
    /// The whole header block, from `NATS/1.0` to its empty line.
    pub headers: Option<&'a [u8]>,
    /// The content.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The status in the first header line, as in `NATS/1.0 503`: 503 means
    /// that nobody listens to the subject of a request.
    #[inline]
    pub fn status(&self) -> Option<u16> {
        let code = self.headers?.strip_prefix(b"NATS/1.0 ")?.get(..3)?;
        code.iter()
            .try_fold(0_u16, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
    }

    /// The words after the status code; empty if there are none.
    pub fn status_text(&self) -> Option<&'a [u8]> {
        self.status()?;
        let line = self.headers?.get(b"NATS/1.0 503".len()..)?;
        let end = memchr(b'\r', line).unwrap_or(line.len());
        Some(line[..end].trim_ascii())
    }

    /// Names and values of the headers, in order, values without the white
    /// space around them.
    pub fn header_lines(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let lines = self.headers.unwrap_or_default().split(|&b| b == b'\n');
        lines.skip(1).filter_map(|line| {
            let colon = memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The first value of a header, its name compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.header_lines()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

enum Step {
    Frame(Frame),
    /// At least this many bytes are needed before it is worth looking again.
    Need(usize),
}

/// The bytes received and not yet taken, and where their operations end.
///
/// Bytes go into [`space`](Self::space) and are declared by
/// [`filled`](Self::filled); operations come out of [`next_op`](Self::next_op).
/// Memory grows to the largest message that the server may send, and to the
/// backlog limit if the caller fills without taking; it does not shrink.
#[derive(Debug)]
pub struct Parser {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    // Bytes from `start` without which the first operation is not complete.
    need: usize,
    // Up to here `scan` has looked ahead; never before `start` when read.
    scanned: usize,
    max_message_bytes: usize,
    backlog_bytes: usize,
}

impl Parser {
    /// A parser that holds at most `backlog_bytes` (or one message, if that is
    /// more) and accepts messages of `max_payload` bytes.
    pub fn new(max_payload_bytes: u64, backlog_bytes: usize) -> Self {
        let mut parser = Self {
            buf: vec![0; FIRST_BUFFER_BYTES],
            start: 0,
            end: 0,
            need: 1,
            scanned: 0,
            max_message_bytes: 0,
            backlog_bytes,
        };
        parser.set_max_payload(max_payload_bytes);
        parser
    }

    /// Takes over the limit of a (new) INFO.
    pub fn set_max_payload(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(HARD_MESSAGE_LIMIT_BYTES);
        self.max_message_bytes = bytes + HEADER_SLACK_BYTES;
    }

    /// The most that this parser will ever hold, in bytes.
    pub fn memory_limit_bytes(&self) -> usize {
        let one_message = self.max_message_bytes + MAX_LINE_BYTES + 2;
        one_message
            .max(self.backlog_bytes)
            .max(MAX_TEXT_LINE_BYTES)
            .max(FIRST_BUFFER_BYTES)
    }

    /// The size of the buffer now, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.buf.len()
    }

    /// Bytes received and not taken.
    pub fn unread_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Where to put received bytes. Empty if the limit is reached: operations
    /// must be taken first.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.scanned = self.scanned.saturating_sub(self.end);
            self.start = 0;
            self.end = 0;
        }
        if self.buf.len() - self.end < LEAST_SPACE_BYTES && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buf.len() - self.end < LEAST_SPACE_BYTES {
            let larger = (self.buf.len() * 2).min(self.memory_limit_bytes());
            if larger > self.buf.len() {
                self.buf.resize(larger, 0);
            }
        }
        &mut self.buf[self.end..]
    }

    /// Declares that the first `bytes` of the space were filled.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buf.len());
    }

    /// Whether [`next_op`](Self::next_op) has something to give.
    pub fn has_op(&mut self) -> bool {
        !matches!(self.peek(), Ok(None))
    }

    /// Whether an operation may be complete, without looking at the bytes.
    pub(super) fn may_have_op(&self) -> bool {
        self.unread_bytes() >= self.need
    }

    /// The next complete operation, if there is one. After an error every
    /// further call gives the error again.
    pub fn next_op(&mut self) -> Option<Result<Op<'_>, ParseError>> {
        match self.peek() {
            Ok(None) => None,
            Err(error) => Some(Err(error)),
            Ok(Some(frame)) => {
                let (at, _) = self.take(frame);
                Some(Ok(self.op(at, frame)))
            }
        }
    }

    /// The first operation, left where it is.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Option<Frame>, ParseError> {
        if self.unread_bytes() < self.need {
            return Ok(None);
        }
        match parse(&self.buf[self.start..self.end], self.max_message_bytes)? {
            Step::Frame(frame) => Ok(Some(frame)),
            Step::Need(bytes) => {
                self.need = bytes;
                Ok(None)
            }
        }
    }

    /// Passes the first operation, which `peek` gave; says where it lies and
    /// whether it is seen for the first time (and not already by `scan`).
    #[inline]
    pub(super) fn take(&mut self, frame: Frame) -> (usize, bool) {
        let at = self.start;
        let fresh = at >= self.scanned;
        self.start += frame.len;
        self.need = 1;
        (at, fresh)
    }

    /// Looks at the next operation beyond those taken and scanned, without
    /// taking it.
    pub(super) fn scan(&mut self) -> Result<Option<(usize, Frame)>, ParseError> {
        let at = self.scanned.max(self.start);
        match parse(&self.buf[at..self.end], self.max_message_bytes)? {
            Step::Need(_) => Ok(None),
            Step::Frame(frame) => {
                self.scanned = at + frame.len;
                Ok(Some((at, frame)))
            }
        }
    }

    /// The operation at a place that `take` or `scan` gave.
    #[inline]
    pub(super) fn op(&self, at: usize, frame: Frame) -> Op<'_> {
        let bytes = self.buf.get(at..at + frame.len).unwrap_or_default();
        match frame.kind {
            Kind::Msg(shape) => Op::Msg(Message {
                subject: shape.subject.of(bytes),
                sid: shape.sid,
                reply: shape.reply.map(|span| span.of(bytes)),
                headers: shape.headers.map(|span| span.of(bytes)),
                payload: shape.payload.of(bytes),
            }),
            Kind::Ping => Op::Ping,
            Kind::Pong => Op::Pong,
            Kind::Ok => Op::Ok,
            Kind::Info(text) => Op::Info(text.0.of(bytes)),
            Kind::Err(text) => Op::Err(std::str::from_utf8(text.0.of(bytes)).unwrap_or("(an error that is not UTF-8)")),
        }
    }
}

/// The first operation of `bytes`.
fn parse(bytes: &[u8], max_message_bytes: usize) -> Result<Step, ParseError> {
    let Some(&first) = bytes.first() else {
        return Ok(Step::Need(1));
    };
    let limit = match first {
        b'M' | b'm' | b'H' | b'h' => MAX_LINE_BYTES,
        b'I' | b'i' | b'-' => MAX_TEXT_LINE_BYTES,
        b'P' | b'p' | b'+' => 16,
        _ => return Err(ParseError::Unknown(shown(bytes))),
    };
    let Some(newline) = memchr(b'\n', &bytes[..bytes.len().min(limit)]) else {
        if bytes.len() >= limit {
            return Err(ParseError::LineTooLong(limit));
        }
        return Ok(Step::Need(bytes.len() + 1));
    };
    let Some(line) = bytes[..newline].strip_suffix(b"\r") else {
        return Err(ParseError::Unknown(shown(bytes)));
    };
    let len = newline + 1;
    let verb = line.split(|&b| b == b' ' || b == b'\t').next().unwrap_or_default();
    let simple = |kind| Ok(Step::Frame(Frame { len, kind }));
    let text = || {
        let rest = &line[verb.len()..];
        let rest_at = line.len() - rest.trim_ascii_start().len();
        Text(Span {
            at: rest_at as u32,
            len: line[rest_at..].trim_ascii_end().len() as u32,
        })
    };
    if verb.eq_ignore_ascii_case(b"MSG") {
        message(bytes, line, len, false, max_message_bytes)
    } else if verb.eq_ignore_ascii_case(b"HMSG") {
        message(bytes, line, len, true, max_message_bytes)
    } else if line.eq_ignore_ascii_case(b"PING") {
        simple(Kind::Ping)
    } else if line.eq_ignore_ascii_case(b"PONG") {
        simple(Kind::Pong)
    } else if line.eq_ignore_ascii_case(b"+OK") {
        simple(Kind::Ok)
    } else if verb.eq_ignore_ascii_case(b"INFO") {
        simple(Kind::Info(text()))
    } else if verb.eq_ignore_ascii_case(b"-ERR") {
        simple(Kind::Err(text()))
    } else {
        Err(ParseError::Unknown(shown(bytes)))
    }
}

/// `MSG subject sid [reply] size` or `HMSG subject sid [reply] header-size size`.
#[inline]
fn message(
    bytes: &[u8],
    line: &[u8],
    line_len: usize,
    with_headers: bool,
    max_message_bytes: usize,
) -> Result<Step, ParseError> {
    let malformed = || ParseError::Arguments(shown(line));
    let sizes = if with_headers { 2 } else { 1 };
    let mut words = [Span { at: 0, len: 0 }; 5];
    let mut count = 0;
    let mut at = 3 + usize::from(with_headers);
    while at < line.len() {
        if line[at] == b' ' || line[at] == b'\t' {
            at += 1;
            continue;
        }
        let word = &line[at..];
        let len = word.iter().position(|&b| b == b' ' || b == b'\t').unwrap_or(word.len());
        *words.get_mut(count).ok_or_else(malformed)? = Span {
            at: at as u32,
            len: len as u32,
        };
        count += 1;
        at += len;
    }
    let reply = match count.checked_sub(2 + sizes) {
        Some(0) => None,
        Some(1) => Some(words[2]),
        _ => return Err(malformed()),
    };
    let number_at = |index: usize| number(words[index].of(line)).ok_or_else(malformed);
    let sid = number_at(1)?;
    let size = number_at(count - 1)?;
    let header_len = if with_headers { number_at(count - 2)? } else { 0 };
    if header_len > size {
        return Err(malformed());
    }
    if size > max_message_bytes as u64 {
        return Err(ParseError::TooLarge {
            size_bytes: size,
            max_bytes: max_message_bytes,
        });
    }
    let (size, header_len) = (size as usize, header_len as usize);
    let len = line_len + size + 2;
    if bytes.len() < len {
        return Ok(Step::Need(len));
    }
    if bytes[len - 2..len] != *b"\r\n" {
        return Err(ParseError::Unterminated(size));
    }
    let headers = with_headers.then_some(Span {
        at: line_len as u32,
        len: header_len as u32,
    });
    let payload = Span {
        at: (line_len + header_len) as u32,
        len: (size - header_len) as u32,
    };
    Ok(Step::Frame(Frame {
        len,
        kind: Kind::Msg(Shape {
            sid,
            subject: words[0],
            reply,
            headers,
            payload,
        }),
    }))
}

/// Decimal digits only, at most 19 of them, which always fit.
#[inline]
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// The beginning of some bytes, fit for an error message.
fn shown(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len()).min(48);
    bytes[..end].trim_ascii_end().escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
