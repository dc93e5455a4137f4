//! Audit events: a closed list with stable codes; each is a leaf of the log in canonical JSON.
//!
//! **Invariant:** no personal data, no free text from users beyond names that the plan already checked; of a host that a program made
//! up, what `core::egress` leaves of it.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Resource};
use crate::decision::{Decision, GateDecision};
use crate::digest::Digest;
use crate::id::{RunId, StepRunId};
use crate::principal::PrincipalId;

/// One audit event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, claimed.
    pub time_ms: u64,
    /// Who acted.
    pub principal: PrincipalId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// An artifact that a step read or wrote, as its outcome names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputRef {
    /// `step/output`, or `code`, `environment`, `schema` … for what came through the lock.
    pub name: String,
    /// `dataset`, `model`, `report` …
    pub kind: String,
    /// Artifact digest (of the manifest document).
    pub digest: Digest,
}

/// What happened. `code` is stable; fields may only be added.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "code")]
pub enum EventKind {
    /// The log of a workspace environment begins.
    #[serde(rename = "workspace.created")]
    WorkspaceCreated {
        /// Workspace id.
        workspace: String,
        /// Environment.
        environment: String,
    },
    /// A run begins: the user's signed request was accepted.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The run.
        run: RunId,
        /// SHA256(PAE) of the user's signed run request.
        request: Digest,
        /// Digest of the plan.
        plan: Digest,
    },
    /// An authorization decision, recorded before its effect.
    #[serde(rename = "authorization.decided")]
    AuthorizationDecided {
        /// The step attempt it belongs to, if any.
        step: Option<StepRunId>,
        /// Action.
        action: Action,
        /// Resource.
        resource: Resource,
        /// Decision.
        decision: Decision,
    },
    /// A step's body is about to run (intent).
    #[serde(rename = "step.started")]
    StepStarted {
        /// The attempt.
        step: StepRunId,
    },
    /// A connection of a step is about to be made (intent): to one of these addresses, the first that answers.
    #[serde(rename = "egress.allowed")]
    EgressAllowed {
        /// The attempt.
        step: StepRunId,
        /// Counts the attempt's connections from 1.
        connection: u32,
        /// Declared host.
        host: String,
        /// Port.
        port: u16,
        /// What it resolved to, once; nothing else is connected to.
        addresses: Vec<String>,
    },
    /// Connections of a step that were not made.
    #[serde(rename = "egress.denied")]
    EgressDenied {
        /// The attempt.
        step: StepRunId,
        /// The connection; absent where several are told of at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<u32>,
        /// Host, if the request named one; of a name that is not declared at most the last two labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Stable code: `egress/not-declared`, `egress/private-address` …
        reason: String,
        /// How many; 1 but in the last event of an attempt that was refused more often than is told one by one.
        count: u64,
    },
    /// A connection of a step is over.
    #[serde(rename = "egress.closed")]
    EgressClosed {
        /// The attempt.
        step: StepRunId,
        /// The connection.
        connection: u32,
        /// Bytes to the host.
        sent: u64,
        /// Bytes from the host.
        received: u64,
        /// `done`, `stopped`, `idle`, `broken`, `unreachable`, `sent-limit` or `received-limit`.
        ended: String,
    },
    /// A gate decided.
    #[serde(rename = "gate.decided")]
    GateDecided {
        /// The attempt.
        step: StepRunId,
        /// The decision.
        decision: GateDecision,
    },
    /// The outcome leaf: this *is* the commit of the step attempt.
    #[serde(rename = "step.committed")]
    StepCommitted {
        /// The attempt.
        step: StepRunId,
        /// Key under which unchanged steps are found again.
        cache_key: Digest,
        /// Every artifact the step read.
        inputs: Vec<OutputRef>,
        /// Outputs.
        outputs: Vec<OutputRef>,
        /// SHA256(PAE) of the step's statements.
        statements: Vec<Digest>,
        /// The attempt whose committed outputs were reused, if the body did not run.
        reused_from: Option<StepRunId>,
    },
    /// A step ended without commit.
    #[serde(rename = "step.ended")]
    StepEnded {
        /// The attempt.
        step: StepRunId,
        /// `denied`, `failed`, `timed_out` or `cancelled`.
        state: String,
        /// Stable error code.
        error: String,
    },
    /// A model version entered the registry.
    #[serde(rename = "model.registered")]
    ModelRegistered {
        /// Model name.
        model: String,
        /// Version, counts from 1.
        version: u64,
        /// Artifact digest.
        digest: Digest,
        /// SHA256(PAE) of `model.sig`'s bundle.
        signature: Digest,
        /// SHA256(PAE) of the VSA.
        approval: Digest,
        /// The step attempt that produced the model.
        trained_by: StepRunId,
        /// The step attempt that validated it.
        validated_by: StepRunId,
    },
    /// An alias points somewhere new.
    #[serde(rename = "model.aliased")]
    ModelAliased {
        /// Model name.
        model: String,
        /// Alias.
        alias: String,
        /// Version.
        version: u64,
    },
    /// A deployment was recorded.
    #[serde(rename = "deployment.recorded")]
    DeploymentRecorded {
        /// Model name.
        model: String,
        /// Version.
        version: u64,
        /// Monotone release index.
        release: u64,
        /// For instance `pending-canary`.
        state: String,
        /// SHA256(PAE) of `deployment/v1`.
        statement: Digest,
    },
    /// A pin of the lock moved.
    #[serde(rename = "lock.updated")]
    LockUpdated {
        /// Pin name.
        pin: String,
        /// Digest of the new lock file.
        lock: Digest,
        /// What the pin says now; absent in leaves of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
        /// What it said before, if it was there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Digest>,
    },
    /// A key was created, rotated or revoked.
    #[serde(rename = "key.changed")]
    KeyChanged {
        /// Role.
        role: String,
        /// `created`, `rotated` or `revoked`.
        change: String,
        /// Key hint: hex(sha256(PEM)).
        key: String,
    },
    /// Somebody who may asked a run to stop: recorded before the run is told.
    #[serde(rename = "run.cancel_requested")]
    RunCancelRequested {
        /// The run.
        run: RunId,
    },
    /// A run ended.
    #[serde(rename = "run.ended")]
    RunEnded {
        /// The run.
        run: RunId,
        /// `succeeded`, `denied`, `failed` or `cancelled`.
        state: String,
        /// Who stopped it, if somebody did: the principal of the recorded request, `interrupt` (a signal to its own process), or
        /// `unrecorded`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancelled_by: Option<String>,
    },
}

impl EventKind {
    /// All codes, for documents and tests.
    pub const CODES: [&'static str; 17] = [
        "workspace.created",
        "run.started",
        "authorization.decided",
        "step.started",
        "egress.allowed",
        "egress.denied",
        "egress.closed",
        "gate.decided",
        "step.committed",
        "step.ended",
        "model.registered",
        "model.aliased",
        "deployment.recorded",
        "lock.updated",
        "key.changed",
        "run.cancel_requested",
        "run.ended",
    ];
}
