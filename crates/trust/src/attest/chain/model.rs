//! A registered model version: its signature, approval, releases, and the steps that trained and validated it.
//!
//! in: name and version or alias; out: evidence, and the steps to walk.
//! **Invariant:** registration comes after the gates: a model that its validation did not let through is never certified.

use seaworthy_core::attestation::manifest::SIGNATURE_FILE;
use seaworthy_core::digest::Digest;
use seaworthy_core::id::StepRunId;

use super::Walker;
use super::bytes::Depth;
use super::history::{Commit, Deployed, Registered};
use super::log::Claim;
use super::report::Evidence;

impl Walker<'_> {
    /// `NAME@VERSION` or `NAME@ALIAS`.
    pub(crate) fn model(&mut self, model: &str, which: &str) -> Evidence {
        let label = format!("model:{model}@{which}");
        let aliased = self.history.aliases.get(&(model.to_owned(), which.to_owned())).copied();
        let (version, alias) = match (which.parse::<u64>(), aliased) {
            (Ok(version), _) => (version, None),
            (Err(_), Some((leaf, version))) => (version, Some((leaf, version))),
            (Err(_), None) => return self.fail("verify/not-found", &label, format!("{label} is no alias in this log"), None, None),
        };
        let Some(registered) = self.history.models.get(&(model.to_owned(), version)).cloned() else {
            return self.fail("verify/not-found", &label, format!("model:{model}@{version} is not registered in this log"), None, None);
        };
        let mut children = Vec::new();
        if let Some((leaf, version)) = alias {
            children.push(Evidence::ok(format!("alias {which}"), format!("version {version}")).at(leaf));
        }
        children.push(self.artifact("artifact", &registered.digest, Depth::Files));
        children.push(self.signature(model, &registered));
        children.push(self.approval(model, version, &registered));
        children.push(self.release(model, version, &registered));
        children.push(self.deployments(model, version, &registered));
        children.push(self.trained(&registered));
        children.push(self.validated(&registered));
        children.push(self.registered_by(&registered));
        let detail = format!("registered with artifact {}", registered.digest.short());
        Evidence::ok(label, detail).at(registered.leaf).about(registered.digest).with(children)
    }

    /// A statement that was found and cannot be looked at: never a silent yes.
    fn unread(&mut self, label: &str) -> Evidence {
        self.fail("verify/statement-missing", label, format!("{label}: its statement cannot be read"), None, None)
    }

    /// `model.sig`: a manifest named for the model, of exactly the registered bytes.
    fn signature(&mut self, model: &str, registered: &Registered) -> Evidence {
        let label = "model.sig";
        let at = match self.named(label, &registered.signature, registered.leaf) {
            Ok(at) => at,
            Err(evidence) => return *evidence,
        };
        let Some(statement) = self.log.statements.get(at) else { return self.unread(label) };
        let (leaf, pae) = (statement.leaf, statement.pae);
        let wrong = match &statement.claim {
            Claim::Manifest(claim) if claim.artifact != Some(registered.digest) => Some("it is about another artifact".to_owned()),
            Claim::Manifest(claim) if claim.dir_hash.is_none() => Some("it does not bind names".to_owned()),
            Claim::Manifest(claim) if claim.name != model => Some(format!("it names `{}`", claim.name)),
            Claim::Manifest(claim) if claim.ignored != [SIGNATURE_FILE] => Some("it leaves out more than model.sig".to_owned()),
            Claim::Manifest(claim) => match (claim.manifest(), self.checked_manifest(&registered.digest)) {
                (Err(why), _) => Some(format!("what it lists is no manifest: {why}")),
                (Ok(claimed), Some(stored)) if claimed != *stored => Some("it lists other files than the artifact".to_owned()),
                _ => None,
            },
            other => Some(format!("it is a {}, not a manifest", other.noun())),
        };
        match wrong {
            Some(why) => self.fail("verify/wrong-subject", label, format!("model.sig of {model}: {why}"), Some(leaf), Some(pae)),
            None => Evidence::ok(label, "manifest of the registered bytes").at(leaf).about(pae),
        }
    }

    fn approval(&mut self, model: &str, version: u64, registered: &Registered) -> Evidence {
        let label = "approval";
        let at = match self.named(label, &registered.approval, registered.leaf) {
            Ok(at) => at,
            Err(evidence) => return *evidence,
        };
        let Some(statement) = self.log.statements.get(at) else { return self.unread(label) };
        let (leaf, pae, about) = (statement.leaf, statement.pae, statement.is_about(&registered.digest));
        let Claim::Approval(approval) = &statement.claim else {
            let message = format!("model:{model}@{version}: statement {pae} is no approval");
            return self.fail("verify/wrong-subject", label, message, Some(leaf), Some(pae));
        };
        if !about || approval.resource != format!("model:{model}@{version}") {
            let message = format!("model:{model}@{version}: the approval is of `{}` or of other bytes", approval.resource);
            return self.fail("verify/wrong-subject", label, message, Some(leaf), Some(pae));
        }
        let (inputs, verifier) = (approval.inputs.clone(), approval.verifier.clone());
        let missing: Vec<Evidence> =
            inputs.iter().filter_map(|input| self.named("approved statement", input, leaf).err()).map(|evidence| *evidence).collect();
        Evidence::ok(label, format!("by {verifier} from {} statements", inputs.len())).at(leaf).about(pae).with(missing)
    }

    /// The in-toto release: for consumers elsewhere, so its absence is only a remark.
    fn release(&mut self, model: &str, version: u64, registered: &Registered) -> Evidence {
        let found = self.log.statements.iter().find(|statement| {
            matches!(&statement.claim, Claim::Release(release) if release.model.as_str() == model && release.version == version)
        });
        let Some(statement) = found else { return Evidence::warn("release", "no release statement") };
        let (leaf, pae) = (statement.leaf, statement.pae);
        if !statement.is_about(&registered.digest) {
            let message = format!("model:{model}@{version}: its release names other bytes");
            return self.fail("verify/wrong-subject", "release", message, Some(leaf), Some(pae));
        }
        Evidence::ok("release", format!("{model} {version}")).at(leaf).about(pae)
    }

    /// Deployments of this version, and the floor of the trust file.
    fn deployments(&mut self, model: &str, version: u64, registered: &Registered) -> Evidence {
        let label = "deployments";
        let own: Vec<Deployed> = self.history.deployments.iter().filter(|d| d.model == model && d.version == version).cloned().collect();
        let floor = self.trust.minimum_release.iter().find(|(name, _)| name.as_str() == model).map(|(_, floor)| *floor);
        let newest = own.iter().map(|deployed| deployed.release).max();
        let children: Vec<Evidence> = own.iter().map(|deployed| self.deployment(deployed, registered)).collect();
        let line = match (newest, floor) {
            (newest, Some(floor)) if newest.is_none_or(|newest| newest < floor) => {
                let newest = newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
                let message = format!("model:{model}@{version}: newest release {newest}, the trust file demands {floor}");
                self.fail("verify/release-below-minimum", label, message, None, Some(registered.digest))
            }
            (Some(newest), _) => Evidence::ok(label, format!("newest release {newest}")),
            (None, _) => Evidence::ok(label, "none"),
        };
        line.with(children)
    }

    fn deployment(&mut self, deployed: &Deployed, registered: &Registered) -> Evidence {
        let label = format!("release {}", deployed.release);
        let at = match self.named(&label, &deployed.statement, deployed.leaf) {
            Ok(at) => at,
            Err(evidence) => return *evidence,
        };
        let Some(statement) = self.log.statements.get(at) else { return self.unread(&label) };
        let (leaf, pae, about) = (statement.leaf, statement.pae, statement.is_about(&registered.digest));
        let same = matches!(&statement.claim, Claim::Deployment(claim)
            if claim.model.as_str() == deployed.model
                && claim.version == deployed.version
                && claim.release_index == deployed.release
                && claim.state == deployed.state
                && claim.environment == self.trust.environment);
        if same && about {
            return Evidence::ok(label, deployed.state.clone()).at(leaf).about(pae);
        }
        let message =
            format!("release {} of model:{}@{}: its statement says otherwise", deployed.release, deployed.model, deployed.version);
        self.fail("verify/wrong-subject", &label, message, Some(leaf), Some(pae))
    }

    /// The step that the registration says made the model must have committed these bytes before.
    fn trained(&mut self, registered: &Registered) -> Evidence {
        let label = "trained by";
        let made = |commit: &Commit| commit.outputs.iter().any(|output| output.digest == registered.digest);
        match self.committed_before(&registered.trained_by, registered.leaf) {
            Some(commit) if made(&commit) => {
                self.queue(&commit.step);
                Evidence::ok(label, commit.step.to_string()).at(commit.leaf)
            }
            _ => {
                let message = format!("{} did not commit the registered model before its registration", registered.trained_by);
                self.fail("verify/provenance-missing", label, message, Some(registered.leaf), Some(registered.digest))
            }
        }
    }

    /// Until when the validation must have committed: the signature. The same bytes are signed once: if that was for an earlier
    /// version whose own validation came before it, a later version's comes before its approval.
    fn certified_at(&self, registered: &Registered) -> u64 {
        let signed = self.log.statement(&registered.signature).map_or(registered.leaf, |statement| statement.leaf);
        let is_first = |earlier: &Registered| {
            let validation = self.committed_before(&earlier.validated_by, signed);
            earlier.leaf < registered.leaf
                && (earlier.digest, earlier.signature) == (registered.digest, registered.signature)
                && validation.is_some_and(|commit| self.examined(&commit, &earlier.digest) && self.gated(&commit))
        };
        let approved = self.log.statement(&registered.approval).map_or(signed, |statement| statement.leaf);
        if self.history.models.values().any(is_first) { approved } else { signed }
    }

    /// The validation read the model, said something about it, and a gate let it through before the signature.
    fn validated(&mut self, registered: &Registered) -> Evidence {
        let label = "validated by";
        let commit = self.committed_before(&registered.validated_by, self.certified_at(registered));
        let wrong = match &commit {
            None => Some("did not commit before the model was signed"),
            Some(commit) if !commit.inputs.iter().any(|input| input.digest == registered.digest) => Some("did not read the model"),
            Some(commit) if !self.examined(commit, &registered.digest) => Some("has no statement about the model"),
            Some(commit) if !self.gated(commit) => Some("passed no gate"),
            Some(_) => None,
        };
        match (commit, wrong) {
            (Some(commit), None) => {
                self.queue(&commit.step);
                Evidence::ok(label, commit.step.to_string()).at(commit.leaf)
            }
            (_, why) => {
                let message = format!("{} {}", registered.validated_by, why.unwrap_or("did not commit"));
                self.fail("verify/not-validated", label, message, Some(registered.leaf), Some(registered.digest))
            }
        }
    }

    /// The step whose outcome names the signature: it is walked too, for its authorization and its request.
    fn registered_by(&mut self, registered: &Registered) -> Evidence {
        let label = "registered by";
        let by = self.history.commits.iter().find(|commit| commit.statements.contains(&registered.signature));
        match by.map(|commit| (commit.step.clone(), commit.leaf)) {
            Some((step, leaf)) => {
                self.queue(&step);
                Evidence::ok(label, step.to_string()).at(leaf)
            }
            None => Evidence::warn(label, "no committed step names model.sig"),
        }
    }

    fn committed_before(&self, step: &StepRunId, leaf: u64) -> Option<Commit> {
        self.history.commit(step).filter(|commit| commit.leaf < leaf).cloned()
    }

    /// The attempt that did the work: the one reused, if this one reused it. Each hop goes to an earlier leaf.
    fn origin<'c>(&'c self, commit: &'c Commit) -> &'c Commit {
        let mut at = commit;
        while let Some(earlier) = at.reused_from.as_ref().and_then(|original| self.history.commit(original)) {
            if earlier.leaf >= at.leaf {
                break;
            }
            at = earlier;
        }
        at
    }

    fn examined(&self, commit: &Commit, model: &Digest) -> bool {
        let statements = self.origin(commit).statements.iter().chain(&commit.statements);
        statements
            .filter_map(|pae| self.log.statement(pae))
            .any(|statement| matches!(statement.claim, Claim::Tests(_) | Claim::Gate(_) | Claim::Score(_)) && statement.is_about(model))
    }

    fn gated(&self, commit: &Commit) -> bool {
        let attempts = [&commit.step, &self.origin(commit).step];
        attempts.into_iter().filter_map(|step| self.history.gates.get(step)).flatten().any(|(_, gate)| gate.pass)
    }
}
