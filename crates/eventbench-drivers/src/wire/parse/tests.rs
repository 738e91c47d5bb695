use proptest::prelude::*;

use super::super::encode;
use super::*;

/// An operation with its bytes copied, to outlive the parser's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Msg {
        subject: Vec<u8>,
        sid: u64,
        reply: Option<Vec<u8>>,
        headers: Option<Vec<u8>>,
        payload: Vec<u8>,
    },
    Ping,
    Pong,
    Ok,
    Info(Vec<u8>),
    Err(String),
}

impl From<Op<'_>> for Owned {
    fn from(op: Op<'_>) -> Self {
        match op {
            Op::Msg(m) => Self::Msg {
                subject: m.subject.to_vec(),
                sid: m.sid,
                reply: m.reply.map(<[u8]>::to_vec),
                headers: m.headers.map(<[u8]>::to_vec),
                payload: m.payload.to_vec(),
            },
            Op::Ping => Self::Ping,
            Op::Pong => Self::Pong,
            Op::Ok => Self::Ok,
            Op::Info(json) => Self::Info(json.to_vec()),
            Op::Err(text) => Self::Err(text.to_owned()),
        }
    }
}

impl Owned {
    /// As a server writes it.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Msg {
                subject,
                sid,
                reply,
                headers,
                payload,
            } => {
                // A delivery is a publication with the sid after the subject.
                let place = [subject.as_slice(), sid.to_string().as_bytes()].join(&b' ');
                let from = out.len();
                match headers {
                    None => encode::publish(out, &place, reply.as_deref(), payload),
                    Some(headers) => encode::publish_with_headers(out, &place, reply.as_deref(), headers, payload),
                }
                let verb = if headers.is_some() { "HMSG" } else { "MSG" };
                out.splice(from..from + verb.len(), verb.bytes());
            }
            Self::Ping => encode::ping(out),
            Self::Pong => encode::pong(out),
            Self::Ok => out.extend_from_slice(b"+OK\r\n"),
            Self::Info(json) => {
                out.extend_from_slice(b"INFO ");
                out.extend_from_slice(json);
                out.extend_from_slice(b"\r\n");
            }
            Self::Err(text) => out.extend_from_slice(format!("-ERR {text}\r\n").as_bytes()),
        }
    }
}

fn parser() -> Parser {
    Parser::new(1 << 20, 1 << 20)
}

/// Puts bytes in by pieces of at most `piece`, taking all operations between.
fn feed(parser: &mut Parser, mut bytes: &[u8], piece: usize, seen: &mut Vec<Owned>) -> Result<(), ParseError> {
    while !bytes.is_empty() {
        let space = parser.space();
        let n = space.len().min(piece).min(bytes.len());
        assert!(n > 0, "no space although everything was taken");
        space[..n].copy_from_slice(&bytes[..n]);
        parser.filled(n);
        bytes = &bytes[n..];
        while let Some(op) = parser.next_op() {
            seen.push(op?.into());
        }
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>, ParseError> {
    let mut seen = Vec::new();
    feed(&mut parser(), bytes, usize::MAX, &mut seen)?;
    Ok(seen)
}

fn msg(subject: &str, sid: u64, reply: Option<&str>, headers: Option<&str>, payload: &str) -> Owned {
    Owned::Msg {
        subject: subject.into(),
        sid,
        reply: reply.map(Into::into),
        headers: headers.map(Into::into),
        payload: payload.into(),
    }
}

#[test]
fn each_operation_is_read() {
    let cases = [
        ("MSG a.b 1 5\r\nhello\r\n", msg("a.b", 1, None, None, "hello")),
        (
            "MSG a.b 9 reply.to 0\r\n\r\n",
            msg("a.b", 9, Some("reply.to"), None, ""),
        ),
        ("msg a  2\t3\r\n\r\n!\r\n", msg("a", 2, None, None, "\r\n!")),
        (
            "HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            msg("a", 1, None, Some("NATS/1.0\r\n\r\n"), "hi"),
        ),
        (
            "HMSG a 1 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
            msg("a", 1, Some("r"), Some("NATS/1.0 503\r\n\r\n"), ""),
        ),
        ("PING\r\n", Owned::Ping),
        ("pong\r\n", Owned::Pong),
        ("+OK\r\n", Owned::Ok),
        ("INFO {\"a\":1} \r\n", Owned::Info(b"{\"a\":1}".to_vec())),
        ("-ERR 'Stale Connection'\r\n", Owned::Err("'Stale Connection'".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text.as_bytes()), Ok(vec![expected]), "{text:?}");
    }
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    for (text, expected) in [
        (
            "HTTP/1.1 400 Bad Request\r\n",
            "not the NATS protocol: it sent `HTTP/1.1 400 Bad Request`",
        ),
        ("\x16\x03\x01", "not the NATS protocol: it sent `\\x16\\x03\\x01`"),
        ("PING\n", "not the NATS protocol: it sent `PING`"),
        ("PONG PONG PONG PONG", "a line of the server exceeds 16 bytes"),
        ("MSG a 1\r\n", "malformed message line `MSG a 1`"),
        ("MSG a 1 r x 5\r\n", "malformed message line `MSG a 1 r x 5`"),
        ("MSG a x 5\r\n", "malformed message line `MSG a x 5`"),
        ("MSG a 1 -5\r\n", "malformed message line `MSG a 1 -5`"),
        (
            "MSG a 1 99999999999999999999\r\n",
            "malformed message line `MSG a 1 99999999999999999999`",
        ),
        ("HMSG a 1 5\r\n", "malformed message line `HMSG a 1 5`"),
        ("HMSG a 1 9 5\r\n", "malformed message line `HMSG a 1 9 5`"),
        (
            "MSG a 1 2\r\nabc\r\n",
            "a message does not end after the announced 2 bytes",
        ),
        (
            "MSG a 1 9999999999\r\n",
            "the server announced a message of 9999999999 bytes; at most 1114112 are possible by its INFO",
        ),
    ] {
        assert_eq!(
            read(text.as_bytes()).map_err(|e| e.to_string()),
            Err(expected.to_owned()),
            "{text:?}"
        );
    }
    let endless = [b"MSG ".as_slice(), &vec![b'a'; MAX_LINE_BYTES]].concat();
    assert_eq!(read(&endless), Err(ParseError::LineTooLong(MAX_LINE_BYTES)));
}

#[test]
fn an_error_stays() {
    let mut parser = parser();
    let bytes = b"nonsense";
    parser.space()[..bytes.len()].copy_from_slice(bytes);
    parser.filled(bytes.len());
    for _ in 0..3 {
        assert!(matches!(parser.next_op(), Some(Err(ParseError::Unknown(_)))));
    }
}

#[test]
fn status_and_headers_are_read_from_the_block() {
    let block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending: 12\r\nx:y:z \r\n\r\n";
    let m = Message {
        subject: b"a",
        sid: 1,
        reply: None,
        headers: Some(block),
        payload: b"",
    };
    assert_eq!(m.status(), Some(408));
    assert_eq!(m.status_text(), Some(&b"Request Timeout"[..]));
    assert_eq!(m.header("nats-pending"), Some(&b"12"[..]));
    assert_eq!(m.header("X"), Some(&b"y:z"[..]));
    assert_eq!(m.header("missing"), None);
    for (block, status) in [
        ("NATS/1.0\r\n\r\n", None),
        ("NATS/1.0 503\r\n\r\n", Some(503)),
        ("NATS/1.0 5x3\r\n", None),
        ("", None),
    ] {
        let m = Message {
            headers: Some(block.as_bytes()),
            ..m
        };
        assert_eq!(m.status(), status, "{block:?}");
    }
    assert_eq!(Message { headers: None, ..m }.status(), None);
}

#[test]
fn a_large_message_grows_the_buffer_to_its_size_and_not_further() {
    let mut parser = Parser::new(8 << 20, 0);
    let payload = vec![7_u8; 8 << 20];
    let mut bytes = Vec::new();
    for _ in 0..3 {
        Owned::Msg {
            subject: b"a".to_vec(),
            sid: 1,
            reply: None,
            headers: None,
            payload: payload.clone(),
        }
        .write(&mut bytes);
    }
    let mut seen = Vec::new();
    feed(&mut parser, &bytes, 100_000, &mut seen).unwrap();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|op| matches!(op, Owned::Msg { payload: p, .. } if *p == payload))
    );
    assert!(parser.memory_bytes() <= parser.memory_limit_bytes());
    assert!(parser.memory_limit_bytes() < (8 << 20) + 128 * 1024);
}

#[test]
fn a_caller_that_takes_nothing_is_stopped_at_the_backlog() {
    let mut parser = Parser::new(1024, 300_000);
    let mut total = 0;
    loop {
        let space = parser.space();
        if space.is_empty() {
            break;
        }
        let n = space.len();
        for (at, b) in space.iter_mut().enumerate() {
            *b = b"PING\r\n"[(total + at) % 6];
        }
        parser.filled(n);
        total += n;
        assert!(total <= 300_000);
    }
    assert_eq!(parser.unread_bytes(), 300_000);
    let mut pings = 0;
    while let Some(op) = parser.next_op() {
        assert_eq!(op, Ok(Op::Ping));
        pings += 1;
    }
    assert_eq!(pings, 300_000 / 6);
    assert!(!parser.space().is_empty());
}

#[test]
fn what_was_scanned_is_not_fresh_when_taken() {
    let mut parser = parser();
    let bytes = b"PING\r\nMSG a 1 2\r\nhi\r\nPONG\r\nPI";
    parser.space()[..bytes.len()].copy_from_slice(bytes);
    parser.filled(bytes.len());
    let first = parser.peek().unwrap().unwrap();
    assert!(parser.take(first).1, "seen by nobody before");
    let mut kinds = Vec::new();
    while let Some((at, frame)) = parser.scan().unwrap() {
        kinds.push(Owned::from(parser.op(at, frame)));
    }
    assert_eq!(kinds, [msg("a", 1, None, None, "hi"), Owned::Pong]);
    let rest = b"NG\r\n";
    parser.space()[..rest.len()].copy_from_slice(rest);
    parser.filled(rest.len());
    let mut fresh = Vec::new();
    while let Some(frame) = parser.peek().unwrap() {
        fresh.push(parser.take(frame).1);
    }
    assert_eq!(fresh, [false, false, true]);
}

fn any_op() -> impl Strategy<Value = Owned> {
    let word = "[a-zA-Z0-9._*>$-]{1,40}";
    let header = ("[A-Za-z-]{1,12}", "[ -9;-~]{0,20}");
    let headers = prop::collection::vec(header, 0..4).prop_map(|headers| {
        let mut block = Vec::new();
        encode::header_block(&mut block, headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        block
    });
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..100_000),
    ];
    let message = (
        word,
        any::<u32>(),
        prop::option::of(word),
        prop::option::of(headers),
        payload,
    )
        .prop_map(|(subject, sid, reply, headers, payload)| Owned::Msg {
            subject: subject.into(),
            sid: sid.into(),
            reply: reply.map(Into::into),
            headers,
            payload,
        });
    prop_oneof![
        8 => message,
        1 => Just(Owned::Ping),
        1 => Just(Owned::Pong),
        1 => Just(Owned::Ok),
        1 => "\\{[ -~]{0,60}\\}".prop_map(|json| Owned::Info(json.into())),
        1 => "'[A-Za-z ]{1,40}'".prop_map(Owned::Err),
    ]
}

fn written(ops: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.iter().for_each(|op| op.write(&mut bytes));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_encoded_is_parsed_whatever_the_pieces(ops in prop::collection::vec(any_op(), 1..12), piece in 1_usize..70_000) {
        let bytes = written(&ops);
        let mut seen = Vec::new();
        let mut parser = parser();
        feed(&mut parser, &bytes, piece, &mut seen).unwrap();
        prop_assert_eq!(parser.unread_bytes(), 0);
        prop_assert_eq!(seen, ops);
    }

    #[test]
    fn a_cut_at_any_byte_changes_nothing(ops in prop::collection::vec(any_op().prop_filter("short", |op| !matches!(op, Owned::Msg { payload, .. } if payload.len() > 200)), 1..4)) {
        let bytes = written(&ops);
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            let mut parser = parser();
            feed(&mut parser, &bytes[..cut], usize::MAX, &mut seen).unwrap();
            prop_assert!(seen.len() < ops.len() || cut == bytes.len());
            feed(&mut parser, &bytes[cut..], usize::MAX, &mut seen).unwrap();
            prop_assert_eq!(&seen, &ops, "cut at {}", cut);
        }
    }

    #[test]
    fn a_scan_sees_what_is_taken_later(ops in prop::collection::vec(any_op(), 1..12), piece in 1_usize..70_000) {
        let bytes = written(&ops);
        let mut parser = Parser::new(1 << 20, 4 << 20);
        let (mut scanned, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let space = parser.space();
            let n = space.len().min(piece).min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            parser.filled(n);
            rest = &rest[n..];
            while let Some((at, frame)) = parser.scan().unwrap() {
                scanned.push(Owned::from(parser.op(at, frame)));
            }
        }
        prop_assert_eq!(&scanned, &ops);
        let mut taken = Vec::new();
        while let Some(frame) = parser.peek().unwrap() {
            let (at, fresh) = parser.take(frame);
            prop_assert!(!fresh);
            taken.push(Owned::from(parser.op(at, frame)));
        }
        prop_assert_eq!(&taken, &ops);
    }

    #[test]
    fn garbage_never_panics_and_memory_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..4096), piece in 1_usize..500) {
        let mut parser = Parser::new(1024, 0);
        let _ = feed(&mut parser, &bytes, piece, &mut Vec::new());
        prop_assert!(parser.memory_bytes() <= parser.memory_limit_bytes());
    }

    #[test]
    fn a_damaged_stream_never_panics_and_memory_is_bounded(
        ops in prop::collection::vec(any_op(), 1..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1_usize..5_000,
    ) {
        let mut bytes = written(&ops);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let mut parser = Parser::new(200_000, 0);
        let mut seen = Vec::new();
        let _ = feed(&mut parser, &bytes, piece, &mut seen);
        prop_assert!(parser.memory_bytes() <= parser.memory_limit_bytes());
    }
}
