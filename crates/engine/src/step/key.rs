//! Keys of a step: what its body, and what its commit, are functions of.
//!
//! in: the step, its verified inputs, the pins; out: [`StepKeys`].
//! **Invariant:** anything that could change a body's outputs changes `body`; anything that could change the commit changes `commit`.

use seaworthy_core::digest::Digest;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::StepKind;
use serde_json::json;

use crate::error::EngineError;
use crate::inputs::VerifiedInput;
use crate::pins::runs_a_program;
use crate::run::RunContext;

/// Layout version of the keys: raise it when a step kind starts doing something else with the same inputs.
const KEY_VERSION: u32 = 1;

/// What the reports of a step depend on besides its inputs: a release whose checks differ examines anew.
fn checks_of(kind: StepKind) -> Option<String> {
    matches!(kind, StepKind::Ingest | StepKind::Validate).then(|| seaworthy_inspect::registry::digest().hex())
}

/// The two keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepKeys {
    /// A finished body with this key never runs again.
    pub(crate) body: Digest,
    /// A committed step with this key may be reused.
    pub(crate) commit: Digest,
}

pub(crate) fn of_step(run: &RunContext<'_>, planned: &PlannedStep, inputs: &[VerifiedInput]) -> Result<StepKeys, EngineError> {
    let step = &planned.step;
    let pins = &run.found.pins;
    let pin = |name: String| pins.get(&name).map(|pin| pin.digest.hex());
    let mut described = step.clone();
    // the gate decides about outputs, it does not make them: changing it reevaluates the gate alone
    described.policy_gate = None;
    // nor does what is done when a body fails
    described.retries = None;
    let container = step.container.clone().unwrap_or_else(|| "host".to_owned());
    let environment = if step.run.is_some() || runs_a_program(step.kind) { pin(format!("environment:{container}")) } else { None };
    let ingests = step.kind == StepKind::Ingest;
    let mut body = json!({
        "version": KEY_VERSION,
        "step": serde_json::to_value(&described).map_err(|e| EngineError::internal("engine/key", e))?,
        "inputs": inputs.iter().map(|input| (input.name.clone(), input.artifact.digest.hex())).collect::<std::collections::BTreeMap<_, _>>(),
        "code": step.code.as_ref().and_then(|code| pin(format!("code:{code}"))),
        "environment": environment,
        "source": if ingests { pin(format!("source:{}", step.name)) } else { None },
        "schema": if ingests { pin(format!("schema:{}", step.name)) } else { None },
        "profile": run.engine.settings.profile.to_string(),
        "machine": std::env::consts::ARCH,
        "checks": checks_of(step.kind),
    });
    if let (false, Some(fields)) = (step.secrets.is_empty(), body.as_object_mut()) {
        // a random number drawn when the value was set: nothing here can be held against guesses
        let versions: std::collections::BTreeMap<_, _> = step.secrets.iter().map(|secret| (secret, run.secrets.get(secret))).collect();
        fields.insert("secrets".to_owned(), json!(versions));
    }
    let body = Digest::of(&seaworthy_core::json_strict::to_canonical(&body));
    let gate = step.policy_gate.as_ref().and_then(|gate| pin(format!("gate:{gate}")));
    let commit = json!({"body": body.hex(), "gate": gate, "workflow": run.plan.workflow.as_str()});
    Ok(StepKeys { body, commit: Digest::of(&seaworthy_core::json_strict::to_canonical(&commit)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_examines_depends_on_the_checks_and_nothing_else_does() {
        let checks = Some(seaworthy_inspect::registry::digest().hex());
        assert_eq!([checks_of(StepKind::Ingest), checks_of(StepKind::Validate)], [checks.clone(), checks]);
        for kind in [StepKind::Transform, StepKind::Train, StepKind::Deploy] {
            assert_eq!(checks_of(kind), None);
        }
    }
}
