//! Resuming: what an earlier attempt has durably staged is never made again.
//!
//! in: the journal; out: the next attempt's number, and a [`StagedStep`] if the body already finished.
//! **Invariant:** *finished* = a STAGED record is durable; a finished body never runs again.
//! **Invariant:** the journal is a file that anybody with write access can edit: what it says was staged counts only under the
//! runner's signature, and a run that it says is under way only if the log proves it.

use std::collections::BTreeMap;

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement};
use seaworthy_core::event::EventKind;
use seaworthy_core::id::{Attempt, Name, RunId, StepRunId};
use seaworthy_core::json_strict;
use seaworthy_core::ports::{AttestRequest, EvidenceSource as _, KeyRole};
use seaworthy_store::catalog::CatalogError;
use seaworthy_store::disk::{Mechanism, is_left_out};
use seaworthy_store::journal::{JournalError, Record, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::inputs;

/// One output of a finished body.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StagedOutput {
    pub(crate) name: Name,
    pub(crate) kind: ArtifactKind,
    pub(crate) artifact: ArtifactRef,
}

/// The check reports of a step: one blob, and the artifact that holds it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StagedReports {
    pub(crate) blob: Digest,
    pub(crate) artifact: ArtifactRef,
}

/// Everything a finished body left, all of it durable in the store: enough to attest without running it again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StagedStep {
    /// What the body was a function of.
    pub(crate) body_key: Digest,
    /// The attempt that ran the body.
    pub(crate) body_attempt: Attempt,
    /// Outputs in name order.
    pub(crate) outputs: Vec<StagedOutput>,
    /// The canonical list of check reports, if the step examines anything.
    pub(crate) reports: Option<StagedReports>,
    /// What the sandbox enforced and measured, if the body ran in one.
    pub(crate) sandbox: Value,
    /// Byproducts: stdout and stderr, by name.
    pub(crate) byproducts: BTreeMap<String, Digest>,
    /// This process has just made it: everything that belongs to it is durable.
    #[serde(skip)]
    pub(crate) fresh: bool,
    /// Claimed times, milliseconds since 1970.
    pub(crate) started_ms: u64,
    pub(crate) finished_ms: u64,
}

/// The journal's view of a run that this process continues or begins.
pub(crate) struct History {
    records: Vec<Record>,
}

impl History {
    /// Reads the journal, begun anew if it had become long and nothing in it is under way.
    pub(crate) fn load(engine: &Engine) -> Result<Self, EngineError> {
        let damaged = |e: JournalError| EngineError::integrity("journal/damaged", e.to_string(), e.hint());
        // one that could not be begun anew is as good as before: it costs time, and the next run tries again
        engine.journal.renew(&body_key).map_err(damaged)?;
        let records = engine.journal.records().map_err(damaged)?;
        Ok(Self { records })
    }

    /// The newest run of the same plan that began and never ended, or the `wanted` one if it is such: a crash left it.
    pub(crate) fn unfinished_run(&self, plan: &Digest, wanted: Option<&RunId>) -> Option<RunId> {
        let plan = Value::String(plan.hex());
        let fits =
            |r: &&Record| r.state == State::RunStarted && r.data.get("plan") == Some(&plan) && wanted.is_none_or(|wanted| r.run == *wanted);
        let started = self.records.iter().rev().find(fits)?;
        let ended = self.records.iter().any(|r| r.state == State::RunEnded && r.run == started.run);
        (!ended).then(|| started.run.clone())
    }

    /// Whether a run of exactly this has begun: the texts it rests on were made durable before.
    pub(crate) fn has_begun(&self, plan: &Digest) -> bool {
        let plan = Value::String(plan.hex());
        self.records.iter().any(|r| r.state == State::RunStarted && r.data.get("plan") == Some(&plan))
    }

    /// Attempts of this run whose bodies failed or ran out of time.
    pub(crate) fn failed_attempts(&self, run: &RunId, step: &Name) -> u32 {
        let failed = |r: &&Record| matches!(r.state, State::Failed | State::TimedOut) && r.run == *run && is_about(r, step);
        u32::try_from(self.records.iter().filter(failed).count()).unwrap_or(u32::MAX)
    }

    /// One more than any attempt seen.
    pub(crate) fn next_attempt(&self, run: &RunId, step: &Name) -> Attempt {
        let seen = self.records.iter().filter(|r| r.run == *run && is_about(r, step)).map(|r| r.attempt).max();
        seen.unwrap_or(0).saturating_add(1)
    }

    /// What a finished body of the same key left: of this run always, of an earlier run only if the step may be reused.
    /// A record without the runner's signature over exactly its content is a refusal: somebody wrote into the journal.
    pub(crate) fn staged(
        &self,
        engine: &Engine,
        id: &StepRunId,
        body_key: &Digest,
        other_runs: bool,
    ) -> Result<Option<StagedStep>, EngineError> {
        if is_left_out(Mechanism::FindStaged) {
            return Ok(None);
        }
        let about = |r: &&Record| r.state == State::Staged && is_about(r, &id.step) && (other_runs || r.run == id.run);
        for record in self.records.iter().rev().filter(about) {
            let Some((left, staged)) = staged_by(record) else { continue };
            if staged.body_key == *body_key {
                check_seal(engine, record, left)?;
                return Ok(Some(staged));
            }
        }
        Ok(None)
    }
}

/// What the record's body was a function of: by this a later run finds it again (a journal begun anew keeps such records).
fn body_key(record: &Record) -> Option<Digest> {
    staged_by(record).map(|(_, staged)| staged.body_key)
}

fn staged_by(record: &Record) -> Option<(&Value, StagedStep)> {
    let left = record.data.get("staged").filter(|_| record.state == State::Staged)?;
    Some((left, StagedStep::deserialize(left).ok()?))
}

/// Whether the log proves that `run` began with this plan and this lock at the user's signed request, and it never ended.
pub(crate) fn is_under_way(engine: &Engine, run: &RunId, plan: &Digest, lock: &Digest) -> Result<bool, EngineError> {
    let found = engine.query(|catalog| match catalog.run(run) {
        Ok(detail) => Ok(Some(detail.summary)),
        Err(CatalogError::Unknown { .. }) => Ok(None),
        Err(other) => Err(other),
    })?;
    let Some(summary) = found.filter(|summary| summary.ended_ms.is_none()) else { return Ok(false) };
    let EventKind::RunStarted { run: began, request, .. } = engine.proven_event(summary.index)?.kind else { return Ok(false) };
    let asked = requested(engine, &request)?;
    Ok(began == *run && asked.is_some_and(|asked| asked.run == *run && asked.plan == *plan && asked.lock == *lock))
}

/// The request that a proven `run.started` leaf names: what the digest there covers needs no further proof.
pub(crate) fn requested(engine: &Engine, request: &Digest) -> Result<Option<RunRequest>, EngineError> {
    let bundle = engine.log.bundle(request)?.and_then(|stored| Bundle::from_json(&stored).ok());
    Ok(bundle
        .filter(|bundle| bundle.pae_digest() == *request)
        .and_then(|bundle| Statement::from_payload(&bundle.payload).ok())
        .and_then(|statement| RunRequest::read(&statement).ok()))
}

/// The data of a STAGED record: what the body left, and the runner's signature over it.
pub(crate) fn seal(engine: &Engine, id: &StepRunId, staged: &StagedStep) -> Result<Value, EngineError> {
    let failed = |e: serde_json::Error| EngineError::internal("engine/staged", e);
    let left = serde_json::to_value(staged).map_err(failed)?;
    let statement = sealed(id, &left)?;
    let bundle = engine.ports.signer.attest(&AttestRequest { role: KeyRole::Runner, statement: &statement, step: Some(id) })?;
    let seal: Value = serde_json::from_slice(&bundle.to_json()).map_err(failed)?;
    Ok(json!({"staged": left, "seal": seal}))
}

/// What the runner signs: the manifest of one document, named for the attempt. It never enters the log.
fn sealed(id: &StepRunId, left: &Value) -> Result<Statement, EngineError> {
    let bytes = json_strict::to_canonical(left);
    let entry = ManifestEntry { name: "staged.json".to_owned(), digest: Digest::of(&bytes), size: bytes.len() as u64, mode: 0o644 };
    let manifest = Manifest::new(vec![entry]).map_err(|e| EngineError::internal("engine/staged", e))?;
    Ok(manifest::statement(&format!("staged:{id}"), &manifest, Subject::Folder))
}

fn check_seal(engine: &Engine, record: &Record, left: &Value) -> Result<(), EngineError> {
    let refused = |why: &str| {
        let message = format!("the journal says that a step of run {} finished, but {why}", record.run);
        EngineError::integrity("journal/forged", message, "somebody wrote into the journal: restore it from a copy, or move it away")
    };
    let id = record.step_run().ok_or_else(|| refused("it names no step"))?;
    let seal = record.data.get("seal").map(json_strict::to_canonical).unwrap_or_default();
    let bundle = Bundle::from_json(&seal).map_err(|e| refused(&format!("its seal cannot be read: {e}")))?;
    let signed = inputs::verify_as_runner(engine, &bundle).map_err(|why| refused(&format!("its seal does not hold: {why}")))?;
    if signed == sealed(&id, left)? { Ok(()) } else { Err(refused("the runner signed something else")) }
}

fn is_about(record: &Record, step: &Name) -> bool {
    record.step.as_ref().is_some_and(|name| name.step == *step)
}
