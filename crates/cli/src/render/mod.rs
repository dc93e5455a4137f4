//! Rendering: stdout is data, stderr is talk; everything is understandable without colour.
//!
//! **Invariant:** the only place that prints. Text that came from elsewhere is stripped of control characters.

mod diagnostics;
mod model;
mod progress;
mod tables;
mod tree;

use std::io::Write as _;

pub(crate) use diagnostics::diagnostics;
pub(crate) use model::ModelPage;
pub(crate) use progress::progress;
use seaworthy_engine::progress::StepState;
use seaworthy_engine::report::RunReport;
use serde::Serialize;
pub(crate) use tables::{models, run, runs};
pub(crate) use tree::{chain, lineage};

use crate::failure::Failure;
use crate::settings::Settings;

/// A line of data for people: a log or catalog from elsewhere may hold anything, so it is cleaned here, for every caller.
pub(crate) fn line(text: &str) {
    bytes(format!("{}\n", clean(text)).as_bytes());
}

/// Raw data.
pub(crate) fn bytes(bytes: &[u8]) {
    // a closed pipe ends the output, not the work
    drop(std::io::stdout().lock().write_all(bytes));
}

/// A line of talk.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", clean(text)));
}

/// Pretty JSON.
pub(crate) fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => bytes(format!("{text}\n").as_bytes()),
        Err(error) => note(&format!("this value cannot be written as json: {error}")),
    }
}

/// One line of JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => bytes(format!("{text}\n").as_bytes()),
        Err(error) => note(&format!("this value cannot be written as json: {error}")),
    }
}

/// An error with its code, reasons and hint.
pub(crate) fn failure(failure: &Failure) {
    note(&format!("error[{}]: {}", failure.code, without_numbers(&failure.message)));
    for reason in &failure.reasons {
        note(&format!("  - {} ({}): {}", reason.rule, reason.code, reason.message));
        if !reason.hint.is_empty() {
            note(&format!("    would pass: {}", reason.hint));
        }
    }
    if !failure.hint.is_empty() {
        note(&format!("  hint: {}", failure.hint));
    }
}

/// The system's words without its numbers: `No such file or directory (os error 2)` says it twice.
fn without_numbers(message: &str) -> String {
    let mut said = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        said.push_str(before);
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        rest = digits.strip_prefix(')').unwrap_or(digits);
    }
    said.push_str(rest);
    said
}

/// How a run ended.
pub(crate) fn run_report(settings: &Settings, report: &RunReport) {
    if settings.json {
        json_line(&serde_json::json!({"event": "run_ended", "report": report}));
        return;
    }
    for step in &report.steps {
        let (Some(code), Some(message)) = (&step.code, &step.message) else { continue };
        note(&format!("{}: error[{code}]: {message}", step.step));
        for reason in &step.reasons {
            note(&format!("  - {} ({}): {}", reason.rule, reason.code, reason.message));
            if !reason.hint.is_empty() {
                note(&format!("    would pass: {}", reason.hint));
            }
        }
        if let Some(hint) = step.hint.as_ref().filter(|hint| !hint.is_empty() && step.reasons.is_empty()) {
            note(&format!("  hint: {hint}"));
        }
    }
    let committed = report.steps.iter().filter(|step| step.state == StepState::Committed).count();
    let reused = report.steps.iter().filter(|step| step.state == StepState::Reused).count();
    line(&format!("run {} {}: {committed} committed, {reused} reused, {} steps", report.run, report.state.as_str(), report.steps.len()));
    if let Some(model) = &report.model {
        line(&format!("model {model}"));
    }
}

/// Control characters, escapes included, become visible, and so do those that turn the direction of text around.
pub(crate) fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' || turns(c) { '\u{fffd}' } else { c }).collect()
}
