//! Attacks that are one system call.
//!
//! In: nothing. Out: a verdict each.
//!
//! **Invariant:** harmless where it succeeds: what is made is dropped, what is set is what was.
#![expect(unsafe_code, reason = "attacks are raw system calls")]
#![expect(clippy::cast_possible_truncation, reason = "constant structures of the kernel")]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io;
use std::ptr;

use super::verdict::{self, Verdict};

/// Programs that do nothing, to be copied and run.
pub(crate) const SMALL_PROGRAMS: [&str; 2] = ["/usr/bin/true", "/bin/true"];

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Runs an attack in a child and returns its verdict, or how the child died: a filter may kill.
pub(crate) fn in_child(attack: impl FnOnce() -> io::Result<c_long>) -> Verdict {
    // SAFETY: this program has one thread; the child ends by `_exit`.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let code = match attack() {
                Ok(_) => 0,
                Err(error) => error.raw_os_error().unwrap_or(255),
            };
            libc::_exit(code);
        }
        if pid < 0 {
            return Verdict::Inconclusive("fork failed".into());
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        if libc::WIFSIGNALED(status) {
            return match libc::WTERMSIG(status) {
                libc::SIGSYS => Verdict::Blocked("killed by SIGSYS".into()),
                signal => Verdict::Inconclusive(format!("killed by signal {signal}")),
            };
        }
        match libc::WEXITSTATUS(status) {
            0 => Verdict::Allowed(String::new()),
            number => verdict::of::<()>(Err(io::Error::from_raw_os_error(number))),
        }
    }
}

/// Asks for memory that can be written and executed.
pub fn executable_memory() -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new anonymous page, given back at once.
    unsafe {
        let page = libc::mmap(ptr::null_mut(), 4096, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(page, 4096);
    }
    Ok(())
}

pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Verdict {
    // SAFETY: integers only.
    verdict::of(check(c_long::from(unsafe { libc::socket(family, kind, protocol) })))
}

/// Mounts a tmpfs, new style if asked. Only in a mount namespace that may be spoilt.
pub(crate) fn mount() -> Verdict {
    // SAFETY: all strings end with NUL.
    let made = unsafe { libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, ptr::null()) };
    verdict::of(check(c_long::from(made)))
}

pub(crate) fn remount() -> Verdict {
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    // SAFETY: all strings end with NUL.
    let made = unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) };
    verdict::of(check(c_long::from(made)))
}

pub(crate) fn umount() -> Verdict {
    // SAFETY: the string ends with NUL.
    verdict::of(check(c_long::from(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) })))
}

pub(crate) fn fsopen() -> Verdict {
    // SAFETY: the string ends with NUL.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) }))
}

pub(crate) fn open_tree() -> Verdict {
    const CLONE: c_int = 1;
    // SAFETY: the string ends with NUL.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), CLONE) }))
}

pub(crate) fn mount_setattr() -> Verdict {
    let attributes = [0u64; 4];
    // SAFETY: the structure is four words.
    let made = unsafe { libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, c"/proc".as_ptr(), 0, attributes.as_ptr(), 32usize) };
    verdict::of(check(made))
}

pub(crate) fn unshare(flags: c_int) -> Verdict {
    // SAFETY: integers only; in a child.
    in_child(|| check(c_long::from(unsafe { libc::unshare(flags) })))
}

/// `clone3` hides its flags from filters.
pub(crate) fn clone3_user() -> Verdict {
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        words: [u64; 8],
    }
    let mut arguments = Arguments::default();
    arguments.words[0] = 0x1000_0000; // CLONE_NEWUSER
    arguments.words[4] = libc::SIGCHLD as u64;
    // SAFETY: a fork-like call; the child ends at once.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>());
        if pid == 0 {
            libc::_exit(0);
        }
        pid
    };
    verdict::of(check(pid))
}

pub(crate) fn clone_user() -> Verdict {
    // SAFETY: a fork-like call; the child ends at once.
    let pid = unsafe {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if pid == 0 {
            libc::_exit(0);
        }
        pid
    };
    verdict::of(check(pid))
}

pub(crate) fn setns() -> Verdict {
    // SAFETY: the descriptor is closed with the program.
    unsafe {
        let fd = libc::open(c"/proc/self/ns/uts".as_ptr(), libc::O_RDONLY);
        verdict::of(check(c_long::from(libc::setns(fd, 0))))
    }
}

pub(crate) fn chroot() -> Verdict {
    // SAFETY: the string ends with NUL.
    verdict::of(check(c_long::from(unsafe { libc::chroot(c"/".as_ptr()) })))
}

/// Needs a mount of its own to move to: only in a mount namespace that may be spoilt.
pub(crate) fn pivot_root() -> Verdict {
    // SAFETY: all strings end with NUL.
    unsafe {
        libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, ptr::null());
        verdict::of(check(libc::syscall(libc::SYS_pivot_root, c"/tmp".as_ptr(), c"/tmp".as_ptr())))
    }
}

/// A sleeping child to be attacked; killed afterwards.
fn with_victim(attack: impl FnOnce(libc::pid_t) -> Verdict) -> Verdict {
    // SAFETY: the child only sleeps.
    unsafe {
        let victim = libc::fork();
        if victim == 0 {
            libc::sleep(20);
            libc::_exit(0);
        }
        let verdict = attack(victim);
        libc::kill(victim, libc::SIGKILL);
        libc::waitpid(victim, ptr::null_mut(), 0);
        verdict
    }
}

pub(crate) fn ptrace_attach() -> Verdict {
    with_victim(|victim| verdict::of(seize(victim)))
}

pub(crate) fn ptrace_traceme() -> Verdict {
    // SAFETY: integers only; in a child.
    in_child(|| check(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0) }))
}

pub(crate) fn process_vm_readv() -> Verdict {
    static SECRET: [u8; 8] = *b"readable";
    with_victim(|victim| {
        let mut buffer = [0u8; 8];
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 8 };
        let remote = libc::iovec { iov_base: SECRET.as_ptr().cast_mut().cast::<c_void>(), iov_len: 8 };
        // SAFETY: the local vector is ours; the remote one lies in a copy of this program.
        verdict::of(check(unsafe { libc::process_vm_readv(victim, &raw const local, 1, &raw const remote, 1, 0) } as c_long))
    })
}

pub(crate) fn pidfd_getfd() -> Verdict {
    with_victim(|victim| {
        // SAFETY: integers only.
        verdict::of(check(unsafe {
            let pidfd = libc::syscall(libc::SYS_pidfd_open, victim, 0);
            libc::syscall(libc::SYS_pidfd_getfd, pidfd, 1, 0)
        }))
    })
}

pub(crate) fn keyctl() -> Verdict {
    // SAFETY: integers only: GET_KEYRING_ID of the session keyring.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0, 0, 0) }))
}

pub(crate) fn add_key() -> Verdict {
    // SAFETY: strings end with NUL, the payload has its length; the process keyring dies with the process.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_add_key, c"user".as_ptr(), c"probe".as_ptr(), c"x".as_ptr(), 1usize, -2) }))
}

pub(crate) fn io_uring() -> Verdict {
    let mut parameters = [0u8; 120];
    // SAFETY: the structure is 120 bytes.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) }))
}

pub(crate) fn bpf() -> Verdict {
    let array_map: [u32; 32] = {
        let mut words = [0u32; 32];
        words[..4].copy_from_slice(&[2, 4, 4, 1]);
        words
    };
    // SAFETY: the attribute is longer than the kernel reads; the map is dropped with the descriptor.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_bpf, 0, array_map.as_ptr(), 72usize) }))
}

pub(crate) fn perf_event_open() -> Verdict {
    let mut attribute = [0u64; 16];
    attribute[0] = 1 | (128 << 32); // software, size 128
    // SAFETY: the attribute has the size it names.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_perf_event_open, attribute.as_ptr(), 0, -1, -1, 0) }))
}

pub(crate) fn userfaultfd() -> Verdict {
    const USER_MODE_ONLY: c_int = 1;
    // SAFETY: integers only.
    verdict::of(check(unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY) }))
}

pub(crate) fn open_by_handle() -> Verdict {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; 128],
    }
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount: c_int = 0;
    // SAFETY: the handle has the room it names.
    verdict::of(check(unsafe {
        let path = c"/usr".as_ptr();
        if libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path, &raw mut handle, &raw mut mount, 0) < 0 {
            -1
        } else {
            let folder = libc::open(c"/".as_ptr(), libc::O_RDONLY);
            libc::syscall(libc::SYS_open_by_handle_at, folder, &raw const handle, libc::O_RDONLY)
        }
    }))
}

/// A character device 1:3 under that path.
pub(crate) fn mknod(path: &CStr) -> Verdict {
    // SAFETY: the string ends with NUL.
    unsafe {
        let made = libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3));
        let verdict = verdict::of(check(c_long::from(made)));
        libc::unlink(path.as_ptr());
        verdict
    }
}

pub(crate) fn clock_settime() -> Verdict {
    // SAFETY: the time is valid. Never tried outside of a sandbox.
    verdict::of(check(unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut now);
        c_long::from(libc::clock_settime(libc::CLOCK_REALTIME, &now))
    }))
}

pub(crate) fn sethostname() -> Verdict {
    // SAFETY: the name has its length.
    verdict::of(check(c_long::from(unsafe { libc::sethostname(c"owned".as_ptr(), 5) })))
}

pub(crate) fn personality() -> Verdict {
    const NO_RANDOMIZE: libc::c_ulong = 0x0004_0000;
    // SAFETY: integers only; in a child.
    in_child(|| check(c_long::from(unsafe { libc::personality(NO_RANDOMIZE) })))
}

/// The i386 entry: `getpid` is 20 there.
#[cfg(target_arch = "x86_64")]
pub(crate) fn int80() -> Verdict {
    in_child(|| {
        let mut number: c_long = 20;
        // SAFETY: `getpid` touches no memory; the entry clobbers what is named.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        if number > 0 { Ok(number) } else { Err(io::Error::from_raw_os_error(libc::ENOSYS)) }
    })
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn x32() -> Verdict {
    const X32_GETPID: c_long = 0x4000_0000 + 39;
    // SAFETY: `getpid` touches no memory.
    match in_child(|| check(unsafe { libc::syscall(X32_GETPID) })) {
        Verdict::Blocked(why) if !why.contains("SIGSYS") => Verdict::Inconclusive("the kernel has no x32".into()),
        other => other,
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn int80() -> Verdict {
    Verdict::Inconclusive("not on this architecture".into())
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn x32() -> Verdict {
    int80()
}

/// Types into the terminal: a controlling one of our own where there is `/dev/ptmx`; else at least past the filter, which
/// standard input, no terminal, shows by `ENOTTY`.
pub(crate) fn terminal_input(high_bits: bool) -> Verdict {
    let request = libc::TIOCSTI | if high_bits { 1 << 40 } else { 0 };
    // SAFETY: the byte outlives the calls; descriptors end with the program.
    in_child(|| unsafe {
        let byte = b'x';
        libc::setsid();
        let master = libc::posix_openpt(libc::O_RDWR);
        let terminal = if master < 0 {
            0
        } else {
            libc::grantpt(master);
            libc::unlockpt(master);
            let mut name = [0; 64];
            libc::ptsname_r(master, name.as_mut_ptr(), name.len());
            libc::open(name.as_ptr(), libc::O_RDWR)
        };
        match check(libc::syscall(libc::SYS_ioctl, terminal, request, &raw const byte)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(0),
            other => other,
        }
    })
}

pub(crate) fn console_input() -> Verdict {
    // SAFETY: the byte outlives the call.
    in_child(|| unsafe {
        let subcode = 3u8;
        match check(libc::syscall(libc::SYS_ioctl, 0, libc::TIOCLINUX, &raw const subcode)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(0),
            other => other,
        }
    })
}

/// Executes a small program's copy from a memory file.
pub(crate) fn memfd_exec() -> Verdict {
    let Some(bytes) = SMALL_PROGRAMS.iter().find_map(|path| std::fs::read(path).ok()) else {
        return Verdict::Inconclusive("no small program to copy".into());
    };
    in_child(|| {
        // SAFETY: the buffer has its length; argument vectors end with null.
        unsafe {
            let fd = check(libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0))? as c_int;
            check(libc::write(fd, bytes.as_ptr().cast(), bytes.len()) as c_long)?;
            let arguments = [c"true".as_ptr(), ptr::null()];
            let none = [ptr::null::<libc::c_char>()];
            check(libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), arguments.as_ptr(), none.as_ptr(), libc::AT_EMPTY_PATH))
        }
    })
}

pub(crate) fn raise_core_limit() -> Verdict {
    // SAFETY: the structure is valid; in a child.
    in_child(|| unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(c_long::from(libc::setrlimit(libc::RLIMIT_CORE, &none)))
    })
}

/// Begins to trace a process; it lets go when this one ends.
pub fn seize(pid: i32) -> io::Result<c_long> {
    const SEIZE: c_long = 0x4206;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SEIZE, pid, 0, 0) })
}

/// Sends a signal.
pub fn kill(pid: i32, signal: c_int) -> io::Result<c_long> {
    // SAFETY: integers only.
    check(c_long::from(unsafe { libc::kill(pid, signal) }))
}

/// Makes `count` sleeping children; allowed if all were made. They are killed.
pub(crate) fn fork_many(count: usize) -> Verdict {
    let mut children = Vec::new();
    let mut last = None;
    for _ in 0..count {
        // SAFETY: the child only sleeps.
        let pid = unsafe { libc::fork() };
        match pid {
            0 => unsafe {
                libc::sleep(30);
                libc::_exit(0);
            },
            pid if pid < 0 => {
                last = Some(io::Error::last_os_error());
                break;
            }
            pid => children.push(pid),
        }
    }
    for child in &children {
        // SAFETY: own children.
        unsafe {
            libc::kill(*child, libc::SIGKILL);
            libc::waitpid(*child, ptr::null_mut(), 0);
        }
    }
    verdict::seen(last.is_none(), format!("{} of {count} made", children.len()))
}

/// Ignores what can be ignored.
pub(crate) fn ignore_signals() {
    for signal in 1..32 {
        // SAFETY: a disposition of this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Forks; true in the child.
pub(crate) fn fork() -> bool {
    // SAFETY: this program has one thread.
    unsafe { libc::fork() == 0 }
}

pub(crate) fn setsid() {
    // SAFETY: no argument.
    unsafe { libc::setsid() };
}

pub(crate) fn user() -> (u32, u32) {
    // SAFETY: no argument.
    unsafe { (libc::getuid(), libc::geteuid()) }
}

/// Writes to a descriptor by number, whoever opened it.
pub(crate) fn write_to(number: c_int, bytes: &[u8]) -> io::Result<c_long> {
    // SAFETY: the buffer has its length.
    check(unsafe { libc::write(number, bytes.as_ptr().cast(), bytes.len()) as c_long })
}

/// Numbers of open descriptors above the standard three; with `sockets`, of sockets alone, those three included.
pub(crate) fn open_descriptors(sockets: bool) -> Vec<c_int> {
    let first = if sockets { 0 } else { 3 };
    let open = (first..1024).filter(|number| {
        // SAFETY: the structure is valid for the call.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::fstat(*number, &mut stat) == 0 && (!sockets || stat.st_mode & libc::S_IFMT == libc::S_IFSOCK)
        }
    });
    open.collect()
}

/// Swaps two names for ever.
pub(crate) fn exchange_for_ever(one: &CStr, other: &CStr) -> ! {
    loop {
        // SAFETY: both strings end with NUL.
        unsafe { libc::renameat2(libc::AT_FDCWD, one.as_ptr(), libc::AT_FDCWD, other.as_ptr(), libc::RENAME_EXCHANGE) };
    }
}

/// Makes a FIFO.
pub(crate) fn make_fifo(path: &CStr) -> io::Result<c_long> {
    // SAFETY: the string ends with NUL.
    check(c_long::from(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }))
}

/// Capabilities in the bounding, ambient, permitted and effective sets, as far as there are any.
pub(crate) fn capabilities_by_call() -> Vec<String> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let mut left = Vec::new();
    // SAFETY: integers only, and version 3 of the interface writes two triples.
    unsafe {
        let bounding = (0..64).filter(|capability| libc::prctl(libc::PR_CAPBSET_READ, *capability, 0, 0, 0) == 1).count();
        let ambient = (0..64).filter(|capability| libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, *capability, 0, 0) == 1);
        let ambient = ambient.count();
        let mut sets = [0u32; 6];
        let header = Header { version: 0x2008_0522, pid: 0 };
        let held = libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) == 0 && sets.iter().any(|set| *set != 0);
        for (is, what) in [(bounding > 0, "bounding"), (ambient > 0, "ambient"), (held, "held")] {
            if is {
                left.push(what.to_owned());
            }
        }
    }
    left
}
