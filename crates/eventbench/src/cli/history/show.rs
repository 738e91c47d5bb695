//! `eventbench history [BENCH] [METRIC]`: how figures have moved from run to run.

use super::trends::{Found, Reader};
use super::{alert, series_file};
use crate::cli::report::options;
use crate::cli::{Failure, Global, out, stdout_color};
use crate::exit::Exit;
use crate::host::Machine;
use clap::Args;
use eventbench_core::host::Host as _;
use eventbench_core::judge::series::{Branch, SeriesOptions};
use eventbench_core::units::Unit;
use eventbench_report::{RenderOptions, history};
use serde::Serialize;
use std::path::PathBuf;

/// The version of the form of `--json`.
const JSON_VERSION: u32 = 1;

/// Arguments of `history` without a further command.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A benchmark; all of the history if absent
    #[arg(value_name = "BENCH")]
    pub(super) benchmark: Option<String>,
    /// A figure of it, such as 'response_time p(50)'; the main ones if absent
    #[arg(value_name = "METRIC")]
    pub(super) metric: Option<String>,
    /// Only runs of this suite
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only runs of this profile; that of the newest run if absent
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Only runs of this branch, or all; that of the newest run if absent
    #[arg(long, value_name = "NAME|all")]
    branch: Option<String>,
    /// Only the last N runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Look for new changes for the worse of the figures that decide, and exit with 1 if there are any
    #[arg(long)]
    alert: bool,
    /// A change is new when it lies in this many newest runs; at least 4
    #[arg(long, value_name = "N", default_value = "10", requires = "alert", value_parser = clap::value_parser!(u32).range(4..))]
    pub(super) within: u32,
    /// The least change that is an alert
    #[arg(long, value_name = "RATIO", default_value = "5%", requires = "alert", value_parser = ratio)]
    pub(super) min_change: f64,
    /// Look for changes in the columns of a CSV file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["benchmark", "metric", "alert", "suite", "profile", "branch", "last"])]
    series: Option<PathBuf>,
}

fn ratio(text: &str) -> Result<f64, String> {
    Unit::Ratio.parse(text).and_then(|r| {
        if r >= 0.0 {
            Ok(r)
        } else {
            Err("a change is not negative here".to_owned())
        }
    })
}

impl ShowArgs {
    pub(super) fn wanted(&self) -> SeriesOptions {
        SeriesOptions {
            suite: self.suite.clone(),
            profile: self.profile.clone(),
            branch: match self.branch.as_deref() {
                None => Branch::OfNewest,
                Some("all") => Branch::All,
                Some(name) => Branch::Named(name.to_owned()),
            },
            last: self.last.map(|n| n as usize),
        }
    }
}

/// How text is drawn here: as other reports, and in ASCII where the locale is another than UTF-8.
pub(super) fn drawing(global: &Global) -> RenderOptions {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| Machine.env(name).filter(|v| !v.is_empty()));
    RenderOptions {
        ascii: locale.is_some_and(|l| !l.to_ascii_lowercase().replace('-', "").contains("utf8")),
        ..options(stdout_color(), global.verbose > 0)
    }
}

/// Writes a value as the JSON of this command.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::environment)?;
    text.push('\n');
    out(text);
    Ok(())
}

#[derive(Serialize)]
struct Histories<'a> {
    version: u32,
    histories: &'a [Found],
}

/// How found trends are drawn.
type Draw = fn(&Found, &RenderOptions) -> String;

/// Runs the command.
pub(super) fn run(args: &ShowArgs, global: &Global) -> Result<Exit, Failure> {
    if let Some(file) = &args.series {
        return series_file::run(file, args.json, global);
    }
    let reader = Reader::open(global)?;
    if args.alert {
        return alert::run(args, &reader, global);
    }
    let wanted = args.wanted();
    let drawing = drawing(global);
    let (found, draw): (Vec<Found>, Draw) = match (&args.benchmark, &args.metric) {
        (None, _) => (reader.overview(&wanted)?, |f, o| {
            history::overview(&f.series, &f.trends, o)
        }),
        (Some(benchmark), None) => (vec![reader.benchmark(benchmark, &wanted)?], |f, o| {
            history::benchmark(&f.series, &f.trends, o)
        }),
        (Some(benchmark), Some(metric)) => (vec![reader.figure(benchmark, metric, &wanted)?], |f, o| {
            f.trends.iter().map(|t| history::figure(&f.series, t, o)).collect()
        }),
    };
    if args.json {
        json(&Histories {
            version: JSON_VERSION,
            histories: &found,
        })?;
    } else {
        let texts: Vec<String> = found.iter().map(|f| draw(f, &drawing)).collect();
        out(texts.join("\n"));
    }
    Ok(Exit::Ok)
}
