//! Long work: a body tried again for declared causes only, each attempt recorded; an interrupted run resumed, and no other in its place.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stop::{sleepy, wait_for_start};
use crate::workspace::Tiny;

/// A workspace whose second step fails as `body` says until its third attempt could have succeeded, with `retries`.
fn flaky(body: &str, retries: &str) -> Tiny {
    let tiny = Tiny::unlocked();
    let text = tiny.read("src/double.sh");
    tiny.write("src/double.sh", format!("{body}\n{text}").as_bytes());
    tiny.edit("seaworthy.yaml", "run: [sh, double.sh], ", &format!("run: [sh, double.sh], {retries}"));
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

/// State, code and attempt of every attempt of `double` that ended without commit.
fn ends(tiny: &Tiny) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let end = |event: Value| (text(&event["state"]), text(&event["error"]), event["step"]["attempt"].as_u64().unwrap());
    tiny.events_of("step.ended").into_iter().map(end).collect()
}

fn starts(tiny: &Tiny) -> usize {
    let double = |event: &Value| event["step"]["step"] == "double";
    tiny.events_of("step.started").iter().filter(|event| double(event)).count()
}

#[test]
fn a_declared_cause_is_tried_again_and_every_attempt_is_recorded() {
    let tiny = flaky("exit 75", "retries: {max: 2, backoff: 1s, on: [exit-75]}, ");
    let began = Instant::now();
    tiny.refused(&["run", "workflow.yaml"], 1, "exited with 75");
    assert!(began.elapsed() >= Duration::from_secs(3), "it waits one second, then two");
    let failed = |attempt| ("failed".to_owned(), "step/failed".to_owned(), attempt);
    assert_eq!(ends(&tiny), [failed(1), failed(2), failed(3)]);
    assert_eq!(starts(&tiny), 3, "each attempt was authorized and recorded before its body ran");
    let shown = tiny.ok(&["runs", "show", &crate::spine::run_id(&tiny), "--json"]).stdout;
    assert_eq!(shown.matches("step/failed").count(), 3, "{shown}");
    tiny.ok(&["verify", "log"]);
}

#[test]
fn time_and_memory_are_causes_like_any_other() {
    let tiny = flaky("sleep 30", "timeout: 1s, retries: {max: 1, backoff: 1s, on: [timed-out]}, ");
    tiny.refused(&["run", "workflow.yaml"], 1, "step/timed-out");
    assert_eq!(ends(&tiny).iter().map(|end| end.0.as_str()).collect::<Vec<_>>(), ["timed_out", "timed_out"]);
    let tiny = flaky("kill -9 $$", "retries: {max: 1, backoff: 1s, on: [killed]}, ");
    tiny.refused(&["run", "workflow.yaml"], 1, "step/killed");
    assert_eq!(starts(&tiny), 2);
}

/// A step is not assumed to be harmless to repeat.
#[test]
fn what_is_not_declared_is_not_tried_again() {
    for (body, retries) in
        [("exit 75", ""), ("exit 74", "retries: {max: 3, backoff: 1s, on: [exit-75, timed-out, out-of-memory, killed]}, ")]
    {
        let tiny = flaky(body, retries);
        tiny.refused(&["run", "workflow.yaml"], 1, "step/failed");
        assert_eq!(starts(&tiny), 1, "{retries}");
    }
}

#[test]
fn a_retry_that_succeeds_commits_and_what_depends_on_it_runs() {
    // the boot clock tells the attempts apart: nothing else of the first attempt is left to the second
    let tiny =
        flaky("read -r up _ < /proc/uptime; [ \"${up%.*}\" -ge UNTIL ] || exit 75", "retries: {max: 5, backoff: 1s, on: [exit-75]}, ");
    let uptime: u64 = std::fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse().unwrap();
    tiny.edit("src/double.sh", "UNTIL", &format!("{}", uptime + 4));
    tiny.ok(&["lock", "--update", "code:src/"]);
    tiny.ok(&["run", "workflow.yaml"]);
    assert!(!ends(&tiny).is_empty(), "the first attempt failed");
    assert_eq!(tiny.events_of("step.committed").len(), 3);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn a_wait_between_attempts_ends_when_the_run_is_stopped() {
    let tiny = flaky("exit 75", "retries: {max: 5, backoff: 1h, on: [exit-75]}, ");
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    let end = Instant::now() + Duration::from_secs(30);
    while tiny.events_of("step.ended").is_empty() {
        assert!(Instant::now() < end, "the first attempt never ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    tiny.ok(&["runs", "cancel", &crate::spine::run_id(&tiny)]);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(tiny.events_of("run.ended").pop().unwrap()["state"], "cancelled");
}

#[test]
fn a_killed_run_is_resumed_by_its_name_and_only_that_run() {
    let tiny = sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let run = crate::spine::run_id(&tiny);
    tiny.refused(&["runs", "resume", &run], 3, "run/in-progress");
    child.kill().unwrap();
    child.wait().unwrap();
    // other files than it began with: it is not continued, and nothing is begun in its place
    tiny.edit("seaworthy.yaml", "run: [sh, double.sh]", "run: [sh, double.sh], params: {n: 2}");
    tiny.ok(&["lock", "--update", "settings"]);
    tiny.refused(&["runs", "resume", &run], 3, "run/not-resumable");
    assert_eq!(tiny.events_of("run.started").len(), 1);
    tiny.edit("seaworthy.yaml", ", params: {n: 2}", "");
    tiny.ok(&["lock", "--update", "settings"]);
    tiny.refused(&["runs", "resume", "r0000000000000000"], 2, "there is no run");
    // (the body sleeps for long: stopping it is the quickest end)
    let mut again = tiny.spawn(&["runs", "resume", &run]);
    let end = Instant::now() + Duration::from_secs(30);
    while starts(&tiny) < 2 {
        assert!(Instant::now() < end, "it was not resumed");
        std::thread::sleep(Duration::from_millis(50));
    }
    tiny.ok(&["runs", "cancel", &run]);
    again.wait().unwrap();
    assert_eq!(tiny.events_of("run.started").len(), 1, "the same run");
    assert_eq!(tiny.events_of("step.committed").iter().filter(|event| event["step"]["step"] == "ingest").count(), 1);
    tiny.refused(&["runs", "resume", &run], 3, "runs/ended");
}

/// Killed after the last allowed attempt failed and before the run ended: the body is not repeated once more.
#[test]
fn a_resumed_run_does_not_try_again_what_was_tried_as_often_as_allowed() {
    let tiny = flaky("exit 75", "retries: {max: 1, backoff: 1s, on: [exit-75]}, ");
    tiny.edit("seaworthy.yaml", "run: [sh, total.sh], inputs: [double/doubled]", "run: [sh, total.sh], inputs: [ingest/raw]");
    tiny.write("src/total.sh", b"sleep 6; echo total > $SEAWORTHY_OUTPUTS/total/total.csv\n");
    tiny.ok(&["lock", "--update", "settings", "--update", "code:src/"]);
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    let end = Instant::now() + Duration::from_secs(60);
    while ends(&tiny).len() < 2 {
        assert!(Instant::now() < end, "the second attempt never ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((starts(&tiny), tiny.events_of("run.ended").len()), (2, 0), "killed between the attempt's end and the run's");
    tiny.refused(&["runs", "resume", &crate::spine::run_id(&tiny)], 1, "step/retries-used");
    assert_eq!(starts(&tiny), 2, "its body did not run again");
    // the control: the other step, which was under way, did
    assert!(tiny.events_of("step.committed").iter().any(|event| event["step"]["step"] == "total"));
}
