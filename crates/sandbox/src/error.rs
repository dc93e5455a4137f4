//! What can go wrong, in the words of the user.
//!
//! In: a cause. Out: an error with a stable `code()` and a `hint()`.
//!
//! **Invariant:** a missing facility names itself and the setting or package that brings it.

use std::io;

use serde::Serialize;

use crate::profile::Profile;

/// One facility the profile needs and this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The facility.
    pub what: String,
    /// What to change.
    pub hint: String,
}

/// The machine cannot run this profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("the `{profile}` sandbox is not supported here: {}", list(missing))]
pub struct Unsupported {
    /// The profile asked for.
    pub profile: Profile,
    /// Everything that is missing, not only the first.
    pub missing: Vec<Missing>,
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(|one| one.what.as_str()).collect::<Vec<_>>().join("; ")
}

impl Unsupported {
    pub(crate) fn one(profile: Profile, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { profile, missing: vec![Missing { what: what.into(), hint: hint.into() }] }
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        "sandbox/unsupported"
    }

    /// What to do.
    pub fn hint(&self) -> String {
        self.missing.iter().map(|one| one.hint.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// The step could not be run as asked. How a step that did run ended is no error but [`crate::Exit`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A facility is missing.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The caller's specification is wrong.
    #[error("the sandbox specification is refused: {what}")]
    Spec {
        /// What is wrong.
        what: String,
    },
    /// The program could not be started.
    #[error("`{program}` cannot be executed inside the sandbox: {source}")]
    Exec {
        /// As in argv.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A stage of the set-up failed.
    #[error("setting up the sandbox failed at {stage}: {source}")]
    Setup {
        /// Which.
        stage: String,
        /// Why.
        source: io::Error,
    },
    /// Pid 1 ended without saying how the step ended.
    #[error("the sandbox's first process ended without a report ({detail})")]
    InitLost {
        /// How it ended.
        detail: String,
    },
    /// Processes outlived the kill.
    #[error("{count} processes of the step are still alive after the kill")]
    Survivors {
        /// How many.
        count: usize,
    },
}

impl SandboxError {
    pub(crate) fn setup(stage: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let stage = stage.into();
        move |source| Self::Setup { stage, source }
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "sandbox/unsupported",
            Self::Spec { .. } => "sandbox/spec",
            Self::Exec { .. } => "sandbox/exec",
            Self::Setup { .. } => "sandbox/setup",
            Self::InitLost { .. } => "sandbox/init-lost",
            Self::Survivors { .. } => "sandbox/survivors",
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Self::Unsupported(unsupported) => unsupported.hint(),
            Self::Spec { .. } => "correct the step".into(),
            Self::Exec { .. } => "the program, its interpreter and its libraries must be part of the step's environment".into(),
            Self::Setup { .. } => "the stage names what the kernel refused; the kernel log may tell more".into(),
            Self::InitLost { .. } => "was it killed from outside, or the machine out of memory?".into(),
            Self::Survivors { .. } => "look for processes in uninterruptible sleep; the step is not attested".into(),
        }
    }
}

/// An output the step left cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Neither a regular file nor a folder, or one with a second name.
    #[error("output `{path}` is {what}, only regular files with one name are taken")]
    Kind {
        /// Output name and path in it, escaped.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The name could mislead a reader or a tool.
    #[error("output `{path}` has a name that is not plain text: {what}")]
    Name {
        /// Escaped.
        path: String,
        /// Which rule.
        what: &'static str,
    },
    /// A bound was passed.
    #[error("output `{path}` passes the limit of {limit} {unit}")]
    Limit {
        /// Where.
        path: String,
        /// The bound.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// It cannot be read.
    #[error("output `{path}` cannot be read: {source}")]
    Read {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl CollectError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "sandbox/output-kind",
            Self::Name { .. } => "sandbox/output-name",
            Self::Limit { .. } => "sandbox/output-limit",
            Self::Read { .. } => "sandbox/output-read",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "write plain files into $SEAWORTHY_OUTPUTS; copy instead of linking",
            Self::Name { .. } => "use UTF-8 names without control characters, backslashes or direction marks",
            Self::Limit { .. } => "raise the step's `resources`, or write less",
            Self::Read { .. } => "leave files readable for their owner",
        }
    }
}
