//! Percentile bootstrap: sample → each metric with its 95 % interval.
//!
//! **Invariant:** an interval holds its value, and the same seed gives the same interval.

use super::measure::{Measured, Sample};
use crate::random::Random;

/// Rows that all resamples together draw, about.
pub(super) const DRAWS: usize = 10_000_000;

/// Number of resamples: 1,000 up to 10,000 rows, fewer beyond, never below 200.
pub(super) fn resamples(rows: usize) -> usize {
    (DRAWS / rows.max(1)).clamp(200, 1_000)
}

/// Measures the sample and its resamples. Metrics undefined on the sample itself are left out.
pub(super) fn intervals(sample: &Sample, resamples: usize, seed: u64) -> Vec<Measured> {
    let rows = sample.rows();
    let names = sample.names();
    let point = sample.measure(&vec![1; rows]);
    let mut draws: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples); names.len()];
    let mut random = Random::seeded(seed);
    let mut weights = vec![0_u32; rows];
    let bound = u64::try_from(rows).unwrap_or(u64::MAX);
    for _ in 0..resamples {
        weights.fill(0);
        for _ in 0..rows {
            if let Some(weight) = usize::try_from(random.below(bound)).ok().and_then(|row| weights.get_mut(row)) {
                *weight += 1;
            }
        }
        for (draws, value) in draws.iter_mut().zip(sample.measure(&weights)) {
            draws.extend(Some(value).filter(|value| value.is_finite()));
        }
    }
    let mut measured = Vec::with_capacity(names.len());
    for ((name, value), mut draws) in names.iter().zip(point).zip(draws) {
        if !value.is_finite() {
            continue;
        }
        draws.sort_by(f64::total_cmp);
        let low = quantile(&draws, 0.025).unwrap_or(value).min(value);
        let high = quantile(&draws, 0.975).unwrap_or(value).max(value);
        measured.push(Measured { name, value, low, high });
    }
    measured
}

/// Linear interpolation between order statistics, as NumPy's default.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of resamples")]
    let place = share * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let below = place.floor() as usize;
    let (low, high) = (sorted.get(below)?, sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * place.fract())
}
