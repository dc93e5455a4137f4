//! The system calls a step may make.
//!
//! In: the architecture. Out: two filters, installed in order; the kernel takes the stricter answer, and of two refusals
//! the later filter's number.
//!
//! 1. An allow-list; everything else fails with `EPERM`.
//! 2. Foreign ABIs (i386 and x32 on x86_64) kill the process; `clone3` fails with `ENOSYS`, since its flags lie in memory
//!    where no filter can look, and libc then falls back to `clone`; calls newer than this list fail with `ENOSYS`, so that
//!    libc falls back too.
//!
//! **Invariant:** what is not listed is refused.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Every namespace flag of `clone`; `CLONE_NEWTIME` shares its bit with the exit signal and cannot be given there.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;
/// The newest call this list has judged (`mseal` and the xattr family follow in 6.10 to 6.13).
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
    // processes, threads, signals; `clone3` is answered by the second filter
    libc::SYS_clone3, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_futex,
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
    // sockets, once made (see `socket` below)
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_bind, libc::SYS_connect, libc::SYS_getpeername,
    libc::SYS_getsockname, libc::SYS_getsockopt, libc::SYS_listen, libc::SYS_recvfrom, libc::SYS_recvmmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // the rest
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
    let rules = rules().map_err(io::Error::other)?;
    let allowed = rules.len().saturating_sub(1); // clone3
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let list: BpfProgram = SeccompFilter::new(rules, denied, SeccompAction::Allow, ARCH.0)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    let plain = |program: &[sock_filter]| {
        program
            .iter()
            .map(|one| (one.code, one.jt, one.jf, one.k))
            .collect()
    };
    Ok(FILTERS.get_or_init(|| Filters {
        programs: vec![plain(&list), guard()],
        allowed,
    }))
}

/// Installs the filters on this thread, for good.
pub(crate) fn install(programs: &[Vec<(u16, u8, u8, u32)>]) -> io::Result<()> {
    for program in programs {
        let program: Vec<_> = program
            .iter()
            .map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k })
            .collect();
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A call without conditions is allowed whatever its arguments.
fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|number| (*number, Vec::new()))
        .collect();
    let condition = |index, op, value| SeccompCondition::new(index, Len::Dword, op, value);
    let wide = |index, op, value| SeccompCondition::new(index, Len::Qword, op, value);
    // Flags are compared in the 32 bits the kernel reads.
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![condition(
            0,
            Op::MaskedEq(NAMESPACE_FLAGS),
            0,
        )?])?],
    );
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let mut sockets = Vec::new();
    for family in families {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            sockets.push(SeccompRule::new(vec![
                condition(0, Op::Eq, u64::from(family.unsigned_abs()))?,
                condition(1, Op::MaskedEq(0xF), u64::from(kind.unsigned_abs()))?,
            ])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    let unix = condition(0, Op::Eq, u64::from(libc::AF_UNIX.unsigned_abs()))?;
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![unix])?]);
    // The terminal's input is another program's: compared in 32 bits, since the kernel ignores the upper half.
    rules.insert(
        libc::SYS_ioctl,
        vec![SeccompRule::new(vec![
            condition(1, Op::Ne, libc::TIOCSTI)?,
            condition(1, Op::Ne, libc::TIOCLINUX)?,
            condition(1, Op::Ne, libc::TIOCSETD)?,
        ])?],
    );
    rules.insert(
        libc::SYS_personality,
        vec![SeccompRule::new(vec![wide(0, Op::Eq, 0)?])?],
    );
    // Memory files only if they can never be executed.
    const NOEXEC_SEAL: u64 = 0x8;
    rules.insert(
        libc::SYS_memfd_create,
        vec![SeccompRule::new(vec![condition(
            1,
            Op::MaskedEq(NOEXEC_SEAL),
            NOEXEC_SEAL,
        )?])?],
    );
    // The core limit stays 1: that value alone also keeps a core_pattern pipe on the host from being run.
    let core = u64::from(libc::RLIMIT_CORE);
    rules.insert(
        libc::SYS_prlimit64,
        vec![
            SeccompRule::new(vec![condition(1, Op::Ne, core)?])?,
            SeccompRule::new(vec![wide(2, Op::Eq, 0)?])?,
        ],
    );
    rules.insert(
        libc::SYS_setrlimit,
        vec![SeccompRule::new(vec![condition(0, Op::Ne, core)?])?],
    );
    Ok(rules)
}

/// The second filter, by hand: the compiler above knows no ranges of call numbers.
fn guard() -> Vec<(u16, u8, u8, u32)> {
    const LOAD: u16 = 0x20;
    const JUMP_EQ: u16 = 0x15;
    const JUMP_GE: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7FFF_0000;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const NO_SUCH_CALL: u32 = 0x0005_0000 | libc::ENOSYS.unsigned_abs();
    const CLONE3: u32 = 435;
    const X32_BIT: u32 = 0x4000_0000;
    vec![
        (LOAD, 0, 0, 4), // architecture
        (JUMP_EQ, 1, 0, ARCH.1),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0), // number
        (JUMP_GE, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
        (JUMP_EQ, 1, 0, CLONE3),
        (JUMP_GE, 0, 1, JUDGED_MAX + 1),
        (RETURN, 0, 0, NO_SUCH_CALL),
        (RETURN, 0, 0, ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dangerous_are_not_listed() {
        let rules = rules().unwrap();
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
            assert!(!rules.contains_key(&number), "call {number} is allowed");
        }
    }

    #[test]
    fn conditional_calls_keep_their_conditions() {
        let rules = rules().unwrap();
        for number in [
            libc::SYS_clone,
            libc::SYS_socket,
            libc::SYS_ioctl,
            libc::SYS_personality,
            libc::SYS_prlimit64,
        ] {
            assert!(
                !rules[&number].is_empty(),
                "call {number} lost its conditions"
            );
        }
    }
}
