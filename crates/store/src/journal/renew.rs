//! Beginning anew: a long journal in which every run has ended gives way to a short one, so that opening it stays quick.
//!
//! in: a journal's records, and the caller's word on whose staged bodies can be found again; out: the few that stay, in a new file.
//!
//! What stays: of each step the newest `STAGED` record of each of its newest bodies, and of each run that has one the last record of
//! every step and of the run itself. The new file is a journal like any other: its chain starts at the title, its numbers at 0.
//! **Invariant:** the old file keeps the name until every byte of the new one is durable and read back; what fails before that
//! costs nothing but the time that a long journal takes.
//! **Invariant:** a run that has not ended keeps its journal as it is.
//! **Invariant:** of every run in the new file, all that was refused before still is: its steps stand where they stood.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat};
use rustix::io::Errno;
use seaworthy_core::digest::Digest;
use seaworthy_core::id::RunId;
use seaworthy_core::limits::{JOURNAL_BODIES_A_STEP_MAX, JOURNAL_BODIES_MAX, JOURNAL_BYTES_LONG};

use super::JournalError;
use super::file::{JournalFile, Prepared, Tail, fault, io_fault};
use super::record::{Record, State, StepName};
use crate::barrier;
use crate::disk::{openat, renameat, unlinkat};
use crate::folders::lock;

/// Where the new file is written. Whoever has the journal's lock may: one left over by a crash is nobody's.
const ASIDE: &str = ".writing";

/// What key a `STAGED` record's body is found again by; `None` if nobody can.
pub type BodyKey<'a> = dyn Fn(&Record) -> Option<Digest> + 'a;

/// What became of the wish to begin a journal anew.
#[derive(Debug)]
pub enum Renewal {
    /// It is short enough, a run in it has not ended, or what has to stay is most of it.
    NotDue,
    /// The new one has its place.
    Done {
        /// Bytes before.
        before: u64,
        /// Bytes now.
        after: u64,
    },
    /// The new one could not be written: the old one stays and is as good as before.
    Failed(JournalError),
}

impl JournalFile {
    pub(super) fn renew(&mut self, key: &BodyKey<'_>) -> Result<Renewal, JournalError> {
        self.must_be_writable()?;
        self.locked(|journal| journal.renew_locked(key))
    }

    fn renew_locked(&mut self, key: &BodyKey<'_>) -> Result<Renewal, JournalError> {
        let before = self.length()?;
        if before <= JOURNAL_BYTES_LONG {
            return Ok(Renewal::NotDue);
        }
        // what opening has read is good enough to see that it is not due; nothing is replaced but what is verified now
        let opened = self.opened.as_ref().filter(|(_, offset)| *offset == before);
        if opened.is_some_and(|(records, _)| matches!(successor(records, key, before), Ok(None))) {
            return Ok(Renewal::NotDue);
        }
        let records = self.load_locked()?;
        let successor = successor(&records, key, before);
        self.opened = Some((records, self.tail.offset));
        let (kept, prepared) = match successor {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Renewal::NotDue),
            Err(cause) => return Ok(Renewal::Failed(cause)),
        };
        match self.write_aside(prepared, &kept) {
            Ok(fresh) => self.give_way_to(fresh, before),
            Err(cause) => {
                // what lies aside is nobody's: the next one takes it away
                _ = unlinkat(CWD, &self.path.with_file_name(ASIDE), AtFlags::empty());
                Ok(Renewal::Failed(cause))
            }
        }
    }

    /// The new journal, locked, durable and read back, but not yet by its name.
    fn write_aside(&self, prepared: Prepared, kept: &[Record]) -> Result<Self, JournalError> {
        let aside = self.path.with_file_name(ASIDE);
        match unlinkat(CWD, &aside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fault("take away", &aside)(errno)),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, &aside, flags, Mode::RUSR | Mode::WUSR).map_err(fault("create", &aside))?;
        let mut fresh = Self::new(aside, file.into(), true);
        fresh.belong_to_owner_of(self)?;
        // nobody appends to it before its name is durable
        lock(&fresh.file, FlockOperation::LockExclusive).map_err(fault("lock", &fresh.path))?;
        fresh.write_title()?;
        fresh.named = true; // its name here does not matter
        fresh.write(prepared, true)?;
        let mut read = Vec::with_capacity(kept.len());
        fresh.tail = Tail::start();
        fresh.catch_up(&mut |record| read.push(record))?;
        let same = read.len() == kept.len() && read.iter().zip(kept).all(|(new, old)| Record { seq: new.seq, ..old.clone() } == *new);
        if !same {
            return Err(io_fault("read back", &fresh.path)(std::io::ErrorKind::InvalidData.into()));
        }
        fresh.opened = Some((read, fresh.tail.offset));
        Ok(fresh)
    }

    /// Whoever could use the old file can use the new one.
    fn belong_to_owner_of(&self, old: &Self) -> Result<(), JournalError> {
        let failed = |errno| fault("hand over", &self.path)(errno);
        let (was, is) = (fstat(&old.file).map_err(failed)?, fstat(&self.file).map_err(failed)?);
        if (was.st_uid, was.st_gid) != (is.st_uid, is.st_gid) {
            fchown(&self.file, Some(Uid::from_raw(was.st_uid)), Some(Gid::from_raw(was.st_gid))).map_err(failed)?;
        }
        fchmod(&self.file, Mode::from_raw_mode(was.st_mode)).map_err(failed)
    }

    fn give_way_to(&mut self, mut fresh: Self, before: u64) -> Result<Renewal, JournalError> {
        if let Err(errno) = renameat(CWD, &fresh.path, CWD, &self.path) {
            _ = unlinkat(CWD, &fresh.path, AtFlags::empty()); // as above
            return Ok(Renewal::Failed(fault("replace", &self.path)(errno)));
        }
        fresh.path.clone_from(&self.path);
        fresh.named = false;
        *self = fresh;
        // from here there is no way back: after a power cut, either file may have the name until the folder is durable
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let folder = std::fs::File::open(dir).map_err(io_fault("open", dir))?;
        barrier::sync(&folder).map_err(io_fault("sync", dir))?;
        self.named = true;
        Ok(Renewal::Done { before, after: self.tail.offset })
    }
}

/// The records that would stay, and their bytes; `None` if that is not due.
fn successor(records: &[Record], key: &BodyKey<'_>, before: u64) -> Result<Option<(Vec<Record>, Prepared)>, JournalError> {
    if has_unfinished(records) {
        return Ok(None);
    }
    let kept = to_keep(records, key);
    let prepared = Tail::start().prepare(&kept)?;
    Ok((prepared.bytes.len() as u64 <= before / 2).then_some((kept, prepared)))
}

/// Whether a run stands without its end. One of which only steps are known has none either.
fn has_unfinished(records: &[Record]) -> bool {
    let mut ended: BTreeMap<&RunId, bool> = BTreeMap::new();
    for record in records {
        let ended = ended.entry(&record.run).or_default();
        match record.state {
            State::RunStarted => *ended = false,
            State::RunEnded => *ended = true,
            _ => {}
        }
    }
    ended.values().any(|ended| !ended)
}

/// The records that stay, in their order.
fn to_keep(records: &[Record], key: &BodyKey<'_>) -> Vec<Record> {
    let bodies = newest_bodies(records, key);
    let runs: BTreeSet<&RunId> = bodies.iter().filter_map(|at| records.get(*at)).map(|record| &record.run).collect();
    let mut stood = BTreeSet::new();
    let of_runs = records.iter().enumerate().rev().filter(|(_, record)| runs.contains(&record.run));
    let kept = of_runs.filter(|(at, record)| {
        let is_last = stood.insert((&record.run, &record.step));
        is_last || bodies.contains(at)
    });
    let mut kept: Vec<Record> = kept.map(|(_, record)| record.clone()).collect();
    kept.reverse();
    kept
}

/// Where the newest `STAGED` records of distinct bodies stand, a few of each step.
fn newest_bodies(records: &[Record], key: &BodyKey<'_>) -> BTreeSet<usize> {
    let mut of_step: BTreeMap<&StepName, BTreeSet<Digest>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (at, record) in records.iter().enumerate().rev() {
        let Some(step) = record.step.as_ref().filter(|_| record.state == State::Staged) else { continue };
        let bodies = of_step.entry(step).or_default();
        if found.len() >= JOURNAL_BODIES_MAX || bodies.len() >= JOURNAL_BODIES_A_STEP_MAX {
            continue;
        }
        if key(record).is_some_and(|body| bodies.insert(body)) {
            found.insert(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use seaworthy_core::id::{Name, StepRunId};
    use serde_json::{Value, json};

    use super::*;
    use crate::journal::fence::Fence;

    fn of(run: &str, step: &str, attempt: u32, state: State, data: Value) -> Record {
        let id = StepRunId { run: RunId(run.into()), workflow: Name::new("w").unwrap(), step: Name::new(step).unwrap(), attempt };
        Record::of_step(1, &id, state, data)
    }

    fn level(run: &str, state: State) -> Record {
        Record::of_run(1, RunId(run.into()), state, json!({"of": run}))
    }

    fn key(record: &Record) -> Option<Digest> {
        record.data.get("body").and_then(Value::as_str).map(|body| Digest::of(body.as_bytes()))
    }

    /// Runs as the engine records them: one denied and tried again, one reused, one that staged nothing.
    fn story() -> Vec<Record> {
        use State::{Authorized, Committed, Denied, Failed, Planned, RunEnded, RunStarted, Staged, Started};
        let body = |name: &str| json!({"body": name});
        vec![
            level("r1", RunStarted),
            of("r1", "a", 1, Authorized, Value::Null),
            of("r1", "a", 1, Staged, body("a1")),
            of("r1", "a", 1, Committed, Value::Null),
            of("r1", "b", 1, Staged, body("b1")),
            of("r1", "b", 1, Denied, json!({"code": "gate/denied"})),
            of("r1", "b", 2, Staged, body("b2")),
            of("r1", "b", 2, Failed, Value::Null),
            level("r1", RunEnded),
            level("r2", RunStarted),
            of("r2", "a", 1, Planned, Value::Null),
            of("r2", "a", 1, Committed, Value::Null),
            of("r2", "b", 1, Started, Value::Null),
            of("r2", "b", 1, Failed, Value::Null),
            level("r2", RunEnded),
            level("r3", RunStarted),
            of("r3", "b", 1, Staged, body("b1")),
            of("r3", "b", 1, Staged, json!({"unreadable": true})),
            level("r3", RunEnded),
        ]
    }

    #[test]
    fn what_stays_is_the_newest_of_each_body_and_where_its_run_stood() {
        let records = story();
        let kept = to_keep(&records, &key);
        let wanted: Vec<Record> = [2, 3, 6, 7, 8, 16, 17, 18].iter().filter_map(|at| records.get(*at)).cloned().collect();
        assert_eq!(kept, wanted);
        assert_eq!(to_keep(&kept, &key), kept, "and again the same");
        assert!(to_keep(&records, &|_| None).is_empty(), "what nobody can find again goes");
    }

    #[test]
    fn of_each_step_a_few_bodies_stay() {
        let bodies = 3 * JOURNAL_BODIES_A_STEP_MAX;
        let staged = |n: usize, step: &str| of(&format!("r{n}"), step, 1, State::Staged, json!({"body": format!("{step}{n}")}));
        let records: Vec<Record> = (0..bodies).flat_map(|n| [staged(n, "a"), staged(n, "b")]).collect();
        let kept = to_keep(&records, &key);
        assert_eq!(kept, records.get(records.len() - 2 * JOURNAL_BODIES_A_STEP_MAX..).unwrap());
        let many: Vec<Record> = (0..JOURNAL_BODIES_MAX + 5).map(|n| staged(n, &format!("s{n}"))).collect();
        assert_eq!(to_keep(&many, &key), many.get(5..).unwrap());
    }

    #[test]
    fn an_open_run_is_seen_however_it_is_open() {
        use State::{RunEnded, RunStarted, Staged};
        assert!(!has_unfinished(&[level("r", RunStarted), level("r", RunEnded)]));
        assert!(!has_unfinished(&[]));
        assert!(has_unfinished(&[level("q", RunStarted), level("r", RunStarted), level("r", RunEnded)]));
        assert!(has_unfinished(&[level("r", RunStarted), level("r", RunEnded), level("r", RunStarted)]), "resumed");
        assert!(has_unfinished(&[of("r", "a", 1, Staged, Value::Null)]), "its beginning is not known, nor is its end");
    }

    #[test]
    fn what_was_refused_about_a_kept_run_still_is() {
        // the last STAGED of the story is refused by the fence itself: it is there for the choice above
        let records: Vec<Record> = story().into_iter().filter(|record| record.data.get("unreadable").is_none()).collect();
        let kept = to_keep(&records, &key);
        let fence_of = |records: &[Record]| {
            let mut fence = Fence::default();
            records.iter().for_each(|record| fence.admit(record).unwrap());
            fence
        };
        let runs: BTreeSet<&RunId> = kept.iter().map(|record| &record.run).collect();
        assert_eq!(runs.len(), 2);
        let (mut refused, mut forgotten) = (0, 0);
        for run in runs {
            for (step, attempt) in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2), ("b", 3), ("c", 1)] {
                for state in State::ALL {
                    let next = of(&run.0, step, attempt, state, Value::Null);
                    let before = fence_of(&records).admit(&next).is_err();
                    assert_eq!(fence_of(&kept).admit(&next).is_err(), before, "{next:?}");
                    refused += usize::from(before);
                    // control: the staged bodies alone would not do
                    let careless: Vec<Record> = kept.iter().filter(|record| record.state == State::Staged).cloned().collect();
                    forgotten += usize::from(fence_of(&careless).admit(&next).is_err() != before);
                }
            }
        }
        assert!(refused > 40 && forgotten > 5, "{refused} {forgotten}");
    }
}
