//! The head of a record: what is known of a run before its first benchmark.

use crate::host::Machine;
use crate::revision::revision;
use eventbench_core::host::Host as _;
use eventbench_core::mix::mix2;
use eventbench_core::plan::Plan;
use eventbench_core::record::{Ended, Environment, RunHead};
use eventbench_engine::placement::{Settled, settle};
use eventbench_engine::provision::Found;

/// The head of a run that begins now.
pub(crate) fn head(plan: &Plan, nats: Option<&Found>) -> RunHead {
    let started = Machine.wall_unix_ms();
    let mut environment = environment();
    if let Some(found) = nats {
        environment
            .versions
            .insert("nats-server".to_owned(), found.version.to_string());
    }
    // What cannot be had was refused in preflight; should it have gone since then, the record says so.
    let settled = settle(plan).unwrap_or_else(|e| Settled {
        placement: None,
        notices: vec![format!("{e}; the kernel placed every role")],
    });
    let random = mix2(started as u64, Machine.clock().now_ns() ^ u64::from(std::process::id()));
    RunHead {
        id: run_id(started, random),
        suite: plan.suite.name.clone(),
        about: plan.suite.about.clone(),
        profile: plan.profile.clone(),
        started_unix_ms: started,
        seconds: None,
        ended: Ended::Unfinished,
        overrides: plan.overrides.clone(),
        seed: plan.suite.seed,
        warn_margin: plan.suite.warn_margin.0,
        planned: plan.benchmarks.iter().map(|b| b.name.value.clone()).collect(),
        plan: serde_json::to_value(plan).unwrap_or(serde_json::Value::Null),
        environment,
        source: std::env::current_dir().ok().and_then(|dir| revision(&Machine, &dir)),
        placement: settled.placement,
        pair: None,
        notes: settled.notices,
    }
}

/// Date and time, which sort, and four digits that keep runs of one second apart.
fn run_id(started_unix_ms: i64, random: u64) -> String {
    let digits: String = eventbench_report::utc(started_unix_ms)
        .chars()
        .filter(char::is_ascii_digit)
        .take(14)
        .collect();
    let (date, time) = digits.split_at(digits.len().min(8));
    format!("{date}-{time}-{:04x}", random & 0xffff)
}

fn environment() -> Environment {
    let machine = eventbench_engine::probes::machine::MachineReading::take();
    let mut environment = Environment {
        os: machine.os.clone().unwrap_or_else(|| std::env::consts::OS.to_owned()),
        kernel: machine.kernel.clone(),
        cpu: machine
            .cpu_model
            .clone()
            .unwrap_or_else(|| machine.architecture.clone()),
        cores: machine
            .allowed_cpus
            .as_ref()
            .map(|c| c.len() as u32)
            .or(machine.logical_cpus.map(|n| n as u32))
            .unwrap_or(0),
        memory_bytes: machine.memory_total_bytes.unwrap_or(0),
        ..Environment::default()
    };
    environment
        .versions
        .insert("eventbench".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    environment
        .versions
        .insert("sqlite".to_owned(), eventbench_drivers::sqlite_version().to_owned());
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            environment.facts.insert(name.to_owned(), value);
        }
    };
    fact("architecture", Some(machine.architecture));
    fact("clock source", machine.clock_source);
    fact("governor", machine.governors.first().cloned());
    fact("cgroup CPU limit (cores)", machine.cgroup_cpus.map(|c| c.to_string()));
    fact(
        "cgroup memory limit (bytes)",
        machine.cgroup_memory_bytes.map(|b| b.to_string()),
    );
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_sorts_by_time() {
        assert_eq!(run_id(1_795_247_999_000, 0xabcde), "20261121-075959-bcde");
        assert!(run_id(1_000, 1) < run_id(2_000, 0));
    }
}
