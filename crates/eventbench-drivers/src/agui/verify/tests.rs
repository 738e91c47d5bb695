//! Each rule by a stream that breaks it and by one that does not.

use super::*;
use proptest::prelude::*;

const NOW_MS: i64 = 1_760_000_000_000;
const BODY: &str = r#"{"threadId":"t1","runId":"r1","messages":[],"tools":[],"context":[]}"#;

/// The reference run of twenty events.
const RUN: &[&str] = &[
    r#"{"type":"RUN_STARTED","threadId":"t1","runId":"r1","emitNs":12}"#,
    r#"{"type":"STATE_SNAPSHOT","snapshot":{"step":0,"list":[]}}"#,
    r#"{"type":"STEP_STARTED","stepName":"look"}"#,
    r#"{"type":"TEXT_MESSAGE_START","messageId":"m1","role":"assistant"}"#,
    r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"a"}"#,
    r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"b \"quoted\" é"}"#,
    r#"{"type":"TEXT_MESSAGE_END","messageId":"m1"}"#,
    r#"{"type":"TOOL_CALL_START","toolCallId":"c1","toolCallName":"score"}"#,
    r#"{"type":"TOOL_CALL_ARGS","toolCallId":"c1","delta":"{\"account\":"}"#,
    r#"{"type":"TOOL_CALL_ARGS","toolCallId":"c1","delta":"7}"}"#,
    r#"{"type":"TOOL_CALL_END","toolCallId":"c1"}"#,
    r#"{"type":"TOOL_CALL_RESULT","messageId":"m2","toolCallId":"c1","content":"0.5"}"#,
    r#"{"type":"STATE_DELTA","delta":[{"op":"replace","path":"/step","value":1}]}"#,
    r#"{"type":"STEP_FINISHED","stepName":"look"}"#,
    r#"{"type":"RUN_FINISHED","threadId":"t1","runId":"r1"}"#,
];

fn verified(body: &str, events: &[&str]) -> Verifier {
    let mut verifier = Verifier::default();
    verifier.begin(body.as_bytes());
    for event in events {
        verifier.event(event.as_bytes(), NOW_MS);
    }
    verifier.end();
    verifier
}

fn broken(events: &[&str]) -> Vec<&'static str> {
    verified(BODY, events).broken().map(Rule::name).collect()
}

/// The run with events put in at a place, or put in the place of some.
fn with(at: usize, instead_of: usize, events: &[&'static str]) -> Vec<&'static str> {
    let mut run = RUN.to_vec();
    run.splice(at..at + instead_of, events.iter().copied());
    run
}

#[test]
fn the_reference_run_breaks_no_rule() {
    assert!(broken(RUN).is_empty(), "{:?}", verified(BODY, RUN).first());
    let mut verifier = Verifier::default();
    verifier.begin(b"no json");
    let seen: Vec<Seen> = RUN.iter().map(|e| verifier.event(e.as_bytes(), NOW_MS)).collect();
    assert_eq!(seen[0].emit_ns, Some(12));
    assert_eq!(seen.iter().position(|s| s.text), Some(4));
}

#[test]
fn each_rule_is_broken_by_what_it_forbids() {
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("not-json", with(4, 0, &["[DONE]"])),
        ("not-json", with(4, 0, &["{\"type\":\"RAW\",\"event\":1"])),
        ("unknown-type", with(4, 0, &[r#"{"type":"TEXT"}"#])),
        ("unknown-type", with(4, 0, &[r#"{"typ":"RAW"}"#])),
        (
            "field",
            with(4, 0, &[r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1"}"#]),
        ),
        ("field", with(14, 1, &[r#"{"type":"RUN_FINISHED","threadId":"t1"}"#])),
        ("run-started-first", RUN[1..].to_vec()),
        ("run-started-twice", with(1, 0, &[RUN[0]])),
        ("after-run-finished", with(15, 0, &[RUN[2]])),
        ("after-run-finished", with(15, 0, &[RUN[14]])),
        (
            "after-run-finished",
            with(15, 0, &[r#"{"type":"RUN_ERROR","message":"x"}"#]),
        ),
        ("after-run-error", vec![r#"{"type":"RUN_ERROR","message":"x"}"#, RUN[0]]),
        ("run-finished-open", with(13, 1, &[])),
        (
            "run-finished-open",
            with(14, 0, &[r#"{"type":"REASONING_START","messageId":"q"}"#]),
        ),
        ("run-finished-missing", RUN[..14].to_vec()),
        ("run-finished-missing", vec![]),
        (
            "run-id",
            with(0, 1, &[r#"{"type":"RUN_STARTED","threadId":"t1","runId":"r2"}"#]),
        ),
        (
            "run-id",
            with(14, 1, &[r#"{"type":"RUN_FINISHED","threadId":"t1","runId":"r"}"#]),
        ),
        (
            "thread-id",
            with(0, 1, &[r#"{"type":"RUN_STARTED","threadId":"T1","runId":"r1"}"#]),
        ),
        ("message-open", with(4, 0, &[RUN[3]])),
        ("message-not-open", with(7, 0, &[RUN[4]])),
        ("message-not-open", with(7, 0, &[RUN[6]])),
        ("tool-call-open", with(8, 0, &[RUN[7]])),
        ("tool-call-not-open", with(7, 0, &[RUN[8]])),
        ("tool-call-arguments", with(9, 1, &[])),
        (
            "tool-call-arguments",
            with(9, 0, &[r#"{"type":"TOOL_CALL_ARGS","toolCallId":"c1","delta":"]"}"#]),
        ),
        (
            "tool-result-unknown",
            with(
                12,
                0,
                &[r#"{"type":"TOOL_CALL_RESULT","messageId":"m3","toolCallId":"c2","content":""}"#],
            ),
        ),
        (
            "reasoning-open",
            with(
                4,
                0,
                &[
                    r#"{"type":"REASONING_START","messageId":"q"}"#,
                    r#"{"type":"REASONING_START","messageId":"q"}"#,
                    r#"{"type":"REASONING_END","messageId":"q"}"#,
                ],
            ),
        ),
        (
            "reasoning-not-open",
            with(
                4,
                0,
                &[r#"{"type":"REASONING_MESSAGE_CONTENT","messageId":"q","delta":"x"}"#],
            ),
        ),
        ("step-open", with(4, 0, &[RUN[2]])),
        ("step-not-open", with(14, 0, &[RUN[13]])),
        (
            "subagent-open",
            with(
                4,
                0,
                &[
                    r#"{"type":"SUBAGENT_STARTED","subagentRunId":"s","name":"n"}"#,
                    r#"{"type":"SUBAGENT_FINISHED","subagentRunId":"s"}"#,
                    r#"{"type":"SUBAGENT_STARTED","subagentRunId":"s","name":"n"}"#,
                    r#"{"type":"SUBAGENT_FINISHED","subagentRunId":"s"}"#,
                ],
            ),
        ),
        (
            "subagent-not-open",
            with(
                4,
                0,
                &[r#"{"type":"SUBAGENT_ERROR","subagentRunId":"s","message":"x"}"#],
            ),
        ),
        ("chunk", with(7, 0, &[r#"{"type":"TEXT_MESSAGE_CHUNK","delta":"x"}"#])),
        (
            "chunk",
            with(7, 0, &[r#"{"type":"TOOL_CALL_CHUNK","toolCallId":"z","delta":"{}"}"#]),
        ),
        (
            "state-delta",
            with(
                13,
                0,
                &[r#"{"type":"STATE_DELTA","delta":[{"op":"replace","path":"/nothing","value":1}]}"#],
            ),
        ),
        (
            "timestamp",
            with(
                4,
                0,
                &[r#"{"type":"CUSTOM","name":"n","value":1,"timestamp":1760000000}"#],
            ),
        ),
        (
            "timestamp",
            with(
                4,
                0,
                &[r#"{"type":"CUSTOM","name":"n","value":1,"timestamp":1760000000000.5}"#],
            ),
        ),
    ];
    for (rule, events) in &cases {
        let verifier = verified(BODY, events);
        assert_eq!(
            verifier.broken().map(Rule::name).collect::<Vec<_>>(),
            [*rule],
            "{:?}",
            verifier.first()
        );
        assert!(verifier.first().unwrap().1.len() > 5);
    }
    // What has no place inside a stream of events is noted by others; all the rest is shown above.
    for rule in RULES {
        let elsewhere = matches!(rule, Rule::TooLarge | Rule::LineEnds | Rule::EventCount);
        assert!(
            elsewhere || cases.iter().any(|c| c.0 == rule.name()),
            "{} is shown by no stream",
            rule.name()
        );
    }
}

#[test]
fn what_is_allowed_breaks_no_rule() {
    for events in [
        vec![r#"{"type":"RUN_ERROR","message":"no","code":"E1"}"#],
        with(
            4,
            0,
            &[r#"{"type":"CUSTOM","name":"n","value":null,"timestamp":1760000001000}"#],
        ),
        // Overlapping, and steps of the same name in another lane.
        with(
            4,
            0,
            &[
                r#"{"type":"TOOL_CALL_START","toolCallId":"c0","toolCallName":"x"}"#,
                r#"{"type":"TOOL_CALL_END","toolCallId":"c0"}"#,
                r#"{"type":"SUBAGENT_STARTED","subagentRunId":"s","name":"n"}"#,
                r#"{"type":"STEP_STARTED","stepName":"look","subagentRunId":"s"}"#,
                r#"{"type":"STEP_FINISHED","stepName":"look","subagentRunId":"s"}"#,
                r#"{"type":"SUBAGENT_FINISHED","subagentRunId":"s"}"#,
            ],
        ),
        // Chunks, ended by what follows them.
        with(
            7,
            0,
            &[
                r#"{"type":"TEXT_MESSAGE_CHUNK","messageId":"k","delta":"x"}"#,
                r#"{"type":"TEXT_MESSAGE_CHUNK","delta":"y"}"#,
                r#"{"type":"RAW","event":{}}"#,
                r#"{"type":"TEXT_MESSAGE_CHUNK","messageId":"l","delta":"z"}"#,
                r#"{"type":"TOOL_CALL_CHUNK","toolCallId":"kc","toolCallName":"f","delta":"{\"a\":"}"#,
                r#"{"type":"TOOL_CALL_CHUNK","toolCallId":"kc","delta":"1}"}"#,
                r#"{"type":"TEXT_MESSAGE_START","messageId":"k","role":"user"}"#,
                r#"{"type":"TEXT_MESSAGE_END","messageId":"k"}"#,
            ],
        ),
        with(
            14,
            0,
            &[r#"{"type":"REASONING_MESSAGE_CHUNK","messageId":"q","delta":"x"}"#],
        ),
        with(
            4,
            0,
            &[
                r#"{"type":"THINKING_START"}"#,
                r#"{"type":"THINKING_TEXT_MESSAGE_START"}"#,
                r#"{"type":"THINKING_END"}"#,
            ],
        ),
        with(
            4,
            0,
            &[
                r#"{"type":"MESSAGES_SNAPSHOT","messages":[{"id":"a","role":"assistant","toolCalls":[{"id":"old"}]}]}"#,
                r#"{"type":"TOOL_CALL_RESULT","messageId":"b","toolCallId":"old","content":"1"}"#,
            ],
        ),
    ] {
        assert!(broken(&events).is_empty(), "{:?}", verified(BODY, &events).first());
    }
}

#[test]
fn the_request_says_what_was_asked_for() {
    let answer = [
        r#"{"type":"RUN_STARTED","threadId":"T","runId":"R"}"#,
        r#"{"type":"STATE_DELTA","delta":[{"op":"test","path":"/a","value":1}]}"#,
        r#"{"type":"TOOL_CALL_RESULT","messageId":"b","toolCallId":"old","content":"1"}"#,
        r#"{"type":"RUN_FINISHED","threadId":"T","runId":"R"}"#,
    ];
    let body = r#"{"thread_id":"T","run_id":"R","state":{"a":1},"messages":[{"toolCalls":[{"id":"old"}]}]}"#;
    assert_eq!(verified(body, &answer).first(), None);
    let rules: Vec<_> = verified("{\"runId\":\"X\"}", &answer)
        .broken()
        .map(Rule::name)
        .collect();
    assert_eq!(rules, ["run-id", "tool-result-unknown", "state-delta"]);
    let error = verified("{}", &[r#"{"type":"RUN_ERROR","message":"no","code":"E1"}"#]);
    assert_eq!(error.run_error(), Some("E1\nno"));
}

#[test]
fn one_verifier_serves_many_streams() {
    let mut verifier = Verifier::default();
    for _ in 0..3 {
        verifier.begin(BODY.as_bytes());
        verifier.event(RUN[0].as_bytes(), NOW_MS);
        verifier.event(RUN[3].as_bytes(), NOW_MS);
        verifier.end();
        assert_eq!(
            verifier.broken().map(Rule::name).collect::<Vec<_>>(),
            ["run-finished-missing"]
        );
        verifier.begin(BODY.as_bytes());
        for event in RUN {
            verifier.event(event.as_bytes(), NOW_MS);
        }
        verifier.end();
        assert_eq!(verifier.first(), None);
    }
}

proptest! {
    #[test]
    fn dropping_or_doubling_an_event_never_panics_and_what_it_opens_is_missed(at in 0usize..15, twice in any::<bool>()) {
        let events = if twice { with(at, 0, &[RUN[at]]) } else { with(at, 1, &[]) };
        let rules = broken(&events);
        // Text, a snapshot or a delta that is missing, or comes twice, leaves a valid stream behind.
        let harmless = match at {
            4 | 5 | 12 => true,
            1 => twice,
            11 => true,
            _ => false,
        };
        prop_assert_eq!(rules.is_empty(), harmless, "{:?}", rules);
    }

    #[test]
    fn no_bytes_make_it_panic(events in proptest::collection::vec(r#"\{?"type":"[A-Z_]{3,12}",?"[a-zA-Z]{2,9}":["\[\]{}0-9a-z,]{0,9}\}?"#, 0..12)) {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        prop_assert!(!broken(&events).is_empty());
    }
}
