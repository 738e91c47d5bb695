//! `eventbench history --series FILE`: change points of series that were measured by whatever means.

use super::show::{drawing, json};
use crate::cli::{Failure, Global, out};
use crate::exit::Exit;
use eventbench_core::judge::change_points::{ChangeOptions, ChangePoint, change_points};
use eventbench_core::units::digits;
use eventbench_report::{ascii_text, history, printable};
use serde::Serialize;
use std::path::Path;

/// Columns of the line of blocks.
const LINE: usize = 60;
/// The columns by which a tidy table tells its figures apart, those that it has.
const TIDY: [&str; 7] = ["suite", "profile", "benchmark", "variant", "metric", "tags", "stat"];

/// A column, or a figure of a tidy table.
#[derive(Debug, Serialize)]
struct Series {
    name: String,
    /// How many values.
    values: usize,
    /// Index counts the values from zero.
    changes: Vec<ChangePoint>,
    /// The first cell of the row of each change, such as its time or run.
    rows: Vec<String>,
    #[serde(skip)]
    line: Vec<f64>,
}

#[derive(Serialize)]
struct File<'a> {
    version: u32,
    series: &'a [Series],
}

pub(super) fn run(path: &Path, as_json: bool, global: &Global) -> Result<Exit, Failure> {
    let wrong = |e: &dyn std::fmt::Display| {
        Failure::usage(miette::miette!(
            "{}: {e}; expected a CSV file with a head and one row a run",
            path.display()
        ))
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|e| wrong(&e))?;
    let head: Vec<String> = reader
        .headers()
        .map_err(|e| wrong(&e))?
        .iter()
        .map(str::to_owned)
        .collect();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
    let series: Vec<Series> = columns(&head, &rows)
        .into_iter()
        .map(|(name, values)| {
            let (labels, line): (Vec<&str>, Vec<f64>) = values.into_iter().unzip();
            let changes = change_points(&line, &ChangeOptions::default());
            Series {
                name,
                values: line.len(),
                rows: changes.iter().map(|c| labels[c.index].to_owned()).collect(),
                changes,
                line,
            }
        })
        .collect();
    if series.is_empty() {
        return Err(wrong(&"no column holds numbers only"));
    }
    if as_json {
        json(&File {
            version: 1,
            series: &series,
        })?;
        return Ok(Exit::Ok);
    }
    let ascii = drawing(global).ascii;
    let mut text = String::new();
    for one in &series {
        let line = history::sparkline(&one.line, LINE, ascii);
        text.push_str(&format!("{}  {} values  {line}\n", printable(&one.name), one.values));
        for (change, row) in one.changes.iter().zip(&one.rows) {
            let by = change.effect.map_or_else(
                || "a change".to_owned(),
                |e| {
                    format!(
                        "{} % {}",
                        digits(e.abs() * 100.0),
                        if e > 0.0 { "more" } else { "less" }
                    )
                },
            );
            text.push_str(&format!(
                "    since value {} ({}): {by}, {} → {}\n",
                change.index + 1,
                printable(row),
                digits(change.before),
                digits(change.after)
            ));
        }
    }
    out(if ascii {
        text.lines().map(|l| ascii_text(l) + "\n").collect()
    } else {
        text
    });
    Ok(Exit::Ok)
}

/// The series of a table: a name, and the values with the first cell of their rows. Of a tidy table one a figure, else one a
/// column that holds nothing but numbers and empty cells.
fn columns<'a>(head: &[String], rows: &'a [csv::StringRecord]) -> Vec<(String, Vec<(&'a str, f64)>)> {
    let place = |name: &str| head.iter().position(|h| h == name);
    let number = |cell: &str| cell.parse::<f64>().ok().filter(|v| v.is_finite());
    let label = |row: &'a csv::StringRecord| row.get(0).unwrap_or_default();
    if let (Some(_), Some(value)) = (place("metric"), place("value")) {
        let parts: Vec<usize> = TIDY.iter().filter_map(|name| place(name)).collect();
        let trial = place("trial");
        let mut found: Vec<(String, Vec<(&str, f64)>)> = Vec::new();
        // Rows of single trials stand beside those over all of them.
        for row in rows
            .iter()
            .filter(|r| trial.is_none_or(|t| r.get(t).is_none_or(str::is_empty)))
        {
            let Some(v) = row.get(value).and_then(number) else {
                continue;
            };
            let cells = parts.iter().filter_map(|p| row.get(*p)).filter(|c| !c.is_empty());
            let name = cells.collect::<Vec<_>>().join(" ");
            match found.iter_mut().find(|f| f.0 == name) {
                Some(series) => series.1.push((label(row), v)),
                None => found.push((name, vec![(label(row), v)])),
            }
        }
        return found;
    }
    head.iter()
        .enumerate()
        .filter_map(|(column, name)| {
            let cells = rows.iter().map(|r| (label(r), r.get(column).unwrap_or_default()));
            let given = cells.filter(|(_, cell)| !cell.is_empty());
            let values: Option<Vec<(&str, f64)>> = given.map(|(label, cell)| Some((label, number(cell)?))).collect();
            values.filter(|v| !v.is_empty()).map(|v| (name.clone(), v))
        })
        .collect()
}
