//! The way to one worker: bytes to it and from it, never longer than its time.
//!
//! in: a started worker, a job; out: bytes as the worker gives them, of which nothing is believed yet.
//! **Invariant:** every wait ends with the job's time, or with the wish to stop; what is received carries no descriptor.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;
use seaworthy_core::json_strict;
use seaworthy_core::ports::Job;
use seaworthy_core::worker::{WorkerFault, WorkerIsolation};
use seaworthy_sandbox::Exit;
use seaworthy_sandbox::worker::{WorkerProcess, send_descriptors};

use super::wire::{FRAME_HEAD_BYTES, Head, Hello, Kind};

/// How often the wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long a worker that says nothing more may take to end, so that it can be said how.
const GRACE: Duration = Duration::from_millis(500);
/// Bytes read ahead.
const AHEAD_BYTES: usize = 64 * 1024;

/// One worker that can be talked to.
pub(super) struct Line<'a> {
    /// None once it ended.
    pub(super) process: Option<WorkerProcess>,
    deadline: Instant,
    time: Duration,
    stop: &'a (dyn Fn() -> bool + Sync),
    ahead: Vec<u8>,
    at: usize,
}

impl<'a> Line<'a> {
    pub(super) fn to(process: WorkerProcess, deadline: Instant, time: Duration, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { process: Some(process), deadline, time, stop, ahead: Vec::new(), at: 0 }
    }

    /// What the worker says first: how far it is kept apart.
    pub(super) fn hello(&mut self) -> Result<WorkerIsolation, WorkerFault> {
        let mut head = [0; FRAME_HEAD_BYTES];
        // nothing is read ahead: the worker is handed on
        self.fill_exactly(&mut head)?;
        let length = match Kind::read(head) {
            Some((Kind::Hello, length)) => length,
            _ => return Err(WorkerFault::answer("it does not say how it is kept apart")),
        };
        let mut text = vec![0; length];
        self.fill_exactly(&mut text)?;
        let hello: Hello = json_strict::parse_typed(&text).map_err(|_| WorkerFault::answer("it cannot be read"))?;
        let process = self.process.as_ref().filter(|_| hello.system_calls > 0);
        let process = process.ok_or_else(|| WorkerFault::answer("it is not confined"))?;
        Ok(hello.with(process.namespaces(), process.has_own_user()))
    }

    /// Sends the request and its files.
    pub(super) fn ask(&mut self, number: u64, job: &Job<'_>) -> Result<(), WorkerFault> {
        let unasked = |cause: &dyn std::fmt::Display| WorkerFault::Unavailable {
            cause: format!("the request cannot be sent: {cause}"),
            hint: "split the data into fewer files".to_owned(),
        };
        if job.files.len() != job.request.files() {
            return Err(unasked(&"its files are not those that it names"));
        }
        let text = serde_json::to_vec(job.request).map_err(|error| unasked(&error))?;
        let head = Head { number, bytes: text.len(), files: job.files.len() }.write().ok_or_else(|| unasked(&"it is too long"))?;
        self.send(&head)?;
        if let Err(error) = send_descriptors(self.socket()?, job.files) {
            return Err(self.died().unwrap_or_else(|| unasked(&error)));
        }
        self.send(&text)
    }

    fn socket(&self) -> Result<BorrowedFd<'_>, WorkerFault> {
        self.process.as_ref().map(WorkerProcess::socket).ok_or_else(|| WorkerFault::Died { how: "has ended".to_owned() })
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), WorkerFault> {
        while !bytes.is_empty() {
            match rustix::net::send(self.socket()?, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    /// Exactly as many bytes as there is room for.
    pub(super) fn receive(&mut self, room: &mut [u8]) -> Result<(), WorkerFault> {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let ready = self.ahead.get(self.at..).unwrap_or_default();
            if ready.is_empty() && rest.len() >= AHEAD_BYTES {
                return self.fill_exactly(rest);
            }
            if ready.is_empty() {
                let mut ahead = std::mem::take(&mut self.ahead);
                ahead.resize(AHEAD_BYTES, 0);
                let count = self.fill(&mut ahead)?;
                ahead.truncate(count);
                (self.ahead, self.at) = (ahead, 0);
                continue;
            }
            let count = ready.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..count), ready.get(..count)) {
                to.copy_from_slice(from);
            }
            self.at += count;
            filled += count;
        }
        Ok(())
    }

    fn fill_exactly(&mut self, room: &mut [u8]) -> Result<(), WorkerFault> {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += self.fill(rest)?;
        }
        Ok(())
    }

    /// Some bytes, at least one.
    fn fill(&mut self, room: &mut [u8]) -> Result<usize, WorkerFault> {
        match self.read(room)? {
            0 => Err(self.lost()),
            count => Ok(count),
        }
    }

    /// Some bytes; 0 at the end.
    fn read(&mut self, room: &mut [u8]) -> Result<usize, WorkerFault> {
        loop {
            match rustix::net::recv(self.socket()?, &mut *room, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                // it left bytes unread that were sent to it
                Err(Errno::CONNRESET) => return Ok(0),
                Err(_) => return Err(self.lost()),
            }
        }
    }

    /// After its answer a worker says nothing more.
    pub(super) fn expect_end(&mut self) -> Result<(), WorkerFault> {
        let silent = self.at == self.ahead.len() && self.read(&mut [0])? == 0;
        if silent { Ok(()) } else { Err(WorkerFault::answer("it goes on after its answer")) }
    }

    fn wait(&self, for_what: PollFlags) -> Result<(), WorkerFault> {
        loop {
            if (self.stop)() {
                return Err(WorkerFault::Stopped);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WorkerFault::TimedOut { seconds: self.time.as_secs() });
            }
            let look = Timespec::try_from(left.min(LOOK)).map_err(|_| WorkerFault::TimedOut { seconds: self.time.as_secs() })?;
            let socket = self.socket()?;
            match poll(&mut [PollFd::new(&socket, for_what)], Some(&look)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(WorkerFault::Unavailable { cause: error.to_string(), hint: "run again".to_owned() }),
            }
        }
    }

    fn lost(&mut self) -> WorkerFault {
        self.died().unwrap_or_else(|| WorkerFault::Died { how: "has ended".to_owned() })
    }

    /// Ends it, and says how it died if it had by itself.
    fn died(&mut self) -> Option<WorkerFault> {
        let how = match self.process.take()?.end(GRACE).ok()? {
            Exit::Signal(signal) if signal == Signal::XCPU.as_raw() => "used up its processor time".to_owned(),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
            Exit::Code(code) => format!("ended with {code} before it answered"),
            other => format!("ended as {other:?}"),
        };
        Some(WorkerFault::Died { how })
    }
}
