//! Real faults against the real binary: stopped and killed, out of memory, out of disk, out of descriptors, on a read-only disk. Nothing is lost,
//! the error has a code and a hint, and the next run continues and verifies.
//!
//! Mounting and limiting need root; the tests of an ordinary user are in `ordinary`.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::crash::{outcome, settle};
use crate::stop::{sleepy, wait_for_start};
use crate::workspace::{Finished, Tiny};

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The leaves so far, as text: what a later state must begin with.
fn leaves(tiny: &Tiny) -> String {
    if !tiny.state().join("log/wal").exists() {
        return String::new();
    }
    let shown = tiny.run(&["log", "show", "--json", "--count", "100000"]);
    if shown.code == 0 { shown.stdout } else { String::new() }
}

/// A failure that helps: a code, and what to do.
fn says_what_to_do(finished: &Finished, when: &str) {
    assert!(finished.stderr.contains("error[") && finished.stderr.contains("hint:"), "{when}: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{when}: {}", finished.stderr);
}

/// With nothing in its way any more, the run continues, ends as it would have, and nothing that was recorded is gone.
fn continues(tiny: &Tiny, before: &str, when: &str) {
    let again = tiny.run(&["run", "workflow.yaml"]);
    assert_eq!(again.code, 0, "{when}: {}", again.stderr);
    assert!(leaves(tiny).starts_with(before), "{when}: recorded leaves are gone");
    assert_eq!(outcome(tiny).len(), 3, "{when}");
    tiny.ok(&["verify", "log"]);
}

#[test]
fn stopped_and_then_killed_a_run_leaves_no_process_and_continues() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let id = child.id().to_string();
    tool("kill", &["-STOP", &id]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it is stopped, not dead");
    let before = leaves(&tiny);
    // stopped, it still holds its run: nobody else continues it
    tiny.refused(&["run", "workflow.yaml"], 3, "run/in-progress");
    tool("kill", &["-KILL", &id]);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    settle(&tiny);
    assert_eq!(leaves(&tiny), before);
    let text = tiny.read("src/double.sh").replace("sleep 30", "sleep 0");
    tiny.write("src/double.sh", text.as_bytes());
    tiny.ok(&["lock", "--update", "code:src/"]);
    continues(&tiny, &before, "after SIGSTOP and SIGKILL");
}

/// A memory cgroup, of whichever version the machine has; gone when dropped.
struct Memory(PathBuf);

impl Memory {
    fn new(bytes: u64) -> Self {
        let one = Path::new("/sys/fs/cgroup/memory");
        let (base, file) = if one.is_dir() { (one, "memory.limit_in_bytes") } else { (Path::new("/sys/fs/cgroup"), "memory.max") };
        let dir = base.join(format!("seaworthy-kills-{}-{bytes}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let group = Self(dir);
        std::fs::write(group.0.join(file), bytes.to_string()).unwrap();
        group
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The binary, begun by a shell that first does `before`.
fn shell(tiny: &Tiny, before: &str, arguments: &str) -> std::process::Output {
    let line = format!("{before}; exec {} {arguments}", env!("CARGO_BIN_EXE_seaworthy"));
    let known = tiny.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(&tiny.dir).env_clear().stdin(Stdio::null());
    command.envs(known.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.output().unwrap()
}

#[test]
fn killed_for_want_of_memory_at_any_size_a_run_continues() {
    let mut killed = 0;
    for kib in [4_000, 6_000, 8_000, 10_000, 14_000, 18_000, 24_000] {
        let tiny = Tiny::new();
        let group = Memory::new(kib * 1024);
        let output = shell(&tiny, &format!("echo $$ > {}/cgroup.procs", group.0.display()), "run workflow.yaml");
        killed += usize::from(output.status.signal() == Some(9));
        settle(&tiny);
        let before = leaves(&tiny);
        if !output.status.success() && output.status.signal().is_none() {
            says_what_to_do(&Finished::of(&output), &format!("{kib} KiB"));
        }
        continues(&tiny, &before, &format!("after {kib} KiB of memory"));
    }
    assert!(killed > 0, "the kernel never killed it: the sizes are no test");
}

#[test]
fn without_descriptors_a_run_says_so_and_continues() {
    let mut failed = 0;
    for limit in [8, 12, 16, 20, 24, 28, 32, 40] {
        let tiny = Tiny::new();
        let output = shell(&tiny, &format!("ulimit -n {limit}"), "run workflow.yaml");
        if !output.status.success() {
            failed += 1;
            says_what_to_do(&Finished::of(&output), &format!("{limit} descriptors"));
        }
        let before = leaves(&tiny);
        continues(&tiny, &before, &format!("after {limit} descriptors"));
    }
    assert!(failed > 2, "it never ran out of descriptors: the limits are no test");
}

/// A disk of its own for a workspace.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(dir: &'a Path, size: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        tool("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs", &dir.to_string_lossy()]);
        Self(dir)
    }

    fn again(&self, options: &str) {
        tool("mount", &["-o", &format!("remount,{options}"), &self.0.to_string_lossy()]);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(self.0).output());
    }
}

/// KiB in use on the disk that is mounted there.
fn used(disk: &Mounted<'_>) -> u64 {
    let output = Command::new("df").args(["-k", "--output=used"]).arg(disk.0).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

/// The workspace as it is, on a disk of its own.
fn moved<'a>(tiny: &'a Tiny, size: &str) -> Mounted<'a> {
    let files = tiny.base().join("files");
    tool("cp", &["-aT", &tiny.dir.to_string_lossy(), &files.to_string_lossy()]);
    let disk = Mounted::new(&tiny.dir, size);
    tool("cp", &["-aT", &files.to_string_lossy(), &tiny.dir.to_string_lossy()]);
    disk
}

#[test]
fn a_full_disk_at_any_moment_loses_nothing_and_the_run_continues_when_there_is_room() {
    let measured = Tiny::new();
    let disk = moved(&measured, "256m");
    let start = used(&disk);
    measured.ok(&["run", "workflow.yaml"]);
    let end = used(&disk);
    let (mut failed, parts) = (0, 7);
    for part in 0..parts {
        let tiny = Tiny::new();
        let disk = moved(&tiny, "256m");
        // just so much room as a part of the run needs
        disk.again(&format!("size={}k", used(&disk).max(start) + (end - start) * part / parts));
        let run = tiny.run(&["run", "workflow.yaml"]);
        if run.code != 0 {
            failed += 1;
            says_what_to_do(&run, &format!("part {part}"));
        }
        let before = leaves(&tiny);
        disk.again("size=256m");
        continues(&tiny, &before, &format!("after a disk of part {part} of {parts}"));
    }
    assert!(failed > parts / 2, "the disk was hardly ever full: the sizes are no test ({start} to {end} KiB)");
}

#[test]
fn on_a_read_only_disk_evidence_is_read_and_nothing_is_run() {
    let tiny = sleepy();
    let disk = moved(&tiny, "256m");
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    child.kill().unwrap();
    child.wait().unwrap();
    settle(&tiny);
    disk.again("ro");
    let before = leaves(&tiny);
    assert!(before.contains("step.committed"), "what was committed is read");
    tiny.ok(&["verify", "log"]);
    let refused = tiny.run(&["run", "workflow.yaml"]);
    assert_ne!(refused.code, 0);
    says_what_to_do(&refused, "read-only");
    assert_eq!(leaves(&tiny), before);
    disk.again("rw");
    let text = tiny.read("src/double.sh").replace("sleep 30", "sleep 0");
    tiny.write("src/double.sh", text.as_bytes());
    tiny.ok(&["lock", "--update", "code:src/"]);
    continues(&tiny, &before, "read-write again");
}
