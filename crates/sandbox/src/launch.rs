//! Runs one step: the launcher's side.
//!
//! In: a [`Spec`]. Out: an [`Outcome`], read top to bottom in [`run`].
//!
//! **Invariant:** whatever way [`run`] is left, the tree is dead and its cgroup removed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::cgroup::{self, Cgroup};
use crate::collect::{Bounds, collect};
use crate::drain::Drain;
use crate::error::SandboxError;
use crate::init::{self, ID_INSIDE};
use crate::profile::{CgroupUse, Circumstances, Network, Profile};
use crate::report::{Enforced, Exit, Outcome, Usage};
use crate::seccomp::Sockets;
use crate::secrets::Redactor;
use crate::spec::{Cancel, Limits, Spec, Ways};
use crate::syscall::{self, Launch, Program};
use crate::view::View;
use crate::watch::{Ready, await_arrival, watch};
use crate::wire::{Order, OrderMount, Shape};
use crate::{egress, mounts, preflight, seccomp, secrets, wire, zygote};

/// Host users of steps: a range no distribution hands out.
const HOST_ID_BASE: u32 = 0x4000_0000;
/// Where the kernel maps fewer users to us.
const HOST_ID_NOBODY: u32 = 65534;
/// The time-out of a run whose own no clock can hold.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs a step to its end and returns what came of it.
pub fn run(spec: Spec, cancel: &Cancel) -> Result<Outcome, SandboxError> {
    run_passing(spec, [None, None], cancel)
}

/// The same; what the step writes to standard output and error goes on to these as it comes, besides what is kept of it.
///
/// The step never holds them: it writes into pipes of ours, and cannot read, rewind or control what is behind.
pub fn run_passing(spec: Spec, sinks: [Option<OwnedFd>; 2], cancel: &Cancel) -> Result<Outcome, SandboxError> {
    run_with(spec, Ways { sinks, ..Ways::default() }, cancel)
}

/// The same, with a way out to whoever takes the step's connections, and with secrets.
pub fn run_with(spec: Spec, ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError> {
    let before = thread_cpu_us();
    let mut outcome = run_tree(spec, ways, cancel)?;
    outcome.usage.launcher_cpu_us = thread_cpu_us().saturating_sub(before);
    Ok(outcome)
}

/// Processor time of this thread.
fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap_or(0)
}

fn run_tree(mut spec: Spec, ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError> {
    spec.check()?;
    egress::check(&spec, &ways)?;
    secrets::check(ways.secrets)?;
    preflight::can_hide(spec.profile, ways.secrets.len())?;
    let begun = Instant::now();
    let cgroup = make_cgroup(spec.profile, &spec.limits)?;
    let host = HostId::choose();
    let mounts = std::mem::take(&mut spec.mounts);
    let mut view = if spec.profile.layers().namespaces {
        None
    } else {
        let owner = host.drop.then_some(host.uid);
        Some(View::make(owner, &spec, &mounts).map_err(SandboxError::setup("making its places"))?)
    };
    let (mut order, mut trees) = write_order(&spec, mounts, host, view.as_mut(), cgroup.is_some())?;
    let door = add_ways(&mut order, &mut trees, &ways).map_err(SandboxError::setup("making its ways"))?;
    let (mut tree, streams) = Tree::spawn(spec.profile, ways.sinks.map(|sink| (kept_bytes(&spec), sink)), host, cgroup)?;
    let streams = streams.map(|stream| stream.without(Redactor::new(ways.secrets)));
    tree.admit(&order, &trees)?;
    drop(trees);
    let deadline = begun.checked_add(spec.limits.timeout).unwrap_or(begun + TIMEOUT_MAX);
    let (ended, stdout, stderr) = watch(&mut tree, streams, &spec, deadline, cancel, door.zip(ways.door))?;
    let usage = tree.bury(begun)?;
    let exit = ended.exit(tree.cgroup.as_ref())?;
    let (Some(out), Some(ready)) = (ended.out, ended.ready) else {
        return Ok(unready(exit, stdout, stderr, enforced(&spec, host, &tree, None)?, usage));
    };
    let bounds = Bounds { files: spec.limits.output_files, bytes: spec.limits.disk_bytes };
    let outputs = collect(&out, &spec.outputs, bounds);
    let enforced = enforced(&spec, host, &tree, Some(ready))?;
    Ok(Outcome { exit, stdout, stderr, outputs, enforced, usage })
}

/// Adds the values of secrets, and the far end of the way out, to what is sent to pid 1; returns the near end.
fn add_ways(order: &mut Order, sent: &mut Vec<OwnedFd>, ways: &Ways<'_>) -> io::Result<Option<OwnedFd>> {
    if !ways.secrets.is_empty() {
        let (listed, values) = secrets::pack(ways.secrets)?;
        order.secrets = listed;
        sent.push(values);
    }
    if ways.door.is_none() {
        return Ok(None);
    }
    let (near, far) = egress::pair()?;
    order.has_door = true;
    sent.push(far);
    Ok(Some(near))
}

fn kept_bytes(spec: &Spec) -> usize {
    if spec.capture { spec.limits.log_bytes } else { 0 }
}

/// Starts the first process of a sandbox and kills it before it got anything to do: are the namespaces to be had?
pub(crate) fn try_namespaces(profile: Profile) -> Result<(), SandboxError> {
    Tree::spawn(profile, [(0, None), (0, None)], HostId::choose(), None).map(drop)
}

/// Whether this process has a program that can become pid 1.
pub(crate) fn has_init() -> bool {
    INIT_PATH.get().is_some() || init::is_entered()
}

/// A run that was stopped before its root stood: there is nothing to collect.
fn unready(exit: Exit, stdout: crate::CapturedStream, stderr: crate::CapturedStream, enforced: Enforced, usage: Usage) -> Outcome {
    Outcome { exit, stdout, stderr, outputs: Ok(Vec::new()), enforced, usage }
}

fn make_cgroup(profile: Profile, limits: &Limits) -> Result<Option<Cgroup>, SandboxError> {
    if profile.layers().cgroup == CgroupUse::WherePossible {
        let place = cgroup::find().ok().flatten();
        return Ok(place.and_then(|place| Cgroup::create(&place, limits).ok()));
    }
    if !profile.demands_cgroup() {
        return Ok(None);
    }
    let place = cgroup::find().map_err(SandboxError::setup("finding the cgroup"))?;
    let Some(place) = place else {
        return Err(preflight::no_cgroup(profile, "the memory and pids controllers are not available").into());
    };
    let group = Cgroup::create(&place, limits);
    group.map(Some).map_err(|error| preflight::no_cgroup(profile, &error.to_string()).into())
}

/// Who the step is on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostId {
    pub(crate) uid: u32,
    gid: u32,
    /// The launcher is root and must become this first.
    pub(crate) drop: bool,
}

impl HostId {
    /// Root's steps get a user of their own for each run; others stay who they are.
    pub(crate) fn choose() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), drop: false };
        }
        let run = RUNS.fetch_add(1, Ordering::Relaxed) & 0xFF;
        let own = HOST_ID_BASE + ((std::process::id() & 0x003F_FFFF) << 8) + run;
        let id = if maps_everyone() { own } else { HOST_ID_NOBODY };
        Self { uid: id, gid: id, drop: true }
    }

    /// Whether nobody else on this machine is that user.
    pub(crate) fn has_own_user(self) -> bool {
        self.drop && maps_everyone()
    }
}

fn maps_everyone() -> bool {
    static WHOLE: OnceLock<bool> = OnceLock::new();
    *WHOLE.get_or_init(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 1 << 31)
    })
}

/// The order, and the mounts as this launcher can hand them over.
fn write_order(
    spec: &Spec,
    mounts: Vec<crate::Mount>,
    host: HostId,
    mut view: Option<&mut View>,
    bounded: bool,
) -> Result<(Order, Vec<OwnedFd>), SandboxError> {
    let mut trees = Vec::with_capacity(mounts.len());
    let mut listed = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let failed = |error| SandboxError::setup(format!("mount `{}`", mount.target))(error);
        let stat = rustix::fs::fstat(&mount.source).map_err(|error| failed(error.into()))?;
        let shape =
            shape(&stat).ok_or_else(|| SandboxError::Spec { what: format!("mount `{}` is neither file nor folder", mount.target) })?;
        let (tree, reopen) = match (shape, &mut view) {
            (Shape::Mask, _) => (mount.source.try_clone().map_err(failed)?, None),
            // the place is there already, or a link to it is made; the rule is about the descriptor
            (Shape::File | Shape::Folder, Some(view)) => view.show(&mount).map_err(|error| unshown(spec.profile, &mount.target, error))?,
            (Shape::File | Shape::Folder, None) => hand_over(&mount, host).map_err(failed)?,
        };
        trees.push(tree);
        listed.push(OrderMount { target: mount.target, exec: mount.exec, shape, reopen });
    }
    let filters = filters_of(spec.profile)?;
    let view = view.as_deref();
    let found = |path: &str| view.map_or_else(|| path.to_owned(), |view| view.find(path));
    let rewritten = |value: &String| view.map_or_else(|| value.clone(), |view| view.rewrite(value));
    let mut argv = spec.argv.clone();
    if let Some(program) = argv.first_mut() {
        *program = found(program);
    }
    if let Some(view) = view.filter(|_| spec.places_in_words) {
        argv.iter_mut().skip(1).for_each(|word| *word = view.rewrite_word(word));
    }
    let shared_user = view.is_some() && !host.has_own_user() && !bounded;
    let others = if shared_user { tasks_of(host.uid) } else { 0 };
    let order = Order {
        profile: spec.profile,
        argv,
        env: spec.env.iter().map(|(name, value)| (name.clone(), rewritten(value))).collect(),
        workdir: found(&spec.workdir),
        hostname: spec.hostname.clone(),
        mounts: listed,
        links: spec.links.clone(),
        texts: spec.texts.clone(),
        devices: spec.devices.clone(),
        outputs: spec.outputs.clone(),
        output_files: spec.limits.output_files,
        disk_bytes: spec.limits.disk_bytes,
        processes: spec.limits.processes.saturating_add(others),
        data_bytes: (!bounded).then_some(spec.limits.memory_bytes),
        uid_host: host.uid,
        gid_host: host.gid,
        secrets: Vec::new(),
        has_door: false,
        filters: filters.programs.clone(),
        view: view.map(|view| view.dir().display().to_string()),
        own_user: host.has_own_user(),
    };
    Ok((order, trees))
}

/// A file that the step's user cannot reach is the machine's doing, all else a fault of the set-up.
fn unshown(profile: Profile, target: &str, error: io::Error) -> SandboxError {
    if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        let hint = "start as an ordinary user, or use programs that every user can reach (`--python /usr/bin/python3`)";
        return crate::error::Unsupported::one(profile, error.to_string(), hint).into();
    }
    SandboxError::setup(format!("mount `{target}`"))(error)
}

fn filters_of(profile: Profile) -> Result<&'static seccomp::Filters, SandboxError> {
    let layers = profile.layers();
    let sockets = if layers.network == Network::Host { Sockets::Internet } else { Sockets::None };
    let filters = if layers.namespaces { seccomp::filters() } else { seccomp::filters_without_namespaces(sockets) };
    filters.map_err(SandboxError::setup("compiling the system call filter"))
}

/// Processes and threads of a user: where the kernel counts them together, they count towards the step's bound.
fn tasks_of(uid: u32) -> u32 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.metadata().is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == uid));
    let tasks = own.map(|entry| std::fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count)).sum::<usize>();
    u32::try_from(tasks).unwrap_or(u32::MAX)
}

fn path_of(file: &OwnedFd) -> io::Result<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))?;
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("its path is not UTF-8"))
}

fn shape(stat: &rustix::fs::Stat) -> Option<Shape> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(Shape::Folder),
        FileType::RegularFile => Some(Shape::File),
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => Some(Shape::Mask),
        _ => None,
    }
}

/// Root clones the mount itself, since the step's user may not walk to it; others leave that to pid 1, which finds the
/// file again by path and compares.
fn hand_over(mount: &crate::Mount, host: HostId) -> io::Result<(OwnedFd, Option<String>)> {
    if host.drop {
        match mounts::clone_tree(mount.source.as_fd()) {
            Ok(tree) => {
                mounts::restrict(&tree, mount.exec)?;
                return Ok((tree, None));
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => return Err(error),
        }
    }
    let path = path_of(&mount.source)?;
    Ok((mount.source.try_clone()?, Some(path)))
}

static INIT_PATH: OnceLock<PathBuf> = OnceLock::new();

/// Takes the init program from another executable than this one, for programs whose `main` does not begin with
/// [`crate::init_main`] (test harnesses). Returns false if one was already chosen.
pub fn init_from(path: &Path) -> bool {
    INIT_PATH.set(path.to_owned()).is_ok()
}

/// The init program, by a way that nothing it runs can change it: through a read-only mount of its own where this process may
/// make one, or as a sealed copy in memory. Found once; while this process runs, nobody else can write to it either.
pub(crate) fn init_executable() -> Result<&'static OwnedFd, SandboxError> {
    static COPY: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(copy) = COPY.get() {
        return Ok(copy);
    }
    if !has_init() {
        // Executed as pid 1 this program would do whatever its main does, a test harness run all its tests.
        let what = "this program's main does not begin with `init_main`, and `init_from` named no other";
        return Err(SandboxError::Spec { what: what.into() });
    }
    let path = INIT_PATH.get().map_or(Path::new("/proc/self/exe"), PathBuf::as_path);
    let copy = match read_only(path) {
        Ok(mounted) => mounted,
        Err(_) => seal(path).map_err(SandboxError::setup("copying the program into sealed memory"))?,
    };
    Ok(COPY.get_or_init(|| copy))
}

/// The program on a mount that nobody can name, read-only for whoever finds it in /proc. Only root may make one.
fn read_only(path: &Path) -> io::Result<OwnedFd> {
    let program = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mounted = mounts::clone_tree(program.as_fd())?;
    mounts::restrict(&mounted, true)?;
    Ok(mounted)
}

fn seal(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create("seaworthy", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create("seaworthy", flags)?, // before Linux 6.3
        other => other?,
    };
    let mut file = File::from(memory);
    io::copy(&mut File::open(path)?, &mut file)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555))?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// A live sandbox. Dropping it kills and reaps the tree.
pub(crate) struct Tree {
    pid: i32,
    pidfd: Option<OwnedFd>,
    control: OwnedFd,
    cgroup: Option<Cgroup>,
    reaped: bool,
    /// Its first process is that of no namespace.
    is_warden: bool,
}

impl Tree {
    fn spawn(
        profile: Profile,
        kept: [(usize, Option<OwnedFd>); 2],
        host: HostId,
        cgroup: Option<Cgroup>,
    ) -> Result<(Self, [Drain; 2]), SandboxError> {
        let setup = |error: rustix::io::Errno| SandboxError::setup("making pipes")(error.into());
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(setup)?;
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(setup);
        let ((stdout, stdout_in), (stderr, stderr_in)) = (pipe()?, pipe()?);
        let (control, control_in) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(setup)?;
        for reader in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(reader, true).map_err(setup)?;
        }
        let entries = cgroup.as_ref().map_or_else(|| Ok(Vec::new()), Cgroup::entries);
        let entries = entries.map_err(SandboxError::setup("opening the cgroup"))?;
        let executable = init_executable()?.as_fd();
        let namespaces = preflight::namespaces(profile);
        let launch = Launch {
            entries: &entries,
            program: Program::Execute { executable, name: syscall::WARDEN_NAME },
            descriptors: [null.as_fd(), stdout_in.as_fd(), stderr_in.as_fd(), control_in.as_fd()],
            drop_to: host.drop.then_some(host.uid),
            namespaces,
        };
        let started = if namespaces == 0 { syscall::execute_init(&launch) } else { zygote::spawn_init(&launch, executable) };
        let pid = started.map_err(|(stage, error)| preflight::explain(profile, stage, error))?;
        let mut tree = Self { pid, pidfd: None, control, cgroup, reaped: false, is_warden: !profile.layers().namespaces };
        let found = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
        let pidfd = found.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        tree.pidfd = Some(pidfd.map_err(|error| SandboxError::setup("pidfd_open")(error.into()))?);
        let [(keep_out, sink_out), (keep_err, sink_err)] = kept;
        Ok((tree, [Drain::new(stdout, keep_out, sink_out), Drain::new(stderr, keep_err, sink_err)]))
    }

    /// Into the cgroup first, the order after: nothing of the step runs unbounded.
    fn admit(&self, order: &Order, trees: &[OwnedFd]) -> Result<(), SandboxError> {
        if !self.is_warden {
            await_arrival(self.control.as_fd(), order.profile)?;
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.attach(self.pid).map_err(SandboxError::setup("entering the cgroup"))?;
        }
        wire::send_order(self.control.as_fd(), order, trees).map_err(SandboxError::setup("sending the order"))
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Readable once the first process is dead.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The death of pid 1 is the death of its namespace.
    pub(crate) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        if self.is_warden {
            // at the end of its socket the first process kills the tree: its own death would set the tree free
            let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write);
            return;
        }
        // An error means that it is dead already; its record is still ours, so the pid cannot be another's.
        let _ = match &self.pidfd {
            Some(pidfd) => rustix::process::pidfd_send_signal(pidfd, Signal::KILL),
            None => Pid::from_raw(self.pid).map_or(Ok(()), |pid| rustix::process::kill_process(pid, Signal::KILL)),
        };
    }

    /// Reaps pid 1, makes sure that nobody is left, reads the counters.
    fn bury(&mut self, begun: Instant) -> Result<Usage, SandboxError> {
        let ended = syscall::wait4(self.pid, true).map_err(SandboxError::setup("reaping"))?;
        self.reaped = true;
        let mut usage = Usage { cpu_us: ended.map_or(0, |ended| ended.cpu_us), ..Usage::default() };
        if let Some(cgroup) = &self.cgroup {
            cgroup.expect_empty()?;
            usage.peak_memory_bytes = cgroup.peak_memory_bytes();
            usage.peak_processes = cgroup.peak_processes();
        }
        usage.wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(usage)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            // The only failure is that somebody else reaped it.
            let _ = syscall::wait4(self.pid, true);
        }
    }
}

fn enforced(spec: &Spec, host: HostId, tree: &Tree, ready: Option<Ready>) -> Result<Enforced, SandboxError> {
    let filters = filters_of(spec.profile)?;
    let (namespaces, landlock_abi) = ready.map_or((Vec::new(), 0), |ready| (ready.namespaces, ready.landlock_abi));
    let layers = spec.profile.layers();
    let network = match layers.network {
        Network::Empty | Network::NoSockets => "none",
        Network::Declared => "declared",
        Network::Host => "host",
    };
    let cgroup = tree.cgroup.as_ref().map(|cgroup| cgroup.report().clone());
    let bounded = cgroup.is_some();
    // without namespaces a user that others have too protects nothing
    let root = if spec.profile.layers().namespaces { host.drop } else { host.has_own_user() };
    let run = Circumstances { root, cgroup: cgroup.is_some(), landlock_abi };
    let mut not_stopped: Vec<u8> = spec.profile.cannot_stop(run).map(|open| open.attack).collect();
    not_stopped.sort_unstable();
    Ok(Enforced {
        profile: spec.profile,
        namespaces,
        landlock_abi,
        seccomp_allowed: filters.allowed,
        seccomp_instructions: filters.instructions(),
        cgroup,
        no_new_privs: true,
        uid_map: Some((if layers.namespaces { ID_INSIDE } else { host.uid }, host.uid)),
        gid_map: Some((if layers.namespaces { ID_INSIDE } else { host.gid }, host.gid)),
        network: network.to_owned(),
        kernel: preflight::kernel(),
        devices: spec.devices.iter().map(crate::Device::shown).collect(),
        gaps: gaps(spec.profile, host, bounded),
        not_stopped,
    })
}

/// What the profile does not stop, in the attestation's words.
fn gaps(profile: Profile, host: HostId, bounded: bool) -> Vec<String> {
    let mut gaps = vec!["the kernel is shared: a fault in an allowed system call is not contained"];
    if !profile.layers().namespaces {
        gaps.push("no namespaces: it runs in the host's tree, its files on the host's disk, and names, sizes and owners of files and processes show");
        gaps.push("programs and libraries are the host's own where they were not shown from elsewhere");
    }
    if !bounded {
        gaps.push("memory is bounded for each process alone, and files in memory by their size limit only");
        gaps.push("processor time is not shared out");
    }
    if profile.layers().network == Network::Declared {
        gaps.push("what declared hosts are sent, and what they do with it, is not seen: it is encrypted");
    }
    if profile.layers().network == Network::Host {
        gaps.push("the network of the host can be reached, its loopback and abstract sockets too");
    }
    if !host.drop {
        gaps.push("the step is the launching user on the host and keeps its supplementary groups");
    }
    gaps.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    /// A step that got hold of the program could make the next launcher run what it likes.
    #[test]
    fn the_program_that_is_executed_cannot_be_written_to() {
        let path = std::env::temp_dir().join(format!("seaworthy-program-{}", std::process::id()));
        io::copy(&mut &b"program"[..], &mut File::options().write(true).create_new(true).open(&path).unwrap()).unwrap();
        let write = |path: &Path| io::Write::write_all(&mut File::options().write(true).open(path)?, b"p");
        let ways = [read_only(&path), seal(&path)];
        let refused: Vec<bool> =
            ways.iter().flatten().map(|way| write(Path::new(&format!("/proc/self/fd/{}", way.as_raw_fd()))).is_err()).collect();
        // only root may make the mount; the copy anybody can
        assert_eq!(ways[0].is_ok(), rustix::process::geteuid().is_root(), "{:?}", ways[0]);
        assert!(!refused.is_empty() && refused.iter().all(|refused| *refused), "{refused:?}");
        // control: by its own name whoever owns it may write to it
        write(&path).unwrap();
        rustix::fs::unlink(&path).unwrap();
    }
}
