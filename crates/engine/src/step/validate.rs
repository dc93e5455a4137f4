//! Validate: the model is examined on data its training never saw.
//!
//! in: the model, the held-out data and the training data as reference; out: the reports of `performance`, `drift`, `explain` and `score`.
//! **Invariant:** what was declared is examined; a check that cannot run fails the step, it is never left out.

use std::collections::BTreeMap;

use seaworthy_core::artifact::ArtifactRef;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::{OutputName, Step};
use seaworthy_inspect::checks::{self, CheckError};
use seaworthy_inspect::model::{self, Model};
use seaworthy_inspect::score::{self, ScoreInputs};
use seaworthy_inspect::table::Dataset;
use seaworthy_trust::attest::{self, Reference, VerifyOptions};

use crate::error::EngineError;
use crate::step::{BodyContext, BodyOutcome, damaged, dataset_files};

/// Bytes of a model file that is read into memory.
const MODEL_BYTES_MAX: usize = 1024 * 1024 * 1024;

pub(crate) fn body<'a>(context: &BodyContext<'a>, planned: &PlannedStep) -> Result<BodyOutcome<'a>, EngineError> {
    let step = &planned.step;
    let model_artifact = context.input(required(step, "model", step.model.as_ref())?)?;
    let model = load_model(context, model_artifact)?;
    let data = open(context, required(step, "data", step.data.as_ref())?)?;
    let label = step.label.clone().ok_or_else(|| missing(step, "label"))?;
    let task = step.task.as_deref().ok_or_else(|| missing(step, "task"))?;
    let task: model::Task =
        task.parse().map_err(|e| EngineError::configuration("validate/task", format!("{e}"), "binary, multiclass or regression"))?;
    let reference = step.reference.as_ref().map(|name| open(context, name)).transpose()?;

    let mut reports = vec![checks::performance::run(&model, &data, &label, task).map_err(|e| failed(&e))?];
    if step.drift_detection {
        let reference = reference.as_ref().ok_or_else(|| missing(step, "reference"))?;
        reports.push(checks::drift::run(reference, &data, std::slice::from_ref(&label)).map_err(|e| failed(&e))?);
    }
    if let Some(method) = &step.explainability {
        let background = reference.as_ref().unwrap_or(&data);
        reports.push(checks::explain::run(&model, &data, background, &label, method).map_err(|e| failed(&e))?);
    }
    if let Some(reference) = &reference {
        let mut on_training = checks::performance::run(&model, reference, &label, task).map_err(|e| failed(&e))?;
        "performance_on_reference".clone_into(&mut on_training.check);
        reports.push(on_training);
    }
    reports.push(integrity_score(context, model_artifact, &reports)?);
    Ok(BodyOutcome { reports, ..BodyOutcome::new(context.batch()?) })
}

fn integrity_score(context: &BodyContext<'_>, model: &ArtifactRef, reports: &[CheckReport]) -> Result<CheckReport, EngineError> {
    let engine = context.engine;
    let options = VerifyOptions { trust_is_file: true, ..VerifyOptions::default() };
    let chain =
        attest::verify_chain(&*engine.log, &engine.artifacts, &engine.trust_during_run(), &Reference::Artifact(model.digest), &options);
    let chain_ok = chain.ok && chain.faults.is_empty();
    let by_check: BTreeMap<&str, &CheckReport> = reports.iter().map(|report| (report.check.as_str(), report)).collect();
    let inputs = ScoreInputs {
        chain: Some(chain_ok),
        performance: by_check.get("performance").copied(),
        performance_on_reference: by_check.get("performance_on_reference").copied(),
        drift: by_check.get("drift").copied(),
        explain: by_check.get("explain").copied(),
    };
    score::run(&inputs).map_err(|e| failed(&e))
}

fn load_model(context: &BodyContext<'_>, artifact: &ArtifactRef) -> Result<Model, EngineError> {
    let manifest = context.engine.artifacts.manifest(&artifact.digest).map_err(|e| damaged(&e))?;
    let mut files = manifest.entries().iter().filter(|entry| entry.name.to_ascii_lowercase().ends_with(".onnx"));
    let (Some(entry), None) = (files.next(), files.next()) else {
        return Err(EngineError::body(
            "model/format",
            "the model output holds not exactly one .onnx file",
            "write the model as one ONNX file",
        ));
    };
    let bytes = context.engine.artifacts.read_blob(&entry.digest, MODEL_BYTES_MAX).map_err(|e| damaged(&e))?;
    model::load(&entry.name, &bytes)
        .map_err(|e| EngineError::body("model/unreadable", e.to_string(), "see docs: models that can be examined"))
}

fn open(context: &BodyContext<'_>, name: &OutputName) -> Result<Dataset, EngineError> {
    let artifact = context.input(name)?;
    Dataset::open(dataset_files(context.engine, artifact)?)
        .map_err(|e| EngineError::body(e.code(), format!("dataset `{name}`: {e}"), e.hint()))
}

fn required<'a>(step: &Step, key: &str, value: Option<&'a OutputName>) -> Result<&'a OutputName, EngineError> {
    value.ok_or_else(|| missing(step, key))
}

fn missing(step: &Step, key: &str) -> EngineError {
    let message = format!("validation step `{}` needs `{key}:`", step.name);
    EngineError::configuration("validate/missing-key", message, format!("add `{key}:` for it in seaworthy.yaml"))
}

fn failed(error: &CheckError) -> EngineError {
    EngineError::body("check/failed", error.to_string(), "a check that cannot run fails the step: mend its input or its parameters")
}
