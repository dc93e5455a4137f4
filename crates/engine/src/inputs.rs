//! Inputs: what committed steps put out, verified before anybody reads it.
//!
//! in: the outputs committed so far; out: [`VerifiedInput`], constructed only here.
//! **Invariant:** an input is read only if a signed statement of this log names exactly its bytes and its producer committed it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement};
use seaworthy_core::id::{Name, StepRunId};
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::ports::{EvidenceSource as _, KeyRole};
use seaworthy_trust::attest::chain::Status;
use seaworthy_trust::attest::{self, Evidence, Reference, VerifyOptions};

use crate::engine::Engine;
use crate::error::EngineError;

/// An output that its producer committed in this run (or that was reused from an earlier one).
#[derive(Clone, Debug)]
pub(crate) struct CommittedOutput {
    pub(crate) kind: ArtifactKind,
    pub(crate) artifact: ArtifactRef,
    /// SHA256(PAE) of the producer's statements.
    pub(crate) statements: Vec<Digest>,
}

/// An artifact whose attestation was verified for this step.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedInput {
    /// `step/output`.
    pub(crate) name: String,
    pub(crate) kind: ArtifactKind,
    pub(crate) artifact: ArtifactRef,
}

/// What steps of this run have committed: outputs by `step/output`, and each step's attempt with its statements.
#[derive(Default, Debug)]
pub(crate) struct Committed {
    outputs: Mutex<BTreeMap<String, CommittedOutput>>,
    steps: Mutex<BTreeMap<Name, CommittedStep>>,
}

/// The attempt that committed a step in this run, and its statements.
#[derive(Clone, Debug)]
pub(crate) struct CommittedStep {
    pub(crate) id: StepRunId,
    pub(crate) statements: Vec<Digest>,
}

impl Committed {
    pub(crate) fn put(&self, name: String, output: CommittedOutput) -> Result<(), EngineError> {
        lock(&self.outputs)?.insert(name, output);
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<CommittedOutput>, EngineError> {
        Ok(lock(&self.outputs)?.get(name).cloned())
    }

    pub(crate) fn put_step(&self, id: &StepRunId, statements: &[Digest]) -> Result<(), EngineError> {
        lock(&self.steps)?.insert(id.step.clone(), CommittedStep { id: id.clone(), statements: statements.to_vec() });
        Ok(())
    }

    pub(crate) fn step(&self, name: &Name) -> Result<CommittedStep, EngineError> {
        lock(&self.steps)?.get(name).cloned().ok_or_else(|| {
            EngineError::integrity("step/not-committed", format!("step `{name}` has no outcome in this run"), "run it first")
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, EngineError> {
    mutex.lock().map_err(|_| EngineError::internal("engine/poisoned", "a thread died holding what was committed"))
}

/// Verifies every input of `planned` against its own attestation; with `data_provenance: enforce`, its chain to a trusted source.
pub(crate) fn verify_inputs(engine: &Engine, planned: &PlannedStep, committed: &Committed) -> Result<Vec<VerifiedInput>, EngineError> {
    let mut inputs = Vec::with_capacity(planned.inputs.len());
    for declared in &planned.inputs {
        let name = declared.to_string();
        let output = committed.get(&name)?.ok_or_else(|| {
            EngineError::integrity("input/missing", format!("input `{name}` was never committed"), "run the step that makes it first")
        })?;
        verify_attested(engine, &name, &output)?;
        if planned.step.data_provenance_enforced {
            verify_provenance(engine, &name, &output.artifact)?;
        }
        inputs.push(VerifiedInput { name, kind: output.kind, artifact: output.artifact });
    }
    Ok(inputs)
}

/// One of the producer's statements must be signed by the runner and have exactly this artifact as a subject.
fn verify_attested(engine: &Engine, name: &str, output: &CommittedOutput) -> Result<(), EngineError> {
    for pae in &output.statements {
        let Some(stored) = engine.log.bundle(pae)? else {
            let message = format!("the statement {} about input `{name}` is missing", pae.short());
            return Err(EngineError::integrity("input/statement-missing", message, "restore .seaworthy from a copy"));
        };
        let bundle = Bundle::from_json(&stored).map_err(|e| unattested(name, &e.to_string()))?;
        if bundle.pae_digest() != *pae {
            return Err(unattested(name, "a stored bundle is not the one that was logged"));
        }
        let statement = verify_as_runner(engine, &bundle).map_err(|why| unattested(name, &why))?;
        let names_it =
            statement.subject.iter().any(|subject| seaworthy_core::attestation::artifact_of(subject) == Some(output.artifact.digest));
        if names_it {
            return Ok(());
        }
    }
    Err(unattested(name, "no signed statement of its producer names these bytes"))
}

/// The statement of a bundle, if a runner's key of the trust file signed it.
pub(crate) fn verify_as_runner(engine: &Engine, bundle: &Bundle) -> Result<Statement, String> {
    let keys = engine.trust.public_keys().map_err(|e| e.to_string())?;
    let (trusted, key) = keys.get(&bundle.key_hint).ok_or("its key is not in the trust file")?;
    if trusted.role != KeyRole::Runner {
        return Err("its key is not a runner's".to_owned());
    }
    attest::verify_bundle(bundle, key).map_err(|e| e.to_string())
}

fn unattested(name: &str, cause: &str) -> EngineError {
    let message = format!("input `{name}` has no valid attestation: {cause}");
    EngineError::integrity("input/unattested", message, "run `seaworthy verify log` to see what was changed")
}

/// `data_provenance: enforce`: the whole chain must verify and end at sources whose owners, named by the trust file, signed them.
fn verify_provenance(engine: &Engine, name: &str, artifact: &ArtifactRef) -> Result<(), EngineError> {
    let reference = Reference::Artifact(artifact.digest);
    let options = VerifyOptions { trust_is_file: true, ..VerifyOptions::default() };
    let report = attest::verify_chain(&*engine.log, &engine.artifacts, &engine.trust_during_run(), &reference, &options);
    let refused = |why: &str, hint: &str| {
        let message = format!("`data_provenance: enforce` refuses input `{name}`: {why}");
        EngineError::integrity("input/provenance", message, hint)
    };
    if let Some(fault) = report.faults.first() {
        return Err(refused(&fault.message, fault.hint));
    }
    if !report.ok {
        return Err(refused("its chain does not verify", "run `seaworthy verify` on it"));
    }
    match unowned_source(&report.evidence) {
        Some(detail) => {
            Err(refused(detail, "`seaworthy lock --update source:STEP` signs a source as its owner and names it in the trust file"))
        }
        None => Ok(()),
    }
}

/// A source that nobody in the trust file answers for.
fn unowned_source(evidence: &Evidence) -> Option<&str> {
    if evidence.label == "owner" && evidence.status != Status::Ok {
        return Some(&evidence.detail);
    }
    evidence.children.iter().find_map(unowned_source)
}
