//! A journal begun anew: what stays, what prevents it, what it survives, and who else has the old file open.

use std::io::Write as _;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::limits::{JOURNAL_BODIES_A_STEP_MAX, JOURNAL_BYTES_LONG};
use seaworthy_store::journal::{Journal, Record, Renewal, State, unfinished_digests};
use serde_json::{Value, json};

use crate::scratch::{Scratch, flip, write};

fn id(run: &str, step: &str, attempt: u32) -> StepRunId {
    StepRunId { run: RunId(run.into()), workflow: Name::new("w").unwrap(), step: Name::new(step).unwrap(), attempt }
}

fn of(run: &str, state: State, data: Value) -> Record {
    Record::of_step(1, &id(run, "train", 1), state, data)
}

fn level(run: &str, state: State) -> Record {
    Record::of_run(1, RunId(run.into()), state, json!({"plan": "p"}))
}

/// A run from start to end whose one body has the key `body`.
fn run(name: &str, body: &str) -> Vec<Record> {
    let staged = json!({"body": body, "output": Digest::of(body.as_bytes()), "half": 0.1, "seal": "x".repeat(20_000)});
    vec![
        level(name, State::RunStarted),
        of(name, State::Started, Value::Null),
        of(name, State::Staged, staged),
        of(name, State::Committed, Value::Null),
        level(name, State::RunEnded),
    ]
}

fn key(record: &Record) -> Option<Digest> {
    record.data.get("body").and_then(Value::as_str).map(|body| Digest::of(body.as_bytes()))
}

fn length(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("journal")).unwrap().len()
}

/// A long journal of ended runs; every other one has a body of its own.
fn long(dir: &Path) -> Journal {
    let journal = Journal::open(dir).unwrap();
    let mut n = 0;
    while length(dir) <= JOURNAL_BYTES_LONG {
        let body = if n % 2 == 0 { "always the same".to_owned() } else { format!("body {n}") };
        journal.append_lazy(&run(&format!("r{n}"), &body)).unwrap();
        n += 1;
    }
    journal
}

fn bodies(records: &[Record]) -> Vec<&str> {
    records.iter().filter_map(|record| record.data["body"].as_str()).collect()
}

#[track_caller]
fn done(renewal: &Renewal) -> (u64, u64) {
    let lengths = if let Renewal::Done { before, after } = renewal { Some((*before, *after)) } else { None };
    assert!(lengths.is_some(), "{renewal:?}");
    lengths.unwrap()
}

#[test]
fn a_long_journal_of_ended_runs_is_replaced_and_staged_bodies_are_found_again() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let short = Journal::open(&dir).unwrap();
    short.append(&run("r", "b")).unwrap();
    assert!(matches!(short.renew(&key).unwrap(), Renewal::NotDue), "it is short");
    std::fs::remove_dir_all(&dir).unwrap();
    drop(long(&dir));

    let journal = Journal::open(&dir).unwrap();
    let old = journal.load().unwrap();
    let (before, after) = done(&journal.renew(&key).unwrap());
    assert!(before > JOURNAL_BYTES_LONG && after == length(&dir) && after < before / 4, "{before} {after}");
    let new = journal.records().unwrap();
    let mut wanted = bodies(&old);
    let newest = wanted.split_off(wanted.len() - JOURNAL_BODIES_A_STEP_MAX - 3);
    assert_eq!(bodies(&new).len(), JOURNAL_BODIES_A_STEP_MAX);
    assert_eq!(newest.iter().filter(|body| **body == "always the same").count(), 4, "the test's own arithmetic");
    assert!(bodies(&new).contains(&"always the same") && bodies(&new).contains(newest.last().unwrap()));
    assert!(!bodies(&new).contains(&wanted[1]), "others are gone");
    assert!(new.iter().enumerate().all(|(seq, record)| record.seq == seq as u64));
    for record in &new {
        let same = old.iter().find(|old| Record { seq: record.seq, ..(*old).clone() } == *record);
        assert!(same.is_some(), "{record:?} was not there before");
    }
    for again in
        [journal.load().unwrap(), Journal::open(&dir).unwrap().records().unwrap(), Journal::open_read_only(&dir).unwrap().load().unwrap()]
    {
        assert_eq!(again, new);
    }
    // it goes on as any journal does, and its runs are fenced as they were
    assert!(matches!(journal.renew(&key).unwrap(), Renewal::NotDue));
    let kept = new.iter().find(|record| record.state == State::Staged).unwrap();
    let twice = Record { state: State::Committed, data: Value::Null, ..kept.clone() };
    assert_eq!(journal.append(&[twice]).unwrap_err().code(), "journal/fenced");
    assert_eq!(journal.append(&run("next", "b")).unwrap(), new.len() as u64 + 5);
    assert_eq!(Journal::open(&dir).unwrap().load().unwrap().len(), new.len() + 5);
    assert!(journal.audit().is_empty() && !dir.join(".writing").exists());
    // gc: ended and committed runs keep nothing, as before; an open one does
    assert_eq!(unfinished_digests(&new), [].into());
    assert_eq!(Journal::open_read_only(&dir).unwrap().renew(&key).unwrap_err().code(), "journal/read-only");
}

#[test]
fn an_unfinished_run_prevents_it_whoever_began_it() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = long(&dir);
    let other = Journal::open(&dir).unwrap();
    other.append(&run("under way", "b")[..3]).unwrap();
    let before = std::fs::read(dir.join("journal")).unwrap();
    for handle in [&journal, &other, &Journal::open(&dir).unwrap()] {
        assert!(matches!(handle.renew(&key).unwrap(), Renewal::NotDue));
    }
    assert_eq!(std::fs::read(dir.join("journal")).unwrap(), before);
    // control: its end is all that was missing
    other.append(&run("under way", "b")[3..]).unwrap();
    done(&journal.renew(&key).unwrap());
    assert!(bodies(&other.load().unwrap()).contains(&"b"));
}

#[test]
fn what_has_to_stay_is_not_written_again_and_again() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = Journal::open(&dir).unwrap();
    for n in 0..60 {
        let staged = Record::of_step(1, &id("r", &format!("s{n}"), 1), State::Staged, run("r", &format!("b{n}"))[2].data.clone());
        journal.append_lazy(&[staged]).unwrap();
    }
    journal.append(&[level("r", State::RunEnded)]).unwrap();
    assert!(length(&dir) > JOURNAL_BYTES_LONG);
    assert!(matches!(journal.renew(&key).unwrap(), Renewal::NotDue));
    // control: nobody can find them again
    done(&journal.renew(&|_| None).unwrap());
}

#[test]
fn wherever_a_crash_falls_the_journal_is_the_old_one_or_the_new_one() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    drop(long(&dir));
    let old = std::fs::read(dir.join("journal")).unwrap();
    let old_records = Journal::open(&dir).unwrap().load().unwrap();
    done(&Journal::open(&dir).unwrap().renew(&key).unwrap());
    let new = std::fs::read(dir.join("journal")).unwrap();
    let new_records = Journal::open(&dir).unwrap().load().unwrap();
    // before the rename: nothing, a part or all of the new file lies aside
    for (at, aside) in [&new[..0], &new[..7], &new[..new.len() / 2], &new, b"something else"].into_iter().enumerate() {
        let dir = scratch.path(&format!("aside{at}"));
        scratch.write(&format!("aside{at}/journal"), &old);
        scratch.write(&format!("aside{at}/.writing"), aside);
        assert_eq!(Journal::open_read_only(&dir).unwrap().audit(), [], "what lies aside is no fault");
        let journal = Journal::open(&dir).unwrap();
        assert_eq!(journal.load().unwrap(), old_records);
        // the run goes on in the old one, or begins it anew
        journal.append(&run("next", "b")).unwrap();
        done(&journal.renew(&key).unwrap());
        assert!(!dir.join(".writing").exists());
        assert!(bodies(&Journal::open(&dir).unwrap().load().unwrap()).contains(&"b"));
    }
    // after it, folder synced or not: the new one
    scratch.write("renamed/journal", &new);
    let journal = Journal::open(&scratch.path("renamed")).unwrap();
    assert_eq!(journal.load().unwrap(), new_records);
    journal.append(&run("next", "b")).unwrap();
    assert_eq!(journal.load().unwrap().len(), new_records.len() + 5);
}

#[test]
fn a_hard_link_aside_is_not_written_through() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = long(&dir);
    let precious = scratch.write("precious", b"precious");
    std::fs::hard_link(&precious, dir.join(".writing")).unwrap();
    done(&journal.renew(&key).unwrap());
    assert_eq!(std::fs::read(precious).unwrap(), b"precious");
}

#[test]
fn who_has_the_old_file_open_writes_to_the_new_one() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let a = long(&dir);
    let b = Journal::open(&dir).unwrap();
    let late = Journal::open(&dir).unwrap();
    let reader = Journal::open_read_only(&dir).unwrap();
    let mut naive = std::fs::OpenOptions::new().append(true).open(dir.join("journal")).unwrap();
    done(&a.renew(&key).unwrap());
    let kept = a.load().unwrap().len();
    b.append(&run("of b", "b")[..3]).unwrap();
    assert_eq!(late.records().unwrap().len(), kept + 3, "what was read at opening is no longer what there is");
    assert_eq!(reader.load().unwrap().len(), kept + 3);
    // a sees b's run, and both are fenced by it
    assert_eq!(a.append(&[of("of b", State::Started, Value::Null)]).unwrap_err().code(), "journal/fenced");
    assert_eq!(a.append(&run("of b", "b")[3..]).unwrap(), kept as u64 + 5);
    assert_eq!(b.append(&[of("of b", State::Failed, Value::Null)]).unwrap_err().code(), "journal/fenced");
    let all = Journal::open(&dir).unwrap().load().unwrap();
    assert_eq!(all.len(), kept + 5);
    // control: who does not look at the name is lost without a word
    let record = std::fs::read(dir.join("journal")).unwrap();
    naive.write_all(&record[record.len() - 200..]).unwrap();
    naive.sync_all().unwrap();
    assert_eq!(std::fs::read(dir.join("journal")).unwrap(), record);
    assert_eq!(Journal::open(&dir).unwrap().load().unwrap(), all);
}

#[test]
fn runs_and_renewals_at_once_lose_nothing_of_a_run_under_way() {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 20;
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let (renewed, round) = (AtomicUsize::new(0), Barrier::new(WRITERS));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (dir, renewed, round) = (&dir, &renewed, &round);
            scope.spawn(move || {
                let journal = Journal::open(dir).unwrap();
                for n in 0..ROUNDS {
                    let name = format!("w{writer} r{n}");
                    let mut story = run(&name, if n % 2 == 0 { "even" } else { "odd" });
                    story[1].data = Value::String("x".repeat(200_000));
                    // the others may still be renewing what they have open, or begin anew between any two of these
                    for record in &story[..4] {
                        journal.append_lazy(std::slice::from_ref(record)).unwrap();
                        assert!(matches!(journal.renew(&key).unwrap(), Renewal::NotDue), "this run is under way");
                    }
                    let seen = journal.load().unwrap().iter().filter(|record| record.run.0 == name).count();
                    assert_eq!(seen, 4, "{name}");
                    journal.append(&story[4..]).unwrap();
                    round.wait();
                    if let Renewal::Done { .. } = journal.renew(&key).unwrap() {
                        renewed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let records = Journal::open(&dir).unwrap().load().unwrap();
    assert!(records.iter().enumerate().all(|(seq, record)| record.seq == seq as u64));
    assert!(bodies(&records).contains(&"even") && bodies(&records).contains(&"odd"));
    let renewed = renewed.into_inner();
    assert!((1..=ROUNDS / 2).contains(&renewed), "{renewed}");
}

#[test]
fn a_flip_of_any_byte_of_the_new_file_is_found() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    drop(long(&dir));
    for (name, keep) in [("some", true), ("none", false)] {
        scratch.write(&format!("{name}/journal"), std::fs::read(dir.join("journal")).unwrap());
        let dir = scratch.path(name);
        let renewed = Journal::open(&dir).unwrap();
        done(&renewed.renew(&|record| key(record).filter(|_| keep)).unwrap());
        assert_eq!(length(&dir) < 100, !keep, "without any record it is the title alone");
        let path = dir.join("journal");
        for at in (0..length(&dir)).filter(|at| *at < 400 || at % 997 == 0) {
            flip(&path, at as usize);
            assert_eq!(Journal::open(&dir).unwrap_err().code(), "journal/damaged", "{name} {at}");
            assert_eq!(Journal::open_read_only(&dir).unwrap().audit().len(), 1, "{name} {at}");
            assert_eq!(renewed.audit().len(), 1, "{name} {at}");
            flip(&path, at as usize);
        }
        assert_eq!(renewed.audit(), [], "control");
    }
}

#[test]
fn a_damaged_journal_is_not_healed() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = long(&dir);
    let opened = Journal::open(&dir).unwrap();
    let path = dir.join("journal");
    for at in [3, 5_000, length(&dir) as usize - 5] {
        flip(&path, at);
        let before = std::fs::read(&path).unwrap();
        // whether it was read before or not
        for handle in [&journal, &opened] {
            assert_eq!(handle.renew(&key).unwrap_err().code(), "journal/damaged");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        flip(&path, at);
    }
    done(&journal.renew(&key).unwrap());
}

#[test]
fn what_cannot_be_written_leaves_the_old_one_as_it_was() {
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = long(&dir);
    let before = std::fs::read(dir.join("journal")).unwrap();
    scratch.write("j/.writing/in the way", b"");
    let renewal = journal.renew(&key).unwrap();
    assert!(matches!(&renewal, Renewal::Failed(cause) if cause.code() == "journal/io"), "{renewal:?}");
    assert_eq!(std::fs::read(dir.join("journal")).unwrap(), before);
    let count = journal.append(&run("next", "b")).unwrap();
    assert_eq!(Journal::open(&dir).unwrap().load().unwrap().len() as u64, count);
    // control: with nothing in the way it works
    std::fs::remove_dir_all(dir.join(".writing")).unwrap();
    done(&journal.renew(&key).unwrap());
}

#[test]
fn a_full_disk_leaves_the_old_one_as_it_was() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scratch = Scratch::new();
    let dir = scratch.path("disk");
    std::fs::create_dir(&dir).unwrap();
    // only root can mount
    if mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), Some(c"size=1200k,mode=0700")).is_err() {
        return;
    }
    let at = dir.join("j");
    let journal = long(&at);
    let filler = dir.join("filler");
    let mut size = 200 << 10;
    while size > 0 && std::panic::catch_unwind(|| write(&filler, &vec![0; size])).is_err() {
        size -= 4 << 10;
    }
    let before = std::fs::read(at.join("journal")).unwrap();
    assert!(matches!(journal.renew(&key).unwrap(), Renewal::Failed(_)));
    assert_eq!(std::fs::read(at.join("journal")).unwrap(), before);
    assert!(!at.join(".writing").exists(), "what was begun aside is taken away");
    assert_eq!(Journal::open(&at).unwrap().audit(), []);
    // control: with room again it goes through, and what follows too
    write(&filler, b"");
    done(&journal.renew(&key).unwrap());
    journal.append(&run("next", "b")).unwrap();
    assert_eq!(Journal::open(&at).unwrap().audit(), []);
    unmount(&dir, UnmountFlags::DETACH).unwrap();
}

#[test]
fn the_new_file_keeps_mode_and_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let scratch = Scratch::new();
    let dir = scratch.path("j");
    let journal = long(&dir);
    let path = dir.join("journal");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    // only root can give it away
    let given = chown(&path, Some(12_345), Some(12_345)).is_ok();
    done(&journal.renew(&key).unwrap());
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!(now.mode() & 0o777, 0o640);
    assert!(!given || (now.uid(), now.gid()) == (12_345, 12_345));
}
