//! Identifiers as newtypes: a run's id cannot be passed where a step's name is meant.
//!
//! **Invariant:** a [`Name`] is 1 to 64 of `a-z A-Z 0-9 _ . -`, starting with a letter, digit or underscore.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name of a workflow, step, output, gate or model.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Text that cannot be a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no valid name: use 1 to 64 of a-z A-Z 0-9 _ . - and start with a letter, digit or underscore")]
pub struct NameError(String);

impl Name {
    /// Checks and wraps `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let first_ok = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest_ok = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if first_ok && rest_ok && text.len() <= 64 { Ok(Self(text)) } else { Err(NameError(text.chars().take(80).collect())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// A run: `r` and 16 hex digits, the first 11 of which are its start in milliseconds, so that ids sort by time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fencing number of a try at a step: counts from 1.
pub type Attempt = u32;

/// One try at one step of one run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StepRunId {
    /// The run.
    pub run: RunId,
    /// The workflow in the file.
    pub workflow: Name,
    /// The step in the workflow.
    pub step: Name,
    /// The fencing number.
    pub attempt: Attempt,
}

impl fmt::Display for StepRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}#{}", self.run, self.workflow, self.step, self.attempt)
    }
}

/// Text that is not `run/workflow/step#attempt`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step attempt: expected run/workflow/step#attempt")]
pub struct StepRunIdError(String);

impl std::str::FromStr for StepRunId {
    type Err = StepRunIdError;

    fn from_str(text: &str) -> Result<Self, StepRunIdError> {
        let read = || {
            let (path, attempt) = text.rsplit_once('#')?;
            let mut parts = path.split('/');
            let (run, workflow, step) = (parts.next()?, parts.next()?, parts.next()?);
            let id = Self {
                run: RunId(run.to_owned()),
                workflow: Name::new(workflow).ok()?,
                step: Name::new(step).ok()?,
                attempt: attempt.parse().ok()?,
            };
            // one text for one attempt: refuses `#01`, an empty run, further parts
            (!run.is_empty() && id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| StepRunIdError(text.chars().take(80).collect()))
    }
}
