//! Which benchmarks are compared at all, and what a careful reader should know beside the rows.

use super::runs::{Both, Task, by_name, unfit_of};
use super::{ComparedRow, Role};
use crate::record::{Ended, RunRecord};

/// Pairs up the benchmarks, in the order of a, and says which of either run are left over.
///
/// What b was never meant to run (it was started with fewer benchmarks of the same suite) is a remark; what has gone from
/// b in any other way stays in the list without its second side, so that it is no data and never a pass.
pub(super) fn pair_up<'a>(
    a: &'a RunRecord,
    b: &'a RunRecord,
    names: &(String, String),
) -> (Vec<Both<'a>>, Vec<String>) {
    let (of_a, of_b) = (by_name(a), by_name(b));
    let (mut pairs, mut left_out, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for first in &a.benchmarks {
        let name = first.name.as_str();
        let second = of_b.get(name).copied();
        if second.is_none() && was_left_out(b, name) {
            left_out.push(name);
            continue;
        }
        pairs.push(Both {
            name,
            a: Some(first),
            b: second,
            unfit: match second {
                Some(second) => unfit_of((&names.0, first), (&names.1, second)),
                None => Some(format!("{} does not have this benchmark", names.1)),
            },
        });
    }
    if !left_out.is_empty() {
        notes.push(format!(
            "not compared, since {} was started without: {}",
            names.1,
            left_out.join(", ")
        ));
    }
    let new: Vec<&str> = b.benchmarks.iter().map(|b| b.name.as_str()).collect();
    let new: Vec<&str> = new.into_iter().filter(|name| !of_a.contains_key(name)).collect();
    if !new.is_empty() {
        notes.push(format!(
            "only {} has {}: there is nothing to compare with yet",
            names.1,
            new.join(", ")
        ));
    }
    (pairs, notes)
}

/// Whether a benchmark stands in the suite that b was run from, and b was started without it.
fn was_left_out(b: &RunRecord, name: &str) -> bool {
    if b.run.planned.iter().any(|planned| planned == name) {
        return false;
    }
    let suite: Option<toml::Table> = b.run.plan["source_text"].as_str().and_then(|text| text.parse().ok());
    let benchmarks = suite
        .as_ref()
        .and_then(|s| s.get("benchmark"))
        .and_then(|b| b.as_array());
    let mut names = benchmarks.into_iter().flatten().filter_map(|b| b.get("name")?.as_str());
    names.any(|known| known == name)
}

/// Trials a side below which an interval is wide whatever the machine.
const FEW_TRIALS: u32 = 5;

/// What to know of the comparison as a whole.
pub(super) fn about(task: &Task<'_>, rows: &[ComparedRow]) -> Vec<String> {
    let mut notes = task.gates.refused.clone();
    let (name_a, name_b) = task.names();
    for (name, run) in [(&name_a, task.a), (&name_b, task.b)] {
        if run.run.ended != Ended::Complete {
            notes.push(format!("{name} was not run to its end"));
        }
    }
    let gates = || rows.iter().filter(|r| r.role == Role::Gate && r.effect.is_some());
    if gates().next().is_none() {
        return notes;
    }
    if let Some(fewest) = gates()
        .map(|r| r.trials_a.min(r.trials_b))
        .min()
        .filter(|n| *n < FEW_TRIALS)
    {
        notes.push(format!(
            "{fewest} {} a side say little: from {FEW_TRIALS} on an interval is worth its name, ten are better ({} 10)",
            if fewest == 1 { "trial" } else { "trials" },
            if task.options.paired { "--pairs" } else { "--trials" }
        ));
    }
    if gates().all(|r| r.visible.is_none()) {
        notes.push(format!(
            "how much these figures vary on this machine by themselves is not known; `eventbench calibrate {}` measures it once",
            task.b.run.suite
        ));
    }
    if !task.options.paired && task.a.run.id != task.b.run.id {
        notes.push(
            "the two runs were made at different times, so what the machine did meanwhile is in the difference; \
             `eventbench duel` runs two variants in turn"
                .to_owned(),
        );
        if gates().any(|r| r.visible.is_some() && task.sessions(r) == 1) {
            notes.push("drift between sessions is unknown: one calibration only".to_owned());
        }
    }
    notes
}

impl Task<'_> {
    /// How often a row's figure was calibrated.
    fn sessions(&self, row: &ComparedRow) -> usize {
        let key = crate::metric::MetricKey {
            metric: row.metric.clone(),
            tags: row.tags.clone(),
        };
        let statistic = crate::metric::Statistic::parse(&row.stat);
        let noise = statistic.and_then(|stat| self.noise(&row.benchmark, &key, &stat));
        noise.map_or(0, |n| n.sessions.len())
    }
}
