//! Keeps the head of one output stream and counts the rest.
//!
//! In: a non-blocking pipe. Out: [`CapturedStream`].
//!
//! **Invariant:** memory stays within the limit however much the step writes, and the step never blocks on a full pipe.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::report::CapturedStream;

/// One stream being read.
pub(crate) struct Drain {
    pipe: Option<OwnedFd>,
    keep_bytes_max: usize,
    stream: CapturedStream,
}

impl Drain {
    pub(crate) fn new(pipe: OwnedFd, keep_bytes_max: usize) -> Self {
        Self { pipe: Some(pipe), keep_bytes_max, stream: CapturedStream::default() }
    }

    /// Open until every writer is gone.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, but no more than some pipefuls, so that a flood cannot starve the clock.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) {
        for _ in 0..16 {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.stream.total += bytes.len() as u64;
        let room = self.keep_bytes_max.saturating_sub(self.stream.bytes.len());
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.stream.bytes.extend_from_slice(kept);
        self.stream.truncated |= kept.len() < bytes.len();
    }

    /// After the tree's death: what is left in the pipe (at most its capacity), then the end.
    pub(crate) fn finish(mut self, buffer: &mut [u8]) -> CapturedStream {
        for _ in 0..64 {
            if self.pipe.is_none() {
                break;
            }
            self.pump(buffer);
        }
        self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_kept_and_the_rest_counted() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut drain = Drain::new(reader, 5);
        rustix::io::write(&writer, b"abc").unwrap();
        let mut buffer = [0u8; 2];
        drain.pump(&mut buffer);
        rustix::io::write(&writer, b"defgh").unwrap();
        drop(writer);
        let stream = drain.finish(&mut buffer);
        assert_eq!((stream.bytes.as_slice(), stream.total, stream.truncated), (b"abcde".as_slice(), 8, true));
    }
}
