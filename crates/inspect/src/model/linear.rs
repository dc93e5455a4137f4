//! Linear models and norms of ai.onnx.ml: parameters, row → sums.
//!
//! **Invariant:** coefficients are exactly outputs × features.

use super::ModelError;
use super::attributes::Attributes;
use super::ops::Norm;
use super::tensor::Tensor;
use super::trees::{PostTransform, post_transform};

/// A linear model: `sum_k = intercept_k + Σ_j coefficient_kj x_j`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Number of sums.
    pub outputs: usize,
    /// Number of features.
    pub features: usize,
    /// Row-major, outputs × features.
    pub coefficients: Vec<f64>,
    /// One an output.
    pub intercepts: Vec<f64>,
    /// What is done with sums.
    pub post: PostTransform,
}

impl Linear {
    /// Sums of a row, before the post-transform.
    #[must_use]
    pub fn sums(&self, row: &[f64]) -> Vec<f64> {
        let terms = |weights: &[f64]| weights.iter().zip(row).map(|(weight, value)| weight * value).sum::<f64>();
        self.coefficients
            .chunks(self.features.max(1))
            .zip(&self.intercepts)
            .map(|(weights, intercept)| intercept + terms(weights))
            .collect()
    }

    pub(super) fn classifier(attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        let outputs = match attributes.floats("intercepts").len() {
            0 => attributes.classes().len(),
            outputs => outputs,
        };
        Self::read(attributes, outputs)
    }

    pub(super) fn regressor(attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        let outputs = usize::try_from(attributes.integer("targets").unwrap_or(1)).unwrap_or(0);
        Self::read(attributes, outputs)
    }

    fn read(attributes: &Attributes<'_>, outputs: usize) -> Result<Self, ModelError> {
        let coefficients = attributes.floats("coefficients").to_vec();
        let mut intercepts = attributes.floats("intercepts").to_vec();
        if outputs == 0 || coefficients.is_empty() || !coefficients.len().is_multiple_of(outputs) || outputs > coefficients.len() {
            return Err(ModelError::Malformed { reason: format!("{} coefficients for {outputs} outputs", coefficients.len()) });
        }
        if intercepts.is_empty() {
            intercepts = vec![0.0; outputs];
        }
        if intercepts.len() != outputs {
            return Err(ModelError::Malformed { reason: format!("{} intercepts for {outputs} outputs", intercepts.len()) });
        }
        Ok(Self { outputs, features: coefficients.len() / outputs, coefficients, intercepts, post: post_transform(attributes)? })
    }
}

/// Divides each row by its norm; a row of norm 0 stays.
pub(super) fn normalize(input: &Tensor, norm: Norm) -> Result<Tensor, ModelError> {
    let (_, columns) = input.matrix()?;
    let (elem, numbers) = input.numbers()?;
    let mut out = Vec::with_capacity(numbers.len());
    for row in numbers.chunks(columns.max(1)) {
        let size = match norm {
            Norm::L1 => row.iter().map(|value| value.abs()).sum::<f64>(),
            Norm::L2 => row.iter().map(|value| value * value).sum::<f64>().sqrt(),
            Norm::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        out.extend(row.iter().map(|value| if size == 0.0 { *value } else { elem.hold(value / size) }));
    }
    Tensor::new(input.shape.clone(), elem, out)
}
