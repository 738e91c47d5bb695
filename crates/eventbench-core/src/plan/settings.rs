//! Settings of a driver, an observer or a readiness check: a table that its owner reads, with the place of each key kept.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

/// A table whose keys belong to somebody else.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    entries: IndexMap<String, Entry>,
    span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    key_span: Range<usize>,
    value_span: Range<usize>,
    value: toml::Value,
}

/// What is wrong with settings, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// What is wrong and what was expected.
    pub message: String,
    /// The bytes of the source it is about.
    pub span: Range<usize>,
}

impl Settings {
    /// Settings that stand in no file.
    pub fn from_table(table: toml::Table) -> Self {
        let entries = table
            .into_iter()
            .map(|(k, value)| {
                (
                    k,
                    Entry {
                        key_span: 0..0,
                        value_span: 0..0,
                        value,
                    },
                )
            })
            .collect();
        Self { entries, span: 0..0 }
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// A value by key.
    pub fn get(&self, key: &str) -> Option<&toml::Value> {
        self.entries.get(key).map(|e| &e.value)
    }

    /// A text by key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(toml::Value::as_str)
    }

    /// The keys in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The same settings without a key.
    pub fn without(&self, key: &str) -> Settings {
        let mut rest = self.clone();
        rest.entries.shift_remove(key);
        rest
    }

    /// An error about one key, or about the table when it is not there.
    pub fn error(&self, key: &str, message: impl Into<String>) -> SettingsError {
        let span = self
            .entries
            .get(key)
            .map_or_else(|| self.span.clone(), |e| e.value_span.clone());
        SettingsError {
            message: message.into(),
            span,
        }
    }

    /// Reads the table into the owner's type.
    ///
    /// # Errors
    /// Points at the key that is unknown or whose value does not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let span = Cell::new(self.span.clone());
        // Serde asks for key, value, key, value …; whatever it complains about is what it was given last.
        let pairs = self.entries.iter().map(|(key, entry)| {
            span.set(entry.key_span.clone());
            (
                KeyAt {
                    key,
                    then: entry.value_span.clone(),
                    span: &span,
                },
                entry.value.clone(),
            )
        });
        let map = MapDeserializer::<_, toml::de::Error>::new(pairs);
        let result = T::deserialize(map);
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                let message = error.message().to_owned();
                let span = if message.starts_with("missing field") {
                    self.span.clone()
                } else {
                    span.into_inner()
                };
                Err(SettingsError { message, span })
            }
        }
    }
}

/// A key that, once it has been read without complaint, hands the blame on to its value.
struct KeyAt<'a> {
    key: &'a str,
    then: Range<usize>,
    span: &'a Cell<Range<usize>>,
}

impl<'de, 'a> IntoDeserializer<'de, toml::de::Error> for KeyAt<'a> {
    type Deserializer = KeyDeserializer<'a>;
    fn into_deserializer(self) -> Self::Deserializer {
        KeyDeserializer(self)
    }
}

struct KeyDeserializer<'a>(KeyAt<'a>);

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = toml::de::Error;
    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let value = visitor.visit_str(self.0.key)?;
        self.0.span.set(self.0.then);
        Ok(value)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = toml::Spanned::<Raw>::deserialize(deserializer)?;
        let span = raw.span();
        Ok(Settings::from_raw(raw.into_inner(), span))
    }
}

/// Keys and values with their places.
type Raw = IndexMap<toml::Spanned<String>, toml::Spanned<toml::Value>>;

impl Settings {
    fn from_raw(raw: Raw, span: Range<usize>) -> Self {
        let entries = raw
            .into_iter()
            .map(|(key, value)| {
                let entry = Entry {
                    key_span: key.span(),
                    value_span: value.span(),
                    value: value.into_inner(),
                };
                (key.into_inner(), entry)
            })
            .collect();
        Settings { entries, span }
    }

    /// Reads a table whose beginning somebody else has seen; its place is then that of its first key.
    pub(super) fn from_map<'de, A: serde::de::MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let raw = Raw::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let span = raw.first().map_or(0..0, |(key, _)| key.span());
        Ok(Settings::from_raw(raw, span))
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|(k, e)| (k, &e.value)))
    }
}

impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read for its errors, never for its values")]
    struct Own {
        driver: String,
        subject: String,
        count: Option<u32>,
        every: Option<crate::units::Duration>,
    }

    #[derive(Deserialize)]
    struct File {
        drive: Settings,
    }

    fn read(text: &str) -> Result<Own, (String, String)> {
        let file: File = toml::from_str(text).unwrap();
        file.drive
            .read::<Own>()
            .map_err(|e| (e.message, text[e.span].to_owned()))
    }

    #[test]
    fn blame_falls_on_the_key_or_value_that_is_wrong() {
        assert!(read(r#"drive = { driver = "nats", subject = "a", every = "10ms" }"#).is_ok());
        let (message, at) = read(r#"drive = { driver = "nats", subjekt = "a", count = 3 }"#).unwrap_err();
        assert!(message.contains("unknown field `subjekt`"), "{message}");
        assert_eq!(at, "subjekt");
        let (message, at) = read(r#"drive = { driver = "nats", subject = "a", count = "many" }"#).unwrap_err();
        assert!(message.contains("invalid type"), "{message}");
        assert_eq!(at, "\"many\"");
        let (message, at) = read(r#"drive = { driver = "nats", subject = "a", every = "10 parsecs" }"#).unwrap_err();
        assert!(message.contains("parsecs") && message.contains("duration"), "{message}");
        assert_eq!(at, "\"10 parsecs\"");
        let (message, at) = read(r#"drive = { driver = "nats" }"#).unwrap_err();
        assert!(message.contains("missing field `subject`"), "{message}");
        assert!(at.starts_with('{'), "{at}");
    }
}
