//! The list of all checks.
//!
//! **Invariant:** ids are unique and each has its page under docs/src/reference/checks (tests/it/registry.rs).

use seaworthy_core::digest::Digest;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::json_strict;
use serde_json::{Value, json};

use crate::check::{Check, Inputs};
use crate::checks::{CheckError, anomaly, data_schema, drift, explain, performance};
use crate::score;

/// All checks, in the order of a workflow.
pub const CHECKS: [&dyn Check; 5] = [&DataSchemaCheck, &AnomalyCheck, &PerformanceCheck, &DriftCheck, &ExplainCheck];

/// The check with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static dyn Check> {
    CHECKS.into_iter().find(|check| check.id() == id)
}

/// What every report of this release depends on: ids, versions and parameters of all checks, and of the score.
///
/// It goes into the key of every step that examines something: a release whose checks differ makes its reports anew.
#[must_use]
pub fn digest() -> Digest {
    let checks = CHECKS.iter().map(|check| (check.id(), check.version(), check.parameters()));
    digest_of(checks.chain([(score::ID, score::VERSION, score::parameters())]))
}

/// The digest of a list of checks: id, version, parameters.
pub fn digest_of<'a>(checks: impl Iterator<Item = (&'a str, u32, Value)>) -> Digest {
    let described: Vec<Value> =
        checks.map(|(id, version, parameters)| json!({"id": id, "version": version, "parameters": parameters})).collect();
    Digest::of(&json_strict::to_canonical(&Value::Array(described)))
}

fn need<T>(check: &'static str, what: &'static str, input: Option<T>) -> Result<T, CheckError> {
    input.ok_or(CheckError::MissingInput { check, what })
}

struct DataSchemaCheck;

impl Check for DataSchemaCheck {
    fn id(&self) -> &'static str {
        data_schema::ID
    }
    fn version(&self) -> u32 {
        data_schema::VERSION
    }
    fn parameters(&self) -> Value {
        data_schema::parameters()
    }
    fn title(&self) -> &'static str {
        "does the data obey its schema"
    }
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError> {
        data_schema::run(need(self.id(), "data", inputs.data)?, need(self.id(), "a schema", inputs.schema)?)
    }
}

struct AnomalyCheck;

impl Check for AnomalyCheck {
    fn id(&self) -> &'static str {
        anomaly::ID
    }
    fn version(&self) -> u32 {
        anomaly::VERSION
    }
    fn parameters(&self) -> Value {
        anomaly::parameters()
    }
    fn title(&self) -> &'static str {
        "which rows look like nothing around them"
    }
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError> {
        anomaly::run(need(self.id(), "data", inputs.data)?, inputs.label)
    }
}

struct PerformanceCheck;

impl Check for PerformanceCheck {
    fn id(&self) -> &'static str {
        performance::ID
    }
    fn version(&self) -> u32 {
        performance::VERSION
    }
    fn parameters(&self) -> Value {
        performance::parameters()
    }
    fn title(&self) -> &'static str {
        "how good is the model on labelled data"
    }
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError> {
        let (model, data) = (need(self.id(), "a model", inputs.model)?, need(self.id(), "data", inputs.data)?);
        performance::run(model, data, need(self.id(), "a label", inputs.label)?, need(self.id(), "a task", inputs.task)?)
    }
}

struct DriftCheck;

impl Check for DriftCheck {
    fn id(&self) -> &'static str {
        drift::ID
    }
    fn version(&self) -> u32 {
        drift::VERSION
    }
    fn parameters(&self) -> Value {
        drift::parameters()
    }
    fn title(&self) -> &'static str {
        "has the population moved"
    }
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError> {
        drift::run(need(self.id(), "a reference", inputs.reference)?, need(self.id(), "data", inputs.data)?, inputs.ignore)
    }
}

struct ExplainCheck;

impl Check for ExplainCheck {
    fn id(&self) -> &'static str {
        explain::ID
    }
    fn version(&self) -> u32 {
        explain::VERSION
    }
    fn parameters(&self) -> Value {
        explain::parameters()
    }
    fn title(&self) -> &'static str {
        "which features carry the model's answers"
    }
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError> {
        let (model, data) = (need(self.id(), "a model", inputs.model)?, need(self.id(), "data", inputs.data)?);
        let background = need(self.id(), "a background", inputs.reference)?;
        explain::run(model, data, background, need(self.id(), "a label", inputs.label)?, need(self.id(), "a method", inputs.method)?)
    }
}
