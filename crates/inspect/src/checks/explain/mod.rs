//! `explain`: which features carry the model's answers? Model, rows, background, label, method → contributions.
//!
//! `shap` is exact where the model is a tree ensemble (path-dependent TreeSHAP, [`tree_shap`]) or linear ([`linear`]), with
//! features at most scaled, imputed or cast one by one before it. What is explained is the sum before the post-transform: a
//! probability for forests, log-odds for boosted trees and logistic models, the value for regressions. Other models, and
//! `lime`, are an error that says so.
//!
//! **Invariant:** contributions and expected value add up to the model's output for every explained row, or the check fails.

mod linear;
mod tree_shap;

use std::collections::BTreeMap;

use seaworthy_core::finding::{CheckReport, Finding, Severity};
use serde_json::{Value, json};

use super::features::Features;
use super::{CheckError, report};
use crate::model::{Estimator, Matrix, Model, Output, PostTransform};
use crate::random::Reservoir;
use crate::table::Dataset;

pub use linear::explain as explain_linear;
pub use tree_shap::explain as explain_trees;

/// Name of the check.
pub const ID: &str = "explain";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Seed of the samples of rows.
pub const SEED: u64 = 0x5ea_0004;
/// Rows explained.
pub const ROWS_MAX: usize = 256;
/// Rows of the background.
pub const BACKGROUND_MAX: usize = 10_000;
/// Largest difference to the model's output, relative to the larger of 1 and that output.
pub const ADDITIVITY_MAX: f64 = 1e-6;
/// Leaves times rows that are worked through, about.
const LEAF_ROWS: usize = 20_000_000;
/// Features listed one by one among the facts.
const FEATURES_LISTED_MAX: usize = 1_000;

/// Contributions to one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The output without knowledge of any feature.
    pub expected: f64,
    /// Rows × features.
    pub contributions: Matrix,
    /// Largest difference of a row's sum to the model's output, relative to the larger of 1 and that output.
    pub additivity_error: f64,
}

/// Runs the check on a seeded sample of rows.
pub fn run(model: &Model, data: &Dataset, background: &Dataset, label: &str, method: &str) -> Result<CheckReport, CheckError> {
    match method {
        "shap" => {}
        "lime" => return Err(CheckError::Unsupported { what: String::from("explanations by `lime`") }),
        other => return Err(CheckError::Unsupported { what: format!("explanations by `{other}`") }),
    }
    let features = Features::of(model, data, label)?;
    let rows = sample(model, data, label, ROWS_MAX, SEED)?;
    let known = sample(model, background, label, BACKGROUND_MAX, SEED + 1)?;
    if rows.rows() == 0 || known.rows() == 0 {
        return Err(CheckError::NoRows { what: "the data to explain, or its background" });
    }
    let opaque = || CheckError::Unsupported {
        what: String::from("explanations of a model that is neither a tree ensemble nor linear in its features"),
    };
    let (estimator, mut rows) = model.estimator_rows(&rows)?.ok_or_else(opaque)?;
    let (_, known) = model.estimator_rows(&known)?.ok_or_else(opaque)?;
    let (name, outputs, kind) = match estimator {
        Estimator::Trees(ensemble) => {
            let leaves: usize = ensemble.trees.iter().map(|tree| tree.nodes.len() / 2 + 1).sum();
            let count = (LEAF_ROWS / leaves.max(1)).clamp(16, ROWS_MAX);
            rows.values.truncate(count * rows.columns);
            ("tree_shap", ensemble.outputs, explained(model, ensemble.post, ensemble.weights_positive))
        }
        Estimator::Linear(linear) => ("linear", linear.outputs, explained(model, linear.post, false)),
    };
    // of two classes the second says all
    let outputs: Vec<usize> = if model.output() == Output::Classes && outputs == 2 { vec![1] } else { (0..outputs).collect() };
    let mut explanations = Vec::with_capacity(outputs.len());
    for output in &outputs {
        let explanation = match estimator {
            Estimator::Trees(ensemble) => tree_shap::explain(ensemble, &rows, &known, *output)?,
            Estimator::Linear(linear) => linear::explain(linear, &rows, &known, *output)?,
        };
        if explanation.additivity_error.is_nan() || explanation.additivity_error > ADDITIVITY_MAX {
            return Err(CheckError::Additivity { error: explanation.additivity_error, max: ADDITIVITY_MAX });
        }
        explanations.push(explanation);
    }
    Ok(describe(&features, &explanations, &Setting { name, kind, label, rows: rows.rows(), background: known.rows() }))
}

/// What the report says besides the contributions.
struct Setting<'a> {
    name: &'static str,
    kind: &'static str,
    label: &'a str,
    rows: usize,
    background: usize,
}

fn explained(model: &Model, post: PostTransform, positive: bool) -> &'static str {
    match (model.output(), post) {
        (Output::Values, _) => "value",
        (Output::Classes, PostTransform::Logistic) => "log_odds",
        (Output::Classes, PostTransform::None) if positive => "probability",
        (Output::Classes, _) => "margin",
    }
}

fn sample(model: &Model, data: &Dataset, label: &str, size: usize, seed: u64) -> Result<Matrix, CheckError> {
    let features = Features::of(model, data, label)?;
    let mut reservoir = Reservoir::new(size, seed);
    for batch in data.batches_of(features.places.clone()) {
        let rows = features.matrix(&batch?, |_| true);
        rows.iter().for_each(|row| reservoir.offer(|| row.to_vec()));
    }
    Ok(Matrix { columns: features.places.len(), values: reservoir.into_kept().into_iter().flatten().collect() })
}

/// Mean absolute contribution of each feature, over rows and outputs.
#[expect(clippy::cast_precision_loss, reason = "a number of rows")]
fn importance(features: usize, explanations: &[Explanation]) -> Vec<f64> {
    let mut sums = vec![0.0; features];
    let mut count = 0_usize;
    for row in explanations.iter().flat_map(|explanation| explanation.contributions.iter()) {
        count += 1;
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.abs());
    }
    sums.iter_mut().for_each(|sum| *sum /= count.max(1) as f64);
    sums
}

fn describe(features: &Features, explanations: &[Explanation], setting: &Setting<'_>) -> CheckReport {
    let importance = importance(features.names.len(), explanations);
    let mut order: Vec<(&str, f64)> = features.names.iter().map(String::as_str).zip(importance.iter().copied()).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let total: f64 = importance.iter().sum();
    let (top, most) = order.first().copied().unwrap_or(("", 0.0));
    // a model that answers the same whatever the features is as suspicious as one that looks at a single feature
    let top_share = if total > 0.0 { most / total } else { 1.0 };
    let error = explanations.iter().map(|explanation| explanation.additivity_error).fold(0.0, f64::max);
    let listed: BTreeMap<&str, f64> = order.iter().take(FEATURES_LISTED_MAX).copied().collect();
    let expected: Vec<f64> = explanations.iter().map(|explanation| explanation.expected).collect();
    let facts = [
        ("method", json!(setting.name)),
        ("explained", json!(setting.kind)),
        ("features", json!(features.names.len())),
        ("feature_order", json!(features.source.name())),
        ("rows_explained", json!(setting.rows)),
        ("background_rows", json!(setting.background)),
        ("expected", json!(expected)),
        ("additivity_error", json!(error)),
        ("top_feature", json!(top)),
        ("top_share", json!(top_share)),
        ("importance", json!(listed)),
    ];
    let parameters = [
        ("method", json!("shap")),
        ("label", json!(setting.label)),
        ("seed", json!(SEED)),
        ("rows_max", json!(ROWS_MAX)),
        ("background_max", json!(BACKGROUND_MAX)),
    ];
    let mut report = report(ID, &parameters, &facts);
    report.findings.push(Finding {
        check: ID.to_owned(),
        severity: Severity::Info,
        subject: String::from("model"),
        message: format!("`{top}` carries {:.1} % of the model's answers", top_share * 100.0),
        evidence: order.iter().take(10).map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
        rows: Vec::new(),
    });
    report
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({
        "seed": SEED, "rows_max": ROWS_MAX, "background_max": BACKGROUND_MAX, "additivity_max": ADDITIVITY_MAX,
        "leaf_rows": LEAF_ROWS, "features_listed_max": FEATURES_LISTED_MAX, "path_features_max": tree_shap::PATH_FEATURES_MAX,
        "path_steps_max": tree_shap::PATH_STEPS_MAX
    })
}
