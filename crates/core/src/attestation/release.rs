//! in-toto release v0.1: this model version is these bytes.
//!
//! in: model, version; out: the statement.
//! **Invariant:** the package URL always carries a version.

use serde::{Deserialize, Serialize};

use super::{RELEASE, ReadError, only_subject};
use crate::envelope::{ResourceDescriptor, Statement};
use crate::id::Name;

/// A model version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Model name.
    pub model: Name,
    /// Version, counts from 1.
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    purl: String,
}

impl Release {
    /// The package URL; models have no type of their own in the purl list, hence `generic`.
    #[must_use]
    pub fn purl(&self) -> String {
        format!("pkg:generic/{}@{}", self.model, self.version)
    }

    /// The statement about the model's artifact.
    #[must_use]
    pub fn statement(&self, model: ResourceDescriptor) -> Statement {
        super::statement(RELEASE, vec![model], &Predicate { purl: self.purl() })
    }

    /// Reads a release.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let Predicate { purl } = super::predicate(statement, RELEASE)?;
        only_subject(statement)?;
        let parts = purl.strip_prefix("pkg:generic/").and_then(|rest| rest.split_once('@'));
        let read = parts.and_then(|(model, version)| Some(Self { model: Name::new(model).ok()?, version: version.parse().ok()? }));
        match read {
            Some(release) if release.purl() == purl => Ok(release),
            _ => Err(ReadError::Malformed(format!("`{}` names no model version", purl.chars().take(120).collect::<String>()))),
        }
    }
}
