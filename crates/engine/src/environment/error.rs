//! Why an environment could not be had.
//!
//! in: faults of locks, wheels, interpreters, downloads; out: [`EnvironmentError`] with a stable code and a hint.
//! **Invariant:** a mismatch between bytes and a promised digest is [`EnvironmentError::Tampered`] or [`EnvironmentError::Wheel`], never an input or output error.

use std::io;
use std::path::{Path, PathBuf};

use seaworthy_core::worker::WorkerFault;
use seaworthy_sandbox::{ClosureError, SandboxError};
use seaworthy_store::StoreError;

/// Why an environment could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A line of the lock file that pins nothing.
    #[error("line {line} of the requirements lock: {reason}: `{text}`")]
    Requirements {
        /// Counted from 1.
        line: usize,
        /// The line, shortened.
        text: String,
        /// What is wrong.
        reason: &'static str,
        /// What to type.
        hint: &'static str,
    },
    /// No usable interpreter among the candidates.
    #[error("no usable Python interpreter: {}", if .tried.is_empty() { "no candidate was given".to_owned() } else { .tried.join("; ") })]
    Interpreter {
        /// Each candidate and why not.
        tried: Vec<String>,
    },
    /// A wheel that is not taken.
    #[error("wheel `{wheel}` is refused: {reason}")]
    Wheel {
        /// File name.
        wheel: String,
        /// Why.
        reason: String,
    },
    /// Two wheels want the same path.
    #[error("wheels `{first}` and `{second}` both bring `{path}`")]
    Collision {
        /// The wheel that came first.
        first: String,
        /// The other.
        second: String,
        /// The path, as the second spells it.
        path: String,
    },
    /// The download brought not what the lock asks for.
    #[error("could not provision the environment: {reason}")]
    Download {
        /// Why, with the last lines of pip if it spoke.
        reason: String,
    },
    /// Not in the store, and going online is not allowed.
    #[error("the environment is not in the store and the run is offline: missing {missing}")]
    Offline {
        /// What is missing.
        missing: String,
    },
    /// A cached tree that is not what it was made of: wheels, or the host's files.
    #[error("`{}` is not what it was made of: {reason}", .path.display())]
    Tampered {
        /// Where.
        path: PathBuf,
        /// The first difference.
        reason: String,
    },
    /// Files of the host that are not what they were when they were hashed.
    #[error("`{}` changed while the run was going on", .path.display())]
    Changed {
        /// The first that was found.
        path: PathBuf,
    },
    /// Python sources could not be compiled once for all steps.
    #[error("could not compile the environment's Python: {reason}")]
    Compile {
        /// Why, with the last lines of the compiler if it spoke.
        reason: String,
    },
    /// The operating system said no.
    #[error("could not {what} `{}`: {source}", .path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provisioning sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The host lacks a file that every environment needs.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// Whoever was to read something did not.
    #[error("{what}: {fault}")]
    Worker {
        /// What was to be read.
        what: String,
        /// Why not.
        fault: WorkerFault,
    },
}

impl EnvironmentError {
    /// Stable code for people and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Requirements { .. } => "environment/requirements",
            Self::Interpreter { .. } => "environment/interpreter",
            Self::Wheel { .. } => "environment/wheel",
            Self::Collision { .. } => "environment/collision",
            Self::Download { .. } => "environment/download",
            Self::Offline { .. } => "environment/offline",
            Self::Tampered { .. } => "environment/tampered",
            Self::Changed { .. } => "environment/changed",
            Self::Compile { .. } => "environment/compile",
            Self::Io { .. } => "environment/io",
            Self::Store(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Closure(error) => error.code(),
            Self::Worker { fault, .. } => fault.code(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Requirements { hint, .. } => (*hint).to_owned(),
            Self::Interpreter { .. } => "name a CPython 3.9 or later with `--python PATH` or `python:` in the settings".to_owned(),
            Self::Wheel { .. } => "look at the wheel; pin another version if its author built it badly, and tell them".to_owned(),
            Self::Collision { .. } => "remove one of the two packages from the lock: which one wins would depend on the order".to_owned(),
            Self::Download { .. } => {
                "check that every line has a wheel for this interpreter (`pip download --only-binary=:all: --require-hashes -r LOCK`), the index setting and its CA file".to_owned()
            }
            Self::Offline { .. } => "run once without `--offline`, or copy the store from a machine that has it".to_owned(),
            Self::Tampered { path, .. } => {
                format!("find out who changed it, then delete it (`chmod -R u+w`, `rm -r` on `{}`): it is made again", path.display())
            }
            Self::Changed { .. } => "run again when nobody changes the host's programs and libraries".to_owned(),
            Self::Compile { .. } => "nothing need be done: each step compiles what it imports, which takes longer".to_owned(),
            Self::Io { .. } => "check permissions and free space of the cache folder".to_owned(),
            Self::Store(error) => error.hint().to_string(),
            Self::Sandbox(error) => error.hint().to_string(),
            Self::Closure(error) => error.hint().to_string(),
            Self::Worker { fault, .. } => fault.hint().to_owned(),
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// For `map_err` on raw system calls.
    pub(crate) fn os(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let wrap = Self::io(what, path);
        move |errno| wrap(errno.into())
    }

    pub(crate) fn wheel(wheel: &str, reason: impl Into<String>) -> Self {
        Self::Wheel { wheel: wheel.to_owned(), reason: reason.into() }
    }
}
