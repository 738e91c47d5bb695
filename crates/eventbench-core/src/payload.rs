//! Payload templates: what an event carries, derived from (seed, stream, sequence) so that it can be checked on
//! arrival without having been stored.

use crate::mix::{mix, mix3};
use crate::stamp::{STAMP_LEN, Stamp};

/// The fields a template may name, with what each one puts there.
pub const FIELDS: &[(&str, &str)] = &[
    (
        "{stamp}",
        "52 characters that identify the event; an observer looks for them",
    ),
    ("{seq}", "the sequence number within the stream, decimal"),
    ("{stream}", "the number of the stream, decimal"),
    ("{now_ms}", "the intended instant in milliseconds since the Unix epoch"),
    ("{text:N}", "N seeded letters a to p"),
    ("{hex:N}", "N seeded hexadecimal digits"),
    (
        "{items:N:GROUPS}",
        "a JSON list of N seeded items of GROUPS groups, each [id, group, kind, bytes, instant]",
    ),
    (
        "{int:LOW..HIGH}",
        "a seeded whole number from LOW up to, not including, HIGH",
    ),
];

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    Stamp,
    Seq,
    Stream,
    NowMs,
    Text(usize, u64),
    Hex(usize, u64),
    Int(u64, u64, u64),
    Items(u64, u64, u64),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What an event's payload is derived from.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// The identity of the event.
    pub stamp: Stamp,
    /// The seed of the run.
    pub seed: u64,
    /// Milliseconds since the Unix epoch at the monotonic instant zero.
    pub epoch_ms: i64,
}

impl Template {
    /// Parses a template. Braces that do not enclose a field (those of JSON) stand for themselves.
    ///
    /// # Errors
    /// Names a field that does not exist or an argument that does not fit, and lists the fields.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut names = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            literal.extend_from_slice(&rest.as_bytes()[..open]);
            let tail = &rest[open..];
            match field_at(tail) {
                Some((name, len)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let alike = names.iter().filter(|n| **n == name).count() as u64;
                    names.push(name);
                    pieces.push(piece(name, salt(name, alike))?);
                    rest = &tail[len..];
                }
                None => {
                    literal.push(b'{');
                    rest = &tail[1..];
                }
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Template { pieces })
    }

    /// Whether events made from it can be recognised on arrival.
    pub fn has_stamp(&self) -> bool {
        self.pieces.contains(&Piece::Stamp)
    }

    /// Appends the payload of one event to `out`; allocates only when `out` must grow.
    #[inline]
    pub fn render(&self, content: &Content, out: &mut Vec<u8>) {
        let stamp = &content.stamp;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Stamp => out.extend_from_slice(&stamp.encode()),
                Piece::Seq => decimal(stamp.seq, out),
                Piece::Stream => decimal(u64::from(stamp.stream), out),
                Piece::NowMs => {
                    let ms = content.epoch_ms + (stamp.intended_ns / 1_000_000) as i64;
                    decimal(ms.max(0) as u64, out);
                }
                Piece::Text(len, salt) => letters(word_seed(content, *salt), *len, out),
                Piece::Hex(len, salt) => hex(word_seed(content, *salt), *len, out),
                Piece::Items(count, groups, salt) => items(content, *count, *groups, *salt, out),
                Piece::Int(low, high, salt) => decimal(low + word_seed(content, *salt) % (high - low), out),
            }
        }
    }

    /// Whether `bytes` are exactly what [`Template::render`] makes of `content`; `scratch` is reused.
    pub fn matches(&self, content: &Content, bytes: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.render(content, scratch);
        scratch == bytes
    }
}

/// The seeded word of one field: it depends on seed, stream, sequence and the field's salt, not on time.
#[inline]
fn word_seed(content: &Content, salt: u64) -> u64 {
    mix3(content.seed ^ salt, u64::from(content.stamp.stream), content.stamp.seq)
}

/// The salt of a field: its own text and how many alike stand before it. So a template of a part of the payload, such
/// as one column of a row, makes the same content as the whole did.
fn salt(name: &str, alike_before: u64) -> u64 {
    name.bytes()
        .fold(mix(alike_before), |word, byte| mix(word ^ u64::from(byte)))
}

/// A field at the start of `text` (which begins with a brace): its name and the length of the whole.
fn field_at(text: &str) -> Option<(&str, usize)> {
    let close = text.find('}')?;
    let name = &text[1..close];
    let word = name.split(':').next().unwrap_or_default();
    let is_name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_name.then_some((name, close + 1))
}

fn piece(name: &str, salt: u64) -> Result<Piece, String> {
    let (word, argument) = match name.split_once(':') {
        Some((word, argument)) => (word, Some(argument)),
        None => (name, None),
    };
    let size = || -> Result<usize, String> {
        let text = argument.unwrap_or_default();
        match text.parse() {
            Ok(n) if n <= 64 << 20 => Ok(n),
            _ => Err(format!(
                "{{{name}}}: expected a length of at most 64 MiB, such as {{{word}:64}}"
            )),
        }
    };
    Ok(match (word, argument) {
        ("stamp", None) => Piece::Stamp,
        ("seq", None) => Piece::Seq,
        ("stream", None) => Piece::Stream,
        ("now_ms", None) => Piece::NowMs,
        ("text", _) => Piece::Text(size()?, salt),
        ("hex", _) => Piece::Hex(size()?, salt),
        ("items", Some(sizes)) => {
            let sizes = sizes
                .split_once(':')
                .and_then(|(n, groups)| Some((n.parse().ok()?, groups.parse().ok()?)));
            match sizes {
                Some((n @ 1..=100_000, groups)) if groups > 0 && groups <= n => Piece::Items(n, groups, salt),
                _ => {
                    return Err(format!(
                        "{{{name}}}: expected {{items:N:GROUPS}} with at most 100,000 items and not more groups than items"
                    ));
                }
            }
        }
        ("int", Some(range)) => {
            let bounds = range
                .split_once("..")
                .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            match bounds {
                Some((low, high)) if low < high => Piece::Int(low, high, salt),
                _ => return Err(format!("{{{name}}}: expected {{int:LOW..HIGH}} with LOW below HIGH")),
            }
        }
        _ => {
            let known: Vec<&str> = FIELDS.iter().map(|f| f.0).collect();
            return Err(format!(
                "unknown payload field {{{name}}}; the fields are {}",
                known.join(", ")
            ));
        }
    })
}

#[inline]
fn decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = 20;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Letters `a` to `p`, eight from each word. The words are drawn by their number, not one from the other, so that the
/// processor works on several at once; the mixing is a multiplication whose two halves are folded together.
#[inline]
fn letters(seed: u64, len: usize, out: &mut Vec<u8>) {
    let word = |i: u64| {
        let x = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let product = u128::from(x) * u128::from(x ^ 0xe703_7ed1_a0b4_28db);
        let mixed = (product >> 64) as u64 ^ product as u64;
        ((mixed & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161).to_le_bytes()
    };
    let start = out.len();
    out.resize(start + len, 0);
    let Some(place) = out.get_mut(start..) else { return };
    let mut words = place.chunks_exact_mut(8);
    let mut i = 0;
    for chunk in &mut words {
        chunk.copy_from_slice(&word(i));
        i += 1;
    }
    let rest = words.into_remainder();
    let last = word(i);
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Items of a batch. Item `i` is `["<stream>-<seq>-<i>","ns<i mod groups>","kind-<0 to 7>",<bytes>,<instant>]`; kind and
/// bytes (64 to 1,000,063) come from the word of (seed, stream, seq, i); the instants, nanoseconds since the Unix epoch,
/// are a millisecond apart.
fn items(content: &Content, count: u64, groups: u64, salt: u64, out: &mut Vec<u8>) {
    let stamp = &content.stamp;
    let word = word_seed(content, salt);
    let at_ns = content.epoch_ms.max(0) as u64 * 1_000_000 + stamp.intended_ns;
    out.push(b'[');
    for i in 0..count {
        if i > 0 {
            out.push(b',');
        }
        let drawn = mix(word ^ i);
        out.extend_from_slice(b"[\"");
        for part in [u64::from(stamp.stream), stamp.seq] {
            decimal(part, out);
            out.push(b'-');
        }
        decimal(i, out);
        out.extend_from_slice(b"\",\"ns");
        decimal(i % groups, out);
        out.extend_from_slice(b"\",\"kind-");
        decimal((drawn >> 32) % 8, out);
        out.extend_from_slice(b"\",");
        decimal(64 + drawn % 1_000_000, out);
        out.push(b',');
        decimal(at_ns + i * 1_000_000, out);
        out.push(b']');
    }
    out.push(b']');
}

#[inline]
fn hex(seed: u64, len: usize, out: &mut Vec<u8>) {
    let mut word = seed;
    for i in 0..len {
        if i % 16 == 0 && i > 0 {
            word = mix(word);
        }
        let nibble = (word >> (4 * (i % 16))) as u8 & 15;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
}

/// The bytes that a stamp takes in a payload, for checks of a payload's size.
pub const STAMP_BYTES: usize = STAMP_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(seq: u64) -> Content {
        Content {
            stamp: Stamp {
                run: 1,
                stream: 2,
                seq,
                intended_ns: 5_000_000,
                late_ns: 0,
            },
            seed: 42,
            epoch_ms: 1_000,
        }
    }

    #[test]
    fn braces_of_json_stand_for_themselves() {
        let template = Template::parse(r#"{ "user": "u{seq}", "at": {now_ms}, "n": {} , "o": {"x":1}}"#).unwrap();
        let mut out = Vec::new();
        template.render(&content(9), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{ "user": "u9", "at": 1005, "n": {} , "o": {"x":1}}"#
        );
    }

    #[test]
    fn a_part_of_the_payload_is_made_alike_alone() {
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        Template::parse("user{int:0..500} {text:8}|{stamp} {text:24}")
            .unwrap()
            .render(&content(3), &mut whole);
        Template::parse("{stamp} {text:24}")
            .unwrap()
            .render(&content(3), &mut part);
        assert!(whole.ends_with(&part));
        let mut twice = Vec::new();
        Template::parse("{text:8}{text:8}")
            .unwrap()
            .render(&content(3), &mut twice);
        assert_ne!(twice[..8], twice[8..], "two fields alike differ in content");
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_list() {
        let error = Template::parse("{sequence}").unwrap_err();
        assert!(error.contains("{sequence}") && error.contains("{seq}"), "{error}");
        assert!(Template::parse("{text:x}").is_err());
        assert!(Template::parse("{int:5..5}").is_err());
        assert!(Template::parse("{stamp:3}").is_err());
    }

    proptest! {
        #[test]
        fn content_can_be_made_again_and_differs_between_events(seq in 0u64..1 << 40, len in 16usize..200) {
            let template = Template::parse(&format!("{{stamp}} {{text:{len}}} {{hex:{len}}} {{int:0..1000000}}")).unwrap();
            let (mut a, mut b, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
            template.render(&content(seq), &mut a);
            template.render(&content(seq + 1), &mut b);
            prop_assert!(template.matches(&content(seq), &a, &mut scratch));
            prop_assert!(!template.matches(&content(seq), &b, &mut scratch));
            prop_assert_ne!(&a[STAMP_LEN..], &b[STAMP_LEN..]);
        }

        #[test]
        fn no_template_panics(text in ".{0,60}") {
            if let Ok(template) = Template::parse(&text) {
                let mut out = Vec::new();
                template.render(&content(1), &mut out);
            }
        }
    }
}
