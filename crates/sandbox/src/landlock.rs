//! The Landlock layer under the mounts: the same picture of the file system, enforced a second time.
//!
//! In: the kernel's Landlock version. Out: the calling thread is restricted for good.
//!
//! **Invariant:** below the profile's minimum version nothing runs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};

use crate::wire::{Order, Shape};

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
pub(crate) fn restrict_to_root() -> io::Result<()> {
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
    enforce(ruleset)
}

/// Restricts this thread where it is the only wall: what the order shows, by descriptor, and the three writable places; no port, no
/// abstract socket and no process outside.
pub(crate) fn restrict_to_view(order: &Order, view: &Path, sources: &[OwnedFd]) -> io::Result<()> {
    let abi = NEWEST;
    let unmade = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::Execute | AccessFs::IoctlDev;
    let write: BitFlags<AccessFs> = AccessFs::from_all(abi) & !unmade;
    let mut rules: Vec<(OwnedFd, BitFlags<AccessFs>)> = Vec::new();
    let open = |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
    rules.push((open(view)?, AccessFs::ReadFile | AccessFs::ReadDir));
    rules.push((open(&view.join("tmp"))?, write));
    for name in &order.outputs {
        rules.push((open(&view.join("out").join(name))?, write));
    }
    for (mount, source) in order.mounts.iter().zip(sources) {
        let mut access = BitFlags::from(AccessFs::ReadFile);
        if mount.exec {
            access |= AccessFs::Execute;
        }
        match mount.shape {
            Shape::Folder => access |= AccessFs::ReadDir,
            Shape::File => {}
            // rules only add up: what lies in a folder that is shown cannot be hidden
            Shape::Mask => return Err(io::Error::other("a mask needs namespaces")),
        }
        rules.push((source.try_clone()?, access));
    }
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        rules.push((open(Path::new(device))?, AccessFs::ReadFile | AccessFs::WriteFile));
    }
    for device in ["/dev/random", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo"] {
        rules.push((open(Path::new(device))?, AccessFs::ReadFile.into()));
    }
    let mut ruleset = begin(Ports::None)?;
    for (place, access) in rules {
        ruleset = ruleset.add_rule(PathBeneath::new(place, access)).map_err(io::Error::other)?;
    }
    enforce(ruleset)
}
