//! The registry: unique, documented ids; missing inputs are named.

use seaworthy_inspect::check::Inputs;
use seaworthy_inspect::registry::{CHECKS, digest, digest_of, find};
use serde_json::Value;

use crate::support::data;

#[test]
fn ids_are_unique_and_documented() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/checks");
    let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id()).collect();
    for id in ids.iter().copied().chain(["score"]) {
        let page = std::fs::read_to_string(docs.join(format!("{id}.md"))).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(page.contains("## Facts"), "{id} has no list of facts");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
}

/// Everything that a report depends on goes into the digest, so that no report of other checks is reused.
#[test]
fn the_digest_changes_with_every_id_version_and_parameter() {
    let described = || CHECKS.iter().map(|check| (check.id(), check.version(), check.parameters())).collect::<Vec<_>>();
    let of = |checks: Vec<(&str, u32, Value)>| digest_of(checks.into_iter());
    let before = of(described());
    assert_eq!(before, of(described()), "the control");
    let mut seen = vec![before, digest()];
    for at in 0..CHECKS.len() {
        let mut raised = described();
        raised[at].1 += 1;
        seen.push(of(raised));
        let mut renamed = described();
        renamed[at].0 = "other";
        seen.push(of(renamed));
        let mut fewer = described();
        fewer.remove(at);
        seen.push(of(fewer));
        for name in described()[at].2.as_object().unwrap().keys() {
            let mut moved = described();
            moved[at].2[name] = Value::from("moved");
            seen.push(of(moved));
        }
    }
    let count = seen.len();
    assert!(count > 30, "{count}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "two lists of checks have one digest");
}

/// The parameters that a report names are among those of the digest.
#[test]
fn reported_parameters_are_in_the_digest() {
    let rows = data("cancer.csv");
    let report = find("anomaly").unwrap().run(&Inputs { data: Some(&rows), ..Inputs::default() }).unwrap();
    let known = find("anomaly").unwrap().parameters();
    for (name, value) in report.parameters.iter().filter(|(name, _)| *name != "label") {
        assert_eq!(known.get(name), Some(value), "{name}");
    }
}

/// Every fact of every report stands on its page: gates are built on these names.
#[test]
fn facts_are_documented() {
    use seaworthy_inspect::checks::{anomaly, data_schema, drift, explain, performance};
    use seaworthy_inspect::model::Task;
    let (rows, known, model) = (data("cancer.csv"), data("cancer_background.parquet"), crate::support::model("rf"));
    let schema = seaworthy_inspect::schema::DataSchema::infer(&known).unwrap();
    let on_rows = performance::run(&model, &rows, "target", Task::Binary).unwrap();
    let drifted = drift::run(&known, &rows, &[]).unwrap();
    let inputs = seaworthy_inspect::score::ScoreInputs {
        chain: Some(true),
        performance: Some(&on_rows),
        performance_on_reference: Some(&on_rows),
        drift: Some(&drifted),
        explain: None,
    };
    let score = seaworthy_inspect::score::run(&inputs).unwrap();
    let reports = [
        data_schema::run(&rows, &schema).unwrap(),
        anomaly::run(&rows, Some("target")).unwrap(),
        explain::run(&model, &rows, &known, "target", "shap").unwrap(),
        on_rows,
        drifted,
        score,
    ];
    for report in reports {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/src/reference/checks/{}.md", report.check));
        let page = std::fs::read_to_string(page).unwrap();
        for name in report.facts.keys().chain(report.parameters.keys()) {
            assert!(page.contains(&format!("`{name}`")), "{}: `{name}` is not documented", report.check);
        }
    }
}

#[test]
fn a_missing_input_is_named() {
    let rows = data("cancer.csv");
    for check in CHECKS {
        assert_eq!(check.run(&Inputs::default()).unwrap_err().code(), "check/missing-input", "{}", check.id());
    }
    assert!(find("anomaly").unwrap().run(&Inputs { data: Some(&rows), ..Inputs::default() }).is_ok());
    assert!(find("no_such").is_none());
}
