//! Frames from client to server, appended to a byte vector.
//!
//! These functions check nothing: a subject must hold no white space
//! ([`is_subject`]) and a payload must fit the server's `max_payload`.
//! [`Connection`](super::Connection) checks both; a driver that renders frames
//! ahead checks once.

/// Whether the text can stand in a frame as a subject, queue or reply: not
/// empty, no white space, no control characters.
pub fn is_subject(subject: &[u8]) -> bool {
    // No early exit, so that the compiler can compare many bytes at once.
    let bad = subject
        .iter()
        .fold(0_u8, |bad, &b| bad | u8::from(b <= b' ') | u8::from(b == 0x7f));
    !subject.is_empty() && bad == 0
}

/// Appends a number in decimal.
#[inline]
pub fn number(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// `PUB subject [reply] size` and the payload.
#[inline]
pub fn publish(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, payload: &[u8]) {
    out.reserve(subject.len() + reply.map_or(0, <[u8]>::len) + payload.len() + 32);
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    number(out, payload.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// `HPUB subject [reply] header-size total-size`, the headers and the payload.
/// `headers` is a whole block: `NATS/1.0`, lines `Name: value`, an empty line,
/// each ended by CR LF; [`header_block`] makes one.
#[inline]
pub fn publish_with_headers(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, headers: &[u8], payload: &[u8]) {
    out.reserve(subject.len() + reply.map_or(0, <[u8]>::len) + headers.len() + payload.len() + 64);
    out.extend_from_slice(b"HPUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    number(out, headers.len() as u64);
    out.push(b' ');
    number(out, (headers.len() + payload.len()) as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Appends a header block of these names and values. A line break in either
/// would end the line early, so it becomes a space.
pub fn header_block<'a>(out: &mut Vec<u8>, headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let one_line = |b: u8| if b == b'\r' || b == b'\n' { b' ' } else { b };
    out.extend_from_slice(b"NATS/1.0\r\n");
    for (name, value) in headers {
        out.extend(name.bytes().map(one_line));
        out.extend_from_slice(b": ");
        out.extend(value.bytes().map(one_line));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// `SUB subject [queue] sid`.
pub fn subscribe(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if let Some(queue) = queue {
        out.extend_from_slice(queue);
        out.push(b' ');
    }
    number(out, sid);
    out.extend_from_slice(b"\r\n");
}

/// `UNSUB sid [max]`: at once, or after `max` messages in all.
pub fn unsubscribe(out: &mut Vec<u8>, sid: u64, max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    number(out, sid);
    if let Some(max) = max {
        out.push(b' ');
        number(out, max);
    }
    out.extend_from_slice(b"\r\n");
}

/// `PING`.
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PING\r\n");
}

/// `PONG`.
pub fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PONG\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_are_those_of_the_protocol() {
        assert_eq!(framed(|o| publish(o, b"a.b", None, b"hello")), "PUB a.b 5\r\nhello\r\n");
        assert_eq!(framed(|o| publish(o, b"a.b", Some(b"r"), b"")), "PUB a.b r 0\r\n\r\n");
        assert_eq!(
            framed(|o| publish_with_headers(o, b"a", None, b"NATS/1.0\r\nK: v\r\n\r\n", b"xy")),
            "HPUB a 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nxy\r\n"
        );
        assert_eq!(
            framed(|o| publish_with_headers(o, b"a", Some(b"r.1"), b"NATS/1.0\r\n\r\n", b"")),
            "HPUB a r.1 12 12\r\nNATS/1.0\r\n\r\n\r\n"
        );
        assert_eq!(framed(|o| subscribe(o, b"a.>", None, 7)), "SUB a.> 7\r\n");
        assert_eq!(framed(|o| subscribe(o, b"a.*", Some(b"q"), 10)), "SUB a.* q 10\r\n");
        assert_eq!(framed(|o| unsubscribe(o, 7, None)), "UNSUB 7\r\n");
        assert_eq!(framed(|o| unsubscribe(o, 7, Some(1))), "UNSUB 7 1\r\n");
        assert_eq!(framed(ping) + &framed(pong), "PING\r\nPONG\r\n");
    }

    #[test]
    fn header_values_can_not_break_out_of_their_line() {
        assert_eq!(
            framed(|o| header_block(o, [("A", "1"), ("B", "x\r\nC: 2")])),
            "NATS/1.0\r\nA: 1\r\nB: x  C: 2\r\n\r\n"
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for n in [0, 9, 10, 99, 100, 1_048_576, u64::MAX] {
            assert_eq!(framed(|o| number(o, n)), n.to_string());
        }
    }

    #[test]
    fn a_subject_holds_no_white_space() {
        assert!(is_subject(b"a.b.>") && is_subject("ä.ö".as_bytes()) && is_subject(b"_INBOX.x.1"));
        for bad in [&b""[..], b"a b", b"a\r\nPING", b"a\t", b"\0", b"a\x7f"] {
            assert!(!is_subject(bad), "{bad:?}");
        }
    }
}
