//! Records as JSON: one, or a list of them as `history export --format json` writes it.

use super::error::ImportError;
use super::foreign::Origin;
use super::identity::valid;
use eventbench_core::metric::MetricValue;
use eventbench_core::observe::Latency;
use eventbench_core::record::{RECORD_VERSION, RunRecord};
use serde::Deserialize;

/// Only the version, which is looked at before the form that it stands for.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The records as they are; they know where they come from.
pub(crate) fn read(text: &str, _: &Origin) -> Result<Vec<RunRecord>, ImportError> {
    let many = text.trim_start().starts_with('[');
    let versions: Vec<Version> = if many {
        serde_json::from_str(text)?
    } else {
        vec![serde_json::from_str(text)?]
    };
    if let Some(newer) = versions.iter().find(|v| v.version > RECORD_VERSION) {
        return Err(ImportError::whole(format!(
            "a record of version {}, and this eventbench knows up to {RECORD_VERSION}; use a newer eventbench",
            newer.version
        )));
    }
    let records: Vec<RunRecord> = if many {
        serde_json::from_str(text)?
    } else {
        vec![serde_json::from_str(text)?]
    };
    if records.is_empty() {
        return Err(ImportError::whole("an empty list of records"));
    }
    for (i, record) in records.iter().enumerate() {
        let id = &record.run.id;
        if !valid(id) {
            return Err(ImportError::whole(format!(
                "record {}: {id:?} is no id of a run: letters, digits, \"-\", \"_\" and \".\", at most 80",
                i + 1
            )));
        }
        if records[..i].iter().any(|r| r.run.id == *id) {
            return Err(ImportError::whole(format!("two records with the id {id}")));
        }
        for (benchmark, trial) in record
            .benchmarks
            .iter()
            .flat_map(|b| b.trials.iter().map(move |t| (b, t)))
        {
            let unsound = trial.values.0.iter().find(|(_, value)| !sound(value));
            if let Some((key, _)) = unsound {
                return Err(ImportError::whole(format!(
                    "run {id}: the sums of {key} in trial {} of {:?} cannot be those of its histogram",
                    trial.number, benchmark.name
                )));
            }
        }
    }
    Ok(records)
}

/// Whether the sums that stand beside a histogram can be its own: the mean lies between the extremes, the deviation is
/// no larger than they are apart, and adding up many such trials overflows nothing.
fn sound(value: &MetricValue) -> bool {
    /// Far above the squares of all times of a long run, and far below what 128 bits hold.
    const MOST_NS2: f64 = 1e36;
    let MetricValue::Latency(latency) = value else {
        return true;
    };
    let figures = |l: &Latency| Some((l.min_ns()?, l.mean_ns()?, l.max_ns()?, l.stddev_ns()?));
    figures(latency).is_none_or(|(min, mean, max, stddev)| {
        let slack = max * 1e-9;
        // A deviation is a small difference of large squares, of which half of the digits are lost.
        let loss = 1.0 + max * 1e-6;
        let squares = (mean * mean + stddev * stddev) * latency.count() as f64;
        min <= mean + slack && mean <= max + slack && stddev <= max - min + loss && squares <= MOST_NS2
    })
}
