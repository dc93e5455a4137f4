//! ONNX messages: bytes → the parts of a model that are interpreted.
//!
//! Source: onnx/onnx.proto, IR version 3 to 13. Unknown fields are skipped, as protocol buffers demand; what would change the
//! meaning and is not interpreted (external data, sub-graphs, functions, sparse tensors) is refused.
//!
//! **Invariant:** a tensor has exactly as many elements as its shape says.

use super::protobuf::{Fields, Wire, WireError};
use super::tensor::{Elem, Tensor, Values};
use super::{ELEMENTS_MAX, ModelError, NODES_MAX};

/// What an attribute holds.
#[derive(Debug, Default)]
pub(super) struct Attribute {
    pub(super) float: f64,
    pub(super) integer: i64,
    pub(super) text: Vec<u8>,
    pub(super) tensor: Option<Tensor>,
    pub(super) floats: Vec<f64>,
    pub(super) integers: Vec<i64>,
    pub(super) texts: Vec<Vec<u8>>,
    pub(super) graph: bool,
}

/// A node as written.
#[derive(Debug, Default)]
pub(super) struct RawNode {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) name: String,
    pub(super) op: String,
    pub(super) domain: String,
    pub(super) attributes: Vec<(String, Attribute)>,
}

/// Type of an input or output of the graph.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum ValueType {
    #[default]
    Unknown,
    /// A tensor: element type code and dimensions; a dimension of unknown size is `None`.
    Tensor(i64, Vec<Option<usize>>),
    /// A sequence or map, as ZipMap makes.
    Sequence,
}

/// An input or output of the graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) value_type: ValueType,
}

/// A model as written.
#[derive(Debug, Default)]
pub(super) struct RawModel {
    pub(super) nodes: Vec<RawNode>,
    pub(super) initializers: Vec<(String, Tensor)>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) opsets: Vec<(String, i64)>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) producer: String,
    has_graph: bool,
}

fn malformed(part: &'static str) -> impl Fn(WireError) -> ModelError {
    move |error| ModelError::Malformed { reason: format!("{part}: {}", error.reason()) }
}

/// Calls `read` with each field of a message.
fn each_field<'a>(
    part: &'static str,
    message: &'a [u8],
    mut read: impl FnMut(u64, Wire<'a>) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field().map_err(malformed(part))? {
        read(number, value)?;
    }
    Ok(())
}

impl RawModel {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let part = "model";
        let mut model = Self::default();
        each_field(part, bytes, |number, value| {
            match number {
                2 => model.producer = value.text().map_err(malformed(part))?,
                7 => {
                    model.has_graph = true;
                    decode_graph(value.bytes().map_err(malformed(part))?, &mut model)?;
                }
                8 => model.opsets.push(decode_opset(value.bytes().map_err(malformed(part))?)?),
                14 => model.metadata.push(decode_pair(value.bytes().map_err(malformed(part))?)?),
                25 => return Err(ModelError::Unsupported { what: String::from("model-local functions") }),
                _ => {}
            }
            Ok(())
        })?;
        if !model.has_graph {
            return Err(ModelError::Malformed { reason: String::from("it has no graph, so it is no ONNX model") });
        }
        Ok(model)
    }
}

fn decode_opset(message: &[u8]) -> Result<(String, i64), ModelError> {
    let part = "operator set";
    let mut opset = (String::new(), 0);
    each_field(part, message, |number, value| {
        match number {
            1 => opset.0 = value.text().map_err(malformed(part))?,
            2 => opset.1 = value.integer().map_err(malformed(part))?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(opset)
}

fn decode_pair(message: &[u8]) -> Result<(String, String), ModelError> {
    let part = "metadata";
    let mut pair = (String::new(), String::new());
    each_field(part, message, |number, value| {
        match number {
            1 => pair.0 = value.text().map_err(malformed(part))?,
            2 => pair.1 = value.text().map_err(malformed(part))?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(pair)
}

fn decode_graph(message: &[u8], model: &mut RawModel) -> Result<(), ModelError> {
    let part = "graph";
    each_field(part, message, |number, value| {
        match number {
            1 => {
                if model.nodes.len() >= NODES_MAX {
                    return Err(ModelError::TooLarge { what: "nodes", max: NODES_MAX });
                }
                model.nodes.push(decode_node(value.bytes().map_err(malformed(part))?)?);
            }
            5 => {
                let tensor = decode_tensor(value.bytes().map_err(malformed(part))?)?;
                model.initializers.push(tensor);
            }
            11 => model.inputs.push(decode_port(value.bytes().map_err(malformed(part))?)?),
            12 => model.outputs.push(decode_port(value.bytes().map_err(malformed(part))?)?),
            15 => return Err(ModelError::Unsupported { what: String::from("sparse initializers") }),
            _ => {}
        }
        Ok(())
    })
}

fn decode_node(message: &[u8]) -> Result<RawNode, ModelError> {
    let part = "node";
    let mut node = RawNode::default();
    each_field(part, message, |number, value| {
        match number {
            1 => node.inputs.push(value.text().map_err(malformed(part))?),
            2 => node.outputs.push(value.text().map_err(malformed(part))?),
            3 => node.name = value.text().map_err(malformed(part))?,
            4 => node.op = value.text().map_err(malformed(part))?,
            5 => {
                let attribute = decode_attribute(value.bytes().map_err(malformed(part))?)?;
                if node.attributes.iter().any(|(name, _)| *name == attribute.0) {
                    return Err(ModelError::Malformed { reason: format!("attribute `{}` of a node stands twice", attribute.0) });
                }
                node.attributes.push(attribute);
            }
            7 => node.domain = value.text().map_err(malformed(part))?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

fn decode_attribute(message: &[u8]) -> Result<(String, Attribute), ModelError> {
    let part = "attribute";
    let mut name = String::new();
    let mut attribute = Attribute::default();
    each_field(part, message, |number, value| {
        match number {
            1 => name = value.text().map_err(malformed(part))?,
            2 => attribute.float = value.float().map_err(malformed(part))?,
            3 => attribute.integer = value.integer().map_err(malformed(part))?,
            4 => attribute.text = value.bytes().map_err(malformed(part))?.to_vec(),
            5 => attribute.tensor = Some(decode_tensor(value.bytes().map_err(malformed(part))?)?.1),
            6 | 11 => attribute.graph = true,
            7 => value.floats_into(&mut attribute.floats).map_err(malformed(part))?,
            8 => value.integers_into(&mut attribute.integers).map_err(malformed(part))?,
            9 => attribute.texts.push(value.bytes().map_err(malformed(part))?.to_vec()),
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, attribute))
}

/// Contents of a tensor while it is read.
#[derive(Default)]
struct RawTensor {
    name: String,
    dims: Vec<i64>,
    code: i64,
    floats: Vec<f64>,
    doubles: Vec<f64>,
    integers: Vec<i64>,
    texts: Vec<Vec<u8>>,
    raw: Option<Vec<u8>>,
    external: bool,
}

fn decode_tensor(message: &[u8]) -> Result<(String, Tensor), ModelError> {
    let part = "tensor";
    let mut tensor = RawTensor::default();
    each_field(part, message, |number, value| {
        match number {
            1 => value.integers_into(&mut tensor.dims).map_err(malformed(part))?,
            2 => tensor.code = value.integer().map_err(malformed(part))?,
            4 => value.floats_into(&mut tensor.floats).map_err(malformed(part))?,
            5 | 7 => value.integers_into(&mut tensor.integers).map_err(malformed(part))?,
            6 => tensor.texts.push(value.bytes().map_err(malformed(part))?.to_vec()),
            8 => tensor.name = value.text().map_err(malformed(part))?,
            9 => tensor.raw = Some(value.bytes().map_err(malformed(part))?.to_vec()),
            10 => value.doubles_into(&mut tensor.doubles).map_err(malformed(part))?,
            13 => tensor.external = true,
            14 => tensor.external |= value.integer().map_err(malformed(part))? != 0,
            _ => {}
        }
        Ok(())
    })?;
    if tensor.external {
        return Err(ModelError::Unsupported { what: String::from("tensors stored outside the model file") });
    }
    tensor.finish()
}

impl RawTensor {
    fn finish(self) -> Result<(String, Tensor), ModelError> {
        let Self { name, dims, code, floats, doubles, integers, texts, raw, .. } = self;
        let mut shape = Vec::with_capacity(dims.len());
        let mut count = 1_usize;
        for dim in dims {
            let dim =
                usize::try_from(dim).map_err(|_| ModelError::Malformed { reason: format!("tensor `{name}` has a negative dimension") })?;
            count = count
                .checked_mul(dim)
                .filter(|count| *count <= ELEMENTS_MAX)
                .ok_or(ModelError::TooLarge { what: "elements of a tensor", max: ELEMENTS_MAX })?;
            shape.push(dim);
        }
        let values = match (code, raw) {
            (8, _) => Values::Texts(texts.into_iter().map(|text| String::from_utf8_lossy(&text).into_owned()).collect()),
            (_, Some(raw)) => {
                let elem = Elem::of_code(code)?;
                Values::Numbers(
                    elem,
                    from_raw(code, &raw)
                        .ok_or_else(|| ModelError::Malformed { reason: format!("tensor `{name}` has a partial element") })?,
                )
            }
            (1, None) => Values::Numbers(Elem::F32, floats),
            (11, None) => Values::Numbers(Elem::F64, doubles),
            (_, None) => {
                #[expect(clippy::cast_precision_loss, reason = "indices and class labels stay below 2^53")]
                let numbers = integers.iter().map(|value| *value as f64).collect();
                Values::Numbers(Elem::of_code(code)?, numbers)
            }
        };
        if values.len() != count {
            return Err(ModelError::Malformed {
                reason: format!("tensor `{name}` has {} elements where its shape says {count}", values.len()),
            });
        }
        Ok((name, Tensor { shape, values }))
    }
}

/// Little-endian elements of one type.
fn from_raw(code: i64, raw: &[u8]) -> Option<Vec<f64>> {
    fn all<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        let (chunks, rest) = raw.as_chunks::<N>();
        rest.is_empty().then(|| chunks.iter().map(|chunk| read(*chunk)).collect())
    }
    match code {
        1 => all(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
        11 => all(raw, f64::from_le_bytes),
        6 => all(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
        #[expect(clippy::cast_precision_loss, reason = "indices and class labels stay below 2^53")]
        7 => all(raw, |bytes| i64::from_le_bytes(bytes) as f64),
        2 | 9 => all(raw, |[byte]| f64::from(byte)),
        3 => all(raw, |bytes| f64::from(i8::from_le_bytes(bytes))),
        _ => None,
    }
}

fn decode_port(message: &[u8]) -> Result<Port, ModelError> {
    let part = "input or output";
    let mut port = Port::default();
    each_field(part, message, |number, value| {
        match number {
            1 => port.name = value.text().map_err(malformed(part))?,
            2 => port.value_type = decode_type(value.bytes().map_err(malformed(part))?)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(port)
}

fn decode_type(message: &[u8]) -> Result<ValueType, ModelError> {
    let part = "type";
    let mut found = ValueType::Unknown;
    each_field(part, message, |number, value| {
        match number {
            1 => found = decode_tensor_type(value.bytes().map_err(malformed(part))?)?,
            4 | 5 => found = ValueType::Sequence,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn decode_tensor_type(message: &[u8]) -> Result<ValueType, ModelError> {
    let part = "tensor type";
    let mut code = 0;
    let mut dims = Vec::new();
    each_field(part, message, |number, value| {
        match number {
            1 => code = value.integer().map_err(malformed(part))?,
            2 => each_field("shape", value.bytes().map_err(malformed(part))?, |number, value| {
                if number == 1 {
                    let mut size = None;
                    each_field("dimension", value.bytes().map_err(malformed(part))?, |number, value| {
                        if number == 1 {
                            size = usize::try_from(value.integer().map_err(malformed(part))?).ok().filter(|size| *size > 0);
                        }
                        Ok(())
                    })?;
                    dims.push(size);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(ValueType::Tensor(code, dims))
}
