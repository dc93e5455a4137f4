//! Whose turn it is: the threads of all simulated processes work one at a time, in an order that follows from the seed.
//!
//! in: threads that begin, wait and end; out: the one that goes on. Every port of a process is a place where another one may go on.
//! **Invariant:** exactly one thread works, and the same seed chooses the same ones.
//! **Invariant:** nobody gives up the turn while it holds a lock of the store: ports are called without one, or do not pass.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seaworthy_engine::turns::{Enter, Turns};

use crate::disk::Lane;
use crate::random::Random;

/// All threads of a story.
pub(crate) struct Order {
    state: Mutex<State>,
}

struct State {
    random: Random,
    places: Vec<Place>,
    current: Option<usize>,
}

struct Place {
    called: Arc<Condvar>,
    ended: bool,
    /// It waits for another one, or for time to pass.
    asleep: bool,
    lane: Arc<Lane>,
    process: usize,
}

/// What one process knows of the order.
pub(crate) struct Under {
    order: Arc<Order>,
    lane: Arc<Lane>,
    process: usize,
}

thread_local! {
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Order {
    pub(crate) fn new(random: Random) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { random, places: Vec::new(), current: None }) })
    }

    /// The order, for a process.
    pub(crate) fn under(self: &Arc<Self>, lane: &Arc<Lane>, process: usize) -> Arc<Under> {
        Arc::new(Under { order: self.clone(), lane: lane.clone(), process })
    }

    /// Lets the first thread go on: all that begin with the story have their places.
    pub(crate) fn go(&self) {
        let mut state = self.lock();
        state.choose();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, place: usize, mut state: MutexGuard<'_, State>) {
        while state.current != Some(place) {
            let called = state.places[place].called.clone();
            state = called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.places[place].asleep = false;
    }
}

impl State {
    /// The next one: those who wait are looked at now and then, and when nobody else is there.
    fn choose(&mut self) {
        let there = |asleep: bool| -> Vec<usize> {
            let fits = |(_, place): &(usize, &Place)| !place.ended && (asleep || !place.asleep);
            self.places.iter().enumerate().filter(fits).map(|(at, _)| at).collect()
        };
        let (awake, all) = (there(false), there(true));
        let among = if awake.is_empty() || self.random.one_in(8) { all } else { awake };
        let chosen = among.get(self.random.below(among.len() as u64) as usize).copied();
        self.current = chosen;
        if let Some(place) = chosen {
            self.places[place].called.notify_one();
        }
    }
}

impl Under {
    /// Another process or thread may go on here; the seed says whether one does.
    pub(crate) fn perhaps_pass(&self, one_in: u64) {
        let passes = self.order.lock().random.one_in(one_in);
        if passes {
            self.pass(Duration::ZERO);
        }
    }

    /// One of `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.order.lock().random.below(bound)
    }

    /// Bytes.
    pub(crate) fn bytes(&self, count: usize) -> Vec<u8> {
        self.order.lock().random.bytes(count)
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Begins the first thread of a process, which has its `place` already.
    pub(crate) fn enter(self: &Arc<Self>, place: usize) -> Entered {
        let under = Enter::new(self.clone() as Arc<dyn Turns>);
        self.begin(place);
        Entered { of: self.clone(), place, _under: under }
    }
}

/// The turns of a process' first thread; over when it is dropped.
pub(crate) struct Entered {
    of: Arc<Under>,
    place: usize,
    _under: Enter,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.of.end(self.place);
    }
}

impl Turns for Under {
    fn thread(&self) -> usize {
        let mut state = self.order.lock();
        let (lane, process) = (self.lane.clone(), self.process);
        state.places.push(Place { called: Arc::default(), ended: false, asleep: false, lane, process });
        state.places.len() - 1
    }

    fn begin(&self, place: usize) {
        PLACE.set(Some(place));
        let state = self.order.lock();
        debug_assert_eq!(state.places[place].process, self.process);
        // the thread ends with the story: what it entered is not left before
        std::mem::forget(seaworthy_store::disk::Enter::new(state.places[place].lane.clone()));
        self.order.wait_for(place, state);
    }

    fn end(&self, place: usize) {
        let mut state = self.order.lock();
        state.places[place].ended = true;
        state.choose();
    }

    fn has_ended(&self, place: usize) -> bool {
        self.order.lock().places[place].ended
    }

    fn pass(&self, time: Duration) {
        let Some(place) = PLACE.get() else { return };
        let mut state = self.order.lock();
        state.places[place].asleep = !time.is_zero();
        state.choose();
        self.order.wait_for(place, state);
    }
}
