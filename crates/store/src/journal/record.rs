//! One record of the journal and its bytes.
//!
//! in: [`Record`]; out: `length (u32be) ‖ check (8) ‖ body ‖ chain (32)`, and back.
//!
//! `check` = first 8 bytes of SHA256(`h` ‖ previous chain ‖ length), `chain` = SHA256(`b` ‖ previous chain ‖ length ‖ body).
//! **Invariant:** the check makes a changed length distinguishable from a torn write, so that no flip can pass as one.

use std::fmt;

use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::id::{Attempt, Name, RunId, StepRunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RECORD_BYTES_MAX;

pub(super) const HEAD_BYTES: usize = 12;
pub(super) const CHAIN_BYTES: usize = 32;

/// What state a step attempt (or a run) has reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// A run begins; `data` holds the plan's digest and what resuming needs. Run level.
    RunStarted,
    /// The step is part of a plan.
    Planned,
    /// The authorizer allowed the attempt.
    Authorized,
    /// The body runs.
    Started,
    /// Outputs, sandbox report and attempt are durable: the body is *finished* and never runs again.
    Staged,
    /// Provenance is signed and in the log.
    Attested,
    /// The gate decided, and passed.
    Gated,
    /// The outcome leaf is in the log.
    Committed,
    /// The authorizer or the gate said no.
    Denied,
    /// The body or a check failed.
    Failed,
    /// The body ran out of time.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
    /// The run ended; `data` says how. Run level.
    RunEnded,
}

impl State {
    /// All states, for tests that go through every one.
    pub const ALL: [Self; 13] = [
        Self::RunStarted,
        Self::Planned,
        Self::Authorized,
        Self::Started,
        Self::Staged,
        Self::Attested,
        Self::Gated,
        Self::Committed,
        Self::Denied,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::RunEnded,
    ];

    /// Whether it belongs to a run as a whole.
    #[must_use]
    pub const fn is_run_level(self) -> bool {
        matches!(self, Self::RunStarted | Self::RunEnded)
    }

    /// Whether an attempt in this state goes no further.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Committed | Self::Denied | Self::Failed | Self::TimedOut | Self::Cancelled)
    }

    /// The stable name, as in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunStarted => "RUN_STARTED",
            Self::Planned => "PLANNED",
            Self::Authorized => "AUTHORIZED",
            Self::Started => "STARTED",
            Self::Staged => "STAGED",
            Self::Attested => "ATTESTED",
            Self::Gated => "GATED",
            Self::Committed => "COMMITTED",
            Self::Denied => "DENIED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Cancelled => "CANCELLED",
            Self::RunEnded => "RUN_ENDED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step of a workflow, without run and attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StepName {
    /// The workflow.
    pub workflow: Name,
    /// The step in it.
    pub step: Name,
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workflow, self.step)
    }
}

/// One record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Position in the journal, from 0; given by `append`, whatever stands here before.
    pub seq: u64,
    /// Milliseconds since 1970, claimed.
    pub time_ms: u64,
    /// The run.
    pub run: RunId,
    /// The step; `None` at run level.
    pub step: Option<StepName>,
    /// The attempt; 0 at run level and while only planned.
    pub attempt: Attempt,
    /// The state reached.
    pub state: State,
    /// What continuing from this state needs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Record {
    /// A record about a run.
    #[must_use]
    pub const fn of_run(time_ms: u64, run: RunId, state: State, data: Value) -> Self {
        Self { seq: 0, time_ms, run, step: None, attempt: 0, state, data }
    }

    /// A record about an attempt at a step.
    #[must_use]
    pub fn of_step(time_ms: u64, step: &StepRunId, state: State, data: Value) -> Self {
        let name = StepName { workflow: step.workflow.clone(), step: step.step.clone() };
        Self { seq: 0, time_ms, run: step.run.clone(), step: Some(name), attempt: step.attempt, state, data }
    }

    /// The attempt it is about, if it is about a step.
    #[must_use]
    pub fn step_run(&self) -> Option<StepRunId> {
        let name = self.step.as_ref()?;
        Some(StepRunId { run: self.run.clone(), workflow: name.workflow.clone(), step: name.step.clone(), attempt: self.attempt })
    }
}

/// Appends the bytes of `record` to `out` and returns its chain value.
pub(super) fn encode(record: &Record, previous: &Digest, out: &mut Vec<u8>) -> Result<Digest, String> {
    let body = serde_json::to_vec(record).map_err(|fault| fault.to_string())?;
    if body.len() > RECORD_BYTES_MAX {
        return Err(format!("it has {} bytes, more than the limit of {RECORD_BYTES_MAX}", body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| "it is too long".to_owned())?.to_be_bytes();
    let chain = chain_of(previous, length, &body);
    out.extend_from_slice(&length);
    out.extend_from_slice(&check_of(previous, length));
    out.extend_from_slice(&body);
    out.extend_from_slice(chain.as_bytes());
    Ok(chain)
}

/// What stands at the start of some bytes of the journal.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A record, the number of bytes it takes, and its chain value.
    Whole(Box<Record>, usize, Digest),
    /// The beginning of a record, nothing after it.
    Torn,
    /// Something that was never written so.
    Damaged(String),
}

/// Reads the record at the start of `bytes`, which reach to the end of the file.
pub(super) fn decode(bytes: &[u8], previous: &Digest) -> Decoded {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Decoded::Torn;
    };
    let Some((check, rest)) = rest.split_first_chunk::<8>() else {
        return Decoded::Torn;
    };
    if *check != check_of(previous, *length) {
        return Decoded::Damaged("the head of the record does not fit the record before".into());
    }
    let size = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if size > RECORD_BYTES_MAX {
        return Decoded::Damaged(format!("the record claims {size} bytes"));
    }
    let Some((body, rest)) = rest.split_at_checked(size) else {
        return Decoded::Torn;
    };
    let Some((stored, _)) = rest.split_first_chunk::<CHAIN_BYTES>() else {
        return Decoded::Torn;
    };
    let chain = chain_of(previous, *length, body);
    if chain.as_bytes() != stored {
        return Decoded::Damaged("the record does not have its checksum".into());
    }
    match seaworthy_core::json_strict::parse_typed::<Record>(body) {
        Ok(record) => Decoded::Whole(Box::new(record), HEAD_BYTES + size + CHAIN_BYTES, chain),
        Err(fault) => Decoded::Damaged(format!("the record cannot be read: {fault}")),
    }
}

fn check_of(previous: &Digest, length: [u8; 4]) -> [u8; 8] {
    let mut hasher = Hasher::new();
    hasher.update(b"h");
    hasher.update(previous.as_bytes());
    hasher.update(&length);
    hasher.finish().as_bytes().first_chunk().copied().unwrap_or_default()
}

fn chain_of(previous: &Digest, length: [u8; 4], body: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"b");
    hasher.update(previous.as_bytes());
    hasher.update(&length);
    hasher.update(body);
    hasher.finish()
}
