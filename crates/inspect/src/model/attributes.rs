//! Attributes of a node by name: raw attributes → values of the type asked for.
//!
//! **Invariant:** an attribute that is absent reads as nothing; one of another type reads as nothing, too, and its reader decides.

use super::ModelError;
use super::onnx::{Attribute, RawNode};
use super::tensor::Tensor;

/// Attributes of one node.
pub(super) struct Attributes<'a> {
    node: &'a RawNode,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a RawNode) -> Result<Self, ModelError> {
        if node.attributes.iter().any(|(_, attribute)| attribute.graph) {
            return Err(ModelError::Unsupported { what: format!("operator `{}` with a sub-graph", node.op) });
        }
        Ok(Self { node })
    }

    fn get(&self, name: &str) -> Option<&'a Attribute> {
        self.node.attributes.iter().find(|(known, _)| known == name).map(|(_, attribute)| attribute)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.get(name).map(|attribute| attribute.integer)
    }

    pub(super) fn float(&self, name: &str) -> Option<f64> {
        self.get(name).map(|attribute| attribute.float)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|attribute| std::str::from_utf8(&attribute.text).ok())
    }

    pub(super) fn integers(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |attribute| attribute.integers.as_slice())
    }

    pub(super) fn floats(&self, name: &str) -> &'a [f64] {
        self.get(name).map_or(&[], |attribute| attribute.floats.as_slice())
    }

    /// The list `name`, or the tensor `name_as_tensor` that newer operator sets use for f64.
    pub(super) fn floats_or_tensor(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        match self.tensor(&format!("{name}_as_tensor")) {
            Some(tensor) => Ok(tensor.numbers()?.1.to_vec()),
            None => Ok(self.floats(name).to_vec()),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Vec<&'a str> {
        self.get(name)
            .map(|attribute| attribute.texts.iter().map(|text| std::str::from_utf8(text).unwrap_or("")).collect())
            .unwrap_or_default()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.get(name).and_then(|attribute| attribute.tensor.as_ref())
    }

    /// Class labels, integers or texts, as text.
    pub(super) fn classes(&self) -> Vec<String> {
        let integers = ["classlabels_int64s", "classlabels_ints"].iter().map(|name| self.integers(name)).find(|list| !list.is_empty());
        match integers {
            Some(list) => list.iter().map(ToString::to_string).collect(),
            None => self.texts("classlabels_strings").into_iter().map(str::to_owned).collect(),
        }
    }
}
