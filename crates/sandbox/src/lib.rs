//! Confine one process tree.
//!
//! In: a [`Spec`] (argv, environment, read-only mounts by descriptor, output folders, limits). Out: an [`Outcome`]
//! (exit, bounded streams, output files opened beneath their folder, what was really enforced, usage).
//!
//! The launcher ([`run`]) never forks itself: it clones a vfork-like child that only makes raw system calls and executes
//! this very program, where nothing can write to it. That is the zygote, one a process; pid 1 of each sandbox is a copy of
//! it ([`init_main`]).
//!
//! **Invariant:** anything that cannot be enforced is an error or a line in [`Enforced::gaps`], never silence.
//! **Invariant:** no process of the step is alive when its outputs are read.

#[cfg(target_os = "linux")]
pub mod attack;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod closure;
#[cfg(target_os = "linux")]
mod collect;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod drain;
#[cfg(target_os = "linux")]
mod egress;
#[cfg(target_os = "linux")]
mod elf;
mod error;
mod explain;
#[cfg(target_os = "linux")]
mod init;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod preflight;
pub mod profile;
#[cfg(target_os = "linux")]
pub mod recluse;
mod report;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod secrets;
mod spec;
#[cfg(target_os = "linux")]
mod syscall;
#[cfg(target_os = "linux")]
mod system;
pub mod threats;
#[cfg(target_os = "linux")]
mod view;
#[cfg(target_os = "linux")]
mod warden;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
pub mod worker;
#[cfg(target_os = "linux")]
mod zygote;

#[cfg(target_os = "linux")]
pub use closure::{ClosureError, ClosureFile, host_closure, interpreter_closure};
#[cfg(target_os = "linux")]
pub use device::Device;
#[cfg(target_os = "linux")]
pub use egress::{Doorkeeper, PROXY_PORT, proxy_url};
pub use error::{CollectError, Missing, SandboxError, Unsupported};
pub use explain::Layer;
#[cfg(target_os = "linux")]
pub use init::init_main;
#[cfg(target_os = "linux")]
pub use launch::{init_from, run, run_passing, run_with};
#[cfg(target_os = "linux")]
pub use preflight::{Facilities, preflight};
pub use profile::Profile;
pub use report::{CapturedStream, CgroupReport, CollectedFile, CollectedOutput, Enforced, Exit, Outcome, Usage};
#[cfg(target_os = "linux")]
pub use secrets::{Redactor, SECRETS_FOLDER, Secret};
#[cfg(target_os = "linux")]
pub use spec::Ways;
pub use spec::{Cancel, Limits, Mount, Spec};
#[cfg(target_os = "linux")]
pub use system::{SYSTEM_PATH, SystemView, driver_libraries, system_view};
