//! A wheel as workers read it: one lists it, another one unpacks it.
//!
//! in: a stored wheel; out: [`WorkedWheel`], whose listing and content come from processes that can do nothing else.
//! **Invariant:** no byte of the archive is parsed in this process; what comes back is held to names, sizes and digests as before.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd as _;
use std::time::Duration;

use seaworthy_core::limits::WORKER_TIME_S_DEFAULT;
use seaworthy_core::ports::{Job, Workers, Working};
use seaworthy_core::worker::{Answer, PartKind, Reply, Request, WorkerFault, words};
use seaworthy_store::artifacts::Artifacts;

use super::cache::StoredWheel;
use super::error::EnvironmentError;
use super::wheel::{Contents, TakeFile, Wheel, WheelListing};
use crate::workers::SendPart;

const CHUNK_BYTES: usize = 256 * 1024;

/// In the worker: sends the content of every file, each after its place among them.
pub(crate) fn send_content<R: Read + Seek>(wheel: &mut Wheel<R>, send: SendPart<'_>) -> Result<(), EnvironmentError> {
    let name = wheel.name().to_owned();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut place = 0_u32;
    wheel.each(&mut |file, content| {
        let failed = |error: io::Error| EnvironmentError::wheel(&name, error.to_string());
        send(PartKind::Entry, &place.to_be_bytes()).map_err(failed)?;
        place = place.saturating_add(1);
        // one byte more than promised is enough to see that there is more
        let mut content = content.take(file.size.saturating_add(1));
        loop {
            let count = content.read(&mut buffer).map_err(failed)?;
            match buffer.get(..count) {
                Some(chunk) if !chunk.is_empty() => send(PartKind::Content, chunk).map_err(failed)?,
                _ => return Ok(()),
            }
        }
    })
}

/// A wheel in the store, listed by a worker.
pub(super) struct WorkedWheel<'a> {
    wheel: &'a StoredWheel,
    file: File,
    listing: WheelListing,
    workers: &'a dyn Workers,
}

impl<'a> WorkedWheel<'a> {
    /// Has a worker list it; its hash is checked meanwhile, before the worker sees a byte.
    pub(super) fn open(wheel: &'a StoredWheel, artifacts: &Artifacts, workers: &'a dyn Workers) -> Result<Self, EnvironmentError> {
        workers.prepare(1);
        let file = artifacts.verified_file(&wheel.digest)?;
        let request = request(wheel, false);
        let descriptors = [file.as_fd()];
        let answer = workers.work(&job(&request, &descriptors)).map_err(|fault| failed(wheel, fault))?;
        let listing = match answer {
            Answer::Wheel { files } => WheelListing::of_worker(&wheel.file, files)?,
            Answer::Refused { message, .. } => return Err(EnvironmentError::wheel(&wheel.file, words(&message))),
            _ => return Err(EnvironmentError::wheel(&wheel.file, "the worker that read it listed nothing")),
        };
        Ok(Self { wheel, file, listing, workers })
    }

    pub(super) fn listing(&self) -> &WheelListing {
        &self.listing
    }
}

fn request(wheel: &StoredWheel, content: bool) -> Request {
    Request::Wheel { file: wheel.file.clone(), bytes: wheel.size, content }
}

fn job<'a>(request: &'a Request, files: &'a [std::os::fd::BorrowedFd<'a>]) -> Job<'a> {
    Job { request, files, time_max: Duration::from_secs(WORKER_TIME_S_DEFAULT), stop: &|| false }
}

fn failed(wheel: &StoredWheel, fault: WorkerFault) -> EnvironmentError {
    EnvironmentError::Worker { what: format!("wheel `{}`", wheel.file), fault }
}

impl Contents for WorkedWheel<'_> {
    fn name(&self) -> &str {
        &self.wheel.file
    }

    fn each(&mut self, take: TakeFile<'_>) -> Result<(), EnvironmentError> {
        let request = request(self.wheel, true);
        let descriptors = [self.file.as_fd()];
        let working = self.workers.begin(&job(&request, &descriptors)).map_err(|fault| failed(self.wheel, fault))?;
        let mut stream = Stream { working, part: Vec::new(), at: 0, next: None };
        let broken = |error: io::Error| EnvironmentError::wheel(&self.wheel.file, error.to_string());
        let mut most = 0;
        for (place, file) in self.listing.files().iter().enumerate() {
            let next = stream.skip(most).map_err(broken)?;
            if next != Next::File(place) {
                return Err(EnvironmentError::wheel(&self.wheel.file, "the worker that unpacked it left out a file"));
            }
            take(file, &mut stream)?;
            most = file.size;
        }
        match stream.skip(most).map_err(broken)? {
            Next::End => Ok(()),
            Next::File(_) => Err(EnvironmentError::wheel(&self.wheel.file, "the worker that unpacked it brought one file more")),
        }
    }
}

/// What comes after the content at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The content of the file with this place.
    File(usize),
    End,
}

/// The content of one file after the other, as it comes.
struct Stream<'a> {
    working: Box<dyn Working + 'a>,
    part: Vec<u8>,
    at: usize,
    next: Option<Next>,
}

impl Stream<'_> {
    /// Passes over what is left of a file, at most so many bytes.
    fn skip(&mut self, most: u64) -> io::Result<Next> {
        let mut passed = 0_u64;
        loop {
            passed = passed.saturating_add(self.part.len().saturating_sub(self.at) as u64);
            self.at = self.part.len();
            if passed > most {
                return Err(io::Error::other("the worker that unpacked it brought more than it has"));
            }
            if let Some(next) = self.next.take() {
                return Ok(next);
            }
            self.pull()?;
        }
    }

    fn pull(&mut self) -> io::Result<()> {
        self.at = 0;
        let reply = self.working.next(&mut self.part).map_err(io::Error::other)?;
        self.next = match reply {
            Reply::Part(PartKind::Content) if !self.part.is_empty() => return Ok(()),
            Reply::Part(PartKind::Entry) => {
                let place = self.part.as_slice().try_into().map(u32::from_be_bytes).ok().and_then(|place| usize::try_from(place).ok());
                Some(Next::File(place.ok_or_else(|| io::Error::other("the worker that unpacked it names no file"))?))
            }
            Reply::Answer(Answer::Unpacked {}) => Some(Next::End),
            Reply::Answer(Answer::Refused { message, .. }) => return Err(io::Error::other(words(&message))),
            // parts of nothing could go on for ever
            Reply::Part(PartKind::Frame | PartKind::Content) | Reply::Answer(_) => {
                return Err(io::Error::other("the worker that unpacked it says something else"));
            }
        };
        self.part.clear();
        Ok(())
    }
}

/// As much of a part, from `at` on, as there is room for.
pub(crate) fn take(part: &[u8], at: &mut usize, buffer: &mut [u8]) -> usize {
    let rest = part.get(*at..).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    if let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    *at += count;
    count
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() && self.next.is_none() {
            self.pull()?;
        }
        Ok(take(&self.part, &mut self.at, buffer))
    }
}
