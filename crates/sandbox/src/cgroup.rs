//! A cgroup for one step: version 1 (one folder a controller) or 2.
//!
//! In: limits and the pid of the sandbox's first process. Out: limits in force, counters, the certainty that nobody is left.
//!
//! **Invariant:** the folder is removed when this value is dropped.
//! **Invariant:** the step's processes cannot name their cgroup: no cgroup file system is mounted for them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::SandboxError;
use crate::report::CgroupReport;
use crate::spec::Limits;

/// How long killed processes may take to vanish.
const VANISH_MAX: Duration = Duration::from_secs(5);
const CPU_PERIOD_US: u64 = 100_000;
/// On version 2 a group with children may hold no process, so the launcher moves itself into this leaf.
const LAUNCHER_LEAF: &str = "seaworthy-launcher";

/// Where cgroups of this process can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The process' own folder under each controller.
    V1 { memory: PathBuf, pids: PathBuf, cpu: Option<PathBuf> },
    /// The process' own folder.
    V2(PathBuf),
}

/// Finds where this process may make groups; none if memory or pids is not available.
pub(crate) fn find() -> io::Result<Option<Place>> {
    static MOUNTS: OnceLock<String> = OnceLock::new();
    let mounts = match MOUNTS.get() {
        Some(mounts) => mounts,
        None => {
            let read = fs::read_to_string("/proc/self/mountinfo")?;
            MOUNTS.get_or_init(|| read)
        }
    };
    Ok(locate(mounts, &fs::read_to_string("/proc/self/cgroup")?))
}

fn locate(mountinfo: &str, own: &str) -> Option<Place> {
    let v1 = |controller: &str| {
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let path = parts.next()?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        })?;
        folder(mountinfo, "cgroup", Some(controller), path)
    };
    if let (Some(memory), Some(pids)) = (v1("memory"), v1("pids")) {
        return Some(Place::V1 { memory, pids, cpu: v1("cpu") });
    }
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut base = folder(mountinfo, "cgroup2", None, path)?;
    if base.file_name().is_some_and(|name| name == LAUNCHER_LEAF) {
        base.pop();
    }
    let controllers = fs::read_to_string(base.join("cgroup.controllers")).ok()?;
    let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
    (has("memory") && has("pids")).then_some(Place::V2(base))
}

/// The folder of `path` in the mounted hierarchy, honouring a mount of a part of it.
fn folder(mountinfo: &str, kind: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, super_block) = line.split_once(" - ")?;
        let mut right = super_block.split(' ');
        if right.next()? != kind {
            return None;
        }
        if let Some(controller) = controller
            && !right.nth(1)?.split(',').any(|option| option == controller)
        {
            return None;
        }
        let mut left = mount.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        Some(Path::new(point).join(below.trim_start_matches('/')))
    })
}

/// The group of one step.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folders: Vec<PathBuf>,
    memory: PathBuf,
    pids: PathBuf,
    report: CgroupReport,
}

impl Cgroup {
    /// Makes the group and sets its limits. `Err` means that this user may not (no delegation), or a limit was refused.
    pub(crate) fn create(place: &Place, limits: &Limits) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = format!("seaworthy-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let group = match place {
            Place::V1 { memory, pids, cpu } => {
                let cpu = limits.cpu_milli.and(cpu.as_ref());
                let folders: Vec<_> = [Some(memory), Some(pids), cpu].into_iter().flatten().collect();
                Self::make(1, &folders, &name, limits)?
            }
            Place::V2(base) => {
                enable_controllers(base)?;
                Self::make(2, &[base], &name, limits)?
            }
        };
        group.limit(limits)?;
        Ok(group)
    }

    fn make(version: u8, bases: &[&PathBuf], name: &str, limits: &Limits) -> io::Result<Self> {
        let mut group = Self {
            folders: Vec::new(),
            memory: PathBuf::new(),
            pids: PathBuf::new(),
            report: CgroupReport {
                version,
                memory_bytes: limits.memory_bytes,
                processes: limits.processes.saturating_add(1),
                cpu_milli: limits.cpu_milli,
            },
        };
        for (index, base) in bases.iter().enumerate() {
            sweep(base);
            let folder = base.join(name);
            fs::create_dir(&folder)?;
            group.folders.push(folder.clone());
            match index {
                0 => {
                    group.memory.clone_from(&folder);
                    group.pids = folder;
                }
                1 => group.pids = folder,
                _ => {}
            }
        }
        Ok(group)
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let memory = limits.memory_bytes.to_string();
        put(&self.pids.join("pids.max"), &self.report.processes.to_string())?;
        if self.report.version == 1 {
            put(&self.memory.join("memory.limit_in_bytes"), &memory)?;
            put_if_there(&self.memory.join("memory.memsw.limit_in_bytes"), &memory)?;
        } else {
            put(&self.memory.join("memory.max"), &memory)?;
            put_if_there(&self.memory.join("memory.swap.max"), "0")?;
            put(&self.memory.join("memory.oom.group"), "1")?;
        }
        let Some(milli) = limits.cpu_milli else {
            return Ok(());
        };
        let quota = u64::from(milli) * CPU_PERIOD_US / 1000;
        if self.report.version == 2 {
            return put(&self.memory.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"));
        }
        let Some(cpu) = self.folders.get(2) else {
            return Err(io::Error::other("the cpu controller is not mounted"));
        };
        put(&cpu.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
        put(&cpu.join("cpu.cfs_quota_us"), &quota.to_string())
    }

    pub(crate) fn report(&self) -> &CgroupReport {
        &self.report
    }

    /// Files by which a new process enters by itself; none where the kernel has no such thing (version 2).
    pub(crate) fn entries(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |folder: &PathBuf| OpenOptions::new().write(true).open(folder.join("tasks")).map(OwnedFd::from);
        if self.report.version == 1 { self.folders.iter().map(open).collect() } else { Ok(Vec::new()) }
    }

    /// Takes a process in, or makes sure that it went in by itself; its later children follow.
    pub(crate) fn attach(&self, pid: i32) -> io::Result<()> {
        if self.report.version == 2 {
            return put(&self.memory.join("cgroup.procs"), &pid.to_string());
        }
        for folder in &self.folders {
            let inside = fs::read_to_string(folder.join("cgroup.procs"))?;
            if !inside.lines().any(|line| line.parse() == Ok(pid)) {
                return Err(io::Error::other(format!("`{}` does not hold the new process", folder.display())));
            }
        }
        Ok(())
    }

    /// Kills everything inside at once where the kernel can.
    pub(crate) fn kill(&self) {
        if self.report.version == 2 {
            // Older kernels lack the file; the death of pid 1 kills the tree in any case.
            let _ = put(&self.memory.join("cgroup.kill"), "1");
        }
    }

    /// Waits until no process is inside, killing what is found; more than zero after the bound is an error.
    pub(crate) fn expect_empty(&self) -> Result<(), SandboxError> {
        let until = Instant::now() + VANISH_MAX;
        loop {
            let alive = self.members().map_err(SandboxError::setup("counting survivors"))?;
            if alive.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(SandboxError::Survivors { count: alive.len() });
            }
            self.kill();
            for pid in alive {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // Gone meanwhile: the next count tells.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn members(&self) -> io::Result<Vec<i32>> {
        let text = fs::read_to_string(self.pids.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Processes the kernel killed here for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.report.version == 1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    pub(crate) fn peak_memory_bytes(&self) -> Option<u64> {
        number(&self.memory.join(if self.report.version == 1 { "memory.max_usage_in_bytes" } else { "memory.peak" }))
    }

    pub(crate) fn peak_processes(&self) -> Option<u64> {
        number(&self.pids.join("pids.peak"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            for _ in 0..50 {
                // Zombies keep a group busy for a moment after the last member is gone.
                match fs::remove_dir(folder) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(Duration::from_millis(2)),
                    _ => break,
                }
            }
        }
    }
}

/// Removes the empty groups of launchers that were killed before they could.
fn sweep(base: &Path) {
    static SWEPT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let Ok(mut swept) = SWEPT.lock() else { return };
    if swept.iter().any(|one| one == base) {
        return;
    }
    swept.push(base.to_owned());
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("seaworthy-")?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // A group with processes cannot be removed, whoever they are.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn enable_controllers(base: &Path) -> io::Result<()> {
    let control = base.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control)?;
    if ["memory", "pids", "cpu"].iter().all(|name| enabled.split_whitespace().any(|one| one == *name)) {
        return Ok(());
    }
    match put(&control, "+memory +pids +cpu") {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let leaf = base.join(LAUNCHER_LEAF);
            match fs::create_dir(&leaf) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            put(&leaf.join("cgroup.procs"), &std::process::id().to_string())?;
            put(&control, "+memory +pids +cpu")
        }
        other => other,
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), Named { path: path.to_path_buf(), error });
    OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        // The raw number decides above (busy), so it must survive.
        if error.raw_os_error() == Some(libc::EBUSY) { error } else { named(error) }
    })
}

/// An error of one file of the group.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {error}", path.display())]
struct Named {
    path: PathBuf,
    error: io::Error,
}

fn put_if_there(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() { put(path, text) } else { Ok(()) }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 20 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 20 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
32 20 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 20 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn version_one_is_found_by_controller() {
        let own = "9:memory:/a/b\n8:pids:/\n1:cpu,cpuacct:/c\n0::/\n";
        assert_eq!(
            locate(HYBRID, own),
            Some(Place::V1 {
                memory: "/sys/fs/cgroup/memory/a/b".into(),
                pids: "/sys/fs/cgroup/pids/".into(),
                cpu: Some("/sys/fs/cgroup/cpu/c".into()),
            })
        );
    }

    #[test]
    fn a_partly_mounted_hierarchy_is_honoured() {
        let mounts = "33 20 0:30 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(folder(mounts, "cgroup2", None, "/docker/x/y"), Some("/sys/fs/cgroup/y".into()));
        assert_eq!(folder(mounts, "cgroup2", None, "/other"), None);
    }

    #[test]
    fn without_controllers_there_is_no_place() {
        assert_eq!(locate("33 20 0:30 / /nonexistent rw - cgroup2 cgroup2 rw\n", "0::/\n"), None);
    }
}
