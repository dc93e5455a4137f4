//! The attacks that are one program each, with what shows that they work without the sandbox.
//!
//! In: nothing. Out: [`ATTACKS`]. What needs a launcher to be watched is in [`super::battery`].
//!
//! **Invariant:** an attack has a control, or the table says why none can be tried.

/// How an attack is shown to work where nothing stops it.
#[derive(Debug)]
pub enum Control {
    /// The same words, without a sandbox.
    Bare(&'static [&'static str]),
    /// The same, but only root can do it.
    Root(&'static [&'static str]),
    /// In a mount and host-name namespace that may be spoilt.
    Spoilt(&'static [&'static str]),
    /// This kernel may lack it, then nothing is shown.
    IfPresent(&'static [&'static str]),
    /// Not tried outside, and why.
    Never(&'static str),
}
use Control::{Bare, IfPresent, Never, Root, Spoilt};

/// One attack that gives its own verdict.
#[derive(Debug)]
pub struct Attack {
    /// In the list of threats.
    pub number: u8,
    /// Name and arguments; `{…}` are filled in by the world.
    pub words: &'static [&'static str],
    /// Without the sandbox.
    pub control: Control,
}

const fn attack(number: u8, words: &'static [&'static str], control: Control) -> Attack {
    Attack { number, words, control }
}

/// All of them.
#[rustfmt::skip]
pub static ATTACKS: &[Attack] = &[
    attack(1, &["create-in", "/", "/usr", "/usr/bin", "/bin", "/in", "/out", "/dev", "/proc", "/etc"], Bare(&["create-in", "{scratch}"])),
    attack(2, &["read", "/etc/shadow"], Root(&["read", "/etc/shadow"])),
    attack(3, &["list", "{home}"], Bare(&["list", "{home}"])),
    attack(3, &["read", "{key}"], Bare(&["read", "{key}"])),
    attack(4, &["environment", "{secret}"], Bare(&["environment", "{secret}"])),
    attack(5, &["any-environment", "{secret}"], Bare(&["any-environment", "{secret}"])),
    attack(6, &["foreign-processes"], Bare(&["foreign-processes"])),
    attack(7, &["inherited-descriptors"], Bare(&["inherited-descriptors"])),
    attack(8, &["connect", "127.0.0.1:{port}"], Bare(&["connect", "127.0.0.1:{port}"])),
    attack(9, &["route", "169.254.169.254:80"], IfPresent(&["route", "169.254.169.254:80"])),
    attack(10, &["route", "8.8.8.8:53"], IfPresent(&["route", "8.8.8.8:53"])),
    attack(11, &["raw-socket"], Root(&["raw-socket"])),
    attack(12, &["packet-socket"], Root(&["packet-socket"])),
    attack(13, &["vsock"], IfPresent(&["vsock"])),
    attack(14, &["netlink"], Bare(&["netlink"])),
    attack(15, &["alg-socket"], IfPresent(&["alg-socket"])),
    attack(16, &["abstract-socket", "{abstract}"], Bare(&["abstract-socket", "{abstract}"])),
    attack(17, &["path-socket", "{socket}"], Bare(&["path-socket", "{socket}"])),
    attack(19, &["mount"], Spoilt(&["mount"])),
    attack(19, &["remount"], Spoilt(&["remount"])),
    attack(19, &["umount"], Spoilt(&["umount"])),
    attack(20, &["fsopen"], Root(&["fsopen"])),
    attack(20, &["open-tree"], Root(&["open-tree"])),
    attack(20, &["mount-setattr"], Spoilt(&["mount-setattr"])),
    attack(21, &["unshare-user"], Bare(&["unshare-user"])),
    attack(21, &["unshare-mount"], Root(&["unshare-mount"])),
    attack(21, &["clone-user"], Bare(&["clone-user"])),
    attack(22, &["clone3-user"], Bare(&["clone3-user"])),
    attack(23, &["setns"], Root(&["setns"])),
    attack(24, &["chroot"], Root(&["chroot"])),
    attack(25, &["pivot-root"], Spoilt(&["pivot-root"])),
    attack(26, &["ptrace-attach"], Bare(&["ptrace-attach"])),
    attack(26, &["ptrace-traceme"], Bare(&["ptrace-traceme"])),
    attack(27, &["process-vm-readv"], Bare(&["process-vm-readv"])),
    attack(27, &["pidfd-getfd"], Bare(&["pidfd-getfd"])),
    attack(28, &["parent-memory"], Root(&["parent-memory"])),
    attack(28, &["overwrite-launcher"], Never("opening pid 1 of the machine for writing")),
    attack(29, &["signal", "{pid}"], Bare(&["signal", "{pid}"])),
    attack(30, &["keyctl"], Bare(&["keyctl"])),
    attack(30, &["add-key"], Bare(&["add-key"])),
    attack(31, &["io-uring"], IfPresent(&["io-uring"])),
    attack(32, &["bpf"], Root(&["bpf"])),
    attack(33, &["perf"], Root(&["perf"])),
    attack(34, &["userfaultfd"], IfPresent(&["userfaultfd"])),
    attack(35, &["open-by-handle"], Root(&["open-by-handle"])),
    attack(36, &["make-device", "/tmp"], Root(&["make-device", "{scratch}"])),
    attack(37, &["read", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/kmsg", "/dev/kvm"], IfPresent(&["read", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/kmsg"])),
    attack(37, &["open-for-writing", "/dev/ptmx"], Bare(&["open-for-writing", "/dev/ptmx"])),
    attack(38, &["read", "/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list"], Root(&["read", "/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list"])),
    attack(38, &["open-for-writing", "/proc/sysrq-trigger"], IfPresent(&["open-for-writing", "/proc/sysrq-trigger"])),
    attack(39, &["open-for-writing", "/proc/sys/kernel/core_pattern"], Root(&["open-for-writing", "/proc/sys/kernel/core_pattern"])),
    attack(39, &["open-for-writing", "/proc/sys/kernel/modprobe"], IfPresent(&["open-for-writing", "/proc/sys/kernel/modprobe"])),
    attack(40, &["list", "/sys"], Bare(&["list", "/sys"])),
    attack(41, &["list", "/sys/fs/cgroup"], Bare(&["list", "/sys/fs/cgroup"])),
    attack(43, &["capabilities-left"], Bare(&["capabilities-left"])),
    attack(44, &["tiocsti"], IfPresent(&["tiocsti"])),
    attack(44, &["tiocsti-high"], IfPresent(&["tiocsti-high"])),
    attack(44, &["tioclinux"], IfPresent(&["tioclinux"])),
    attack(45, &["modify", "/in/data"], Bare(&["modify", "{victim}"])),
    attack(48, &["fork-many", "200"], Bare(&["fork-many", "200"])),
    attack(50, &["fill", "/tmp", "48"], Bare(&["fill", "{scratch}", "48"])),
    attack(50, &["fill", "/out/out", "48"], Bare(&["fill", "{scratch}", "48"])),
    attack(50, &["fill", "/dev/shm", "48"], Bare(&["fill", "{scratch}", "48"])),
    attack(50, &["fill-inodes", "/out/out"], Bare(&["fill-inodes", "{scratch}"])),
    attack(55, &["clock-settime"], Never("it would set the clock of the machine")),
    attack(56, &["sethostname"], Spoilt(&["sethostname"])),
    attack(57, &["int80"], IfPresent(&["int80"])),
    attack(57, &["x32"], IfPresent(&["x32"])),
    attack(58, &["personality"], Bare(&["personality"])),
    attack(59, &["memfd-exec"], Bare(&["memfd-exec"])),
    attack(59, &["execute-from", "/tmp"], Bare(&["execute-from", "{scratch}"])),
    attack(59, &["execute-from", "/out/out"], Bare(&["execute-from", "{scratch}"])),
    attack(59, &["execute-from", "/dev/shm"], Bare(&["execute-from", "{scratch}"])),
    attack(60, &["sockets-open"], Bare(&["sockets-open"])),
    attack(61, &["read", "{other}"], Bare(&["read", "{other}"])),
    attack(62, &["modify", "{blob}"], Bare(&["modify", "{blob}"])),
    attack(63, &["core-limit"], Bare(&["core-limit"])),
];
