//! The body of a response, taken out of its framing as it comes, without a copy.

use super::head::Framing;

/// What chunk extensions and trailers may take; nobody reads them.
const MOST_EXTRA_BYTES: u32 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Bytes left of the body, or of the chunk.
    Data(u64),
    /// In the line with the size of a chunk: the size so far and its digits.
    Size(u64, u8),
    Extension(u64),
    SizeFeed(u64),
    DataReturn,
    DataFeed,
    /// At the beginning of a line behind the last chunk.
    Trailer,
    TrailerLine,
    TrailerFeed,
    LastFeed,
    UntilClose,
    Done,
}

/// The framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Something other than the size of a chunk.
    #[error("there is no size where a chunk must begin")]
    Size,
    /// A chunk does not end where its size says.
    #[error("a chunk does not end where its size says")]
    End,
    /// Extensions or trailers without end.
    #[error("chunk extensions or trailers without end")]
    Extra,
}

/// What is left to come of a body.
#[derive(Debug, Clone)]
pub struct Body {
    at: At,
    chunked: bool,
    extra: u32,
}

impl Body {
    /// A body that ends as its head said.
    pub fn new(framing: Framing) -> Body {
        let at = match framing {
            Framing::Length(0) => At::Done,
            Framing::Length(n) => At::Data(n),
            Framing::Chunked => At::Size(0, 0),
            Framing::UntilClose => At::UntilClose,
        };
        Body {
            at,
            chunked: framing == Framing::Chunked,
            extra: 0,
        }
    }

    /// Whether all of it has come.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Whether it may end here with the connection.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.at, At::Done | At::UntilClose)
    }

    /// Takes the next piece of the body from the beginning of `bytes`; `None` when nothing of it is left there.
    ///
    /// # Errors
    /// The framing is broken; what follows cannot be told apart.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BodyError> {
        while let [first, rest @ ..] = *bytes {
            match self.at {
                At::Done => return Ok(None),
                At::UntilClose => return Ok(Some(std::mem::take(bytes))),
                At::Data(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (piece, more) = bytes.split_at(n);
                    *bytes = more;
                    let left = left - n as u64;
                    self.at = match (left, self.chunked) {
                        (0, true) => At::DataReturn,
                        (0, false) => At::Done,
                        _ => At::Data(left),
                    };
                    return Ok(Some(piece));
                }
                at => {
                    *bytes = rest;
                    self.at = self.between(at, *first)?;
                }
            }
        }
        Ok(None)
    }

    /// One byte of what stands around the chunks.
    fn between(&mut self, at: At, byte: u8) -> Result<At, BodyError> {
        Ok(match (at, byte) {
            (At::Size(size, digits), _) => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == 16 => return Err(BodyError::Size),
                (Some(digit), _) => At::Size(size << 4 | u64::from(digit), digits + 1),
                (None, b'\r') if digits > 0 => At::SizeFeed(size),
                (None, b';' | b' ' | b'\t') if digits > 0 => At::Extension(size),
                _ => return Err(BodyError::Size),
            },
            (At::Extension(size), b'\r') => At::SizeFeed(size),
            (At::Extension(_), b'\n') => return Err(BodyError::Size),
            (At::Extension(_), _) => self.extra(at)?,
            (At::SizeFeed(0), b'\n') => At::Trailer,
            (At::SizeFeed(size), b'\n') => At::Data(size),
            (At::SizeFeed(_), _) => return Err(BodyError::Size),
            (At::DataReturn, b'\r') => At::DataFeed,
            (At::DataFeed, b'\n') => At::Size(0, 0),
            (At::DataReturn | At::DataFeed, _) => return Err(BodyError::End),
            (At::Trailer, b'\r') => At::LastFeed,
            (At::Trailer, b'\n') => return Err(BodyError::End),
            (At::Trailer, _) => self.extra(At::TrailerLine)?,
            (At::TrailerLine, b'\r') => At::TrailerFeed,
            (At::TrailerLine, _) => self.extra(at)?,
            (At::TrailerFeed, b'\n') => At::Trailer,
            (At::LastFeed, b'\n') => At::Done,
            _ => return Err(BodyError::End),
        })
    }

    fn extra(&mut self, then: At) -> Result<At, BodyError> {
        self.extra += 1;
        if self.extra > MOST_EXTRA_BYTES {
            return Err(BodyError::Extra);
        }
        Ok(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body, whether it is done, and what is left behind it.
    fn read(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), BodyError> {
        let mut body = Body::new(framing);
        let mut out = Vec::new();
        let (mut from, mut behind) = (0, 0);
        for at in cuts.iter().copied().chain([bytes.len()]) {
            let at = at.clamp(from, bytes.len());
            let mut piece = &bytes[from..at];
            from = at;
            while let Some(data) = body.next(&mut piece)? {
                assert!(!data.is_empty());
                out.extend_from_slice(data);
            }
            behind += piece.len();
        }
        Ok((out, body.is_done(), behind))
    }

    #[test]
    fn each_framing_ends_where_it_says() {
        assert_eq!(read(Framing::Length(3), b"abcd", &[]), Ok((b"abc".to_vec(), true, 1)));
        assert_eq!(read(Framing::Length(0), b"x", &[]), Ok((vec![], true, 1)));
        assert_eq!(
            read(Framing::UntilClose, b"abcd", &[]),
            Ok((b"abcd".to_vec(), false, 0))
        );
        let chunks = b"3\r\nabc\r\n00a;x=\"y\"\r\n0123456789\r\n0 \r\nT: v\r\n\r\nnext";
        assert_eq!(
            read(Framing::Chunked, chunks, &[]),
            Ok((b"abc0123456789".to_vec(), true, 4))
        );
        assert!(!Body::new(Framing::Chunked).ends_with_connection());
        assert!(Body::new(Framing::UntilClose).ends_with_connection());
    }

    #[test]
    fn broken_chunks_are_told() {
        for (wrong, error) in [
            (b"\r\n".as_slice(), BodyError::Size),
            (b"g\r\n", BodyError::Size),
            (b"3\nabc", BodyError::Size),
            (b"-1\r\n", BodyError::Size),
            (b"10000000000000000\r\n", BodyError::Size),
            (b"2\r\nabc", BodyError::End),
            (b"3\r\nabc\n", BodyError::End),
            (b"0\r\n\n", BodyError::End),
        ] {
            assert_eq!(
                read(Framing::Chunked, wrong, &[]),
                Err(error),
                "{}",
                wrong.escape_ascii()
            );
        }
        let endless = [b"3;".as_slice(), &vec![b'x'; 100_000]].concat();
        assert_eq!(read(Framing::Chunked, &endless, &[]), Err(BodyError::Extra));
        let endless = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(20_000)].concat();
        assert_eq!(read(Framing::Chunked, &endless, &[]), Err(BodyError::Extra));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), any::<u8>()], 0..60), mut cuts in proptest::collection::vec(0usize..60, 0..6)) {
            cuts.sort_unstable();
            let every: Vec<usize> = (1..bytes.len()).collect();
            let whole = read(Framing::Chunked, &bytes, &[]);
            prop_assert_eq!(&read(Framing::Chunked, &bytes, &cuts), &whole);
            prop_assert_eq!(&read(Framing::Chunked, &bytes, &every), &whole);
        }

        #[test]
        fn what_was_put_into_chunks_comes_out(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), cut in 0usize..100) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(Framing::Chunked, &bytes, &[cut]), Ok((parts.concat(), true, 0)));
        }
    }
}
