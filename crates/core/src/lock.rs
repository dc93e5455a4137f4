//! `seaworthy.lock`: pins of sources, environments, code, gates, schemas and settings by digest.
//!
//! in: the lock's text, a plan, and what is found now; out: the pins that the plan needs, and the differences.
//! **Invariant:** outside dev every pin a plan needs is present and equal, or the run is refused and the difference named;
//! the text is canonical: the same pins always give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::Name;
use crate::json_strict;
use crate::limits::CONFIG_FILE_BYTES_MAX;
use crate::plan::Plan;
use crate::workflow::diagnostics::Severity;
use crate::workflow::model::StepKind;

/// Name of the file, beside the workflow file.
pub const LOCK_FILE: &str = "seaworthy.lock";

const VERSION: u32 = 1;

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
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Kind.
    pub kind: PinKind,
    /// Digest.
    pub digest: Digest,
    /// What was pinned, for people: a path, URI or version.
    pub from: String,
}

/// The lock file: pin name (`source:ingest_data`, `environment:ml_training:2026.06`, `code:src/`, `gate:data_schema_v2`,
/// `schema:ingest_data`, `workflow:workflow.yaml`, `settings`) → pin.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// All pins.
    pub pins: BTreeMap<String, Pin>,
}

/// Why a lock file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Not the JSON that `to_text` writes.
    #[error("the lock file cannot be read: {reason}")]
    Format {
        /// What is wrong, one line.
        reason: String,
    },
    /// Written by another release.
    #[error("the lock file has version {found}; this release reads version {VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
}

impl LockError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "lock/format"
    }

    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "restore seaworthy.lock from version control, or write a new one with `seaworthy lock` and review it"
    }
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    version: u32,
    pins: BTreeMap<String, Pin>,
}

impl Lock {
    /// Reads a lock file; strict JSON.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let refuse = |reason: String| LockError::Format { reason };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(refuse(format!("more than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let value = json_strict::parse(text.as_bytes()).map_err(|error| refuse(error.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64).and_then(|version| u32::try_from(version).ok());
        if let Some(found) = version.filter(|found| *found != VERSION) {
            return Err(LockError::Version { found });
        }
        let file: LockFile = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { pins: file.pins })
    }

    /// The file's text: indented JSON with sorted keys and a final newline, so that changes read well in a review.
    #[must_use]
    pub fn to_text(&self) -> String {
        let pins: serde_json::Map<String, serde_json::Value> = self
            .pins
            .iter()
            .map(|(name, pin)| {
                let pin = serde_json::json!({"digest": pin.digest.hex(), "from": pin.from, "kind": kind_word(pin.kind)});
                (name.clone(), pin)
            })
            .collect();
        format!("{:#}\n", serde_json::json!({"pins": pins, "version": VERSION}))
    }

    /// SHA-256 of the file's text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }
}

/// The kind as it is written.
const fn kind_word(kind: PinKind) -> &'static str {
    match kind {
        PinKind::Source => "source",
        PinKind::Environment => "environment",
        PinKind::Code => "code",
        PinKind::Gate => "gate",
        PinKind::Schema => "schema",
        PinKind::Workflow => "workflow",
    }
}

/// Every pin that `plan` needs, by name, each once, sorted. Names are stable: they come from the files' own words.
///
/// A step that runs a command without `container` needs the pin `environment:host`.
#[must_use]
pub fn required_pins(plan: &Plan) -> Vec<(String, PinKind)> {
    let mut pins = BTreeSet::new();
    pins.insert((format!("workflow:{}", plan.workflow_file), PinKind::Workflow));
    if plan.settings_file.is_some() {
        pins.insert(("settings".to_owned(), PinKind::Workflow));
    }
    for step in plan.steps.iter().map(|planned| &planned.step) {
        if step.kind == StepKind::Ingest {
            pins.insert((format!("source:{}", step.name), PinKind::Source));
            pins.insert((format!("schema:{}", step.name), PinKind::Schema));
        }
        if step.run.is_some() || step.container.is_some() {
            let container = step.container.as_deref().unwrap_or("host");
            pins.insert((format!("environment:{container}"), PinKind::Environment));
        }
        if let Some(code) = &step.code {
            pins.insert((format!("code:{code}"), PinKind::Code));
        }
        if let Some(gate) = &step.policy_gate {
            pins.insert((format!("gate:{gate}"), PinKind::Gate));
        }
    }
    pins.into_iter().collect()
}

/// How the lock and what is there differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum LockDifference {
    /// The plan needs it, the lock does not have it.
    Missing {
        /// Pin name.
        name: String,
        /// What is there now.
        found: Option<Pin>,
    },
    /// The lock says something else than what is there.
    Changed {
        /// Pin name.
        name: String,
        /// What the lock says.
        old: Pin,
        /// What is there now.
        new: Pin,
    },
    /// The lock has it, and it could not be found to compare.
    Unresolved {
        /// Pin name.
        name: String,
        /// What the lock says.
        old: Pin,
    },
    /// The lock has it, the plan does not need it.
    Unused {
        /// Pin name.
        name: String,
    },
}

impl LockDifference {
    /// The pin.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Missing { name, .. } | Self::Changed { name, .. } | Self::Unresolved { name, .. } | Self::Unused { name } => name,
        }
    }

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "lock/missing",
            Self::Changed { .. } => "lock/changed",
            Self::Unresolved { .. } => "lock/unresolved",
            Self::Unused { .. } => "lock/unused",
        }
    }

    /// What differs, one line.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Missing { name, .. } => format!("`{name}` is not pinned in {LOCK_FILE}"),
            Self::Changed { name, old, new } if old.digest == new.digest => {
                format!("`{name}` is pinned as {}, but is {}", kind_word(old.kind), kind_word(new.kind))
            }
            Self::Changed { name, old, new } => {
                format!("`{name}` changed: the lock pins {}, `{}` has {}", old.digest, new.from, new.digest)
            }
            Self::Unresolved { name, old } => format!("`{name}` was not found; the lock pins {} of `{}`", old.digest, old.from),
            Self::Unused { name } => format!("`{name}` is pinned in {LOCK_FILE}, but nothing in the plan needs it"),
        }
    }

    /// What to do, one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { name, .. } | Self::Unused { name } => format!("run `seaworthy lock --update {name}` and commit the lock"),
            Self::Changed { name, .. } => {
                format!("undo the change, or accept it with `seaworthy lock --update {name}` and commit the lock")
            }
            Self::Unresolved { old, .. } => format!("restore `{}`", old.from),
        }
    }

    /// Refused outside dev; in dev, and for a pin that nothing needs, a warning.
    #[must_use]
    pub fn severity(&self, environment: &Name) -> Severity {
        if environment.as_str() == "dev" || matches!(self, Self::Unused { .. }) { Severity::Warning } else { Severity::Error }
    }
}

/// Compares the lock with what was found, for the pins that are `required`; sorted by pin name.
///
/// Fails closed: a required pin of which nothing was found is a difference, never silence.
#[must_use]
pub fn compare(lock: &Lock, found: &BTreeMap<String, Pin>, required: &[(String, PinKind)]) -> Vec<LockDifference> {
    let mut differences: BTreeMap<&str, LockDifference> = BTreeMap::new();
    for (name, kind) in required {
        let difference = match (lock.pins.get(name), found.get(name)) {
            (None, now) => Some(LockDifference::Missing { name: name.clone(), found: now.cloned() }),
            (Some(old), None) => Some(LockDifference::Unresolved { name: name.clone(), old: old.clone() }),
            (Some(old), Some(new)) if old.digest != new.digest || old.kind != new.kind || old.kind != *kind => {
                Some(LockDifference::Changed { name: name.clone(), old: old.clone(), new: new.clone() })
            }
            (Some(_), Some(_)) => None,
        };
        if let Some(difference) = difference {
            differences.insert(name, difference);
        }
    }
    let needed: BTreeSet<&str> = required.iter().map(|(name, _)| name.as_str()).collect();
    for name in lock.pins.keys().filter(|name| !needed.contains(name.as_str())) {
        differences.insert(name, LockDifference::Unused { name: name.clone() });
    }
    differences.into_values().collect()
}

/// True if the differences refuse a run in `environment`.
#[must_use]
pub fn refuses(differences: &[LockDifference], environment: &Name) -> bool {
    differences.iter().any(|difference| difference.severity(environment) == Severity::Error)
}
