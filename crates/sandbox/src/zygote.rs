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

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError, mpsc};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Signal};
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

/// The end of the zygote's socket, once there is one.
static ZYGOTE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Starts the first process of a sandbox with namespaces, as a child of this process: its pid, or the stage that failed.
pub(crate) fn spawn_init(launch: &Launch<'_>, executable: BorrowedFd<'_>) -> Result<i32, Failed> {
    let mut zygote = ZYGOTE.lock().unwrap_or_else(PoisonError::into_inner);
    // one that was killed is replaced, once
    let answer = match zygote.as_ref().map(|socket| ask(socket, launch)) {
        Some(Ok(answer)) => answer,
        Some(Err(_)) | None => {
            *zygote = None;
            let socket = start(executable)?;
            let answer = ask(&socket, launch).map_err(|error| ("zygote", error))?;
            *zygote = Some(socket);
            answer
        }
    };
    drop(zygote);
    if answer.helper > 0 {
        // it has ended; only its record is left
        let _ = syscall::wait4(answer.helper, true);
    }
    let Some((stage, errno)) = answer.failed else { return Ok(answer.pid) };
    let stage = STAGES.into_iter().find(|known| *known == stage).unwrap_or("zygote");
    Err((stage, io::Error::from_raw_os_error(errno)))
}

fn ask(socket: &OwnedFd, launch: &Launch<'_>) -> io::Result<Answer> {
    let mut descriptors = launch.descriptors.to_vec();
    descriptors.extend(launch.entries.iter().map(AsFd::as_fd));
    let request = Request { drop_to: launch.drop_to, namespaces: launch.namespaces };
    wire::send(socket.as_fd(), &request, &descriptors)?;
    let (answer, _) = wire::receive(socket.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(answer)
}

/// Starts a zygote. It and its copies are children of a thread that never ends: the kernel kills them with their parent's
/// thread, not with its process.
fn start(executable: BorrowedFd<'_>) -> Result<OwnedFd, Failed> {
    let failed = |error: io::Error| ("zygote", error);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|e| failed(e.into()))?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(|e| failed(e.into()))?;
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
        let pid = started.as_ref().map_or(0, |pid| *pid);
        drop((theirs, null, executable));
        // nobody waits for it only if this process is being torn down
        let _ = told.send(started.map(|_| ()));
        if pid > 0 {
            // its end is seen by whoever asks it next
            let _ = syscall::wait4(pid, true);
            loop {
                std::thread::park();
            }
        }
    };
    std::thread::Builder::new().name("zygote".to_owned()).spawn(parent).map_err(failed)?;
    tell.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?.map(|()| ours)
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
