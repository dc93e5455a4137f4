//! `seaworthy.lock`: pins of sources, environments, code, gates, schemas and settings by digest.
//!
//! in: the lock's text and what is found now; out: the differences.
//! **Invariant:** outside dev every pin a plan needs is present and equal, or the run is refused and the difference named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What a pin is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinKind {
    /// An ingest source.
    Source,
    /// A `container:` name.
    Environment,
    /// A code folder.
    Code,
    /// A gate's folder.
    Gate,
    /// A data schema.
    Schema,
    /// The workflow file or the settings file.
    Workflow,
}

/// One pin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// Kind.
    pub kind: PinKind,
    /// Digest.
    pub digest: Digest,
    /// What was pinned, for people: a path, URI or version.
    pub from: String,
}

/// The lock file: pin name (`source:ingest_data`, `environment:ml_training:2026.06`, `code:src/`, `gate:data_schema_v2`, `schema:…`, `workflow:…`) → pin.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// All pins.
    pub pins: BTreeMap<String, Pin>,
}
