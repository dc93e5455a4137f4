//! Validate: the model is examined on data its training never saw.
//!
//! in: the model, the held-out data and the training data as reference; out: the reports of `performance`, `drift`, `explain` and `score`.
//! **Invariant:** what was declared is examined; a check that cannot run fails the step, it is never left out.

use std::collections::BTreeMap;

use seaworthy_core::artifact::ArtifactRef;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::worker::{Request, Stage, Subject};
use seaworthy_core::workflow::model::{OutputName, Step};
use seaworthy_inspect::checks::CheckError;
use seaworthy_inspect::model;
use seaworthy_inspect::score::{self, ScoreInputs};
use seaworthy_trust::attest::{self, Reference, VerifyOptions};

use crate::error::EngineError;
use crate::step::examine::{Opened, Refused, examine, isolation};
use crate::step::{BodyContext, BodyOutcome, damaged};

/// Bytes of a model file that is read into memory.
const MODEL_BYTES_MAX: u64 = 1024 * 1024 * 1024;

pub(crate) fn body<'a>(context: &BodyContext<'a>, planned: &PlannedStep) -> Result<BodyOutcome<'a>, EngineError> {
    let step = &planned.step;
    let workers = &*context.engine.ports.workers;
    workers.prepare(1 + usize::from(step.drift_detection));
    let examined = Examined::open(context, step)?;
    // the model has no say in what is found about the data alone, and both take their time
    let (about_model, about_data) = std::thread::scope(|scope| {
        let drift = scope.spawn(|| examined.drift(context, step));
        let about_model = examined.model(context, step);
        let lost = |_| Err(EngineError::internal("engine/poisoned", "the thread of the drift check died"));
        (about_model, drift.join().unwrap_or_else(lost))
    });
    let mut reports = about_model?;
    // after the performance, where people look for it
    let place = 1.min(reports.len());
    reports.splice(place..place, about_data?);
    reports.push(integrity_score(context, examined.artifact, &reports)?);
    Ok(BodyOutcome { reports, sandbox: isolation(workers), ..BodyOutcome::new(context.batch()?) })
}

/// Everything a validation looks at, open and verified.
struct Examined<'a> {
    artifact: &'a ArtifactRef,
    model: Opened,
    data: Opened,
    reference: Option<Opened>,
    label: String,
    task: String,
}

impl<'a> Examined<'a> {
    fn open(context: &'a BodyContext<'_>, step: &Step) -> Result<Self, EngineError> {
        let artifact = context.input(required(step, "model", step.model.as_ref())?)?;
        let model = open_model(context, artifact)?;
        let data = open(context, required(step, "data", step.data.as_ref())?)?;
        let label = step.label.clone().ok_or_else(|| missing(step, "label"))?;
        let task = step.task.clone().ok_or_else(|| missing(step, "task"))?;
        let known: Result<model::Task, _> = task.parse();
        known.map_err(|e| EngineError::configuration("validate/task", format!("{e}"), "binary, multiclass or regression"))?;
        let reference = step.reference.as_ref().map(|name| open(context, name)).transpose()?;
        if step.drift_detection && reference.is_none() {
            return Err(missing(step, "reference"));
        }
        Ok(Self { artifact, model, data, reference, label, task })
    }

    /// Performance, explanation, performance on the training data.
    fn model(&self, context: &BodyContext<'_>, step: &Step) -> Result<Vec<CheckReport>, EngineError> {
        let request = Request::Model {
            model: self.model.names.first().cloned().unwrap_or_default(),
            data: self.data.names.clone(),
            reference: self.reference.as_ref().map(|reference| reference.names.clone()),
            label: self.label.clone(),
            task: self.task.clone(),
            method: step.explainability.clone(),
        };
        let files: Vec<&Opened> = [&self.model, &self.data].into_iter().chain(&self.reference).collect();
        let what = format!("model `{}` on its data", shown(step.model.as_ref()));
        examine(context, step, &what, &request, &files)?.map(|found| found.reports).map_err(|refused| not_validated(step, refused))
    }

    fn drift(&self, context: &BodyContext<'_>, step: &Step) -> Result<Vec<CheckReport>, EngineError> {
        let Some(reference) = self.reference.as_ref().filter(|_| step.drift_detection) else { return Ok(Vec::new()) };
        let request =
            Request::Drift { reference: reference.names.clone(), data: self.data.names.clone(), ignore: vec![self.label.clone()] };
        let what = format!("dataset `{}` and its reference", shown(step.data.as_ref()));
        let found = examine(context, step, &what, &request, &[reference, &self.data])?;
        found.map(|found| found.reports).map_err(|refused| not_validated(step, refused))
    }
}

fn shown(name: Option<&OutputName>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

fn not_validated(step: &Step, refused: Refused) -> EngineError {
    let Refused { stage, subject, code, message, hint } = refused;
    match stage {
        Stage::Model => EngineError::body("model/unreadable", message, "see docs: models that can be examined"),
        Stage::Open => {
            let name = if subject == Subject::Reference { step.reference.as_ref() } else { step.data.as_ref() };
            EngineError::body(&code, format!("dataset `{}`: {message}", shown(name)), hint)
        }
        Stage::Schema | Stage::Inference | Stage::Check | Stage::Unpack => {
            EngineError::body("check/failed", message, "a check that cannot run fails the step: mend its input or its parameters")
        }
    }
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

fn open_model(context: &BodyContext<'_>, artifact: &ArtifactRef) -> Result<Opened, EngineError> {
    let manifest = context.engine.artifacts.manifest(&artifact.digest).map_err(|e| damaged(&e))?;
    let mut files = manifest.entries().iter().filter(|entry| entry.name.to_ascii_lowercase().ends_with(".onnx"));
    let (Some(entry), None) = (files.next(), files.next()) else {
        return Err(EngineError::body(
            "model/format",
            "the model output holds not exactly one .onnx file",
            "write the model as one ONNX file",
        ));
    };
    if entry.size > MODEL_BYTES_MAX {
        let message = format!("`{}` has more than {MODEL_BYTES_MAX} bytes", entry.name);
        return Err(EngineError::body("model/too-large", message, "export a smaller model"));
    }
    Opened::one(context.engine, entry)
}

fn open(context: &BodyContext<'_>, name: &OutputName) -> Result<Opened, EngineError> {
    Opened::artifact(context.engine, context.input(name)?)
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
