//! The state that a stream speaks of: the last snapshot, and what deltas have made of it.
//!
//! The tree is built only when a delta comes. What a hostile stream can make it grow to is bounded in size and in depth.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// A state larger than this is not followed any further.
const MOST_BYTES: usize = 8 << 20;
/// Deeper nesting is refused: what is nested has to be taken down again.
const DEEPEST: usize = 512;
/// What a value takes at least.
const NODE_BYTES: usize = 16;

/// The state of one stream.
#[derive(Debug, Default)]
pub struct State {
    /// JSON text of the last snapshot; empty stands for an empty object.
    text: String,
    /// What deltas made of it; `None` before the first.
    value: Option<Value>,
    /// No less than what `value` takes.
    bytes: usize,
}

impl State {
    /// Begins anew with a state in JSON, or with an empty object.
    pub fn set(&mut self, json: &str) {
        self.text.clear();
        if self.text.capacity() > 16 << 10 {
            self.text = String::new();
        }
        self.text.push_str(json);
        self.value = None;
    }

    /// Applies a JSON Patch.
    ///
    /// # Errors
    /// In words, why it does not apply.
    pub fn apply(&mut self, delta: &str) -> Result<(), String> {
        let Patch(operations) = serde_json::from_str(delta).map_err(|e| format!("no JSON Patch: {e}"))?;
        let value = match &mut self.value {
            Some(value) => value,
            none => {
                let text = if self.text.is_empty() { "{}" } else { &self.text };
                self.bytes = text.len() * NODE_BYTES;
                none.insert(serde_json::from_str(text).map_err(|e| format!("the state is unreadable: {e}"))?)
            }
        };
        self.bytes = self.bytes.saturating_add(delta.len() * NODE_BYTES);
        for operation in &operations {
            self.bytes = self.bytes.saturating_add(grows(value, operation)?);
            if self.bytes > MOST_BYTES {
                self.bytes = size(value, 0).map_or(usize::MAX, |s| s.0);
                if self.bytes > MOST_BYTES {
                    return Err(format!("the state has grown beyond {} MiB", MOST_BYTES >> 20));
                }
            }
            json_patch::patch(value, std::slice::from_ref(operation)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// The bytes that an operation adds beside its own text; refuses what would nest too deep.
fn grows(value: &Value, operation: &PatchOperation) -> Result<usize, String> {
    let (path, from, copies) = match operation {
        PatchOperation::Copy(o) => (&o.path, Some(&o.from), true),
        PatchOperation::Move(o) => (&o.path, Some(&o.from), false),
        PatchOperation::Add(o) => (&o.path, None, false),
        PatchOperation::Replace(o) => (&o.path, None, false),
        _ => return Ok(0),
    };
    let deep = || format!("it nests deeper than {DEEPEST} levels");
    let (bytes, depth) = match from.and_then(|from| value.pointer(from.as_str())) {
        Some(source) => size(source, 0).ok_or_else(deep)?,
        None => (0, 0),
    };
    if path.as_str().bytes().filter(|b| *b == b'/').count() + depth > DEEPEST {
        return Err(deep());
    }
    Ok(if copies { bytes } else { 0 })
}

/// The size and depth of a value; `None` when it is too deep.
fn size(value: &Value, depth: usize) -> Option<(usize, usize)> {
    if depth > 2 * DEEPEST {
        return None;
    }
    let mut whole = (NODE_BYTES, 1);
    let mut add = |part: (usize, usize)| whole = (whole.0 + part.0, whole.1.max(part.1 + 1));
    match value {
        Value::String(text) => add((text.len(), 0)),
        Value::Array(items) => {
            for item in items {
                add(size(item, depth + 1)?);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                let (bytes, deep) = size(item, depth + 1)?;
                add((bytes + key.len() + NODE_BYTES, deep));
            }
        }
        _ => {}
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_apply_to_the_last_snapshot() {
        let mut state = State::default();
        state.apply(r#"[{"op":"add","path":"/a","value":1}]"#).unwrap();
        state.set(r#"{"steps":[]}"#);
        state
            .apply(r#"[{"op":"add","path":"/steps/-","value":"x"},{"op":"test","path":"/steps/0","value":"x"}]"#)
            .unwrap();
        for wrong in [
            r#"[{"op":"replace","path":"/a","value":1}]"#,
            r#"[{"op":"test","path":"/steps/0","value":"y"}]"#,
            r#"[{"op":"remove","path":"/steps/7"}]"#,
            r#"[{"op":"fly","path":"/steps"}]"#,
            r#"{"op":"add"}"#,
        ] {
            assert!(!state.apply(wrong).unwrap_err().is_empty(), "{wrong}");
        }
        state.apply(r#"[{"op":"test","path":"/steps/0","value":"x"}]"#).unwrap();
    }

    #[test]
    fn what_doubles_itself_is_stopped() {
        let mut state = State::default();
        state.set(r#"{"a":["0123456789012345678901234567890123456789"]}"#);
        let double = r#"[{"op":"copy","from":"/a","path":"/a/-"}]"#;
        let error = (0..64).find_map(|_| state.apply(double).err()).unwrap();
        assert!(
            error.contains("grown beyond") || error.contains("nests deeper"),
            "{error}"
        );
        let mut state = State::default();
        state.set(r#"{"a":{}}"#);
        let nest = r#"[{"op":"add","path":"/b","value":{}},{"op":"move","from":"/a","path":"/b/b"},{"op":"move","from":"/b","path":"/a"}]"#;
        let error = (0..5000).find_map(|_| state.apply(nest).err()).unwrap();
        assert!(error.contains("nests deeper"), "{error}");
        let wide = format!(r#"[{{"op":"add","path":"/x","value":"{}"}}]"#, "y".repeat(600_000));
        let mut state = State::default();
        assert!((0..40).all(|_| state.apply(&wide).is_ok()), "replacing is no growth");
    }
}
