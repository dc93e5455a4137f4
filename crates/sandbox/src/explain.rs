//! What each layer of a profile does, and what it asks of the machine.
//!
//! In: a profile. Out: [`Layer`]s, from its row of the table.
//!
//! **Invariant:** what is told comes from the row that preflight and launch read too.

use serde::Serialize;

use crate::profile::{CgroupUse, Network, Profile};

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Its name.
    pub layer: &'static str,
    /// Whether the profile has it.
    pub present: bool,
    /// What it does, or what is there instead.
    pub does: String,
    /// What it asks of the machine; empty if nothing.
    pub asks: &'static str,
}

impl Profile {
    /// Its layers, outermost first.
    pub fn explain(self) -> Vec<Layer> {
        let row = self.layers();
        let layer = |layer, present, does: &str, asks| Layer { layer, present, does: does.to_owned(), asks };
        let namespaces = if row.namespaces {
            let does = "its own user, mounts, processes, host name, message queues, cgroup view and clock offsets, in a private root that holds what was shown to it";
            layer("namespaces", true, does, "user namespaces for this user (Linux 5.12 or newer)")
        } else {
            layer("namespaces", false, "none: it sees the host's tree as far as Landlock lets it", "")
        };
        let network = match row.network {
            Network::Empty => layer("network", true, "a loopback of its own, and nothing else", "network namespaces"),
            Network::NoSockets => layer("network", true, "no socket can be made, bound or connected", ""),
            Network::Declared => layer("network", true, "a proxy that connects to declared hosts alone", "network namespaces"),
            Network::Host => layer("network", false, "the host's: everything that this machine reaches", ""),
        };
        let landlock = Layer {
            layer: "landlock",
            present: true,
            does: if row.namespaces {
                "a second wall over the same files; from version 6 no abstract socket and no signal leads out".to_owned()
            } else {
                "the wall itself: files, ports, abstract sockets and signals".to_owned()
            },
            asks: if row.landlock_abi_min >= 6 { "Landlock version 6 (Linux 6.12)" } else { "Landlock version 1 (Linux 5.13)" },
        };
        let cgroup = match row.cgroup {
            CgroupUse::Demanded => layer(
                "cgroup",
                true,
                "bounds memory, processes and processor of the whole tree, counts them, and kills it",
                "a cgroup that this user may manage",
            ),
            CgroupUse::WherePossible => {
                layer("cgroup", true, "the same where this user may manage one; else limits of each process alone", "")
            }
            CgroupUse::Unused => layer("cgroup", false, "none: limits of each process alone, no share of the processor", ""),
        };
        let calls =
            layer("seccomp", true, "a list of allowed system calls; the rest fails, foreign interfaces kill", "system call filters");
        let limits = layer(
            "limits",
            true,
            "no core file, file sizes, open files, processes; no new privileges, no capability, no inherited descriptor or variable",
            "",
        );
        let mut layers = vec![namespaces, network, landlock, calls, cgroup, limits];
        if row.devices {
            layers.push(layer("devices", true, "declared device nodes and the libraries of their driver, nothing else", "the devices"));
        }
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_layer_is_told_as_missing() {
        let present = |profile: Profile, name: &str| profile.explain().iter().find(|layer| layer.layer == name).map(|layer| layer.present);
        assert_eq!(present(Profile::Strict, "cgroup"), Some(true));
        assert_eq!(present(Profile::NoCgroup, "cgroup"), Some(false));
        assert_eq!(present(Profile::Landlock, "namespaces"), Some(false));
        assert_eq!(present(Profile::Provision, "network"), Some(false));
        assert_eq!((present(Profile::Strict, "devices"), present(Profile::Gpu, "devices")), (None, Some(true)));
    }
}
