//! Starts the probe, inside a sandbox or not.
//!
//! In: descriptions. Out: what came of them.
//!
//! **Invariant:** every folder made is unique to its test.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The strictest profile this user can have here.
pub(crate) fn profile() -> &'static str {
    match seaworthy_sandbox::preflight(seaworthy_sandbox::Profile::Strict) {
        Ok(_) => "strict",
        Err(_) => "no-cgroup",
    }
}

/// A description that runs the probe with these words.
pub(crate) fn probe(words: &[&str]) -> Value {
    let mut argv = vec!["/probe"];
    argv.extend(words);
    json!({
        "profile": profile(),
        "argv": argv,
        "env": {"PATH": "/usr/bin:/bin", "SEAWORTHY_ATTACK": "inside"},
        "mounts": [[PROBE, "/probe", true]],
        "closures": ["host"],
        "outputs": ["out"],
    })
}

/// A description that runs a shell script.
pub(crate) fn script(text: &str) -> Value {
    let mut described = probe(&[]);
    described["argv"] = json!(["/bin/sh", "-c", text]);
    described
}

/// Runs a description in a launcher of its own.
pub(crate) fn drive(described: &Value) -> Value {
    drive_by(Command::new(PROBE).arg("drive"), described)
}

pub(crate) fn drive_by(launcher: &mut Command, described: &Value) -> Value {
    let mut child = launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(described.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&output.stdout)))
}

pub(crate) fn text(outcome: &Value, stream: &str) -> String {
    outcome[stream]["text"].as_str().unwrap_or_default().to_owned()
}

/// Runs the probe as it is, without a sandbox.
pub(crate) fn bare(words: &[&str]) -> String {
    let output = Command::new(PROBE).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("seaworthy-{}-{number}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

/// Processes of the host whose command line holds the mark.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
            // The launcher gets its description on standard input, so that only the step's own words can match.
            words.contains(&mark.as_bytes()).then_some(pid)
        })
        .collect()
}

/// Whether it becomes true in time.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

pub(crate) fn unique(name: &str) -> String {
    scratch(name).file_name().unwrap().to_str().unwrap().to_owned()
}

pub(crate) fn string(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
