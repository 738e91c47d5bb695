//! Codecs of a client library: what it costs to encode a request and to decode a reply is part of a call.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// How a request is encoded and its reply decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// JSON text.
    Json,
    /// MessagePack, maps with their keys.
    Msgpack,
}

impl Codec {
    /// Encodes a value that is given as JSON text. What is no JSON is left as it is, for the service to refuse.
    ///
    /// Both codecs go through the same value, so that what differs between them is the encoding alone.
    pub fn encode(self, json: &mut Vec<u8>, out: &mut Vec<u8>) {
        out.clear();
        let encoded = serde_json::from_slice::<Value>(json).is_ok_and(|value| match self {
            Codec::Json => serde_json::to_writer(&mut *out, &value).is_ok(),
            Codec::Msgpack => rmp_serde::encode::write_named(out, &value).is_ok(),
        });
        if encoded {
            std::mem::swap(json, out);
        }
    }

    /// Whether a reply is a whole value in this codec.
    pub fn decodes(self, bytes: &[u8]) -> bool {
        match self {
            Codec::Json => serde_json::from_slice::<Value>(bytes).is_ok(),
            // A reader of MessagePack is content with the first value; `{` alone is the number 123.
            Codec::Msgpack => {
                let mut rest = bytes;
                rmp_serde::from_read::<_, Value>(&mut rest).is_ok() && rest.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_reads_what_it_wrote_and_not_what_the_other_did() {
        let text = r#"{"id":17,"list":[1,2.5,null,true],"mark":"eb1.x"}"#;
        let mut encoded = Vec::new();
        for (codec, other) in [(Codec::Json, Codec::Msgpack), (Codec::Msgpack, Codec::Json)] {
            let mut payload = text.as_bytes().to_vec();
            codec.encode(&mut payload, &mut Vec::new());
            assert!(codec.decodes(&payload) && !other.decodes(&payload), "{codec:?}");
            encoded.push(payload);
        }
        assert_eq!(encoded[0], text.as_bytes());
        assert!(encoded[1].len() < encoded[0].len());
        // The mark is found in either, since both keep text as it is.
        assert!(encoded.iter().all(|e| memchr::memmem::find(e, b"eb1.x").is_some()));
    }

    #[test]
    fn what_is_no_json_is_left_to_the_service() {
        for codec in [Codec::Json, Codec::Msgpack] {
            let mut payload = b"{not json".to_vec();
            codec.encode(&mut payload, &mut Vec::new());
            assert_eq!(payload, b"{not json");
        }
    }
}
