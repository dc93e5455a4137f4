//! Stopping a run: Ctrl-C, `runs cancel`, time-outs; each ends cleanly, is recorded, and can be continued.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::workspace::Tiny;

/// A workspace whose second step sleeps for long, ignoring SIGTERM.
pub fn sleepy() -> Tiny {
    let tiny = Tiny::unlocked();
    let text = tiny.read("src/double.sh");
    tiny.write("src/double.sh", format!("trap '' TERM INT\n[ -e /tmp/no ] || sleep 30\n{text}").as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

pub fn wait_for_start(tiny: &Tiny, step: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let started = tiny.run(&["log", "show", "--json", "--count", "100000"]);
        if started.stdout.lines().any(|line| line.contains("step.started") && line.contains(&format!("\"step\":\"{step}\""))) {
            std::thread::sleep(Duration::from_millis(200));
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("`{step}` never started");
}

fn ends_within(child: &mut Child, limit: Duration) -> i32 {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("the run did not end within {limit:?}");
}

fn ended(tiny: &Tiny) -> (String, String) {
    let step = tiny.events_of("step.ended").pop().unwrap();
    let run = tiny.events_of("run.ended").pop().unwrap();
    (step["state"].as_str().unwrap().to_owned(), run["state"].as_str().unwrap().to_owned())
}

#[test]
fn an_interrupt_kills_the_step_and_is_recorded() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(ends_within(&mut child, Duration::from_secs(10)), 1);
    assert_eq!(ended(&tiny), ("cancelled".to_owned(), "cancelled".to_owned()));
    assert_eq!(tiny.events_of("run.ended").pop().unwrap()["cancelled_by"], "interrupt");
    tiny.ok(&["verify", "log"]);
}

#[test]
fn another_process_can_cancel_a_run() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    tiny.ok(&["runs", "cancel", &crate::spine::run_id(&tiny)]);
    assert_eq!(ends_within(&mut child, Duration::from_secs(10)), 1);
    assert_eq!(ended(&tiny).1, "cancelled");
    let asked = tiny.events_of("run.cancel_requested").pop().unwrap();
    let end = tiny.events_of("run.ended").pop().unwrap();
    assert_eq!(end["cancelled_by"], asked["principal"], "the end says whose request it was");
    assert_eq!(tiny.events_of("step.ended").pop().unwrap()["error"], "step/cancelled");
    tiny.ok(&["verify", "log"]);
}

#[test]
fn a_cancellation_that_the_policies_forbid_stops_nothing() {
    const FORBID: &[u8] = b"@id(\"no-cancel\") forbid (principal, action == Action::\"cancel_run\", resource);\n";
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let run = crate::spine::run_id(&tiny);
    tiny.write("policies/authz/extra.cedar", FORBID);
    tiny.refused(&["runs", "cancel", &run], 1, "authz/denied");
    assert!(tiny.events_of("run.cancel_requested").is_empty(), "a denied request is no request");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the run goes on");
    // control: allowed, it stops
    std::fs::remove_dir_all(tiny.dir.join("policies/authz")).unwrap();
    tiny.ok(&["runs", "cancel", &run]);
    assert_eq!(ends_within(&mut child, Duration::from_secs(10)), 1);
}

/// Somebody who can write the state folder, but has no key: the run stops all the same, and its ends say that nobody asked.
#[test]
fn a_cancel_file_without_a_recorded_request_stops_the_run_and_is_told() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let file = tiny.state().join("cancel").join(crate::spine::run_id(&tiny));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, b"").unwrap();
    assert_eq!(ends_within(&mut child, Duration::from_secs(10)), 1);
    assert_eq!(ended(&tiny), ("cancelled".to_owned(), "cancelled".to_owned()));
    assert_eq!(tiny.events_of("run.ended").pop().unwrap()["cancelled_by"], "unrecorded");
    assert_eq!(tiny.events_of("step.ended").pop().unwrap()["error"], "step/cancelled-unrecorded");
}

#[test]
fn a_step_out_of_time_is_killed_whatever_it_ignores() {
    let tiny = sleepy();
    tiny.edit("seaworthy.yaml", "run: [sh, double.sh]", "run: [sh, double.sh], timeout: 1s");
    tiny.ok(&["lock", "--update", "settings"]);
    let started = Instant::now();
    tiny.refused(&["run", "workflow.yaml"], 1, "step/timed-out");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(ended(&tiny), ("timed_out".to_owned(), "failed".to_owned()));
}

#[test]
fn a_run_that_is_alive_is_not_continued_by_another_process() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let before = tiny.events().len();
    tiny.refused(&["run", "workflow.yaml"], 3, "run/in-progress");
    assert_eq!(tiny.events().len(), before, "nothing is recorded about the run of another");
    // control: one that was killed is continued
    child.kill().unwrap();
    child.wait().unwrap();
    let mut again = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_attempt(&tiny, 2);
    tiny.ok(&["runs", "cancel", &crate::spine::run_id(&tiny)]);
    assert_eq!(ends_within(&mut again, Duration::from_secs(10)), 1);
    assert_eq!(tiny.events_of("run.started").len(), 1, "the same run");
}

fn wait_for_attempt(tiny: &Tiny, attempt: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if tiny.events_of("step.started").iter().any(|event| event["step"]["attempt"] == attempt || event["attempt"] == attempt) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("attempt {attempt} never started");
}
