//! Resolution: from a suite, a profile, a selection and overrides to the plan of one run.

use super::{Benchmark, Brokers, PlacementSetting, Profile, Service, Source, Suite, SuiteHead};
use crate::units::{Duration, Rate};
use indexmap::IndexMap;
use serde::Serialize;

/// Which benchmarks are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Names, tags, requirement ids or categories, with `*` and `?`; all when empty.
    pub only: Vec<String>,
    /// None of these.
    pub skip: Vec<String>,
}

/// What flags change; each is written into the plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Every rate.
    pub rate: Option<Rate>,
    /// Every duration.
    pub duration: Option<Duration>,
    /// Every number of trials.
    pub trials: Option<u32>,
    /// Every number of virtual users.
    pub users: Option<u32>,
    /// The rate at which they come.
    pub spawn_rate: Option<Rate>,
    /// The seed.
    pub seed: Option<u64>,
    /// Which cores each role is kept to.
    pub placement: Option<PlacementSetting>,
}

/// A checked suite, resolved for one run; immutable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What holds for all benchmarks.
    pub suite: SuiteHead,
    /// The profile's name.
    pub profile: String,
    /// The broker.
    pub broker: Brokers,
    /// The systems under test.
    pub services: IndexMap<String, Service>,
    /// The benchmarks that are run, with profile and overrides applied.
    pub benchmarks: Vec<Benchmark>,
    /// What flags changed, in words.
    pub overrides: Vec<String>,
    /// Where the suite came from.
    pub source_name: String,
    /// The suite file's text.
    pub source_text: String,
}

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The profile does not exist.
    #[error("suite \"{suite}\" has no profile \"{profile}\"; it has {known}")]
    UnknownProfile {
        /// The suite.
        suite: String,
        /// What was asked for.
        profile: String,
        /// What there is.
        known: String,
    },
    /// A pattern matches nothing.
    #[error(
        "\"{pattern}\" matches no benchmark of suite \"{suite}\"; `eventbench list {suite}` shows names, tags and requirement ids"
    )]
    NothingMatches {
        /// The suite.
        suite: String,
        /// The pattern.
        pattern: String,
    },
    /// Everything was skipped.
    #[error("nothing is left to run of suite \"{suite}\" in profile \"{profile}\"")]
    Empty {
        /// The suite.
        suite: String,
        /// The profile.
        profile: String,
    },
}

/// Makes the plan of one run. The suite must have been checked.
///
/// # Errors
/// When the profile or a pattern matches nothing.
pub fn resolve(
    suite: &Suite,
    source: &Source,
    profile: &str,
    selection: &Selection,
    overrides: &Overrides,
) -> Result<Plan, SelectionError> {
    let standard = Profile::default();
    let settings = match suite.profile.get(profile) {
        Some(settings) => settings,
        None if profile == "standard" || suite.profile.is_empty() => &standard,
        None => {
            let known: Vec<&str> = suite.profile.keys().map(String::as_str).collect();
            return Err(SelectionError::UnknownProfile {
                suite: suite.suite.name.clone(),
                profile: profile.to_owned(),
                known: known.join(", "),
            });
        }
    };
    let all: Vec<Benchmark> = suite.benchmark.iter().flat_map(Benchmark::swept).collect();
    for pattern in selection.only.iter().chain(&selection.skip) {
        if !all.iter().any(|b| matches(b, pattern)) {
            return Err(SelectionError::NothingMatches {
                suite: suite.suite.name.clone(),
                pattern: pattern.clone(),
            });
        }
    }
    let wanted = |b: &&Benchmark| {
        // Naming a benchmark overrides the profile's own choice.
        let only = if selection.only.is_empty() {
            &settings.only
        } else {
            &selection.only
        };
        let skipped_by_profile = selection.only.is_empty() && settings.skip.iter().any(|p| matches(b, p));
        (only.is_empty() || only.iter().any(|p| matches(b, p)))
            && !skipped_by_profile
            && !selection.skip.iter().any(|p| matches(b, p))
    };
    let benchmarks: Vec<Benchmark> = all
        .iter()
        .filter(wanted)
        .map(|b| resolved(b, profile, settings, overrides))
        .collect();
    if benchmarks.is_empty() {
        return Err(SelectionError::Empty {
            suite: suite.suite.name.clone(),
            profile: profile.to_owned(),
        });
    }
    let mut head = suite.suite.clone();
    if let Some(seed) = overrides.seed {
        head.seed = seed;
    }
    if let Some(placement) = &overrides.placement {
        head.placement.value = placement.clone();
    }
    Ok(Plan {
        suite: head,
        profile: profile.to_owned(),
        broker: suite.broker.clone(),
        services: suite
            .service
            .iter()
            .map(|(name, service)| (name.clone(), service.value.clone()))
            .collect(),
        benchmarks,
        overrides: describe(overrides),
        source_name: source.name.clone(),
        source_text: source.text.clone(),
    })
}

fn describe(overrides: &Overrides) -> Vec<String> {
    [
        overrides.rate.map(|r| format!("rate = {r}")),
        overrides.duration.map(|d| format!("duration = {d}")),
        overrides.trials.map(|t| format!("trials = {t}")),
        overrides.users.map(|n| format!("users = {n}")),
        overrides.spawn_rate.map(|r| format!("spawn_rate = {r}")),
        overrides.seed.map(|s| format!("seed = {s}")),
        overrides.placement.as_ref().map(|p| format!("placement = {p}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a pattern names the benchmark, one of its tags, its requirement or its category.
fn matches(benchmark: &Benchmark, pattern: &str) -> bool {
    let mut words = vec![benchmark.name.as_str(), benchmark.category()];
    words.extend(benchmark.tags.iter().map(String::as_str));
    words.extend(benchmark.requirement.as_deref());
    words
        .into_iter()
        .any(|word| wildcard(&pattern.to_lowercase(), &word.to_lowercase()))
}

/// `*` stands for any text, `?` for one character.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // One row of the usual table: reachable[j] tells whether the pattern so far matches the first j characters.
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    for p in pattern {
        let mut next = vec![false; text.len() + 1];
        for j in 0..=text.len() {
            next[j] = match p {
                '*' => reachable[j] || (j > 0 && next[j - 1]),
                '?' => j > 0 && reachable[j - 1],
                c => j > 0 && reachable[j - 1] && text[j - 1] == c,
            };
        }
        reachable = next;
    }
    reachable[text.len()]
}

fn resolved(benchmark: &Benchmark, profile: &str, settings: &Profile, overrides: &Overrides) -> Benchmark {
    let mut out = benchmark.clone();
    let own = benchmark.profile.get(profile).cloned().unwrap_or_default();
    let load = &mut out.load.value;
    let scale = settings.duration_scale.unwrap_or(1.0);
    let rate_scale = settings.rate_scale.unwrap_or(1.0);
    load.duration = overrides
        .duration
        .or(own.duration)
        .or(load.duration.map(|d| Duration((d.0 * scale).round())));
    load.warmup = own.warmup.or(load.warmup);
    load.events = own.events.or(load.events);
    if load.rate.is_some() {
        load.rate = overrides
            .rate
            .or(own.rate)
            .or(load.rate.map(|r| Rate(r.0 * rate_scale)));
    }
    for rate in [&mut load.from, &mut load.to].into_iter().flatten() {
        rate.0 *= rate_scale;
    }
    for step in load.steps.iter_mut().flatten() {
        step.rate.0 *= rate_scale;
        step.duration = Duration((step.duration.0 * scale).round());
    }
    if let Some(stages) = &mut load.stages {
        // The stages say how long the load is; another duration stretches them all alike.
        let total: f64 = stages.iter().map(|s| s.over.0).sum();
        let scale = load.duration.take().map_or(scale, |wanted| wanted.0 / total.max(1.0));
        for stage in stages {
            stage.over = Duration((stage.over.0 * scale).round());
        }
    }
    load.users = load.users.map(|users| overrides.users.unwrap_or(users));
    load.spawn_rate = load.spawn_rate.map(|rate| overrides.spawn_rate.unwrap_or(rate));
    out.trials = Some(
        overrides
            .trials
            .or(own.trials)
            .or(benchmark.trials)
            .or(settings.trials)
            .unwrap_or(3),
    );
    out.profile.clear();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("single*", "single-event-latency", true),
            ("*latency", "single-event-latency", true),
            ("eb-?", "eb-1", true),
            ("eb-?", "eb-10", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
