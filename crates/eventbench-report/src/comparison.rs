//! A comparison, ready to be shown: the verdict in words, every row as text, computed once for all formats. And the
//! formats in which a comparison stands by itself.

mod csv;
mod json;

use crate::text::utc;
use crate::view::DASH;
use crate::{RenderOptions, ReportError, markdown, terminal};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::{ComparedRow, ComparedRun, Decision, MarginSource, Role, RunComparison, Scale};
use eventbench_core::metric::{Better, MetricKey};
use eventbench_core::units::{Unit, digits};
use serde::Serialize;

/// A format of a comparison.
pub struct ComparisonReport {
    /// The name that `-o NAME=FILE` takes.
    pub name: &'static str,
    /// Renders it: the same bytes for the same comparison and options.
    pub render: fn(&RunComparison, &RenderOptions) -> Result<Vec<u8>, ReportError>,
}

/// Every format of a comparison. One line each.
pub const COMPARISON_REPORTS: &[ComparisonReport] = &[
    ComparisonReport {
        name: "terminal",
        render: terminal::render_comparison,
    },
    ComparisonReport {
        name: "markdown",
        render: markdown::render_comparison,
    },
    ComparisonReport {
        name: "json",
        render: json::render,
    },
    ComparisonReport {
        name: "csv",
        render: csv::render,
    },
];

/// A comparison, ready to be shown.
#[derive(Debug, Clone, Serialize)]
pub struct ComparisonView {
    /// Its verdict.
    pub verdict: Verdict,
    /// The verdict's word.
    pub word: &'static str,
    /// The verdict in a sentence, with the row that it hangs on.
    pub sentence: String,
    /// What is compared with.
    pub a: SideView,
    /// What is judged.
    pub b: SideView,
    /// How it was computed.
    pub method: String,
    /// Whether trials were run in turn, so that what differs is what is compared.
    pub paired: bool,
    /// Differences of machine, versions and plan: (what, a, b).
    pub mismatches: Vec<(String, String, String)>,
    /// Remarks.
    pub notes: Vec<String>,
    /// The figures: those that decide first, worst first.
    pub rows: Vec<ComparedRowView>,
    /// Rows without a say and without a change that is certain, in words; empty where there are none.
    pub unremarkable: String,
}

/// One side.
#[derive(Debug, Clone, Serialize)]
pub struct SideView {
    /// What people call it.
    pub label: String,
    /// That, where it is not the run's id, with the run, its start, and the commit.
    pub whole: String,
}

/// One figure on both sides.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedRowView {
    /// The benchmark.
    pub benchmark: String,
    /// The metric with its tags, and the statistic.
    pub figure: String,
    /// The value of a.
    pub a: String,
    /// The value of b.
    pub b: String,
    /// The trials behind each.
    pub trials: (String, String),
    /// By how much b differs.
    pub change: String,
    /// The interval of that.
    pub interval: String,
    /// What is tolerated.
    pub margin: String,
    /// Where that comes from, in a word; empty where nobody has to be told.
    pub margin_source: &'static str,
    /// The smallest change that is visible here; empty where it is not known.
    pub visible: String,
    /// What the row is for, in a word.
    pub role: &'static str,
    /// The decision's word.
    pub word: &'static str,
    /// The decision in words.
    pub words: String,
    /// Whether it has a say in the verdict.
    pub decides: bool,
    /// Whether it is worth a look: it decides, or it has certainly changed.
    pub remarkable: bool,
}

impl ComparisonView {
    /// Computes everything.
    pub fn of(comparison: &RunComparison) -> ComparisonView {
        let verdict = comparison.verdict();
        let (deciding, advisory): (Vec<_>, Vec<_>) = comparison.rows.iter().partition(|r| r.role != Role::Advisory);
        ComparisonView {
            verdict,
            word: verdict.word(),
            sentence: sentence(verdict, &deciding),
            a: side(&comparison.a),
            b: side(&comparison.b),
            method: method(comparison),
            paired: comparison.paired,
            mismatches: comparison
                .mismatches
                .iter()
                .map(|m| (m.what.clone(), m.a.clone(), m.b.clone()))
                .collect(),
            notes: comparison.notes.clone(),
            unremarkable: unremarkable(&advisory),
            rows: deciding.into_iter().chain(advisory).map(row).collect(),
        }
    }
}

fn side(run: &ComparedRun) -> SideView {
    let commit = run.commit.as_ref().map(|c| {
        let short: String = c.chars().take(12).collect();
        format!(", commit {short}")
    });
    let name = if run.label == run.run {
        String::new()
    } else {
        format!("{}, ", run.label)
    };
    SideView {
        label: run.label.clone(),
        whole: format!(
            "{name}run {} of {}{}",
            run.run,
            utc(run.started_unix_ms),
            commit.unwrap_or_default()
        ),
    }
}

fn method(c: &RunComparison) -> String {
    let way = if c.paired {
        "Trials were run in turn and are compared pair by pair"
    } else {
        "The medians over the trials of each side are compared"
    };
    format!(
        "{way}; intervals at {} confidence from {} resamples (seed {}).",
        Unit::Ratio.show(c.confidence),
        Unit::Count.show(f64::from(c.draws)),
        c.seed
    )
}

/// Whether a row has certainly changed.
fn changed(row: &ComparedRow) -> bool {
    matches!(row.decision, Decision::Worse | Decision::Better)
}

fn unremarkable(advisory: &[&ComparedRow]) -> String {
    let missing = advisory.iter().filter(|r| r.decision == Decision::NoData).count();
    let same = advisory.iter().filter(|r| !changed(r)).count() - missing;
    let figures = |n: usize| if n == 1 { "figure" } else { "figures" };
    let mut parts = Vec::new();
    if same > 0 {
        parts.push(format!(
            "{same} further {} without a change that is certain",
            figures(same)
        ));
    }
    if missing > 0 {
        parts.push(format!(
            "{missing} further {} without data on one side",
            figures(missing)
        ));
    }
    parts.join(", ")
}

/// The verdict in words, with the row that it hangs on.
fn sentence(verdict: Verdict, deciding: &[&ComparedRow]) -> String {
    let of = |is: fn(&Decision) -> bool| deciding.iter().copied().filter(|r| is(&r.decision)).collect::<Vec<_>>();
    let total = deciding.len();
    let count = |rows: &[&ComparedRow], is: &str, are: &str| {
        let (noun, verb) = (
            if total == 1 {
                "deciding figure"
            } else {
                "deciding figures"
            },
            if rows.len() == 1 { is } else { are },
        );
        format!("{} of {total} {noun} {verb}", rows.len())
    };
    let lead = |rows: &[&ComparedRow]| rows.first().map(|r| format!("; {}", told(r))).unwrap_or_default();
    let missing = of(|d| matches!(d, Decision::NoData));
    let better = of(|d| matches!(d, Decision::Better));
    match verdict {
        _ if total == 0 => "no data: no figure decides, so there is nothing to judge by".to_owned(),
        Verdict::Fail | Verdict::Invalid => {
            let worse = of(|d| matches!(d, Decision::Worse));
            let blind = if missing.is_empty() {
                String::new()
            } else {
                format!(", and {} without data", missing.len())
            };
            format!(
                "{}: {}{blind}{}",
                pace(&worse, "slower", "worse"),
                count(&worse, "is worse", "are worse"),
                lead(&worse)
            )
        }
        Verdict::NoData => format!(
            "no data: {}{}",
            count(&missing, "has no data on one side", "have no data on one side"),
            missing
                .first()
                .map(|r| format!("; {}: {}", named(r), r.words))
                .unwrap_or_default()
        ),
        Verdict::Warn => {
            let open = of(|d| matches!(d, Decision::Inconclusive { .. } | Decision::Underpowered));
            format!(
                "cannot tell: {}{}",
                count(&open, "is undecided", "are undecided"),
                lead(&open)
            )
        }
        Verdict::Pass if better.is_empty() => format!(
            "no change beyond the margin: {}",
            count(&of(|d| matches!(d, Decision::Same)), "lies within it", "lie within it")
        ),
        Verdict::Pass => format!(
            "{}: {}, none worse{}",
            pace(&better, "faster", "better"),
            count(&better, "is better", "are better"),
            lead(&better)
        ),
    }
}

/// "slower" where all of it is about speed, else "worse".
fn pace(rows: &[&ComparedRow], speed: &'static str, other: &'static str) -> &'static str {
    let speedy = |r: &&ComparedRow| match r.unit {
        Unit::Nanoseconds => r.better == Better::Lower && !r.metric.starts_with("cpu"),
        Unit::PerSecond => r.better == Better::Higher,
        _ => false,
    };
    if rows.iter().all(speedy) { speed } else { other }
}

fn named(row: &ComparedRow) -> String {
    format!("{} of {}", figure(row), row.benchmark)
}

/// A row in words: the figure, its change, the interval and the margin.
fn told(row: &ComparedRow) -> String {
    let mut text = format!("{} {}", named(row), change(row));
    if row.interval.is_some() {
        text.push_str(&format!(" ({})", interval(row)));
    }
    if row.margin.is_some() {
        text.push_str(&format!(", margin {}", margin(row)));
    }
    match row.decision {
        Decision::Inconclusive { more_trials: Some(n) } => {
            let trials = if n == 1 { "trial" } else { "trials" };
            text.push_str(&format!("; about {n} more {trials} a side would decide it"));
        }
        Decision::Underpowered => {
            if let Some(visible) = row.visible {
                text.push_str(&format!(
                    "; the smallest change visible here is {}",
                    amount(row, visible)
                ));
            }
        }
        _ => {}
    }
    text
}

fn figure(row: &ComparedRow) -> String {
    let key = MetricKey {
        metric: row.metric.clone(),
        tags: row.tags.clone(),
    };
    // Of what has one value there is nothing else to ask.
    match row.stat.as_str() {
        "value" => key.to_string(),
        stat => format!("{key} {stat}"),
    }
}

/// A size of change, with the sign of less where it is that.
fn amount(row: &ComparedRow, value: f64) -> String {
    let unit = match row.scale {
        Scale::Ratio => Unit::Ratio,
        Scale::Difference => row.unit,
    };
    minus(&unit.show(value))
}

/// A number with the sign that does not look like a dash.
fn minus(number: &str) -> String {
    number.replace('-', "−")
}

fn change(row: &ComparedRow) -> String {
    match row.effect {
        Some(effect) if effect > 0.0 => format!("+{}", amount(row, effect)),
        Some(effect) => amount(row, effect),
        None => DASH.to_owned(),
    }
}

fn interval(row: &ComparedRow) -> String {
    let Some((low, high)) = row.interval else {
        return String::new();
    };
    match row.scale {
        // The unit once is enough where it is the same for both ends.
        Scale::Ratio if low.is_finite() && high.is_finite() => {
            minus(&format!("{} to {} %", digits(low * 100.0), digits(high * 100.0)))
        }
        _ => format!("{} to {}", amount(row, low), amount(row, high)),
    }
}

fn margin(row: &ComparedRow) -> String {
    row.margin.map_or_else(|| DASH.to_owned(), |m| amount(row, m))
}

fn value(row: &ComparedRow, side: Option<f64>) -> String {
    side.map_or_else(|| DASH.to_owned(), |v| row.unit.show(v))
}

fn trials(n: u32) -> String {
    format!("{n} {}", if n == 1 { "trial" } else { "trials" })
}

fn row(row: &ComparedRow) -> ComparedRowView {
    let decides = row.role != Role::Advisory;
    ComparedRowView {
        benchmark: row.benchmark.clone(),
        figure: figure(row),
        a: value(row, row.a),
        b: value(row, row.b),
        trials: (trials(row.trials_a), trials(row.trials_b)),
        change: change(row),
        interval: interval(row),
        margin: margin(row),
        margin_source: match row.margin_source {
            _ if row.margin.is_none() => "",
            MarginSource::User => "",
            MarginSource::Default => "default",
            MarginSource::Noise => "noise",
        },
        visible: row.visible.map(|v| amount(row, v)).unwrap_or_default(),
        role: match row.role {
            Role::Gate => "gate",
            Role::Threshold => "threshold",
            Role::Advisory => "advisory",
        },
        word: row.decision.word(),
        words: row.words.clone(),
        decides,
        remarkable: decides || changed(row),
    }
}

#[cfg(test)]
mod tests;
