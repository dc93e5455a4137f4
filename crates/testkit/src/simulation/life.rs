//! One life of the process: it opens the workspace as a command does, works, and says what it was told.
//!
//! in: the machine and how much to do; out: acknowledgements in `Told`, or a broken promise.
//! **Invariant:** an error is met only where a fault was put, and a process that was stopped by one can be started again.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, key_hint, leaf_body};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::json_strict;
use seaworthy_core::ports::{EvidenceSource as _, Leaf};
use seaworthy_core::principal::PrincipalId;
use seaworthy_store::artifacts::{Artifacts, FaultKind};
use seaworthy_store::journal::{Journal, Record, Renewal, State};
use seaworthy_store::log::{Log, LogReader, audit};
use seaworthy_store::workspace::{EnvironmentPaths, Workspace, write_atomic};
use serde_json::json;

use super::{Machine, ORIGIN, Summary, Violation};

/// What a process has open.
struct Process {
    paths: EnvironmentPaths,
    log: Log,
    journal: Journal,
    artifacts: Artifacts,
}

/// Why a process does nothing more.
enum Stop {
    /// It met a fault, or died of it.
    Fault,
    Broken(Violation),
}

type Step<T> = Result<T, Stop>;

fn broken<T>(promise: &'static str, found: impl Display) -> Step<T> {
    Err(Stop::Broken(Violation { promise, found: found.to_string() }))
}

impl Machine {
    /// Opens, works, and exits; an error ends the life.
    pub(super) fn live(&mut self, actions: u64, summary: &mut Summary) -> Result<(), Violation> {
        summary.lives += 1;
        let ended = self.work(actions);
        match ended {
            Ok(()) => Ok(()),
            Err(Stop::Broken(violation)) => Err(violation),
            Err(Stop::Fault) => {
                summary.faults += u64::from(!self.disk.is_dead());
                Ok(())
            }
        }
    }

    fn work(&mut self, actions: u64) -> Step<()> {
        let mut processes = vec![self.open()?];
        for _ in 0..actions {
            // a second process at the same workspace
            if processes.len() < 2 && self.random.one_in(12) {
                processes.push(self.open()?);
            }
            let which = self.random.below(processes.len() as u64) as usize;
            let acted = self.act(&processes[which], processes.len() > 1);
            match acted {
                Err(Stop::Fault) if !self.disk.is_dead() && processes.len() > 1 => drop(processes.remove(which)),
                other => other?,
            }
        }
        Ok(())
    }

    /// An error that no fault explains is a broken promise.
    fn met<T, E: Display>(&self, what: &'static str, result: Result<T, E>) -> Step<T> {
        match result {
            Ok(value) => Ok(value),
            Err(_) if self.disk.is_dead() || self.disk.has_failed() || self.signer.is_gone() => Err(Stop::Fault),
            Err(error) => broken("what is not disturbed succeeds", format!("{what}: {error}")),
        }
    }

    fn environment() -> Name {
        Name::new("staging").unwrap()
    }

    fn file(paths: &EnvironmentPaths) -> PathBuf {
        paths.root.join("trust.json")
    }

    fn open(&mut self) -> Step<Process> {
        let root = self.disk.dir().to_owned();
        let workspace = self.met("opening the workspace", Workspace::create(&root))?;
        let paths = self.met("opening the environment", workspace.environment(&Self::environment()))?;
        let is_new = !paths.log.join("checkpoint").exists() && !paths.log.join("wal").exists();
        if is_new {
            if !self.told.leaves.is_empty() {
                return broken("the log that was told of is there", "it is gone");
            }
            self.met("making the log", Log::create(&paths.log, ORIGIN, &*self.signer))?;
        }
        let log = self.met("opening the log", Log::open(&paths.log, ORIGIN, self.signer.clone()))?;
        self.check_leaves(&log)?;
        let artifacts = self.met("opening the store", Artifacts::open(&paths.store))?;
        let journal = self.met("opening the journal", Journal::open(&paths.journal))?;
        self.check_journal(&journal)?;
        Ok(Process { paths, log, journal, artifacts })
    }

    fn act(&mut self, process: &Process, rivals: bool) -> Step<()> {
        match self.random.below(100) {
            0..30 => self.append(process),
            30..48 => self.journal(process, true),
            48..62 => self.journal(process, false),
            62..80 => self.store(process),
            80..84 => self.met("flushing the log", process.log.flush()),
            84..89 => self.met("settling the log", process.log.settle()),
            89..92 => self.replace(process),
            92..94 if !rivals => self.collect(process),
            94..96 => self.renew(process),
            96..98 => self.check_leaves(&process.log),
            _ => self.read_blob(process),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn append(&mut self, process: &Process) -> Step<()> {
        let count = 1 + self.random.below(4);
        let leaves: Vec<Leaf> = (0..count).map(|_| self.leaf()).collect();
        let indexes = self.met("appending", process.log.append(&leaves))?;
        for (index, leaf) in indexes.into_iter().zip(&leaves) {
            if self.told.leaves.contains_key(&index) {
                return broken("every leaf has an index of its own", index);
            }
            self.told.leaf(index, entry(leaf));
        }
        Ok(())
    }

    fn leaf(&mut self) -> Leaf {
        let n = self.number();
        let length = [20, 200, 1_500][self.random.below(3) as usize];
        if self.random.one_in(8) {
            let public_key = b"spki".to_vec();
            let payload = format!("{{\"statement\":\"{n:0>length$}\"}}").into_bytes();
            let signature = Digest::of(&n.to_be_bytes()).as_bytes().to_vec();
            let bundle = Bundle { payload, signature, key_hint: key_hint(&public_key), log_proof: None };
            return Leaf::Attestation { bundle, public_key };
        }
        let kind = EventKind::RunEnded { run: RunId(format!("r{n:0>length$}")), state: "succeeded".into(), cancelled_by: None };
        Leaf::Event(Event { time_ms: self.clock_ms, principal: PrincipalId("user:p-0".into()), kind })
    }

    /// The next records of some runs; an attempt may be overtaken, and what the fence refuses is no fault.
    fn journal(&mut self, process: &Process, wait: bool) -> Step<()> {
        let count = 1 + self.random.below(3);
        let records: Vec<Record> = (0..count).map(|_| self.record()).collect();
        let appended = if wait { process.journal.append(&records) } else { process.journal.append_lazy(&records) };
        if appended.as_ref().is_err_and(|error| error.code() == "journal/fenced") {
            return Ok(());
        }
        if appended.is_err() {
            // they may be there or not: the next opening tells
            self.met("recording", appended)?;
            return Ok(());
        }
        self.told.records.extend(records);
        if wait {
            self.told.durable = self.told.records.len();
        }
        Ok(())
    }

    fn record(&mut self) -> Record {
        let run = RunId(format!("r{}", self.random.below(4)));
        let n = self.number();
        if self.random.one_in(6) {
            let state = if self.random.one_in(2) { State::RunStarted } else { State::RunEnded };
            return Record::of_run(self.clock_ms, run, state, json!({"plan": n}));
        }
        let state = State::ALL[1 + self.random.below(11) as usize];
        let name = |text: String| Name::new(text).unwrap();
        let attempt = 1 + self.random.below(3) as u32;
        let id = StepRunId { run, workflow: name("w".into()), step: name(format!("s{}", self.random.below(6))), attempt };
        let length = if self.random.one_in(400) { 300_000 } else { [10, 300, 1_400][self.random.below(3) as usize] };
        Record::of_step(self.clock_ms, &id, state, json!({"body": n, "text": "x".repeat(length)}))
    }

    fn store(&mut self, process: &Process) -> Step<()> {
        let mut batch = self.met("beginning a batch", process.artifacts.batch())?;
        let count = 1 + self.random.below(3);
        let mut stored = Vec::new();
        for _ in 0..count {
            let known = self.told.blobs.values().nth(self.random.below(30) as usize).cloned();
            let length = self.random.below(3_000) as usize;
            let bytes = known.unwrap_or_else(|| self.random.bytes(length));
            stored.push((self.met("storing", batch.bytes(&bytes))?, bytes));
        }
        self.met("storing", batch.commit())?;
        self.told.blobs.extend(stored);
        Ok(())
    }

    fn replace(&mut self, process: &Process) -> Step<()> {
        let length = 1 + self.random.below(2_000) as usize;
        let bytes = self.random.bytes(length);
        self.told.file_begins(&bytes);
        self.met("replacing a file", write_atomic(&Self::file(&process.paths), &bytes, 0o644))?;
        self.told.file_done();
        Ok(())
    }

    fn collect(&mut self, process: &Process) -> Step<()> {
        let named: BTreeSet<Digest> = self.told.blobs.keys().copied().collect();
        self.met("collecting garbage", process.artifacts.gc(&named, false)).map(drop)
    }

    /// The journal may be begun anew: what is needed of it stays.
    fn renew(&mut self, process: &Process) -> Step<()> {
        self.told.renewal = true;
        let key = |record: &Record| record.data.get("body").map(|body| Digest::of(body.to_string().as_bytes()));
        let renewed = self.met("renewing the journal", process.journal.renew(&key))?;
        match renewed {
            Renewal::NotDue => self.told.renewal = false,
            Renewal::Failed(error) => {
                self.told.renewal = false;
                self.met("writing the new journal", Err::<(), _>(error))?;
            }
            Renewal::Done { .. } => {
                let left = self.met("reading the new journal", process.journal.load())?;
                self.check_renewed(&left)?;
                self.told.renewal = false;
                self.told.durable = left.len();
                self.told.records = left;
            }
        }
        Ok(())
    }

    fn read_blob(&mut self, process: &Process) -> Step<()> {
        let Some((digest, bytes)) = self.told.blobs.iter().nth(self.random.below(30) as usize) else { return Ok(()) };
        match process.artifacts.read_blob(digest, 1 << 20) {
            Ok(found) if found == *bytes => Ok(()),
            other => broken("what was stored is there", format!("{digest}: {:?}", other.map(|bytes| bytes.len()))),
        }
    }

    fn check_leaves(&mut self, log: &Log) -> Step<()> {
        let snapshot = self.met("reading the log", log.snapshot())?;
        let size = self.met("reading the log", snapshot.size())?;
        let last = self.told.leaves.last_key_value().map_or(0, |(index, _)| index + 1);
        if size < last {
            return broken("no acknowledged leaf is lost", format!("{last} were acknowledged, {size} are there"));
        }
        for (index, told) in &self.told.leaves {
            match snapshot.entry(*index) {
                Ok(found) if found == *told => {}
                Ok(_) => return broken("a leaf stays what it was, where it was", index),
                Err(error) => return broken("no acknowledged leaf is lost", format!("{index}: {error}")),
            }
        }
        // what a reader has seen stays too
        for index in (0..size).filter(|index| !self.told.leaves.contains_key(index)).collect::<Vec<_>>() {
            let entry = snapshot.entry(index);
            let entry = entry.or_else(|error| broken("the log has no hole", format!("{index}: {error}")))?;
            self.told.leaf(index, entry);
        }
        Ok(())
    }

    /// All that was waited for is there, in its order; what was not may be missing from some point on.
    fn check_journal(&mut self, journal: &Journal) -> Step<()> {
        let found = self.met("reading the journal", journal.load())?;
        let told = &self.told.records;
        let durable = told.get(..self.told.durable).unwrap_or(told);
        let kept = found.len() >= durable.len() && found.iter().zip(durable).all(|(found, told)| same(found, told));
        if !kept {
            if !self.told.renewal {
                let message = format!("{} were waited for, {} are there", durable.len(), found.len());
                return broken("no acknowledged record is lost", message);
            }
            self.check_renewed(&found)?;
        }
        let committed = found.iter().filter(|record| record.state == State::Committed).map(|record| (&record.run, &record.step));
        let mut seen = BTreeSet::new();
        if let Some((run, step)) = committed.into_iter().find(|key| !seen.insert(*key)) {
            return broken("at most one attempt commits", format!("{run} {step:?}"));
        }
        if !kept {
            self.told.durable = found.len();
        }
        self.told.renewal = false;
        self.told.records = found;
        Ok(())
    }

    /// The newest finished bodies of every step are in a journal that was begun anew, and nothing that was not told of.
    fn check_renewed(&self, left: &[Record]) -> Step<()> {
        let told = &self.told.records;
        if let Some(stranger) = left.iter().find(|left| !told.iter().any(|told| same(left, told))) {
            return broken("a journal begun anew holds nothing new", format!("{stranger:?}"));
        }
        let durable = told.get(..self.told.durable).unwrap_or(told);
        let mut steps = BTreeSet::new();
        let newest = durable.iter().rev().filter(|record| record.state == State::Staged && steps.insert(&record.step));
        for record in newest {
            if !left.iter().any(|left| same(left, record)) {
                return broken("a journal begun anew keeps finished bodies", format!("{:?}", record.step));
            }
        }
        Ok(())
    }

    /// After a power cut, before anybody writes: what is read now is what a reader could have acted on.
    pub(super) fn look_at_once(&mut self) -> Result<(), Violation> {
        let log = self.disk.dir().join(".seaworthy/staging/log");
        let told = !self.told.leaves.is_empty();
        let reader = match LogReader::open(&log) {
            Ok(reader) => reader,
            Err(_) if !told => return Ok(()),
            Err(error) => {
                let read = |name: &str| std::fs::read(log.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let found =
                    format!("{error}; checkpoint {:?}, wal {:?}", read("checkpoint"), read("wal").map(|text| text.matches(ORIGIN).count()));
                return Err(Violation { promise: "the log can be read without being opened", found });
            }
        };
        for (index, entry) in &self.told.leaves {
            let found = reader.entry(*index);
            if found.as_ref().ok() != Some(entry) {
                let found = format!("{index} of {}: {:?}", reader.state().size, found.map(|_| "another"));
                return Err(Violation { promise: "a reader misses no acknowledged leaf", found });
            }
        }
        Ok(())
    }

    /// Everything that was ever promised, and every file whole.
    pub(super) fn check_everything(&mut self) -> Result<(), Violation> {
        match self.check_all() {
            Ok(()) => Ok(()),
            Err(Stop::Broken(violation)) => Err(violation),
            Err(Stop::Fault) => Err(Violation { promise: "what is not disturbed succeeds", found: "the last check".into() }),
        }
    }

    fn check_all(&mut self) -> Step<()> {
        let process = self.open()?;
        for (digest, bytes) in &self.told.blobs {
            match process.artifacts.read_blob(digest, 1 << 20) {
                Ok(found) if found == *bytes => {}
                other => return broken("what was stored is there", format!("{digest}: {:?}", other.map(|bytes| bytes.len()))),
            }
        }
        let faults = self.met("auditing the store", process.artifacts.audit())?;
        if let Some(fault) = faults.iter().find(|fault| fault.kind != FaultKind::Quarantined) {
            return broken("every file of the store is whole", format!("{fault:?}"));
        }
        let file = std::fs::read(Self::file(&process.paths)).ok();
        if !self.told.file.is_empty() && !self.told.file.contains(&file) {
            return broken("a file is replaced whole or not at all", format!("{:?} bytes", file.map(|bytes| bytes.len())));
        }
        self.append(&process)?;
        let Process { paths, log, .. } = process;
        self.met("closing the log", log.close())?;
        match audit(&paths.log).first() {
            Some(fault) => broken("every file of the log is whole", format!("{fault:?}")),
            None => Ok(()),
        }
    }
}

fn entry(leaf: &Leaf) -> Vec<u8> {
    match leaf {
        Leaf::Event(event) => json_strict::to_canonical_of(event).unwrap(),
        Leaf::Attestation { bundle, public_key } => leaf_body(bundle, public_key),
    }
}

/// The same record, wherever it stands.
fn same(left: &Record, right: &Record) -> bool {
    Record { seq: 0, ..left.clone() } == Record { seq: 0, ..right.clone() }
}
