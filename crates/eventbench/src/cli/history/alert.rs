//! `eventbench history --alert`: whether the level of a figure that decides has lately become worse.

use super::show::{ShowArgs, drawing, json};
use super::trends::{Found, Reader};
use crate::cli::{Failure, Global, out};
use crate::exit::Exit;
use eventbench_core::judge::compare::Gate;
use eventbench_core::judge::trend::{Alert, AlertOptions, Trend, TrendChange};
use eventbench_report::{ascii_text, history, printable};
use serde::Serialize;

/// What it comes to, for programs.
#[derive(Serialize)]
struct Alerts<'a> {
    version: u32,
    /// "fail", "no_data" or "pass".
    verdict: &'static str,
    within: usize,
    min_change: f64,
    worse: Vec<Worse<'a>>,
    too_few: Vec<TooFew<'a>>,
    series: &'a eventbench_core::judge::series::RunSeries,
}

#[derive(Serialize)]
struct Worse<'a> {
    benchmark: &'a str,
    figure: String,
    change: &'a TrendChange,
    /// The level of now.
    level: f64,
}

#[derive(Serialize)]
struct TooFew<'a> {
    benchmark: &'a str,
    figure: String,
    runs: usize,
    needed: Option<usize>,
}

pub(super) fn run(args: &ShowArgs, reader: &Reader, global: &Global) -> Result<Exit, Failure> {
    if let Some(metric) = &args.metric {
        // What has no bad direction would never be an alert, and so a pass in silence.
        Gate::parse(metric).map_err(|e| Failure::usage(miette::miette!("{e}")))?;
    }
    let options = AlertOptions {
        within: args.within as usize,
        min_change: args.min_change,
        ..AlertOptions::default()
    };
    let found = reader.deciding(args.benchmark.as_deref(), args.metric.as_deref(), &args.wanted())?;
    let (mut worse, mut too_few) = (Vec::new(), Vec::new());
    for trend in &found.trends {
        let benchmark = trend.benchmark.as_str();
        match trend.alert(&options) {
            Alert::Fine => {}
            Alert::Worse { change, level } => worse.push(Worse {
                benchmark,
                figure: trend.name(),
                change,
                level,
            }),
            Alert::TooFew { needed } => too_few.push(TooFew {
                benchmark,
                figure: trend.name(),
                runs: trend.points.len(),
                needed,
            }),
        }
    }
    let (exit, verdict) = if !worse.is_empty() {
        (Exit::Failed, "fail")
    } else if !too_few.is_empty() || found.trends.is_empty() {
        (Exit::NoData, "no_data")
    } else {
        (Exit::Ok, "pass")
    };
    let alerts = Alerts {
        version: 1,
        verdict,
        within: options.within,
        min_change: options.min_change,
        worse,
        too_few,
        series: &found.series,
    };
    if args.json {
        json(&alerts)?;
    } else {
        let text = text(&alerts, &found);
        out(if drawing(global).ascii {
            text.lines().map(|l| ascii_text(l) + "\n").collect()
        } else {
            text
        });
    }
    Ok(exit)
}

fn text(alerts: &Alerts<'_>, found: &Found) -> String {
    let mut text = String::new();
    for worse in &alerts.worse {
        let trend = found
            .trends
            .iter()
            .find(|t| t.benchmark == worse.benchmark && t.name() == worse.figure);
        let Some(trend) = trend else { continue };
        let now = if worse.level == worse.change.after {
            String::new()
        } else {
            format!(", now {}", trend.unit.show(worse.level))
        };
        text.push_str(&format!(
            "WORSE  {}  {}  {}{now}\n",
            printable(worse.benchmark),
            printable(&worse.figure),
            history::since(trend.unit, worse.change)
        ));
    }
    for few in &alerts.too_few {
        let needed = few.needed.map_or_else(
            || "no number would do".to_owned(),
            |n| format!("at least {n} are needed"),
        );
        text.push_str(&format!(
            "NO DATA  {}  {}  {} runs of this machine, branch and profile; {needed}\n",
            printable(few.benchmark),
            printable(&few.figure),
            few.runs
        ));
    }
    if found.trends.is_empty() {
        text.push_str("NO DATA  the newest run has no benchmark\n");
    }
    let judged: Vec<&Trend> = found
        .trends
        .iter()
        .filter(|t| {
            alerts
                .too_few
                .iter()
                .all(|f| f.benchmark != t.benchmark || f.figure != t.name())
        })
        .collect();
    if alerts.worse.is_empty() && !judged.is_empty() {
        let series = alerts.series;
        let branch = series
            .branch
            .as_ref()
            .map_or_else(String::new, |b| format!(", branch {b}"));
        text.push_str(&format!(
            "No change for the worse of {} % or more in the newest {} runs: {} {} of {} ({}){branch}, {} runs\n",
            eventbench_core::units::digits(alerts.min_change * 100.0),
            alerts.within,
            judged.len(),
            if judged.len() == 1 { "figure" } else { "figures" },
            printable(&series.suite),
            printable(&series.profile),
            series.runs.len()
        ));
    }
    text
}
