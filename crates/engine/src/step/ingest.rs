//! Ingest: bytes from a source become a dataset artifact, checked against a schema and for anomalies.
//!
//! in: the pinned source folder; out: one dataset output and the reports of `data_schema` and `anomaly`.
//! **Invariant:** the bytes that were stored are the bytes that were pinned, and the bytes that were checked.

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef, Manifest};
use seaworthy_core::id::Name;
use seaworthy_core::plan::PlannedStep;
use seaworthy_inspect::checks;
use seaworthy_inspect::schema::DataSchema;
use seaworthy_inspect::table::Dataset;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::{self, Batch, FolderRules};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::resume::StagedOutput;
use crate::step::{BodyContext, BodyOutcome, data_files};

pub(crate) fn body<'a>(context: &BodyContext<'a>, planned: &PlannedStep) -> Result<BodyOutcome<'a>, EngineError> {
    let step = &planned.step;
    let mut outcome = BodyOutcome::new(context.batch()?);
    let (manifest, artifact) = take_in(context, step.name.as_str(), &mut outcome.batch)?;
    let dataset = Dataset::open(data_files(&manifest, |blob| outcome.batch.open(blob))?)
        .map_err(|e| EngineError::body(e.code(), format!("source of `{}`: {e}", step.name), e.hint()))?;
    let schema = schema_of(context, step.name.as_str(), &dataset)?;
    let failed = |e: seaworthy_inspect::checks::CheckError| EngineError::body("check/failed", e.to_string(), "mend the data or the schema");
    outcome.reports = vec![
        checks::data_schema::run(&dataset, &schema).map_err(failed)?,
        checks::anomaly::run(&dataset, step.label.as_deref()).map_err(failed)?,
    ];
    let name = output_name(step)?;
    outcome.outputs = vec![StagedOutput { name, kind: ArtifactKind::Dataset, artifact }];
    Ok(outcome)
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

/// The declared schema, or one inferred now: written down, and outside dev refused until somebody has looked at it and pinned it.
fn schema_of(context: &BodyContext<'_>, step: &str, dataset: &Dataset) -> Result<DataSchema, EngineError> {
    let engine = context.engine;
    if let Some(text) = context.run.found.schemas.get(step) {
        return DataSchema::parse_yaml(text)
            .map_err(|e| EngineError::configuration("schema/invalid", e.to_string(), "see docs: data schema"));
    }
    let schema =
        DataSchema::infer(dataset).map_err(|e| EngineError::body("schema/inference", e.to_string(), "write schemas/NAME.yaml yourself"))?;
    let path = write_inferred(engine, step, &schema)?;
    if engine.is_dev() {
        return Ok(schema);
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
