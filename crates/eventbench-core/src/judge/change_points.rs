//! Change points: where the level of a series of runs has moved, and by how much.
//!
//! Every place of the series is tested with windows of many lengths on both sides (Mann–Whitney, exact), so that a level
//! of four runs after a long one is seen as well as a small shift between two long ones. The strongest places are taken
//! first, no later test may look across one that was taken, and what lies between two of them is searched again as a
//! series of its own. The idea of a fixed, deterministic family of intervals is
//! that of seeded binary segmentation (Kovács, Bühlmann, Li, Munk, "Seeded binary segmentation", Biometrika 110, 2023).
//! Ranks do not care how noise is distributed, so that the family's false alarms are known in advance for every noise.

mod rank;

use super::statistics::median;
use rank::{LONGEST, Signs, WINDOWS, least_dominance, ln_p};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;

/// How change points are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangeOptions {
    /// Levels closer together than this are one: a ratio of the level before, 0.03 for 3 %.
    pub min_magnitude: f64,
    /// The probability of finding any change in a series of pure noise.
    pub significance: f64,
}

impl Default for ChangeOptions {
    fn default() -> Self {
        Self {
            min_magnitude: 0.03,
            significance: 0.005,
        }
    }
}

/// A place where the level moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// The first value after the change.
    pub index: usize,
    /// The median of the level before, from the change point before it or the beginning.
    pub before: f64,
    /// The median of the level after, up to the next change point or the end.
    pub after: f64,
    /// after / before − 1: 0.1 is 10 % more; absent where the level before is zero.
    pub effect: Option<f64>,
    /// The probability that noise alone shows such a change anywhere in a series as long as the levels before and after.
    pub p: f64,
}

/// The shortest stretch of values that counts as a level of its own.
pub const SHORTEST_LEVEL: usize = WINDOWS[0];

/// The fewest values in which a change can be found that has at most `after_at_most` of them after it; `None` where even
/// the longest windows are not enough.
pub fn fewest_values(significance: f64, after_at_most: usize) -> Option<usize> {
    let within = |longest: usize| WINDOWS.iter().position(|w| *w > longest).unwrap_or(WINDOWS.len());
    (2 * SHORTEST_LEVEL..=2 * LONGEST).find(|n| {
        (0..within(after_at_most)).any(|right| {
            (0..within(n.saturating_sub(WINDOWS[right]))).any(|left| {
                let apart = (WINDOWS[left] * WINDOWS[right]) as i64;
                ln_p(left, right, apart).exp() * tests(*n) <= significance
            })
        })
    })
}

/// How many independent tests the whole family in n values is worth: the p-value of its strongest test in pure noise is
/// distributed as that of the strongest of so many. Ranks make it the same for every noise without ties, so that it can be
/// measured once: over 40,000 series each of 10 to 256 values (20: 17, 40: 125, 100: 870, 256: 4,700), 8,000 of 400 to
/// 1,000 (25,000) and 1,000 of 10,000 (240,000). The formula lies above all of them.
fn tests(n: usize) -> f64 {
    let n = n as f64;
    32.0 * n / (1.0 + (160.0 / n).powf(1.5))
}

/// A place is moved by so many values at a time at most: evidence for it has been found where it is.
const FARTHEST_MOVE: usize = 16;
/// Sums that differ by less than this share differ by their rounding only.
const ROUNDING: f64 = 1e-9;
/// Places come to rest after one or two moves; this is for those that would go to and fro.
const MOST_MOVES: usize = 8;

/// A change that some pair of windows speaks for.
struct Candidate {
    ln_p: f64,
    split: usize,
    left: usize,
    right: usize,
}

/// The places where the level of a series moves, in order. The values must be finite.
pub fn change_points(values: &[f64], options: &ChangeOptions) -> Vec<ChangePoint> {
    let n = values.len();
    if n < 2 * SHORTEST_LEVEL {
        return Vec::new();
    }
    let search = Search {
        values,
        options,
        contrasts: contrasts(values),
        evidence: RefCell::default(),
        best: RefCell::default(),
    };
    let places = search.settle(search.find());
    let levels = search.levels(&places);
    places
        .iter()
        .zip(levels.windows(2))
        .enumerate()
        .map(|(i, (place, level))| ChangePoint {
            index: *place,
            before: level[0],
            after: level[1],
            effect: ratio(level[0], level[1]),
            p: {
                let (from, to) = search.neighbours(&places, i);
                (search.evidence(&places, i, *place).exp() * tests(to - from)).min(1.0)
            },
        })
        .collect()
}

fn ratio(before: f64, after: f64) -> Option<f64> {
    (before != 0.0).then(|| (after - before) / before.abs())
}

struct Search<'a> {
    values: &'a [f64],
    options: &'a ChangeOptions,
    /// By how much the few values after each place differ from the few before it.
    contrasts: Vec<f64>,
    /// What was worked out before, by the values that it rests on: where they begin, the place, where they end. In a long
    /// series most places stay as they are while one is given up.
    evidence: RefCell<HashMap<(usize, usize, usize), f64>>,
    best: RefCell<HashMap<(usize, usize, usize), usize>>,
}

fn contrasts(values: &[f64]) -> Vec<f64> {
    (0..values.len())
        .map(|place| {
            let before = place
                .checked_sub(SHORTEST_LEVEL)
                .and_then(|from| median(&values[from..place]));
            let after = values.get(place..place + SHORTEST_LEVEL).and_then(median);
            before.zip(after).map_or(0.0, |(before, after)| (after - before).abs())
        })
        .collect()
}

impl Search<'_> {
    /// Evidence in a series of n values is enough when the logarithm of p is at or below this.
    fn enough(&self, n: usize) -> f64 {
        (self.options.significance / tests(n)).ln()
    }

    /// Searches the series, and then again what lies between the places that were found, until nothing more is.
    fn find(&self) -> Vec<usize> {
        let signs = Signs::of(self.values);
        let mut places = Vec::new();
        let mut unsearched = vec![(0, self.values.len())];
        while let Some((from, to)) = unsearched.pop() {
            let found = self.strongest_first(&signs, from, to);
            if !found.is_empty() {
                let ends = found.iter().copied().chain([to]);
                let begins = [from].into_iter().chain(found.iter().copied());
                unsearched.extend(begins.zip(ends));
                places.extend(found);
            }
        }
        places.sort_unstable();
        places
    }

    /// Takes the places between two with the strongest evidence, none of which was seen across another.
    fn strongest_first(&self, signs: &Signs, from: usize, to: usize) -> Vec<usize> {
        let enough = self.enough(to - from);
        let mut candidates = Vec::new();
        let least = |left, right| least_dominance(left, right, enough);
        signs.scan(from, to, least, |split, left, right, dominance| {
            candidates.push(Candidate {
                ln_p: ln_p(left, right, dominance),
                split,
                left: WINDOWS[left],
                right: WINDOWS[right],
            });
        });
        candidates.sort_by(|a, b| {
            let nearer = self.contrasts[b.split].total_cmp(&self.contrasts[a.split]);
            a.ln_p.total_cmp(&b.ln_p).then(nearer).then(a.split.cmp(&b.split))
        });
        let mut taken: Vec<usize> = Vec::new();
        for candidate in candidates {
            let next = taken.partition_point(|t| *t <= candidate.split - candidate.left);
            if taken.get(next).is_none_or(|t| *t >= candidate.split + candidate.right) {
                taken.insert(next, candidate.split);
            }
        }
        taken
    }

    /// Moves each place to where it divides the values best, and gives up those that are too weak or too small, the
    /// weakest first, until nothing changes.
    fn settle(&self, mut places: Vec<usize>) -> Vec<usize> {
        loop {
            for _ in 0..MOST_MOVES {
                // All at once and from where all were, so that no direction of the series is preferred.
                let moved: Vec<usize> = (0..places.len()).map(|i| self.best_place(&places, i)).collect();
                if moved == places {
                    break;
                }
                places = moved;
            }
            let weakest = (0..places.len())
                .map(|i| {
                    let (from, to) = self.neighbours(&places, i);
                    let short = self.evidence(&places, i, places[i]) - self.enough(to - from);
                    (i, short, self.contrasts[places[i]])
                })
                .filter(|(_, short, _)| *short > 0.0)
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)));
            if let Some((i, ..)) = weakest {
                places.remove(i);
                continue;
            }
            let levels = self.levels(&places);
            let smallest = levels
                .windows(2)
                .map(|l| ratio(l[0], l[1]).map_or(f64::INFINITY, f64::abs))
                .enumerate()
                .filter(|(_, effect)| *effect < self.options.min_magnitude || *effect == 0.0)
                .min_by(|a, b| a.1.total_cmp(&b.1));
            match smallest {
                Some((i, _)) => places.remove(i),
                None => return places,
            };
        }
    }

    /// The places before and after place i, or the ends of the series.
    fn neighbours(&self, places: &[usize], i: usize) -> (usize, usize) {
        let before = if i == 0 { 0 } else { places[i - 1] };
        (before, places.get(i + 1).copied().unwrap_or(self.values.len()))
    }

    /// The values around place i as far as its neighbours and the longest window reach: (from, to).
    fn around(&self, places: &[usize], i: usize) -> (usize, usize) {
        let (from, to) = self.neighbours(places, i);
        (from.max(places[i].saturating_sub(LONGEST)), to.min(places[i] + LONGEST))
    }

    /// The evidence for a change at `place` between the neighbours of place i.
    fn evidence(&self, places: &[usize], i: usize, place: usize) -> f64 {
        let (from, to) = self.around(places, i);
        let known = self.evidence.borrow().get(&(from, place, to)).copied();
        known.unwrap_or_else(|| {
            let ln_p = rank::at(&self.values[from..to], place - from);
            self.evidence.borrow_mut().insert((from, place, to), ln_p);
            ln_p
        })
    }

    /// Of the places near place i with enough evidence, the one where two levels are nearest to the values, by the sum of
    /// absolute deviations from their medians; where that cannot tell, by the values next to them.
    fn best_place(&self, places: &[usize], i: usize) -> usize {
        let (from, to) = self.around(places, i);
        let place = places[i];
        let (before, after) = self.neighbours(places, i);
        let enough = self.enough(after - before);
        let key = (before, place, after);
        if let Some(known) = self.best.borrow().get(&key) {
            return *known;
        }
        // Half of the way to a neighbour at most: it may be on its way as well.
        let room = |length: usize, neighbour: bool| {
            let free = length.saturating_sub(SHORTEST_LEVEL);
            if neighbour { free / 2 } else { free }.min(FARTHEST_MOVE)
        };
        let first = place - room(place - from, i > 0);
        let last = place + room(to - place, i + 1 < places.len());
        let mut ranked: Vec<(f64, usize)> = (first..=last)
            .map(|p| (deviation(&self.values[from..p]) + deviation(&self.values[p..to]), p))
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut fit = ranked
            .iter()
            .filter(|(_, p)| *p == place || self.evidence(places, i, *p) <= enough);
        let Some(best) = fit.next() else { return place };
        let equals = fit.take_while(|(off, _)| *off <= best.0 * (1.0 + ROUNDING));
        let best = equals
            .chain([best])
            .max_by(|a, b| self.contrasts[a.1].total_cmp(&self.contrasts[b.1]))
            .map_or(place, |b| b.1);
        self.best.borrow_mut().insert(key, best);
        best
    }

    /// The medians of the levels between places.
    fn levels(&self, places: &[usize]) -> Vec<f64> {
        let mut from = 0;
        let ends = places.iter().copied().chain([self.values.len()]);
        ends.filter_map(|to| median(&self.values[std::mem::replace(&mut from, to)..to]))
            .collect()
    }
}

/// The sum of absolute deviations from the median.
fn deviation(values: &[f64]) -> f64 {
    median(values).map_or(0.0, |m| values.iter().map(|v| (v - m).abs()).sum())
}

#[cfg(test)]
mod tests;
