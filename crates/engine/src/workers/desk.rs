//! The worker's side: confined first, then one request, its parts, one answer.
//!
//! in: the socket this process was started with; out: a request with its files, and frames.
//! **Invariant:** a desk is open only in a process that gave everything else up.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use seaworthy_core::worker::{Answer, PartKind, Request};
use seaworthy_sandbox::worker::{self, WorkerReport};

use super::wire::{Answered, HEAD_BYTES, Head, Hello, Kind, read_whole, write_frame};

/// One confined worker and the way to who started it.
#[derive(Debug)]
pub struct Desk {
    socket: File,
    number: u64,
}

impl Desk {
    /// Confines this process and says how far that went.
    pub fn open() -> io::Result<Self> {
        let (socket, WorkerReport { landlock, system_calls }) = worker::enter().map_err(io::Error::other)?;
        Self::over(socket, landlock, system_calls)
    }

    fn over(socket: OwnedFd, landlock: u32, system_calls: u32) -> io::Result<Self> {
        let mut desk = Self { socket: File::from(socket), number: 0 };
        let hello = serde_json::to_vec(&Hello { landlock, system_calls }).map_err(io::Error::other)?;
        write_frame(&mut desk.socket, Kind::Hello, &hello)?;
        Ok(desk)
    }

    /// The request with its files; none if nobody is left who could ask.
    pub fn receive(&mut self) -> io::Result<Option<(Request, Vec<File>)>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = [0; HEAD_BYTES];
        if !read_whole(&mut self.socket, &mut head)? {
            return Ok(None);
        }
        let Head { number, bytes, files } = Head::read(head).ok_or_else(invalid)?;
        self.number = number;
        let files = worker::receive_descriptors(self.socket.as_fd(), files)?;
        let mut text = vec![0; bytes];
        if !read_whole(&mut self.socket, &mut text)? {
            return Err(invalid());
        }
        let request = serde_json::from_slice(&text).map_err(io::Error::other)?;
        Ok(Some((request, files.into_iter().map(File::from).collect())))
    }

    /// One part of what is being unpacked.
    pub fn part(&mut self, kind: PartKind, bytes: &[u8]) -> io::Result<()> {
        write_frame(&mut self.socket, Kind::Part(kind), bytes)
    }

    /// The answer.
    pub fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Answered { number: self.number, answer }).map_err(io::Error::other)?;
        write_frame(&mut self.socket, Kind::Answer, &bytes)
    }

    /// The socket itself, for test programs that misuse it.
    pub fn socket(&mut self) -> &mut File {
        &mut self.socket
    }

    /// The number of the request, likewise.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}
