//! Scheduling: steps run as soon as the steps they need have committed, a few at a time.
//!
//! in: a run and what to do with one step; out: a result a step, in plan order.
//! **Invariant:** a step whose need did not commit is skipped; a cancelled run starts nothing new.
//! Threads, not an async runtime: a step is a process that is waited for, and there are never more than a few.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seaworthy_core::plan::PlannedStep;

use crate::error::EngineError;
use crate::progress::StepState;
use crate::run::RunContext;
use crate::turns;

/// How often a run looks whether somebody asked it to stop.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// How a step ended.
#[derive(Debug)]
pub(crate) struct StepResult {
    pub(crate) step: String,
    pub(crate) state: StepState,
    pub(crate) detail: String,
    pub(crate) error: Option<EngineError>,
}

type Attempted = (StepState, Option<EngineError>, String);

/// Where every step stands: not begun, taken by a thread, or ended.
enum Place {
    Waiting,
    Taken,
    Ended(Attempted),
}

struct Board {
    places: Mutex<Vec<Place>>,
    changed: Condvar,
}

/// Runs every step of the plan with `attempt`.
pub(crate) fn run_steps(run: &RunContext<'_>, attempt: impl Fn(&PlannedStep) -> Attempted + Sync) -> Vec<StepResult> {
    let steps = &run.plan.steps;
    let board = Board { places: Mutex::new(steps.iter().map(|_| Place::Waiting).collect()), changed: Condvar::new() };
    let threads = run.engine.settings.parallel_max.clamp(1, steps.len().max(1));
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = turns::begin(scope, || watch_for_cancel(run, &finished));
        turns::join((0..threads).map(|_| turns::begin(scope, || work(run, &board, &attempt))).collect());
        finished.store(true, Ordering::Release);
        watcher.wake();
        turns::join(vec![watcher]);
    });
    let places = board.places.into_inner().unwrap_or_else(PoisonError::into_inner);
    steps.iter().zip(places).map(|(planned, place)| result_of(planned, place)).collect()
}

/// One worker: takes ready steps until none is left.
fn work(run: &RunContext<'_>, board: &Board, attempt: &(impl Fn(&PlannedStep) -> Attempted + Sync)) {
    while let Some(index) = board.take_ready(run) {
        let Some(planned) = run.plan.steps.get(index) else { return };
        board.end(index, attempt(planned));
    }
}

/// `seaworthy runs cancel` of another process leaves a file of the run's name. Whoever left it, the run stops.
fn watch_for_cancel(run: &RunContext<'_>, finished: &AtomicBool) {
    let asked = run.engine.settings.cancel_dir.join(&run.id.0);
    while !finished.load(Ordering::Acquire) {
        if asked.exists() {
            run.cancel_as_asked();
            return;
        }
        turns::nap(CANCEL_POLL);
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step that may begin; waits for one; `None` when nothing is left.
    fn take_ready(&self, run: &RunContext<'_>) -> Option<usize> {
        let mut places = self.lock();
        loop {
            skip_hopeless(run, &mut places);
            let ready = run.plan.steps.iter().enumerate().position(|(index, planned)| {
                matches!(places.get(index), Some(Place::Waiting)) && planned.needs.iter().all(|need| committed(places.get(*need)))
            });
            if let Some(index) = ready {
                if let Some(place) = places.get_mut(index) {
                    *place = Place::Taken;
                }
                return Some(index);
            }
            if !places.iter().any(|place| matches!(place, Place::Waiting)) {
                self.changed.notify_all();
                return None;
            }
            places = turns::wait(&self.changed, &self.places, places);
        }
    }

    fn end(&self, index: usize, end: Attempted) {
        if let Some(place) = self.lock().get_mut(index) {
            *place = Place::Ended(end);
        }
        self.changed.notify_all();
    }
}

/// Ends every waiting step that can no longer begin.
fn skip_hopeless(run: &RunContext<'_>, places: &mut [Place]) {
    for (index, planned) in run.plan.steps.iter().enumerate() {
        if !matches!(places.get(index), Some(Place::Waiting)) {
            continue;
        }
        let lost = planned.needs.iter().any(|need| matches!(places.get(*need), Some(Place::Ended(_))) && !committed(places.get(*need)));
        let end = if run.cancel.is_cancelled() {
            Some((StepState::Cancelled, None, "the run was stopped before it began".to_owned()))
        } else if lost {
            Some((StepState::Skipped, None, "a step it needs did not commit".to_owned()))
        } else {
            None
        };
        if let (Some(end), Some(place)) = (end, places.get_mut(index)) {
            *place = Place::Ended(end);
        }
    }
}

fn committed(place: Option<&Place>) -> bool {
    matches!(place, Some(Place::Ended((StepState::Committed | StepState::Reused, _, _))))
}

fn result_of(planned: &PlannedStep, place: Place) -> StepResult {
    let step = planned.step.name.to_string();
    match place {
        Place::Ended((state, error, detail)) => StepResult { step, state, detail, error },
        Place::Waiting | Place::Taken => {
            let error = EngineError::internal("engine/thread", "the thread that ran this step died");
            StepResult { step, state: StepState::Failed, detail: String::new(), error: Some(error) }
        }
    }
}
