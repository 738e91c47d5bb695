//! What JetStream says inside messages: acknowledgements of publishing, and the reply subjects of what a consumer delivers.

use memchr::memchr;
use memchr::memmem::find;

/// A stream's acknowledgement of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishAck<'a> {
    /// The stream that has stored it.
    pub stream: &'a [u8],
    /// Its number in the stream, from 1.
    pub seq: u64,
    /// Whether a message with this id was there already, so that nothing was stored now.
    pub duplicate: bool,
}

impl<'a> PublishAck<'a> {
    /// Reads `{"stream":"EVENTS","seq":17,"duplicate":true}`; `None` for an error and for anybody else's answer.
    ///
    /// Only the three fields that matter are looked for: this is done once an event, and a general JSON reader takes as
    /// long as the publishing itself.
    pub fn read(payload: &'a [u8]) -> Option<PublishAck<'a>> {
        if payload.first() != Some(&b'{') || find(payload, b"\"error\"").is_some() {
            return None;
        }
        let stream = after(payload, b"\"stream\"")?.strip_prefix(b"\"")?;
        let stream = &stream[..memchr(b'"', stream)?];
        let seq = number(after(payload, b"\"seq\"")?)?;
        let duplicate = after(payload, b"\"duplicate\"").is_some_and(|rest| rest.starts_with(b"true"));
        (seq > 0).then_some(PublishAck { stream, seq, duplicate })
    }
}

/// What stands behind a key and its colon.
fn after<'a>(json: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = json.get(find(json, key)? + key.len()..)?;
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

fn number(digits: &[u8]) -> Option<u64> {
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    digits[..end]
        .iter()
        .try_fold(0_u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
}

/// What a consumer says of a delivery in the subject that is acknowledged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How often this message was delivered, this time included.
    pub times: u64,
    /// Its number in the stream.
    pub stream_seq: u64,
    /// The number of the delivery.
    pub consumer_seq: u64,
    /// Messages that wait behind it.
    pub pending: u64,
}

impl Delivery {
    /// Reads `$JS.ACK.<stream>.<consumer>.<times>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form with
    /// domain and account in front of the stream.
    pub fn read(reply: &[u8]) -> Option<Delivery> {
        let rest = reply.strip_prefix(b"$JS.ACK.")?;
        let parts = rest.split(|b| *b == b'.').count();
        // Domain and account come before the stream, and a token after everything.
        let skip = match parts {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = rest.split(|b| *b == b'.').skip(skip).map(number);
        let mut next = || numbers.next().flatten();
        let (times, stream_seq, consumer_seq, _time, pending) = (next()?, next()?, next()?, next()?, next()?);
        Some(Delivery {
            times,
            stream_seq,
            consumer_seq,
            pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn acknowledgements() {
        let ack = |text: &'static str| PublishAck::read(text.as_bytes());
        let expected = |seq, duplicate| {
            Some(PublishAck {
                stream: b"EVENTS",
                seq,
                duplicate,
            })
        };
        assert_eq!(ack(r#"{"stream":"EVENTS","seq":17}"#), expected(17, false));
        assert_eq!(
            ack(r#"{"stream":"EVENTS", "domain":"hub", "seq": 18446744073709551615,"duplicate": true}"#),
            expected(u64::MAX, true)
        );
        for wrong in [
            "",
            "{}",
            "+OK",
            r#"{"stream":"EVENTS"}"#,
            r#"{"stream":"EVENTS","seq":0}"#,
            r#"{"stream":"EVENTS","seq":18446744073709551616}"#,
            r#"{"stream":"EVENTS","seq":"x"}"#,
            r#"{"error":{"code":503,"description":"insufficient resources"},"stream":"EVENTS","seq":0}"#,
        ] {
            assert_eq!(PublishAck::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn deliveries() {
        let expected = Delivery {
            times: 2,
            stream_seq: 30,
            consumer_seq: 31,
            pending: 5,
        };
        for subject in [
            "$JS.ACK.EVENTS.worker.2.30.31.1700000000000000000.5",
            "$JS.ACK.hub.ABCDEF.EVENTS.worker.2.30.31.1700000000000000000.5",
            "$JS.ACK._.ABCDEF.EVENTS.worker.2.30.31.1700000000000000000.5.tOkEn",
        ] {
            assert_eq!(Delivery::read(subject.as_bytes()), Some(expected), "{subject}");
        }
        for wrong in ["", "_INBOX.x", "$JS.ACK.a.b.c", "$JS.ACK.EVENTS.worker.x.30.31.17.5"] {
            assert_eq!(Delivery::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_is_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (PublishAck::read(&bytes), Delivery::read(&bytes));
        }

        #[test]
        fn what_is_written_is_read(seq in 1u64.., duplicate: bool) {
            let text = format!(r#"{{"stream":"S","seq":{seq},"duplicate":{duplicate}}}"#);
            let ack = PublishAck { stream: b"S", seq, duplicate };
            prop_assert_eq!(PublishAck::read(text.as_bytes()), Some(ack));
        }
    }
}
