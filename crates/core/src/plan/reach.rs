//! What each step can reach: the micro-segmentation of a plan, as a table.
//!
//! in: [`Plan`]; out: [`StepReach`] a step.
//! **Invariant:** what is not listed here is not there for the step: the engine binds inputs, code and environment from the
//! same fields of the plan.

use serde::Serialize;

use super::{Plan, PlannedStep};
use crate::id::Name;
use crate::workflow::model::{OutputName, StepKind};

/// Everything a step's body can see or change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StepReach {
    /// The step.
    pub step: Name,
    /// Whose program the body is: `yours` in a sandbox, or `seaworthy`'s own.
    pub body: &'static str,
    /// Artifacts it reads.
    pub reads: Vec<OutputName>,
    /// Artifacts it writes.
    pub writes: Vec<OutputName>,
    /// The source outside the workspace that it copies in (ingest).
    pub source: Option<String>,
    /// Its folder of code, read-only; only a body of yours sees one, and an environment.
    pub code: Option<String>,
    /// The environment whose files it sees, read-only.
    pub environment: Option<String>,
    /// Hosts, as `host:port`. Without any there is no network.
    pub hosts: Vec<String>,
    /// Secrets, by reference.
    pub secrets: Vec<String>,
}

impl StepReach {
    fn of(planned: &PlannedStep) -> Self {
        let step = &planned.step;
        let runs_yours = matches!(step.kind, StepKind::Transform | StepKind::Train);
        Self {
            step: step.name.clone(),
            body: if runs_yours { "yours" } else { "seaworthy" },
            reads: planned.inputs.clone(),
            writes: step.outputs.keys().map(|output| OutputName { step: step.name.clone(), output: output.clone() }).collect(),
            source: step.source.clone(),
            code: step.code.clone().filter(|_| runs_yours),
            environment: step.container.clone().filter(|_| runs_yours),
            hosts: step.egress.clone(),
            secrets: step.secrets.clone(),
        }
    }
}

/// What every step of `plan` can reach, in the order of the plan.
#[must_use]
pub fn reach(plan: &Plan) -> Vec<StepReach> {
    plan.steps.iter().map(StepReach::of).collect()
}

/// The artifacts of `reach`, each once: as they are written, then those that only are read.
#[must_use]
pub fn artifacts(reach: &[StepReach]) -> Vec<OutputName> {
    let mut all: Vec<OutputName> = Vec::new();
    let written = reach.iter().flat_map(|step| &step.writes);
    for artifact in written.chain(reach.iter().flat_map(|step| &step.reads)) {
        if !all.contains(artifact) {
            all.push(artifact.clone());
        }
    }
    all
}
