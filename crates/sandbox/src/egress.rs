//! The way out of an empty network: connections made inside are handed to the launcher, which decides.
//!
//! In: connections to the loopback of the sandbox. Out: the same connections, by descriptor, at the launcher's end of one socket pair.
//!
//! **Invariant:** pid 1 accepts and hands over, nothing else: it reads no byte and knows no host.
//! **Invariant:** the step never holds an end of the pair, nor the listening socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Ipv4Addr, SocketAddrV4, SocketFlags, SocketType};

use crate::mounts::{Staged, stage};
use crate::wire::{self, Message};
use crate::{spec, syscall};

/// The port of the loopback where the proxy is found.
pub const PROXY_PORT: u16 = 3128;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// What travels beside each connection.
const MARK: [u8; 1] = [1];

/// Pid 1's side.
pub(crate) struct Door {
    listener: OwnedFd,
    launcher: OwnedFd,
    ended: OwnedFd,
}

impl Door {
    /// Listens on the sandbox' own loopback. To be called before the step is forked, so that no end of a child is missed.
    pub(crate) fn open(launcher: OwnedFd) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, PROXY_PORT))?;
        rustix::net::listen(&listener, BACKLOG)?;
        rustix::io::ioctl_fionbio(&launcher, true)?;
        Ok(Self { listener, launcher, ended: syscall::child_signals()? })
    }

    /// Hands connections over and reaps, until the step's main process ends, which is reported.
    pub(crate) fn attend(&self, control: BorrowedFd<'_>, step: i32) -> Staged<()> {
        loop {
            let mut set = [PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
            match rustix::event::poll(&mut set, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(stage("waiting")(error)),
            }
            let [ended, called] = set.map(|one| !one.revents().is_empty());
            if ended {
                syscall::forget_signals(self.ended.as_fd());
                while let Some(child) = syscall::wait4(-1, false).map_err(stage("waiting"))? {
                    if child.pid == step {
                        let exited = Message::Exited { status: child.status };
                        return wire::send_message(control, &exited, &[]).map_err(stage("reporting"));
                    }
                }
            }
            if called {
                self.hand_over();
            }
        }
    }

    /// One connection. If the launcher cannot take more it is closed, which whoever made it sees: pid 1 waits for nobody.
    fn hand_over(&self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Ok(connection) = rustix::net::accept_with(&self.listener, flags) {
            // refused: the queue is full, or the launcher is going; the connection is dropped here
            let _ = wire::send_packet(self.launcher.as_fd(), &MARK, &[connection.as_fd()]);
        }
    }
}

/// Both ends of the pair: the launcher's, and the one that travels to pid 1.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Takes one connection from the launcher's end; none once pid 1 is gone.
pub(crate) fn receive(launcher: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut mark = [0u8; 1];
    let (length, descriptors) = wire::receive_packet(launcher, &mut mark)?;
    Ok(if length == 0 { None } else { descriptors.into_iter().next() })
}

/// Where a client in the sandbox finds the proxy, as it is written in `HTTPS_PROXY`.
#[must_use]
pub fn proxy_url() -> String {
    format!("http://127.0.0.1:{PROXY_PORT}")
}

/// Takes the connections that a step makes. It must not block: the launcher's clock waits for it.
pub type Doorkeeper<'a> = &'a mut dyn FnMut(OwnedFd);

/// A step with a way out has somebody who decides, and nobody else has a way out.
pub(crate) fn check(spec: &spec::Spec, ways: &spec::Ways<'_>) -> Result<(), crate::SandboxError> {
    let declared = spec.profile.layers().network == crate::profile::Network::Declared;
    if declared == ways.door.is_some() {
        return Ok(());
    }
    let what = if declared { "nobody would decide where it connects" } else { "the profile has no way out" };
    Err(crate::SandboxError::Spec { what: format!("{}: {what}", spec.profile) })
}
