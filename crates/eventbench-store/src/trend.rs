//! What trends are made of: the heads of all runs, what each measured and how that ended, and one figure in every run.

use crate::error::HistoryError;
use crate::history::History;
use eventbench_core::judge::{Verdict, figure};
use eventbench_core::metric::{MetricKey, Statistic, Values};
use eventbench_core::record::{BenchmarkRecord, RunHead};
use eventbench_core::units::Unit;
use rusqlite::params;

/// A benchmark of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The run's id.
    pub run: String,
    /// The benchmark.
    pub benchmark: String,
    /// What it came to.
    pub verdict: Verdict,
}

/// Which figure, as the history names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredFigure {
    /// The metric's id.
    pub metric: String,
    /// Its tags, as `key:value` joined by commas; empty without any.
    pub tags: String,
    /// The statistic.
    pub stat: String,
}

/// A figure in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPoint {
    /// The run's id.
    pub run: String,
    /// The figure over the trials.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// The smallest and the largest trial, where there are at least two.
    pub range: Option<(f64, f64)>,
    /// Trials with a value.
    pub trials: u32,
}

const UNITS: [Unit; 7] = [
    Unit::Nanoseconds,
    Unit::Bytes,
    Unit::BytesPerHour,
    Unit::PerSecond,
    Unit::Ratio,
    Unit::Cores,
    Unit::Count,
];

/// The name under which a statistic is kept, where it has two.
fn kept_as(stat: &str) -> &str {
    match stat {
        "p(50)" => "med",
        "avg" => "mean",
        other => other,
    }
}

impl History {
    /// The heads of all runs, oldest first.
    ///
    /// # Errors
    /// When the file or a head in it cannot be read.
    pub fn heads(&self) -> Result<Vec<RunHead>, HistoryError> {
        let mut statement = self
            .connection
            .prepare("SELECT id, head FROM runs ORDER BY started_unix_ms, number")
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let (id, head) = row.map_err(|e| self.failed(e))?;
            serde_json::from_str(&head).map_err(|e| self.unreadable(&id, e))
        })
        .collect()
    }

    /// What every run measured, in the order of runs and of their benchmarks.
    ///
    /// # Errors
    /// When the file or a verdict in it cannot be read.
    pub fn measured(&self) -> Result<Vec<Measured>, HistoryError> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT r.id, b.name, b.verdict FROM runs r JOIN benchmarks b ON b.run = r.number
                 ORDER BY r.started_unix_ms, r.number, b.place",
            )
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))
            .map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let (run, benchmark, word): (String, String, String) = row.map_err(|e| self.failed(e))?;
            let verdict =
                serde_json::from_value(serde_json::Value::String(word)).map_err(|e| self.unreadable(&run, e))?;
            Ok(Measured {
                run,
                benchmark,
                verdict,
            })
        })
        .collect()
    }

    /// The figures that a run keeps of a benchmark, in the order in which it was put.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn figures(&self, run: &str, benchmark: &str) -> Result<Vec<StoredFigure>, HistoryError> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT metric, tags, stat FROM metrics WHERE run = ?1 AND benchmark = ?2 AND variant = '' AND trial IS NULL
                 ORDER BY rowid",
            )
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map(params![self.number(run)?, benchmark], |row| {
                Ok(StoredFigure {
                    metric: row.get(0)?,
                    tags: row.get(1)?,
                    stat: row.get(2)?,
                })
            })
            .map_err(|e| self.failed(e))?;
        rows.collect::<Result<_, _>>().map_err(|e| self.failed(e))
    }

    /// A figure in every run that has it, oldest first. One that is not kept, such as `p(90)`, is worked out from the
    /// records' distributions, which takes longer.
    ///
    /// # Errors
    /// When the file or a record in it cannot be read.
    pub fn points(&self, benchmark: &str, wanted: &StoredFigure) -> Result<Vec<StoredPoint>, HistoryError> {
        let kept = self.kept_points(benchmark, wanted)?;
        if !kept.is_empty() {
            return Ok(kept);
        }
        match Statistic::parse(&wanted.stat) {
            Some(statistic) => self.worked_out(benchmark, wanted, &statistic),
            None => Ok(kept),
        }
    }

    fn kept_points(&self, benchmark: &str, wanted: &StoredFigure) -> Result<Vec<StoredPoint>, HistoryError> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT r.id, m.unit, max(m.value) FILTER (WHERE m.trial IS NULL),
                        min(m.value) FILTER (WHERE m.trial IS NOT NULL), max(m.value) FILTER (WHERE m.trial IS NOT NULL),
                        count(m.value) FILTER (WHERE m.trial IS NOT NULL)
                 FROM metrics m JOIN runs r ON r.number = m.run
                 WHERE m.benchmark = ?1 AND m.metric = ?2 AND m.stat = ?3 AND m.variant = '' AND m.tags = ?4
                 GROUP BY m.run, m.place ORDER BY r.started_unix_ms, r.number, m.place",
            )
            .map_err(|e| self.failed(e))?;
        let key = params![benchmark, wanted.metric, kept_as(&wanted.stat), wanted.tags];
        let rows = statement
            .query_map(key, |row| {
                let (low, high): (Option<f64>, Option<f64>) = (row.get(3)?, row.get(4)?);
                let (symbol, value, trials): (String, Option<f64>, u32) = (row.get(1)?, row.get(2)?, row.get(5)?);
                let run = row.get(0)?;
                Ok(value.map(|value| StoredPoint {
                    run,
                    value,
                    unit: UNITS.into_iter().find(|u| u.symbol() == symbol).unwrap_or(Unit::Count),
                    range: low.zip(high).filter(|_| trials > 1),
                    trials,
                }))
            })
            .map_err(|e| self.failed(e))?;
        rows.filter_map(Result::transpose)
            .collect::<Result<_, _>>()
            .map_err(|e| self.failed(e))
    }

    fn worked_out(
        &self,
        benchmark: &str,
        wanted: &StoredFigure,
        statistic: &Statistic,
    ) -> Result<Vec<StoredPoint>, HistoryError> {
        let tags = wanted.tags.split(',').filter_map(|t| t.split_once(':'));
        let key = MetricKey {
            metric: wanted.metric.clone(),
            tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        };
        let mut statement = self
            .connection
            .prepare(
                "SELECT r.id, b.body FROM benchmarks b JOIN runs r ON r.number = b.run WHERE b.name = ?
                 ORDER BY r.started_unix_ms, r.number, b.place",
            )
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map([benchmark], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .map_err(|e| self.failed(e))?;
        let mut points = Vec::new();
        for row in rows {
            let (run, body) = row.map_err(|e| self.failed(e))?;
            let record: BenchmarkRecord = serde_json::from_str(&body).map_err(|e| self.unreadable(&run, e))?;
            let trials: Vec<&Values> = record
                .trials
                .iter()
                .filter(|t| t.variant.is_empty())
                .map(|t| &t.values)
                .collect();
            let Some(figure) = figure(&trials, &key, statistic) else {
                continue;
            };
            points.extend(figure.value.map(|value| StoredPoint {
                run,
                value,
                unit: figure.unit,
                range: figure.range,
                trials: figure.trials.iter().flatten().count() as u32,
            }));
        }
        Ok(points)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn history() -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.db")).unwrap();
        for (number, (_, mut record)) in golden::records().into_iter().enumerate() {
            record.run.started_unix_ms = 1_000 * number as i64;
            history.put_record(&record).unwrap();
        }
        (dir, history)
    }

    fn wanted(metric: &str, tags: &str, stat: &str) -> StoredFigure {
        StoredFigure {
            metric: metric.to_owned(),
            tags: tags.to_owned(),
            stat: stat.to_owned(),
        }
    }

    #[test]
    fn every_run_and_what_it_measured_is_there() {
        let (_dir, history) = history();
        let records = golden::records();
        let heads = history.heads().unwrap();
        assert!(heads.iter().map(|h| &h.id).eq(records.iter().map(|(_, r)| &r.run.id)));
        let measured = history.measured().unwrap();
        let expected: Vec<Measured> = records
            .iter()
            .flat_map(|(_, r)| r.benchmarks.iter().map(move |b| (r, b)))
            .map(|(r, b)| Measured {
                run: r.run.id.clone(),
                benchmark: b.name.clone(),
                verdict: b.verdict,
            })
            .collect();
        assert_eq!(measured, expected);
    }

    #[test]
    fn a_point_is_the_figure_of_the_record() {
        let (_dir, history) = history();
        let (_, record) = &golden::records()[0];
        let benchmark = &record.benchmarks[0];
        for stored in history.figures(&record.run.id, &benchmark.name).unwrap() {
            let name = |tags: &std::collections::BTreeMap<String, String>| crate::tall::tags(tags);
            let figure = benchmark
                .figures
                .iter()
                .find(|f| f.metric == stored.metric && name(&f.tags) == stored.tags && f.stat == stored.stat)
                .unwrap();
            let points = history.points(&benchmark.name, &stored).unwrap();
            let point = points.iter().find(|p| p.run == record.run.id);
            assert_eq!(point.map(|p| p.value), figure.value, "{stored:?}");
            if let Some(point) = point {
                assert_eq!((point.unit, point.range), (figure.unit, figure.range), "{stored:?}");
            }
        }
    }

    #[test]
    fn a_statistic_with_two_names_is_found_by_both_and_one_that_is_not_kept_is_worked_out() {
        let (_dir, history) = history();
        let at = |stat: &str| {
            history
                .points("single-event-latency", &wanted("response_time", "", stat))
                .unwrap()
        };
        let (median, p60, p95) = (at("p(50)"), at("p(60)"), at("p(95)"));
        assert!(median.len() > 1 && median == at("med"));
        assert_eq!(p60.len(), median.len());
        let between = |(low, (mid, high)): (&StoredPoint, (&StoredPoint, &StoredPoint))| {
            low.run == mid.run && low.value < mid.value && mid.value < high.value
        };
        assert!(
            median.iter().zip(p60.iter().zip(&p95)).all(between),
            "{median:?} {p60:?}"
        );
        assert!(
            history
                .points("no such benchmark", &wanted("response_time", "", "p(50)"))
                .unwrap()
                .is_empty()
        );
        assert!(at("nonsense").is_empty());
    }
}
