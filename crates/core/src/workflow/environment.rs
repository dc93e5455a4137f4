//! Rules that hold for a whole workspace: what only dev may do, and the registration that all else needs.
//!
//! in: a [`Workspace`]; out: faults.
//! **Invariant:** outside dev every step is confined and logged, and the workspace names its project.

use super::diagnostics::Fault;
use super::model::Workspace;

/// Checks `workspace`; `project_written` is true if a registration stands there, even a faulty one.
pub(super) fn check(workspace: &Workspace, project_written: bool, faults: &mut Vec<Fault>) {
    if workspace.environment.as_str() == "dev" {
        return;
    }
    let environment = &workspace.environment;
    if !project_written {
        let place = super::places::Place { file: super::places::FileRole::Settings, ..workspace.places.place(&[]) };
        let message = format!("the environment {environment:?} needs a project registration");
        let hint =
            "add `project: {name, owner, purpose, risk_class, residency, data_classes}` to the settings file, or use `environment: dev`";
        faults.push(Fault::error("workflow/missing-project", place, message, hint));
    }
    for workflow in &workspace.workflows {
        for step in &workflow.steps {
            for (allowed, key, setting) in [(step.sandbox, "sandbox", "sandbox: false"), (step.logging, "logging", "logging: disabled")] {
                if !allowed {
                    let place = workspace.places.place(&[&format!("{}/{}.{key}", workflow.name, step.name)]);
                    let message = format!("`{setting}` is refused in the environment {environment:?}");
                    let hint = format!("remove `{key}`, or use `environment: dev`");
                    faults.push(Fault::error("workflow/dev-only", place, message, hint));
                }
            }
        }
    }
}
