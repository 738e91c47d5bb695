//! A set of sequence numbers that costs nothing while they come in order and one bit each while they do not.

use std::collections::VecDeque;

/// A set of `u64`: everything below `base`, and a bitmap above it.
///
/// The bitmap slides: as soon as its lowest 64 numbers are all there, they move into `base`. With nothing missing the
/// set has a constant size however long a run lasts; with something missing it holds one bit for each number since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqSet {
    base: u64,
    bits: VecDeque<u64>,
    len: u64,
}

impl SeqSet {
    /// Adds a number; `false` when it was there already.
    #[inline]
    pub fn insert(&mut self, seq: u64) -> bool {
        if seq == self.base && self.bits.is_empty() {
            self.base += 1;
            self.len += 1;
            return true;
        }
        self.insert_above(seq)
    }

    fn insert_above(&mut self, seq: u64) -> bool {
        if seq < self.base {
            return false;
        }
        let offset = seq - self.base;
        let (word, bit) = ((offset / 64) as usize, 1u64 << (offset % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let Some(slot) = self.bits.get_mut(word) else {
            return false;
        };
        if *slot & bit != 0 {
            return false;
        }
        *slot |= bit;
        self.len += 1;
        while self.bits.front() == Some(&u64::MAX) {
            self.bits.pop_front();
            self.base += 64;
        }
        // A lone partial word of leading ones folds back into the base, so that order once regained is free again.
        if self.bits.len() == 1
            && let Some(word) = self.bits.front()
            && *word & (*word).wrapping_add(1) == 0
        {
            self.base += u64::from(word.trailing_ones());
            self.bits.clear();
        }
        true
    }

    /// Whether a number is in the set.
    pub fn contains(&self, seq: u64) -> bool {
        if seq < self.base {
            return true;
        }
        let offset = seq - self.base;
        self.bits
            .get((offset / 64) as usize)
            .is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Everything below this number is in the set.
    pub fn complete_below(&self) -> u64 {
        self.base
    }

    /// Adds all of another set: the only place where two are put together.
    pub fn merge(&mut self, other: &SeqSet) {
        for seq in self.base..other.base {
            self.insert(seq);
        }
        for (i, word) in other.bits.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                self.insert(other.base + i as u64 * 64 + u64::from(rest.trailing_zeros()));
                rest &= rest - 1;
            }
        }
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.bits.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0u64..400, 0..600), split in 0usize..600) {
            let mut set = SeqSet::default();
            let mut parts = [SeqSet::default(), SeqSet::default()];
            let mut model = BTreeSet::new();
            for (i, n) in numbers.iter().enumerate() {
                prop_assert_eq!(set.insert(*n), model.insert(*n));
                parts[usize::from(i >= split)].insert(*n);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            for n in 0..500 {
                prop_assert_eq!(set.contains(n), model.contains(&n), "{}", n);
            }
            let [mut left, right] = parts;
            left.merge(&right);
            prop_assert_eq!(left.len(), set.len());
            for n in 0..500 {
                prop_assert_eq!(left.contains(n), set.contains(n));
            }
        }
    }

    #[test]
    fn order_costs_nothing_and_disorder_is_forgotten_once_complete() {
        let mut set = SeqSet::default();
        for n in 0..1_000_000u64 {
            // Neighbours swapped: never more than a few bits are held.
            set.insert(n ^ 1);
        }
        assert_eq!((set.len(), set.complete_below()), (1_000_000, 1_000_000));
        assert!(set.heap_bytes() <= 64, "{}", set.heap_bytes());
    }
}
