//! Comparisons: how a run compared with its baseline, kept beside the record that it belongs to.

use crate::error::HistoryError;
use crate::history::History;
use crate::migrations::WITH_BASELINES;
use eventbench_core::judge::compare::RunComparison;
use rusqlite::{Connection, OptionalExtension, params};

impl History {
    /// Keeps how a run compares with its baseline; one that was kept before is replaced.
    ///
    /// # Errors
    /// When there is no such run, or the file cannot be written.
    pub fn put_comparison(&mut self, run: &str, comparison: &RunComparison) -> Result<(), HistoryError> {
        self.writable()?;
        let number = self.number(run)?;
        let (verdict, body) = self.written_comparison(run, comparison)?;
        write(&self.connection, number, &verdict, &body).map_err(|e| self.failed(e))
    }

    /// Verdict and whole of a comparison as the table holds them.
    pub(crate) fn written_comparison(
        &self,
        run: &str,
        comparison: &RunComparison,
    ) -> Result<(String, String), HistoryError> {
        let verdict = self.json(run, &comparison.verdict())?;
        Ok((verdict.trim_matches('"').to_owned(), self.json(run, comparison)?))
    }

    /// The comparison of a run by its row number.
    pub(crate) fn comparison(&self, run: &str, number: i64) -> Result<Option<RunComparison>, HistoryError> {
        if self.version < WITH_BASELINES {
            return Ok(None);
        }
        self.connection
            .query_row("SELECT body FROM comparisons WHERE run = ?", [number], |row| {
                row.get::<_, String>(0)
            })
            .optional()
            .map_err(|e| self.failed(e))?
            .map(|body| serde_json::from_str(&body).map_err(|e| self.unreadable(run, e)))
            .transpose()
    }
}

pub(crate) fn write(connection: &Connection, run: i64, verdict: &str, body: &str) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO comparisons (run, verdict, body) VALUES (?, ?, ?)",
        params![run, verdict, body],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{json, keep, place, renamed};
    use eventbench_core::judge::Verdict;
    use eventbench_testkit::golden;

    #[test]
    fn a_comparison_counts_in_the_verdict_of_its_run() {
        let (_directory, path) = place();
        let (mut history, record) = (History::open(&path).unwrap(), golden::compared());
        keep(&mut history, &record).unwrap();
        assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
        let listed = history.list(1).unwrap().swap_remove(0);
        assert_eq!((listed.verdict, listed.counts.pass), (Verdict::Fail, 2));

        let mut better = record.comparison.clone().unwrap();
        better.rows.truncate(0);
        history.put_comparison(&record.run.id, &better).unwrap();
        assert_eq!(history.load(&record.run.id).unwrap().comparison, Some(better));
        assert_eq!(history.list(1).unwrap()[0].verdict, Verdict::NoData);
        assert!(matches!(
            history.put_comparison("nowhere", &record.comparison.unwrap()),
            Err(HistoryError::UnknownRun { .. })
        ));
    }

    #[test]
    fn a_whole_record_is_kept_once() {
        let (_directory, path) = place();
        let mut history = History::open(&path).unwrap();
        for (name, record) in golden::records() {
            assert!(history.put_record(&record).unwrap(), "{name}");
            assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record), "{name}");
            assert!(!history.put_record(&record).unwrap(), "{name}");
        }
        let mut other = golden::all_pass();
        other.benchmarks.pop();
        let error = history.put_record(&other).unwrap_err();
        assert!(matches!(error, HistoryError::Exists { .. }), "{error:?}");
        assert!(error.to_string().contains("other content"), "{error}");
        assert_eq!(json(&history.load(&other.run.id).unwrap()), json(&golden::all_pass()));
        // What cannot be written whole is not written at all.
        let mut twice = renamed(&golden::all_pass(), "20251101-000000-twic", 1);
        twice.comparison = golden::compared().comparison;
        history
            .connection
            .execute_batch("CREATE TRIGGER no BEFORE INSERT ON comparisons BEGIN SELECT RAISE(ABORT, 'no'); END")
            .unwrap();
        history.put_record(&twice).unwrap_err();
        assert!(matches!(
            history.load(&twice.run.id),
            Err(HistoryError::UnknownRun { .. })
        ));
    }
}
