use super::*;
use serde_json::Map;
use std::num::NonZeroU32;

struct Accounts {
    database: Database,
    directory: Directory,
    _files: tempfile::TempDir,
}

fn accounts() -> Accounts {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("accounts.db");
    Database::seed(&path, NonZeroU32::new(24).unwrap(), 1).unwrap();
    let database = Database::open(&path).unwrap();
    Accounts {
        directory: database.directory(&path).unwrap(),
        database,
        _files: files,
    }
}

fn recipe(workflow: Workflow, account: Option<&str>) -> Recipe {
    Recipe {
        workflow,
        account: account.map(str::to_owned),
        thread_id: "a \"thread\"".to_owned(),
        run_id: "läuft".to_owned(),
        pace: Duration::ZERO,
    }
}

/// All events of a run, as JSON.
fn events(accounts: &Accounts, recipe: Recipe, faults: RunFaults) -> Vec<Map<String, Value>> {
    let mut pipeline = Pipeline::new(recipe, faults);
    let mut found = Vec::new();
    while !pipeline.is_over() {
        let mut frames = Frames::default();
        pipeline.advance(&accounts.database, &accounts.directory, &mut frames);
        while let Some((kind, range)) = frames.take() {
            let mut text = frames.rendered(range).to_vec();
            text.push(b'}');
            let event: Map<String, Value> = serde_json::from_slice(&text).unwrap();
            assert_eq!(event["type"], kind.name());
            found.push(event);
        }
    }
    found
}

fn of_type<'a>(events: &'a [Map<String, Value>], kind: &str) -> Vec<&'a Map<String, Value>> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn the_same_request_gives_the_same_events() {
    let accounts = accounts();
    for workflow in Workflow::ALL {
        for account in [Some("ACC-000007"), None] {
            let once = events(&accounts, recipe(workflow, account), RunFaults::default());
            let again = events(&accounts, recipe(workflow, account), RunFaults::default());
            assert_eq!(once, again, "{workflow:?}");
            assert_eq!(once[0]["threadId"], "a \"thread\"");
            assert_eq!(once[0]["runId"], "läuft");
            assert_eq!(once.last().unwrap()["type"], "RUN_FINISHED");
        }
    }
}

#[test]
fn the_steps_of_each_workflow_are_done_in_their_order() {
    let accounts = accounts();
    for workflow in [
        Workflow::AccountAnalysis,
        Workflow::DailyReview,
        Workflow::RiskAssessment,
    ] {
        let found = events(&accounts, recipe(workflow, Some("ACC-000009")), RunFaults::default());
        let wanted: Vec<&str> = workflow.steps().iter().map(|step| step.name()).collect();
        for kind in ["STEP_STARTED", "STEP_FINISHED"] {
            let steps: Vec<&str> = of_type(&found, kind)
                .iter()
                .map(|event| event["stepName"].as_str().unwrap())
                .collect();
            assert_eq!(steps, wanted, "{workflow:?}");
        }
        assert_eq!(of_type(&found, "CUSTOM")[0]["name"], "approval");
    }
}

#[test]
fn the_text_speaks_of_the_figures_in_the_database() {
    let accounts = accounts();
    let found = events(
        &accounts,
        recipe(Workflow::RiskAssessment, Some("ACC-000003")),
        RunFaults::default(),
    );
    let text: String = of_type(&found, "TEXT_MESSAGE_CONTENT")
        .iter()
        .map(|event| {
            let delta = event["delta"].as_str().unwrap();
            assert!(!delta.is_empty());
            delta
        })
        .collect();
    let account = accounts.directory.get("ACC-000003").unwrap();
    let activities = accounts.database.activities("ACC-000003", WINDOW_DAYS).unwrap();
    let statistics = analysis::statistics(&activities);
    let risk = analysis::risk(account, &statistics);
    for part in [
        account.name.clone(),
        format!("{} activities in 90 days", activities.len()),
        format!("Risk {} of 100", risk.score),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    let finished = found.last().unwrap();
    assert_eq!(finished["result"]["highest_risk"], risk.score);
}

#[test]
fn the_reference_run_has_its_twenty_events() {
    let accounts = accounts();
    let found = events(
        &accounts,
        recipe(Workflow::Reference, Some("ACC-000004")),
        RunFaults::default(),
    );
    let kinds: Vec<&str> = found.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let mut expected = vec!["RUN_STARTED", "STATE_SNAPSHOT", "STEP_STARTED", "TEXT_MESSAGE_START"];
    expected.extend(["TEXT_MESSAGE_CONTENT"; 8]);
    expected.extend([
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "STATE_DELTA",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]);
    assert_eq!(kinds, expected);
    let arguments: Value = serde_json::from_str(found[14]["delta"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "account_id": "ACC-000004" }));
    let content: Value = serde_json::from_str(found[16]["content"].as_str().unwrap()).unwrap();
    let account = accounts.directory.get("ACC-000004").unwrap();
    assert_eq!(content["health"], account.health);
    assert_eq!(found[4]["delta"], *account.name);
}

#[test]
fn an_unknown_account_ends_with_an_error() {
    let accounts = accounts();
    for workflow in Workflow::ALL {
        let found = events(&accounts, recipe(workflow, Some("ACC-777777")), RunFaults::default());
        assert_eq!(found[0]["type"], "RUN_STARTED");
        let last = found.last().unwrap();
        assert_eq!(
            (&last["type"], &last["code"]),
            (&json!("RUN_ERROR"), &json!("unknown_account"))
        );
        assert!(last["message"].as_str().unwrap().contains("ACC-777777"));
        assert!(of_type(&found, "RUN_FINISHED").is_empty());
    }
}

#[test]
fn faults_show_in_what_they_name_and_nowhere_else() {
    let accounts = accounts();
    for workflow in Workflow::ALL {
        let run = |faults| events(&accounts, recipe(workflow, Some("ACC-000002")), faults);
        let sound = run(RunFaults::default());

        let other_ids = run(RunFaults {
            wrong_ids: true,
            ..RunFaults::default()
        });
        assert_eq!(other_ids[0]["runId"], "läuft-other");
        assert_eq!(other_ids.last().unwrap()["runId"], "läuft-other");
        assert_eq!(other_ids[1..other_ids.len() - 1], sound[1..sound.len() - 1]);

        let unknown = run(RunFaults {
            unknown_tool_result: true,
            ..RunFaults::default()
        });
        let started: Vec<&Value> = of_type(&unknown, "TOOL_CALL_START")
            .iter()
            .map(|event| &event["toolCallId"])
            .collect();
        for result in of_type(&unknown, "TOOL_CALL_RESULT") {
            assert!(!started.contains(&&result["toolCallId"]), "{result:?}");
        }

        let bad = run(RunFaults {
            bad_delta: true,
            ..RunFaults::default()
        });
        let wrong: Vec<_> = of_type(&bad, "STATE_DELTA")
            .into_iter()
            .filter(|event| event["delta"][0]["path"].as_str().unwrap().starts_with("/nothing"))
            .collect();
        assert_eq!(wrong.len(), 1, "{workflow:?}");
    }
}
