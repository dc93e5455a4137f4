//! Passing bytes on in both directions.
//!
//! in: two connected sockets, the client's first bytes; out: how many bytes went each way, and why it ended.
//! **Invariant:** memory is two buffers; a side that does not read stops its own direction alone; the bounds hold for all connections
//! of the step together, to the byte.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{SendFlags, Shutdown};
use seaworthy_core::limits;

use super::Bounds;
use super::wait::{Ended, Stop, unless_blocked};

const BUFFER_BYTES: usize = 32 * 1024;

pub(super) struct Relay<'a> {
    pub(super) client: &'a OwnedFd,
    pub(super) server: &'a OwnedFd,
    pub(super) stop: &'a Stop,
    pub(super) bounds: Bounds,
    /// Of the whole step.
    pub(super) sent: &'a AtomicU64,
    pub(super) received: &'a AtomicU64,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relayed {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) ended: &'static str,
}

impl Relayed {
    pub(super) const fn unused(ended: &'static str) -> Self {
        Self { sent: 0, received: 0, ended }
    }
}

/// One direction.
struct Lane<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    total: &'a AtomicU64,
    most: u64,
    /// Why it ends when it has passed all it may.
    over: &'static str,
    waiting: Vec<u8>,
    passed: u64,
    /// The writer has ended.
    at_end: bool,
    /// And the reader knows.
    is_done: bool,
}

impl Lane<'_> {
    /// What it waits for: its reader or its writer.
    fn wants(&self) -> [PollFlags; 2] {
        match (self.is_done, self.waiting.is_empty(), self.at_end) {
            (true, ..) | (_, true, true) => [PollFlags::empty(); 2],
            (_, false, _) => [PollFlags::empty(), PollFlags::OUT],
            (_, true, false) => [PollFlags::IN, PollFlags::empty()],
        }
    }

    /// Takes what is there, within what the step may still pass.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), &'static str> {
        match unless_blocked(rustix::io::read(self.from, &mut *buffer)) {
            Ok(Some(0)) => self.at_end = true,
            Ok(Some(length)) => {
                let more = u64::try_from(length).unwrap_or(u64::MAX);
                self.take(more)?;
                self.waiting.extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
            Ok(None) => {}
            Err(_) => return Err("broken"),
        }
        Ok(())
    }

    /// Counts before passing: what would go beyond the bound goes nowhere.
    fn take(&self, more: u64) -> Result<(), &'static str> {
        let fits = |now: u64| now.checked_add(more).filter(|sum| *sum <= self.most);
        self.total.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).map(drop).map_err(|_| self.over)
    }

    fn write(&mut self) -> Result<(), &'static str> {
        let sent = unless_blocked(rustix::net::send(self.to, &self.waiting, SendFlags::NOSIGNAL)).map_err(|_| "broken")?;
        if let Some(length) = sent {
            self.waiting.drain(..length);
            self.passed += u64::try_from(length).unwrap_or(0);
        }
        Ok(())
    }

    /// Tells the reader of the writer's end, once everything is passed.
    fn end(&mut self) {
        if self.at_end && self.waiting.is_empty() && !self.is_done {
            self.is_done = true;
            // a reader that is gone knows already
            let _ = rustix::net::shutdown(self.to, Shutdown::Write);
        }
    }
}

impl Relay<'_> {
    pub(super) fn run(&self, hello: Vec<u8>) -> Relayed {
        let lane = |from, to, total, most, over| Lane {
            from,
            to,
            total,
            most,
            over,
            waiting: Vec::new(),
            passed: 0,
            at_end: false,
            is_done: false,
        };
        let mut out = lane(self.client, self.server, self.sent, self.bounds.sent, "sent-limit");
        let mut back = lane(self.server, self.client, self.received, self.bounds.received, "received-limit");
        let first = out.take(u64::try_from(hello.len()).unwrap_or(u64::MAX));
        out.waiting = hello;
        let ended = first.and_then(|()| self.pass(&mut out, &mut back)).err().unwrap_or("done");
        Relayed { sent: out.passed, received: back.passed, ended }
    }

    fn pass(&self, out: &mut Lane<'_>, back: &mut Lane<'_>) -> Result<(), &'static str> {
        let mut buffer = vec![0u8; BUFFER_BYTES];
        loop {
            let (client, server) = (self.client.as_fd(), self.server.as_fd());
            let ([read_out, write_out], [read_back, write_back]) = (out.wants(), back.wants());
            let wanted = [(client, read_out | write_back), (server, write_out | read_back)];
            if wanted.iter().all(|(_, flags)| flags.is_empty()) {
                return Ok(());
            }
            let until = Instant::now() + Duration::from_secs(limits::EGRESS_IDLE_S_MAX);
            let [client_ready, server_ready] = self.stop.wait(wanted, until).map_err(|ended| match ended {
                Ended::TooLate => "idle",
                Ended::Stopped => "stopped",
                Ended::Broken => "broken",
            })?;
            if client_ready {
                pump(out, back, &mut buffer)?;
            }
            if server_ready {
                pump(back, out, &mut buffer)?;
            }
            out.end();
            back.end();
        }
    }
}

/// A socket is ready: it is read for one lane, written for the other; neither blocks.
fn pump(reading: &mut Lane<'_>, writing: &mut Lane<'_>, buffer: &mut [u8]) -> Result<(), &'static str> {
    if !reading.wants()[0].is_empty() {
        reading.read(buffer)?;
    }
    if !writing.wants()[1].is_empty() {
        writing.write()?;
    }
    Ok(())
}
