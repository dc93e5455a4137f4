//! Workflow files: parsed, checked, every fault of both files reported at once.
//!
//! in: the text of a workflow file and of the settings file beside it; out: [`model::Workspace`] and [`Diagnostics`].
//! **Invariant:** a workspace is returned only if no fault refuses it, and then every name in it is bound; no input panics.
//!
//! What only keeps a workflow from being *run* (a step without `run`, a source that nothing maps, a feature of a later
//! release) is a warning here and an error of [`crate::plan::build`], so that a draft still parses, and the sample alone too.

mod environment;
mod keys;
mod secret;
mod settings;
mod step;
pub mod units;
mod values;
mod yaml;

pub mod diagnostics;
pub mod model;
pub mod places;
pub mod retry;
pub mod schema;

use std::collections::BTreeMap;

pub use diagnostics::{CODES, Diagnostic, Diagnostics, Severity};
pub use places::{Position, SourceText};

use diagnostics::{Fault, Masked, did_you_mean, quoted, render};
use model::{Workflow, Workspace};
use places::{FileLines, FileRole, Place, SourceMap};
use step::Context;
use yaml::{Key, Node};

pub(crate) use step::Suspects;

use crate::id::Name;
use crate::limits::STEPS_MAX;

/// The two files.
#[derive(Clone, Debug)]
pub struct SourceTexts {
    /// The workflow file.
    pub workflow: SourceText,
    /// The settings file beside it, `seaworthy.yaml`.
    pub settings: Option<SourceText>,
}

/// Reads both files and reports every fault in them; the workspace is there iff nothing is refused.
#[must_use]
pub fn parse(sources: &SourceTexts) -> (Option<Workspace>, Diagnostics) {
    let mut map = SourceMap {
        workflow: FileLines::new(&sources.workflow.path, &sources.workflow.text),
        settings: sources.settings.as_ref().map(|file| FileLines::new(&file.path, &file.text)),
        places: BTreeMap::new(),
    };
    let mut context = Context::default();
    let mut masked = Vec::new();

    let workflow_tree = tree(FileRole::Workflow, &sources.workflow, &map, &mut context.faults, &mut masked);
    let settings_tree = sources.settings.as_ref().map(|file| tree(FileRole::Settings, file, &map, &mut context.faults, &mut masked));
    let settings_broken = matches!(settings_tree, Some(None));
    let settings_tree = settings_tree.flatten();

    let settings = settings_tree.as_ref().map(|root| settings::read(root, &mut context.faults)).unwrap_or_default();
    let settings_steps = settings.steps.iter().map(|(key, node)| (key.text.as_str(), (*key, *node))).collect();
    let mut draft = Draft { settings: settings_steps, context, ..Draft::default() };
    let workflows = workflow_tree.as_ref().map(|root| draft.workflows(root)).unwrap_or_default();
    let Context { mut faults, places, suspects } = draft.context;
    map.places = places;

    let dev = Name::new("dev").ok();
    let Some(environment) = settings.environment.clone().or(dev) else {
        return (None, Diagnostics::default());
    };
    let workspace = Workspace {
        environment,
        project: settings.project.clone(),
        sources: settings.sources.clone(),
        environments: settings.environments.clone(),
        workflows,
        places: map,
    };
    if !settings_broken && workflow_tree.is_some() {
        environment::check(&workspace, settings.project_written, &mut faults);
        faults.extend(crate::plan::faults(&workspace, &suspects));
    }
    let diagnostics = render(faults, &workspace.places, &masked);
    if diagnostics.has_errors() { (None, diagnostics) } else { (Some(workspace), diagnostics) }
}

/// Decodes a file's bytes; the fault names the first byte that is not UTF-8.
pub fn decode(path: &str, bytes: &[u8]) -> Result<SourceText, Diagnostics> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(SourceText { path: path.to_owned(), text: text.to_owned() }),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let (before, lossy) = (String::from_utf8_lossy(good), String::from_utf8_lossy(bytes));
            let unified = before.replace("\r\n", "\n");
            let line = unified.matches(['\n', '\r']).count() + 1;
            let column = unified.rsplit(['\n', '\r']).next().unwrap_or("").chars().count() + 1;
            let start = Position { line, column };
            let place = Place { file: FileRole::Workflow, start, end: Position { column: column + 1, ..start } };
            let map = SourceMap { workflow: FileLines::new(path, &lossy), ..SourceMap::default() };
            let message = format!("the byte at offset {} is not UTF-8", error.valid_up_to());
            let fault = Fault::error("workflow/encoding", place, message, "save the file as UTF-8");
            Err(render(vec![fault], &map, &[]))
        }
    }
}

fn tree(role: FileRole, file: &SourceText, map: &SourceMap, faults: &mut Vec<Fault>, masked: &mut Vec<Masked>) -> Option<Node> {
    let node = yaml::read(role, &file.text, map.file(role), faults)?;
    secret::scan(&node, "value", faults, masked);
    Some(node)
}

/// Workflows while they are read.
#[derive(Default)]
struct Draft<'a> {
    /// What the settings file says of steps and no step has taken yet.
    settings: BTreeMap<&'a str, (&'a Key, &'a Node)>,
    /// Every step read so far, as `workflow/step`.
    paths: Vec<String>,
    context: Context,
}

const WORKFLOW_HINT: &str = "write `workflows:` and below it `- name: …` with its `steps:`";
const STEP_HINT: &str = "write each step as `- step_name:` with its keys indented below it";

impl<'a> Draft<'a> {
    fn fault(&mut self, code: &'static str, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.context.faults.push(Fault::error(code, place, message, hint));
    }

    fn workflows(&mut self, root: &'a Node) -> Vec<Workflow> {
        let mut list = None;
        let Some(entries) = values::mapping(root, "the workflow file", &mut self.context.faults) else {
            return Vec::new();
        };
        for (key, node) in entries {
            if key.text == "workflows" {
                list = values::list(node, "workflows", WORKFLOW_HINT, &mut self.context.faults);
            } else {
                self.unknown_top_key(key);
            }
        }
        if list.is_some_and(<[Node]>::is_empty) || !entries.iter().any(|(key, _)| key.text == "workflows") {
            self.fault("workflow/missing-key", root.place, "the file has no `workflows`", WORKFLOW_HINT);
        }
        let mut names = BTreeMap::new();
        let nodes = list.unwrap_or_default();
        let workflows: Vec<Workflow> = nodes.iter().filter_map(|node| self.workflow(node, &mut names)).collect();
        if !nodes.is_empty() && workflows.len() == nodes.len() {
            self.unknown_settings_steps();
        }
        workflows
    }

    /// What the settings file says of steps that the workflow file does not have.
    fn unknown_settings_steps(&mut self) {
        for (path, (key, _)) in std::mem::take(&mut self.settings) {
            let near = did_you_mean(path, self.paths.iter().map(String::as_str));
            let hint = near.map_or_else(|| "keys are `workflow/step`".to_owned(), |near| format!("did you mean `{near}`?"));
            self.fault("workflow/unknown-reference", key.place, format!("the workflow file has no step {}", quoted(path)), hint);
        }
    }

    /// Keys of the settings file that someone wrote into the workflow file get a hint of their own.
    fn unknown_top_key(&mut self, key: &Key) {
        if keys::SETTINGS_KEYS.contains(&key.text.as_str()) {
            let message = format!("`{}` stands in the workflow file", key.text);
            self.fault("workflow/misplaced-key", key.place, message, "write it in the settings file, `seaworthy.yaml`");
        } else {
            values::unknown_key(key, ["workflows"].into_iter(), &mut self.context.faults);
        }
    }

    fn workflow(&mut self, node: &'a Node, names: &mut BTreeMap<Name, usize>) -> Option<Workflow> {
        let entries = values::mapping(node, "a workflow", &mut self.context.faults)?;
        for (key, _) in entries.iter().filter(|(key, _)| key.text != "name" && key.text != "steps") {
            values::unknown_key(key, ["name", "steps"].into_iter(), &mut self.context.faults);
        }
        let find = |wanted: &str| entries.iter().find(|(key, _)| key.text == wanted).map(|(_, node)| node);
        for wanted in ["name", "steps"].into_iter().filter(|wanted| find(wanted).is_none()) {
            self.fault("workflow/missing-key", node.place, format!("a workflow without `{wanted}`"), WORKFLOW_HINT);
        }
        let name_node = find("name")?;
        let name = values::name(name_node, "name", &mut self.context.faults)?;
        if let Some(line) = names.insert(name.clone(), name_node.place.start.line) {
            let hint = format!("the first one is at line {line}; rename one of them");
            self.fault("workflow/duplicate-name", name_node.place, format!("two workflows are called {name:?}"), hint);
            return None;
        }
        self.context.places.insert(name.to_string(), name_node.place);
        let steps = find("steps").map(|node| self.steps(&name, node)).unwrap_or_default();
        Some(Workflow { name, steps })
    }

    fn steps(&mut self, workflow: &Name, node: &'a Node) -> Vec<model::Step> {
        let mut steps = Vec::new();
        let mut lines = BTreeMap::new();
        let Some(items) = values::list(node, "steps", STEP_HINT, &mut self.context.faults) else {
            return steps;
        };
        if items.is_empty() {
            self.fault("workflow/missing-key", node.place, format!("the workflow {workflow:?} has no steps"), STEP_HINT);
        }
        if self.paths.len() + items.len() > STEPS_MAX {
            self.fault("workflow/limit", node.place, format!("more than {STEPS_MAX} steps in the file"), "split the workflow");
            return steps;
        }
        for item in items {
            let Some((key, body)) = self.one_key(item) else { continue };
            if let Some(line) = lines.insert(&key.text, key.place.start.line) {
                let message = format!("two steps of {workflow:?} are called {}", quoted(&key.text));
                self.fault("workflow/duplicate-name", key.place, message, format!("the first one is at line {line}; rename one of them"));
                continue;
            }
            let path = format!("{workflow}/{}", key.text);
            let extra = self.settings.remove(path.as_str()).map(|(_, node)| node);
            steps.extend(step::read(&path, key, body, extra, &mut self.context));
            self.paths.push(path);
        }
        steps
    }

    /// A step is a mapping with one key, its name.
    fn one_key(&mut self, item: &'a Node) -> Option<(&'a Key, &'a Node)> {
        let entries = values::mapping(item, "a step", &mut self.context.faults)?;
        if let [(key, body)] = entries {
            return Some((key, body));
        }
        let names: Vec<&str> = entries.iter().take(4).map(|(key, _)| key.text.as_str()).collect();
        let message = format!("a step is a mapping with one key, its name; here are {}: {}", entries.len(), names.join(", "));
        self.fault("workflow/type", item.place, message, STEP_HINT);
        None
    }
}
