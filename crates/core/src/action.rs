//! The actions that need an authorization, and the resources they are done on.
//!
//! **Invariant:** every change of state and every artifact read by a run is one of these.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::principal::Principal;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start a run of a plan.
    RunWorkflow,
    /// Execute one step's body.
    RunStep,
    /// Read an artifact as an input.
    ReadArtifact,
    /// Store an output.
    WriteArtifact,
    /// Evaluate a gate and act on its answer.
    EvaluateGate,
    /// Register a model version.
    RegisterModel,
    /// Record a deployment of a model version.
    PromoteModel,
    /// Move a pin in the lock.
    UpdateLock,
    /// Stop a run.
    CancelRun,
    /// Connect to a host.
    Connect,
    /// Be given a secret.
    ReadSecret,
}

impl Action {
    /// All actions, for tests that go through every one.
    pub const ALL: [Self; 11] = [
        Self::RunWorkflow,
        Self::RunStep,
        Self::ReadArtifact,
        Self::WriteArtifact,
        Self::EvaluateGate,
        Self::RegisterModel,
        Self::PromoteModel,
        Self::UpdateLock,
        Self::CancelRun,
        Self::Connect,
        Self::ReadSecret,
    ];

    /// The stable snake_case name used in leaves; the Cedar action has the same name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunWorkflow => "run_workflow",
            Self::RunStep => "run_step",
            Self::ReadArtifact => "read_artifact",
            Self::WriteArtifact => "write_artifact",
            Self::EvaluateGate => "evaluate_gate",
            Self::RegisterModel => "register_model",
            Self::PromoteModel => "promote_model",
            Self::UpdateLock => "update_lock",
            Self::CancelRun => "cancel_run",
            Self::Connect => "connect",
            Self::ReadSecret => "read_secret",
        }
    }
}

/// What it is to be done on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Resource {
    /// A workflow of the plan.
    Workflow {
        /// Workflow name.
        name: String,
    },
    /// A step of the plan.
    Step {
        /// `workflow/step`.
        name: String,
        /// The step kind: ingest, transform, train, validate, deploy.
        kind: String,
        /// Whether the step is confined.
        sandboxed: bool,
        /// The sandbox's profile in this run. Leaves of earlier releases lack it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        profile: String,
    },
    /// An artifact; `declared` is true if the step names it as input or output.
    Artifact {
        /// `step/output`.
        name: String,
        /// Digest, if it exists already.
        digest: Option<Digest>,
        /// Declared by the step that acts.
        declared: bool,
        /// Its chain has been verified.
        verified: bool,
    },
    /// A gate.
    Gate {
        /// Gate name.
        name: String,
        /// Digest of the policy folder.
        digest: Digest,
        /// The lock pins exactly this digest.
        pinned: bool,
    },
    /// A model version.
    Model {
        /// Model name.
        name: String,
        /// Artifact digest.
        digest: Digest,
        /// Every gate of its chain passed.
        gated: bool,
    },
    /// A pin of the lock.
    Pin {
        /// Pin name.
        name: String,
    },
    /// A place in the network.
    Host {
        /// Name or address; of one that the step does not declare no more than the last two labels.
        name: String,
        /// Port.
        port: u16,
        /// Declared by the step that acts.
        declared: bool,
    },
    /// A secret of the user who runs.
    Secret {
        /// Its name.
        name: String,
        /// Declared by the step that acts.
        declared: bool,
    },
}

/// One question to the authorizer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Who.
    pub principal: Principal,
    /// What.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// dev, staging, prod …
    pub environment: String,
}
