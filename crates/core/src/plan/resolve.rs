//! References bound: which steps a step needs, and which outputs it reads.
//!
//! in: a workflow's steps in file order; out: [`Resolved`] for each, faults for names that nothing carries.
//! **Invariant:** without `needs` and named artifacts a step needs the one before it; naming either replaces that.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::artifact::ArtifactKind;
use crate::id::Name;
use crate::workflow::diagnostics::{Fault, did_you_mean, quoted};
use crate::workflow::model::{OutputName, Step, StepKind};

/// What a step needs, by index in file order.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    pub(super) needs: BTreeSet<usize>,
    pub(super) inputs: Vec<OutputName>,
}

/// Every artifact that `step` names, with the key (or item) that names it.
pub(super) fn named(step: &Step) -> Vec<(String, &OutputName)> {
    let inputs = step.inputs.iter().flatten().enumerate().map(|(index, output)| (format!("inputs[{index}]"), output));
    let keys = [("model", &step.model), ("data", &step.data), ("reference", &step.reference)];
    inputs.chain(keys.into_iter().filter_map(|(key, output)| Some((key.to_owned(), output.as_ref()?)))).collect()
}

/// Resolves every step.
pub(super) fn resolve(scope: &Scope<'_>, faults: &mut Vec<Fault>) -> Vec<Resolved> {
    let steps = &scope.workflow.steps;
    let index_by_name: BTreeMap<&Name, usize> = steps.iter().enumerate().map(|(index, step)| (&step.name, index)).collect();
    let resolver = Resolver { scope, index_by_name };
    let mut resolved: Vec<Resolved> = steps.iter().enumerate().map(|(index, step)| resolver.step(index, step, faults)).collect();
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.kind == StepKind::Deploy) {
        let deployed = resolver.deploy(index, step, &resolved);
        if let Some(slot) = resolved.get_mut(index) {
            slot.needs.extend(deployed.needs);
            slot.inputs.extend(deployed.inputs);
        }
    }
    resolved
}

struct Resolver<'a> {
    scope: &'a Scope<'a>,
    index_by_name: BTreeMap<&'a Name, usize>,
}

impl Resolver<'_> {
    fn step(&self, index: usize, step: &Step, faults: &mut Vec<Fault>) -> Resolved {
        let mut resolved = Resolved::default();
        let artifacts = named(step);
        for (key, output) in &artifacts {
            if let Some(producer) = self.producer(step, key, output, faults) {
                resolved.needs.insert(producer);
                if !resolved.inputs.contains(output) {
                    resolved.inputs.push((*output).clone());
                }
            }
        }
        for (position, need) in step.needs.iter().flatten().enumerate() {
            match self.index_by_name.get(need) {
                Some(needed) => _ = resolved.needs.insert(*needed),
                None => faults.extend(self.unknown_step(step, &format!("needs[{position}]"), need)),
            }
        }
        let names_nothing = step.needs.is_none() && step.inputs.is_none() && artifacts.is_empty();
        if names_nothing && let Some(before) = index.checked_sub(1) {
            resolved.needs.insert(before);
        }
        self.same_name(step, faults);
        resolved
    }

    /// Index of the step that makes `output`; a fault if nothing does.
    fn producer(&self, step: &Step, key: &str, output: &OutputName, faults: &mut Vec<Fault>) -> Option<usize> {
        let Some(index) = self.index_by_name.get(&output.step).copied() else {
            faults.extend(self.unknown_step(step, key, &output.step));
            return None;
        };
        let producer = self.scope.workflow.steps.get(index)?;
        let Some(spec) = producer.outputs.get(&output.output) else {
            if !self.scope.is_unclear(&producer.name) {
                let known: Vec<&str> = producer.outputs.keys().map(Name::as_str).collect();
                let hint = match did_you_mean(output.output.as_str(), known.iter().copied()) {
                    Some(near) => format!("did you mean `{}/{near}`?", producer.name),
                    None if known.is_empty() => {
                        format!("declare it: `outputs: {{{}: dataset}}` in the step `{}`", output.output, producer.name)
                    }
                    None => format!("its outputs are: {}", known.join(", ")),
                };
                let message = format!("the step {:?} has no output {:?}", producer.name, output.output);
                faults.push(self.scope.fault("workflow/unknown-reference", &step.name, key, message, hint));
            }
            return None;
        };
        let wanted = match key {
            "model" => Some((ArtifactKind::Model, "a model")),
            "data" | "reference" => Some((ArtifactKind::Dataset, "a dataset")),
            _ => None,
        };
        if let Some((kind, what)) = wanted.filter(|(kind, _)| spec.kind != *kind) {
            let message = format!("`{key}` must name {what}; `{output}` is declared as {}", kind_word(spec.kind));
            let hint = format!("declare `{}` of the step `{}` as {}", output.output, output.step, kind_word(kind));
            faults.push(self.scope.fault("workflow/type", &step.name, key, message, hint));
            return None;
        }
        Some(index)
    }

    /// A fault, unless the step stands in the file and could not be read.
    fn unknown_step(&self, step: &Step, key: &str, name: &Name) -> Option<Fault> {
        if self.scope.is_unclear(name) {
            return None;
        }
        let known = self.scope.workflow.steps.iter().map(|step| step.name.as_str());
        let hint = match did_you_mean(name.as_str(), known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the steps are: {}", known.take(20).collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no step of {:?} is called {}", self.scope.workflow.name, quoted(name.as_str()));
        Some(self.scope.fault("workflow/unknown-reference", &step.name, key, message, hint))
    }

    /// Inputs lie in one folder by the name of the output: two of the same name would hide one another.
    fn same_name(&self, step: &Step, faults: &mut Vec<Fault>) {
        let mut seen: BTreeMap<&Name, &OutputName> = BTreeMap::new();
        for (index, output) in step.inputs.iter().flatten().enumerate() {
            if let Some(first) = seen.insert(&output.output, output) {
                let message = format!("the inputs `{first}` and `{output}` would both be called {:?}", output.output);
                let hint = "rename one of the two outputs, or name the input once";
                faults.push(self.scope.fault("plan/ambiguous-input", &step.name, &format!("inputs[{index}]"), message, hint));
            }
        }
    }

    /// A deploy step that names no artifact takes the model of the validation before it; in any case it needs every
    /// step that validates its model.
    fn deploy(&self, index: usize, step: &Step, resolved: &[Resolved]) -> Resolved {
        let mut deployed = Resolved::default();
        let validations = || self.scope.workflow.steps.iter().enumerate().filter(|(_, step)| step.kind == StepKind::Validate);
        if named(step).is_empty()
            && let Some((before, model)) =
                validations().take_while(|(at, _)| *at < index).filter_map(|(at, step)| Some((at, step.model.clone()?))).last()
        {
            deployed.needs.insert(before);
            deployed.needs.extend(self.index_by_name.get(&model.step));
            deployed.inputs.push(model);
        }
        let own = resolved.get(index).map(|resolved| resolved.inputs.as_slice()).unwrap_or_default();
        let reads = |model: &OutputName| own.contains(model) || deployed.inputs.contains(model);
        let validated: Vec<usize> = validations().filter(|(_, step)| step.model.as_ref().is_some_and(reads)).map(|(at, _)| at).collect();
        deployed.needs.extend(validated);
        deployed
    }
}

pub(super) fn kind_word(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Dataset => "dataset",
        ArtifactKind::Model => "model",
        ArtifactKind::Report => "report",
        ArtifactKind::Environment => "environment",
        ArtifactKind::Code => "code",
        ArtifactKind::PolicyBundle => "policy bundle",
        ArtifactKind::StepLog => "step log",
    }
}
