//! Plans: order, parallelism, references, held-out data and deployments; a naive order as oracle on random graphs.

use proptest::prelude::*;
use seaworthy_core::plan::{self, Plan};
use seaworthy_core::workflow::parse;

use crate::sample::sources;

/// A dev workflow of transforms: each step with the keys given.
fn workflow(steps: &[(String, String)]) -> String {
    let body: String = steps.iter().map(|(name, keys)| format!("  - {name}: {{run: [sh], outputs: {{out: dataset}}, {keys}}}\n")).collect();
    format!("workflows:\n- name: w\n  steps:\n{body}")
}

fn build(steps: &[(&str, &str)]) -> Result<Plan, Vec<&'static str>> {
    let steps: Vec<_> = steps.iter().map(|(name, keys)| ((*name).to_owned(), (*keys).to_owned())).collect();
    let (workspace, diagnostics) = parse(&sources(&workflow(&steps), None));
    let Some(workspace) = workspace else {
        return Err(diagnostics.iter().map(|d| d.code).collect());
    };
    plan::build(&workspace, "w").map_err(|diagnostics| diagnostics.iter().map(|d| d.code).collect())
}

fn order(plan: &Plan) -> Vec<(&str, &[usize])> {
    plan.steps.iter().map(|planned| (planned.step.name.as_str(), planned.needs.as_slice())).collect()
}

#[test]
fn without_names_each_step_needs_the_one_before_and_names_open_parallelism() {
    assert_eq!(order(&build(&[("a", ""), ("b", ""), ("c", "")]).unwrap()), [("a", &[][..]), ("b", &[0]), ("c", &[1])]);
    let plan = build(&[("a", ""), ("b", "inputs: [a/out]"), ("c", "inputs: [a/out]"), ("d", "needs: [b, c]"), ("e", "needs: []")]).unwrap();
    assert_eq!(order(&plan), [("a", &[][..]), ("b", &[0]), ("c", &[0]), ("d", &[1, 2]), ("e", &[])]);
    let plan = build(&[("late", "inputs: [early/out]"), ("early", "needs: []"), ("last", "")]).unwrap();
    assert_eq!(order(&plan), [("early", &[][..]), ("late", &[0]), ("last", &[0])]);
}

#[test]
fn circles_are_named() {
    for steps in [
        &[("a", "needs: [a]")][..],
        &[("a", "needs: [b]"), ("b", "")],
        &[("x", ""), ("a", "inputs: [c/out]"), ("b", "needs: [a]"), ("c", "needs: [b]")],
    ] {
        assert_eq!(build(steps).unwrap_err(), ["plan/cycle"], "{steps:?}");
    }
    let text = workflow(&[("a".to_owned(), "needs: [b]".to_owned()), ("b".to_owned(), "needs: [a]".to_owned())]);
    let (_, diagnostics) = parse(&sources(&text, None));
    let only = diagnostics.iter().next().unwrap();
    assert_eq!((only.line, only.message.as_str()), (4, "these steps need each other: `a` → `b` → `a`"));
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    assert_eq!(build(&[("a", ""), ("b", ""), ("c", "inputs: [a/out, b/out]")]).unwrap_err(), ["plan/ambiguous-input"]);
}

#[test]
fn held_out_data_do_not_reach_training_through_transforms() {
    let steps = |training: &'static str| {
        let text = format!(
            "workflows:\n- name: w\n  steps:\n  - split: {{run: [sh], outputs: {{train: dataset, holdout: dataset}}}}\n  - scale: {{run: [sh], inputs: [split/{training}], outputs: {{scaled: dataset}}}}\n  - fit: {{run: [sh], inputs: [scale/scaled], outputs: {{m: {{type: model, name: m}}}}}}\n  - judge: {{kind: validate, model: fit/m, data: split/holdout, label: y, task: binary}}\n"
        );
        let (_, diagnostics) = parse(&sources(&text, None));
        diagnostics.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(steps("train"), [] as [&str; 0]);
    assert_eq!(steps("holdout"), ["plan/held-out-in-training"]);
}

#[test]
fn a_deploy_step_needs_a_validated_model() {
    let deploy = |validate: &str, deploy: &str| {
        let text = format!(
            "workflows:\n- name: w\n  steps:\n  - d: {{run: [sh], outputs: {{a: dataset, b: dataset}}}}\n  - fit: {{run: [sh], inputs: [d/a], outputs: {{m: {{type: model, name: m}}}}}}\n{validate}  - ship: {{canary: true{deploy}}}\n"
        );
        let (workspace, diagnostics) = parse(&sources(&text, None));
        plan::build(&workspace.unwrap_or_else(|| panic!("{diagnostics}")), "w")
    };
    let judge = "  - judge: {kind: validate, model: fit/m, data: d/b, label: y, task: binary}\n";
    let plan = deploy(judge, "").unwrap();
    assert_eq!(order(&plan)[3], ("ship", &[1, 2][..]));
    let plan = deploy(judge, ", model: fit/m").unwrap();
    assert_eq!(order(&plan)[3], ("ship", &[1, 2][..]), "also a named model waits for its validation");
    for (validate, keys, code) in
        [("", "", "plan/missing-key"), ("", ", model: fit/m", "plan/unvalidated-model"), ("", ", inputs: [d/a]", "plan/missing-key")]
    {
        let faults = deploy(validate, keys).unwrap_err();
        assert_eq!(faults.iter().map(|d| d.code).collect::<Vec<_>>(), [code], "{keys}");
    }
}

#[test]
fn an_unknown_workflow_is_named() {
    let (workspace, _) = parse(&sources("workflows:\n- name: train\n  steps:\n  - a: {run: [sh], outputs: {o: dataset}}\n", None));
    let faults = plan::build(&workspace.unwrap(), "tarin").unwrap_err();
    let only = faults.iter().next().unwrap();
    assert_eq!((only.code, only.hint.as_str()), ("plan/unknown-workflow", "did you mean `train`?"));
}

proptest! {
    /// Naive oracle: repeatedly take the first step in file order whose needs are all taken.
    #[test]
    fn order_is_the_naive_one(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30)) {
        let needs: Vec<Vec<usize>> = (0..12).map(|step| {
            let mut needs: Vec<usize> = edges.iter().filter(|(a, _)| *a == step).map(|(_, b)| *b).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        }).collect();
        let mut naive: Vec<usize> = Vec::new();
        while let Some(next) = (0..12).find(|step| !naive.contains(step) && needs[*step].iter().all(|need| naive.contains(need))) {
            naive.push(next);
        }
        let keys: Vec<String> = needs.iter().map(|needs| format!("needs: [{}]", needs.iter().map(|n| format!("s{n}")).collect::<Vec<_>>().join(", "))).collect();
        let steps: Vec<(String, String)> = keys.into_iter().enumerate().map(|(index, keys)| (format!("s{index}"), keys)).collect();
        let (workspace, diagnostics) = parse(&sources(&workflow(&steps), None));
        if naive.len() == 12 {
            let plan = plan::build(&workspace.unwrap(), "w").unwrap();
            let order: Vec<String> = plan.steps.iter().map(|planned| planned.step.name.to_string()).collect();
            prop_assert_eq!(order, naive.iter().map(|index| format!("s{index}")).collect::<Vec<_>>());
            for (position, planned) in plan.steps.iter().enumerate() {
                prop_assert!(planned.needs.iter().all(|need| *need < position));
            }
        } else {
            prop_assert!(workspace.is_none());
            prop_assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), vec!["plan/cycle"]);
        }
    }
}
