//! Which runs belong to one series: those of which nothing differs but what is measured and when.

use super::compare::machine_key;
use crate::record::{Ended, RunHead};
use serde::{Deserialize, Serialize};

/// Which series is wanted; what is absent is taken from the newest run that fits the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesOptions {
    /// The suite.
    pub suite: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// The branch.
    pub branch: Branch,
    /// Only the last so many runs.
    pub last: Option<usize>,
}

/// The branch of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Branch {
    /// That of the newest run.
    #[default]
    OfNewest,
    /// Whatever the branch.
    All,
    /// The one of that name.
    Named(String),
}

/// Runs of the same suite, profile, settings, machine and branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSeries {
    /// The suite.
    pub suite: String,
    /// The profile.
    pub profile: String,
    /// The machine's key, see [`machine_key`].
    pub machine: String,
    /// The branch; absent where it is not known, or where runs of all branches are taken.
    pub branch: Option<String>,
    /// The runs' ids, oldest first.
    pub runs: Vec<String>,
    /// What else there is of the suite.
    pub left_out: Vec<LeftOut>,
}

/// Runs of the suite that are not in the series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why, in words that follow their number, such as "of another machine".
    pub why: String,
    /// How many.
    pub runs: usize,
}

impl RunSeries {
    /// Counts runs, or benchmarks of runs, that are left out.
    pub fn leave_out(&mut self, why: &str, runs: usize) {
        match self.left_out.iter_mut().find(|l| l.why == why) {
            Some(left_out) => left_out.runs += runs,
            None if runs > 0 => self.left_out.push(LeftOut {
                why: why.to_owned(),
                runs,
            }),
            None => {}
        }
    }
}

/// The series that the newest fitting run of `heads` belongs to; `None` when no run fits.
pub fn series(heads: &[RunHead], options: &SeriesOptions) -> Option<RunSeries> {
    let mut heads: Vec<&RunHead> = heads.iter().collect();
    heads.sort_by_key(|h| (h.started_unix_ms, &h.id));
    let named = |head: &RunHead| match &options.branch {
        Branch::Named(name) => branch(head) == Some(name),
        Branch::OfNewest | Branch::All => true,
    };
    let fits = |head: &RunHead| {
        options.suite.as_ref().is_none_or(|s| *s == head.suite)
            && options.profile.as_ref().is_none_or(|p| *p == head.profile)
            && named(head)
    };
    let newest = *heads.iter().rev().find(|h| fits(h) && whole(h).is_none())?;
    let machine = machine_key(newest);
    let mut series = RunSeries {
        suite: newest.suite.clone(),
        profile: newest.profile.clone(),
        machine: machine.clone(),
        branch: (options.branch != Branch::All)
            .then(|| branch(newest).cloned())
            .flatten(),
        runs: Vec::new(),
        left_out: Vec::new(),
    };
    for head in heads.into_iter().filter(|h| h.suite == newest.suite) {
        let why = whole(head)
            .or_else(|| (head.profile != newest.profile).then_some("of another profile"))
            .or_else(|| (settings(head) != settings(newest)).then_some("with other overrides"))
            .or_else(|| (machine_key(head) != machine).then_some("of another machine or placement"))
            .or_else(|| {
                let other = options.branch != Branch::All && branch(head) != branch(newest);
                other.then_some("of another branch")
            });
        match why {
            Some(why) => series.leave_out(why, 1),
            None => series.runs.push(head.id.clone()),
        }
    }
    if let Some(last) = options.last
        && series.runs.len() > last
    {
        let earlier = series.runs.len() - last;
        series.runs.drain(..earlier);
        series.leave_out("earlier", earlier);
    }
    Some(series)
}

/// Why a run is of no use for a series.
fn whole(head: &RunHead) -> Option<&'static str> {
    match head.ended {
        Ended::Complete if head.pair.is_some() => Some("variants of a duel"),
        Ended::Complete => None,
        Ended::Interrupted => Some("interrupted"),
        Ended::BrokenOff => Some("broken off"),
        Ended::Unfinished => Some("unfinished"),
    }
}

fn branch(head: &RunHead) -> Option<&String> {
    head.source.as_ref().and_then(|s| s.branch.as_ref())
}

/// What flags changed in the plan. Bounds from the environment judge what was measured and do not change it.
fn settings(head: &RunHead) -> Vec<&String> {
    let mut settings: Vec<&String> = head.overrides.iter().filter(|o| !o.starts_with("BENCHMARK_")).collect();
    settings.sort();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Environment, Pair, Revision};

    fn head(number: i64, change: impl FnOnce(&mut RunHead)) -> RunHead {
        let mut head = RunHead {
            id: format!("r{number}"),
            suite: "s".to_owned(),
            about: None,
            profile: "quick".to_owned(),
            started_unix_ms: number,
            seconds: Some(1.0),
            ended: Ended::Complete,
            overrides: Vec::new(),
            seed: 1,
            warn_margin: 0.2,
            planned: Vec::new(),
            plan: serde_json::Value::Null,
            environment: Environment::default(),
            source: Some(Revision {
                commit: format!("c{number}"),
                branch: Some("main".to_owned()),
            }),
            placement: None,
            pair: None,
            notes: Vec::new(),
        };
        change(&mut head);
        head
    }

    fn on(name: Option<&str>) -> impl FnOnce(&mut RunHead) {
        let branch = name.map(str::to_owned);
        move |h| {
            h.source = Some(Revision {
                commit: "c".to_owned(),
                branch,
            })
        }
    }

    fn runs(heads: &[RunHead], options: &SeriesOptions) -> String {
        series(heads, options).map_or_else(|| "none".to_owned(), |s| s.runs.join(" "))
    }

    #[test]
    fn only_what_is_alike_is_one_series() {
        let heads = [
            head(9, |_| {}),
            head(1, |_| {}),
            head(2, |h| h.profile = "soak".to_owned()),
            head(3, |h| h.environment.cpu = "other".to_owned()),
            head(4, on(Some("feature"))),
            head(5, |h| h.overrides = vec!["--rate 5/s".to_owned()]),
            head(6, |h| h.overrides = vec!["BENCHMARK_LATENCY_MAX=2".to_owned()]),
            head(7, |h| h.ended = Ended::Interrupted),
            head(8, |h| {
                h.pair = Some(Pair {
                    partner: "r0".to_owned(),
                    label: "b".to_owned(),
                    first: false,
                    settings: Vec::new(),
                })
            }),
            head(10, |h| h.ended = Ended::Unfinished),
            head(0, |h| h.suite = "other".to_owned()),
        ];
        let found = series(&heads, &SeriesOptions::default()).unwrap();
        assert_eq!(
            (found.runs.join(" ").as_str(), found.branch.as_deref()),
            ("r1 r6 r9", Some("main"))
        );
        let left_out: Vec<String> = found.left_out.iter().map(|l| format!("{} {}", l.runs, l.why)).collect();
        assert_eq!(
            left_out.join(", "),
            "1 of another profile, 1 of another machine or placement, 1 of another branch, 1 with other overrides, \
             1 interrupted, 1 variants of a duel, 1 unfinished"
        );
    }

    #[test]
    fn a_branch_a_suite_and_a_number_can_be_asked_for() {
        let heads = [
            head(1, |_| {}),
            head(2, on(Some("feature"))),
            head(3, on(None)),
            head(4, |h| h.suite = "other".to_owned()),
            head(5, on(Some("feature"))),
        ];
        let with = |branch: Branch, suite: Option<&str>, last: Option<usize>| {
            let suite = suite.map(str::to_owned);
            let options = SeriesOptions {
                suite,
                branch,
                last,
                profile: None,
            };
            runs(&heads, &options)
        };
        assert_eq!(with(Branch::OfNewest, None, None), "r2 r5");
        assert_eq!(with(Branch::Named("main".to_owned()), None, None), "r4");
        assert_eq!(with(Branch::Named("main".to_owned()), Some("s"), None), "r1");
        assert_eq!(with(Branch::All, Some("s"), None), "r1 r2 r3 r5");
        assert_eq!(with(Branch::All, Some("s"), Some(2)), "r3 r5");
        assert_eq!(with(Branch::OfNewest, Some("none"), None), "none");
    }
}
