//! A real run, recorded change by change, and continued from what a power cut may leave of it at any of them.
//!
//! in: a plan whose steps are real programs in the real sandbox; out: the recording, and for each cut the promise that was broken, if one was.
//! The run is the product's own: threads, the thread that writes the log's files, sandboxed processes, a real folder. Only signer, clock and
//! chance are given. What it does to the disk passes one place (`store::disk`), and is written down there with what was said to the user.
//! **Invariant:** a change is written down in the order in which it was done, and a word when it was said.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use seaworthy_core::id::StepRunId;
use seaworthy_core::ports::{Clock, Entropy, PortError};
use seaworthy_engine::launcher::{Launcher, SandboxLauncher};
use seaworthy_engine::progress::{Progress, StepState, StepUpdate};
use seaworthy_engine::workers::Pool;
use seaworthy_sandbox::{Cancel, Exit, Outcome, SandboxError, Spec, Ways};
use seaworthy_store::disk::{Enter, Op, Simulated};

use super::fixture::{self, Fixture};
use super::ports::shown;
use super::process::{self, Given, Where};
use super::world::{Body, Known, World};
use super::{End, check, new_workspace};
use crate::disk::{read_image, write_tree};
use crate::image::{Cut, Image};
use crate::random::Random;
use crate::simulation::Violation;

/// A change, kept.
enum Change {
    Open { folder: u64, name: String, truncate: bool },
    Folder { folder: u64, name: String },
    Write { file: u64, offset: u64, bytes: Vec<u8> },
    Resize { file: u64, length: u64 },
    Rename { from: (u64, String), to: (u64, String) },
    Link { from: (u64, String), to: (u64, String) },
    Unlink { folder: u64, name: String },
    Sync { file: u64 },
    SyncAll,
}

impl Change {
    fn op(&self) -> Op<'_> {
        match self {
            Self::Open { folder, name, truncate } => Op::Open { folder: *folder, name, truncate: *truncate },
            Self::Folder { folder, name } => Op::Folder { folder: *folder, name },
            Self::Write { file, offset, bytes } => Op::Write { file: *file, offset: *offset, bytes },
            Self::Resize { file, length } => Op::Resize { file: *file, length: *length },
            Self::Rename { from, to } => Op::Rename { from: (from.0, &from.1), to: (to.0, &to.1) },
            Self::Link { from, to } => Op::Link { from: (from.0, &from.1), to: (to.0, &to.1) },
            Self::Unlink { folder, name } => Op::Unlink { folder: *folder, name },
            Self::Sync { file } => Op::Sync { file: *file },
            Self::SyncAll => Op::SyncAll,
        }
    }
}

/// What was said or done besides.
enum Word {
    Launched(StepRunId, Body),
    Finished(String, String),
    Committed(String, String, u32),
    Ended(String, String),
}

enum Entry {
    /// A change, with what it opened or made.
    Change(Change, u64),
    Word(Word),
}

/// Writes down what passes it.
struct Recorder {
    written: Mutex<Written>,
}

struct Written {
    entries: Vec<Entry>,
    /// As the system shows it, to know what is new.
    image: Image,
    names: Names,
}

/// A disk gives the number of a file that is gone to the next one; here every file has a number of its own.
struct Names {
    own: HashMap<u64, u64>,
    next: u64,
}

/// Above all numbers of a disk.
const OWN: u64 = 1 << 48;
/// What lies elsewhere.
const ELSEWHERE: u64 = 1 << 63;

impl Names {
    fn of(&self, number: u64) -> u64 {
        self.own.get(&number).copied().unwrap_or(number | ELSEWHERE)
    }

    fn new_for(&mut self, number: u64) -> u64 {
        self.next += 1;
        self.own.insert(number, self.next);
        self.next
    }

    fn change(&self, op: &Op<'_>) -> Change {
        let place = |place: &(u64, &str)| (self.of(place.0), place.1.to_owned());
        match op {
            Op::Open { folder, name, truncate } => Change::Open { folder: self.of(*folder), name: (*name).to_owned(), truncate: *truncate },
            Op::Folder { folder, name } => Change::Folder { folder: self.of(*folder), name: (*name).to_owned() },
            Op::Write { file, offset, bytes } => Change::Write { file: self.of(*file), offset: *offset, bytes: bytes.to_vec() },
            Op::Resize { file, length } => Change::Resize { file: self.of(*file), length: *length },
            Op::Rename { from, to } => Change::Rename { from: place(from), to: place(to) },
            Op::Link { from, to } => Change::Link { from: place(from), to: place(to) },
            Op::Unlink { folder, name } => Change::Unlink { folder: self.of(*folder), name: (*name).to_owned() },
            Op::Sync { file } => Change::Sync { file: self.of(*file) },
            Op::SyncAll => Change::SyncAll,
        }
    }
}

impl Recorder {
    /// Of a disk that holds `base`.
    fn new(base: &Image) -> Self {
        let own = base.numbers().into_iter().map(|number| (number, number)).collect();
        Self { written: Mutex::new(Written { entries: Vec::new(), image: base.clone(), names: Names { own, next: OWN } }) }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated for Recorder {
    fn perform(&self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        let mut written = self.lock();
        let number = act(usize::MAX)?;
        let Written { entries, image, names } = &mut *written;
        let change = names.change(op);
        let number = match &change {
            Change::Open { folder, name, .. } => image.named(*folder, name).unwrap_or_else(|| names.new_for(number)),
            Change::Folder { .. } => names.new_for(number),
            _ => 0,
        };
        if image.holds(&change.op()) {
            image.apply(&change.op(), number, usize::MAX);
        }
        entries.push(Entry::Change(change, number));
        Ok(())
    }

    fn takes_threads(&self) -> bool {
        true
    }
}

/// The ports of a real run.
struct Real {
    world: Arc<World>,
    recorder: Option<Arc<Recorder>>,
    known: Mutex<Known>,
    random: Mutex<Random>,
}

impl Real {
    fn new(world: Arc<World>, recorder: Option<Arc<Recorder>>, seed: u64) -> Arc<Self> {
        Arc::new(Self { world, recorder, known: Mutex::default(), random: Mutex::new(Random::new(seed)) })
    }

    fn given(self: &Arc<Self>) -> Given {
        let signer = Arc::new(fixture::signer());
        Given { clock: self.clone(), entropy: self.clone(), signer, launcher: self.clone(), workers: Arc::new(Pool::new()) }
    }

    fn say(&self, word: Word) {
        self.world.with(|seen| word.tell(seen, &self.known.lock().unwrap()));
        if let Some(recorder) = &self.recorder {
            recorder.lock().entries.push(Entry::Word(word));
        }
    }
}

impl Word {
    fn tell(&self, seen: &mut super::world::Seen, known: &Known) {
        match self {
            Self::Launched(id, body) => seen.launch(id, body, known),
            Self::Finished(run, step) => _ = seen.finished.insert((run.clone(), step.clone())),
            Self::Committed(run, step, attempt) => _ = seen.committed.insert((run.clone(), step.clone(), *attempt)),
            Self::Ended(run, state) => _ = seen.ended.insert(run.clone(), state.clone()),
        }
    }
}

impl Clock for Real {
    fn now_unix_ms(&self) -> u64 {
        self.world.now_ms()
    }
}

impl Entropy for Real {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), PortError> {
        let bytes = self.random.lock().unwrap().bytes(buffer.len());
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

impl Launcher for Real {
    fn launch(&self, id: &StepRunId, spec: Spec, ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError> {
        let body = (id.step.to_string(), shown(&spec.mounts));
        self.say(Word::Launched(id.clone(), body.clone()));
        let outcome = SandboxLauncher.launch(id, spec, ways, cancel)?;
        if outcome.exit == Exit::Code(0) {
            self.world.with(|seen| *seen.ended_well.entry(body).or_default() += 1);
        }
        Ok(outcome)
    }
}

impl Progress for Real {
    fn run_started(&self, _run: &str, _steps: &[String]) {}

    fn step(&self, update: &StepUpdate) {
        let (run, step) = (update.run.clone(), update.step.clone());
        match update.state {
            StepState::Attesting => self.say(Word::Finished(run, step)),
            StepState::Committed => self.say(Word::Committed(run, step, update.attempt)),
            _ => {}
        }
    }
}

/// A run that was recorded.
pub struct Recording {
    base: Image,
    entries: Vec<Entry>,
    end: End,
}

/// Runs the plan in a new workspace in `dir`, and writes down what it does.
pub fn record(fixture: &Fixture, dir: &Path) -> Result<Recording, String> {
    let at = Where { root: dir.join("recorded"), beside: dir.join("beside") };
    std::fs::create_dir_all(&at.beside).unwrap();
    new_workspace(&at.root);
    let base = read_image(&at.root);
    let recorder = Arc::new(Recorder::new(&base));
    let world = Arc::<World>::default();
    world.set_clock(1_800_000_000_000);
    let real = Real::new(world, Some(recorder.clone()), 1);
    let end = {
        let _recorded = Enter::new(recorder.clone());
        run(fixture, &at, &real)?
    };
    let entries = std::mem::take(&mut recorder.lock().entries);
    Ok(Recording { base, entries, end })
}

fn run(fixture: &Fixture, at: &Where, real: &Arc<Real>) -> Result<End, String> {
    let open = process::open(fixture, at, real.given(), 2)?;
    process::see_leaves(&open, &real.world)?;
    *real.known.lock().unwrap() = process::known(fixture, &open.paths.journal, &real.world)?;
    let report = process::run(fixture, &open.engine, &**real)?;
    real.say(Word::Ended(report.run.clone(), report.state.as_str().to_owned()));
    Ok(process::end_of(&report))
}

impl Recording {
    /// Changes of the disk.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Change(..))).count()
    }

    /// How many of them make something durable.
    #[must_use]
    pub fn barriers(&self) -> usize {
        let is_barrier = |entry: &&Entry| matches!(entry, Entry::Change(Change::Sync { .. } | Change::SyncAll, _));
        self.entries.iter().filter(is_barrier).count()
    }

    /// The power is cut when the run is over, on a disk for which files whose paths have the text `forgotten` were never made durable.
    pub fn cut_at_the_end_without(&self, forgotten: &str, fixture: &Fixture, dir: &Path) -> Result<(), Violation> {
        self.continued(fixture, (self.changes(), Cut::Nothing, 0), Some(forgotten), dir)
    }

    /// The power is cut after `at` changes; the run is continued in what is left of the disk, and all that was said until then is held
    /// against it. `dir`: a folder of its own.
    pub fn cut(&self, fixture: &Fixture, at: usize, cut: Cut, seed: u64, dir: &Path) -> Result<(), Violation> {
        self.continued(fixture, (at, cut, seed), None, dir)
    }

    fn continued(&self, fixture: &Fixture, at: (usize, Cut, u64), forgotten: Option<&str>, dir: &Path) -> Result<(), Violation> {
        let (at, cut, seed) = at;
        let world = Arc::<World>::default();
        let mut image = self.base.clone();
        let mut changes = 0;
        for entry in &self.entries {
            match entry {
                Entry::Change(..) if changes == at => break,
                Entry::Change(change, number) => {
                    changes += 1;
                    let op = change.op();
                    let is_forgotten =
                        |part: &str| matches!(op, Op::Sync { file } if image.is_file(file) && image.path_of(file).contains(part));
                    if image.holds(&op) && !forgotten.is_some_and(is_forgotten) {
                        image.apply(&op, *number, usize::MAX);
                    }
                }
                Entry::Word(word) => world.with(|seen| word.tell(seen, &Known::default())),
            }
        }
        world.set_clock(1_800_000_100_000);
        let place = Place::new(dir);
        let at = Where { root: place.0.join("cut"), beside: place.0.join("beside") };
        std::fs::create_dir_all(&at.root).unwrap();
        std::fs::create_dir_all(&at.beside).unwrap();
        write_tree(&at.root, &image.cut(cut, &mut Random::new(seed)));
        let broken = |promise, found| Violation { promise, found };
        let end = run(fixture, &at, &Real::new(world.clone(), None, seed)).map_err(|e| broken("what is not disturbed succeeds", e))?;
        if end != self.end {
            return Err(broken("what is not disturbed ends the same", format!("{end:?}")));
        }
        if let Some(violation) = world.with(|seen| seen.broken.take()) {
            return Err(violation);
        }
        check::everything(fixture, &at, &world).map(drop)
    }
}

/// A folder, gone when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(dir: &Path) -> Self {
        drop(std::fs::remove_dir_all(dir));
        std::fs::create_dir_all(dir).unwrap();
        Self(dir.to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("SEAWORTHY_SIM_TRACE").is_none() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}
