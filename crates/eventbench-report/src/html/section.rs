//! A benchmark's part of the page: its rows, with the charts and tables that only this page has.

use super::{tone, word_tone};
use crate::advice::Advice;
use crate::breakdown::{CauseRow, HopRow, causes, hops};
use crate::svg;
use crate::view::{LimitRow, Row};
use eventbench_core::record::{BenchmarkRecord, TrialRecord};
use eventbench_core::units::Unit;
use serde::Serialize;

/// Columns of a timeline: the first trial's in more detail than the others', which are folded away.
const COLUMNS: usize = 430;
const COLUMNS_FOLDED: usize = 215;

#[derive(Serialize)]
pub(super) struct Section<'a> {
    row: &'a Row,
    tone: &'static str,
    /// What the overview sorts by: the verdict's weight, then the numbers behind the texts.
    order: u8,
    overview: Vec<Cell>,
    limits: Vec<LimitCell<'a>>,
    checks: Vec<(&'a str, &'static str, &'a str, &'static str)>,
    advice: Vec<&'a Advice>,
    percentiles: String,
    histogram: String,
    timelines: Vec<Timeline>,
    hops: Vec<HopRow>,
    waterfall: String,
    causes: Vec<CauseRow>,
    causes_of_streams: bool,
    grade: Option<Grade<'a>>,
}

/// A text with the number that it stands for, for sorting.
#[derive(Serialize)]
struct Cell {
    text: String,
    value: Option<f64>,
}

#[derive(Serialize)]
struct LimitCell<'a> {
    row: &'a LimitRow,
    tone: &'static str,
    samples: String,
    picture: String,
}

#[derive(Serialize)]
struct Timeline {
    label: String,
    chart: String,
    marks: Vec<String>,
}

#[derive(Serialize)]
struct Grade<'a> {
    grade: &'a str,
    of: &'a str,
    scale: &'a str,
}

impl<'a> Section<'a> {
    pub(super) fn of(row: &'a Row, b: &'a BenchmarkRecord, advice: &'a [Advice]) -> Section<'a> {
        let hops = hops(b);
        let causes = causes(b);
        Section {
            row,
            tone: tone(row.verdict),
            order: row.verdict as u8,
            overview: overview(row, b),
            limits: row
                .limits
                .iter()
                .zip(&b.limits)
                .map(|(row, limit)| LimitCell {
                    row,
                    tone: tone(limit.outcome),
                    samples: Unit::Count.show(limit.samples as f64),
                    picture: svg::bullet(limit),
                })
                .collect(),
            checks: row
                .checks
                .iter()
                .map(|(what, holds, detail)| (what.as_str(), *holds, detail.as_str(), word_tone(holds)))
                .collect(),
            advice: advice.iter().filter(|a| a.benchmark == b.name).collect(),
            percentiles: svg::percentiles(b).map(|c| c.inline()).unwrap_or_default(),
            histogram: svg::histogram(b).map(|c| c.inline()).unwrap_or_default(),
            timelines: timelines(b),
            waterfall: svg::waterfall(&hops).map(|c| c.inline()).unwrap_or_default(),
            hops,
            causes_of_streams: causes.iter().any(|c| !c.stream.is_empty()),
            causes,
            grade: b.grade.as_ref().map(|g| Grade {
                grade: g.grade.as_deref().unwrap_or("–"),
                of: &g.of,
                scale: &g.scale,
            }),
        }
    }
}

fn overview(row: &Row, b: &BenchmarkRecord) -> Vec<Cell> {
    let value = |metric: &str, stat: &str| b.figure(metric, &[], stat).and_then(|f| f.value);
    let response = row.times.iter().find(|t| t.of == "response time");
    let text = |of: fn(&crate::view::Times) -> &String| response.map_or_else(|| "–".to_owned(), |t| of(t).clone());
    let time = |stat: &str, text: String| Cell {
        text,
        value: value("response_time", stat),
    };
    let lost = b
        .trials
        .iter()
        .filter(|t| t.variant.is_empty())
        .map(|t| t.ledger.total.lost());
    vec![
        time("mean", text(|t| &t.mean)),
        time("med", text(|t| &t.med)),
        time("p(95)", text(|t| &t.p95)),
        time("p(99)", text(|t| &t.p99)),
        time("max", text(|t| &t.max)),
        Cell {
            text: row.lost.clone(),
            value: Some(lost.sum::<u64>() as f64),
        },
        Cell {
            text: row.rate.clone(),
            value: value("delivered.rate", "value"),
        },
    ]
}

fn timelines(b: &BenchmarkRecord) -> Vec<Timeline> {
    let own: Vec<&TrialRecord> = b.trials.iter().filter(|t| t.variant.is_empty()).collect();
    let drawn = own.iter().enumerate().filter_map(|(i, trial)| {
        let chart = svg::timeline(trial, if i == 0 { COLUMNS } else { COLUMNS_FOLDED })?;
        Some(Timeline {
            label: format!("trial {} of {}", trial.number, own.len()),
            chart: chart.inline(),
            marks: trial.marks.iter().map(svg::told).collect(),
        })
    });
    drawn.collect()
}
