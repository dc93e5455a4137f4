//! What CI runs: the steps in their order, each timed, with a summary at the end.
//!
//! in: nothing; out: every step's output, then one line a step and the test runner's closing lines.
//! **Invariant:** a step that fails does not hide the others; the result fails if any step does.

use std::time::Instant;

use crate::process::{cargo, program, root, run, run_keeping, target};
use crate::{Outcome, bench, generate, interop, tidy};

/// Format, clippy, tidy.
pub(crate) fn check() -> Outcome {
    let format = run(cargo(&["fmt", "--all", "--check"]));
    let clippy = run(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]));
    let tidy = tidy::run();
    format.and(clippy).and(tidy)
}

/// Every test: by nextest if it is installed, else by cargo; then the documentation tests, which nextest does not run.
/// Returns the runner's closing lines.
pub(crate) fn test(rest: &[&str]) -> Result<Vec<String>, String> {
    let nextest = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    // the binaries that tests spawn
    run(cargo(&["build", "--workspace", "--quiet"]))?;
    let (mut closing, tests) = if nextest {
        let arguments = [&["nextest", "run", "--workspace", "--no-fail-fast"], rest].concat();
        run_keeping(cargo(&arguments), |line| line.trim_start().starts_with("Summary [") || line.contains(" FAIL ["))
    } else {
        let arguments = [&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"], rest].concat();
        run_keeping(cargo(&arguments), |line| line.starts_with("test result:"))
    };
    let documentation = if rest.is_empty() {
        let (lines, outcome) = run_keeping(cargo(&["test", "--workspace", "--doc", "--quiet"]), |line| line.starts_with("test result:"));
        let counted = lines.iter().filter(|line| !line.contains(" 0 passed; 0 failed"));
        closing.extend(counted.map(|line| format!("documentation tests: {line}")));
        outcome
    } else {
        Ok(())
    };
    println!("\nclosing lines of the test runner:");
    closing.iter().for_each(|line| println!("  {}", line.trim()));
    tests.and(documentation).map(|()| closing)
}

/// The main job on real data, in a folder of its own.
pub(crate) fn demo() -> Outcome {
    let folder = target().join("demo");
    let folder = folder.to_string_lossy();
    run(cargo(&["run", "--release", "--quiet", "--", "demo", "--dir", &folder]))
}

/// Everything, in order.
pub(crate) fn ci() -> Outcome {
    let mut closing = Vec::new();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    let mut step = |name: &'static str, action: &mut dyn FnMut() -> Outcome| {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let outcome = action();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        lines.push(format!("{word:>6}  {name:<14} {:>7.1} s", start.elapsed().as_secs_f64()));
        if let Err(message) = outcome {
            println!("{name}: {message}");
            failed.push(format!("{name}: {message}"));
        }
    };
    step("check", &mut check);
    step("gen --check", &mut || generate::run(true));
    step("test", &mut || {
        closing = test(&[])?;
        Ok(())
    });
    step("interop", &mut interop::run);
    step("demo", &mut demo);
    step("bench --smoke", &mut || bench::run(true, &[]));
    println!("\n=== summary of {} ===", revision());
    lines.iter().for_each(|line| println!("{line}"));
    closing.iter().for_each(|line| println!("tests: {}", line.trim()));
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// The commit, for the summary; a copy without git is fine.
fn revision() -> String {
    let output = program("git", &["rev-parse", "--short", "HEAD"]).current_dir(root()).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "this tree".to_owned())
}
