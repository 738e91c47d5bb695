//! Whether a text that comes in pieces is JSON: the arguments of a tool call are, when they are complete.
//!
//! Nothing of the text is kept, so arguments may be of any length.

/// Nesting deeper than this is refused.
const DEEPEST: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A value must begin.
    Value,
    /// A value must begin, or the list that has just begun ends.
    FirstItem,
    /// A key must begin, or the object that has just begun ends.
    FirstKey,
    Key,
    Colon,
    /// Behind a value of a list or an object.
    Behind,
    /// Behind the outermost value.
    Done,
    Text,
    Escape,
    Hex(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// Inside `true`, `false` or `null`: what must still come.
    Word(&'static [u8]),
    Wrong,
}

/// A text that is being checked.
#[derive(Debug, Clone)]
pub struct JsonText {
    at: At,
    /// Whether the text under way is a key.
    is_key: bool,
    depth: usize,
    /// One bit a level: an object rather than a list.
    objects: [u64; DEEPEST / 64],
    bytes: u64,
}

impl Default for JsonText {
    fn default() -> Self {
        Self {
            at: At::Value,
            is_key: false,
            depth: 0,
            objects: [0; DEEPEST / 64],
            bytes: 0,
        }
    }
}

impl JsonText {
    /// Reads a piece.
    pub fn feed(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        for byte in text.bytes() {
            if self.at == At::Wrong {
                return;
            }
            self.at = self.after(byte);
        }
    }

    /// Whether nothing has come at all.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether what has come is one whole JSON value.
    pub fn is_whole(&self) -> bool {
        matches!(self.at, At::Done)
            || (self.depth == 0 && matches!(self.at, At::Zero | At::Digits | At::Fraction | At::ExponentDigits))
    }

    fn after(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Text, b'"') => {
                if self.is_key {
                    At::Colon
                } else {
                    self.behind()
                }
            }
            (At::Text, b'\\') => At::Escape,
            (At::Text, b' '..) => At::Text,
            (At::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => At::Text,
            (At::Escape, b'u') => At::Hex(4),
            (At::Hex(n), b) if b.is_ascii_hexdigit() => {
                if n == 1 {
                    At::Text
                } else {
                    At::Hex(n - 1)
                }
            }
            (At::Word([one]), b) if *one == b => self.behind(),
            (At::Word([first, rest @ ..]), b) if *first == b => At::Word(rest),
            (At::Minus, b'0') => At::Zero,
            (At::Minus | At::Digits, b'0'..=b'9') => At::Digits,
            (At::Zero | At::Digits, b'.') => At::Point,
            (At::Zero | At::Digits | At::Fraction, b'e' | b'E') => At::Exponent,
            (At::Point | At::Fraction, b'0'..=b'9') => At::Fraction,
            (At::Exponent, b'+' | b'-') => At::ExponentSign,
            (At::Exponent | At::ExponentSign | At::ExponentDigits, b'0'..=b'9') => At::ExponentDigits,
            (At::Zero | At::Digits | At::Fraction | At::ExponentDigits, b) => {
                // A number ends with what does not belong to it.
                self.at = self.behind();
                self.structural(b)
            }
            (_, b) => self.structural(b),
        }
    }

    fn structural(&mut self, byte: u8) -> At {
        let between = matches!(
            self.at,
            At::Value | At::FirstItem | At::FirstKey | At::Key | At::Colon | At::Behind | At::Done
        );
        match (self.at, byte) {
            (at, b' ' | b'\t' | b'\n' | b'\r') if between => at,
            (At::FirstItem, b']') | (At::FirstKey, b'}') => self.leave(),
            (At::Behind, b'}') if self.in_object() => self.leave(),
            (At::Behind, b']') if !self.in_object() => self.leave(),
            (At::Behind, b',') if self.in_object() => At::Key,
            (At::Behind, b',') => At::Value,
            (At::Colon, b':') => At::Value,
            (At::FirstKey | At::Key, b'"') => {
                self.is_key = true;
                At::Text
            }
            (At::Value | At::FirstItem, _) => match byte {
                b'"' => {
                    self.is_key = false;
                    At::Text
                }
                b'{' => self.enter(true),
                b'[' => self.enter(false),
                b't' => At::Word(b"rue"),
                b'f' => At::Word(b"alse"),
                b'n' => At::Word(b"ull"),
                b'-' => At::Minus,
                b'0' => At::Zero,
                b'1'..=b'9' => At::Digits,
                _ => At::Wrong,
            },
            _ => At::Wrong,
        }
    }

    fn behind(&self) -> At {
        if self.depth == 0 { At::Done } else { At::Behind }
    }

    fn in_object(&self) -> bool {
        let level = self.depth.wrapping_sub(1);
        self.objects
            .get(level / 64)
            .is_some_and(|bits| bits >> (level % 64) & 1 == 1)
    }

    fn enter(&mut self, object: bool) -> At {
        let level = self.depth;
        let Some(bits) = self.objects.get_mut(level / 64) else {
            return At::Wrong;
        };
        *bits = *bits & !(1 << (level % 64)) | u64::from(object) << (level % 64);
        self.depth += 1;
        if object { At::FirstKey } else { At::FirstItem }
    }

    fn leave(&mut self) -> At {
        self.depth -= 1;
        self.behind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str, cuts: &[usize]) -> bool {
        let mut check = JsonText::default();
        let mut from = 0;
        for at in cuts.iter().copied().chain([text.len()]) {
            let at = at.clamp(from, text.len());
            if text.is_char_boundary(at) {
                check.feed(&text[from..at]);
                from = at;
            }
        }
        check.is_whole()
    }

    #[test]
    fn depth_is_limited() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(whole(&nested(DEEPEST), &[]));
        assert!(!whole(&nested(DEEPEST + 1), &[]));
        assert!(JsonText::default().is_empty() && !JsonText::default().is_whole());
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in r#"[\[{"]{0,2}[\[\]{}:," \n\\a-fnrtu0-9.eE+\-]{0,14}["\]}]{0,2}"#, cuts in proptest::collection::vec(0usize..24, 0..4)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            // IgnoredAny takes every escape that JSON allows, halves of surrogates included.
            let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(whole(&text, &cuts), expected, "{}", text);
        }

        #[test]
        fn json_is_whole_and_no_beginning_of_it_is(text in r#"\{"[a-z]{0,3}":(\["[^"\\]{0,8}",-?[1-9]{1,3}(\.[0-9]{1,2})?(e[0-9])?,true,null,\{\}\]|"\\u00e9\\n")\}"#, at in 0usize..60) {
            prop_assume!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
            prop_assert!(whole(&text, &[at]));
            let part: String = text.chars().take(text.chars().count() - 1).collect();
            prop_assert!(!whole(&part, &[]));
        }
    }
}
