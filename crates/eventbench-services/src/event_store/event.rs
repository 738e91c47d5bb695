//! The events of the bus: which subject carries which, and how a payload becomes one.
//!
//! Payloads are JSON objects. Strings borrow from the payload where they hold no escapes, so that parsing an event
//! normally allocates nothing. Unknown fields are ignored; missing ones and wrong types make an event malformed.

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A type of event, with one subject each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Kind {
    /// `bus.chat.message`
    ChatMessage,
    /// `bus.user.joined`
    UserJoined,
    /// `bus.user.left`
    UserLeft,
    /// `bus.media.played`
    MediaPlayed,
    /// `bus.pm.command`
    PmCommand,
    /// `bus.stats.users`
    UserCount,
}

impl Kind {
    /// How many types there are.
    pub const COUNT: usize = 6;
    /// Every type, in the order of its index.
    pub const ALL: [Kind; Kind::COUNT] = [
        Kind::ChatMessage,
        Kind::UserJoined,
        Kind::UserLeft,
        Kind::MediaPlayed,
        Kind::PmCommand,
        Kind::UserCount,
    ];

    /// The type that a subject carries, if it is one of ours.
    pub fn of_subject(subject: &str) -> Option<Kind> {
        match subject {
            "bus.chat.message" => Some(Kind::ChatMessage),
            "bus.user.joined" => Some(Kind::UserJoined),
            "bus.user.left" => Some(Kind::UserLeft),
            "bus.media.played" => Some(Kind::MediaPlayed),
            "bus.pm.command" => Some(Kind::PmCommand),
            "bus.stats.users" => Some(Kind::UserCount),
            _ => None,
        }
    }

    /// The subject of this type.
    pub fn subject(self) -> &'static str {
        match self {
            Kind::ChatMessage => "bus.chat.message",
            Kind::UserJoined => "bus.user.joined",
            Kind::UserLeft => "bus.user.left",
            Kind::MediaPlayed => "bus.media.played",
            Kind::PmCommand => "bus.pm.command",
            Kind::UserCount => "bus.stats.users",
        }
    }

    /// The label of this type in metrics and statistics.
    pub fn label(self) -> &'static str {
        match self {
            Kind::ChatMessage => "chat_message",
            Kind::UserJoined => "user_joined",
            Kind::UserLeft => "user_left",
            Kind::MediaPlayed => "media_played",
            Kind::PmCommand => "pm_command",
            Kind::UserCount => "user_count",
        }
    }

    /// Position in [`Kind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A chat message.
#[derive(Debug, PartialEq, Deserialize)]
pub struct ChatMessage<'a> {
    /// Who wrote it.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// What was written.
    #[serde(borrow)]
    pub msg: Cow<'a, str>,
    /// The publisher's time, by convention in milliseconds since 1970.
    pub time: i64,
}

/// A user came or went.
#[derive(Debug, PartialEq, Deserialize)]
pub struct UserAction<'a> {
    /// Who.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// Free text, stored as it is.
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
    /// The publisher's time.
    pub time: i64,
}

/// A title was played.
#[derive(Debug, PartialEq, Deserialize)]
pub struct MediaPlayed<'a> {
    /// What was played.
    #[serde(borrow)]
    pub title: Cow<'a, str>,
    /// Who asked for it.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// Length in seconds.
    pub duration_s: f64,
    /// Free text, stored as it is.
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
    /// The publisher's time.
    pub time: i64,
}

/// A command given in a private message; kept as an audit log.
#[derive(Debug, PartialEq, Deserialize)]
pub struct PmCommand<'a> {
    /// Who gave it.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub command: Cow<'a, str>,
    /// Its arguments: a string, or a list of strings, which is stored as a JSON array; empty if absent.
    #[serde(borrow, default, deserialize_with = "command_arguments")]
    pub args: Cow<'a, str>,
    /// Free text, stored as it is.
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
    /// The publisher's time.
    pub time: i64,
}

/// How many users are present.
#[derive(Debug, PartialEq, Deserialize)]
pub struct UserCount<'a> {
    /// Users present.
    pub count: u32,
    /// Free text, stored as it is.
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
    /// The publisher's time.
    pub time: i64,
}

/// A string inside an option. Serde borrows a plain `Cow` field but not one within an `Option`; this wrapper does.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// An event, borrowed from its payload.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// A chat message.
    Chat(ChatMessage<'a>),
    /// A user joined.
    Joined(UserAction<'a>),
    /// A user left.
    Left(UserAction<'a>),
    /// A title was played.
    Media(MediaPlayed<'a>),
    /// A private-message command.
    Command(PmCommand<'a>),
    /// A count of the users present.
    Count(UserCount<'a>),
}

impl Event<'_> {
    /// The type of this event.
    pub fn kind(&self) -> Kind {
        match self {
            Event::Chat(_) => Kind::ChatMessage,
            Event::Joined(_) => Kind::UserJoined,
            Event::Left(_) => Kind::UserLeft,
            Event::Media(_) => Kind::MediaPlayed,
            Event::Command(_) => Kind::PmCommand,
            Event::Count(_) => Kind::UserCount,
        }
    }
}

/// Why a payload is no event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Nobody knows events of this subject.
    #[error("no event is published on {0:?}")]
    UnknownSubject(String),
    /// The payload is larger than allowed.
    #[error("{subject}: payload of {bytes} bytes, at most {limit_bytes} are accepted")]
    TooLarge {
        /// Subject it came on.
        subject: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The payload is not the JSON object that the subject asks for.
    #[error("{subject}: {cause}")]
    Payload {
        /// Subject it came on.
        subject: &'static str,
        /// What the parser says, with line and column.
        cause: serde_json::Error,
    },
}

/// Parses the payload of an event of this type.
///
/// # Errors
/// [`EventError::Payload`] for anything that is no such JSON object.
pub fn parse(kind: Kind, payload: &[u8]) -> Result<Event<'_>, EventError> {
    let event = match kind {
        Kind::ChatMessage => serde_json::from_slice(payload).map(Event::Chat),
        Kind::UserJoined => serde_json::from_slice(payload).map(Event::Joined),
        Kind::UserLeft => serde_json::from_slice(payload).map(Event::Left),
        Kind::MediaPlayed => serde_json::from_slice(payload).map(Event::Media),
        Kind::PmCommand => serde_json::from_slice(payload).map(Event::Command),
        Kind::UserCount => serde_json::from_slice(payload).map(Event::Count),
    };
    event.map_err(|cause| EventError::Payload {
        subject: kind.subject(),
        cause,
    })
}

/// The highest number of users seen at once, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HighWater {
    /// Users present.
    pub count: u32,
    /// The publisher's time of that count.
    pub time: i64,
}

fn command_arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    struct Arguments;
    impl<'de> Visitor<'de> for Arguments {
        type Value = Cow<'de, str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string or a list of strings")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items: Vec<String> = Vec::new();
            while let Some(item) = list.next_element()? {
                items.push(item);
            }
            serde_json::to_string(&items)
                .map(Cow::Owned)
                .map_err(serde::de::Error::custom)
        }
    }
    deserializer.deserialize_any(Arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_types_match_one_to_one() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(Kind::of_subject(kind.subject()), Some(kind));
        }
        for subject in ["bus.query.stats", "bus.health", "bus.chat", "bus.chat.message.x", ""] {
            assert_eq!(Kind::of_subject(subject), None, "{subject}");
        }
    }

    #[test]
    fn each_type_parses_and_borrows_its_strings() {
        let chat = parse(
            Kind::ChatMessage,
            br#"{"username":"ann","msg":"hi","time":7,"more":[1]}"#,
        )
        .unwrap();
        let Event::Chat(ChatMessage {
            username: Cow::Borrowed("ann"),
            msg: Cow::Borrowed("hi"),
            time: 7,
        }) = chat
        else {
            panic!("{chat:?}")
        };
        let joined = parse(Kind::UserJoined, br#"{"username":"ann","time":-7,"msg":"mark"}"#).unwrap();
        let Event::Joined(UserAction {
            msg: Some(Text(Cow::Borrowed("mark"))),
            time: -7,
            ..
        }) = joined
        else {
            panic!("{joined:?}")
        };
        let media = parse(
            Kind::MediaPlayed,
            br#"{"title":"t","username":"u","duration_s":3,"time":1}"#,
        )
        .unwrap();
        assert!(
            matches!(
                media,
                Event::Media(MediaPlayed {
                    duration_s: 3.0,
                    msg: None,
                    ..
                })
            ),
            "{media:?}"
        );
        let count = parse(Kind::UserCount, br#"{"count":12,"time":1,"msg":null}"#).unwrap();
        assert_eq!(
            count,
            Event::Count(UserCount {
                count: 12,
                msg: None,
                time: 1
            })
        );
    }

    #[test]
    fn command_arguments_may_be_a_string_a_list_or_absent() {
        for (json, expected) in [
            (
                r#"{"username":"u","command":"kick","args":"bob now","time":1}"#,
                "bob now",
            ),
            (
                r#"{"username":"u","command":"kick","args":["bob","\"now\""],"time":1}"#,
                r#"["bob","\"now\""]"#,
            ),
            (r#"{"username":"u","command":"kick","time":1}"#, ""),
        ] {
            let Event::Command(command) = parse(Kind::PmCommand, json.as_bytes()).unwrap() else {
                panic!("{json}")
            };
            assert_eq!(command.args, expected);
        }
    }

    #[test]
    fn hostile_but_valid_strings_survive() {
        let json = r#"{"username":"'; DROP TABLE messages; --","msg":"a\u0000b\uD83D\uDE00\n","time":1}"#;
        let Event::Chat(chat) = parse(Kind::ChatMessage, json.as_bytes()).unwrap() else {
            panic!()
        };
        assert_eq!(chat.username, "'; DROP TABLE messages; --");
        assert_eq!(chat.msg, "a\0b😀\n");
    }

    #[test]
    fn anything_else_is_malformed_and_says_where() {
        for (kind, payload) in [
            (Kind::ChatMessage, &b""[..]),
            (Kind::ChatMessage, b"{"),
            (Kind::ChatMessage, b"[]"),
            (Kind::ChatMessage, b"null"),
            (Kind::ChatMessage, br#"{"username":"a","msg":"b"}"#),
            (Kind::ChatMessage, br#"{"username":"a","msg":"b","time":"1"}"#),
            (Kind::ChatMessage, br#"{"username":"a","msg":7,"time":1}"#),
            (
                Kind::ChatMessage,
                br#"{"username":"a","msg":"b","time":99999999999999999999}"#,
            ),
            (Kind::ChatMessage, br#"{"username":"a","msg":"b","time":1} trailing"#),
            (Kind::ChatMessage, br#"{"username":"a","msg":"\ud800","time":1}"#),
            (Kind::ChatMessage, b"{\"username\":\"\xff\",\"msg\":\"b\",\"time\":1}"),
            (Kind::UserCount, br#"{"count":-1,"time":1}"#),
            (
                Kind::PmCommand,
                br#"{"username":"u","command":"c","args":[1],"time":1}"#,
            ),
        ] {
            let error = parse(kind, payload).unwrap_err();
            assert!(error.to_string().starts_with(kind.subject()), "{error}");
        }
        let deep = [
            b"{\"username\":\"a\",\"msg\":\"b\",\"time\":1,\"x\":".to_vec(),
            vec![b'['; 10_000],
        ]
        .concat();
        assert!(parse(Kind::ChatMessage, &deep).is_err());
    }
}
