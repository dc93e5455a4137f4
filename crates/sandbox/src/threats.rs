//! The numbered attacks that a sandbox is measured against.
//!
//! In: nothing. Out: [`THREATS`], by which profiles say what they leave open and the battery says what it tried.
//!
//! **Invariant:** numbers are a contract: attestations name them, so none is ever given to another attack.

/// Their titles; the number of an attack is its place, from 1.
pub const THREATS: [&str; 65] = [
    "write outside the outputs",
    "read /etc/shadow",
    "read the host's key files and home folders",
    "find secrets in the environment",
    "read another process' environment",
    "see other users' processes",
    "use descriptors of the launcher",
    "connect to the host's loopback",
    "reach the metadata address 169.254.169.254",
    "talk to a name server",
    "raw and ICMP sockets",
    "packet sockets",
    "sockets to the virtual machine's host",
    "netlink sockets",
    "sockets of the kernel's ciphers",
    "abstract UNIX sockets of the host",
    "UNIX sockets of the host by path (docker.sock)",
    "a proxy made to connect elsewhere",
    "mount, unmount, remount",
    "the new mount interface",
    "a nested user namespace by unshare or clone",
    "a nested user namespace by clone3",
    "enter another namespace",
    "leave by chroot",
    "leave by pivot_root",
    "trace a process",
    "read another process' memory by call",
    "overwrite the launcher, or memory by /proc",
    "signal the launcher or other processes",
    "the kernel's key rings",
    "io_uring",
    "bpf",
    "performance counters",
    "userfaultfd",
    "open files by handle",
    "make device files",
    "the machine's devices",
    "kernel memory, symbols and sysrq",
    "set the kernel's helper programs",
    "/sys",
    "leave or change the cgroup",
    "set-user-id programs and file capabilities",
    "capabilities left over",
    "type into the terminal",
    "change inputs",
    "swap outputs while they are collected",
    "outputs that are no plain files",
    "fork bomb",
    "memory bomb, files in memory included",
    "fill disk or inodes",
    "spin past the time-out, deaf to signals",
    "survive by double fork",
    "stopped children at the kill",
    "outlive a killed launcher",
    "set the clock",
    "set the host name",
    "foreign system call interfaces",
    "turn off address randomisation",
    "run programs it wrote",
    "smuggle descriptors over a socket",
    "read another run's outputs, or the store by digest",
    "change files of the store by their permissions",
    "leave a core file, or run the host's core handler",
    "flood or forge the log",
    "forge the exit code",
];

/// The title of attack `number`.
pub fn title(number: u8) -> Option<&'static str> {
    THREATS.get(usize::from(number).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_threat_model() {
        assert_eq!((title(1), title(65), title(0), title(66)), (Some(THREATS[0]), Some("forge the exit code"), None, None));
        assert!(title(8).is_some_and(|text| text.contains("loopback")) && title(49).is_some_and(|text| text.starts_with("memory")));
    }
}
