//! Tensors of the interpreter: shape and values.
//!
//! Numbers of every element type are kept as f64. Where the type is a 32-bit float, element-wise results are rounded to it, as
//! the runtime that a model was exported for does; sums of trees and of linear models stay f64.
//!
//! **Invariant:** the number of values is the product of the shape, and never above [`ELEMENTS_MAX`].

use super::{ELEMENTS_MAX, ModelError};

/// Type of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elem {
    F32,
    F64,
    /// All integer types.
    Integer,
    Boolean,
}

impl Elem {
    /// From the codes of `TensorProto.DataType`.
    pub(super) fn of_code(code: i64) -> Result<Self, ModelError> {
        match code {
            1 => Ok(Self::F32),
            11 => Ok(Self::F64),
            2..=7 | 12 | 13 => Ok(Self::Integer),
            9 => Ok(Self::Boolean),
            8 => Err(ModelError::Unsupported { what: String::from("text tensors here") }),
            _ => Err(ModelError::Unsupported { what: format!("tensor element type {code}") }),
        }
    }

    /// The value as this type holds it.
    pub(super) fn hold(self, value: f64) -> f64 {
        match self {
            Self::F32 => to_f32(value),
            Self::F64 => value,
            Self::Integer => value.trunc(),
            Self::Boolean => f64::from(value != 0.0),
        }
    }
}

/// Nearest 32-bit float.
pub(super) fn to_f32(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits is what is asked for")]
    f64::from(value as f32)
}

/// Values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Numbers(Elem, Vec<f64>),
    Texts(Vec<String>),
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(_, numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }
}

/// Shape and values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

impl Tensor {
    pub(super) fn new(shape: Vec<usize>, elem: Elem, numbers: Vec<f64>) -> Result<Self, ModelError> {
        if elements(&shape)? != numbers.len() {
            return Err(ModelError::Shape { reason: format!("{} values do not fill shape {shape:?}", numbers.len()) });
        }
        Ok(Self { shape, values: Values::Numbers(elem, numbers) })
    }

    pub(super) fn numbers(&self) -> Result<(Elem, &[f64]), ModelError> {
        match &self.values {
            Values::Numbers(elem, numbers) => Ok((*elem, numbers)),
            Values::Texts(_) => Err(ModelError::Shape { reason: String::from("text where numbers are needed") }),
        }
    }

    /// Rows and columns: one dimension is one row, none a single cell.
    pub(super) fn matrix(&self) -> Result<(usize, usize), ModelError> {
        match self.shape.as_slice() {
            [] => Ok((1, 1)),
            [columns] => Ok((1, *columns)),
            [rows, columns] => Ok((*rows, *columns)),
            shape => Err(ModelError::Shape { reason: format!("a tensor of shape {shape:?} where a matrix is needed") }),
        }
    }

    /// Applies a function to each number; the element type stays.
    pub(super) fn map(&self, function: impl Fn(f64) -> f64) -> Result<Self, ModelError> {
        let (elem, numbers) = self.numbers()?;
        Ok(Self {
            shape: self.shape.clone(),
            values: Values::Numbers(elem, numbers.iter().map(|value| elem.hold(function(*value))).collect()),
        })
    }
}

/// Number of elements of a shape, within the bound.
pub(super) fn elements(shape: &[usize]) -> Result<usize, ModelError> {
    shape
        .iter()
        .try_fold(1_usize, |product, dim| product.checked_mul(*dim))
        .filter(|count| *count <= ELEMENTS_MAX)
        .ok_or(ModelError::TooLarge { what: "elements of a tensor", max: ELEMENTS_MAX })
}
