//! Virtual users: each takes a task, waits for its end, thinks, and takes the next.
//!
//! How many users there are is a function of time alone, rising and falling in straight lines, so that users come and go
//! one by one and never in batches. How long one thinks is a function of (seed, user, turn). A user's next instant
//! depends on when its last task ended: users are a closed loop, and reports say so.

use super::{Arrival, duration};
use crate::mix::{mix3, unit};
use crate::plan::Load;
use crate::units::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a user waits between two tasks.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Think {
    /// Always as long, from the end of a task.
    Constant(Duration),
    /// Between the two, each as likely, from the end of a task.
    Uniform(Duration, Duration),
    /// At random without memory, with this mean, from the end of a task.
    Exponential(Duration),
    /// So that tasks begin this far apart; a task that takes longer is followed at once.
    Pacing(Duration),
}

/// One stage of a population.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageEntry {
    /// Users at its end; from those of the stage before, in a straight line.
    pub users: u32,
    /// Its length.
    pub over: Duration,
}

/// A straight piece of the population: from (instant, users) to (instant, users).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    from_ns: u64,
    from: f64,
    until_ns: u64,
    until: f64,
}

/// Virtual users over an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Users {
    pieces: Vec<Piece>,
    think: Think,
    seed: u64,
    most: u32,
    /// Length in nanoseconds, the warm-up not included.
    pub duration_ns: u64,
}

impl Users {
    /// The most users that there are at one time.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// How many users there are at an instant from the start of the schedule.
    pub fn population(&self, at_ns: u64) -> f64 {
        let piece = self.pieces.iter().find(|p| at_ns < p.until_ns);
        piece.map_or(0.0, |p| p.at(at_ns))
    }

    /// The first instant from `at_ns` on at which user `user` (from 0) is there; `None` when it does not come (again).
    pub fn next_active(&self, user: u32, at_ns: u64) -> Option<u64> {
        let wanted = f64::from(user);
        self.pieces
            .iter()
            .filter(|p| p.until_ns > at_ns)
            .find_map(|p| p.first_above(wanted, at_ns.max(p.from_ns)))
    }

    /// When a user takes its next task, in nanoseconds from the start of the schedule, whose last, number `turn` from 0,
    /// was meant to begin at `begun_ns` and ended at `ended_ns`; `None` when it does not any more.
    pub fn next(&self, user: u32, turn: u64, begun_ns: u64, ended_ns: u64) -> Option<u64> {
        let word = mix3(self.seed, u64::from(user), turn);
        let after = match self.think {
            Think::Constant(wait) => ended_ns + wait.ns(),
            Think::Uniform(least, most) => ended_ns + (least.0 + (most.0 - least.0) * unit(word)) as u64,
            Think::Exponential(mean) => ended_ns + (-unit(word).ln() * mean.0) as u64,
            Think::Pacing(every) => ended_ns.max(begun_ns + every.ns()),
        };
        self.next_active(user, after)
    }

    /// Which of `n` tasks a user takes at its turn, each as likely.
    pub fn choice(&self, user: u32, turn: u64, n: u32) -> u32 {
        // Another word than that of the wait, which the same turn draws.
        let word = mix3(!self.seed, u64::from(user), turn);
        ((u128::from(word) * u128::from(n)) >> 64) as u32
    }
}

impl Piece {
    fn at(&self, at_ns: u64) -> f64 {
        let length = (self.until_ns - self.from_ns) as f64;
        self.from + (self.until - self.from) * (at_ns.saturating_sub(self.from_ns)) as f64 / length
    }

    /// The first instant from `at_ns`, inside the piece, at which there are more than `wanted` users.
    fn first_above(&self, wanted: f64, at_ns: u64) -> Option<u64> {
        if self.at(at_ns) > wanted {
            return Some(at_ns);
        }
        if self.until <= wanted {
            return None;
        }
        let share = (wanted - self.from) / (self.until - self.from);
        let crossing = self.from_ns + (share * (self.until_ns - self.from_ns) as f64) as u64;
        // User 0 comes with the very start of a rise; rounding must not put anybody before it.
        (crossing.max(at_ns) < self.until_ns).then_some(crossing.max(at_ns))
    }
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    let think = load.think.unwrap_or(Think::Constant(Duration(0.0)));
    if let Think::Uniform(least, most) = think
        && least.0 > most.0
    {
        return Err(format!(
            "`think`: {least} is more than {most}; write the shorter time first"
        ));
    }
    if matches!(think, Think::Pacing(every) if every.ns() == 0) {
        return Err("`think`: pacing must be above zero".to_owned());
    }
    let warmup_ns = load.warmup.map_or(0, |w| w.ns());
    let (pieces, duration_ns) = match (&load.stages, load.users) {
        (Some(_), Some(_)) => return Err("either `users` with `spawn_rate`, or `stages`, not both".to_owned()),
        (Some(stages), None) => staged(stages, load, warmup_ns)?,
        (None, Some(users)) => plain(users, load, warmup_ns)?,
        (None, None) => {
            return Err(
                "arrival \"users\" needs `users` and `spawn_rate`, such as users = 50, spawn_rate = \"10/s\", or `stages`"
                    .to_owned(),
            );
        }
    };
    let most = pieces.iter().map(|p| p.from.max(p.until)).fold(0.0, f64::max).ceil() as u32;
    if most == 0 {
        return Err("there must be a user at some time: `users` is zero throughout".to_owned());
    }
    Ok(Arrival::Users(Users {
        pieces,
        think,
        seed: load.seed.unwrap_or(1),
        most,
        duration_ns,
    }))
}

fn plain(users: u32, load: &Load, warmup_ns: u64) -> Result<(Vec<Piece>, u64), String> {
    let duration_ns = duration(load)?;
    let Some(rate) = load.spawn_rate.filter(|r| r.0 > 0.0) else {
        return Err(
            "arrival \"users\" needs `spawn_rate` above zero, such as spawn_rate = \"10/s\": users come one by one"
                .to_owned(),
        );
    };
    let end_ns = warmup_ns + duration_ns;
    let full_ns = (f64::from(users) / rate.0 * 1e9) as u64;
    // The warm-up is the beginning of the same rise.
    let up_ns = full_ns.clamp(1, end_ns);
    let risen = f64::from(users) * up_ns as f64 / full_ns.max(1) as f64;
    let mut pieces = vec![Piece {
        from_ns: 0,
        from: 0.0,
        until_ns: up_ns,
        until: risen,
    }];
    if up_ns < end_ns {
        pieces.push(Piece {
            from_ns: up_ns,
            from: risen,
            until_ns: end_ns,
            until: risen,
        });
    }
    Ok((pieces, duration_ns))
}

fn staged(stages: &[StageEntry], load: &Load, warmup_ns: u64) -> Result<(Vec<Piece>, u64), String> {
    if load.spawn_rate.is_some() || load.duration.is_some() {
        return Err("`stages` say how long and how fast: leave `duration` and `spawn_rate` out".to_owned());
    }
    if warmup_ns > 0 {
        return Err("`stages` have no `warmup`: make the first stage one".to_owned());
    }
    let (mut at_ns, mut users) = (0, 0.0);
    let mut pieces = Vec::new();
    for stage in stages {
        if stage.over.ns() == 0 {
            return Err("a stage's `over` must be above zero".to_owned());
        }
        let piece = Piece {
            from_ns: at_ns,
            from: users,
            until_ns: at_ns + stage.over.ns(),
            until: f64::from(stage.users),
        };
        (at_ns, users) = (piece.until_ns, piece.until);
        pieces.push(piece);
    }
    Ok((pieces, at_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn users(text: &str) -> Users {
        let load: Load = toml::from_str(&format!("arrival = \"users\"\n{text}")).unwrap();
        match build(&load) {
            Ok(Arrival::Users(users)) => users,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn users_come_one_by_one_at_the_spawn_rate() {
        let users = users("users = 50\nspawn_rate = \"10/s\"\nduration = \"60s\"");
        assert_eq!(users.most(), 50);
        for user in 0..50 {
            let at = users.next_active(user, 0).unwrap();
            assert!(at.abs_diff(u64::from(user) * S / 10) <= 2, "{user}: {at}");
        }
        assert_eq!(users.next_active(50, 0), None);
        assert_eq!(users.next_active(7, 60 * S), None);
        assert_eq!(users.population(2 * S), 20.0);
    }

    #[test]
    fn a_spike_brings_users_and_takes_them_away_again() {
        let users = users(
            "stages = [{ users = 10, over = \"10s\" }, { users = 100, over = \"1s\" }, { users = 100, over = \"5s\" }, { users = 0, over = \"4s\" }, { users = 20, over = \"10s\" }]",
        );
        assert_eq!(users.duration_ns, 30 * S);
        assert_eq!(users.population(10 * S + S / 2), 55.0);
        // User 99 is there only in the spike; user 19 comes back in the last stage.
        let spike = users.next_active(99, 0).unwrap();
        assert!((11 * S - S / 50..=11 * S).contains(&spike), "{spike}");
        assert_eq!(users.next_active(99, 17 * S), None);
        let again = users.next_active(19, 20 * S).unwrap();
        assert!((29 * S..30 * S).contains(&again), "{again}");
    }

    proptest! {
        #[test]
        fn think_times_keep_to_their_law_and_to_the_seed(user in 0u32..1000, turn in 0u64..1000) {
            let users = users("users = 1000\nspawn_rate = \"1000000/s\"\nduration = \"1h\"\nthink = { uniform = [\"1s\", \"3s\"] }");
            let next = users.next(user, turn, 10 * S, 12 * S).unwrap();
            prop_assert!((13 * S..=15 * S).contains(&next));
            prop_assert_eq!(users.next(user, turn, 10 * S, 12 * S), Some(next));
            prop_assert!(users.choice(user, turn, 14) < 14);
        }

        #[test]
        fn who_is_there_is_who_the_population_holds(at in 0u64..30, user in 0u32..120) {
            let users = users("stages = [{ users = 100, over = \"10s\" }, { users = 3, over = \"10s\" }, { users = 50, over = \"10s\" }]");
            // Not at the very instants at which somebody comes or goes.
            let at = at * S + 12_345_678;
            let there = users.next_active(user, at) == Some(at);
            prop_assert_eq!(there, users.population(at) > f64::from(user));
        }
    }

    #[test]
    fn the_mean_of_random_waits_is_what_was_asked_for() {
        for (think, mean) in [("exponential = \"2s\"", 2e9), ("uniform = [\"1s\", \"3s\"]", 2e9)] {
            let users = users(&format!(
                "users = 1\nspawn_rate = \"1/s\"\nduration = \"10h\"\nthink = {{ {think} }}"
            ));
            let n = 20_000;
            let sum: u64 = (0..n).map(|turn| users.next(0, turn, 0, 0).unwrap()).sum();
            let error = sum as f64 / n as f64 / mean - 1.0;
            assert!(error.abs() < 0.03, "{think}: {error}");
        }
    }

    #[test]
    fn pacing_keeps_beginnings_apart_and_follows_a_long_task_at_once() {
        let users = users("users = 1\nspawn_rate = \"1/s\"\nduration = \"1h\"\nthink = { pacing = \"5s\" }");
        assert_eq!(users.next(0, 0, 10 * S, 12 * S), Some(15 * S));
        assert_eq!(users.next(0, 0, 10 * S, 19 * S), Some(19 * S));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        for (text, word) in [
            ("users = 5\nduration = \"1s\"", "spawn_rate"),
            ("users = 0\nspawn_rate = \"1/s\"\nduration = \"1s\"", "zero"),
            ("stages = [{ users = 1, over = \"1s\" }]\nduration = \"1s\"", "duration"),
            ("stages = [{ users = 1, over = \"1s\" }]\nusers = 3", "not both"),
            ("stages = [{ users = 1, over = \"0s\" }]", "over"),
            (
                "users = 5\nspawn_rate = \"1/s\"\nduration = \"1s\"\nthink = { uniform = [\"3s\", \"1s\"] }",
                "shorter",
            ),
        ] {
            let load: Load = toml::from_str(&format!("arrival = \"users\"\n{text}")).unwrap();
            let error = build(&load).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
