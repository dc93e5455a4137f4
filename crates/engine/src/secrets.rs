//! Secrets of a run: found before any body runs, read again for each step that declares them.
//!
//! in: the references of a plan, a [`SecretSource`]; out: their versions for the keys of steps, their values for a sandbox.
//! **Invariant:** no value, and nothing that is computed from one, is written anywhere: a version is a random number that was drawn when
//! the value was set.

use std::collections::BTreeMap;

use seaworthy_core::id::Name;
use seaworthy_core::limits;
use seaworthy_core::plan::{Plan, PlannedStep};
use seaworthy_core::secret::SecretRef;
use seaworthy_sandbox::Secret;
use zeroize::Zeroizing;

use crate::error::EngineError;
use crate::run::RunContext;

/// A secret as it is kept.
pub struct KeptSecret {
    /// Another one whenever the value is another; says nothing about it.
    pub version: String,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

/// Where the user's secrets are kept.
pub trait SecretSource: Send + Sync {
    /// Reads one; that it is not there is an error that says how to set it.
    fn read(&self, name: &Name) -> Result<KeptSecret, EngineError>;
}

/// Who has none.
#[derive(Debug, Clone, Copy)]
pub struct NoSecrets;

impl SecretSource for NoSecrets {
    fn read(&self, name: &Name) -> Result<KeptSecret, EngineError> {
        Err(EngineError::configuration("secrets/missing", format!("there is no secret `{name}` here"), "run where secrets are kept"))
    }
}

/// The version of every secret of the plan, by reference; an error if one is not there.
pub(crate) fn versions(source: &dyn SecretSource, plan: &Plan) -> Result<BTreeMap<String, String>, EngineError> {
    let mut versions = BTreeMap::new();
    for reference in plan.steps.iter().flat_map(|planned| &planned.step.secrets) {
        if !versions.contains_key(reference) {
            versions.insert(reference.clone(), source.read(&parse(reference)?.name)?.version);
        }
    }
    Ok(versions)
}

/// The values for one step, as they were when the run began.
pub(crate) fn of_step(run: &RunContext<'_>, planned: &PlannedStep) -> Result<Vec<Secret>, EngineError> {
    let mut secrets = Vec::with_capacity(planned.step.secrets.len());
    for reference in &planned.step.secrets {
        let name = parse(reference)?.name;
        let kept = run.engine.ports.secrets.read(&name)?;
        if run.secrets.get(reference) != Some(&kept.version) {
            let message = format!("the secret `{name}` was changed while the run was going on");
            return Err(EngineError::configuration("secrets/changed", message, "run again: steps that use it will run with the new one"));
        }
        if kept.value.trim_ascii().len() < limits::SECRET_BYTES_MIN {
            let message = format!("the secret `{name}` is shorter than {} bytes", limits::SECRET_BYTES_MIN);
            return Err(EngineError::configuration(
                "secrets/short",
                message,
                "so short a value could not be taken out of what a step prints",
            ));
        }
        secrets.push(Secret { name: name.to_string(), value: kept.value });
    }
    Ok(secrets)
}

/// What the parser let through.
fn parse(reference: &str) -> Result<SecretRef, EngineError> {
    SecretRef::parse(reference).map_err(|e| EngineError::configuration(e.code(), format!("`{reference}`: {e}"), e.hint()))
}
