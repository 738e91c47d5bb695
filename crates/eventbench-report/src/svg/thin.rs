//! Thinning: so many points as there are columns of pixels, and no extreme lost.

type Point = (f64, f64);
/// Points of a line, ascending by their first coordinate; `None` where the line is broken.
pub(crate) type Points = Vec<Option<Point>>;

/// Of points in more than `columns` columns of equal width: the lowest and the highest of each column, in their order.
/// Fewer points stay as they are. A break between two columns stays a break.
pub(crate) fn thin(points: &[Option<Point>], columns: usize) -> Points {
    thinned(points, columns, |low, high| match low.0.total_cmp(&high.0) {
        std::cmp::Ordering::Less => [Some(low), Some(high)],
        std::cmp::Ordering::Greater => [Some(high), Some(low)],
        std::cmp::Ordering::Equal => [Some(low), None],
    })
}

/// The same with the highest of each column alone, for a line of maxima.
pub(crate) fn peaks(points: &[Option<Point>], columns: usize) -> Points {
    thinned(points, columns, |_, high| [Some(high), None])
}

fn thinned(points: &[Option<Point>], columns: usize, keep: impl Fn(Point, Point) -> [Option<Point>; 2]) -> Points {
    let known = || points.iter().flatten();
    let (Some(first), Some(last)) = (known().next(), known().next_back()) else {
        return Vec::new();
    };
    let width = (last.0 - first.0) / columns.max(1) as f64;
    if points.len() <= columns * 2 || width.is_nan() || width <= 0.0 {
        return points.to_vec();
    }
    let mut out: Points = Vec::with_capacity(columns * 2 + 2);
    // The running column with its lowest and highest point.
    let mut running: Option<(usize, Point, Point)> = None;
    let mut broken = false;
    for point in points {
        let Some(point) = point else {
            broken = true;
            continue;
        };
        let column = (((point.0 - first.0) / width) as usize).min(columns - 1);
        running = match running {
            Some((at, low, high)) if at == column => {
                // A break within one column of pixels cannot be seen.
                broken = false;
                Some((
                    at,
                    if point.1 < low.1 { *point } else { low },
                    if point.1 > high.1 { *point } else { high },
                ))
            }
            other => {
                if let Some((_, low, high)) = other {
                    out.extend(keep(low, high).into_iter().flatten().map(Some));
                }
                if std::mem::take(&mut broken) && other.is_some() {
                    out.push(None);
                }
                Some((column, *point, *point))
            }
        };
    }
    if let Some((_, low, high)) = running {
        out.extend(keep(low, high).into_iter().flatten().map(Some));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_extreme_of_any_column_is_lost(ys in proptest::collection::vec(-1e6..1e6f64, 1..3_000), columns in 1usize..200) {
            let points: Vec<_> = ys.iter().enumerate().map(|(i, y)| Some((i as f64, *y))).collect();
            let thinned = thin(&points, columns);
            prop_assert!(thinned.len() <= columns * 2 || thinned.len() == points.len());
            let xs: Vec<f64> = thinned.iter().flatten().map(|p| p.0).collect();
            prop_assert!(xs.windows(2).all(|w| w[0] < w[1]), "the order is kept");
            prop_assert!(thinned.iter().flatten().all(|p| ys[p.0 as usize] == p.1), "nothing is made up");
            let width = (ys.len() - 1) as f64 / columns as f64;
            for part in 0..columns {
                let of = |points: &[Option<(f64, f64)>]| -> Vec<f64> {
                    let column = |x: f64| ((x / width.max(1e-9)) as usize).min(columns - 1);
                    points.iter().flatten().filter(|p| column(p.0) == part).map(|p| p.1).collect()
                };
                let ends = |v: &[f64]| (v.iter().copied().fold(f64::MAX, f64::min), v.iter().copied().fold(f64::MIN, f64::max));
                prop_assert_eq!(ends(&of(&points)), ends(&of(&thinned)));
            }
            let top = |points: &[Option<(f64, f64)>]| points.iter().flatten().map(|p| p.1).fold(f64::MIN, f64::max);
            prop_assert_eq!(top(&peaks(&points, columns)), top(&points));
        }
    }

    #[test]
    fn a_silence_stays_a_gap() {
        let mut points: Vec<_> = (0..1_000).map(|i| Some((f64::from(i), 1.0))).collect();
        points[400..600].fill(None);
        let thinned = thin(&points, 50);
        assert_eq!(thinned.iter().filter(|p| p.is_none()).count(), 1, "{thinned:?}");
    }
}
