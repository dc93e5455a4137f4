//! One step, from its inputs to its outcome leaf: the narrative every kind of step goes through.
//!
//! in: a planned step and what earlier steps committed; out: [`StepEnd`].
//! **Invariant:** verify inputs → authorize (recorded) → body → stage (durable) → attest → gate → commit, in this order, for every kind.

pub(crate) mod deploy;
pub(crate) mod examine;
pub(crate) mod ingest;
pub(crate) mod key;
pub(crate) mod transform;
pub(crate) mod validate;
pub(crate) mod ways;

use std::collections::BTreeMap;

use seaworthy_core::artifact::ArtifactRef;
use seaworthy_core::digest::Digest;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::id::StepRunId;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::StepKind;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::Batch;
use seaworthy_store::disk::{Mechanism, is_left_out};
use seaworthy_store::journal::State;
use serde_json::Value;

use crate::authorize::{Authorized, GatePin, authorize_step};
use crate::commit;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::gate_input;
use crate::inputs::{VerifiedInput, verify_inputs};
use crate::progress::StepState;
use crate::resume::{self, StagedOutput, StagedReports, StagedStep};
use crate::run::RunContext;

/// How a step ended well.
#[derive(Debug)]
pub(crate) struct StepEnd {
    pub(crate) reused: bool,
    pub(crate) detail: String,
}

/// What a body leaves before it is staged: its artifacts wait in `batch` for their one barrier.
pub(crate) struct BodyOutcome<'a> {
    pub(crate) batch: Batch<'a>,
    pub(crate) outputs: Vec<StagedOutput>,
    pub(crate) reports: Vec<CheckReport>,
    pub(crate) sandbox: Value,
    pub(crate) byproducts: BTreeMap<String, Digest>,
}

/// Everything a body may look at.
pub(crate) struct BodyContext<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) run: &'a RunContext<'a>,
    pub(crate) id: &'a StepRunId,
    pub(crate) inputs: &'a [VerifiedInput],
}

impl<'a> BodyOutcome<'a> {
    pub(crate) const fn new(batch: Batch<'a>) -> Self {
        Self { batch, outputs: Vec::new(), reports: Vec::new(), sandbox: Value::Null, byproducts: BTreeMap::new() }
    }
}

impl<'a> BodyContext<'a> {
    pub(crate) fn batch(&self) -> Result<Batch<'a>, EngineError> {
        self.engine.artifacts.batch().map_err(|e| EngineError::internal("store/put", e))
    }

    /// The verified input that a step names, for instance as `model:`.
    pub(crate) fn input(&self, name: &seaworthy_core::workflow::model::OutputName) -> Result<&ArtifactRef, EngineError> {
        let wanted = name.to_string();
        self.inputs.iter().find(|input| input.name == wanted).map(|input| &input.artifact).ok_or_else(|| {
            EngineError::integrity("input/missing", format!("input `{wanted}` was not verified"), "run the step that makes it first")
        })
    }
}

/// Runs one step to its commit, or says why not. The caller records how a failed attempt ended.
pub(crate) fn execute(run: &RunContext<'_>, planned: &PlannedStep, id: &StepRunId) -> Result<StepEnd, EngineError> {
    let engine = run.engine;
    run.tell(id, StepState::Authorizing, "");
    let inputs = verify_inputs(engine, planned, &run.committed)?;
    let gate = run.gate_pin(planned);
    let keys = key::of_step(run, planned, &inputs)?;

    let reusable = commit::find_reusable(run, planned, &keys)?;
    if let Some(reusable) = reusable.as_ref().filter(|reusable| reusable.is_of(&run.id)) {
        // this run committed it before a crash: its outcome leaf stands, there is nothing left to do
        return commit::adopt(run, planned, reusable);
    }
    run.journal(id, State::Planned, Value::Null)?;
    if let Some(reusable) = reusable {
        return commit::reuse(run, planned, id, &keys, &inputs, gate.as_ref(), &reusable);
    }
    let authorized = authorize_step(engine, planned, id, &inputs, gate.as_ref())?;
    run.journal(id, State::Authorized, Value::Null)?;
    if planned.step.kind == StepKind::Deploy {
        return deploy::deploy(run, &authorized, &keys, &inputs);
    }
    let staged = finish_body(run, &authorized, &keys, &inputs)?;
    run.tell(id, StepState::Attesting, "");
    commit::attest_gate_commit(run, &authorized, &keys, &inputs, &staged, gate.as_ref())
}

/// Finds what a finished body staged, or runs the body and stages what it left. A finished body never runs again.
fn finish_body(
    run: &RunContext<'_>,
    authorized: &Authorized<&PlannedStep>,
    keys: &key::StepKeys,
    inputs: &[VerifiedInput],
) -> Result<StagedStep, EngineError> {
    let engine = run.engine;
    let planned = authorized.get();
    let id = authorized.id();
    if let Some(staged) = run.history.staged(engine, id, &keys.body, planned.step.cache)? {
        return Ok(staged);
    }
    run.journal(id, State::Started, Value::Null)?;
    run.tell(id, StepState::Running, "");
    let started_ms = engine.now_ms();
    let context = BodyContext { engine, run, id, inputs };
    let outcome = match planned.step.kind {
        StepKind::Ingest => ingest::body(&context, planned)?,
        StepKind::Transform | StepKind::Train => transform::body(&context, planned)?,
        StepKind::Validate => validate::body(&context, planned)?,
        StepKind::Deploy => BodyOutcome::new(context.batch()?),
    };
    stage(run, authorized, keys, inputs, started_ms, outcome)
}

/// Makes the body's end durable: its artifacts, its reports and its gate's input in one barrier, then the STAGED record.
fn stage(
    run: &RunContext<'_>,
    authorized: &Authorized<&PlannedStep>,
    keys: &key::StepKeys,
    inputs: &[VerifiedInput],
    started_ms: u64,
    outcome: BodyOutcome<'_>,
) -> Result<StagedStep, EngineError> {
    let engine = run.engine;
    let (planned, id) = (*authorized.get(), authorized.id());
    let failed = |e: StoreError| EngineError::internal("store/put", e);
    let BodyOutcome { mut batch, outputs, reports, sandbox, byproducts } = outcome;
    let staged = StagedStep {
        body_key: keys.body,
        body_attempt: id.attempt,
        outputs,
        reports: put_reports(&mut batch, &reports)?,
        sandbox,
        byproducts,
        fresh: true,
        started_ms,
        finished_ms: engine.now_ms(),
    };
    if planned.step.policy_gate.is_some() {
        let input = gate_input::of_step(run, planned, inputs, &staged, &reports)?;
        batch.bytes(&seaworthy_core::json_strict::to_canonical(&input)).map_err(failed)?;
    }
    batch.commit().map_err(failed)?;
    let sealed = resume::seal(engine, id, &staged)?;
    if is_left_out(Mechanism::StagedBarrier) {
        run.journal(id, State::Staged, sealed)?;
        return Ok(staged);
    }
    run.journal_durable(id, State::Staged, sealed)?;
    Ok(staged)
}

fn put_reports(batch: &mut Batch<'_>, reports: &[CheckReport]) -> Result<Option<StagedReports>, EngineError> {
    if reports.is_empty() {
        return Ok(None);
    }
    let bytes = seaworthy_core::json_strict::to_canonical_of(&reports).map_err(|e| EngineError::internal("engine/reports", e))?;
    let artifact = batch.document("reports.json", &bytes).map_err(|e| EngineError::internal("store/put", e))?;
    Ok(Some(StagedReports { blob: Digest::of(&bytes), artifact }))
}

/// Reads the reports of a staged step back, verified.
pub(crate) fn read_reports(engine: &Engine, staged: &StagedStep) -> Result<Vec<CheckReport>, EngineError> {
    let Some(reports) = &staged.reports else { return Ok(Vec::new()) };
    let bytes = engine
        .artifacts
        .read_blob(&reports.blob, seaworthy_core::limits::PAYLOAD_BYTES_MAX)
        .map_err(|e| EngineError::integrity("store/report", e.to_string(), "run `seaworthy verify` to see what was changed"))?;
    seaworthy_core::json_strict::parse_typed(&bytes).map_err(|e| EngineError::integrity("store/report", e.to_string(), ""))
}

pub(crate) fn damaged(error: &StoreError) -> EngineError {
    EngineError::integrity("store/damaged", error.to_string(), "run `seaworthy verify` to see what was changed")
}

/// The gate of a step as the lock knows it.
pub(crate) fn gate_pin(name: &str, gate: &crate::pins::PinnedGate) -> GatePin {
    GatePin { name: name.to_owned(), digest: gate.artifact.digest, pinned: gate.pinned }
}
