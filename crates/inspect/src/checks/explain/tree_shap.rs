//! Path-dependent TreeSHAP, exact, by paths: ensemble, rows, background → contributions.
//!
//! Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees", 2020 (the game);
//! the path form groups what the recursion does a row at a time. Each path from root to leaf is merged to its d distinct
//! features. Feature j has z_j, the product of its cover ratios along the path, and for a row o_j, 1 if the row passes all its
//! splits there and else 0. The path's game is `v(S) = w ∏_{j∈S} o_j ∏_{j∉S} z_j`, so with `P(t) = ∏ (z_j + o_j t)` the Shapley
//! value of i is `w (o_i − z_i) Σ_k k!(d−k−1)!/d! [t^k] P(t)/(z_i + o_i t)`. It depends on the row only through its pattern of
//! o, so it is computed once a distinct pattern, in O(d²).
//!
//! ONNX trees carry no covers: they are recomputed by dropping the background through each tree. Where a node is reached by no
//! background row its children share evenly.
//!
//! **Invariant:** contributions and expected value sum to the ensemble's own sum; `additivity_error` says how closely.
#![expect(
    clippy::indexing_slicing,
    reason = "places of children and features were checked when the ensemble was read; masks and sums are made to fit"
)]

use std::collections::HashMap;

use super::Explanation;
use crate::checks::CheckError;
use crate::model::{Aggregate, Matrix, ModelError, Tree, TreeEnsemble, TreeNode};

/// Distinct features of one path: the bits of a pattern.
pub(super) const PATH_FEATURES_MAX: usize = 128;
/// Splits of one path: a tree deeper than this is a list, which no training makes.
pub(super) const PATH_STEPS_MAX: usize = 2_000;

/// Explains one output of an ensemble.
pub fn explain(ensemble: &TreeEnsemble, rows: &Matrix, background: &Matrix, output: usize) -> Result<Explanation, CheckError> {
    if ensemble.features > rows.columns || background.columns != rows.columns {
        return Err(ModelError::Shape { reason: format!("it uses {} features and got {}", ensemble.features, rows.columns) }.into());
    }
    let mut contributions = Matrix { columns: rows.columns, values: vec![0.0; rows.values.len()] };
    let mut expected = 0.0;
    for tree in &ensemble.trees {
        expected += Walk::new(tree, rows, background, output).explain(&mut contributions)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of trees")]
    let divisor = if ensemble.aggregate == Aggregate::Average { ensemble.trees.len() as f64 } else { 1.0 };
    expected = expected / divisor + ensemble.base.get(output).copied().unwrap_or(0.0);
    contributions.values.iter_mut().for_each(|value| *value /= divisor);
    let mut error = 0.0_f64;
    for (row, parts) in rows.iter().zip(contributions.iter()) {
        let wanted = ensemble.sums(row).get(output).copied().unwrap_or(f64::NAN);
        let gap = (expected + parts.iter().sum::<f64>() - wanted).abs() / wanted.abs().max(1.0);
        if gap.is_nan() {
            return Err(CheckError::Additivity { error: gap, max: super::ADDITIVITY_MAX });
        }
        error = error.max(gap);
    }
    Ok(Explanation { expected, contributions, additivity_error: error })
}

/// One split on the way from the root: its node, and whether the way takes `yes`.
type Step = (usize, bool);

struct Walk<'a> {
    tree: &'a Tree,
    output: usize,
    rows: usize,
    /// For each node one bit a row: whether the row takes `yes` there.
    yes: Vec<Vec<u64>>,
    /// Background rows that reach each node.
    covers: Vec<f64>,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, rows: &Matrix, background: &Matrix, output: usize) -> Self {
        let mut yes = Vec::with_capacity(tree.nodes.len());
        for node in &tree.nodes {
            let TreeNode::Split { feature, .. } = node else {
                yes.push(Vec::new());
                continue;
            };
            let mut bits = vec![0_u64; rows.rows().div_ceil(64)];
            for (place, row) in rows.iter().enumerate() {
                if node.takes_yes(row[*feature]) == Some(true) {
                    bits[place / 64] |= 1 << (place % 64);
                }
            }
            yes.push(bits);
        }
        Self { tree, output, rows: rows.rows(), yes, covers: covers(tree, background) }
    }

    /// Adds the tree's contributions; returns its expected value.
    fn explain(&self, contributions: &mut Matrix) -> Result<f64, CheckError> {
        let mut expected = 0.0;
        let mut ways: Vec<(usize, Vec<Step>)> = vec![(0, Vec::new())];
        while let Some((place, steps)) = ways.pop() {
            match &self.tree.nodes[place] {
                TreeNode::Split { .. } if steps.len() >= PATH_STEPS_MAX => {
                    return Err(CheckError::Unsupported { what: format!("explanations of trees deeper than {PATH_STEPS_MAX}") });
                }
                TreeNode::Split { yes, no, .. } => {
                    for (child, taken) in [(*yes, true), (*no, false)] {
                        let mut longer = Vec::with_capacity(steps.len() + 1);
                        longer.extend_from_slice(&steps);
                        longer.push((place, taken));
                        ways.push((child, longer));
                    }
                }
                TreeNode::Leaf(weights) => {
                    let weight: f64 = weights.iter().filter(|(output, _)| *output == self.output).map(|(_, weight)| weight).sum();
                    if weight != 0.0 {
                        expected += weight * self.add_leaf(&steps, place, weight, contributions)?;
                    }
                }
            }
        }
        Ok(expected)
    }

    /// Adds one leaf; returns the share of the background that reaches it, ∏ z.
    fn add_leaf(&self, steps: &[Step], leaf: usize, weight: f64, contributions: &mut Matrix) -> Result<f64, CheckError> {
        let path = self.merge(steps, leaf);
        if path.len() > PATH_FEATURES_MAX {
            return Err(CheckError::Unsupported {
                what: format!("explanations of trees with more than {PATH_FEATURES_MAX} features on one path"),
            });
        }
        let ratios: Vec<f64> = path.iter().map(|part| part.ratio).collect();
        let mut known: HashMap<u128, Vec<f64>> = HashMap::new();
        for row in 0..self.rows {
            let mut pattern = 0_u128;
            for (bit, part) in path.iter().enumerate() {
                pattern |= u128::from(part.passes[row / 64] >> (row % 64) & 1) << bit;
            }
            let values = known.entry(pattern).or_insert_with(|| shapley(&ratios, pattern));
            let start = row * contributions.columns;
            for (part, value) in path.iter().zip(values) {
                contributions.values[start + part.feature] += weight * *value;
            }
        }
        Ok(ratios.iter().product())
    }

    /// The path's distinct features.
    fn merge(&self, steps: &[Step], leaf: usize) -> Vec<PathFeature> {
        let mut path: Vec<PathFeature> = Vec::with_capacity(steps.len());
        for (depth, (place, taken)) in steps.iter().enumerate() {
            let TreeNode::Split { feature, .. } = &self.tree.nodes[*place] else { continue };
            let child = steps.get(depth + 1).map_or(leaf, |(next, _)| *next);
            // a node that no background row reaches passes half to each side
            let ratio = if self.covers[*place] > 0.0 { self.covers[child] / self.covers[*place] } else { 0.5 };
            let at = path.iter().position(|part| part.feature == *feature).unwrap_or_else(|| {
                path.push(PathFeature { feature: *feature, ratio: 1.0, passes: vec![u64::MAX; self.rows.div_ceil(64)] });
                path.len() - 1
            });
            path[at].ratio *= ratio;
            for (all, bits) in path[at].passes.iter_mut().zip(&self.yes[*place]) {
                *all &= if *taken { *bits } else { !bits };
            }
        }
        path
    }
}

struct PathFeature {
    feature: usize,
    /// z: product of the cover ratios of its splits on the path.
    ratio: f64,
    /// o: one bit a row.
    passes: Vec<u64>,
}

/// Background rows that reach each node.
fn covers(tree: &Tree, background: &Matrix) -> Vec<f64> {
    let mut covers = vec![0.0; tree.nodes.len()];
    for row in background.iter() {
        let mut place = 0;
        loop {
            covers[place] += 1.0;
            let TreeNode::Split { feature, yes, no, .. } = &tree.nodes[place] else { break };
            place = if tree.nodes[place].takes_yes(row[*feature]) == Some(true) { *yes } else { *no };
        }
    }
    covers
}

/// Shapley values of a path of weight 1, for one pattern of o.
fn shapley(ratios: &[f64], pattern: u128) -> Vec<f64> {
    let d = ratios.len();
    let passes = |place: usize| pattern >> place & 1 == 1;
    let mut values = vec![0.0; d];
    if ratios.iter().enumerate().any(|(place, ratio)| *ratio == 0.0 && !passes(place)) {
        // a factor of every term of every feature's sum is 0, and this feature's own o − z is 0
        return values;
    }
    // P(t), lowest power first
    let mut product = vec![1.0];
    for (place, ratio) in ratios.iter().enumerate() {
        if passes(place) {
            product.push(0.0);
            for power in (0..product.len()).rev() {
                let lower = if power > 0 { product[power - 1] } else { 0.0 };
                product[power] = product[power] * ratio + lower;
            }
        } else {
            product.iter_mut().for_each(|coefficient| *coefficient *= ratio);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of features")]
    let weights: Vec<f64> = (0..d)
        .scan(1.0 / d as f64, |weight, k| {
            let current = *weight;
            *weight *= (k + 1) as f64 / (d - k - 1).max(1) as f64;
            Some(current)
        })
        .collect();
    // for every feature that does not pass: (0 − z) P / z
    let failed: f64 = -product.iter().zip(&weights).map(|(coefficient, weight)| coefficient * weight).sum::<f64>();
    for (place, ratio) in ratios.iter().enumerate() {
        if !passes(place) {
            values[place] = failed;
            continue;
        }
        // P / (z + t) by synthetic division from the highest power
        let (mut quotient, mut sum) = (0.0, 0.0);
        for power in (1..product.len()).rev() {
            quotient = product[power] - ratio * quotient;
            sum += quotient * weights[power - 1];
        }
        values[place] = (1.0 - ratio) * sum;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The game by its definition: all subsets.
    fn by_definition(ratios: &[f64], pattern: u128) -> Vec<f64> {
        let d = ratios.len();
        let v = |subset: u32| {
            (0..d).map(|j| if subset >> j & 1 == 1 { f64::from(u8::from(pattern >> j & 1 == 1)) } else { ratios[j] }).product::<f64>()
        };
        let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
        (0..d)
            .map(|i| {
                (0..1_u32 << d)
                    .filter(|subset| subset >> i & 1 == 0)
                    .map(|subset| {
                        let size = subset.count_ones() as usize;
                        factorial(size) * factorial(d - size - 1) / factorial(d) * (v(subset | 1 << i) - v(subset))
                    })
                    .sum()
            })
            .collect()
    }

    #[test]
    fn shapley_values_are_those_of_the_definition() {
        for ratios in [vec![0.3], vec![0.3, 0.9, 0.5], vec![0.1, 0.0, 0.7, 1.0], vec![0.25, 0.5, 0.75, 0.01, 0.99, 0.4]] {
            for pattern in 0..1_u128 << ratios.len() {
                for (found, wanted) in shapley(&ratios, pattern).iter().zip(by_definition(&ratios, pattern)) {
                    assert!((found - wanted).abs() < 1e-14, "{ratios:?} {pattern:b}: {found} {wanted}");
                }
            }
        }
    }
}
