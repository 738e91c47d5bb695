//! What a request asks for: the protocol's RunAgentInput, or the plain body with `account_id` and `workflow`.

use super::refusal::Refusal;
use super::workflow::Workflow;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Longest pause between two events that a request may ask for: one hour.
const MOST_PACE_MS: f64 = 3_600_000.0;

/// What was asked for, as far as it was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) workflow: Option<Workflow>,
    pub(crate) account: Option<String>,
    pub(crate) thread_id: Option<String>,
    pub(crate) run_id: Option<String>,
    pub(crate) pace: Option<Duration>,
}

/// Either body. Fields that neither knows are skipped, as the protocol demands.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(rename = "threadId", alias = "thread_id")]
    thread_id: Option<String>,
    #[serde(rename = "runId", alias = "run_id")]
    run_id: Option<String>,
    workflow: Option<String>,
    #[serde(alias = "accountId")]
    account_id: Option<String>,
    options: Option<Options>,
    #[serde(rename = "forwardedProps", alias = "forwarded_props")]
    forwarded: Option<Value>,
    messages: Option<Vec<Message>>,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    #[serde(alias = "paceMs")]
    pace_ms: Option<f64>,
}

/// What `forwardedProps` may hold for us; other clients put other things there.
#[derive(Debug, Default, Deserialize)]
struct Forwarded {
    workflow: Option<String>,
    #[serde(alias = "accountId")]
    account_id: Option<String>,
    #[serde(alias = "paceMs")]
    pace_ms: Option<f64>,
    options: Option<Options>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

impl Message {
    /// The text, of a message that is text or has parts of which some are.
    fn text(&self) -> Option<String> {
        match self.content.as_ref()? {
            Value::String(text) => Some(text.clone()),
            Value::Array(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
                (!texts.is_empty()).then(|| texts.join(" "))
            }
            _ => None,
        }
    }
}

/// Reads the body of a request.
///
/// # Errors
/// A refusal that says what is wrong and where.
pub(crate) fn parse(body: &[u8]) -> Result<Asked, Refusal> {
    let hint = "send a RunAgentInput, or an object with workflow and account_id";
    if body.is_empty() {
        return Err(Refusal::bad_request("empty_body", "the body is empty", hint));
    }
    let body: Body = serde_json::from_slice(body).map_err(|cause| {
        let message = match body.trim_ascii_start().first() {
            Some(b'<') => "the body looks like HTML or XML and not like JSON".to_owned(),
            _ => format!("the body is not as expected: {cause}"),
        };
        Refusal::bad_request("bad_body", message, hint)
    })?;
    let forwarded = match body.forwarded {
        Some(object @ Value::Object(_)) => serde_json::from_value(object).map_err(|cause| {
            Refusal::bad_request(
                "bad_forwarded_props",
                format!("forwardedProps is not as expected: {cause}"),
                "workflow and account_id are texts, pace_ms is a number",
            )
        })?,
        _ => Forwarded::default(),
    };
    if body.messages.is_some() {
        for (field, given) in [("threadId", &body.thread_id), ("runId", &body.run_id)] {
            if given.is_none() {
                return Err(Refusal::bad_request(
                    "missing_id",
                    format!("a RunAgentInput has a {field}, this one has none"),
                    format!("add {field}: any text that identifies it"),
                ));
            }
        }
    }
    let sentence = body
        .messages
        .iter()
        .flatten()
        .rev()
        .find(|message| message.role == "user")
        .and_then(Message::text);
    let workflow = match body.workflow.or(forwarded.workflow) {
        Some(name) => Some(Workflow::named(&name).ok_or_else(|| unknown_workflow(&name))?),
        None => sentence.as_deref().map(Workflow::asked_for),
    };
    let account = body
        .account_id
        .or(forwarded.account_id)
        .or_else(|| sentence.as_deref().and_then(account_in));
    let pace_ms = [body.options, forwarded.options]
        .into_iter()
        .flatten()
        .find_map(|options| options.pace_ms)
        .or(forwarded.pace_ms);
    Ok(Asked {
        workflow,
        account,
        thread_id: body.thread_id,
        run_id: body.run_id,
        pace: pace_ms.map(pace).transpose()?,
    })
}

fn unknown_workflow(name: &str) -> Refusal {
    let shown: String = name.chars().take(80).collect();
    Refusal::bad_request(
        "unknown_workflow",
        format!("there is no workflow {shown:?}"),
        format!("the workflows are {}", Workflow::names()),
    )
}

fn pace(pace_ms: f64) -> Result<Duration, Refusal> {
    if (0.0..=MOST_PACE_MS).contains(&pace_ms) {
        return Ok(Duration::from_secs_f64(pace_ms / 1_000.0));
    }
    Err(Refusal::bad_request(
        "bad_pace",
        format!("pace_ms is {pace_ms}"),
        format!("give milliseconds from 0 to {MOST_PACE_MS}"),
    ))
}

/// The first account id in a sentence: `ACC-` and digits, in either case.
fn account_in(sentence: &str) -> Option<String> {
    let sentence = sentence.to_ascii_uppercase();
    sentence.match_indices("ACC-").find_map(|(at, prefix)| {
        let rest = sentence.get(at + prefix.len()..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0).then(|| sentence.get(at..at + prefix.len() + digits).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(body: &Value) -> Result<Asked, Refusal> {
        parse(body.to_string().as_bytes())
    }

    #[test]
    fn the_plain_body_is_read() {
        let body = json!({
            "account_id": "ACC-000007", "workflow": "risk_assessment", "thread_id": "t", "run_id": "r",
            "options": { "pace_ms": 2.5, "timeout_seconds": 300 }, "other": [1],
        });
        assert_eq!(
            asked(&body),
            Ok(Asked {
                workflow: Some(Workflow::RiskAssessment),
                account: Some("ACC-000007".to_owned()),
                thread_id: Some("t".to_owned()),
                run_id: Some("r".to_owned()),
                pace: Some(Duration::from_micros(2_500)),
            })
        );
        assert_eq!(asked(&json!({})), Ok(Asked::default()));
    }

    #[test]
    fn a_run_agent_input_is_read() {
        let message = |role: &str, content: Value| json!({ "id": "1", "role": role, "content": content });
        let input = |messages: Value, forwarded: Value| {
            json!({
                "threadId": "t", "runId": "r", "state": { "a": 1 }, "messages": messages, "tools": [], "context": [],
                "forwardedProps": forwarded, "protocolVersion": "1.0",
            })
        };
        let spoken = input(
            json!([
                message("user", json!("Daily review please")),
                message("assistant", json!("Which account?")),
                message("user", json!([{ "type": "text", "text": "the risk of acc-000012." }])),
                { "id": "2", "role": "assistant" },
            ]),
            json!("of no concern"),
        );
        let found = asked(&spoken).unwrap();
        assert_eq!(
            (found.workflow, found.account.as_deref()),
            (Some(Workflow::RiskAssessment), Some("ACC-000012"))
        );
        let forwarded = input(
            json!([message("user", json!("the risk of ACC-1"))]),
            json!({ "workflow": "reference", "accountId": "ACC-000003", "pace_ms": 500, "else": null }),
        );
        let found = asked(&forwarded).unwrap();
        assert_eq!(
            (found.workflow, found.account.as_deref(), found.pace),
            (
                Some(Workflow::Reference),
                Some("ACC-000003"),
                Some(Duration::from_millis(500))
            )
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, code, part) in [
            ("", "empty_body", "empty"),
            ("<!doctype html><p>", "bad_body", "HTML"),
            ("{\"workflow\":", "bad_body", "line 1"),
            ("[]", "bad_body", "expected"),
            ("{\"threadId\":5}", "bad_body", "string"),
            ("{\"messages\":[],\"runId\":\"r\"}", "missing_id", "threadId"),
            ("{\"messages\":[],\"threadId\":\"t\"}", "missing_id", "runId"),
            ("{\"workflow\":\"nap\"}", "unknown_workflow", "\"nap\""),
            ("{\"forwardedProps\":{\"workflow\":1}}", "bad_forwarded_props", "string"),
            ("{\"options\":{\"pace_ms\":-1}}", "bad_pace", "-1"),
            ("{\"options\":{\"pace_ms\":3600001}}", "bad_pace", "3600001"),
        ] {
            let refusal = parse(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.code), (400, code), "{body}");
            assert!(refusal.message.contains(part), "{body}: {}", refusal.message);
            assert!(!refusal.hint.is_empty());
        }
        let hint = parse(b"{\"workflow\":\"nap\"}").unwrap_err().hint;
        assert!(hint.contains("daily_review"), "{hint}");
    }

    #[test]
    fn an_account_is_found_in_a_sentence() {
        for (sentence, expected) in [
            ("see ACC-000001, please", Some("ACC-000001")),
            ("acc- and acc-12x", Some("ACC-12")),
            ("ACC-", None),
            ("nothing – at all", None),
        ] {
            assert_eq!(account_in(sentence).as_deref(), expected, "{sentence}");
        }
    }
}
