//! Device nodes that a command may be shown, under the profile `gpu` alone.
//!
//! In: a path of the host's `/dev`. Out: [`Device`], if it is an accelerator's: by its name and by its number.
//!
//! **Invariant:** a device has a name and a number of [`KINDS`]; memory, kernel log, disks, terminals and input never have.
//! **Invariant:** what is shown is the node that was looked at: pid 1 compares it again.

use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Below `/dev`: `nvidia0`, `dri/renderD128`.
    pub name: String,
    /// Of its driver.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
    /// Which node: device and inode.
    pub(crate) node: (u64, u64),
}

/// Which numbers a name may have.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// A major number of its own, and the least minor one.
    Major(u32, u32),
    /// The kernel chooses one from its dynamic ranges.
    Dynamic,
}

/// A kind of device: how its names begin, whether a number follows, what its numbers are.
struct Kind {
    start: &'static str,
    numbered: bool,
    numbers: Numbers,
}

/// Accelerators: NVIDIA, rendering without a screen, AMD's compute driver, the kernel's own class, Windows' Linux subsystem.
const KINDS: [Kind; 8] = [
    Kind { start: "nvidia", numbered: true, numbers: Numbers::Major(195, 0) },
    Kind { start: "nvidiactl", numbered: false, numbers: Numbers::Major(195, 0) },
    Kind { start: "nvidia-modeset", numbered: false, numbers: Numbers::Major(195, 0) },
    Kind { start: "nvidia-uvm", numbered: false, numbers: Numbers::Dynamic },
    Kind { start: "dri/renderD", numbered: true, numbers: Numbers::Major(226, 128) },
    Kind { start: "kfd", numbered: false, numbers: Numbers::Dynamic },
    Kind { start: "accel/accel", numbered: true, numbers: Numbers::Major(261, 0) },
    Kind { start: "dxg", numbered: false, numbers: Numbers::Dynamic },
];
/// `/dev/null` and `/dev/zero`, which every step has: stand-ins for tests under any of these names.
const HARMLESS: [(u32, u32); 2] = [(1, 3), (1, 5)];
/// Devices of one sandbox.
pub(crate) const DEVICES_MAX: usize = 64;

impl Device {
    /// Looks at the node at `path`, which begins with `/dev/`; no link is followed.
    pub fn open(path: &str) -> Result<Self, SandboxError> {
        let refuse = |why: &str| SandboxError::Spec { what: format!("device `{}` {why}", path.escape_debug()) };
        let name = path.strip_prefix("/dev/").ok_or_else(|| refuse("does not lie in /dev"))?;
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("is no plain path below /dev"));
        }
        let kind = KINDS.iter().find(|kind| kind.has(name)).ok_or_else(|| refuse(&format!("is no accelerator: {}", names())))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let node = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve);
        let node = node.map_err(|error| refuse(&format!("cannot be looked at: {}", std::io::Error::from(error))))?;
        let stat = rustix::fs::fstat(&node).map_err(|error| refuse(&std::io::Error::from(error).to_string()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            return Err(refuse("is no character device"));
        }
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if !kind.numbers.hold(major, minor) {
            return Err(refuse(&format!("has the number {major}:{minor}, which is another kind's")));
        }
        Ok(Self { name: name.to_owned(), major, minor, node: (stat.st_dev, stat.st_ino) })
    }

    /// Whether the node that stands there now is the one that was looked at.
    pub(crate) fn is(&self, stat: &rustix::fs::Stat) -> bool {
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (stat.st_dev, stat.st_ino) == self.node
            && number == (self.major, self.minor)
    }

    /// For reports: its name and number.
    pub(crate) fn shown(&self) -> String {
        format!("{} ({}:{})", self.name, self.major, self.minor)
    }
}

impl Kind {
    fn has(&self, name: &str) -> bool {
        match name.strip_prefix(self.start) {
            Some("") => !self.numbered,
            Some(number) => self.numbered && number.len() <= 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
            None => false,
        }
    }
}

impl Numbers {
    fn hold(self, major: u32, minor: u32) -> bool {
        let own = match self {
            Self::Major(own, least) => major == own && minor >= least,
            // include/linux/fs.h: CHRDEV_MAJOR_DYN_END, CHRDEV_MAJOR_DYN_EXT_START
            Self::Dynamic => (234..=254).contains(&major) || (384..=511).contains(&major),
        };
        own || HARMLESS.contains(&(major, minor))
    }
}

/// What may be declared, for people.
fn names() -> String {
    let name = |kind: &Kind| format!("{}{}", kind.start, if kind.numbered { "N" } else { "" });
    KINDS.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        let kind = |name: &str| KINDS.iter().find(|kind| kind.has(name));
        for (name, number, fine) in [
            ("nvidia0", (195, 0), true),
            ("nvidia0", (1, 3), true),
            ("nvidia0", (1, 1), false),
            ("nvidia0", (10, 232), false),
            ("nvidia-uvm", (239, 0), true),
            ("nvidia-uvm", (254, 0), true),
            ("nvidia-uvm", (8, 0), false),
            ("dri/renderD128", (226, 128), true),
            ("dri/renderD128", (226, 0), false),
            ("kfd", (511, 0), true),
            ("kfd", (1, 11), false),
            ("accel/accel0", (261, 0), true),
        ] {
            assert_eq!(kind(name).unwrap().numbers.hold(number.0, number.1), fine, "{name} {number:?}");
        }
        for name in
            ["mem", "kmsg", "sda", "nvidia", "nvidiax", "nvidia0a", "nvidia12345", "dri/card0", "dri/renderD", "kfd0", "null", "kvm"]
        {
            assert!(kind(name).is_none(), "{name}");
        }
    }

    #[test]
    fn only_plain_paths_below_dev_are_looked_at() {
        for path in
            ["nvidia0", "/tmp/nvidia0", "/dev/../dev/nvidia0", "/dev//nvidia0", "/dev/./nvidia0", "/dev/", "/dev/nvidia0/", "/dev/mem", ""]
        {
            let error = Device::open(path).unwrap_err();
            assert_eq!(error.code(), "sandbox/spec", "{path}: {error}");
        }
    }
}
