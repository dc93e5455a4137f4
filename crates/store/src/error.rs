//! What the store could not do, in words for the person who has to act on it.
//!
//! in: causes; out: [`StoreError`] with a stable [`StoreError::code`] and a [`StoreError::hint`].
//! **Invariant:** a digest that does not match its bytes is always [`StoreError::Corrupt`], never an input or output error.

use std::io;
use std::path::{Path, PathBuf};

use seaworthy_core::digest::Digest;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("could not {what} `{}`: {source}", .path.display())]
    Io {
        /// The operation, for instance `open`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The blob is not in the store.
    #[error("blob `{digest}` is not in the store")]
    Missing {
        /// Its name.
        digest: Digest,
    },
    /// A blob's bytes are not those that its name promises.
    #[error("blob `{digest}` is corrupt: its bytes hash to `{found}`")]
    Corrupt {
        /// Its name.
        digest: Digest,
        /// What its bytes hash to.
        found: Digest,
    },
    /// More than the limit allows.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: String,
        /// The limit, in the unit of what was measured.
        limit: u64,
    },
    /// A file that may not become part of an artifact.
    #[error("`{name}` is refused: {reason}")]
    Refused {
        /// Its name below the folder.
        name: String,
        /// Why.
        reason: String,
    },
    /// The folder cannot hold a store.
    #[error("`{}` cannot be used as a store: {reason}", .path.display())]
    Layout {
        /// The folder or file at fault.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another process holds the store.
    #[error("`{}` is in use by another process", .path.display())]
    Busy {
        /// The store.
        path: PathBuf,
    },
    /// The store was opened for reading.
    #[error("`{}` was opened read-only", .path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
    /// The blob is no manifest document.
    #[error("blob `{digest}` is no artifact: {reason}")]
    NotAnArtifact {
        /// Its name.
        digest: Digest,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store/io",
            Self::Missing { .. } => "store/missing",
            Self::Corrupt { .. } => "store/corrupt",
            Self::TooLarge { .. } => "store/too-large",
            Self::Refused { .. } => "store/refused",
            Self::Layout { .. } => "store/layout",
            Self::Busy { .. } => "store/busy",
            Self::ReadOnly { .. } => "store/read-only",
            Self::NotAnArtifact { .. } => "store/not-an-artifact",
        }
    }

    /// What to do next, one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space and run again; nothing that was stored is lost".into()
            }
            Self::Io { .. } => "check the disk and the rights of the folder, then run again".into(),
            Self::Missing { digest } => {
                format!("copy the blob from a backup to `blobs/{}`, or run the step that makes it again", blob_path(digest))
            }
            Self::Corrupt { digest, .. } => format!(
                "run `seaworthy verify artifact:{digest}`; storing the same bytes again heals the blob and keeps the bad one as evidence"
            ),
            Self::TooLarge { .. } => "raise the limit in the step's `resources`, or split the data".into(),
            Self::Refused { .. } => {
                "only regular files with plain names may be part of an artifact; remove it or replace it by a copy".into()
            }
            Self::Layout { .. } => "use a folder of your own with mode 0700 on a local disk".into(),
            Self::Busy { .. } => "wait for the other `seaworthy` process to end, then run again".into(),
            Self::ReadOnly { .. } => "open the workspace on its own machine to write to it".into(),
            Self::NotAnArtifact { .. } => "name an artifact as `seaworthy lineage show` prints it".into(),
        }
    }

    /// True if evidence was changed or lost: exit code 4.
    #[must_use]
    pub const fn is_integrity(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Missing { .. } | Self::NotAnArtifact { .. })
    }

    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.as_ref().to_path_buf(), source }
    }

    pub(crate) fn os(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { what, path: path.as_ref().to_path_buf(), source: errno.into() }
    }

    pub(crate) fn refused(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { name: name.into(), reason: reason.into() }
    }
}

/// `ab/<64 hex>`: where a blob lies below `blobs/`.
pub(crate) fn blob_path(digest: &Digest) -> String {
    let hex = digest.hex();
    let shard: String = hex.chars().take(2).collect();
    format!("{shard}/{hex}")
}
