//! What this machine offers, before anything depends on it.
//!
//! In: a profile. Out: [`Facilities`], or every missing piece with what to change.
//!
//! **Invariant:** where a first process can be started, namespaces are tried, not guessed from settings; settings explain.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::cgroup::{self, Cgroup, Place};
use crate::error::{Missing, SandboxError, Unsupported};
use crate::profile::{Network, Profile};
use crate::spec::Limits;
use crate::{launch, seccomp, syscall};

/// `mount_setattr` is the newest call the sandbox cannot do without.
const KERNEL_MIN: (u32, u32) = (5, 12);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facilities {
    /// Kernel release.
    pub kernel: String,
    /// Landlock version.
    pub landlock_abi: u32,
    /// Cgroup version, if limits can be set.
    pub cgroup_version: Option<u8>,
    /// Whether the launcher is root, so that steps get users of their own.
    pub root: bool,
}

/// Looks for everything the profile needs.
pub fn preflight(profile: Profile) -> Result<Facilities, Unsupported> {
    let mut missing = Vec::new();
    let mut lack = |what: String, hint: &str| missing.push(Missing { what, hint: hint.to_owned() });
    let kernel = kernel();
    if version(&kernel) < KERNEL_MIN {
        lack(format!("Linux {}.{} (this is {kernel})", KERNEL_MIN.0, KERNEL_MIN.1), "update the kernel");
    }
    let landlock_abi = syscall::landlock_abi();
    let wanted = profile.layers().landlock_abi_min;
    if landlock_abi < wanted {
        lack(
            format!("Landlock version {wanted} (this kernel has {landlock_abi})"),
            "boot a kernel with CONFIG_SECURITY_LANDLOCK and `lsm=landlock,…`",
        );
    }
    if fs::metadata("/proc/sys/kernel/seccomp/actions_avail").is_err() || seccomp::filters().is_err() {
        lack("system call filters".into(), "boot a kernel with CONFIG_SECCOMP_FILTER");
    }
    let mut cgroup_version = None;
    if profile.layers().namespaces {
        missing.append(&mut lacking_namespaces(profile));
    }
    if profile.demands_cgroup() {
        match try_cgroup() {
            Ok(version) => cgroup_version = Some(version),
            Err(why) => missing.append(&mut no_cgroup(profile, &why).missing),
        }
    }
    if missing.is_empty() {
        let root = rustix::process::geteuid().is_root();
        return Ok(Facilities { kernel, landlock_abi, cgroup_version, root });
    }
    Err(Unsupported { profile, missing })
}

/// Secrets need a file system that nobody else sees.
pub(crate) fn can_hide(profile: Profile, secrets: usize) -> Result<(), Unsupported> {
    if secrets == 0 || profile.layers().namespaces {
        return Ok(());
    }
    let what = "a place for secrets that only the step sees: without namespaces they would lie on the host's disk";
    Err(Unsupported::one(profile, what, "use `--profile strict` or `no-cgroup` where user namespaces are to be had"))
}

/// Kernel release.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|one: char| !one.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The namespaces of a profile that begin with the process; cgroup and time follow in pid 1.
pub(crate) fn namespaces(profile: Profile) -> c_int {
    if !profile.layers().namespaces {
        return 0;
    }
    let all = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if profile.layers().network == Network::Host { all } else { all | libc::CLONE_NEWNET }
}

/// Settings first, since they explain; then the attempt.
fn lacking_namespaces(profile: Profile) -> Vec<Missing> {
    if let Some(found) = no_namespaces() {
        return vec![found];
    }
    if !launch::has_init() {
        return Vec::new();
    }
    match launch::try_namespaces(profile) {
        Ok(()) => Vec::new(),
        Err(SandboxError::Unsupported(unsupported)) => unsupported.missing,
        Err(error) => {
            vec![Missing { what: error.to_string(), hint: error.hint() }]
        }
    }
}

fn try_cgroup() -> Result<u8, String> {
    let place = cgroup::find().map_err(|error| error.to_string())?;
    let place = place.ok_or_else(|| "the memory and pids controllers are not available".to_owned())?;
    let limits = Limits {
        memory_bytes: 64 << 20,
        cpu_milli: None,
        processes: 8,
        disk_bytes: 0,
        timeout: Duration::ZERO,
        log_bytes: 0,
        output_files: 0,
    };
    Cgroup::create(&place, &limits).map_err(|error| error.to_string())?;
    Ok(if matches!(place, Place::V1 { .. }) { 1 } else { 2 })
}

/// The refusal of a profile that bounds memory where nothing can.
pub(crate) fn no_cgroup(profile: Profile, why: &str) -> Unsupported {
    Unsupported::one(
        profile,
        format!("a cgroup this user may manage ({why})"),
        "run under `systemd-run --user --scope -p Delegate=yes`, or with `--profile no-cgroup`, which is attested as a gap",
    )
}

/// Why user namespaces are refused, if a setting says so.
fn no_namespaces() -> Option<Missing> {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let found = |what: &str, hint: &str| Some(Missing { what: what.to_owned(), hint: hint.to_owned() });
    if fs::metadata("/proc/self/ns/user").is_err() {
        return found("user namespaces", "boot a kernel with CONFIG_USER_NS");
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return found("user namespaces", "sysctl user.max_user_namespaces=10000");
    }
    let ordinary = !rustix::process::geteuid().is_root();
    if ordinary && is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return found("user namespaces for ordinary users", "sysctl kernel.unprivileged_userns_clone=1");
    }
    if ordinary && is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return found(
            "user namespaces for ordinary users (AppArmor)",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,`",
        );
    }
    None
}

/// Turns a refusal of the kernel at launch into the missing piece.
pub(crate) fn explain(profile: Profile, stage: &'static str, error: io::Error) -> SandboxError {
    if stage == "setuid" {
        return Unsupported::one(
            profile,
            format!("a host user other than root for the step ({error})"),
            "start as an ordinary user, or in a user namespace that maps more than its root",
        )
        .into();
    }
    let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSPC | libc::EINVAL | libc::EUSERS));
    if stage == "clone" && refused {
        if let Some(missing) = no_namespaces() {
            return Unsupported { profile, missing: vec![missing] }.into();
        }
        return Unsupported::one(
            profile,
            format!("namespaces ({error})"),
            "allow user namespaces in the container engine's seccomp profile, or run outside of it",
        )
        .into();
    }
    SandboxError::Setup { stage: stage.to_owned(), source: error }
}

/// The same for a stage that pid 1 reported.
pub(crate) fn explain_stage(profile: Profile, stage: String, errno: i32) -> SandboxError {
    if stage == "mounting /proc" && errno == libc::EPERM {
        return Unsupported::one(
            profile,
            "a /proc that may be mounted again (the one here is partly masked)",
            "run the outer container with `--security-opt systempaths=unconfined`, or outside of one",
        )
        .into();
    }
    let source = if errno == 0 { io::ErrorKind::Other.into() } else { io::Error::from_raw_os_error(errno) };
    SandboxError::Setup { stage, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc-v595"), (6, 18));
        assert!(version("5.4.0") < KERNEL_MIN && version("5.12.0") >= KERNEL_MIN && version("10.0") >= KERNEL_MIN);
    }
}
