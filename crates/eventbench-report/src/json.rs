//! JSON: the versioned record itself, with the run's verdict beside it.

use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::RunComparison;
use eventbench_core::record::{BenchmarkRecord, RunHead, RunRecord};
use serde::Serialize;

/// The JSON Schema of the record. Programs that read it should let unknown fields pass: a later eventbench may add some
/// within the same version.
pub const SCHEMA: &str = include_str!("../schema/record-v1.json");

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    verdict: Verdict,
    run: &'a RunHead,
    benchmarks: &'a [BenchmarkRecord],
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a RunComparison>,
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let document = Document {
        version: record.version,
        verdict: record.verdict(),
        run: &record.run,
        benchmarks: &record.benchmarks,
        comparison: record.comparison.as_ref(),
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;
    use serde_json::{Value, json};

    fn documents() -> Vec<(&'static str, Value)> {
        golden::records()
            .into_iter()
            .map(|(name, record)| {
                (
                    name,
                    serde_json::from_slice(&render(&record, &RenderOptions::default()).unwrap()).unwrap(),
                )
            })
            .collect()
    }

    /// The schema with every object closed, so that a field it forgets is found.
    fn closed(schema: &mut Value) {
        match schema {
            Value::Object(map) => {
                if map.contains_key("properties") {
                    map.insert("additionalProperties".to_owned(), Value::Bool(false));
                }
                map.values_mut().for_each(closed);
            }
            Value::Array(items) => items.iter_mut().for_each(closed),
            _ => {}
        }
    }

    #[test]
    fn the_schema_knows_every_field_of_every_record() {
        let open: Value = serde_json::from_str(SCHEMA).unwrap();
        let mut strict = open.clone();
        closed(&mut strict);
        for schema in [&open, &strict] {
            jsonschema::meta::validate(schema).unwrap();
            let validator = jsonschema::validator_for(schema).unwrap();
            for (name, document) in documents() {
                let errors: Vec<String> = validator
                    .iter_errors(&document)
                    .map(|e| format!("{}: {e}", e.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{name}: {errors:#?}");
            }
        }
    }

    #[test]
    fn the_schema_refuses_what_is_no_record_and_lets_additions_pass() {
        let validator = jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let (_, good) = documents().swap_remove(0);
        let mut added = good.clone();
        added["run"]["from_a_later_version"] = json!(1);
        assert!(validator.is_valid(&added));
        type Change = fn(&mut Value);
        let changes: &[(&str, Change)] = &[
            ("version", |d| d["version"] = json!(2)),
            ("verdict", |d| d["verdict"] = json!("great")),
            ("missing run", |d| drop(d.as_object_mut().unwrap().remove("run"))),
            ("unit", |d| d["benchmarks"][0]["figures"][0]["unit"] = json!("parsecs")),
            ("negative count", |d| {
                d["benchmarks"][0]["trials"][0]["ledger"]["total"]["sent"] = json!(-1)
            }),
            ("comparison", |d| {
                d["benchmarks"][0]["limits"][0]["comparison"] = json!("≈")
            }),
            ("decision", |d| {
                d["comparison"] = serde_json::to_value(golden::compared().comparison).unwrap();
                d["comparison"]["rows"][0]["decision"]["is"] = json!("slower")
            }),
            ("value of no kind", |d| {
                d["benchmarks"][0]["trials"][0]["values"][0] = json!({ "metric": "x" })
            }),
        ];
        for (what, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(!validator.is_valid(&bad), "{what}");
        }
    }

    /// A comparison by itself is described by the same schema: its form, verdict, and the comparison of a record.
    #[test]
    fn the_schema_knows_a_comparison_by_itself() {
        let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
        schema["required"] = json!(["version", "verdict", "comparison"]);
        closed(&mut schema);
        let validator = jsonschema::validator_for(&schema).unwrap();
        for comparison in [golden::compared(), golden::hostile()].map(|r| r.comparison.unwrap()) {
            let report = crate::COMPARISON_REPORTS.iter().find(|r| r.name == "json").unwrap();
            let bytes = (report.render)(&comparison, &RenderOptions::default()).unwrap();
            let document: Value = serde_json::from_slice(&bytes).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{errors:#?}");
            assert_eq!(document["verdict"], json!("fail"));
            let back: RunComparison = serde_json::from_value(document["comparison"].clone()).unwrap();
            assert_eq!(back, comparison);
        }
    }

    #[test]
    fn it_reads_back_as_the_record() {
        for (name, record) in golden::records() {
            let back: RunRecord = serde_json::from_slice(&render(&record, &RenderOptions::default()).unwrap()).unwrap();
            assert_eq!(back, record, "{name}");
        }
    }
}
