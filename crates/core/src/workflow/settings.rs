//! The settings file: environment, project, sources, environments, and what it says of steps.
//!
//! in: its tree; out: [`Settings`] and faults.
//! **Invariant:** an unknown key is refused at every level; what could not be read is absent, and a fault says so.

use std::collections::BTreeMap;

use super::diagnostics::{Fault, quoted};
use super::keys::{PROJECT_KEYS, RISK_CLASSES, SETTINGS_KEYS};
use super::model::{EnvironmentSource, Project};
use super::values::{self, Faults};
use super::yaml::{Key, Node, Value};
use crate::id::Name;

/// What the settings file says.
#[derive(Default)]
pub(super) struct Settings<'a> {
    pub(super) environment: Option<Name>,
    pub(super) project: Option<Project>,
    /// True if `project` is written, however badly.
    pub(super) project_written: bool,
    pub(super) sources: BTreeMap<String, String>,
    pub(super) environments: BTreeMap<String, EnvironmentSource>,
    /// `workflow/step` → key and keys of the step.
    pub(super) steps: Vec<(&'a Key, &'a Node)>,
}

/// Reads the whole file; an empty one says nothing.
pub(super) fn read<'a>(root: &'a Node, faults: &mut Faults) -> Settings<'a> {
    let mut settings = Settings::default();
    if root.is_null() {
        return settings;
    }
    for (key, node) in values::mapping(root, "the settings file", faults).unwrap_or_default() {
        match key.text.as_str() {
            "environment" => settings.environment = values::name(node, "environment", faults),
            "project" => {
                settings.project_written = true;
                settings.project = project(key, node, faults);
            }
            "sources" => settings.sources = sources(node, faults),
            "environments" => settings.environments = environments(node, faults),
            "steps" => settings.steps = steps(node, faults),
            "workflows" => {
                let hint = "write `workflows` in the workflow file; this file says the rest";
                faults.push(Fault::error("workflow/misplaced-key", key.place, "`workflows` stands in the settings file", hint));
            }
            _ => values::unknown_key(key, SETTINGS_KEYS.iter().copied(), faults),
        }
    }
    settings
}

fn project(key: &Key, node: &Node, faults: &mut Faults) -> Option<Project> {
    let entries = values::mapping(node, "project", faults)?;
    let find = |wanted: &str| entries.iter().find(|(key, _)| key.text == wanted).map(|(_, node)| node);
    for (key, _) in entries.iter().filter(|(key, _)| !PROJECT_KEYS.contains(&key.text.as_str())) {
        values::unknown_key(key, PROJECT_KEYS.iter().copied(), faults);
    }
    let missing: Vec<&str> = PROJECT_KEYS.iter().copied().filter(|key| *key != "deputy" && find(key).is_none()).collect();
    if !missing.is_empty() {
        let message = format!("the project registration lacks {}", missing.join(", "));
        let hint = "a registration has name, owner, purpose, risk_class, residency and data_classes";
        faults.push(Fault::error("workflow/missing-key", key.place, message, hint));
    }
    let name = find("name").and_then(|node| values::name(node, "name", faults));
    let owner = find("owner").and_then(|node| principal(node, "owner", faults));
    let deputy = find("deputy").map(|node| principal(node, "deputy", faults));
    let purpose = find("purpose").and_then(|node| values::text(node, "purpose", faults));
    let risk_class = find("risk_class").and_then(|node| values::choice(node, "risk_class", RISK_CLASSES, faults));
    let residency = find("residency").and_then(|node| values::texts(node, "residency", faults));
    let data_classes = find("data_classes").and_then(|node| values::texts(node, "data_classes", faults));
    let deputy = match deputy {
        Some(None) => return None,
        Some(deputy) => deputy,
        None => None,
    };
    Some(Project {
        name: name?,
        owner: owner?,
        deputy,
        purpose: purpose?,
        risk_class: risk_class?,
        residency: residency?,
        data_classes: data_classes?,
    })
}

/// `user:<id>`.
fn principal(node: &Node, what: &str, faults: &mut Faults) -> Option<String> {
    let text = values::text(node, what, faults)?;
    let id = text.strip_prefix("user:").filter(|id| !id.is_empty() && id.len() <= 128 && !id.contains(char::is_whitespace));
    if id.is_some() {
        return Some(text);
    }
    let message = format!("`{what}` must be a principal, not {}", quoted(&text));
    faults.push(Fault::error("workflow/value", node.place, message, "write `user:` and the id that `seaworthy keys list` shows"));
    None
}

fn sources(node: &Node, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for (key, target) in values::mapping(node, "sources", faults).unwrap_or_default() {
        let hint = "write a prefix with its scheme, for instance `\"s3://data-lake/\": ./data/`";
        if !key.text.contains("://") {
            let message = format!("`sources` maps URI prefixes; {} is none", quoted(&key.text));
            faults.push(Fault::error("workflow/value", key.place, message, hint));
        } else if let Some(target) = values::text(target, "sources", faults) {
            sources.insert(key.text.clone(), target);
        }
    }
    sources
}

fn environments(node: &Node, faults: &mut Faults) -> BTreeMap<String, EnvironmentSource> {
    let mut environments = BTreeMap::new();
    for (key, node) in values::mapping(node, "environments", faults).unwrap_or_default() {
        let name = Node { place: key.place, value: Value::Scalar { text: key.text.clone(), plain: false } };
        let name = values::container(&name, "environments", faults);
        let source = environment(node, faults);
        if let (Some(name), Some(source)) = (name, source) {
            environments.insert(name, source);
        }
    }
    environments
}

/// `{python: path}`, `host`, `{host: true}` or `{oci: reference}`.
fn environment(node: &Node, faults: &mut Faults) -> Option<EnvironmentSource> {
    const HINT: &str = "write `{python: envs/train/requirements.lock}`, `host` or `{oci: reference}`";
    match &node.value {
        Value::Scalar { text, .. } if text == "host" => Some(EnvironmentSource::Host),
        Value::Mapping(entries) => {
            if let [(key, value)] = entries.as_slice() {
                return match key.text.as_str() {
                    "python" => values::path(value, "python", faults).map(EnvironmentSource::Python),
                    "oci" => values::text(value, "oci", faults).map(EnvironmentSource::Oci),
                    "host" => values::choice(value, "host", &["true"], faults).map(|_| EnvironmentSource::Host),
                    _ => {
                        values::unknown_key(key, ["python", "host", "oci"].into_iter(), faults);
                        None
                    }
                };
            }
            faults.push(Fault::error("workflow/type", node.place, "an environment has exactly one key", HINT));
            None
        }
        _ => {
            let message = format!("an environment cannot be {}", node.describe());
            faults.push(Fault::error("workflow/type", node.place, message, HINT));
            None
        }
    }
}

fn steps<'a>(node: &'a Node, faults: &mut Faults) -> Vec<(&'a Key, &'a Node)> {
    if node.is_null() {
        return Vec::new();
    }
    values::mapping(node, "steps", faults).unwrap_or_default().iter().map(|(key, node)| (key, node)).collect()
}
