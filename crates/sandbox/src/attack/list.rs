//! The list of attacks by name.
//!
//! In: a name and its arguments. Out: a verdict, or a behaviour that the launcher must cope with.
//!
//! **Invariant:** a name that is not listed is an error, so that no test passes by a typing mistake.
#![expect(clippy::disallowed_methods, reason = "attacks write, execute and exit as they like")]

use std::ffi::CString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::verdict::Verdict;
use super::{MARK, effects, kernel};

/// What would spoil the machine where it succeeds, so that it is tried only where the launcher set [`MARK`].
const SPOILING: [&str; 8] =
    ["mount", "remount", "umount", "mount-setattr", "pivot-root", "sethostname", "clock-settime", "overwrite-launcher"];

/// Tries one attack.
pub(crate) fn attack(name: &str, arguments: &[&str]) -> Option<Verdict> {
    if SPOILING.contains(&name) && !std::env::vars_os().any(|(variable, _)| variable == MARK) {
        return Some(Verdict::Inconclusive("never tried outside of a sandbox".into()));
    }
    let first = arguments.first().copied().unwrap_or_default();
    Some(match name {
        "create-in" => effects::create_in(arguments),
        "read" => effects::read_any(arguments),
        "list" => effects::list(first),
        "modify" => effects::modify(first),
        "open-for-writing" => effects::open_for_writing(first),
        "environment" => effects::secret_in_environment(first),
        "any-environment" => effects::secret_in_any_environment(first),
        "foreign-processes" => effects::foreign_processes(),
        "inherited-descriptors" => effects::inherited_descriptors(),
        "sockets-open" => effects::sockets_open(),
        "connect" => effects::connect(first),
        "route" => effects::route(first),
        "abstract-socket" => effects::abstract_socket(first),
        "path-socket" => effects::path_socket(first),
        "parent-memory" => effects::parent_memory(),
        "overwrite-launcher" => effects::overwrite_launcher(),
        "capabilities-left" => effects::capabilities_left(),
        "set-user-id" => effects::set_user_id(first),
        "execute-from" => effects::execute_from(first),
        "make-device" => effects::make_device(first),
        "fill-inodes" => effects::fill_inodes(first, 5_000),
        "fill" => effects::fill(first, number(arguments.get(1))),
        "eat-memory" => effects::eat_memory(number(Some(&first))),
        "fork-many" => kernel::fork_many(number(Some(&first))),
        "signal" => super::verdict::of(kernel::kill(i32::try_from(number(Some(&first))).unwrap_or(0), 0)),
        _ => return single(name),
    })
}

fn number(text: Option<&&str>) -> usize {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Attacks without arguments.
fn single(name: &str) -> Option<Verdict> {
    Some(match name {
        "raw-socket" => kernel::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "packet-socket" => kernel::socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        "vsock" => kernel::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        "netlink" => kernel::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0),
        "alg-socket" => kernel::socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        "mount" => kernel::mount(),
        "remount" => kernel::remount(),
        "umount" => kernel::umount(),
        "fsopen" => kernel::fsopen(),
        "open-tree" => kernel::open_tree(),
        "mount-setattr" => kernel::mount_setattr(),
        "unshare-user" => kernel::unshare(libc::CLONE_NEWUSER),
        "unshare-mount" => kernel::unshare(libc::CLONE_NEWNS),
        "clone-user" => kernel::clone_user(),
        "clone3-user" => kernel::clone3_user(),
        "setns" => kernel::setns(),
        "chroot" => kernel::chroot(),
        "pivot-root" => kernel::pivot_root(),
        "ptrace-attach" => kernel::ptrace_attach(),
        "ptrace-traceme" => kernel::ptrace_traceme(),
        "process-vm-readv" => kernel::process_vm_readv(),
        "pidfd-getfd" => kernel::pidfd_getfd(),
        "keyctl" => kernel::keyctl(),
        "add-key" => kernel::add_key(),
        "io-uring" => kernel::io_uring(),
        "bpf" => kernel::bpf(),
        "perf" => kernel::perf_event_open(),
        "userfaultfd" => kernel::userfaultfd(),
        "open-by-handle" => kernel::open_by_handle(),
        "clock-settime" => kernel::clock_settime(),
        "sethostname" => kernel::sethostname(),
        "personality" => kernel::personality(),
        "int80" => kernel::int80(),
        "x32" => kernel::x32(),
        "tiocsti" => kernel::terminal_input(false),
        "tiocsti-high" => kernel::terminal_input(true),
        "tioclinux" => kernel::console_input(),
        "memfd-exec" => kernel::memfd_exec(),
        "core-limit" => kernel::raise_core_limit(),
        _ => return None,
    })
}

/// Behaviours: what matters is how the run ends.
pub(crate) fn behave(name: &str, argument: &str) -> Option<u8> {
    match name {
        "spin" => {
            kernel::ignore_signals();
            loop {
                std::hint::spin_loop();
            }
        }
        // Sleeps under a name that can be found in the list of processes.
        "sleep" => {
            std::thread::sleep(Duration::from_secs(60));
            Some(0)
        }
        "daemon" => daemon(argument, false),
        "stopped-daemon" => daemon(argument, true),
        "kill-init" => {
            for signal in 1..32 {
                // Refusals are expected; what counts is the exit code that is reported.
                let _ = kernel::kill(1, signal);
            }
            Some(7)
        }
        "swap" => swap(argument),
        "litter" => Some(litter(argument)),
        "forge-report" => {
            forge_report();
            // The true report must never come, so that only a forged one could be believed.
            Some(spin_forever())
        }
        "flood" => {
            let block = [b'x'; 65536];
            let mut out = std::io::stdout().lock();
            (0..argument.parse().unwrap_or(0)).try_for_each(|_| out.write_all(&block)).map_or(Some(1), |()| Some(0))
        }
        _ => None,
    }
}

/// Leaves a grandchild in a session of its own.
fn daemon(mark: &str, stop: bool) -> Option<u8> {
    if !kernel::fork() {
        return Some(if stop { spin_forever() } else { 0 });
    }
    kernel::setsid();
    if kernel::fork() {
        if stop {
            // Stops itself; a kill that only resumes or asks would not reach it.
            let _ = kernel::kill(i32::try_from(std::process::id()).unwrap_or(0), libc::SIGSTOP);
        }
        // It replaces itself so that it can be found; returns only if that failed.
        let _ = std::os::unix::process::CommandExt::exec(std::process::Command::new("/proc/self/exe").args([
            super::WORD,
            "behave",
            "sleep",
            mark,
        ]));
    }
    std::process::exit(0)
}

fn spin_forever() -> u8 {
    std::thread::sleep(Duration::from_secs(60));
    0
}

/// Writes what looks like a success to every descriptor that is open.
fn forge_report() {
    for number in 3..64 {
        // Most are not open; one that is would be the finding.
        let _ = kernel::write_to(number, br#"{"Exited":{"status":0}}"#);
    }
}

/// In the output folder: a file and a link to `secret`, exchanged without end.
fn swap(secret: &str) -> Option<u8> {
    let (one, other) = (super::place("/out/out/one"), super::place("/out/out/other"));
    let made = std::fs::write(&one, "harmless").and_then(|()| std::os::unix::fs::symlink(secret, &other));
    match (made, CString::new(one), CString::new(other)) {
        (Ok(()), Ok(one), Ok(other)) => kernel::exchange_for_ever(&one, &other),
        _ => Some(1),
    }
}

/// Leaves something in the output folder that is no plain file.
fn litter(kind: &str) -> u8 {
    let out = PathBuf::from(super::place("/out/out"));
    let at = |name: &str| out.join(name);
    let done = match kind {
        "fifo" => CString::new(at("fifo").into_os_string().into_encoded_bytes())
            .map_err(std::io::Error::other)
            .and_then(|path| kernel::make_fifo(&path).map(drop)),
        "link" => std::os::unix::fs::symlink("/etc/passwd", at("link")),
        "hard-link" => std::fs::write(at("one"), "x").and_then(|()| std::fs::hard_link(at("one"), at("two"))),
        "sparse" => std::fs::File::create(at("sparse")).and_then(|file| file.set_len(10 << 40)),
        "name" => std::fs::write(at("a\nb"), "x"),
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    };
    u8::from(done.is_err())
}
