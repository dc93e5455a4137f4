//! Measures parsing and planning of a workflow with 1,000 steps.
//!
//! in: optionally the number of steps; out: one line of JSON with the median of 21 runs, milliseconds of wall and of processor time.
//! **Invariant:** the text is made in memory: no file is read.
#![allow(clippy::print_stdout, reason = "a tool of the developer, not of the product")]

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use seaworthy_core::plan;
use seaworthy_core::workflow::{SourceText, SourceTexts, parse};

fn main() -> ExitCode {
    let steps: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let mut text = "workflows:\n- name: w\n  steps:\n".to_owned();
    for step in 0..steps {
        let inputs = if step < 3 { "[]".to_owned() } else { format!("[s{0}/o{0}, s{1}/o{1}]", step - 1, step - 3) };
        // writing to a String cannot fail
        _ = writeln!(
            text,
            "  - s{step}:\n      run: [python, work.py, --step, {step}]\n      inputs: {inputs}\n      outputs: {{o{step}: dataset}}\n      timeout: 10m"
        );
    }
    let sources = SourceTexts { workflow: SourceText { path: "workflow.yaml".to_owned(), text }, settings: None };
    let mut taken_ms = Vec::new();
    let cpu_before = cpu_ms();
    for _ in 0..21 {
        let start = Instant::now();
        let (workspace, diagnostics) = parse(&sources);
        let planned = workspace.and_then(|workspace| plan::build(&workspace, "w").ok()).map(|plan| plan.steps.len());
        if planned != Some(steps) {
            println!("not planned: {diagnostics}");
            return ExitCode::FAILURE;
        }
        taken_ms.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    taken_ms.sort_by(f64::total_cmp);
    let cpu = cpu_ms().zip(cpu_before).map_or(f64::NAN, |(after, before)| (after - before) / 21.0);
    let wall = taken_ms.get(10).copied().unwrap_or(f64::NAN);
    println!("{{\"steps\":{steps},\"parse_and_plan_ms\":{wall:.2},\"parse_and_plan_cpu_ms\":{cpu:.2}}}");
    ExitCode::SUCCESS
}

/// Processor time of this process so far, from the scheduler's statistics (Linux).
fn cpu_ms() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e6)
}
