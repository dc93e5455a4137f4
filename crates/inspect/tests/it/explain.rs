//! Contributions against Python's shap.

use seaworthy_inspect::checks::explain;
use seaworthy_inspect::model::{Estimator, Matrix};

use crate::support::{assert_close, data, expected, matrix, model, numbers};

/// Leaves are exported as 32-bit floats; the contributions inherit that rounding, relative to max(1, |value|).
const TOLERANCE: f64 = 1e-6;

#[test]
fn contributions_equal_shap() {
    for (name, wanted) in expected()["shap"].as_object().unwrap() {
        let table = wanted["data"].as_str().unwrap();
        let model = model(name);
        let mut rows = matrix(&data(&format!("{table}.csv")), "target");
        rows.values.truncate(20 * rows.columns);
        let background = matrix(&data(&format!("{table}_background.parquet")), "target");
        let (estimator, rows) = model.estimator_rows(&rows).unwrap().unwrap();
        let (_, background) = model.estimator_rows(&background).unwrap().unwrap();
        let explain = |output: usize| match estimator {
            Estimator::Trees(ensemble) => explain::explain_trees(ensemble, &rows, &background, output).unwrap(),
            Estimator::Linear(linear) => explain::explain_linear(linear, &rows, &background, output).unwrap(),
        };
        let found: Vec<f64> = if name == "shap_gb3" {
            // rows × features × classes
            let classes: Vec<Matrix> = (0..3).map(|class| explain(class).contributions).collect();
            (0..rows.values.len()).flat_map(|cell| classes.iter().map(move |class| class.values[cell])).collect()
        } else {
            let output = usize::from(matches!(estimator, Estimator::Linear(linear) if linear.outputs == 2));
            let explanation = explain(output);
            assert!(explanation.additivity_error < 1e-12, "{name}: {}", explanation.additivity_error);
            explanation.contributions.values
        };
        assert_close(name, &found, &numbers(&wanted["values"]), TOLERANCE);
    }
}

#[test]
fn reports_name_their_method_and_add_up() {
    for (name, table, method, kind) in [
        ("rf", "cancer", "tree_shap", "probability"),
        ("gb", "cancer", "tree_shap", "log_odds"),
        ("scaled_rf", "cancer", "tree_shap", "probability"),
        ("imputed_tree", "cancer", "tree_shap", "probability"),
        ("logreg", "cancer", "linear", "log_odds"),
        ("et3", "wine", "tree_shap", "probability"),
        ("gb3", "wine", "tree_shap", "margin"),
        ("gb_reg", "diabetes", "tree_shap", "value"),
        ("scaled_linear", "diabetes", "linear", "value"),
    ] {
        let report =
            explain::run(&model(name), &data(&format!("{table}.csv")), &data(&format!("{table}_background.parquet")), "target", "shap")
                .unwrap();
        assert_eq!((report.facts["method"].as_str().unwrap(), report.facts["explained"].as_str().unwrap()), (method, kind), "{name}");
        assert!(report.facts["additivity_error"].as_f64().unwrap() < 1e-12, "{name}");
        let share = report.facts["top_share"].as_f64().unwrap();
        assert!(share > 0.0 && share <= 1.0, "{name}");
        let importance: Vec<f64> = report.facts["importance"].as_object().unwrap().values().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(importance.len(), 10);
        let largest = importance.iter().copied().fold(0.0, f64::max) / importance.iter().sum::<f64>();
        assert!((largest - share).abs() < 1e-12);
    }
}

#[test]
fn what_cannot_be_explained_is_said_so() {
    let (rows, background) = (data("cancer.csv"), data("cancer_background.parquet"));
    let error = |name: &str, method: &str| explain::run(&model(name), &rows, &background, "target", method).unwrap_err();
    assert_eq!(error("mlp", "shap").code(), "check/unsupported");
    assert_eq!(error("normed", "shap").code(), "check/unsupported");
    assert_eq!(error("rf", "lime").to_string(), "explanations by `lime` are not supported yet");
    assert_eq!(error("rf", "magic").code(), "check/unsupported");
}
