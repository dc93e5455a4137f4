//! Completeness: what a step must say before it can be run, and what this release cannot run.
//!
//! in: resolved steps; out: faults, which are warnings while files are parsed and errors when a plan is built.
//! **Invariant:** a step that passes has everything its kind needs; a feature of a later release is refused by name.

use super::Scope;
use super::resolve::Resolved;
use crate::artifact::ArtifactKind;
use crate::workflow::diagnostics::{Fault, did_you_mean, quoted};
use crate::workflow::model::{EnvironmentSource, Step, StepKind};

/// True for the codes that this module gives.
pub(super) fn is_about(code: &str) -> bool {
    matches!(
        code,
        "plan/missing-key" | "plan/unvalidated-model" | "workflow/unsupported" | "plan/unmapped-source" | "plan/unknown-environment"
    )
}

/// Checks every step without faults of its own.
pub(super) fn check(scope: &Scope<'_>, resolved: &[Resolved], faults: &mut Vec<Fault>) {
    for (step, resolved) in scope.workflow.steps.iter().zip(resolved) {
        if !scope.is_faulty(&step.name) {
            missing(scope, step, faults);
            source(scope, step, faults);
            environment(scope, step, faults);
            later(scope, step, faults);
            deployed_model(scope, step, resolved, faults);
        }
    }
}

/// Keys without which a step of this kind does nothing.
fn missing(scope: &Scope<'_>, step: &Step, faults: &mut Vec<Fault>) {
    let needed: &[(&str, bool, &str)] = match step.kind {
        StepKind::Ingest => &[("source", step.source.is_some(), "./data/")],
        StepKind::Transform | StepKind::Train => &[
            ("run", step.run.is_some() || has_image(scope, step), "[python, script.py]"),
            (
                "outputs",
                !step.outputs.is_empty(),
                if step.kind == StepKind::Train { "{model: {type: model, name: …}}" } else { "{name: dataset}" },
            ),
        ],
        StepKind::Validate => &[
            ("model", step.model.is_some(), "train_step/model"),
            ("data", step.data.is_some(), "split_step/holdout"),
            ("reference", step.reference.is_some() || !step.drift_detection, "split_step/train"),
            ("label", step.label.is_some(), "column"),
            ("task", step.task.is_some(), "binary"),
        ],
        StepKind::Deploy => &[],
    };
    for (key, _, example) in needed.iter().filter(|(_, present, _)| !present) {
        let message = format!("the {} step {:?} does not say `{key}`", step.kind.as_str(), step.name);
        let hint = format!("add `{key}: {example}` to `{}` in the settings file, or to the step", scope.path(&step.name));
        faults.push(scope.fault("plan/missing-key", &step.name, "", message, hint));
    }
}

/// An image may bring its own command.
fn has_image(scope: &Scope<'_>, step: &Step) -> bool {
    let container = step.container.as_deref();
    container.is_some_and(|name| matches!(scope.workspace.environment_source(Some(name)), Some(EnvironmentSource::Oci(_))))
}

/// Remote sources must be mapped to a folder.
fn source(scope: &Scope<'_>, step: &Step, faults: &mut Vec<Fault>) {
    let Some(source) = step.source.as_deref().filter(|source| source.contains("://")) else {
        return;
    };
    let Some((prefix, target)) = scope.workspace.source_mapping(source) else {
        let message = format!("nothing maps the source {} to a folder", quoted(source));
        let hint =
            "add `sources: {\"s3://bucket/\": ./folder/}` to the settings file; this release reads files, remote stores come with *Reach*";
        faults.push(scope.fault("plan/unmapped-source", &step.name, "source", message, hint));
        return;
    };
    if target.contains("://") {
        let message = format!("`sources` maps {} to {}, which is no folder", quoted(prefix), quoted(target));
        let hint = "map it to a folder: this release reads files only";
        faults.push(scope.fault("workflow/unsupported", &step.name, "source", message, hint));
    }
}

/// `container:` must be an environment of the settings.
fn environment(scope: &Scope<'_>, step: &Step, faults: &mut Vec<Fault>) {
    let Some(container) = step.container.as_deref() else { return };
    match scope.workspace.environment_source(Some(container)) {
        Some(_) => {}
        None => {
            let hint = match did_you_mean(container, scope.workspace.environments.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `environments: {{\"{container}\": {{python: envs/NAME/requirements.lock}}}}` to the settings file"),
            };
            let message = format!("nothing says what the environment {} is", quoted(container));
            faults.push(scope.fault("plan/unknown-environment", &step.name, "container", message, hint));
        }
    }
}

/// Features that the file format knows and this release refuses.
fn later(scope: &Scope<'_>, step: &Step, faults: &mut Vec<Fault>) {
    let features = [
        (
            step.isolation.as_deref().is_some_and(|isolation| isolation != "sandbox"),
            "isolation",
            "isolation by gVisor or a virtual machine",
            "a later release",
            "write `isolation: sandbox`, or run all of it inside such a machine",
        ),
        (
            step.explainability.as_deref() == Some("lime"),
            "explainability",
            "explanation by LIME",
            "*Examine*",
            "write `explainability: shap`",
        ),
    ];
    for (_, key, what, release, hint) in features.into_iter().filter(|(used, ..)| *used) {
        let message = format!("{what} is not in this release; it comes with {release}");
        faults.push(scope.fault("workflow/unsupported", &step.name, key, message, hint));
    }
}

/// A deploy step has exactly one model, and a validate step examines it.
fn deployed_model(scope: &Scope<'_>, step: &Step, resolved: &Resolved, faults: &mut Vec<Fault>) {
    if step.kind != StepKind::Deploy {
        return;
    }
    let steps = &scope.workflow.steps;
    let is_model = |input: &&crate::workflow::model::OutputName| {
        let producer = steps.iter().find(|step| step.name == input.step);
        producer.and_then(|step| step.outputs.get(&input.output)).is_some_and(|spec| spec.kind == ArtifactKind::Model)
    };
    let models: Vec<_> = resolved.inputs.iter().filter(is_model).collect();
    let [model] = models.as_slice() else {
        let message = format!("the deploy step {:?} has {} models; it needs exactly one", step.name, models.len());
        let hint = "name it: `model: train_step/model`, or let a validate step with `model` stand before it";
        faults.push(scope.fault("plan/missing-key", &step.name, "", message, hint));
        return;
    };
    if !steps.iter().any(|step| step.kind == StepKind::Validate && step.model.as_ref() == Some(*model)) {
        let message = format!("the deploy step {:?} deploys `{model}`, which no validate step examines", step.name);
        let hint = format!("add a validate step with `model: {model}`");
        faults.push(scope.fault("plan/unvalidated-model", &step.name, "model", message, hint));
    }
}
