//! The system calls a step may make.
//!
//! In: the architecture. Out: two filters, both installed; the kernel takes the stricter answer.
//!
//! 1. The list, as a search tree over ranges of call numbers (a compiled chain of comparisons would cost half a
//!    millisecond at every start). What is not listed fails with `EPERM`. Foreign ABIs (i386 and x32 on x86_64) kill the
//!    process; `clone3` fails with `ENOSYS`, since its flags lie in memory where no filter can look, and libc then falls
//!    back to `clone`; calls newer than this list fail with `ENOSYS`, so that libc falls back too.
//! 2. Arguments of listed calls that are refused nevertheless.
//!
//! **Invariant:** what is not listed is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    sock_filter,
};

/// Every namespace flag of `clone`; `CLONE_NEWTIME` shares its bit with the exit signal and cannot be given there.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;
/// The newest call this list has judged (`file_setattr`, Linux 6.17).
const JUDGED_MAX: u32 = 469;

#[rustfmt::skip]
const ALLOWED: &[libc::c_long] = &[
    // memory
    libc::SYS_brk, libc::SYS_madvise, libc::SYS_mbind, libc::SYS_membarrier, libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_mlockall, libc::SYS_mmap,
    libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_msync, libc::SYS_munlock, libc::SYS_munlockall, libc::SYS_munmap,
    libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_mseal,
    // files by descriptor
    libc::SYS_close, libc::SYS_close_range, libc::SYS_copy_file_range, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_fadvise64, libc::SYS_fallocate, libc::SYS_fchdir, libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_fcntl,
    libc::SYS_fdatasync, libc::SYS_flock, libc::SYS_fstat, libc::SYS_fstatfs, libc::SYS_fsync, libc::SYS_ftruncate,
    libc::SYS_getdents64, libc::SYS_lseek, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2, libc::SYS_pwrite64,
    libc::SYS_pwritev, libc::SYS_pwritev2, libc::SYS_read, libc::SYS_readahead, libc::SYS_readv, libc::SYS_sendfile,
    libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, libc::SYS_sync, libc::SYS_sync_file_range, libc::SYS_syncfs,
    libc::SYS_write, libc::SYS_writev,
    // files by name
    libc::SYS_chdir, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fchmodat, libc::SYS_fchownat,
    libc::SYS_getcwd, libc::SYS_linkat, libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_newfstatat, libc::SYS_openat,
    libc::SYS_openat2, libc::SYS_readlinkat, libc::SYS_renameat2, libc::SYS_statfs, libc::SYS_statx,
    libc::SYS_symlinkat, libc::SYS_truncate, libc::SYS_umask, libc::SYS_unlinkat, libc::SYS_utimensat,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
    libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr,
    libc::SYS_lremovexattr, libc::SYS_fremovexattr, libc::SYS_inotify_add_watch, libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    // waiting and events
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd2,
    libc::SYS_pipe2, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_signalfd4, libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime, libc::SYS_timerfd_settime, libc::SYS_io_setup, libc::SYS_io_submit, libc::SYS_io_cancel,
    libc::SYS_io_destroy, libc::SYS_io_getevents,
    // processes, threads, signals (`clone` under conditions)
    libc::SYS_clone, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_futex,
    libc::SYS_futex_waitv, libc::SYS_get_robust_list, libc::SYS_set_robust_list, libc::SYS_getcpu, libc::SYS_getegid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getgroups, libc::SYS_getpgid, libc::SYS_getpid, libc::SYS_getppid,
    libc::SYS_getpriority, libc::SYS_getresgid, libc::SYS_getresuid, libc::SYS_getrusage, libc::SYS_getsid,
    libc::SYS_gettid, libc::SYS_getuid, libc::SYS_kill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    libc::SYS_prctl, libc::SYS_restart_syscall, libc::SYS_rseq, libc::SYS_rt_sigaction, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sched_getaffinity, libc::SYS_sched_getattr,
    libc::SYS_sched_getparam, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getscheduler, libc::SYS_sched_rr_get_interval, libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr, libc::SYS_sched_setparam, libc::SYS_sched_setscheduler, libc::SYS_sched_yield,
    libc::SYS_seccomp, libc::SYS_set_tid_address, libc::SYS_setpgid, libc::SYS_setpriority, libc::SYS_setsid,
    libc::SYS_setregid, libc::SYS_setresgid, libc::SYS_setresuid, libc::SYS_setreuid, libc::SYS_setgid,
    libc::SYS_setuid, libc::SYS_setgroups, libc::SYS_setfsgid, libc::SYS_setfsuid, libc::SYS_sigaltstack,
    libc::SYS_tgkill, libc::SYS_tkill, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_capget, libc::SYS_capset,
    libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    libc::SYS_ioprio_get, libc::SYS_ioprio_set,
    // time (reading)
    libc::SYS_clock_getres, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_getitimer,
    libc::SYS_gettimeofday, libc::SYS_nanosleep, libc::SYS_setitimer, libc::SYS_timer_create, libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun, libc::SYS_timer_gettime, libc::SYS_timer_settime, libc::SYS_times,
    // System V and POSIX objects: the ipc namespace is the step's own
    libc::SYS_mq_getsetattr, libc::SYS_mq_notify, libc::SYS_mq_open, libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend, libc::SYS_mq_unlink, libc::SYS_msgctl, libc::SYS_msgget, libc::SYS_msgrcv,
    libc::SYS_msgsnd, libc::SYS_semctl, libc::SYS_semget, libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_shmat,
    libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_shmget,
    // sockets (under conditions)
    libc::SYS_socket, libc::SYS_socketpair,
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_bind, libc::SYS_connect, libc::SYS_getpeername,
    libc::SYS_getsockname, libc::SYS_getsockopt, libc::SYS_listen, libc::SYS_recvfrom, libc::SYS_recvmmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // the rest (all but the last three under conditions)
    libc::SYS_ioctl, libc::SYS_memfd_create, libc::SYS_personality, libc::SYS_prlimit64, libc::SYS_setrlimit,
    libc::SYS_getrandom, libc::SYS_sysinfo, libc::SYS_uname,
];

/// Older forms that only x86_64 still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_access, libc::SYS_alarm, libc::SYS_arch_prctl, libc::SYS_chmod, libc::SYS_chown, libc::SYS_creat,
    libc::SYS_dup2, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_fork,
    libc::SYS_futimesat, libc::SYS_getdents, libc::SYS_getpgrp, libc::SYS_getrlimit, libc::SYS_inotify_init,
    libc::SYS_lchown, libc::SYS_link, libc::SYS_lstat, libc::SYS_mkdir, libc::SYS_mknod, libc::SYS_open,
    libc::SYS_pause, libc::SYS_pipe, libc::SYS_poll, libc::SYS_readlink, libc::SYS_rename, libc::SYS_renameat,
    libc::SYS_rmdir, libc::SYS_select, libc::SYS_signalfd, libc::SYS_stat, libc::SYS_symlink, libc::SYS_time,
    libc::SYS_unlink, libc::SYS_utime, libc::SYS_utimes, libc::SYS_vfork,
];
#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[libc::c_long] = &[libc::SYS_renameat, libc::SYS_getrlimit];

#[cfg(target_arch = "x86_64")]
const ARCH: (TargetArch, u32) = (TargetArch::x86_64, 0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCH: (TargetArch, u32) = (TargetArch::aarch64, 0xC000_00B7);

/// Both filters and what the report says of them.
#[derive(Debug)]
pub(crate) struct Filters {
    pub(crate) programs: Vec<Vec<(u16, u8, u8, u32)>>,
    pub(crate) allowed: usize,
}

impl Filters {
    pub(crate) fn instructions(&self) -> usize {
        self.programs.iter().map(Vec::len).sum()
    }
}

/// Compiled once a process.
pub(crate) fn filters() -> io::Result<&'static Filters> {
    static FILTERS: OnceLock<Filters> = OnceLock::new();
    if let Some(filters) = FILTERS.get() {
        return Ok(filters);
    }
    let listed: BTreeSet<u32> = ALLOWED.iter().chain(ALLOWED_HERE).filter_map(|number| u32::try_from(*number).ok()).collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arguments: BpfProgram = SeccompFilter::new(refused_arguments().map_err(io::Error::other)?, SeccompAction::Allow, denied, ARCH.0)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    let arguments = arguments.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect();
    let programs = vec![list(&listed)?, arguments];
    Ok(FILTERS.get_or_init(|| Filters { programs, allowed: listed.len() }))
}

/// The same, and what would reach processes and objects that the step shares with the host where it has no namespaces of its own.
pub(crate) fn filters_without_namespaces(sockets: Sockets) -> io::Result<&'static Filters> {
    static FILTERS: [OnceLock<Filters>; 2] = [OnceLock::new(), OnceLock::new()];
    let [none, internet] = &FILTERS;
    let known = if sockets == Sockets::None { none } else { internet };
    if let Some(filters) = known.get() {
        return Ok(filters);
    }
    let (rules, denied) =
        (refused_without_namespaces(sockets).map_err(io::Error::other)?, SeccompAction::Errno(libc::EPERM.unsigned_abs()));
    let unconditional = rules.values().filter(|rules| rules.is_empty()).count();
    let shared: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, denied, ARCH.0).and_then(TryInto::try_into).map_err(io::Error::other)?;
    let base = filters()?;
    let mut programs = base.programs.clone();
    programs.push(shared.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect());
    Ok(known.get_or_init(|| Filters { programs, allowed: base.allowed - unconditional }))
}

/// Which sockets can be made without namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// Connected pairs alone.
    None,
    /// Those that connect to the internet, for provisioning; nothing listens, and no socket file is reached.
    Internet,
}

/// Of `ioprio_set`; not in libc.
const IOPRIO_WHO_USER: u64 = 3;

/// No socket but connected pairs, or such as connect to the internet; no System V or POSIX object; nobody else's limits, priority or
/// processors.
fn refused_without_namespaces(sockets: Sockets) -> Result<Rules, seccompiler::BackendError> {
    let narrow = |index, op, value| SeccompCondition::new(index, Len::Dword, op, value);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    #[rustfmt::skip]
    let never = [
        libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
        libc::SYS_mq_getsetattr, libc::SYS_mq_notify, libc::SYS_mq_open, libc::SYS_mq_timedreceive, libc::SYS_mq_timedsend,
        // Landlock lets names and openings be watched everywhere
        libc::SYS_inotify_add_watch,
        libc::SYS_mq_unlink, libc::SYS_msgctl, libc::SYS_msgget, libc::SYS_msgrcv, libc::SYS_msgsnd, libc::SYS_semctl,
        libc::SYS_semget, libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_shmget,
    ];
    let mut rules: Rules = never.into_iter().map(|call| (call, Vec::new())).collect();
    let (unix, file) = (u64::from(libc::AF_UNIX.unsigned_abs()), libc::SYS_socket);
    match sockets {
        Sockets::None => rules.extend([(file, Vec::new()), (libc::SYS_connect, Vec::new())]),
        Sockets::Internet => rules.extend([(file, vec![rule(vec![narrow(0, Op::Eq, unix)?])?])]),
    }
    // a pair of datagram sockets (to the kernel raw ones are such) could send anywhere; streams cannot
    let streams = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| u64::from(kind.unsigned_abs()));
    let others = (0..16).filter(|kind| !streams.contains(kind));
    let others = others.map(|kind| rule(vec![narrow(1, Op::MaskedEq(0xF), kind)?]));
    rules.insert(libc::SYS_socketpair, others.collect::<Result<_, _>>()?);
    for (call, process) in [
        (libc::SYS_prlimit64, 0),
        (libc::SYS_setpriority, 1),
        (libc::SYS_ioprio_set, 1),
        (libc::SYS_sched_setaffinity, 0),
        (libc::SYS_sched_setattr, 0),
        (libc::SYS_sched_setparam, 0),
        (libc::SYS_sched_setscheduler, 0),
    ] {
        rules.insert(call, vec![rule(vec![narrow(process, Op::Ne, 0)?])?]);
    }
    // 0 is the own process, but also the own user, with all that it runs elsewhere
    for (call, user) in [(libc::SYS_setpriority, u64::from(libc::PRIO_USER)), (libc::SYS_ioprio_set, IOPRIO_WHO_USER)] {
        rules.entry(call).or_default().push(rule(vec![narrow(0, Op::Eq, user)?])?);
    }
    Ok(rules)
}

/// Installs the filters on this thread, for good.
pub(crate) fn install(programs: &[Vec<(u16, u8, u8, u32)>]) -> io::Result<()> {
    for program in programs {
        let program: Vec<_> = program.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect();
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// What a recluse of ours needs once it has read its secrets: to talk over what is open, to allocate, to end.
#[rustfmt::skip]
const RECLUSE: &[libc::c_long] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_ppoll, libc::SYS_close, libc::SYS_accept4,
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_futex, libc::SYS_restart_syscall, libc::SYS_sigaltstack, libc::SYS_rt_sigreturn, libc::SYS_rt_sigprocmask,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_clock_gettime, libc::SYS_getrandom,
];
#[cfg(target_arch = "x86_64")]
const RECLUSE_HERE: &[libc::c_long] = &[libc::SYS_poll];
#[cfg(target_arch = "aarch64")]
const RECLUSE_HERE: &[libc::c_long] = &[];

/// Installs a recluse's filter on this thread, for good; returns how many calls are left. What is not listed fails with `EPERM`.
pub(crate) fn install_for_recluse() -> io::Result<u32> {
    let narrow = |index, op, value| SeccompCondition::new(index, Len::Dword, op, value).map_err(io::Error::other);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions).map_err(io::Error::other);
    let mut rules: Rules = RECLUSE.iter().chain(RECLUSE_HERE).map(|number| (*number, Vec::new())).collect();
    // memory that can be executed is never made again
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    rules.insert(libc::SYS_mmap, vec![rule(vec![narrow(2, Op::MaskedEq(executable), 0)?])?]);
    rules.insert(libc::SYS_mprotect, vec![rule(vec![narrow(2, Op::MaskedEq(executable), 0)?])?]);
    // of a socket's options only who is at its other end
    let peer = u64::from(libc::SO_PEERCRED.unsigned_abs());
    rules.insert(libc::SYS_getsockopt, vec![rule(vec![narrow(2, Op::Eq, peer)?])?]);
    enforce(rules)
}

/// What a worker needs once it reads what nobody vouches for: its descriptors, memory, its end. It takes descriptors and can send none.
#[rustfmt::skip]
const WORKER: &[libc::c_long] = &[
    libc::SYS_read, libc::SYS_pread64, libc::SYS_lseek, libc::SYS_write, libc::SYS_recvmsg, libc::SYS_close,
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_futex, libc::SYS_restart_syscall, libc::SYS_sigaltstack, libc::SYS_rt_sigreturn, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_clock_gettime, libc::SYS_getrandom,
];

/// Installs a worker's filter on this thread, for good; returns how many calls are left. What is not listed fails with `EPERM`.
pub(crate) fn install_for_worker() -> io::Result<u32> {
    let narrow = |index, op, value| SeccompCondition::new(index, Len::Dword, op, value).map_err(io::Error::other);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions).map_err(io::Error::other);
    let mut rules: Rules = WORKER.iter().map(|number| (*number, Vec::new())).collect();
    // memory of its own, of no file, that can never be executed
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let anonymous = u64::from(libc::MAP_ANONYMOUS.unsigned_abs());
    let shared = u64::from(libc::MAP_SHARED.unsigned_abs());
    let own =
        vec![narrow(2, Op::MaskedEq(executable), 0)?, narrow(3, Op::MaskedEq(anonymous), anonymous)?, narrow(3, Op::MaskedEq(shared), 0)?];
    rules.insert(libc::SYS_mmap, vec![rule(own)?]);
    rules.insert(libc::SYS_mprotect, vec![rule(vec![narrow(2, Op::MaskedEq(executable), 0)?])?]);
    enforce(rules)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// From here on this thread may make these calls and no others; how many they are.
fn enforce(rules: Rules) -> io::Result<u32> {
    let count = u32::try_from(rules.len()).unwrap_or(u32::MAX);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program: BpfProgram =
        SeccompFilter::new(rules, denied, SeccompAction::Allow, ARCH.0).and_then(TryInto::try_into).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    Ok(count)
}

/// Arguments for which a listed call is refused: any rule of a call suffices, all conditions of a rule must hold.
fn refused_arguments() -> Result<Rules, seccompiler::BackendError> {
    // The kernel reads 32 bits of these, so 32 are compared: upper bits must not open a way around.
    let narrow = |index, op, value| SeccompCondition::new(index, Len::Dword, op, value);
    let wide = |index, op, value| SeccompCondition::new(index, Len::Qword, op, value);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    let family = |op_value: libc::c_int| narrow(0, Op::Ne, u64::from(op_value.unsigned_abs()));
    let mut rules = Rules::new();
    let bits = (0..32).map(|bit| 1u64 << bit).filter(|bit| NAMESPACE_FLAGS & bit != 0);
    let spaces = bits.map(|bit| rule(vec![narrow(0, Op::MaskedEq(bit), bit)?]));
    rules.insert(libc::SYS_clone, spaces.collect::<Result<_, _>>()?);
    let mut sockets = vec![rule(vec![family(libc::AF_UNIX)?, family(libc::AF_INET)?, family(libc::AF_INET6)?])?];
    let usual = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET].map(|kind| u64::from(kind.unsigned_abs()));
    for kind in (0..16).filter(|kind| !usual.contains(kind)) {
        sockets.push(rule(vec![narrow(1, Op::MaskedEq(0xF), kind)?])?);
    }
    rules.insert(libc::SYS_socket, sockets);
    let mut pairs = vec![rule(vec![family(libc::AF_UNIX)?])?];
    for kind in (0..16).filter(|kind| !usual.contains(kind)) {
        pairs.push(rule(vec![narrow(1, Op::MaskedEq(0xF), kind)?])?);
    }
    rules.insert(libc::SYS_socketpair, pairs);
    // The terminal's input and line discipline are other programs'.
    let requests = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD];
    let ioctls = requests.map(|request| rule(vec![narrow(1, Op::Eq, request)?]));
    rules.insert(libc::SYS_ioctl, ioctls.into_iter().collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_personality, vec![rule(vec![wide(0, Op::Ne, 0)?])?]);
    // Memory files only if they can never be executed (MFD_NOEXEC_SEAL).
    rules.insert(libc::SYS_memfd_create, vec![rule(vec![narrow(1, Op::MaskedEq(0x8), 0)?])?]);
    // The core limit stays 1: that value alone also keeps a core_pattern pipe on the host from being run.
    let core = u64::from(libc::RLIMIT_CORE);
    rules.insert(libc::SYS_prlimit64, vec![rule(vec![narrow(1, Op::Eq, core)?, wide(2, Op::Ne, 0)?])?]);
    rules.insert(libc::SYS_setrlimit, vec![rule(vec![narrow(0, Op::Eq, core)?])?]);
    Ok(rules)
}

type Program = Vec<(u16, u8, u8, u32)>;

const LOAD: u16 = 0x20;
const JUMP_EQ: u16 = 0x15;
const JUMP_GE: u16 = 0x35;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7FFF_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const FAIL: u32 = 0x0005_0000;

/// The first filter.
fn list(listed: &BTreeSet<u32>) -> io::Result<Program> {
    const CLONE3: u32 = 435;
    const X32_BIT: u32 = 0x4000_0000;
    let no_such_call = FAIL | libc::ENOSYS.unsigned_abs();
    let mut program = vec![
        (LOAD, 0, 0, 4), // architecture
        (JUMP_EQ, 1, 0, ARCH.1),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0), // number
        (JUMP_GE, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
        (JUMP_EQ, 1, 0, CLONE3),
        (JUMP_GE, 0, 1, JUDGED_MAX + 1),
        (RETURN, 0, 0, no_such_call),
    ];
    // Numbers at which the answer changes, with the new answer.
    let mut changes = vec![(0, listed.contains(&0))];
    for number in 1..=JUDGED_MAX {
        let answer = listed.contains(&number);
        if changes.last().is_some_and(|(_, last)| *last != answer) {
            changes.push((number, answer));
        }
    }
    program.append(&mut tree(&changes)?);
    Ok(program)
}

/// A search among the changes: left of the middle right behind the comparison, the rest after it.
fn tree(changes: &[(u32, bool)]) -> io::Result<Program> {
    let (left, right) = changes.split_at(changes.len() / 2);
    let Some((middle, answer)) = right.first() else { return Err(io::Error::other("an empty filter")) };
    if left.is_empty() {
        let denied = FAIL | libc::EPERM.unsigned_abs();
        return Ok(vec![(RETURN, 0, 0, if *answer { ALLOW } else { denied })]);
    }
    let (mut below, mut above) = (tree(left)?, tree(right)?);
    let distance = u8::try_from(below.len()).map_err(|_| io::Error::other("the filter's jumps are too long"))?;
    let mut program = vec![(JUMP_GE, distance, 0, *middle)];
    program.append(&mut below);
    program.append(&mut above);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reference interpreter for the few instructions the first filter uses.
    fn answer(program: &Program, architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            match code {
                LOAD => value = if k == 4 { architecture } else { number },
                JUMP_EQ => at += usize::from(if value == k { jt } else { jf }),
                JUMP_GE => at += usize::from(if value >= k { jt } else { jf }),
                RETURN => return k,
                _ => panic!("instruction {code}"),
            }
        }
    }

    #[test]
    fn the_tree_answers_as_the_list() {
        let program = &filters().unwrap().programs[0];
        let (denied, unknown) = (FAIL | 1, FAIL | 38);
        for number in 0..2000 {
            let listed = ALLOWED.iter().chain(ALLOWED_HERE).any(|one| *one == i64::from(number));
            let expected = match number {
                435 => unknown,
                _ if number > JUDGED_MAX => unknown,
                _ if listed => ALLOW,
                _ => denied,
            };
            assert_eq!(answer(program, ARCH.1, number), expected, "call {number}");
        }
        for (architecture, number) in [(0x4000_0003, 1), (ARCH.1, 0x4000_0001), (ARCH.1, u32::MAX), (0, 0)] {
            assert_eq!(answer(program, architecture, number), KILL_PROCESS, "{architecture:x} {number:x}");
        }
    }

    #[test]
    fn the_dangerous_are_not_listed() {
        for number in [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_name_to_handle_at,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_mount_setattr,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_swapon,
            libc::SYS_reboot,
            libc::SYS_syslog,
            libc::SYS_acct,
            libc::SYS_quotactl,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_memfd_secret,
            libc::SYS_fanotify_init,
            libc::SYS_process_madvise,
            libc::SYS_vhangup,
            libc::SYS_lookup_dcookie,
        ] {
            let listed = ALLOWED.iter().chain(ALLOWED_HERE).any(|one| *one == number);
            assert!(!listed, "call {number} is allowed");
        }
    }

    #[test]
    fn a_recluse_opens_executes_and_signals_nothing() {
        for number in [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_tgkill,
            libc::SYS_pidfd_open,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_memfd_create,
            libc::SYS_dup,
            libc::SYS_fcntl,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_setuid,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_io_uring_setup,
        ] {
            assert!(!RECLUSE.iter().chain(RECLUSE_HERE).any(|one| *one == number), "call {number} is allowed");
        }
        assert!(
            RECLUSE.iter().chain(RECLUSE_HERE).all(|one| ALLOWED.iter().chain(ALLOWED_HERE).any(|step| step == one)),
            "fewer than a step"
        );
    }

    #[test]
    fn every_conditional_call_is_listed() {
        for number in refused_arguments().unwrap().keys() {
            assert!(ALLOWED.contains(number), "call {number}: a condition that nothing reaches");
        }
    }
}
