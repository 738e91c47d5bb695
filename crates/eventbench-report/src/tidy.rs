//! Tidy CSV of many runs: one row a value, as data frames and spreadsheets want it, and as it is read back.

use crate::ReportError;
use crate::csv::safe;
use crate::text::utc;
use eventbench_core::judge::Figure;
use eventbench_core::metric::Better;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use std::collections::BTreeMap;

/// The columns, in order. A row without a trial holds the figure over all trials of its variant.
pub const COLUMNS: [&str; 15] = [
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

/// A table that grows by runs.
pub struct Tidy {
    writer: ::csv::Writer<Vec<u8>>,
}

impl Tidy {
    /// A table with its head.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, ReportError> {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        Ok(Self { writer })
    }

    /// Adds the figures of a run.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn add(&mut self, record: &RunRecord) -> Result<(), ReportError> {
        for benchmark in &record.benchmarks {
            self.write(record, benchmark, "", &benchmark.figures)?;
            if let Some(baseline) = &benchmark.baseline {
                self.write(record, benchmark, &baseline.name, &baseline.figures)?;
            }
        }
        Ok(())
    }

    /// The table's bytes.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn finish(self) -> Result<Vec<u8>, ReportError> {
        self.writer
            .into_inner()
            .map_err(|e| ReportError::Csv(e.into_error().into()))
    }

    fn write(
        &mut self,
        record: &RunRecord,
        b: &BenchmarkRecord,
        variant: &str,
        figures: &[Figure],
    ) -> Result<(), ReportError> {
        let run = &record.run;
        let started = instant(run.started_unix_ms);
        let source = run.source.as_ref();
        let branch = source.and_then(|s| s.branch.as_deref()).unwrap_or_default();
        let commit = source.map(|s| s.commit.as_str()).unwrap_or_default();
        let own = b.trials.iter().filter(|t| t.variant == variant);
        let trials: Vec<String> = own.map(|t| t.number.to_string()).collect();
        for figure in figures {
            let tags = tags(&figure.tags);
            let over_all = std::iter::once(("", figure.value));
            let of_trials = trials.iter().map(String::as_str).zip(figure.trials.iter().copied());
            for (trial, value) in over_all.chain(of_trials) {
                let value = value.map(|v| v.to_string()).unwrap_or_default();
                let cells = [
                    &run.id,
                    &started,
                    branch,
                    commit,
                    &run.suite,
                    &run.profile,
                    &b.name,
                    variant,
                    trial,
                    &figure.metric,
                    &tags,
                    &figure.stat,
                    figure.unit.symbol(),
                    better(figure.better),
                    &value,
                ];
                self.writer.write_record(cells.map(|cell| safe(cell).into_owned()))?;
            }
        }
        Ok(())
    }
}

/// An instant to the millisecond, as ISO 8601 writes it.
pub(crate) fn instant(unix_ms: i64) -> String {
    let seconds = utc(unix_ms).replace(" UTC", "").replace(' ', "T");
    format!("{seconds}.{:03}Z", unix_ms.rem_euclid(1000))
}

/// `key:value,key:value` with a backslash before the characters that would divide it otherwise.
fn tags(tags: &BTreeMap<String, String>) -> String {
    let escaped = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, ',' | ':' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    let pairs: Vec<String> = tags
        .iter()
        .map(|(k, v)| format!("{}:{}", escaped(k), escaped(v)))
        .collect();
    pairs.join(",")
}

fn better(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower",
        Better::Higher => "higher",
        Better::Neutral => "neutral",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn table(records: &[RunRecord]) -> Vec<::csv::StringRecord> {
        let mut tidy = Tidy::new().unwrap();
        records.iter().for_each(|record| tidy.add(record).unwrap());
        let bytes = tidy.finish().unwrap();
        let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
        reader.records().map(Result::unwrap).collect()
    }

    #[test]
    fn every_value_of_every_variant_is_a_row() {
        let record = golden::comparison();
        let of = |b: &BenchmarkRecord| {
            let figures = b.figures.iter().chain(&b.baseline.as_ref().unwrap().figures);
            figures.map(|f| 1 + f.trials.len()).sum::<usize>()
        };
        let expected: usize = record.benchmarks.iter().map(of).sum();
        let rows = table(std::slice::from_ref(&record));
        assert_eq!(rows.len(), expected);
        let direct = rows
            .iter()
            .find(|r| &r[7] == "direct" && &r[8] == "2" && &r[9] == "response_time" && &r[11] == "p(95)")
            .unwrap();
        let mut there = record.benchmarks[0].baseline.as_ref().unwrap().figures.iter();
        let p95 = there
            .find(|f| f.metric == "response_time" && f.stat == "p(95)")
            .unwrap();
        assert_eq!(direct[14].parse::<f64>().unwrap(), p95.trials[1].unwrap());
        assert_eq!(
            (&direct[1], &direct[12], &direct[13]),
            ("2025-11-03T14:25:36.000Z", "ns", "lower")
        );
    }

    #[test]
    fn no_cell_acts() {
        let all: Vec<RunRecord> = golden::records().into_iter().map(|(_, r)| r).collect();
        for cell in table(&all).iter().flatten() {
            let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
            assert!(!begins || cell.parse::<f64>().is_ok(), "{cell:?}");
        }
    }

    #[test]
    fn tags_can_be_told_apart() {
        let odd = BTreeMap::from([("a:b".to_owned(), "c,d".to_owned()), ("e\\".to_owned(), String::new())]);
        assert_eq!(tags(&odd), "a\\:b:c\\,d,e\\\\:");
        assert_eq!(instant(-1), "1969-12-31T23:59:59.999Z");
    }
}
