//! Authorization before every action, recorded before its effect.
//!
//! in: a planned step and its identity; out: [`Authorized`], which nothing else can construct.
//! **Invariant:** an `Authorized` exists only if every decision was an allow *and* is durable in the log.

use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::decision::{Decision, Reason};
use seaworthy_core::digest::Digest;
use seaworthy_core::event::EventKind;
use seaworthy_core::id::StepRunId;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::ports::Leaf;
use seaworthy_store::disk::{Mechanism, is_left_out};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::inputs::VerifiedInput;

/// Something that may be done, by the step attempt it names. Never serialised: a resumed run authorizes again.
///
/// ```compile_fail
/// // nobody outside this crate's `authorize` can make one
/// let forged = seaworthy_engine::authorize::Authorized { inner: (), id: todo!() };
/// ```
#[derive(Debug)]
pub struct Authorized<T> {
    inner: T,
    id: StepRunId,
}

impl<T> Authorized<T> {
    /// What was authorized.
    pub const fn get(&self) -> &T {
        &self.inner
    }

    /// The attempt it was authorized for.
    pub const fn id(&self) -> &StepRunId {
        &self.id
    }
}

/// The gate a step will have to pass, as the lock knows it.
#[derive(Debug, Clone)]
pub(crate) struct GatePin {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) pinned: bool,
}

/// Asks every question a step raises, records all answers in one commit together with the intent to start.
pub(crate) fn authorize_step<'a>(
    engine: &Engine,
    planned: &'a PlannedStep,
    id: &StepRunId,
    inputs: &[VerifiedInput],
    gate: Option<&GatePin>,
) -> Result<Authorized<&'a PlannedStep>, EngineError> {
    let requests = step_requests(engine, planned, id, inputs, gate)?;
    let started = engine.event(&engine.runner().id, EventKind::StepStarted { step: id.clone() });
    if !is_left_out(Mechanism::Intent) {
        authorize_all(engine, Some(id), &requests, &[started])?;
    }
    Ok(Authorized { inner: planned, id: id.clone() })
}

/// Asks the same questions of a step whose body will not run: the answers and, if all allow, the outcome are one durable commit.
pub(crate) fn authorize_reuse(
    engine: &Engine,
    planned: &PlannedStep,
    id: &StepRunId,
    inputs: &[VerifiedInput],
    gate: Option<&GatePin>,
    outcome: EventKind,
) -> Result<(), EngineError> {
    let requests = step_requests(engine, planned, id, inputs, gate)?;
    let runner = engine.runner().id;
    let started = engine.event(&runner, EventKind::StepStarted { step: id.clone() });
    authorize_all(engine, Some(id), &requests, &[started, engine.event(&runner, outcome)])
}

/// Decides `requests`; records the decisions and, if all allow, `intent`, in one durable commit. A deny is recorded too, without the intent.
pub(crate) fn authorize_all(
    engine: &Engine,
    step: Option<&StepRunId>,
    requests: &[AuthorizationRequest],
    intent: &[Leaf],
) -> Result<(), EngineError> {
    let mut leaves = Vec::with_capacity(requests.len() + intent.len());
    let mut reasons: Vec<Reason> = Vec::new();
    for request in requests {
        let decision = engine.authorizer.decide(request);
        if let Decision::Deny { reasons: why } = &decision {
            reasons.extend(why.iter().cloned());
        }
        let kind =
            EventKind::AuthorizationDecided { step: step.cloned(), action: request.action, resource: request.resource.clone(), decision };
        leaves.push(engine.event(&request.principal.id, kind));
    }
    let denied = requests.is_empty() || !reasons.is_empty();
    if !denied {
        leaves.extend(intent.iter().cloned());
    }
    engine.record(&leaves)?;
    if denied {
        let what = reasons.first().map_or_else(|| "nothing was asked".to_owned(), |reason| reason.message.clone());
        return Err(EngineError::denied("authz/denied", format!("not authorized: {what}"), reasons));
    }
    Ok(())
}

fn step_requests(
    engine: &Engine,
    planned: &PlannedStep,
    id: &StepRunId,
    inputs: &[VerifiedInput],
    gate: Option<&GatePin>,
) -> Result<Vec<AuthorizationRequest>, EngineError> {
    let step = &planned.step;
    let runner = engine.runner();
    let principal = engine.step_principal(id);
    let ask = |principal: &seaworthy_core::principal::Principal, action, resource| AuthorizationRequest {
        principal: principal.clone(),
        action,
        resource,
        environment: engine.settings.environment.clone(),
    };
    let mut requests = vec![ask(
        &runner,
        Action::RunStep,
        Resource::Step {
            name: format!("{}/{}", id.workflow, id.step),
            kind: step.kind.as_str().to_owned(),
            sandboxed: step.sandbox,
            profile: engine.settings.profile.to_string(),
        },
    )];
    for input in inputs {
        let resource = Resource::Artifact {
            name: input.name.clone(),
            digest: Some(input.artifact.digest),
            declared: planned.inputs.iter().any(|declared| declared.to_string() == input.name),
            verified: true,
        };
        requests.push(ask(&principal, Action::ReadArtifact, resource));
    }
    for output in step.outputs.keys() {
        let name = format!("{}/{output}", step.name);
        requests.push(ask(&principal, Action::WriteArtifact, Resource::Artifact { name, digest: None, declared: true, verified: false }));
    }
    for to in crate::step::ways::destinations(step)? {
        requests.push(ask(&principal, Action::Connect, crate::step::ways::resource(&to, true)));
    }
    for secret in &step.secrets {
        let name = secret.rsplit('/').next().unwrap_or(secret).to_owned();
        requests.push(ask(&principal, Action::ReadSecret, Resource::Secret { name, declared: true }));
    }
    if let Some(gate) = gate {
        let resource = Resource::Gate { name: gate.name.clone(), digest: gate.digest, pinned: gate.pinned };
        requests.push(ask(&runner, Action::EvaluateGate, resource));
    }
    Ok(requests)
}
