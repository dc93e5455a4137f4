//! What a verification found: a tree of evidence, and every fault with the byte source, statement or proof at fault.
//!
//! **Invariant:** a report is good only if it has no fault; a node is never better than its worst child.

use seaworthy_core::digest::Digest;
use serde::Serialize;

/// How one line of evidence came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Checked and right.
    Ok,
    /// Right as far as it goes, with something left open.
    Warn,
    /// Wrong or missing.
    Fail,
}

/// One line of evidence with what it rests on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Evidence {
    /// What was looked at.
    pub label: String,
    /// How it came out, children included.
    pub status: Status,
    /// What was found, one line.
    pub detail: String,
    /// The leaf it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// The artifact, blob or statement it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it rests on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Evidence>,
}

impl Evidence {
    /// A line that holds.
    pub(crate) fn ok(label: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { label: label.into(), status: Status::Ok, detail: detail.into(), leaf: None, digest: None, children: Vec::new() }
    }

    /// A line that leaves something open.
    pub(crate) fn warn(label: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::ok(label, detail) }
    }

    pub(crate) const fn at(mut self, leaf: u64) -> Self {
        self.leaf = Some(leaf);
        self
    }

    pub(crate) const fn about(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    pub(crate) fn with(mut self, children: impl IntoIterator<Item = Evidence>) -> Self {
        for child in children {
            self.status = self.status.max(child.status);
            self.children.push(child);
        }
        self
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// Stable code, one of [`FAULTS`].
    pub code: &'static str,
    /// Exactly what is wrong.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
    /// The leaf at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// The artifact, blob or statement at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

const RESTORE: &str = "the bytes were changed or lost: restore them from a copy, then verify again";
const REWRITTEN: &str = "the log was changed after it was signed: keep it as evidence and compare it with a copy or a witness";
const FORGED: &str = "somebody signed what did not happen as recorded: treat the run as forged";
const TRUST: &str = "the trust file decides whom to believe; if the key is legitimate, add it there";
const NOT_CERTIFIED: &str = "the model is not certified: run the workflow again and let it pass its gates";

/// Every code with its hint.
pub const FAULTS: [(&str, &str); 46] = [
    ("verify/checkpoint-malformed", REWRITTEN),
    ("verify/checkpoint-origin", "this workspace and this trust file belong to different logs"),
    ("verify/checkpoint-unsigned", REWRITTEN),
    ("verify/checkpoint-signature", REWRITTEN),
    (
        "verify/witness-quorum",
        "have witnesses cosign (`seaworthy log consistency`, `seaworthy log publish`), or lower `quorum` in the trust file if that is your decision",
    ),
    ("verify/log-rollback", REWRITTEN),
    ("verify/log-fork", REWRITTEN),
    ("verify/trust", "`seaworthy trust export` writes a trust file"),
    ("verify/stale", "fetch a newer copy: a revocation may have been withheld; or raise `--max-age`"),
    ("verify/root-mismatch", REWRITTEN),
    ("verify/inclusion", REWRITTEN),
    ("verify/leaf-missing", REWRITTEN),
    ("verify/leaf-malformed", REWRITTEN),
    ("verify/leaf-mismatch", REWRITTEN),
    ("verify/bundle-missing", RESTORE),
    ("verify/bundle-malformed", RESTORE),
    ("verify/bundle-mismatch", RESTORE),
    ("verify/untrusted-key", TRUST),
    ("verify/signature", FORGED),
    ("verify/payload", FORGED),
    ("verify/wrong-role", TRUST),
    ("verify/key-revoked", "a signature of a revoked key counts no more: have the step run again under a valid key"),
    ("verify/revoked", "the artifact or statement was revoked: use another version"),
    ("verify/wrong-workspace", "this log belongs to another workspace or environment"),
    ("verify/not-found", "`seaworthy models list` and `seaworthy runs list` show what there is"),
    ("verify/alias-unregistered", FORGED),
    ("verify/version-twice", FORGED),
    ("verify/double-commit", FORGED),
    ("verify/release-rollback", "a deployment must carry a higher release index than all before it"),
    ("verify/release-below-minimum", "this release is older than the trust file allows: deploy a newer one"),
    ("verify/statement-missing", FORGED),
    ("verify/provenance-missing", FORGED),
    ("verify/wrong-subject", FORGED),
    ("verify/wrong-step", FORGED),
    ("verify/wrong-builder", FORGED),
    ("verify/wrong-inputs", FORGED),
    ("verify/wrong-request", FORGED),
    ("verify/order", FORGED),
    ("verify/unauthorized", FORGED),
    ("verify/input-unverified", "the input has no provenance here: let a step of this workspace make it"),
    ("verify/source-unsigned", "let the source's owner sign it, or take its prefix out of the trust file"),
    ("verify/gate-missing", NOT_CERTIFIED),
    ("verify/gate-failed", NOT_CERTIFIED),
    ("verify/not-validated", NOT_CERTIFIED),
    ("verify/blob-missing", RESTORE),
    ("verify/blob-mismatch", RESTORE),
];

/// The hint of a code.
pub(crate) fn hint(code: &str) -> &'static str {
    FAULTS.iter().find(|(known, _)| *known == code).map_or(RESTORE, |(_, hint)| hint)
}

/// How much of the chain does not rest on one operator's word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Assurance {
    /// One host did everything.
    L0,
    /// In every run that counts here a service of another user signed, which alone has the keys: it says so under them, and so
    /// does the trust file that the verifier gave.
    L1,
    /// And at least two witnesses of the trust file cosigned the log.
    L2,
    /// And a second organisation's runner reproduced the step (nothing in this version claims it).
    L3,
}

/// Which state of the log the report is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AsOf {
    /// Log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Digest,
    /// The latest witness time, seconds since 1970.
    pub witnessed_s: Option<u64>,
    /// Witnesses that cosigned it.
    pub witnesses: Vec<String>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ChainReport {
    /// What was asked about.
    pub reference: String,
    /// True only if there is no fault.
    pub ok: bool,
    /// How much of it does not rest on one operator's word.
    pub assurance: Assurance,
    /// Where the keys were, run by run.
    pub signer: String,
    /// The checkpoint, if it holds.
    pub as_of: Option<AsOf>,
    /// `file` or `workspace (unproven)`.
    pub trust: String,
    /// What is known of newer states.
    pub freshness: String,
    /// Up to where revocations are known.
    pub revocation: String,
    /// Leaves read.
    pub leaves: u64,
    /// Statements whose signatures hold.
    pub statements: u64,
    /// Blobs hashed again, and their bytes.
    pub blobs: u64,
    /// Bytes hashed again.
    pub bytes: u64,
    /// The tree.
    pub evidence: Evidence,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}
