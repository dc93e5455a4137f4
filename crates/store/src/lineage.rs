//! Lineage: what something was made from, and what was made from it.
//!
//! in: an artifact digest, a model version, a run or a step attempt; out: a tree that serialises.
//! **Invariant:** each node is expanded once; where it appears again it says so, so that any graph makes a finite tree.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::catalog::{Catalog, CatalogError, StatementRef};

/// Nodes of one tree at most.
const NODES_MAX: usize = 10_000;
/// Steps from the root at most.
const DEPTH_MAX: usize = 200;

/// Which way to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the sources.
    Ancestors,
    /// To what it had an effect on: the blast radius.
    Descendants,
}

/// Where to begin, as the command line writes it: `artifact:DIGEST`, `model:NAME@VERSION|ALIAS`, `run:ID`, `step:RUN/WORKFLOW/STEP#ATTEMPT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference(String);

/// A node of the tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LineageNode {
    /// `artifact:…`, `step:…`, `run:…`, `model:…` or `deployment:…`.
    pub id: String,
    /// `artifact`, `step`, `run`, `model` or `deployment`.
    pub kind: String,
    /// For people: the artifact's name and kind, the attempt's state …
    pub label: String,
    /// How it is connected to the node above: `made`, `read_by`, `ran` …; empty at the root.
    pub relation: String,
    /// Index of the leaf that says so.
    pub index: Option<u64>,
    /// Statements about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<StatementRef>,
    /// Expanded elsewhere in the tree.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// The tree was cut here by its limits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// What it was made from, or what was made from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<LineageNode>,
}

/// The tree from `reference` in one direction.
///
/// A reference without its kind is tried as digest, model and run in this order.
pub fn lineage(catalog: &Catalog, reference: &str, direction: Direction) -> Result<LineageNode, CatalogError> {
    let Reference(id) = Reference::resolve(catalog, reference)?;
    let mut walk = Walk { catalog, direction, seen: BTreeSet::new() };
    walk.node(&id, String::new(), None, 0)
}

impl Reference {
    fn resolve(catalog: &Catalog, reference: &str) -> Result<Self, CatalogError> {
        let unknown = || CatalogError::Unknown { reference: reference.to_owned() };
        let (kind, rest) = match reference.split_once(':') {
            Some((kind @ ("artifact" | "model" | "run" | "step" | "deployment"), rest)) => (kind, rest),
            _ if reference.len() == 64 => ("artifact", reference),
            _ if reference.contains('@') => ("model", reference),
            _ => ("run", reference),
        };
        let id = if kind == "model" {
            let resolved = catalog.resolve(rest)?;
            format!("model:{}@{}", resolved.model, resolved.version)
        } else {
            format!("{kind}:{rest}")
        };
        if catalog.has_node(&id)? { Ok(Self(id)) } else { Err(unknown()) }
    }
}

struct Walk<'a> {
    catalog: &'a Catalog,
    direction: Direction,
    seen: BTreeSet<String>,
}

impl Walk<'_> {
    fn node(&mut self, id: &str, relation: String, index: Option<u64>, depth: usize) -> Result<LineageNode, CatalogError> {
        let (kind, rest) = id.split_once(':').unwrap_or(("", id));
        let statements = if kind == "artifact" { self.catalog.statements_about(rest)? } else { Vec::new() };
        let mut node = LineageNode {
            id: id.to_owned(),
            kind: kind.to_owned(),
            label: self.catalog.label(kind, rest)?,
            relation,
            index,
            statements,
            repeated: !self.seen.insert(id.to_owned()),
            cut: false,
            children: Vec::new(),
        };
        if node.repeated {
            return Ok(node);
        }
        for edge in self.catalog.edges(id, self.direction)? {
            if depth >= DEPTH_MAX || self.seen.len() >= NODES_MAX {
                node.cut = true;
                break;
            }
            let mut child = self.node(&edge.node, edge.relation, Some(edge.index), depth + 1)?;
            if child.label.is_empty() {
                child.label = edge.label;
            }
            node.children.push(child);
        }
        Ok(node)
    }
}
