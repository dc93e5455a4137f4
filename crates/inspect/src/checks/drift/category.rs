//! Categories of a feature on both sides: texts → PSI, chi-square, Cramér's V.
//!
//! Categories are counted under 64-bit hashes. Categories whose expected count on the smaller side is below 5 are pooled into one
//! (Cochran's rule), so that identifiers do not look like drift. Nulls are a category. Past [`DISTINCT_MAX`] distinct values
//! the hashes of both sides are folded to [`BUCKETS`] buckets.
//!
//! **Invariant:** both sides are folded and pooled alike.
#![expect(clippy::cast_precision_loss, reason = "counts of rows stay below 2^53")]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::{Distance, Side, psi};
use crate::special::chi2_sf;

/// Distinct values counted one by one.
const DISTINCT_MAX: usize = 20_000;
/// Buckets beyond that.
const BUCKETS: u64 = 4_096;
/// Least expected count of a category of its own.
const EXPECTED_MIN: f64 = 5.0;
/// Category of nulls.
const NULL: u64 = 0;

#[derive(Default)]
pub(super) struct Categories {
    counts: HashMap<u64, [u64; 2]>,
    folded: bool,
}

impl Categories {
    pub(super) fn count(&mut self, side: Side, texts: &[Option<Cow<'_, str>>]) {
        for text in texts {
            let hash = text.as_ref().map_or(NULL, |text| xxh3_64(text.as_bytes()) | 1);
            let key = if self.folded { fold(hash) } else { hash };
            if let Some(count) = self.counts.entry(key).or_default().get_mut(side.seat()) {
                *count += 1;
            }
            if !self.folded && self.counts.len() > DISTINCT_MAX {
                self.folded = true;
                for (hash, [a, b]) in std::mem::take(&mut self.counts) {
                    let bucket = self.counts.entry(fold(hash)).or_default();
                    *bucket = [bucket[0] + a, bucket[1] + b];
                }
            }
        }
    }

    pub(super) fn distance(&self) -> Distance {
        let sum = |seat: fn(&[u64; 2]) -> u64| self.counts.values().map(seat).sum::<u64>() as f64;
        let (n, m) = (sum(|pair| pair[0]), sum(|pair| pair[1]));
        let smaller = n.min(m) / (n + m).max(1.0);
        let (mut reference, mut current, mut rare) = (Vec::new(), Vec::new(), [0.0; 2]);
        // in the order of hashes, so that sums of floats come out the same each time
        for [a, b] in self.counts.iter().collect::<BTreeMap<_, _>>().into_values() {
            if ((a + b) as f64) * smaller < EXPECTED_MIN {
                rare = [rare[0] + *a as f64, rare[1] + *b as f64];
            } else {
                reference.push(*a as f64);
                current.push(*b as f64);
            }
        }
        if rare != [0.0; 2] {
            reference.push(rare[0]);
            current.push(rare[1]);
        }
        let (chi2, freedom) = chi_square(&reference, &current);
        let p = if freedom > 0.0 { chi2_sf(chi2, freedom) } else { 1.0 };
        let cramers_v = (chi2 / (n + m).max(1.0)).sqrt();
        Distance { psi: psi(&reference, &current), p, more: vec![("chi2", chi2), ("cramers_v", cramers_v)], ks: None }
    }
}

fn fold(hash: u64) -> u64 {
    if hash == NULL { NULL } else { 1 + (hash >> 1) % BUCKETS }
}

/// Pearson's statistic of a table of two rows, and its degrees of freedom.
pub(super) fn chi_square(reference: &[f64], current: &[f64]) -> (f64, f64) {
    let (n, m): (f64, f64) = (reference.iter().sum(), current.iter().sum());
    let (mut chi2, mut columns) = (0.0, 0.0);
    for (a, b) in reference.iter().zip(current) {
        let column = a + b;
        if column > 0.0 && n > 0.0 && m > 0.0 {
            columns += 1.0;
            for (found, row) in [(a, n), (b, m)] {
                let expected = row * column / (n + m);
                chi2 += (found - expected).powi(2) / expected;
            }
        }
    }
    (chi2, f64::max(columns - 1.0, 0.0))
}

/// Every bound and seed that a report depends on.
pub(super) fn parameters() -> serde_json::Value {
    serde_json::json!({"distinct_max": DISTINCT_MAX, "buckets": BUCKETS, "expected_min": EXPECTED_MIN})
}
