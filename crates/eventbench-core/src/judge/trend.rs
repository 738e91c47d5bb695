//! Trends: what a figure has been from run to run, where its level has moved, and whether it has moved for the worse.

use super::change_points::{ChangeOptions, change_points, fewest_values};
use super::statistics::median;
use crate::metric::Better;
use crate::units::Unit;
use serde::{Deserialize, Serialize};

/// A figure in the runs of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// The suite.
    pub suite: String,
    /// The benchmark.
    pub benchmark: String,
    /// The metric's id.
    pub metric: String,
    /// Its tags, as `key:value` joined by commas; empty without any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tags: String,
    /// The statistic, such as `p(50)`.
    pub stat: String,
    /// The unit of all values here.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// Whether it is one of the figures that decide.
    pub gate: bool,
    /// The runs that have it, oldest first.
    pub points: Vec<TrendPoint>,
    /// Where its level has moved, oldest first.
    pub changes: Vec<TrendChange>,
}

/// A figure in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendPoint {
    /// The run's id.
    pub run: String,
    /// Its start, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// The state of the source, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The figure over the run's trials.
    pub value: f64,
    /// The smallest and the largest trial, where there are at least two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// Trials with a value.
    pub trials: u32,
}

impl TrendPoint {
    /// Half the range of the trials over the value: ±.
    pub fn spread(&self) -> Option<f64> {
        let (low, high) = self.range?;
        (self.value != 0.0).then(|| (high - low) / 2.0 / self.value.abs())
    }
}

/// A move of the level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendChange {
    /// The place in `points` of the first run after it.
    pub index: usize,
    /// That run's id.
    pub run: String,
    /// Its start, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// Its state of the source, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The median of the level before.
    pub before: f64,
    /// The median of the level after.
    pub after: f64,
    /// after / before − 1; absent where the level before is zero.
    pub effect: Option<f64>,
    /// The probability that noise alone shows such a change in a series as long.
    pub p: f64,
    /// Runs since then, that one included.
    pub runs_since: usize,
    /// Whether it is good.
    pub direction: Direction,
}

/// Whether a move is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It is not.
    Worse,
    /// It is.
    Better,
    /// Neither direction is good.
    Neutral,
}

impl Direction {
    /// What a move from one value to another is.
    pub fn of(better: Better, from: f64, to: f64) -> Direction {
        match better {
            Better::Neutral => Direction::Neutral,
            Better::Lower if to > from => Direction::Worse,
            Better::Higher if to < from => Direction::Worse,
            Better::Lower | Better::Higher => Direction::Better,
        }
    }
}

/// As many runs before the newest as it is held against.
const RECENT: usize = 10;

impl Trend {
    /// Puts the points in order of time and looks for changes.
    #[must_use]
    pub fn judged(mut self, options: &ChangeOptions) -> Trend {
        self.points.retain(|p| p.value.is_finite());
        self.points
            .sort_by(|a, b| (a.started_unix_ms, &a.run).cmp(&(b.started_unix_ms, &b.run)));
        let values: Vec<f64> = self.points.iter().map(|p| p.value).collect();
        self.changes = change_points(&values, options)
            .into_iter()
            .map(|change| {
                let first = &self.points[change.index];
                TrendChange {
                    index: change.index,
                    run: first.run.clone(),
                    started_unix_ms: first.started_unix_ms,
                    commit: first.commit.clone(),
                    before: change.before,
                    after: change.after,
                    effect: change.effect,
                    p: change.p,
                    runs_since: self.points.len() - change.index,
                    direction: Direction::of(self.better, change.before, change.after),
                }
            })
            .collect();
        self
    }

    /// The metric with its tags and the statistic, as limits and gates write them.
    pub fn name(&self) -> String {
        match self.tags.as_str() {
            "" => format!("{} {}", self.metric, self.stat),
            tags => format!("{}{{{tags}}} {}", self.metric, self.stat),
        }
    }

    /// The newest run's value.
    pub fn newest(&self) -> Option<&TrendPoint> {
        self.points.last()
    }

    /// By how much the newest value differs from the median of the runs just before it, as a ratio.
    pub fn newest_change(&self) -> Option<f64> {
        let (newest, before) = self.points.split_last()?;
        let recent: Vec<f64> = before.iter().rev().take(RECENT).map(|p| p.value).collect();
        let usual = median(&recent)?;
        (usual != 0.0).then(|| (newest.value - usual) / usual.abs())
    }

    /// The level of now: the median since the last change.
    pub fn level(&self) -> Option<f64> {
        let from = self.changes.last().map_or(0, |c| c.index);
        median(&self.points[from..].iter().map(|p| p.value).collect::<Vec<_>>())
    }

    /// Whether the level has become worse.
    pub fn alert(&self, options: &AlertOptions) -> Alert<'_> {
        let needed = fewest_values(options.significance, options.within);
        let (Some(needed), Some(level)) = (needed, self.level()) else {
            return Alert::TooFew { needed };
        };
        if self.points.len() < needed {
            return Alert::TooFew { needed: Some(needed) };
        }
        let oldest = self.points.len().saturating_sub(options.within);
        let worse = self.changes.iter().filter(|c| c.index >= oldest).find(|change| {
            // What has become better again since then is no news.
            let direction = Direction::of(self.better, change.before, level);
            let by = (level - change.before).abs() / change.before.abs();
            direction == Direction::Worse && change.direction == Direction::Worse && by >= options.min_change
        });
        match worse {
            Some(change) => Alert::Worse { change, level },
            None => Alert::Fine,
        }
    }
}

/// When a change is news.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlertOptions {
    /// It lies in this many newest runs.
    pub within: usize,
    /// The level is worse by this ratio at least: 0.05 for 5 %.
    pub min_change: f64,
    /// The significance that changes were looked for with.
    pub significance: f64,
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self {
            within: 10,
            min_change: 0.05,
            significance: ChangeOptions::default().significance,
        }
    }
}

/// What a trend has to say to somebody who waits for bad news.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Alert<'a> {
    /// There are too few runs to tell.
    TooFew {
        /// The runs that are needed; `None` where no number would do.
        needed: Option<usize>,
    },
    /// Nothing new, or only for the better.
    Fine,
    /// The level has become worse.
    Worse {
        /// Where.
        change: &'a TrendChange,
        /// The level of now, which further changes may have moved since.
        level: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{mix2, unit};

    fn trend(better: Better, levels: &[(usize, f64)]) -> Trend {
        let values = levels.iter().flat_map(|(n, level)| std::iter::repeat_n(*level, *n));
        let points = values
            .enumerate()
            .map(|(i, level)| TrendPoint {
                run: format!("r{i:03}"),
                started_unix_ms: i as i64,
                commit: (i % 2 == 0).then(|| format!("c{i}")),
                value: level * (1.0 + 0.02 * unit(mix2(9, i as u64))),
                range: Some((level * 0.9, level * 1.1)),
                trials: 3,
            })
            .collect();
        let trend = Trend {
            suite: "s".to_owned(),
            benchmark: "b".to_owned(),
            metric: "response_time".to_owned(),
            tags: String::new(),
            stat: "p(50)".to_owned(),
            unit: Unit::Nanoseconds,
            better,
            gate: true,
            points,
            changes: Vec::new(),
        };
        trend.judged(&ChangeOptions::default())
    }

    #[test]
    fn a_change_names_its_run() {
        let trend = trend(Better::Lower, &[(30, 100.0), (8, 120.0)]);
        let [change] = &trend.changes[..] else {
            panic!("{:?}", trend.changes)
        };
        assert_eq!((change.index, change.run.as_str(), change.runs_since), (30, "r030", 8));
        assert_eq!(
            (change.commit.as_deref(), change.direction),
            (Some("c30"), Direction::Worse)
        );
        assert!(matches!(trend.alert(&AlertOptions::default()), Alert::Worse { change: c, .. } if c == change));
    }

    #[test]
    fn points_are_put_in_order_of_time() {
        let mut shuffled = trend(Better::Lower, &[(30, 100.0), (8, 120.0)]);
        let ordered = shuffled.clone();
        shuffled.points.reverse();
        shuffled.points[3].value = f64::NAN;
        let judged = shuffled.judged(&ChangeOptions::default());
        assert_eq!(judged.points.len(), 37);
        assert_eq!(judged.points[0], ordered.points[0]);
    }

    #[test]
    fn only_what_is_bad_new_large_and_lasting_is_an_alert() {
        let default = AlertOptions::default();
        let (lower, higher) = (Better::Lower, Better::Higher);
        let worse = |trend: &Trend, options: &AlertOptions| matches!(trend.alert(options), Alert::Worse { .. });
        assert!(!worse(&trend(lower, &[(30, 100.0), (8, 80.0)]), &default), "better");
        assert!(
            worse(&trend(higher, &[(30, 100.0), (8, 80.0)]), &default),
            "fewer events"
        );
        assert!(
            !worse(&trend(Better::Neutral, &[(30, 100.0), (8, 80.0)]), &default),
            "neither"
        );
        assert!(!worse(&trend(lower, &[(30, 100.0), (12, 120.0)]), &default), "old");
        let within = AlertOptions { within: 12, ..default };
        assert!(worse(&trend(lower, &[(30, 100.0), (12, 120.0)]), &within), "old enough");
        let small = trend(lower, &[(40, 100.0), (9, 104.5)]);
        assert_eq!(small.changes.len(), 1, "{:?}", small.changes);
        assert!(!worse(&small, &default), "small");
        let repaired = trend(lower, &[(60, 100.0), (8, 150.0), (8, 100.0)]);
        assert_eq!(repaired.changes.len(), 2, "{:?}", repaired.changes);
        assert!(!worse(&repaired, &AlertOptions { within: 20, ..default }), "repaired");
        let halfway = trend(lower, &[(60, 100.0), (8, 150.0), (8, 120.0)]);
        assert!(
            worse(&halfway, &AlertOptions { within: 20, ..default }),
            "repaired by half"
        );
        let zero = trend(lower, &[(40, 0.0), (8, 3.0)]);
        assert!(worse(&zero, &default), "from nothing");
    }

    #[test]
    fn too_few_runs_are_said_to_be_too_few() {
        let trend = trend(Better::Lower, &[(10, 100.0)]);
        let Alert::TooFew { needed: Some(needed) } = trend.alert(&AlertOptions::default()) else {
            panic!()
        };
        assert!((11..30).contains(&needed), "{needed}");
        let within = AlertOptions {
            within: 3,
            ..AlertOptions::default()
        };
        assert_eq!(trend.alert(&within), Alert::TooFew { needed: None });
    }

    #[test]
    fn the_newest_run_is_held_against_those_before_it() {
        let trend = trend(Better::Lower, &[(30, 100.0), (1, 150.0)]);
        assert!((trend.newest_change().unwrap() - 0.5).abs() < 0.03);
        assert!((trend.newest().unwrap().spread().unwrap() - 0.1).abs() < 0.003);
        assert_eq!(trend.name(), "response_time p(50)");
        assert!(trend.changes.is_empty());
    }
}
