//! Windows over a stream of items: by count, and tumbling by event time. Pure.
//!
//! A window by count closes with its last item. A window of event time `[start, start + span)` closes once the watermark,
//! the greatest event time seen, has passed its end by the allowed lateness. An item whose window has closed is *late*: it
//! is in a window by count, like any other, but in none of event time, and is counted as late. So, by count, all items
//! are in closed or open windows; by event time, all but the late ones; and none is in two.
//!
//! While no item comes later than the allowed lateness, the windows of event time do not depend on the order of the
//! items.

use super::aggregate::{Aggregate, Groups, Item};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// When windows close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Items of a window by count.
    pub count: NonZeroU64,
    /// Length of a window of event time, in nanoseconds.
    pub span_ns: NonZeroU64,
    /// How long a window of event time stays open beyond its end, in nanoseconds of event time.
    pub lateness_ns: u64,
}

/// The two kinds of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number of items that came one after another.
    Count,
    /// The items of a stretch of event time.
    Time,
}

impl Kind {
    /// The name in replies and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Count => "count",
            Kind::Time => "time",
        }
    }
}

/// What a window adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All its items.
    pub total: Aggregate,
    /// By namespace.
    pub by_namespace: Groups,
    /// By type of content.
    pub by_file_type: Groups,
}

impl Tally {
    /// Adds one item.
    pub fn add(&mut self, item: &Item<'_>) {
        let one = Aggregate::of(item.bytes);
        self.total.merge(&one);
        for (groups, name) in [
            (&mut self.by_namespace, item.namespace),
            (&mut self.by_file_type, item.file_type),
        ] {
            match groups.get_mut(name) {
                Some(group) => group.merge(&one),
                None => {
                    groups.insert(name.to_owned(), one);
                }
            }
        }
    }
}

/// A window that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which kind.
    pub kind: Kind,
    /// By count: its number, from 0. By event time: its start in nanoseconds.
    pub key: u64,
    /// What it adds up to.
    pub tally: Tally,
}

/// The windows of one stream that are open, and what is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Number of the open window by count.
    pub number: u64,
    /// The open window by count; it may be empty.
    pub by_count: Tally,
    /// The open windows of event time, by start.
    pub by_time: BTreeMap<u64, Tally>,
    /// The greatest event time seen.
    pub watermark_ns: u64,
    /// Items that came too late for their window of event time.
    pub late: u64,
}

impl Windows {
    /// Windows of event time that end here or before are closed.
    pub fn closed_through_ns(&self, policy: &Policy) -> u64 {
        let passed_ns = self.watermark_ns.saturating_sub(policy.lateness_ns);
        passed_ns - passed_ns % policy.span_ns
    }

    /// Whether an item of this event time would be late.
    pub fn is_late(&self, policy: &Policy, at_ns: u64) -> bool {
        at_ns < self.closed_through_ns(policy)
    }

    /// Takes one item; returns the windows that it closes, those of event time in their order.
    pub fn take(&mut self, policy: &Policy, item: &Item<'_>) -> Vec<Closed> {
        let mut closed = Vec::new();
        self.by_count.add(item);
        if self.by_count.total.count >= policy.count.get() {
            closed.push(self.close_count());
        }
        if self.is_late(policy, item.at_ns) {
            self.late += 1;
            return closed;
        }
        let start_ns = item.at_ns - item.at_ns % policy.span_ns;
        self.by_time.entry(start_ns).or_default().add(item);
        self.watermark_ns = self.watermark_ns.max(item.at_ns);
        let through_ns = self.closed_through_ns(policy);
        while let Some(first) = self.by_time.first_entry()
            && first.key().saturating_add(policy.span_ns.get()) <= through_ns
        {
            let (key, tally) = first.remove_entry();
            closed.push(Closed {
                kind: Kind::Time,
                key,
                tally,
            });
        }
        closed
    }

    /// Closes what is open: the stream has ended.
    pub fn end(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        if self.by_count.total.count > 0 {
            closed.push(self.close_count());
        }
        for (key, tally) in std::mem::take(&mut self.by_time) {
            closed.push(Closed {
                kind: Kind::Time,
                key,
                tally,
            });
        }
        closed
    }

    fn close_count(&mut self) -> Closed {
        let key = self.number;
        self.number += 1;
        Closed {
            kind: Kind::Count,
            key,
            tally: std::mem::take(&mut self.by_count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(count: u64, span_ns: u64, lateness_ns: u64) -> Policy {
        Policy {
            count: NonZeroU64::new(count).unwrap(),
            span_ns: NonZeroU64::new(span_ns).unwrap(),
            lateness_ns,
        }
    }

    fn item(bytes: u64, at_ns: u64) -> Item<'static> {
        Item {
            namespace: if bytes.is_multiple_of(2) { "even" } else { "odd" },
            file_type: "t",
            workflow: "",
            bytes,
            at_ns,
        }
    }

    /// Feeds items in turn, then ends the stream.
    fn all(policy: &Policy, items: &[(u64, u64)]) -> (Vec<Closed>, u64) {
        let mut windows = Windows::default();
        let mut closed = Vec::new();
        for (bytes, at_ns) in items {
            closed.extend(windows.take(policy, &item(*bytes, *at_ns)));
        }
        closed.extend(windows.end());
        (closed, windows.late)
    }

    fn of_kind(closed: &[Closed], kind: Kind) -> Vec<(u64, u64, u64)> {
        closed
            .iter()
            .filter(|closed| closed.kind == kind)
            .map(|closed| (closed.key, closed.tally.total.count, closed.tally.total.bytes))
            .collect()
    }

    #[test]
    fn windows_close_by_count_and_by_event_time_and_late_items_are_counted_apart() {
        let items = [(1, 5), (2, 9), (4, 10), (8, 3), (16, 25), (32, 12), (64, 11), (128, 40)];
        let (closed, late) = all(&policy(3, 10, 2), &items);
        assert_eq!(of_kind(&closed, Kind::Count), [(0, 3, 7), (1, 3, 56), (2, 2, 192)]);
        // The item at 3 comes while the watermark is 10, within the lateness; that at 25 closes the first two windows,
        // so those at 12 and 11 are late.
        assert_eq!(
            of_kind(&closed, Kind::Time),
            [(0, 3, 11), (10, 1, 4), (20, 1, 16), (40, 1, 128)]
        );
        assert_eq!(late, 2);
    }

    #[test]
    fn times_at_the_edge_of_the_clock_are_taken() {
        let (closed, late) = all(&policy(10, 7, 0), &[(1, u64::MAX), (2, u64::MAX), (4, 0)]);
        assert_eq!(late, 1);
        assert_eq!(of_kind(&closed, Kind::Count), [(0, 3, 7)]);
        assert_eq!(of_kind(&closed, Kind::Time).len(), 1);
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_window_of_each_kind_or_late(
            items in prop::collection::vec((0_u64..50, 0_u64..200), 0..80), count in 1_u64..9, span in 1_u64..30, lateness in 0_u64..40,
        ) {
            let (closed, late) = all(&policy(count, span, lateness), &items);
            let sum = |kind| of_kind(&closed, kind).iter().map(|window| window.1).sum::<u64>();
            prop_assert_eq!(sum(Kind::Count), items.len() as u64);
            prop_assert_eq!(sum(Kind::Time) + late, items.len() as u64);
            let mut keys: Vec<_> = closed.iter().map(|closed| (closed.kind.name(), closed.key)).collect();
            keys.sort_unstable();
            let windows = keys.len();
            keys.dedup();
            prop_assert_eq!(keys.len(), windows, "a window closed twice");
        }

        #[test]
        fn within_the_lateness_the_order_makes_no_difference_to_windows_of_event_time(
            items in prop::collection::vec((0_u64..50, 0_u64..200), 0..80), span in 1_u64..30, order in any::<u64>(),
        ) {
            let policy = policy(5, span, 200);
            let mut shuffled = items.clone();
            shuffled.sort_by_key(|(bytes, at_ns)| super::super::batch::splitmix64(order ^ (bytes << 20) ^ at_ns));
            let (a, late_a) = all(&policy, &items);
            let (b, late_b) = all(&policy, &shuffled);
            prop_assert_eq!((late_a, late_b), (0, 0));
            prop_assert_eq!(of_kind(&a, Kind::Time), of_kind(&b, Kind::Time));
        }

        #[test]
        fn the_state_survives_being_written_down_at_any_point(
            items in prop::collection::vec((0_u64..50, 0_u64..200), 0..60), at in 0_usize..60,
        ) {
            let policy = policy(7, 20, 10);
            let (straight, _) = all(&policy, &items);
            let mut windows = Windows::default();
            let mut closed = Vec::new();
            for (index, (bytes, at_ns)) in items.iter().enumerate() {
                if index == at {
                    windows = serde_json::from_str(&serde_json::to_string(&windows).unwrap()).unwrap();
                }
                closed.extend(windows.take(&policy, &item(*bytes, *at_ns)));
            }
            closed.extend(windows.end());
            prop_assert_eq!(closed, straight);
        }
    }
}
