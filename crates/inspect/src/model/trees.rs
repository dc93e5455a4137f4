//! Tree ensembles: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` of ai.onnx.ml → sums of leaves.
//!
//! Source: onnx/docs/Operators-ml.md; where the text is silent (one weight column for two classes), what ONNX Runtime does.
//! Comparisons are those of the model: inputs are 32-bit floats held as f64 and thresholds are exact, so `x <= t` is exact.
//! Sums are f64.
//!
//! **Invariant:** every tree is a tree: one root, each other node the child of exactly one, all reached; so a walk ends.

use std::collections::HashMap;

use super::ModelError;
use super::attributes::Attributes;

/// Nodes of one ensemble.
const TREE_NODES_MAX: usize = 50_000_000;

/// How a split compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `x <= t`
    Leq,
    /// `x < t`
    Lt,
    /// `x >= t`
    Gte,
    /// `x > t`
    Gt,
    /// `x == t`
    Eq,
    /// `x != t`
    Neq,
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum TreeNode {
    /// Goes on at `yes` if the comparison holds, else at `no`.
    Split {
        /// Place of the feature among the ensemble's inputs.
        feature: usize,
        /// Comparison of the feature with `threshold`.
        comparison: Comparison,
        /// Threshold.
        threshold: f64,
        /// Whether a NaN goes to `yes`.
        missing_yes: bool,
        /// Place of a node of this tree.
        yes: usize,
        /// Place of a node of this tree.
        no: usize,
    },
    /// Adds its weights: output, weight.
    Leaf(Vec<(usize, f64)>),
}

impl TreeNode {
    /// Whether a value takes the `yes` branch; `None` at a leaf.
    #[must_use]
    pub fn takes_yes(&self, value: f64) -> Option<bool> {
        let Self::Split { comparison, threshold, missing_yes, .. } = self else { return None };
        if value.is_nan() && *missing_yes {
            return Some(true);
        }
        #[expect(clippy::float_cmp, reason = "the model compares for equality")]
        Some(match comparison {
            Comparison::Leq => value <= *threshold,
            Comparison::Lt => value < *threshold,
            Comparison::Gte => value >= *threshold,
            Comparison::Gt => value > *threshold,
            Comparison::Eq => value == *threshold,
            Comparison::Neq => value != *threshold,
        })
    }
}

/// One tree; the root is node 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Nodes.
    pub nodes: Vec<TreeNode>,
}

impl Tree {
    /// Weights of the leaf that a row reaches.
    #[must_use]
    pub fn leaf(&self, row: &[f64]) -> &[(usize, f64)] {
        let mut node = self.nodes.first();
        loop {
            match node {
                Some(TreeNode::Leaf(weights)) => return weights,
                Some(split @ TreeNode::Split { feature, yes, no, .. }) => {
                    let value = row.get(*feature).copied().unwrap_or(f64::NAN);
                    node = self.nodes.get(if split.takes_yes(value) == Some(true) { *yes } else { *no });
                }
                None => return &[],
            }
        }
    }
}

/// What turns sums into outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostTransform {
    /// Nothing.
    None,
    /// `1 / (1 + e^-x)`.
    Logistic,
    /// `e^x / Σ e^x`.
    Softmax,
    /// Softmax that leaves zeros zero.
    SoftmaxZero,
}

/// How the trees are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Sum of the leaves.
    Sum,
    /// Mean over the trees.
    Average,
}

/// An ensemble of trees.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeEnsemble {
    /// The trees.
    pub trees: Vec<Tree>,
    /// Outputs of the sums: classes, targets, or 1 where one sum decides between two classes.
    pub outputs: usize,
    /// What is added to each sum.
    pub base: Vec<f64>,
    /// How sums are made.
    pub aggregate: Aggregate,
    /// What is done with sums.
    pub post: PostTransform,
    /// Whether all weights are at least 0; then one sum is a probability, else a margin.
    pub weights_positive: bool,
    /// One more than the largest feature compared.
    pub features: usize,
}

impl TreeEnsemble {
    /// Sums of a row, before the post-transform.
    #[must_use]
    pub fn sums(&self, row: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.outputs];
        for tree in &self.trees {
            for (output, weight) in tree.leaf(row) {
                if let Some(sum) = sums.get_mut(*output) {
                    *sum += weight;
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of trees")]
        let divisor = if self.aggregate == Aggregate::Average { self.trees.len() as f64 } else { 1.0 };
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = *sum / divisor + self.base.get(place).copied().unwrap_or(0.0);
        }
        sums
    }

    /// Reads a classifier of so many classes.
    pub(super) fn classifier(attributes: &Attributes<'_>, classes: usize) -> Result<Self, ModelError> {
        let mut ensemble = Self::read(attributes, ["class_treeids", "class_nodeids", "class_ids", "class_weights"], classes)?;
        let mut used = vec![false; classes];
        for (class, _) in ensemble
            .trees
            .iter()
            .flat_map(|tree| &tree.nodes)
            .filter_map(|node| if let TreeNode::Leaf(weights) = node { Some(weights) } else { None })
            .flatten()
        {
            if let Some(used) = used.get_mut(*class) {
                *used = true;
            }
        }
        if classes == 2 && used.iter().filter(|used| **used).count() <= 1 {
            ensemble.merge_to_one();
        } else if ensemble.base.len() == 1 && classes > 1 {
            return Err(ModelError::Unsupported { what: String::from("one base value for several classes") });
        }
        Ok(ensemble)
    }

    /// One sum decides between two classes: whatever class its weights name, the sum is that of the second.
    fn merge_to_one(&mut self) {
        for node in self.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            if let TreeNode::Leaf(weights) = node {
                weights.iter_mut().for_each(|(output, _)| *output = 0);
            }
        }
        self.outputs = 1;
        self.base = self.base.last().map(|base| vec![*base]).unwrap_or_default();
    }

    /// Reads a regressor.
    pub(super) fn regressor(attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        let targets = usize::try_from(attributes.integer("n_targets").unwrap_or(1)).ok().filter(|targets| (1..=10_000).contains(targets));
        let targets = targets.ok_or_else(|| ModelError::Malformed { reason: String::from("`n_targets` must be 1 to 10000") })?;
        Self::read(attributes, ["target_treeids", "target_nodeids", "target_ids", "target_weights"], targets)
    }

    fn read(attributes: &Attributes<'_>, leaf_names: [&str; 4], outputs: usize) -> Result<Self, ModelError> {
        let mut builder = Builder::read(attributes)?;
        builder.add_leaves(attributes, leaf_names, outputs)?;
        let aggregate = match attributes.text("aggregate_function").unwrap_or("SUM") {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            other => return Err(ModelError::Unsupported { what: format!("aggregate function `{other}`") }),
        };
        let base = attributes.floats_or_tensor("base_values")?;
        if base.len() > outputs {
            return Err(ModelError::Malformed { reason: String::from("more base values than outputs") });
        }
        let weights_positive = builder.leaves.values().flatten().all(|(_, weight)| *weight >= 0.0);
        let features = builder
            .feature
            .iter()
            .zip(&builder.comparison)
            .filter(|(_, mode)| mode.is_some())
            .map(|(feature, _)| feature + 1)
            .max()
            .unwrap_or(0);
        Ok(Self { trees: builder.trees()?, outputs, base, aggregate, post: post_transform(attributes)?, weights_positive, features })
    }
}

/// Reads `post_transform`.
pub(super) fn post_transform(attributes: &Attributes<'_>) -> Result<PostTransform, ModelError> {
    match attributes.text("post_transform").unwrap_or("NONE") {
        "NONE" => Ok(PostTransform::None),
        "LOGISTIC" => Ok(PostTransform::Logistic),
        "SOFTMAX" => Ok(PostTransform::Softmax),
        "SOFTMAX_ZERO" => Ok(PostTransform::SoftmaxZero),
        other => Err(ModelError::Unsupported { what: format!("post-transform `{other}`") }),
    }
}

/// The parallel lists of the operator, of equal length.
struct Builder {
    /// Tree and id of each node → its place in the lists.
    places: HashMap<(i64, i64), usize>,
    tree: Vec<i64>,
    feature: Vec<usize>,
    /// `None` at a leaf.
    comparison: Vec<Option<Comparison>>,
    threshold: Vec<f64>,
    missing_yes: Vec<bool>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaves: HashMap<usize, Vec<(usize, f64)>>,
}

fn lengths(name: &str) -> ModelError {
    ModelError::Malformed { reason: format!("`{name}` of a tree ensemble has another length than the rest") }
}

impl Builder {
    fn read(attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        let tree = attributes.integers("nodes_treeids").to_vec();
        let count = tree.len();
        if count == 0 || count > TREE_NODES_MAX {
            return Err(ModelError::Malformed { reason: format!("a tree ensemble of {count} nodes") });
        }
        let list = |name: &str| Some(attributes.integers(name)).filter(|list| list.len() == count).ok_or_else(|| lengths(name));
        let ids = list("nodes_nodeids")?;
        let threshold = attributes.floats_or_tensor("nodes_values")?;
        if threshold.len() != count {
            return Err(lengths("nodes_values"));
        }
        let modes = attributes.texts("nodes_modes");
        if modes.len() != count {
            return Err(lengths("nodes_modes"));
        }
        let missing = attributes.integers("nodes_missing_value_tracks_true");
        if !missing.is_empty() && missing.len() != count {
            return Err(lengths("nodes_missing_value_tracks_true"));
        }
        let mut places = HashMap::with_capacity(count);
        for (place, key) in tree.iter().zip(ids).enumerate() {
            if places.insert((*key.0, *key.1), place).is_some() {
                return Err(ModelError::Malformed { reason: format!("node {} of tree {} stands twice", key.1, key.0) });
            }
        }
        let feature: Result<Vec<usize>, _> = list("nodes_featureids")?.iter().map(|id| usize::try_from(*id)).collect();
        Ok(Self {
            places,
            feature: feature.map_err(|_| ModelError::Malformed { reason: String::from("a negative feature") })?,
            comparison: modes.iter().map(|mode| comparison(mode)).collect::<Result<_, _>>()?,
            threshold,
            missing_yes: if missing.is_empty() { vec![false; count] } else { missing.iter().map(|flag| *flag != 0).collect() },
            yes: list("nodes_truenodeids")?.to_vec(),
            no: list("nodes_falsenodeids")?.to_vec(),
            leaves: HashMap::new(),
            tree,
        })
    }

    fn add_leaves(
        &mut self,
        attributes: &Attributes<'_>,
        [trees, nodes, ids, weights]: [&str; 4],
        outputs: usize,
    ) -> Result<(), ModelError> {
        let (trees, nodes, ids) = (attributes.integers(trees), attributes.integers(nodes), attributes.integers(ids));
        let values = attributes.floats_or_tensor(weights)?;
        if trees.len() != nodes.len() || nodes.len() != ids.len() || ids.len() != values.len() {
            return Err(lengths(weights));
        }
        for (((tree, node), id), weight) in trees.iter().zip(nodes).zip(ids).zip(values) {
            let place = self.places.get(&(*tree, *node)).copied();
            let place = place.filter(|place| self.comparison.get(*place).is_some_and(Option::is_none));
            let output = usize::try_from(*id).ok().filter(|output| *output < outputs);
            let (Some(place), Some(output)) = (place, output) else {
                return Err(ModelError::Malformed {
                    reason: format!("a leaf weight names node {node} of tree {tree} and output {id}, which do not exist"),
                });
            };
            self.leaves.entry(place).or_default().push((output, weight));
        }
        Ok(())
    }

    fn child(&self, place: usize, id: Option<&i64>) -> Result<usize, ModelError> {
        let tree = self.tree.get(place).copied().unwrap_or_default();
        let id = id.copied().unwrap_or_default();
        self.places.get(&(tree, id)).copied().ok_or_else(|| ModelError::Malformed { reason: format!("tree {tree} has no node {id}") })
    }

    fn trees(mut self) -> Result<Vec<Tree>, ModelError> {
        let count = self.tree.len();
        let mut parents = vec![0_u32; count];
        let mut children = vec![None; count];
        for place in 0..count {
            if self.comparison.get(place).copied().flatten().is_none() {
                continue;
            }
            let pair = (self.child(place, self.yes.get(place))?, self.child(place, self.no.get(place))?);
            for child in [pair.0, pair.1] {
                if let Some(parents) = parents.get_mut(child) {
                    *parents += 1;
                }
            }
            if let Some(slot) = children.get_mut(place) {
                *slot = Some(pair);
            }
        }
        if parents.iter().any(|parents| *parents > 1) {
            return Err(ModelError::Malformed { reason: String::from("a node of a tree has two parents") });
        }
        let roots: Vec<usize> = parents.iter().enumerate().filter(|(_, parents)| **parents == 0).map(|(place, _)| place).collect();
        let mut seen_trees = std::collections::HashSet::new();
        let mut reached = 0;
        let mut trees = Vec::with_capacity(roots.len());
        for root in roots {
            if !seen_trees.insert(self.tree.get(root).copied().unwrap_or_default()) {
                return Err(ModelError::Malformed { reason: String::from("a tree has two roots") });
            }
            let tree = self.collect(root, &children);
            reached += tree.nodes.len();
            trees.push(tree);
        }
        if reached != count {
            return Err(ModelError::Malformed { reason: String::from("a tree has a cycle") });
        }
        Ok(trees)
    }

    /// The tree below a root, in breadth-first order. Each node has at most one parent, so the walk ends.
    fn collect(&mut self, root: usize, children: &[Option<(usize, usize)>]) -> Tree {
        let mut order = vec![root];
        let mut nodes = Vec::new();
        let mut next = 0;
        while let Some(place) = order.get(next).copied() {
            next += 1;
            let split = children.get(place).copied().flatten().zip(self.comparison.get(place).copied().flatten());
            nodes.push(match split {
                None => TreeNode::Leaf(self.leaves.remove(&place).unwrap_or_default()),
                Some(((yes, no), comparison)) => {
                    let first = order.len();
                    order.extend([yes, no]);
                    TreeNode::Split {
                        feature: self.feature.get(place).copied().unwrap_or_default(),
                        comparison,
                        threshold: self.threshold.get(place).copied().unwrap_or(f64::NAN),
                        missing_yes: self.missing_yes.get(place).copied().unwrap_or_default(),
                        yes: first,
                        no: first + 1,
                    }
                }
            });
        }
        Tree { nodes }
    }
}

fn comparison(mode: &str) -> Result<Option<Comparison>, ModelError> {
    match mode {
        "LEAF" => Ok(None),
        "BRANCH_LEQ" => Ok(Some(Comparison::Leq)),
        "BRANCH_LT" => Ok(Some(Comparison::Lt)),
        "BRANCH_GTE" => Ok(Some(Comparison::Gte)),
        "BRANCH_GT" => Ok(Some(Comparison::Gt)),
        "BRANCH_EQ" => Ok(Some(Comparison::Eq)),
        "BRANCH_NEQ" => Ok(Some(Comparison::Neq)),
        other => Err(ModelError::Unsupported { what: format!("node mode `{other}`") }),
    }
}
