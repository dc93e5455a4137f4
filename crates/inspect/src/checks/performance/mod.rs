//! `performance`: how good is a model on labelled data? Model, table, label, task → metrics with intervals and a baseline.
//!
//! Metrics, definitions as in scikit-learn: binary accuracy, balanced accuracy, ROC AUC (ties count half), F1 of the positive
//! class, log loss (probabilities clipped to 1e-15), Brier score; multiclass accuracy, macro F1, log loss; regression R², mean
//! absolute error, root mean squared error. The positive class is the second of the model's classes. Intervals are 95 %
//! percentile bootstrap (Efron, Tibshirani, 1993) over rows with a fixed seed.
//!
//! **Invariant:** a metric that is undefined on this data is left out, never made up, so that a gate on it denies.

mod bootstrap;
mod measure;

use std::collections::{BTreeMap, HashMap};

use seaworthy_core::finding::{CheckReport, Finding, Severity};
use serde_json::{Value, json};

use super::features::Features;
use super::{CheckError, report};
use crate::model::{Model, ModelError, Output, Task};
use crate::table::{Batch, Dataset, parse_boolean, parse_number};
use measure::{Classes, Measured, Sample, Values};

/// Name of the check.
pub const ID: &str = "performance";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Seed of the bootstrap.
pub const SEED: u64 = 0x5ea_0001;

/// Rows without a label, and what was predicted for the others.
struct Scored {
    sample: Sample,
    unlabelled: u64,
}

/// Runs the check.
pub fn run(model: &Model, data: &Dataset, label: &str, task: Task) -> Result<CheckReport, CheckError> {
    let features = Features::of(model, data, label)?;
    let Scored { sample, unlabelled } = score(model, data, label, task, &features)?;
    if sample.rows() == 0 {
        return Err(CheckError::NoRows { what: "the labelled data" });
    }
    let resamples = bootstrap::resamples(sample.rows());
    let measured = bootstrap::intervals(&sample, resamples, SEED);
    let (baseline_metric, baseline) = sample.baseline();
    let metrics: BTreeMap<&str, Value> =
        measured.iter().map(|one| (one.name, json!({"value": one.value, "low": one.low, "high": one.high}))).collect();
    let mut facts = vec![
        ("rows", json!(sample.rows())),
        ("rows_without_label", json!(unlabelled)),
        ("task", json!(task.name())),
        ("metrics", json!(metrics)),
        ("baseline", json!({"metric": baseline_metric, "value": baseline})),
        ("features", json!(features.names.len())),
        ("feature_order", json!(features.source.name())),
    ];
    if task == Task::Binary {
        facts.push(("positive_class", json!(model.classes().last())));
    }
    let parameters = [
        ("label", json!(label)),
        ("task", json!(task.name())),
        ("seed", json!(SEED)),
        ("resamples", json!(resamples)),
        ("confidence", json!(0.95)),
    ];
    let mut report = report(ID, &parameters, &facts);
    report.findings = findings(&sample, &measured, (baseline_metric, baseline), unlabelled);
    Ok(report)
}

fn score(model: &Model, data: &Dataset, label: &str, task: Task, features: &Features) -> Result<Scored, CheckError> {
    let label_place = data.column_place(label)?;
    let mut columns = features.places.clone();
    columns.push(label_place);
    let label_column = columns.len() - 1;
    let mut sample = match task {
        Task::Regression => regression(model)?,
        Task::Binary | Task::Multiclass => classification(model, task)?,
    };
    let known = known_classes(model);
    let mut unlabelled = 0;
    for batch in data.batches_of(columns) {
        let batch = batch?;
        let labels = labels_of(&batch, label_column, &sample, &known, label)?;
        let rows = features.matrix(&batch, |row| labels.get(row).is_some_and(Option::is_some));
        let labels: Vec<f64> = labels.iter().copied().inspect(|label| unlabelled += u64::from(label.is_none())).flatten().collect();
        if labels.is_empty() {
            continue;
        }
        let prediction = model.predict(&rows)?;
        match &mut sample {
            Sample::Values(values) => values.push(&labels, &prediction),
            Sample::Classes(classes) => classes.push(&labels, &prediction),
        }
        .map_err(|reason| ModelError::Shape { reason })?;
    }
    Ok(Scored { sample, unlabelled })
}

fn regression(model: &Model) -> Result<Sample, CheckError> {
    if model.output() != Output::Values {
        return Err(CheckError::Task { reason: String::from("the model predicts classes, not numbers") });
    }
    Ok(Sample::Values(Values::default()))
}

fn classification(model: &Model, task: Task) -> Result<Sample, CheckError> {
    let classes = model.classes().len();
    if model.output() != Output::Classes || classes < 2 {
        return Err(CheckError::Task { reason: String::from("the model does not name the classes it predicts") });
    }
    if task == Task::Binary && classes != 2 {
        return Err(CheckError::Task { reason: format!("the model has {classes} classes, a binary task has two") });
    }
    Ok(Sample::Classes(Classes::new(classes)))
}

/// The one spelling of a class: `1`, `1.0` and true are `1` unless the model itself says `true`.
fn class_key(text: &str) -> String {
    match (parse_number(text), parse_boolean(text)) {
        (Some(value), _) => value.to_string(),
        (None, Some(value)) => u8::from(value).to_string(),
        (None, None) => text.to_owned(),
    }
}

fn known_classes(model: &Model) -> HashMap<String, usize> {
    model.classes().iter().enumerate().map(|(place, class)| (class_key(class), place)).collect()
}

/// Labels of a batch: a number, or the place of the class.
fn labels_of(
    batch: &Batch,
    column: usize,
    sample: &Sample,
    known: &HashMap<String, usize>,
    label: &str,
) -> Result<Vec<Option<f64>>, CheckError> {
    if matches!(sample, Sample::Values(_)) {
        let numbers = batch.numbers(column);
        let strange = batch.texts(column).iter().zip(&numbers).find_map(|(text, number)| match (text, number) {
            (Some(text), None) => Some(text.to_string()),
            (Some(text), Some(number)) if !number.is_finite() => Some(text.to_string()),
            _ => None,
        });
        return match strange {
            Some(value) => Err(CheckError::Label { label: label.to_owned(), value }),
            None => Ok(numbers),
        };
    }
    batch
        .texts(column)
        .iter()
        .map(|text| match text {
            None => Ok(None),
            Some(text) => match known.get(&class_key(text)) {
                #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
                Some(place) => Ok(Some(*place as f64)),
                None => Err(CheckError::Label { label: label.to_owned(), value: text.to_string() }),
            },
        })
        .collect()
}

fn findings(sample: &Sample, measured: &[Measured], (metric, baseline): (&str, f64), unlabelled: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |subject: &str, message: String, evidence: &[(&str, Value)]| {
        let evidence = evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        findings.push(Finding {
            check: ID.to_owned(),
            severity: Severity::Warning,
            subject: subject.to_owned(),
            message,
            evidence,
            rows: Vec::new(),
        });
    };
    for name in sample.names() {
        if !measured.iter().any(|one| one.name == *name) {
            warn(&format!("metric:{name}"), format!("`{name}` is undefined on this data, for instance because it has one class only"), &[]);
        }
    }
    let beaten = measured
        .iter()
        .find(|one| one.name == metric)
        .is_some_and(|one| if metric == "rmse" { one.high < baseline } else { one.low > baseline });
    if !beaten {
        let message =
            format!("the model is not surely better than naming the {}", if metric == "rmse" { "mean" } else { "most frequent class" });
        warn("model", message, &[("baseline", json!(baseline)), ("metric", json!(metric))]);
    }
    if unlabelled > 0 {
        warn("label", format!("{unlabelled} rows have no label and were left out"), &[("rows_without_label", json!(unlabelled))]);
    }
    findings
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({"seed": SEED, "draws": bootstrap::DRAWS, "clip": measure::CLIP})
}
