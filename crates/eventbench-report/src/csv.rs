//! CSV: one row a figure, tidy, safe to open in a spreadsheet.

use crate::text::utc;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Figure;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use std::borrow::Cow;

const HEADER: [&str; 16] = [
    "run",
    "started",
    "suite",
    "profile",
    "benchmark",
    "requirement",
    "variant",
    "trial",
    "metric",
    "tags",
    "stat",
    "unit",
    "value",
    "low",
    "high",
    "samples",
];

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for benchmark in &record.benchmarks {
        write(&mut writer, record, benchmark, "", &benchmark.figures)?;
        if let Some(baseline) = &benchmark.baseline {
            write(&mut writer, record, benchmark, &baseline.name, &baseline.figures)?;
        }
    }
    writer.into_inner().map_err(|e| ReportError::Csv(e.into_error().into()))
}

fn write(
    writer: &mut ::csv::Writer<Vec<u8>>,
    record: &RunRecord,
    b: &BenchmarkRecord,
    variant: &str,
    figures: &[Figure],
) -> Result<(), ReportError> {
    let started = utc(record.run.started_unix_ms).replace(" UTC", "Z").replace(' ', "T");
    let trials: Vec<u32> = b
        .trials
        .iter()
        .filter(|t| t.variant == variant)
        .map(|t| t.number)
        .collect();
    for figure in figures {
        let tags: Vec<String> = figure.tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let tags = tags.join(",");
        let mut row = |trial: String, numbers: [Option<f64>; 3], samples: String| {
            let [value, low, high] = numbers.map(|n| n.map(|n| n.to_string()).unwrap_or_default());
            let requirement = b.requirement.as_deref().unwrap_or_default();
            let cells = [
                &record.run.id,
                &started,
                &record.run.suite,
                &record.run.profile,
                &b.name,
                requirement,
                variant,
                &trial,
                &figure.metric,
                &tags,
                &figure.stat,
                figure.unit.symbol(),
                &value,
                &low,
                &high,
                &samples,
            ];
            writer.write_record(cells.map(|cell| safe(cell).into_owned()))
        };
        let (low, high) = figure.interval.or(figure.range).unzip();
        row(String::new(), [figure.value, low, high], figure.samples.to_string())?;
        for (value, trial) in figure.trials.iter().zip(&trials) {
            row(trial.to_string(), [*value, None, None], String::new())?;
        }
    }
    Ok(())
}

/// A cell that no spreadsheet takes for a formula: what begins like one, and is no number, gets an apostrophe in front.
/// What begins like one behind apostrophes of its own gets one more, so that a reader can take exactly one away.
pub(crate) fn safe(cell: &str) -> Cow<'_, str> {
    let bare = cell.trim_start_matches('\'');
    let begins = bare.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let number = bare.parse::<f64>().is_ok_and(f64::is_finite);
    if begins && !number {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;
    use proptest::prelude::*;

    fn read(record: &RunRecord) -> Vec<::csv::StringRecord> {
        let bytes = render(record, &RenderOptions::default()).unwrap();
        let mut reader = ::csv::ReaderBuilder::new().from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap(), &HEADER[..]);
        reader.records().map(Result::unwrap).collect()
    }

    #[test]
    fn every_figure_and_trial_is_a_row() {
        let record = golden::comparison();
        let rows = read(&record);
        let mut expected = 0;
        for b in &record.benchmarks {
            expected += b
                .figures
                .iter()
                .chain(&b.baseline.as_ref().unwrap().figures)
                .map(|f| 1 + f.trials.len())
                .sum::<usize>();
        }
        assert_eq!(rows.len(), expected);
        let p95 = record.benchmarks[0].figure("response_time", &[], "p(95)").unwrap();
        let of = |trial: &str| {
            rows.iter()
                .find(|r| {
                    &r[4] == "cpu-overhead"
                        && r[6].is_empty()
                        && &r[7] == trial
                        && &r[8] == "response_time"
                        && &r[10] == "p(95)"
                })
                .unwrap()
        };
        let all = of("");
        assert_eq!((&all[1], &all[5], &all[11]), ("2025-11-03T14:25:36Z", "EB-6", "ns"));
        assert_eq!(all[12].parse::<f64>().unwrap(), p95.value.unwrap());
        assert_eq!(all[13].parse::<f64>().unwrap(), p95.interval.unwrap().0);
        assert_eq!(of("2")[12].parse::<f64>().unwrap(), p95.trials[1].unwrap());
    }

    #[test]
    fn numbers_stay_numbers_and_formulas_become_text() {
        for (cell, expected) in [
            ("-5", "-5"),
            ("+1e3", "+1e3"),
            ("-1+1", "'-1+1"),
            ("=A1", "'=A1"),
            ("@x", "'@x"),
            ("\tx", "'\tx"),
            ("-inf", "'-inf"),
            ("'=A1", "''=A1"),
            ("'a'", "'a'"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(safe(cell), expected);
        }
    }

    proptest! {
        #[test]
        fn any_name_reads_back(name in any::<String>(), suite in any::<String>(), requirement in any::<String>()) {
            let mut record = golden::empty();
            let mut benchmark = golden::no_data().benchmarks.swap_remove(0);
            benchmark.figures.truncate(2);
            benchmark.name = name.clone();
            benchmark.requirement = Some(requirement.clone());
            record.run.suite = suite.clone();
            record.benchmarks.push(benchmark);
            for row in read(&record) {
                for (cell, text) in [(&row[4], &name), (&row[2], &suite), (&row[5], &requirement)] {
                    prop_assert!(cell == text || cell == format!("'{text}"), "{:?} of {:?}", cell, text);
                    prop_assert!(!cell.starts_with(['=', '@', '\t', '\r']) && (!cell.starts_with(['+', '-']) || cell.parse::<f64>().is_ok()));
                }
            }
        }
    }
}
