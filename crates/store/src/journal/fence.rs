//! Fencing: who may still write about a step.
//!
//! in: the records so far and the next one; out: accepted, or refused with the reason.
//! **Invariant:** at most one attempt of a step commits, and an attempt that was overtaken can record nothing more.

use std::collections::BTreeMap;

use seaworthy_core::id::{Attempt, RunId};

use super::JournalError;
use super::record::{Record, State, StepName};
use crate::disk::{Mechanism, is_left_out};

type Newest = BTreeMap<(RunId, StepName), (Attempt, State)>;

/// The newest attempt and its state of every step of every run.
#[derive(Debug, Default)]
pub(super) struct Fence {
    newest: Newest,
}

/// What records that are not written yet would change.
#[derive(Debug, Default)]
pub(super) struct Pending(Newest);

impl Fence {
    /// Accepts `record` as the next one, or says why not.
    pub(super) fn admit(&mut self, record: &Record) -> Result<(), JournalError> {
        let mut pending = Pending::default();
        self.check(record, &mut pending)?;
        self.settle(pending);
        Ok(())
    }

    /// Makes what was checked the state of affairs.
    pub(super) fn settle(&mut self, pending: Pending) {
        self.newest.extend(pending.0);
    }

    /// The same for a record that comes after those in `pending`.
    pub(super) fn check(&self, record: &Record, pending: &mut Pending) -> Result<(), JournalError> {
        let Some(name) = &record.step else {
            return if record.state.is_run_level() { Ok(()) } else { Err(refused(record, "a step's state needs a step")) };
        };
        if record.state.is_run_level() {
            return Err(refused(record, "a run's state has no step"));
        }
        let key = (record.run.clone(), name.clone());
        if is_left_out(Mechanism::Fence) {
            pending.0.insert(key, (record.attempt, record.state));
            return Ok(());
        }
        if let Some((attempt, state)) = pending.0.get(&key).or_else(|| self.newest.get(&key)) {
            if *state == State::Committed {
                return Err(refused(record, &format!("attempt {attempt} has committed")));
            }
            if record.attempt < *attempt {
                return Err(refused(record, &format!("attempt {attempt} has begun")));
            }
            if record.attempt == *attempt && (state.is_final() || record.state <= *state) {
                return Err(refused(record, &format!("it has reached {state} already")));
            }
        }
        pending.0.insert(key, (record.attempt, record.state));
        Ok(())
    }
}

fn refused(record: &Record, reason: &str) -> JournalError {
    JournalError::Fenced {
        run: record.run.to_string(),
        step: record.step.as_ref().map_or_else(String::new, ToString::to_string),
        attempt: record.attempt,
        state: record.state,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_core::id::Name;
    use serde_json::Value;

    use super::*;

    fn record(attempt: Attempt, state: State) -> Record {
        let step = StepName { workflow: Name::new("w").unwrap(), step: Name::new("s").unwrap() };
        Record { seq: 0, time_ms: 0, run: RunId("r1".into()), step: Some(step), attempt, state, data: Value::Null }
    }

    #[test]
    fn states_only_go_forward_and_overtaken_attempts_are_refused() {
        use State::{Attested, Authorized, Cancelled, Committed, Denied, Failed, Gated, Planned, Staged, Started};
        let good: [&[(Attempt, State)]; 5] = [
            &[(0, Planned), (1, Authorized), (1, Started), (1, Staged), (1, Attested), (1, Gated), (1, Committed)],
            &[(0, Planned), (1, Committed)],
            &[(1, Started), (2, Authorized), (2, Committed)],
            &[(1, Staged), (1, Attested), (1, Denied), (2, Gated), (2, Committed)],
            &[(1, Started), (1, Failed), (2, Started), (2, Cancelled)],
        ];
        for story in good {
            let mut fence = Fence::default();
            for (attempt, state) in story {
                fence.admit(&record(*attempt, *state)).unwrap();
            }
        }
        let bad: [&[(Attempt, State)]; 7] = [
            &[(1, Authorized), (1, Authorized)],
            &[(1, Staged), (1, Started)],
            &[(2, Authorized), (1, Staged)],
            &[(1, Committed), (1, Failed)],
            &[(1, Committed), (2, Authorized)],
            &[(1, Failed), (1, Cancelled)],
            &[(1, State::RunStarted)],
        ];
        for story in bad {
            let mut fence = Fence::default();
            let (last, before) = story.split_last().unwrap();
            for (attempt, state) in before {
                fence.admit(&record(*attempt, *state)).unwrap();
            }
            assert_eq!(fence.admit(&record(last.0, last.1)).unwrap_err().code(), "journal/fenced", "{story:?}");
        }
    }
}
