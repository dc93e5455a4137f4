//! Trying a step again: only for a cause that it declares, and not before it has waited.
//!
//! in: how an attempt ended, and how many ended before it; out: the wait before the next one, or that there is none.
//! **Invariant:** an attempt's end is recorded before the next begins, and every attempt has a number of its own.
//! **Invariant:** a run that is stopped waits no longer.

use std::time::Duration;

use seaworthy_core::plan::PlannedStep;
use seaworthy_sandbox::Cancel;

use crate::error::EngineError;
use crate::turns;

/// How often a wait looks whether the run was stopped.
const POLL: Duration = Duration::from_millis(100);

/// How long to wait before the next attempt, if there is one, after `failed` of them.
pub(crate) fn wait_before_next(planned: &PlannedStep, error: &EngineError, failed: u32) -> Option<Duration> {
    let retries = planned.step.retries.as_ref()?;
    retries.wait_s(error.retry?, failed).map(Duration::from_secs)
}

/// Whether an earlier process of this run tried as often as the step allows; the last end was recorded, the run's end was not. A step
/// without `retries` says nothing of repeating it: whoever resumes its run wants it tried again.
pub(crate) fn is_used_up(planned: &PlannedStep, failed: u32) -> bool {
    planned.step.retries.as_ref().is_some_and(|retries| failed > retries.max)
}

/// The last allowed attempt failed before the run was interrupted.
pub(crate) fn used_up(planned: &PlannedStep, failed: u32) -> EngineError {
    let message = format!("`{}` failed {failed} times in this run, as often as its `retries` allow", planned.step.name);
    EngineError::body("step/retries-used", message, "mend the program and run again: a new run tries anew")
}

/// Waits; false if the run was stopped meanwhile.
pub(crate) fn wait(cancel: &Cancel, time: Duration) -> bool {
    let mut left = time;
    while !cancel.is_cancelled() {
        if left.is_zero() {
            return true;
        }
        let nap = left.min(POLL);
        turns::sleep(nap);
        left = left.saturating_sub(nap);
    }
    false
}

/// Stopped between two attempts.
pub(crate) fn stopped(planned: &PlannedStep) -> EngineError {
    let message = format!("`{}` was stopped while it waited for its next attempt", planned.step.name);
    EngineError::body("step/cancelled", message, "run again to continue")
}
