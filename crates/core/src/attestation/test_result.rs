//! in-toto test result v0.1: what the checks of a step found.
//!
//! in: check reports, their configuration, the artifact that keeps them whole; out: the statement.
//! **Invariant:** `result` follows from the three lists: one failed test fails it, one warned test warns it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ReadError, TEST_RESULT};
use crate::artifact::ArtifactRef;
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};
use crate::finding::{CheckReport, Severity};

/// Canonical bytes of facts that are still written into the statement itself.
pub const FACTS_INLINE_BYTES_MAX: usize = 64 * 1024;

/// The overall result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Nothing found.
    Passed,
    /// Findings, none of them an error.
    Warned,
    /// At least one error or worse.
    Failed,
}

/// What a test result says.
#[derive(Clone, PartialEq, Debug)]
pub struct TestResult {
    /// What it ran with: schema, reference profile, gate contract.
    pub configuration: Vec<ResourceDescriptor>,
    /// The artifact that holds the whole reports.
    pub report: Option<Digest>,
    /// Checks that found nothing above `Info`.
    pub passed: Vec<String>,
    /// Checks whose worst finding is a warning.
    pub warned: Vec<String>,
    /// Checks whose worst finding is an error or critical.
    pub failed: Vec<String>,
    /// Facts by check, if they are small enough to stand here.
    pub facts: Option<BTreeMap<String, BTreeMap<String, Value>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    result: Outcome,
    configuration: Vec<ResourceDescriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
    #[serde(rename = "seaworthy_facts", default, skip_serializing_if = "Option::is_none")]
    facts: Option<BTreeMap<String, BTreeMap<String, Value>>>,
}

const REPORT_URI: &str = "seaworthy:artifact/";

impl TestResult {
    /// Sums up `reports`; `report` is the artifact that holds them whole.
    #[must_use]
    pub fn of(reports: &[CheckReport], configuration: Vec<ResourceDescriptor>, report: Option<&ArtifactRef>) -> Self {
        let (mut passed, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for check in reports {
            let list = match check.worst() {
                None | Some(Severity::Info) => &mut passed,
                Some(Severity::Warning) => &mut warned,
                Some(Severity::Error | Severity::Critical) => &mut failed,
            };
            list.push(check.check.clone());
        }
        let facts: BTreeMap<_, _> = reports.iter().map(|check| (check.check.clone(), check.facts.clone())).collect();
        let small = serde_json::to_vec(&facts).is_ok_and(|bytes| bytes.len() <= FACTS_INLINE_BYTES_MAX);
        let mut configuration = configuration;
        if let Some(artifact) = report {
            configuration.push(super::subject("report", artifact));
        }
        Self { configuration, report: report.map(|artifact| artifact.digest), passed, warned, failed, facts: small.then_some(facts) }
    }

    /// The overall result.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        if !self.failed.is_empty() {
            Outcome::Failed
        } else if !self.warned.is_empty() {
            Outcome::Warned
        } else {
            Outcome::Passed
        }
    }

    /// The statement about `subjects`, the artifacts examined.
    #[must_use]
    pub fn statement(&self, subjects: Vec<ResourceDescriptor>) -> Statement {
        let predicate = Predicate {
            result: self.outcome(),
            configuration: self.configuration.clone(),
            url: self.report.map(|digest| format!("{REPORT_URI}{digest}")),
            passed_tests: self.passed.clone(),
            warned_tests: self.warned.clone(),
            failed_tests: self.failed.clone(),
            facts: self.facts.clone(),
        };
        super::statement(TEST_RESULT, subjects, &predicate)
    }

    /// Reads a test result of ours.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let predicate: Predicate = super::predicate(statement, TEST_RESULT)?;
        let report = match predicate.url.as_deref() {
            None => None,
            Some(url) => {
                let digest = url.strip_prefix(REPORT_URI).and_then(|text| text.parse().ok());
                Some(digest.ok_or_else(|| ReadError::Malformed("url names no artifact".to_owned()))?)
            }
        };
        let result = Self {
            configuration: predicate.configuration,
            report,
            passed: predicate.passed_tests,
            warned: predicate.warned_tests,
            failed: predicate.failed_tests,
            facts: predicate.facts,
        };
        if result.outcome() != predicate.result {
            return Err(ReadError::Inconsistent("the result does not follow from the lists of tests".to_owned()));
        }
        Ok(result)
    }
}
