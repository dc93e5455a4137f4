//! One committed step attempt: who asked for it, who let it run, what it read and made, what its gates said.
//!
//! in: a [`Commit`]; out: evidence, faults, and the steps that made its inputs.
//! **Invariant:** the outcome leaf, the provenance, the gate decisions and the run request must tell the same story; a
//! signature that holds on a statement of another step, run, subject or predicate counts for nothing here.

use std::collections::BTreeSet;

use seaworthy_core::action::Action;
use seaworthy_core::attestation::artifact_of;
use seaworthy_core::attestation::provenance::{self, BuildType, Provenance};
use seaworthy_core::attestation::test_result::Outcome;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_core::id::{RunId, StepRunId};
use seaworthy_core::principal::runner_id;

use super::Walker;
use super::bytes::Depth;
use super::confinement;
use super::declared::Declared;
use super::history::{Commit, passes};
use super::log::{Attested, Claim};
use super::report::Evidence;

impl Walker<'_> {
    /// Checks one outcome and queues the steps it rests on.
    pub(crate) fn step(&mut self, commit: &Commit) -> Evidence {
        let label = format!("step {}/{}", commit.step.workflow, commit.step.step);
        let line = Evidence::ok(label, format!("{} committed", commit.step)).at(commit.leaf);
        let mut children = vec![self.request(&commit.step.run), self.authorization(commit)];
        children.extend(self.gates(commit));
        match &commit.reused_from {
            // its statements are the original's own, and are checked with it
            Some(original) => children.push(self.reused(commit, original)),
            None => children.extend(self.statements(commit)),
        }
        line.with(children)
    }

    /// A statement that an event names: in the log, before the event, and not revoked.
    pub(crate) fn named(&mut self, what: &str, pae: &Digest, before: u64) -> Result<usize, Box<Evidence>> {
        let at = self.log.by_pae.get(pae).copied();
        let found = at.and_then(|at| self.log.statements.get(at).map(|statement| (at, statement.leaf, statement.revoked.clone())));
        let Some((at, leaf, revoked)) = found else {
            let message = format!("{what}: statement {pae} is not in the log, or does not hold");
            return Err(Box::new(self.fail("verify/statement-missing", what, message, None, Some(*pae))));
        };
        if let Some(why) = revoked {
            let message = format!("{what}: statement {pae} in leaf {leaf} counts no more: {why}");
            return Err(Box::new(self.fail("verify/key-revoked", what, message, Some(leaf), Some(*pae))));
        }
        if leaf >= before {
            let message = format!("{what}: statement {pae} in leaf {leaf} is named by the earlier leaf {before}");
            return Err(Box::new(self.fail("verify/order", what, message, Some(leaf), Some(*pae))));
        }
        Ok(at)
    }

    /// The user's signed request for the run; looked at once a run.
    fn request(&mut self, run: &RunId) -> Evidence {
        let label = "run request";
        if let Some((status, detail)) = self.requests.get(run) {
            return Evidence { status: *status, ..Evidence::ok(label, detail.clone()) };
        }
        let evidence = self.check_request(run);
        self.requests.insert(run.clone(), (evidence.status, evidence.detail.clone()));
        evidence
    }

    fn check_request(&mut self, run: &RunId) -> Evidence {
        let label = "run request";
        let Some(started) = self.history.runs.get(run).cloned() else {
            return self.fail("verify/wrong-request", label, format!("run {run} has no run.started event"), None, None);
        };
        let at = match self.named(label, &started.request, started.leaf) {
            Ok(at) => at,
            Err(evidence) => return *evidence,
        };
        let Some(Attested { claim: Claim::Request(request), leaf, principal, pae, .. }) = self.log.statements.get(at) else {
            let message = format!("run {run}: statement {} is no run request", started.request);
            return self.fail("verify/wrong-request", label, message, Some(started.leaf), Some(started.request));
        };
        let (leaf, pae, detail) = (*leaf, *pae, format!("signed by {principal}, plan {}", request.plan.short()));
        let wrong = if request.run != *run {
            Some(format!("it asks for run {}, not {run}", request.run))
        } else if request.plan != started.plan {
            Some("it asks for another plan than the one that was run".to_owned())
        } else if request.environment != self.trust.environment {
            Some(format!("it asks for environment `{}`", request.environment))
        } else {
            None
        };
        match wrong {
            Some(why) => self.fail("verify/wrong-request", label, format!("run {run}: {why}"), Some(leaf), Some(pae)),
            None => Evidence::ok(label, detail).at(leaf).about(pae),
        }
    }

    /// Allowed before it started, started before it committed, and nothing it needed was denied.
    fn authorization(&mut self, commit: &Commit) -> Evidence {
        let label = "authorization";
        let decisions = self.history.authorizations.get(&commit.step).map(Vec::as_slice).unwrap_or_default();
        let begun = self.history.starts.get(&commit.step).copied();
        // a connection that a running body was refused was not made: that is told, and no fault
        let refused_while_running = |leaf: u64, action: Action| action == Action::Connect && begun.is_some_and(|begun| begun < leaf);
        let counts =
            |(leaf, action, allowed): &&(u64, Action, bool)| !allowed && *leaf < commit.leaf && !refused_while_running(*leaf, *action);
        let denied = decisions.iter().find(counts);
        if let Some((leaf, action, _)) = denied {
            let message = format!("{} committed although {} was denied in leaf {leaf}", commit.step, action.as_str());
            let leaf = *leaf;
            return self.fail("verify/unauthorized", label, message, Some(leaf), None);
        }
        let allowed = decisions.iter().find(|(_, action, _)| *action == Action::RunStep).map(|(leaf, _, _)| *leaf);
        let started = self.history.starts.get(&commit.step).copied();
        let ran = commit.reused_from.is_none();
        match (allowed, started) {
            (Some(allowed), Some(started)) if allowed < started && started < commit.leaf => {
                Evidence::ok(label, format!("allowed in leaf {allowed}, started in leaf {started}")).at(allowed)
            }
            (Some(allowed), None) if !ran && allowed < commit.leaf => {
                Evidence::ok(label, format!("allowed in leaf {allowed}; the body did not run again")).at(allowed)
            }
            _ => {
                let message = format!("{} was not allowed before it started, or did not start before it committed", commit.step);
                self.fail("verify/unauthorized", label, message, Some(commit.leaf), None)
            }
        }
    }

    /// Reused outputs must be those of the attempt they come from, which is checked in its own right.
    fn reused(&mut self, commit: &Commit, original: &StepRunId) -> Evidence {
        let label = "reused";
        let Some(made) = self.history.commit(original).filter(|made| made.leaf < commit.leaf).cloned() else {
            let message = format!("{} reuses {original}, which did not commit before it", commit.step);
            return self.fail("verify/input-unverified", label, message, Some(commit.leaf), None);
        };
        let statements = commit.statements.is_empty() || commit.statements == made.statements;
        let same = made.inputs == commit.inputs && made.outputs == commit.outputs && made.cache_key == commit.cache_key;
        if !same || !statements {
            let message = format!("{} names other inputs, outputs or statements than {original}, which it reuses", commit.step);
            return self.fail("verify/wrong-subject", label, message, Some(commit.leaf), None);
        }
        self.queue(original);
        Evidence::ok(label, format!("outputs of {original}, unchanged")).at(made.leaf)
    }

    /// Every gate that decided has let the attempt through, and a signed result says the same as the event.
    fn gates(&mut self, commit: &Commit) -> Vec<Evidence> {
        let decided = self.history.gates.get(&commit.step).cloned().unwrap_or_default();
        let mut lines = Vec::new();
        for (leaf, decision) in decided {
            let label = format!("gate {}", decision.gate);
            if leaf > commit.leaf {
                let message = format!("{}: gate `{}` decided after the commit", commit.step, decision.gate);
                lines.push(self.fail("verify/order", &label, message, Some(leaf), None));
                continue;
            }
            let signed = commit
                .statements
                .iter()
                .filter_map(|pae| self.log.statement(pae))
                .any(|statement| matches!(&statement.claim, Claim::Gate(gate) if gate.decision == decision));
            let passed = decision.checks.values().filter(|check| check.pass).count();
            lines.push(if !passes(&decision) {
                // the fault itself was found with the commit: here it is shown in its place
                self.fail_again(&label, "refused", decision.policy)
            } else if !signed {
                let message = format!("{}: gate `{}` has no signed result equal to its event", commit.step, decision.gate);
                self.fail("verify/gate-missing", &label, message, Some(leaf), None)
            } else if decision.pass {
                Evidence::ok(label, format!("passed {passed} of {} checks", decision.checks.len())).at(leaf)
            } else {
                Evidence::warn(label, "refused, but advisory").at(leaf)
            });
        }
        lines
    }

    /// Every statement the outcome names, each by its kind.
    fn statements(&mut self, commit: &Commit) -> Vec<Evidence> {
        let mut lines = Vec::new();
        let (mut provenances, mut tests) = (Vec::new(), None);
        let mut manifests = BTreeSet::new();
        for pae in &commit.statements {
            let at = match self.named("statement", pae, commit.leaf) {
                Ok(at) => at,
                Err(evidence) => {
                    lines.push(*evidence);
                    continue;
                }
            };
            let Some(statement) = self.log.statements.get(at) else { continue };
            match &statement.claim {
                Claim::Provenance(claim) => provenances.push((statement.leaf, *pae, claim.clone(), statement.subject.clone())),
                Claim::Manifest(claim) => {
                    manifests.extend(claim.artifact);
                    lines.extend(self.bound(commit, at));
                }
                Claim::Tests(claim) => {
                    tests = Some((statement.leaf, *pae, claim.configuration.clone()));
                    lines.extend(self.bound(commit, at));
                }
                _ => lines.extend(self.bound(commit, at)),
            }
        }
        match provenances.as_slice() {
            [(leaf, pae, claim, subject)] => lines.push(self.provenance(commit, *leaf, *pae, claim, subject)),
            [] if commit.outputs.is_empty() => lines.extend(self.read_only(commit, tests)),
            other => {
                let message = format!("{} names {} provenance statements, expected one", commit.step, other.len());
                lines.push(self.fail("verify/provenance-missing", "provenance", message, Some(commit.leaf), None));
            }
        }
        for output in commit.outputs.iter().filter(|output| output.kind == "dataset" && !manifests.contains(&output.digest)) {
            let message = format!("{}: dataset `{}` has no signed manifest", commit.step, output.name);
            lines.push(self.fail("verify/statement-missing", "manifest", message, Some(commit.leaf), Some(output.digest)));
        }
        for output in &commit.outputs {
            lines.push(self.artifact(&format!("output {}", output.name), &output.digest, Depth::Files));
        }
        lines
    }

    /// A statement of a step is about what the step read or made, and nothing else.
    fn bound(&mut self, commit: &Commit, at: usize) -> Vec<Evidence> {
        let Some(statement) = self.log.statements.get(at) else { return Vec::new() };
        let (leaf, pae, noun) = (statement.leaf, statement.pae, statement.claim.noun());
        let known = |artifact: &Digest| commit.outputs.iter().chain(&commit.inputs).any(|reference| reference.digest == *artifact);
        let stranger = statement.subject.iter().find(|subject| !artifact_of(subject).is_some_and(|artifact| known(&artifact)));
        let nameless = statement.subject.iter().any(|subject| subject.name.as_deref().is_none_or(str::is_empty));
        if nameless || stranger.is_some() {
            let name = stranger
                .and_then(|subject| subject.name.as_deref())
                .map_or_else(|| "something without a name".to_owned(), |name| format!("`{name}`"));
            let message = format!("{}: the {noun} is about {name}, which the step neither read nor made", commit.step);
            return vec![self.fail("verify/wrong-subject", noun, message, Some(leaf), Some(pae))];
        }
        let subjects = statement.subject.clone();
        let (mut line, mut artifacts) = match &statement.claim {
            Claim::Tests(tests) => {
                let detail = format!("{} passed, {} warned, {} failed", tests.passed.len(), tests.warned.len(), tests.failed.len());
                let fine = tests.outcome() == Outcome::Passed;
                (if fine { Evidence::ok(noun, detail) } else { Evidence::warn(noun, detail) }, Vec::from_iter(tests.report))
            }
            Claim::Score(score) => match score.score {
                Some(score) => (Evidence::ok(noun, format!("{score:.4}")), Vec::new()),
                None => (Evidence::warn(noun, "incomplete"), Vec::new()),
            },
            Claim::Gate(gate) if !self.decided(&commit.step, gate) => {
                let message = format!("{}: the signed result of gate `{}` equals no recorded decision", commit.step, gate.decision.gate);
                return vec![self.fail("verify/gate-missing", noun, message, Some(leaf), Some(pae))];
            }
            _ => (Evidence::ok(noun, subjects.iter().filter_map(|s| s.name.clone()).collect::<Vec<_>>().join(", ")), Vec::new()),
        };
        line = line.at(leaf).about(pae);
        let mut children: Vec<Evidence> = artifacts.drain(..).map(|report| self.artifact("report", &report, Depth::Files)).collect();
        children.extend(subjects.iter().filter_map(|subject| self.same_names(subject)));
        vec![line.with(children)]
    }

    fn decided(&self, step: &StepRunId, gate: &seaworthy_core::attestation::svr::GateResult) -> bool {
        let decisions = self.history.gates.get(step).map(Vec::as_slice).unwrap_or_default();
        decisions.iter().any(|(_, decision)| *decision == gate.decision)
    }

    /// A subject's root and `dirHash` against the manifest; nothing to say if they agree.
    fn same_names(&mut self, subject: &ResourceDescriptor) -> Option<Evidence> {
        let evidence = self.described(&subject.name.clone().unwrap_or_default(), subject, Depth::Manifest);
        (evidence.status == super::Status::Fail).then_some(evidence)
    }

    fn provenance(&mut self, commit: &Commit, leaf: u64, pae: Digest, claim: &Provenance, subject: &[ResourceDescriptor]) -> Evidence {
        let label = "provenance";
        if let Some((code, why)) = self.wrong_binding(commit, claim, subject) {
            return self.fail(code, label, format!("{}: {why}", commit.step), Some(leaf), Some(pae));
        }
        let mut children: Vec<Evidence> = subject.iter().filter_map(|subject| self.same_names(subject)).collect();
        let named = |name: &Option<String>| name.as_deref() == Some(provenance::ENVIRONMENT);
        let ran_program = claim.build_type == BuildType::Train || claim.dependencies.iter().any(|dependency| named(&dependency.name));
        match confinement::judge(&claim.internal.sandbox, ran_program, self.trust.environment.as_str()) {
            Ok(line) => children.extend(line),
            Err(why) => return self.fail("verify/unauthorized", label, format!("{}: {why}", commit.step), Some(leaf), Some(pae)),
        }
        for dependency in &claim.dependencies {
            children.push(self.dependency(commit, dependency));
        }
        for byproduct in &claim.byproducts {
            let name = format!("byproduct {}", byproduct.name.as_deref().unwrap_or_default());
            children.push(self.described(&name, byproduct, Depth::Files));
        }
        let detail = format!("by {}, {} dependencies", claim.builder, claim.dependencies.len());
        Evidence::ok(label, detail).at(leaf).about(pae).with(children)
    }

    /// Attempt, builder, subjects, inputs and request of a provenance against the outcome leaf.
    fn wrong_binding(&self, commit: &Commit, claim: &Provenance, subject: &[ResourceDescriptor]) -> Option<(&'static str, String)> {
        if claim.invocation != commit.step {
            return Some(("verify/wrong-step", format!("its provenance is of {}", claim.invocation)));
        }
        let runner = runner_id(&self.trust.workspace, self.trust.environment.as_str());
        if claim.builder != runner.0 {
            return Some(("verify/wrong-builder", format!("its provenance is in the name of `{}`", claim.builder)));
        }
        let nameless = |descriptor: &&ResourceDescriptor| descriptor.name.as_deref().is_none_or(str::is_empty);
        if subject.iter().chain(&claim.byproducts).any(|descriptor| nameless(&descriptor)) {
            return Some(("verify/wrong-subject", "its provenance has a subject or byproduct without a name".to_owned()));
        }
        let named: BTreeSet<_> = subject.iter().map(|s| (s.name.as_deref().unwrap_or_default(), artifact_of(s))).collect();
        let outputs = commit.outputs.iter().map(|output| (output.name.as_str(), Some(output.digest)));
        let inputs = || commit.inputs.iter().map(|input| (input.name.as_str(), Some(input.digest)));
        let agrees = if commit.outputs.is_empty() { named.is_subset(&inputs().collect()) } else { named == outputs.collect() };
        if !agrees {
            return Some(("verify/wrong-subject", "its provenance is about other artifacts than it made".to_owned()));
        }
        let declared =
            Declared { noun: "provenance", dependencies: &claim.dependencies, workflow: Some(claim.external.workflow.digest.sha256) };
        self.wrong_declaration(commit, &declared)
    }
}
