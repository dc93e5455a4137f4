//! Ingest: bytes from a source become a dataset artifact, checked against a schema and for anomalies.
//!
//! in: the pinned source folder; out: one dataset output and the reports of `data_schema` and `anomaly`.
//! **Invariant:** the bytes that were stored are the bytes that were pinned, and the bytes that were checked.

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef, Manifest};
use seaworthy_core::id::Name;
use seaworthy_core::limits::CONFIG_FILE_BYTES_MAX;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::worker::{Request, Stage, WorkerFault};
use seaworthy_inspect::schema::DataSchema;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::{self, Batch, FolderRules};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::resume::StagedOutput;
use crate::step::examine::{Opened, Refused, examine, isolation};
use crate::step::{BodyContext, BodyOutcome};

pub(crate) fn body<'a>(context: &BodyContext<'a>, planned: &PlannedStep) -> Result<BodyOutcome<'a>, EngineError> {
    let step = &planned.step;
    context.engine.ports.workers.prepare(1);
    let declared = declared_schema(context, step.name.as_str())?;
    let mut outcome = BodyOutcome::new(context.batch()?);
    let (manifest, artifact) = take_in(context, step.name.as_str(), &mut outcome.batch)?;
    let files = Opened::of(&manifest, |blob| outcome.batch.open(blob))?;
    let request = Request::Data {
        files: files.names.clone(),
        // outside dev a schema that nobody has read decides nothing
        infer_only: declared.is_none() && !context.engine.is_dev(),
        schema: declared,
        label: step.label.clone(),
    };
    let what = format!("source of `{}`", step.name);
    let found = examine(context, step, &what, &request, &[&files])?.map_err(|refused| not_ingested(&what, refused))?;
    if let Some(text) = &found.inferred {
        keep_inferred(context.engine, step.name.as_str(), text)?;
    }
    outcome.reports = found.reports;
    outcome.sandbox = isolation(&*context.engine.ports.workers);
    let name = output_name(step)?;
    outcome.outputs = vec![StagedOutput { name, kind: ArtifactKind::Dataset, artifact }];
    Ok(outcome)
}

fn not_ingested(what: &str, refused: Refused) -> EngineError {
    let Refused { stage, code, message, hint, .. } = refused;
    match stage {
        Stage::Open | Stage::Model | Stage::Unpack => EngineError::body(&code, format!("{what}: {message}"), hint),
        Stage::Schema => EngineError::configuration("schema/invalid", message, "see docs: data schema"),
        Stage::Inference => EngineError::body("schema/inference", message, "write schemas/NAME.yaml yourself"),
        Stage::Check => EngineError::body("check/failed", message, "mend the data or the schema"),
    }
}

/// The one dataset an ingest step puts out: the declared output, or `data`.
fn output_name(step: &seaworthy_core::workflow::model::Step) -> Result<Name, EngineError> {
    match step.outputs.keys().next() {
        Some(name) => Ok(name.clone()),
        None => Name::new("data").map_err(|e| EngineError::internal("engine/name", e)),
    }
}

/// Takes the source's files in; they must still be what was pinned at the start.
fn take_in(context: &BodyContext<'_>, step: &str, batch: &mut Batch<'_>) -> Result<(Manifest, ArtifactRef), EngineError> {
    let source = context
        .run
        .found
        .sources
        .get(step)
        .ok_or_else(|| EngineError::internal("ingest/source", format!("source of `{step}` was not hashed")))?;
    let unreadable = |e: StoreError| {
        EngineError::configuration("source/unreadable", e.to_string(), "the source must stay readable while it is taken in")
    };
    let root = artifacts::open_folder(&source.path).map_err(unreadable)?;
    let (manifest, stored) = batch.folder(root, &FolderRules::default()).map_err(unreadable)?;
    if stored.digest != source.artifact.digest {
        let message =
            format!("source of `{step}` changed while it was read: {} became {}", source.artifact.digest.short(), stored.digest.short());
        return Err(EngineError::integrity("source/changed", message, "run again when nobody writes to it"));
    }
    Ok((manifest, stored))
}

/// The text of the declared schema, if it is one.
fn declared_schema(context: &BodyContext<'_>, step: &str) -> Result<Option<String>, EngineError> {
    let Some(text) = context.run.found.schemas.get(step) else { return Ok(None) };
    DataSchema::parse_yaml(text).map_err(|e| EngineError::configuration("schema/invalid", e.to_string(), "see docs: data schema"))?;
    Ok(Some(text.clone()))
}

/// A schema that was inferred now is written down, and outside dev refused until somebody has looked at it and pinned it.
fn keep_inferred(engine: &Engine, step: &str, text: &str) -> Result<(), EngineError> {
    // it is a worker's word: only what is a schema, and written as we write it, gets into the workspace
    let schema = DataSchema::parse_yaml(text).ok().filter(|schema| text.len() <= CONFIG_FILE_BYTES_MAX && schema.to_yaml() == text);
    let schema = schema.ok_or_else(|| {
        let fault = WorkerFault::answer("the schema that it inferred is none");
        EngineError::body(fault.code(), format!("source of `{step}`: {fault}"), fault.hint())
    })?;
    let path = write_inferred(engine, step, &schema)?;
    if engine.is_dev() {
        return Ok(());
    }
    let message = format!("step `{step}` had no schema; one was inferred to {path}");
    let hint = format!("read it, then `seaworthy lock --update schema:{step}`");
    Err(EngineError::configuration("schema/inferred", message, hint))
}

fn write_inferred(engine: &Engine, step: &str, schema: &DataSchema) -> Result<String, EngineError> {
    let relative = format!("schemas/{step}.inferred.yaml");
    let path = engine.settings.workspace_dir.join(&relative);
    let unwritable =
        |e: &dyn std::fmt::Display| EngineError::configuration("schema/unwritable", e.to_string(), "make the schemas folder writable");
    std::fs::create_dir_all(engine.settings.workspace_dir.join("schemas")).map_err(|e| unwritable(&e))?;
    seaworthy_store::workspace::write_atomic(&path, schema.to_yaml().as_bytes(), 0o644).map_err(|e| unwritable(&e))?;
    Ok(relative)
}
