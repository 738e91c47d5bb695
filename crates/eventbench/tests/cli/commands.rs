//! The commands that measure nothing: each works, and says something.

use crate::common::*;

#[test]
fn completions_the_manual_and_the_schema_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(&["completions", shell]).exits(0);
        assert!(
            ran.out.contains("eventbench") && ran.out.contains("baseline") | ran.out.contains("report"),
            "{shell}: {}",
            ran.out
        );
    }
    let man = place.run(&["man"]).exits(0).out;
    assert!(man.contains(".TH eventbench") && man.contains("Exit codes"), "{man}");
    let schema: serde_json::Value = serde_json::from_str(&place.run(&["schema"]).exits(0).out).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    assert!(!place.history().exists());
}

#[test]
fn the_schema_takes_the_suites_that_the_tool_takes() {
    let place = Place::new();
    let schema: serde_json::Value = serde_json::from_str(&place.run(&["schema"]).exits(0).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    place.run(&["init", "own.toml"]).exits(0);
    let built_in = include_str!("../../../../suites/event-bus.toml").to_owned();
    for text in [built_in, place.read("own.toml")] {
        let suite: serde_json::Value = toml::from_str(&text).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&suite)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let wrong: serde_json::Value = toml::from_str(&text.replace("[suite]", "[suite]\nnmae = 1")).unwrap();
        assert!(!validator.is_valid(&wrong));
    }
}

#[test]
fn the_list_shows_what_there_is() {
    let place = Place::new();
    let list = place.run(&["list"]).exits(0).out;
    for word in ["event-bus", "single-event-latency", "EB-1", "EB-10", "--profile quick"] {
        assert!(list.contains(word), "{word}: {list}");
    }
    let parts = flat(&place.run(&["list", "--parts"]).exits(0).out);
    for word in [
        "nats-request",
        "jetstream",
        "direct",
        "sqlite",
        "poisson",
        "{stamp}",
        "event-store",
        "markdown",
    ] {
        assert!(parts.contains(word), "{word}: {parts}");
    }
    let metrics = place.run(&["list", "--metrics"]).exits(0).out;
    assert!(
        metrics.contains("response_time") && metrics.contains("lost.acked"),
        "{metrics}"
    );
    place
        .run(&["list", "nowhere"])
        .exits(2)
        .complains(&["no suite \"nowhere\""]);
}

#[test]
fn every_command_has_help_with_what_it_takes() {
    let place = Place::new();
    let help = place.run(&["--help"]).exits(0).out;
    for command in [
        "run",
        "list",
        "check",
        "report",
        "service",
        "init",
        "schema",
        "doctor",
        "completions",
        "man",
    ] {
        assert!(help.contains(command), "{command}");
        let own = place.run(&[command, "--help"]).exits(0).out;
        assert!(own.contains("Usage"), "{command}: {own}");
    }
    assert!(help.contains("Exit codes"), "{help}");
    place.run(&["frobnicate"]).exits(2).complains(&["frobnicate"]);
}

#[test]
fn a_dry_run_shows_the_plan_and_makes_nothing() {
    let place = Place::new();
    let ran = place
        .run(&["run", "event-bus", "--only", "EB-1", "--trials", "2", "--dry-run"])
        .exits(0);
    assert!(
        ran.out.contains("single-event-latency") && ran.out.contains("2 ×") && ran.out.contains("mean < 5ms"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("burst-1000"), "{}", ran.out);
    assert!(!place.history().exists() && place.left_behind().is_empty());
}

#[test]
fn the_first_suite_passes_as_it_is_written() {
    let (_load, place) = (load(), Place::new());
    place.run(&["init", "own.toml"]).exits(0);
    place.run(&["check", "own.toml"]).exits(0);
    let text = place.read("own.toml");
    place
        .run(&["init", "own.toml"])
        .exits(2)
        .complains(&["own.toml exists"]);
    assert_eq!(place.read("own.toml"), text);
    // Its limit on latency is one for a quiet machine, which a test's need not be.
    place.write(
        "own.toml",
        text.replace("p(99) < 20ms", "p(90) < 10s")
            .replace("[suite]", "[suite]\nmax_lateness = \"10s\""),
    );
    let ran = place
        .run(&[
            "run",
            "own.toml",
            "--duration",
            "500ms",
            "--trials",
            "1",
            "-o",
            "json=run.json",
        ])
        .exits(0);
    assert!(ran.out.starts_with("PASS"), "{}", ran.out);
    let json: serde_json::Value = serde_json::from_str(&place.read("run.json")).unwrap();
    // 500/s over half a second of warm-up and half a second of measurement.
    assert_eq!(
        benchmark(&json, "delivery-latency")["trials"][0]["ledger"]["total"]["delivered"],
        500
    );
    assert!(
        json["run"]["overrides"].to_string().contains("500"),
        "{}",
        json["run"]["overrides"]
    );
}
