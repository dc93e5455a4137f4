//! A journal that became long: begun anew between runs, never under one, and what it still knows is used.

use std::time::{Duration, Instant};

use seaworthy_core::id::RunId;
use seaworthy_core::limits::JOURNAL_BYTES_LONG;
use seaworthy_store::journal::{Journal, Record, State};
use serde_json::json;

use crate::workspace::Tiny;

fn records(tiny: &Tiny) -> Vec<Record> {
    Journal::open_read_only(&tiny.state().join("journal")).unwrap().load().unwrap()
}

fn length(tiny: &Tiny) -> u64 {
    std::fs::metadata(tiny.state().join("journal/journal")).unwrap().len()
}

/// As if very many runs had been made since.
fn lengthen(tiny: &Tiny) {
    let journal = Journal::open(&tiny.state().join("journal")).unwrap();
    let of = |n: usize, state| Record::of_run(1, RunId(format!("old{n}")), state, json!("x".repeat(100_000)));
    for n in 0..6 {
        journal.append(&[of(n, State::RunStarted), of(n, State::RunEnded)]).unwrap();
    }
    assert!(length(tiny) > JOURNAL_BYTES_LONG);
}

fn staged_of(tiny: &Tiny, step: &str) -> Vec<Record> {
    let of_step = |record: &Record| record.state == State::Staged && record.step.as_ref().is_some_and(|name| name.step.as_str() == step);
    records(tiny).into_iter().filter(of_step).collect()
}

#[test]
fn a_denied_step_is_judged_again_without_its_body_after_the_journal_began_anew() {
    let tiny = Tiny::unlocked();
    let rows: String = (0..200).map(|id| format!("{id},{}\n", if id % 4 == 0 { 5000 } else { 100 })).collect();
    tiny.write("data/raw/numbers.csv", format!("id,value\n{rows}").as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let before = staged_of(&tiny, "ingest");
    lengthen(&tiny);
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    assert!(length(&tiny) < 20_000, "{}", length(&tiny));
    let after = staged_of(&tiny, "ingest");
    assert_eq!(after.len(), 1, "the body did not run again");
    assert_eq!(Record { seq: after[0].seq, ..before[0].clone() }, after[0], "its seal held, the record is the same");
    assert!(records(&tiny).iter().all(|record| !record.run.0.starts_with("old")));
    // what it staged is not garbage, and a file left aside is no fault
    std::fs::write(tiny.state().join("journal/.writing"), b"a crash left this").unwrap();
    tiny.ok(&["store", "gc"]);
    tiny.ok(&["verify", "log"]);
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    assert_eq!(staged_of(&tiny, "ingest").len(), 1);

    // a seal that is no longer the runner's is refused in the new journal as in the old
    let mut forged = after[0].clone();
    forged.data["staged"]["finished_ms"] = json!(1);
    forged.attempt += 1;
    Journal::open(&tiny.state().join("journal")).unwrap().append(&[forged]).unwrap();
    lengthen(&tiny);
    tiny.refused(&["run", "workflow.yaml"], 4, "journal/forged");
    assert!(length(&tiny) < 40_000, "it was begun anew all the same: {}", length(&tiny));

    // control: without the journal nothing is known, and the body runs again
    std::fs::remove_file(tiny.state().join("journal/journal")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let again = staged_of(&tiny, "ingest");
    assert!(again.len() == 1 && again[0].run != after[0].run);
}

#[test]
fn a_killed_run_keeps_the_journal_until_it_was_continued() {
    let tiny = Tiny::unlocked();
    let text = tiny.read("src/double.sh");
    tiny.write("src/double.sh", format!("sleep 1\n{text}").as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    let end = Instant::now() + Duration::from_secs(30);
    let journal = tiny.state().join("journal/journal");
    let has_staged = || std::fs::read(&journal).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("\"STAGED\""));
    while !has_staged() {
        assert!(Instant::now() < end, "nothing was staged");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lengthen(&tiny);
    tiny.ok(&["run", "workflow.yaml"]);
    assert_eq!(tiny.events_of("run.started").len(), 1, "the run was continued");
    assert!(length(&tiny) > JOURNAL_BYTES_LONG, "its journal was as it had left it");
    assert_eq!(staged_of(&tiny, "ingest").len(), 1);
    // it has ended: the next run begins the journal anew, and reuses every step
    tiny.ok(&["run", "workflow.yaml"]);
    assert!(length(&tiny) < 60_000, "{}", length(&tiny));
    assert!(["ingest", "double", "total"].iter().all(|step| staged_of(&tiny, step).len() == 1));
    tiny.ok(&["verify", "log"]);
}

#[test]
fn a_journal_that_cannot_be_begun_anew_stops_no_run() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    lengthen(&tiny);
    std::fs::create_dir(tiny.state().join("journal/.writing")).unwrap();
    tiny.ok(&["run", "workflow.yaml"]);
    assert!(length(&tiny) > JOURNAL_BYTES_LONG);
    // control: with nothing in the way it is
    std::fs::remove_dir(tiny.state().join("journal/.writing")).unwrap();
    tiny.ok(&["run", "workflow.yaml"]);
    assert!(length(&tiny) < JOURNAL_BYTES_LONG);
}
