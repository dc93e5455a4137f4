//! Workflow files: parsed, checked, every fault reported at once.
//!
//! in: the text of a workflow file and of the settings file beside it; out: [`model::Workspace`] and diagnostics.

pub mod model;
pub mod places;
