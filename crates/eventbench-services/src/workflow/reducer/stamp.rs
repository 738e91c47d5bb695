//! A stamp as the reducer takes it: read from a payload, its event time made one clock's, and checked. What cannot be a
//! stamp is poison, with a reason.

use super::aggregate::Item;
use super::batch::{MOST_ITEM_BYTES, check_name, check_text};
use crate::kit::codec::decode_any;
use serde::Deserialize;

/// How far ahead of the reducer's own clock the event time of a stamp may be. One that is wrong by years would close all
/// windows up to its own and make everything after it late.
const MOST_AHEAD_MS: u64 = 60_000;
/// Milliseconds of the year 9999: more than any sound event time, and far from the edge of a database's integer.
const MOST_MS: u64 = 253_402_300_800_000;

/// A stamp on the wire. See [`workflow::stamp`](crate::workflow::stamp::Stamp) for the fields; `file_type` is another
/// name of `content_type`, and `at_ns`, an instant of this machine's `CLOCK_MONOTONIC`, may stand for `event_ms`.
#[derive(Debug, Default, Deserialize)]
struct Wire {
    id: String,
    #[serde(default)]
    workflow: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    bytes: u64,
    #[serde(default, alias = "file_type")]
    content_type: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    event_ms: u64,
    #[serde(default)]
    at_ns: u64,
}

/// A stamp that makes sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) id: String,
    pub(crate) workflow: String,
    pub(crate) namespace: String,
    pub(crate) file: String,
    pub(crate) hash: String,
    pub(crate) bytes: u64,
    pub(crate) content_type: String,
    pub(crate) tag: String,
    /// Event time in milliseconds since 1970.
    pub(crate) event_ms: u64,
}

/// Why a payload is no stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    /// The id, if one could be read and is fit to be shown.
    pub(crate) id: String,
    /// The reason, one line.
    pub(crate) reason: String,
}

/// What the clocks show when a stamp is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) monotonic_ns: u64,
}

impl Stamp {
    /// Reads and checks a stamp.
    pub(crate) fn read(payload: &[u8], now: Now) -> Result<Stamp, Poison> {
        let wire: Wire = decode_any(payload).map_err(|cause| Poison {
            id: String::new(),
            reason: format!("malformed stamp: {cause}"),
        })?;
        let named = check_name("id", &wire.id);
        let id = if named.is_ok() { wire.id.clone() } else { String::new() };
        let refused = |reason| Poison { id: id.clone(), reason };
        named.map_err(&refused)?;
        for (what, text) in [
            ("workflow", &wire.workflow),
            ("namespace", &wire.namespace),
            ("content type", &wire.content_type),
            ("tag", &wire.tag),
        ] {
            check_text(what, text).map_err(&refused)?;
        }
        if wire.file.len() > 4_096 {
            return Err(refused(format!(
                "the name of the file has {} bytes; at most 4096",
                wire.file.len()
            )));
        }
        if wire.hash.len() > 128 || !wire.hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused("the hash is not of hexadecimal digits, at most 128".to_owned()));
        }
        if wire.bytes > MOST_ITEM_BYTES {
            return Err(refused(format!(
                "{} bytes is no size of a file; at most {MOST_ITEM_BYTES}",
                wire.bytes
            )));
        }
        let event_ms = event_ms(&wire, now);
        if event_ms > (now.unix_ms + MOST_AHEAD_MS).min(MOST_MS) {
            return Err(refused(format!(
                "the event time is {} ms ahead of the clock; at most {MOST_AHEAD_MS}",
                event_ms.saturating_sub(now.unix_ms)
            )));
        }
        Ok(Stamp {
            id: wire.id,
            workflow: wire.workflow,
            namespace: wire.namespace,
            file: wire.file,
            hash: wire.hash,
            bytes: wire.bytes,
            content_type: wire.content_type,
            tag: wire.tag,
            event_ms,
        })
    }

    /// What of it is counted.
    pub(crate) fn item(&self) -> Item<'_> {
        Item {
            namespace: &self.namespace,
            file_type: &self.content_type,
            workflow: &self.workflow,
            bytes: self.bytes,
            at_ns: self.event_ms * 1_000_000,
        }
    }

    /// Whether two stamps of one id say the same of the same file. The tag and the time may differ: a sender that tries
    /// again may set them again.
    pub(crate) fn says_the_same(&self, other: &Stamp) -> bool {
        let facts = |stamp: &Stamp| {
            [
                stamp.workflow.clone(),
                stamp.namespace.clone(),
                stamp.content_type.clone(),
                stamp.hash.clone(),
            ]
        };
        self.bytes == other.bytes && facts(self) == facts(other)
    }
}

/// The event time in milliseconds since 1970: given, or from an instant of the monotonic clock, or now.
fn event_ms(wire: &Wire, now: Now) -> u64 {
    if wire.event_ms > 0 {
        wire.event_ms
    } else if wire.at_ns > now.monotonic_ns {
        now.unix_ms.saturating_add((wire.at_ns - now.monotonic_ns) / 1_000_000)
    } else if wire.at_ns > 0 {
        now.unix_ms.saturating_sub((now.monotonic_ns - wire.at_ns) / 1_000_000)
    } else {
        now.unix_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Now = Now {
        unix_ms: 1_700_000_000_000,
        monotonic_ns: 5_000_000_000,
    };

    fn read(value: &serde_json::Value) -> Result<Stamp, Poison> {
        Stamp::read(value.to_string().as_bytes(), NOW)
    }

    #[test]
    fn the_shared_stamp_is_read_whole_and_either_event_time_becomes_one_clocks() {
        let sent = crate::workflow::stamp::Stamp {
            id: "s1".to_owned(),
            workflow: "w1".to_owned(),
            namespace: "ns".to_owned(),
            file: "a.png".to_owned(),
            hash: "ab".repeat(32),
            bytes: 7,
            content_type: "image/png".to_owned(),
            tag: "t".to_owned(),
            event_ms: NOW.unix_ms - 3,
        };
        let stamp = Stamp::read(&serde_json::to_vec(&sent).unwrap(), NOW).unwrap();
        assert_eq!(
            (stamp.id.as_str(), stamp.file.as_str(), stamp.tag.as_str()),
            ("s1", "a.png", "t")
        );
        assert_eq!(stamp.item().at_ns, (NOW.unix_ms - 3) * 1_000_000);
        assert_eq!(stamp.item().file_type, "image/png");
        let other = read(&json!({"id": "s2", "file_type": "t/x", "at_ns": 4_000_000_000_u64})).unwrap();
        assert_eq!(
            (other.content_type.as_str(), other.event_ms),
            ("t/x", NOW.unix_ms - 1_000)
        );
        assert_eq!(read(&json!({"id": "s3"})).unwrap().event_ms, NOW.unix_ms);
    }

    #[test]
    fn poison_is_refused_with_a_reason_on_one_line() {
        for (value, word) in [
            (json!("text"), "malformed"),
            (json!({}), "malformed"),
            (json!({"id": ""}), "the id is empty"),
            (json!({"id": "x".repeat(257)}), "257 bytes"),
            (json!({"id": "a\nb"}), "a\\nb"),
            (json!({"id": "a", "namespace": "\u{0}"}), "namespace"),
            (json!({"id": "a", "hash": "xyz"}), "hexadecimal"),
            (json!({"id": "a", "bytes": -1}), "malformed"),
            (json!({"id": "a", "bytes": u64::MAX}), "no size"),
            (json!({"id": "a", "event_ms": NOW.unix_ms + 60_001}), "ahead"),
            (json!({"id": "a", "event_ms": u64::MAX}), "ahead"),
            (json!({"id": "a", "at_ns": u64::MAX}), "ahead"),
        ] {
            let poison = read(&value).unwrap_err();
            assert!(poison.reason.contains(word), "{value}: {}", poison.reason);
            assert!(!poison.reason.contains('\n'), "{}", poison.reason);
        }
        assert_eq!(read(&json!({"id": "a", "hash": "-"})).unwrap_err().id, "a");
        assert!(Stamp::read(b"\xc1", NOW).is_err());
    }
}
