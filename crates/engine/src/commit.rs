//! The end of a step: its statements, its gate's answer and its outcome leaf become durable in one commit.
//!
//! in: a staged step; out: the outcome leaf, which *is* the commit, or a recorded denial.
//! **Invariant:** statements, decision and outcome are one durable record: there is no commit without its evidence.

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef};
use seaworthy_core::decision::GateDecision;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Statement;
use seaworthy_core::event::{EventKind, OutputRef};
use seaworthy_core::id::{RunId, StepRunId};
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::ports::{AttestRequest, KeyRole, Leaf};
use seaworthy_core::workflow::model::{OutputName, StepKind};
use seaworthy_store::catalog::Outcome;
use seaworthy_store::disk::{Mechanism, is_left_out};
use seaworthy_store::journal::{State, StepName};
use seaworthy_trust::gate::Expectation;
use serde_json::{Value, json};

use crate::authorize::{Authorized, GatePin, authorize_reuse};
use crate::error::EngineError;
use crate::gate_input;
use crate::inputs::{CommittedOutput, VerifiedInput};
use crate::resume::{StagedOutput, StagedStep};
use crate::run::RunContext;
use crate::statements::{self, Attested};
use crate::step::key::StepKeys;
use crate::step::{StepEnd, read_reports};

/// Signs what the step did, asks its gate, and commits or records the denial.
pub(crate) fn attest_gate_commit(
    run: &RunContext<'_>,
    authorized: &Authorized<&PlannedStep>,
    keys: &StepKeys,
    inputs: &[VerifiedInput],
    staged: &StagedStep,
    gate: Option<&GatePin>,
) -> Result<StepEnd, EngineError> {
    let planned = *authorized.get();
    let id = authorized.id();
    let reports = read_reports(run.engine, staged)?;
    let attested = Attested { planned, id, inputs, staged, reports: &reports };
    let mut statements = statements::of_step(run, &attested)?;
    let decision = match gate {
        None => None,
        Some(pin) => Some(decide(run, &attested, pin)?),
    };
    if let Some(decision) = &decision {
        statements.push(statements::of_gate(run, &attested, decision));
    }
    let (mut leaves, digests) = sign(run, id, &statements)?;
    let runner = run.engine.runner().id;
    if let Some(decision) = &decision {
        leaves.push(run.engine.event(&runner, EventKind::GateDecided { step: id.clone(), decision: decision.clone() }));
    }
    run.journal(id, State::Attested, json!({"statements": digests}))?;
    if let Some(refusal) = decision.filter(|decision| !decision.pass && binds(decision)) {
        run.engine.record(&leaves)?;
        return Err(gate_denied(&refusal));
    }
    run.journal(id, State::Gated, Value::Null)?;
    let outputs = output_refs(staged, id);
    let outcome = EventKind::StepCommitted {
        step: id.clone(),
        cache_key: keys.commit,
        inputs: input_refs(inputs),
        outputs: outputs.clone(),
        statements: digests.clone(),
        reused_from: None,
    };
    leaves.push(run.engine.event(&runner, outcome));
    run.engine.record(&leaves)?;
    run.journal(id, State::Committed, Value::Null)?;
    run.committed.put_step(id, &digests)?;
    for output in &staged.outputs {
        let name = format!("{}/{}", id.step, output.name);
        let committed = CommittedOutput { kind: output.kind, artifact: output.artifact.clone(), statements: digests.clone() };
        run.committed.put(name, committed)?;
    }
    Ok(StepEnd { reused: false, detail: describe(&outputs) })
}

/// Whether a refusal of this level stops the step. Overrides of soft-mandatory gates need a second principal: not in this release.
fn binds(decision: &GateDecision) -> bool {
    decision.level != seaworthy_core::decision::EnforcementLevel::Advisory
}

fn decide(run: &RunContext<'_>, attested: &Attested<'_>, pin: &GatePin) -> Result<GateDecision, EngineError> {
    let gate = run
        .found
        .gates
        .get(&pin.name)
        .ok_or_else(|| EngineError::internal("gate/missing", format!("gate `{}` was not loaded", pin.name)))?;
    let input = gate_input::of_step(run, attested.planned, attested.inputs, attested.staged, attested.reports)?;
    let bytes = seaworthy_core::json_strict::to_canonical(&input);
    // what an interrupted attempt left of it may be there and yet not be durable
    if !attested.staged.fresh || !run.engine.artifacts.contains(&Digest::of(&bytes)) {
        run.engine.artifacts.put_bytes(&bytes).map_err(|e| EngineError::internal("store/put", e))?;
    }
    Ok(gate.gate.decide(&bytes, &expectation(run, attested)?))
}

/// What the engine itself knows to be under judgement, whatever the input says: verified inputs, staged outputs, pins.
fn expectation(run: &RunContext<'_>, attested: &Attested<'_>) -> Result<Expectation, EngineError> {
    let step = &attested.planned.step;
    let input = |name: &Option<OutputName>| {
        let wanted = name.as_ref()?.to_string();
        attested.inputs.iter().find(|input| input.name == wanted).map(|input| input.artifact.digest)
    };
    let subject = match step.kind {
        StepKind::Validate => input(&step.model),
        _ => attested.staged.outputs.first().map(|output| output.artifact.digest),
    };
    let subject = subject.ok_or_else(|| EngineError::internal("gate/subject", format!("step `{}` has nothing to judge", step.name)))?;
    let schema = match run.found.pins.get(&format!("schema:{}", step.name)) {
        Some(pin) => Some(pin.digest),
        None if step.kind == StepKind::Ingest => Some(crate::gate_input::inferred_schema(run, step.name.as_str())?),
        None => None,
    };
    let known = [("data", input(&step.data)), ("reference", input(&step.reference)), ("schema", schema)];
    let known = known.into_iter().filter_map(|(name, digest)| digest.map(|digest| (name, digest)));
    Ok(known.fold(Expectation::new(subject), |expected, (name, digest)| expected.with(name, digest)))
}

fn gate_denied(decision: &GateDecision) -> EngineError {
    let reasons = decision.reasons.clone();
    let first = reasons.first().map(|reason| reason.message.clone()).unwrap_or_default();
    EngineError::denied("gate/denied", format!("gate `{}` said no: {first}", decision.gate), reasons)
}

/// Signs each statement with the runner's key.
pub(crate) fn sign(run: &RunContext<'_>, id: &StepRunId, statements: &[Statement]) -> Result<(Vec<Leaf>, Vec<Digest>), EngineError> {
    let signer = &run.engine.ports.signer;
    let public_key = signer.public_key(KeyRole::Runner)?;
    let mut leaves = Vec::with_capacity(statements.len());
    let mut digests = Vec::with_capacity(statements.len());
    for statement in statements {
        let bundle = signer.attest(&AttestRequest { role: KeyRole::Runner, statement, step: Some(id) })?;
        digests.push(bundle.pae_digest());
        leaves.push(Leaf::Attestation { bundle, public_key: public_key.clone() });
    }
    Ok((leaves, digests))
}

/// What an earlier run committed under the same key.
pub(crate) struct Reusable {
    committed_as: StepRunId,
    from: StepRunId,
    outputs: Vec<(OutputRef, ArtifactRef)>,
    statements: Vec<Digest>,
}

impl Reusable {
    /// Whether it was this very run that committed it.
    pub(crate) fn is_of(&self, run: &RunId) -> bool {
        self.committed_as.run == *run
    }

    fn remember(&self, run: &RunContext<'_>, planned: &PlannedStep) -> Result<String, EngineError> {
        for (output, artifact) in &self.outputs {
            let spec = planned.step.outputs.iter().find(|(name, _)| output.name.ends_with(&format!("/{name}")));
            let kind = spec.map_or(ArtifactKind::Dataset, |(_, spec)| spec.kind);
            let committed = CommittedOutput { kind, artifact: artifact.clone(), statements: self.statements.clone() };
            run.committed.put(output.name.clone(), committed)?;
        }
        Ok(self.outputs.iter().map(|(output, _)| format!("{} {}", output.name, output.digest.short())).collect::<Vec<_>>().join(", "))
    }
}

/// Takes over what this run committed before it was interrupted.
pub(crate) fn adopt(run: &RunContext<'_>, planned: &PlannedStep, reusable: &Reusable) -> Result<StepEnd, EngineError> {
    run.committed.put_step(&reusable.committed_as, &reusable.statements)?;
    Ok(StepEnd { reused: true, detail: reusable.remember(run, planned)? })
}

/// Looks for a committed step with the same key. The index only finds it: the outcome leaf, proven to be in the log, is what counts.
pub(crate) fn find_reusable(run: &RunContext<'_>, planned: &PlannedStep, keys: &StepKeys) -> Result<Option<Reusable>, EngineError> {
    let engine = run.engine;
    let Some(hit) = committed_before(run, planned, keys)? else { return Ok(None) };
    let event = engine.proven_event(hit.index)?;
    let EventKind::StepCommitted { step, cache_key, outputs, statements, reused_from, .. } = event.kind else { return Ok(None) };
    if cache_key != keys.commit || step.step != planned.step.name || step.workflow != run.plan.workflow {
        return Ok(None);
    }
    if !planned.step.cache && step.run != run.id {
        return Ok(None);
    }
    let mut with_refs = Vec::with_capacity(outputs.len());
    for output in outputs {
        // outputs that are gone or damaged are made again
        let Ok(manifest) = engine.artifacts.manifest(&output.digest) else { return Ok(None) };
        if !manifest.entries().iter().all(|entry| engine.artifacts.contains(&entry.digest)) {
            return Ok(None);
        }
        with_refs.push((output, manifest.reference()));
    }
    let from = reused_from.unwrap_or_else(|| step.clone());
    Ok(Some(Reusable { committed_as: step, from, outputs: with_refs, statements }))
}

/// What this run committed before it was interrupted comes first; what other runs committed counts for steps that may be reused.
fn committed_before(run: &RunContext<'_>, planned: &PlannedStep, keys: &StepKeys) -> Result<Option<Outcome>, EngineError> {
    if run.continued && !is_left_out(Mechanism::Adopt) {
        let name = StepName { workflow: run.plan.workflow.clone(), step: planned.step.name.clone() };
        let own = run.engine.query(|catalog| catalog.committed(&run.id, &name))?;
        if own.is_some() {
            return Ok(own);
        }
    }
    if !planned.step.cache {
        return Ok(None);
    }
    run.engine.query(|catalog| catalog.committed_by_cache_key(&keys.commit))
}

/// Authorizes and commits a step whose outputs an earlier attempt committed under the same key: its body does not run.
pub(crate) fn reuse(
    run: &RunContext<'_>,
    planned: &PlannedStep,
    id: &StepRunId,
    keys: &StepKeys,
    inputs: &[VerifiedInput],
    gate: Option<&GatePin>,
    reusable: &Reusable,
) -> Result<StepEnd, EngineError> {
    let outputs: Vec<OutputRef> = reusable.outputs.iter().map(|(output, _)| output.clone()).collect();
    let outcome = EventKind::StepCommitted {
        step: id.clone(),
        cache_key: keys.commit,
        inputs: input_refs(inputs),
        outputs,
        statements: reusable.statements.clone(),
        reused_from: Some(reusable.from.clone()),
    };
    authorize_reuse(run.engine, planned, id, inputs, gate, outcome)?;
    run.journal(id, State::Committed, Value::Null)?;
    run.committed.put_step(id, &reusable.statements)?;
    Ok(StepEnd { reused: true, detail: reusable.remember(run, planned)? })
}

fn output_refs(staged: &StagedStep, id: &StepRunId) -> Vec<OutputRef> {
    let described = |output: &StagedOutput| OutputRef {
        name: format!("{}/{}", id.step, output.name),
        kind: output.kind.as_str().to_owned(),
        digest: output.artifact.digest,
    };
    staged.outputs.iter().map(described).collect()
}

pub(crate) fn input_refs(inputs: &[VerifiedInput]) -> Vec<OutputRef> {
    inputs
        .iter()
        .map(|input| OutputRef { name: input.name.clone(), kind: input.kind.as_str().to_owned(), digest: input.artifact.digest })
        .collect()
}

fn describe(outputs: &[OutputRef]) -> String {
    outputs.iter().map(|output| format!("{} {}", output.name, output.digest.short())).collect::<Vec<_>>().join(", ")
}
