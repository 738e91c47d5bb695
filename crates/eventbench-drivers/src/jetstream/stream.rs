//! Streams that a benchmark brings along: made when they are not there, removed again by whoever made them.

use super::control::{Control, ControlError};
use eventbench_core::driver::DriverError;
use eventbench_core::host::Clock;
use eventbench_core::trial::Variables;
use eventbench_core::units::{Bytes, Duration};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// A stream.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// The subjects it takes, with wildcards.
    pub subjects: Vec<String>,
    /// Where it keeps messages; file if absent.
    #[serde(default)]
    pub storage: Storage,
    /// On how many nodes; 1 if absent.
    #[serde(default = "one")]
    pub replicas: u32,
    /// How much it takes before it refuses more; without limit if absent.
    pub max_bytes: Option<Bytes>,
    /// For how long the id of a message keeps a second one out; 2 minutes if absent.
    pub duplicate_window: Option<Duration>,
}

/// Where messages are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

fn one() -> u32 {
    1
}

/// A stream that is removed with this value when it was made for it.
pub struct Held {
    name: String,
    made: Option<Variables>,
}

/// How often the state of a new stream's replicas is asked for: an election takes about a second.
const ASK_AGAIN_NS: u64 = 20_000_000;
/// How often in all: a minute.
const QUESTIONS: u32 = 3_000;
/// How often a probe is sent: from two seconds, where nobody listens, to a minute, where nobody answers.
const REACH_QUESTIONS: u32 = 120;

/// The server's number of "stream not found".
const NOT_FOUND: u64 = 10_059;

impl Stream {
    /// Checks what a server would refuse.
    pub fn check(&self) -> Result<(), String> {
        let dotted = |c: char| c.is_whitespace() || "./\\*>".contains(c);
        if self.name.is_empty() || self.name.contains(dotted) {
            return Err(format!(
                "\"{}\" cannot be a stream's name: it must not be empty, nor hold spaces, dots, slashes or wildcards",
                self.name.escape_debug()
            ));
        }
        if self.subjects.is_empty() {
            return Err("a stream needs at least one subject, such as \"events.>\"".to_owned());
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(format!("replicas must be 1, 3 or 5, not {}", self.replicas));
        }
        Ok(())
    }

    fn config(&self) -> Value {
        json!({
            "name": self.name,
            "subjects": self.subjects,
            "storage": match self.storage { Storage::File => "file", Storage::Memory => "memory" },
            "num_replicas": self.replicas,
            "retention": "limits",
            "discard": "new",
            "max_bytes": self.max_bytes.map_or(-1, |b| i64::try_from(b.0 as u64).unwrap_or(i64::MAX)),
            "max_msgs": -1,
            "max_age": 0,
            "duplicate_window": self.duplicate_window.map_or(120_000_000_000, Duration::ns),
        })
    }

    /// Makes the stream, or finds it with the same configuration, and waits until all of its replicas are current.
    ///
    /// # Errors
    /// When JetStream is off, the server refuses, there is one of this name with another configuration, or its replicas
    /// do not come up.
    pub fn hold(&self, variables: &Variables, name: &str) -> Result<Held, DriverError> {
        let failed = |e: ControlError| DriverError::new(format!("stream \"{}\"", self.name), e);
        let mut control = Control::connect(variables, &format!("{name} streams"))?;
        let made = match control.ask(&format!("STREAM.INFO.{}", self.name), &Value::Null) {
            Ok(info) => {
                self.same(&info)?;
                None
            }
            Err(e) if e.code() == Some(NOT_FOUND) => {
                control
                    .ask(&format!("STREAM.CREATE.{}", self.name), &self.config())
                    .map_err(failed)?;
                // A broker of the run's own goes with its store, stream and all.
                variables.get("broker.nats.attached").map(|_| variables.clone())
            }
            Err(e) => return Err(failed(e)),
        };
        let held = Held {
            name: self.name.clone(),
            made,
        };
        self.wait_current(&mut control)?;
        self.wait_reachable(&mut control)?;
        Ok(held)
    }

    /// Waits until a message from our server reaches the stream: in a cluster, the others hear of a new stream's subjects
    /// a little later than its replicas are current.
    fn wait_reachable(&self, control: &mut Control) -> Result<(), DriverError> {
        let clock = Clock::Monotonic;
        for subject in self.subjects.iter().map(|s| s.replace(['*', '>'], "probe")) {
            let mut questions = 0;
            while !control.reaches_a_stream(&subject)? {
                questions += 1;
                if questions == REACH_QUESTIONS {
                    return Err(DriverError::new(
                        format!("stream \"{}\"", self.name),
                        format!(
                            "messages on \"{subject}\" do not reach it; has it a leader, and does the server allow the subject?"
                        ),
                    ));
                }
                clock.sleep_until(clock.now_ns() + ASK_AGAIN_NS);
            }
        }
        Ok(())
    }

    fn same(&self, info: &Value) -> Result<(), DriverError> {
        let wanted = self.config();
        let differing: Vec<String> = ["subjects", "storage", "num_replicas", "max_bytes", "duplicate_window"]
            .iter()
            .filter_map(|key| {
                let there = info.get("config").and_then(|c| c.get(key)).unwrap_or(&Value::Null);
                let asked = wanted.get(key).unwrap_or(&Value::Null);
                (there != asked).then(|| format!("{key} is {there}, not {asked}"))
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(DriverError::new(
            format!("stream \"{}\"", self.name),
            format!(
                "it is there with another configuration: {}; remove it, or say what it is in the suite",
                differing.join(", ")
            ),
        ))
    }

    fn wait_current(&self, control: &mut Control) -> Result<(), DriverError> {
        if self.replicas == 1 {
            return Ok(());
        }
        let mut last = String::new();
        for _ in 0..QUESTIONS {
            match control.ask(&format!("STREAM.INFO.{}", self.name), &Value::Null) {
                Ok(info) => match lagging(&info, self.replicas) {
                    None => return Ok(()),
                    Some(what) => last = what,
                },
                Err(e) => last = e.to_string(),
            }
            let clock = Clock::Monotonic;
            clock.sleep_until(clock.now_ns() + ASK_AGAIN_NS);
        }
        Err(DriverError::new(
            format!("stream \"{}\"", self.name),
            format!("its {} replicas did not become current: {last}", self.replicas),
        ))
    }
}

/// What is missing of a stream's replicas.
fn lagging(info: &Value, replicas: u32) -> Option<String> {
    let cluster = info.get("cluster")?;
    if cluster.get("leader").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Some("it has no leader".to_owned());
    }
    let others = cluster.get("replicas").and_then(Value::as_array);
    let current = others.map_or(0, |all| {
        all.iter()
            .filter(|r| r.get("current").and_then(Value::as_bool) == Some(true))
            .count()
    });
    (current + 1 < replicas as usize).then(|| format!("{} of {replicas} are current", current + 1))
}

impl Drop for Held {
    fn drop(&mut self) {
        // A broker that stays must not keep what a run has put there. When it cannot be reached any more there is nothing
        // left to do here, and the run has its own error.
        if let Some(variables) = &self.made
            && let Ok(mut control) = Control::connect(variables, "eventbench streams")
        {
            let _ = control.ask(&format!("STREAM.DELETE.{}", self.name), &Value::Null);
        }
    }
}
