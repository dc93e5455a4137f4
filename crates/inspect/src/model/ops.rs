//! Operators: node → checked operator; operator, inputs → outputs.
//!
//! Source: onnx/docs/Operators.md and Operators-ml.md.
//!
//! **Invariant:** an operator that is not interpreted is an error that names it, when the model is loaded.

use super::attributes::Attributes;
use super::linear::{Linear, normalize};
use super::onnx::RawNode;
use super::plain::{self, Arithmetic};
use super::tensor::{Elem, Tensor, Values, to_f32};
use super::trees::{PostTransform, TreeEnsemble};
use super::{ELEMENTS_MAX, ModelError};

/// An operator with its parameters.
#[derive(Debug)]
pub(super) enum Op {
    /// Also `ZipMap`: the scores stay a matrix.
    Identity,
    Cast(Option<Elem>),
    Constant(Tensor),
    Scaler {
        offset: Vec<f64>,
        scale: Vec<f64>,
    },
    Imputer {
        values: Vec<f64>,
        replaced: f64,
    },
    Normalizer(Norm),
    Binarizer(f64),
    TreeClassifier {
        ensemble: TreeEnsemble,
        classes: Vec<String>,
    },
    TreeRegressor(TreeEnsemble),
    LinearClassifier {
        linear: Linear,
        classes: Vec<String>,
    },
    LinearRegressor(Linear),
    /// Also `FeatureVectorizer`.
    Concat {
        axis: i64,
    },
    ArrayFeatureExtractor,
    Arithmetic(Arithmetic),
    Map(Function),
    MatMul,
    Gemm {
        alpha: f64,
        beta: f64,
        transpose: (bool, bool),
    },
    Softmax {
        axis: i64,
    },
    ArgMax {
        axis: i64,
        keep: bool,
    },
    Reshape,
}

/// Norms of `Normalizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norm {
    L1,
    L2,
    Max,
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Sigmoid,
    Relu,
    Tanh,
    Exp,
    Neg,
    Sqrt,
    Abs,
}

impl Function {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
            // NaN stays NaN
            Self::Relu => {
                if value < 0.0 {
                    0.0
                } else {
                    value
                }
            }
            Self::Tanh => value.tanh(),
            Self::Exp => value.exp(),
            Self::Neg => -value,
            Self::Sqrt => value.sqrt(),
            Self::Abs => value.abs(),
        }
    }
}

impl Op {
    pub(super) fn of(node: &RawNode) -> Result<Self, ModelError> {
        let attributes = Attributes::of(node)?;
        match node.domain.as_str() {
            "ai.onnx.ml" => Self::of_ml(node, &attributes),
            "" | "ai.onnx" => Self::of_plain(node, &attributes),
            domain => Err(ModelError::UnknownOperator { operator: format!("{domain}.{}", node.op) }),
        }
    }

    fn of_ml(node: &RawNode, attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        Ok(match node.op.as_str() {
            "ZipMap" => Self::Identity,
            "Scaler" => Self::Scaler { offset: attributes.floats("offset").to_vec(), scale: attributes.floats("scale").to_vec() },
            "Imputer" => imputer(attributes),
            "Normalizer" => Self::Normalizer(match attributes.text("norm").unwrap_or("MAX") {
                "L1" => Norm::L1,
                "L2" => Norm::L2,
                "MAX" => Norm::Max,
                other => return Err(ModelError::Unsupported { what: format!("norm `{other}`") }),
            }),
            "Binarizer" => Self::Binarizer(attributes.float("threshold").unwrap_or(0.0)),
            "TreeEnsembleClassifier" => {
                let classes = attributes.classes();
                Self::TreeClassifier { ensemble: TreeEnsemble::classifier(attributes, classes.len())?, classes }
            }
            "TreeEnsembleRegressor" => Self::TreeRegressor(TreeEnsemble::regressor(attributes)?),
            "LinearClassifier" => {
                let classes = attributes.classes();
                Self::LinearClassifier { linear: Linear::classifier(attributes)?, classes }
            }
            "LinearRegressor" => Self::LinearRegressor(Linear::regressor(attributes)?),
            "FeatureVectorizer" => Self::Concat { axis: 1 },
            "ArrayFeatureExtractor" => Self::ArrayFeatureExtractor,
            operator => return Err(ModelError::UnknownOperator { operator: format!("ai.onnx.ml.{operator}") }),
        })
    }

    fn of_plain(node: &RawNode, attributes: &Attributes<'_>) -> Result<Self, ModelError> {
        Ok(match node.op.as_str() {
            "Identity" | "Dropout" => Self::Identity,
            "Cast" => match attributes.integer("to").unwrap_or(0) {
                8 => Self::Cast(None),
                code => Self::Cast(Some(Elem::of_code(code)?)),
            },
            "Constant" => match attributes.tensor("value") {
                Some(tensor) => Self::Constant(tensor.clone()),
                None => return Err(ModelError::Unsupported { what: String::from("a constant that is no tensor") }),
            },
            "Concat" => Self::Concat { axis: attributes.integer("axis").unwrap_or(1) },
            "Add" => Self::Arithmetic(Arithmetic::Add),
            "Sub" => Self::Arithmetic(Arithmetic::Sub),
            "Mul" => Self::Arithmetic(Arithmetic::Mul),
            "Div" => Self::Arithmetic(Arithmetic::Div),
            "Sigmoid" => Self::Map(Function::Sigmoid),
            "Relu" => Self::Map(Function::Relu),
            "Tanh" => Self::Map(Function::Tanh),
            "Exp" => Self::Map(Function::Exp),
            "Neg" => Self::Map(Function::Neg),
            "Sqrt" => Self::Map(Function::Sqrt),
            "Abs" => Self::Map(Function::Abs),
            "MatMul" => Self::MatMul,
            "Gemm" => Self::Gemm {
                alpha: attributes.float("alpha").unwrap_or(1.0),
                beta: attributes.float("beta").unwrap_or(1.0),
                transpose: (attributes.integer("transA").unwrap_or(0) != 0, attributes.integer("transB").unwrap_or(0) != 0),
            },
            "Softmax" => Self::Softmax { axis: attributes.integer("axis").unwrap_or(-1) },
            "ArgMax" => {
                Self::ArgMax { axis: attributes.integer("axis").unwrap_or(0), keep: attributes.integer("keepdims").unwrap_or(1) != 0 }
            }
            "Reshape" => Self::Reshape,
            operator => return Err(ModelError::UnknownOperator { operator: operator.to_owned() }),
        })
    }

    /// Whether column j of the output depends on column j of the one data input alone.
    pub(super) fn is_columnwise(&self) -> bool {
        matches!(
            self,
            Self::Identity
                | Self::Cast(Some(_))
                | Self::Scaler { .. }
                | Self::Imputer { .. }
                | Self::Binarizer(_)
                | Self::Map(_)
                | Self::Arithmetic(_)
        )
    }

    /// Class labels, where the operator knows them.
    pub(super) fn classes(&self) -> Option<&[String]> {
        match self {
            Self::TreeClassifier { classes, .. } | Self::LinearClassifier { classes, .. } => Some(classes),
            _ => None,
        }
    }

    /// Applies the operator.
    pub(super) fn apply(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, ModelError> {
        let first = || inputs.first().copied().ok_or_else(|| ModelError::Shape { reason: String::from("an operator without input") });
        let second =
            || inputs.get(1).copied().ok_or_else(|| ModelError::Shape { reason: String::from("an operator without its second input") });
        Ok(vec![match self {
            Self::Identity => first()?.clone(),
            Self::Constant(tensor) => tensor.clone(),
            Self::Cast(to) => cast(first()?, *to)?,
            Self::Scaler { offset, scale } => scaler(first()?, offset, scale)?,
            Self::Imputer { values, replaced } => impute(first()?, values, *replaced)?,
            Self::Normalizer(norm) => normalize(first()?, *norm)?,
            Self::Binarizer(threshold) => first()?.map(|value| f64::from(value > *threshold))?,
            Self::TreeClassifier { ensemble, classes } => return tree_classes(ensemble, classes, first()?),
            Self::TreeRegressor(ensemble) => tree_values(ensemble, first()?)?,
            Self::LinearClassifier { linear, classes } => return linear_classes(linear, classes, first()?),
            Self::LinearRegressor(linear) => linear_values(linear, first()?)?,
            Self::Concat { axis } => plain::concat(inputs, *axis)?,
            Self::ArrayFeatureExtractor => plain::extract(first()?, second()?)?,
            Self::Arithmetic(arithmetic) => plain::broadcast(*arithmetic, first()?, second()?)?,
            Self::Map(function) => first()?.map(|value| function.of(value))?,
            Self::MatMul => plain::matmul(first()?, second()?, (false, false))?,
            Self::Gemm { alpha, beta, transpose } => plain::gemm(inputs, *alpha, *beta, *transpose)?,
            Self::Softmax { axis } => plain::softmax(first()?, *axis)?,
            Self::ArgMax { axis, keep } => plain::argmax(first()?, *axis, *keep)?,
            Self::Reshape => plain::reshape(first()?, second()?)?,
        }])
    }
}

fn imputer(attributes: &Attributes<'_>) -> Op {
    let floats = attributes.floats("imputed_value_floats");
    if floats.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "imputed integers stay below 2^53")]
        let values = attributes.integers("imputed_value_int64s").iter().map(|value| *value as f64).collect();
        #[expect(clippy::cast_precision_loss, reason = "imputed integers stay below 2^53")]
        return Op::Imputer { values, replaced: attributes.integer("replaced_value_int64").unwrap_or(0) as f64 };
    }
    Op::Imputer { values: floats.to_vec(), replaced: attributes.float("replaced_value_float").unwrap_or(0.0) }
}

fn cast(input: &Tensor, to: Option<Elem>) -> Result<Tensor, ModelError> {
    let values = match (&input.values, to) {
        (Values::Numbers(_, numbers), Some(elem)) => Values::Numbers(elem, numbers.iter().map(|value| elem.hold(*value)).collect()),
        (Values::Numbers(Elem::Integer | Elem::Boolean, numbers), None) => Values::Texts(numbers.iter().map(ToString::to_string).collect()),
        (Values::Texts(texts), None) => Values::Texts(texts.clone()),
        (Values::Texts(texts), Some(elem)) => {
            let numbers: Result<Vec<f64>, _> = texts.iter().map(|text| text.parse()).collect();
            Values::Numbers(elem, numbers.map_err(|_| ModelError::Shape { reason: String::from("a cast of text that is no number") })?)
        }
        (Values::Numbers(Elem::F32 | Elem::F64, _), None) => {
            return Err(ModelError::Unsupported { what: String::from("a cast of numbers to text") });
        }
    };
    Ok(Tensor { shape: input.shape.clone(), values })
}

/// One value for each column, from a list of one or of all.
fn per_column(list: &[f64], column: usize) -> Result<f64, ModelError> {
    let value = if list.len() == 1 { list.first() } else { list.get(column) };
    value.copied().ok_or_else(|| ModelError::Shape { reason: format!("a parameter has no value for column {column}") })
}

fn each_cell(input: &Tensor, function: impl Fn(usize, f64) -> Result<f64, ModelError>) -> Result<(usize, usize, Vec<f64>), ModelError> {
    let (rows, columns) = input.matrix()?;
    let (_, numbers) = input.numbers()?;
    let out: Result<Vec<f64>, _> =
        numbers.chunks(columns.max(1)).flat_map(|row| row.iter().enumerate()).map(|(column, value)| function(column, *value)).collect();
    Ok((rows, columns, out?))
}

/// `(x − offset) × scale`, in 32 bits as the runtime does unless the input has 64.
fn scaler(input: &Tensor, offset: &[f64], scale: &[f64]) -> Result<Tensor, ModelError> {
    let elem = if input.numbers()?.0 == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let (rows, columns, out) = each_cell(input, |column, value| {
        let centred = elem.hold(elem.hold(value) - per_column(offset, column)?);
        Ok(elem.hold(centred * per_column(scale, column)?))
    })?;
    Tensor::new(vec![rows, columns], if elem == Elem::F64 { Elem::F64 } else { Elem::F32 }, out)
}

fn impute(input: &Tensor, values: &[f64], replaced: f64) -> Result<Tensor, ModelError> {
    let (elem, _) = input.numbers()?;
    #[expect(clippy::float_cmp, reason = "the replaced value is compared exactly")]
    let (rows, columns, out) =
        each_cell(
            input,
            |column, value| if value == replaced || (value.is_nan() && replaced.is_nan()) { per_column(values, column) } else { Ok(value) },
        )?;
    Tensor::new(vec![rows, columns], elem, out)
}

/// Scores of each row of the input, before and after the post-transform.
fn rows_of(input: &Tensor, needed: usize) -> Result<(usize, impl Iterator<Item = Vec<f64>>), ModelError> {
    let (rows, columns) = input.matrix()?;
    if needed > columns {
        return Err(ModelError::Shape { reason: format!("the model uses {needed} features and got {columns}") });
    }
    let (elem, numbers) = input.numbers()?;
    Ok((
        rows,
        numbers
            .chunks(columns.max(1))
            .map(move |row| row.iter().map(|value| if elem == Elem::F64 { *value } else { to_f32(*value) }).collect()),
    ))
}

/// The scores of two classes from the one sum that decides between them.
fn two_scores(sum: f64, probability: bool, post: PostTransform) -> [f64; 2] {
    match post {
        PostTransform::Logistic => [1.0 / (1.0 + sum.exp()), 1.0 / (1.0 + (-sum).exp())],
        _ if probability => [1.0 - sum, sum],
        _ => [-sum, sum],
    }
}

fn tree_classes(ensemble: &TreeEnsemble, classes: &[String], input: &Tensor) -> Result<Vec<Tensor>, ModelError> {
    let (rows, iterator) = rows_of(input, ensemble.features)?;
    let mut labels = Vec::with_capacity(rows);
    let mut scores = Vec::new();
    for row in iterator {
        let mut sums = ensemble.sums(&row);
        if let ([sum], true) = (sums.as_slice(), classes.len() == 2) {
            // a margin decides at 0, a probability at one half
            labels.push(usize::from(*sum > if ensemble.weights_positive { 0.5 } else { 0.0 }));
            scores.extend(two_scores(*sum, ensemble.weights_positive, ensemble.post));
        } else {
            labels.push(plain::largest(&sums));
            plain::transform(&mut sums, ensemble.post);
            scores.extend(sums);
        }
    }
    classified(&labels, scores, classes, rows)
}

fn classified(labels: &[usize], scores: Vec<f64>, classes: &[String], rows: usize) -> Result<Vec<Tensor>, ModelError> {
    let texts = labels.iter().map(|label| classes.get(*label).cloned().unwrap_or_default()).collect();
    let columns = scores.len().checked_div(rows).unwrap_or(classes.len());
    Ok(vec![Tensor { shape: vec![rows], values: Values::Texts(texts) }, Tensor::new(vec![rows, columns], Elem::F64, scores)?])
}

fn tree_values(ensemble: &TreeEnsemble, input: &Tensor) -> Result<Tensor, ModelError> {
    let (rows, iterator) = rows_of(input, ensemble.features)?;
    bounded(rows, ensemble.outputs)?;
    let values = iterator.flat_map(|row| {
        let mut sums = ensemble.sums(&row);
        plain::transform(&mut sums, ensemble.post);
        sums
    });
    Tensor::new(vec![rows, ensemble.outputs], Elem::F64, values.collect())
}

fn bounded(rows: usize, columns: usize) -> Result<(), ModelError> {
    rows.checked_mul(columns)
        .filter(|count| *count <= ELEMENTS_MAX)
        .map(|_| ())
        .ok_or(ModelError::TooLarge { what: "elements of a tensor", max: ELEMENTS_MAX })
}

fn linear_classes(linear: &Linear, classes: &[String], input: &Tensor) -> Result<Vec<Tensor>, ModelError> {
    let (rows, iterator) = rows_of(input, linear.features)?;
    let mut labels = Vec::with_capacity(rows);
    let mut scores = Vec::new();
    for row in iterator {
        let mut sums = linear.sums(&row);
        if let ([sum], true) = (sums.as_slice(), classes.len() == 2) {
            labels.push(usize::from(*sum > 0.0));
            scores.extend(two_scores(*sum, false, linear.post));
        } else {
            labels.push(plain::largest(&sums));
            plain::transform(&mut sums, linear.post);
            scores.extend(sums);
        }
    }
    classified(&labels, scores, classes, rows)
}

fn linear_values(linear: &Linear, input: &Tensor) -> Result<Tensor, ModelError> {
    let (rows, iterator) = rows_of(input, linear.features)?;
    bounded(rows, linear.outputs)?;
    let values = iterator.flat_map(|row| {
        let mut sums = linear.sums(&row);
        plain::transform(&mut sums, linear.post);
        sums
    });
    Tensor::new(vec![rows, linear.outputs], Elem::F64, values.collect())
}
