//! Noise passports: from the two records of A against A to what is kept, and how it is shown.

use crate::cli::list::table;
use eventbench_core::judge::compare::{
    CompareOptions, ComparedRow, Decision, FigureId, Noise, NoiseBook, Role, Session, compare,
};
use eventbench_core::judge::figure;
use eventbench_core::judge::statistics::{mean, median, stddev};
use eventbench_core::metric::{MetricKey, Statistic, Values, definition};
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use eventbench_core::units::{Unit, digits};
use std::collections::BTreeMap;

/// What is known of one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Passport {
    /// Which.
    pub id: FigureId,
    /// Its calibrations.
    pub noise: Noise,
    /// Whether comparisons are decided by it; unknown for what was stored.
    pub gate: Option<bool>,
}

/// Metrics whose noise is worth keeping: what comparisons ask for.
const KEPT: &[&str] = &["response_time", "service_time", "cpu", "rss", "pss"];

/// The figures shown of a passport unless everything is asked for and nobody says which decide.
const SHOWN: &[(&str, &str)] = &[
    ("response_time", "p(50)"),
    ("response_time", "p(95)"),
    ("cpu.per_event", "value"),
];

/// Numbers of pairs that the table answers for.
const PAIRS: [u32; 3] = [5, 10, 20];

impl Passport {
    /// One that was stored.
    pub fn known(id: FigureId, noise: Noise) -> Passport {
        Passport { id, noise, gate: None }
    }

    /// The same figure with everything that a book knows of it.
    pub fn with(&self, book: &NoiseBook) -> Passport {
        Passport {
            noise: book.get(&self.id).cloned().unwrap_or_default(),
            ..self.clone()
        }
    }

    fn label(&self) -> String {
        if self.id.tags.is_empty() {
            format!("{} {}", self.id.metric, self.id.stat)
        } else {
            format!(
                "{}{{{}}} {}",
                self.id.metric,
                self.id.tags.replace('=', ":"),
                self.id.stat
            )
        }
    }

    fn matters(&self) -> bool {
        let listed = || {
            SHOWN.iter().any(|(m, s)| *m == self.id.metric && *s == self.id.stat)
                && ["", "process=system"].contains(&self.id.tags.as_str())
        };
        self.gate.unwrap_or_else(listed)
    }

    fn values(&self) -> Vec<f64> {
        self.noise
            .sessions
            .iter()
            .flat_map(|s| s.a.iter().chain(&s.b))
            .copied()
            .collect()
    }

    fn pairs(&self) -> usize {
        self.noise.sessions.iter().map(|s| s.a.len().min(s.b.len())).sum()
    }

    /// Standard deviation of a session's trials over their mean, the middle of the sessions; what one trial is worth.
    fn variation(&self) -> Option<f64> {
        let one = |s: &Session| {
            let values: Vec<f64> = s.a.iter().chain(&s.b).copied().collect();
            let mean = mean(&values).filter(|m| *m > 0.0)?;
            Some(stddev(&values)? / mean)
        };
        median(&self.noise.sessions.iter().filter_map(one).collect::<Vec<_>>())
    }

    /// What a pair takes in seconds, by the newest calibration that knows it.
    fn pair_s(&self) -> Option<f64> {
        self.noise.sessions.iter().rev().map(|s| s.pair_s).find(|s| *s > 0.0)
    }

    fn unit(&self) -> Unit {
        let statistic = Statistic::parse(&self.id.stat);
        let metric = definition(&self.id.metric);
        match (metric, statistic.as_ref().and_then(Statistic::definition)) {
            (Some(metric), Some(stat)) => (stat.unit)(metric.unit),
            _ => Unit::Count,
        }
    }
}

/// The passports that A against A gives: one for each figure of latency, CPU and memory that a comparison would look at.
/// With them, in words, what could not be compared and so gives none.
pub fn found(
    a: &RunRecord,
    b: &RunRecord,
    pair_s: &BTreeMap<String, f64>,
    at_unix_ms: i64,
) -> (Vec<Passport>, Vec<String>) {
    let options = CompareOptions {
        paired: true,
        // Only the names and roles of the rows are of interest here.
        draws: 100,
        ..CompareOptions::default()
    };
    let compared = compare(a, b, &NoiseBook::new(), &options);
    let kept = |row: &&ComparedRow| {
        let family = row.metric.split('.').next().unwrap_or_default();
        row.decision != Decision::NoData && (row.role == Role::Gate || KEPT.contains(&family))
    };
    let without = compared.rows.iter().filter(|row| row.decision == Decision::NoData);
    let complaints = without.map(|row| format!("{}: {}", row.benchmark, row.words)).collect();
    let mut all: Vec<Passport> = compared
        .rows
        .iter()
        .filter(kept)
        .filter_map(|row| {
            let of = |record: &RunRecord| values(record.benchmarks.iter().find(|x| x.name == row.benchmark)?, row);
            let pairs = of(a)?.into_iter().zip(of(b)?);
            let (of_a, of_b): (Vec<f64>, Vec<f64>) = pairs.filter_map(|(a, b)| Some((a?, b?))).unzip();
            let session = Session {
                at_unix_ms,
                a: of_a,
                b: of_b,
                pair_s: pair_s.get(&row.benchmark).copied().unwrap_or(0.0),
            };
            let tags: Vec<String> = row.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (!session.a.is_empty()).then(|| Passport {
                id: FigureId {
                    suite: b.run.suite.clone(),
                    benchmark: row.benchmark.clone(),
                    metric: row.metric.clone(),
                    tags: tags.join(","),
                    stat: row.stat.clone(),
                },
                noise: Noise {
                    sessions: vec![session],
                },
                gate: Some(row.role == Role::Gate),
            })
        })
        .collect();
    let order = |p: &Passport| {
        let place = a.benchmarks.iter().position(|x| x.name == p.id.benchmark);
        (place, p.gate != Some(true), p.id.clone())
    };
    all.sort_by_key(order);
    (all, complaints)
}

/// The trials' own values of a row's figure.
fn values(benchmark: &BenchmarkRecord, row: &ComparedRow) -> Option<Vec<Option<f64>>> {
    let own = benchmark.trials.iter().filter(|t| t.variant.is_empty());
    let trials: Vec<&Values> = own.map(|t| &t.values).collect();
    let key = MetricKey {
        metric: row.metric.clone(),
        tags: row.tags.clone(),
    };
    Some(figure(&trials, &key, &Statistic::parse(&row.stat)?)?.trials)
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{} %", digits(v * 100.0)))
}

/// The passports as a table: how much trials vary, and the smallest change that so many pairs show.
pub fn shown(passports: &[Passport], everything: bool, holds: &str) -> String {
    let (rows, left_out) = chosen(passports, everything);
    let cells = rows.iter().map(|p| {
        let typical = median(&p.values()).map_or_else(|| "–".to_owned(), |v| p.unit().show(v));
        let mut row = vec![p.id.benchmark.clone(), p.label(), typical, percent(p.variation())];
        row.extend(PAIRS.iter().map(|n| percent(p.noise.visible(*n))));
        row.push(format!("{} in {}", p.pairs(), p.noise.sessions.len()));
        row
    });
    let mut text = table(
        &format!("The smallest change that is visible here ({holds})"),
        &[
            "benchmark",
            "figure",
            "typical",
            "trials vary by",
            "5 pairs",
            "10 pairs",
            "20 pairs",
            "pairs, calibrations",
        ],
        cells,
    );
    text.push_str("99 of 100 comparisons of a thing with itself stay below it; ");
    text.push_str("`eventbench calibrate --plan 3%` tells what a smaller one takes.\n");
    text.push_str(&also(left_out));
    text
}

/// How many pairs, and so how many minutes, show a change of this ratio.
pub fn ask(passports: &[Passport], effect: f64, everything: bool, holds: &str) -> String {
    let (rows, left_out) = chosen(passports, everything);
    let cells = rows.iter().map(|p| {
        let pairs = p.noise.pairs_for(effect);
        let takes = match (pairs, p.pair_s()) {
            (Some(n), Some(s)) => minutes(f64::from(n) * s),
            _ => "–".to_owned(),
        };
        let pairs = pairs.map_or_else(|| "more than 1000".to_owned(), |n| n.to_string());
        vec![
            p.id.benchmark.clone(),
            p.label(),
            pairs,
            takes,
            percent(p.noise.visible(10)),
        ]
    });
    let mut text = table(
        &format!("To see a change of {} ({holds})", percent(Some(effect))),
        &["benchmark", "figure", "pairs", "takes", "10 pairs show"],
        cells,
    );
    text.push_str(&also(left_out));
    text
}

/// The rows that matter, or all; with the number of those left out.
fn chosen(passports: &[Passport], everything: bool) -> (Vec<&Passport>, usize) {
    let rows: Vec<&Passport> = passports.iter().filter(|p| everything || p.matters()).collect();
    if rows.is_empty() {
        return (passports.iter().collect(), 0);
    }
    let left_out = passports.len() - rows.len();
    (rows, left_out)
}

fn also(left_out: usize) -> String {
    match left_out {
        0 => String::new(),
        1 => "1 further figure is known; --verbose shows it.\n".to_owned(),
        n => format!("{n} further figures are known; --verbose shows them.\n"),
    }
}

fn minutes(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", (seconds / 60.0).ceil())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests end when their premises do not hold")]

    use super::*;
    use eventbench_core::mix::{mix2, unit};

    fn id(benchmark: &str, metric: &str, stat: &str, tags: &str) -> FigureId {
        FigureId {
            suite: "s".to_owned(),
            benchmark: benchmark.to_owned(),
            metric: metric.to_owned(),
            tags: tags.to_owned(),
            stat: stat.to_owned(),
        }
    }

    /// Twenty pairs of 100 µs, give or take as much as is said.
    fn noise(varies_by: f64) -> Noise {
        let value = |n: u64| 100_000.0 * (1.0 + varies_by * (2.0 * unit(mix2(7, n)) - 1.0));
        Noise {
            sessions: vec![Session {
                at_unix_ms: 1,
                a: (0..20).map(value).collect(),
                b: (100..120).map(value).collect(),
                pair_s: 3.0,
            }],
        }
    }

    #[test]
    fn the_table_tells_what_is_visible_and_leaves_the_rest_for_those_who_ask() {
        let passports = [
            Passport::known(id("one", "response_time", "p(50)", ""), noise(0.05)),
            Passport::known(id("one", "rss", "max", "process=store"), noise(0.5)),
        ];
        let text = shown(&passports, false, "a machine");
        for part in [
            "(a machine)",
            "response_time p(50)",
            "µs",
            "20 in 1",
            "1 further figure",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains("rss"), "{text}");
        let all = shown(&passports, true, "a machine");
        assert!(
            all.contains("rss{process:store} max") && !all.contains("further"),
            "{all}"
        );
    }

    #[test]
    fn a_plan_names_pairs_and_time_or_says_that_it_is_out_of_reach() {
        let quiet = Passport::known(id("one", "response_time", "p(50)", ""), noise(0.05));
        let pairs = quiet.noise.pairs_for(0.03).unwrap();
        let text = ask(std::slice::from_ref(&quiet), 0.03, false, "a machine");
        assert!(text.contains("a change of 3 %"), "{text}");
        assert!(text.contains(&format!(" {pairs} ")), "{pairs} in\n{text}");
        assert!(text.contains(&minutes(f64::from(pairs) * 3.0)), "{text}");
        let wild = Passport::known(id("one", "response_time", "p(50)", ""), noise(0.9));
        let text = ask(&[wild], 0.0001, false, "a machine");
        assert!(text.contains("more than 1000"), "{text}");
        assert_eq!((minutes(12.4), minutes(181.0)), ("12 s".to_owned(), "4 min".to_owned()));
    }

    #[test]
    fn figures_that_decide_are_shown_whatever_they_are() {
        let mut odd = Passport::known(id("one", "rss", "max", "process=store"), noise(0.1));
        odd.gate = Some(true);
        let usual = Passport {
            gate: Some(false),
            ..Passport::known(id("one", "response_time", "p(50)", ""), noise(0.1))
        };
        let text = shown(&[odd, usual], false, "here");
        assert!(text.contains("rss") && !text.contains("response_time"), "{text}");
    }
}
