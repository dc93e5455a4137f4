//! One step: its keys of both files, merged and read.
//!
//! in: the step's node of the workflow file and of the settings file; out: [`Step`].
//! **Invariant:** a key is taken from exactly one file; a key that does not exist, or has no meaning in a step of this kind, is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics::{Fault, Severity};
use super::keys::{self, STEP_KEYS, Shape, step_key};
use super::model::{CodeIntegrity, OutputSpec, Resources, Step, StepKind};
use super::places::Place;
use super::values::{self, Faults};
use super::yaml::{Key, Node, Value};
use crate::artifact::ArtifactKind;
use crate::id::Name;

/// Where faults and places go while steps are read.
#[derive(Default)]
pub(super) struct Context {
    pub(super) faults: Faults,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) suspects: Suspects,
}

/// Steps (`workflow/step`) with faults of their own, of which less is judged, so that one fault gives one error.
#[derive(Default)]
pub(crate) struct Suspects {
    /// What they lack is not judged.
    pub(crate) faulty: BTreeSet<String>,
    /// What they make is not known.
    pub(crate) unclear: BTreeSet<String>,
}

/// Keys by name, each with its value.
type Entries<'a> = BTreeMap<&'a str, (&'a Key, &'a Node)>;

/// Reads the step `path` (`workflow/step`) from its body and from what the settings file says of it.
pub(super) fn read(path: &str, name: &Key, body: &Node, settings: Option<&Node>, context: &mut Context) -> Option<Step> {
    context.places.insert(path.to_owned(), name.place);
    let before = context.faults.len();
    let step_name = values::key_name(name, &mut context.faults);
    let mut entries = Entries::new();
    take(&mut entries, body, context);
    if let Some(settings) = settings {
        take(&mut entries, settings, context);
    }
    for (key, (_, node)) in &entries {
        mark(&format!("{path}.{key}"), node, &mut context.places);
    }
    // an unknown key may be a misspelt `outputs`
    let mut unclear = step_name.is_none() || context.faults.len() > before;
    let kind = kind(&entries);
    misplaced(&entries, kind, &mut context.faults);
    let mut reader = Reader { entries: &entries, faults: &mut context.faults };
    let before_outputs = reader.faults.len();
    let outputs = reader.outputs(kind);
    unclear |= reader.faults.len() > before_outputs;
    let step = step_name.map(|name| reader.step(name, kind, outputs));
    if context.faults.len() > before {
        context.suspects.faulty.insert(path.to_owned());
    }
    if unclear {
        context.suspects.unclear.insert(path.to_owned());
    }
    step
}

/// Adds the keys of one file; a key that is there already came from the other one.
fn take<'a>(entries: &mut Entries<'a>, body: &'a Node, context: &mut Context) {
    if body.is_null() {
        return;
    }
    let Some(list) = values::mapping(body, "a step", &mut context.faults) else {
        return;
    };
    for (key, node) in list {
        if step_key(&key.text).is_none() {
            values::unknown_key(key, STEP_KEYS.iter().map(|known| known.name), &mut context.faults);
        } else if let Some((first, _)) = entries.get(key.text.as_str()) {
            if first.place.file != key.place.file {
                let message = format!("`{}` stands in both files", key.text);
                let hint = format!("the workflow file has it at line {}; remove one of them", first.place.start.line);
                context.faults.push(Fault::error("workflow/key-in-both-files", key.place, message, hint));
            }
        } else {
            entries.insert(&key.text, (key, node));
        }
    }
}

fn mark(path: &str, node: &Node, places: &mut BTreeMap<String, Place>) {
    places.insert(path.to_owned(), node.place);
    if let Value::Sequence(items) = &node.value {
        for (index, item) in items.iter().enumerate() {
            places.insert(format!("{path}[{index}]"), item.place);
        }
    }
}

/// Kind by `kind:`, else by the keys that only one kind has.
fn kind(entries: &Entries<'_>) -> StepKind {
    let written = entries.get("kind").and_then(|(_, node)| match &node.value {
        Value::Scalar { text, .. } => kind_of(text),
        _ => None,
    });
    let has = |key: &str| entries.contains_key(key);
    let by_keys = || match () {
        () if has("source") => StepKind::Ingest,
        () if has("explainability") || has("drift_detection") => StepKind::Validate,
        () if has("canary") => StepKind::Deploy,
        () if entries.get("outputs").is_some_and(|(_, node)| declares_model(node)) => StepKind::Train,
        () => StepKind::Transform,
    };
    written.unwrap_or_else(by_keys)
}

fn kind_of(text: &str) -> Option<StepKind> {
    Some(match text {
        "ingest" => StepKind::Ingest,
        "transform" => StepKind::Transform,
        "train" => StepKind::Train,
        "validate" => StepKind::Validate,
        "deploy" => StepKind::Deploy,
        _ => return None,
    })
}

fn declares_model(outputs: &Node) -> bool {
    let is_model = |node: &Node| matches!(&node.value, Value::Scalar { text, .. } if text == "model");
    let Value::Mapping(outputs) = &outputs.value else { return false };
    outputs.iter().any(|(_, spec)| match &spec.value {
        Value::Mapping(keys) => keys.iter().any(|(key, value)| key.text == "type" && is_model(value)),
        _ => is_model(spec),
    })
}

fn misplaced(entries: &Entries<'_>, kind: StepKind, faults: &mut Faults) {
    for (key, _) in entries.values() {
        let Some(known) = step_key(&key.text) else { continue };
        if known.kinds.contains(&kind) {
            continue;
        }
        let kinds: Vec<&str> = known.kinds.iter().map(|kind| kind.as_str()).collect();
        let message = format!("`{}` has no meaning in a step of kind {}", key.text, kind.as_str());
        let hint = format!("it belongs to: {}; `kind:` overrides what the keys say", kinds.join(", "));
        faults.push(Fault::error("workflow/misplaced-key", key.place, message, hint));
    }
}

struct Reader<'a, 'f> {
    entries: &'a Entries<'a>,
    faults: &'f mut Faults,
}

impl<'a> Reader<'a, '_> {
    fn step(mut self, name: Name, kind: StepKind, outputs: BTreeMap<Name, OutputSpec>) -> Step {
        let sandbox = self.get("sandbox", values::flag).unwrap_or(true);
        Step {
            name,
            kind,
            source: self.get("source", values::source),
            integrity_check: self.word("integrity_check"),
            policy_gate: self.get("policy_gate", values::name),
            container: self.get("container", values::container),
            sandbox,
            isolation: self.word("isolation"),
            logging: self.word("logging").is_none_or(|word| word == "enabled"),
            ephemeral: self.word("env").is_some(),
            data_provenance_enforced: self.word("data_provenance").is_some_and(|word| word == "enforce"),
            explainability: self.word("explainability"),
            drift_detection: self.word("drift_detection").is_some_and(|word| word == "enabled"),
            canary: self.get("canary", values::flag).unwrap_or(false),
            monitoring: self.word("monitoring"),
            rollback_on: self.word("rollback_on"),
            run: self.get("run", values::argv),
            code: self.get("code", values::path),
            schema: self.get("schema", values::path),
            inputs: self.get("inputs", values::outputs),
            outputs,
            needs: self.get("needs", values::names),
            params: self.params(),
            egress: self.get("egress", values::destinations).unwrap_or_default(),
            secrets: self.get("secrets", values::secrets).unwrap_or_default(),
            resources: self.resources(),
            cache: self.get("cache", values::flag).unwrap_or(true),
            timeout_s: self.get("timeout", values::duration),
            retries: self.get("retries", values::retries),
            model: self.get("model", values::output),
            data: self.get("data", values::output),
            reference: self.get("reference", values::output),
            label: self.get("label", values::text),
            task: self.word("task"),
            code_integrity: self.code_integrity(),
        }
    }

    fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.get(key).map(|(_, node)| *node)
    }

    fn get<T>(&mut self, key: &str, read: fn(&Node, &str, &mut Faults) -> Option<T>) -> Option<T> {
        let node = self.node(key)?;
        read(node, key, self.faults)
    }

    /// A key that takes one of some words, which stand in the table of keys.
    fn word(&mut self, key: &str) -> Option<String> {
        let node = self.node(key)?;
        let Some(Shape::Choice(words)) = step_key(key).map(|known| known.shape) else {
            return None;
        };
        values::choice(node, key, words, self.faults)
    }

    fn code_integrity(&mut self) -> CodeIntegrity {
        match self.word("code_integrity").as_deref() {
            Some("committed") => CodeIntegrity::Committed,
            Some("signed") => CodeIntegrity::Signed,
            Some("reviewed") => CodeIntegrity::Reviewed,
            _ => CodeIntegrity::Any,
        }
    }

    fn params(&mut self) -> serde_json::Value {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        let Some(node) = self.node("params").filter(|node| !node.is_null()) else {
            return empty();
        };
        match values::mapping(node, "params", self.faults) {
            Some(_) => values::any(node),
            None => empty(),
        }
    }

    fn resources(&mut self) -> Resources {
        let mut resources = Resources::default();
        let Some(node) = self.node("resources") else { return resources };
        for (key, value) in values::mapping(node, "resources", self.faults).unwrap_or_default() {
            match key.text.as_str() {
                "memory" => resources.memory_bytes = values::size(value, "memory", self.faults),
                "cpu" => resources.cpu_milli = values::cpu(value, "cpu", self.faults),
                "processes" => resources.processes = values::count(value, "processes", 65_536, self.faults),
                "disk" => resources.disk_bytes = values::size(value, "disk", self.faults),
                "sent" => resources.sent_bytes = values::size(value, "sent", self.faults),
                "received" => resources.received_bytes = values::size(value, "received", self.faults),
                _ => values::unknown_key(key, keys::RESOURCE_KEYS.iter().copied(), self.faults),
            }
        }
        resources
    }

    /// Declared outputs; an ingest step without any has one dataset, `data`.
    fn outputs(&mut self, kind: StepKind) -> BTreeMap<Name, OutputSpec> {
        let mut outputs = BTreeMap::new();
        if let Some(node) = self.node("outputs") {
            for (key, spec) in values::mapping(node, "outputs", self.faults).unwrap_or_default() {
                let name = values::key_name(key, self.faults);
                let spec = self.output(key, spec, kind);
                if let (Some(name), Some(spec)) = (name, spec) {
                    outputs.insert(name, spec);
                }
            }
        } else if kind == StepKind::Ingest
            && let Ok(name) = Name::new("data")
        {
            outputs.insert(name, OutputSpec { kind: ArtifactKind::Dataset, model_name: None });
        }
        outputs
    }

    /// `name: dataset` or `name: {type: model, name: employment}`.
    fn output(&mut self, key: &Key, node: &Node, step: StepKind) -> Option<OutputSpec> {
        let mut kind = None;
        let mut model_name = None;
        if let Value::Mapping(entries) = &node.value {
            for (field, value) in entries {
                match field.text.as_str() {
                    "type" => kind = values::choice(value, "type", keys::OUTPUT_TYPES, self.faults),
                    "name" => model_name = values::name(value, "name", self.faults),
                    _ => values::unknown_key(field, ["type", "name"].into_iter(), self.faults),
                }
            }
            if !entries.iter().any(|(field, _)| field.text == "type") {
                let message = format!("the output `{}` has no `type`", key.text);
                self.faults.push(Fault::error("workflow/missing-key", key.place, message, "add `type: dataset`, `model` or `report`"));
            }
        } else {
            kind = values::choice(node, &key.text, keys::OUTPUT_TYPES, self.faults);
        }
        let kind = match kind?.as_str() {
            "model" => ArtifactKind::Model,
            "report" => ArtifactKind::Report,
            _ => ArtifactKind::Dataset,
        };
        self.check_output(key, node, step, kind, model_name.as_ref());
        Some(OutputSpec { kind, model_name })
    }

    /// Models are made by training and carry the name of their registry entry; an ingest makes one dataset; a validation makes reports.
    fn check_output(&mut self, key: &Key, node: &Node, step: StepKind, kind: ArtifactKind, model_name: Option<&Name>) {
        let fault = match (kind, step, model_name) {
            (ArtifactKind::Model, StepKind::Train, None) => {
                let message = format!("the model output `{}` has no `name` to be registered under", key.text);
                Some(("workflow/missing-key", message, format!("write `{}: {{type: model, name: …}}`", key.text)))
            }
            (ArtifactKind::Model, StepKind::Ingest | StepKind::Validate, _)
            | (ArtifactKind::Report, StepKind::Ingest, _)
            | (ArtifactKind::Dataset, StepKind::Validate, _) => {
                let message = format!("a step of kind {} cannot make the output `{}` of this type", step.as_str(), key.text);
                Some(("workflow/value", message, "ingest makes a dataset, validate makes reports, train makes models".to_owned()))
            }
            (ArtifactKind::Dataset | ArtifactKind::Report, _, Some(_)) => {
                let message = format!("the output `{}` is no model and cannot have a registry `name`", key.text);
                Some(("workflow/misplaced-key", message, "remove `name`, or make its type model".to_owned()))
            }
            _ => None,
        };
        if let Some((code, message, hint)) = fault {
            self.faults.push(Fault { code, severity: Severity::Error, place: node.place, message, hint });
        }
    }
}
