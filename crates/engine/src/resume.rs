//! Resuming: what an earlier attempt has durably staged is never made again.
//!
//! in: the journal; out: the next attempt's number, and a [`StagedStep`] if the body already finished.
//! **Invariant:** *finished* = a STAGED record is durable; a finished body never runs again.

use std::collections::BTreeMap;

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef};
use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Attempt, Name, RunId};
use seaworthy_store::journal::{Record, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Engine;
use crate::error::EngineError;

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
    /// Claimed times, milliseconds since 1970.
    pub(crate) started_ms: u64,
    pub(crate) finished_ms: u64,
}

/// The journal's view of a run that this process continues or begins.
pub(crate) struct History {
    records: Vec<Record>,
}

impl History {
    pub(crate) fn load(engine: &Engine) -> Result<Self, EngineError> {
        let records = engine.journal.load().map_err(|e| EngineError::integrity("journal/damaged", e.to_string(), e.hint()))?;
        Ok(Self { records })
    }

    /// The newest run of the same plan that began and never ended: a crash left it.
    pub(crate) fn unfinished_run(&self, plan: &Digest) -> Option<RunId> {
        let wanted = Value::String(plan.hex());
        let started = self.records.iter().rev().find(|r| r.state == State::RunStarted && r.data.get("plan") == Some(&wanted))?;
        let ended = self.records.iter().any(|r| r.state == State::RunEnded && r.run == started.run);
        (!ended).then(|| started.run.clone())
    }

    /// One more than any attempt seen.
    pub(crate) fn next_attempt(&self, run: &RunId, step: &Name) -> Attempt {
        let seen = self.records.iter().filter(|r| r.run == *run && is_about(r, step)).map(|r| r.attempt).max();
        seen.unwrap_or(0).saturating_add(1)
    }

    /// What a finished body of the same key left: of this run always, of an earlier run only if the step may be reused.
    pub(crate) fn staged(&self, run: &RunId, step: &Name, body_key: &Digest, other_runs: bool) -> Option<StagedStep> {
        self.records
            .iter()
            .rev()
            .filter(|r| r.state == State::Staged && is_about(r, step) && (other_runs || r.run == *run))
            .filter_map(|r| serde_json::from_value::<StagedStep>(r.data.clone()).ok())
            .find(|staged| staged.body_key == *body_key)
    }
}

fn is_about(record: &Record, step: &Name) -> bool {
    record.step.as_ref().is_some_and(|name| name.step == *step)
}
