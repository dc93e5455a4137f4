//! The document a gate decides on, built from findings in the closed shape its contract demands.
//!
//! in: a step's reports and digests; out: canonical JSON.
//! **Invariant:** every number in it was measured by a check or counted here; nothing comes from the step's own program.

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::StepKind;
use serde_json::{Value, json};

use crate::error::EngineError;
use crate::inputs::VerifiedInput;
use crate::resume::StagedStep;
use crate::run::RunContext;

/// Builds the input of the step's gate.
pub(crate) fn of_step(
    run: &RunContext<'_>,
    planned: &PlannedStep,
    inputs: &[VerifiedInput],
    staged: &StagedStep,
    reports: &[CheckReport],
) -> Result<Value, EngineError> {
    let facts: BTreeMap<&str, &BTreeMap<String, Value>> = reports.iter().map(|report| (report.check.as_str(), &report.facts)).collect();
    match planned.step.kind {
        StepKind::Ingest => data_schema(run, planned, staged, &facts),
        StepKind::Validate => model_performance(planned, inputs, &facts),
        StepKind::Transform | StepKind::Train | StepKind::Deploy => {
            let message = format!("step `{}` examines nothing, so its gate would have no evidence", planned.step.name);
            Err(EngineError::configuration("gate/no-evidence", message, "put `policy_gate:` on an ingest or a validation step"))
        }
    }
}

type Facts<'a> = BTreeMap<&'a str, &'a BTreeMap<String, Value>>;

/// The schema that the step's body inferred and wrote down in this run.
pub(crate) fn inferred_schema(run: &RunContext<'_>, step: &str) -> Result<Digest, EngineError> {
    let path = run.engine.settings.workspace_dir.join(format!("schemas/{step}.inferred.yaml"));
    let text = seaworthy_store::workspace::config_file(&path).map_err(|e| {
        EngineError::configuration(
            "schema/unreadable",
            format!("the inferred schema cannot be read: {e}"),
            "run again to have it inferred anew",
        )
    })?;
    Ok(Digest::of(text.as_bytes()))
}

fn data_schema(run: &RunContext<'_>, planned: &PlannedStep, staged: &StagedStep, facts: &Facts<'_>) -> Result<Value, EngineError> {
    let step = &planned.step;
    let output = staged.outputs.first().ok_or_else(|| EngineError::internal("gate/input", "ingest put out nothing"))?;
    let source = format!("source:{}", step.name);
    let schema = run.found.pins.get(&format!("schema:{}", step.name));
    let schema_digest = match schema {
        Some(pin) => pin.digest,
        None => inferred_schema(run, step.name.as_str())?,
    };
    Ok(json!({
        "gate": gate_name(planned),
        "subject": {"name": output.name.as_str(), "digest": output.artifact.digest.hex()},
        "source": {"uri": step.source, "pinned": run.is_pinned(&source)},
        "schema": {
            "digest": schema_digest.hex(),
            // a schema that was inferred counts once it is written down and has been read: from the next run on
            "declared": schema.is_some(),
        },
        "rows": fact(facts, "data_schema", "rows")?,
        "columns": fact(facts, "data_schema", "columns")?,
        "violations": fact(facts, "data_schema", "violations")?,
        "rows_violating": fact(facts, "data_schema", "rows_violating")?,
        "rows_violating_fraction": fact(facts, "data_schema", "rows_violating_fraction")?,
        "anomalies": {
            "rows_flagged": fact(facts, "anomaly", "rows_flagged")?,
            "fraction": fact(facts, "anomaly", "fraction")?,
        },
    }))
}

fn model_performance(planned: &PlannedStep, inputs: &[VerifiedInput], facts: &Facts<'_>) -> Result<Value, EngineError> {
    let step = &planned.step;
    let digest = |name: Option<&seaworthy_core::workflow::model::OutputName>| {
        let wanted = name.map(ToString::to_string);
        inputs.iter().find(|input| Some(&input.name) == wanted.as_ref()).map_or_else(|| "0".repeat(64), |input| input.artifact.digest.hex())
    };
    let drift = match facts.get("drift") {
        None => json!({"enabled": false, "features": 0, "drifted": 0, "drifted_fraction": 0.0, "max_psi": 0.0}),
        Some(_) => json!({
            "enabled": true,
            "features": fact(facts, "drift", "features")?,
            "drifted": fact(facts, "drift", "drifted")?,
            "drifted_fraction": fact(facts, "drift", "drifted_fraction")?,
            "max_psi": fact(facts, "drift", "max_psi")?,
        }),
    };
    let explainability = match facts.get("explain") {
        None => json!({"enabled": false, "method": "none", "features": 0, "additivity_error": 0.0, "top_share": 0.0}),
        Some(_) => json!({
            "enabled": true,
            "method": fact(facts, "explain", "method")?,
            "features": fact(facts, "explain", "features")?,
            "additivity_error": fact(facts, "explain", "additivity_error")?,
            "top_share": fact(facts, "explain", "top_share")?,
        }),
    };
    let reference_rows =
        if facts.contains_key("performance_on_reference") { fact(facts, "performance_on_reference", "rows")? } else { json!(0) };
    Ok(json!({
        "gate": gate_name(planned),
        "subject": {"name": step.model.as_ref().map(ToString::to_string), "digest": digest(step.model.as_ref())},
        "data": {"digest": digest(step.data.as_ref()), "rows": fact(facts, "performance", "rows")?},
        "reference": {"digest": digest(step.reference.as_ref()), "rows": reference_rows},
        "task": step.task,
        "metrics": fact(facts, "performance", "metrics")?,
        "baseline": fact(facts, "performance", "baseline")?,
        "drift": drift,
        "explainability": explainability,
        "score": {"value": fact(facts, "score", "value")?, "complete": fact(facts, "score", "complete")?},
    }))
}

fn gate_name(planned: &PlannedStep) -> Option<&str> {
    planned.step.policy_gate.as_ref().map(seaworthy_core::id::Name::as_str)
}

fn fact(facts: &Facts<'_>, check: &str, name: &str) -> Result<Value, EngineError> {
    facts.get(check).and_then(|facts| facts.get(name)).cloned().ok_or_else(|| {
        EngineError::internal("gate/evidence-missing", format!("check `{check}` reported no `{name}`; the gate cannot decide without it"))
    })
}
