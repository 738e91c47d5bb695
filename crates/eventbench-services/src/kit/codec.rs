//! MessagePack and JSON, and how a payload shows which of the two it is.
//!
//! The first byte decides, and it decides completely:
//!
//! | first byte | taken as |
//! |---|---|
//! | none: an empty payload | no value, answered in JSON, which a person at a terminal can read |
//! | `{` `[` `"` `-` `0`–`9` `t` `f` `n`, space, tab, CR, LF | JSON: the bytes with which a JSON text can begin (RFC 8259) |
//! | `80`–`ff` but `c1` | MessagePack |
//! | `c1` | neither: MessagePack never uses it |
//! | any other below `80` | MessagePack if it is the only byte (a small integer), else neither |
//!
//! The one ambiguity is a MessagePack document that consists of nothing but a small integer whose byte can begin a JSON
//! text: the single byte `35` is 53 in MessagePack and `5` in JSON. JSON wins, and a byte such as a lone `7b` is broken
//! JSON, not 123. Whoever sends lone integers in MessagePack wraps them in an array or a map. A byte order mark
//! (`ef bb bf`) begins no JSON text, so it is MessagePack: the integer -17 with two bytes too many, and refused.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nesting that a payload may have; `serde_json` has the same limit.
const MAX_DEPTH: usize = 128;

/// A way to write values down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// MessagePack, with the names of fields.
    MessagePack,
    /// JSON text.
    Json,
}

/// Why a payload could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The payload begins with a byte that begins neither JSON nor MessagePack.
    #[error("the payload begins with byte 0x{0:02x}, with which neither JSON nor MessagePack begins")]
    Undetectable(u8),
    /// It is no JSON, or not of the type asked for.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no MessagePack, or not of the type asked for.
    #[error("MessagePack: {0}")]
    MessagePack(#[from] rmp_serde::decode::Error),
    /// A value that MessagePack cannot hold.
    #[error("MessagePack: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// More bytes follow after a whole value.
    #[error("MessagePack: {0} bytes follow after the value")]
    Trailing(usize),
}

impl Codec {
    /// Both, in the order in which a description names them.
    pub const ALL: [Codec; 2] = [Codec::MessagePack, Codec::Json];

    /// Which codec a payload is written in, by the table above; `None` for an empty payload.
    ///
    /// # Errors
    /// [`CodecError::Undetectable`] if it can be neither.
    pub fn detect(payload: &[u8]) -> Result<Option<Codec>, CodecError> {
        let Some(&first) = payload.first() else { return Ok(None) };
        match first {
            b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b' ' | b'\t' | b'\r' | b'\n' => {
                Ok(Some(Codec::Json))
            }
            0xc1 => Err(CodecError::Undetectable(first)),
            0x80.. => Ok(Some(Codec::MessagePack)),
            _ if payload.len() == 1 => Ok(Some(Codec::MessagePack)),
            _ => Err(CodecError::Undetectable(first)),
        }
    }

    /// The codec in which a request is answered: its own, or JSON if it shows none.
    pub fn of_reply(request: &[u8]) -> Codec {
        Codec::detect(request).ok().flatten().unwrap_or(Codec::Json)
    }

    /// Writes a value down.
    ///
    /// # Errors
    /// A value that the codec cannot hold, such as a JSON object whose keys are no strings.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, CodecError> {
        Ok(match self {
            Codec::MessagePack => rmp_serde::to_vec_named(value)?.into(),
            Codec::Json => serde_json::to_vec(value)?.into(),
        })
    }

    /// Reads one value that fills the payload.
    ///
    /// # Errors
    /// Anything that is not exactly one value of this type.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, CodecError> {
        match self {
            Codec::Json => Ok(serde_json::from_slice(payload)?),
            Codec::MessagePack => {
                let mut rest = payload;
                let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
                deserializer.set_max_depth(MAX_DEPTH);
                let value = T::deserialize(&mut deserializer)?;
                if rest.is_empty() {
                    Ok(value)
                } else {
                    Err(CodecError::Trailing(rest.len()))
                }
            }
        }
    }

    /// The name in messages and on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Codec::MessagePack => "msgpack",
            Codec::Json => "json",
        }
    }
}

/// Reads a value of whichever codec the payload shows, and which one that was. An empty payload is read as the type's
/// default.
///
/// # Errors
/// See [`Codec::detect`] and [`Codec::decode`].
pub fn decode_any<T: DeserializeOwned + Default>(payload: &[u8]) -> Result<T, CodecError> {
    match Codec::detect(payload)? {
        Some(codec) => codec.decode(payload),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[test]
    fn every_first_byte_is_decided_alone_and_with_more_behind_it() {
        let json_begins = b"{[\"-0123456789tfn \t\r\n";
        for first in 0..=u8::MAX {
            let alone = Codec::detect(&[first]).map_err(|error| error.to_string());
            let longer = Codec::detect(&[first, 0x01]).map_err(|error| error.to_string());
            if json_begins.contains(&first) {
                assert_eq!(
                    (&alone, &longer),
                    (&Ok(Some(Codec::Json)), &Ok(Some(Codec::Json))),
                    "{first:02x}"
                );
            } else if first >= 0x80 && first != 0xc1 {
                assert_eq!(
                    (&alone, &longer),
                    (&Ok(Some(Codec::MessagePack)), &Ok(Some(Codec::MessagePack))),
                    "{first:02x}"
                );
            } else {
                let refusal = longer.unwrap_err();
                assert!(refusal.contains(&format!("0x{first:02x}")), "{refusal}");
                assert_eq!(alone.is_ok(), first != 0xc1, "{first:02x}");
            }
        }
        assert!(matches!(Codec::detect(b""), Ok(None)));
    }

    #[test]
    fn what_either_codec_writes_is_detected_as_its_own() {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(-1),
            json!(-33),
            json!(128),
            json!(u64::MAX),
            json!(1.5),
            json!(""),
            json!("text"),
            json!("x".repeat(70_000)),
            json!([]),
            json!([1, [2, {"a": null}]]),
            json!({}),
            json!({"name": "ann", "list": [1, 2, 3]}),
        ];
        for value in &values {
            for codec in Codec::ALL {
                let payload = codec.encode(value).unwrap();
                assert_eq!(Codec::detect(&payload).unwrap(), Some(codec), "{value}");
                assert_eq!(&codec.decode::<Value>(&payload).unwrap(), value);
                assert_eq!(&decode_any::<Value>(&payload).unwrap(), value);
            }
        }
    }

    #[test]
    fn a_lone_small_integer_in_messagepack_is_taken_as_the_table_says() {
        for number in 0_u8..128 {
            let payload = Codec::MessagePack.encode(&number).unwrap();
            assert_eq!(payload[..], [number]);
            let read = decode_any::<Value>(&payload).ok();
            let expected = match number {
                b'0'..=b'9' => Some(json!(number - b'0')),
                b'{' | b'[' | b'"' | b'-' | b't' | b'f' | b'n' | b' ' | b'\t' | b'\r' | b'\n' => None,
                _ => Some(json!(number)),
            };
            assert_eq!(read, expected, "{number:02x}");
            let wrapped = Codec::MessagePack.encode(&[number]).unwrap();
            assert_eq!(decode_any::<Value>(&wrapped).unwrap(), json!([number]));
        }
    }

    #[test]
    fn anything_but_one_whole_value_is_refused_without_reserving_what_it_claims() {
        #[derive(Debug, Default, Deserialize)]
        struct Two {
            #[allow(dead_code, reason = "only the shape is of interest")]
            a: u32,
        }
        for payload in [
            &b"{"[..],
            b"{\"a\":1} x",
            b"nul",
            b"\xef\xbb\xbf{\"a\":1}",
            b"\x81\xa1a\x01\x00",
            b"\x81\xa1a",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xffab",
            b"\xc1",
            b"hello",
            b"\x81\xa1a\xa1b",
            b"{\"a\":\"b\"}",
        ] {
            decode_any::<Two>(payload).unwrap_err();
        }
        for deep in [vec![0x91; 100_000], vec![b'['; 100_000]] {
            decode_any::<Value>(&deep).unwrap_err();
        }
    }

    #[test]
    fn an_empty_payload_is_the_default_and_answered_in_json() {
        assert_eq!(decode_any::<Option<u32>>(b"").unwrap(), None);
        assert_eq!(Codec::of_reply(b""), Codec::Json);
        assert_eq!(Codec::of_reply(b"hello"), Codec::Json);
        assert_eq!(Codec::of_reply(b"\xc0"), Codec::MessagePack);
        assert_eq!(Codec::of_reply(b"[]"), Codec::Json);
    }
}
