//! Keeps the head of one output stream and counts the rest, or passes it on as it comes.
//!
//! In: a non-blocking pipe, and where it goes. Out: [`CapturedStream`].
//!
//! **Invariant:** memory stays within the limit however much the step writes. A step blocks on a full pipe only where its output
//! is passed on and nobody reads it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::report::CapturedStream;
use crate::secrets::Redactor;
use crate::spec::Cancel;

/// A pipe that is ready takes so much at once without blocking.
const ATOMIC_BYTES: usize = 4096;
/// How often a reader who does not read is looked at anew.
const GIVE_UP_TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// One stream being read.
pub(crate) struct Drain {
    pipe: Option<OwnedFd>,
    keep_bytes_max: usize,
    stream: CapturedStream,
    /// Where everything goes as well.
    sink: Option<OwnedFd>,
    /// Read, and not yet passed on: at most one buffer.
    waiting: Vec<u8>,
    /// Takes secrets out before anything is kept or passed on.
    redactor: Redactor,
}

impl Drain {
    pub(crate) fn new(pipe: OwnedFd, keep_bytes_max: usize, sink: Option<OwnedFd>) -> Self {
        Self {
            pipe: Some(pipe),
            keep_bytes_max,
            stream: CapturedStream::default(),
            sink,
            waiting: Vec::new(),
            redactor: Redactor::default(),
        }
    }

    /// The same without the values of secrets.
    pub(crate) fn without(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// What it must wait for: the reader of what was read, or the writer, until every writer is gone.
    pub(crate) fn wants(&self) -> (Option<BorrowedFd<'_>>, PollFlags) {
        if self.waiting.is_empty() {
            (self.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN)
        } else {
            (self.sink.as_ref().map(AsFd::as_fd), PollFlags::OUT)
        }
    }

    /// Passes on what waits, or reads what is there, but no more than some pipefuls, so that a flood cannot starve the clock.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) {
        if !self.waiting.is_empty() {
            return self.pass();
        }
        for _ in 0..16 {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
            if !self.waiting.is_empty() {
                // only readiness tells that it can be passed on without blocking
                if self.is_awaited(&Timespec { tv_sec: 0, tv_nsec: 0 }) {
                    self.pass();
                }
                return;
            }
        }
    }

    /// A part of what waits. Once the reader is gone the pipe is closed too, and the step learns it as in any pipeline.
    fn pass(&mut self) {
        let Some(sink) = &self.sink else { return self.waiting.clear() };
        let part = self.waiting.get(..self.waiting.len().min(ATOMIC_BYTES)).unwrap_or_default();
        match rustix::io::write(sink, part) {
            Ok(length) => drop(self.waiting.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.waiting.clear();
                (self.sink, self.pipe) = (None, None);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.stream.total += bytes.len() as u64;
        if self.redactor.is_idle() {
            return self.keep(bytes);
        }
        let clean = self.redactor.pass(bytes);
        self.keep(&clean);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.keep_bytes_max.saturating_sub(self.stream.bytes.len());
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.stream.bytes.extend_from_slice(kept);
        self.stream.truncated |= kept.len() < bytes.len();
        if self.sink.is_some() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// After the tree's death: what is left in the pipe (at most its capacity), then the end. A reader who does not read is waited for
    /// until the run is cancelled.
    pub(crate) fn finish(mut self, buffer: &mut [u8], cancel: &Cancel) -> CapturedStream {
        let mut rounds = 0;
        while self.pipe.is_some() && rounds < 64 {
            self.empty(cancel);
            self.pump(buffer);
            rounds += 1;
        }
        let last = self.redactor.finish();
        self.keep(&last);
        self.empty(cancel);
        self.stream
    }

    fn empty(&mut self, cancel: &Cancel) {
        while !self.waiting.is_empty() {
            if self.is_awaited(&GIVE_UP_TICK) {
                self.pass();
            } else if cancel.is_cancelled() {
                self.waiting.clear();
                (self.sink, self.pipe) = (None, None);
            }
        }
    }

    /// Whether the reader takes something within the time, or is gone.
    fn is_awaited(&self, time: &Timespec) -> bool {
        let ready = self.sink.as_ref().map(|sink| rustix::event::poll(&mut [PollFd::new(sink, PollFlags::OUT)], Some(time)));
        !matches!(ready, Some(Ok(0) | Err(Errno::INTR)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_kept_and_the_rest_counted() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut drain = Drain::new(reader, 5, None);
        rustix::io::write(&writer, b"abc").unwrap();
        let mut buffer = [0u8; 2];
        drain.pump(&mut buffer);
        rustix::io::write(&writer, b"defgh").unwrap();
        drop(writer);
        let stream = drain.finish(&mut buffer, &Cancel::new());
        assert_eq!((stream.bytes.as_slice(), stream.total, stream.truncated), (b"abcde".as_slice(), 8, true));
    }

    #[test]
    fn what_is_passed_on_arrives_whole_whoever_reads_slowly() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (slow, sink) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&sink, 4096).unwrap();
        let mut drain = Drain::new(reader, 3, Some(sink));
        let sent: Vec<u8> = (0..60_000u32).map(|number| number.to_le_bytes()[0]).collect();
        assert_eq!(rustix::io::write(&writer, &sent).unwrap(), sent.len());
        drop(writer);
        let mut buffer = vec![0u8; 64 * 1024];
        drain.pump(&mut buffer);
        assert_eq!(drain.wants().1, PollFlags::OUT, "nobody reads: it waits for the reader");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(slow), &mut all).unwrap();
            all
        });
        let stream = drain.finish(&mut buffer, &Cancel::new());
        assert_eq!(reader.join().unwrap(), sent);
        assert_eq!((stream.bytes.len(), stream.total), (3, 60_000));
    }

    #[test]
    fn who_cancels_does_not_wait_for_a_reader_that_does_not_read() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (_idle, sink) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&sink, 4096).unwrap();
        let mut drain = Drain::new(reader, 0, Some(sink));
        rustix::io::write(&writer, &[1; 60_000]).unwrap();
        drop(writer);
        let mut buffer = vec![0u8; 64 * 1024];
        drain.pump(&mut buffer);
        let cancel = Cancel::new();
        let switch = cancel.clone();
        let ended = std::thread::spawn(move || drain.finish(&mut buffer, &cancel));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!ended.is_finished(), "it waits as long as nobody cancels");
        switch.cancel();
        assert_eq!(ended.join().unwrap().total, 60_000);
    }

    #[test]
    fn a_reader_that_left_closes_the_pipe() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (gone, sink) = rustix::pipe::pipe().unwrap();
        drop(gone);
        let mut drain = Drain::new(reader, 0, Some(sink));
        rustix::io::write(&writer, b"x").unwrap();
        let mut buffer = [0u8; 16];
        drain.pump(&mut buffer);
        assert!(drain.wants().0.is_none(), "the step's next write fails");
    }
}
