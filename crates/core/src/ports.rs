//! The few traits through which the pure rules reach the world.
//!
//! **Invariant:** object-safe, at most six methods each; implementations live in store, trust, engine or cli.

use std::collections::BTreeMap;
use std::io::Read;

use crate::digest::Digest;
use crate::envelope::{Bundle, Statement};
use crate::event::Event;
use crate::id::StepRunId;
use crate::worker;

/// Milliseconds since 1970, UTC; claimed, not proven: order is the log index.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now_unix_ms(&self) -> u64;
}

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` wholly or fails.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), PortError>;
}

/// What a port could not do, with the cause's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct PortError {
    /// The operation, one phrase.
    pub what: String,
    /// The cause, one line.
    pub cause: String,
}

impl PortError {
    /// Builds an error from anything that prints.
    pub fn new(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self { what: what.into(), cause: cause.to_string() }
    }
}

/// What a key is for. Each role has a key of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Signs run requests (P-256).
    User,
    /// Signs what the runner did (P-256).
    Runner,
    /// Signs checkpoints (Ed25519).
    Log,
    /// Approves and revokes (P-256).
    Root,
}

/// A typed request to sign a statement: the signer builds the payload itself.
#[derive(Debug)]
pub struct AttestRequest<'a> {
    /// The key wanted.
    pub role: KeyRole,
    /// The statement.
    pub statement: &'a Statement,
    /// The step attempt it belongs to; `None` for run requests, approvals and registrations.
    pub step: Option<&'a StepRunId>,
}

/// A typed request to sign a checkpoint.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    /// Log origin.
    pub origin: String,
    /// Tree size.
    pub size: u64,
    /// Root hash.
    pub root: Digest,
}

/// Whose process holds the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerMode {
    /// A process of its own, of the same user as whoever asks it.
    Process,
    /// A process of its own, of another user, asked by one who is not root.
    User,
}

/// How far a signer is kept apart from whoever asks it, in its own words. Whoever has the keys can sign any of them: they
/// count for a verifier who knows from elsewhere that only a signer has these keys.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerIsolation {
    /// Whose process it is.
    pub mode: SignerMode,
    /// Version of the Landlock rules that keep it from every file; 0 if the kernel has none.
    pub landlock: u32,
    /// How many system calls its filter leaves it; 0 if there is no filter.
    pub system_calls: u32,
    /// Hints of the keys it holds: what it says of itself is said of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<KeyRole, String>,
}

impl SignerIsolation {
    /// Whether the process was really confined.
    #[must_use]
    pub const fn is_confined(&self) -> bool {
        self.landlock > 0 && self.system_calls > 0
    }

    /// Confined, and out of reach of whoever asks it.
    #[must_use]
    pub const fn is_out_of_reach(&self) -> bool {
        self.is_confined() && matches!(self.mode, SignerMode::User)
    }
}

/// Holds keys and signs typed requests; never raw bytes.
pub trait Signer: Send + Sync {
    /// Signs a statement: a bundle with exactly one signature, no log proof yet.
    fn attest(&self, request: &AttestRequest<'_>) -> Result<Bundle, PortError>;
    /// Signs a checkpoint: the whole note text, body and signature line, which the caller may rely on.
    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError>;
    /// The same note once more, if the signer remembers having signed exactly this checkpoint; `None` if it does not: then
    /// nothing is signed. An error if it cannot be asked.
    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError>;
    /// Whether the log's key signed this note, by the public key alone.
    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError>;
    /// SubjectPublicKeyInfo (DER) of the key of `role`.
    fn public_key(&self, role: KeyRole) -> Result<Vec<u8>, PortError>;
    /// How it is kept apart from this process; `None` if the keys are in this process.
    fn isolation(&self) -> Option<SignerIsolation> {
        None
    }
}

/// What becomes a leaf of the log.
#[derive(Debug, Clone)]
pub enum Leaf {
    /// An audit event.
    Event(Event),
    /// A signed statement; the bundle is kept beside the log.
    Attestation {
        /// The envelope.
        bundle: Bundle,
        /// SubjectPublicKeyInfo (DER) of the key that signed it: part of the leaf's body.
        public_key: Vec<u8>,
    },
}

/// Appends to the log. No record, no action.
pub trait Recorder: Send + Sync {
    /// Appends all leaves in one durable group commit and returns the index of each.
    fn record(&self, leaves: &[Leaf]) -> Result<Vec<u64>, PortError>;
}

/// Reads evidence back: what `verify_chain` stands on. Implemented by store over the log and its bundles.
pub trait EvidenceSource {
    /// Number of leaves covered by the signed checkpoint.
    fn size(&self) -> Result<u64, PortError>;
    /// The raw entry at `index`.
    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError>;
    /// The bundle whose SHA256(PAE) is `pae`, as stored, if it is there.
    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError>;
    /// The current checkpoint note, signatures included.
    fn checkpoint(&self) -> Result<String, PortError>;
    /// The inclusion proof of leaf `index` in the tree of the current checkpoint.
    fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, PortError>;
    /// The digests of all bundles stored, logged or not (to find strays).
    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError>;
}

/// Reads artifact bytes by digest.
pub trait ByteSource {
    /// Opens the blob; the reader itself verifies and fails at the end on a mismatch.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, PortError>;
}

/// What a worker is given: a request, the files that it names, and for how long.
#[cfg(unix)]
pub struct Job<'a> {
    /// What to do.
    pub request: &'a worker::Request,
    /// The files, in the order in which the request names them: open for reading alone, verified. Whoever has them too reads by
    /// position: a worker may move their place.
    pub files: &'a [std::os::fd::BorrowedFd<'a>],
    /// Until its answer must be there.
    pub time_max: std::time::Duration,
    /// Asked now and then: true ends the work.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// One worker at its job: its parts as they come, then its answer. Dropped before that, it is ended.
pub trait Working: Send {
    /// What comes next; the bytes of a part are put in `part`.
    fn next(&mut self, part: &mut Vec<u8>) -> Result<worker::Reply, worker::WorkerFault>;
}

/// Processes without keys that read what nobody vouches for. Each does one job, and is gone.
#[cfg(unix)]
pub trait Workers: Send + Sync + std::fmt::Debug {
    /// Begins to start so many, while the caller does something else.
    fn prepare(&self, count: usize);
    /// Has one begin a job.
    fn begin<'a>(&self, job: &Job<'a>) -> Result<Box<dyn Working + 'a>, worker::WorkerFault>;
    /// How they are kept apart: what holds for every one that was started; `None` if none was.
    fn isolation(&self) -> Option<worker::WorkerIsolation>;
}

#[cfg(unix)]
impl dyn Workers + '_ {
    /// Has one do a job that has no parts.
    pub fn work(&self, job: &Job<'_>) -> Result<worker::Answer, worker::WorkerFault> {
        match self.begin(job)?.next(&mut Vec::new())? {
            worker::Reply::Answer(answer) => Ok(answer),
            worker::Reply::Part(_) => Err(worker::WorkerFault::answer("it sent parts of a file that nobody asked for")),
        }
    }
}
