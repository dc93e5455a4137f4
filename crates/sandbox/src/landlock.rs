//! The Landlock layer under the mounts: the same picture of the file system, enforced a second time.
//!
//! In: the kernel's Landlock version. Out: the calling thread is restricted for good.
//!
//! **Invariant:** below the profile's minimum version nothing runs.

use std::io;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// Restricts this thread: no file, no port, no socket or process outside.
pub(crate) fn restrict_to_nothing() -> io::Result<()> {
    let abi = ABI::V7;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other("the kernel enforces no Landlock rule"));
    }
    Ok(())
}

/// Restricts this thread: read and execute everywhere (in the private root), write in the three writable places.
pub(crate) fn restrict_to_root() -> io::Result<()> {
    let abi = ABI::V7;
    let write: BitFlags<AccessFs> =
        AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::Execute | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let rule = |path: &str, access: BitFlags<AccessFs>| PathFd::new(path).map(|fd| PathBeneath::new(fd, access)).map_err(io::Error::other);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
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
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other("the kernel enforces no Landlock rule"));
    }
    Ok(())
}
