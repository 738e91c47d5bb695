//! P-values by ranks: how often chance alone would put two sides as far apart. Exact for few trials, ties included.
//!
//! Sources: F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945); H. B. Mann and
//! D. R. Whitney, Annals of Mathematical Statistics 18 (1947). Beyond the exact sizes: their normal approximation with
//! the variance of the ranks as they are (which corrects for ties) and a correction for continuity.

use statrs::distribution::{ContinuousCDF, Normal};

/// Up to so many values of both sides together the distribution is counted out.
const EXACT: usize = 24;

/// The two-sided p-value of the rank-sum test that a and b come from one distribution; `None` when a side is empty.
pub(super) fn rank_sum(a: &[f64], b: &[f64]) -> Option<f64> {
    rank_sum_exact_to(a, b, EXACT)
}

fn rank_sum_exact_to(a: &[f64], b: &[f64], exact: usize) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = doubled_ranks(&all);
    let observed: u64 = ranks[..a.len()].iter().sum();
    let (n_a, n) = (a.len() as f64, all.len() as f64);
    let mean = ranks.iter().sum::<u64>() as f64 * n_a / n;
    let distance = (observed as f64 - mean).abs();
    if all.len() <= exact {
        return Some(tail(&subset_sums(&ranks, a.len()), mean, distance));
    }
    // The variance of the sum of n_a of n ranks drawn without replacement.
    let centre = n + 1.0;
    let squares: f64 = ranks.iter().map(|r| (*r as f64 - centre).powi(2)).sum::<f64>() / (n - 1.0);
    Some(normal_tail(distance, n_a * (n - n_a) / n * squares))
}

/// The two-sided p-value of the signed-rank test that differences of pairs are as often above as below zero; pairs without
/// a difference tell nothing and are left out. `None` without pairs.
pub(super) fn signed_rank(differences: &[f64]) -> Option<f64> {
    signed_rank_exact_to(differences, EXACT)
}

fn signed_rank_exact_to(differences: &[f64], exact: usize) -> Option<f64> {
    if differences.is_empty() {
        return None;
    }
    let moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if moved.is_empty() {
        return Some(1.0);
    }
    let sizes: Vec<f64> = moved.iter().map(|d| d.abs()).collect();
    let ranks = doubled_ranks(&sizes);
    let observed: u64 = ranks
        .iter()
        .zip(&moved)
        .filter(|(_, d)| **d > 0.0)
        .map(|(r, _)| r)
        .sum();
    let mean = ranks.iter().sum::<u64>() as f64 / 2.0;
    let distance = (observed as f64 - mean).abs();
    if moved.len() <= exact {
        return Some(tail(&any_subset_sums(&ranks), mean, distance));
    }
    let variance = ranks.iter().map(|r| (*r as f64).powi(2)).sum::<f64>() / 4.0;
    Some(normal_tail(distance, variance))
}

/// Twice the rank of each value, so that the mean rank of values that are equal is a whole number.
fn doubled_ranks(values: &[f64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    let mut ranks = vec![0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let equal = order[from..]
            .iter()
            .take_while(|i| values[**i] == values[order[from]])
            .count();
        let until = from + equal.max(1);
        // Ranks from + 1 to until: their mean, doubled.
        order[from..until]
            .iter()
            .for_each(|i| ranks[*i] = (from + 1 + until) as u64);
        from = until;
    }
    ranks
}

/// How many subsets of `size` ranks have each sum.
fn subset_sums(ranks: &[u64], size: usize) -> Vec<f64> {
    let total = ranks.iter().sum::<u64>() as usize;
    let mut ways = vec![vec![0.0; total + 1]; size + 1];
    ways[0][0] = 1.0;
    for (seen, rank) in ranks.iter().enumerate() {
        let rank = *rank as usize;
        for taken in (0..size.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(taken + 1);
            let (from, to) = (&fewer[taken], &mut more[0]);
            for sum in rank..=total {
                to[sum] += from[sum - rank];
            }
        }
    }
    ways.swap_remove(size)
}

/// How many subsets of any size have each sum.
fn any_subset_sums(ranks: &[u64]) -> Vec<f64> {
    let total = ranks.iter().sum::<u64>() as usize;
    let mut ways = vec![0.0; total + 1];
    ways[0] = 1.0;
    for rank in ranks.iter().map(|r| *r as usize) {
        for sum in (rank..=total).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways
}

/// The share of all ways that lie at least as far from the mean as was observed.
fn tail(ways: &[f64], mean: f64, distance: f64) -> f64 {
    let all: f64 = ways.iter().sum();
    let far = ways
        .iter()
        .enumerate()
        .filter(|(sum, _)| (*sum as f64 - mean).abs() >= distance - 1e-9);
    (far.map(|(_, n)| n).sum::<f64>() / all).min(1.0)
}

/// The two-sided tail of a normal distribution. Neighbouring sums of doubled ranks are two apart, so one is their half way.
fn normal_tail(distance: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (distance - 1.0).max(0.0) / variance.sqrt();
    (2.0 * Normal::standard().cdf(-z)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(p: Option<f64>, expected: f64) {
        assert!((p.unwrap() - expected).abs() < 1e-9, "{p:?}, expected {expected}");
    }

    #[test]
    fn small_samples_are_counted_out() {
        // Of the 20 ways to choose 3 of 6, two are as extreme as complete separation.
        near(rank_sum(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 2.0 / 20.0);
        near(rank_sum(&[1.0, 3.0, 5.0], &[2.0, 4.0, 6.0]), 14.0 / 20.0);
        // Of the 32 choices of sign, two are as extreme as all of one sign.
        near(signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0 / 32.0);
        near(signed_rank(&[1.0, -1.0]), 1.0);
        near(signed_rank(&[0.0, 0.0]), 1.0);
        near(rank_sum(&[2.0, 2.0], &[2.0, 2.0]), 1.0);
        assert_eq!((rank_sum(&[], &[1.0]), signed_rank(&[])), (None, None));
    }

    #[test]
    fn the_approximation_meets_the_exact_count() {
        // The same rows judged both ways, with ties (every third value stands twice) and without.
        for (step, shift) in [(1.0, 3.5), (1.0, 0.5), (0.75, 4.0), (0.75, 2.0)] {
            let row = |by: f64| (0..12).map(|i| (f64::from(i) * step).floor() + by).collect::<Vec<_>>();
            let (a, b) = (row(0.0), row(shift));
            let d: Vec<f64> = row(-shift);
            for (exact, normal) in [
                (rank_sum_exact_to(&a, &b, 24), rank_sum_exact_to(&a, &b, 0)),
                (signed_rank_exact_to(&d, 24), signed_rank_exact_to(&d, 0)),
            ] {
                let (exact, normal) = (exact.unwrap(), normal.unwrap());
                // Close where it matters; where half of all values are tied, a large p-value may be some percent off.
                assert!((exact - normal).abs() < 0.01 + 0.05 * exact, "{exact} {normal}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_p_value_is_a_share_and_does_not_care_which_side_is_first(
            a in proptest::collection::vec(0u8..20, 1..16), b in proptest::collection::vec(0u8..20, 1..16),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().map(f64::from).collect(), b.into_iter().map(f64::from).collect());
            let (p, q) = (rank_sum(&a, &b).unwrap(), rank_sum(&b, &a).unwrap());
            prop_assert!((p - q).abs() < 1e-9 && p > 0.0 && p <= 1.0, "{} {}", p, q);
            let d: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
            let minus: Vec<f64> = d.iter().map(|d| -d).collect();
            let (p, q) = (signed_rank(&d).unwrap(), signed_rank(&minus).unwrap());
            prop_assert!((p - q).abs() < 1e-9 && p > 0.0 && p <= 1.0, "{} {}", p, q);
        }
    }
}
