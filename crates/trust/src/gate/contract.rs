//! The closed, typed contract of a gate's input: a small subset of JSON Schema 2020-12.
//!
//! in: `contract.json` and an input document; out: every violation with its path.
//! **Invariant:** every object is closed and requires all its properties; every number, text and list is bounded; nothing is
//! nullable; a keyword that is not known is refused, so that no rule is silently ignored.

mod parse;

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use serde_json::Value;

pub(super) use parse::parse;

/// Integers beyond this are not exact in every reader.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
/// Violations listed in one answer.
const VIOLATIONS_MAX: usize = 20;

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Object(Object),
    Array { items: Box<Node>, min: usize, max: usize },
    Text { min: usize, max: usize },
    Choice(Vec<String>),
    Digest { expect: Option<String> },
    Number { min: f64, max: f64, integer: bool },
    Bool { only: Option<bool> },
}

/// Properties that are all required, and perhaps a choice between further sets of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) fields: BTreeMap<String, Node>,
    pub(super) union: Option<Union>,
}

/// Alternatives told apart by the constant of one property.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Union {
    pub(super) on: String,
    pub(super) cases: Vec<(Value, BTreeMap<String, Node>)>,
}

/// One way in which a document breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Dotted path; empty for the document itself.
    pub(super) path: String,
    pub(super) message: String,
}

/// A value of the document that must equal a digest the engine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) digest: Digest,
}

/// What a walk over a document finds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) violations: Vec<Violation>,
    pub(super) digests: Vec<Bound>,
}

impl Findings {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { path: path.to_owned(), message: message.into() });
        }
    }
}

impl Node {
    /// Compares `value` with the contract.
    pub(super) fn examine(&self, value: &Value) -> Findings {
        let mut findings = Findings::default();
        self.walk(value, "", &mut findings);
        findings
    }

    fn walk(&self, value: &Value, path: &str, out: &mut Findings) {
        match (self, value) {
            (Self::Object(object), Value::Object(fields)) => object.walk(fields, path, out),
            (Self::Array { items, min, max }, Value::Array(list)) => {
                if list.len() < *min || list.len() > *max {
                    out.add(path, format!("has {} items, wanted {min} to {max}", list.len()));
                    return;
                }
                for (index, item) in list.iter().enumerate() {
                    items.walk(item, &join(path, &index.to_string()), out);
                }
            }
            (Self::Text { min, max }, Value::String(text)) => {
                let length = text.chars().count();
                if length < *min || length > *max {
                    out.add(path, format!("has {length} characters, wanted {min} to {max}"));
                }
            }
            (Self::Choice(choices), Value::String(text)) => {
                if !choices.contains(text) {
                    out.add(path, format!("is {value}, wanted one of {}", choices.join(", ")));
                }
            }
            (Self::Digest { expect }, Value::String(text)) => match text.parse::<Digest>() {
                Ok(digest) if *digest.as_bytes() == [0; 32] => out.add(path, "is the zero digest, which names nothing"),
                Ok(digest) => {
                    if let Some(name) = expect {
                        out.digests.push(Bound { path: path.to_owned(), name: name.clone(), digest });
                    }
                }
                Err(error) => out.add(path, error.to_string()),
            },
            (Self::Number { min, max, integer }, Value::Number(number)) => {
                let whole = number.is_i64() || number.is_u64();
                match number.as_f64().filter(|n| n.is_finite()) {
                    None => out.add(path, "is no finite number"),
                    Some(_) if *integer && !whole => out.add(path, format!("is {number}, wanted an integer")),
                    Some(n) if whole && n.abs() > INTEGER_MAX => out.add(path, "is an integer beyond 2^53"),
                    Some(n) if n < *min || n > *max => {
                        out.add(path, format!("is {number}, wanted {min} to {max}"));
                    }
                    Some(_) => {}
                }
            }
            (Self::Bool { only: Some(only) }, Value::Bool(flag)) if only != flag => {
                out.add(path, format!("is {flag}, wanted {only}"));
            }
            (Self::Bool { .. }, Value::Bool(_)) => {}
            _ => out.add(path, format!("is {}, wanted {}", kind_of(value), self.kind())),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "an object",
            Self::Array { .. } => "a list",
            Self::Text { .. } | Self::Choice(_) => "a text",
            Self::Digest { .. } => "a sha256 digest",
            Self::Number { integer: true, .. } => "an integer",
            Self::Number { integer: false, .. } => "a number",
            Self::Bool { .. } => "a boolean",
        }
    }
}

impl Object {
    fn walk(&self, fields: &serde_json::Map<String, Value>, path: &str, out: &mut Findings) {
        let extra = match &self.union {
            None => None,
            Some(union) => {
                let chosen = fields.get(&union.on).and_then(|tag| union.cases.iter().find(|(value, _)| value == tag));
                let Some((_, extra)) = chosen else {
                    let known: Vec<String> = union.cases.iter().map(|(value, _)| value.to_string()).collect();
                    out.add(&join(path, &union.on), format!("is missing or not one of {}", known.join(", ")));
                    return;
                };
                Some(extra)
            }
        };
        let wanted = self.fields.iter().chain(extra.into_iter().flatten());
        for (name, node) in wanted {
            match fields.get(name) {
                Some(value) => node.walk(value, &join(path, name), out),
                None => out.add(&join(path, name), "is missing"),
            }
        }
        for name in fields.keys() {
            if !self.fields.contains_key(name) && !extra.is_some_and(|extra| extra.contains_key(name)) {
                out.add(&join(path, name), "is not part of the contract");
            }
        }
    }
}

/// The nodes at `path`, one for each alternative that has it, and whether all alternatives do.
pub(super) struct Resolution<'a> {
    pub(super) nodes: Vec<&'a Node>,
    pub(super) total: bool,
}

impl Node {
    /// Looks `path` up in every alternative; `given` narrows unions at the root to some constants.
    pub(super) fn resolve<'a>(&'a self, path: &[&str], given: Option<&[Value]>) -> Resolution<'a> {
        let Some((first, rest)) = path.split_first() else {
            return Resolution { nodes: vec![self], total: true };
        };
        let mut found = Resolution { nodes: Vec::new(), total: true };
        let mut take = |node: Option<&'a Self>| match node {
            Some(node) => {
                let inner = node.resolve(rest, None);
                found.nodes.extend(inner.nodes);
                found.total &= inner.total;
            }
            None => found.total = false,
        };
        match self {
            Self::Object(Object { fields, union }) => match (fields.get(*first), union) {
                (Some(node), _) => take(Some(node)),
                (None, Some(union)) => {
                    for (tag, extra) in &union.cases {
                        if given.is_none_or(|tags| tags.contains(tag)) {
                            take(extra.get(*first));
                        }
                    }
                }
                (None, None) => take(None),
            },
            _ => take(None),
        }
        found
    }

    /// The node by which the part of `value` at `path` was read; unions are chosen as `value` chooses them.
    pub(super) fn chosen<'a>(&'a self, value: &Value, path: &[&str]) -> Option<&'a Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let next = match self {
            Self::Object(Object { fields, union }) => fields.get(*first).or_else(|| {
                let union = union.as_ref()?;
                let tag = value.get(&union.on)?;
                union.cases.iter().find(|(case, _)| case == tag)?.1.get(*first)
            })?,
            Self::Array { items, .. } => items,
            _ => return None,
        };
        let part = value.get(*first).or_else(|| value.get(first.parse::<usize>().ok()?))?;
        next.chosen(part, rest)
    }

    /// The union at the root.
    pub(super) const fn root_union(&self) -> Option<&Union> {
        match self {
            Self::Object(Object { union: Some(union), .. }) => Some(union),
            _ => None,
        }
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

pub(super) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
