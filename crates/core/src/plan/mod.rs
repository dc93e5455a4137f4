//! The plan: the resolved DAG of one workflow, every reference bound, in an order that respects it.
//!
//! in: [`crate::workflow::model::Workspace`]; out: [`Plan`].
//! **Invariant:** acyclic; `steps` is a topological order; every input names an output of an earlier step.

mod completeness;
mod held_out;
mod order;
pub mod reach;
mod resolve;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::Name;
use crate::json_strict::to_canonical;
use crate::workflow::Suspects;
use crate::workflow::diagnostics::{Diagnostics, Fault, Severity, did_you_mean, quoted, render};
use crate::workflow::model::{OutputName, Project, Step, Workflow, Workspace};

/// One workflow, ready to be pinned and run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The workflow.
    pub workflow: Name,
    /// The environment (dev, staging …).
    pub environment: Name,
    /// The registration.
    pub project: Option<Project>,
    /// Name of the workflow file, without its folder.
    #[serde(default)]
    pub workflow_file: String,
    /// Name of the settings file beside it, if there is one.
    #[serde(default)]
    pub settings_file: Option<String>,
    /// Steps in topological order, file order where free.
    pub steps: Vec<PlannedStep>,
}

/// A step whose references are resolved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What the files say.
    pub step: Step,
    /// Indexes into [`Plan::steps`] of the steps that must commit first.
    pub needs: Vec<usize>,
    /// Every artifact the step reads (`inputs`, `model`, `data`, `reference`), each once.
    pub inputs: Vec<OutputName>,
}

impl Plan {
    /// SHA-256 of the plan's canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match serde_json::to_value(self) {
            Ok(value) => Digest::of(&to_canonical(&value)),
            // cannot happen with these types; still never the digest of another plan
            Err(error) => Digest::of(format!("{error}: {self:?}").as_bytes()),
        }
    }
}

/// Builds the plan of the workflow called `workflow`; every fault that keeps it from being run is reported.
pub fn build(workspace: &Workspace, workflow: &str) -> Result<Plan, Diagnostics> {
    let Some(found) = workspace.workflows.iter().find(|candidate| candidate.name.as_str() == workflow) else {
        return Err(render(vec![unknown_workflow(workspace, workflow)], &workspace.places, &[]));
    };
    let mut faults = Vec::new();
    let ordered = planned(workspace, found, &Suspects::default(), &mut faults);
    let diagnostics = render(faults, &workspace.places, &[]);
    match ordered {
        Some(steps) if !diagnostics.has_errors() => Ok(Plan {
            workflow: found.name.clone(),
            environment: workspace.environment.clone(),
            project: workspace.project.clone(),
            workflow_file: file_name(workspace.places.workflow_path()),
            settings_file: workspace.places.settings_path().map(file_name),
            steps,
        }),
        _ => Err(diagnostics),
    }
}

/// Plan faults of every workflow; what only keeps one from being run is a warning. `suspects` are steps with faults of their own.
pub(crate) fn faults(workspace: &Workspace, suspects: &Suspects) -> Vec<Fault> {
    let mut faults = Vec::new();
    for workflow in &workspace.workflows {
        let mut found = Vec::new();
        planned(workspace, workflow, suspects, &mut found);
        faults.extend(found.into_iter().map(|fault| match completeness::is_about(fault.code) {
            true => Fault { severity: Severity::Warning, ..fault },
            false => fault,
        }));
    }
    faults
}

/// Resolves, orders, checks.
fn planned(workspace: &Workspace, workflow: &Workflow, suspects: &Suspects, faults: &mut Vec<Fault>) -> Option<Vec<PlannedStep>> {
    let scope = Scope { workspace, workflow, suspects };
    let resolved = resolve::resolve(&scope, faults);
    completeness::check(&scope, &resolved, faults);
    held_out::check(&scope, &resolved, faults);
    let order = order::topological(&scope, &resolved, faults)?;
    Some(order::arrange(workflow, resolved, &order))
}

/// What is being planned.
pub(crate) struct Scope<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) workflow: &'a Workflow,
    pub(crate) suspects: &'a Suspects,
}

impl Scope<'_> {
    /// `workflow/step`.
    fn path(&self, step: &Name) -> String {
        format!("{}/{step}", self.workflow.name)
    }

    /// True if what `step` lacks must not be judged: it has faults of its own.
    fn is_faulty(&self, step: &Name) -> bool {
        !self.suspects.faulty.is_empty() && self.suspects.faulty.contains(&self.path(step))
    }

    /// True if it is not known what `step` makes.
    fn is_unclear(&self, step: &Name) -> bool {
        !self.suspects.unclear.is_empty() && self.suspects.unclear.contains(&self.path(step))
    }

    /// A fault at the key `key` of `step` (or the item `key[3]`), or at the step.
    fn fault(&self, code: &'static str, step: &Name, key: &str, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        let path = self.path(step);
        let whole = key.split('[').next().unwrap_or(key);
        let place = self.workspace.places.place(&[&format!("{path}.{key}"), &format!("{path}.{whole}"), &path]);
        Fault::error(code, place, message, hint)
    }
}

fn unknown_workflow(workspace: &Workspace, name: &str) -> Fault {
    let known: Vec<&str> = workspace.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    let hint = did_you_mean(name, known.iter().copied())
        .map_or_else(|| format!("the file has: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
    Fault::error("plan/unknown-workflow", workspace.places.place(&[]), format!("no workflow is called {}", quoted(name)), hint)
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
