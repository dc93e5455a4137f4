//! The transparency log: an append-only C2SP tlog-tiles log on disk, in which every attestation and audit event is a leaf.
//!
//! in: leaves through [`Log`]; out: static files that anybody can check, read back through [`LogReader`].
//! **Invariant:** a leaf is acknowledged only after its record, with the signed checkpoint that covers it, is durable in
//! the `wal`; every other file can be made again from that record until a flush has made the file itself durable.
//! **Invariant:** only the holder of the lock on the log's folder writes; readers need no lock and no key.
//!
//! | file | content |
//! |---|---|
//! | `checkpoint` | the signed state: origin, size, root |
//! | `tile/<L>/<N>[.p/<W>]` | hashes; partial tiles stay until their full tile is durable |
//! | `tile/entries/<N>[.p/<W>]` | the leaves themselves |
//! | `bundles/<2 hex>/<pae>.json` | the attestation of each `hashedrekord` leaf |
//! | `wal` | the last flushed checkpoint and every group commit since |

mod audit;
mod disk;
mod edge;
mod pending;
mod queue;
mod reader;
mod signing;
mod wal;
mod writer;

pub use audit::{FaultKind, LogFault, audit};
pub use reader::LogReader;
pub use writer::Log;

use seaworthy_core::digest::Digest;
use seaworthy_core::merkle::MerkleError;
use seaworthy_core::note::NoteError;
use seaworthy_core::ports::PortError;

/// Durable barriers passed by this process: see [`crate::barrier::count`].
#[must_use]
pub fn barriers() -> u64 {
    crate::barrier::count()
}

/// What can go wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error("cannot {what} `{file}` of the log: {cause}")]
    Io {
        /// The operation, one phrase.
        what: &'static str,
        /// Path below the log's folder.
        file: String,
        /// The system's words.
        cause: String,
    },
    /// A file does not say what the rest of the log says.
    #[error("log file `{file}` is not intact: {reason}")]
    Corrupt {
        /// Path below the log's folder.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// There is a log here already.
    #[error("there is a log in `{dir}` already")]
    Exists {
        /// The folder.
        dir: String,
    },
    /// Another log than the one meant.
    #[error("the log here is `{found}`, expected `{expected}`")]
    Origin {
        /// The origin asked for.
        expected: String,
        /// The origin in the checkpoint.
        found: String,
    },
    /// A leaf over the limit of the format.
    #[error("a leaf of {bytes} bytes does not fit the log: the limit is 65535")]
    EntryTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A leaf that cannot be written, or a bundle that does not belong to its key.
    #[error("leaf refused: {reason}")]
    Leaf {
        /// What is wrong.
        reason: String,
    },
    /// The same statement is in the log under another signature.
    #[error("statement {pae} is in the log with another signature already")]
    OtherSignature {
        /// SHA256(PAE) of the statement.
        pae: Digest,
    },
    /// The signer failed or signed something else.
    #[error("the checkpoint was not signed: {cause}")]
    Signer {
        /// Its words.
        cause: String,
    },
    /// No such leaf.
    #[error("leaf {index} is outside the log of {size} leaves")]
    OutOfRange {
        /// What was asked for.
        index: u64,
        /// Leaves there are.
        size: u64,
    },
    /// An earlier failure left it unknown what is on the disk.
    #[error("the log takes no more leaves after an earlier failure: {cause}")]
    Halted {
        /// The failure.
        cause: String,
    },
}

impl LogError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "log/io",
            Self::Corrupt { .. } => "log/corrupt",
            Self::Exists { .. } => "log/exists",
            Self::Origin { .. } => "log/origin",
            Self::EntryTooLong { .. } => "log/entry-too-long",
            Self::Leaf { .. } => "log/leaf",
            Self::OtherSignature { .. } => "log/other-signature",
            Self::Signer { .. } => "log/signer",
            Self::OutOfRange { .. } => "log/out-of-range",
            Self::Halted { .. } => "log/halted",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check free space and permissions of the workspace, then run the command again",
            Self::Corrupt { .. } => "run `seaworthy verify log`, and restore the file from a copy; nothing was changed",
            Self::Exists { .. } => "open the log that is there, or name another workspace",
            Self::Origin { .. } => "each environment has a log of its own: check the environment and the workspace",
            Self::EntryTooLong { .. } | Self::Leaf { .. } => "put the details into an attestation: its leaf is a digest",
            Self::OtherSignature { .. } => "look the statement up in the log before it is signed again",
            Self::Signer { .. } => "check that the log key of this environment is available",
            Self::OutOfRange { .. } => "`seaworthy log show` prints the size of the log",
            Self::Halted { .. } => "end the process, check the disk and the signer, and start again: what was acknowledged is safe",
        }
    }

    fn corrupt(file: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { file: file.into(), reason: reason.to_string() }
    }
}

impl From<MerkleError> for LogError {
    fn from(error: MerkleError) -> Self {
        match error {
            MerkleError::EntryTooLong { bytes } => Self::EntryTooLong { bytes },
            MerkleError::OutOfRange { asked, size, .. } => Self::OutOfRange { index: asked, size },
            MerkleError::Tile { path, reason } => Self::corrupt(path, reason),
            other => Self::corrupt("tile", other),
        }
    }
}

impl From<NoteError> for LogError {
    fn from(error: NoteError) -> Self {
        Self::corrupt("checkpoint", error)
    }
}

impl From<LogError> for PortError {
    fn from(error: LogError) -> Self {
        let what = match error {
            LogError::Corrupt { .. } => "the log is not intact",
            _ => "the log",
        };
        Self::new(format!("{what} ({})", error.code()), error)
    }
}

#[cfg(test)]
mod tests;
