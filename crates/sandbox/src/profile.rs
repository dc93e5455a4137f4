//! Profiles: which layers each one demands, and which attacks it leaves open.
//!
//! In: a name. Out: its row of [`LAYERS`], from which preflight, launch, report and `sandbox explain` read.
//!
//! **Invariant:** what a profile demands is enforced or the run is refused; what it leaves open is named in every report.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// How tightly a step is confined. See `docs/src/concepts/sandbox.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Namespaces, private root, empty network, Landlock, seccomp, cgroup limits.
    Strict,
    /// Strict without cgroups: memory and processor limits become per-process or vanish, which is reported.
    NoCgroup,
    /// No namespaces at all: Landlock, seccomp and resource limits. Weakest.
    Landlock,
    /// Strict, with a way out to declared hosts alone.
    Network,
    /// No-cgroup, with a way out to declared hosts alone.
    NetworkNoCgroup,
    /// Strict with the network of the host, for provisioning alone.
    Provision,
    /// No-cgroup with the network of the host, for provisioning alone.
    ProvisionNoCgroup,
    /// Landlock with the network of the host, for provisioning alone.
    ProvisionLandlock,
    /// Strict with declared device nodes.
    Gpu,
}

/// What a profile wants of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupUse {
    /// Without one nothing runs.
    Demanded,
    /// Used where this user may make one.
    WherePossible,
    /// Not used.
    Unused,
}

/// What a step can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A namespace of its own with a loopback and nothing else.
    Empty,
    /// The host's namespace, but no socket can be made, bound or connected.
    NoSockets,
    /// An empty namespace with a proxy that connects to declared hosts alone.
    Declared,
    /// Whatever the host reaches.
    Host,
}

/// When an attack is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// The launcher is not root: the step is its user.
    OrdinaryUser,
    /// No cgroup bounds the step.
    NoCgroup,
    /// Neither a cgroup nor a host user of its own.
    OrdinaryWithoutCgroup,
    /// The kernel's Landlock is older than this version.
    LandlockBelow(u32),
}

/// An attack that a profile cannot stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its number in [`crate::threats::THREATS`].
    pub attack: u8,
    pub(crate) when: When,
    /// How far it goes, and what limits it.
    pub why: &'static str,
}

/// What decides which attacks are open in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The launcher is root, and gives each run a user of its own.
    pub root: bool,
    /// A cgroup bounds the step.
    pub cgroup: bool,
    /// Landlock's version.
    pub landlock_abi: u32,
}

/// One profile.
#[derive(Debug)]
pub struct Layers {
    /// Which.
    pub profile: Profile,
    /// On the command line and in reports.
    pub name: &'static str,
    /// For whom.
    pub about: &'static str,
    /// User, mount, pid, ipc, uts, cgroup and time namespaces with a private root.
    pub namespaces: bool,
    /// Cgroups.
    pub cgroup: CgroupUse,
    /// The least Landlock version.
    pub landlock_abi_min: u32,
    /// Network.
    pub network: Network,
    /// Whether device nodes may be declared.
    pub devices: bool,
    /// Whether a step may run under it.
    pub for_steps: bool,
    /// What it cannot stop.
    pub open: &'static [Open],
}

const fn open(attack: u8, when: When, why: &'static str) -> Open {
    Open { attack, when, why }
}

const MEMORY: Open = open(
    49,
    When::NoCgroup,
    "memory is bounded for each process alone (RLIMIT_DATA); files in memory, memory files included, by their size limit",
);
const LOOPBACK: Open = open(8, When::Always, "the network is the host's");
const METADATA: Open = open(9, When::Always, "the network is the host's");
const NAMES: Open = open(10, When::Always, "the network is the host's");
const ABSTRACT: Open = open(16, When::LandlockBelow(6), "older Landlock does not keep abstract sockets apart");
const ELSEWHERE: Open = open(18, When::Always, "no proxy decides where a connection goes");

const ATTRIBUTES: Open =
    open(1, When::OrdinaryUser, "contents are safe; mode, times and attributes of the launching user's files can be changed");
const PROCESSES: Open = open(6, When::Always, "that a process exists, and whose it is, can be asked by its number; nothing else about it");
const BOUNDING: Open = open(43, When::OrdinaryUser, "the bounding set stays full; no_new_privs keeps everybody from drawing on it");
const INPUTS: Open = open(45, When::OrdinaryUser, "contents are safe; mode, times and attributes of the inputs can be changed");
const FORKS: Open = open(48, When::OrdinaryWithoutCgroup, "processes are bounded for all of the launching user's together");
const DISK: Open = open(50, When::Always, "files are bounded one by one, not together; they lie on the host's disk");
const SURVIVORS: Open =
    open(54, When::Always, "processes that the step left behind survive if launcher and first process are killed at once");
const LOADER: Open = open(59, When::Always, "what the step wrote cannot be executed, but mapped and run by the system's loader");

/// All profiles, strictest first.
#[rustfmt::skip]
pub static LAYERS: [Layers; 9] = [
    Layers {
        profile: Profile::Strict, name: "strict", about: "the default: every layer",
        namespaces: true, cgroup: CgroupUse::Demanded, landlock_abi_min: 1, network: Network::Empty, devices: false, for_steps: true,
        open: &[],
    },
    Layers {
        profile: Profile::NoCgroup, name: "no-cgroup", about: "for users whom nobody gave a cgroup to manage",
        namespaces: true, cgroup: CgroupUse::Unused, landlock_abi_min: 1, network: Network::Empty, devices: false, for_steps: true,
        open: &[MEMORY],
    },
    Layers {
        profile: Profile::Network, name: "network", about: "for steps that declare the hosts they must reach",
        namespaces: true, cgroup: CgroupUse::Demanded, landlock_abi_min: 1, network: Network::Declared, devices: false, for_steps: true,
        open: &[],
    },
    Layers {
        profile: Profile::NetworkNoCgroup, name: "network-no-cgroup", about: "the same where no cgroup can be had",
        namespaces: true, cgroup: CgroupUse::Unused, landlock_abi_min: 1, network: Network::Declared, devices: false, for_steps: true,
        open: &[MEMORY],
    },
    Layers {
        profile: Profile::Gpu, name: "gpu", about: "for steps that compute on declared devices",
        namespaces: true, cgroup: CgroupUse::Demanded, landlock_abi_min: 1, network: Network::Empty, devices: true, for_steps: true,
        open: &[open(37, When::Always, "the drivers of the declared devices are within reach; no other device is")],
    },
    Layers {
        profile: Profile::Landlock, name: "landlock", about: "for places that refuse user namespaces: containers, pods, some desktops",
        namespaces: false, cgroup: CgroupUse::WherePossible, landlock_abi_min: 6, network: Network::NoSockets, devices: false, for_steps: true,
        open: &[
            ATTRIBUTES, PROCESSES, BOUNDING, INPUTS, FORKS, MEMORY, DISK, SURVIVORS, LOADER,
        ],
    },
    Layers {
        profile: Profile::Provision, name: "provision", about: "for downloading environments alone; no step may ask for it",
        namespaces: true, cgroup: CgroupUse::Demanded, landlock_abi_min: 1, network: Network::Host, devices: false, for_steps: false,
        open: &[LOOPBACK, METADATA, NAMES, ABSTRACT, ELSEWHERE],
    },
    Layers {
        profile: Profile::ProvisionNoCgroup, name: "provision-no-cgroup", about: "the same where no cgroup can be had",
        namespaces: true, cgroup: CgroupUse::Unused, landlock_abi_min: 1, network: Network::Host, devices: false, for_steps: false,
        open: &[LOOPBACK, METADATA, NAMES, ABSTRACT, ELSEWHERE, MEMORY],
    },
    Layers {
        profile: Profile::ProvisionLandlock, name: "provision-landlock", about: "the same where user namespaces are refused",
        namespaces: false, cgroup: CgroupUse::WherePossible, landlock_abi_min: 6, network: Network::Host, devices: false, for_steps: false,
        open: &[
            LOOPBACK, METADATA, NAMES, ELSEWHERE,
            ATTRIBUTES, PROCESSES, BOUNDING, INPUTS, FORKS, MEMORY, DISK, SURVIVORS, LOADER,
        ],
    },
];

impl Profile {
    /// Its row.
    pub fn layers(self) -> &'static Layers {
        match self {
            Self::Strict => &LAYERS[0],
            Self::NoCgroup => &LAYERS[1],
            Self::Network => &LAYERS[2],
            Self::NetworkNoCgroup => &LAYERS[3],
            Self::Gpu => &LAYERS[4],
            Self::Landlock => &LAYERS[5],
            Self::Provision => &LAYERS[6],
            Self::ProvisionNoCgroup => &LAYERS[7],
            Self::ProvisionLandlock => &LAYERS[8],
        }
    }

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.layers().name
    }

    /// The profile that downloads an environment for steps of this one: as tight, but for the network.
    #[must_use]
    pub fn for_provisioning(self) -> Self {
        match self.layers().cgroup {
            _ if !self.layers().namespaces => Self::ProvisionLandlock,
            CgroupUse::Demanded => Self::Provision,
            CgroupUse::WherePossible | CgroupUse::Unused => Self::ProvisionNoCgroup,
        }
    }

    /// The profile of a step that declares hosts: as tight as this one, but for the way out. None where there is no empty network.
    #[must_use]
    pub fn for_egress(self) -> Option<Self> {
        match self {
            Self::Strict | Self::Network => Some(Self::Network),
            Self::NoCgroup | Self::NetworkNoCgroup => Some(Self::NetworkNoCgroup),
            Self::Landlock | Self::Gpu | Self::Provision | Self::ProvisionNoCgroup | Self::ProvisionLandlock => None,
        }
    }

    /// Whether a step may run under it; provisioning has the network of the host, which no step gets.
    #[must_use]
    pub fn is_for_steps(self) -> bool {
        self.layers().for_steps
    }

    pub(crate) fn demands_cgroup(self) -> bool {
        self.layers().cgroup == CgroupUse::Demanded
    }

    /// The attacks that a run under these circumstances cannot stop.
    pub fn cannot_stop(self, run: Circumstances) -> impl Iterator<Item = &'static Open> {
        self.layers().open.iter().filter(move |open| open.when.holds(run))
    }
}

impl When {
    fn holds(self, run: Circumstances) -> bool {
        match self {
            Self::Always => true,
            Self::OrdinaryUser => !run.root,
            Self::NoCgroup => !run.cgroup,
            Self::OrdinaryWithoutCgroup => !run.root && !run.cgroup,
            Self::LandlockBelow(version) => run.landlock_abi < version,
        }
    }
}

impl Open {
    /// Under which circumstances it is open, for people.
    pub fn circumstances(&self) -> String {
        match self.when {
            When::Always => "always".to_owned(),
            When::OrdinaryUser => "unless root starts it".to_owned(),
            When::NoCgroup => "without a cgroup".to_owned(),
            When::OrdinaryWithoutCgroup => "without a cgroup, unless root starts it".to_owned(),
            When::LandlockBelow(version) => format!("with Landlock below version {version}"),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = SandboxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        LAYERS.iter().find(|layers| layers.name == text).map(|layers| layers.profile).ok_or_else(|| {
            let known = LAYERS.iter().map(|layers| layers.name).collect::<Vec<_>>().join(", ");
            SandboxError::Spec { what: format!("there is no profile `{text}` ({known})") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_read_what_they_write() {
        for layers in &LAYERS {
            let profile = layers.profile;
            assert_eq!(profile.layers().name, layers.name);
            assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile);
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("\"{profile}\""));
        }
        assert!("Strict".parse::<Profile>().is_err());
    }

    /// Provisioning differs from its steps in the network alone, and no step may ask for it.
    #[test]
    fn provisioning_is_as_tight_as_its_steps() {
        for layers in &LAYERS {
            let provisioning = layers.profile.for_provisioning();
            assert_eq!(provisioning.demands_cgroup(), layers.profile.demands_cgroup(), "{}", layers.name);
            assert_eq!(provisioning.layers().namespaces, layers.namespaces, "{}", layers.name);
            assert!(provisioning.layers().network == Network::Host && !provisioning.is_for_steps(), "{}", layers.name);
            assert_eq!(layers.for_steps, provisioning != layers.profile, "{}", layers.name);
        }
    }

    /// Who has every layer leaves nothing open; what is open has a number, once.
    #[test]
    fn what_is_open_is_numbered() {
        assert!(Profile::Strict.layers().open.is_empty());
        for layers in &LAYERS {
            let mut numbers: Vec<u8> = layers.open.iter().map(|open| open.attack).collect();
            assert!(numbers.iter().all(|number| crate::threats::title(*number).is_some()), "{}", layers.name);
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), layers.open.len(), "{}: one row an attack", layers.name);
            assert!(layers.open.iter().all(|open| !open.why.is_empty() && !open.circumstances().is_empty()));
        }
    }

    #[test]
    fn circumstances_decide() {
        let open = |root, cgroup, landlock_abi| {
            let run = Circumstances { root, cgroup, landlock_abi };
            Profile::Provision.cannot_stop(run).map(|open| open.attack).collect::<Vec<_>>()
        };
        assert_eq!(open(true, true, 7), [8, 9, 10, 18]);
        assert_eq!(open(true, true, 5), [8, 9, 10, 16, 18]);
        assert!(When::OrdinaryWithoutCgroup.holds(Circumstances { root: false, cgroup: false, landlock_abi: 7 }));
        assert!(!When::OrdinaryWithoutCgroup.holds(Circumstances { root: false, cgroup: true, landlock_abi: 7 }));
        assert!(!When::OrdinaryUser.holds(Circumstances { root: true, cgroup: false, landlock_abi: 7 }));
        assert!(When::NoCgroup.holds(Circumstances { root: true, cgroup: false, landlock_abi: 7 }));
    }
}
