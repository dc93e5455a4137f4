//! The one place in which a run begins threads, waits for them, and waits for time to pass.
//!
//! in: work; out: the same on threads of the system. With the feature `simulate` (tests alone) a thread may stand under [`Turns`]: then
//! every thread that it begins does too, and of all of them exactly one works at a time, the one whose turn it is.
//! **Invariant:** without simulated turns these are the calls of the standard library themselves.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

#[cfg(feature = "simulate")]
pub use simulated::{Enter, Turns};

/// A thread that was begun.
pub(crate) struct Begun<'scope> {
    handle: ScopedJoinHandle<'scope, ()>,
    #[cfg(feature = "simulate")]
    place: Option<usize>,
}

/// Begins a thread.
pub(crate) fn begin<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) -> Begun<'scope> {
    #[cfg(feature = "simulate")]
    if let Some(turns) = simulated::entered() {
        let place = turns.thread();
        let handle = scope.spawn(move || {
            let _under = Enter::new(turns.clone());
            let _turn = simulated::Turn::begin(turns, place);
            work();
        });
        return Begun { handle, place: Some(place) };
    }
    let disk = seaworthy_store::disk::inherit();
    Begun {
        handle: scope.spawn(move || disk.work(work)),
        #[cfg(feature = "simulate")]
        place: None,
    }
}

/// Waits until all of them have ended, however they did: who began them sees what they left undone.
pub(crate) fn join(begun: Vec<Begun<'_>>) {
    #[cfg(feature = "simulate")]
    if let Some(turns) = simulated::entered() {
        while begun.iter().filter_map(|begun| begun.place).any(|place| !turns.has_ended(place)) {
            turns.pass(simulated::MOMENT);
        }
    }
    for begun in begun {
        drop(begun.handle.join());
    }
}

impl Begun<'_> {
    /// Ends its [`nap`].
    pub(crate) fn wake(&self) {
        self.handle.thread().unpark();
    }
}

/// Waits on `changed`, without the lock on `mutex`.
pub(crate) fn wait<'a, T>(changed: &Condvar, mutex: &'a Mutex<T>, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    #[cfg(feature = "simulate")]
    if let Some(turns) = simulated::entered() {
        drop(guard);
        turns.pass(simulated::MOMENT);
        return mutex.lock().unwrap_or_else(PoisonError::into_inner);
    }
    _ = mutex;
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits so long, or until somebody wakes this thread.
pub(crate) fn nap(time: Duration) {
    #[cfg(feature = "simulate")]
    if let Some(turns) = simulated::entered() {
        return turns.pass(time);
    }
    std::thread::park_timeout(time);
}

/// Waits so long.
pub(crate) fn sleep(time: Duration) {
    #[cfg(feature = "simulate")]
    if let Some(turns) = simulated::entered() {
        return turns.pass(time);
    }
    std::thread::sleep(time);
}

#[cfg(feature = "simulate")]
mod simulated {
    //! The seam itself: whose turn it is, of the threads under one simulation.

    use std::cell::RefCell;
    use std::sync::Arc;
    use std::time::Duration;

    /// How long a thread that waits for another looks away.
    pub(super) const MOMENT: Duration = Duration::from_millis(1);

    /// Who works when.
    pub trait Turns: Send + Sync {
        /// A place for a thread that is about to begin.
        fn thread(&self) -> usize;
        /// Called by the thread itself: returns when its first turn comes.
        fn begin(&self, place: usize);
        /// It has done its work.
        fn end(&self, place: usize);
        /// Whether it has.
        fn has_ended(&self, place: usize) -> bool;
        /// Lets others work; returns when it is this thread's turn again, not before `time` has passed if that is more than none.
        fn pass(&self, time: Duration);
    }

    /// The time in which a thread works, ended however it ends.
    pub(super) struct Turn {
        turns: Arc<dyn Turns>,
        place: usize,
    }

    impl Turn {
        pub(super) fn begin(turns: Arc<dyn Turns>, place: usize) -> Self {
            turns.begin(place);
            Self { turns, place }
        }
    }

    impl Drop for Turn {
        fn drop(&mut self) {
            self.turns.end(self.place);
        }
    }

    thread_local! {
        static ENTERED: RefCell<Option<Arc<dyn Turns>>> = const { RefCell::new(None) };
    }

    /// As long as it lives, the calling thread works when `turns` says.
    pub struct Enter {
        before: Option<Arc<dyn Turns>>,
    }

    impl Enter {
        /// Puts the calling thread under `turns`.
        #[must_use]
        pub fn new(turns: Arc<dyn Turns>) -> Self {
            Self { before: ENTERED.with(|entered| entered.borrow_mut().replace(turns)) }
        }
    }

    impl Drop for Enter {
        fn drop(&mut self) {
            let before = self.before.take();
            ENTERED.with(|entered| *entered.borrow_mut() = before);
        }
    }

    pub(super) fn entered() -> Option<Arc<dyn Turns>> {
        ENTERED.with(|entered| entered.borrow().clone())
    }
}
