//! What a check is: inputs by name → report.
//!
//! **Invariant:** a check that lacks an input it needs is an error that names it.

use seaworthy_core::finding::CheckReport;
use serde_json::Value;

use crate::checks::CheckError;
use crate::model::{Model, Task};
use crate::schema::DataSchema;
use crate::table::Dataset;

/// Everything a check may look at; a caller fills what it has.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The data under examination.
    pub data: Option<&'a Dataset>,
    /// The data it is compared with: the training data, an earlier batch, a background.
    pub reference: Option<&'a Dataset>,
    /// The schema that the data must obey.
    pub schema: Option<&'a DataSchema>,
    /// The model under examination.
    pub model: Option<&'a Model>,
    /// Name of the label column.
    pub label: Option<&'a str>,
    /// What the model is for.
    pub task: Option<Task>,
    /// Method of explanation: `shap`.
    pub method: Option<&'a str>,
    /// Columns left out of comparisons.
    pub ignore: &'a [String],
}

/// Something that examines and reports.
pub trait Check: Sync {
    /// Stable name, unique, also that of its page of documentation.
    fn id(&self) -> &'static str;
    /// One line for people.
    fn title(&self) -> &'static str;
    /// Raised whenever the same input is reported on differently: a report of another version is never reused.
    fn version(&self) -> u32;
    /// Every bound and seed that a report depends on.
    fn parameters(&self) -> Value;
    /// Examines.
    fn run(&self, inputs: &Inputs<'_>) -> Result<CheckReport, CheckError>;
}
