//! The zygote: a process of our own program that makes the first process of each sandbox by copying itself.
//!
//! In: a [`Launch`] for each sandbox. Out: a child of this process, in its namespaces, waiting for its order.
//!
//! To execute a program of fifty megabytes costs a sandbox more than its namespaces do: seventy thousand addresses are put
//! right, a page at a time. The zygote does that once. It is started when it is first needed, knows nothing but descriptors
//! that go through it, and is gone when this process is.
//!
//! **Invariant:** nothing of a step passes through it: orders go straight to the copy, outputs straight to the launcher.
//! **Invariant:** a copy has one thread, no environment, and no descriptor but its four.
//! **Invariant:** a zygote that does not answer is given up, and nothing is asked of another in its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::syscall::{self, Launch, Program};
use crate::{init, wire};

type Failed = (&'static str, io::Error);

/// What a sandbox is to be; its descriptors travel beside: the four of the first process, then the entries of its cgroup.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    drop_to: Option<u32>,
    namespaces: i32,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    pid: i32,
    helper: i32,
    failed: Option<(String, i32)>,
}

/// The stages that can fail before there is a copy.
const STAGES: [&str; 3] = ["clone", "setuid", "stack"];

/// How long it may take to make a copy.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Once there is one.
static ZYGOTE: Mutex<Option<Zygote>> = Mutex::new(None);

/// What its launcher has of it. Dropping it kills it: its copies live on.
struct Zygote {
    socket: OwnedFd,
    process: OwnedFd,
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // an error means that it is dead already
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
    }
}

/// Starts the first process of a sandbox with namespaces, as a child of this process: its pid, or the stage that failed.
pub(crate) fn spawn_init(launch: &Launch<'_>, executable: BorrowedFd<'_>) -> Result<i32, Failed> {
    let lost = |error: io::Error| ("zygote", error);
    let mut place = ZYGOTE.lock().unwrap_or_else(PoisonError::into_inner);
    // one that was killed meanwhile is replaced
    let asked = place.as_ref().is_some_and(|zygote| zygote.ask(launch).is_ok());
    if !asked {
        place.insert(Zygote::start(executable)?).ask(launch).map_err(lost)?;
    }
    // no other is asked instead of one that may have made a copy: two would take orders from one socket
    let answer = place.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), Zygote::answer);
    if answer.is_err() {
        *place = None;
    }
    drop(place);
    let answer = answer.map_err(lost)?;
    if answer.helper > 0 {
        // it has ended; only its record is left
        let _ = syscall::wait4(answer.helper, true);
    }
    let Some((stage, errno)) = answer.failed else { return Ok(answer.pid) };
    let stage = STAGES.into_iter().find(|known| *known == stage).unwrap_or("zygote");
    Err((stage, io::Error::from_raw_os_error(errno)))
}

impl Zygote {
    fn ask(&self, launch: &Launch<'_>) -> io::Result<()> {
        let mut descriptors = launch.descriptors.to_vec();
        descriptors.extend(launch.entries.iter().map(AsFd::as_fd));
        let request = Request { drop_to: launch.drop_to, namespaces: launch.namespaces };
        wire::send(self.socket.as_fd(), &request, &descriptors)
    }

    fn answer(&self) -> io::Result<Answer> {
        let until = Instant::now() + ANSWER_MAX;
        loop {
            let time = until.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(time).map_err(io::Error::other)?;
            match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&time)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (answer, _) = wire::receive(self.socket.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(answer)
    }

    /// Starts one. It and its copies are children of a thread that never ends: the kernel kills them with their parent's
    /// thread, not with its process.
    fn start(executable: BorrowedFd<'_>) -> Result<Self, Failed> {
        let failed = |error: io::Error| ("zygote", error);
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|e| failed(e.into()))?;
        let (socket, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed(e.into()))?;
        let executable = executable.try_clone_to_owned().map_err(failed)?;
        let (told, tell) = mpsc::channel();
        let parent = move || {
            let launch = Launch {
                program: Program::Execute { executable: executable.as_fd(), name: syscall::ZYGOTE_NAME },
                descriptors: [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd()],
                drop_to: None,
                namespaces: 0,
                entries: &[],
            };
            let started = syscall::execute_init(&launch);
            drop((theirs, null, executable));
            let pid = started.as_ref().map_or(0, |pid| *pid);
            let process = started.and_then(|pid| process_of(pid).map_err(failed));
            // nobody waits for it only if this process is being torn down
            let _ = told.send(process);
            if pid > 0 {
                // its end is seen by whoever asks it next
                let _ = syscall::wait4(pid, true);
                loop {
                    std::thread::park();
                }
            }
        };
        std::thread::Builder::new().name("zygote".to_owned()).spawn(parent).map_err(failed)?;
        let process = tell.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))??;
        Ok(Self { socket, process })
    }
}

/// A process that nobody has waited for.
fn process_of(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The zygote itself: makes copies until the launcher is gone. Signals stay blocked, so that an interrupt from the terminal is
/// the launcher's to handle.
pub(crate) fn serve(control: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    while let Some((request, mut descriptors)) = wire::receive::<Request>(control)? {
        let entries = descriptors.split_off(descriptors.len().min(4));
        let [null, stdout, stderr, order] = &descriptors[..] else { return Err(io::ErrorKind::InvalidData.into()) };
        let born = syscall::spawn_init(&Launch {
            program: Program::Continue(init::as_copy),
            descriptors: [null.as_fd(), stdout.as_fd(), stderr.as_fd(), order.as_fd()],
            drop_to: request.drop_to,
            namespaces: request.namespaces,
            entries: &entries,
        });
        let failed = born.failed.map(|(stage, errno)| (stage.to_owned(), errno));
        wire::send(control, &Answer { pid: born.pid, helper: born.helper, failed }, &[])?;
    }
    Ok(())
}
