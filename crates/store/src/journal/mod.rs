//! The journal: our own append-only file that finds unfinished work again after a crash.
//!
//! in: [`Record`]s of step states; out: the same, in order, each chained to the one before.
//!
//! It only *finds* work: the commit of a step is its outcome leaf in the log.
//! **Invariant:** a record that was acknowledged by [`Journal::append`] survives a power cut; a changed byte in any record is an error.
//! **Invariant:** attempts are fenced: no record of an attempt older than the newest, none twice, none after a commit.
//! **Invariant:** its file is replaced only by [`Journal::renew`], whole and durably, and only while every run in it has ended;
//! every writer finds the new file before it writes.

mod fence;
mod file;
mod record;
mod renew;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use record::{Record, State, StepName};
pub use renew::{BodyKey, Renewal};
pub use state::{AttemptState, RunState, StepState, unfinished_digests};

use crate::artifacts::{FaultKind, StoreFault};

/// Bytes of one record's data at most.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Why the journal refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system said no.
    #[error("could not {what} `{}`: {source}", .path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A byte of the journal was changed.
    #[error("journal `{}` is damaged at byte {offset}: {reason}", .path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// Start of the first bad record.
        offset: u64,
        /// What does not fit.
        reason: String,
    },
    /// Another attempt got ahead, or this one wrote the state already.
    #[error("attempt {attempt} of step `{step}` in run `{run}` may not record {state}: {reason}")]
    Fenced {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        attempt: u32,
        /// The state it wanted to record.
        state: State,
        /// Why.
        reason: String,
    },
    /// A record that cannot be written.
    #[error("a record of run `{run}` cannot be written: {reason}")]
    Record {
        /// The run.
        run: String,
        /// Why.
        reason: String,
    },
    /// The journal was opened for reading.
    #[error("journal `{}` was opened read-only", .path.display())]
    ReadOnly {
        /// Where.
        path: PathBuf,
    },
}

impl JournalError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "journal/io",
            Self::Damaged { .. } => "journal/damaged",
            Self::Fenced { .. } => "journal/fenced",
            Self::Record { .. } => "journal/record",
            Self::ReadOnly { .. } => "journal/read-only",
        }
    }

    /// What to do next, one line.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the disk and the rights of the folder, then run again; what was acknowledged is not lost",
            Self::Damaged { .. } => {
                "restore the journal from a backup, or move it away: committed steps are in the log, unfinished ones then run again"
            }
            Self::Fenced { .. } => "another process continues this run; wait for it with `seaworthy runs show`",
            Self::Record { .. } => "keep what is large in the store and name it by digest",
            Self::ReadOnly { .. } => "open the workspace on its own machine to write to it",
        }
    }

    /// True if evidence was changed: exit code 4.
    #[must_use]
    pub const fn is_integrity(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// The journal of one environment. Any number of threads and processes may append.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<file::JournalFile>,
    dir: PathBuf,
}

impl Journal {
    /// Opens the journal in `dir`, creating it (0600) if need be; cuts off a last record whose write was interrupted.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Ok(Self { file: Mutex::new(file::JournalFile::open(dir)?), dir: dir.to_path_buf() })
    }

    /// Opens the journal in `dir` for reading alone: nothing is created, locked or cut off.
    pub fn open_read_only(dir: &Path) -> Result<Self, JournalError> {
        Ok(Self { file: Mutex::new(file::JournalFile::open_read_only(dir)?), dir: dir.to_path_buf() })
    }

    /// Appends `records` (their `seq` is given here) and returns once they are durable: one barrier.
    pub fn append(&self, records: &[Record]) -> Result<u64, JournalError> {
        self.lock().append(records, true)
    }

    /// Appends `records` without waiting: they become durable with the next [`Journal::append`] or by the system's own pace.
    /// For states whose loss only means that work is found one state earlier.
    pub fn append_lazy(&self, records: &[Record]) -> Result<u64, JournalError> {
        self.lock().append(records, false)
    }

    /// Begins the journal anew if it is longer than [`seaworthy_core::limits::JOURNAL_BYTES_LONG`] and every run in it has ended:
    /// staged bodies that `key` names can still be found, a few of each step, and all else is gone. Two barriers.
    ///
    /// An error is a damaged journal, or one whose new name may not survive a power cut: nothing may be appended to either.
    pub fn renew(&self, key: &BodyKey<'_>) -> Result<Renewal, JournalError> {
        self.lock().renew(key)
    }

    /// All records, verified when they were read: at opening, if nothing was appended since.
    pub fn records(&self) -> Result<Vec<Record>, JournalError> {
        self.lock().records()
    }

    /// All records, read and verified now.
    pub fn load(&self) -> Result<Vec<Record>, JournalError> {
        self.lock().load()
    }

    /// Verifies the whole chain: the first fault, if there is one, since nothing after it can be trusted.
    #[must_use]
    pub fn audit(&self) -> Vec<StoreFault> {
        let name = file::FILE_NAME;
        match self.load() {
            Ok(_) => Vec::new(),
            Err(fault @ JournalError::Damaged { .. }) => {
                vec![StoreFault::new(name, FaultKind::Corrupt, fault.to_string())]
            }
            Err(fault) => vec![StoreFault::new(name, FaultKind::Unreadable, fault.to_string())],
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, file::JournalFile> {
        // a panic in another thread leaves at worst a torn tail, which the next append cuts off
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
