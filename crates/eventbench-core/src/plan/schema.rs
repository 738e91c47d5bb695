//! The JSON Schema of suite files, for editors: the plan's own types, and each driver's settings beside them.

use super::Suite;
use crate::driver::Registry;
use serde_json::{Map, Value, json};

/// The schema of a suite file under the drivers, observers and readiness checks of `registry`.
pub fn json_schema(registry: &Registry) -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Suite)).unwrap_or(Value::Null);
    let mut lifted = Map::new();
    let mut row = |role: &str, name: &str, about: &str, schema: Value| {
        lift(&format!("{role}.{name}"), settings(name, about, schema), &mut lifted)
    };
    let drivers: Vec<Value> = registry
        .drivers
        .iter()
        .map(|d| row("drive", d.name, d.about, (d.schema)()))
        .collect();
    let observers: Vec<Value> = registry
        .observers
        .iter()
        .map(|d| row("observe", d.name, d.about, (d.schema)()))
        .collect();
    let observe_one = json!({ "oneOf": observers });
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        defs.extend(lifted);
        defs.insert("Drive".to_owned(), json!({ "oneOf": drivers }));
        defs.insert("Observe".to_owned(), json!({ "oneOf": [{ "$ref": "#/$defs/ObserveOne" }, { "type": "array", "items": { "$ref": "#/$defs/ObserveOne" } }] }));
        defs.insert("ObserveOne".to_owned(), observe_one);
        for owner in ["Benchmark", "Against"] {
            if let Some(properties) = defs
                .get_mut(owner)
                .and_then(|o| o.get_mut("properties"))
                .and_then(Value::as_object_mut)
            {
                properties.insert("drive".to_owned(), json!({ "$ref": "#/$defs/Drive" }));
                properties.insert("observe".to_owned(), json!({ "$ref": "#/$defs/Observe" }));
            }
        }
    }
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("eventbench suite"));
    }
    schema
}

fn settings(name: &str, about: &str, mut schema: Value) -> Value {
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.insert("title".to_owned(), json!(name));
        root.insert("description".to_owned(), json!(about));
        if let Some(properties) = root.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
            properties.insert("driver".to_owned(), json!({ "const": name }));
        }
        match root.get_mut("required").and_then(Value::as_array_mut) {
            Some(required) => required.push(json!("driver")),
            None => {
                root.insert("required".to_owned(), json!(["driver"]));
            }
        }
    }
    schema
}

/// Moves the definitions of a driver's settings to the root of the whole schema, where `#/$defs/…` looks for them, under
/// names that no other driver has.
fn lift(owner: &str, mut schema: Value, lifted: &mut Map<String, Value>) -> Value {
    if let Some(Value::Object(own)) = schema.as_object_mut().and_then(|root| root.remove("$defs")) {
        for (name, mut definition) in own {
            point(owner, &mut definition);
            lifted.insert(format!("{owner}.{name}"), definition);
        }
        point(owner, &mut schema);
    }
    schema
}

/// Lets the references in `value` point to the owner's definitions.
fn point(owner: &str, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = value.as_str().and_then(|to| to.strip_prefix("#/$defs/"));
                match name
                    .filter(|_| key == "$ref")
                    .map(|name| format!("#/$defs/{owner}.{name}"))
                {
                    Some(moved) => *value = Value::String(moved),
                    None => point(owner, value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| point(owner, value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{DriverDef, DriverError};

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Inner {
        deep: Option<Box<Inner>>,
    }

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Outer {
        inner: Vec<Inner>,
    }

    const NESTED: DriverDef = DriverDef {
        name: "nested",
        about: "settings with a type of their own",
        check: |_| Ok(()),
        schema: || schemars::schema_for!(Outer).to_value(),
        open: |_, _| Err(DriverError::new("nested", "never opened")),
    };

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_points_to_something() {
        let schema = json_schema(&Registry {
            drivers: &[NESTED],
            observers: &[],
            ready: &[],
        });
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.contains(&"#/$defs/drive.nested.Inner"), "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(schema.pointer(pointer).is_some(), "{reference} points to nothing");
        }
    }
}
