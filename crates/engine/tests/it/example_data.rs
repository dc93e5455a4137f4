//! The example's data and its variants: what the schema check counts, and what the gate says to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use seaworthy_inspect::checks::data_schema;
use seaworthy_inspect::schema::DataSchema;
use seaworthy_inspect::table::{DataFile, Dataset};
use serde_json::{Value, json};

use crate::example_gates::load;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline")
}

/// The files of `data/raw` with those of a variant laid over them.
fn files(variant: &str) -> Vec<DataFile> {
    let mut paths = BTreeMap::new();
    for root in [example(), example().join("variants").join(variant)] {
        for entry in std::fs::read_dir(root.join("data/raw")).into_iter().flatten().map(Result::unwrap) {
            paths.insert(entry.file_name().into_string().unwrap(), entry.path());
        }
    }
    assert_eq!(paths.len(), 2);
    paths.into_iter().map(|(name, path)| DataFile { name, file: std::fs::File::open(path).unwrap() }).collect()
}

#[test]
fn the_schema_counts_what_each_variant_broke_and_the_gate_draws_the_line() {
    let schema = DataSchema::parse_yaml(&std::fs::read_to_string(example().join("schemas/employment.yaml")).unwrap()).unwrap();
    let (gate, _) = load("examples/secure-ml-pipeline/policies", "data_schema_v2");
    let clean = gate.cases().iter().find(|case| case.name == "a clean batch").unwrap();
    // (variant, rows violating, values out of range, denying checks)
    let cases: [(&str, u64, u64, &[&str]); 5] = [
        ("none", 0, 0, &[]),
        ("changed-input", 0, 0, &[]),
        ("batch-at-bound", 100, 100, &[]),
        ("batch-just-over", 101, 101, &["range", "rows_violating"]),
        ("poisoned-batch", 1_000, 2_000, &["range", "rows_violating"]),
    ];
    for (variant, violating, range, denied) in cases {
        let data = Dataset::open(files(variant)).unwrap();
        let report = data_schema::run(&data, &schema).unwrap();
        assert_eq!(report.facts["rows_violating"], json!(violating), "{variant}: {:?}", report.facts);
        assert_eq!(report.facts["violations"]["range"], json!(range), "{variant}");
        let mut input = clean.input.clone();
        let anomalies = json!({"rows_flagged": 0, "fraction": 0.0});
        let facts = [("rows", report.facts["rows"].clone()), ("columns", report.facts["columns"].clone()), ("anomalies", anomalies)];
        for (key, value) in facts {
            input[key] = value;
        }
        for key in ["types", "nulls", "range", "category", "unique", "missing_columns", "unexpected_columns"] {
            input["violations"][key] = report.facts["violations"].get(key).cloned().unwrap_or(Value::Null);
        }
        for key in ["rows_violating", "rows_violating_fraction"] {
            input[key] = report.facts[key].clone();
        }
        let decision = gate.decide(&json_strict::to_canonical(&input), &clean.expectation(&gate));
        let mut rules: Vec<&str> = decision.reasons.iter().map(|reason| reason.rule.as_str()).collect();
        rules.sort_unstable();
        assert_eq!((decision.pass, rules.as_slice()), (denied.is_empty(), denied), "{variant}: {:?}", decision.reasons);
    }
}

/// The variant that only the lock can stop: other bytes, no violation.
#[test]
fn the_changed_input_differs_in_one_label() {
    let read = |path: &str| std::fs::read(example().join(path)).unwrap();
    let name = "data/raw/employment_MA_2016.parquet";
    let (before, after) = (read(name), read(&format!("variants/changed-input/{name}")));
    assert_ne!(Digest::of(&before), Digest::of(&after));
    let labels = |variant: &str| -> Vec<Option<f64>> {
        let data = Dataset::open(files(variant)).unwrap();
        let label = data.columns().iter().position(|column| column.name == "employed").unwrap();
        data.batches_of(vec![label]).flat_map(|batch| batch.unwrap().numbers(0)).collect()
    };
    let (before, after) = (labels("none"), labels("changed-input"));
    assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
}
