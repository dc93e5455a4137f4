//! Uniqueness in bounded memory: cells → rows that repeat an earlier value.
//!
//! Values are remembered as 128-bit hashes (XXH3). Where all hashes of all unique columns would pass [`HASHES_MAX`], the table
//! is read several times and each pass looks at the hashes of one residue class.
//!
//! **Invariant:** two equal values of one column have equal hashes; a collision can only report a violation that is none.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128;

use crate::table::Batch;

/// Hashes in memory at once; about 32 bytes each.
pub(super) const HASHES_MAX: u64 = 8_000_000;

pub(super) struct UniqueSets {
    seen: Vec<HashSet<u128>>,
    passes: u64,
    pass: u64,
}

impl UniqueSets {
    pub(super) fn new(columns: usize, rows: u64) -> Self {
        let hashes = rows.saturating_mul(u64::try_from(columns).unwrap_or(u64::MAX));
        Self { seen: vec![HashSet::new(); columns], passes: hashes.div_ceil(HASHES_MAX).max(1), pass: 0 }
    }

    /// How often the table must be read, at least once.
    pub(super) fn passes(&self) -> u64 {
        self.passes
    }

    pub(super) fn begin(&mut self, pass: u64) {
        self.pass = pass;
        self.seen.iter_mut().for_each(HashSet::clear);
    }

    /// Reports each row of the batch whose value in the column at `place` occurred before. Nulls do not repeat.
    pub(super) fn repeats(&mut self, set: usize, batch: &Batch, place: usize, mut report: impl FnMut(usize)) {
        let Some(seen) = self.seen.get_mut(set) else { return };
        for (row, text) in batch.texts(place).iter().enumerate() {
            let Some(text) = text else { continue };
            let hash = xxh3_128(text.as_bytes());
            if hash % u128::from(self.passes) == u128::from(self.pass) && !seen.insert(hash) {
                report(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hashes_are_split_over_passes() {
        assert_eq!(UniqueSets::new(0, 1_000_000_000).passes(), 1);
        assert_eq!(UniqueSets::new(1, 10).passes(), 1);
        assert_eq!(UniqueSets::new(2, 6_000_000).passes(), 2);
    }
}
