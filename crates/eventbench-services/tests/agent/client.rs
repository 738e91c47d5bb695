//! A client of HTTP/1.1 that shares nothing with the service, and hands events over as they come.

use crate::fixture::LIMIT;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Sends a request on a connection of its own and reads the head of the response.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let stream = connect(address);
    Response::read(send(stream, method, path, headers, body))
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a request whose length is told unless `Transfer-Encoding` is among the headers.
pub fn send<S: Read + Write>(mut stream: S, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> S {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat()).unwrap();
    stream
}

/// A response whose head was read.
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: BufReader<Box<dyn Read>>,
}

impl Response {
    pub fn read(stream: impl Read + 'static) -> Response {
        let mut stream = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let status = line();
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {status:?}"));
        let headers: Vec<(String, String)> = std::iter::from_fn(|| {
            let line = line();
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
        let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let body: Box<dyn Read> = if find("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            Box::new(Chunked {
                stream,
                left: 0,
                over: false,
            })
        } else {
            let length = find("content-length").map_or(0, |length| length.parse().unwrap());
            Box::new(stream.take(length))
        };
        Response {
            status,
            headers,
            body: BufReader::with_capacity(1, body),
        }
    }

    pub fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name == wanted)?;
        Some(&found.1)
    }

    pub fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).unwrap();
        text
    }

    pub fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// One line of the body, without its end; `None` at the end of the body.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.body.read_line(&mut line).unwrap();
        (bytes > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The next event and its id, if it has one; comments are skipped.
    pub fn event(&mut self) -> Option<(Option<u64>, Value)> {
        let mut id = None;
        loop {
            let line = self.line()?;
            if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                assert_eq!(self.line().as_deref(), Some(""), "one line of data an event");
                return Some((id, serde_json::from_str(data).unwrap()));
            } else {
                assert!(line.is_empty() || line.starts_with(':'), "{line:?}");
            }
        }
    }

    /// All events that are left.
    pub fn events(mut self) -> Vec<Value> {
        let status = self.status;
        if status != 200 {
            panic!("status {status}: {}", self.text());
        }
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        std::iter::from_fn(|| self.event()).map(|(_, event)| event).collect()
    }
}

/// The chunked coding of HTTP/1.1. A stream that breaks off inside it is an error, not an end.
struct Chunked<S> {
    stream: S,
    left: usize,
    over: bool,
}

impl<S: BufRead> Read for Chunked<S> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        if self.over {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim_end(), 16).map_err(|_| broken())?;
            if self.left == 0 {
                self.over = true;
                self.stream.read_line(&mut line)?;
                return Ok(0);
            }
        }
        let most = out.len().min(self.left);
        let bytes = self.stream.read(&mut out[..most])?;
        if bytes == 0 {
            return Err(broken());
        }
        self.left -= bytes;
        if self.left == 0 {
            self.stream.read_line(&mut String::new())?;
        }
        Ok(bytes)
    }
}
