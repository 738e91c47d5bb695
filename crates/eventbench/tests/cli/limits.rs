//! Limits from the environment, and what turns warnings into failures.

use crate::common::*;

fn suite(limits: &str) -> String {
    format!(
        r#"{HEAD}
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a" }}
load = {{ arrival = "constant", rate = "200/s", duration = "300ms" }}
limits = [{limits}]
"#
    )
}

#[test]
fn a_bound_from_the_environment_replaces_the_suites_and_is_named() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", suite("\"mean < 50s\", \"lost == 0\""));
    place.run(&["run", "suite.toml"]).exits(0);
    let mut command = place.tool(&["run", "suite.toml", "-o", "json=run.json", "-o", "markdown=run.md"]);
    command.env("BENCHMARK_LATENCY_MAX", "0.000001");
    let ran = place.finish(command).exits(1);
    assert!(
        ran.out.starts_with("FAIL") && flat(&ran.out).contains("BENCHMARK_LATENCY_MAX=0.000001"),
        "{}",
        ran.out
    );
    assert!(
        place.read("run.md").contains("BENCHMARK\\_LATENCY\\_MAX")
            || place.read("run.md").contains("BENCHMARK_LATENCY_MAX")
    );
    let json: serde_json::Value = serde_json::from_str(&place.read("run.json")).unwrap();
    let limits = benchmark(&json, "one")["limits"].as_array().unwrap();
    let of = |that: &str| limits.iter().find(|l| l["that"] == that).unwrap();
    assert_eq!(
        (&of("mean < 50s")["outcome"], &of("lost == 0")["outcome"]),
        (&"fail".into(), &"pass".into())
    );
    // The record says so by itself, without the environment.
    let again = place.run(&["report", "latest"]).exits(0);
    assert!(
        flat(&again.out).contains("BENCHMARK_LATENCY_MAX=0.000001"),
        "{}",
        again.out
    );
}

#[test]
fn a_bound_from_the_environment_that_is_no_number_is_refused_before_any_load() {
    let place = Place::new();
    place.write("suite.toml", suite("\"mean < 50s\""));
    for wrong in ["abc", "", "-", "NaN", "5ms"] {
        let mut command = place.tool(&["run", "suite.toml"]);
        command.env("BENCHMARK_LATENCY_MAX", wrong);
        let ran = place
            .finish(command)
            .exits(2)
            .complains(&[&format!("BENCHMARK_LATENCY_MAX=\"{wrong}\""), "milliseconds"]);
        assert!(!ran.err.contains("benchmarks, about"), "something was run: {}", ran.err);
        assert!(!place.history().exists());
    }
}

#[test]
fn a_warning_passes_unless_it_is_strict() {
    let (_load, place) = (load(), Place::new());
    // Impossible, so that it is missed on any machine; a `should` that is missed is a warning.
    place.write(
        "suite.toml",
        suite("{ that = \"mean < 1ns\", severity = \"should\" }, \"lost == 0\""),
    );
    let ran = place.run(&["run", "suite.toml"]).exits(0);
    assert!(ran.out.starts_with("WARN"), "{}", ran.out);
    let ran = place.run(&["run", "suite.toml", "--strict"]).exits(1);
    assert!(ran.out.starts_with("WARN"), "{}", ran.out);
    place.write(
        "suite.toml",
        suite("{ that = \"mean < 1ns\", severity = \"may\" }, \"lost == 0\""),
    );
    place.run(&["run", "suite.toml", "--strict"]).exits(0);
}

#[test]
fn a_limit_over_nothing_never_passes() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", suite("\"p(99) < 50s\", \"downtime < 1s\""));
    let ran = place.run(&["run", "suite.toml"]).exits(4);
    assert!(flat(&ran.out).contains("n too small: 60 a trial"), "{}", ran.out);
}
