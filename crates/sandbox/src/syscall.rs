//! Every system call that needs `unsafe`, and nothing else.
//!
//! In: plain values. Out: plain values or the error number.
//!
//! **Invariant:** between `clone` and `execveat` the child makes raw system calls only: it shares the launcher's memory
//! (`CLONE_VM | CLONE_VFORK`, as `posix_spawn` does), so that no copy of the launcher's memory ever exists.
//! **Invariant:** only the zygote, which has one thread and nothing to hide, is copied.
#![expect(unsafe_code, reason = "the one module that talks to the kernel where no safe wrapper exists")]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::wire::{self, Message};

/// Capabilities pid 1 needs in its own user namespace until the root is laid out.
const SETUP_CAPABILITIES: [c_long; 5] = [
    6,  // SETGID, for gid_map
    7,  // SETUID, for uid_map
    8,  // SETPCAP, to empty the bounding set
    12, // NET_ADMIN, to raise the loopback
    21, // SYS_ADMIN, to mount, pivot, name the host
];
const CHILD_STACK_BYTES: usize = 64 * 1024;
/// For a child that goes on in this program.
const COPY_STACK_BYTES: usize = 1024 * 1024;
/// Descriptors of pid 1: null, stdout, stderr, control.
pub(crate) const CONTROL_FD: RawFd = 3;

/// What becomes of the child once its descriptors and capabilities are arranged.
#[derive(Clone, Copy)]
pub(crate) enum Program<'a> {
    /// It executes our program, under this name.
    Execute { executable: BorrowedFd<'a>, name: &'static CStr },
    /// It is a copy of this process, which is the zygote, and goes on with this function.
    Continue(fn() -> !),
}

/// What the child must know before it runs the init program.
pub(crate) struct Launch<'a> {
    pub(crate) program: Program<'a>,
    /// To become 0, 1, 2 and 3.
    pub(crate) descriptors: [BorrowedFd<'a>; 4],
    /// Host user and group to become first; none for an ordinary user, who keeps its own.
    pub(crate) drop_to: Option<u32>,
    pub(crate) namespaces: c_int,
    /// Files that take in whoever writes `0` to them.
    pub(crate) entries: &'a [OwnedFd],
}

/// Groups a process may enter by itself: memory, processes, processor.
const ENTRIES_MAX: usize = 3;

/// Shared between the launcher and its children while it is suspended.
struct Shared {
    /// -1 where the child goes on with `then`.
    executable: RawFd,
    then: Option<fn() -> !>,
    descriptors: [RawFd; 4],
    drop_to: Option<u32>,
    namespaces: c_int,
    /// -1 where there is none.
    entries: [RawFd; ENTRIES_MAX],
    inner_stack: *mut c_void,
    argv: [*const libc::c_char; 2],
    envp: [*const libc::c_char; 1],
    pid: c_int,
    stage: &'static str,
    errno: c_int,
}

/// The name of a first process where there is no pid namespace to be the first of.
pub(crate) const WARDEN_NAME: &CStr = c"seaworthy-sandbox-warden";
/// What makes first processes by copying itself.
pub(crate) const ZYGOTE_NAME: &CStr = c"seaworthy-sandbox-zygote";
/// A reader of bytes that nobody vouches for.
pub(crate) const WORKER_NAME: &CStr = c"seaworthy-worker";

impl Launch<'_> {
    fn shared(&self, inner_stack: *mut c_void) -> Shared {
        let mut entries = [-1; ENTRIES_MAX];
        for (place, entry) in entries.iter_mut().zip(self.entries) {
            *place = entry.as_raw_fd();
        }
        let (executable, name, then) = match self.program {
            Program::Execute { executable, name } => (executable.as_raw_fd(), name.as_ptr(), None),
            Program::Continue(then) => (-1, ptr::null(), Some(then)),
        };
        Shared {
            executable,
            then,
            descriptors: self.descriptors.map(|fd| fd.as_raw_fd()),
            drop_to: self.drop_to,
            namespaces: self.namespaces,
            entries,
            inner_stack,
            argv: [name, ptr::null()],
            envp: [ptr::null()],
            pid: 0,
            stage: "clone",
            errno: 0,
        }
    }

    /// How the first process shares memory with the caller: until it executes something, or not at all; and whose child it is:
    /// the caller's, or that of the process for which the zygote makes it.
    const fn sharing(&self) -> c_int {
        match self.program {
            Program::Execute { .. } => libc::CLONE_VM | libc::CLONE_VFORK,
            Program::Continue(_) => libc::CLONE_PARENT,
        }
    }
}

/// A stack for a child, which pays for what it touches; what lies below it is not to be had.
struct Stack {
    start: *mut c_void,
    bytes: usize,
}

impl Stack {
    const GUARD_BYTES: usize = 4096;

    fn new(bytes: usize) -> Result<Self, rustix::io::Errno> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        // SAFETY: new memory that nobody else knows of.
        unsafe {
            let start = mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
            let stack = Self { start, bytes };
            mprotect(start, Self::GUARD_BYTES, MprotectFlags::empty())?;
            Ok(stack)
        }
    }

    const fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.start.byte_add(self.bytes) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and the child that shared it is gone or has executed something else.
        let _ = unsafe { rustix::mm::munmap(self.start, self.bytes) };
    }
}

/// What was made: children of the caller, or siblings of it if the caller is the zygote; 0 where there is none.
pub(crate) struct Born {
    /// The first process of a sandbox.
    pub(crate) pid: i32,
    /// What made it, and has ended: to be reaped.
    pub(crate) helper: i32,
    /// What failed; what a copy of the zygote fails at later it says itself.
    pub(crate) failed: Option<(&'static str, c_int)>,
}

/// Starts the first process of a new sandbox as a child of the caller, by executing our program. Returns its pid, or the
/// stage that failed.
pub(crate) fn execute_init(launch: &Launch<'_>) -> Result<i32, (&'static str, io::Error)> {
    let born = spawn_init(launch);
    // records only: a helper has ended, and so has a first process that failed
    let ended = [born.helper, if born.failed.is_some() { born.pid } else { 0 }];
    ended.into_iter().filter(|pid| *pid > 0).for_each(|pid| drop(wait4(pid, true)));
    born.failed.map_or(Ok(born.pid), |(stage, errno)| Err((stage, io::Error::from_raw_os_error(errno))))
}

/// Starts the first process of a new sandbox.
pub(crate) fn spawn_init(launch: &Launch<'_>) -> Born {
    let is_copy = matches!(launch.program, Program::Continue(_));
    let stacks = Stack::new(CHILD_STACK_BYTES)
        .and_then(|outer| Ok((outer, Stack::new(if is_copy { COPY_STACK_BYTES } else { CHILD_STACK_BYTES })?)));
    let (outer, inner) = match &stacks {
        Ok((outer, inner)) => (outer.top(), inner.top()),
        Err(errno) => return Born { pid: 0, helper: 0, failed: Some(("stack", errno.raw_os_error())) },
    };
    let mut shared = launch.shared(inner);
    let argument: *mut c_void = (&raw mut shared).cast();
    let (made, helper);
    // SAFETY: both stacks outlive the suspended launcher's wait (CLONE_VFORK returns after exec or exit); the children
    // touch `shared` and raw system calls only; signals are blocked meanwhile, so that no handler runs in the child.
    // A copy has memory of its own, stacks included.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        if launch.drop_to.is_some() {
            // a helper of the zygote's is a sibling of it, so that its own child can be one too
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | if is_copy { libc::CLONE_PARENT } else { 0 };
            made = libc::clone(drop_and_clone, outer, flags, argument);
            helper = made.max(0);
        } else {
            made = libc::clone(become_init, inner, launch.sharing() | launch.namespaces | libc::SIGCHLD, argument);
            helper = 0;
            shared.pid = made;
        }
        if made < 0 {
            shared.errno = *libc::__errno_location();
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
    }
    Born { pid: shared.pid.max(0), helper, failed: (shared.errno != 0).then_some((shared.stage, shared.errno)) }
}

/// A root launcher's helper: gives up root, then makes pid 1 as its sibling, so that no namespace belongs to root.
extern "C" fn drop_and_clone(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the launcher's `Shared`, alive and untouched by it while it is suspended. The raw calls change
    // this task only; libc's wrappers would try to change every thread of the launcher.
    unsafe {
        let shared = &mut *argument.cast::<Shared>();
        let id = c_long::from(shared.drop_to.unwrap_or(65534));
        if shared.namespaces == 0 {
            // later nobody may; numbers that this kernel does not know are refused, which harms nothing
            for capability in 0..64 {
                libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
        }
        shared.stage = "setuid";
        if libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()) < 0
            || libc::syscall(libc::SYS_setresgid, id, id, id) < 0
            || libc::syscall(libc::SYS_setresuid, id, id, id) < 0
        {
            shared.errno = *libc::__errno_location();
            libc::_exit(1);
        }
        shared.stage = "clone";
        let sharing = if shared.then.is_some() { 0 } else { libc::CLONE_VM | libc::CLONE_VFORK };
        let flags = sharing | libc::CLONE_PARENT | shared.namespaces;
        let pid = libc::clone(become_init, shared.inner_stack, flags | libc::SIGCHLD, argument);
        if pid < 0 {
            shared.errno = *libc::__errno_location();
        }
        shared.pid = pid;
        libc::_exit(0)
    }
}

/// In the new namespaces: arranges capabilities and descriptors, then runs the init program.
extern "C" fn become_init(argument: *mut c_void) -> c_int {
    // SAFETY: as in `drop_and_clone`; descriptors are a copy of the launcher's table, so closing is local.
    unsafe {
        let shared = &mut *argument.cast::<Shared>();
        shared.stage = "entering the cgroup";
        for entry in shared.entries.into_iter().filter(|entry| *entry >= 0) {
            // a task that moves itself need not wait until no other is being forked, which takes milliseconds
            if libc::write(entry, c"0".as_ptr().cast(), 1) != 1 {
                return fail(shared);
            }
        }
        shared.stage = "capabilities";
        let mask = SETUP_CAPABILITIES.iter().fold(0u32, |mask, capability| mask | 1 << capability);
        // without namespaces there is nothing to be capable of
        if shared.namespaces != 0 && set_capabilities(mask) < 0 {
            return fail(shared);
        }
        shared.stage = "descriptors";
        let mut high = [0; 4];
        for (place, fd) in high.iter_mut().zip(shared.descriptors) {
            *place = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 64);
        }
        let executable = if shared.then.is_some() { 0 } else { libc::fcntl(shared.executable, libc::F_DUPFD_CLOEXEC, 64) };
        if executable < 0 || high.iter().any(|fd| *fd < 0) {
            return fail(shared);
        }
        for (target, fd) in (0..).zip(high) {
            if libc::dup2(fd, target) < 0 {
                return fail(shared);
            }
        }
        let close = if shared.then.is_some() { 0 } else { libc::CLOSE_RANGE_CLOEXEC };
        if libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, close) < 0 {
            return fail(shared);
        }
        if let Some(then) = shared.then {
            then()
        }
        shared.stage = "execveat";
        libc::syscall(libc::SYS_execveat, executable, c"".as_ptr(), shared.argv.as_ptr(), shared.envp.as_ptr(), libc::AT_EMPTY_PATH);
        fail(shared)
    }
}

/// # Safety
/// Only in a child that shares `shared` with its suspended launcher.
unsafe fn fail(shared: &mut Shared) -> c_int {
    // SAFETY: by contract; a copy has its memory for itself, and one thread, and its control socket is open until the end.
    unsafe {
        shared.errno = *libc::__errno_location();
        if shared.then.is_some() {
            let [.., control] = shared.descriptors;
            let failed = Message::Failed { stage: shared.stage.to_owned(), errno: shared.errno };
            // If the launcher is gone nobody is left to tell.
            let _ = wire::send_message(BorrowedFd::borrow_raw(control), &failed, &[]);
        }
        libc::_exit(1)
    }
}

/// Permitted, effective and inheritable become `mask` (first 32 capabilities) and nothing else.
fn set_capabilities(mask: u32) -> c_long {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let data: [u32; 6] = [mask, mask, mask, 0, 0, 0];
    // SAFETY: version 3 of the interface reads one header and two triples.
    unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives up every capability for good: bounding, ambient, permitted, effective, inheritable; locks the secure bits.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    const SECURE_BITS_LOCKED: c_long = 0b1110_1111;
    // SAFETY: plain prctl calls on integers.
    unsafe {
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EINVAL) && capability > 30 {
                    break; // beyond the kernel's last capability
                }
                return Err(error);
            }
        }
        check(c_long::from(libc::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS_LOCKED, 0, 0, 0)))?;
        check(c_long::from(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)))?;
    }
    check(set_capabilities(0)).map(|_| ())
}

/// Takes the control socket that the launcher left at its fixed number, and closes it for programs executed later.
pub(crate) fn take_control() -> io::Result<OwnedFd> {
    // SAFETY: called once, first thing in the init program, where 3 is the control socket and nobody else owns it.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    close_on_exec()?;
    Ok(control)
}

/// Every descriptor but the standard three is closed by the next `execve`.
pub(crate) fn close_on_exec() -> io::Result<()> {
    // SAFETY: integers only; nothing is closed yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(|_| ())
}

/// Closes every descriptor but the standard three.
pub(crate) fn close_others() -> io::Result<()> {
    // SAFETY: called at the start of a recluse, before it opened anything; integers only.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) }).map(|_| ())
}

/// Undoes the launcher's blocking of all signals.
pub(crate) fn unblock_signals() {
    // SAFETY: an empty set is valid for both calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Readable whenever a child has ended, which interrupts nothing any more. What is forked must unblock its signals.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use, and outlives both calls; the new descriptor is nobody else's.
    unsafe {
        let mut children: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut children);
        libc::sigaddset(&mut children, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &children, ptr::null_mut());
        let signals = libc::signalfd(-1, &children, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(c_long::from(signals))?;
        Ok(OwnedFd::from_raw_fd(signals))
    }
}

/// Takes what was signalled; who ended is asked for by other means.
pub(crate) fn forget_signals(signals: BorrowedFd<'_>) {
    let mut told = [0u8; size_of::<libc::signalfd_siginfo>()];
    while matches!(rustix::io::read(signals, &mut told), Ok(length) if length > 0) {}
}

/// New cgroup, and where possible time, namespaces. Returns whether time was possible.
pub(crate) fn unshare_late() -> io::Result<bool> {
    const CLONE_NEWTIME: c_int = 0x80;
    // SAFETY: neither flag shares or unshares memory or descriptors; this process has one thread.
    unsafe {
        if libc::unshare(libc::CLONE_NEWCGROUP | CLONE_NEWTIME) == 0 {
            return Ok(true);
        }
        check(c_long::from(libc::unshare(libc::CLONE_NEWCGROUP))).map(|_| false)
    }
}

/// Makes the step's process from pid 1, which has one thread and no secrets.
pub(crate) fn fork_step(child: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: pid 1 has a single thread, so the child may use everything.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            child();
            libc::_exit(127);
        }
        check(c_long::from(pid)).map(|_| pid)
    }
}

/// Ends pid 1 at once, and with it every process of its namespace.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: no destructor is owed.
    unsafe { libc::_exit(code) }
}

/// Gives up what capabilities this process may have, and what it may get as far as it is allowed to say so.
pub(crate) fn shed_capabilities() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: integers only. Refused to whoever has none, which the report says.
        unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // without permitted ones none is ambient
    check(set_capabilities(0)).map(|_| ())
}

/// Kills every process of this user but the caller; only for a user of whom there are no others.
pub(crate) fn kill_own_user() {
    // SAFETY: integers only. Nobody left is no fault.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// A child that ended.
pub(crate) struct Ended {
    pub(crate) pid: i32,
    pub(crate) status: c_int,
    pub(crate) cpu_us: u64,
}

/// Waits for a child (`-1`: any). Without `block`, none may have ended.
pub(crate) fn wait4(pid: i32, block: bool) -> io::Result<Option<Ended>> {
    let mut status = 0;
    let flags = if block { libc::__WALL } else { libc::__WALL | libc::WNOHANG };
    loop {
        // SAFETY: both out-pointers are valid for the call.
        let (result, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &mut status, flags, &mut usage), usage)
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        let micros = |time: libc::timeval| u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0);
        let cpu_us = micros(usage.ru_utime) + micros(usage.ru_stime);
        return Ok((result > 0).then_some(Ended { pid: result, status, cpu_us }));
    }
}

/// Adds attributes to a mount and to all below it.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let wanted = MountAttr { set: attributes, clear: 0, propagation: 0, userns: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's first version, its size is given.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const wanted, size_of::<MountAttr>())
    })
    .map(|_| ())
}

/// Raises the loopback of this network namespace.
pub(crate) fn raise_loopback() -> io::Result<()> {
    const LOOPBACK_FLAGS: libc::c_short = 0x41; // IFF_UP | IFF_RUNNING
    // SAFETY: `ifreq` is plain data; the name is shorter than its field.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(c_long::from(socket))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *place = byte.cast_signed() as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = LOOPBACK_FLAGS;
        check(c_long::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))).map(|_| ())
    }
}

/// The Landlock version of this kernel, 0 if none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with the version flag the kernel reads no memory.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<c_void>(), 0usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
