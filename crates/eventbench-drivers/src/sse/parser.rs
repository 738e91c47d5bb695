//! The parser of `text/event-stream`: strict, incremental, and with a bound on what it keeps.
//!
//! Source: WHATWG HTML, "Server-sent events", section "Parsing an event stream". Bytes may come cut at any place. An event
//! that lies whole in one piece is handed on where it lies; only what a piece leaves unfinished is copied.

use memchr::memchr2;

/// What a stream may begin with, and what is then dropped.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Buffers that grew beyond this are given back once they are empty: 10,000 streams must not keep their largest event.
const KEPT_BYTES: usize = 1024;

/// One event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The type that an `event` line gave; empty where there was none, which means "message".
    pub kind: &'a [u8],
    /// The data lines, joined by line feeds.
    pub data: &'a [u8],
    /// The last id that an `id` line gave; empty where there was none.
    pub id: &'a [u8],
}

/// An event, or a line, is longer than the parser may keep. The stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// The parser of one stream.
#[derive(Debug)]
pub struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data of the event whose end has not come, each line followed by a line feed.
    data: Vec<u8>,
    kind: Vec<u8>,
    id: Vec<u8>,
    retry_ms: Option<u64>,
    most_bytes: usize,
    comments: u64,
    /// How much of the byte order mark has been seen; 3 once that is settled.
    mark: u8,
    has_data: bool,
    /// The last piece ended with a carriage return: a line feed that comes first belongs to it.
    after_return: bool,
    saw_return: bool,
    too_long: bool,
}

impl Parser {
    /// A parser that keeps at most `most_bytes` of an event.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            kind: Vec::new(),
            id: Vec::new(),
            retry_ms: None,
            most_bytes,
            comments: 0,
            mark: 0,
            has_data: false,
            after_return: false,
            saw_return: false,
            too_long: false,
        }
    }

    /// Reads a piece of the stream and hands on every event that it ends.
    ///
    /// # Errors
    /// An event is too long; what came before it was handed on, and the parser reads nothing any more.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        if self.too_long {
            return Err(TooLong(self.most_bytes));
        }
        if usize::from(self.mark) < BYTE_ORDER_MARK.len() {
            bytes = self.skip_mark(bytes);
        }
        while !bytes.is_empty() {
            if self.after_return {
                self.after_return = false;
                if let [b'\n', rest @ ..] = bytes {
                    bytes = rest;
                    continue;
                }
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.keep(bytes)?;
                self.line.extend_from_slice(bytes);
                break;
            };
            if bytes[end] == b'\r' {
                self.saw_return = true;
                self.after_return = true;
            }
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.keep(line)?;
            if !self.line.is_empty() {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, &mut each);
                if whole.capacity() <= KEPT_BYTES {
                    whole.clear();
                    self.line = whole;
                }
            } else if let Some(data) = self.whole_event(line, rest) {
                bytes = &rest[1..];
                each(Event {
                    kind: &self.kind,
                    data,
                    id: &self.id,
                });
                self.kind.clear();
            } else {
                self.take_line(line, &mut each);
            }
        }
        Ok(())
    }

    /// The data of an event whose only data line is `line`, when its blank line stands right behind it: the common case,
    /// which is handed on without a copy.
    #[inline]
    fn whole_event<'a>(&self, line: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
        if self.has_data || self.after_return || rest.first() != Some(&b'\n') {
            return None;
        }
        let value = line.strip_prefix(b"data:")?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    }

    /// Ends the stream. The standard drops an event without its blank line; `each` is given it, so that the caller may
    /// choose.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) {
        if self.too_long {
            return;
        }
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut each);
        }
        self.dispatch(&mut each);
    }

    /// Whether something has come that no blank line has ended.
    pub fn has_tail(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    /// Whether a line was ended by a carriage return, alone or with a line feed.
    pub fn saw_return(&self) -> bool {
        self.saw_return
    }

    /// Comment lines so far, such as heartbeats.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// The reconnection time that a `retry` line gave, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Bytes that it holds for what is unfinished.
    pub fn memory_bytes(&self) -> usize {
        self.line.capacity() + self.data.capacity() + self.kind.capacity() + self.id.capacity()
    }

    fn skip_mark<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let ([first, rest @ ..], Some(wanted)) = (bytes, BYTE_ORDER_MARK.get(usize::from(self.mark))) {
            if first != wanted {
                // What looked like the mark was the beginning of the first line.
                self.line.extend_from_slice(&BYTE_ORDER_MARK[..usize::from(self.mark)]);
                self.mark = BYTE_ORDER_MARK.len() as u8;
                break;
            }
            self.mark += 1;
            bytes = rest;
        }
        bytes
    }

    /// Refuses `more` bytes of a line that would be too many: with what is kept of its event, wherever it was cut.
    #[inline]
    fn keep(&mut self, more: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + more.len() <= self.most_bytes {
            return Ok(());
        }
        self.too_long = true;
        self.line = Vec::new();
        self.data = Vec::new();
        Err(TooLong(self.most_bytes))
    }

    fn take_line(&mut self, line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if line.is_empty() {
            return self.dispatch(each);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => {
                self.comments += 1;
                return;
            }
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
                self.has_data = true;
            }
            b"event" => {
                self.kind.clear();
                self.kind.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let digits = value
                    .iter()
                    .try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')));
                self.retry_ms = digits.or(self.retry_ms);
            }
            // Any other field means nothing, says the standard.
            _ => {}
        }
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.has_data) {
            each(Event {
                kind: &self.kind,
                data: self.data.strip_suffix(b"\n").unwrap_or(&self.data),
                id: &self.id,
            });
        }
        self.kind.clear();
        if self.data.capacity() > KEPT_BYTES {
            self.data = Vec::new();
        } else {
            self.data.clear();
        }
    }
}

#[cfg(test)]
mod tests;
