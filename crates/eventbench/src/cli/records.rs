//! A record by what people write for it: a baseline's name, a run of the history, or a JSON file.

use super::{Failure, Global};
use eventbench_core::record::{RECORD_VERSION, RunRecord};
use eventbench_report::printable;
use eventbench_store::{History, HistoryError};
use std::path::Path;

/// A record with what it was asked for by.
pub struct Referred {
    /// The record.
    pub record: RunRecord,
    /// What people call it, where that is something else than the run's id: a baseline's name or a file's.
    pub label: Option<String>,
}

/// Finds the record that a reference stands for: a baseline's name (of this suite, where a name stands for runs of
/// several), a run's id or its beginning, `latest`, `latest~N`, or the path of a record as `-o json` writes it. `None`
/// where it stands for nothing.
///
/// # Errors
/// When a reference stands for more than one run, or what it stands for cannot be read.
pub fn find(reference: &str, suite: Option<&str>, global: &Global) -> Result<Option<Referred>, Failure> {
    let path = Path::new(reference);
    if reference.ends_with(".json") && path.is_file() {
        return from_file(path).map(Some);
    }
    let history = match History::open_existing(&global.history) {
        Err(HistoryError::Missing { .. }) if path.is_file() => return from_file(path).map(Some),
        opened => opened.map_err(Failure::environment)?,
    };
    let named = baseline(&history, reference, suite)?;
    let label = named.is_some().then(|| reference.to_owned());
    let run = match named {
        Some(run) => run,
        None => match history.find(reference) {
            Ok(run) => run,
            Err(HistoryError::UnknownRun { .. }) if path.is_file() => return from_file(path).map(Some),
            Err(HistoryError::UnknownRun { .. }) => return Ok(None),
            Err(error) => return Err(Failure::environment(error)),
        },
    };
    Ok(Some(Referred {
        record: history.load(&run).map_err(Failure::environment)?,
        label,
    }))
}

/// Loads the record that a reference stands for, as [`find`] does.
///
/// # Errors
/// Says what the reference could have stood for when it stands for nothing.
pub fn load(reference: &str, suite: Option<&str>, global: &Global) -> Result<Referred, Failure> {
    if let Some(found) = find(reference, suite, global)? {
        return Ok(found);
    }
    if reference.ends_with(".json") {
        return Err(Failure::environment(format!(
            "there is no file {}",
            printable(reference)
        )));
    }
    let history = History::open_existing(&global.history).map_err(Failure::environment)?;
    let unknown = HistoryError::UnknownRun {
        wanted: printable(reference),
        path: global.history.clone(),
    };
    Err(Failure::environment(format!(
        "{unknown}; {}",
        there_is(&history, None)?
    )))
}

/// The run that a baseline's name stands for; `None` where it is no baseline's.
fn baseline(history: &History, name: &str, suite: Option<&str>) -> Result<Option<String>, Failure> {
    let all = history.baselines().map_err(Failure::environment)?;
    let mut of_name: Vec<_> = all.into_iter().filter(|b| b.name == name).collect();
    if let Some(suite) = suite {
        of_name.retain(|b| b.suite == suite);
    }
    match of_name.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.run.clone())),
        several => {
            let runs: Vec<String> = several
                .iter()
                .map(|b| format!("{} ({})", printable(&b.suite), b.run))
                .collect();
            Err(Failure::usage(miette::miette!(
                "baseline \"{name}\" stands for runs of several suites: {}; write the run's id instead",
                runs.join(", ")
            )))
        }
    }
}

/// The baselines that there are, of a suite or of all, in words.
pub fn there_is(history: &History, suite: Option<&str>) -> Result<String, Failure> {
    let all = history.baselines().map_err(Failure::environment)?;
    let mut names: Vec<String> = all
        .into_iter()
        .filter(|b| suite.is_none_or(|s| b.suite == s))
        .map(|b| b.name)
        .collect();
    names.dedup();
    Ok(if names.is_empty() {
        "there are no baselines yet: `eventbench run --save-baseline NAME` saves one".to_owned()
    } else {
        format!("there are the baselines {}", names.join(", "))
    })
}

/// Reads a record as `-o json` writes it.
///
/// # Errors
/// Says what the file is when it is no record that this version understands.
pub fn from_file(path: &Path) -> Result<Referred, Failure> {
    let wrong = |what: String| Failure::environment(format!("{}: {what}", printable(&path.display().to_string())));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("it cannot be read: {e}")))?;
    let record = parse(&text).map_err(wrong)?;
    Ok(Referred {
        record,
        label: path.file_name().map(|name| name.to_string_lossy().into_owned()),
    })
}

/// A record from its JSON, its version looked at first.
fn parse(text: &str) -> Result<RunRecord, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}"))?;
    let hint = "a record is what `eventbench report RUN -o json=FILE` writes";
    let Some(version) = json.get("version").and_then(serde_json::Value::as_u64) else {
        return Err(format!("it is no record of eventbench: it has no version; {hint}"));
    };
    if version > u64::from(RECORD_VERSION) {
        return Err(format!(
            "its record has version {version}, and this eventbench knows up to {RECORD_VERSION}; use a newer eventbench"
        ));
    }
    let record: RunRecord =
        serde_json::from_value(json).map_err(|e| format!("it is no record of eventbench: {e}; {hint}"))?;
    if record.run.id.is_empty() {
        return Err(format!("it is no record of eventbench: its run has no id; {hint}"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_says_so() {
        for (text, says) in [
            ("", "no JSON"),
            ("{\"version\": 1", "no JSON"),
            ("{}", "no version"),
            ("[]", "no version"),
            ("{\"version\": 99}", "version 99"),
            ("{\"version\": 1}", "missing field `run`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
