//! The order of a plan: topological, in file order where the graph leaves a choice; a circle is named.
//!
//! in: what each step needs, by index in file order; out: the order, or a fault `plan/cycle`.
//! **Invariant:** a step stands after everything it needs; the same files give the same order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::resolve::Resolved;
use super::{PlannedStep, Scope};
use crate::workflow::diagnostics::Fault;
use crate::workflow::model::Workflow;

/// Indexes in file order, arranged so that needs come first (Kahn's algorithm with a heap).
pub(super) fn topological(scope: &Scope<'_>, resolved: &[Resolved], faults: &mut Vec<Fault>) -> Option<Vec<usize>> {
    let mut waiting: Vec<usize> = resolved.iter().map(|step| step.needs.len()).collect();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, step) in resolved.iter().enumerate() {
        for need in &step.needs {
            dependants.entry(*need).or_default().push(index);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(index, _)| Reverse(index)).collect();
    let mut order = Vec::with_capacity(resolved.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for dependant in dependants.get(&index).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(*dependant) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(*dependant));
                }
            }
        }
    }
    if order.len() == resolved.len() {
        return Some(order);
    }
    faults.extend(cycle(scope, resolved, &waiting));
    None
}

/// Follows needs among the steps that never became ready until one comes again.
fn cycle(scope: &Scope<'_>, resolved: &[Resolved], waiting: &[usize]) -> Option<Fault> {
    let stuck = |index: usize| waiting.get(index).is_some_and(|count| *count > 0);
    let mut at = (0..resolved.len()).find(|index| stuck(*index))?;
    let mut path: Vec<usize> = Vec::new();
    let first = loop {
        if let Some(first) = path.iter().position(|seen| *seen == at) {
            break first;
        }
        path.push(at);
        at = resolved.get(at)?.needs.iter().copied().find(|need| stuck(*need))?;
    };
    let circle = path.get(first..)?;
    let names: Vec<String> =
        circle.iter().chain(circle.first()).filter_map(|index| Some(format!("`{}`", scope.workflow.steps.get(*index)?.name))).collect();
    let step = scope.workflow.steps.get(*circle.iter().min()?)?;
    let key = if step.needs.is_some() { "needs" } else { "inputs" };
    let message = format!("these steps need each other: {}", names.join(" → "));
    Some(scope.fault("plan/cycle", &step.name, key, message, "remove one of these needs or inputs"))
}

/// The steps in `order`, their needs as indexes into the result.
pub(super) fn arrange(workflow: &Workflow, resolved: Vec<Resolved>, order: &[usize]) -> Vec<PlannedStep> {
    let position: BTreeMap<usize, usize> = order.iter().enumerate().map(|(position, index)| (*index, position)).collect();
    let mut resolved: Vec<Option<Resolved>> = resolved.into_iter().map(Some).collect();
    let mut take = |index: usize| resolved.get_mut(index).and_then(Option::take).unwrap_or_default();
    let planned = |index: &usize| {
        let Resolved { needs, inputs } = take(*index);
        let mut needs: Vec<usize> = needs.iter().filter_map(|need| position.get(need).copied()).collect();
        needs.sort_unstable();
        Some(PlannedStep { step: workflow.steps.get(*index)?.clone(), needs, inputs })
    };
    order.iter().filter_map(planned).collect()
}
