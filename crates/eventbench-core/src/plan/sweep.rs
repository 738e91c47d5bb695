//! `sweep`: one benchmark at several concurrencies, each a benchmark of its own in the plan and in the report.

use super::Benchmark;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is varied.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Workers of the closed loop, one benchmark for each number.
    pub workers: Vec<u32>,
}

impl Sweep {
    /// What a suite can have wrong here.
    ///
    /// # Errors
    /// In words for the user.
    pub fn check(&self, arrival: &str) -> Result<(), String> {
        if arrival != "closed" {
            return Err(format!(
                "a sweep over workers needs a closed loop; `arrival` is {arrival}"
            ));
        }
        if self.workers.is_empty() || self.workers.contains(&0) {
            return Err("expected numbers of workers above zero, such as [1, 16, 256]".to_owned());
        }
        let mut sorted = self.workers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < self.workers.len() {
            return Err("the same number of workers stands there twice".to_owned());
        }
        Ok(())
    }
}

impl Benchmark {
    /// The benchmarks that a sweep stands for, named after the number; the benchmark itself where there is none.
    pub fn swept(&self) -> Vec<Benchmark> {
        let Some(sweep) = &self.sweep else {
            return vec![self.clone()];
        };
        sweep
            .workers
            .iter()
            .map(|workers| {
                let mut one = self.clone();
                one.sweep = None;
                one.name.value = format!("{}-{workers}", self.name.value);
                one.load.value.workers = Some(*workers);
                one
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_was_expected() {
        let sweep = |workers: &[u32]| Sweep {
            workers: workers.to_vec(),
        };
        assert!(sweep(&[1, 16]).check("closed").is_ok());
        for (workers, arrival, part) in [
            (&[1, 16][..], "constant", "closed loop"),
            (&[], "closed", "above zero"),
            (&[0], "closed", "above zero"),
            (&[4, 1, 4], "closed", "twice"),
        ] {
            let message = sweep(workers).check(arrival).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
