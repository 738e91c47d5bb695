//! The types of events, what each must bring, and an event as it is read.
//!
//! Source: AG-UI 1.0, its published schema; the deprecated THINKING types of 0.0 are known and not looked into.

use super::json;
use std::borrow::Cow;

macro_rules! keys {
    ($($key:ident = $name:literal),* $(,)?) => {
        /// The fields that are looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Key { $($key),* }

        impl Key {
            /// How many there are.
            pub const COUNT: usize = [$($name),*].len();

            /// Its name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Key::$key => $name),* }
            }

            #[inline]
            fn by_name(name: &str) -> Option<Key> {
                match name { $($name => Some(Key::$key),)* _ => None }
            }
        }
    };
}

keys! {
    Type = "type",
    Delta = "delta",
    MessageId = "messageId",
    EmitNs = "emitNs",
    RawEvent = "rawEvent",
    Timestamp = "timestamp",
    ThreadId = "threadId",
    RunId = "runId",
    Role = "role",
    ToolCallId = "toolCallId",
    ToolCallName = "toolCallName",
    StepName = "stepName",
    Content = "content",
    Snapshot = "snapshot",
    Message = "message",
    Messages = "messages",
    Code = "code",
    Name = "name",
    Value = "value",
    Event = "event",
    ActivityType = "activityType",
    Patch = "patch",
    Outcome = "outcome",
    SubagentRunId = "subagentRunId",
}

/// What a field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A list.
    List,
    /// Any value.
    Any,
    /// One of these texts.
    OneOf(&'static [&'static str]),
}

impl Shape {
    /// In words, for the report of a violation.
    pub fn words(self) -> String {
        match self {
            Shape::Text => "a text".to_owned(),
            Shape::List => "a list".to_owned(),
            Shape::Any => "a value".to_owned(),
            Shape::OneOf(names) => format!("one of {}", names.join(", ")),
        }
    }

    fn fits(self, raw: &str) -> bool {
        match self {
            Shape::Text => raw.starts_with('"'),
            Shape::List => raw.starts_with('['),
            Shape::Any => true,
            Shape::OneOf(names) => json::text_of(raw).is_some_and(|text| names.contains(&text.as_ref())),
        }
    }
}

use Shape::{Any, List, OneOf, Text};

const ROLES: Shape = OneOf(&["assistant", "user", "system", "developer"]);

macro_rules! types {
    ($($kind:ident = $name:literal [$($key:ident: $shape:expr),*]),* $(,)?) => {
        /// The type of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $name] $kind),* }

        impl Kind {
            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),* }
            }

            /// The fields without which it is no such event, and what each must be.
            #[inline]
            pub fn required(self) -> &'static [(Key, Shape)] {
                match self { $(Kind::$kind => &[$((Key::$key, $shape)),*]),* }
            }

            #[inline]
            fn by_name(name: &str) -> Option<Kind> {
                match name { $($name => Some(Kind::$kind),)* _ => None }
            }
        }

        #[cfg(test)]
        pub const KINDS: &[Kind] = &[$(Kind::$kind),*];
    };
}

types! {
    RunStarted = "RUN_STARTED" [ThreadId: Text, RunId: Text],
    RunFinished = "RUN_FINISHED" [ThreadId: Text, RunId: Text],
    RunError = "RUN_ERROR" [Message: Text],
    StepStarted = "STEP_STARTED" [StepName: Text],
    StepFinished = "STEP_FINISHED" [StepName: Text],
    TextStart = "TEXT_MESSAGE_START" [MessageId: Text, Role: ROLES],
    TextContent = "TEXT_MESSAGE_CONTENT" [MessageId: Text, Delta: Text],
    TextEnd = "TEXT_MESSAGE_END" [MessageId: Text],
    TextChunk = "TEXT_MESSAGE_CHUNK" [],
    ToolStart = "TOOL_CALL_START" [ToolCallId: Text, ToolCallName: Text],
    ToolArgs = "TOOL_CALL_ARGS" [ToolCallId: Text, Delta: Text],
    ToolEnd = "TOOL_CALL_END" [ToolCallId: Text],
    ToolChunk = "TOOL_CALL_CHUNK" [],
    ToolResult = "TOOL_CALL_RESULT" [MessageId: Text, ToolCallId: Text, Content: Any],
    StateSnapshot = "STATE_SNAPSHOT" [Snapshot: Any],
    StateDelta = "STATE_DELTA" [Delta: List],
    MessagesSnapshot = "MESSAGES_SNAPSHOT" [Messages: List],
    ActivitySnapshot = "ACTIVITY_SNAPSHOT" [MessageId: Text, ActivityType: Text, Content: Any],
    ActivityDelta = "ACTIVITY_DELTA" [MessageId: Text, ActivityType: Text, Patch: List],
    ReasoningStart = "REASONING_START" [MessageId: Text],
    ReasoningEnd = "REASONING_END" [MessageId: Text],
    ReasoningMessageStart = "REASONING_MESSAGE_START" [MessageId: Text, Role: OneOf(&["reasoning"])],
    ReasoningMessageContent = "REASONING_MESSAGE_CONTENT" [MessageId: Text, Delta: Text],
    ReasoningMessageEnd = "REASONING_MESSAGE_END" [MessageId: Text],
    ReasoningMessageChunk = "REASONING_MESSAGE_CHUNK" [],
    ReasoningEncryptedValue = "REASONING_ENCRYPTED_VALUE" [],
    SubagentStarted = "SUBAGENT_STARTED" [SubagentRunId: Text, Name: Text],
    SubagentFinished = "SUBAGENT_FINISHED" [SubagentRunId: Text],
    SubagentError = "SUBAGENT_ERROR" [SubagentRunId: Text, Message: Text],
    Raw = "RAW" [Event: Any],
    Custom = "CUSTOM" [Name: Text, Value: Any],
    ThinkingStart = "THINKING_START" [],
    ThinkingEnd = "THINKING_END" [],
    ThinkingTextStart = "THINKING_TEXT_MESSAGE_START" [],
    ThinkingTextContent = "THINKING_TEXT_MESSAGE_CONTENT" [],
    ThinkingTextEnd = "THINKING_TEXT_MESSAGE_END" [],
}

/// An event, its values still JSON text where they came.
#[derive(Debug)]
pub struct Event<'a> {
    raw: [Option<&'a str>; Key::COUNT],
}

impl<'a> Event<'a> {
    /// Reads an event. A field that stands twice has its last value, as in every browser.
    ///
    /// # Errors
    /// In words: the data is no JSON object.
    pub fn read(data: &'a [u8]) -> Result<Event<'a>, String> {
        let text = std::str::from_utf8(data).map_err(|e| format!("no UTF-8 from byte {}", e.valid_up_to()))?;
        let mut raw = [None; Key::COUNT];
        json::fields(text, |name, value| {
            if let Some(key) = Key::by_name(name) {
                raw[key as usize] = Some(value);
            }
        })
        .map_err(|e| e.to_string())?;
        Ok(Event { raw })
    }

    /// The JSON text of a field.
    #[inline]
    pub fn raw(&self, key: Key) -> Option<&'a str> {
        self.raw[key as usize]
    }

    /// A field that is a text.
    #[inline]
    pub fn text(&self, key: Key) -> Option<Cow<'a, str>> {
        json::text_of(self.raw(key)?)
    }

    /// When it was emitted, on the clock that all processes of the machine share: `emitNs`, beside the event's own
    /// fields or in `rawEvent`, which is the protocol's place for what clients that know nothing of it are to keep.
    #[inline]
    pub fn emit_ns(&self) -> Option<u64> {
        let mut found = self.raw(Key::EmitNs);
        if let (None, Some(raw)) = (found, self.raw(Key::RawEvent)) {
            // A raw event may be anything; one that is no object holds no stamp.
            let _ = json::fields(raw, |name, value| {
                if name == Key::EmitNs.name() {
                    found = Some(value);
                }
            });
        }
        json::number_of(found?)
    }

    /// Its type; `None` when it names none that is known.
    #[inline]
    pub fn kind(&self) -> Option<Kind> {
        Kind::by_name(&self.text(Key::Type)?)
    }

    /// The first field that is missing or is not what it must be.
    #[inline]
    pub fn misses(&self, kind: Kind) -> Option<(Key, Shape)> {
        let wanted = kind.required().iter().copied();
        let mut missing = wanted.filter(|(key, shape)| !self.raw(*key).is_some_and(|raw| shape.fits(raw)));
        missing.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_found_in_both_places() {
        let emitted = |json: &str| Event::read(json.as_bytes()).unwrap().emit_ns();
        assert_eq!(emitted(r#"{"type":"CUSTOM","emitNs":12}"#), Some(12));
        assert_eq!(
            emitted(r#"{"type":"CUSTOM","rawEvent":{"a":"emitNs","emitNs":13}}"#),
            Some(13)
        );
        assert_eq!(emitted(r#"{"type":"CUSTOM","rawEvent":"emitNs"}"#), None);
        assert_eq!(emitted(r#"{"type":"CUSTOM","rawEvent":{"emitNs":null}}"#), None);
    }

    #[test]
    fn every_type_is_found_by_its_name_and_misses_what_is_not_there() {
        assert_eq!(KINDS.len(), 36);
        for kind in KINDS {
            let bare = format!("{{\"type\":\"{}\"}}", kind.name());
            let event = Event::read(bare.as_bytes()).unwrap();
            assert_eq!(event.kind(), Some(*kind));
            assert_eq!(event.misses(*kind), kind.required().first().copied());
            for (key, shape) in kind.required() {
                assert!(!shape.words().is_empty() && Key::by_name(key.name()) == Some(*key));
            }
        }
    }

    #[test]
    fn fields_have_shapes() {
        let event = |text: &'static str| Event::read(text.as_bytes()).unwrap();
        let start = event(r#"{"type":"TEXT_MESSAGE_START","messageId":"m","role":"poet"}"#);
        assert_eq!(start.misses(Kind::TextStart).unwrap().0, Key::Role);
        let delta = event(r#"{"type":"STATE_DELTA","delta":{}}"#);
        assert_eq!(delta.misses(Kind::StateDelta).unwrap().0, Key::Delta);
        let null = event(r#"{"type":"TEXT_MESSAGE_END","messageId":null}"#);
        assert_eq!(null.misses(Kind::TextEnd).unwrap().0, Key::MessageId);
        assert!(event(r#"{"type":"NEW_TYPE"}"#).kind().is_none());
        assert!(Event::read(b"[1]").is_err() && Event::read(b"{\"a\":\"\xff\"}").is_err());
        let twice = event(r#"{"type":"RAW","type":"CUSTOM"}"#);
        assert_eq!(twice.kind(), Some(Kind::Custom));
    }
}
