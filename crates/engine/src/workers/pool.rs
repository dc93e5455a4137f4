//! The pool: starts workers before they are needed, gives each one job, and believes nothing it says before it was checked.
//!
//! in: [`Job`]; out: parts as they come, then an [`Answer`] that fits its request, or a [`WorkerFault`].
//! **Invariant:** every wait has an end: the job's time, or the wish to stop.
//! **Invariant:** whatever way a job is left, its worker is dead.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seaworthy_core::json_strict;
use seaworthy_core::ports::{Job, Workers, Working};
use seaworthy_core::worker::{Reply, Request, WorkerFault, WorkerIsolation};
use seaworthy_sandbox::SandboxError;
use seaworthy_sandbox::worker::WorkerProcess;

use super::line::Line;
use super::wire::{Answered, FRAME_HEAD_BYTES, Kind};

/// Workers that may wait for work.
const SPARES_MAX: usize = 8;
/// Workers that may die in a row before they had anything to read.
const TRIES: u32 = 3;
/// How long a worker may take to be confined.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// The time of a job whose own no clock can hold.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

type Started = Result<WorkerProcess, SandboxError>;

/// Starts workers and gives them work.
#[derive(Debug, Default)]
pub struct Pool {
    state: Mutex<State>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// A thread that does nothing but start workers: they end with it.
    keeper: Option<Sender<Sender<Started>>>,
    spares: VecDeque<Receiver<Started>>,
    isolation: Option<WorkerIsolation>,
}

impl Pool {
    /// None is started before it is needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that said how far it is kept apart. One that died before it had anything to read says nothing about a file.
    fn take(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<WorkerProcess, WorkerFault> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.take_one(stop) {
                Err(fault) if tried < TRIES && fault != WorkerFault::Stopped => {}
                taken => return taken,
            }
        }
    }

    fn take_one(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<WorkerProcess, WorkerFault> {
        let spare = {
            let mut state = self.state();
            if state.spares.is_empty() {
                state.order()?;
            }
            state.spares.pop_front()
        };
        let started = spare.and_then(|spare| spare.recv().ok());
        let started = started.ok_or_else(|| unavailable("whoever starts workers is gone", "run again"))?;
        let process = started.map_err(|error| unavailable(error.to_string(), error.hint()))?;
        let deadline = Instant::now() + START_TIME_MAX;
        let mut line = Line::to(process, deadline, START_TIME_MAX, stop);
        let isolation = line.hello().map_err(|fault| match fault {
            WorkerFault::Stopped => fault,
            fault => unavailable(fault.to_string(), "`seaworthy sandbox selftest` says what this machine can confine"),
        })?;
        let mut state = self.state();
        let weakest = state.isolation.as_ref().map_or_else(|| isolation.clone(), |before| before.weaker(&isolation));
        state.isolation = Some(weakest);
        drop(state);
        line.process.take().ok_or_else(|| unavailable("it is gone", "run again"))
    }
}

impl State {
    /// Has one more started.
    fn order(&mut self) -> Result<(), WorkerFault> {
        let (started, spare) = channel();
        let gone = |_| unavailable("no thread can start them", "run again");
        let refused = match &self.keeper {
            Some(keeper) => keeper.send(started).err().map(|refused| refused.0),
            None => Some(started),
        };
        if let Some(started) = refused {
            let keeper = keep().map_err(|error| unavailable(error.to_string(), "raise the limit of threads"))?;
            keeper.send(started).map_err(gone)?;
            self.keeper = Some(keeper);
        }
        self.spares.push_back(spare);
        Ok(())
    }
}

/// The thread that starts workers, until nobody is left who could want one.
fn keep() -> io::Result<Sender<Sender<Started>>> {
    let (orders, wanted) = channel::<Sender<Started>>();
    std::thread::Builder::new().name("workers".to_owned()).spawn(move || {
        for order in wanted {
            // whoever ordered it may be gone: then it ends at once
            let _ = order.send(WorkerProcess::start());
        }
    })?;
    Ok(orders)
}

fn unavailable(cause: impl Into<String>, hint: impl Into<String>) -> WorkerFault {
    WorkerFault::Unavailable { cause: cause.into(), hint: hint.into() }
}

impl Workers for Pool {
    fn prepare(&self, count: usize) {
        let mut state = self.state();
        while state.spares.len() < count.min(SPARES_MAX) {
            // whoever needs one is told why there is none
            if state.order().is_err() {
                return;
            }
        }
    }

    fn begin<'a>(&self, job: &Job<'a>) -> Result<Box<dyn Working + 'a>, WorkerFault> {
        let process = self.take(job.stop)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let deadline = now.checked_add(job.time_max).unwrap_or(now + TIME_MAX);
        let mut line = Line::to(process, deadline, job.time_max, job.stop);
        line.ask(number, job)?;
        Ok(Box::new(Work { line, number, request: job.request }))
    }

    fn isolation(&self) -> Option<WorkerIsolation> {
        self.state().isolation.clone()
    }
}

/// One worker at its job.
struct Work<'a> {
    line: Line<'a>,
    number: u64,
    request: &'a Request,
}

impl Working for Work<'_> {
    fn next(&mut self, part: &mut Vec<u8>) -> Result<Reply, WorkerFault> {
        let mut head = [0; FRAME_HEAD_BYTES];
        self.line.receive(&mut head)?;
        let (kind, length) = Kind::read(head).ok_or_else(|| WorkerFault::answer("it is of no known kind, or too long"))?;
        part.clear();
        part.resize(length, 0);
        self.line.receive(part)?;
        match kind {
            Kind::Part(kind) => Ok(Reply::Part(kind)),
            Kind::Hello => Err(WorkerFault::answer("it greets twice")),
            Kind::Answer => {
                let answered: Answered = json_strict::parse_typed(part).map_err(|_| WorkerFault::answer("it cannot be read"))?;
                if answered.number != self.number {
                    return Err(WorkerFault::answer("it answers another request"));
                }
                answered.answer.fits(self.request).map_err(WorkerFault::answer)?;
                self.line.expect_end()?;
                Ok(Reply::Answer(answered.answer))
            }
        }
    }
}
