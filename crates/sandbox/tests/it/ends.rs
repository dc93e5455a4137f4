//! How runs end: codes, signals, time, memory, survivors, forged reports, a dead launcher.
//!
//! In: behaviours of the probe. Out: the exit that the launcher reports, and who is still alive.
//!
//! **Invariant:** after a run no process of it is left on the host.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::harness::{self, PROBE, bare, drive, eventually, marked, probe, script, text, unique};

#[test]
fn codes_and_signals_are_told_apart() {
    assert_eq!(drive(&script("exit 0"))["exit"], json!({"code": 0}));
    assert_eq!(drive(&script("exit 137"))["exit"], json!({"code": 137}));
    assert_eq!(drive(&script("kill -9 $$"))["exit"], json!({"signal": 9}));
}

#[test]
fn a_missing_program_is_no_exit_code() {
    let mut described = probe(&[]);
    described["argv"] = json!(["/no/such/program"]);
    let outcome = drive(&described);
    assert_eq!(outcome["error"]["code"], "sandbox/exec", "{outcome}");
}

/// 51: every signal that can be ignored is ignored.
#[test]
fn time_is_over_even_for_the_deaf() {
    let mut described = probe(&["behave", "spin"]);
    described["limits"] = json!({"timeout_ms": 700});
    let begun = Instant::now();
    let outcome = drive(&described);
    assert_eq!(outcome["exit"], "timed-out", "{outcome}");
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn cancelling_kills_the_tree() {
    let mark = unique("cancelled");
    let mut described = probe(&["behave", "sleep", &mark]);
    described["cancel_after_ms"] = json!(500);
    assert_eq!(drive(&described)["exit"], "cancelled");
    assert!(marked(&mark).is_empty());
}

/// 49. The control eats the same without limit.
#[test]
fn memory_is_bounded() {
    let mut described = probe(&["attack", "eat-memory", "300"]);
    described["limits"] = json!({"memory_bytes": 96 << 20});
    let outcome = drive(&described);
    if harness::profile() == "strict" {
        assert_eq!(outcome["exit"], "out-of-memory", "{outcome}");
        assert!(outcome["usage"]["peak_memory_bytes"].as_u64().unwrap() <= 96 << 20);
    } else {
        assert!(!text(&outcome, "stdout").starts_with("ALLOWED"), "{outcome}");
    }
    assert!(bare(&["attack", "eat-memory", "300"]).starts_with("ALLOWED"));
}

/// 49: files in memory count too.
#[test]
fn memory_in_files_is_bounded() {
    if harness::profile() != "strict" {
        println!("skipped: without a cgroup their size limit is all, which the report names as a gap");
        return;
    }
    let mut described = probe(&["attack", "fill", "/dev/shm", "300"]);
    described["limits"] = json!({"memory_bytes": 96 << 20, "disk_bytes": 1u64 << 30});
    let outcome = drive(&described);
    assert_eq!(outcome["exit"], "out-of-memory", "{outcome}");
}

/// A tenth of a processor for a second of spinning.
#[test]
fn the_share_of_the_processor_is_bounded() {
    if harness::profile() != "strict" {
        println!("skipped: only a cgroup shares out the processor");
        return;
    }
    let mut described = probe(&["behave", "spin"]);
    described["limits"] = json!({"timeout_ms": 2000, "cpu_milli": 100});
    let outcome = drive(&described);
    let used = outcome["usage"]["cpu_us"].as_u64().unwrap();
    assert!(used < 600_000, "{used} us of processor time in two seconds: {outcome}");
}

/// 52 and 53: a grandchild in a session of its own, running or stopped. The control leaves it behind.
#[test]
fn nobody_survives() {
    for (behaviour, exit) in [("daemon", json!({"code": 0})), ("stopped-daemon", json!("timed-out"))] {
        let mark = unique(behaviour);
        let mut described = probe(&["behave", behaviour, &mark]);
        described["limits"] = json!({"timeout_ms": 1500});
        let outcome = drive(&described);
        assert_eq!(outcome["exit"], exit, "{outcome}");
        assert!(marked(&mark).is_empty(), "{behaviour} survived");
    }
    let mark = unique("control-daemon");
    let left = Command::new(PROBE).args(["behave", "daemon", &mark]).status().unwrap();
    assert!(left.success());
    assert!(eventually(|| !marked(&mark).is_empty()), "the control daemon was not seen");
    for pid in marked(&mark) {
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }
}

/// 54. The control's child survives its parent.
#[test]
fn a_killed_launcher_takes_the_step_along() {
    let mark = unique("orphan");
    let mut launcher = Command::new(PROBE).arg("drive").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let described = probe(&["behave", "sleep", &mark]).to_string();
    launcher.stdin.take().unwrap().write_all(described.as_bytes()).unwrap();
    assert!(eventually(|| !marked(&mark).is_empty()), "the step was not seen");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert!(eventually(|| marked(&mark).is_empty()), "the step outlived its launcher");
    // Its cgroup could not be removed by it; the next launcher does.
    drive(&probe(&["noop"]));
    let left = format!("seaworthy-{}-*", launcher.id());
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &left]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");

    let mark = unique("control-orphan");
    let mut parent = Command::new("sh").args(["-c", "\"$0\" behave sleep \"$1\"; true", PROBE, &mark]).spawn().unwrap();
    // The shell's own command line holds the mark too.
    assert!(eventually(|| marked(&mark).len() == 2), "the control was not seen");
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(marked(&mark).len(), 1, "the control's child should survive");
    for pid in marked(&mark) {
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }
}

/// 65: signals to pid 1, and a success written to whatever can be written. There is no control: outside, pid 1 is the
/// machine's.
#[test]
fn the_exit_code_cannot_be_forged() {
    let outcome = drive(&probe(&["behave", "kill-init"]));
    assert_eq!(outcome["exit"], json!({"code": 7}), "{outcome}");
    let mut described = probe(&["behave", "forge-report"]);
    described["limits"] = json!({"timeout_ms": 1000});
    let outcome = drive(&described);
    assert_eq!(outcome["exit"], "timed-out", "{outcome}");
}

/// 64: five hundred pipefuls. All are counted, few are kept, and control characters arrive as data.
#[test]
fn a_flood_of_output_is_counted_and_cut() {
    let mut described = probe(&["behave", "flood", "500"]);
    described["limits"] = json!({"log_bytes": 1000});
    let outcome = drive(&described);
    assert_eq!(outcome["exit"], json!({"code": 0}), "{outcome}");
    assert_eq!(outcome["stdout"]["total"], 500 * 65536);
    assert_eq!(outcome["stdout"]["truncated"], true);
    assert_eq!(text(&outcome, "stdout").len(), 1000);
}

#[test]
fn what_was_enforced_is_reported() {
    let outcome = drive(&script("true"));
    let enforced = &outcome["enforced"];
    assert_eq!(enforced["network"], "none");
    assert_eq!(enforced["no_new_privs"], true);
    assert!(enforced["landlock_abi"].as_u64().unwrap() >= 1 && enforced["seccomp_allowed"].as_u64().unwrap() > 100);
    assert_eq!(enforced["uid_map"][0], 1000);
    assert_ne!(enforced["uid_map"][1], 0, "a step must never be root on the host");
    for name in ["user", "mount", "pid", "ipc", "uts", "net", "cgroup"] {
        assert!(enforced["namespaces"].as_array().unwrap().contains(&json!(name)), "{name}: {enforced}");
    }
    assert!(!enforced["gaps"].as_array().unwrap().is_empty());
}
