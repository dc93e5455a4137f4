//! Reads `contract.json` into [`Node`]s.
//!
//! in: a JSON Schema 2020-12 document of the subset; out: the contract, or the path of the fault.
//! **Invariant:** `required` names exactly the properties, objects say that they are closed, numbers have both ends, texts
//! and lists a maximum; other keywords are refused.

use std::collections::BTreeMap;

use seaworthy_core::limits::DEPTH_MAX;
use serde_json::{Map, Value};

use super::{Node, Object, Union, join};

/// A contract that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: {reason}")]
pub(in crate::gate) struct ContractError {
    pub(in crate::gate) path: String,
    pub(in crate::gate) reason: String,
}

type Fields = BTreeMap<String, Node>;

/// Keywords that say something to people only.
const NOTES: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

struct Parser<'a> {
    definitions: Option<&'a Map<String, Value>>,
}

/// Reads a whole contract; its root must be an object.
pub(in crate::gate) fn parse(document: &Value) -> Result<Node, ContractError> {
    let root = document.as_object().ok_or_else(|| fault("", "a contract is an object"))?;
    let definitions = match root.get("$defs") {
        Some(value) => Some(value.as_object().ok_or_else(|| fault("$defs", "must be an object"))?),
        None => None,
    };
    let node = Parser { definitions }.node(document, "", 0)?;
    match node {
        Node::Object(_) => Ok(node),
        _ => Err(fault("", "the input must be an object")),
    }
}

fn fault(path: &str, reason: impl Into<String>) -> ContractError {
    ContractError { path: path.to_owned(), reason: reason.into() }
}

impl Parser<'_> {
    fn node(&self, schema: &Value, path: &str, depth: usize) -> Result<Node, ContractError> {
        if depth > DEPTH_MAX {
            return Err(fault(path, "nested too deep, or a definition refers to itself"));
        }
        let schema = schema.as_object().ok_or_else(|| fault(path, "must be an object"))?;
        if let Some(reference) = schema.get("$ref") {
            return self.reference(schema, reference, path, depth);
        }
        if let Some(constant) = schema.get("const") {
            only(schema, &["const", "type"], path)?;
            return match constant {
                Value::String(text) => Ok(Node::Choice(vec![text.clone()])),
                Value::Bool(flag) => Ok(Node::Bool { only: Some(*flag) }),
                _ => Err(fault(path, "`const` is a text or a boolean")),
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(schema, path, depth),
            Some("array") => {
                only(schema, &["type", "items", "minItems", "maxItems"], path)?;
                let items = schema.get("items").ok_or_else(|| fault(path, "a list needs `items`"))?;
                let items = Box::new(self.node(items, &join(path, "items"), depth + 1)?);
                Ok(Node::Array { items, min: size(schema, "minItems", path)?, max: size(schema, "maxItems", path)? })
            }
            Some("string") => text(schema, path),
            Some(kind @ ("number" | "integer")) => {
                only(schema, &["type", "minimum", "maximum"], path)?;
                let (min, max) = (end(schema, "minimum", path)?, end(schema, "maximum", path)?);
                if min > max {
                    return Err(fault(path, "`minimum` is above `maximum`"));
                }
                Ok(Node::Number { min, max, integer: kind == "integer" })
            }
            Some("boolean") => {
                only(schema, &["type"], path)?;
                Ok(Node::Bool { only: None })
            }
            _ => Err(fault(path, "`type` must be one of object, array, string, number, integer, boolean")),
        }
    }

    fn reference(&self, schema: &Map<String, Value>, reference: &Value, path: &str, depth: usize) -> Result<Node, ContractError> {
        only(schema, &["$ref"], path)?;
        let target = reference
            .as_str()
            .and_then(|text| text.strip_prefix("#/$defs/"))
            .and_then(|name| self.definitions?.get(name))
            .ok_or_else(|| fault(path, format!("{reference} is not defined under $defs")))?;
        self.node(target, path, depth + 1)
    }

    fn object(&self, schema: &Map<String, Value>, path: &str, depth: usize) -> Result<Node, ContractError> {
        let closing = if schema.contains_key("oneOf") { "unevaluatedProperties" } else { "additionalProperties" };
        only(schema, &["type", "properties", "required", "oneOf", closing], path)?;
        if schema.get(closing) != Some(&Value::Bool(false)) {
            return Err(fault(path, format!("an object is closed: state `\"{closing}\": false`")));
        }
        let bare = schema.contains_key("oneOf") && !schema.contains_key("properties") && !schema.contains_key("required");
        let fields = if bare { Fields::new() } else { self.fields(schema, path, depth)? };
        let union = match schema.get("oneOf") {
            Some(cases) => Some(self.union(cases, &fields, path, depth)?),
            None => None,
        };
        Ok(Node::Object(Object { fields, union }))
    }

    fn fields(&self, schema: &Map<String, Value>, path: &str, depth: usize) -> Result<Fields, ContractError> {
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .filter(|properties| !properties.is_empty())
            .ok_or_else(|| fault(path, "an object names its `properties`"))?;
        let mut required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        required.sort_unstable();
        let mut named: Vec<&str> = properties.keys().map(String::as_str).collect();
        named.sort_unstable();
        if required != named {
            return Err(fault(path, "`required` must name every property, each once"));
        }
        let mut fields = Fields::new();
        for (name, schema) in properties {
            if name.is_empty() || name.contains('.') {
                return Err(fault(path, format!("property `{name}`: a name is not empty and has no dot")));
            }
            fields.insert(name.clone(), self.node(schema, &join(path, name), depth + 1)?);
        }
        Ok(fields)
    }

    fn union(&self, cases: &Value, shared: &Fields, path: &str, depth: usize) -> Result<Union, ContractError> {
        let list = cases.as_array().filter(|list| list.len() > 1);
        let list = list.ok_or_else(|| fault(path, "`oneOf` lists two or more alternatives"))?;
        let mut alternatives = Vec::new();
        for (index, case) in list.iter().enumerate() {
            let here = join(path, &format!("oneOf.{index}"));
            let schema = case.as_object().ok_or_else(|| fault(&here, "must be an object"))?;
            only(schema, &["properties", "required"], &here)?;
            let fields = self.fields(schema, &here, depth + 1)?;
            if let Some(twice) = fields.keys().find(|name| shared.contains_key(*name)) {
                return Err(fault(&here, format!("`{twice}` is already a property of the object")));
            }
            alternatives.push(fields);
        }
        let on = discriminator(&alternatives)
            .ok_or_else(|| fault(path, "the alternatives of `oneOf` need one common property whose `const` differs in each"))?;
        let cases = alternatives.into_iter().filter_map(|fields| Some((constant(fields.get(&on)?)?, fields))).collect();
        Ok(Union { on, cases })
    }
}

/// The one property that is a different constant in each alternative.
fn discriminator(alternatives: &[Fields]) -> Option<String> {
    let mut names = alternatives.first()?.keys().filter(|name| {
        let tags: Option<Vec<Value>> = alternatives.iter().map(|fields| constant(fields.get(*name)?)).collect();
        tags.is_some_and(|tags| tags.iter().enumerate().all(|(i, tag)| !tags.iter().skip(i + 1).any(|other| other == tag)))
    });
    let first = names.next()?.clone();
    names.next().is_none().then_some(first)
}

fn constant(node: &Node) -> Option<Value> {
    match node {
        Node::Choice(choices) => match choices.as_slice() {
            [only] => Some(Value::String(only.clone())),
            _ => None,
        },
        Node::Bool { only: Some(flag) } => Some(Value::Bool(*flag)),
        _ => None,
    }
}

fn text(schema: &Map<String, Value>, path: &str) -> Result<Node, ContractError> {
    if let Some(choices) = schema.get("enum") {
        only(schema, &["type", "enum"], path)?;
        let list: Option<Vec<String>> = choices.as_array().and_then(|list| list.iter().map(|c| c.as_str().map(str::to_owned)).collect());
        let list = list.filter(|list| !list.is_empty());
        return list.map(Node::Choice).ok_or_else(|| fault(path, "`enum` lists texts"));
    }
    if let Some(format) = schema.get("format") {
        only(schema, &["type", "format", "x-expect"], path)?;
        if format != "sha256" {
            return Err(fault(path, "the one known `format` is sha256"));
        }
        let expect = match schema.get("x-expect") {
            None => None,
            Some(Value::String(name)) if !name.is_empty() => Some(name.clone()),
            Some(_) => {
                return Err(fault(path, "`x-expect` names a digest that the engine knows"));
            }
        };
        return Ok(Node::Digest { expect });
    }
    only(schema, &["type", "minLength", "maxLength"], path)?;
    Ok(Node::Text { min: size(schema, "minLength", path)?, max: size(schema, "maxLength", path)? })
}

/// Refuses keywords that would be ignored.
fn only(schema: &Map<String, Value>, known: &[&str], path: &str) -> Result<(), ContractError> {
    match schema.keys().find(|key| !known.contains(&key.as_str()) && !NOTES.contains(&key.as_str())) {
        Some(key) => Err(fault(path, format!("keyword `{key}` is not known here"))),
        None => Ok(()),
    }
}

fn size(schema: &Map<String, Value>, key: &str, path: &str) -> Result<usize, ContractError> {
    let number = schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| fault(path, format!("state `{key}`, a whole number")))
}

fn end(schema: &Map<String, Value>, key: &str, path: &str) -> Result<f64, ContractError> {
    let number = schema.get(key).and_then(Value::as_f64).filter(|n| n.is_finite());
    number.ok_or_else(|| fault(path, format!("state `{key}`, a number")))
}
