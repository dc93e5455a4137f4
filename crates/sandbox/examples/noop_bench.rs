//! Measures a sandboxed `true`, in turns with bubblewrap: `noop_bench TURNS RUNS_A_TURN [BWRAP [PROGRAM]]`.
//!
//! in: how often, where bubblewrap is; out: one flat line of JSON, milliseconds for one run: medians of wall, means of processor time.
//! The first process of a sandbox is PROGRAM's (the product's), since its size is a part of the cost; `plain` is a spawn of `true`
//! and nothing else. `file_mounts` is the same sandbox with a mount for each file of the host instead of one for each top-level folder.
//! **Invariant:** processor time is that of launcher and sandbox together, for both.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, spawns its peer, and stops at the first fault"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use seaworthy_sandbox::{Cancel, ClosureFile, Exit, Limits, Mount, Profile, Spec};

/// Processor time of this process and of all children it has waited for, milliseconds, exact to a tick of 10.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(4);
    fields.map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
}

/// The closure as the engine shows it: one folder of copies, a mount for each top-level name.
struct Copies {
    dir: PathBuf,
}

impl Copies {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("noop-bench-{}", std::process::id()));
        for file in seaworthy_sandbox::host_closure().unwrap().iter().filter(|file| !file.is_dir) {
            let path = dir.join(file.target.strip_prefix("/").unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(&file.source, &path).unwrap();
        }
        Self { dir }
    }

    fn mounts(&self) -> Vec<Mount> {
        let tops = std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap());
        tops.map(|top| mount(&top.path(), format!("/{}", top.file_name().to_str().unwrap()))).collect()
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// The same files of the host, a mount for each: what the copies save.
fn file_mounts(closure: &[ClosureFile]) -> Vec<Mount> {
    let files = closure.iter().filter(|file| !file.is_dir);
    files.map(|file| mount(&file.source, file.target.to_string_lossy().into_owned())).collect()
}

fn mount(source: &Path, target: String) -> Mount {
    let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(source).unwrap();
    Mount { source: OwnedFd::from(opened), target, exec: true }
}

fn ours(profile: Profile, mounts: Vec<Mount>) {
    let spec = Spec {
        profile,
        argv: vec!["true".into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        workdir: "/tmp".into(),
        hostname: "step".into(),
        mounts,
        links: Vec::new(),
        texts: Vec::new(),
        outputs: vec!["out".into()],
        limits: Limits {
            memory_bytes: 512 << 20,
            cpu_milli: None,
            processes: 64,
            disk_bytes: 64 << 20,
            timeout: Duration::from_secs(60),
            log_bytes: 64 << 10,
            output_files: 100,
        },
        devices: Vec::new(),
        places_in_words: false,
        capture: true,
    };
    assert_eq!(seaworthy_sandbox::run(spec, &Cancel::new()).unwrap().exit, Exit::Code(0));
}

fn peer(bubblewrap: &str) {
    let view =
        ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"];
    let rest = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"];
    let output = Command::new(bubblewrap).args(view).args(rest).args(["--cap-drop", "ALL", "/usr/bin/true"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn plain() {
    assert!(Command::new("/usr/bin/true").env_clear().output().unwrap().status.success());
}

/// Milliseconds for one of `runs`: wall, processor.
fn turn(runs: u32, one: impl Fn()) -> (f64, f64) {
    let (start, before) = (Instant::now(), cpu_ms());
    (0..runs).for_each(|_| one());
    (start.elapsed().as_secs_f64() * 1e3 / f64::from(runs), (cpu_ms() - before) / f64::from(runs))
}

fn shown(name: &str, taken: &[(f64, f64)]) -> String {
    let mut wall: Vec<f64> = taken.iter().map(|(wall, _)| *wall).collect();
    wall.sort_by(f64::total_cmp);
    let cpu: f64 = taken.iter().map(|(_, cpu)| *cpu).sum::<f64>() / f64::from(u32::try_from(taken.len()).unwrap());
    format!("\"{name}_wall_ms\":{:.3},\"{name}_cpu_ms\":{cpu:.3}", wall.get(wall.len() / 2).unwrap())
}

fn main() {
    seaworthy_sandbox::init_main();
    let mut arguments = std::env::args().skip(1);
    let mut count = || arguments.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(5);
    let (turns, runs) = (count(), count());
    let bubblewrap = arguments.next();
    if let Some(program) = arguments.next() {
        assert!(seaworthy_sandbox::init_from(Path::new(&program)));
    }
    let profile = if seaworthy_sandbox::preflight(Profile::Strict).is_ok() { Profile::Strict } else { Profile::NoCgroup };
    let (copies, closure) = (Copies::new(), seaworthy_sandbox::host_closure().unwrap());
    ours(profile, copies.mounts());
    let (mut own, mut files, mut other, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..turns {
        own.push(turn(runs, || ours(profile, copies.mounts())));
        files.push(turn(runs, || ours(profile, file_mounts(&closure))));
        bare.push(turn(runs, plain));
        if let Some(bubblewrap) = &bubblewrap {
            other.push(turn(runs, || peer(bubblewrap)));
        }
    }
    let peer = if other.is_empty() { String::new() } else { format!(",{}", shown("peer", &other)) };
    println!("{{\"profile\":\"{profile}\",{},{},{}{peer}}}", shown("ours", &own), shown("file_mounts", &files), shown("plain", &bare));
}
