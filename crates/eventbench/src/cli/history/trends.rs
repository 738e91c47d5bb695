//! From the history to trends: which series a question is about, which of its results count, and which figures are shown.

use crate::cli::{Failure, Global};
use crate::exit::Exit;
use eventbench_core::judge::Verdict;
use eventbench_core::judge::change_points::ChangeOptions;
use eventbench_core::judge::compare::{figure_name, suite_gates};
use eventbench_core::judge::series::{Branch, RunSeries, SeriesOptions, series};
use eventbench_core::judge::trend::{Trend, TrendPoint};
use eventbench_core::metric::{Better, Kind, definition};
use eventbench_core::record::RunHead;
use eventbench_report::printable;
use eventbench_store::{History, Measured, StoredFigure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a benchmark's history shows beside the figures that decide: metric, statistic as it is kept, and whether a metric
/// with tags is meant.
const MAIN: [(&str, &str, bool); 8] = [
    ("response_time", "med", false),
    ("response_time", "p(95)", false),
    ("response_time", "p(99)", false),
    ("delivered.rate", "value", false),
    ("delivered.ratio", "value", false),
    ("lost", "value", false),
    ("cpu.per_event", "value", true),
    ("rss", "max", true),
];

/// Figures that an error names at most.
const MOST_NAMED: usize = 12;

/// Trends of one series.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    /// Its runs.
    pub series: RunSeries,
    /// The figures.
    pub trends: Vec<Trend>,
}

/// A history that is read.
pub(super) struct Reader {
    history: History,
    heads: Vec<RunHead>,
    measured: Vec<Measured>,
}

impl Reader {
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let history = History::open_existing(&global.history).map_err(Failure::environment)?;
        Ok(Self {
            heads: history.heads().map_err(Failure::environment)?,
            measured: history.measured().map_err(Failure::environment)?,
            history,
        })
    }

    /// Of every suite: each benchmark by the first figure that decides and that it has.
    pub(super) fn overview(&self, wanted: &SeriesOptions) -> Result<Vec<Found>, Failure> {
        let mut suites: Vec<&String> = Vec::new();
        for head in self.heads.iter().rev() {
            if !suites.contains(&&head.suite) && wanted.suite.as_ref().is_none_or(|s| *s == head.suite) {
                suites.push(&head.suite);
            }
        }
        let mut all = Vec::new();
        for suite in suites {
            let wanted = SeriesOptions {
                suite: Some(suite.clone()),
                ..wanted.clone()
            };
            let Some(mut series) = series(&self.heads, &wanted) else {
                continue;
            };
            let gates = self.gates(&series).0;
            let mut trends = Vec::new();
            let names: BTreeSet<&String> = self.of(&series).map(|m| &m.benchmark).collect();
            let mut names: Vec<&String> = names.into_iter().collect();
            names.sort_by_key(|name| self.of(&series).position(|m| m.benchmark == **name));
            for name in names {
                self.leave_out(&mut series, name);
                let main = self.shown(&series, name, &gates)?;
                for (figure, gate) in main {
                    let trend = self.trend(&series, name, &figure, gate)?;
                    if !trend.points.is_empty() {
                        trends.push(trend);
                        break;
                    }
                }
            }
            all.push(Found { series, trends });
        }
        if all.is_empty() {
            return Err(self.nothing(wanted, None));
        }
        Ok(all)
    }

    /// The main figures of a benchmark.
    pub(super) fn benchmark(&self, name: &str, wanted: &SeriesOptions) -> Result<Found, Failure> {
        let mut series = self.series_of(name, wanted)?;
        self.leave_out(&mut series, name);
        let gates = self.gates(&series).0;
        let mut trends = Vec::new();
        for (figure, gate) in self.shown(&series, name, &gates)? {
            trends.push(self.trend(&series, name, &figure, gate)?);
        }
        trends.retain(|t| !t.points.is_empty());
        Ok(Found { series, trends })
    }

    /// One figure of a benchmark.
    pub(super) fn figure(&self, name: &str, metric: &str, wanted: &SeriesOptions) -> Result<Found, Failure> {
        let mut series = self.series_of(name, wanted)?;
        self.leave_out(&mut series, name);
        let gates = self.gates(&series).0;
        let kept = self.kept(&series, name)?;
        // What was imported may have metrics of its own, which are taken as they are written.
        let as_kept = kept.iter().find(|f| written(f) == metric.trim()).cloned();
        let figure = match (figure_name(metric), as_kept) {
            (_, Some(figure)) => figure,
            (Ok((key, statistic)), None) => StoredFigure {
                tags: tags(&key.tags),
                metric: key.metric,
                stat: statistic.to_string(),
            },
            (Err(why), None) => {
                return Err(Failure::usage(miette::miette!(
                    "figure \"{}\": {why}",
                    printable(metric)
                )));
            }
        };
        let trend = self.trend(&series, name, &figure, gates.contains(&figure))?;
        if trend.points.is_empty() {
            let same: Vec<&StoredFigure> = kept.iter().filter(|f| f.metric == figure.metric).collect();
            let near: Vec<String> = if same.is_empty() { kept.iter().collect() } else { same }
                .into_iter()
                .take(MOST_NAMED)
                .map(|f| printable(&written(f)))
                .collect();
            return Err(Failure::usage(miette::miette!(
                "no run of {} has {}; there are {}",
                printable(name),
                printable(&written(&figure)),
                if near.is_empty() {
                    "no figures".to_owned()
                } else {
                    near.join(", ")
                }
            )));
        }
        Ok(Found {
            series,
            trends: vec![trend],
        })
    }

    /// The figures that decide, for the benchmarks of the series' newest run or the one of that name. A figure that the
    /// suite names and that a benchmark does not have is there without points; a default one is not there.
    pub(super) fn deciding(
        &self,
        name: Option<&str>,
        metric: Option<&str>,
        wanted: &SeriesOptions,
    ) -> Result<Found, Failure> {
        if let (Some(name), Some(metric)) = (name, metric) {
            return self.figure(name, metric, wanted);
        }
        let mut series = match name {
            Some(name) => self.series_of(name, wanted)?,
            None => series(&self.heads, wanted).ok_or_else(|| self.nothing(wanted, None))?,
        };
        let (gates, explicit) = self.gates(&series);
        let newest = series.runs.last().cloned();
        let names: Vec<&String> = match name {
            Some(name) => self
                .of(&series)
                .map(|m| &m.benchmark)
                .filter(|b| *b == name)
                .take(1)
                .collect(),
            None => self
                .measured
                .iter()
                .filter(|m| Some(&m.run) == newest.as_ref())
                .map(|m| &m.benchmark)
                .collect(),
        };
        let mut trends = Vec::new();
        for name in names {
            self.leave_out(&mut series, name);
            let before = trends.len();
            for gate in &gates {
                let trend = self.trend(&series, name, gate, true)?;
                if explicit || !trend.points.is_empty() {
                    trends.push(trend);
                }
            }
            if trends.len() == before
                && let Some(gate) = gates.first()
            {
                trends.push(self.trend(&series, name, gate, true)?);
            }
        }
        Ok(Found { series, trends })
    }

    fn series_of(&self, name: &str, wanted: &SeriesOptions) -> Result<RunSeries, Failure> {
        let with: BTreeSet<&String> = self
            .measured
            .iter()
            .filter(|m| m.benchmark == name)
            .map(|m| &m.run)
            .collect();
        if with.is_empty() {
            let known: BTreeSet<&str> = self.measured.iter().map(|m| m.benchmark.as_str()).collect();
            let known: Vec<String> = known.into_iter().map(printable).collect();
            return Err(Failure::usage(miette::miette!(
                "no benchmark \"{}\" in the history; there are {}",
                printable(name),
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        }
        let heads: Vec<RunHead> = self.heads.iter().filter(|h| with.contains(&h.id)).cloned().collect();
        series(&heads, wanted).ok_or_else(|| self.nothing(wanted, Some(name)))
    }

    fn nothing(&self, wanted: &SeriesOptions, benchmark: Option<&str>) -> Failure {
        let mut what = vec!["no run that was finished".to_owned()];
        what.extend(benchmark.map(|b| format!("with {b}")));
        what.extend(wanted.suite.as_ref().map(|s| format!("of suite {s}")));
        what.extend(wanted.profile.as_ref().map(|p| format!("of profile {p}")));
        if let Branch::Named(name) = &wanted.branch {
            what.push(format!("of branch {name}"));
        }
        Failure {
            exit: Exit::NoData,
            report: miette::miette!(
                "there is {} in the history; `eventbench report --list` shows what there is",
                printable(&what.join(" "))
            ),
        }
    }

    /// What was measured in the runs of a series.
    fn of<'a>(&'a self, series: &RunSeries) -> impl Iterator<Item = &'a Measured> + use<'a> {
        let runs: BTreeSet<String> = series.runs.iter().cloned().collect();
        self.measured.iter().filter(move |m| runs.contains(&m.run))
    }

    /// Counts the results of a benchmark that do not count.
    fn leave_out(&self, series: &mut RunSeries, name: &str) {
        let with = |verdict| {
            self.of(series)
                .filter(|m| m.benchmark == name && m.verdict == verdict)
                .count()
        };
        let (invalid, no_data) = (with(Verdict::Invalid), with(Verdict::NoData));
        series.leave_out("invalid", invalid);
        series.leave_out("without data", no_data);
    }

    /// The figures that decide, and whether the suite names them.
    fn gates(&self, series: &RunSeries) -> (Vec<StoredFigure>, bool) {
        let newest = self.heads.iter().find(|h| Some(&h.id) == series.runs.last());
        let (gates, explicit) = suite_gates(newest.map_or(&serde_json::Value::Null, |h| &h.plan));
        let gates = gates.into_iter().map(|g| StoredFigure {
            tags: tags(&g.key.tags),
            metric: g.key.metric,
            stat: g.statistic.to_string(),
        });
        (gates.collect(), explicit)
    }

    /// The figures that the newest run of a series keeps of a benchmark.
    fn kept(&self, series: &RunSeries, name: &str) -> Result<Vec<StoredFigure>, Failure> {
        match self.of(series).filter(|m| m.benchmark == name).last() {
            Some(newest) => self.history.figures(&newest.run, name).map_err(Failure::environment),
            None => Ok(Vec::new()),
        }
    }

    /// The figures to show of a benchmark, and whether they decide.
    fn shown(
        &self,
        series: &RunSeries,
        name: &str,
        gates: &[StoredFigure],
    ) -> Result<Vec<(StoredFigure, bool)>, Failure> {
        let kept = self.kept(series, name)?;
        let mut shown: Vec<(StoredFigure, bool)> = gates.iter().map(|g| (g.clone(), true)).collect();
        for (metric, stat, tagged) in MAIN {
            for figure in kept
                .iter()
                .filter(|f| f.metric == metric && f.stat == stat && f.tags.is_empty() != tagged)
            {
                let mut figure = figure.clone();
                if figure.stat == "med" {
                    "p(50)".clone_into(&mut figure.stat);
                }
                if shown.iter().all(|(s, _)| *s != figure) {
                    shown.push((figure, false));
                }
            }
        }
        // Imported figures of other tools: whatever there is, rather than nothing.
        let known: BTreeSet<&str> = MAIN.iter().map(|m| m.0).collect();
        if kept.iter().all(|f| !known.contains(f.metric.as_str())) {
            shown.extend(kept.into_iter().map(|f| (f, false)));
        }
        Ok(shown)
    }

    fn trend(&self, series: &RunSeries, name: &str, figure: &StoredFigure, gate: bool) -> Result<Trend, Failure> {
        let heads: HashMap<&str, &RunHead> = self.heads.iter().map(|h| (h.id.as_str(), h)).collect();
        let counts: BTreeSet<&str> = self
            .of(series)
            .filter(|m| m.benchmark == name && !matches!(m.verdict, Verdict::Invalid | Verdict::NoData))
            .map(|m| m.run.as_str())
            .collect();
        let stored = self.history.points(name, figure).map_err(Failure::environment)?;
        let metric = definition(&figure.metric);
        let unit = stored.first().map(|p| p.unit).or(metric.map(|m| m.unit));
        let points = stored
            .into_iter()
            .filter(|p| counts.contains(p.run.as_str()))
            .filter_map(|p| {
                let head = heads.get(p.run.as_str())?;
                Some(TrendPoint {
                    started_unix_ms: head.started_unix_ms,
                    commit: head.source.as_ref().map(|s| s.commit.clone()),
                    run: p.run,
                    value: p.value,
                    range: p.range,
                    trials: p.trials,
                })
            })
            .collect();
        let trend = Trend {
            suite: series.suite.clone(),
            benchmark: name.to_owned(),
            metric: figure.metric.clone(),
            tags: figure.tags.clone(),
            stat: figure.stat.clone(),
            unit: unit.unwrap_or(eventbench_core::units::Unit::Count),
            better: match metric {
                // More samples are better whatever they are samples of.
                Some(m) if figure.stat == "count" && m.kind != Kind::Count => Better::Higher,
                Some(m) => m.better,
                None => Better::Neutral,
            },
            gate,
            points,
            changes: Vec::new(),
        };
        Ok(trend.judged(&ChangeOptions::default()))
    }
}

/// A figure as people write it.
fn written(figure: &StoredFigure) -> String {
    match figure.tags.as_str() {
        "" => format!("{} {}", figure.metric, figure.stat),
        tags => format!("{}{{{tags}}} {}", figure.metric, figure.stat),
    }
}

/// Tags as the history keeps them.
fn tags(tags: &BTreeMap<String, String>) -> String {
    let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    tags.join(",")
}
