//! The lineage graph as rows: edges between artifacts, steps, runs, models and deployments.
//!
//! in: node ids like `artifact:<digest>`; out: edges and labels, for [`crate::lineage`].
//! **Invariant:** an edge points from cause to effect and names the leaf that says so.

use rusqlite::{OptionalExtension, Row};

use super::{Catalog, CatalogError, from_sql};
use crate::lineage::Direction;

/// One edge of the lineage graph, seen from one of its ends.
pub(crate) struct Edge {
    pub(crate) node: String,
    pub(crate) relation: String,
    pub(crate) index: u64,
    pub(crate) label: String,
}

impl Catalog {
    /// The edges at `node` that lead in `direction`, in the order in which the log says them.
    pub(crate) fn edges(&self, node: &str, direction: Direction) -> Result<Vec<Edge>, CatalogError> {
        let sql = match direction {
            Direction::Ancestors => {
                "SELECT source, relation, idx, label FROM edges WHERE target = ?1 ORDER BY idx, source, relation, label"
            }
            Direction::Descendants => {
                "SELECT target, relation, idx, label FROM edges WHERE source = ?1 ORDER BY idx, target, relation, label"
            }
        };
        let mut rows = self.db.prepare_cached(sql)?;
        let edge = |row: &Row<'_>| Ok(Edge { node: row.get(0)?, relation: row.get(1)?, index: from_sql(row.get(2)?), label: row.get(3)? });
        Ok(rows.query_map([node], edge)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether anything in the log is about `node`.
    pub(crate) fn has_node(&self, node: &str) -> Result<bool, CatalogError> {
        let mut rows = self.db.prepare_cached("SELECT EXISTS (SELECT 1 FROM edges WHERE source = ?1 OR target = ?1)")?;
        let connected: bool = rows.query_row([node], |row| row.get(0))?;
        let run = node.strip_prefix("run:").unwrap_or_default();
        let mut rows = self.db.prepare_cached("SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?1)")?;
        Ok(connected || rows.query_row([run], |row| row.get::<_, bool>(0))?)
    }

    /// A node in words; empty if there is nothing to add to its id.
    pub(crate) fn label(&self, kind: &str, rest: &str) -> Result<String, CatalogError> {
        let found = match kind {
            "artifact" => self.kind_of_artifact(rest)?.map(|(kind, name)| format!("{kind} {name}")),
            "run" => self.text("SELECT state || ', asked for by ' || principal FROM runs WHERE run = ?1", rest)?,
            "step" => self.text(
                "SELECT state || iif(reused, ', reused', '') FROM attempts WHERE run || '/' || workflow || '/' || step || '#' || attempt = ?1",
                rest,
            )?,
            "model" => self.text("SELECT digest FROM models WHERE model || '@' || version = ?1", rest)?,
            "deployment" => self.text("SELECT 'version ' || version || ', ' || state FROM deployments WHERE model || '#' || release = ?1 ORDER BY idx DESC LIMIT 1", rest)?,
            _ => None,
        };
        Ok(found.unwrap_or_default())
    }

    fn text(&self, sql: &str, key: &str) -> Result<Option<String>, CatalogError> {
        Ok(self.db.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?)
    }
}
