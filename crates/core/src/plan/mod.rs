//! The plan: the resolved DAG of one workflow, every reference bound, in an order that respects it.
//!
//! in: [`crate::workflow::model::Workspace`]; out: [`Plan`] (helper functions in this folder build it).
//! **Invariant:** acyclic; `steps` is a topological order; every input names an output of an earlier step.

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::workflow::model::{OutputName, Project, Step};

/// One workflow, ready to be pinned and run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The workflow.
    pub workflow: Name,
    /// The environment (dev, staging …).
    pub environment: Name,
    /// The registration.
    pub project: Option<Project>,
    /// Name of the workflow file, without its folder.
    #[serde(default)]
    pub workflow_file: String,
    /// Name of the settings file beside it, if there is one.
    #[serde(default)]
    pub settings_file: Option<String>,
    /// Steps in topological order, file order where free.
    pub steps: Vec<PlannedStep>,
}

/// A step whose references are resolved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What the files say.
    pub step: Step,
    /// Indexes into [`Plan::steps`] of the steps that must commit first.
    pub needs: Vec<usize>,
    /// Every artifact the step reads (`inputs`, `model`, `data`, `reference`), each once.
    pub inputs: Vec<OutputName>,
}
