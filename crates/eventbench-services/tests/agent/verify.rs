//! The rules of an AG-UI stream, and more than the official client checks: ids, results of known calls, deltas that
//! apply, arguments that are JSON, stamps that go forward, an end that is there.

use json_patch::Patch;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a correct run amounts to.
#[derive(Debug, PartialEq)]
pub struct Run {
    /// Whether it ended with RUN_FINISHED and not with RUN_ERROR.
    pub finished: bool,
    pub state: Value,
    pub text: String,
    pub tools: Vec<String>,
    pub steps: Vec<String>,
}

/// Checks all events of one run.
///
/// # Errors
/// The first rule that is broken.
pub fn verify(events: &[Value], thread_id: &str, run_id: &str) -> Result<Run, String> {
    let mut verifier = Verifier::default();
    let ids = [("threadId", thread_id), ("runId", run_id)];
    for (place, event) in events.iter().enumerate() {
        verifier
            .event(place, event, ids)
            .map_err(|rule| format!("event {}: {rule}: {event}", place + 1))?;
    }
    let Some(finished) = verifier.ended else {
        return Err("the stream ends without RUN_FINISHED or RUN_ERROR".to_owned());
    };
    Ok(Run {
        finished,
        state: verifier.state,
        text: verifier.text,
        tools: verifier.tools,
        steps: verifier.steps,
    })
}

#[derive(Default)]
struct Verifier {
    ended: Option<bool>,
    state: Value,
    text: String,
    tools: Vec<String>,
    steps: Vec<String>,
    open_messages: BTreeSet<String>,
    /// Arguments of the open calls.
    open_calls: BTreeMap<String, String>,
    ended_calls: BTreeSet<String>,
    open_steps: BTreeSet<String>,
    emitted_ns: u64,
}

fn text<'a>(event: &'a Value, field: &str) -> Result<&'a str, String> {
    event[field].as_str().ok_or_else(|| format!("{field} is no text"))
}

fn ensure(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

impl Verifier {
    fn event(&mut self, place: usize, event: &Value, ids: [(&str, &str); 2]) -> Result<(), String> {
        let kind = text(event, "type")?;
        ensure(self.ended.is_none(), "nothing may follow the end of the run")?;
        ensure(
            (place == 0) == (kind == "RUN_STARTED"),
            "RUN_STARTED is first, and only there",
        )?;
        let fields = event.as_object().into_iter().flatten();
        ensure(
            fields.clone().all(|(_, value)| !value.is_null()),
            "a field is left out and never null",
        )?;
        let emitted_ns = event["rawEvent"]["emitNs"]
            .as_u64()
            .ok_or("emitNs is no whole number")?;
        ensure(emitted_ns >= self.emitted_ns, "emitNs goes back")?;
        self.emitted_ns = emitted_ns;
        let unix_ms = event["timestamp"].as_u64().ok_or("timestamp is no whole number")?;
        // 2020 to 2100: milliseconds, and of this century.
        ensure(
            (1_577_836_800_000..4_102_444_800_000).contains(&unix_ms),
            "timestamp is no time in milliseconds",
        )?;
        if ["RUN_STARTED", "RUN_FINISHED"].contains(&kind) {
            for (field, wanted) in ids {
                ensure(event[field] == *wanted, &format!("another {field} than was asked for"))?;
            }
        }
        match kind {
            "RUN_STARTED" => {}
            "RUN_FINISHED" => {
                let open = !self.open_messages.is_empty() || !self.open_calls.is_empty() || !self.open_steps.is_empty();
                ensure(!open, "RUN_FINISHED with something open")?;
                self.ended = Some(true);
            }
            "RUN_ERROR" => {
                ensure(!text(event, "message")?.is_empty(), "an error without a message")?;
                self.ended = Some(false);
            }
            "STEP_STARTED" => {
                let name = text(event, "stepName")?.to_owned();
                ensure(self.open_steps.insert(name.clone()), "a step is started twice")?;
                self.steps.push(name);
            }
            "STEP_FINISHED" => {
                let was_open = self.open_steps.remove(text(event, "stepName")?);
                ensure(was_open, "a step is finished that was not started")?;
            }
            "TEXT_MESSAGE_START" => {
                ensure(event["role"] == "assistant", "the role of a message")?;
                let id = text(event, "messageId")?.to_owned();
                ensure(self.open_messages.insert(id), "a message is started twice")?;
            }
            "TEXT_MESSAGE_CONTENT" => {
                let id = text(event, "messageId")?;
                ensure(self.open_messages.contains(id), "content of a message that is not open")?;
                let delta = text(event, "delta")?;
                ensure(!delta.is_empty(), "empty content")?;
                self.text += delta;
            }
            "TEXT_MESSAGE_END" => {
                let was_open = self.open_messages.remove(text(event, "messageId")?);
                ensure(was_open, "the end of a message that is not open")?;
            }
            "TOOL_CALL_START" => {
                self.tools.push(text(event, "toolCallName")?.to_owned());
                let id = text(event, "toolCallId")?.to_owned();
                let before = self.open_calls.insert(id, String::new());
                ensure(before.is_none(), "a call is started twice")?;
            }
            "TOOL_CALL_ARGS" => {
                let open = self.open_calls.get_mut(text(event, "toolCallId")?);
                *open.ok_or("arguments of a call that is not open")? += text(event, "delta")?;
            }
            "TOOL_CALL_END" => {
                let id = text(event, "toolCallId")?;
                let arguments = self.open_calls.remove(id).ok_or("the end of a call that is not open")?;
                let parsed = serde_json::from_str::<Value>(&arguments);
                ensure(
                    parsed.is_ok_and(|value| value.is_object()),
                    "arguments that are no JSON object",
                )?;
                self.ended_calls.insert(id.to_owned());
            }
            "TOOL_CALL_RESULT" => {
                ensure(event["role"] == "tool", "the role of a result")?;
                ensure(!text(event, "messageId")?.is_empty(), "a result without an id")?;
                let known = self.ended_calls.contains(text(event, "toolCallId")?);
                ensure(known, "the result of an unknown call")?;
                let content = serde_json::from_str::<Value>(text(event, "content")?);
                ensure(content.is_ok(), "a result that is no JSON")?;
            }
            "STATE_SNAPSHOT" => self.state = event["snapshot"].clone(),
            "STATE_DELTA" => {
                let patch: Patch = serde_json::from_value(event["delta"].clone())
                    .map_err(|error| format!("no JSON Patch: {error}"))?;
                json_patch::patch(&mut self.state, &patch)
                    .map_err(|error| format!("a delta that does not apply: {error}"))?;
            }
            "CUSTOM" => ensure(
                !text(event, "name")?.is_empty() && event.get("value").is_some(),
                "a custom event",
            )?,
            _ => return Err("an unknown type".to_owned()),
        }
        Ok(())
    }
}

/// The events without what differs between two runs of the same request.
pub fn unstamped(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        let fields = event.as_object_mut().unwrap();
        fields.remove("timestamp").unwrap();
        fields.remove("rawEvent").unwrap();
    }
    events
}

#[test]
fn the_verifier_finds_what_is_wrong() {
    let stamped = |mut events: Vec<Value>| {
        for (place, event) in events.iter_mut().enumerate() {
            event["timestamp"] = json!(1_763_752_440_123_u64);
            event["rawEvent"] = json!({ "emitNs": place + 1 });
        }
        verify(&events, "t", "r").map(|run| run.finished)
    };
    let start = json!({ "type": "RUN_STARTED", "threadId": "t", "runId": "r" });
    let end = json!({ "type": "RUN_FINISHED", "threadId": "t", "runId": "r" });
    assert_eq!(stamped(vec![start.clone(), end.clone()]), Ok(true));
    for (events, rule) in [
        (vec![], "ends without"),
        (vec![start.clone()], "ends without"),
        (vec![end.clone()], "RUN_STARTED is first"),
        (vec![start.clone(), end.clone(), end.clone()], "nothing may follow"),
        (
            vec![
                start.clone(),
                json!({ "type": "STEP_STARTED", "stepName": "a" }),
                end.clone(),
            ],
            "something open",
        ),
        (
            vec![start.clone(), json!({ "type": "STEP_FINISHED", "stepName": "a" })],
            "not started",
        ),
        (
            vec![
                start.clone(),
                json!({ "type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x" }),
            ],
            "not open",
        ),
        (
            vec![
                start.clone(),
                json!({ "type": "RUN_FINISHED", "threadId": "t", "runId": "q" }),
            ],
            "another runId",
        ),
        (vec![start, json!({ "type": "NAP" })], "unknown type"),
    ] {
        let found = stamped(events).unwrap_err();
        assert!(found.contains(rule), "{found}");
    }
}
