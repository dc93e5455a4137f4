//! The journal: torn at every length, flipped at every byte, written by many at once.

use std::sync::Arc;

use proptest::prelude::*;
use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_store::barrier;
use seaworthy_store::journal::{Journal, Record, RunState, State, StepName, unfinished_digests};
use serde_json::{Value, json};

use crate::scratch::{Scratch, flip, write};

fn step(run: &str, step: &str, attempt: u32) -> StepRunId {
    StepRunId { run: RunId(run.into()), workflow: Name::new("w").unwrap(), step: Name::new(step).unwrap(), attempt }
}

fn story() -> Vec<Record> {
    let of = |step: &StepRunId, state, data| Record::of_step(1_700_000_000_000, step, state, data);
    let first = step("r1", "train", 1);
    vec![
        Record::of_run(1, RunId("r1".into()), State::RunStarted, json!({"plan": Digest::of(b"plan")})),
        of(&step("r1", "train", 0), State::Planned, Value::Null),
        of(&first, State::Authorized, Value::Null),
        of(&first, State::Started, json!({"pid": 7})),
        of(&first, State::Staged, json!({"outputs": [Digest::of(b"out")], "text": "ünïcode"})),
        of(&first, State::Attested, json!({"x": 1.5})),
    ]
}

#[test]
fn records_come_back_in_order_with_one_barrier_an_append() {
    let scratch = Scratch::new();
    let journal = Journal::open(&scratch.path("j")).unwrap();
    let before = barrier::count_of_thread();
    assert_eq!(journal.append(&story()[..3]).unwrap(), 3);
    assert_eq!(barrier::count_of_thread() - before, 1);
    assert_eq!(journal.append_lazy(&story()[3..]).unwrap(), 6);
    assert_eq!(barrier::count_of_thread() - before, 1);
    let want: Vec<Record> = story().into_iter().enumerate().map(|(seq, record)| Record { seq: seq as u64, ..record }).collect();
    assert_eq!(journal.load().unwrap(), want);
    assert_eq!(Journal::open(&scratch.path("j")).unwrap().load().unwrap(), want);
    assert_eq!(Journal::open_read_only(&scratch.path("j")).unwrap().load().unwrap(), want);
    assert!(journal.audit().is_empty());
}

#[test]
fn a_write_torn_at_any_length_loses_only_the_record_it_tore() {
    let scratch = Scratch::new();
    let mut ends = vec![
        std::fs::metadata({
            Journal::open(&scratch.path("j")).unwrap();
            scratch.path("j/journal")
        })
        .unwrap()
        .len() as usize,
    ];
    let journal = Journal::open(&scratch.path("j")).unwrap();
    for record in story() {
        journal.append(&[record]).unwrap();
        ends.push(std::fs::metadata(scratch.path("j/journal")).unwrap().len() as usize);
    }
    let whole = std::fs::read(scratch.path("j/journal")).unwrap();
    for length in 0..=whole.len() {
        let name = format!("torn{length}");
        let path = scratch.write(&format!("{name}/journal"), &whole[..length]);
        let survivors = ends.iter().filter(|end| **end <= length).count().saturating_sub(1);
        if length >= ends[0] {
            let read_only = Journal::open_read_only(&scratch.path(&name)).unwrap();
            assert_eq!(read_only.load().unwrap().len(), survivors, "{length}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), length as u64, "reading changes nothing");
        }
        let torn = Journal::open(&scratch.path(&name)).unwrap();
        assert_eq!(torn.load().unwrap().len(), survivors, "{length}");
        // and it goes on from there
        torn.append(&[Record::of_run(9, RunId("r2".into()), State::RunStarted, Value::Null)]).unwrap();
        assert_eq!(Journal::open(&scratch.path(&name)).unwrap().load().unwrap().len(), survivors + 1);
        // zeros instead of the missing bytes, as some file systems leave them
        write(&path, &whole[..length.max(ends[0])]);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length.max(ends[0]) as u64 + 300).unwrap();
        let zeros = Journal::open(&scratch.path(&name));
        let last = ends.iter().rev().find(|end| **end <= length).copied().unwrap_or(length);
        if whole[last..length].iter().all(|byte| *byte == 0) {
            assert_eq!(zeros.unwrap().load().unwrap().len(), survivors, "{length}");
        } else {
            // part of the record is there: whether it was acknowledged cannot be told, so nobody guesses
            assert_eq!(zeros.unwrap_err().code(), "journal/damaged", "{length}");
        }
    }
}

#[test]
fn a_flip_of_any_byte_is_found_and_its_record_named() {
    let scratch = Scratch::new();
    let journal = Journal::open(&scratch.path("j")).unwrap();
    let mut starts = Vec::new();
    for record in story() {
        starts.push(std::fs::metadata(scratch.path("j/journal")).unwrap().len());
        journal.append(&[record]).unwrap();
    }
    let path = scratch.path("j/journal");
    let length = std::fs::metadata(&path).unwrap().len();
    for at in 0..length {
        flip(&path, at as usize);
        let fault = Journal::open(&scratch.path("j")).unwrap_err();
        let start = starts.iter().rev().find(|start| **start <= at).copied().unwrap_or(0);
        assert_eq!(fault.code(), "journal/damaged");
        assert!(fault.is_integrity() && fault.to_string().contains(&format!("byte {start}:")), "{at}: {fault}");
        assert_eq!(Journal::open_read_only(&scratch.path("j")).unwrap().audit().len(), 1);
        assert_eq!(journal.audit().len(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length, "nothing is cut off from a damaged journal");
        flip(&path, at as usize);
    }
    assert!(journal.audit().is_empty(), "control");
}

#[test]
fn a_record_taken_out_or_swapped_is_found() {
    let scratch = Scratch::new();
    let journal = Journal::open(&scratch.path("j")).unwrap();
    let mut ends = vec![std::fs::metadata(scratch.path("j/journal")).unwrap().len() as usize];
    for record in story() {
        journal.append(&[record]).unwrap();
        ends.push(std::fs::metadata(scratch.path("j/journal")).unwrap().len() as usize);
    }
    let whole = std::fs::read(scratch.path("j/journal")).unwrap();
    let parts: Vec<&[u8]> = ends.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
    let tries: [&[usize]; 4] = [&[0, 1, 3, 4, 5], &[1, 0, 2, 3, 4, 5], &[0, 1, 2, 3, 5, 4], &[0, 1, 1, 2, 3, 4, 5]];
    for order in tries {
        let mut bytes = whole[..ends[0]].to_vec();
        order.iter().for_each(|part| bytes.extend_from_slice(parts[*part]));
        write(&scratch.path("j/journal"), &bytes);
        assert_eq!(Journal::open(&scratch.path("j")).unwrap_err().code(), "journal/damaged", "{order:?}");
    }
}

#[test]
fn many_writers_at_once_lose_nothing_and_one_of_two_rivals_is_fenced() {
    let scratch = Scratch::new();
    let dir = Arc::new(scratch.path("j"));
    let threads: Vec<_> = (0..6)
        .map(|writer| {
            let dir = Arc::clone(&dir);
            std::thread::spawn(move || {
                let journal = Journal::open(&dir).unwrap();
                let mut won = 0;
                for attempt in 1..=20 {
                    let own = step(&format!("r{writer}"), "train", attempt);
                    journal.append_lazy(&[Record::of_step(1, &own, State::Authorized, Value::Null)]).unwrap();
                    // all want the same attempt of the same step
                    let shared = step("shared", "train", attempt);
                    match journal.append_lazy(&[Record::of_step(1, &shared, State::Authorized, Value::Null)]) {
                        Ok(_) => won += 1,
                        Err(fault) => assert_eq!(fault.code(), "journal/fenced"),
                    }
                }
                won
            })
        })
        .collect();
    let won: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let records = Journal::open(&dir).unwrap().load().unwrap();
    let shared = records.iter().filter(|record| record.run.0 == "shared").count();
    assert_eq!(shared, won);
    assert!(shared <= 20, "an attempt was taken twice");
    assert_eq!(records.len(), 120 + won);
    assert!(records.iter().enumerate().all(|(seq, record)| record.seq == seq as u64));
}

#[test]
fn a_refused_record_leaves_the_journal_as_it_was() {
    let scratch = Scratch::new();
    let journal = Journal::open(&scratch.path("j")).unwrap();
    journal.append(&story()).unwrap();
    let before = std::fs::read(scratch.path("j/journal")).unwrap();
    let good = Record::of_run(1, RunId("r9".into()), State::RunStarted, Value::Null);
    let stale = Record::of_step(1, &step("r1", "train", 0), State::Authorized, Value::Null);
    assert_eq!(journal.append(&[good.clone(), stale]).unwrap_err().code(), "journal/fenced");
    let large = Record::of_run(1, RunId("r9".into()), State::RunStarted, Value::String("x".repeat(2 << 20)));
    assert_eq!(journal.append(&[good.clone(), large]).unwrap_err().code(), "journal/record");
    assert_eq!(std::fs::read(scratch.path("j/journal")).unwrap(), before);
    journal.append(&[good]).unwrap();
    assert_eq!(Journal::open_read_only(&scratch.path("j")).unwrap().append(&[]).unwrap_err().code(), "journal/read-only");
}

#[test]
fn the_state_of_a_run_is_rebuilt() {
    let mut records = story();
    let runs = RunState::from_records(&records);
    let run = &runs[&RunId("r1".into())];
    let train = &run.steps[&StepName { workflow: Name::new("w").unwrap(), step: Name::new("train").unwrap() }];
    assert!(run.is_unfinished());
    assert_eq!((train.state, train.attempt, train.next_attempt()), (State::Attested, 1, 2));
    assert_eq!(train.staged.as_ref().unwrap().1["text"], "ünïcode");
    assert_eq!(train.attempts.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(train.data_of(State::Started).unwrap()["pid"], 7);
    assert_eq!(unfinished_digests(&records), [Digest::of(b"plan"), Digest::of(b"out")].into());
    // denied, resumed as attempt 2: what was staged is still known
    records.push(Record::of_step(2, &step("r1", "train", 1), State::Denied, Value::Null));
    records.push(Record::of_run(2, RunId("r1".into()), State::RunEnded, json!({"state": "denied"})));
    assert!(!RunState::from_records(&records)[&RunId("r1".into())].is_unfinished());
    assert!(unfinished_digests(&records).contains(&Digest::of(b"out")), "a denied step re-evaluates only its gate");
    records.push(Record::of_step(3, &step("r1", "train", 2), State::Gated, Value::Null));
    let runs = RunState::from_records(&records);
    let train = runs[&RunId("r1".into())].steps.values().next().unwrap();
    assert_eq!((train.state, train.attempt, train.staged.as_ref().unwrap().0), (State::Gated, 2, 1));
    records.push(Record::of_step(3, &step("r1", "train", 2), State::Committed, Value::Null));
    assert!(unfinished_digests(&records).is_empty(), "what is committed is named by the log");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_was_acknowledged_is_there_after_any_tear(sizes in prop::collection::vec(1_usize..4, 1..12), tear in 0_usize..400, lazy in any::<bool>()) {
        let scratch = Scratch::new();
        let journal = Journal::open(&scratch.path("j")).unwrap();
        let mut written = 0;
        for size in &sizes {
            let records: Vec<Record> = (0..*size).map(|i| Record::of_run(i as u64, RunId(format!("r{written}")), State::RunStarted, json!(i))).collect();
            if lazy { journal.append_lazy(&records).unwrap() } else { journal.append(&records).unwrap() };
            written += size;
        }
        let path = scratch.path("j/journal");
        let bytes = std::fs::read(&path).unwrap();
        // the beginning of one more record that was never acknowledged
        journal.append_lazy(&[Record::of_run(0, RunId("torn".into()), State::RunStarted, json!("x".repeat(300)))]).unwrap();
        let more = std::fs::read(&path).unwrap();
        write(&path, &more[..(bytes.len() + tear).min(more.len() - 1)]);
        let again = Journal::open(&scratch.path("j")).unwrap().load().unwrap();
        prop_assert_eq!(again.len(), written);
        prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_full_disk_loses_no_acknowledged_record() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scratch = Scratch::new();
    let dir = scratch.path("disk");
    std::fs::create_dir(&dir).unwrap();
    // only root can mount
    if mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), Some(c"size=64k,mode=0700")).is_err() {
        return;
    }
    let journal = Journal::open(&dir.join("j")).unwrap();
    let filler = |i: usize| Record::of_run(1, RunId(format!("r{i}")), State::RunStarted, json!("x".repeat(3_000)));
    let written = (0..100).take_while(|i| journal.append(&[filler(*i)]).is_ok()).count();
    assert!((10..100).contains(&written), "{written}");
    let fault = journal.append(&[filler(100)]).unwrap_err();
    assert_eq!(fault.code(), "journal/io");
    assert_eq!(journal.load().unwrap().len(), written);
    assert_eq!(Journal::open(&dir.join("j")).unwrap().load().unwrap().len(), written);
    // control: a record that fits goes through, after all these failures
    journal.append(&[Record::of_run(1, RunId("small".into()), State::RunStarted, Value::Null)]).unwrap();
    assert_eq!(Journal::open(&dir.join("j")).unwrap().load().unwrap().len(), written + 1);
    unmount(&dir, UnmountFlags::DETACH).unwrap();
}
