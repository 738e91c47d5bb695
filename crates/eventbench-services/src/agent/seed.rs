//! The accounts and activities of a new database: the same seed makes the same ones, on every machine.

/// Kinds of activity, as they stand in the database.
pub(crate) const KINDS: [&str; 5] = ["call", "email", "meeting", "ticket", "login"];

/// Activities lie at most this many days back.
const DAYS: u64 = 180;

/// Accounts that one owner looks after.
const PER_OWNER: u32 = 8;

const FIRST: [&str; 16] = [
    "Nordwind",
    "Müller",
    "Café",
    "日本橋",
    "Bright",
    "Ångström",
    "Río",
    "Summit",
    "Kestrel",
    "Łódź",
    "Harbour",
    "Vega",
    "Copper",
    "Delta",
    "Ionian",
    "Zürich",
];
const SECOND: [&str; 12] = [
    "Logistics",
    "Foods",
    "Energy",
    "Textiles",
    "Robotics",
    "Health",
    "Optics",
    "Media",
    "Mobility",
    "Materials",
    "Trading",
    "Software",
];
const INDUSTRIES: [&str; 6] = ["logistics", "retail", "energy", "manufacturing", "health", "media"];
const OWNERS: [&str; 10] = [
    "A. Okafor",
    "B. Lindqvist",
    "C. Moreau",
    "D. Tanaka",
    "E. Rossi",
    "F. Novák",
    "G. Silva",
    "H. Singh",
    "I. Weber",
    "J. O'Neill",
];

/// A row of the table of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeedAccount {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) industry: &'static str,
    pub(crate) annual_cents: i64,
    pub(crate) renewal_in_days: i64,
    pub(crate) health: i64,
}

/// A row of the table of activities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeedActivity {
    pub(crate) days_ago: i64,
    pub(crate) kind: &'static str,
    pub(crate) minutes: i64,
    pub(crate) sentiment: i64,
}

/// The id of the account with this number, counted from 1.
pub(crate) fn account_id(number: u32) -> String {
    format!("ACC-{number:06}")
}

/// The account with this number, counted from 1, and its activities, the latest first.
pub(crate) fn account(seed: u64, number: u32) -> (SeedAccount, Vec<SeedActivity>) {
    let mut random = Random(seed ^ u64::from(number).wrapping_mul(0xA24B_AED4_963E_E407));
    let mood = random.below(5);
    let account = SeedAccount {
        id: account_id(number),
        name: format!("{} {}", random.pick(&FIRST), random.pick(&SECOND)),
        owner: {
            let portfolio = (number - 1) / PER_OWNER;
            let name = OWNERS[portfolio as usize % OWNERS.len()];
            format!("{name} {}", portfolio as usize / OWNERS.len() + 1)
        },
        industry: random.pick(&INDUSTRIES),
        annual_cents: random.within(500_000, 50_000_000),
        renewal_in_days: random.within(1, 365),
        health: random.within(20, 100),
    };
    let mut activities: Vec<SeedActivity> = (0..random.within(8, 64))
        .map(|_| {
            // The product of two draws lies nearer to today than one.
            let days_ago = random.below(DAYS) * random.below(DAYS) / DAYS;
            let kind = random.pick(&KINDS);
            SeedActivity {
                days_ago: whole(days_ago),
                kind,
                minutes: if kind == "email" { 2 } else { random.within(1, 90) },
                // From -2 to 2, about the account's mood.
                sentiment: (whole(mood) - 2 + random.within(-1, 1)).clamp(-2, 2),
            }
        })
        .collect();
    activities.sort_by_key(|activity| activity.days_ago);
    (account, activities)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The generator SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `low` to `high`, both included.
    fn within(&mut self, low: i64, high: i64) -> i64 {
        low + whole(self.below(high.abs_diff(low) + 1))
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_and_another_makes_others() {
        for number in [1, 2, 77] {
            assert_eq!(account(7, number), account(7, number));
            assert_ne!(account(7, number), account(8, number));
        }
        assert_ne!(account(7, 1).0.name, account(7, 2).0.name);
        // The generator itself, against the published sequence for seed 0.
        assert_eq!(Random(0).next(), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn figures_lie_in_their_ranges() {
        for number in 1..200 {
            let (account, activities) = account(1, number);
            assert!((20..=100).contains(&account.health) && (1..=365).contains(&account.renewal_in_days));
            assert!((8..=64).contains(&activities.len()));
            assert!(activities.is_sorted_by_key(|activity| activity.days_ago));
            for activity in activities {
                assert!((-2..=2).contains(&activity.sentiment) && (0..180).contains(&activity.days_ago));
                assert!((1..=90).contains(&activity.minutes) && KINDS.contains(&activity.kind));
            }
        }
    }

    #[test]
    fn an_owner_has_a_portfolio() {
        let owners: Vec<String> = (1..=17).map(|number| account(1, number).0.owner).collect();
        assert!(owners[..8].iter().all(|owner| *owner == "A. Okafor 1"), "{owners:?}");
        assert_ne!(owners[8], owners[7]);
        assert_ne!(owners[16], owners[15]);
    }
}
