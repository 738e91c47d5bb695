use super::*;
use crate::judge::compare::runs::tests::head;
use serde_json::json;

fn plan() -> Value {
    json!({
        "suite": { "name": "s", "about": "words", "seed": 1, "margin": "0.05", "warn_margin": "0.2" },
        "profile": "quick",
        "broker": { "nats": { "jetstream": false, "url": null } },
        "services": {
            "store": { "run": ["{self}", "service"], "on_request": false },
            "extra": { "run": ["other"], "on_request": true },
        },
        "benchmarks": [
            { "name": "one", "about": "?", "tags": ["t"], "trials": 3, "limits": ["mean < 5ms"], "services": null,
              "load": { "arrival": "constant", "rate": "100/s" } },
            { "name": "two", "services": ["store", "extra"], "broker": false, "load": { "arrival": "closed" } },
        ],
        "overrides": ["trials = 3"],
        "source_name": "built-in:s",
        "source_text": "[suite]",
    })
}

fn with(change: impl Fn(&mut RunHead)) -> RunHead {
    let mut head = head("r");
    head.plan = plan();
    change(&mut head);
    head
}

fn differing(change: impl Fn(&mut RunHead)) -> Vec<String> {
    let found = mismatches(&with(|_| {}), &with(change));
    found.into_iter().map(|m| m.what).collect()
}

#[test]
fn what_cannot_change_a_result_is_no_difference() {
    assert!(differing(|_| {}).is_empty());
    assert!(
        differing(|h| {
            h.environment.facts.insert("load at start".to_owned(), "9.5".to_owned());
            h.environment.memory_bytes += 1 << 20;
            h.overrides.push("trials = 20".to_owned());
            let p = &mut h.plan;
            p["suite"]["about"] = json!("other words");
            p["suite"]["margin"] = json!("0.2");
            p["suite"]["gate"] = json!(["p(99)"]);
            p["profile"] = json!("standard");
            p["source_text"] = json!("# a comment");
            p["benchmarks"][0]["trials"] = json!(20);
            p["benchmarks"][0]["limits"] = json!([]);
            p["benchmarks"][0]["new_option"] = Value::Null;
        })
        .is_empty()
    );
}

#[test]
fn a_single_benchmark_compares_with_the_whole_suite() {
    let only_one = |h: &mut RunHead| {
        let first = h.plan["benchmarks"][0].clone();
        h.plan["benchmarks"] = json!([first]);
        h.environment.versions.remove("nats-server");
    };
    assert!(differing(only_one).is_empty());
    assert!(mismatches(&with(only_one), &with(|_| {})).is_empty());
}

#[test]
fn what_can_change_a_result_is_named() {
    for (expected, change) in [
        (
            vec!["CPU model"],
            (|h| h.environment.cpu = "other".to_owned()) as fn(&mut RunHead),
        ),
        (vec!["cores"], |h| h.environment.cores = 64),
        (vec!["kernel"], |h| h.environment.kernel = "7.0".to_owned()),
        (vec!["memory"], |h| h.environment.memory_bytes *= 2),
        (vec!["governor"], |h| {
            h.environment
                .facts
                .insert("governor".to_owned(), "powersave".to_owned());
        }),
        (vec!["cgroup CPU limit (cores)"], |h| {
            h.environment
                .facts
                .insert("cgroup CPU limit (cores)".to_owned(), "1.5".to_owned());
        }),
        (vec!["placement"], |h| {
            h.placement = Some(Placement {
                broker: vec![0],
                awake: true,
                ..Placement::default()
            });
        }),
        (vec!["nats-server"], |h| {
            h.environment
                .versions
                .insert("nats-server".to_owned(), "9.9.9".to_owned());
        }),
        (vec!["plan of one"], |h| {
            h.plan["benchmarks"][0]["load"]["rate"] = json!("200/s")
        }),
        (vec!["plan of one", "plan of two"], |h| {
            h.plan["suite"]["seed"] = json!(2)
        }),
        (vec!["plan of one", "plan of two"], |h| {
            h.plan["services"]["store"]["run"] = json!(["x"])
        }),
        // Only what a benchmark runs with concerns it.
        (vec!["plan of two"], |h| {
            h.plan["services"]["extra"]["run"] = json!(["x"])
        }),
        (vec!["plan of one"], |h| {
            h.plan["broker"]["nats"]["jetstream"] = json!(true)
        }),
    ] {
        assert_eq!(differing(change), expected);
    }
}

#[test]
fn the_machines_key_is_neither_versions_nor_plan() {
    let key = |change: fn(&mut RunHead)| machine_key(&with(change));
    let plain = key(|_| {});
    assert_eq!(plain.len(), 16);
    assert_eq!(
        plain,
        key(|h| {
            h.plan = Value::Null;
            h.environment.versions.clear();
            h.suite = "other".to_owned();
        })
    );
    assert_ne!(plain, key(|h| h.environment.cpu = "other".to_owned()));
    assert_ne!(plain, key(|h| h.placement = Some(Placement::default())));
}
