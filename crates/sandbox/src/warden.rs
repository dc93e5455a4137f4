//! The first process of a sandbox without namespaces: starts the step, and sees to it that nobody of it survives.
//!
//! In: the control socket and an order. Out: messages to the launcher; it ends when no descendant is left.
//!
//! **Invariant:** every orphan of the step becomes its child (it is a subreaper), so that "no child left" means "nobody left".
//! **Invariant:** when the launcher is gone, or says stop by closing its end, everything is killed.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};

use crate::mounts::{Staged, stage};
use crate::wire::{Message, Order};
use crate::{init, syscall, view, wire};

/// How long orphans that ended may wait for being reaped.
const REAP_S: i64 = 1;

pub(crate) fn serve(control: BorrowedFd<'_>) -> Staged<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(stage("subreaper"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(stage("not dumpable"))?;
    syscall::unblock_signals();
    let (order, sources) = wire::receive_order(control).map_err(stage("reading the order"))?;
    let landlock_abi = syscall::landlock_abi();
    if landlock_abi < order.profile.layers().landlock_abi_min {
        return Err((format!("landlock version {landlock_abi}"), io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
    }
    syscall::shed_capabilities().map_err(stage("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(stage("no_new_privs"))?;
    let folder = order.view.clone().ok_or_else(|| ("view".to_owned(), io::ErrorKind::InvalidInput.into()))?;
    view::lay_out(&order, Path::new(&folder)).map_err(stage("laying out its places"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let out = rustix::fs::open(Path::new(&folder).join("out"), flags, Mode::empty()).map_err(stage("opening /out"))?;
    let ready = Message::Ready { namespaces: Vec::new(), landlock_abi };
    wire::send_message(control, &ready, &[out.as_fd()]).map_err(stage("reporting"))?;
    drop(out);
    let (step, failure) = init::start(&order, &sources)?;
    drop(sources);
    if !init::is_running(control, failure)? {
        return end_all(&order).map_err(stage("killing what is left"));
    }
    let status = attend(control, step).map_err(stage("waiting"))?;
    end_all(&order).map_err(stage("killing what is left"))?;
    match status {
        Some(status) => wire::send_message(control, &Message::Exited { status }, &[]).map_err(stage("reporting")),
        None => Ok(()),
    }
}

/// Waits for the step's main process; none if the launcher said stop before.
fn attend(control: BorrowedFd<'_>, step: i32) -> io::Result<Option<i32>> {
    let pid = Pid::from_raw(step).ok_or(io::ErrorKind::InvalidInput)?;
    let main: OwnedFd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut set = [PollFd::from_borrowed_fd(control, PollFlags::IN), PollFd::new(&main, PollFlags::IN)];
        match rustix::event::poll(&mut set, Some(&Timespec { tv_sec: REAP_S, tv_nsec: 0 })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stop = set.first().is_some_and(|control| !control.revents().is_empty());
        while let Ok(Some(ended)) = syscall::wait4(-1, false) {
            if ended.pid == step {
                return Ok(Some(ended.status));
            }
        }
        if stop {
            return Ok(None);
        }
    }
}

/// Kills until no child is left.
fn end_all(order: &Order) -> io::Result<()> {
    loop {
        strike(order);
        match syscall::wait4(-1, false) {
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
            Ok(Some(_)) => {}
            // killed, and not dead yet
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
}

/// A user of the run's own has no other processes: all of them at once. Else each descendant, stopped before it is killed, so that
/// none forks meanwhile.
fn strike(order: &Order) {
    if order.own_user {
        return syscall::kill_own_user();
    }
    for signal in [Signal::STOP, Signal::KILL] {
        for pid in descendants().into_iter().filter_map(Pid::from_raw) {
            // it is dead already, or its number is still a descendant's: none was reaped meanwhile
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// All processes below this one.
fn descendants() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(i32, i32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut below = vec![i32::try_from(std::process::id()).unwrap_or(0)];
    let mut at = 0;
    while let Some(parent) = below.get(at).copied() {
        below.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    below.split_off(1)
}
