//! `policy check`: does a gate's folder load, and is it tested at all?
//!
//! in: a folder's files; out: a [`CheckReport`].
//! **Invariant:** a gate without a passing and a denied case is a problem, since neither its cases nor mutation say anything.

use seaworthy_core::decision::Reason;
use seaworthy_core::digest::Digest;
use serde::Serialize;

use super::cases::Expected;
use super::{Gate, GateFiles, GateSpec};

/// What is known about a folder without deciding anything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Gate name.
    pub gate: String,
    /// Digest of the folder, as given.
    pub digest: Digest,
    /// True if there is no problem.
    pub ok: bool,
    /// What `gate.yaml` says, if the gate loads.
    pub spec: Option<GateSpec>,
    /// Cases that must pass.
    pub cases_pass: usize,
    /// Cases that must be denied.
    pub cases_deny: usize,
    /// What is wrong, each with what to do.
    pub problems: Vec<Reason>,
}

/// Loads the folder of the gate `name` and reports.
#[must_use]
pub fn check_gate(name: &str, files: &GateFiles, digest: Digest) -> CheckReport {
    let mut report =
        CheckReport { gate: name.to_owned(), digest, ok: false, spec: None, cases_pass: 0, cases_deny: 0, problems: Vec::new() };
    match Gate::load(name, files, digest) {
        Ok(gate) => {
            let count = |wanted| gate.cases().iter().filter(|case| case.expect == wanted).count();
            report.cases_pass = count(Expected::Pass);
            report.cases_deny = count(Expected::Deny);
            report.spec = Some(gate.spec);
            if report.cases_pass == 0 || report.cases_deny == 0 {
                report.problems.push(problem(
                    "gate/untested",
                    format!("{} passing and {} denied cases", report.cases_pass, report.cases_deny),
                    "write at least one case of each kind under cases/",
                ));
            }
        }
        Err(error) => report.problems.push(problem(error.code(), error.to_string(), error.hint())),
    }
    report.ok = report.problems.is_empty();
    report
}

fn problem(code: &str, message: String, hint: &str) -> Reason {
    Reason { code: code.to_owned(), rule: "check".to_owned(), message, hint: hint.to_owned() }
}
