//! Where each run stands, rebuilt from the journal's records.
//!
//! in: records in order; out: [`RunState`] per run.
//! **Invariant:** what a step staged is kept through later attempts, since a finished body never runs again.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Attempt, RunId};
use serde::Serialize;
use serde_json::Value;

use super::record::{Record, State, StepName};
use crate::artifacts::digests_in;

/// Where a run stands.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// Data of its `RUN_STARTED` record; the newest, if it was resumed.
    pub started: Option<Value>,
    /// Data of its `RUN_ENDED` record; `None` while it is unfinished, and again after it was resumed.
    pub ended: Option<Value>,
    /// Its steps.
    #[serde(serialize_with = "by_name")]
    pub steps: BTreeMap<StepName, StepState>,
}

/// Where a step stands.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StepState {
    /// The state of the newest attempt.
    pub state: State,
    /// The newest attempt.
    pub attempt: Attempt,
    /// All attempts, oldest first.
    pub attempts: Vec<AttemptState>,
    /// The attempt whose body finished, and the data of its `STAGED` record.
    pub staged: Option<(Attempt, Value)>,
}

/// Where one attempt stands, or how it ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptState {
    /// Its number.
    pub attempt: Attempt,
    /// Its last state.
    pub state: State,
    /// When its last record was written, milliseconds since 1970, claimed.
    pub time_ms: u64,
    /// The data of each of its records.
    pub data: BTreeMap<State, Value>,
}

impl StepState {
    /// Whether the body has finished in some attempt and must not run again.
    #[must_use]
    pub const fn body_finished(&self) -> bool {
        self.staged.is_some()
    }

    /// The number that the next attempt gets.
    #[must_use]
    pub const fn next_attempt(&self) -> Attempt {
        self.attempt.saturating_add(1)
    }

    /// The data of the newest record of `state` in any attempt.
    #[must_use]
    pub fn data_of(&self, state: State) -> Option<&Value> {
        self.attempts.iter().rev().find_map(|attempt| attempt.data.get(&state))
    }
}

impl RunState {
    /// Rebuilds every run from the records of a journal.
    #[must_use]
    pub fn from_records(records: &[Record]) -> BTreeMap<RunId, Self> {
        let mut runs: BTreeMap<RunId, Self> = BTreeMap::new();
        for record in records {
            let run = runs.entry(record.run.clone()).or_insert_with(|| Self {
                run: record.run.clone(),
                started: None,
                ended: None,
                steps: BTreeMap::new(),
            });
            run.take(record);
        }
        runs
    }

    fn take(&mut self, record: &Record) {
        match (&record.step, record.state) {
            (None, State::RunStarted) => {
                self.started = Some(record.data.clone());
                self.ended = None;
            }
            (None, _) => self.ended = Some(record.data.clone()),
            (Some(name), state) => {
                let step = self.steps.entry(name.clone()).or_insert_with(|| StepState {
                    state,
                    attempt: record.attempt,
                    attempts: Vec::new(),
                    staged: None,
                });
                step.take(record);
            }
        }
    }

    /// Whether a `RUN_STARTED` stands without its `RUN_ENDED`.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }
}

impl StepState {
    fn take(&mut self, record: &Record) {
        self.state = record.state;
        self.attempt = record.attempt;
        if record.state == State::Staged {
            self.staged = Some((record.attempt, record.data.clone()));
        }
        if self.attempts.last().is_none_or(|last| last.attempt != record.attempt) {
            self.attempts.push(AttemptState {
                attempt: record.attempt,
                state: record.state,
                time_ms: record.time_ms,
                data: BTreeMap::new(),
            });
        }
        if let Some(last) = self.attempts.last_mut() {
            last.state = record.state;
            last.time_ms = record.time_ms;
            last.data.insert(record.state, record.data.clone());
        }
    }
}

/// What the records of unfinished runs name: `gc` must keep it although the log does not name it yet.
#[must_use]
pub fn unfinished_digests(records: &[Record]) -> BTreeSet<Digest> {
    let runs = RunState::from_records(records);
    let open = records.iter().filter(|record| runs.get(&record.run).is_some_and(|run| run.ended.is_none() || has_open_step(run)));
    open.flat_map(|record| digests_in(&record.data)).collect()
}

/// A denied or failed run can be continued from what it staged.
fn has_open_step(run: &RunState) -> bool {
    run.steps.values().any(|step| step.state != State::Committed && step.body_finished())
}

fn by_name<S: serde::Serializer>(steps: &BTreeMap<StepName, StepState>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(steps.iter().map(|(name, step)| (name.to_string(), step)))
}
