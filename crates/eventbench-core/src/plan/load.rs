//! `load`: at which instants events are meant to be sent, and over how many connections.

use crate::arrival::{StageEntry, Think};
use crate::units::{Duration, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The load of a benchmark. Which fields apply depends on `arrival`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// constant, poisson, ramp, steps, burst, closed or users.
    pub arrival: String,
    /// Events per second, such as "100/s".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Ramp: the rate at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Rate>,
    /// Ramp: the rate at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Rate>,
    /// Steps: each with a rate and a duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepEntry>>,
    /// Burst: events at one instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Burst: from one burst to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// Closed loop: events in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Users: how many there are when all have come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// Users: how many come in a second, one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_rate: Option<Rate>,
    /// Users: how many there are at the end of each stage, in place of `users`, `spawn_rate` and `duration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageEntry>>,
    /// Users: how long each waits between two tasks; not at all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
    /// Length of the measured phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Stop after this many measured events, if the duration has not ended before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Length of the warm-up before it, at the initial rate; its events are in the books but not in the figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Duration>,
    /// Connections over which the events are spread, one stream each; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Threads that share the connections; 1 if absent. Two cores rarely gain from more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    /// Which of all random schedules; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// One step of `steps`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepEntry {
    /// Events per second.
    pub rate: Rate,
    /// For how long.
    pub duration: Duration,
}

impl Load {
    /// Names of the shape fields that are set.
    pub fn shape_fields(&self) -> Vec<&'static str> {
        let set = [
            ("rate", self.rate.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("steps", self.steps.is_some()),
            ("size", self.size.is_some()),
            ("every", self.every.is_some()),
            ("workers", self.workers.is_some()),
            ("users", self.users.is_some()),
            ("spawn_rate", self.spawn_rate.is_some()),
            ("stages", self.stages.is_some()),
            ("think", self.think.is_some()),
        ];
        set.into_iter().filter(|f| f.1).map(|f| f.0).collect()
    }

    /// The load in words, for reports.
    pub fn describe(&self) -> String {
        use crate::units::Unit;
        let per_s = |r: Option<Rate>| r.map_or_else(|| "?".to_owned(), |r| Unit::PerSecond.show(r.0));
        let time = |d: Option<Duration>| d.map_or_else(|| "?".to_owned(), |d| Unit::Nanoseconds.show(d.0));
        let shape = match self.arrival.as_str() {
            "constant" => format!("{} evenly", per_s(self.rate)),
            "poisson" => format!("{} at random (Poisson)", per_s(self.rate)),
            "ramp" => format!("{} rising to {}", per_s(self.from), per_s(self.to)),
            "steps" => {
                let steps = self.steps.as_deref().unwrap_or_default();
                let steps: Vec<String> = steps
                    .iter()
                    .map(|s| format!("{} for {}", Unit::PerSecond.show(s.rate.0), time(Some(s.duration))))
                    .collect();
                steps.join(", then ")
            }
            "burst" => match self.every {
                Some(every) => format!(
                    "{} at once every {}",
                    self.size.unwrap_or(0),
                    Unit::Nanoseconds.show(every.0)
                ),
                None => format!("{} at once", self.size.unwrap_or(0)),
            },
            "closed" => format!("closed loop, {} in flight", self.workers.unwrap_or(0)),
            "users" => self.describe_users(),
            other => other.to_owned(),
        };
        let mut text = match self.arrival.as_str() {
            "steps" => shape,
            "users" if self.stages.is_some() => shape,
            _ => format!("{shape}, {}", time(self.duration)),
        };
        if let Some(events) = self.events {
            text.push_str(&format!(", at most {events} events"));
        }
        if let Some(connections) = self.connections.filter(|c| *c > 1) {
            text.push_str(&format!(", {connections} connections"));
        }
        text
    }

    fn describe_users(&self) -> String {
        let who = match (&self.stages, self.users) {
            (Some(stages), _) => {
                let to = |s: &StageEntry| format!("to {} in {}", s.users, s.over);
                format!(
                    "virtual users, {}",
                    stages.iter().map(to).collect::<Vec<_>>().join(", ")
                )
            }
            (None, users) => {
                let rate = self.spawn_rate.map_or(0.0, |r| r.0);
                format!(
                    "{} virtual users at {}",
                    users.unwrap_or(0),
                    crate::units::Unit::PerSecond.show(rate)
                )
            }
        };
        let wait = match self.think {
            None => return who,
            Some(Think::Constant(wait)) => format!("thinking {wait}"),
            Some(Think::Uniform(least, most)) => format!("thinking {least} to {most}"),
            Some(Think::Exponential(mean)) => format!("thinking {mean} on average"),
            Some(Think::Pacing(every)) => format!("a task each {every}"),
        };
        format!("{who}, {wait}")
    }
}
