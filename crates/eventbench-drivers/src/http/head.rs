//! The head of a response: what it says about what follows.

/// A head longer than this is refused.
pub const MOST_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 128;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or it has this many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The status.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection can be used again.
    pub keeps_alive: bool,
    /// The type of the body.
    pub content_type: &'a [u8],
    /// How the body is encoded; empty where it is not.
    pub encoding: &'a [u8],
    /// Where a redirection points.
    pub location: &'a [u8],
}

/// What comes of looking for a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A head of this many bytes.
    Whole(Head<'a>, usize),
    /// It goes on.
    Part,
}

/// Reads the head at the beginning of `bytes`.
///
/// # Errors
/// In words: it is no head, or one that cannot be understood.
pub fn read(bytes: &[u8]) -> Result<Found<'_>, String> {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= MOST_BYTES => len,
        Ok(httparse::Status::Partial) if bytes.len() < MOST_BYTES => return Ok(Found::Part),
        Ok(_) => return Err(format!("its head is longer than {} KiB", MOST_BYTES >> 10)),
        Err(e) => return Err(format!("it is no HTTP response ({e})")),
    };
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        framing: Framing::UntilClose,
        keeps_alive: response.version == Some(1),
        content_type: b"",
        encoding: b"",
        location: b"",
    };
    let (mut length, mut coded, mut chunked) = (None, false, false);
    for header in response.headers.iter() {
        let value = header.value;
        // The length comes first: most names are told apart by it.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let this = decimal(value).ok_or_else(|| format!("Content-Length: {}", shown(value)))?;
                if length.is_some_and(|other| other != this) {
                    return Err("it has two different Content-Length".to_owned());
                }
                length = Some(this);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                coded = true;
                chunked = last_token(value).eq_ignore_ascii_case(b"chunked");
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                for token in value.split(|b| *b == b',') {
                    let token = token.trim_ascii();
                    if token.eq_ignore_ascii_case(b"close") {
                        head.keeps_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        head.keeps_alive = true;
                    }
                }
            }
            12 if header.name.eq_ignore_ascii_case("content-type") => head.content_type = value,
            16 if header.name.eq_ignore_ascii_case("content-encoding") => head.encoding = value,
            8 if header.name.eq_ignore_ascii_case("location") => head.location = value,
            _ => {}
        }
    }
    // RFC 9112, 6.3: no body for these; chunks before a length; a length; else until the connection ends.
    head.framing = if status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else if coded {
        return Err("its Transfer-Encoding is not `chunked`".to_owned());
    } else if let Some(length) = length {
        Framing::Length(length)
    } else {
        head.keeps_alive = false;
        Framing::UntilClose
    };
    Ok(Found::Whole(head, len))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        n.checked_mul(10)?
            .checked_add(u64::from(b.checked_sub(b'0').filter(|d| *d < 10)?))
    })
}

fn last_token(value: &[u8]) -> &[u8] {
    value.rsplit(|b| *b == b',').next().unwrap_or_default().trim_ascii()
}

fn shown(value: &[u8]) -> String {
    let part = &value[..value.len().min(40)];
    format!("\"{}\" is no length", part.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head<'_>, String> {
        match read(text.as_bytes())? {
            Found::Whole(head, len) => {
                assert_eq!(len, text.find("\r\n\r\n").unwrap() + 4);
                Ok(head)
            }
            Found::Part => Err("part".to_owned()),
        }
    }

    #[test]
    fn the_end_of_the_body_and_of_the_connection() {
        let framing =
            |lines: &str| head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).map(|h| (h.framing, h.keeps_alive));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(
            framing("Content-Length: 5\r\ncontent-length: 5\r\n"),
            Ok((Framing::Length(5), true))
        );
        assert_eq!(
            framing("Transfer-Encoding: gzip, Chunked\r\nContent-Length: 5\r\n"),
            Ok((Framing::Chunked, true))
        );
        assert_eq!(
            framing("transfer-encoding: chunked\r\nConnection: x, Close\r\n"),
            Ok((Framing::Chunked, false))
        );
        assert_eq!(framing(""), Ok((Framing::UntilClose, false)));
        for wrong in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert!(framing(wrong).is_err(), "{wrong}");
        }
        assert_eq!(head("HTTP/1.1 204 \r\n\r\n").unwrap().framing, Framing::Length(0));
        assert!(
            !head("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n")
                .unwrap()
                .keeps_alive
        );
        assert!(
            head("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n")
                .unwrap()
                .keeps_alive
        );
        let moved =
            head("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(
            (moved.status, moved.location, moved.content_type),
            (302, b"/x".as_slice(), b"text/html".as_slice())
        );
    }

    #[test]
    fn what_is_no_head() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b"), Ok(Found::Part));
        assert!(read(b"<html>").is_err());
        assert!(read(b"SSH-2.0-OpenSSH\r\n").is_err());
        let endless = [
            "HTTP/1.1 200 OK\r\n".to_owned(),
            "A: b\r\n".repeat(100),
            format!("B: {}", "x".repeat(MOST_BYTES)),
        ]
        .concat();
        assert!(read(endless.as_bytes()).unwrap_err().contains("64 KiB"));
        assert!(
            read(
                ["HTTP/1.1 200 OK\r\n".to_owned(), "A: b\r\n".repeat(2000)]
                    .concat()
                    .as_bytes()
            )
            .is_err()
        );
    }
}
