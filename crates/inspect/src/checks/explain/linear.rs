//! SHAP of linear models: coefficient × (value − mean of the background), exact for independent features.
//!
//! Source: Lundberg, Lee, "A unified approach to interpreting model predictions", 2017, §4.1.
//!
//! **Invariant:** the mean is that of all background rows given, never of a sample of them.

use super::Explanation;
use crate::checks::CheckError;
use crate::model::{Linear, Matrix, ModelError};

/// Explains one output of a linear model.
pub fn explain(linear: &Linear, rows: &Matrix, background: &Matrix, output: usize) -> Result<Explanation, CheckError> {
    let features = linear.features;
    if rows.columns != features || background.columns != features {
        return Err(ModelError::Shape { reason: format!("it uses {features} features and got {}", rows.columns) }.into());
    }
    let start = output.saturating_mul(features);
    let coefficients = linear.coefficients.get(start..start.saturating_add(features)).unwrap_or_default();
    let intercept = linear.intercepts.get(output).copied().unwrap_or(f64::NAN);
    let mut means = vec![0.0; features];
    for row in background.iter() {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    means.iter_mut().for_each(|mean| *mean /= background.rows().max(1) as f64);
    let expected = intercept + coefficients.iter().zip(&means).map(|(weight, mean)| weight * mean).sum::<f64>();
    let mut contributions = Matrix { columns: features, values: Vec::with_capacity(rows.values.len()) };
    let mut error = 0.0_f64;
    for row in rows.iter() {
        let first = contributions.values.len();
        contributions.values.extend(coefficients.iter().zip(row).zip(&means).map(|((weight, value), mean)| weight * (value - mean)));
        let sum: f64 = contributions.values.iter().skip(first).sum();
        let wanted = linear.sums(row).get(output).copied().unwrap_or(f64::NAN);
        let gap = (expected + sum - wanted).abs() / wanted.abs().max(1.0);
        // f64::max would drop a NaN
        error = if gap.is_nan() { gap } else { error.max(gap) };
        if error.is_nan() {
            break;
        }
    }
    Ok(Explanation { expected, contributions, additivity_error: error })
}
