//! Waiting for sockets, with a deadline and a switch that ends every wait.
//!
//! in: a descriptor, what it is waited for; out: ready, or why not.
//! **Invariant:** no wait outlives its deadline or the switch.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its time is over.
    TooLate,
    /// The step is over.
    Stopped,
    /// The other side is gone, or the kernel refused.
    Broken,
}

/// The switch.
pub(super) struct Stop {
    on: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { on: AtomicBool::new(false), event: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub(super) fn set(&self) {
        self.on.store(true, Ordering::SeqCst);
        // a full counter wakes all the same, and the flag is what decides
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub(super) fn is_set(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Waits until one of these is ready, and says which are.
    pub(super) fn wait<const N: usize>(&self, wanted: [(BorrowedFd<'_>, PollFlags); N], until: Instant) -> Result<[bool; N], Ended> {
        loop {
            if self.is_set() {
                return Err(Ended::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Ended::TooLate);
            }
            // what is not wanted now is not looked at: a descriptor without flags would still tell of its end
            let mut set: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(self.event.as_fd(), PollFlags::IN)];
            set.extend(wanted.iter().filter(|(_, flags)| !flags.is_empty()).map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
            match rustix::event::poll(&mut set, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return Err(Ended::Broken),
            }
            let mut answers = set.iter().skip(1).map(|one| !one.revents().is_empty());
            let ready = wanted.map(|(_, flags)| !flags.is_empty() && answers.next().unwrap_or(false));
            if ready.contains(&true) {
                return Ok(ready);
            }
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

/// What a read or a write that may not block came to: some bytes, or none yet.
pub(super) fn unless_blocked(result: rustix::io::Result<usize>) -> Result<Option<usize>, Ended> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(_) => Err(Ended::Broken),
    }
}
