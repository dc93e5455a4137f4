//! Numbers of a feature on both sides: values → PSI, Kolmogorov–Smirnov D and its p-value.
//!
//! Up to [`EXACT_MAX`] values a side everything is exact, from sorted values. Beyond, 256 quantiles and the deciles of a sample
//! of the reference become bin edges, and a second pass counts values at and between edges; D is then the largest difference
//! at an edge, too small by at most `ks_error_max`, the largest share of the reference between two edges.
//!
//! P-value: Kolmogorov's limiting distribution at √(nm/(n+m)) D.
//!
//! **Invariant:** nulls are a bin of their own in the PSI and no part of D.
#![expect(clippy::indexing_slicing, reason = "counts have one entry an edge and one a gap, made together; sides are 0 and 1")]
#![expect(clippy::cast_precision_loss, reason = "counts of rows stay below 2^53")]

use super::{Distance, Side, psi};
use crate::random::Reservoir;
use crate::special::kolmogorov_sf;

/// Values a side up to which the comparison is exact.
pub(super) const EXACT_MAX: usize = 100_000;
/// Seed of the samples beyond that.
pub(super) const SEED: u64 = 0x5ea_0002;
/// Values in memory over all columns of one side.
const VALUES_MAX: usize = 20_000_000;
/// Quantiles used as edges.
const QUANTILES: usize = 256;
/// Up to so many distinct values on both sides, each is a bin of the PSI.
const DISCRETE_MAX: usize = 20;

pub(super) struct Numbers {
    samples: [Reservoir<f64>; 2],
    nulls: [f64; 2],
    sorted: [Vec<f64>; 2],
    exact: bool,
    edges: Vec<f64>,
    /// Edges that bound the bins of the PSI, as places in `edges`; `None` where each value is a bin.
    deciles: Option<Vec<usize>>,
    /// A side: count below the first edge, at it, between it and the next, and so on.
    counts: [Vec<f64>; 2],
}

impl Numbers {
    /// For one of so many columns.
    pub(super) fn new(columns: usize) -> Self {
        let size = (VALUES_MAX / columns.max(1)).clamp(1_000, EXACT_MAX);
        Self {
            samples: [Reservoir::new(size, SEED), Reservoir::new(size, SEED + 1)],
            nulls: [0.0; 2],
            sorted: [Vec::new(), Vec::new()],
            exact: true,
            edges: Vec::new(),
            deciles: None,
            counts: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn sample(&mut self, side: Side, values: &[Option<f64>]) {
        for value in values {
            match value {
                Some(value) => self.samples[side.seat()].offer(|| value + 0.0),
                None => self.nulls[side.seat()] += 1.0,
            }
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        self.exact
    }

    /// Sorts what was sampled and fixes edges. If the samples are complete, also counts.
    pub(super) fn set_bins(&mut self) {
        for seat in 0..2 {
            let seen = self.samples[seat].seen();
            let mut kept = std::mem::replace(&mut self.samples[seat], Reservoir::new(0, 0)).into_kept();
            self.exact &= usize::try_from(seen).is_ok_and(|seen| seen == kept.len());
            kept.sort_by(f64::total_cmp);
            self.sorted[seat] = kept;
        }
        let distinct = distinct(&self.sorted);
        let reference = &self.sorted[0];
        let at = |share: f64| {
            // the value at rank ceil(share n)
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
            let rank = (share * reference.len() as f64).ceil() as usize;
            reference[rank.clamp(1, reference.len()) - 1]
        };
        if let Some(values) = distinct {
            self.edges = values;
        } else if reference.is_empty() {
            self.edges = self.sorted[1].first().copied().into_iter().collect();
            self.deciles = Some(vec![0]);
        } else {
            let deciles: Vec<f64> = (1..10).map(|k| at(f64::from(k) / 10.0)).collect();
            let mut edges = deciles.clone();
            if !self.exact {
                edges.extend((1..=QUANTILES).map(|k| at(k as f64 / QUANTILES as f64)));
                edges.push(reference[0]);
            }
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            let mut places: Vec<usize> =
                deciles.iter().filter_map(|decile| edges.binary_search_by(|edge| edge.total_cmp(decile)).ok()).collect();
            places.dedup();
            (self.edges, self.deciles) = (edges, Some(places));
        }
        self.counts = [vec![0.0; 2 * self.edges.len() + 1], vec![0.0; 2 * self.edges.len() + 1]];
        if self.exact {
            for seat in 0..2 {
                let sorted = std::mem::take(&mut self.sorted[seat]);
                sorted.iter().for_each(|value| self.add(seat, *value));
                self.sorted[seat] = sorted;
            }
        } else {
            self.sorted = [Vec::new(), Vec::new()];
        }
    }

    fn add(&mut self, seat: usize, value: f64) {
        let bin = match self.edges.binary_search_by(|edge| edge.total_cmp(&value)) {
            Ok(edge) => 2 * edge + 1,
            Err(gap) => 2 * gap,
        };
        self.counts[seat][bin] += 1.0;
    }

    /// Counts values of the second pass.
    pub(super) fn bin(&mut self, side: Side, values: &[Option<f64>]) {
        if !self.exact {
            values.iter().flatten().for_each(|value| self.add(side.seat(), value + 0.0));
        }
    }

    pub(super) fn distance(&self) -> Distance {
        let totals = [0, 1].map(|seat| self.counts[seat].iter().sum::<f64>());
        let mut bins = [0, 1].map(|seat| self.psi_bins(seat));
        if self.nulls.iter().any(|nulls| *nulls > 0.0) {
            [0, 1].into_iter().for_each(|seat| bins[seat].push(self.nulls[seat]));
        }
        let ks = if totals.contains(&0.0) {
            0.0
        } else if self.exact {
            exact_ks(&self.sorted)
        } else {
            self.binned_ks(totals)
        };
        let effective = totals[0] * totals[1] / (totals[0] + totals[1]).max(1.0);
        let share = |seat: usize| self.nulls[seat] / (self.nulls[seat] + totals[seat]).max(1.0);
        let mut more = vec![("null_fraction_reference", share(0)), ("null_fraction_current", share(1))];
        if !self.exact {
            more.push(("ks_error_max", self.counts[0].iter().step_by(2).copied().fold(0.0, f64::max) / totals[0].max(1.0)));
        }
        // one side without a single value has no D; the PSI of the null bin carries it, as surely as a test could
        let p = if totals.contains(&0.0) && totals[0] + totals[1] > 0.0 { 0.0 } else { kolmogorov_sf(effective.sqrt() * ks) };
        let p = if self.nulls.iter().any(|nulls| *nulls > 0.0) { p.min(self.null_p(totals)) } else { p };
        Distance { psi: psi(&bins[0], &bins[1]), p, more, ks: Some(ks) }
    }

    /// P-value of the shares of nulls being equal: chi-square with one degree of freedom, doubled for the two tests of a column.
    fn null_p(&self, totals: [f64; 2]) -> f64 {
        let (chi2, _) = super::category::chi_square(&[self.nulls[0], totals[0]], &[self.nulls[1], totals[1]]);
        (2.0 * crate::special::chi2_sf(chi2, 1.0)).min(1.0)
    }

    /// Counts of the bins of the PSI: `(low, high]` between deciles, or each value.
    fn psi_bins(&self, seat: usize) -> Vec<f64> {
        let counts = &self.counts[seat];
        let Some(deciles) = &self.deciles else { return counts.iter().skip(1).step_by(2).copied().collect() };
        let mut bins = Vec::with_capacity(deciles.len() + 1);
        let mut start = 0;
        for edge in deciles {
            let end = 2 * edge + 2;
            bins.push(counts[start..end].iter().sum());
            start = end;
        }
        bins.push(counts[start..].iter().sum());
        bins
    }

    fn binned_ks(&self, totals: [f64; 2]) -> f64 {
        let (mut below, mut largest) = ([0.0; 2], 0.0_f64);
        for bin in 0..self.counts[0].len() {
            for (seat, below) in below.iter_mut().enumerate() {
                *below += self.counts[seat][bin];
            }
            largest = largest.max((below[0] / totals[0] - below[1] / totals[1]).abs());
        }
        largest
    }
}

/// The distinct values of both sides, if there are few.
fn distinct(sorted: &[Vec<f64>; 2]) -> Option<Vec<f64>> {
    let mut values: Vec<f64> = Vec::new();
    for value in sorted.iter().flatten() {
        if let Err(place) = values.binary_search_by(|known| known.total_cmp(value)) {
            if values.len() == DISCRETE_MAX {
                return None;
            }
            values.insert(place, *value);
        }
    }
    Some(values)
}

/// Largest difference of the two empirical distribution functions.
fn exact_ks([reference, current]: &[Vec<f64>; 2]) -> f64 {
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < reference.len() && j < current.len() {
        let value = if reference[i].total_cmp(&current[j]).is_le() { reference[i] } else { current[j] };
        while i < reference.len() && reference[i].total_cmp(&value).is_le() {
            i += 1;
        }
        while j < current.len() && current[j].total_cmp(&value).is_le() {
            j += 1;
        }
        largest = largest.max((i as f64 / n - j as f64 / m).abs());
    }
    largest
}

/// Every bound and seed that a report depends on.
pub(super) fn parameters() -> serde_json::Value {
    serde_json::json!({"exact_max": EXACT_MAX, "seed": SEED, "values_max": VALUES_MAX, "quantiles": QUANTILES, "discrete_max": DISCRETE_MAX})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn uniform(random: &mut Random, shift: f64) -> f64 {
        random.below(1 << 40) as f64 / (1_u64 << 40) as f64 + shift
    }

    /// Beyond the exact size the binned D lies within its stated error of the exact one, atoms included.
    #[test]
    fn binned_d_keeps_its_stated_error() {
        let mut random = Random::seeded(3);
        for (shift, atoms) in [(0.0, false), (0.05, false), (0.02, true)] {
            let mut draw = |shift: f64| if atoms && random.below(3) == 0 { 0.5 + shift } else { uniform(&mut random, shift) };
            let reference: Vec<Option<f64>> = (0..30_000).map(|_| Some(draw(0.0))).collect();
            let current: Vec<Option<f64>> = (0..20_000).map(|_| Some(draw(shift))).collect();
            let sort = |values: &[Option<f64>]| {
                let mut values: Vec<f64> = values.iter().flatten().copied().collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let exact = exact_ks(&[sort(&reference), sort(&current)]);
            let mut numbers = Numbers::new(VALUES_MAX / 5_000);
            numbers.sample(Side::Reference, &reference);
            numbers.sample(Side::Current, &current);
            numbers.set_bins();
            assert!(!numbers.is_exact());
            numbers.bin(Side::Reference, &reference);
            numbers.bin(Side::Current, &current);
            let distance = numbers.distance();
            let error = distance.more.iter().find(|(name, _)| *name == "ks_error_max").unwrap().1;
            let found = distance.ks.unwrap();
            assert!(found <= exact + 1e-12 && exact - found <= error, "{found} against {exact}, error at most {error}");
            assert!(error < 0.01, "{error}");
        }
    }
}
