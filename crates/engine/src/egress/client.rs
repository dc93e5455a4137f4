//! The client's side of a connection before anything is connected: its request, the answer, its first message of TLS.
//!
//! in: a connection from a sandbox; out: what it asked for, the bytes that are to be passed on.
//! **Invariant:** what is read before a connection stands is bounded in bytes and time.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use seaworthy_core::egress::Destination;
use seaworthy_core::limits;

use super::hello::{self, Hello};
use super::wait::{Ended, Stop, unless_blocked};
use super::{Refusal, request};

/// A client that is being heard.
pub(super) struct Client<'a> {
    socket: &'a OwnedFd,
    stop: &'a Stop,
    until: Instant,
    /// Read, and not used yet.
    read: Vec<u8>,
}

impl<'a> Client<'a> {
    pub(super) fn new(socket: &'a OwnedFd, stop: &'a Stop) -> Self {
        Self { socket, stop, until: Instant::now() + Duration::from_secs(limits::EGRESS_GREETING_S_MAX), read: Vec::new() }
    }

    /// What it asks for.
    pub(super) fn request(&mut self) -> Result<Destination, Refusal> {
        loop {
            if let Some(length) = request::head_length(&self.read) {
                let head: Vec<u8> = self.read.drain(..length).collect();
                return request::read(&head);
            }
            // another protocol than HTTP need not be waited for
            let strange = self.read.first().is_some_and(|byte| !byte.is_ascii_alphabetic());
            if strange || self.read.len() >= limits::EGRESS_REQUEST_BYTES_MAX {
                return Err(Refusal::new("egress/malformed", "the request has no end, or is none"));
            }
            self.more(limits::EGRESS_REQUEST_BYTES_MAX, "request")?;
        }
    }

    /// Its first message of TLS, which must be for `to`; the bytes as they came.
    pub(super) fn hello(mut self, to: &Destination) -> Result<Vec<u8>, Refusal> {
        // time that was spent on deciding and resolving was not the client's
        self.until = Instant::now() + Duration::from_secs(limits::EGRESS_GREETING_S_MAX);
        self.write(request::GO_ON).map_err(|_| Refusal::new("egress/silent", "the client left before it began TLS"))?;
        // records may be small: each has a head of five bytes
        let most = limits::EGRESS_HELLO_BYTES_MAX * 2;
        loop {
            if !self.read.is_empty()
                && let Hello::Names(name) = hello::read(&self.read)?
            {
                hello::check(name.as_deref(), to)?;
                return Ok(self.read);
            }
            if self.read.len() >= most {
                return Err(Refusal::new("egress/not-tls", "the first message of TLS has no end"));
            }
            self.more(most, "first message of TLS")?;
        }
    }

    /// Says why not; whether it is heard is the client's affair.
    pub(super) fn refuse(mut self, refusal: &Refusal) {
        self.until = Instant::now() + Duration::from_secs(1);
        // a client that does not read gets no answer
        let _ = self.write(&request::answer(refusal));
        let _ = rustix::net::shutdown(self.socket, rustix::net::Shutdown::Write);
    }

    fn more(&mut self, most: usize, what: &str) -> Result<(), Refusal> {
        let silent = |why: &str| Refusal::new("egress/silent", format!("no {what} came: {why}"));
        self.stop.wait([(self.socket.as_fd(), PollFlags::IN)], self.until).map_err(|ended| match ended {
            Ended::TooLate => silent("its time is over"),
            Ended::Stopped => silent("the step is over"),
            Ended::Broken => silent("the connection broke"),
        })?;
        let mut buffer = [0u8; 4096];
        let room = most.saturating_sub(self.read.len()).min(buffer.len());
        let part = buffer.get_mut(..room).unwrap_or_default();
        match unless_blocked(rustix::io::read(self.socket, part)) {
            Ok(Some(0)) => Err(silent("the client left")),
            Ok(Some(length)) => {
                self.read.extend_from_slice(buffer.get(..length).unwrap_or_default());
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(_) => Err(silent("the connection broke")),
        }
    }

    fn write(&self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            self.stop.wait([(self.socket.as_fd(), PollFlags::OUT)], self.until)?;
            let sent = unless_blocked(rustix::net::send(self.socket, bytes, rustix::net::SendFlags::NOSIGNAL))?;
            bytes = bytes.get(sent.unwrap_or(0)..).unwrap_or_default();
        }
        Ok(())
    }
}
