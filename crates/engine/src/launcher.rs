//! The port behind which the bodies of steps run.
//!
//! in: an attempt and what the sandbox shall do for it; out: what came of it. The product has one [`Launcher`], the sandbox; the
//! simulator's plays bodies without a process, and can die at any point of one.
//! **Invariant:** the engine starts the body of a step here and nowhere else.

use seaworthy_core::id::StepRunId;
use seaworthy_sandbox::{Cancel, Outcome, SandboxError, Spec, Ways};

/// Runs the bodies of steps.
pub trait Launcher: Send + Sync {
    /// Runs `spec` to its end for the attempt `id`, with these ways in and out. However it is left, nothing of the body is alive any more.
    fn launch(&self, id: &StepRunId, spec: Spec, ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError>;
}

/// The sandbox.
#[derive(Debug, Clone, Copy)]
pub struct SandboxLauncher;

impl Launcher for SandboxLauncher {
    fn launch(&self, _id: &StepRunId, spec: Spec, ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError> {
        seaworthy_sandbox::run_with(spec, ways, cancel)
    }
}
