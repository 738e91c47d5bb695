//! CSV as Apache Otava reads it: a column of times, `commit` and `branch` as attributes, one column a metric, one row a
//! run in the order of time.
//!
//! Otava refuses an empty cell, and what stands in its place would be a lie; a metric that not every run of the file has
//! is therefore left out of it, and named to the caller.

use crate::csv::safe;
use crate::tidy::instant;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Figure;
use eventbench_core::metric::Better;
use eventbench_core::record::RunRecord;
use std::collections::HashMap;

/// The columns before those of metrics.
pub const ATTRIBUTES: [&str; 4] = ["time", "run", "commit", "branch"];

/// A table that grows by runs.
#[derive(Default)]
pub struct Otava {
    columns: Vec<(String, Better)>,
    places: HashMap<String, usize>,
    rows: Vec<([String; 4], HashMap<usize, f64>)>,
}

/// A finished table.
pub struct OtavaTable {
    /// The CSV.
    pub csv: Vec<u8>,
    /// Its metrics, with the direction that is good.
    pub metrics: Vec<(String, Better)>,
    /// Metrics that some of its runs do not have.
    pub left_out: Vec<String>,
}

impl Otava {
    /// A table without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a run by the figures of one benchmark, or of all with the benchmark's name before each metric. A run
    /// without any of them is no row.
    pub fn add(&mut self, record: &RunRecord, benchmark: Option<&str>) {
        let mut values = HashMap::new();
        for b in record
            .benchmarks
            .iter()
            .filter(|b| benchmark.is_none_or(|n| n == b.name))
        {
            for figure in &b.figures {
                let Some(value) = figure.value.filter(|v| v.is_finite()) else {
                    continue;
                };
                let name = match benchmark {
                    Some(_) => column(figure),
                    None => format!("{}/{}", b.name, column(figure)),
                };
                let next = self.columns.len();
                let place = *self.places.entry(name.clone()).or_insert(next);
                if place == next {
                    self.columns.push((name, figure.better));
                }
                values.insert(place, value);
            }
        }
        if values.is_empty() {
            return;
        }
        let run = &record.run;
        let source = run.source.as_ref();
        let attributes = [
            instant(run.started_unix_ms),
            run.id.clone(),
            source.map(|s| s.commit.clone()).unwrap_or_default(),
            source.and_then(|s| s.branch.clone()).unwrap_or_default(),
        ];
        self.rows.push((attributes, values));
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn finish(self) -> Result<OtavaTable, ReportError> {
        let whole = |place: &usize| self.rows.iter().all(|row| row.1.contains_key(place));
        let (kept, left): (Vec<usize>, Vec<usize>) = (0..self.columns.len()).partition(whole);
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        let names = kept.iter().map(|place| self.columns[*place].0.as_str());
        writer.write_record(ATTRIBUTES.into_iter().chain(names).map(|cell| safe(cell).into_owned()))?;
        for (attributes, values) in &self.rows {
            let numbers = kept
                .iter()
                .map(|place| values.get(place).map(f64::to_string).unwrap_or_default());
            let cells = attributes.iter().cloned().chain(numbers);
            writer.write_record(cells.map(|cell| safe(&cell).into_owned()))?;
        }
        Ok(OtavaTable {
            csv: writer
                .into_inner()
                .map_err(|e| ReportError::Csv(e.into_error().into()))?,
            metrics: kept.iter().map(|place| self.columns[*place].clone()).collect(),
            left_out: left.iter().map(|place| self.columns[*place].0.clone()).collect(),
        })
    }
}

/// A figure as a column: metric, statistic and unit.
fn column(figure: &Figure) -> String {
    format!("{} {} [{}]", figure.key(), figure.stat, figure.unit.symbol())
}

/// One of Otava's tests: its name, the file of its series, and its columns with the direction that is good.
pub type Test = (String, String, Vec<(String, Better)>);

/// Otava's configuration of tests: one for each (test, file, metrics). Its direction is −1 where less is better and 1
/// where more is; a metric without a direction is left to it at 1.
pub fn configuration(tests: &[Test]) -> String {
    // JSON strings are YAML strings as well, whatever a name holds.
    let text = |s: &str| serde_json::Value::String(s.to_owned()).to_string();
    let mut out = "tests:\n".to_owned();
    for (test, file, metrics) in tests {
        out.push_str(&format!(
            "  {}:\n    type: csv\n    file: {}\n    time_column: time\n    attributes: [run, commit]\n    metrics:\n",
            text(test),
            text(file)
        ));
        for (name, better) in metrics {
            let direction = if *better == Better::Lower { -1 } else { 1 };
            let name = text(&safe(name));
            out.push_str(&format!(
                "      {name}:\n        column: {name}\n        direction: {direction}\n        scale: 1\n"
            ));
        }
    }
    out
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let mut table = Otava::new();
    table.add(record, None);
    Ok(table.finish()?.csv)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    #[test]
    fn a_row_is_a_run_and_no_cell_of_a_metric_is_empty() {
        let (mut first, second) = (golden::all_pass(), golden::all_pass());
        let name = "single-event-latency";
        first.benchmarks[0].figures.retain(|f| f.metric != "rss");
        let mut table = Otava::new();
        table.add(&first, Some(name));
        table.add(&golden::comparison(), Some(name));
        table.add(&second, Some(name));
        let table = table.finish().unwrap();
        let mut reader = ::csv::Reader::from_reader(table.csv.as_slice());
        let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(head[..4], ATTRIBUTES);
        assert_eq!(head.len(), 4 + table.metrics.len());
        let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let p95 = head.iter().position(|c| c == "response_time p(95) [ns]").unwrap();
        let known = second.benchmarks[0]
            .figure("response_time", &[], "p(95)")
            .unwrap()
            .value;
        for row in &rows {
            assert_eq!(row[p95].parse().ok(), known);
            assert!(row.iter().skip(4).all(|cell| cell.parse::<f64>().is_ok()), "{row:?}");
        }
        assert!(!table.left_out.is_empty() && table.left_out.iter().all(|c| c.starts_with("rss")));
    }

    #[test]
    fn a_configuration_names_columns_and_directions() {
        let metrics = vec![("rss{process:a} max [bytes]".to_owned(), Better::Lower)];
        let text = configuration(&[("a \"b\"".to_owned(), "a.csv".to_owned(), metrics)]);
        insta::assert_snapshot!(text, @r#"
        tests:
          "a \"b\"":
            type: csv
            file: "a.csv"
            time_column: time
            attributes: [run, commit]
            metrics:
              "rss{process:a} max [bytes]":
                column: "rss{process:a} max [bytes]"
                direction: -1
                scale: 1
        "#);
    }
}
