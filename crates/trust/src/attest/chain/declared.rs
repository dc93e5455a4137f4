//! What a step says it read: dependencies against its outcome, its gates, the user's request, the bytes, and their makers.
//!
//! in: the dependencies of a provenance, or of a test result where a step made nothing; out: evidence, steps to walk.
//! **Invariant:** outcome and declaration name the same inputs; every input was made by an earlier committed step.

use std::collections::BTreeSet;

use seaworthy_core::attestation::{artifact_of, provenance, sha256_of};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;

use super::Walker;
use super::bytes::Depth;
use super::history::Commit;
use super::log::Claim;
use super::report::Evidence;

/// A list of what was read, and who lists it.
pub(crate) struct Declared<'a> {
    pub(crate) noun: &'static str,
    pub(crate) dependencies: &'a [ResourceDescriptor],
    /// The workflow file's digest, if it is stated apart.
    pub(crate) workflow: Option<Digest>,
}

type Refusal = (&'static str, String);

/// The digest a dependency goes by in events: the artifact's own, or the blob's.
pub(crate) fn name_of(descriptor: &ResourceDescriptor) -> Option<Digest> {
    artifact_of(descriptor).or_else(|| sha256_of(descriptor))
}

impl Walker<'_> {
    /// What is declared against the outcome leaf, the gates that decided, and the user's request.
    pub(crate) fn wrong_declaration(&self, commit: &Commit, declared: &Declared<'_>) -> Option<Refusal> {
        self.wrong_inputs(commit, declared)
            .or_else(|| self.wrong_gates(commit, declared.dependencies))
            .or_else(|| self.wrong_request(commit, declared))
    }

    fn wrong_inputs(&self, commit: &Commit, declared: &Declared<'_>) -> Option<Refusal> {
        let noun = declared.noun;
        let bare = |name: &str| name.strip_prefix(provenance::INPUT).unwrap_or(name).to_owned();
        let mut dependencies = BTreeSet::new();
        for dependency in declared.dependencies {
            let Some(name) = dependency.name.as_deref().filter(|name| !name.is_empty()) else {
                return Some(("verify/wrong-inputs", format!("its {noun} has a dependency without a name")));
            };
            dependencies.insert((bare(name), name_of(dependency)));
        }
        if dependencies.len() != declared.dependencies.len() {
            return Some(("verify/wrong-inputs", format!("its {noun} names a dependency twice")));
        }
        for input in &commit.inputs {
            if !dependencies.contains(&(bare(&input.name), Some(input.digest))) {
                return Some(("verify/wrong-inputs", format!("it read `{}`, which its {noun} does not name", input.name)));
            }
        }
        for dependency in declared.dependencies {
            let name = dependency.name.as_deref().unwrap_or_default();
            let digest = name_of(dependency);
            if digest.is_none() {
                return Some(("verify/wrong-inputs", format!("dependency `{name}` has no digest")));
            }
            let Some(input) = name.strip_prefix(provenance::INPUT) else { continue };
            if !commit.inputs.iter().any(|read| bare(&read.name) == input && Some(read.digest) == digest) {
                return Some(("verify/wrong-inputs", format!("its {noun} names input `{input}`, its outcome does not")));
            }
        }
        None
    }

    /// A gate that is pinned must have decided, by exactly that policy; and no other gate.
    fn wrong_gates(&self, commit: &Commit, dependencies: &[ResourceDescriptor]) -> Option<Refusal> {
        let decided = self.history.gates.get(&commit.step).map(Vec::as_slice).unwrap_or_default();
        let pinned = dependencies.iter().filter_map(|d| Some((d.name.as_deref()?.strip_prefix(provenance::POLICY)?, name_of(d)?)));
        let pinned: BTreeSet<(&str, Digest)> = pinned.collect();
        let ruled: BTreeSet<(&str, Digest)> = decided.iter().map(|(_, gate)| (gate.gate.as_str(), gate.policy)).collect();
        let open = pinned.symmetric_difference(&ruled).next();
        open.map(|(gate, policy)| {
            ("verify/gate-missing", format!("gate `{gate}` with policy {} was not both pinned and decided", policy.short()))
        })
    }

    fn wrong_request(&self, commit: &Commit, declared: &Declared<'_>) -> Option<Refusal> {
        let started = self.history.runs.get(&commit.step.run)?;
        let Claim::Request(request) = &self.log.statement(&started.request)?.claim else { return None };
        let named = |wanted: &str| declared.dependencies.iter().find(|d| d.name.as_deref() == Some(wanted)).and_then(name_of);
        if named(provenance::LOCK) != Some(request.lock) {
            return Some(("verify/wrong-request", "it ran under another lock than the user asked for".to_owned()));
        }
        let workflow = [named(provenance::WORKFLOW), declared.workflow];
        if workflow.iter().flatten().any(|digest| *digest != request.workflow) {
            return Some(("verify/wrong-request", "it ran another workflow file than the user asked for".to_owned()));
        }
        None
    }

    /// A step that made nothing has no provenance: its test result's configuration stands for what it read, or, where
    /// nothing was examined either (a deployment), the outcome leaf itself.
    pub(crate) fn read_only(&mut self, commit: &Commit, tests: Option<(u64, Digest, Vec<ResourceDescriptor>)>) -> Vec<Evidence> {
        let Some((leaf, pae, configuration)) = tests else {
            if let Some((code, why)) = self.wrong_gates(commit, &[]) {
                return vec![self.fail(code, "gate", format!("{}: {why}", commit.step), Some(commit.leaf), None)];
            }
            return commit.inputs.iter().map(|input| self.read(commit, &input.name, &input.digest)).collect();
        };
        let declared = Declared { noun: "test result", dependencies: &configuration, workflow: None };
        if let Some((code, why)) = self.wrong_declaration(commit, &declared) {
            return vec![self.fail(code, "test result", format!("{}: {why}", commit.step), Some(leaf), Some(pae))];
        }
        configuration.iter().map(|dependency| self.dependency(commit, dependency)).collect()
    }

    /// An input known by its digest alone.
    fn read(&mut self, commit: &Commit, input: &str, digest: &Digest) -> Evidence {
        let line = self.artifact(&format!("input {input}"), digest, Depth::Files);
        self.made_by(commit, input, Some(*digest), line)
    }

    /// One dependency: its bytes, and who vouches for them.
    pub(crate) fn dependency(&mut self, commit: &Commit, dependency: &ResourceDescriptor) -> Evidence {
        let name = dependency.name.clone().unwrap_or_default();
        if let Some(input) = name.strip_prefix(provenance::INPUT) {
            return self.input(commit, input, dependency);
        }
        if name.starts_with(provenance::SOURCE) {
            return self.source(commit, &name, dependency);
        }
        if name == provenance::ENVIRONMENT && !self.options.deep {
            return match artifact_of(dependency) {
                Some(_) => self.described(&name, dependency, Depth::Manifest),
                None => Evidence::ok(&name, "pinned by digest; bytes not hashed without --deep"),
            };
        }
        self.described(&name, dependency, Depth::Files)
    }

    /// An input: its bytes, and the step that made it.
    fn input(&mut self, commit: &Commit, input: &str, dependency: &ResourceDescriptor) -> Evidence {
        let line = self.described(&format!("input {input}"), dependency, Depth::Files);
        self.made_by(commit, input, name_of(dependency), line)
    }

    fn made_by(&mut self, commit: &Commit, input: &str, digest: Option<Digest>, line: Evidence) -> Evidence {
        let made = digest.and_then(|digest| self.history.producer(input, &digest, &commit.step.run, commit.leaf));
        if let Some(step) = made.map(|made| made.step.clone()) {
            self.queue(&step);
            return Evidence { detail: format!("{}, made by {step}", line.detail), ..line };
        }
        let message = format!("{}: input `{input}` was made by no committed step of this log", commit.step);
        line.with([self.fail("verify/input-unverified", "producer", message, Some(commit.leaf), digest)])
    }
}
