//! What came of a run: how it ended, what it wrote, what was enforced.
//!
//! In: observations of launcher and pid 1. Out: [`Outcome`]; [`Enforced`] goes into the attestation.
//!
//! **Invariant:** [`Enforced`] tells what the kernel accepted, not what was asked.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::error::CollectError;
use crate::profile::Profile;

/// How the step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Its time was over; the whole tree was killed.
    TimedOut,
    /// The caller stopped it; the whole tree was killed.
    Cancelled,
    /// The kernel killed it for want of memory.
    OutOfMemory,
}

/// The head of one output stream.
#[derive(Debug, Clone, Default)]
pub struct CapturedStream {
    /// The first bytes, at most `log_bytes`. Raw: control characters are not removed here.
    pub bytes: Vec<u8>,
    /// All bytes the step wrote.
    pub total: u64,
    /// Whether some were dropped.
    pub truncated: bool,
}

/// A file the step left: regular, with one name, opened beneath its output folder.
#[derive(Debug)]
pub struct CollectedFile {
    /// Path in the output folder, parts joined by `/`.
    pub path: String,
    /// Open for reading. Nobody else can write it: the tree is dead.
    pub file: File,
    /// Its length.
    pub size: u64,
    /// Whether any execute bit is set.
    pub executable: bool,
}

/// One output folder.
#[derive(Debug)]
pub struct CollectedOutput {
    /// As declared.
    pub name: String,
    /// Sorted by path, bytewise. Empty folders are not reported.
    pub files: Vec<CollectedFile>,
}

/// Limits the cgroup enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupReport {
    /// 1 or 2.
    pub version: u8,
    /// Memory, swap included.
    pub memory_bytes: u64,
    /// Tasks.
    pub processes: u32,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
}

/// What was really enforced; goes into the attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The profile.
    pub profile: Profile,
    /// Namespaces of its own.
    pub namespaces: Vec<String>,
    /// Landlock version in force, 0 if none.
    pub landlock_abi: u32,
    /// System calls the filter allows (all others fail or kill).
    pub seccomp_allowed: usize,
    /// Instructions of the filter.
    pub seccomp_instructions: usize,
    /// Limits by cgroup, if any.
    pub cgroup: Option<CgroupReport>,
    /// Always true in a run that happened.
    pub no_new_privs: bool,
    /// User inside, user on the host.
    pub uid_map: Option<(u32, u32)>,
    /// Group inside, group on the host.
    pub gid_map: Option<(u32, u32)>,
    /// `none`, `declared` or `host`.
    pub network: String,
    /// Kernel release.
    pub kernel: String,
    /// Devices of the host that were shown: names and numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// What this run could not stop.
    pub gaps: Vec<String>,
    /// Numbers of the attacks ([`crate::threats::THREATS`]) it could not stop. Reports of earlier releases lack them.
    #[serde(default)]
    pub not_stopped: Vec<u8>,
}

/// What it cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the tree, files in memory included; unknown without cgroup.
    pub peak_memory_bytes: Option<u64>,
    /// User and system time of the tree.
    pub cpu_us: u64,
    /// Processor time of the launcher's thread for it: preparing, watching, collecting.
    #[serde(default)]
    pub launcher_cpu_us: u64,
    /// Most tasks at once; unknown where the kernel does not count it.
    pub peak_processes: Option<u64>,
    /// From launch to the death of the tree.
    pub wall_ms: u64,
}

/// A run that happened.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub exit: Exit,
    /// Standard output.
    pub stdout: CapturedStream,
    /// Standard error.
    pub stderr: CapturedStream,
    /// Output folders in declared order, or the first thing in them that cannot be taken.
    pub outputs: Result<Vec<CollectedOutput>, CollectError>,
    /// What was enforced.
    pub enforced: Enforced,
    /// What it cost.
    pub usage: Usage,
}
