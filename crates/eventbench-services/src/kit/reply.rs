//! What a method answers: bytes, or an error with a code, a message and details.
//!
//! An error travels twice in one reply: in the headers of the NATS service protocol, which generic tools read, and as
//! a value in the codec of the request, which carries the details.

use super::codec::{Codec, CodecError};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::str::FromStr;

/// What a method returns: the reply's payload, or why there is none.
pub type Answer = Result<Bytes, ErrorReply>;

/// An error reply. The codes are those of HTTP, as the service protocol suggests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ErrorReply {
    /// 400 a request that cannot be read, 413 a reply too large, 500 a panic, 503 too much in flight; a method may have
    /// its own.
    pub code: u16,
    /// One line for a person.
    pub message: String,
    /// Whatever helps a program; null if nothing does.
    #[serde(default)]
    pub details: Value,
}

impl ErrorReply {
    /// An error without details.
    pub fn new(code: u16, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            code,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// A request that cannot be read.
    pub fn malformed(cause: &CodecError) -> ErrorReply {
        ErrorReply::new(400, format!("malformed request: {cause}"))
    }

    /// The headers of the service protocol.
    pub fn headers(&self) -> HeaderMap {
        // A header is one line; a message that came from elsewhere may be more.
        let line: String = self
            .message
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        let mut headers = HeaderMap::new();
        let message = HeaderValue::from_str(&line).unwrap_or_else(|_| HeaderValue::from("error"));
        headers.insert(NATS_SERVICE_ERROR, message);
        headers.insert(NATS_SERVICE_ERROR_CODE, self.code.to_string().as_str());
        headers
    }

    /// The payload, in the codec of the request.
    pub fn body(&self, codec: Codec) -> Bytes {
        // Details are a JSON value, which both codecs can hold; should that ever change, the headers still say it.
        codec.encode(self).unwrap_or_default()
    }

    /// The error in a reply, or `None` if the reply is none. The headers decide; the body only adds the details.
    pub fn of_reply(headers: Option<&HeaderMap>, payload: &[u8]) -> Option<ErrorReply> {
        let headers = headers?;
        let code = headers.get(NATS_SERVICE_ERROR_CODE)?.as_str().parse().unwrap_or(0);
        let body = Codec::detect(payload)
            .ok()
            .flatten()
            .and_then(|codec| codec.decode::<ErrorReply>(payload).ok());
        Some(body.filter(|body| body.code == code).unwrap_or_else(|| {
            let message = headers.get(NATS_SERVICE_ERROR).map_or("", HeaderValue::as_str);
            ErrorReply::new(code, message)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_survives_either_codec_and_reads_from_headers_alone() {
        let error = ErrorReply {
            code: 422,
            message: "two\r\nlines".to_owned(),
            details: json!({"field": "a", "limit": 7}),
        };
        for codec in Codec::ALL {
            let read = ErrorReply::of_reply(Some(&error.headers()), &error.body(codec)).unwrap();
            assert_eq!(read, error, "{codec:?}");
        }
        let bare = ErrorReply::of_reply(Some(&error.headers()), b"").unwrap();
        assert_eq!(bare, ErrorReply::new(422, "two  lines"));
        assert_eq!(ErrorReply::of_reply(Some(&HeaderMap::new()), b"{}"), None);
        assert_eq!(
            ErrorReply::of_reply(None, &error.body(Codec::Json)),
            None,
            "a body alone is an ordinary reply"
        );
    }
}
