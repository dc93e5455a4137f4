//! The process that makes first processes: what it has, how it ends, and that its end stops nobody.
//!
//! In: this process as a launcher, and one of its own. Out: pass or fail.
//!
//! **Invariant:** pids are looked at only while they are children that nobody has reaped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seaworthy_sandbox::{Cancel, Exit, Limits, Mount, Spec};

use crate::harness::{PROBE, eventually, marked, probe, profile, unique};

/// Tests in one process have one zygote: one at a time.
static TURN: Mutex<()> = Mutex::new(());

const NAME: &[u8] = b"seaworthy-sandbox-zygote\0";

/// Living processes of that name below a process, copies that are a sandbox's first process left out.
fn zygotes_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let is_one = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned());
        let is_outside = of("NSpid:").is_some_and(|pids| pids.split_whitespace().count() == 1);
        is_outside && of("PPid:") == Some(parent.to_string()) && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == NAME)
    };
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

fn run_true() -> Exit {
    seaworthy_sandbox::init_from(Path::new(PROBE));
    let mount = |source: &Path, target: String| {
        let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(source).unwrap();
        Mount { source: opened.into(), target, exec: true }
    };
    let closure = seaworthy_sandbox::host_closure().unwrap();
    let files = closure.iter().filter(|file| !file.is_dir);
    let spec = Spec {
        profile: profile().parse().unwrap(),
        argv: vec!["true".into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        workdir: "/tmp".into(),
        hostname: "step".into(),
        mounts: files.map(|file| mount(&file.source, file.target.to_string_lossy().into_owned())).collect(),
        links: Vec::new(),
        texts: Vec::new(),
        outputs: vec!["out".into()],
        limits: Limits {
            memory_bytes: 256 << 20,
            cpu_milli: None,
            processes: 16,
            disk_bytes: 16 << 20,
            timeout: Duration::from_secs(60),
            log_bytes: 1 << 10,
            output_files: 10,
        },
        devices: Vec::new(),
        places_in_words: false,
        capture: true,
    };
    seaworthy_sandbox::run(spec, &Cancel::new()).unwrap().exit
}

#[test]
fn a_killed_zygote_is_replaced_and_none_holds_anything() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    assert_eq!(run_true(), Exit::Code(0));
    let before = zygotes_of(own);
    let [zygote] = before[..] else { panic!("{before:?}") };
    assert_eq!(fs::read(format!("/proc/{zygote}/environ")).unwrap(), b"");
    let mut held: Vec<String> =
        fs::read_dir(format!("/proc/{zygote}/fd")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    held.sort();
    assert_eq!(held, ["0", "1", "2", "3"]);
    assert!(Command::new("kill").args(["-9", &zygote.to_string()]).status().unwrap().success());
    assert_eq!(run_true(), Exit::Code(0), "with a zygote that was killed");
    assert_eq!(run_true(), Exit::Code(0));
    let after = zygotes_of(own);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
}

#[test]
fn the_zygote_goes_with_its_launcher() {
    let mark = unique("zygote");
    let mut launcher = Command::new(PROBE).arg("drive").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let described = probe(&["behave", "sleep", &mark]).to_string();
    launcher.stdin.take().unwrap().write_all(described.as_bytes()).unwrap();
    assert!(eventually(|| !marked(&mark).is_empty()), "the step was not seen");
    let zygotes = zygotes_of(launcher.id());
    assert_eq!(zygotes.len(), 1);
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    let is_gone = |pid: &u32| !fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == NAME);
    assert!(eventually(|| zygotes.iter().all(is_gone) && marked(&mark).is_empty()), "something outlived its launcher");
}

/// An interrupt from the terminal goes to every process of the group: the launcher decides what it means.
#[test]
fn the_zygote_does_not_mind_an_interrupt() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    assert_eq!(run_true(), Exit::Code(0));
    let before = zygotes_of(own);
    for zygote in &before {
        for signal in ["-INT", "-TERM", "-HUP"] {
            assert!(Command::new("kill").args([signal, &zygote.to_string()]).status().unwrap().success());
        }
    }
    assert_eq!(run_true(), Exit::Code(0));
    assert_eq!(zygotes_of(own), before);
}
