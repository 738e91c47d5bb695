//! Noise passports: what calibrations found, machine by machine and figure by figure.

use crate::error::HistoryError;
use crate::history::History;
use crate::migrations::WITH_BASELINES;
use eventbench_core::judge::compare::{FigureId, NoiseBook, Session};
use rusqlite::{TransactionBehavior, params};

/// As many calibrations as are kept of a figure: enough to know its noise, few enough to follow a machine that changes.
const SESSIONS: i64 = 20;

impl History {
    /// Adds a calibration of a figure on a machine; of those, the newest twenty are kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_noise(&mut self, machine: &str, id: &FigureId, session: &Session) -> Result<(), HistoryError> {
        self.writable()?;
        let body = serde_json::to_string(session).map_err(|e| self.unreadable_noise(&e))?;
        let figure = [machine, &id.suite, &id.benchmark, &id.metric, &id.tags, &id.stat];
        let result = (|| {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT INTO noise (machine, suite, benchmark, metric, tags, stat, at_unix_ms, session)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    figure[0],
                    figure[1],
                    figure[2],
                    figure[3],
                    figure[4],
                    figure[5],
                    session.at_unix_ms,
                    body
                ],
            )?;
            transaction.execute(
                "DELETE FROM noise WHERE number IN (
                     SELECT number FROM noise
                     WHERE machine = ? AND suite = ? AND benchmark = ? AND metric = ? AND tags = ? AND stat = ?
                     ORDER BY at_unix_ms DESC, number DESC LIMIT -1 OFFSET ?)",
                params![
                    figure[0], figure[1], figure[2], figure[3], figure[4], figure[5], SESSIONS
                ],
            )?;
            transaction.commit()
        })();
        result.map_err(|e| self.failed(e))
    }

    /// All that is known of the noise of a machine, the oldest calibration of a figure first.
    ///
    /// # Errors
    /// When the file or a calibration in it cannot be read.
    pub fn noise(&self, machine: &str) -> Result<NoiseBook, HistoryError> {
        let mut book = NoiseBook::new();
        if self.version < WITH_BASELINES {
            return Ok(book);
        }
        let mut statement = self
            .connection
            .prepare(
                "SELECT suite, benchmark, metric, tags, stat, session FROM noise WHERE machine = ?
                 ORDER BY at_unix_ms, number",
            )
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map([machine], |row| {
                let id = FigureId {
                    suite: row.get(0)?,
                    benchmark: row.get(1)?,
                    metric: row.get(2)?,
                    tags: row.get(3)?,
                    stat: row.get(4)?,
                };
                Ok((id, row.get::<_, String>(5)?))
            })
            .map_err(|e| self.failed(e))?;
        for row in rows {
            let (id, body) = row.map_err(|e| self.failed(e))?;
            let session: Session = serde_json::from_str(&body).map_err(|e| self.unreadable_noise(&e))?;
            book.entry(id).or_default().sessions.push(session);
        }
        Ok(book)
    }

    fn unreadable_noise(&self, cause: &serde_json::Error) -> HistoryError {
        HistoryError::Calibration {
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::place;

    #[test]
    fn the_newest_calibrations_of_each_figure_are_kept_in_order() {
        let (_directory, path) = place();
        let mut history = History::open(&path).unwrap();
        let id = |stat: &str| FigureId {
            suite: "event-bus".to_owned(),
            benchmark: "single-event-latency".to_owned(),
            metric: "response_time".to_owned(),
            tags: "stream=chat".to_owned(),
            stat: stat.to_owned(),
        };
        let session = |at: i64| Session {
            at_unix_ms: at,
            a: vec![1.25, at as f64],
            b: vec![1.5],
            pair_s: 2.5,
        };
        // Not in order of time: what counts is when it was, not when it was added.
        for at in (0..25).map(|n| (n * 7) % 25) {
            history.add_noise("this", &id("p(50)"), &session(at)).unwrap();
        }
        history.add_noise("this", &id("p(95)"), &session(3)).unwrap();
        history.add_noise("that", &id("p(50)"), &session(4)).unwrap();
        let book = History::open_existing(&path).unwrap().noise("this").unwrap();
        assert_eq!(book.len(), 2);
        let kept: Vec<i64> = book[&id("p(50)")].sessions.iter().map(|s| s.at_unix_ms).collect();
        assert_eq!(kept, (5..25).collect::<Vec<_>>());
        assert_eq!(book[&id("p(50)")].sessions[0], session(5));
        assert_eq!(book[&id("p(95)")].sessions, [session(3)]);
        assert_eq!(history.noise("that").unwrap().len(), 1);
        assert!(history.noise("nothing").unwrap().is_empty());
    }
}
