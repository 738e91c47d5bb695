//! Baselines: names for runs that later ones are held against. A name stands for one run of each suite.

use crate::error::HistoryError;
use crate::history::History;
use crate::migrations::WITH_BASELINES;
use rusqlite::{OptionalExtension, params};

/// A name and the run that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The name.
    pub name: String,
    /// The suite whose run it is.
    pub suite: String,
    /// The profile of that run.
    pub profile: String,
    /// The run's id.
    pub run: String,
    /// When the name was given, in milliseconds since the Unix epoch.
    pub saved_unix_ms: i64,
    /// When the run was started, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
}

/// As many characters as the name of a baseline may have.
const LONGEST_NAME: usize = 64;

/// Whether a text may be the name of a baseline: letters, digits, and `. _ - + /` between them, so that it can stand in a
/// command line, a table and most file names.
///
/// # Errors
/// Says what is wrong with it.
pub fn baseline_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || "._-+/".contains(c);
    if name.is_empty() {
        return Err("a baseline needs a name".to_owned());
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("the name of a baseline has at most {LONGEST_NAME} characters"));
    }
    if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!(
            "the name of a baseline has letters, digits and . _ - + / only, not {c:?}"
        ));
    }
    if !name.starts_with(char::is_alphanumeric) {
        return Err("the name of a baseline begins with a letter or a digit".to_owned());
    }
    if name == "latest" {
        return Err("\"latest\" is the run that was started last, so no baseline can be called so".to_owned());
    }
    Ok(())
}

impl History {
    /// Gives a run a name. A name that stands for another run of the same suite stands for this one from now on; the id of
    /// that other run is returned.
    ///
    /// # Errors
    /// When the name will not do, there is no such run, or the file cannot be written.
    pub fn save_baseline(&mut self, name: &str, run: &str) -> Result<Option<String>, HistoryError> {
        baseline_name(name).map_err(|why| HistoryError::BaselineName {
            name: name.to_owned(),
            why,
        })?;
        self.writable()?;
        let number = self.number(run)?;
        let suite: String = self
            .connection
            .query_row("SELECT suite FROM runs WHERE number = ?", [number], |row| row.get(0))
            .map_err(|e| self.failed(e))?;
        let before = self.baseline(name, &suite)?;
        // The moment by the database's own clock: this crate has no other.
        self.connection
            .execute(
                "INSERT INTO baselines (name, suite, run, saved_unix_ms)
                 VALUES (?, ?, ?, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER))
                 ON CONFLICT (name, suite) DO UPDATE SET run = excluded.run, saved_unix_ms = excluded.saved_unix_ms",
                params![name, suite, number],
            )
            .map_err(|e| self.failed(e))?;
        Ok(before.filter(|b| b != run))
    }

    /// All baselines, by name and suite.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn baselines(&self) -> Result<Vec<Baseline>, HistoryError> {
        if self.version < WITH_BASELINES {
            return Ok(Vec::new());
        }
        let mut statement = self
            .connection
            .prepare(
                "SELECT b.name, b.suite, r.profile, r.id, b.saved_unix_ms, r.started_unix_ms
                 FROM baselines b JOIN runs r ON r.number = b.run ORDER BY b.name, b.suite",
            )
            .map_err(|e| self.failed(e))?;
        let rows = statement
            .query_map([], |row| {
                Ok(Baseline {
                    name: row.get(0)?,
                    suite: row.get(1)?,
                    profile: row.get(2)?,
                    run: row.get(3)?,
                    saved_unix_ms: row.get(4)?,
                    started_unix_ms: row.get(5)?,
                })
            })
            .map_err(|e| self.failed(e))?;
        rows.collect::<Result<_, _>>().map_err(|e| self.failed(e))
    }

    /// The id of the run that a name stands for in a suite; `None` where it stands for none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn baseline(&self, name: &str, suite: &str) -> Result<Option<String>, HistoryError> {
        if self.version < WITH_BASELINES {
            return Ok(None);
        }
        self.connection
            .query_row(
                "SELECT r.id FROM baselines b JOIN runs r ON r.number = b.run WHERE b.name = ? AND b.suite = ?",
                [name, suite],
                |row| row.get(0),
            )
            .optional()
            .map_err(|e| self.failed(e))
    }

    /// Takes a name away, in every suite; the runs stay. How many it stood for.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn delete_baseline(&mut self, name: &str) -> Result<usize, HistoryError> {
        self.writable()?;
        self.connection
            .execute("DELETE FROM baselines WHERE name = ?", [name])
            .map_err(|e| self.failed(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations;
    use crate::tests::{json, keep, place, renamed};
    use eventbench_testkit::golden;
    use rusqlite::{Connection, OpenFlags};

    #[test]
    fn a_name_stands_for_one_run_of_a_suite() {
        let (_directory, path) = place();
        let mut history = History::open(&path).unwrap();
        let base = golden::no_data();
        let mut other = renamed(&base, "20251102-000000-othr", 3);
        other.run.suite = "rpc".to_owned();
        for record in [
            &renamed(&base, "20251101-000000-aaaa", 1),
            &renamed(&base, "20251101-000000-bbbb", 2),
            &other,
        ] {
            keep(&mut history, record).unwrap();
        }
        assert_eq!(history.save_baseline("main", "20251101-000000-aaaa").unwrap(), None);
        assert_eq!(history.save_baseline("main", "20251102-000000-othr").unwrap(), None);
        assert_eq!(
            history
                .save_baseline("main", "20251101-000000-bbbb")
                .unwrap()
                .as_deref(),
            Some("20251101-000000-aaaa")
        );
        assert_eq!(history.save_baseline("main", "20251101-000000-bbbb").unwrap(), None);
        history.save_baseline("v1.2/gcc-13", "20251101-000000-aaaa").unwrap();
        let all = history.baselines().unwrap();
        let short: Vec<_> = all
            .iter()
            .map(|b| (b.name.as_str(), b.suite.as_str(), b.run.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                ("main", "event-bus", "20251101-000000-bbbb"),
                ("main", "rpc", "20251102-000000-othr"),
                ("v1.2/gcc-13", "event-bus", "20251101-000000-aaaa"),
            ]
        );
        assert_eq!(all[0].started_unix_ms, 2);
        // The database's clock is that of the machine: some time after this was written.
        assert!(all[0].saved_unix_ms > 1_700_000_000_000, "{:?}", all[0]);
        assert_eq!(
            history.baseline("main", "rpc").unwrap().as_deref(),
            Some("20251102-000000-othr")
        );
        assert_eq!(history.baseline("main", "agent").unwrap(), None);
        assert_eq!(history.delete_baseline("main").unwrap(), 2);
        assert_eq!(history.delete_baseline("main").unwrap(), 0);
        assert_eq!(history.baselines().unwrap().len(), 1);
        // The runs are still there.
        assert_eq!(history.list(10).unwrap().len(), 3);
    }

    #[test]
    fn a_run_that_a_name_stands_for_cannot_be_deleted() {
        let (_directory, path) = place();
        let (mut history, record) = (History::open(&path).unwrap(), golden::no_data());
        keep(&mut history, &record).unwrap();
        history.save_baseline("main", &record.run.id).unwrap();
        let delete = |history: &History| history.connection.execute("DELETE FROM runs", []);
        assert!(delete(&history).is_err());
        assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
        history.delete_baseline("main").unwrap();
        assert_eq!(delete(&history).unwrap(), 1);
    }

    #[test]
    fn names_are_words() {
        for name in ["main", "v1.2", "release/2.0", "2025-11-03", "größer", "a+b_c"] {
            baseline_name(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let long = "a".repeat(65);
        for (name, says) in [
            ("", "needs a name"),
            ("a b", "' '"),
            ("a\u{1b}[31m", "'\\u{1b}'"),
            ("-rf", "begins with"),
            ("../x", "begins with"),
            ("latest", "started last"),
            ("latest~1", "'~'"),
            (long.as_str(), "at most 64"),
        ] {
            let error = baseline_name(name).unwrap_err();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        let (_directory, path) = place();
        let (mut history, record) = (History::open(&path).unwrap(), golden::no_data());
        keep(&mut history, &record).unwrap();
        assert!(matches!(
            history.save_baseline("a b", &record.run.id),
            Err(HistoryError::BaselineName { .. })
        ));
        assert!(matches!(
            history.save_baseline("main", "nowhere"),
            Err(HistoryError::UnknownRun { .. })
        ));
    }

    /// A history as version 1 made it, with a run in it.
    fn old(path: &std::path::Path) -> eventbench_core::record::RunRecord {
        let record = golden::all_pass();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut connection = Connection::open(path).unwrap();
        migrations::make_old(&mut connection, 1).unwrap();
        let insert = "INSERT INTO runs (id, version, suite, profile, started_unix_ms, head) VALUES (?, 1, ?, ?, ?, ?)";
        let head = serde_json::to_string(&record.run).unwrap();
        let run = &record.run;
        connection
            .execute(
                insert,
                params![run.id, run.suite, run.profile, run.started_unix_ms, head],
            )
            .unwrap();
        for (place, benchmark) in record.benchmarks.iter().enumerate() {
            let body = serde_json::to_string(benchmark).unwrap();
            connection
                .execute(
                    "INSERT INTO benchmarks VALUES (1, ?, ?, 'pass', ?)",
                    params![place as i64, benchmark.name, body],
                )
                .unwrap();
        }
        record
    }

    #[test]
    fn a_history_of_the_first_version_is_brought_up_to_date_where_it_lies() {
        let (_directory, path) = place();
        let record = old(&path);
        let mut history = History::open(&path).unwrap();
        assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
        assert_eq!(history.baselines().unwrap(), []);
        history.save_baseline("main", &record.run.id).unwrap();
        let compared = golden::compared().comparison.unwrap();
        history.put_comparison(&record.run.id, &compared).unwrap();
        drop(history);
        let history = History::open_existing(&path).unwrap();
        assert_eq!(history.load(&record.run.id).unwrap().comparison, Some(compared));
        assert_eq!(history.baselines().unwrap().len(), 1);
    }

    #[test]
    fn one_that_may_only_be_read_is_read_as_it_is() {
        let (_directory, path) = place();
        let record = old(&path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let mut history = History::open_with(&path, flags, std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(json(&history.load(&record.run.id).unwrap()), json(&record));
        assert_eq!(history.list(10).unwrap().len(), 1);
        assert_eq!(history.baselines().unwrap(), []);
        assert_eq!(history.baseline("main", "event-bus").unwrap(), None);
        assert!(history.noise("this machine").unwrap().is_empty());
        let error = history.save_baseline("main", &record.run.id).unwrap_err();
        assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
    }
}
