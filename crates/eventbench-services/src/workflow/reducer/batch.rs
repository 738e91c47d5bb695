//! Batches of items as they come in requests, and the recipe by which whoever knows two numbers makes the same batch.
//!
//! # The recipe
//!
//! Item `i`, from 0, of batch number `q` with seed `s`, in a batch of `n` items over `k` namespaces, all arithmetic modulo
//! 2^64:
//!
//! ```text
//! h         = splitmix64(s xor (q << 20) xor i)
//! id        = (q << 20) + i
//! bytes     = 64 + h mod 1,000,000
//! namespace = "ns" followed by (i mod k) in decimal
//! file_type = FILE_TYPES[(h >> 32) mod 8]
//! at_ns     = base_ns + (q × n + i) × 1,000,000
//! ```
//!
//! A batch has at most 1,000,000 items, fewer than 2^20, so no two items of different batches share an id.

use super::aggregate::{Item, Summary};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Types of content that a generated batch is made of.
pub const FILE_TYPES: [&str; 8] = [
    "text/plain",
    "application/json",
    "text/csv",
    "text/html",
    "image/png",
    "image/jpeg",
    "application/pdf",
    "application/zip",
];

/// Most items of one batch, all its parts together.
pub const MOST_ITEMS: u64 = 1_000_000;
/// Most namespaces of a generated batch.
const MOST_NAMESPACES: u64 = 10_000;
/// Time between two generated items.
const STEP_NS: u64 = 1_000_000;
/// Most bytes of the name of a namespace or a type, and of an id.
pub const MOST_NAME_BYTES: usize = 256;
/// Most bytes of one item: a tebibyte. What claims more is an error of its sender, and a few of them would fill a sum.
pub const MOST_ITEM_BYTES: u64 = 1 << 40;
/// Reasons that a reply quotes.
const REASONS: usize = 5;

/// Sebastiano Vigna's SplitMix64 of one state: a bijection of 64-bit numbers that mixes well.
/// <https://prng.di.unimi.it/splitmix64.c>
pub fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What makes an item itself within its batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ItemId {
    /// A number.
    Number(u64),
    /// A text; `"7"` and `7` are two ids.
    Text(String),
}

impl<'de> Deserialize<'de> for ItemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = ItemId;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an id: a text or a whole number that is not negative")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<ItemId, E> {
                Ok(ItemId::Number(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ItemId, E> {
                Ok(ItemId::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Id)
    }
}

/// An item on the wire: `[id, namespace, file_type, bytes, at_ns]`. The numbers are signed so that a negative one refuses
/// its item and not the whole batch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry(
    pub ItemId,
    pub Cow<'static, str>,
    pub Cow<'static, str>,
    pub i64,
    pub i64,
);

impl Entry {
    /// The item, or why it is none.
    fn item<'a>(&'a self, workflow: &'a str) -> Result<Item<'a>, String> {
        let Entry(id, namespace, file_type, bytes, at_ns) = self;
        if let ItemId::Text(id) = id {
            check_name("id", id)?;
        }
        check_name("namespace", namespace)?;
        check_name("file type", file_type)?;
        let bytes = u64::try_from(*bytes)
            .ok()
            .filter(|bytes| *bytes <= MOST_ITEM_BYTES)
            .ok_or_else(|| format!("{bytes} is no size: from 0 to {MOST_ITEM_BYTES} bytes"))?;
        let at_ns = u64::try_from(*at_ns).map_err(|_| format!("{at_ns} is no time: it is negative"))?;
        Ok(Item {
            namespace,
            file_type,
            workflow,
            bytes,
            at_ns,
        })
    }
}

/// Checks a name of a few characters that is shown to people: not empty, not long, no control characters.
///
/// # Errors
/// A sentence that says what is wrong, with the text escaped.
pub fn check_name(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    check_text(what, text)
}

/// As [`check_name`], but the text may be empty.
///
/// # Errors
/// See [`check_name`].
pub fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.len() > MOST_NAME_BYTES {
        return Err(format!(
            "the {what} has {} bytes; at most {MOST_NAME_BYTES}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the {what} '{}' has control characters", text.escape_default()));
    }
    Ok(())
}

/// The recipe of a batch; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Items.
    pub items: u64,
    /// Seed.
    #[serde(default)]
    pub seed: u64,
    /// Number of the batch.
    #[serde(default)]
    pub seq: u64,
    /// Namespaces that the items are spread over in turn.
    #[serde(default = "one")]
    pub namespaces: u64,
    /// Event time of the first item of batch 0, in nanoseconds.
    #[serde(default)]
    pub base_ns: u64,
}

fn one() -> u64 {
    1
}

impl Recipe {
    /// The entries of the batch, as they would stand in a request.
    ///
    /// # Errors
    /// A sentence, if the recipe asks for too much.
    pub fn entries(&self) -> Result<Vec<Entry>, String> {
        if self.items > MOST_ITEMS {
            return Err(format!("{} items; at most {MOST_ITEMS}", self.items));
        }
        if !(1..=MOST_NAMESPACES).contains(&self.namespaces) {
            return Err(format!("{} namespaces; from 1 to {MOST_NAMESPACES}", self.namespaces));
        }
        Ok((0..self.items).map(|index| self.entry(index)).collect())
    }

    fn entry(&self, index: u64) -> Entry {
        let batch = self.seq << 20;
        let hash = splitmix64(self.seed ^ batch ^ index);
        let file_type = FILE_TYPES[((hash >> 32) % 8) as usize];
        let place = self.seq.wrapping_mul(self.items).wrapping_add(index);
        let at_ns = self.base_ns.wrapping_add(place.wrapping_mul(STEP_NS));
        Entry(
            ItemId::Number(batch.wrapping_add(index)),
            Cow::Owned(format!("ns{}", index % self.namespaces)),
            Cow::Borrowed(file_type),
            64 + (hash % 1_000_000) as i64,
            // An absurd base makes items that are refused, as they would be in a request.
            at_ns as i64,
        )
    }
}

/// What was left out of a batch, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Items whose id had come before in the batch: counted once.
    pub duplicates: u64,
    /// Items that make no sense.
    pub refused: u64,
    /// Why, for the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Takes the entries of one batch in turn and gives out those that are items, each once.
#[derive(Debug, Default)]
pub struct Sieve<'a> {
    seen: HashSet<&'a ItemId>,
    taken: u64,
    /// What it has held back so far.
    pub left_out: LeftOut,
}

impl<'a> Sieve<'a> {
    /// The item of an entry, unless it is none or has come before.
    pub fn pass(&mut self, entry: &'a Entry, workflow: &'a str) -> Option<Item<'a>> {
        let index = self.taken;
        self.taken += 1;
        match entry.item(workflow) {
            Ok(item) if self.seen.insert(&entry.0) => Some(item),
            Ok(_) => {
                self.left_out.duplicates += 1;
                None
            }
            Err(reason) => {
                self.left_out.refused += 1;
                if self.left_out.reasons.len() < REASONS {
                    self.left_out.reasons.push(format!("item {index}: {reason}"));
                }
                None
            }
        }
    }
}

/// Adds up a batch that is given in parts, each with the workflow that its items came from (empty for none).
pub fn summarize(parts: &[(&[Entry], &str)], window_ns: u64) -> (Summary, LeftOut) {
    let mut sieve = Sieve::default();
    let mut summary = Summary::default();
    for (entries, workflow) in parts {
        for entry in *entries {
            if let Some(item) = sieve.pass(entry, workflow) {
                summary.add(&item, window_ns);
            }
        }
    }
    (summary, sieve.left_out)
}

#[cfg(test)]
mod tests {
    use super::super::aggregate::check;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_recipe_is_the_one_that_is_written_down() {
        // The first outputs of the published generator with seed 1234567, whose state after k steps is the seed plus k
        // times the constant.
        let constant = 0x9e37_79b9_7f4a_7c15_u64;
        let published = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        for (step, expected) in (0..).zip(published) {
            assert_eq!(splitmix64(1_234_567 + constant.wrapping_mul(step)), expected);
        }
        let recipe = Recipe {
            items: 20,
            seed: 7,
            seq: 3,
            namespaces: 10,
            base_ns: 5,
        };
        let entries = recipe.entries().unwrap();
        for (index, Entry(id, namespace, file_type, bytes, at_ns)) in (0_u64..).zip(&entries) {
            let hash = splitmix64(7 ^ (3 << 20) ^ index);
            assert_eq!(*id, ItemId::Number(3 * 1_048_576 + index));
            assert_eq!(*namespace, format!("ns{}", index % 10));
            assert_eq!(*file_type, FILE_TYPES[usize::try_from((hash >> 32) % 8).unwrap()]);
            assert_eq!(*bytes, i64::try_from(64 + hash % 1_000_000).unwrap());
            assert_eq!(*at_ns, i64::try_from(5 + (60 + index) * 1_000_000).unwrap());
        }
    }

    #[test]
    fn a_recipe_for_too_much_is_refused_with_the_limit() {
        let recipe = Recipe {
            items: 1,
            seed: 0,
            seq: 0,
            namespaces: 1,
            base_ns: 0,
        };
        for (recipe, word) in [
            (
                Recipe {
                    items: MOST_ITEMS + 1,
                    ..recipe
                },
                "1000000",
            ),
            (
                Recipe {
                    namespaces: 0,
                    ..recipe
                },
                "from 1",
            ),
            (
                Recipe {
                    namespaces: u64::MAX,
                    ..recipe
                },
                "10000",
            ),
        ] {
            let reason = recipe.entries().unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
        let wild = Recipe {
            seed: u64::MAX,
            seq: u64::MAX,
            base_ns: u64::MAX,
            ..recipe
        };
        assert_eq!(wild.entries().unwrap().len(), 1);
    }

    #[test]
    fn items_that_make_no_sense_are_left_out_by_reason_and_repeated_ones_counted_once() {
        let text = r#"[
            ["a", "ns", "t/x", 10, 1], ["a", "ns", "t/x", 10, 1], [7, "ns", "t/x", 20, 2], ["7", "ns", "t/y", 30, 3],
            ["b", "", "t/x", 1, 1], ["c", "n\u0007s", "t/x", 1, 1], ["d", "ns", "t/x", -1, 1], ["e", "ns", "t/x", 1, -1],
            ["f", "ns", "t/x", 1099511627777, 1], ["", "ns", "t/x", 1, 1]
        ]"#;
        let entries: Vec<Entry> = serde_json::from_str(text).unwrap();
        let (summary, left_out) = summarize(&[(&entries, "w")], 1_000);
        assert_eq!((summary.total.count, summary.total.bytes), (3, 60));
        assert_eq!(summary.by_workflow["w"].count, 3);
        assert_eq!(
            (left_out.duplicates, left_out.refused, left_out.reasons.len()),
            (1, 6, 5)
        );
        assert_eq!(left_out.reasons[0], "item 4: the namespace is empty");
        assert!(left_out.reasons.iter().all(|reason| !reason.contains('\u{7}')));
    }

    proptest! {
        #[test]
        fn a_batch_in_parts_is_the_batch_and_repeating_parts_changes_nothing(
            items in 0_u64..200, seed in any::<u64>(), seq in any::<u64>(), k in 1_u64..12, at in 0_usize..200,
        ) {
            let recipe = Recipe { items, seed, seq, namespaces: k, base_ns: 0 };
            let entries = recipe.entries().unwrap();
            let (whole, left_out) = summarize(&[(&entries, "")], 1_000_000_000);
            let (a, b) = entries.split_at(at.min(entries.len()));
            let (parts, _) = summarize(&[(b, ""), (a, "")], 1_000_000_000);
            let (again, repeated) = summarize(&[(a, ""), (&entries, ""), (b, "")], 1_000_000_000);
            prop_assert_eq!(&parts, &whole);
            prop_assert_eq!(check(&parts.by_namespace), check(&whole.by_namespace));
            prop_assert_eq!(&again, &whole);
            prop_assert_eq!(whole.total.count + left_out.refused, items);
            prop_assert_eq!(repeated.duplicates, whole.total.count);
        }
    }
}
