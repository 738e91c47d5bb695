//! Holm's correction: of many figures that did not change, one will look as if it had; this counts that in.
//!
//! Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

/// The corrected p-values in the order of those given: the smallest times their number, the next times one less, and
/// so on; never smaller than one before it, never above 1.
pub(super) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|i, j| p_values[*i].total_cmp(&p_values[*j]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut least = 0.0f64;
    for (place, index) in order.into_iter().enumerate() {
        least = least.max(p_values[index] * (p_values.len() - place) as f64).min(1.0);
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_worked_example() {
        // 0.005 × 4, 0.01 × 3, 0.03 × 2, 0.04 × 1 but not less than the one before.
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, expected) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - expected).abs() < 1e-12, "{corrected:?}");
        }
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn it_never_makes_a_figure_look_surer(p in proptest::collection::vec(0.0f64..=1.0, 0..40)) {
            let corrected = holm(&p);
            for (before, after) in p.iter().zip(&corrected) {
                prop_assert!(after >= before && *after <= 1.0);
            }
        }
    }
}
