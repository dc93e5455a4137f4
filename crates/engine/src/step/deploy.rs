//! Deploy: a validated model becomes a registered version with a signature, an approval and a recorded deployment.
//!
//! in: the model that a validation step examined; out: `model.sig`, VSA, release, `deployment/v1` (state `pending-canary`), in one commit.
//! **Invariant:** only a [`Promotable`] is registered: its chain was verified now, from the log, and its gate passed.
//! Serving is not in this release: the deployment waits, and says so.

use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::artifact::{ArtifactKind, ArtifactRef};
use seaworthy_core::attestation::deployment::DeploymentClaim;
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::release::Release;
use seaworthy_core::attestation::svr::GateResult;
use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::attestation::vsa::Approval;
use seaworthy_core::attestation::{artifact_of, blob, subject};
use seaworthy_core::decision::GateDecision;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::event::EventKind;
use seaworthy_core::id::{Name, StepRunId};
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::ports::EvidenceSource as _;
use seaworthy_core::workflow::model::{OutputName, Step, StepKind};
use seaworthy_store::journal::State;
use seaworthy_trust::attest::chain::Assurance;
use seaworthy_trust::attest::{self, Reference, VerifyOptions};
use serde_json::Value;

use crate::authorize::{Authorized, authorize_all};
use crate::commit;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::inputs::{VerifiedInput, verify_as_runner};
use crate::progress::StepState;
use crate::proven;
use crate::run::RunContext;
use crate::step::StepEnd;
use crate::step::key::StepKeys;

/// The alias that points at the newest version waiting for its canary.
const CANDIDATE: &str = "candidate";

/// A model whose chain was verified just now and whose validation gate passed. Nothing else can be registered.
struct Promotable {
    name: Name,
    artifact: ArtifactRef,
    assurance: Assurance,
    statements: Vec<Digest>,
    trained_by: StepRunId,
    validated_by: StepRunId,
}

pub(crate) fn deploy(
    run: &RunContext<'_>,
    authorized: &Authorized<&PlannedStep>,
    keys: &StepKeys,
    inputs: &[VerifiedInput],
) -> Result<StepEnd, EngineError> {
    let planned = *authorized.get();
    let id = authorized.id();
    run.tell(id, StepState::Running, "verifying the model's chain");
    run.check_interpreters()?;
    let promotable = promotable(run, planned, inputs)?;
    authorize_promotion(run, id, &promotable, gates_passed(run, planned, &promotable)?)?;
    let version = next_version(run, &promotable.name)?;
    let (statements, claim) = statements_of(run, &promotable, &version)?;
    let (mut leaves, digests) = commit::sign(run, id, &statements)?;
    let kinds = events(id, keys, inputs, &promotable, &claim, &digests)?;
    let runner = run.engine.runner().id;
    leaves.extend(kinds.into_iter().map(|kind| run.engine.event(&runner, kind)));
    run.engine.record(&leaves)?;
    run.journal(id, State::Committed, Value::Null)?;
    run.committed.put_step(id, &digests)?;
    remember(run, &promotable.name, claim.version);
    let detail = format!("{}@{} release {} {}", promotable.name, claim.version, claim.release_index, claim.state);
    Ok(StepEnd { reused: false, detail })
}

/// Verifies this run's whole chain from the log, as an outsider would: training, validation, gates, back to the sources.
fn promotable(run: &RunContext<'_>, planned: &PlannedStep, inputs: &[VerifiedInput]) -> Result<Promotable, EngineError> {
    let step = &planned.step;
    let planned_model = || {
        inputs
            .iter()
            .find(|input| input.kind == ArtifactKind::Model)
            .and_then(|input| planned.inputs.iter().find(|name| name.to_string() == input.name))
    };
    let output = step.model.as_ref().or_else(planned_model).ok_or_else(|| {
        let message = format!("deploy step `{}` names no model", step.name);
        EngineError::configuration("deploy/no-model", message, "give it `model: train_step/model`, or put it after a validation step")
    })?;
    let input = inputs.iter().find(|input| input.name == output.to_string()).ok_or_else(|| {
        EngineError::integrity("input/missing", format!("model `{output}` was not verified"), "run the training step first")
    })?;
    let validated = run.committed.step(&validation_of(run, output)?)?;
    let trained = run.committed.step(&output.step)?;
    let options = VerifyOptions { trust_is_file: true, ..VerifyOptions::default() };
    let engine = run.engine;
    let chain =
        attest::verify_chain(&*engine.log, &engine.artifacts, &engine.trust_during_run(), &Reference::Run(run.id.clone()), &options);
    if let Some(fault) = chain.faults.first() {
        return Err(EngineError::integrity("deploy/chain", format!("the model's chain does not verify: {}", fault.message), fault.hint));
    }
    if !chain.ok {
        return Err(EngineError::integrity("deploy/chain", "the model's chain does not verify", "run `seaworthy verify` on this run"));
    }
    let statements = trained.statements.iter().chain(&validated.statements).copied().collect();
    Ok(Promotable {
        name: model_name(run, output)?,
        artifact: input.artifact.clone(),
        assurance: chain.assurance.min(answered_for(engine)),
        statements,
        trained_by: trained.id,
        validated_by: validated.id,
    })
}

/// The level that this run's signer can answer for: it signs no other. Witnesses are counted by whoever verifies.
fn answered_for(engine: &Engine) -> Assurance {
    let out_of_reach = engine.ports.signer.isolation().is_some_and(|signer| signer.is_out_of_reach());
    if out_of_reach { Assurance::L1 } else { Assurance::L0 }
}

/// The validation step of this plan that examined `model` behind a gate.
fn validation_of(run: &RunContext<'_>, model: &OutputName) -> Result<Name, EngineError> {
    let gated = |planned: &&PlannedStep| {
        planned.step.kind == StepKind::Validate && planned.step.model.as_ref() == Some(model) && planned.step.policy_gate.is_some()
    };
    run.plan.steps.iter().find(gated).map(|planned| planned.step.name.clone()).ok_or_else(|| {
        let message = format!("no validation step with a gate examines `{model}`");
        EngineError::configuration("deploy/not-validated", message, "add a validation step with `policy_gate:` for it")
    })
}

fn model_name(run: &RunContext<'_>, output: &OutputName) -> Result<Name, EngineError> {
    let spec =
        run.plan.steps.iter().find(|planned| planned.step.name == output.step).and_then(|planned| planned.step.outputs.get(&output.output));
    Ok(spec.and_then(|spec| spec.model_name.clone()).unwrap_or_else(|| output.output.clone()))
}

/// Whether every gated validation of the model ended in a signed pass. An advisory gate lets its step commit; it certifies nothing.
fn gates_passed(run: &RunContext<'_>, planned: &PlannedStep, promotable: &Promotable) -> Result<bool, EngineError> {
    let about = |step: &Step| step.kind == StepKind::Validate && step.model.as_ref().is_some_and(|model| planned.inputs.contains(model));
    let mut any = false;
    for step in run.plan.steps.iter().map(|planned| &planned.step).filter(|step| about(step)) {
        let Some(gate) = &step.policy_gate else { continue };
        let mut passed = false;
        for pae in run.committed.step(&step.name)?.statements {
            let result = signed_result(run, &pae)?;
            passed |= result.is_some_and(|(decision, subjects)| {
                decision.pass && decision.gate == gate.as_str() && subjects.contains(&promotable.artifact.digest)
            });
        }
        if !passed {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

/// The gate's answer and the artifacts it is about, if this is the runner's statement of one.
fn signed_result(run: &RunContext<'_>, pae: &Digest) -> Result<Option<(GateDecision, Vec<Digest>)>, EngineError> {
    let Some(stored) = run.engine.log.bundle(pae)? else { return Ok(None) };
    let bundle = Bundle::from_json(&stored).ok().filter(|bundle| bundle.pae_digest() == *pae);
    let Some(statement) = bundle.and_then(|bundle| verify_as_runner(run.engine, &bundle).ok()) else { return Ok(None) };
    let subjects = statement.subject.iter().filter_map(artifact_of).collect();
    Ok(GateResult::read(&statement).ok().map(|result| (result.decision, subjects)))
}

fn authorize_promotion(run: &RunContext<'_>, id: &StepRunId, promotable: &Promotable, gated: bool) -> Result<(), EngineError> {
    let resource = Resource::Model { name: promotable.name.to_string(), digest: promotable.artifact.digest, gated };
    let ask = |action| AuthorizationRequest {
        principal: run.engine.runner(),
        action,
        resource: resource.clone(),
        environment: run.engine.settings.environment.clone(),
    };
    authorize_all(run.engine, Some(id), &[ask(Action::RegisterModel), ask(Action::PromoteModel)], &[])
}

/// Numbers of the new version and release, and what it takes over from.
struct NextVersion {
    version: u64,
    release: u64,
    replaces: Option<Digest>,
}

/// One more than any the log says: an index could be made to say a number twice, and what is registered then no verification accepts.
fn next_version(run: &RunContext<'_>, name: &Name) -> Result<NextVersion, EngineError> {
    let (mut version, mut release, mut replaces) = (0_u64, 0_u64, None);
    for (_, event) in proven::events(run.engine, &["model.registered", "deployment.recorded"])? {
        match event.kind {
            EventKind::ModelRegistered { model, version: taken, .. } if model == name.as_str() => version = version.max(taken),
            EventKind::DeploymentRecorded { model, release: taken, statement, .. } if model == name.as_str() && taken > release => {
                (release, replaces) = (taken, Some(statement));
            }
            _ => {}
        }
    }
    Ok(NextVersion { version: version.saturating_add(1), release: release.saturating_add(1), replaces })
}

fn statements_of(
    run: &RunContext<'_>,
    promotable: &Promotable,
    next: &NextVersion,
) -> Result<(Vec<seaworthy_core::envelope::Statement>, DeploymentClaim), EngineError> {
    let engine = run.engine;
    let manifest = engine
        .artifacts
        .manifest(&promotable.artifact.digest)
        .map_err(|e| EngineError::integrity("store/damaged", e.to_string(), "run `seaworthy verify`"))?;
    let about = || subject(promotable.name.as_str(), &promotable.artifact);
    let approval = Approval {
        verifier: engine.runner().id.0,
        time: Timestamp(engine.now_ms()),
        resource: format!("model:{}@{}", promotable.name, next.version),
        policy: blob("lock", &run.lock_digest),
        inputs: promotable.statements.clone(),
        levels: vec![format!("SEAWORTHY_ASSURANCE_{:?}", promotable.assurance)],
    };
    let claim = DeploymentClaim {
        environment: run.plan.environment.clone(),
        model: promotable.name.clone(),
        version: next.version,
        release_index: next.release,
        minimum_release_index: engine.trust.minimum_release.get(&promotable.name).copied().unwrap_or(0),
        state: "pending-canary".to_owned(),
        replaces: next.replaces,
    };
    let release = Release { model: promotable.name.clone(), version: next.version };
    let statements = vec![
        manifest::statement(promotable.name.as_str(), &manifest, Subject::Model),
        approval.statement(about()),
        release.statement(about()),
        claim.statement(about()),
    ];
    Ok((statements, claim))
}

fn events(
    id: &StepRunId,
    keys: &StepKeys,
    inputs: &[VerifiedInput],
    promotable: &Promotable,
    claim: &DeploymentClaim,
    digests: &[Digest],
) -> Result<[EventKind; 4], EngineError> {
    let [signature, approval, _release, deployment] = digests else {
        return Err(EngineError::internal("deploy/statements", "a deployment has four statements"));
    };
    let model = promotable.name.to_string();
    Ok([
        EventKind::ModelRegistered {
            model: model.clone(),
            version: claim.version,
            digest: promotable.artifact.digest,
            signature: *signature,
            approval: *approval,
            trained_by: promotable.trained_by.clone(),
            validated_by: promotable.validated_by.clone(),
        },
        EventKind::ModelAliased { model: model.clone(), alias: CANDIDATE.to_owned(), version: claim.version },
        EventKind::DeploymentRecorded {
            model,
            version: claim.version,
            release: claim.release_index,
            state: claim.state.clone(),
            statement: *deployment,
        },
        EventKind::StepCommitted {
            step: id.clone(),
            cache_key: keys.commit,
            inputs: commit::input_refs(inputs),
            // it makes no artifact of its own: the model is the training step's
            outputs: Vec::new(),
            statements: digests.to_vec(),
            reused_from: None,
        },
    ])
}

fn remember(run: &RunContext<'_>, name: &Name, version: u64) {
    if let Ok(mut model) = run.model.lock() {
        *model = Some((name.to_string(), version));
    }
}
