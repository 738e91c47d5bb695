//! From two records to rows: pairs up benchmarks and figures, asks for the effect, decides, sorts.

use super::decide::{Margin, decide};
use super::effect::Resampling;
use super::fail_on::{FailOn, Tolerated};
use super::gate::{Gate, Gates};
use super::noise::Design;
use super::notes;
use super::side::{Side, same, sample, unfit};
use super::words::Subject;
use super::{
    ComparedRow, ComparedRun, Decision, FigureId, MarginSource, Mismatch, Noise, NoiseBook, Role, RunComparison, Scale,
    advisory, mismatches,
};
use crate::metric::{Better, MetricKey, Statistic, definition};
use crate::record::{BenchmarkRecord, RunHead, RunRecord};
use crate::units::Unit;
use std::collections::BTreeMap;

/// How two runs are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// What people call the two sides; the run's id if absent.
    pub labels: (Option<String>, Option<String>),
    /// Whether trial n of one belongs to trial n of the other.
    pub paired: bool,
    /// The change that is tolerated, as a ratio; the default if absent.
    pub margin: Option<f64>,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Resamples.
    pub draws: u32,
    /// Seed of the resampling.
    pub seed: u64,
    /// The figures that decide, as "metric stat" such as "response_time p(50)"; the suite's or the default ones if empty.
    pub gate: Vec<String>,
    /// Plain thresholds beside them.
    pub fail_on: Vec<FailOn>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            labels: (None, None),
            paired: false,
            margin: None,
            confidence: 0.95,
            draws: 10_000,
            seed: 1,
            gate: Vec::new(),
            fail_on: Vec::new(),
        }
    }
}

/// The change that is tolerated where nobody says anything else.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// What holds for all rows of a comparison.
pub(super) struct Task<'a> {
    pub(super) a: &'a RunRecord,
    pub(super) b: &'a RunRecord,
    noise: &'a NoiseBook,
    pub(super) options: &'a CompareOptions,
    pub(super) resampling: Resampling,
    pub(super) gates: Gates,
    /// The tolerated change, and whether the user chose it.
    margin: (f64, bool),
    beware: Option<String>,
}

/// A benchmark with its two sides, either of which may be missing.
pub(super) struct Both<'a> {
    pub(super) name: &'a str,
    pub(super) a: Option<&'a BenchmarkRecord>,
    pub(super) b: Option<&'a BenchmarkRecord>,
    /// Why its figures must not be compared.
    pub(super) unfit: Option<String>,
}

/// Compares run b with run a.
pub fn compare(a: &RunRecord, b: &RunRecord, noise: &NoiseBook, options: &CompareOptions) -> RunComparison {
    let mismatches = mismatches(&a.run, &b.run);
    let task = Task::new(a, b, noise, options, &mismatches);
    let (benchmarks, mut notes) = notes::pair_up(a, b, &task.names());
    let mut rows = Vec::new();
    for both in &benchmarks {
        let from = rows.len();
        rows.extend(task.gates.list.iter().filter_map(|gate| task.gate(both, gate)));
        if rows.len() == from {
            match (&both.unfit, task.gates.list.first()) {
                (Some(why), Some(gate)) => {
                    rows.push(task.no_data(both.name, &gate.key, &gate.statistic, Role::Gate, why))
                }
                _ => notes.push(format!(
                    "{}: it has none of the figures that decide, so nothing is judged of it",
                    both.name
                )),
            }
        }
    }
    rows.extend(task.thresholds(&benchmarks));
    rows.extend(advisory::rows(&task, &benchmarks, &rows));
    notes.extend(notes::about(&task, &rows));
    sort(&mut rows);
    RunComparison {
        a: side(&a.run, &options.labels.0),
        b: side(&b.run, &options.labels.1),
        paired: options.paired,
        confidence: task.resampling.confidence,
        draws: task.resampling.draws,
        seed: options.seed,
        mismatches,
        rows,
        notes,
    }
}

fn side(head: &RunHead, label: &Option<String>) -> ComparedRun {
    ComparedRun {
        run: head.id.clone(),
        label: label.clone().unwrap_or_else(|| head.id.clone()),
        started_unix_ms: head.started_unix_ms,
        commit: head.source.as_ref().map(|source| source.commit.clone()),
    }
}

impl<'a> Task<'a> {
    fn new(
        a: &'a RunRecord,
        b: &'a RunRecord,
        noise: &'a NoiseBook,
        options: &'a CompareOptions,
        mismatches: &[Mismatch],
    ) -> Self {
        let of_suite = b.run.plan["suite"]["margin"].as_str();
        let of_suite = of_suite.and_then(|text| Unit::Ratio.parse(text).ok());
        let margin = options.margin.or(of_suite).filter(|m| m.is_finite() && *m >= 0.0);
        let differing: Vec<&str> = mismatches.iter().map(|m| m.what.as_str()).collect();
        Task {
            a,
            b,
            noise,
            options,
            resampling: Resampling {
                confidence: if options.confidence.is_finite() {
                    options.confidence.clamp(0.5, 0.9999)
                } else {
                    0.95
                },
                draws: options.draws.max(100),
                seed: options.seed,
            },
            gates: Gates::of(&options.gate, &b.run.plan),
            margin: (margin.unwrap_or(DEFAULT_MARGIN), margin.is_some()),
            // Runs whose trials were run in turn differ by what is compared.
            beware: (!differing.is_empty() && !options.paired)
                .then(|| format!("; not the same {}", differing.join(", "))),
        }
    }

    /// What people call the two sides.
    pub(super) fn names(&self) -> (String, String) {
        let name = |label: &Option<String>, run: &RunRecord| label.clone().unwrap_or_else(|| run.run.id.clone());
        let labels = &self.options.labels;
        (name(&labels.0, self.a), name(&labels.1, self.b))
    }

    /// What is known of the noise of a figure here.
    pub(super) fn noise(&self, benchmark: &str, key: &MetricKey, stat: &Statistic) -> Option<&'a Noise> {
        let tags: Vec<String> = key.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let id = |stat: String| FigureId {
            suite: self.b.run.suite.clone(),
            benchmark: benchmark.to_owned(),
            metric: key.metric.clone(),
            tags: tags.join(","),
            stat,
        };
        let exact = self.noise.get(&id(stat.to_string()));
        exact.or_else(|| {
            let by_other_name = self
                .noise
                .iter()
                .find(|(known, _)| **known == id(known.stat.clone()) && same(&known.stat, stat));
            by_other_name.map(|(_, noise)| noise)
        })
    }

    /// A row without anything in it but what it is about.
    pub(super) fn blank(&self, benchmark: &str, key: &MetricKey, stat: &Statistic, role: Role) -> ComparedRow {
        let metric = definition(&key.metric);
        let unit = metric.map_or(Unit::Count, |m| m.unit);
        ComparedRow {
            benchmark: benchmark.to_owned(),
            metric: key.metric.clone(),
            tags: key.tags.clone(),
            stat: stat.to_string(),
            unit: stat.definition().map_or(unit, |s| (s.unit)(unit)),
            better: metric.map_or(Better::Neutral, |m| m.better),
            role,
            a: None,
            b: None,
            trials_a: 0,
            trials_b: 0,
            scale: Scale::Ratio,
            effect: None,
            interval: None,
            margin: None,
            margin_source: if self.margin.1 {
                MarginSource::User
            } else {
                MarginSource::Default
            },
            visible: None,
            p: None,
            decision: Decision::NoData,
            words: String::new(),
        }
    }

    fn no_data(&self, benchmark: &str, key: &MetricKey, stat: &Statistic, role: Role, why: &str) -> ComparedRow {
        ComparedRow {
            words: format!("nothing to compare: {why}"),
            ..self.blank(benchmark, key, stat, role)
        }
    }

    /// The tolerated change on a row's scale. A ratio or a share of cores is tolerated in its own unit; another difference
    /// as a share of a.
    pub(super) fn margin_on(&self, scale: Scale, unit: Unit, a: f64) -> f64 {
        match (scale, unit) {
            (Scale::Ratio, _) | (_, Unit::Ratio | Unit::Cores) => self.margin.0,
            (Scale::Difference, _) => self.margin.0 * a.abs(),
        }
    }

    /// What happens to be known of a row's two sides: the values, or why there are none.
    fn sides(&self, both: &Both<'a>, key: &MetricKey, stat: &Statistic) -> Result<(Side<'a>, Side<'a>), String> {
        let (name_a, name_b) = self.names();
        if let Some(why) = &both.unfit {
            return Err(why.clone());
        }
        let side = |side: Option<&'a BenchmarkRecord>, name: &str| {
            let side = side.ok_or_else(|| format!("{name} does not have this benchmark"))?;
            Side::of(side, key, stat).ok_or_else(|| format!("{name} has no {key} {stat}, or too few samples for it"))
        };
        Ok((side(both.a, &name_a)?, side(both.b, &name_b)?))
    }

    /// Whether either side has this figure.
    fn known(&self, both: &Both<'_>, key: &MetricKey, stat: &Statistic) -> bool {
        [both.a, both.b]
            .into_iter()
            .flatten()
            .any(|side| Side::of(side, key, stat).is_some())
    }

    fn gate(&self, both: &Both<'a>, gate: &Gate) -> Option<ComparedRow> {
        let (key, stat) = (&gate.key, &gate.statistic);
        if !self.gates.explicit && !self.known(both, key, stat) {
            return None;
        }
        let (a, b) = match self.sides(both, key, stat) {
            Ok(sides) => sides,
            Err(why) => return Some(self.no_data(both.name, key, stat, Role::Gate, &why)),
        };
        let mut row = self.blank(both.name, key, stat, Role::Gate);
        let sample = sample(&a, &b, self.options.paired);
        let Some(mut effect) = sample.effect(&self.resampling) else {
            return Some(self.no_data(both.name, key, stat, Role::Gate, NO_PAIR));
        };
        row.better = a.figure.better;
        row.fill(&sample);
        let design = if sample.paired {
            Design::Pairs(row.trials_a)
        } else {
            Design::Apart(row.trials_a, row.trials_b)
        };
        let noise = self.noise(both.name, key, stat);
        let bound = |share: f64| noise.and_then(|n| n.bound(sample.scale, design, share));
        if let (None, Some(half)) = (effect.interval, bound(self.resampling.confidence)) {
            // A single trial has no spread of its own; the passport knows the figure's.
            let (centre, half) = (sample.scale.inward(effect.value), sample.scale.inward(half));
            effect.interval = Some((sample.scale.outward(centre - half), sample.scale.outward(centre + half)));
        }
        let margin = Margin {
            asked: self.margin_on(sample.scale, row.unit, row.a.unwrap_or(0.0)),
            by_user: self.margin.1,
            visible: bound(super::noise::VISIBLE),
        };
        row.decision = decide(row.better, sample.scale, effect, &margin, sample.size());
        let (bound, source) = margin.effective();
        (row.margin, row.margin_source, row.visible) = (Some(bound), source, margin.visible);
        (row.effect, row.interval) = (Some(effect.value), effect.interval);
        let needed = noise.filter(|_| row.decision == Decision::Underpowered && sample.scale == Scale::Ratio);
        row.words = row.subject(key, &sample).gate(
            effect,
            &margin,
            row.decision,
            needed.and_then(|n| n.pairs_for(margin.asked)),
        );
        if let (1, Some(own_a), Some(own_b)) = (sample.size(), a.figure.interval, b.figure.interval) {
            let show = |(low, high): (f64, f64)| format!("{} to {}", row.unit.show(low), row.unit.show(high));
            let own = format!("; within its trial a lies at {}, b at {}", show(own_a), show(own_b));
            row.words.push_str(&own);
        }
        self.warn(&mut row);
        Some(row)
    }

    /// Says beside every figure of runs that are not alike what they differ in.
    pub(super) fn warn(&self, row: &mut ComparedRow) {
        if let Some(beware) = &self.beware {
            row.words.push_str(beware);
        }
    }

    /// The rows of plain thresholds. A threshold over a figure that a benchmark has on neither side does not concern it,
    /// but one that concerns no benchmark at all is without data.
    fn thresholds(&self, benchmarks: &[Both<'a>]) -> Vec<ComparedRow> {
        let mut rows = Vec::new();
        for fail_on in &self.options.fail_on {
            let Some(key) = fail_on.key() else { continue };
            let stat = &fail_on.statistic;
            let mut concerned: Vec<&Both<'a>> = benchmarks
                .iter()
                .filter(|both| both.unfit.is_some() || self.known(both, &key, stat))
                .collect();
            if concerned.is_empty() {
                concerned = benchmarks.iter().collect();
            }
            rows.extend(concerned.into_iter().map(|both| self.threshold(both, &key, fail_on)));
        }
        rows
    }

    fn threshold(&self, both: &Both<'a>, key: &MetricKey, fail_on: &FailOn) -> ComparedRow {
        let stat = &fail_on.statistic;
        let (a, b) = match self.sides(both, key, stat) {
            Ok(sides) => sides,
            Err(why) => return self.no_data(both.name, key, stat, Role::Threshold, &why),
        };
        let mut row = self.blank(both.name, key, stat, Role::Threshold);
        // Plain medians, whether or not the trials are pairs.
        let sample = sample(&a, &b, false);
        row.better = a.figure.better;
        row.fill(&sample);
        let (Some(of_a), Some(of_b)) = (row.a, row.b) else {
            return self.no_data(both.name, key, stat, Role::Threshold, NO_PAIR);
        };
        let (scale, effect, tolerated) = match fail_on.by {
            // Of nothing, any change is infinitely many percent.
            Tolerated::Percent(percent) if of_a == 0.0 && of_b != 0.0 => {
                (Scale::Ratio, (of_b - of_a).signum() * f64::INFINITY, percent / 100.0)
            }
            Tolerated::Percent(percent) if of_a == 0.0 => (Scale::Ratio, 0.0, percent / 100.0),
            Tolerated::Percent(percent) => (Scale::Ratio, (of_b - of_a) / of_a.abs(), percent / 100.0),
            Tolerated::Absolute(amount) => (Scale::Difference, of_b - of_a, amount),
        };
        let worse_by = if row.better == Better::Higher { -effect } else { effect };
        row.decision = if worse_by > tolerated {
            Decision::Worse
        } else {
            Decision::Same
        };
        row.scale = scale;
        row.effect = effect.is_finite().then_some(effect);
        (row.margin, row.margin_source) = (Some(tolerated), MarginSource::User);
        let design = Design::Apart(row.trials_a, row.trials_b);
        let noise = self.noise(both.name, key, stat);
        row.visible = noise.and_then(|n| n.bound(scale, design, super::noise::VISIBLE));
        let subject = Subject {
            scale,
            ..row.subject(key, &sample)
        };
        row.words = subject.threshold(effect, tolerated, row.visible, &fail_on.to_string(), row.decision);
        self.warn(&mut row);
        row
    }
}

const NO_PAIR: &str = "no trial of one side belongs to a trial of the other";

impl ComparedRow {
    /// Puts the medians and the numbers of trials in.
    pub(super) fn fill(&mut self, sample: &super::effect::Sample) {
        self.scale = sample.scale;
        self.a = crate::judge::statistics::median(&sample.a);
        self.b = crate::judge::statistics::median(&sample.b);
        (self.trials_a, self.trials_b) = (sample.a.len() as u32, sample.b.len() as u32);
    }

    /// What its words speak of.
    pub(super) fn subject<'k>(&self, key: &'k MetricKey, sample: &super::effect::Sample) -> Subject<'k> {
        Subject {
            key,
            unit: self.unit,
            scale: sample.scale,
            paired: sample.paired,
            trials: sample.size(),
        }
    }

    /// By how much it is beyond what is tolerated, counted in what is tolerated.
    fn excess(&self) -> f64 {
        match (self.effect, self.margin) {
            (Some(effect), Some(margin)) if margin > 0.0 => effect.abs() / margin,
            (None, _) if self.decision == Decision::NoData => 0.0,
            _ => f64::INFINITY,
        }
    }
}

/// Worst first; within the same decision what decides before what is advice, and the largest excess first.
fn sort(rows: &mut [ComparedRow]) {
    let rank = |decision: Decision| match decision {
        Decision::Worse => 0,
        Decision::NoData => 1,
        Decision::Underpowered | Decision::Inconclusive { .. } => 2,
        Decision::Same => 3,
        Decision::Better => 4,
    };
    rows.sort_by(|x, y| {
        let place = |r: &ComparedRow| (rank(r.decision), r.role == Role::Advisory);
        place(x).cmp(&place(y)).then_with(|| y.excess().total_cmp(&x.excess()))
    });
}

/// By name, so that a benchmark is found without walking the list for each.
pub(super) fn by_name(run: &RunRecord) -> BTreeMap<&str, &BenchmarkRecord> {
    run.benchmarks.iter().map(|b| (b.name.as_str(), b)).collect()
}

/// The two records' own reasons not to be compared.
pub(super) fn unfit_of(a: (&str, &BenchmarkRecord), b: (&str, &BenchmarkRecord)) -> Option<String> {
    [a, b]
        .into_iter()
        .find_map(|(name, benchmark)| unfit(benchmark).map(|why| format!("of {name}, {why}")))
}

#[cfg(test)]
pub(super) mod tests;
