//! What a set of items adds up to: how many, how many bytes, the least and the most, and the same by group.
//!
//! Everything in here is pure. Adding and merging are associative and commutative with the empty value as identity, so
//! a batch may be split, its parts reduced in any order, and the parts merged: the result is the same. Sums stop at
//! `u64::MAX` instead of wrapping, which keeps that law.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One item as it is counted. Its id is not part of it: who counts sees to it that no id comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The namespace that it belongs to.
    pub namespace: &'a str,
    /// The type of its content, as in `image/png`.
    pub file_type: &'a str,
    /// The workflow that it came from; empty if it came from none.
    pub workflow: &'a str,
    /// Its size.
    pub bytes: u64,
    /// When it happened, in nanoseconds of the clock that its sender uses.
    pub at_ns: u64,
}

/// Count and sizes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Items.
    pub count: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// The least size in bytes; `u64::MAX` of an empty group.
    pub min: u64,
    /// The greatest size in bytes; 0 of an empty group.
    pub max: u64,
}

impl Default for Aggregate {
    fn default() -> Aggregate {
        Aggregate {
            count: 0,
            bytes: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Aggregate {
    /// A group of one item of this size.
    pub fn of(bytes: u64) -> Aggregate {
        Aggregate {
            count: 1,
            bytes,
            min: bytes,
            max: bytes,
        }
    }

    /// Adds another group to this one.
    pub fn merge(&mut self, other: &Aggregate) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The mean size in bytes; `None` of an empty group.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.bytes as f64 / self.count as f64)
    }
}

/// A range of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizeBucket {
    /// Below 1 KiB.
    Tiny,
    /// From 1 KiB to below 64 KiB.
    Small,
    /// From 64 KiB to below 1 MiB.
    Medium,
    /// From 1 MiB.
    Large,
}

impl SizeBucket {
    /// The range that a size is in.
    pub fn of(bytes: u64) -> SizeBucket {
        match bytes {
            0..0x400 => SizeBucket::Tiny,
            0x400..0x1_0000 => SizeBucket::Small,
            0x1_0000..0x10_0000 => SizeBucket::Medium,
            _ => SizeBucket::Large,
        }
    }

    /// The name in replies and in the database.
    pub fn name(self) -> &'static str {
        match self {
            SizeBucket::Tiny => "below 1 KiB",
            SizeBucket::Small => "1 KiB to 64 KiB",
            SizeBucket::Medium => "64 KiB to 1 MiB",
            SizeBucket::Large => "1 MiB and more",
        }
    }
}

/// Groups by name.
pub type Groups = BTreeMap<String, Aggregate>;

/// Adds to the group of this name. The name is copied only for a group that is not there yet.
fn add_to(groups: &mut Groups, name: &str, added: &Aggregate) {
    match groups.get_mut(name) {
        Some(group) => group.merge(added),
        None => {
            groups.insert(name.to_owned(), *added);
        }
    }
}

/// A set of items by everything that they are grouped by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All of them.
    pub total: Aggregate,
    /// By namespace.
    pub by_namespace: Groups,
    /// By type of content: as many groups as there are distinct types.
    pub by_file_type: Groups,
    /// By range of size.
    pub by_size: BTreeMap<SizeBucket, Aggregate>,
    /// By workflow; items of none are in no group.
    pub by_workflow: Groups,
    /// By tumbling window of event time, keyed by the window's start in nanoseconds.
    pub by_window: BTreeMap<u64, Aggregate>,
}

impl Summary {
    /// Adds one item; `window_ns` is the length of the windows of event time, at least 1.
    pub fn add(&mut self, item: &Item<'_>, window_ns: u64) {
        let one = Aggregate::of(item.bytes);
        self.total.merge(&one);
        add_to(&mut self.by_namespace, item.namespace, &one);
        add_to(&mut self.by_file_type, item.file_type, &one);
        self.by_size.entry(SizeBucket::of(item.bytes)).or_default().merge(&one);
        if !item.workflow.is_empty() {
            add_to(&mut self.by_workflow, item.workflow, &one);
        }
        let start_ns = item.at_ns - item.at_ns % window_ns.max(1);
        self.by_window.entry(start_ns).or_default().merge(&one);
    }

    /// Adds another set, which has no item in common with this one.
    pub fn merge(&mut self, other: &Summary) {
        self.total.merge(&other.total);
        for (mine, theirs) in [
            (&mut self.by_namespace, &other.by_namespace),
            (&mut self.by_file_type, &other.by_file_type),
            (&mut self.by_workflow, &other.by_workflow),
        ] {
            for (name, group) in theirs {
                add_to(mine, name, group);
            }
        }
        for (bucket, group) in &other.by_size {
            self.by_size.entry(*bucket).or_default().merge(group);
        }
        for (start_ns, group) in &other.by_window {
            self.by_window.entry(*start_ns).or_default().merge(group);
        }
    }
}

/// A digest of groups that does not depend on their order, as 16 hexadecimal digits: the sum, modulo 2^64, over all
/// groups, of the 64-bit FNV-1a hash of the text `name|count|bytes|min|max` with the numbers in decimal.
pub fn check(groups: &Groups) -> String {
    let sum = groups.iter().fold(0_u64, |sum, (name, group)| {
        let Aggregate { count, bytes, min, max } = group;
        sum.wrapping_add(fnv1a64(format!("{name}|{count}|{bytes}|{min}|{max}").as_bytes()))
    });
    format!("{sum:016x}")
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): offset basis `cbf29ce484222325`, prime `100000001b3`.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Row = (u8, u8, u8, u64, u64);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..3, 0_u64..3_000_000, 0_u64..5_000), 0..40)
    }

    fn summary(rows: &[Row]) -> Summary {
        let mut summary = Summary::default();
        for (namespace, file_type, workflow, bytes, at_ns) in rows {
            let workflow = if *workflow == 0 {
                String::new()
            } else {
                format!("w{workflow}")
            };
            let item = Item {
                namespace: &format!("ns{namespace}"),
                file_type: &format!("t/{file_type}"),
                workflow: &workflow,
                bytes: *bytes,
                at_ns: *at_ns,
            };
            summary.add(&item, 1_000);
        }
        summary
    }

    fn merged(parts: &[&Summary]) -> Summary {
        let mut all = Summary::default();
        parts.iter().for_each(|part| all.merge(part));
        all
    }

    proptest! {
        #[test]
        fn a_set_split_anywhere_and_merged_in_any_order_is_the_set(all in rows(), at in 0_usize..40, turn in 0_usize..40) {
            let whole = summary(&all);
            let (a, b) = all.split_at(at.min(all.len()));
            let (a, b) = (summary(a), summary(b));
            prop_assert_eq!(&merged(&[&a, &b]), &whole);
            prop_assert_eq!(&merged(&[&b, &a]), &whole);
            let mut turned = all.clone();
            turned.rotate_left(if all.is_empty() { 0 } else { turn % all.len() });
            turned.reverse();
            prop_assert_eq!(summary(&turned), whole);
        }

        #[test]
        fn merging_is_associative_with_the_empty_set_as_identity(a in rows(), b in rows(), c in rows()) {
            let (a, b, c) = (summary(&a), summary(&b), summary(&c));
            prop_assert_eq!(merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
            prop_assert_eq!(merged(&[&a, &Summary::default()]), a);
        }

        #[test]
        fn the_groups_of_each_kind_add_up_to_the_total(all in rows()) {
            let whole = summary(&all);
            let workflows = all.iter().filter(|row| row.2 != 0).count() as u64;
            let sum = |groups: &mut dyn Iterator<Item = &Aggregate>| {
                let mut sum = Aggregate::default();
                groups.for_each(|group| sum.merge(group));
                sum
            };
            prop_assert_eq!(whole.total.count, all.len() as u64);
            prop_assert_eq!(sum(&mut whole.by_namespace.values()), whole.total);
            prop_assert_eq!(sum(&mut whole.by_file_type.values()), whole.total);
            prop_assert_eq!(sum(&mut whole.by_size.values()), whole.total);
            prop_assert_eq!(sum(&mut whole.by_window.values()), whole.total);
            prop_assert_eq!(sum(&mut whole.by_workflow.values()).count, workflows);
        }

        #[test]
        fn sums_that_would_overflow_keep_the_laws(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
            let of = |sizes: &[u64]| {
                let mut sum = Aggregate::default();
                sizes.iter().for_each(|bytes| sum.merge(&Aggregate::of(*bytes)));
                sum
            };
            prop_assert_eq!(of(&[a, b, c]), of(&[c, a, b]));
            prop_assert_eq!(of(&[a, b, c]).min, a.min(b).min(c));
        }
    }

    #[test]
    fn the_hash_is_the_published_one_and_the_digest_tells_any_change() {
        // From the reference tables of the algorithm.
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
        let whole = summary(&[(0, 0, 0, 5, 0), (1, 0, 0, 6, 0), (1, 0, 0, 9, 0)]).by_namespace;
        let expected = fnv1a64(b"ns0|1|5|5|5").wrapping_add(fnv1a64(b"ns1|2|15|6|9"));
        assert_eq!(check(&whole), format!("{expected:016x}"));
        assert_eq!(check(&Groups::new()), "0000000000000000");
        let other = summary(&[(0, 0, 0, 5, 0), (1, 0, 0, 7, 0), (1, 0, 0, 8, 0)]).by_namespace;
        assert_ne!(check(&whole), check(&other));
    }

    #[test]
    fn sizes_fall_into_the_ranges_that_their_names_say() {
        for (bytes, bucket) in [
            (0, SizeBucket::Tiny),
            (1_023, SizeBucket::Tiny),
            (1_024, SizeBucket::Small),
            (65_535, SizeBucket::Small),
            (65_536, SizeBucket::Medium),
            (1_048_575, SizeBucket::Medium),
            (1_048_576, SizeBucket::Large),
            (u64::MAX, SizeBucket::Large),
        ] {
            assert_eq!(SizeBucket::of(bytes), bucket, "{bytes}");
        }
        assert_eq!(Aggregate::default().mean(), None);
        assert_eq!(Aggregate::of(7).mean(), Some(7.0));
    }
}
