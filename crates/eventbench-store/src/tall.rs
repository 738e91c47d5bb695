//! Figures as rows: (run, benchmark, variant, trial or none, metric, tags, statistic, unit, value), and whole
//! distributions as blobs, so that trends are one query and need no record to be read.

use eventbench_core::judge::Figure;
use eventbench_core::metric::MetricValue;
use eventbench_core::record::{BenchmarkRecord, TrialRecord};
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use rusqlite::{Transaction, params};
use std::collections::BTreeMap;

pub(crate) fn write(
    transaction: &Transaction<'_>,
    run: i64,
    place: i64,
    benchmark: &BenchmarkRecord,
) -> rusqlite::Result<()> {
    let mut rows = Rows {
        transaction,
        run,
        place,
        benchmark,
    };
    rows.figures("", &benchmark.figures)?;
    if let Some(baseline) = &benchmark.baseline {
        rows.figures(&baseline.name, &baseline.figures)?;
    }
    benchmark.trials.iter().try_for_each(|trial| rows.histograms(trial))
}

struct Rows<'a> {
    transaction: &'a Transaction<'a>,
    run: i64,
    place: i64,
    benchmark: &'a BenchmarkRecord,
}

impl Rows<'_> {
    fn figures(&mut self, variant: &str, figures: &[Figure]) -> rusqlite::Result<()> {
        let trials: Vec<u32> = self
            .benchmark
            .trials
            .iter()
            .filter(|t| t.variant == variant)
            .map(|t| t.number)
            .collect();
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        for figure in figures {
            let tags = tags(&figure.tags);
            let (low, high) = figure.interval.or(figure.range).unzip();
            let name = &self.benchmark.name;
            let unit = figure.unit.symbol();
            insert.execute(params![
                self.run,
                self.place,
                name,
                variant,
                None::<u32>,
                figure.metric,
                tags,
                figure.stat,
                unit,
                figure.value,
                low,
                high,
                i64::try_from(figure.samples).unwrap_or(i64::MAX)
            ])?;
            for (value, trial) in figure.trials.iter().zip(&trials) {
                insert.execute(params![
                    self.run,
                    self.place,
                    name,
                    variant,
                    trial,
                    figure.metric,
                    tags,
                    figure.stat,
                    unit,
                    value,
                    None::<f64>,
                    None::<f64>,
                    None::<i64>
                ])?;
            }
        }
        Ok(())
    }

    fn histograms(&self, trial: &TrialRecord) -> rusqlite::Result<()> {
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO histograms VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
        for (key, value) in &trial.values.0 {
            let MetricValue::Latency(latency) = value else { continue };
            let mut bytes = Vec::new();
            V2Serializer::new()
                .serialize(latency.histogram(), &mut bytes)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(format!("{e:?}").into()))?;
            insert.execute(params![
                self.run,
                self.place,
                trial.variant,
                trial.number,
                key.metric,
                tags(&key.tags),
                i64::try_from(latency.count()).unwrap_or(i64::MAX),
                bytes
            ])?;
        }
        Ok(())
    }
}

/// Tags as `key:value,key:value` in the order of the keys, as limits write them; empty without any.
pub(crate) fn tags(tags: &BTreeMap<String, String>) -> String {
    tags.iter()
        .map(|(k, v)| format!("{k}:{v}"))
        .collect::<Vec<_>>()
        .join(",")
}
