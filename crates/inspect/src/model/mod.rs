//! Models: ONNX bytes → an interpreted model with its trees and coefficients in view.
//!
//! The interpreter is ours because explanations, robustness bounds and back-door checks must see the trees. It knows the
//! operators that scikit-learn's tree ensembles, linear models, scalers and small networks are exported with; any other is an
//! error that names it.
//!
//! **Invariant:** a malformed or hostile model is an error, never a panic, and never makes a tensor above [`ELEMENTS_MAX`].
//! **Invariant:** predictions equal those of the exporting library within 1e-6 (tests/it/models.rs).

mod attributes;
mod graph;
mod linear;
mod onnx;
mod ops;
mod plain;
mod protobuf;
mod tensor;
mod trees;

pub use graph::{Estimator, Model, load};
pub use linear::Linear;
pub use trees::{Aggregate, Comparison, PostTransform, Tree, TreeEnsemble, TreeNode};

/// Bytes of a model.
pub const MODEL_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Nodes of a model's graph.
pub const NODES_MAX: usize = 10_000;
/// Elements of one tensor.
pub const ELEMENTS_MAX: usize = 64 * 1024 * 1024;

/// Why there is no model, or no prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file's name has no extension of a format that is read.
    #[error("`{name}` has no model format that is read")]
    Format { name: String },
    /// The bytes are no model.
    #[error("the model is malformed: {reason}")]
    Malformed { reason: String },
    /// A bound was passed.
    #[error("the model has more than {max} {what}")]
    TooLarge { what: &'static str, max: usize },
    /// The model uses an operator that is not interpreted.
    #[error("the model uses operator `{operator}`, which is not interpreted yet")]
    UnknownOperator { operator: String },
    /// The model uses something else that is not interpreted.
    #[error("the model uses {what}, which is not supported yet")]
    Unsupported { what: String },
    /// Tensors do not fit each other, or the data does not fit the model.
    #[error("the model cannot be evaluated: {reason}")]
    Shape { reason: String },
    /// The data lacks a feature.
    #[error("the model needs feature `{feature}`, which the data lacks")]
    MissingFeature { feature: String },
}

impl ModelError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format { .. } => "model/format",
            Self::Malformed { .. } => "model/malformed",
            Self::TooLarge { .. } => "model/too-large",
            Self::UnknownOperator { .. } => "model/unknown-operator",
            Self::Unsupported { .. } => "model/unsupported",
            Self::Shape { .. } => "model/shape",
            Self::MissingFeature { .. } => "model/missing-feature",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Format { .. } => "export the model to ONNX and name it NAME.onnx",
            Self::Malformed { .. } => "export the model again; nothing of it was used",
            Self::TooLarge { .. } => "export a smaller model",
            Self::UnknownOperator { .. } | Self::Unsupported { .. } => {
                "export a tree ensemble or linear model of scikit-learn with skl2onnx, numeric features only"
            }
            Self::Shape { .. } => "check that the model was trained on the columns of this data",
            Self::MissingFeature { .. } => "check the feature names in the model against the columns of the data",
        }
    }
}

/// What a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Scores of classes.
    Classes,
    /// One or more numbers.
    Values,
}

/// From where the names of the features are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSource {
    /// Metadata key `feature_names`, a JSON list.
    Metadata,
    /// One input of the graph a column.
    Inputs,
    /// Nowhere: the columns of the data are taken in their order.
    Data,
}

impl FeatureSource {
    /// The word used among the facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Inputs => "inputs",
            Self::Data => "data",
        }
    }
}

/// Rows of features, row-major.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Matrix {
    /// Number of columns.
    pub columns: usize,
    /// Row after row; a missing value is NaN.
    pub values: Vec<f64>,
}

impl Matrix {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Row after row.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns.max(1))
    }

    /// One row; empty if there is none.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        let start = row.saturating_mul(self.columns);
        self.values.get(start..start.saturating_add(self.columns)).unwrap_or_default()
    }
}

/// Predictions of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Scores, one column a class, or values, one column a target.
    pub scores: Matrix,
    /// Place of the predicted class among the model's classes, a row each; empty for [`Output::Values`].
    pub labels: Vec<usize>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Two classes.
    Binary,
    /// More classes.
    Multiclass,
    /// A number.
    Regression,
}

impl Task {
    /// The word used in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Regression => "regression",
        }
    }
}

/// A word that is no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown task `{word}`; known are binary, multiclass, regression")]
pub struct TaskError {
    /// The word.
    pub word: String,
}

impl std::str::FromStr for Task {
    type Err = TaskError;

    fn from_str(word: &str) -> Result<Self, TaskError> {
        [Self::Binary, Self::Multiclass, Self::Regression]
            .into_iter()
            .find(|task| task.name() == word)
            .ok_or_else(|| TaskError { word: word.to_owned() })
    }
}
