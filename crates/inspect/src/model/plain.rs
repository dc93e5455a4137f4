//! Operators of the standard domain on matrices: tensors → tensor.
//!
//! **Invariant:** the size of a result is checked before it is made.

#![expect(clippy::indexing_slicing, reason = "strides and shapes are computed from the very tensors that are indexed, and checked to fit")]

use super::ModelError;
use super::tensor::{Elem, Tensor, Values, elements};
use super::trees::PostTransform;

/// Arithmetic of two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

fn shape_error(what: &str, a: &[usize], b: &[usize]) -> ModelError {
    ModelError::Shape { reason: format!("{what} of shapes {a:?} and {b:?}") }
}

/// Element-wise, with NumPy's broadcasting.
pub(super) fn broadcast(arithmetic: Arithmetic, a: &Tensor, b: &Tensor) -> Result<Tensor, ModelError> {
    let ((elem, x), (_, y)) = (a.numbers()?, b.numbers()?);
    let rank = a.shape.len().max(b.shape.len());
    let dim = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        shape.push(match (dim(&a.shape, axis), dim(&b.shape, axis)) {
            (left, right) if left == right => left,
            (1, right) => right,
            (left, 1) => left,
            _ => return Err(shape_error("arithmetic", &a.shape, &b.shape)),
        });
    }
    let count = elements(&shape)?;
    let strides = |of: &[usize]| {
        let mut strides = vec![0; rank];
        let mut step = 1;
        for axis in (0..rank).rev() {
            let size = dim(of, axis);
            strides[axis] = if size == 1 { 0 } else { step };
            step *= size;
        }
        strides
    };
    let (left, right) = (strides(&a.shape), strides(&b.shape));
    let mut out = Vec::with_capacity(count);
    for flat in 0..count {
        let (mut rest, mut i, mut j) = (flat, 0, 0);
        for axis in (0..rank).rev() {
            let at = rest % shape[axis];
            rest /= shape[axis];
            i += at * left[axis];
            j += at * right[axis];
        }
        let (p, q) = (x[i], y[j]);
        let value = match arithmetic {
            Arithmetic::Add => p + q,
            Arithmetic::Sub => p - q,
            Arithmetic::Mul => p * q,
            Arithmetic::Div if elem == Elem::Integer && q == 0.0 => {
                return Err(ModelError::Shape { reason: String::from("an integer division by zero") });
            }
            Arithmetic::Div => p / q,
        };
        out.push(elem.hold(value));
    }
    Tensor::new(shape, elem, out)
}

/// `A B`, each transposed if asked.
pub(super) fn matmul(a: &Tensor, b: &Tensor, transpose: (bool, bool)) -> Result<Tensor, ModelError> {
    let ((elem, x), (_, y)) = (a.numbers()?, b.numbers()?);
    let turn = |(rows, columns): (usize, usize), turn: bool| if turn { (columns, rows) } else { (rows, columns) };
    let (a_columns, b_columns) = (a.matrix()?.1, b.matrix()?.1);
    let (m, k) = turn(a.matrix()?, transpose.0);
    // a vector on the right is a column
    let (k_right, n) = if b.shape.len() == 1 { (b_columns, 1) } else { turn(b.matrix()?, transpose.1) };
    if k != k_right {
        return Err(shape_error("a product", &a.shape, &b.shape));
    }
    elements(&[m, n])?;
    let left = |i: usize, l: usize| if transpose.0 { x[l * a_columns + i] } else { x[i * a_columns + l] };
    let right = |l: usize, j: usize| match (b.shape.len(), transpose.1) {
        (1, _) => y[l],
        (_, true) => y[j * b_columns + l],
        (_, false) => y[l * b_columns + j],
    };
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            out.push((0..k).map(|l| left(i, l) * right(l, j)).sum());
        }
    }
    let shape = if b.shape.len() == 1 { vec![m] } else { vec![m, n] };
    Tensor::new(shape, elem, out)
}

/// `alpha A B + beta C`.
pub(super) fn gemm(inputs: &[&Tensor], alpha: f64, beta: f64, transpose: (bool, bool)) -> Result<Tensor, ModelError> {
    let [a, b, rest @ ..] = inputs else { return Err(ModelError::Shape { reason: String::from("`Gemm` needs two matrices") }) };
    let product = matmul(a, b, transpose)?.map(|value| alpha * value)?;
    match rest.first() {
        None => Ok(product),
        Some(c) => broadcast(Arithmetic::Add, &product, &c.map(|value| beta * value)?),
    }
}

/// Position of an axis, counted from the end if negative.
fn axis_of(axis: i64, rank: usize) -> Result<usize, ModelError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    usize::try_from(if axis < 0 { axis + signed } else { axis })
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| ModelError::Shape { reason: format!("there is no axis {axis} among {rank}") })
}

/// Side by side (axis 1) or one after the other (axis 0).
pub(super) fn concat(inputs: &[&Tensor], axis: i64) -> Result<Tensor, ModelError> {
    let Some(first) = inputs.first() else { return Err(ModelError::Shape { reason: String::from("`Concat` without input") }) };
    let (elem, _) = first.numbers()?;
    let axis = axis_of(axis, first.shape.len().max(1))?;
    let (rows, _) = first.matrix()?;
    let mut columns = 0_usize;
    for input in inputs {
        if axis == 1 && input.matrix()?.0 != rows {
            return Err(shape_error("a concatenation", &first.shape, &input.shape));
        }
        columns = columns.saturating_add(input.matrix()?.1);
    }
    if axis == 0 {
        let total: usize = inputs.iter().map(|input| input.values.len()).fold(0, usize::saturating_add);
        elements(&[total])?;
        let width = first.matrix()?.1;
        if first.shape.len() == 2 && inputs.iter().any(|input| input.shape.get(1) != Some(&width)) {
            return Err(ModelError::Shape { reason: String::from("a concatenation of rows of different length") });
        }
        let mut out = Vec::with_capacity(total);
        for input in inputs {
            out.extend_from_slice(input.numbers()?.1);
        }
        let shape = if first.shape.len() < 2 { vec![total] } else { vec![total.checked_div(width).unwrap_or(0), width] };
        return Tensor::new(shape, elem, out);
    }
    let mut out = Vec::with_capacity(elements(&[rows, columns])?);
    let parts: Result<Vec<(usize, &[f64])>, ModelError> = inputs.iter().map(|input| Ok((input.matrix()?.1, input.numbers()?.1))).collect();
    let parts = parts?;
    for row in 0..rows {
        for (width, numbers) in &parts {
            out.extend_from_slice(&numbers[row * width..(row + 1) * width]);
        }
    }
    Tensor::new(vec![rows, columns], elem, out)
}

/// `ArrayFeatureExtractor`: columns of X named by Y.
pub(super) fn extract(x: &Tensor, y: &Tensor) -> Result<Tensor, ModelError> {
    let (rows, columns) = x.matrix()?;
    let (_, indices) = y.numbers()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index out of range is refused just below")]
    let indices: Vec<usize> = indices.iter().map(|index| if *index < 0.0 { usize::MAX } else { *index as usize }).collect();
    if indices.iter().any(|index| *index >= columns) {
        return Err(ModelError::Shape { reason: format!("a feature beyond {columns}") });
    }
    let shape = vec![rows, indices.len()];
    elements(&shape)?;
    let values = match &x.values {
        Values::Numbers(elem, numbers) => {
            Values::Numbers(*elem, (0..rows).flat_map(|row| indices.iter().map(move |index| numbers[row * columns + index])).collect())
        }
        Values::Texts(texts) => {
            Values::Texts((0..rows).flat_map(|row| indices.iter().map(move |index| texts[row * columns + index].clone())).collect())
        }
    };
    Ok(Tensor { shape, values })
}

pub(super) fn softmax(input: &Tensor, axis: i64) -> Result<Tensor, ModelError> {
    let (_, columns) = input.matrix()?;
    let (elem, numbers) = input.numbers()?;
    if axis_of(axis, input.shape.len())? + 1 != input.shape.len() {
        return Err(ModelError::Unsupported { what: String::from("a softmax over another axis than the last") });
    }
    let mut out = numbers.to_vec();
    out.chunks_mut(columns.max(1)).for_each(|row| transform(row, PostTransform::Softmax));
    Tensor::new(input.shape.clone(), elem, out)
}

/// Place of the largest number of each row, or of each column.
pub(super) fn argmax(input: &Tensor, axis: i64, keep: bool) -> Result<Tensor, ModelError> {
    let (rows, columns) = input.matrix()?;
    let (_, numbers) = input.numbers()?;
    if axis_of(axis, input.shape.len())? + 1 != input.shape.len() || columns == 0 {
        return Err(ModelError::Unsupported { what: String::from("an argmax over another axis than the last") });
    }
    #[expect(clippy::cast_precision_loss, reason = "an index of a class")]
    let out = numbers.chunks(columns).map(|row| largest(row) as f64).collect();
    Tensor::new(if keep { vec![rows, 1] } else { vec![rows] }, Elem::Integer, out)
}

/// Place of the largest number, the first of equals; NaN is never larger.
pub(super) fn largest(row: &[f64]) -> usize {
    row.iter().enumerate().fold((0, f64::NEG_INFINITY), |best, (place, value)| if *value > best.1 { (place, *value) } else { best }).0
}

pub(super) fn reshape(input: &Tensor, shape: &Tensor) -> Result<Tensor, ModelError> {
    let (_, wanted) = shape.numbers()?;
    let count = input.values.len();
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, dim) in wanted.iter().enumerate() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "dimensions are small; the product is checked below")]
        dims.push(match *dim {
            -1.0 if open.is_none() => {
                open = Some(axis);
                1
            }
            0.0 => input.shape.get(axis).copied().unwrap_or(0),
            dim if dim > 0.0 => dim as usize,
            _ => return Err(ModelError::Shape { reason: format!("a reshape to {wanted:?}") }),
        });
    }
    let known = elements(&dims)?;
    if let Some(axis) = open {
        dims[axis] = count.checked_div(known).unwrap_or(0);
    }
    if elements(&dims)? != count {
        return Err(ModelError::Shape { reason: format!("a reshape of {count} values to {wanted:?}") });
    }
    Ok(Tensor { shape: dims, values: input.values.clone() })
}

/// Applies a post-transform in place.
pub(super) fn transform(scores: &mut [f64], post: PostTransform) {
    match post {
        PostTransform::None => {}
        PostTransform::Logistic => scores.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
        PostTransform::Softmax | PostTransform::SoftmaxZero => {
            let zero_stays = post == PostTransform::SoftmaxZero;
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            for score in scores.iter_mut() {
                // the operator's text: values within 1e-7 of zero stay as they are
                if !(zero_stays && score.abs() <= 1e-7) {
                    *score = (*score - largest).exp();
                    sum += *score;
                }
            }
            if sum > 0.0 {
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}
