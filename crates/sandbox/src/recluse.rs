//! Recluses: processes of our own program that hold something precious: started here, and confined by themselves.
//!
//! In: what to start, with one end of a socket; in the recluse: nothing. Out: a child; in the recluse, a process that can
//! only compute, talk over descriptors it has, and end.
//!
//! Not a sandbox for somebody else's program ([`crate::run`]): the recluse runs our code, reads its key files first, and
//! then gives up everything. [`harden`] comes before the first secret is read, [`confine`] after the last.
//!
//! **Invariant:** what could not be enforced is in the [`RecluseReport`], never silently missing.
//! **Invariant:** the socket is the only descriptor handed over besides standard error; the environment is what is given.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::SandboxError;
use crate::{landlock, seccomp, syscall};

/// The name under which a recluse is started: its program's first argument.
pub const NAME: &str = "seaworthy-recluse";
/// Bytes of memory that a recluse may have, once it has its secrets.
const MEMORY_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What a recluse could give up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecluseReport {
    /// Version of the Landlock rules that keep it from every file and port; 0 if the kernel has none.
    pub landlock: u32,
    /// System calls left to it.
    pub system_calls: u32,
}

/// Starts `program` as a recluse, with `socket` as its standard input.
pub fn spawn(program: &Path, arguments: &[OsString], environment: &[(OsString, OsString)], socket: OwnedFd) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "the sandbox is the crate that starts programs")]
    let mut command = Command::new(program);
    command.arg0(NAME).args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value as &OsStr)));
    // the error stream stays: it is where a passphrase is asked for if there is no other way to the terminal
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()
}

/// Before any secret is read: no debugger, no core file, no new privileges, no descriptor but the first three.
///
/// A process that is debugged already would stay so: that is an error.
pub fn harden() -> Result<(), SandboxError> {
    let at = |stage: &'static str| move |error: rustix::io::Errno| SandboxError::setup(stage)(error.into());
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("not dumpable"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(at("no core file"))?;
    // from here on nobody begins to; whoever did before is seen
    let status = std::fs::read_to_string("/proc/self/status").map_err(SandboxError::setup("debugger"))?;
    if !status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() == "0")) {
        return Err(SandboxError::Spec { what: "a recluse that is being debugged keeps nothing for itself".into() });
    }
    rustix::thread::set_no_new_privs(true).map_err(at("no_new_privs"))?;
    syscall::close_others().map_err(SandboxError::setup("descriptors"))
}

/// Keeps the memory there is now from the swap, as far as this user may: true if all of it is kept.
pub fn lock_memory() -> bool {
    let unlimited = rustix::process::getrlimit(Resource::Memlock).current.is_none() || rustix::process::geteuid().is_root();
    // later pages would make plain allocations fail once the privilege is gone, so only those there now are locked
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT).is_ok() && unlimited
}

/// After the last secret is read: no file, no socket but those open, no program, no other process. For good.
///
/// A kernel without Landlock is in the report; anything else that fails is an error.
pub fn confine() -> Result<RecluseReport, SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        // both layers are a thread's own
        let what = "a recluse confines itself while it has one thread".into();
        return Err(SandboxError::Spec { what });
    }
    let memory = Rlimit { current: Some(MEMORY_MAX), maximum: Some(MEMORY_MAX) };
    rustix::process::setrlimit(Resource::As, memory).map_err(|error| SandboxError::setup("memory limit")(error.into()))?;
    rustix::thread::clear_ambient_capability_set().map_err(|error| SandboxError::setup("capabilities")(error.into()))?;
    let none = CapabilitySets { effective: CapabilitySet::empty(), permitted: CapabilitySet::empty(), inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, none).map_err(|error| SandboxError::setup("capabilities")(error.into()))?;
    Ok(RecluseReport { landlock: confine_files()?, system_calls: confine_calls()? })
}

/// No file, no port, no foreign process: the version of the rules, 0 on a kernel without them. One of the two layers of
/// [`confine`], apart for its test.
pub fn confine_files() -> Result<u32, SandboxError> {
    let landlock = syscall::landlock_abi();
    if landlock > 0 {
        landlock::restrict_to_nothing().map_err(SandboxError::setup("landlock"))?;
    }
    Ok(landlock)
}

/// Few system calls: how many are left. The other layer.
pub fn confine_calls() -> Result<u32, SandboxError> {
    seccomp::install_for_recluse().map_err(SandboxError::setup("seccomp"))
}
