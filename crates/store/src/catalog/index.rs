//! From a leaf to rows.
//!
//! in: one entry of the log, its bundle if it is an attestation; out: rows in the transaction given.
//! **Invariant:** the same leaves in the same order make the same rows; what is not understood becomes an entry and nothing more.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use seaworthy_core::attestation::{MANIFEST, artifact_of, dir_hash_of, sha256_of};
use seaworthy_core::decision::{Decision, GateDecision};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, LeafBody, ResourceDescriptor, Statement};
use seaworthy_core::event::{Event, EventKind, OutputRef};
use seaworthy_core::id::StepRunId;
use seaworthy_core::json_strict;
use seaworthy_core::ports::EvidenceSource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CatalogError, to_sql};
use crate::artifacts::digests_in;

/// Predicates up to this size are kept in the catalog; larger ones (manifests of many files) stay in their bundles.
const PREDICATE_BYTES_MAX: usize = 256 * 1024;

pub(super) fn entry(db: &Connection, evidence: &dyn EvidenceSource, index: u64, entry: &[u8], digest: &Digest) -> Result<(), CatalogError> {
    let idx = to_sql(index);
    let code = if let Some(leaf) = LeafBody::parse(entry) {
        attestation(db, evidence, idx, &leaf)?;
        "attestation".to_owned()
    } else {
        let value = json_strict::parse(entry).unwrap_or(Value::Null);
        let code = value.get("code").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        if let Ok(found) = Event::deserialize(value) {
            event(db, idx, &found)?;
        }
        code
    };
    db.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3)")?.execute(params![idx, code, digest.hex()])?;
    Ok(())
}

/// What a statement is about, read without its predicate becoming a tree.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "predicateType")]
    kind: String,
    subject: Vec<ResourceDescriptor>,
}

fn attestation(db: &Connection, evidence: &dyn EvidenceSource, idx: i64, leaf: &LeafBody) -> Result<(), CatalogError> {
    let bundle = match evidence.bundle(&leaf.pae)? {
        None => Err("its bundle is missing".to_owned()),
        Some(bytes) => Bundle::from_json(&bytes).map_err(|fault| fault.to_string()),
    };
    let bundle = bundle.and_then(|bundle| if leaf.is_of(&bundle) { Ok(bundle) } else { Err("its bundle is another one".to_owned()) });
    let read = bundle.and_then(|bundle| {
        let peek = serde_json::from_slice::<Peek>(&bundle.payload).map_err(|_| "its payload is no statement".to_owned())?;
        Ok((peek, bundle))
    });
    let insert = "INSERT INTO statements VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (peek, bundle) = match read {
        Ok(read) => read,
        Err(fault) => {
            let nothing: Option<String> = None;
            db.prepare_cached(insert)?.execute(params![idx, leaf.pae.hex(), nothing, nothing, fault, nothing])?;
            return Ok(());
        }
    };
    let kept = if peek.kind != MANIFEST && bundle.payload.len() <= PREDICATE_BYTES_MAX {
        Statement::from_payload(&bundle.payload).ok().map(|statement| json(&statement.predicate))
    } else {
        None
    };
    db.prepare_cached(insert)?.execute(params![idx, leaf.pae.hex(), bundle.key_hint, peek.kind, None::<String>, kept])?;
    let mut rows = db.prepare_cached("INSERT INTO subjects VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (position, subject) in peek.subject.iter().enumerate() {
        let hex = |digest: Option<Digest>| digest.map(|digest| digest.hex());
        let digests = (hex(artifact_of(subject)), hex(sha256_of(subject)), hex(dir_hash_of(subject)));
        rows.execute(params![idx, to_sql(position as u64), subject.name, digests.0, digests.1, digests.2])?;
    }
    Ok(())
}

fn event(db: &Connection, idx: i64, event: &Event) -> Result<(), CatalogError> {
    let time = to_sql(event.time_ms);
    match &event.kind {
        EventKind::RunStarted { run, request, plan } => {
            // a resumed run keeps its first start
            db.prepare_cached("INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, 'running') ON CONFLICT DO UPDATE SET state = 'running', ended_ms = NULL")?
                .execute(params![run.0, idx, event.principal.0, request.hex(), plan.hex(), time])?;
        }
        EventKind::RunEnded { run, state, .. } => {
            db.prepare_cached("UPDATE runs SET state = ?2, ended_ms = ?3 WHERE run = ?1")?.execute(params![run.0, state, time])?;
        }
        EventKind::StepStarted { step } => {
            attempt(db, idx, step, "running", (Some(time), None), None)?;
        }
        EventKind::StepEnded { step, state, error } => attempt(db, idx, step, state, (None, Some(time)), Some(error))?,
        EventKind::StepCommitted { .. } => committed(db, idx, time, &event.kind)?,
        EventKind::AuthorizationDecided { step, action, resource, decision: Decision::Deny { reasons } } => {
            let run = step.as_ref().map(|step| step.run.0.clone());
            let step = step.as_ref().map(ToString::to_string);
            db.prepare_cached("INSERT INTO denials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                idx,
                run,
                step,
                event.principal.0,
                action.as_str(),
                json(resource),
                json(reasons)
            ])?;
        }
        EventKind::GateDecided { step, decision } => gate(db, idx, step, decision)?,
        EventKind::ModelRegistered { .. } => registered(db, idx, event)?,
        EventKind::ModelAliased { model, alias, version } => {
            db.prepare_cached("INSERT INTO aliases VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET version = ?3, idx = ?4")?
                .execute(params![model, alias, to_sql(*version), idx])?;
        }
        EventKind::DeploymentRecorded { model, version, release, state, statement } => {
            db.prepare_cached("INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                idx,
                model,
                to_sql(*version),
                to_sql(*release),
                state,
                statement.hex(),
                time
            ])?;
            edge(db, idx, &format!("model:{model}@{version}"), "deployed_as", &format!("deployment:{model}#{release}"), state)?;
        }
        EventKind::AuthorizationDecided { .. }
        | EventKind::WorkspaceCreated { .. }
        | EventKind::LockUpdated { .. }
        | EventKind::RunCancelRequested { .. }
        | EventKind::EgressAllowed { .. }
        | EventKind::EgressDenied { .. }
        | EventKind::EgressClosed { .. }
        | EventKind::KeyChanged { .. } => {}
    }
    Ok(())
}

fn gate(db: &Connection, idx: i64, step: &StepRunId, decision: &GateDecision) -> Result<(), CatalogError> {
    db.prepare_cached("INSERT INTO gates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        idx,
        step.run.0,
        step.workflow.as_str(),
        step.step.as_str(),
        step.attempt,
        decision.gate,
        decision.pass,
        json(decision)
    ])?;
    Ok(())
}

type Times = (Option<i64>, Option<i64>);

fn attempt(
    db: &Connection,
    idx: i64,
    step: &StepRunId,
    state: &str,
    (started, ended): Times,
    error: Option<&str>,
) -> Result<(), CatalogError> {
    // an outcome leaf is final: nothing later about the same attempt changes it
    db.prepare_cached(
        "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, NULL, 0) ON CONFLICT DO UPDATE SET \
         state = ?5, started_ms = coalesce(started_ms, ?6), ended_ms = ?7, error = ?8, idx = ?9 WHERE outcome IS NULL",
    )?
    .execute(params![step.run.0, step.workflow.as_str(), step.step.as_str(), step.attempt, state, started, ended, error, idx])?;
    edge(db, idx, &format!("run:{}", step.run), "ran", &format!("step:{step}"), "")
}

fn committed(db: &Connection, idx: i64, time: i64, kind: &EventKind) -> Result<(), CatalogError> {
    let EventKind::StepCommitted { step, cache_key, inputs, outputs, reused_from, .. } = kind else { return Ok(()) };
    attempt(db, idx, step, "committed", (None, Some(time)), None)?;
    let outcome = json(kind);
    db.prepare_cached(
        "UPDATE attempts SET outcome = ?5, cache_key = ?6, reused = ?7 WHERE run = ?1 AND workflow = ?2 AND step = ?3 AND attempt = ?4 AND outcome IS NULL",
    )?
    .execute(params![
        step.run.0,
        step.workflow.as_str(),
        step.step.as_str(),
        step.attempt,
        outcome,
        cache_key.hex(),
        reused_from.is_some()
    ])?;
    let node = format!("step:{step}");
    for input in inputs {
        artifact(db, idx, input)?;
        edge(db, idx, &format!("artifact:{}", input.digest), "read_by", &node, &input.name)?;
    }
    for output in outputs {
        artifact(db, idx, output)?;
        let relation = if reused_from.is_some() { "reused" } else { "made" };
        edge(db, idx, &node, relation, &format!("artifact:{}", output.digest), &output.name)?;
    }
    if let Some(earlier) = reused_from {
        edge(db, idx, &format!("step:{earlier}"), "reused_by", &node, "")?;
    }
    Ok(())
}

fn registered(db: &Connection, idx: i64, event: &Event) -> Result<(), CatalogError> {
    let EventKind::ModelRegistered { model, version, digest, signature, approval, trained_by, validated_by } = &event.kind else {
        return Ok(());
    };
    // the first registration of a version stands
    db.prepare_cached("INSERT INTO models VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING")?.execute(params![
        model,
        to_sql(*version),
        idx,
        digest.hex(),
        signature.hex(),
        approval.hex(),
        event.principal.0,
        to_sql(event.time_ms),
        json(trained_by),
        json(validated_by)
    ])?;
    let node = format!("model:{model}@{version}");
    edge(db, idx, &format!("artifact:{digest}"), "registered_as", &node, "")?;
    edge(db, idx, &format!("step:{validated_by}"), "validated", &node, "")
}

fn artifact(db: &Connection, idx: i64, artifact: &OutputRef) -> Result<(), CatalogError> {
    db.prepare_cached("INSERT INTO artifacts VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?.execute(params![
        artifact.digest.hex(),
        artifact.kind,
        artifact.name,
        idx
    ])?;
    Ok(())
}

fn edge(db: &Connection, idx: i64, source: &str, relation: &str, target: &str, label: &str) -> Result<(), CatalogError> {
    db.prepare_cached("INSERT INTO edges VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?
        .execute(params![source, relation, target, idx, label])?;
    Ok(())
}

/// Canonical JSON; what is written here came from JSON, so it goes back.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    json_strict::to_canonical_of(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Every digest that any leaf or bundle of the log names: what `gc` must keep, beside what unfinished runs have staged.
pub fn named(evidence: &dyn EvidenceSource) -> Result<BTreeSet<Digest>, CatalogError> {
    let mut named = BTreeSet::new();
    let mut collect = |bytes: &[u8]| {
        if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
            named.extend(digests_in(&value));
        }
    };
    for index in 0..evidence.size()? {
        let entry = evidence.entry(index)?;
        match LeafBody::parse(&entry) {
            None => collect(&entry),
            Some(leaf) => {
                let bundle = evidence.bundle(&leaf.pae)?.and_then(|bytes| Bundle::from_json(&bytes).ok());
                let Some(bundle) = bundle else {
                    // without its bundle nobody knows what the statement names, so nobody may throw anything away
                    return Err(PortLoss { index, pae: leaf.pae }.into());
                };
                collect(&bundle.payload);
            }
        }
    }
    Ok(named)
}

/// A leaf whose bundle is gone or unreadable.
struct PortLoss {
    index: u64,
    pae: Digest,
}

impl From<PortLoss> for CatalogError {
    fn from(loss: PortLoss) -> Self {
        Self::Evidence(seaworthy_core::ports::PortError::new(
            "collect what the log names",
            format!("the bundle `{}` of leaf {} is missing or unreadable", loss.pae, loss.index),
        ))
    }
}
