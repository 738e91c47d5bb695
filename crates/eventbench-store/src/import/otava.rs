//! CSV as Apache Otava reads it: a row a run, a column of times, attributes, and a column a metric.

use super::error::{ImportError, line_of, of_csv};
use super::foreign::{self, Origin};
use super::identity::identify;
use super::instant::unix_ms;
use super::tidy::{UNITS, number, plain, read_tags};
use eventbench_core::judge::Figure;
use eventbench_core::metric::{Better, Kind, Statistic, definition};
use eventbench_core::record::{Revision, RunRecord};
use eventbench_core::units::Unit;
use std::collections::BTreeMap;

/// What a column holds.
enum Column {
    Time,
    Commit,
    Branch,
    /// Anything that is no number everywhere, by its name.
    Attribute(String),
    /// A benchmark's figure, without its values.
    Metric(String, Figure),
}

/// Whether a column of that name holds the time of a run.
pub(crate) fn is_time(name: &str) -> bool {
    ["time", "timestamp", "datetime", "date"].contains(&name.to_ascii_lowercase().as_str())
}

/// The runs of a table, in the order of its rows.
pub(crate) fn read(text: &str, origin: &Origin) -> Result<Vec<RunRecord>, ImportError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| of_csv(text, &e))?;
    let head: Vec<String> = headers.iter().map(|h| plain(h.trim()).into_owned()).collect();
    let rows = reader
        .records()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| of_csv(text, &e))?;
    let benchmark = origin.benchmark.clone().unwrap_or_else(|| "imported".to_owned());
    let columns = columns(&head, &rows, &benchmark)?;
    if rows.is_empty() {
        return Err(ImportError::whole("a table without rows"));
    }
    rows.iter().map(|row| run(text, row, &columns, origin)).collect()
}

fn columns(head: &[String], rows: &[csv::StringRecord], benchmark: &str) -> Result<Vec<Column>, ImportError> {
    let mut columns = Vec::new();
    for (i, name) in head.iter().enumerate() {
        if head[..i].contains(name) {
            return Err(ImportError::at(1, format!("two columns {name:?}")));
        }
        let cells = || rows.iter().map(|r| r.get(i).unwrap_or_default().trim());
        let timed = columns.iter().any(|c| matches!(c, Column::Time));
        columns.push(match name.as_str() {
            name if is_time(name) && !timed => Column::Time,
            "commit" => Column::Commit,
            "branch" => Column::Branch,
            "run" | "version" => Column::Attribute(name.clone()),
            // A column in which any cell is a number holds numbers; a word among them is then an error, not an attribute.
            _ if cells().any(|c| number(c).is_some()) => {
                let (benchmark, figure) = figure(name, benchmark);
                Column::Metric(benchmark, figure)
            }
            _ => Column::Attribute(name.clone()),
        });
    }
    let count = |wanted: fn(&Column) -> bool| columns.iter().filter(|c| wanted(c)).count();
    if count(|c| matches!(c, Column::Time)) == 0 {
        return Err(ImportError::at(1, "no column \"time\""));
    }
    if count(|c| matches!(c, Column::Metric(..))) == 0 {
        return Err(ImportError::whole("no column of numbers"));
    }
    Ok(columns)
}

/// The figure that a column's name stands for: ours say `BENCHMARK/METRIC STAT [UNIT]`, the benchmark only where the file
/// has several; anything else is a metric of its own, of which neither unit nor direction is known.
fn figure(column: &str, benchmark: &str) -> (String, Figure) {
    let blank = |metric: &str, tags, stat: &str, unit, better| Figure {
        metric: metric.to_owned(),
        tags,
        stat: stat.to_owned(),
        unit,
        better,
        value: None,
        range: None,
        spread: None,
        interval: None,
        trials: Vec::new(),
        samples: 0,
    };
    let ours = |text: &str| {
        let (rest, unit) = text.strip_suffix(']')?.rsplit_once(" [")?;
        let unit = UNITS.into_iter().find(|u| u.symbol() == unit)?;
        let (key, stat) = rest.rsplit_once(' ')?;
        let statistic = Statistic::parse(stat)?;
        let (metric, tags) = match key.strip_suffix('}').and_then(|k| k.split_once('{')) {
            Some((metric, tags)) => (metric, read_tags(tags)?),
            None => (key, BTreeMap::new()),
        };
        let metric = definition(metric)?;
        // More samples are better whatever they are samples of.
        let better = match statistic.name.as_str() {
            "count" if metric.kind != Kind::Count => Better::Higher,
            _ => metric.better,
        };
        ((statistic.definition()?.unit)(metric.unit) == unit).then(|| blank(metric.id, tags, stat, unit, better))
    };
    let ends = column.match_indices('/').map(|(i, _)| (&column[..i], &column[i + 1..]));
    let named = std::iter::once((benchmark, column)).chain(ends);
    for (benchmark, text) in named {
        if let Some(figure) = ours(text) {
            return (benchmark.to_owned(), figure);
        }
    }
    let unknown = blank(column, BTreeMap::new(), "value", Unit::Count, Better::Neutral);
    (benchmark.to_owned(), unknown)
}

fn run(text: &str, row: &csv::StringRecord, columns: &[Column], origin: &Origin) -> Result<RunRecord, ImportError> {
    let wrong = |why: String| ImportError::at(line_of(text, row.position()), why);
    let mut record = foreign::run("otava", 0, origin);
    let (mut commit, mut branch) = (None, None);
    let mut benchmarks: Vec<(String, Vec<Figure>)> = Vec::new();
    for (column, cell) in columns.iter().zip(row.iter()) {
        let cell = plain(cell.trim()).into_owned();
        match column {
            Column::Time => {
                record.run.started_unix_ms = unix_ms(&cell)
                    .ok_or_else(|| wrong(format!("{cell:?} is no instant such as 2025-11-03T14:25:36Z")))?;
            }
            Column::Commit => commit = foreign::known(Some(&cell)),
            Column::Branch => branch = foreign::known(Some(&cell)),
            Column::Attribute(_) if cell.is_empty() => {}
            Column::Attribute(name) => {
                record.run.environment.facts.insert(name.clone(), cell);
            }
            // A figure that this run does not have.
            Column::Metric(..) if cell.is_empty() => {}
            Column::Metric(benchmark, figure) => {
                let value = number(&cell).ok_or_else(|| wrong(format!("{cell:?} is no number")))?;
                let figure = Figure {
                    value: Some(value),
                    trials: vec![Some(value)],
                    samples: 1,
                    ..figure.clone()
                };
                match benchmarks.iter_mut().find(|b| b.0 == *benchmark) {
                    Some((_, figures)) => figures.push(figure),
                    None => benchmarks.push((benchmark.clone(), vec![figure])),
                }
            }
        }
    }
    if benchmarks.is_empty() {
        return Err(wrong("a row without a single number".to_owned()));
    }
    if commit.is_some() || branch.is_some() {
        record.run.source = Some(Revision {
            commit: commit.unwrap_or_default(),
            branch,
        });
    }
    for (name, figures) in benchmarks {
        record.run.planned.push(name.clone());
        record.benchmarks.push(foreign::benchmark(name, figures));
    }
    identify(&mut record, true);
    record.run.notes.push(format!(
        "Imported from {}, a table as Apache Otava reads it; nothing was judged.",
        origin.name
    ));
    Ok(record)
}
