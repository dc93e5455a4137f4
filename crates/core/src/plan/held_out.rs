//! The held-out set: no training step may see what its model is validated on.
//!
//! in: resolved steps; out: faults `plan/held-out-in-training`.
//! **Invariant:** also refused if the data reach the training through transforms, and if the two are the same dataset.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use super::resolve::{Resolved, named};
use crate::workflow::diagnostics::Fault;
use crate::workflow::model::{OutputName, StepKind};

/// Follows every held-out dataset forward through transforms.
pub(super) fn check(scope: &Scope<'_>, resolved: &[Resolved], faults: &mut Vec<Fault>) {
    let steps = &scope.workflow.steps;
    let held_out: BTreeMap<&OutputName, &str> = steps
        .iter()
        .filter(|step| step.kind == StepKind::Validate)
        .filter_map(|step| Some((step.data.as_ref()?, step.name.as_str())))
        .collect();
    // output → the held-out set that it was made from
    let mut tainted: BTreeMap<OutputName, &OutputName> = held_out.keys().map(|output| ((*output).clone(), *output)).collect();
    let mut reached: BTreeSet<usize> = BTreeSet::new();
    loop {
        let mut grew = false;
        for (index, step) in steps.iter().enumerate().filter(|(_, step)| matches!(step.kind, StepKind::Transform | StepKind::Train)) {
            let source = resolved.get(index).and_then(|resolved| resolved.inputs.iter().find_map(|input| tainted.get(input).copied()));
            let Some(source) = source else { continue };
            if !reached.insert(index) {
                continue;
            }
            grew = true;
            for output in step.outputs.keys() {
                tainted.entry(OutputName { step: step.name.clone(), output: output.clone() }).or_insert(source);
            }
        }
        if !grew {
            break;
        }
    }
    for step in reached.iter().filter_map(|index| steps.get(*index)).filter(|step| step.kind == StepKind::Train) {
        for (key, input) in named(step) {
            let Some(source) = tainted.get(input) else { continue };
            let validation = held_out.get(source).copied().unwrap_or("");
            let way = if *source == input { String::new() } else { format!(", made from `{source}`") };
            let message = format!("the training step `{}` reads `{input}`{way}, on which `{validation}` validates its model", step.name);
            let hint = "split the data in an earlier step, train on one output and validate on the other";
            faults.push(scope.fault("plan/held-out-in-training", &step.name, &key, message, hint));
        }
    }
}
