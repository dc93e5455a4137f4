//! Workers: processes of our own program that read what nobody vouches for, and hold nothing.
//!
//! In: nothing but one end of a socket. Out: in the launcher a [`WorkerProcess`]; in the worker a process that can read the
//! descriptors it is sent, compute, write to its socket, and end.
//!
//! Unlike a recluse ([`crate::recluse`]) it has no secret, so it starts with nothing: namespaces and a user of its own where
//! there are any, then [`enter`], before the first byte of a request.
//!
//! **Invariant:** what could not be enforced is in the [`WorkerReport`]; without the system call filter there is no worker.
//! **Invariant:** no worker outlives its [`WorkerProcess`], nor the thread that started it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, Signal};
use seaworthy_core::limits::{WORKER_CPU_S_MAX, WORKER_MEMORY_BYTES_MAX};

use crate::error::SandboxError;
use crate::launch::{HostId, init_executable};
use crate::report::Exit;
use crate::syscall::{self, Launch, Program};
use crate::{landlock, seccomp, wire};

/// What a worker has of its own where the kernel gives it; the names as they are attested.
const NAMESPACES: [&str; 4] = ["user", "pid", "net", "ipc"];
const NAMESPACE_FLAGS: libc::c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;

/// What a worker could give up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerReport {
    /// Version of the Landlock rules that keep it from every file and port; 0 if the kernel has none.
    pub landlock: u32,
    /// System calls left to it.
    pub system_calls: u32,
}

/// A worker, seen from the process that started it. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct WorkerProcess {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    reaped: bool,
    namespaces: bool,
    own_user: bool,
}

impl WorkerProcess {
    /// Starts one. It ends with the thread that calls this, whatever happens.
    pub fn start() -> Result<Self, SandboxError> {
        static WITHOUT: AtomicBool = AtomicBool::new(false);
        if !WITHOUT.load(Ordering::Relaxed) {
            match Self::start_in(NAMESPACE_FLAGS) {
                Ok(worker) => return Ok(worker),
                Err(StartFault::Other(error)) => return Err(error),
                Err(StartFault::Clone(error)) => match error.raw_os_error() {
                    // this machine gives none to this user, now or later: what the other layers keep, they keep
                    Some(libc::EPERM | libc::EACCES | libc::EINVAL | libc::ENOSYS) => WITHOUT.store(true, Ordering::Relaxed),
                    // as many as there may be at once, or none at all
                    Some(libc::ENOSPC | libc::EUSERS) => {}
                    _ => return Err(SandboxError::setup("starting a worker")(error)),
                },
            }
        }
        Self::start_in(0).map_err(|fault| match fault {
            StartFault::Clone(error) => SandboxError::setup("starting a worker")(error),
            StartFault::Other(error) => error,
        })
    }

    fn start_in(namespaces: libc::c_int) -> Result<Self, StartFault> {
        let setup = |error: rustix::io::Errno| StartFault::Other(SandboxError::setup("starting a worker")(error.into()));
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(setup)?;
        let (socket, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(setup)?;
        let host = HostId::choose();
        let launch = Launch {
            program: Program::Execute { executable: init_executable().map_err(StartFault::Other)?.as_fd(), name: syscall::WORKER_NAME },
            entries: &[],
            descriptors: [null.as_fd(), null.as_fd(), null.as_fd(), other.as_fd()],
            drop_to: host.drop.then_some(host.uid),
            namespaces,
        };
        let pid = syscall::execute_init(&launch).map_err(|(stage, error)| match stage {
            "clone" => StartFault::Clone(error),
            stage => StartFault::Other(SandboxError::setup(stage)(error)),
        })?;
        let found = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
        match found.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => Ok(Self { pid, pidfd, socket, reaped: false, namespaces: namespaces != 0, own_user: host.has_own_user() }),
            Err(error) => {
                drop((socket, other));
                // without anybody to talk to it ends by itself
                let _ = syscall::wait4(pid, true);
                Err(setup(error))
            }
        }
    }

    /// The way to it.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The namespaces of its own.
    #[must_use]
    pub fn namespaces(&self) -> &'static [&'static str] {
        if self.namespaces { &NAMESPACES } else { &[] }
    }

    /// Whether nobody else on this machine is its user.
    #[must_use]
    pub const fn has_own_user(&self) -> bool {
        self.own_user
    }

    /// Its number, for messages and tests.
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.pid
    }

    /// Kills it.
    pub fn kill(&self) {
        // an error means that it is dead already
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Says how it ended; kills it if it has not after `grace`.
    pub fn end(mut self, grace: Duration) -> io::Result<Exit> {
        if let Ok(grace) = Timespec::try_from(grace) {
            // interrupted or not: what is not over by then is ended now
            let _ = rustix::event::poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&grace));
        }
        self.kill();
        self.reap()
    }

    fn reap(&mut self) -> io::Result<Exit> {
        let ended = syscall::wait4(self.pid, true)?;
        self.reaped = true;
        let status = ended.map_or(0, |ended| ended.status);
        Ok(if libc::WIFSIGNALED(status) { Exit::Signal(libc::WTERMSIG(status)) } else { Exit::Code(libc::WEXITSTATUS(status)) })
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            // the only failure is that somebody else reaped it
            let _ = self.reap();
        }
    }
}

enum StartFault {
    Clone(io::Error),
    Other(SandboxError),
}

/// In the worker: whether this process was started as one.
#[must_use]
pub fn is_worker() -> bool {
    std::env::args_os().next().as_deref().and_then(|name| name.to_str()) == syscall::WORKER_NAME.to_str().ok()
}

/// In the worker, before its first request: gives up everything but its socket. For good.
///
/// A kernel without Landlock is in the report; anything else that fails is an error.
pub fn enter() -> Result<(OwnedFd, WorkerReport), SandboxError> {
    let at = |stage: &'static str| move |error: rustix::io::Errno| SandboxError::setup(stage)(error.into());
    let socket = syscall::take_control().map_err(SandboxError::setup("descriptors"))?;
    // set before the request is read: if the launcher died earlier, the socket is at its end; if later, this kills
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("death signal"))?;
    syscall::unblock_signals();
    // the terminal's interrupt is for the run, which ends its workers itself
    rustix::process::setsid().map_err(at("session"))?;
    die_first();
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Memlock, 0),
        (Resource::As, WORKER_MEMORY_BYTES_MAX),
        (Resource::Cpu, WORKER_CPU_S_MAX),
    ] {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(at("resource limits"))?;
    }
    syscall::shed_capabilities().map_err(SandboxError::setup("capabilities"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("not dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("no_new_privs"))?;
    Ok((socket, WorkerReport { landlock: enter_files()?, system_calls: enter_calls()? }))
}

/// No file, no port, no foreign process: the version of the rules.
fn enter_files() -> Result<u32, SandboxError> {
    let landlock = syscall::landlock_abi();
    if landlock > 0 {
        landlock::restrict_to_nothing().map_err(SandboxError::setup("landlock"))?;
    }
    Ok(landlock)
}

/// Few system calls: how many are left.
fn enter_calls() -> Result<u32, SandboxError> {
    seccomp::install_for_worker().map_err(SandboxError::setup("seccomp"))
}

/// When memory runs out, a worker is what the kernel is to kill.
fn die_first() {
    let place = rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    // where it cannot be said, its own bound of memory still holds
    let _ = place.map(|place| File::from(place).write_all(b"1000"));
}

/// Sends descriptors, in as many packets of one byte as it takes.
pub fn send_descriptors(socket: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    descriptors.chunks(wire::DESCRIPTORS_MAX).try_for_each(|some| wire::send_packet(socket, &[0], some))
}

/// In the worker: receives `count` descriptors.
pub fn receive_descriptors(socket: BorrowedFd<'_>, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    while received.len() < count {
        let (length, mut some) = wire::receive_packet(socket, &mut [0])?;
        if length == 0 || some.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.append(&mut some);
    }
    if received.len() == count { Ok(received) } else { Err(io::ErrorKind::InvalidData.into()) }
}
