//! The graph of a model: decoded parts → checked, executable model; rows → predictions.
//!
//! **Invariant:** nodes are executed in the order of the file, and each uses only what stands before it.

use std::collections::HashMap;
use std::sync::Arc;

use super::onnx::{Port, RawModel, RawNode, ValueType};
use super::ops::Op;
use super::tensor::{Elem, Tensor, Values};
use super::{ELEMENTS_MAX, FeatureSource, Linear, MODEL_BYTES_MAX, Matrix, ModelError, Output, Prediction, TreeEnsemble};

/// Cells of one batch of rows.
const BATCH_CELLS: usize = 250_000;
/// Elements of all tensors made for one batch.
const BATCH_ELEMENTS_MAX: usize = 2 * ELEMENTS_MAX;

#[derive(Debug)]
struct Node {
    op: Op,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

/// An input of the graph that data goes to.
#[derive(Debug)]
struct InputPort {
    slot: usize,
    elem: Elem,
    /// Columns that it takes; the last port may take what is left.
    width: Option<usize>,
}

/// A model, ready to predict.
#[derive(Debug)]
pub struct Model {
    name: String,
    slots: usize,
    constants: Vec<(usize, Arc<Tensor>)>,
    nodes: Vec<Node>,
    inputs: Vec<InputPort>,
    label: Option<usize>,
    scores: usize,
    output: Output,
    classes: Vec<String>,
    features: Option<Vec<String>>,
    feature_source: FeatureSource,
}

/// The part of a model that learned: what explanations look into.
#[derive(Clone, Copy, Debug)]
pub enum Estimator<'a> {
    /// An ensemble of trees.
    Trees(&'a TreeEnsemble),
    /// A linear model.
    Linear(&'a Linear),
}

/// Loads a model; the format follows from the extension of `name`.
pub fn load(name: &str, bytes: &[u8]) -> Result<Model, ModelError> {
    if !name.to_ascii_lowercase().ends_with(".onnx") {
        return Err(ModelError::Format { name: name.to_owned() });
    }
    if bytes.len() > MODEL_BYTES_MAX {
        return Err(ModelError::TooLarge { what: "bytes", max: MODEL_BYTES_MAX });
    }
    Model::build(name, RawModel::decode(bytes)?)
}

/// Names of values → slots, each written once.
#[derive(Default)]
struct Slots {
    by_name: HashMap<String, usize>,
}

impl Slots {
    fn define(&mut self, name: &str) -> Result<usize, ModelError> {
        let slot = self.by_name.len();
        if self.by_name.insert(name.to_owned(), slot).is_some() {
            return Err(ModelError::Malformed { reason: format!("value `{name}` is made twice") });
        }
        Ok(slot)
    }

    fn find(&self, name: &str) -> Result<usize, ModelError> {
        self.by_name.get(name).copied().ok_or_else(|| ModelError::Malformed { reason: format!("value `{name}` is used before it is made") })
    }
}

impl Model {
    fn build(name: &str, raw: RawModel) -> Result<Self, ModelError> {
        let mut slots = Slots::default();
        let mut constants = Vec::new();
        for (name, tensor) in raw.initializers {
            constants.push((slots.define(&name)?, Arc::new(tensor)));
        }
        let data_ports: Vec<&Port> = raw.inputs.iter().filter(|port| !slots.by_name.contains_key(&port.name)).collect();
        let mut inputs = Vec::with_capacity(data_ports.len());
        for port in &data_ports {
            inputs.push(input_port(port, slots.define(&port.name)?)?);
        }
        if inputs.is_empty() {
            return Err(ModelError::Malformed { reason: String::from("the graph has no input") });
        }
        if inputs.iter().rev().skip(1).any(|port| port.width.is_none()) {
            return Err(ModelError::Unsupported { what: String::from("several inputs of unknown width") });
        }
        let mut nodes = Vec::with_capacity(raw.nodes.len());
        for node in &raw.nodes {
            nodes.push(build_node(node, &mut slots)?);
        }
        let (label, scores) = find_outputs(&raw.outputs, &slots)?;
        let output = if label.is_some() { Output::Classes } else { Output::Values };
        let (features, feature_source) = feature_names(&raw.metadata, &data_ports, &inputs)?;
        let mut model = Self {
            name: name.to_owned(),
            slots: slots.by_name.len(),
            constants,
            nodes,
            inputs,
            label,
            scores,
            output,
            classes: Vec::new(),
            features,
            feature_source,
        };
        if output == Output::Classes {
            model.classes = model.find_classes();
        }
        Ok(model)
    }

    /// Labels of the classes, from the operator that decides or from the list of labels that the graph picks from.
    fn find_classes(&self) -> Vec<String> {
        if let Some(classes) = self.nodes.iter().rev().find_map(|node| node.op.classes()) {
            return classes.to_vec();
        }
        let picked = self.nodes.iter().rev().find(|node| matches!(node.op, Op::ArrayFeatureExtractor)).and_then(|node| node.inputs.first());
        let list = picked.and_then(|slot| self.constants.iter().find(|(constant, _)| constant == slot));
        match list.map(|(_, tensor)| &tensor.values) {
            Some(Values::Texts(texts)) => texts.clone(),
            Some(Values::Numbers(_, numbers)) => numbers.iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        }
    }

    /// Name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the features in order, if the model knows them.
    #[must_use]
    pub fn features(&self) -> Option<&[String]> {
        self.features.as_deref()
    }

    /// From where the names of the features are known.
    #[must_use]
    pub fn feature_source(&self) -> FeatureSource {
        self.feature_source
    }

    /// Number of features, if the model says it.
    #[must_use]
    pub fn n_features(&self) -> Option<usize> {
        self.inputs.iter().map(|port| port.width).sum()
    }

    /// What it predicts.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output
    }

    /// Labels of the classes, in the order of scores; empty for [`Output::Values`].
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The tree ensemble, if the model has exactly one estimator and it is one.
    #[must_use]
    pub fn trees(&self) -> Option<&TreeEnsemble> {
        if let Some((_, Estimator::Trees(trees))) = self.estimator_node() { Some(trees) } else { None }
    }

    /// The linear model, if the model has exactly one estimator and it is one.
    #[must_use]
    pub fn linear(&self) -> Option<&Linear> {
        if let Some((_, Estimator::Linear(linear))) = self.estimator_node() { Some(linear) } else { None }
    }

    fn estimator_node(&self) -> Option<(usize, Estimator<'_>)> {
        let mut found = self.nodes.iter().enumerate().filter_map(|(place, node)| match &node.op {
            Op::TreeClassifier { ensemble, .. } | Op::TreeRegressor(ensemble) => Some((place, Estimator::Trees(ensemble))),
            Op::LinearClassifier { linear, .. } | Op::LinearRegressor(linear) => Some((place, Estimator::Linear(linear))),
            _ => None,
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// The one estimator, and the rows as they reach it: each of its columns made from one feature, the same place in both.
    ///
    /// `None` if there is no such estimator or if something before it mixes features.
    pub fn estimator_rows(&self, rows: &Matrix) -> Result<Option<(Estimator<'_>, Matrix)>, ModelError> {
        let Some((place, estimator)) = self.estimator_node() else { return Ok(None) };
        let Some(slot) = self.nodes.get(place).and_then(|node| node.inputs.first()).copied() else { return Ok(None) };
        if !self.is_columnwise(slot, place) {
            return Ok(None);
        }
        let mut reached = Matrix { columns: rows.columns, values: Vec::with_capacity(rows.values.len()) };
        for chunk in rows.values.chunks(self.batch_values(rows.columns)) {
            let values = self.execute(chunk, rows.columns, place)?;
            let Some(tensor) = values.get(slot).and_then(Option::as_ref) else { return Ok(None) };
            let (elem, numbers) = tensor.numbers()?;
            if tensor.matrix()?.1 != rows.columns {
                return Ok(None);
            }
            // the estimator sees 32-bit floats unless the graph is 64-bit
            reached.values.extend(numbers.iter().map(|value| if elem == Elem::F64 { *value } else { Elem::F32.hold(*value) }));
        }
        Ok(Some((estimator, reached)))
    }

    /// Whether the value in `slot` is made from the inputs column by column by the nodes before `place`.
    fn is_columnwise(&self, mut slot: usize, mut place: usize) -> bool {
        loop {
            if self.inputs.iter().any(|port| port.slot == slot) {
                return self.inputs.len() == 1;
            }
            // `place` falls with each turn, so the walk ends
            let Some((maker, node)) = self.nodes.iter().enumerate().take(place).find(|(_, node)| node.outputs.contains(&slot)) else {
                return false;
            };
            if matches!(node.op, Op::Concat { axis: 1 | -1 }) {
                // all inputs of the graph, in order
                return node.inputs.iter().copied().eq(self.inputs.iter().map(|port| port.slot));
            }
            let constant = |slot: &usize| self.constants.iter().find(|(constant, _)| constant == slot).map(|(_, tensor)| tensor);
            // a constant must not make rows depend on each other
            let narrow = node.inputs.iter().filter_map(constant).all(|tensor| tensor.matrix().is_ok_and(|(rows, _)| rows == 1));
            let mut data = node.inputs.iter().filter(|slot| constant(slot).is_none());
            match (data.next(), data.next()) {
                (Some(made_from), None) if narrow && node.op.is_columnwise() => (slot, place) = (*made_from, maker),
                _ => return false,
            }
        }
    }

    fn batch_values(&self, columns: usize) -> usize {
        (BATCH_CELLS / columns.max(1)).clamp(1, 4_096) * columns.max(1)
    }

    /// Predicts all rows, a batch at a time.
    pub fn predict(&self, rows: &Matrix) -> Result<Prediction, ModelError> {
        if rows.columns == 0 || !rows.values.len().is_multiple_of(rows.columns) {
            return Err(ModelError::Shape { reason: String::from("no features") });
        }
        let mut prediction = Prediction { scores: Matrix::default(), labels: Vec::new() };
        for chunk in rows.values.chunks(self.batch_values(rows.columns)) {
            let values = self.execute(chunk, rows.columns, self.nodes.len())?;
            let count = chunk.len() / rows.columns;
            let get = |slot: usize| {
                values
                    .get(slot)
                    .and_then(Option::as_deref)
                    .ok_or_else(|| ModelError::Shape { reason: String::from("an output was not made") })
            };
            let scores = get(self.scores)?;
            let (_, numbers) = scores.numbers()?;
            let columns = if scores.shape.len() == 1 { 1 } else { scores.matrix()?.1 };
            if columns == 0 || numbers.len() != count * columns || (prediction.scores.columns != 0 && prediction.scores.columns != columns)
            {
                return Err(ModelError::Shape { reason: format!("{} scores for {count} rows", numbers.len()) });
            }
            prediction.scores.columns = columns;
            prediction.scores.values.extend_from_slice(numbers);
            if let Some(slot) = self.label {
                prediction.labels.extend(self.class_places(get(slot)?, count)?);
            }
        }
        Ok(prediction)
    }

    /// Places of predicted labels among the classes.
    fn class_places(&self, labels: &Tensor, rows: usize) -> Result<Vec<usize>, ModelError> {
        let texts: Vec<String> = match &labels.values {
            Values::Texts(texts) => texts.clone(),
            Values::Numbers(_, numbers) => numbers.iter().map(ToString::to_string).collect(),
        };
        if texts.len() != rows {
            return Err(ModelError::Shape { reason: format!("{} labels for {rows} rows", texts.len()) });
        }
        let known: HashMap<&str, usize> = self.classes.iter().enumerate().map(|(place, class)| (class.as_str(), place)).collect();
        texts
            .iter()
            .map(|text| {
                known
                    .get(text.as_str())
                    .copied()
                    .ok_or_else(|| ModelError::Shape { reason: format!("the model predicts `{text}`, which is none of its classes") })
            })
            .collect()
    }

    /// Values of all slots after the first `until` nodes.
    fn execute(&self, rows: &[f64], columns: usize, until: usize) -> Result<Vec<Option<Arc<Tensor>>>, ModelError> {
        let mut values: Vec<Option<Arc<Tensor>>> = vec![None; self.slots];
        let put = |values: &mut Vec<Option<Arc<Tensor>>>, slot: usize, tensor: Arc<Tensor>| {
            if let Some(value) = values.get_mut(slot) {
                *value = Some(tensor);
            }
        };
        for (slot, tensor) in &self.constants {
            put(&mut values, *slot, tensor.clone());
        }
        let mut first = 0;
        let last = self.inputs.len().saturating_sub(1);
        for (place, port) in self.inputs.iter().enumerate() {
            let left = columns.saturating_sub(first);
            let width = port.width.unwrap_or(left);
            if width > left || (place == last && width != left) {
                return Err(ModelError::Shape {
                    reason: format!(
                        "the model takes {} features and got {columns}",
                        self.n_features().map_or_else(|| String::from("other"), |count| count.to_string())
                    ),
                });
            }
            let cells =
                rows.chunks_exact(columns).flat_map(|row| row.iter().skip(first).take(width)).map(|value| port.elem.hold(*value)).collect();
            put(&mut values, port.slot, Arc::new(Tensor::new(vec![rows.len() / columns, width], port.elem, cells)?));
            first += width;
        }
        let mut elements = 0_usize;
        for node in self.nodes.iter().take(until) {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for slot in &node.inputs {
                inputs.push(
                    values
                        .get(*slot)
                        .and_then(Option::as_deref)
                        .ok_or_else(|| ModelError::Shape { reason: String::from("an operator lacks an input") })?,
                );
            }
            let made = node.op.apply(&inputs)?;
            for (slot, tensor) in node.outputs.iter().zip(made) {
                elements = elements.saturating_add(tensor.values.len());
                if elements > BATCH_ELEMENTS_MAX {
                    return Err(ModelError::TooLarge { what: "elements in one evaluation", max: BATCH_ELEMENTS_MAX });
                }
                put(&mut values, *slot, Arc::new(tensor));
            }
        }
        Ok(values)
    }
}

fn build_node(node: &RawNode, slots: &mut Slots) -> Result<Node, ModelError> {
    let op = Op::of(node)?;
    let inputs = node.inputs.iter().filter(|name| !name.is_empty()).map(|name| slots.find(name)).collect::<Result<Vec<usize>, _>>()?;
    let outputs = node.outputs.iter().map(|name| slots.define(name)).collect::<Result<Vec<usize>, _>>()?;
    Ok(Node { op, inputs, outputs })
}

fn input_port(port: &Port, slot: usize) -> Result<InputPort, ModelError> {
    let ValueType::Tensor(code, dims) = &port.value_type else {
        return Err(ModelError::Unsupported { what: format!("input `{}` that is no tensor", port.name) });
    };
    if *code == 8 {
        return Err(ModelError::Unsupported { what: format!("text input `{}`", port.name) });
    }
    let width = match dims.as_slice() {
        [] | [_] => Some(1),
        [_, width] => *width,
        _ => return Err(ModelError::Unsupported { what: format!("input `{}` of {} dimensions", port.name, dims.len()) }),
    };
    Ok(InputPort { slot, elem: Elem::of_code(*code)?, width })
}

/// Slot of the label, if the model is a classifier, and of the scores.
fn find_outputs(outputs: &[Port], slots: &Slots) -> Result<(Option<usize>, usize), ModelError> {
    let mut label = None;
    let mut scores = None;
    for port in outputs {
        let slot = slots.find(&port.name)?;
        match &port.value_type {
            ValueType::Tensor(1 | 10 | 11, _) | ValueType::Sequence => scores = scores.or(Some(slot)),
            ValueType::Tensor(2..=8 | 12 | 13, _) => label = label.or(Some(slot)),
            ValueType::Tensor(..) | ValueType::Unknown => {}
        }
    }
    match scores {
        Some(scores) => Ok((label, scores)),
        None => Err(ModelError::Unsupported { what: String::from("outputs without scores or values") }),
    }
}

fn feature_names(
    metadata: &[(String, String)],
    ports: &[&Port],
    inputs: &[InputPort],
) -> Result<(Option<Vec<String>>, FeatureSource), ModelError> {
    let width: Option<usize> = inputs.iter().map(|port| port.width).sum();
    if let Some((_, json)) = metadata.iter().find(|(key, _)| key == "feature_names") {
        let names: Vec<String> = serde_json::from_str(json)
            .map_err(|_| ModelError::Malformed { reason: String::from("metadata `feature_names` is no JSON list of texts") })?;
        let distinct: std::collections::HashSet<&String> = names.iter().collect();
        if names.is_empty() || distinct.len() != names.len() || width.is_some_and(|width| width != names.len()) {
            return Err(ModelError::Malformed {
                reason: format!(
                    "metadata `feature_names` has {} names, {} of them distinct, for {width:?} features",
                    names.len(),
                    distinct.len()
                ),
            });
        }
        return Ok((Some(names), FeatureSource::Metadata));
    }
    if inputs.len() > 1 && inputs.iter().all(|port| port.width == Some(1)) {
        return Ok((Some(ports.iter().map(|port| port.name.clone()).collect()), FeatureSource::Inputs));
    }
    Ok((None, FeatureSource::Data))
}
