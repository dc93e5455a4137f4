//! Queries about runs, their attempts and what they committed.
//!
//! in: run ids, step names, cache keys; out: rows that serialise.
//! **Invariant:** an [`Outcome`] is exactly what one leaf says; its index is there so that the leaf can be checked.

use rusqlite::{OptionalExtension, Row, params};
use seaworthy_core::attestation::MANIFEST;
use seaworthy_core::digest::Digest;
use seaworthy_core::event::{EventKind, OutputRef};
use seaworthy_core::id::{RunId, StepRunId};
use serde::Serialize;
use serde_json::Value;

use super::models::GateRow;
use super::{Catalog, CatalogError, from_sql, to_sql};
use crate::journal::StepName;

/// One line of `runs list`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run: String,
    /// `running`, `succeeded`, `denied`, `failed` or `cancelled`.
    pub state: String,
    /// Start, milliseconds since 1970, claimed.
    pub started_ms: u64,
    /// End, if it ended.
    pub ended_ms: Option<u64>,
    /// Who asked for it.
    pub principal: String,
    /// Digest of the plan.
    pub plan: String,
    /// SHA256(PAE) of the signed run request.
    pub request: String,
    /// Index of the leaf that began it.
    pub index: u64,
    /// Steps that committed.
    pub committed: u64,
    /// Steps of which something was recorded.
    pub steps: u64,
}

/// `runs show`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Its attempts, in log order.
    pub attempts: Vec<AttemptRow>,
    /// What was denied in it.
    pub denials: Vec<DenialRow>,
}

/// One attempt at one step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptRow {
    /// The workflow.
    pub workflow: String,
    /// The step.
    pub step: String,
    /// The attempt.
    pub attempt: u64,
    /// `running`, `committed`, `denied`, `failed`, `timed_out` or `cancelled`.
    pub state: String,
    /// Start of the body, if it ran.
    pub started_ms: Option<u64>,
    /// End.
    pub ended_ms: Option<u64>,
    /// Stable error code, if it ended badly.
    pub error: Option<String>,
    /// What it committed.
    pub outcome: Option<Outcome>,
    /// Its gates.
    pub gates: Vec<GateRow>,
}

/// An authorization that was denied.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DenialRow {
    /// Index of the leaf.
    pub index: u64,
    /// The attempt, if any.
    pub step: Option<String>,
    /// Who.
    pub principal: String,
    /// What.
    pub action: String,
    /// On what.
    pub resource: Value,
    /// Why.
    pub reasons: Value,
}

/// An outcome leaf: the commit of a step attempt.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outcome {
    /// Index of the leaf.
    pub index: u64,
    /// The attempt.
    pub step: StepRunId,
    /// Key under which unchanged steps are found again.
    pub cache_key: Digest,
    /// Every artifact the step read.
    pub inputs: Vec<OutputRef>,
    /// Outputs.
    pub outputs: Vec<OutputRef>,
    /// SHA256(PAE) of the step's statements.
    pub statements: Vec<Digest>,
    /// The attempt whose outputs were reused, if the body did not run.
    pub reused_from: Option<StepRunId>,
}

/// A statement of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StatementRef {
    /// SHA256(PAE).
    pub pae: String,
    /// Index of its leaf.
    pub index: u64,
    /// Predicate type.
    pub predicate_type: String,
    /// hex(sha256(PEM)) of the key that signed it.
    pub key: String,
}

const SUMMARY: &str = "SELECT run, state, started_ms, ended_ms, principal, plan, request, idx, \
    (SELECT count(DISTINCT workflow || '/' || step) FROM attempts a WHERE a.run = runs.run AND a.outcome IS NOT NULL), \
    (SELECT count(DISTINCT workflow || '/' || step) FROM attempts a WHERE a.run = runs.run) FROM runs";

fn summary(row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    Ok(RunSummary {
        run: row.get(0)?,
        state: row.get(1)?,
        started_ms: from_sql(row.get(2)?),
        ended_ms: row.get::<_, Option<i64>>(3)?.map(from_sql),
        principal: row.get(4)?,
        plan: row.get(5)?,
        request: row.get(6)?,
        index: from_sql(row.get(7)?),
        committed: from_sql(row.get(8)?),
        steps: from_sql(row.get(9)?),
    })
}

impl Catalog {
    /// The newest `limit` runs, newest first.
    pub fn runs(&self, limit: u64) -> Result<Vec<RunSummary>, CatalogError> {
        let mut rows = self.db.prepare_cached(&format!("{SUMMARY} ORDER BY idx DESC LIMIT ?1"))?;
        Ok(rows.query_map([to_sql(limit)], summary)?.collect::<rusqlite::Result<_>>()?)
    }

    /// One run with its attempts, gates and denials.
    pub fn run(&self, run: &RunId) -> Result<RunDetail, CatalogError> {
        let found = self.db.prepare_cached(&format!("{SUMMARY} WHERE run = ?1"))?.query_row([&run.0], summary).optional()?;
        let summary = found.ok_or_else(|| CatalogError::Unknown { reference: format!("run:{run}") })?;
        let mut rows = self.db.prepare_cached(
            "SELECT workflow, step, attempt, state, started_ms, ended_ms, error, idx, outcome FROM attempts WHERE run = ?1 ORDER BY idx, workflow, step, attempt",
        )?;
        let mut attempts = rows.query_map([&run.0], attempt)?.collect::<rusqlite::Result<Vec<_>>>()?;
        for attempt in &mut attempts {
            attempt.gates = self.gates_of(&run.0, &attempt.workflow, &attempt.step, attempt.attempt)?;
        }
        let mut rows =
            self.db.prepare_cached("SELECT idx, step, principal, action, resource, reasons FROM denials WHERE run = ?1 ORDER BY idx")?;
        let denials = rows.query_map([&run.0], denial)?.collect::<rusqlite::Result<_>>()?;
        Ok(RunDetail { summary, attempts, denials })
    }

    /// The newest commit under a cache key: what may be reused, once its leaf was checked.
    ///
    /// A commit that reused another is passed over in favour of the one whose body ran, if both are there.
    pub fn committed_by_cache_key(&self, key: &Digest) -> Result<Option<Outcome>, CatalogError> {
        let mut rows = self.db.prepare_cached(
            "SELECT idx, outcome FROM attempts WHERE cache_key = ?1 AND outcome IS NOT NULL ORDER BY reused, idx DESC LIMIT 1",
        )?;
        let found = rows.query_row([key.hex()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        Ok(found.and_then(|(index, text)| outcome(index, &text)))
    }

    /// The commit of a step in a run, if there is one.
    pub fn committed(&self, run: &RunId, name: &StepName) -> Result<Option<Outcome>, CatalogError> {
        let mut rows = self.db.prepare_cached(
            "SELECT idx, outcome FROM attempts WHERE run = ?1 AND workflow = ?2 AND step = ?3 AND outcome IS NOT NULL ORDER BY idx LIMIT 1",
        )?;
        let key = params![run.0, name.workflow.as_str(), name.step.as_str()];
        let found = rows.query_row(key, |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        Ok(found.and_then(|(index, text)| outcome(index, &text)))
    }

    /// The highest attempt of a step in a run that any leaf names; 0 if none does.
    pub fn newest_attempt(&self, run: &RunId, name: &StepName) -> Result<u64, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT max(attempt) FROM attempts WHERE run = ?1 AND workflow = ?2 AND step = ?3")?;
        let newest: Option<i64> = rows.query_row(params![run.0, name.workflow.as_str(), name.step.as_str()], |row| row.get(0))?;
        Ok(newest.map_or(0, from_sql))
    }

    /// The commit of exactly this attempt, if there is one.
    pub fn outcome_of(&self, step: &StepRunId) -> Result<Option<Outcome>, CatalogError> {
        let name = StepName { workflow: step.workflow.clone(), step: step.step.clone() };
        Ok(self.committed(&step.run, &name)?.filter(|outcome| outcome.step == *step))
    }

    /// The statements whose subject is this artifact, in log order.
    pub fn statements_about(&self, artifact: &str) -> Result<Vec<StatementRef>, CatalogError> {
        let mut rows = self.db.prepare_cached(
            "SELECT DISTINCT s.pae, s.idx, s.type, s.key FROM statements s JOIN subjects u ON u.idx = s.idx \
             WHERE u.artifact = ?1 AND s.fault IS NULL ORDER BY s.idx",
        )?;
        Ok(rows.query_map([artifact], statement)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The manifest statements of an artifact: its signatures.
    pub fn signatures_of(&self, artifact: &str) -> Result<Vec<StatementRef>, CatalogError> {
        let mut found = self.statements_about(artifact)?;
        found.retain(|statement| statement.predicate_type == MANIFEST);
        Ok(found)
    }

    /// A statement by its SHA256(PAE).
    pub fn statement(&self, pae: &Digest) -> Result<Option<StatementRef>, CatalogError> {
        let mut rows =
            self.db.prepare_cached("SELECT pae, idx, type, key FROM statements WHERE pae = ?1 AND fault IS NULL ORDER BY idx LIMIT 1")?;
        Ok(rows.query_row([pae.hex()], statement).optional()?)
    }

    /// Kind and name of an artifact, as the first outcome that has it says.
    pub fn kind_of_artifact(&self, artifact: &str) -> Result<Option<(String, String)>, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT kind, name FROM artifacts WHERE digest = ?1")?;
        Ok(rows.query_row([artifact], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let index: i64 = row.get(7)?;
    Ok(AttemptRow {
        workflow: row.get(0)?,
        step: row.get(1)?,
        attempt: from_sql(row.get(2)?),
        state: row.get(3)?,
        started_ms: row.get::<_, Option<i64>>(4)?.map(from_sql),
        ended_ms: row.get::<_, Option<i64>>(5)?.map(from_sql),
        error: row.get(6)?,
        outcome: row.get::<_, Option<String>>(8)?.and_then(|text| outcome(index, &text)),
        gates: Vec::new(),
    })
}

fn denial(row: &Row<'_>) -> rusqlite::Result<DenialRow> {
    let nested = |at: usize| row.get::<_, String>(at).map(|text| serde_json::from_str(&text).unwrap_or(Value::Null));
    Ok(DenialRow {
        index: from_sql(row.get(0)?),
        step: row.get(1)?,
        principal: row.get(2)?,
        action: row.get(3)?,
        resource: nested(4)?,
        reasons: nested(5)?,
    })
}

fn statement(row: &Row<'_>) -> rusqlite::Result<StatementRef> {
    Ok(StatementRef { pae: row.get(0)?, index: from_sql(row.get(1)?), predicate_type: row.get(2)?, key: row.get(3)? })
}

pub(super) fn outcome(index: i64, text: &str) -> Option<Outcome> {
    match serde_json::from_str(text) {
        Ok(EventKind::StepCommitted { step, cache_key, inputs, outputs, statements, reused_from }) => {
            Some(Outcome { index: from_sql(index), step, cache_key, inputs, outputs, statements, reused_from })
        }
        // a row that the index did not write: as good as none
        _ => None,
    }
}
