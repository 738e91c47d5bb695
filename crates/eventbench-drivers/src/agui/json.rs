//! The fields of a JSON object, found where they lie: an event of twenty a run is looked at for its type and one or two
//! ids, and building a tree for that would cost more than all the rest.
//!
//! Texts without escapes and whole numbers are read here; whatever is nested or escaped is left to `serde_json`, so that
//! what counts as JSON is what counts as JSON everywhere else.

use memchr::memchr2;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The text is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no JSON object: it breaks off or goes wrong at byte {0}")]
pub struct NoObject(pub usize);

/// Calls `each` with every key of the outermost object and the JSON text of its value.
pub fn fields<'a>(text: &'a str, mut each: impl FnMut(&str, &'a str)) -> Result<(), NoObject> {
    let bytes = text.as_bytes();
    let mut at = after_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return Err(NoObject(at));
    }
    at = after_space(bytes, at + 1);
    if bytes.get(at) == Some(&b'}') {
        return ends(bytes, at + 1);
    }
    loop {
        let key_at = at;
        if bytes.get(at) != Some(&b'"') {
            return Err(NoObject(at));
        }
        at = value_end(text, at)?;
        let key = unquoted(&text[key_at..at]);
        at = after_space(bytes, at);
        if bytes.get(at) != Some(&b':') {
            return Err(NoObject(at));
        }
        at = after_space(bytes, at + 1);
        let value_at = at;
        at = value_end(text, at)?;
        each(&key, &text[value_at..at]);
        at = after_space(bytes, at);
        match bytes.get(at) {
            Some(b',') => at = after_space(bytes, at + 1),
            Some(b'}') => return ends(bytes, at + 1),
            _ => return Err(NoObject(at)),
        }
    }
}

/// The text that a JSON value is; `None` when it is something else.
pub fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    raw.starts_with('"').then(|| unquoted(raw))
}

/// The whole number, not negative, that a JSON value is.
pub fn number_of(raw: &str) -> Option<u64> {
    raw.parse().ok()
}

fn ends(bytes: &[u8], at: usize) -> Result<(), NoObject> {
    let end = after_space(bytes, at);
    if end == bytes.len() { Ok(()) } else { Err(NoObject(end)) }
}

#[inline]
fn after_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the value that begins at `at` ends.
#[inline]
fn value_end(text: &str, at: usize) -> Result<usize, NoObject> {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'"') => {
            let inside = &bytes[at + 1..];
            match memchr2(b'"', b'\\', inside) {
                Some(end) if inside[end] == b'"' && !inside[..end].iter().any(|b| *b < b' ') => Ok(at + end + 2),
                _ => nested_end(text, at),
            }
        }
        Some(b'1'..=b'9') => {
            let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            match bytes.get(at + digits) {
                Some(b',' | b'}') => Ok(at + digits),
                _ => nested_end(text, at),
            }
        }
        _ => nested_end(text, at),
    }
}

fn nested_end(text: &str, at: usize) -> Result<usize, NoObject> {
    let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Ok(at + values.byte_offset()),
        _ => Err(NoObject(at)),
    }
}

/// The text inside quotation marks. A text with half a surrogate, which JSON allows and Unicode does not, stays escaped.
fn unquoted(raw: &str) -> Cow<'_, str> {
    let inside = &raw[1..raw.len() - 1];
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inside), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn read(text: &str) -> Option<Map<String, Value>> {
        let mut map = Map::new();
        fields(text, |key, raw| {
            map.insert(key.to_owned(), serde_json::from_str(raw).unwrap());
        })
        .ok()?;
        Some(map)
    }

    #[test]
    fn texts_and_numbers_are_read_as_json_reads_them() {
        assert_eq!(text_of(r#""a\u0041\n""#).unwrap(), "aA\n");
        assert_eq!(text_of(r#""plain é""#).unwrap(), "plain é");
        assert_eq!(text_of("12"), None);
        assert_eq!(
            (number_of("12"), number_of("-1"), number_of("1.5"), number_of("\"1\"")),
            (Some(12), None, None, None)
        );
        for broken in [
            "",
            "[]",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":\"\n\"}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":tru}",
            "null",
        ] {
            assert_eq!(
                fields(broken, |_, _| {}).is_ok(),
                serde_json::from_str::<Map<String, Value>>(broken).is_ok(),
                "{broken}"
            );
            assert!(fields(broken, |_, _| {}).is_err(), "{broken}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map(".{0,6}", inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_object_is_read_as_serde_reads_it(map in proptest::collection::hash_map(".{0,6}", json(), 0..6), pretty in any::<bool>()) {
            let map: Map<String, Value> = map.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) }.unwrap();
            prop_assert_eq!(read(&text), Some(map));
        }

        #[test]
        fn what_is_damaged_is_refused_as_serde_refuses_it(text in r#"\{"[ab\\]{0,2}" ?: ?["\[{0-9tn.\-eE]{1,4}[,"}\]0-9:]{0,6}\}?"#) {
            prop_assert_eq!(fields(&text, |_, _| {}).is_ok(), serde_json::from_str::<std::collections::HashMap<String, IgnoredAny>>(&text).is_ok());
        }
    }
}
