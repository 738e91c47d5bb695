//! Reading a history: records, summaries, and a run by what people type for it.

use crate::error::HistoryError;
use crate::history::History;
use crate::migrations::WITH_BASELINES;
use eventbench_core::judge::Verdict;
use eventbench_core::record::{BenchmarkRecord, Ended, RECORD_VERSION, RunHead, RunRecord};
use rusqlite::{OptionalExtension, params};

/// A run in one line.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// The suite.
    pub suite: String,
    /// The profile.
    pub profile: String,
    /// Start, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// Length in seconds, when it came to an end.
    pub seconds: Option<f64>,
    /// How it ended.
    pub ended: Ended,
    /// Its verdict: the highest of its benchmarks'.
    pub verdict: Verdict,
    /// Benchmarks that were planned.
    pub planned: usize,
    /// Benchmarks by verdict.
    pub counts: VerdictCounts,
}

/// How many benchmarks came to which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Passed.
    pub pass: usize,
    /// Warned.
    pub warn: usize,
    /// Without data.
    pub no_data: usize,
    /// Failed.
    pub fail: usize,
    /// Invalid.
    pub invalid: usize,
}

impl VerdictCounts {
    fn add(&mut self, verdict: Verdict, n: usize) {
        match verdict {
            Verdict::Pass => self.pass += n,
            Verdict::Warn => self.warn += n,
            Verdict::NoData => self.no_data += n,
            Verdict::Fail => self.fail += n,
            Verdict::Invalid => self.invalid += n,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.pass + self.warn + self.no_data + self.fail + self.invalid
    }
}

/// As many runs as an ambiguous beginning of an id is answered with.
const CANDIDATES: usize = 5;

impl History {
    /// The whole record of a run, by its whole id.
    ///
    /// # Errors
    /// When there is no such run, or it cannot be read.
    pub fn load(&self, run: &str) -> Result<RunRecord, HistoryError> {
        // One transaction, so that head and benchmarks belong together while another process writes.
        let transaction = self.connection.unchecked_transaction().map_err(|e| self.failed(e))?;
        let (number, version, head): (i64, u32, String) = transaction
            .query_row("SELECT number, version, head FROM runs WHERE id = ?", [run], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(|e| self.failed(e))?
            .ok_or_else(|| HistoryError::UnknownRun {
                wanted: run.to_owned(),
                path: self.path.clone(),
            })?;
        if version > RECORD_VERSION {
            return Err(self.unreadable(
                run,
                format!("its record has version {version}, and this eventbench knows up to {RECORD_VERSION}"),
            ));
        }
        let head: RunHead = serde_json::from_str(&head).map_err(|e| self.unreadable(run, e))?;
        let mut statement = transaction
            .prepare("SELECT body FROM benchmarks WHERE run = ? ORDER BY place")
            .map_err(|e| self.failed(e))?;
        let bodies = statement
            .query_map([number], |row| row.get::<_, String>(0))
            .map_err(|e| self.failed(e))?;
        let mut benchmarks = Vec::new();
        for body in bodies {
            let body = body.map_err(|e| self.failed(e))?;
            benchmarks.push(serde_json::from_str::<BenchmarkRecord>(&body).map_err(|e| self.unreadable(run, e))?);
        }
        Ok(RunRecord {
            version,
            run: head,
            benchmarks,
            comparison: self.comparison(run, number)?,
        })
    }

    /// The record of the run that was started last.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn latest(&self) -> Result<RunRecord, HistoryError> {
        self.load(&self.find("latest")?)
    }

    /// The whole id of what people type for a run: an id, its unique beginning, `latest`, or `latest~N` for the Nth before it.
    ///
    /// # Errors
    /// When no run or more than one is meant.
    pub fn find(&self, wanted: &str) -> Result<String, HistoryError> {
        let unknown = || HistoryError::UnknownRun {
            wanted: wanted.to_owned(),
            path: self.path.clone(),
        };
        if let Some(rest) = wanted.strip_prefix("latest") {
            let back = match rest.strip_prefix('~') {
                None if rest.is_empty() => Some(0),
                Some(n) => n.parse::<u32>().ok(),
                None => None,
            };
            if let Some(back) = back {
                let found = self
                    .connection
                    .query_row(
                        "SELECT id FROM runs ORDER BY started_unix_ms DESC, number DESC LIMIT 1 OFFSET ?",
                        [back],
                        |row| row.get(0),
                    )
                    .optional()
                    .map_err(|e| self.failed(e))?;
                return match found {
                    Some(id) => Ok(id),
                    None if back == 0 => Err(HistoryError::NoRuns {
                        path: self.path.clone(),
                    }),
                    None => Err(unknown()),
                };
            }
        }
        if wanted.is_empty() {
            return Err(unknown());
        }
        let mut statement = self
            .connection
            .prepare("SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id = ?1 DESC, id LIMIT ?2")
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map(params![wanted, CANDIDATES as i64], |row| row.get::<_, String>(0))
            .map_err(|e| self.failed(e))?;
        let mut candidates = rows.collect::<Result<Vec<_>, _>>().map_err(|e| self.failed(e))?;
        match candidates.len() {
            0 => Err(unknown()),
            n if n == 1 || candidates[0] == wanted => Ok(candidates.swap_remove(0)),
            _ => Err(HistoryError::Ambiguous {
                wanted: wanted.to_owned(),
                candidates,
            }),
        }
    }

    /// The runs that were started last, the last one first, at most `limit` of them.
    ///
    /// # Errors
    /// When the file or a head in it cannot be read.
    pub fn list(&self, limit: usize) -> Result<Vec<RunSummary>, HistoryError> {
        let transaction = self.connection.unchecked_transaction().map_err(|e| self.failed(e))?;
        let mut heads = transaction
            .prepare("SELECT number, head, id FROM runs ORDER BY started_unix_ms DESC, number DESC LIMIT ?")
            .map_err(|e| self.failed(e))?;
        let mut verdicts = transaction
            .prepare("SELECT verdict, count(*) FROM benchmarks WHERE run = ? GROUP BY verdict")
            .map_err(|e| self.failed(e))?;
        // A comparison counts in a run's verdict, though not as a benchmark of its own.
        let mut compared = transaction
            .prepare(if self.version < WITH_BASELINES {
                "SELECT NULL WHERE ?1 IS NULL"
            } else {
                "SELECT verdict FROM comparisons WHERE run = ?1"
            })
            .map_err(|e| self.failed(e))?;
        let rows = heads
            .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                ))
            })
            .map_err(|e| self.failed(e))?;
        let mut summaries = Vec::new();
        for row in rows {
            let (number, head, id) = row.map_err(|e| self.failed(e))?;
            let head: RunHead = serde_json::from_str(&head).map_err(|e| self.unreadable(&id, e))?;
            let mut counts = VerdictCounts::default();
            let mut highest = None;
            let of_run = verdicts
                .query_map([number], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .map_err(|e| self.failed(e))?;
            let read = |word| {
                serde_json::from_value::<Verdict>(serde_json::Value::String(word)).map_err(|e| self.unreadable(&id, e))
            };
            for pair in of_run {
                let (word, n) = pair.map_err(|e| self.failed(e))?;
                let verdict = read(word)?;
                counts.add(verdict, usize::try_from(n).unwrap_or(0));
                highest = highest.max(Some(verdict));
            }
            let of_comparison: Option<String> = compared
                .query_row([number], |row| row.get(0))
                .optional()
                .map_err(|e| self.failed(e))?;
            if let (Some(word), Some(_)) = (of_comparison, highest) {
                highest = highest.max(Some(read(word)?));
            }
            summaries.push(RunSummary {
                id: head.id,
                suite: head.suite,
                profile: head.profile,
                started_unix_ms: head.started_unix_ms,
                seconds: head.seconds,
                ended: head.ended,
                verdict: highest.unwrap_or(Verdict::NoData),
                planned: head.planned.len(),
                counts,
            });
        }
        Ok(summaries)
    }
}
