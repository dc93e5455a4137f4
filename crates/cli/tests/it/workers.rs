//! Workers of real runs: killed, stopped, cancelled; the run says so, goes on elsewhere, and its next try is as good as new.
//!
//! in: the real binary on data that takes a while to read, its worker found from outside; out: errors, events, provenance.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::spine::run_id;
use crate::workspace::Tiny;

/// Processor time, in the kernel's hundredths of a second, by which a worker is at its file for sure.
const AT_WORK: u64 = 5;

/// Two sources that need nothing of each other; the first is large.
fn two_sources(timeout: &str) -> Tiny {
    let tiny = Tiny::unlocked();
    let workflow = "workflows:\n  - name: tiny\n    steps:\n      - ingest: {source: 's3://lake/raw/', policy_gate: data_schema_v2}\n      - \
                    other: {source: 's3://lake/other/', policy_gate: data_schema_v2}\n";
    tiny.write("workflow.yaml", workflow.as_bytes());
    let settings = format!(
        "environment: staging\nproject: {{name: tiny, owner: 'user:somebody', purpose: tests, risk_class: minimal, residency: [EU], \
         data_classes: [none]}}\nsources: {{'s3://lake/': ./data/}}\nsteps:\n  tiny/ingest: {{schema: schemas/numbers.yaml, needs: [], \
         outputs: {{raw: dataset}}{timeout}}}\n  tiny/other: {{schema: schemas/numbers.yaml, needs: [], outputs: {{raw: dataset}}}}\n"
    );
    tiny.write("seaworthy.yaml", settings.as_bytes());
    let rows = |count: u32| (0..count).map(|id| format!("{id},{}\n", id % 1000)).collect::<String>();
    tiny.write("data/raw/numbers.csv", format!("id,value\n{}", rows(2_000_000)).as_bytes());
    tiny.write("data/other/numbers.csv", format!("id,value\n{}", rows(100)).as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

/// A worker that `run` started and that is at its file: parent and processor time as everybody may see them.
fn busy_worker_of(run: u32) -> u32 {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            if !read("cmdline").starts_with("seaworthy-worker\0") {
                continue;
            }
            let stat = read("stat");
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let number = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
            if number(1) == u64::from(run) && number(11) + number(12) >= AT_WORK {
                return pid;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no worker of {run} is at work");
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn state_of(tiny: &Tiny, step: &str) -> Option<(String, String)> {
    let ended = tiny.events_of("step.ended").into_iter().rev().find(|event| event["step"]["step"] == step)?;
    Some((ended["state"].as_str()?.to_owned(), ended["error"].as_str()?.to_owned()))
}

fn committed(tiny: &Tiny, step: &str) -> bool {
    tiny.events_of("step.committed").iter().any(|event| event["step"]["step"] == step)
}

#[test]
fn a_worker_that_dies_fails_its_step_and_no_other() {
    let tiny = two_sources("");
    let run = tiny.spawn(&["run", "workflow.yaml"]);
    signal("-KILL", busy_worker_of(run.id()));
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(1));
    assert_eq!(state_of(&tiny, "ingest"), Some(("failed".to_owned(), "worker/died".to_owned())));
    assert!(committed(&tiny, "other"), "the other step goes on");
    // control: nobody kills the next one
    tiny.ok(&["run", "workflow.yaml"]);
    assert!(committed(&tiny, "ingest"));
    tiny.ok(&["verify", "log"]);
    let verified = tiny.ok(&["verify", &format!("run:{}", run_id(&tiny))]);
    assert!(verified.stdout.contains("L0") || verified.stdout.contains("L1"), "{}", verified.stdout);
}

#[test]
fn a_worker_that_hangs_is_given_up_at_the_steps_timeout() {
    let tiny = two_sources(", timeout: 3s");
    let run = tiny.spawn(&["run", "workflow.yaml"]);
    let worker = busy_worker_of(run.id());
    signal("-STOP", worker);
    let begun = Instant::now();
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(state_of(&tiny, "ingest"), Some(("failed".to_owned(), "worker/timed-out".to_owned())));
    assert!(committed(&tiny, "other"));
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists(), "nothing of it stays");
}

#[test]
fn a_cancelled_run_takes_its_workers_along() {
    let tiny = two_sources("");
    let run = tiny.spawn(&["run", "workflow.yaml"]);
    let worker = busy_worker_of(run.id());
    signal("-STOP", worker);
    signal("-INT", run.id());
    let begun = Instant::now();
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(state_of(&tiny, "ingest").map(|ended| ended.1), Some("step/cancelled".to_owned()));
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
}

/// Killed itself, a run leaves no worker behind, not even a stopped one.
#[test]
fn a_killed_run_leaves_no_worker_behind() {
    let tiny = two_sources("");
    let mut run = tiny.spawn(&["run", "workflow.yaml"]);
    let worker = busy_worker_of(run.id());
    signal("-STOP", worker);
    run.kill().unwrap();
    run.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while std::path::Path::new(&format!("/proc/{worker}")).exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let state = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}
