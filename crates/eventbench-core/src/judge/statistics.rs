//! Statistics that judgement rests on; each says where its formula comes from.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The arithmetic mean; `None` when empty.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The median; `None` when empty.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => sorted.get(middle).copied(),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The standard deviation with n in the denominator; `None` when empty.
pub fn stddev(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    Some((values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
}

/// A slope and its 95 % confidence interval, per unit of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The median of the slopes of all pairs.
    pub slope: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// More points than this are first reduced to as many medians of neighbours, which keeps the number of pairs bounded.
const MOST_POINTS: usize = 600;

/// The Theil–Sen slope with Sen's confidence interval; `None` for fewer than five points.
///
/// Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968); the ranks of the
/// interval come from the normal approximation of Kendall's S, whose variance is n (n−1) (2n+5) / 18.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    let reduced;
    let points = if points.len() > MOST_POINTS {
        reduced = reduce(points);
        &reduced
    } else {
        points
    };
    let n = points.len();
    if n < 5 {
        return None;
    }
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, a) in points.iter().enumerate() {
        slopes.extend(
            points[i + 1..]
                .iter()
                .filter(|b| b.0 > a.0)
                .map(|b| (b.1 - a.1) / (b.0 - a.0)),
        );
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let count = slopes.len() as f64;
    let n = n as f64;
    let half_width = 1.959_964 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt() / 2.0;
    let rank = |r: f64| slopes[(r.round().max(0.0) as usize).min(slopes.len() - 1)];
    Some(Slope {
        slope: median(&slopes)?,
        low: rank(count / 2.0 - half_width - 1.0),
        high: rank(count / 2.0 + half_width),
    })
}

fn reduce(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .chunks(points.len().div_ceil(MOST_POINTS))
        .filter_map(|chunk| {
            let xs: Vec<f64> = chunk.iter().map(|p| p.0).collect();
            let ys: Vec<f64> = chunk.iter().map(|p| p.1).collect();
            Some((median(&xs)?, median(&ys)?))
        })
        .collect()
}

/// The mean of paired differences with its 95 % interval by Student's t; the interval is absent below two pairs.
pub fn paired_mean(differences: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    let mean = mean(differences)?;
    let n = differences.len() as f64;
    if differences.len() < 2 {
        return Some((mean, None));
    }
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    let half = t * (variance / n).sqrt();
    Some((mean, Some((mean - half, mean + half))))
}

/// The quantiles whose sample values bound the quantile `q` of the population with 95 % confidence.
///
/// The number of samples below the true quantile is binomial (n, q); its normal approximation gives the ranks
/// n q ± 1.96 √(n q (1−q)). Source: Conover, "Practical Nonparametric Statistics", section 3.2.
pub fn quantile_ranks(n: u64, q: f64) -> Option<(f64, f64)> {
    if n == 0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let z = Normal::standard().inverse_cdf(0.975);
    let half = z * (q * (1.0 - q) / n as f64).sqrt();
    Some(((q - half).max(0.0), (q + half).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{mix2, unit};

    fn noise(seed: u64, i: u64) -> f64 {
        (-2.0 * unit(mix2(seed, 2 * i)).ln()).sqrt() * (std::f64::consts::TAU * unit(mix2(seed, 2 * i + 1))).cos()
    }

    #[test]
    fn theil_sen_covers_the_true_slope_at_its_rate() {
        let mut covered = 0;
        for seed in 0..400 {
            let points: Vec<_> = (0..60)
                .map(|i| (i as f64, 3.0 * i as f64 + 20.0 * noise(seed, i)))
                .collect();
            let slope = theil_sen(&points).unwrap();
            covered += i32::from(slope.low <= 3.0 && 3.0 <= slope.high);
        }
        // 400 trials at 95 %: 380 expected, deviation 4.4; four deviations either way.
        assert!((362..=398).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn theil_sen_does_not_follow_an_outlier() {
        let mut points: Vec<_> = (0..50).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        points[10].1 = 1e9;
        assert!((theil_sen(&points).unwrap().slope - 2.0).abs() < 1e-9);
        let many: Vec<_> = (0..5_000).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        assert!((theil_sen(&many).unwrap().slope - 2.0).abs() < 1e-9);
        assert!(theil_sen(&[(0.0, 1.0); 10]).is_none());
    }

    #[test]
    fn paired_interval_covers_at_its_rate() {
        let mut covered = 0;
        for seed in 0..400 {
            let differences: Vec<_> = (0..6).map(|i| 5.0 + noise(seed, i)).collect();
            let (_, interval) = paired_mean(&differences).unwrap();
            let (low, high) = interval.unwrap();
            covered += i32::from(low <= 5.0 && 5.0 <= high);
        }
        assert!((362..=398).contains(&covered), "{covered} of 400");
        assert_eq!(paired_mean(&[1.0]), Some((1.0, None)));
        assert_eq!(paired_mean(&[]), None);
    }
}
