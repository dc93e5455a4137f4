//! Seeded pseudo-random numbers: seed → the same sequence everywhere.
//!
//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). Not for secrets.
//!
//! **Invariant:** the sequence depends on the seed alone.

/// A generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 below `bound`, by multiplication; the bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// A uniform sample of bounded size from a stream of unknown length (Vitter's algorithm R).
#[derive(Clone, Debug)]
pub(crate) struct Reservoir<T> {
    kept: Vec<T>,
    size: usize,
    seen: u64,
    random: Random,
}

impl<T> Reservoir<T> {
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        Self { kept: Vec::new(), size, seen: 0, random: Random::seeded(seed) }
    }

    /// Offers the next item; it is made only if it is kept.
    pub(crate) fn offer(&mut self, item: impl FnOnce() -> T) {
        self.seen += 1;
        if self.kept.len() < self.size {
            self.kept.push(item());
            return;
        }
        let place = self.random.below(self.seen);
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
            *slot = item();
        }
    }

    /// Items offered.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    pub(crate) fn into_kept(self) -> Vec<T> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::seeded(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_reservoir_keeps_all_or_a_fair_sample() {
        let mut small = Reservoir::new(10, 1);
        (0..7).for_each(|item| small.offer(|| item));
        assert_eq!(small.into_kept(), [0, 1, 2, 3, 4, 5, 6]);
        let mut large = Reservoir::new(1_000, 1);
        (0..100_000).for_each(|item| large.offer(|| f64::from(item)));
        assert_eq!(large.seen(), 100_000);
        let mean = large.into_kept().iter().sum::<f64>() / 1_000.0;
        // standard error of the mean is 913
        assert!((mean - 50_000.0).abs() < 4_000.0, "{mean}");
    }
}
