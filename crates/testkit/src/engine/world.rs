//! What outlives every process of a story, and what it must never see: bodies launched twice, steps committed twice, words taken back.
//!
//! in: what processes do and are told; out: the first broken promise.
//! **Invariant:** what is kept here was seen from outside the engine: a launch, a word to the user, a leaf of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use seaworthy_core::digest::Digest;
use seaworthy_core::id::StepRunId;

use crate::simulation::Violation;

/// A body: its step, and what it was shown.
pub(crate) type Body = (String, Digest);

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct World {
    seen: Mutex<Seen>,
    clock_ms: AtomicU64,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Attempts whose bodies were launched.
    pub(crate) launched: BTreeSet<String>,
    /// How often each body ran to a good end.
    pub(crate) ended_well: BTreeMap<Body, u64>,
    /// Which body each step of a run ran.
    pub(crate) bodies: BTreeMap<(String, String), Body>,
    /// Steps of runs that were told to have finished: their outputs are durable.
    pub(crate) finished: BTreeSet<(String, String)>,
    /// Attempts that were told to have committed.
    pub(crate) committed: BTreeSet<(String, String, u32)>,
    /// Runs that were told to have ended.
    pub(crate) ended: BTreeMap<String, String>,
    /// Leaves that a reader has seen.
    pub(crate) leaves: Vec<Vec<u8>>,
    /// Bodies alive when their process was killed.
    pub(crate) killed_alive: u64,
    /// The first promise that was broken.
    pub(crate) broken: Option<Violation>,
}

/// What had finished when a process began.
#[derive(Default)]
pub(crate) struct Known {
    /// Runs and steps of the STAGED records on the disk.
    pub(crate) steps: BTreeSet<(String, String)>,
    /// Bodies that were told of, in whatever run, and may be reused.
    pub(crate) bodies: BTreeSet<Body>,
}

impl World {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time, which goes on a little whenever somebody looks.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock_ms.fetch_add(1, Ordering::Relaxed)
    }

    /// A clock that jumps, also back.
    pub(crate) fn set_clock(&self, now_ms: u64) {
        self.clock_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Seen {
    pub(crate) fn broken(&mut self, promise: &'static str, found: String) {
        self.broken.get_or_insert(Violation { promise, found });
    }

    /// The bodies that were told to have finished, of steps that may be reused by other runs.
    pub(crate) fn finished_bodies(&self, reusable: &dyn Fn(&str) -> bool) -> BTreeSet<Body> {
        let known = self.finished.iter().filter(|(_, step)| reusable(step));
        known.filter_map(|step| self.bodies.get(step)).cloned().collect()
    }

    /// A body is about to begin, in a process that found `known` when it began.
    pub(crate) fn launch(&mut self, id: &StepRunId, body: &Body, known: &Known) {
        let step = (id.run.0.clone(), id.step.to_string());
        if self.finished.contains(&step) || known.steps.contains(&step) || known.bodies.contains(body) {
            self.broken("a finished body never runs again", id.to_string());
        }
        self.bodies.insert(step, body.clone());
        if !self.launched.insert(id.to_string()) {
            self.broken("every launch is an attempt of its own", id.to_string());
        }
    }
}
