//! The frames of direct mode: a header line, then the payload, then a line feed.
//!
//! `<due CLOCK_MONOTONIC ns> <subject> <payload bytes>` hands an event over at its due time;
//! `query <subject> <payload bytes>` asks, and is answered with one line of JSON.

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When the event is due on `CLOCK_MONOTONIC` in nanoseconds; `None` for a query.
    pub due_ns: Option<u64>,
    /// Its subject.
    pub subject: &'a str,
    /// Bytes of payload that follow the header's line feed, without the line feed behind them.
    pub payload_bytes: usize,
}

/// Why a header or frame can't be read. The connection ends, for the next frame can't be found any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// Not the three fields.
    #[error("header {0:?} is not `<due_ns>|query <subject> <payload bytes>`")]
    Header(String),
    /// The payload is larger than one frame may carry.
    #[error("payload of {bytes} bytes, at most {limit_bytes} fit a frame")]
    TooLarge {
        /// Announced size.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The payload is not followed by a line feed.
    #[error("the payload is not followed by a line feed")]
    Unterminated,
}

/// Longest header line, line feed included: far more than any subject of the bus needs.
pub(crate) const HEADER_LIMIT_BYTES: u64 = 512;

/// Parses a header line, without its line feed.
///
/// # Errors
/// [`FrameError::Header`] with the line, cut to a readable length.
pub fn parse_header(line: &[u8]) -> Result<Frame<'_>, FrameError> {
    let refuse = || FrameError::Header(String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned());
    let mut fields = std::str::from_utf8(line).map_err(|_| refuse())?.split(' ');
    let (Some(due), Some(subject), Some(payload), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(refuse());
    };
    let due_ns = match due {
        "query" => None,
        _ => Some(due.parse().map_err(|_| refuse())?),
    };
    if subject.is_empty() {
        return Err(refuse());
    }
    Ok(Frame {
        due_ns,
        subject,
        payload_bytes: payload.parse().map_err(|_| refuse())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_parse() {
        assert_eq!(
            parse_header(b"123 bus.chat.message 45"),
            Ok(Frame {
                due_ns: Some(123),
                subject: "bus.chat.message",
                payload_bytes: 45
            })
        );
        assert_eq!(
            parse_header(b"query bus.health 0"),
            Ok(Frame {
                due_ns: None,
                subject: "bus.health",
                payload_bytes: 0
            })
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            &b""[..],
            b"1 a",
            b"1 a 2 3",
            b"-1 a 2",
            b"1  2",
            b"x a 2",
            b"1 a -2",
            b"1 a 2\r",
            b"\xff a 2",
            b"query  2",
        ] {
            assert!(matches!(parse_header(line), Err(FrameError::Header(_))), "{line:?}");
        }
        let FrameError::Header(shown) = parse_header(&[b'x'; 100_000]).unwrap_err() else {
            panic!()
        };
        assert_eq!(shown.len(), 80);
    }
}
