//! Events of a run: their types, how they are rendered, and the frame in which each is sent.

use serde::Serialize;
use std::ops::Range;

/// An AG-UI event type that this service sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    RunStarted,
    RunFinished,
    RunError,
    StepStarted,
    StepFinished,
    TextMessageStart,
    TextMessageContent,
    TextMessageEnd,
    ToolCallStart,
    ToolCallArgs,
    ToolCallEnd,
    ToolCallResult,
    StateSnapshot,
    StateDelta,
    Custom,
}

impl Kind {
    pub(crate) const COUNT: usize = 15;
    pub(crate) const ALL: [Kind; Kind::COUNT] = [
        Kind::RunStarted,
        Kind::RunFinished,
        Kind::RunError,
        Kind::StepStarted,
        Kind::StepFinished,
        Kind::TextMessageStart,
        Kind::TextMessageContent,
        Kind::TextMessageEnd,
        Kind::ToolCallStart,
        Kind::ToolCallArgs,
        Kind::ToolCallEnd,
        Kind::ToolCallResult,
        Kind::StateSnapshot,
        Kind::StateDelta,
        Kind::Custom,
    ];

    /// The name in the field `type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::RunStarted => "RUN_STARTED",
            Kind::RunFinished => "RUN_FINISHED",
            Kind::RunError => "RUN_ERROR",
            Kind::StepStarted => "STEP_STARTED",
            Kind::StepFinished => "STEP_FINISHED",
            Kind::TextMessageStart => "TEXT_MESSAGE_START",
            Kind::TextMessageContent => "TEXT_MESSAGE_CONTENT",
            Kind::TextMessageEnd => "TEXT_MESSAGE_END",
            Kind::ToolCallStart => "TOOL_CALL_START",
            Kind::ToolCallArgs => "TOOL_CALL_ARGS",
            Kind::ToolCallEnd => "TOOL_CALL_END",
            Kind::ToolCallResult => "TOOL_CALL_RESULT",
            Kind::StateSnapshot => "STATE_SNAPSHOT",
            Kind::StateDelta => "STATE_DELTA",
            Kind::Custom => "CUSTOM",
        }
    }

    /// Whether nothing may follow in the same run.
    pub(crate) fn ends_run(self) -> bool {
        matches!(self, Kind::RunFinished | Kind::RunError)
    }
}

/// When an event was emitted: the fields that each carries besides its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Milliseconds since the Unix epoch: the protocol's own field `timestamp`.
    pub(crate) unix_ms: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds: `emitNs` in the field `rawEvent`, comparable in all processes of the machine.
    pub(crate) monotonic_ns: u64,
}

/// Events that were rendered but not yet stamped and sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Type and end of each in `bytes`.
    events: Vec<(Kind, usize)>,
    taken: usize,
}

impl Frames {
    /// Adds an event whose fields, besides `type`, are those of `fields`, which serializes as a JSON object.
    pub(crate) fn push(&mut self, kind: Kind, fields: &impl Serialize) {
        self.raw(kind, |out| {
            let from = out.len();
            // Writing JSON with text keys to memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, fields);
            // `{"a":1}` becomes `,"a":1`: the object was opened by `type` and is closed by the stamp.
            out.pop();
            if out.len() == from + 1 {
                out.pop();
            } else if let Some(open) = out.get_mut(from) {
                *open = b',';
            }
        });
    }

    /// Adds an event whose further fields `write` appends, each with a comma before it: `,"stepName":"a"`.
    pub(crate) fn raw(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.capacity() == 0 {
            // A step, or the whole reference run, fits: one allocation.
            self.bytes.reserve(2_048);
            self.events.reserve(24);
        }
        self.bytes.extend_from_slice(b"{\"type\":\"");
        self.bytes.extend_from_slice(kind.name().as_bytes());
        self.bytes.push(b'"');
        write(&mut self.bytes);
        self.events.push((kind, self.bytes.len()));
    }

    /// Takes the next event: its type, and where [`Frames::rendered`] finds it.
    pub(crate) fn take(&mut self) -> Option<(Kind, Range<usize>)> {
        let from = match self.taken {
            0 => 0,
            taken => self.events.get(taken - 1)?.1,
        };
        let (kind, end) = *self.events.get(self.taken)?;
        self.taken += 1;
        Some((kind, from..end))
    }

    /// The JSON of a taken event, without its stamp and its closing brace.
    pub(crate) fn rendered(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Forgets all events and keeps the memory for the next ones.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.events.clear();
        self.taken = 0;
    }
}

/// Appends the frame of one event: an `id:` line if it is numbered, and one `data:` line.
pub(crate) fn write_frame(out: &mut Vec<u8>, number: Option<u64>, rendered: &[u8], stamp: Stamp) {
    if let Some(number) = number {
        out.extend_from_slice(b"id: ");
        push_number(out, number);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(rendered);
    out.extend_from_slice(b",\"timestamp\":");
    push_number(out, stamp.unix_ms);
    // Clients remove fields that the protocol does not know, but keep what is in its field for such things.
    out.extend_from_slice(b",\"rawEvent\":{\"emitNs\":");
    push_number(out, stamp.monotonic_ns);
    out.extend_from_slice(b"}}\n\n");
}

/// Appends a number in decimal; the formatter of the standard library takes several times as long.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        // The remainder is below ten.
        digits[from] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

/// Appends a JSON string with its quotes.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    // Writing text to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const STAMP: Stamp = Stamp {
        unix_ms: 1_763_752_440_123,
        monotonic_ns: 13_320_123_456_789,
    };

    #[test]
    fn a_frame_is_one_line_of_json_with_its_stamp() {
        let mut frames = Frames::default();
        frames.push(Kind::StepStarted, &json!({ "stepName": "line\nbreak \"ü\"" }));
        frames.push(Kind::Custom, &json!({}));
        frames.raw(Kind::TextMessageContent, |out| {
            out.extend_from_slice(b",\"delta\":");
            push_text(out, "a\u{2028}\r\n");
        });
        let mut out = Vec::new();
        let mut kinds = Vec::new();
        while let Some((kind, range)) = frames.take() {
            write_frame(&mut out, Some(kinds.len() as u64 + 1), frames.rendered(range), STAMP);
            kinds.push(kind);
        }
        assert_eq!(kinds, [Kind::StepStarted, Kind::Custom, Kind::TextMessageContent]);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\r'));
        let events: Vec<Value> = text
            .split_terminator("\n\n")
            .enumerate()
            .map(|(k, frame)| {
                let (id, data) = frame.split_once('\n').unwrap();
                assert_eq!(id, format!("id: {}", k + 1));
                serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
            })
            .collect();
        let stamped = |mut event: Value| {
            event["timestamp"] = json!(STAMP.unix_ms);
            event["rawEvent"] = json!({ "emitNs": STAMP.monotonic_ns });
            event
        };
        assert_eq!(
            events,
            [
                stamped(json!({ "type": "STEP_STARTED", "stepName": "line\nbreak \"ü\"" })),
                stamped(json!({ "type": "CUSTOM" })),
                stamped(json!({ "type": "TEXT_MESSAGE_CONTENT", "delta": "a\u{2028}\r\n" })),
            ]
        );
        frames.clear();
        assert!(frames.take().is_none());
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn each_kind_stands_where_its_number_says() {
        for (k, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, k, "{kind:?}");
        }
    }
}
