//! A workflow as its client asks for it. The bytes of the request travel on to the workers as they came, so that nobody
//! on the way writes them down again.

use crate::kit::reply::ErrorReply;
use crate::kit::service::name;
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;

/// What a workflow does unless its request names other steps.
pub const STEPS: [&str; 3] = ["metadata", "tree", "hook"];

/// Most characters of the client's mark.
const MAX_STAMP: usize = 64;
/// Most bytes of a file's name.
const MAX_FILE: usize = 1_024;
/// Most bytes of a namespace.
const MAX_NAMESPACE: usize = 256;
/// Most steps of one workflow.
const MAX_STEPS: usize = 16;
/// Length of a BLAKE3 hash in hexadecimal digits.
const HASH_DIGITS: usize = 64;

/// A text that borrows from the request if it holds no escapes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// When a request to run a workflow is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Once the workflow has ended; its stamp is delivered afterwards, reliably.
    #[default]
    Completed,
    /// Once the reducer has confirmed that the stamp's row is committed.
    Stored,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Request<'a> {
    /// Name of the file.
    #[serde(borrow)]
    pub file: Cow<'a, str>,
    /// Its content, if it is sent along.
    #[serde(borrow, default)]
    pub content: Option<Text<'a>>,
    /// BLAKE3 of the content, in hexadecimal digits: instead of the content, or to check it.
    #[serde(borrow, default)]
    pub hash: Option<Text<'a>>,
    /// Whom the file belongs to.
    #[serde(borrow, default = "default_namespace")]
    pub namespace: Cow<'a, str>,
    /// When the request is answered.
    #[serde(default)]
    pub until: Until,
    /// The client's mark, which ends up in the reducer's row.
    #[serde(borrow, default)]
    pub stamp: Cow<'a, str>,
    /// When the client meant to send this, by `CLOCK_MONOTONIC` in nanoseconds.
    #[serde(default)]
    pub intended_ns: Option<u64>,
    /// The capabilities to be called; [`STEPS`] if absent.
    #[serde(borrow, default)]
    pub steps: Option<Vec<Text<'a>>>,
}

fn default_namespace() -> Cow<'static, str> {
    Cow::Borrowed("default")
}

impl<'a> Request<'a> {
    /// Reads and checks a request whose content may have at most `max_content_bytes`.
    ///
    /// # Errors
    /// 400 for what is no workflow, 413 for content beyond the limit; the details name the cause.
    pub fn read(payload: &'a [u8], max_content_bytes: usize) -> Result<Request<'a>, ErrorReply> {
        let request: Request<'a> = serde_json::from_slice(payload)
            .map_err(|cause| refused(400, "malformed-request", format!("malformed workflow: {cause}")))?;
        request.check(max_content_bytes)?;
        Ok(request)
    }

    fn check(&self, max_content_bytes: usize) -> Result<(), ErrorReply> {
        let invalid = |message: String| Err(refused(400, "invalid-request", message));
        for (what, text, most) in [
            ("file", &self.file, MAX_FILE),
            ("namespace", &self.namespace, MAX_NAMESPACE),
        ] {
            if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
                return invalid(format!("{what}: write 1 to {most} bytes without control characters"));
            }
        }
        if self.stamp.chars().count() > MAX_STAMP || self.stamp.chars().any(char::is_control) {
            return invalid(format!(
                "stamp: write at most {MAX_STAMP} characters, no control characters"
            ));
        }
        if let Some(Text(hash)) = &self.hash
            && (hash.len() != HASH_DIGITS || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return invalid(format!("hash: write a BLAKE3 hash of {HASH_DIGITS} hexadecimal digits"));
        }
        match &self.content {
            None if self.hash.is_none() => return invalid("give the content or its hash".to_owned()),
            Some(Text(content)) if content.len() > max_content_bytes => {
                return Err(refused(
                    413,
                    "content-too-large",
                    format!(
                        "the content of {} bytes is larger than the limit of {max_content_bytes}",
                        content.len()
                    ),
                ));
            }
            _ => {}
        }
        if let Some(steps) = &self.steps {
            if steps.is_empty() || steps.len() > MAX_STEPS {
                return invalid(format!("steps: name 1 to {MAX_STEPS} capabilities"));
            }
            for (index, Text(step)) in steps.iter().enumerate() {
                name(step).or_else(|cause| invalid(format!("steps: {cause}")).map(|()| String::new()))?;
                if steps[..index].iter().any(|Text(earlier)| earlier == step) {
                    return invalid(format!("steps: '{step}' is named twice"));
                }
            }
        }
        Ok(())
    }

    /// The capabilities to be called.
    pub fn steps(&self) -> Vec<&str> {
        match &self.steps {
            Some(steps) => steps.iter().map(|Text(step)| step.as_ref()).collect(),
            None => STEPS.to_vec(),
        }
    }
}

/// An error reply whose details hold the cause in one word, for programs.
pub fn refused(code: u16, cause: &str, message: String) -> ErrorReply {
    ErrorReply {
        details: json!({ "cause": cause }),
        ..ErrorReply::new(code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_borrows_and_has_defaults() {
        let payload = br#"{"file":"a.txt","content":"plain","more":1}"#;
        let request = Request::read(payload, 5).unwrap();
        assert!(matches!(&request.content, Some(Text(Cow::Borrowed("plain")))));
        assert_eq!(
            (request.namespace.as_ref(), request.until),
            ("default", Until::Completed)
        );
        assert_eq!(request.steps(), STEPS);
        let payload = br#"{"file":"a","content":"two\nlines","until":"stored","steps":["tree"],"intended_ns":7}"#;
        let request = Request::read(payload, 100).unwrap();
        assert_eq!((request.until, request.intended_ns), (Until::Stored, Some(7)));
        assert_eq!(request.steps(), ["tree"]);
        assert_eq!(request.content, Some(Text("two\nlines".into())));
    }

    #[test]
    fn what_is_no_workflow_is_refused_with_a_cause() {
        let hash = "0".repeat(64);
        for (payload, code, cause) in [
            ("", 400, "malformed-request"),
            ("[]", 400, "malformed-request"),
            (r#"{"file":"a","content":7}"#, 400, "malformed-request"),
            (
                r#"{"file":"a","content":"b","until":"tomorrow"}"#,
                400,
                "malformed-request",
            ),
            (r#"{"file":"","content":"b"}"#, 400, "invalid-request"),
            (r#"{"file":"a\u0000","content":"b"}"#, 400, "invalid-request"),
            (r#"{"file":"a"}"#, 400, "invalid-request"),
            (r#"{"file":"a","hash":"00"}"#, 400, "invalid-request"),
            (r#"{"file":"a","content":"b","namespace":""}"#, 400, "invalid-request"),
            (r#"{"file":"a","content":"b","steps":[]}"#, 400, "invalid-request"),
            (r#"{"file":"a","content":"b","steps":["a.b"]}"#, 400, "invalid-request"),
            (
                r#"{"file":"a","content":"b","steps":["a","a"]}"#,
                400,
                "invalid-request",
            ),
            (r#"{"file":"a","content":"123456789"}"#, 413, "content-too-large"),
        ] {
            let refusal = Request::read(payload.as_bytes(), 8).unwrap_err();
            assert_eq!(
                (refusal.code, &refusal.details["cause"]),
                (code, &json!(cause)),
                "{payload}"
            );
        }
        let long = format!(r#"{{"file":"a","content":"b","stamp":"{}"}}"#, "x".repeat(65));
        assert!(Request::read(long.as_bytes(), 8).is_err());
        let hashed = format!(r#"{{"file":"a","hash":"{hash}","stamp":"{}"}}"#, "é".repeat(64));
        assert!(Request::read(hashed.as_bytes(), 8).is_ok());
    }
}
