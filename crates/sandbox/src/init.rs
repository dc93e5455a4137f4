//! Pid 1 of a sandbox.
//!
//! In: the control socket at descriptor 3, nothing else: no environment, no secret. It is a copy of the zygote. Out: messages to the launcher; the
//! process ends with the step, and the kernel then ends every process of its namespace.
//!
//! **Invariant:** the step cannot read, signal or outlive this process, nor speak on the control socket.
//! **Invariant:** the exit status reported is the kernel's word about the step's main process.

use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{DumpableBehavior, Signal};

use crate::egress::Door;
use crate::mounts::{self, Staged, stage};
use crate::profile::Network;
use crate::wire::{Message, Order};
use crate::{confine, secrets, syscall, warden, wire, zygote};

/// User and group the step sees itself as. Never 0.
pub(crate) const ID_INSIDE: u32 = 1000;

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether [`init_main`] was called in this process.
pub(crate) fn is_entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// To be called first in `main`. Does nothing in an ordinary process; in one that the launcher started as a sandbox's
/// first process, becomes that and never returns.
pub fn init_main() {
    ENTERED.store(true, Ordering::Relaxed);
    let called = std::env::args_os().next();
    let is = |name: &CStr| called.as_deref().and_then(|called| called.to_str()) == name.to_str().ok();
    if is(syscall::WARDEN_NAME) {
        let Ok(control) = syscall::take_control() else { syscall::exit_now(1) };
        syscall::exit_now(told(&control, warden::serve(control.as_fd())));
    }
    if is(syscall::ZYGOTE_NAME) {
        let Ok(control) = syscall::take_control() else { syscall::exit_now(1) };
        syscall::exit_now(i32::from(zygote::serve(control.as_fd()).is_err()));
    }
}

/// A copy of the zygote, in its namespaces, with its descriptors: pid 1.
pub(crate) fn as_copy() -> ! {
    let Ok(control) = syscall::take_control() else { syscall::exit_now(1) };
    syscall::exit_now(told(&control, serve(control.as_fd())));
}

/// The exit code, after the launcher was told what failed.
fn told(control: &OwnedFd, served: Staged<()>) -> i32 {
    match served {
        Ok(()) => 0,
        Err((stage, error)) => {
            let errno = error.raw_os_error().unwrap_or(0);
            let stage = if errno == 0 { format!("{stage} ({error})") } else { stage };
            // If the launcher is gone nobody is left to tell; it sees the missing report.
            let _ = wire::send_message(control.as_fd(), &Message::Failed { stage, errno }, &[]);
            1
        }
    }
}

fn serve(control: BorrowedFd<'_>) -> Staged<()> {
    // Set before the order is read: if the launcher died earlier, the socket is at its end; if later, this kills.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(stage("death signal"))?;
    // the zygote is not: its copy would not own the files in /proc by which it maps its user
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(stage("dumpable"))?;
    syscall::unblock_signals();
    wire::send_message(control, &Message::Arrived, &[]).map_err(stage("arriving"))?;
    let (order, mut sources) = wire::receive_order(control).map_err(stage("reading the order"))?;
    let launcher = if order.has_door { sources.pop() } else { None };
    let values = if order.secrets.is_empty() { None } else { sources.pop() };
    let namespaces = settle(&order)?;
    let landlock_abi = syscall::landlock_abi();
    if landlock_abi < order.profile.layers().landlock_abi_min {
        return Err((format!("landlock version {landlock_abi}"), io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
    }
    let values = values.map(|file| secrets::unpack(&order.secrets, file)).transpose().map_err(stage("reading the secrets"))?;
    let out = mounts::enter_root(&order, sources, &values.unwrap_or_default())?;
    let door = launcher.map(Door::open).transpose().map_err(stage("opening the way out"))?;
    syscall::drop_capabilities().map_err(stage("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(stage("no_new_privs"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(stage("not dumpable"))?;
    wire::send_message(control, &Message::Ready { namespaces, landlock_abi }, &[out.as_fd()]).map_err(stage("reporting"))?;
    drop(out);
    let (step, failure) = start(&order, &[])?;
    attend(control, step, failure, door.as_ref())
}

/// Identity, remaining namespaces, host name, loopback.
fn settle(order: &Order) -> Staged<Vec<String>> {
    put("/proc/self/setgroups", "deny").map_err(stage("setgroups"))?;
    put("/proc/self/uid_map", &format!("{ID_INSIDE} {} 1", order.uid_host)).map_err(stage("uid_map"))?;
    put("/proc/self/gid_map", &format!("{ID_INSIDE} {} 1", order.gid_host)).map_err(stage("gid_map"))?;
    let with_time = syscall::unshare_late().map_err(stage("cgroup namespace"))?;
    rustix::system::sethostname(order.hostname.as_bytes()).map_err(stage("host name"))?;
    let mut names = vec!["user", "mount", "pid", "ipc", "uts", "cgroup"];
    if with_time {
        names.push("time");
    }
    if matches!(order.profile.layers().network, Network::Empty | Network::Declared) {
        syscall::raise_loopback().map_err(stage("loopback"))?;
        names.push("net");
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn put(path: &str, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// Forks the step. The pipe's end is reached when the program runs; before that it carries the stage that failed.
pub(crate) fn start(order: &Order, sources: &[OwnedFd]) -> Staged<(i32, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(stage("pipe"))?;
    let step = syscall::fork_step(|| {
        let (stage, error) = match confine::confine(order, sources) {
            Err(failed) => failed,
            Ok(()) => ("", confine::execute(order)),
        };
        let text = format!("{}\n{stage}: {error}", error.raw_os_error().unwrap_or(libc::EIO));
        // Nothing else can be done here; without the text pid 1 sees the exit code 127.
        let _ = rustix::io::write(&writer, text.as_bytes());
    })
    .map_err(stage("fork"))?;
    Ok((step, reader))
}

/// Reaps until the step's main process ends, then reports.
fn attend(control: BorrowedFd<'_>, step: i32, failure: OwnedFd, door: Option<&Door>) -> Staged<()> {
    if !is_running(control, failure)? {
        return Ok(());
    }
    if let Some(door) = door {
        return door.attend(control, step);
    }
    loop {
        let Some(ended) = syscall::wait4(-1, true).map_err(stage("waiting"))? else {
            continue;
        };
        if ended.pid == step {
            let exited = Message::Exited { status: ended.status };
            return wire::send_message(control, &exited, &[]).map_err(stage("reporting"));
        }
    }
}

/// Whether the program was executed; if not, the launcher is told, or the stage that failed is returned.
pub(crate) fn is_running(control: BorrowedFd<'_>, failure: OwnedFd) -> Staged<bool> {
    let mut text = String::new();
    fs::File::from(failure).read_to_string(&mut text).map_err(stage("start"))?;
    let Some((errno, reason)) = text.split_once('\n') else { return Ok(true) };
    let errno = errno.parse().unwrap_or(libc::EIO);
    match reason.split_once(": ") {
        Some(("", _)) => {
            wire::send_message(control, &Message::NotExecuted { errno }, &[]).map_err(stage("reporting"))?;
            Ok(false)
        }
        _ => Err((reason.to_owned(), io::Error::from_raw_os_error(errno))),
    }
}
