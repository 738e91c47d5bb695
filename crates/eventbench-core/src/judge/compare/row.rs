//! What a comparison comes to: one row a figure, worst first.

use super::Mismatch;
use crate::judge::Verdict;
use crate::metric::Better;
use crate::units::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Two runs held against each other: a is the earlier one, the baseline or the first variant, b the one that is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunComparison {
    /// What is compared with.
    pub a: ComparedRun,
    /// What is judged.
    pub b: ComparedRun,
    /// Whether trial n of a was run beside trial n of b, which cancels what both had in common.
    pub paired: bool,
    /// Confidence of every interval here, such as 0.95.
    pub confidence: f64,
    /// Resamples behind each interval.
    pub draws: u32,
    /// Seed of the resampling.
    pub seed: u64,
    /// Differences of machine, versions and plan. Not empty only where they were allowed, or where they are what is compared.
    pub mismatches: Vec<Mismatch>,
    /// The figures, worst first.
    pub rows: Vec<ComparedRow>,
    /// What a careful reader should know.
    pub notes: Vec<String>,
}

impl RunComparison {
    /// What it comes to: the highest of its gating rows. Nothing to gate by is no data, never a pass.
    pub fn verdict(&self) -> Verdict {
        let mut gates = self.rows.iter().filter(|r| r.role != Role::Advisory).peekable();
        if gates.peek().is_none() {
            return Verdict::NoData;
        }
        Verdict::highest(gates.map(|r| r.decision.verdict()))
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// The run's id.
    pub run: String,
    /// What people call it: a baseline's name, a variant, or the id.
    pub label: String,
    /// Its start, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// Which state of the source it was, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedRow {
    /// The benchmark.
    pub benchmark: String,
    /// The metric's id.
    pub metric: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What was asked of it, such as `p(50)`.
    pub stat: String,
    /// The unit of `a` and `b`, and of a difference.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// Whether it decides.
    pub role: Role,
    /// Median over the trials of a.
    pub a: Option<f64>,
    /// Median over the trials of b.
    pub b: Option<f64>,
    /// Trials of a with a value.
    pub trials_a: u32,
    /// Trials of b with a value.
    pub trials_b: u32,
    /// What `effect`, `interval`, `margin` and `visible` are counted in.
    pub scale: Scale,
    /// By how much b differs from a: positive is more, not worse.
    pub effect: Option<f64>,
    /// Interval of the effect at the comparison's confidence.
    pub interval: Option<(f64, f64)>,
    /// The change that is tolerated in the bad direction.
    pub margin: Option<f64>,
    /// Where the margin comes from.
    pub margin_source: MarginSource,
    /// The smallest change that is visible with so many trials on this machine, from its noise passport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<f64>,
    /// Two-sided p-value of no change, where it is computed; for advisory rows corrected by Holm's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// What follows.
    pub decision: Decision,
    /// The decision in words, with what to do next where there is something to do.
    pub words: String,
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One of the few figures that decide, by interval and margin.
    Gate,
    /// A plain threshold that the user has set (`--fail-on`).
    Threshold,
    /// Shown, corrected for the number of such rows, and without a say.
    Advisory,
}

/// What an effect is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// b / a − 1: 0.1 is 10 % more.
    Ratio,
    /// b − a in the figure's unit, where a ratio means nothing (zeros, overheads, ratios).
    Difference,
}

/// Where a margin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarginSource {
    /// The user's, from a flag or the suite.
    User,
    /// The tool's default.
    Default,
    /// The measured noise, being larger than what was asked for.
    Noise,
}

/// What follows from a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Decision {
    /// The whole interval lies beyond the margin in the bad direction.
    Worse,
    /// The whole interval lies beyond the margin in the good direction.
    Better,
    /// The whole interval lies within the margin in the bad direction.
    Same,
    /// The interval straddles the margin.
    Inconclusive {
        /// About how many more trials a side would decide it, where that can be said.
        more_trials: Option<u32>,
    },
    /// The margin asked for is smaller than what can be seen here.
    Underpowered,
    /// One side has no value; never a pass.
    NoData,
}

impl Decision {
    /// What it counts as.
    pub fn verdict(self) -> Verdict {
        match self {
            Decision::Better | Decision::Same => Verdict::Pass,
            Decision::Inconclusive { .. } | Decision::Underpowered => Verdict::Warn,
            Decision::NoData => Verdict::NoData,
            Decision::Worse => Verdict::Fail,
        }
    }

    /// The word that reports use.
    pub fn word(self) -> &'static str {
        match self {
            Decision::Worse => "WORSE",
            Decision::Better => "BETTER",
            Decision::Same => "SAME",
            Decision::Inconclusive { .. } => "INCONCLUSIVE",
            Decision::Underpowered => "UNDERPOWERED",
            Decision::NoData => "NO DATA",
        }
    }
}
