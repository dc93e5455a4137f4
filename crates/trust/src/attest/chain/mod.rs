//! The chain: from a model, a run or an artifact back to its sources, or the whole log; offline, from copies alone.
//!
//! in: log and bundles ([`EvidenceSource`]), artifact bytes ([`ByteSource`]), a [`TrustRoot`], a [`Reference`];
//! out: a [`ChainReport`].
//!
//! First the log as a whole: the checkpoint's signature, the root recomputed from every entry, every statement under a
//! trusted key of the right role, the rules that hold for every history. Then the walk: each outcome against its statements,
//! each digest against bytes hashed here.
//! **Invariant:** any fault fails the report; nothing is skipped silently.

mod bytes;
mod confinement;
mod declared;
mod history;
mod isolation;
mod log;
mod model;
mod reference;
mod report;
mod source;
mod step;

use std::collections::{BTreeSet, HashMap, VecDeque};

use seaworthy_core::digest::Digest;
use seaworthy_core::id::{RunId, StepRunId};
use seaworthy_core::merkle;
use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::{ByteSource, EvidenceSource};

use self::bytes::{Depth, Hashed};
use self::history::History;
use self::log::LogIndex;
use super::trust_root::TrustRoot;
use crate::transparency::{self, VerifiedCheckpoint};

pub use reference::{Reference, ReferenceError};
pub use report::{AsOf, Assurance, ChainReport, Evidence, FAULTS, Fault, Status};

/// Proofs of single leaves are read up to this many leaves; beyond, the recomputed root alone covers them.
const PROOFS_MAX: u64 = 4_096;
/// Leaves named one by one when the root does not agree.
const MISMATCHES_MAX: usize = 10;

/// What the verifier asks for beyond the reference.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Hash environment bytes too.
    pub deep: bool,
    /// The trust file came from outside the workspace.
    pub trust_is_file: bool,
    /// The oldest witness time accepted, with the time now: (age, now), milliseconds.
    pub max_age_ms: Option<(u64, u64)>,
    /// The newest checkpoint of this log seen before, with its root.
    pub last_seen: Option<Checkpoint>,
}

/// The walk's state.
pub(crate) struct Walker<'a> {
    bytes: &'a dyn ByteSource,
    trust: &'a TrustRoot,
    options: &'a VerifyOptions,
    log: LogIndex,
    history: History,
    hashed: Hashed,
    requests: HashMap<RunId, (Status, String)>,
    queued: BTreeSet<StepRunId>,
    queue: VecDeque<StepRunId>,
    faults: Vec<Fault>,
}

/// Verifies `reference` and everything it rests on.
pub fn verify_chain(
    evidence: &dyn EvidenceSource,
    bytes: &dyn ByteSource,
    trust: &TrustRoot,
    reference: &Reference,
    options: &VerifyOptions,
) -> ChainReport {
    let mut faults = Vec::new();
    let checkpoint = checkpoint(evidence, trust, options, &mut faults);
    let size = checkpoint.as_ref().map_or_else(|| evidence.size().unwrap_or(0), |verified| verified.checkpoint.size);
    let mut log = LogIndex::read(evidence, trust, size);
    let history = History::read(&mut log, trust);
    faults.append(&mut log.faults);
    if *reference == Reference::Log {
        faults.append(&mut log.signed_late);
    }
    let mut walker = Walker {
        bytes,
        trust,
        options,
        log,
        history,
        hashed: Hashed::default(),
        requests: HashMap::new(),
        queued: BTreeSet::new(),
        queue: VecDeque::new(),
        faults,
    };
    let log_line = walker.log_line(evidence, checkpoint.as_ref());
    let first = walker.start(reference);
    let mut children = vec![log_line, first];
    while let Some(step) = walker.queue.pop_front() {
        if let Some(commit) = walker.history.commit(&step).cloned() {
            children.push(walker.step(&commit));
        }
    }
    walker.report(reference, checkpoint, children)
}

/// Signatures, quorum, age and consistency of the checkpoint.
fn checkpoint(
    evidence: &dyn EvidenceSource,
    trust: &TrustRoot,
    options: &VerifyOptions,
    faults: &mut Vec<Fault>,
) -> Option<VerifiedCheckpoint> {
    let mut fault = |code, message| faults.push(Fault { code, message, hint: report::hint(code), leaf: None, digest: None });
    let note = match evidence.checkpoint() {
        Ok(note) => note,
        Err(cause) => {
            fault("verify/checkpoint-malformed", format!("the checkpoint cannot be read: {cause}"));
            return None;
        }
    };
    let verified = match transparency::verify_checkpoint(note.as_bytes(), trust) {
        Ok(verified) => verified,
        Err(cause) => {
            fault(cause.code(), cause.to_string());
            return None;
        }
    };
    let covered = verified.checkpoint.size;
    match evidence.size() {
        Ok(size) if size == covered || (size > covered && grew(evidence, &note)) => {}
        Ok(size) => fault("verify/root-mismatch", format!("the checkpoint covers {covered} leaves, the log has {size}")),
        Err(cause) => fault("verify/leaf-missing", format!("the log's size cannot be read: {cause}")),
    }
    if let Some((age_ms, now_ms)) = options.max_age_ms {
        let oldest_s = now_ms.saturating_sub(age_ms) / 1_000;
        match verified.witnessed_s() {
            None => fault("verify/stale", "no witness says how old the checkpoint is".to_owned()),
            Some(time_s) if time_s < oldest_s => {
                fault("verify/stale", format!("the checkpoint was last witnessed {} s before the limit", oldest_s - time_s))
            }
            Some(_) => {}
        }
    }
    Some(verified)
}

/// Whether the log was appended to since `note` was read: then its later leaves and proofs are not of that checkpoint.
fn grew(evidence: &dyn EvidenceSource, note: &str) -> bool {
    evidence.checkpoint().is_ok_and(|now| now != note)
}

impl Walker<'_> {
    /// Records a fault and gives its line.
    pub(crate) fn fail(&mut self, code: &'static str, label: &str, message: String, leaf: Option<u64>, digest: Option<Digest>) -> Evidence {
        let line = Evidence { status: Status::Fail, leaf, digest, ..Evidence::ok(label, format!("{message} ({code})")) };
        self.faults.push(Fault { code, message, hint: report::hint(code), leaf, digest });
        line
    }

    /// A line for a fault that stands in the list already.
    pub(crate) fn fail_again(&self, label: &str, detail: &str, digest: Digest) -> Evidence {
        Evidence { status: Status::Fail, digest: Some(digest), ..Evidence::ok(label, detail) }
    }

    /// Has a step checked, once.
    pub(crate) fn queue(&mut self, step: &StepRunId) {
        if self.queued.insert(step.clone()) {
            self.queue.push_back(step.clone());
        }
    }

    /// The log as a whole: root, proofs, consistency with what was seen before.
    fn log_line(&mut self, evidence: &dyn EvidenceSource, verified: Option<&VerifiedCheckpoint>) -> Evidence {
        let label = "log";
        let Some(verified) = verified else {
            return Evidence { status: Status::Fail, ..Evidence::ok(label, "no checkpoint that holds") };
        };
        let now = &verified.checkpoint;
        let mut children = Vec::new();
        let leaves: Option<Vec<Digest>> = self.log.leaves.iter().copied().collect();
        match &leaves {
            Some(leaves) if merkle::root_of(leaves) == now.root => {}
            _ => children.push(self.fail(
                "verify/root-mismatch",
                label,
                "the entries do not give the checkpoint's root".to_owned(),
                None,
                Some(now.root),
            )),
        }
        children.extend(self.proofs(evidence, now));
        if let (Some(before), Some(leaves)) = (&self.options.last_seen, &leaves) {
            children.extend(self.seen_before(before, now, leaves));
        }
        if let Some(strays) = self.strays(evidence) {
            children.push(strays);
        }
        let cosigned = verified.cosigned.len();
        let detail = format!("{} leaves, {} statements hold, {cosigned} cosignatures", now.size, self.log.statements.len());
        let failed = !self.faults.is_empty();
        let line = Evidence::ok(label, detail).about(now.root).with(children);
        if failed { Evidence { status: Status::Fail, ..line } } else { line }
    }

    /// Every leaf's stored proof: a changed tile is named although the root can be recomputed without it.
    fn proofs(&mut self, evidence: &dyn EvidenceSource, now: &Checkpoint) -> Vec<Evidence> {
        let mut wrong = Vec::new();
        for leaf in 0..now.size.min(PROOFS_MAX) {
            let at = usize::try_from(leaf).unwrap_or(usize::MAX);
            let Some(Some(hash)) = self.log.leaves.get(at).copied() else { continue };
            let holds = evidence
                .inclusion_proof(leaf)
                .map_err(|cause| cause.to_string())
                .and_then(|proof| merkle::verify_inclusion(&hash, leaf, now.size, &proof, &now.root).map_err(|cause| cause.to_string()));
            if let Err(cause) = holds {
                if evidence.size().is_ok_and(|size| size > now.size) {
                    // appended to meanwhile: its proofs are of a newer tree; the recomputed root covers these leaves
                    return vec![Evidence::ok("inclusion", format!("log grew while it was read; proofs checked up to leaf {leaf}"))];
                }
                wrong.push(self.fail("verify/inclusion", "inclusion", format!("leaf {leaf}: {cause}"), Some(leaf), None));
                if wrong.len() == MISMATCHES_MAX {
                    break;
                }
            }
        }
        wrong
    }

    /// The tree that was seen before must be the beginning of this one.
    fn seen_before(&mut self, before: &Checkpoint, now: &Checkpoint, leaves: &[Digest]) -> Option<Evidence> {
        let label = "seen before";
        if before.size > now.size {
            let message = format!("the log has {} leaves, but {} were seen before", now.size, before.size);
            return Some(self.fail("verify/log-rollback", label, message, None, None));
        }
        let prefix = usize::try_from(before.size).ok().and_then(|size| leaves.get(..size)).map(merkle::root_of);
        if before.origin == now.origin && prefix == Some(before.root) {
            return Some(Evidence::ok(label, format!("continues the {} leaves seen before", before.size)));
        }
        let message = format!("the log's first {} leaves are not those seen before", before.size);
        Some(self.fail("verify/log-fork", label, message, None, Some(before.root)))
    }

    /// Bundles that no leaf names: they prove nothing.
    fn strays(&self, evidence: &dyn EvidenceSource) -> Option<Evidence> {
        let stored = match evidence.bundle_digests() {
            Ok(stored) => stored,
            Err(cause) => return Some(Evidence::warn("bundles", format!("cannot be listed: {cause}"))),
        };
        let strays = stored.iter().filter(|pae| !self.log.by_pae.contains_key(*pae)).count();
        (strays > 0).then(|| Evidence::warn("bundles", format!("{strays} stored bundles do not count: no leaf of theirs holds")))
    }

    /// The first line of the answer, and the steps to begin with.
    fn start(&mut self, reference: &Reference) -> Evidence {
        match reference {
            Reference::Log if self.faults.is_empty() => Evidence::ok("log", "every leaf and statement as above"),
            Reference::Log => Evidence { status: Status::Fail, ..Evidence::ok("log", "not every leaf and statement holds") },
            Reference::Model { model, which } => self.model(model, which),
            Reference::Run(run) => self.run(run),
            Reference::Artifact(artifact) => self.known_artifact(artifact),
        }
    }

    fn run(&mut self, run: &RunId) -> Evidence {
        let label = format!("run:{run}");
        if !self.history.runs.contains_key(run) {
            return self.fail("verify/not-found", &label, format!("{label} is not in this log"), None, None);
        }
        let steps: Vec<StepRunId> =
            self.history.commits.iter().filter(|commit| commit.step.run == *run).map(|commit| commit.step.clone()).collect();
        steps.iter().for_each(|step| self.queue(step));
        match self.history.run_ends.get(run) {
            Some(state) => Evidence::ok(label, format!("{state}, {} steps committed", steps.len())),
            None => Evidence::warn(label, format!("not ended, {} steps committed", steps.len())),
        }
    }

    fn known_artifact(&mut self, artifact: &Digest) -> Evidence {
        let label = format!("artifact:{}", artifact.short());
        let line = self.artifact(&label, artifact, Depth::Files);
        let made = self.history.commits.iter().rev().find(|commit| commit.outputs.iter().any(|output| output.digest == *artifact));
        match made.map(|commit| commit.step.clone()) {
            Some(step) => {
                self.queue(&step);
                Evidence { detail: format!("{}, made by {step}", line.detail), ..line }
            }
            None => {
                let message = format!("{label} was made by no committed step of this log");
                line.with([self.fail("verify/input-unverified", "producer", message, None, Some(*artifact))])
            }
        }
    }

    fn report(self, reference: &Reference, checkpoint: Option<VerifiedCheckpoint>, children: Vec<Evidence>) -> ChainReport {
        let witnesses = checkpoint.as_ref().map_or(0, |verified| verified.cosigned.len());
        let seen = self.options.last_seen.as_ref();
        let freshness = match (seen, checkpoint.as_ref().and_then(VerifiedCheckpoint::witnessed_s)) {
            (_, Some(time_s)) => format!("witnessed at {}", seaworthy_core::attestation::time::Timestamp(time_s.saturating_mul(1_000))),
            (Some(before), None) => format!("not older than checkpoint {}; no witness time", before.size),
            (None, None) => "unknown".to_owned(),
        };
        let complete = self.log.complete && checkpoint.is_some();
        let revocation = match &checkpoint {
            Some(verified) if complete => format!("known up to leaf {}", verified.checkpoint.size),
            _ => "unknown".to_owned(),
        };
        let trust = if self.options.trust_is_file { "file" } else { "workspace (unproven)" };
        let apart = self.isolation(reference);
        let line = Evidence::ok(reference.to_string(), "").with(children);
        let ok = self.faults.is_empty() && line.status != Status::Fail && checkpoint.is_some();
        ChainReport {
            reference: reference.to_string(),
            ok,
            assurance: match (ok && apart.everywhere(), witnesses) {
                (true, 2..) => Assurance::L2,
                (true, _) => Assurance::L1,
                (false, _) => Assurance::L0,
            },
            signer: apart.to_string(),
            as_of: checkpoint.map(|verified| AsOf {
                witnessed_s: verified.witnessed_s(),
                witnesses: verified.cosigned.into_iter().map(|cosigned| cosigned.witness).collect(),
                origin: verified.checkpoint.origin,
                size: verified.checkpoint.size,
                root: verified.checkpoint.root,
            }),
            trust: trust.to_owned(),
            freshness,
            revocation,
            leaves: u64::try_from(self.log.leaves.len()).unwrap_or(u64::MAX),
            statements: u64::try_from(self.log.statements.len()).unwrap_or(u64::MAX),
            blobs: self.hashed.count,
            bytes: self.hashed.bytes,
            evidence: if ok {
                Evidence { detail: "verified".to_owned(), ..line }
            } else {
                Evidence { status: Status::Fail, detail: "not verified".to_owned(), ..line }
            },
            faults: self.faults,
        }
    }
}
