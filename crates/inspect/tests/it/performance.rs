//! Metrics against scikit-learn's.

use seaworthy_inspect::checks::performance;
use seaworthy_inspect::model::Task;
use serde_json::Value;

use crate::support::{data, expected, model, text_data};

/// Predictions differ by the rounding of exported parameters to 32 bits; metrics inherit it.
const TOLERANCE: f64 = 2e-6;

fn value(report: &Value, metric: &str, end: &str) -> f64 {
    report["facts"]["metrics"][metric][end].as_f64().unwrap()
}

fn run(name: &str, table: &str, task: Task) -> Value {
    serde_json::to_value(performance::run(&model(name), &data(table), "target", task).unwrap()).unwrap()
}

#[test]
fn metrics_equal_the_library() {
    for (name, wanted) in expected()["metrics"].as_object().unwrap() {
        let (table, task) = match name.as_str() {
            "rf" | "gb" | "logreg" => ("cancer.csv", Task::Binary),
            "gb3" | "et3" | "logreg3" => ("wine.csv", Task::Multiclass),
            _ => ("diabetes.csv", Task::Regression),
        };
        let report = run(name, table, task);
        let metrics = report["facts"]["metrics"].as_object().unwrap();
        assert_eq!(metrics.len(), wanted.as_object().unwrap().len(), "{name}");
        for (metric, wanted) in wanted.as_object().unwrap() {
            let wanted = wanted.as_f64().unwrap();
            let found = value(&report, metric, "value");
            assert!((found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0), "{name} {metric}: {found} is not {wanted}");
            let (low, high) = (value(&report, metric, "low"), value(&report, metric, "high"));
            assert!(low <= found && found <= high, "{name} {metric}: {low} {found} {high}");
        }
    }
}

/// The interval of accuracy against the exact binomial one: 57 of 60 right.
#[test]
fn intervals_are_of_the_right_width_and_repeat() {
    let report = run("logreg", "cancer.csv", Task::Binary);
    let (accuracy, low, high) =
        (value(&report, "accuracy", "value"), value(&report, "accuracy", "low"), value(&report, "accuracy", "high"));
    let normal = 1.96 * (accuracy * (1.0 - accuracy) / 60.0).sqrt();
    assert!(((high - low) / 2.0 - normal).abs() < 0.02, "{low} {accuracy} {high}, normal approximation ± {normal}");
    assert_eq!(report, run("logreg", "cancer.csv", Task::Binary));
}

#[test]
fn the_baseline_is_the_majority_or_the_mean() {
    let report = run("rf", "cancer.csv", Task::Binary);
    assert_eq!(report["facts"]["baseline"]["metric"], "accuracy");
    let baseline = report["facts"]["baseline"]["value"].as_f64().unwrap();
    assert!((0.5..0.8).contains(&baseline));
    assert_eq!(report["facts"]["feature_order"], "metadata");
    assert_eq!(report["facts"]["positive_class"], "1");
    assert_eq!(run("gb", "cancer.csv", Task::Binary)["facts"]["feature_order"], "data");
    assert_eq!(run("linear", "diabetes.csv", Task::Regression)["facts"]["baseline"]["metric"], "rmse");
}

#[test]
fn text_labels_are_matched_by_name() {
    let csv = std::fs::read_to_string(crate::support::fixture("cancer.csv")).unwrap();
    let mut lines = csv.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let (row, label) = line.rsplit_once(',').unwrap();
        text.push_str(&format!("{row},{}\n", if label == "1" { "benign" } else { "malignant" }));
    }
    let report = performance::run(&model("rf_text"), &text_data("t.csv", &text).unwrap(), "target", Task::Binary).unwrap();
    assert!(report.facts["metrics"]["accuracy"]["value"].as_f64().unwrap() > 0.8);
    assert_eq!(report.facts["positive_class"], "malignant");
}

#[test]
fn what_does_not_fit_is_refused() {
    let code = |name: &str, table: &str, label: &str, task| performance::run(&model(name), &data(table), label, task).unwrap_err().code();
    assert_eq!(code("rf", "cancer.csv", "targt", Task::Binary), "table/unknown-column");
    assert_eq!(code("rf", "wine.csv", "target", Task::Binary), "model/missing-feature");
    assert_eq!(code("gb", "cancer.csv", "mean_radius", Task::Binary), "check/label");
    assert_eq!(code("rf_reg", "diabetes.csv", "target", Task::Binary), "check/task");
    assert_eq!(code("rf", "cancer.csv", "target", Task::Regression), "check/task");
    assert_eq!(code("et3", "wine.csv", "target", Task::Binary), "check/task");
    assert_eq!(code("gb", "drift_current.csv", "same", Task::Binary), "model/shape");
}

#[test]
fn an_undefined_metric_is_absent_and_said_so() {
    let csv = std::fs::read_to_string(crate::support::fixture("cancer.csv")).unwrap();
    let one_class: String =
        csv.lines().enumerate().filter(|(line, text)| *line == 0 || text.ends_with(",1")).map(|(_, text)| format!("{text}\n")).collect();
    let report = performance::run(&model("rf"), &text_data("t.csv", &one_class).unwrap(), "target", Task::Binary).unwrap();
    let metrics = report.facts["metrics"].as_object().unwrap();
    assert!(!metrics.contains_key("auc") && !metrics.contains_key("balanced_accuracy") && metrics.contains_key("accuracy"));
    assert!(report.findings.iter().any(|finding| finding.subject == "metric:auc"));
    let none = performance::run(&model("rf"), &text_data("t.csv", csv.lines().next().unwrap()).unwrap(), "target", Task::Binary);
    // of a table without rows no column has a kind, and there is nothing to score
    assert_eq!(none.unwrap_err().code(), "check/no-rows");
}
