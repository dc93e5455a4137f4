//! Our own `integrity-score/v1`: one number for a model, and every part it is the product of.
//!
//! in: parts with their bounds, the statements they rest on; out: the statement.
//! **Invariant:** the score is the product of its parts; a required part without a value leaves it incomplete, hence absent.

use serde::{Deserialize, Serialize};

use super::{INTEGRITY_SCORE, ReadError, only_subject};
use crate::envelope::{ResourceDescriptor, Statement};

/// One part of the score.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorePart {
    /// Stable name, for instance `drift`.
    pub name: String,
    /// Whether the score is incomplete without it.
    pub required: bool,
    /// What was measured, if it was.
    pub measured: Option<f64>,
    /// The policy's bound.
    pub bound: Option<f64>,
    /// The part's share, 0 to 1; absent if not measured.
    pub score: Option<f64>,
}

/// The score.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegrityScore {
    /// The product of all measured parts; absent if a required part is missing.
    pub score: Option<f64>,
    /// Parts.
    pub parts: Vec<ScorePart>,
    /// What they were computed from, by digest.
    pub inputs: Vec<ResourceDescriptor>,
}

impl IntegrityScore {
    /// Multiplies the parts.
    #[must_use]
    pub fn of(parts: Vec<ScorePart>, inputs: Vec<ResourceDescriptor>) -> Self {
        Self { score: product(&parts), parts, inputs }
    }

    /// The statement about the model.
    #[must_use]
    pub fn statement(&self, model: ResourceDescriptor) -> Statement {
        super::statement(INTEGRITY_SCORE, vec![model], self)
    }

    /// Reads a score and multiplies its parts again.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let claim: Self = super::predicate(statement, INTEGRITY_SCORE)?;
        only_subject(statement)?;
        let in_range = claim.parts.iter().filter_map(|part| part.score).all(|score| (0.0..=1.0).contains(&score));
        if !in_range {
            return Err(ReadError::Inconsistent("a part is outside 0 to 1".to_owned()));
        }
        let agrees = match (claim.score, product(&claim.parts)) {
            (None, None) => true,
            // the same product, but for the last digits of the decimal text
            (Some(said), Some(found)) => (said - found).abs() <= 1e-9,
            _ => false,
        };
        if agrees { Ok(claim) } else { Err(ReadError::Inconsistent("the score is not the product of its parts".to_owned())) }
    }
}

fn product(parts: &[ScorePart]) -> Option<f64> {
    let complete = !parts.is_empty() && parts.iter().all(|part| !part.required || part.score.is_some());
    complete.then(|| parts.iter().filter_map(|part| part.score).product())
}
