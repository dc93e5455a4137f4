//! What the runner claims about a step attempt: manifests, provenance, test results, score, gate answer.
//!
//! in: a staged step, its inputs and pins; out: unsigned statements in a fixed order.
//! **Invariant:** every digest in a statement was computed from bytes in the store or from a pin of this run.

use seaworthy_core::artifact::ArtifactKind;
use seaworthy_core::attestation::integrity_score::{IntegrityScore, ScorePart};
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::provenance::{
    self, BuildType, ExternalParameters, InternalParameters, Provenance, WorkflowDigest, WorkflowRef,
};
use seaworthy_core::attestation::svr::GateResult;
use seaworthy_core::attestation::test_result::TestResult;
use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::attestation::{blob, subject};
use seaworthy_core::decision::GateDecision;
use seaworthy_core::envelope::{ResourceDescriptor, Statement};
use seaworthy_core::finding::CheckReport;
use seaworthy_core::id::StepRunId;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::StepKind;
use serde_json::{Value, json};

use crate::error::EngineError;
use crate::inputs::VerifiedInput;
use crate::pins::runs_a_program;
use crate::resume::StagedStep;
use crate::run::{RunContext, workflow_file};

/// What a step attempt is described by.
pub(crate) struct Attested<'a> {
    pub(crate) planned: &'a PlannedStep,
    pub(crate) id: &'a StepRunId,
    pub(crate) inputs: &'a [VerifiedInput],
    pub(crate) staged: &'a StagedStep,
    pub(crate) reports: &'a [CheckReport],
}

/// All statements of an attempt except the gate's answer.
pub(crate) fn of_step(run: &RunContext<'_>, attested: &Attested<'_>) -> Result<Vec<Statement>, EngineError> {
    let mut statements = Vec::new();
    for output in attested.staged.outputs.iter().filter(|output| output.kind == ArtifactKind::Dataset) {
        let manifest = run
            .engine
            .artifacts
            .manifest(&output.artifact.digest)
            .map_err(|e| EngineError::integrity("store/damaged", e.to_string(), "run `seaworthy verify`"))?;
        let name = format!("{}/{}", attested.id.step, output.name);
        statements.push(manifest::statement(&name, &manifest, Subject::Folder));
    }
    if !attested.staged.outputs.is_empty() {
        statements.push(provenance_of(run, attested)?);
    }
    if let Some(reports) = &attested.staged.reports {
        let configuration = dependencies(run, attested)?;
        let result = TestResult::of(attested.reports, configuration, Some(&reports.artifact));
        statements.push(result.statement(examined(attested)));
    }
    if let Some(score) = attested.reports.iter().find(|report| report.check == "score") {
        statements.push(score_of(score, attested)?);
    }
    Ok(statements)
}

/// The gate's answer as a statement.
pub(crate) fn of_gate(run: &RunContext<'_>, attested: &Attested<'_>, decision: &GateDecision) -> Statement {
    let result = GateResult { verifier: run.engine.runner().id.0, time: Timestamp(run.engine.now_ms()), decision: decision.clone() };
    result.statement(examined(attested))
}

/// What checks and gates of a step are about: a validation examines the model, any other step its own outputs.
fn examined(attested: &Attested<'_>) -> Vec<ResourceDescriptor> {
    if attested.planned.step.kind == StepKind::Validate {
        let model = attested.planned.step.model.as_ref().map(ToString::to_string);
        return attested
            .inputs
            .iter()
            .filter(|input| Some(&input.name) == model.as_ref())
            .map(|input| subject(&input.name, &input.artifact))
            .collect();
    }
    outputs(attested)
}

fn outputs(attested: &Attested<'_>) -> Vec<ResourceDescriptor> {
    let step = &attested.id.step;
    attested.staged.outputs.iter().map(|output| subject(&format!("{step}/{}", output.name), &output.artifact)).collect()
}

fn provenance_of(run: &RunContext<'_>, attested: &Attested<'_>) -> Result<Statement, EngineError> {
    let step = &attested.planned.step;
    let (workflow, digest) = workflow_file(run.found)?;
    let build_type = match step.kind {
        StepKind::Ingest => BuildType::Ingest,
        StepKind::Train => BuildType::Train,
        StepKind::Transform | StepKind::Validate | StepKind::Deploy => BuildType::Step,
    };
    let byproducts = attested.staged.byproducts.iter().map(|(name, digest)| blob(name, digest)).collect();
    let provenance = Provenance {
        build_type,
        external: ExternalParameters {
            workflow: WorkflowRef { uri: workflow.to_owned(), digest: WorkflowDigest { sha256: digest } },
            step: format!("{}/{}", attested.id.workflow, attested.id.step),
            params: step.params.clone(),
        },
        internal: InternalParameters {
            sandbox: json!({"body_attempt": attested.staged.body_attempt, "process": attested.staged.sandbox}),
            environment_variables: environment_variables(attested),
            seed: None,
            device: Some("cpu".to_owned()),
            code_integrity: serde_json::to_value(step.code_integrity).ok().and_then(|level| level.as_str().map(str::to_owned)),
        },
        dependencies: dependencies(run, attested)?,
        builder: run.engine.runner().id.0,
        invocation: attested.id.clone(),
        started: Timestamp(attested.staged.started_ms),
        finished: Timestamp(attested.staged.finished_ms),
        byproducts,
    };
    Ok(provenance.statement(outputs(attested)))
}

/// Names of the variables a step's program may see; their values are fixed by the product.
fn environment_variables(attested: &Attested<'_>) -> Value {
    if attested.planned.step.run.is_some() {
        let mut names = vec!["HOME", "LANG", "PATH", "SEAWORTHY_INPUTS", "SEAWORTHY_OUTPUTS", "SEAWORTHY_PARAMS", "TMPDIR", "TZ"];
        names.extend(crate::step::ways::variables(&attested.planned.step).into_iter().map(|(name, _)| name));
        names.sort_unstable();
        json!(names)
    } else {
        json!([])
    }
}

/// Everything the step read.
fn dependencies(run: &RunContext<'_>, attested: &Attested<'_>) -> Result<Vec<ResourceDescriptor>, EngineError> {
    let step = &attested.planned.step;
    let found = run.found;
    let mut read: Vec<ResourceDescriptor> =
        attested.inputs.iter().map(|input| subject(&format!("{}{}", provenance::INPUT, input.name), &input.artifact)).collect();
    if let Some(source) = found.sources.get(step.name.as_str()) {
        let mut descriptor = subject(&format!("{}{}", provenance::SOURCE, step.name), &source.artifact);
        descriptor.uri.clone_from(&step.source);
        read.push(descriptor);
    }
    if let Some(text) = found.schemas.get(step.name.as_str()) {
        read.push(blob(provenance::SCHEMA, &seaworthy_core::digest::Digest::of(text.as_bytes())));
    }
    if let Some(code) = step.code.as_ref().and_then(|code| found.code.get(code)) {
        let mut descriptor = subject(provenance::CODE, &code.artifact);
        if let Some(commit) = &code.commit {
            descriptor.annotations.insert("claimed_git_commit".to_owned(), json!(commit));
        }
        read.push(descriptor);
    }
    if step.run.is_some() || runs_a_program(step.kind) {
        let container = step.container.as_deref().unwrap_or("host");
        if let Some(environment) = found.environments.get(container) {
            read.extend(environment.descriptors());
        }
    }
    if let Some((name, gate)) = step.policy_gate.as_ref().and_then(|name| found.gates.get_key_value(name.as_str())) {
        read.push(subject(&format!("{}{name}", provenance::POLICY), &gate.artifact));
    }
    read.push(blob(provenance::LOCK, &run.lock_digest));
    read.push(blob(provenance::WORKFLOW, &workflow_file(found)?.1));
    if let Some(settings) = found.pins.get("settings") {
        read.push(blob("settings", &settings.digest));
    }
    Ok(read)
}

/// The integrity score as a statement about the model: the parts of the `score` report, the missing ones named.
fn score_of(report: &CheckReport, attested: &Attested<'_>) -> Result<Statement, EngineError> {
    let malformed = || EngineError::internal("score/parts", "the score report names no parts");
    let measured = report.facts.get("parts").and_then(Value::as_object).ok_or_else(malformed)?;
    let missing = report.facts.get("missing").and_then(Value::as_array).ok_or_else(malformed)?;
    let required = |name: &str| seaworthy_inspect::score::REQUIRED.contains(&name);
    let mut parts: Vec<ScorePart> = measured.iter().map(|(name, part)| score_part(name, part, required(name))).collect();
    let absent = missing.iter().filter_map(Value::as_str);
    parts.extend(absent.map(|name| ScorePart { name: name.to_owned(), required: true, measured: None, bound: None, score: None }));
    let inputs = attested.staged.reports.iter().map(|reports| subject("reports", &reports.artifact)).collect();
    let Some(model) = examined(attested).into_iter().next() else {
        return Err(EngineError::internal("score/subject", "a score needs a model"));
    };
    Ok(IntegrityScore::of(parts, inputs).statement(model))
}

/// One part: its weighted share, what was measured against which bound.
fn score_part(name: &str, part: &Value, required: bool) -> ScorePart {
    let number = |pointer: &str| part.pointer(pointer).and_then(Value::as_f64);
    ScorePart {
        name: name.to_owned(),
        required,
        measured: number("/evidence/measured"),
        bound: number("/evidence/bound"),
        // a part without its weight has no score: the sum is incomplete
        score: number("/value").zip(number("/weight")).map(|(value, weight)| value.powf(weight)),
    }
}
