//! Queries about models: versions, aliases, deployments, and the evidence behind each.
//!
//! in: names, versions, aliases; out: rows that serialise.
//! **Invariant:** every value shown comes from an event or a statement whose leaf the row names.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};
use seaworthy_core::attestation::{INTEGRITY_SCORE, TEST_RESULT};
use seaworthy_core::decision::GateDecision;
use seaworthy_core::digest::Digest;
use seaworthy_core::event::OutputRef;
use seaworthy_core::id::StepRunId;
use serde::Serialize;
use serde_json::Value;

use super::runs::StatementRef;
use super::{Catalog, CatalogError, from_sql, to_sql};
use crate::journal::StepName;

/// One line of `models list`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ModelSummary {
    /// Model name.
    pub model: String,
    /// Its versions, oldest first.
    pub versions: Vec<u64>,
    /// Alias → version.
    pub aliases: BTreeMap<String, u64>,
    /// Artifact digest of the newest version.
    pub digest: String,
    /// When the newest version was registered, milliseconds since 1970, claimed.
    pub registered_ms: u64,
}

/// What `NAME@VERSION|ALIAS` stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Resolved {
    /// Model name.
    pub model: String,
    /// Version.
    pub version: u64,
    /// Artifact digest.
    pub digest: Digest,
    /// Index of the registration's leaf.
    pub index: u64,
}

/// One version with the evidence behind it: `models show`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ModelVersion {
    /// Model name.
    pub model: String,
    /// Version.
    pub version: u64,
    /// Artifact digest.
    pub digest: String,
    /// Index of the registration's leaf.
    pub index: u64,
    /// When, claimed.
    pub registered_ms: u64,
    /// Who registered it.
    pub principal: String,
    /// Who asked for the run that trained it: the responsible engineer, as a pseudonym.
    pub responsible: Option<String>,
    /// SHA256(PAE) of `model.sig`.
    pub signature: String,
    /// SHA256(PAE) of the VSA.
    pub approval: String,
    /// Aliases that point here.
    pub aliases: Vec<String>,
    /// The attempt that trained it.
    pub trained_by: StepRunId,
    /// The attempt that validated it.
    pub validated_by: StepRunId,
    /// Everything the training read: data, code, environment, lock pins.
    pub trained_on: Vec<OutputRef>,
    /// Signatures of each artifact the training read, by artifact digest.
    pub training_signatures: BTreeMap<String, Vec<StatementRef>>,
    /// Facts of the validation's checks, by check.
    pub metrics: BTreeMap<String, Value>,
    /// The integrity score, if it is complete.
    pub score: Option<f64>,
    /// Gate decisions of the training and the validation.
    pub gates: Vec<GateRow>,
    /// Deployments of this version.
    pub deployments: Vec<Deployment>,
}

/// A gate's decision.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GateRow {
    /// Index of its leaf.
    pub index: u64,
    /// The decision.
    #[serde(flatten)]
    pub decision: GateDecision,
}

/// A deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Deployment {
    /// Index of its leaf.
    pub index: u64,
    /// Model name.
    pub model: String,
    /// Version.
    pub version: u64,
    /// Monotone release index.
    pub release: u64,
    /// State.
    pub state: String,
    /// SHA256(PAE) of `deployment/v1`.
    pub statement: String,
    /// When, claimed.
    pub recorded_ms: u64,
}

impl Catalog {
    /// All models, by name.
    pub fn models(&self) -> Result<Vec<ModelSummary>, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT model, version, digest, registered_ms FROM models ORDER BY model, version")?;
        let mut rows = rows.query([])?;
        let mut models: BTreeMap<String, ModelSummary> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let model: String = row.get(0)?;
            let entry = models.entry(model.clone()).or_insert_with(|| ModelSummary {
                model,
                versions: Vec::new(),
                aliases: BTreeMap::new(),
                digest: String::new(),
                registered_ms: 0,
            });
            entry.versions.push(from_sql(row.get(1)?));
            entry.digest = row.get(2)?;
            entry.registered_ms = from_sql(row.get(3)?);
        }
        for model in models.values_mut() {
            model.aliases = self.aliases(&model.model)?;
        }
        Ok(models.into_values().collect())
    }

    /// Alias → version of a model.
    pub fn aliases(&self, model: &str) -> Result<BTreeMap<String, u64>, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT alias, version FROM aliases WHERE model = ?1")?;
        Ok(rows.query_map([model], |row| Ok((row.get(0)?, from_sql(row.get(1)?))))?.collect::<rusqlite::Result<_>>()?)
    }

    /// What `NAME@VERSION` or `NAME@ALIAS` stands for.
    pub fn resolve(&self, reference: &str) -> Result<Resolved, CatalogError> {
        let unknown = || CatalogError::Unknown { reference: format!("model:{reference}") };
        let (model, which) = reference.split_once('@').ok_or_else(unknown)?;
        let version = match which.parse::<u64>() {
            Ok(version) => version,
            Err(_) => self.aliases(model)?.get(which).copied().ok_or_else(unknown)?,
        };
        let mut rows = self.db.prepare_cached("SELECT digest, idx FROM models WHERE model = ?1 AND version = ?2")?;
        let found = rows.query_row(params![model, to_sql(version)], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
        let (digest, index) = found.ok_or_else(unknown)?;
        Ok(Resolved { model: model.to_owned(), version, digest: digest.parse().map_err(|_| unknown())?, index: from_sql(index) })
    }

    /// The version that the next registration of `model` gets.
    pub fn next_version(&self, model: &str) -> Result<u64, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT coalesce(max(version), 0) FROM models WHERE model = ?1")?;
        Ok(from_sql(rows.query_row([model], |row| row.get(0))?).saturating_add(1))
    }

    /// The release index that the next deployment of `model` gets.
    pub fn next_release(&self, model: &str) -> Result<u64, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT coalesce(max(release), 0) FROM deployments WHERE model = ?1")?;
        Ok(from_sql(rows.query_row([model], |row| row.get(0))?).saturating_add(1))
    }

    /// Deployments of a model, oldest first.
    pub fn deployments(&self, model: &str) -> Result<Vec<Deployment>, CatalogError> {
        let mut rows = self.db.prepare_cached(
            "SELECT idx, model, version, release, state, statement, recorded_ms FROM deployments WHERE model = ?1 ORDER BY idx",
        )?;
        Ok(rows.query_map([model], deployment)?.collect::<rusqlite::Result<_>>()?)
    }

    /// One version and the evidence behind it; `reference` as for [`Catalog::resolve`].
    pub fn model(&self, reference: &str) -> Result<ModelVersion, CatalogError> {
        let resolved = self.resolve(reference)?;
        let mut rows = self.db.prepare_cached(
            "SELECT digest, idx, registered_ms, principal, signature, approval, trained_by, validated_by FROM models WHERE model = ?1 AND version = ?2",
        )?;
        let mut version = rows.query_row(params![resolved.model, to_sql(resolved.version)], |row| version_of(&resolved, row))?;
        version.aliases =
            self.aliases(&resolved.model)?.into_iter().filter(|(_, to)| *to == resolved.version).map(|(alias, _)| alias).collect();
        version.responsible = self.run(&version.trained_by.run).ok().map(|run| run.summary.principal);
        if let Some(outcome) = self.outcome_at(&version.trained_by)? {
            for input in &outcome.inputs {
                let signatures = self.signatures_of(&input.digest.hex())?;
                version.training_signatures.insert(input.digest.hex(), signatures);
            }
            version.trained_on = outcome.inputs;
        }
        self.add_results(&mut version)?;
        for step in [version.trained_by.clone(), version.validated_by.clone()] {
            version.gates.extend(self.gates_of(&step.run.0, step.workflow.as_str(), step.step.as_str(), u64::from(step.attempt))?);
        }
        version.gates.dedup();
        version.deployments = self.deployments(&resolved.model)?;
        version.deployments.retain(|deployment| deployment.version == resolved.version);
        Ok(version)
    }

    fn outcome_at(&self, step: &StepRunId) -> Result<Option<super::Outcome>, CatalogError> {
        self.committed(&step.run, &StepName { workflow: step.workflow.clone(), step: step.step.clone() })
    }

    /// Metrics and score from the statements that the validation's outcome names.
    fn add_results(&self, version: &mut ModelVersion) -> Result<(), CatalogError> {
        let Some(outcome) = self.outcome_at(&version.validated_by)? else { return Ok(()) };
        let mut rows =
            self.db.prepare_cached("SELECT type, predicate FROM statements WHERE pae = ?1 AND predicate IS NOT NULL ORDER BY idx")?;
        for pae in &outcome.statements {
            let mut rows = rows.query([pae.hex()])?;
            while let Some(row) = rows.next()? {
                let (kind, predicate): (String, String) = (row.get(0)?, row.get(1)?);
                let predicate: Value = serde_json::from_str(&predicate).unwrap_or(Value::Null);
                if kind == TEST_RESULT {
                    let facts = predicate.get("seaworthy_facts").and_then(Value::as_object).cloned().unwrap_or_default();
                    version.metrics.extend(facts);
                } else if kind == INTEGRITY_SCORE {
                    version.score = predicate.get("score").and_then(Value::as_f64);
                }
            }
        }
        Ok(())
    }

    pub(super) fn gates_of(&self, run: &str, workflow: &str, step: &str, attempt: u64) -> Result<Vec<GateRow>, CatalogError> {
        let mut rows = self.db.prepare_cached(
            "SELECT idx, decision FROM gates WHERE run = ?1 AND workflow = ?2 AND step = ?3 AND attempt = ?4 ORDER BY idx",
        )?;
        let found = rows.query_map(params![run, workflow, step, to_sql(attempt)], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let found = found.collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        let read = |(index, text): (i64, String)| Some(GateRow { index: from_sql(index), decision: serde_json::from_str(&text).ok()? });
        Ok(found.into_iter().filter_map(read).collect())
    }
}

fn version_of(resolved: &Resolved, row: &Row<'_>) -> rusqlite::Result<ModelVersion> {
    let step = |at: usize| {
        let text: String = row.get(at)?;
        serde_json::from_str(&text)
            .map_err(|fault| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(fault)))
    };
    Ok(ModelVersion {
        model: resolved.model.clone(),
        version: resolved.version,
        digest: row.get(0)?,
        index: from_sql(row.get(1)?),
        registered_ms: from_sql(row.get(2)?),
        principal: row.get(3)?,
        responsible: None,
        signature: row.get(4)?,
        approval: row.get(5)?,
        aliases: Vec::new(),
        trained_by: step(6)?,
        validated_by: step(7)?,
        trained_on: Vec::new(),
        training_signatures: BTreeMap::new(),
        metrics: BTreeMap::new(),
        score: None,
        gates: Vec::new(),
        deployments: Vec::new(),
    })
}

fn deployment(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    Ok(Deployment {
        index: from_sql(row.get(0)?),
        model: row.get(1)?,
        version: from_sql(row.get(2)?),
        release: from_sql(row.get(3)?),
        state: row.get(4)?,
        statement: row.get(5)?,
        recorded_ms: from_sql(row.get(6)?),
    })
}
