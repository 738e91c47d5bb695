//! Batches that come in several requests, because one request would be larger than the broker takes: keeps the parts
//! until the last is there. Pure; what is kept is bounded.
//!
//! A part that comes again is not kept twice. A batch that is complete is remembered with its result for a while, so that
//! whoever did not get the reply may send the last part again.

use super::batch::{Entry, MOST_ITEMS};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Most batches that wait for parts, and most whose results are remembered.
const MOST_BATCHES: usize = 256;
/// Most items of all batches that wait for parts.
const MOST_WAITING_ITEMS: u64 = 4 * MOST_ITEMS;
/// Most parts of one batch.
const MOST_PARTS: u64 = 10_000;

/// Which part of which batch a request carries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name of the batch, as its sender chooses.
    pub batch: String,
    /// This part, from 0.
    pub part: u64,
    /// Parts in all.
    pub of: u64,
}

/// The items of one part and the workflow that they came from.
pub type Content = (Vec<Entry>, String);

/// What becomes of a part.
#[derive(Debug, PartialEq)]
pub enum Taken<R> {
    /// Others are still missing.
    Waiting {
        /// How many.
        missing: u64,
        /// Whether this one had come before.
        duplicate: bool,
    },
    /// It was the last: here are all, in their order.
    Complete(Vec<Content>),
    /// The batch was complete before; this was its result.
    Before(R),
}

#[derive(Debug, Default)]
struct Waiting {
    of: u64,
    items: u64,
    parts: BTreeMap<u64, Content>,
}

/// The batches that wait for parts, and the results of the last ones that were complete.
#[derive(Debug)]
pub struct Parts<R> {
    waiting: HashMap<String, Waiting>,
    order: VecDeque<String>,
    results: HashMap<String, R>,
    finished: VecDeque<String>,
    /// Batches that were dropped incomplete to make room.
    pub dropped: u64,
}

impl<R> Default for Parts<R> {
    fn default() -> Parts<R> {
        Parts {
            waiting: HashMap::new(),
            order: VecDeque::new(),
            results: HashMap::new(),
            finished: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl<R: Clone> Parts<R> {
    /// Takes a part.
    ///
    /// # Errors
    /// A sentence, if the part contradicts itself, the other parts or the limits; nothing is kept then.
    pub fn take(&mut self, part: &Part, content: Content) -> Result<Taken<R>, String> {
        if !(1..=MOST_PARTS).contains(&part.of) || part.part >= part.of {
            return Err(format!(
                "part {} of {}: parts count from 0, and a batch has from 1 to {MOST_PARTS}",
                part.part, part.of
            ));
        }
        if let Some(result) = self.results.get(&part.batch) {
            return Ok(Taken::Before(result.clone()));
        }
        let before = self.waiting.get(&part.batch);
        if let Some(before) = before.filter(|before| before.of != part.of) {
            return Err(format!("{} parts now, {} before", part.of, before.of));
        }
        let duplicate = before.is_some_and(|before| before.parts.contains_key(&part.part));
        let added = if duplicate { 0 } else { content.0.len() as u64 };
        let items = before.map_or(0, |before| before.items) + added;
        if items > MOST_ITEMS {
            return Err(format!("{items} items in one batch; at most {MOST_ITEMS}"));
        }
        if before.is_none() {
            self.order.push_back(part.batch.clone());
        }
        let waiting = self.waiting.entry(part.batch.clone()).or_default();
        waiting.of = part.of;
        waiting.items = items;
        waiting.parts.entry(part.part).or_insert(content);
        let missing = part.of - waiting.parts.len() as u64;
        if missing == 0 {
            self.order.retain(|name| *name != part.batch);
            let complete = self.waiting.remove(&part.batch).unwrap_or_default();
            return Ok(Taken::Complete(complete.parts.into_values().collect()));
        }
        self.make_room(&part.batch);
        Ok(Taken::Waiting { missing, duplicate })
    }

    /// Remembers the result of a batch that was complete.
    pub fn finish(&mut self, batch: &str, result: R) {
        if self.results.insert(batch.to_owned(), result).is_none() {
            self.finished.push_back(batch.to_owned());
        }
        if self.finished.len() > MOST_BATCHES
            && let Some(oldest) = self.finished.pop_front()
        {
            self.results.remove(&oldest);
        }
    }

    /// Drops the oldest batches but this one until the rest is within the limits.
    fn make_room(&mut self, keep: &str) {
        let items = |waiting: &HashMap<String, Waiting>| waiting.values().map(|batch| batch.items).sum::<u64>();
        while self.waiting.len() > MOST_BATCHES || items(&self.waiting) > MOST_WAITING_ITEMS {
            let Some(place) = self.order.iter().position(|name| name != keep) else {
                return;
            };
            if let Some(oldest) = self.order.remove(place) {
                self.waiting.remove(&oldest);
                self.dropped += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Recipe;
    use super::*;

    fn part(batch: &str, part: u64, of: u64) -> Part {
        Part {
            batch: batch.to_owned(),
            part,
            of,
        }
    }

    fn content(seq: u64, items: u64) -> Content {
        let recipe = Recipe {
            items,
            seed: 1,
            seq,
            namespaces: 1,
            base_ns: 0,
        };
        (recipe.entries().unwrap(), String::new())
    }

    #[test]
    fn parts_in_any_order_make_the_batch_once() {
        let mut parts = Parts::default();
        let waiting = |missing, duplicate| Ok(Taken::Waiting { missing, duplicate });
        assert_eq!(parts.take(&part("a", 2, 3), content(2, 4)), waiting(2, false));
        assert_eq!(parts.take(&part("a", 2, 3), content(2, 4)), waiting(2, true));
        assert_eq!(parts.take(&part("a", 0, 3), content(0, 4)), waiting(1, false));
        let Ok(Taken::Complete(all)) = parts.take(&part("a", 1, 3), content(1, 4)) else {
            panic!("not complete")
        };
        assert_eq!(all, [content(0, 4), content(1, 4), content(2, 4)]);
        parts.finish("a", "result");
        assert_eq!(parts.take(&part("a", 1, 3), content(1, 4)), Ok(Taken::Before("result")));
    }

    #[test]
    fn contradictions_and_floods_are_refused_or_bounded() {
        let mut parts = Parts::<u8>::default();
        for wrong in [part("a", 3, 3), part("a", 0, 0), part("a", 0, u64::MAX)] {
            parts.take(&wrong, content(0, 1)).unwrap_err();
        }
        parts.take(&part("a", 0, 2), content(0, 1)).unwrap();
        let reason = parts.take(&part("a", 1, 3), content(0, 1)).unwrap_err();
        assert!(reason.contains("3 parts now, 2 before"), "{reason}");
        for n in 0..3 * MOST_BATCHES as u64 {
            parts.take(&part(&format!("b{n}"), 0, 2), content(n, 1)).unwrap();
        }
        assert_eq!(parts.waiting.len(), MOST_BATCHES);
        assert_eq!(parts.order.len(), MOST_BATCHES);
        assert_eq!(parts.dropped, 1 + 2 * MOST_BATCHES as u64);
        for n in 0..3 * MOST_BATCHES {
            parts.finish(&format!("c{n}"), 0);
        }
        assert_eq!(
            (parts.results.len(), parts.finished.len()),
            (MOST_BATCHES, MOST_BATCHES)
        );
    }
}
