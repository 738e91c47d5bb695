//! The evidence that the values after a place differ from those before it: the Mann–Whitney statistic of two neighbouring
//! windows, with its exact distribution, for windows of many lengths at every place.

use std::sync::OnceLock;

/// Lengths of windows, about √2 apart: whatever the true lengths are, one of these is at least 70 % of it. The first is the
/// shortest stretch that counts as a level of its own.
pub(super) const WINDOWS: [usize; 12] = [4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128];
/// The longest window.
pub(super) const LONGEST: usize = WINDOWS[WINDOWS.len() - 1];
/// The logarithm of the two-sided p-value of the Mann–Whitney test for windows of `WINDOWS[left]` and `WINDOWS[right]`
/// values, where `dominance` is the number of pairs in which the right value is larger less the number in which it is
/// smaller. Ties count for neither, which errs on the side of no change.
pub(super) fn ln_p(left: usize, right: usize, dominance: i64) -> f64 {
    static TABLES: [OnceLock<Vec<f64>>; WINDOWS.len() * WINDOWS.len()] =
        [const { OnceLock::new() }; WINDOWS.len() * WINDOWS.len()];
    let (short, long) = (left.min(right), left.max(right));
    let table = TABLES[short * WINDOWS.len() + long].get_or_init(|| tails(WINDOWS[short], WINDOWS[long]));
    let pairs = (WINDOWS[short] * WINDOWS[long]) as i64;
    // The number of pairs against the majority, rounded up so that ties never count as evidence.
    let against = (pairs - dominance.abs() + 1) / 2;
    table[usize::try_from(against).unwrap_or(0).min(table.len() - 1)]
}

/// `ln P(U ≤ u or U ≥ a·b − u)` for u = 0 … a·b / 2, where U is the Mann–Whitney statistic of samples of a and b values.
///
/// The number of orders with U = u is the coefficient of qᵘ in the Gaussian binomial coefficient
/// ∏ᵢ (1 − qᵇ⁺ⁱ) / (1 − qⁱ), i = 1 … a. Source: Mann and Whitney, "On a test of whether one of two random variables is
/// stochastically larger than the other", Annals of Mathematical Statistics 18 (1947).
fn tails(a: usize, b: usize) -> Vec<f64> {
    let half = a * b / 2;
    let mut orders = vec![0.0f64; half + 1];
    orders[0] = 1.0;
    for i in 1..=a {
        for u in ((b + i)..=half).rev() {
            orders[u] -= orders[u - b - i];
        }
        for u in i..=half {
            orders[u] += orders[u - i];
        }
    }
    let ln_all: f64 = (1..=a).map(|i| ((b + i) as f64 / i as f64).ln()).sum();
    let mut below = 0.0;
    orders
        .iter()
        .map(|n| {
            below += n;
            (2.0f64.ln() + f64::ln(below) - ln_all).min(0.0)
        })
        .collect()
}

/// The least dominance of a pair of windows whose `ln_p` is at or below `enough`; `None` where none is.
pub(super) fn least_dominance(left: usize, right: usize, enough: f64) -> Option<i64> {
    let pairs = (WINDOWS[left] * WINDOWS[right]) as i64;
    let (mut too_little, mut least) = (-1, pairs);
    if ln_p(left, right, pairs) > enough {
        return None;
    }
    while too_little + 1 < least {
        let middle = (too_little + least) / 2;
        if ln_p(left, right, middle) <= enough {
            least = middle;
        } else {
            too_little = middle;
        }
    }
    Some(least)
}

/// Prefix sums of the signs of differences of neighbours up to two windows apart.
pub(super) struct Signs {
    /// `after[i][k]`: the sum of sign(x(i+j) − x(i)) over j = 1 … k.
    after: Vec<i16>,
    /// `before[j][k]`: the sum of sign(x(j) − x(j−i)) over i = 1 … k.
    before: Vec<i16>,
    reach: usize,
}

impl Signs {
    pub(super) fn of(values: &[f64]) -> Self {
        let n = values.len();
        let reach = (2 * LONGEST).min(n) + 1;
        let (mut after, mut before) = (vec![0i16; n * reach], vec![0i16; n * reach]);
        for (i, x) in values.iter().enumerate() {
            let row = &mut after[i * reach..][..reach];
            for (k, y) in (1..reach).zip(&values[i + 1..]) {
                row[k] = row[k - 1] + sign(*x, *y);
            }
            let row = &mut before[i * reach..][..reach];
            for (k, y) in (1..reach).zip(values[..i].iter().rev()) {
                row[k] = row[k - 1] + sign(*y, *x);
            }
        }
        Self { after, before, reach }
    }

    fn after(&self, i: usize, k: usize) -> i32 {
        i32::from(self.after[i * self.reach + k])
    }

    fn before(&self, j: usize, k: usize) -> i32 {
        i32::from(self.before[j * self.reach + k])
    }

    /// For every split between `from` and `to` of every pair of windows that fits, calls
    /// `found(split, left, right, dominance)` where the dominance is at least `least(left, right)` to either side; pairs of
    /// windows for which that is `None` are left out. Windows are places in [`WINDOWS`]. The work is the length times the
    /// number of pairs of windows.
    pub(super) fn scan(
        &self,
        from: usize,
        to: usize,
        least: impl Fn(usize, usize) -> Option<i64>,
        mut found: impl FnMut(usize, usize, usize, i64),
    ) {
        const NEVER: i32 = i32::MAX;
        let windows = || WINDOWS.iter().copied().enumerate();
        let mut leasts = [[NEVER; WINDOWS.len()]; WINDOWS.len()];
        for (left, l) in windows() {
            for (right, _) in windows().take_while(|(_, r)| l + r <= to - from) {
                let least = least(left, right).and_then(|d| i32::try_from(d).ok());
                leasts[left][right] = least.unwrap_or(NEVER);
            }
        }
        let mut sums = [[0i32; WINDOWS.len()]; WINDOWS.len()];
        for split in from + WINDOWS[0]..=to.saturating_sub(WINDOWS[0]) {
            let rights = WINDOWS.iter().filter(|r| split + **r <= to).count();
            for (left, l) in windows().take_while(|(_, l)| from + l <= split) {
                let old = split - 1;
                for (right, r) in windows().take(rights) {
                    if leasts[left][right] == NEVER {
                        continue;
                    }
                    let sum = &mut sums[left][right];
                    if split == from + l {
                        // The first rectangle of pairs is added up row by row.
                        *sum = (from..split)
                            .map(|i| self.after(i, split + r - 1 - i) - self.after(i, split - 1 - i))
                            .sum();
                    } else {
                        // Each further one has other first and last values before it and after it.
                        *sum += self.after(old - l, l - 1) - self.after(old - l, l + r - 1) - self.before(old, l - 1)
                            + self.before(old + r, l + r - 1)
                            - self.before(old + r, r)
                            + self.after(old, r);
                    }
                    if sum.abs() >= leasts[left][right] {
                        found(split, left, right, i64::from(*sum));
                    }
                }
            }
        }
    }
}

fn sign(before: f64, after: f64) -> i16 {
    i16::from(after > before) - i16::from(after < before)
}

/// The strongest evidence for a change at `split` that windows inside of the slice give: ln p.
pub(super) fn at(values: &[f64], split: usize) -> f64 {
    let (before, after) = values.split_at(split);
    let mut best = 0.0f64;
    // dominance[r] of the rows so far, for each length of the right window.
    let mut sums = [0i64; WINDOWS.len()];
    let mut rows = before.iter().rev();
    let mut taken = 0;
    for (left, &l) in WINDOWS.iter().enumerate() {
        if l > before.len() {
            break;
        }
        for x in rows.by_ref().take(l - taken) {
            let mut sum = 0i64;
            let mut from = 0;
            for (right, &r) in WINDOWS.iter().enumerate() {
                if r > after.len() {
                    break;
                }
                sum += after[from..r].iter().map(|y| i64::from(sign(*x, *y))).sum::<i64>();
                from = r;
                sums[right] += sum;
            }
        }
        taken = l;
        for (right, &r) in WINDOWS.iter().enumerate() {
            if r > after.len() {
                break;
            }
            best = best.min(ln_p(left, right, sums[right]));
        }
    }
    best
}
