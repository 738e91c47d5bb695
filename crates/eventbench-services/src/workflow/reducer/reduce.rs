//! The reducer itself: a pure function from what is known and the stamps that came, to what is known then and what is
//! to be written down.
//!
//! It keeps only the open windows. Everything else that it says is an [`Intent`], which the store carries out in one
//! transaction; whether an id has been stored before is asked of the store first and given in with the stamp. So the
//! function needs no memory that grows, and the database is the only truth.

use super::aggregate::{Aggregate, SizeBucket, Summary};
use super::stamp::{Poison, Stamp};
use super::window::{Closed, Policy, Windows};
use std::collections::HashMap;

/// What stamps are added up by in the table of totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dimension {
    All,
    Namespace,
    FileType,
    Size,
    Workflow,
    /// Tumbling windows of event time, late stamps included.
    Window,
}

impl Dimension {
    pub(crate) const ALL: [Dimension; 6] = [
        Dimension::All,
        Dimension::Namespace,
        Dimension::FileType,
        Dimension::Size,
        Dimension::Workflow,
        Dimension::Window,
    ];

    /// The name in requests and in the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dimension::All => "all",
            Dimension::Namespace => "namespace",
            Dimension::FileType => "file_type",
            Dimension::Size => "size",
            Dimension::Workflow => "workflow",
            Dimension::Window => "window",
        }
    }
}

/// What the database says of a stamp's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    No,
    /// A stamp of this id is stored, and says the same.
    Same,
    /// A stamp of this id is stored, and says something else.
    Other,
}

/// A payload that came, read.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Stamp(Stamp, Known),
    Poison(Poison),
}

/// Something to be written down. They are carried out in order, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Store the stamp of this input.
    Store { input: usize, late: bool },
    /// Note that this input was refused.
    Refuse { input: usize, poison: Poison },
    /// Store a window that the stamp stored last has closed.
    Close(Closed),
    /// Add to a total.
    Add {
        dimension: Dimension,
        key: String,
        added: Aggregate,
    },
}

/// What becomes of an input once the intents are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stored,
    Duplicate,
    Refused(String),
}

/// What the function returns.
#[derive(Debug)]
pub(crate) struct Reduced {
    pub(crate) windows: Windows,
    pub(crate) intents: Vec<Intent>,
    /// One for each input.
    pub(crate) fates: Vec<Fate>,
}

/// Reduces a group of inputs.
pub(crate) fn reduce(windows: &Windows, policy: &Policy, inputs: &[Input]) -> Reduced {
    let mut windows = windows.clone();
    let mut intents = Vec::new();
    let mut fates = Vec::with_capacity(inputs.len());
    let mut summary = Summary::default();
    let mut seen: HashMap<&str, &Stamp> = HashMap::new();
    for (input, read) in inputs.iter().enumerate() {
        let stamp = match read {
            Input::Stamp(stamp, Known::No) => match seen.get(stamp.id.as_str()) {
                None => stamp,
                Some(first) if first.says_the_same(stamp) => {
                    fates.push(Fate::Duplicate);
                    continue;
                }
                Some(_) => {
                    refuse(input, conflict(stamp), &mut intents, &mut fates);
                    continue;
                }
            },
            Input::Stamp(_, Known::Same) => {
                fates.push(Fate::Duplicate);
                continue;
            }
            Input::Stamp(stamp, Known::Other) => {
                refuse(input, conflict(stamp), &mut intents, &mut fates);
                continue;
            }
            Input::Poison(poison) => {
                refuse(input, poison.clone(), &mut intents, &mut fates);
                continue;
            }
        };
        seen.insert(&stamp.id, stamp);
        let item = stamp.item();
        let late = windows.is_late(policy, item.at_ns);
        intents.push(Intent::Store { input, late });
        intents.extend(windows.take(policy, &item).into_iter().map(Intent::Close));
        summary.add(&item, policy.span_ns.get());
        fates.push(Fate::Stored);
    }
    totals(summary, &mut intents);
    Reduced {
        windows,
        intents,
        fates,
    }
}

fn refuse(input: usize, poison: Poison, intents: &mut Vec<Intent>, fates: &mut Vec<Fate>) {
    fates.push(Fate::Refused(poison.reason.clone()));
    intents.push(Intent::Refuse { input, poison });
}

fn conflict(stamp: &Stamp) -> Poison {
    Poison {
        id: stamp.id.clone(),
        reason: format!(
            "a stamp with the id '{}' is stored already and says something else",
            stamp.id
        ),
    }
}

/// One addition for each group, however many stamps of the group came.
fn totals(summary: Summary, intents: &mut Vec<Intent>) {
    if summary.total.count == 0 {
        return;
    }
    let mut add = |dimension, key, added| intents.push(Intent::Add { dimension, key, added });
    add(Dimension::All, String::new(), summary.total);
    for (dimension, groups) in [
        (Dimension::Namespace, summary.by_namespace),
        (Dimension::FileType, summary.by_file_type),
        (Dimension::Workflow, summary.by_workflow),
    ] {
        groups.into_iter().for_each(|(key, added)| add(dimension, key, added));
    }
    for (bucket, added) in summary.by_size {
        add(Dimension::Size, SizeBucket::name(bucket).to_owned(), added);
    }
    for (start_ns, added) in summary.by_window {
        add(Dimension::Window, (start_ns / 1_000_000).to_string(), added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::num::NonZeroU64;

    const POLICY: Policy = Policy {
        count: NonZeroU64::new(5).unwrap(),
        span_ns: NonZeroU64::new(1_000_000_000).unwrap(),
        lateness_ns: 500_000_000,
    };

    fn stamp(id: u8, bytes: u64, event_ms: u64) -> Stamp {
        Stamp {
            id: format!("s{id}"),
            workflow: format!("w{}", id % 3),
            namespace: format!("ns{}", id % 4),
            content_type: "t/x".to_owned(),
            bytes,
            event_ms,
            ..Stamp::default()
        }
    }

    /// A store in memory that carries the intents out as the real one must.
    #[derive(Default, Debug, PartialEq)]
    struct Memory {
        stored: BTreeMap<String, u64>,
        totals: BTreeMap<(Dimension, String), Aggregate>,
        closed: BTreeSet<(&'static str, u64)>,
        refused: usize,
        windows: Windows,
    }

    impl Memory {
        fn run(&mut self, stamps: &[Stamp]) -> Vec<Fate> {
            let inputs: Vec<Input> = stamps
                .iter()
                .map(|stamp| {
                    let known = match self.stored.get(&stamp.id) {
                        None => Known::No,
                        Some(bytes) if *bytes == stamp.bytes => Known::Same,
                        Some(_) => Known::Other,
                    };
                    Input::Stamp(stamp.clone(), known)
                })
                .collect();
            let reduced = reduce(&self.windows, &POLICY, &inputs);
            self.windows = reduced.windows;
            for intent in reduced.intents {
                match intent {
                    Intent::Store { input, .. } => {
                        let Input::Stamp(stamp, _) = &inputs[input] else {
                            panic!("poison is stored")
                        };
                        assert!(self.stored.insert(stamp.id.clone(), stamp.bytes).is_none());
                    }
                    Intent::Refuse { .. } => self.refused += 1,
                    Intent::Close(closed) => {
                        assert!(self.closed.insert((closed.kind.name(), closed.key)), "closed twice");
                    }
                    Intent::Add { dimension, key, added } => {
                        self.totals.entry((dimension, key)).or_default().merge(&added);
                    }
                }
            }
            reduced.fates
        }
    }

    fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
        let one = (0_u8..40, 0_u64..3, 1_000_u64..6_000);
        prop::collection::vec(one.prop_map(|(id, bytes, event_ms)| stamp(id, bytes, event_ms)), 0..60)
    }

    proptest! {
        #[test]
        fn how_the_stamps_are_grouped_makes_no_difference(all in stamps(), size in 1_usize..20) {
            let (mut whole, mut grouped) = (Memory::default(), Memory::default());
            let fates = whole.run(&all);
            let pieces: Vec<Fate> = all.chunks(size).flat_map(|group| grouped.run(group)).collect();
            prop_assert_eq!(&whole, &grouped);
            prop_assert_eq!(fates, pieces);
        }

        #[test]
        fn a_stamp_that_comes_again_changes_nothing(all in stamps(), size in 1_usize..20) {
            let mut memory = Memory::default();
            let first = memory.run(&all);
            let before = (memory.stored.clone(), memory.totals.clone(), memory.windows.clone());
            for group in all.chunks(size) {
                for (stamp, fate) in group.iter().zip(memory.run(group)) {
                    let same = before.0[&stamp.id] == stamp.bytes;
                    prop_assert_eq!(fate == Fate::Duplicate, same);
                }
            }
            prop_assert_eq!((memory.stored, memory.totals, memory.windows), before);
            let stored = first.iter().filter(|fate| **fate == Fate::Stored).count();
            let ids: BTreeSet<_> = all.iter().map(|stamp| &stamp.id).collect();
            prop_assert_eq!(stored, ids.len());
        }

        #[test]
        fn totals_do_not_depend_on_the_order_and_balance(all in stamps()) {
            let mut unique: Vec<Stamp> = all.into_iter().map(|stamp| (stamp.id.clone(), stamp)).collect::<BTreeMap<_, _>>().into_values().collect();
            let (mut forward, mut backward) = (Memory::default(), Memory::default());
            forward.run(&unique);
            unique.reverse();
            backward.run(&unique);
            prop_assert_eq!(&forward.totals, &backward.totals);
            for dimension in Dimension::ALL {
                let count: u64 = forward.totals.iter().filter(|((of, _), _)| *of == dimension).map(|(_, group)| group.count).sum();
                prop_assert_eq!(count, unique.len() as u64, "{}", dimension.name());
            }
        }
    }

    #[test]
    fn poison_is_refused_and_counts_nowhere() {
        let poison = Poison {
            id: String::new(),
            reason: "no stamp".to_owned(),
        };
        let inputs = [
            Input::Poison(poison.clone()),
            Input::Stamp(stamp(1, 5, 1_000), Known::Other),
        ];
        let reduced = reduce(&Windows::default(), &POLICY, &inputs);
        assert_eq!(reduced.windows, Windows::default());
        assert!(
            reduced
                .intents
                .iter()
                .all(|intent| matches!(intent, Intent::Refuse { .. }))
        );
        assert_eq!(reduced.fates[0], Fate::Refused("no stamp".to_owned()));
        assert!(matches!(&reduced.fates[1], Fate::Refused(reason) if reason.contains("'s1'")));
    }
}
