//! What the step's own process gives up between `fork` and `execve`.
//!
//! In: the order. Out: the program runs, or the error number of the stage that failed.
//!
//! **Invariant:** the system call filter comes last; after it only `execve` is left to do.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal};

use crate::wire::Order;
use crate::{landlock, seccomp, syscall};

const OPEN_FILES_MAX: u64 = 4096;

/// Confines this process. The stages are named for the report.
pub(crate) fn confine(order: &Order, sources: &[OwnedFd]) -> Result<(), (&'static str, io::Error)> {
    let at = |stage: &'static str| move |error: io::Error| (stage, error);
    syscall::unblock_signals();
    // without namespaces nothing else ends the step with whom started it
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| ("parent's death", error.into()))?;
    rustix::process::setsid().map_err(|error| ("setsid", error.into()))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| ("no_new_privs", error.into()))?;
    syscall::close_on_exec().map_err(at("descriptors"))?;
    limit(order).map_err(at("resource limits"))?;
    rustix::process::chdir(order.workdir.as_str()).map_err(|error| ("working folder", error.into()))?;
    match &order.view {
        None => landlock::restrict_to_root(&order.devices),
        Some(view) => landlock::restrict_to_view(order, Path::new(view), sources),
    }
    .map_err(at("landlock"))?;
    seccomp::install(&order.filters).map_err(at("seccomp"))
}

fn limit(order: &Order) -> io::Result<()> {
    // 1, not 0: the kernel runs a core_pattern pipe at 0, but not at 1, and no core file fits in one byte.
    bound(Resource::Core, 1)?;
    bound(Resource::Nofile, OPEN_FILES_MAX)?;
    // A page more than fits: what is written in full meets the full disk, a plain error, before the signal.
    bound(Resource::Fsize, order.disk_bytes.saturating_add(4096))?;
    bound(Resource::Nproc, u64::from(order.processes).saturating_add(1))?;
    bound(Resource::Memlock, 8 << 20)?;
    if let Some(bytes) = order.data_bytes {
        bound(Resource::Data, bytes)?;
    }
    Ok(())
}

/// Soft and hard limit, never above the present hard one (only root may raise that).
fn bound(resource: Resource, value: u64) -> io::Result<()> {
    let present = rustix::process::getrlimit(resource).maximum;
    let value = present.map_or(value, |present| present.min(value));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

/// Becomes the program. Returns only if that failed.
pub(crate) fn execute(order: &Order) -> io::Error {
    let Some((program, arguments)) = order.argv.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    #[expect(clippy::disallowed_methods, reason = "the sandbox is the crate that executes programs; this replaces the process")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&order.env).exec()
}
