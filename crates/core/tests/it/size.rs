//! Large files: 1,000 steps are parsed and planned at once (release: under 100 ms; here, unoptimised, a generous bound).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use seaworthy_core::plan;
use seaworthy_core::workflow::parse;

use crate::sample::sources;

/// A workflow of `count` transforms, each reading what two before it made.
fn many(count: usize) -> String {
    let mut text = "workflows:\n- name: w\n  steps:\n".to_owned();
    for step in 0..count {
        let inputs = if step < 3 { "[]".to_owned() } else { format!("[s{0}/o{0}, s{1}/o{1}]", step - 1, step - 3) };
        writeln!(text, "  - s{step}:\n      run: [python, work.py, --step, {step}]\n      inputs: {inputs}\n      outputs: {{o{step}: dataset}}\n      timeout: 10m").unwrap();
    }
    text
}

#[test]
fn a_thousand_steps_parse_and_plan_quickly() {
    let text = many(1_000);
    let start = Instant::now();
    let (workspace, diagnostics) = parse(&sources(&text, None));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let plan = plan::build(&workspace.unwrap(), "w").unwrap();
    let taken = start.elapsed();
    assert_eq!(plan.steps.len(), 1_000);
    assert!(taken < Duration::from_secs(5), "{taken:?}");
}
