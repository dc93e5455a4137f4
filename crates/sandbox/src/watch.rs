//! Listens to a sandbox until it is dead.
//!
//! In: a live tree, its streams, a deadline, a switch. Out: what its first process said, and what the step wrote.
//!
//! **Invariant:** a step ends with `Code` or `Signal` only if the first process said so.
//! **Invariant:** neither a flood of output nor a reader who does not read keeps the tree alive past its deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::cgroup::Cgroup;
use crate::drain::Drain;
use crate::egress::{self, Doorkeeper};
use crate::error::SandboxError;
use crate::launch::Tree;
use crate::profile::Profile;
use crate::report::Exit;
use crate::spec::{Cancel, Spec};
use crate::wire::Message;
use crate::{preflight, wire};

/// How often the switch is looked at, should its event be missing.
const TICK_MAX: Duration = Duration::from_millis(200);
/// How long a first process may take to its first word.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Ready {
    pub(crate) namespaces: Vec<String>,
    pub(crate) landlock_abi: u32,
}

/// What was heard until the tree died.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) ready: Option<Ready>,
    pub(crate) out: Option<OwnedFd>,
    status: Option<i32>,
    stopped: Option<Exit>,
    failed: Option<SandboxError>,
}

impl Ended {
    fn hear(&mut self, message: Message, fds: Vec<OwnedFd>, spec: &Spec) {
        match message {
            Message::Ready { namespaces, landlock_abi } => {
                self.ready = Some(Ready { namespaces, landlock_abi });
                self.out = fds.into_iter().next();
            }
            // It said so before it got its order.
            Message::Arrived => self.failed = Some(SandboxError::InitLost { detail: "it arrived twice".into() }),
            // Pid 1 says it once; twice would mean that somebody else speaks.
            Message::Exited { .. } if self.status.is_some() => {
                self.failed = Some(SandboxError::InitLost { detail: "two reports of one end".into() });
            }
            Message::Exited { status } => self.status = Some(status),
            Message::NotExecuted { errno } => {
                let program = spec.argv.first().cloned().unwrap_or_default();
                self.failed = Some(SandboxError::Exec { program, source: io::Error::from_raw_os_error(errno) });
            }
            Message::Failed { stage, errno } => {
                self.failed = Some(preflight::explain_stage(spec.profile, stage, errno));
            }
        }
    }

    /// The verdict. Silence of pid 1 is never a success.
    pub(crate) fn exit(&self, cgroup: Option<&Cgroup>) -> Result<Exit, SandboxError> {
        let starved = cgroup.is_some_and(|cgroup| cgroup.oom_kills() > 0);
        match self.status {
            Some(status) if libc::WIFEXITED(status) => Ok(Exit::Code(libc::WEXITSTATUS(status))),
            Some(status) => match libc::WTERMSIG(status) {
                libc::SIGKILL if starved => Ok(Exit::OutOfMemory),
                signal => Ok(Exit::Signal(signal)),
            },
            None => match self.stopped {
                Some(exit) => Ok(exit),
                None if starved => Ok(Exit::OutOfMemory),
                None => Err(SandboxError::InitLost { detail: "it was killed from outside".into() }),
            },
        }
    }
}

type Watched = (Ended, crate::CapturedStream, crate::CapturedStream);

/// Drains the streams and listens to the first process until the tree is dead; kills it when its time is over or on request.
pub(crate) fn watch(
    tree: &mut Tree,
    [mut stdout, mut stderr]: [Drain; 2],
    spec: &Spec,
    deadline: Instant,
    cancel: &Cancel,
    mut door: Option<(OwnedFd, Doorkeeper<'_>)>,
) -> Result<Watched, SandboxError> {
    let lost = |error: io::Error| SandboxError::InitLost { detail: error.to_string() };
    let mut ended = Ended::default();
    let mut buffer = vec![0u8; 64 * 1024];
    let mut hearing = true;
    loop {
        let now = Instant::now();
        if ended.stopped.is_none() && (now >= deadline || cancel.is_cancelled()) {
            ended.stopped = Some(if cancel.is_cancelled() { Exit::Cancelled } else { Exit::TimedOut });
            tree.kill();
        }
        let heard = {
            let readable = |fd| (fd, PollFlags::IN);
            let event = cancel.event().filter(|_| ended.stopped.is_none()).map(AsFd::as_fd);
            let control = hearing.then(|| tree.control());
            let set = [
                readable(control),
                readable(tree.pidfd()),
                stdout.wants(),
                stderr.wants(),
                readable(event),
                readable(door.as_ref().map(|(socket, _)| socket.as_fd())),
            ];
            poll(set, deadline.saturating_duration_since(now)).map_err(lost)?
        };
        let [control, died, out, err, _, called] = heard;
        if control {
            match wire::receive_message(tree.control()).map_err(lost)? {
                Some((message, fds)) => ended.hear(message, fds, spec),
                None => hearing = false,
            }
        }
        if called {
            door = door.and_then(|(socket, keeper)| answer(socket, keeper, ended.stopped.is_some()));
        }
        if out {
            stdout.pump(&mut buffer);
        }
        if err {
            stderr.pump(&mut buffer);
        }
        if died {
            break;
        }
    }
    while hearing {
        match wire::receive_message(tree.control()).map_err(lost)? {
            Some((message, fds)) => ended.hear(message, fds, spec),
            None => hearing = false,
        }
    }
    let (stdout, stderr) = (stdout.finish(&mut buffer, cancel), stderr.finish(&mut buffer, cancel));
    match ended.failed.take() {
        Some(error) => Err(error),
        None => Ok((ended, stdout, stderr)),
    }
}

/// Waits until the first process of a sandbox with namespaces is there, or says why it is not.
pub(crate) fn await_arrival(control: BorrowedFd<'_>, profile: Profile) -> Result<(), SandboxError> {
    let lost = |error: io::Error| SandboxError::InitLost { detail: error.to_string() };
    let until = Instant::now() + ARRIVAL_MAX;
    while !poll([(Some(control), PollFlags::IN)], until.saturating_duration_since(Instant::now())).map_err(lost)?[0] {
        if Instant::now() >= until {
            return Err(SandboxError::InitLost { detail: "it did not arrive in time".into() });
        }
    }
    match wire::receive_message(control).map_err(lost)? {
        Some((Message::Arrived, _)) => Ok(()),
        Some((Message::Failed { stage, errno }, _)) => Err(preflight::explain_stage(profile, stage, errno)),
        Some(_) | None => Err(SandboxError::InitLost { detail: "it was gone before it had its order".into() }),
    }
}

/// Gives one connection to who decides; once the tree is being killed it is closed. Returns the door, unless nobody is behind it any more.
fn answer<'a>(socket: OwnedFd, keeper: Doorkeeper<'a>, is_over: bool) -> Option<(OwnedFd, Doorkeeper<'a>)> {
    let connection = egress::receive(socket.as_fd()).ok().flatten()?;
    if !is_over {
        keeper(connection);
    }
    Some((socket, keeper))
}

/// Which of these are ready or at their end, within the time.
fn poll<const N: usize>(fds: [(Option<BorrowedFd<'_>>, PollFlags); N], time: Duration) -> io::Result<[bool; N]> {
    let present = fds.iter().filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)));
    let mut set: Vec<PollFd<'_>> = present.collect();
    let time = time.min(TICK_MAX);
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    match rustix::event::poll(&mut set, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut answers = set.iter().map(|one| !one.revents().is_empty());
    Ok(fds.map(|(fd, _)| fd.is_some() && answers.next().unwrap_or(false)))
}
