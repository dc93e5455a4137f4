//! The Landlock layer under the mounts: the same picture of the file system, enforced a second time.
//!
//! In: the kernel's Landlock version. Out: the calling thread is restricted for good.
//!
//! **Invariant:** below the profile's minimum version nothing runs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::device::Device;
use crate::profile::Network;
use crate::wire::{Order, Shape};

/// What a cgroup says of its limits, in both versions.
const LIMITS: [&str; 5] = ["cpu.max", "memory.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes"];
/// Folders within folders, down to what is hidden.
const DEPTH_MAX: usize = 16;

/// The newest version that is asked for; what an older kernel lacks is left out, and a profile's minimum is checked before.
const NEWEST: ABI = ABI::V7;

/// Which ports may be bound and connected to.
#[derive(Clone, Copy)]
enum Ports {
    None,
    /// A namespace of its own bounds them.
    Any,
}

/// A ruleset that allows nothing yet.
fn begin(ports: Ports) -> io::Result<RulesetCreated> {
    let files = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(NEWEST));
    let ruleset = match ports {
        Ports::None => files.and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST))),
        Ports::Any => files,
    };
    ruleset.and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST))).and_then(Ruleset::create).map_err(io::Error::other)
}

fn enforce(ruleset: RulesetCreated) -> io::Result<()> {
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other("the kernel enforces no Landlock rule"));
    }
    Ok(())
}

/// Restricts this thread: no file, no port, no socket or process outside.
pub(crate) fn restrict_to_nothing() -> io::Result<()> {
    enforce(begin(Ports::None)?)
}

/// Restricts this thread: read and execute everywhere (in the private root), write in the three writable places.
pub(crate) fn restrict_to_root(devices: &[Device]) -> io::Result<()> {
    let abi = NEWEST;
    let write: BitFlags<AccessFs> =
        AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::Execute | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let rule = |path: &str, access: BitFlags<AccessFs>| PathFd::new(path).map(|fd| PathBeneath::new(fd, access)).map_err(io::Error::other);
    let mut ruleset = begin(Ports::Any)?;
    for (path, access) in [
        ("/", AccessFs::from_read(abi)),
        ("/out", write),
        ("/tmp", write),
        ("/dev/shm", write),
        ("/dev/null", device),
        ("/dev/zero", device),
        ("/dev/full", device),
    ] {
        ruleset = ruleset.add_rule(rule(path, access)?).map_err(io::Error::other)?;
    }
    for declared in devices {
        let place = format!("/dev/{}", declared.name);
        ruleset = ruleset.add_rule(rule(&place, device | AccessFs::IoctlDev)?).map_err(io::Error::other)?;
    }
    enforce(ruleset)
}

/// Restricts this thread where it is the only wall: what the order shows, by descriptor, and the three writable places; no port, no
/// abstract socket and no process outside. Provisioning alone may connect.
pub(crate) fn restrict_to_view(order: &Order, view: &Path, sources: &[OwnedFd]) -> io::Result<()> {
    let abi = NEWEST;
    let unmade = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::Execute | AccessFs::IoctlDev;
    let write: BitFlags<AccessFs> = AccessFs::from_all(abi) & !unmade;
    let ports = if order.profile.layers().network == Network::Host { Ports::Any } else { Ports::None };
    let mut rules = Rules { ruleset: begin(ports)? };
    let open = |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
    rules.add(&open(view)?, AccessFs::ReadFile | AccessFs::ReadDir)?;
    rules.add(&open(&view.join("tmp"))?, write)?;
    for name in &order.outputs {
        rules.add(&open(&view.join("out").join(name))?, write)?;
    }
    for (mount, source) in order.mounts.iter().zip(sources) {
        let mut access = BitFlags::from(AccessFs::ReadFile);
        if mount.exec {
            access |= AccessFs::Execute;
        }
        match mount.shape {
            Shape::Folder => rules.add_around(source, access, &hidden_below(order, &mount.target), 0)?,
            Shape::File => rules.add(source, access)?,
            // rules only add up: what is shown by itself cannot be hidden
            Shape::Mask if is_shown_below(order, &mount.target) => return Err(io::Error::other("a mask over a mount needs namespaces")),
            Shape::Mask => {}
        }
    }
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        rules.add(&open(Path::new(device))?, AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for device in ["/dev/random", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo"] {
        rules.add(&open(Path::new(device))?, AccessFs::ReadFile.into())?;
    }
    // of the step's main process, which this is: database engines end where they see these and may not read them
    for own in ["cgroup", "limits", "maps", "stat", "statm", "status"] {
        rules.add(&open(&Path::new("/proc/self").join(own))?, AccessFs::ReadFile.into())?;
    }
    for limit in own_limits()?.iter().filter_map(|path| open(path).ok()) {
        rules.add(&limit, AccessFs::ReadFile.into())?;
    }
    enforce(rules.ruleset)
}

/// Where the limits of this process' cgroups can be read, if they are there.
fn own_limits() -> io::Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for line in std::fs::read_to_string("/proc/self/cgroup")?.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let below = Path::new(path.trim_start_matches('/'));
        if below.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            continue;
        }
        let folders = controllers.split(',').filter(|controller| !controller.contains('='));
        places.extend(folders.flat_map(|folder| LIMITS.map(|file| Path::new("/sys/fs/cgroup").join(folder).join(below).join(file))));
    }
    Ok(places)
}

/// Whether something is shown at `mask` or below.
fn is_shown_below(order: &Order, mask: &str) -> bool {
    let shown = order.mounts.iter().filter(|mount| mount.shape != Shape::Mask);
    shown.filter_map(|mount| mount.target.strip_prefix(mask)).any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What masks hide in the folder that is shown at `target`: paths from there.
fn hidden_below<'a>(order: &'a Order, target: &str) -> Vec<&'a str> {
    let masks = order.mounts.iter().filter(|mount| mount.shape == Shape::Mask);
    masks.filter_map(|mask| mask.target.strip_prefix(target)?.strip_prefix('/')).collect()
}

/// Rules, which only add up: what is hidden is what no rule shows.
struct Rules {
    ruleset: RulesetCreated,
}

impl Rules {
    fn add(&mut self, place: &OwnedFd, access: BitFlags<AccessFs>) -> io::Result<()> {
        (&mut self.ruleset).add_rule(PathBeneath::new(place, access)).map(drop).map_err(io::Error::other)
    }

    /// A folder with everything in it but `hidden`, of which names alone can be listed. A link in it shows nothing by itself.
    fn add_around(&mut self, folder: &OwnedFd, access: BitFlags<AccessFs>, hidden: &[&str], depth: usize) -> io::Result<()> {
        if hidden.is_empty() {
            return self.add(folder, access | AccessFs::ReadDir);
        }
        if depth > DEPTH_MAX {
            return Err(io::Error::other("what is hidden lies too deep"));
        }
        self.add(folder, AccessFs::ReadDir.into())?;
        let listed = rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for entry in Dir::read_from(&listed)? {
            let entry = entry?;
            let name = entry.file_name();
            // what is hidden has a name in UTF-8
            let plain = name.to_str().unwrap_or_default();
            if matches!(name.to_bytes(), b"." | b"..") || hidden.contains(&plain) {
                continue;
            }
            let found = rustix::fs::openat(&listed, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Directory => {
                    let below: Vec<&str> = hidden.iter().filter_map(|path| path.strip_prefix(plain)?.strip_prefix('/')).collect();
                    self.add_around(&found, access, &below, depth + 1)?;
                }
                FileType::RegularFile => self.add(&found, access)?,
                _ => {}
            }
        }
        Ok(())
    }
}
