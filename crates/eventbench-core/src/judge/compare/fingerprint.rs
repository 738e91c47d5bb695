//! Whether two runs may be compared at all: the same machine, the same versions, the same plan.

use crate::plan::Placement;
use crate::record::RunHead;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A difference that makes two runs incomparable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// What differs, such as "CPU model" or "nats-server".
    pub what: String,
    /// With a.
    pub a: String,
    /// With b.
    pub b: String,
}

/// Facts of the environment that are the machine. Others, such as the load at the start, change from run to run.
const LASTING_FACTS: &[&str] = &[
    "architecture",
    "clock source",
    "governor",
    "cgroup CPU limit (cores)",
    "cgroup memory limit (bytes)",
];

/// How the fingerprint of a benchmark's plan is called.
const PLAN_OF: &str = "plan of ";

/// What must be equal for figures to be comparable, by name: CPU model, cores, memory and limits, kernel, governor,
/// placement, versions of tool and broker, and a hash of the plan of each benchmark ("plan of NAME").
pub fn fingerprint(head: &RunHead) -> BTreeMap<String, String> {
    let mut all = machine(head);
    all.extend(head.environment.versions.clone());
    for benchmark in head.plan["benchmarks"].as_array().into_iter().flatten() {
        if let Some(name) = benchmark["name"].as_str() {
            all.insert(format!("{PLAN_OF}{name}"), plan_hash(&head.plan, benchmark));
        }
    }
    all
}

/// The part of the fingerprint that is the machine with its placement, as one short key: what a noise passport belongs to.
pub fn machine_key(head: &RunHead) -> String {
    let machine: Vec<Value> = machine(head)
        .into_iter()
        .map(|(what, is)| Value::Array(vec![what.into(), is.into()]))
        .collect();
    hash(&Value::Array(machine))
}

/// How two fingerprints differ. Benchmarks and versions that only one of them has are no difference: a run of a single
/// benchmark compares with one of the whole suite.
pub fn mismatches(a: &RunHead, b: &RunHead) -> Vec<Mismatch> {
    let (of_a, of_b) = (fingerprint(a), fingerprint(b));
    let lasting = machine(a);
    let mut found = Vec::new();
    for (what, is_a) in &of_a {
        let is_b = match of_b.get(what) {
            Some(is_b) => is_b.as_str(),
            None if lasting.contains_key(what) => NONE,
            None => continue,
        };
        if is_a != is_b {
            found.push(Mismatch {
                what: what.clone(),
                a: is_a.clone(),
                b: is_b.to_owned(),
            });
        }
    }
    found
}

const NONE: &str = "none";

fn machine(head: &RunHead) -> BTreeMap<String, String> {
    let environment = &head.environment;
    let gib = (environment.memory_bytes as f64 / (1u64 << 30) as f64).round();
    let mut machine: BTreeMap<String, String> = [
        ("operating system", environment.os.clone()),
        ("kernel", environment.kernel.clone()),
        ("CPU model", environment.cpu.clone()),
        ("cores", environment.cores.to_string()),
        ("memory", format!("{gib} GiB")),
        ("placement", placement(head.placement.as_ref())),
    ]
    .map(|(what, is)| (what.to_owned(), is))
    .into();
    for fact in LASTING_FACTS {
        let is = environment.facts.get(*fact).map_or(NONE, String::as_str);
        machine.insert((*fact).to_owned(), is.to_owned());
    }
    machine
}

fn placement(placement: Option<&Placement>) -> String {
    let Some(p) = placement else {
        return "free".to_owned();
    };
    let cores = |list: &[usize]| match list {
        [] => "any".to_owned(),
        list => list.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
    };
    format!(
        "broker {}, services {}, instrument {}{}",
        cores(&p.broker),
        cores(&p.services),
        cores(&p.instrument),
        if p.awake { ", kept awake" } else { "" }
    )
}

/// Of the suite: what is said about it, and what judges results without changing them. Placement stands for itself.
const NOT_OF_SUITE: &[&str] = &[
    "about",
    "warn_margin",
    "max_spread",
    "max_lateness",
    "placement",
    "gate",
    "margin",
];

/// Of a benchmark: the same, and how often it is run.
const NOT_OF_BENCHMARK: &[&str] = &[
    "about",
    "requirement",
    "category",
    "tags",
    "limits",
    "trials",
    "profile",
];

/// A hash of all that can change a benchmark's result: its load, drivers and faults, the suite's seed, and the broker and
/// services it runs with.
fn plan_hash(plan: &Value, benchmark: &Value) -> String {
    let mut whole = Map::new();
    whole.insert("suite".to_owned(), without(&plan["suite"], NOT_OF_SUITE));
    whole.insert("benchmark".to_owned(), without(benchmark, NOT_OF_BENCHMARK));
    let variants = [benchmark, &benchmark["against"]];
    if variants
        .iter()
        .any(|v| v.is_object() && v["broker"] != Value::Bool(false))
    {
        whole.insert("broker".to_owned(), plan["broker"].clone());
    }
    let used = |name: &str, service: &Value| {
        let named = variants
            .iter()
            .filter_map(|v| v["services"].as_array())
            .collect::<Vec<_>>();
        let by_default = benchmark["services"].is_null() && service["on_request"] != Value::Bool(true);
        by_default || named.iter().any(|list| list.iter().any(|s| s == name))
    };
    let services = plan["services"].as_object().into_iter().flatten();
    let services: Map<String, Value> = services
        .filter(|(name, service)| used(name, service))
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect();
    whole.insert("services".to_owned(), Value::Object(services));
    hash(&Value::Object(whole))
}

fn without(value: &Value, names: &[&str]) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let kept = map.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The first 64 bits of the SHA-256 of the value's canonical form, in hexadecimal digits.
fn hash(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Names in order, and without those that have no value: whether an option is left out or absent changes nothing.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            text.push('{');
            for (name, value) in sorted {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for value in list {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests;
