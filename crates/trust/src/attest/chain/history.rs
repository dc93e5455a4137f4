//! What the audit events say, in log order, and the rules that hold for every log whatever is asked of it.
//!
//! in: the events of a [`LogIndex`]; out: [`History`], and faults.
//! **Invariant:** a step commits at most once, a model version is registered once, release indexes only grow, and an alias
//! names a version that exists.

use std::collections::HashMap;

use seaworthy_core::action::Action;
use seaworthy_core::decision::{EnforcementLevel, GateDecision};
use seaworthy_core::digest::Digest;
use seaworthy_core::event::{Event, EventKind, OutputRef};
use seaworthy_core::id::{Name, RunId, StepRunId};

use super::log::LogIndex;
use crate::attest::trust_root::TrustRoot;

/// An outcome leaf.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) leaf: u64,
    pub(crate) step: StepRunId,
    pub(crate) cache_key: Digest,
    pub(crate) inputs: Vec<OutputRef>,
    pub(crate) outputs: Vec<OutputRef>,
    pub(crate) statements: Vec<Digest>,
    pub(crate) reused_from: Option<StepRunId>,
}

/// A registered model version.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) leaf: u64,
    pub(crate) digest: Digest,
    pub(crate) signature: Digest,
    pub(crate) approval: Digest,
    pub(crate) trained_by: StepRunId,
    pub(crate) validated_by: StepRunId,
}

/// A recorded deployment.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    pub(crate) leaf: u64,
    pub(crate) model: String,
    pub(crate) version: u64,
    pub(crate) release: u64,
    pub(crate) state: String,
    pub(crate) statement: Digest,
}

/// An accepted run request.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) leaf: u64,
    pub(crate) request: Digest,
    pub(crate) plan: Digest,
}

/// The events by what they are about.
#[derive(Default, Debug)]
pub(crate) struct History {
    pub(crate) commits: Vec<Commit>,
    pub(crate) by_step: HashMap<StepRunId, usize>,
    pub(crate) runs: HashMap<RunId, Started>,
    pub(crate) run_ends: HashMap<RunId, String>,
    pub(crate) starts: HashMap<StepRunId, u64>,
    /// Leaf, action, allowed.
    pub(crate) authorizations: HashMap<StepRunId, Vec<(u64, Action, bool)>>,
    pub(crate) gates: HashMap<StepRunId, Vec<(u64, GateDecision)>>,
    pub(crate) models: HashMap<(String, u64), Registered>,
    pub(crate) aliases: HashMap<(String, String), (u64, u64)>,
    pub(crate) deployments: Vec<Deployed>,
    committed: HashMap<(RunId, Name, Name), StepRunId>,
}

impl History {
    /// Goes through the events once, in order.
    pub(crate) fn read(log: &mut LogIndex, trust: &TrustRoot) -> Self {
        let mut history = Self::default();
        let mut faults = Vec::new();
        for (leaf, event) in &log.events {
            if let Err((code, message)) = history.take(*leaf, event, trust) {
                faults.push((code, format!("leaf {leaf}: {message}"), *leaf));
            }
        }
        for (code, message, leaf) in faults {
            log.fault(code, message, Some(leaf), None);
        }
        history
    }

    /// The outcome of a step attempt.
    pub(crate) fn commit(&self, step: &StepRunId) -> Option<&Commit> {
        self.by_step.get(step).and_then(|at| self.commits.get(*at))
    }

    /// The commit before leaf `before` that made `output` with this digest: of the same run if there is one, else the latest.
    pub(crate) fn producer(&self, output: &str, digest: &Digest, run: &RunId, before: u64) -> Option<&Commit> {
        let made =
            |commit: &&Commit| commit.leaf < before && commit.outputs.iter().any(|made| made.name == output && made.digest == *digest);
        let candidates = || self.commits.iter().rev().filter(made);
        candidates().find(|commit| commit.step.run == *run).or_else(|| candidates().next())
    }

    fn take(&mut self, leaf: u64, event: &Event, trust: &TrustRoot) -> Result<(), (&'static str, String)> {
        match &event.kind {
            EventKind::WorkspaceCreated { workspace, environment } => {
                if *workspace != trust.workspace || environment != trust.environment.as_str() {
                    let message = format!("the log is of `{workspace}` / `{environment}`, the trust file is not");
                    return Err(("verify/wrong-workspace", message));
                }
            }
            EventKind::RunStarted { run, request, plan } => {
                let started = Started { leaf, request: *request, plan: *plan };
                if self.runs.insert(run.clone(), started).is_some() {
                    return Err(("verify/wrong-request", format!("run {run} started twice")));
                }
            }
            EventKind::RunEnded { run, state, .. } => {
                self.run_ends.insert(run.clone(), state.clone());
            }
            EventKind::AuthorizationDecided { step: Some(step), action, decision, .. } => {
                self.authorizations.entry(step.clone()).or_default().push((leaf, *action, decision.is_allow()));
            }
            EventKind::StepStarted { step } => {
                self.starts.entry(step.clone()).or_insert(leaf);
            }
            EventKind::GateDecided { step, decision } => {
                self.gates.entry(step.clone()).or_default().push((leaf, decision.clone()));
            }
            EventKind::StepCommitted { .. } => return self.take_commit(leaf, &event.kind),
            EventKind::ModelRegistered { .. } | EventKind::ModelAliased { .. } | EventKind::DeploymentRecorded { .. } => {
                return self.take_model(leaf, &event.kind);
            }
            EventKind::AuthorizationDecided { step: None, .. }
            | EventKind::StepEnded { .. }
            | EventKind::LockUpdated { .. }
            | EventKind::RunCancelRequested { .. }
            | EventKind::EgressAllowed { .. }
            | EventKind::EgressDenied { .. }
            | EventKind::EgressClosed { .. }
            | EventKind::KeyChanged { .. } => {}
        }
        Ok(())
    }

    fn take_commit(&mut self, leaf: u64, kind: &EventKind) -> Result<(), (&'static str, String)> {
        let EventKind::StepCommitted { step, cache_key, inputs, outputs, statements, reused_from } = kind else {
            return Ok(());
        };
        let refused = self.gates.get(step).into_iter().flatten().find(|(_, gate)| !passes(gate));
        let refused = refused.map(|(at, gate)| format!("{step} committed although gate `{}` refused it in leaf {at}", gate.gate));
        self.by_step.entry(step.clone()).or_insert(self.commits.len());
        self.commits.push(Commit {
            leaf,
            step: step.clone(),
            cache_key: *cache_key,
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            statements: statements.clone(),
            reused_from: reused_from.clone(),
        });
        let key = (step.run.clone(), step.workflow.clone(), step.step.clone());
        if let Some(before) = self.committed.insert(key, step.clone()) {
            return Err(("verify/double-commit", format!("{step} committed although {before} had")));
        }
        refused.map_or(Ok(()), |message| Err(("verify/gate-failed", message)))
    }

    fn take_model(&mut self, leaf: u64, kind: &EventKind) -> Result<(), (&'static str, String)> {
        match kind {
            EventKind::ModelRegistered { model, version, digest, signature, approval, trained_by, validated_by } => {
                let registered = Registered {
                    leaf,
                    digest: *digest,
                    signature: *signature,
                    approval: *approval,
                    trained_by: trained_by.clone(),
                    validated_by: validated_by.clone(),
                };
                let key = (model.clone(), *version);
                if self.models.contains_key(&key) {
                    return Err(("verify/version-twice", format!("model:{model}@{version} was registered before")));
                }
                self.models.insert(key, registered);
            }
            EventKind::ModelAliased { model, alias, version } => {
                self.aliases.insert((model.clone(), alias.clone()), (leaf, *version));
                if !self.models.contains_key(&(model.clone(), *version)) {
                    let message = format!("alias model:{model}@{alias} names version {version}, which is not registered");
                    return Err(("verify/alias-unregistered", message));
                }
            }
            EventKind::DeploymentRecorded { model, version, release, state, statement } => {
                let (state, statement) = (state.clone(), *statement);
                let before = self.deployments.iter().filter(|before| before.model == *model).map(|before| before.release).max();
                let (model, version, release) = (model.clone(), *version, *release);
                self.deployments.push(Deployed { leaf, model: model.clone(), version, release, state, statement });
                if let Some(before) = before.filter(|before| release <= *before) {
                    let message = format!("release {release} of model:{model}@{version} after release {before}");
                    return Err(("verify/release-rollback", message));
                }
                if !self.models.contains_key(&(model.clone(), version)) {
                    return Err(("verify/alias-unregistered", format!("model:{model}@{version} is deployed, but not registered")));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a gate's answer lets its step commit.
pub(crate) fn passes(gate: &GateDecision) -> bool {
    gate.pass || gate.level == EnforcementLevel::Advisory
}
