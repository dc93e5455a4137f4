//! The integrity score, first form: reports of checks → one number with its evidence.
//!
//! `value = ∏ part^weight`. A part that measures something is 1 within its bound and falls linearly to 0 at twice the bound; the
//! chain is 0 or 1. A weight below [`WEIGHT_MIN`] counts as that: a policy may stress a part, never silence it. A required part
//! that is missing makes the score incomplete and its value 0, so that leaving out a check never pays.
//!
//! **Invariant:** the value never rises when a part falls, when a part is left out, or when a part is added.

use std::collections::BTreeMap;

use seaworthy_core::finding::{CheckReport, Finding, Severity};
use serde_json::{Value, json};

use crate::checks::CheckError;
use crate::checks::explain::ADDITIVITY_MAX;

/// Name of the report.
pub const ID: &str = "score";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Least weight of a part.
pub const WEIGHT_MIN: f64 = 0.5;
/// Largest weight of a part.
pub const WEIGHT_MAX: f64 = 8.0;
/// Parts without which the score is incomplete.
pub const REQUIRED: [&str; 4] = ["chain", "performance", "explanation", "drift"];
/// How far accuracy on held-out data may lie below that on the training data.
pub const ACCURACY_LOSS_MAX: f64 = 0.05;
/// By what share the error on held-out data may exceed that on the training data.
pub const ERROR_RISE_MAX: f64 = 0.25;
/// Largest population stability index of a feature.
pub const PSI_MAX: f64 = 0.25;

/// One factor of the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name.
    pub name: String,
    /// 0 to 1; anything else counts as 0.
    pub value: f64,
    /// Exponent.
    pub weight: f64,
    /// What it was computed from.
    pub evidence: BTreeMap<String, Value>,
}

impl Part {
    /// A part that holds or does not: a verified chain, a verified signature.
    #[must_use]
    pub fn holds(name: &str, holds: bool) -> Self {
        Self {
            name: name.to_owned(),
            value: if holds { 1.0 } else { 0.0 },
            weight: 1.0,
            evidence: BTreeMap::from([(String::from("holds"), json!(holds))]),
        }
    }

    /// A part that measures something that should stay within a bound.
    #[must_use]
    pub fn measured(name: &str, measured: f64, bound: f64) -> Self {
        let evidence = BTreeMap::from([(String::from("measured"), json!(measured)), (String::from("bound"), json!(bound))]);
        Self { name: name.to_owned(), value: within(measured, bound), weight: 1.0, evidence }
    }
}

/// 1 up to the bound, linear to 0 at twice it. NaN, infinity and a bound that is not above 0 give 0.
#[must_use]
pub fn within(measured: f64, bound: f64) -> f64 {
    if !(measured.is_finite() && bound.is_finite() && bound > 0.0) {
        return 0.0;
    }
    (2.0 - measured / bound).clamp(0.0, 1.0)
}

/// The score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// 0 to 1.
    pub value: f64,
    /// Whether all required parts are there.
    pub complete: bool,
    /// Its factors.
    pub parts: Vec<Part>,
    /// Required parts that are missing.
    pub missing: Vec<String>,
}

/// Multiplies the parts.
#[must_use]
pub fn integrity_score(parts: &[Part], required: &[&str]) -> Score {
    let missing: Vec<String> =
        required.iter().filter(|name| !parts.iter().any(|part| part.name == **name)).map(|name| (*name).to_owned()).collect();
    let factor = |part: &Part| {
        let value = if (0.0..=1.0).contains(&part.value) { part.value } else { 0.0 };
        let weight = if part.weight.is_nan() { WEIGHT_MAX } else { part.weight.clamp(WEIGHT_MIN, WEIGHT_MAX) };
        value.powf(weight)
    };
    let product: f64 = parts.iter().map(factor).product();
    let complete = missing.is_empty();
    Score { value: if complete { product } else { 0.0 }, complete, parts: parts.to_vec(), missing }
}

/// What a validation step knows when it asks for the score.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScoreInputs<'a> {
    /// Whether the chain of the model verifies, its signatures included.
    pub chain: Option<bool>,
    /// Report of `performance` on held-out data.
    pub performance: Option<&'a CheckReport>,
    /// Report of `performance` on the training data.
    pub performance_on_reference: Option<&'a CheckReport>,
    /// Report of `drift` between the two.
    pub drift: Option<&'a CheckReport>,
    /// Report of `explain`.
    pub explain: Option<&'a CheckReport>,
}

/// Scores a validation; the report's check is `score`.
pub fn run(inputs: &ScoreInputs<'_>) -> Result<CheckReport, CheckError> {
    let mut parts: Vec<Part> = inputs.chain.map(|holds| Part::holds("chain", holds)).into_iter().collect();
    if let (Some(held_out), Some(training)) = (inputs.performance, inputs.performance_on_reference) {
        parts.push(performance_part(held_out, training)?);
    }
    if let Some(explain) = inputs.explain {
        parts.push(Part::measured("explanation", number(explain, &["additivity_error"])?, ADDITIVITY_MAX));
    }
    if let Some(drift) = inputs.drift {
        parts.push(Part::measured("drift", number(drift, &["max_psi"])?, PSI_MAX));
    }
    Ok(describe(&integrity_score(&parts, &REQUIRED)))
}

fn performance_part(held_out: &CheckReport, training: &CheckReport) -> Result<Part, CheckError> {
    let metric = |report, name| number(report, &["metrics", name, "value"]);
    if held_out.facts.get("task") == Some(&json!("regression")) {
        let (now, before) = (metric(held_out, "rmse")?, metric(training, "rmse")?);
        // a perfect fit of the training data leaves no room at all
        let rise = if now <= before { 0.0 } else { now / before - 1.0 };
        return Ok(Part::measured("performance", rise, ERROR_RISE_MAX));
    }
    let loss = metric(training, "accuracy")? - metric(held_out, "accuracy")?;
    Ok(Part::measured("performance", loss.max(0.0), ACCURACY_LOSS_MAX))
}

fn number(report: &CheckReport, path: &[&str]) -> Result<f64, CheckError> {
    let (first, rest) = path.split_first().unwrap_or((&"", &[]));
    let start = report.facts.get(*first);
    let found = rest.iter().fold(start, |value, key| value.and_then(|value| value.get(key)));
    found.and_then(Value::as_f64).ok_or(CheckError::MissingInput { check: ID, what: "a number from each report it is given" })
}

fn describe(score: &Score) -> CheckReport {
    let parts: BTreeMap<&str, Value> = score
        .parts
        .iter()
        .map(|part| (part.name.as_str(), json!({"value": part.value, "weight": part.weight, "evidence": part.evidence})))
        .collect();
    let facts =
        [("value", json!(score.value)), ("complete", json!(score.complete)), ("parts", json!(parts)), ("missing", json!(score.missing))];
    let parameters = [
        ("required", json!(REQUIRED)),
        ("accuracy_loss_max", json!(ACCURACY_LOSS_MAX)),
        ("error_rise_max", json!(ERROR_RISE_MAX)),
        ("psi_max", json!(PSI_MAX)),
        ("additivity_max", json!(ADDITIVITY_MAX)),
        ("weight_min", json!(WEIGHT_MIN)),
    ];
    let named = |pairs: &[(&str, Value)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    let low = score
        .parts
        .iter()
        .filter(|part| part.value < 1.0)
        .map(|part| finding(&part.name, format!("part `{}` is {:.3}", part.name, part.value), part.evidence.clone()));
    let gone =
        score.missing.iter().map(|name| finding(name, format!("part `{name}` is missing, so the score is incomplete"), BTreeMap::new()));
    CheckReport { check: ID.to_owned(), parameters: named(&parameters), facts: named(&facts), findings: low.chain(gone).collect() }
}

fn finding(part: &str, message: String, evidence: BTreeMap<String, Value>) -> Finding {
    Finding { check: ID.to_owned(), severity: Severity::Error, subject: format!("part:{part}"), message, evidence, rows: Vec::new() }
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({
        "weight_min": WEIGHT_MIN, "weight_max": WEIGHT_MAX, "required": REQUIRED, "accuracy_loss_max": ACCURACY_LOSS_MAX,
        "error_rise_max": ERROR_RISE_MAX, "psi_max": PSI_MAX, "additivity_max": ADDITIVITY_MAX
    })
}
