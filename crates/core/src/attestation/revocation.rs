//! Our own `revocation/v1`: a key, a statement or an artifact counts no more from a log position on.
//!
//! in: [`Revocation`]; out: the statement.
//! **Invariant:** validity is a matter of log positions, never of a clock.

use serde::{Deserialize, Serialize};

use super::{REVOCATION, ReadError, blob, only_subject, sha256_of};
use crate::digest::Digest;
use crate::envelope::Statement;

/// What is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// A key, by hint.
    Key,
    /// A statement, by SHA256(PAE).
    Statement,
    /// An artifact, by its digest.
    Artifact,
}

impl Revoked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Statement => "statement",
            Self::Artifact => "artifact",
        }
    }
}

/// What the statement says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Kind of target.
    pub kind: Revoked,
    /// Key hint, SHA256(PAE) or artifact digest.
    pub target: Digest,
    /// Why, one line.
    pub reason: String,
    /// The first leaf index at which the target counts no more; before the revocation's own index after a compromise.
    pub effective_log_index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    kind: Revoked,
    reason: String,
    effective_log_index: u64,
}

impl Revocation {
    /// The statement.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let predicate = Predicate { kind: self.kind, reason: self.reason.clone(), effective_log_index: self.effective_log_index };
        super::statement(REVOCATION, vec![blob(self.kind.as_str(), &self.target)], &predicate)
    }

    /// Reads a revocation.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let Predicate { kind, reason, effective_log_index } = super::predicate(statement, REVOCATION)?;
        let subject = only_subject(statement)?;
        if subject.name.as_deref() != Some(kind.as_str()) {
            return Err(ReadError::Subject("its name is not the kind of target".to_owned()));
        }
        let target = sha256_of(subject).ok_or_else(|| ReadError::Subject("no sha256".to_owned()))?;
        Ok(Self { kind, target, reason, effective_log_index })
    }
}
