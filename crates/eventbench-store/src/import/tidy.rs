//! Tidy CSV, as `history export` writes it: a row a value, of as many runs as there are.

use super::error::{ImportError, line_of, of_csv};
use super::foreign::{self, Origin};
use super::identity::valid;
use super::instant::unix_ms;
use eventbench_core::judge::Figure;
use eventbench_core::metric::{Better, Statistic, definition};
use eventbench_core::record::{BaselineRecord, Revision, RunRecord};
use eventbench_core::units::Unit;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The columns, which may stand in any order.
const COLUMNS: [&str; 15] = [
    "run",
    "started",
    "branch",
    "commit",
    "suite",
    "profile",
    "benchmark",
    "variant",
    "trial",
    "metric",
    "tags",
    "stat",
    "unit",
    "better",
    "value",
];

pub(crate) const UNITS: [Unit; 7] = [
    Unit::Nanoseconds,
    Unit::Bytes,
    Unit::BytesPerHour,
    Unit::PerSecond,
    Unit::Ratio,
    Unit::Cores,
    Unit::Count,
];

/// One row, checked.
struct Row {
    head: [String; 6],
    started_unix_ms: i64,
    benchmark: String,
    variant: String,
    trial: Option<u32>,
    figure: FigureKey,
    unit: Unit,
    better: Better,
    value: Option<f64>,
}

/// Metric, tags and statistic.
type FigureKey = (String, BTreeMap<String, String>, String);

/// A figure that its rows are gathered in.
struct Gathered {
    /// Where its first row stands.
    first: Option<csv::Position>,
    unit: Unit,
    better: Better,
    /// The value over all trials, once its row has come.
    value: Option<Option<f64>>,
    trials: Vec<(u32, Option<f64>)>,
}

/// A benchmark's variant that its rows are gathered in; both lists in the order of the file.
#[derive(Default)]
struct Variant {
    figures: Vec<(FigureKey, Gathered)>,
    places: HashMap<FigureKey, usize>,
    trials: Vec<u32>,
}

/// A run that its rows are gathered in.
struct Run {
    head: [String; 6],
    started_unix_ms: i64,
    /// Benchmarks, each with its variants, in the order of the file.
    benchmarks: Vec<(String, Vec<(String, Variant)>)>,
}

/// The runs of a table, in the order in which they come.
pub(crate) fn read(text: &str, origin: &Origin) -> Result<Vec<RunRecord>, ImportError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let places = places(reader.headers().map_err(|e| of_csv(text, &e))?)?;
    let mut runs: Vec<Run> = Vec::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| of_csv(text, &e))?;
        let wrong = |why: String| ImportError::at(line_of(text, record.position()), why);
        let row = row(&record, &places).map_err(wrong)?;
        let next = runs.len();
        let place = *by_id.entry(row.head[0].clone()).or_insert(next);
        if place == next {
            runs.push(Run {
                head: row.head.clone(),
                started_unix_ms: row.started_unix_ms,
                benchmarks: Vec::new(),
            });
        }
        let run = &mut runs[place];
        if run.head != row.head {
            return Err(wrong(format!(
                "run {} has another start, branch, commit, suite or profile than before",
                row.head[0]
            )));
        }
        gather(run, row, record.position()).map_err(wrong)?;
    }
    if runs.is_empty() {
        return Err(ImportError::whole("a table without rows"));
    }
    runs.into_iter().map(|run| record_of(text, run, origin)).collect()
}

/// Where each of our columns stands.
fn places(headers: &csv::StringRecord) -> Result<[usize; 15], ImportError> {
    let mut places = [0; 15];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let mut found = headers.iter().enumerate().filter(|(_, h)| h.trim() == column);
        *place = match (found.next(), found.next()) {
            (Some((i, _)), None) => i,
            (None, _) => return Err(ImportError::at(1, format!("no column \"{column}\""))),
            (Some(_), Some(_)) => return Err(ImportError::at(1, format!("two columns \"{column}\""))),
        };
    }
    match headers.iter().find(|h| !COLUMNS.contains(&h.trim())) {
        Some(unknown) => Err(ImportError::at(1, format!("a column that is not known: {unknown:?}"))),
        None => Ok(places),
    }
}

/// Checks a row; says what is wrong with it.
fn row(record: &csv::StringRecord, places: &[usize; 15]) -> Result<Row, String> {
    let cell = |i: usize| plain(record.get(places[i]).unwrap_or_default()).into_owned();
    let head: [String; 6] = std::array::from_fn(cell);
    if !valid(&head[0]) {
        return Err(format!("{:?} is no id of a run", head[0]));
    }
    let started_unix_ms =
        unix_ms(&head[1]).ok_or_else(|| format!("{:?} is no instant such as 2025-11-03T14:25:36Z", head[1]))?;
    let trial = match cell(8).as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| format!("{text:?} is no number of a trial"))?),
    };
    let (metric, tags, stat) = (cell(9), cell(10), cell(11));
    if metric.is_empty() || stat.is_empty() {
        return Err("a value without metric and statistic".to_owned());
    }
    let symbol = cell(12);
    let unit = UNITS
        .into_iter()
        .find(|u| u.symbol() == symbol)
        .ok_or_else(|| format!("a unit that is not known: {symbol:?}"))?;
    let counted_in = definition(&metric).and_then(|m| Some((Statistic::parse(&stat)?.definition()?.unit)(m.unit)));
    if let Some(expected) = counted_in.filter(|expected| *expected != unit) {
        return Err(format!(
            "{metric} {stat} is counted in {}, not in {symbol}",
            expected.symbol()
        ));
    }
    let better = match cell(13).as_str() {
        "lower" => Better::Lower,
        "higher" => Better::Higher,
        "neutral" => Better::Neutral,
        other => return Err(format!("better: {other:?} is neither lower, higher nor neutral")),
    };
    let value = match cell(14).as_str() {
        "" => None,
        text => Some(number(text).ok_or_else(|| format!("{text:?} is no number"))?),
    };
    let tags = read_tags(&tags).ok_or_else(|| format!("{tags:?} are no tags such as process:store"))?;
    Ok(Row {
        head,
        started_unix_ms,
        benchmark: cell(6),
        variant: cell(7),
        trial,
        figure: (metric, tags, stat),
        unit,
        better,
        value,
    })
}

/// Puts a row to its figure; says why it cannot belong there.
fn gather(run: &mut Run, row: Row, position: Option<&csv::Position>) -> Result<(), String> {
    let variants = entry(&mut run.benchmarks, &row.benchmark);
    let variant = entry(variants, &row.variant);
    let next = variant.figures.len();
    let place = *variant.places.entry(row.figure.clone()).or_insert(next);
    if place == next {
        let gathered = Gathered {
            first: position.cloned(),
            unit: row.unit,
            better: row.better,
            value: None,
            trials: Vec::new(),
        };
        variant.figures.push((row.figure, gathered));
    }
    let figure = &mut variant.figures[place].1;
    if (figure.unit, figure.better) != (row.unit, row.better) {
        return Err("another unit or direction than its figure had before".to_owned());
    }
    let twice = match row.trial {
        None => figure.value.replace(row.value).is_some(),
        Some(trial) => {
            let there = figure.trials.iter().any(|(t, _)| *t == trial);
            figure.trials.push((trial, row.value));
            if !variant.trials.contains(&trial) {
                variant.trials.push(trial);
            }
            there
        }
    };
    if twice {
        return Err("a second value of the same figure of the same benchmark and trial".to_owned());
    }
    Ok(())
}

/// The entry of that name, made at the end when it is not there: there are few of them.
fn entry<'a, T: Default>(list: &'a mut Vec<(String, T)>, name: &str) -> &'a mut T {
    let place = list.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    });
    &mut list[place].1
}

fn record_of(text: &str, run: Run, origin: &Origin) -> Result<RunRecord, ImportError> {
    let [id, _, branch, commit, suite, profile] = run.head;
    let mut record = foreign::run(&suite, run.started_unix_ms, &Origin::default());
    record.run.id = id;
    record.run.profile = profile;
    record.run.source = (!branch.is_empty() || !commit.is_empty()).then(|| Revision {
        commit,
        branch: Some(branch).filter(|b| !b.is_empty()),
    });
    record.run.notes.push(format!(
        "Imported from {}, a table of figures: limits, books, timelines and distributions are not part of it, and \
         nothing was judged.",
        origin.name
    ));
    for (name, variants) in run.benchmarks {
        let mut benchmark = foreign::benchmark(name, Vec::new());
        benchmark.trials.clear();
        for (variant, gathered) in variants {
            let numbers = gathered.trials.clone();
            let figures = figures(text, gathered)?;
            if variant.is_empty() {
                benchmark.figures = figures;
            } else if benchmark.baseline.is_none() {
                benchmark.baseline = Some(BaselineRecord {
                    name: variant.clone(),
                    figures,
                });
            } else {
                let why = format!("benchmark {:?} has more than one variant beside itself", benchmark.name);
                return Err(ImportError::whole(why));
            }
            benchmark
                .trials
                .extend(numbers.into_iter().map(|n| foreign::trial(&variant, n)));
        }
        record.run.planned.push(benchmark.name.clone());
        record.benchmarks.push(benchmark);
    }
    Ok(record)
}

fn figures(text: &str, variant: Variant) -> Result<Vec<Figure>, ImportError> {
    // How many samples there were stands in the table as figures of its own.
    let counts: HashMap<(String, BTreeMap<String, String>), u64> = variant
        .figures
        .iter()
        .filter(|((_, _, stat), _)| stat == "count")
        .map(|((metric, tags, _), g)| {
            let sum: f64 = g.trials.iter().filter_map(|t| t.1).sum();
            ((metric.clone(), tags.clone()), sum as u64)
        })
        .collect();
    let all = variant.trials;
    variant
        .figures
        .into_iter()
        .map(|((metric, tags, stat), gathered)| {
            let value = gathered.value.ok_or_else(|| {
                let line = line_of(text, gathered.first.as_ref());
                ImportError::at(line, "a trial's value without the figure over all trials")
            })?;
            let of = |number: &u32| gathered.trials.iter().find(|t| t.0 == *number).map(|t| t.1);
            let mut trials: Vec<Option<Option<f64>>> = all.iter().map(of).collect();
            while trials.last().is_some_and(Option::is_none) {
                trials.pop();
            }
            let trials: Vec<Option<f64>> = trials.into_iter().map(Option::flatten).collect();
            let mut known: Vec<f64> = trials.iter().copied().flatten().collect();
            known.sort_by(f64::total_cmp);
            let range = match (known.first(), known.last()) {
                (Some(low), Some(high)) if known.len() > 1 => Some((*low, *high)),
                _ => None,
            };
            let half = |(low, high): (f64, f64)| value.filter(|v| *v != 0.0).map(|v| (high - low) / 2.0 / v.abs());
            let samples = counts.get(&(metric.clone(), tags.clone()));
            Ok(Figure {
                samples: samples.copied().unwrap_or(known.len() as u64),
                metric,
                tags,
                stat,
                unit: gathered.unit,
                better: gathered.better,
                value,
                range,
                spread: range.and_then(half).filter(|s| s.is_finite()),
                interval: None,
                trials,
            })
        })
        .collect()
}

/// A number as programs write it: finite, and no word.
pub(crate) fn number(text: &str) -> Option<f64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    text.parse().ok().filter(|v: &f64| digits && v.is_finite())
}

/// A cell without the apostrophe that keeps spreadsheets from taking it for a formula.
pub(crate) fn plain(cell: &str) -> Cow<'_, str> {
    let bare = cell.trim_start_matches('\'');
    let begins = bare.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    match cell.strip_prefix('\'') {
        Some(rest) if begins && !bare.parse::<f64>().is_ok_and(f64::is_finite) => Cow::Borrowed(rest),
        _ => Cow::Borrowed(cell),
    }
}

/// `key:value,key:value`, where a backslash takes the meaning from the character behind it.
pub(crate) fn read_tags(text: &str) -> Option<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    if text.is_empty() {
        return Some(tags);
    }
    let (mut key, mut part) = (None, String::new());
    let mut characters = text.chars();
    loop {
        match characters.next() {
            Some('\\') => part.push(characters.next()?),
            Some(':') if key.is_none() => key = Some(std::mem::take(&mut part)),
            Some(':') => return None,
            end @ (None | Some(',')) => {
                if tags.insert(key.take()?, std::mem::take(&mut part)).is_some() {
                    return None;
                }
                if end.is_none() {
                    return Some(tags);
                }
            }
            Some(c) => part.push(c),
        }
    }
}
