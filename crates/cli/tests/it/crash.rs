//! kill -9 at every journal state and at random moments: the run ends the same, no finished body runs again, no orphan stays.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use crate::workspace::Tiny;

const STATES: [&str; 5] = ["RUN_STARTED", "STARTED", "STAGED", "ATTESTED", "COMMITTED"];

#[test]
fn killed_at_every_journal_state_a_run_continues_and_ends_the_same() {
    let wanted = outcome(&finished());
    for state in STATES {
        for occurrence in 1..=3 {
            let tiny = slow();
            let mut child = tiny.spawn(&["run", "workflow.yaml"]);
            let reached = wait_for(&tiny, state, occurrence, &mut child);
            child.kill().unwrap();
            let status = child.wait().unwrap();
            settle(&tiny);
            let again = tiny.run(&["run", "workflow.yaml"]);
            assert_eq!(again.code, 0, "after {state} #{occurrence} (reached: {reached}, {status:?}): {}", again.stderr);
            assert_eq!(outcome(&tiny), wanted, "after {state} #{occurrence}");
            tiny.ok(&["verify", "log"]);
            if reached && status.signal() == Some(9) && state != "COMMITTED" {
                let runs = tiny.events_of("run.started").len();
                assert_eq!(runs, 1, "the run after {state} #{occurrence} was continued, not begun again");
            }
        }
    }
}

#[test]
fn killed_at_random_moments_a_run_continues_and_ends_the_same() {
    let wanted = outcome(&finished());
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let rounds = if std::env::var_os("SEAWORTHY_KILLS").is_some() { 50 } else { 12 };
    for round in 0..rounds {
        let tiny = slow();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = tiny.spawn(&["run", "workflow.yaml"]);
        std::thread::sleep(Duration::from_millis((seed >> 33) % 700));
        child.kill().unwrap();
        child.wait().unwrap();
        settle(&tiny);
        let again = tiny.run(&["run", "workflow.yaml"]);
        assert_eq!(again.code, 0, "round {round}: {}", again.stderr);
        assert_eq!(outcome(&tiny), wanted, "round {round}");
        no_body_finished_twice(&tiny);
        tiny.ok(&["verify", "log"]);
    }
}

/// A workspace whose steps take a while, so that a kill falls into them.
fn slow() -> Tiny {
    let tiny = Tiny::unlocked();
    for file in ["src/double.sh", "src/total.sh"] {
        let text = tiny.read(file);
        tiny.write(file, format!("sleep 0.1\n{text}").as_bytes());
    }
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

fn finished() -> Tiny {
    let tiny = slow();
    tiny.ok(&["run", "workflow.yaml"]);
    tiny
}

/// What the workspace's last run committed: output names and digests.
pub fn outcome(tiny: &Tiny) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    for event in tiny.events_of("step.committed") {
        for output in event["outputs"].as_array().unwrap() {
            outputs.insert(output["name"].as_str().unwrap().to_owned(), output["digest"].as_str().unwrap().to_owned());
        }
    }
    outputs
}

fn no_body_finished_twice(tiny: &Tiny) {
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(tiny.state().join("journal")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for record in text.split("{\"seq\"").filter(|record| record.contains("\"STAGED\"")) {
            let key = record.split("\"body_key\":\"").nth(1).map(|rest| rest.chars().take(64).collect::<String>());
            *seen.entry(key).or_insert(0) += 1;
        }
    }
    assert!(seen.values().all(|count| *count == 1), "a finished body ran again: {seen:?}");
}

fn wait_for(tiny: &Tiny, state: &str, occurrence: usize, child: &mut std::process::Child) -> bool {
    let journal = tiny.state().join("journal");
    let pattern = format!("\"{state}\"");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let mut count = 0;
        if let Ok(entries) = std::fs::read_dir(&journal) {
            for entry in entries.flatten() {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                count += String::from_utf8_lossy(&bytes).matches(&pattern).count();
            }
        }
        if count >= occurrence {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    false
}

/// No process of the killed run survives it.
pub fn settle(tiny: &Tiny) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let orphans = processes_of(tiny);
        if orphans.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "orphans survive their launcher: {orphans:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Command lines of `sh double.sh` and `sh total.sh` that see this workspace's code.
fn processes_of(_tiny: &Tiny) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|c| c.is_ascii_digit()) || name == own {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&command).replace('\0', " ");
        if text.contains("sleep 0.1") && parent_is_init(&entry.path()) {
            found.push(text);
        }
    }
    found
}

/// Whether a process was adopted by the machine's init: its launcher and its sandbox' init are gone.
fn parent_is_init(process: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().nth(1) == Some("1")
}
