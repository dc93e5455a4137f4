//! The simulated disk: a real folder in which the real store works, and beside it what would be left of it after a power cut.
//!
//! in: the store's changes, one by one, and the faults of a seed; out: the changes done, refused or torn, and the folder after a crash.
//! **Invariant:** after the crash nothing reaches the folder any more: what the dying process still tries fails.
//! **Invariant:** every change that the store makes is seen here: the folder and its image are compared.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use seaworthy_store::disk::{Mechanism, Op, Simulated};

use crate::image::{Cut, Image, Tree};
use crate::random::Random;

/// A barrier that the disk leaves out, as if the store had forgotten it: the simulator must find each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgotten {
    /// Nothing is forgotten.
    Nothing,
    /// Files whose paths have this text: their bytes are not made durable.
    Files(&'static str),
    /// Folders whose paths have this text: their names are not made durable.
    Folders(&'static str),
    /// What is acknowledged becomes durable with the next barrier only.
    Late,
    /// A mechanism of store or engine that has nothing to do with barriers.
    Mechanism(Mechanism),
}

/// What goes wrong in one life of the disk. Changes are counted from 1.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The change at which the process dies; what it does is torn.
    pub dies_at: u64,
    /// No space for these changes.
    pub full: std::ops::Range<u64>,
    /// The first sync from here on fails.
    pub sync_fails_at: u64,
    /// Any one change from here on fails.
    pub change_fails_at: u64,
    /// Whoever dies takes the whole machine along: its power is cut.
    pub takes_power: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { dies_at: u64::MAX, full: 0..0, sync_fails_at: u64::MAX, change_fails_at: u64::MAX, takes_power: false };
}

/// A disk, and a process that is at it.
pub struct Disk {
    dir: PathBuf,
    state: Mutex<State>,
    life: Mutex<Life>,
}

/// One of several processes at a disk: it has its own faults, and dies alone.
pub struct Lane {
    disk: Arc<Disk>,
    life: Mutex<Life>,
}

struct State {
    image: Image,
    random: Random,
    forgotten: Forgotten,
    late: Vec<u64>,
    /// Nobody's changes reach the disk any more.
    off: bool,
    traced: bool,
}

/// What becomes of one process.
struct Life {
    faults: Faults,
    changes: u64,
    dead: bool,
    failed: bool,
}

impl Life {
    const fn new(faults: Faults) -> Self {
        Self { faults, changes: 0, dead: false, failed: false }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// An empty disk in the empty folder `dir`.
    #[must_use]
    pub fn new(dir: &Path, random: Random, forgotten: Forgotten) -> Arc<Self> {
        let image = Image::new(std::fs::metadata(dir).unwrap().ino());
        Self::with(dir, image, random, forgotten)
    }

    fn with(dir: &Path, image: Image, random: Random, forgotten: Forgotten) -> Arc<Self> {
        let traced = std::env::var_os("SEAWORTHY_SIM_TRACE").is_some();
        let state = State { image, random, forgotten, late: Vec::new(), off: false, traced };
        Arc::new(Self { dir: dir.to_owned(), state: Mutex::new(state), life: Mutex::new(Life::new(Faults::NONE)) })
    }

    /// A disk with what the folder `dir` holds now, all of it durable.
    #[must_use]
    pub fn holding(dir: &Path, random: Random, forgotten: Forgotten) -> Arc<Self> {
        Self::with(dir, read_image(dir), random, forgotten)
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new life with these faults; the changes are counted anew.
    pub fn revive(&self, faults: Faults) {
        *lock(&self.life) = Life::new(faults);
    }

    /// Says something in the trace.
    pub fn tell(&self, text: &str) {
        if lock(&self.state).traced {
            println!("{text}");
        }
    }

    /// Changes in this life.
    #[must_use]
    pub fn changes(&self) -> u64 {
        lock(&self.life).changes
    }

    /// Whether the process died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.life).dead
    }

    /// Whether a change or a sync failed in this life.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        lock(&self.life).failed
    }

    /// The disk after a power cut, in the new folder `dir`: everything on it is durable.
    #[must_use]
    pub fn cut_power(&self, dir: &Path, cut: Cut) -> Arc<Self> {
        let mut state = lock(&self.state);
        let State { image, random, .. } = &mut *state;
        let tree = image.cut(cut, random);
        write_tree(dir, &tree);
        let image = read_image(dir);
        let random = Random::new(state.random.next_u64());
        Self::with(dir, image, random, state.forgotten)
    }

    /// What differs between the folder and its image: a change that did not come through here.
    #[must_use]
    pub fn unseen(&self) -> Option<String> {
        let shown = lock(&self.state).image.shown();
        let real = read_tree(&self.dir);
        shown.keys().chain(real.keys()).find(|path| shown.get(*path) != real.get(*path)).cloned()
    }
}

impl Simulated for Disk {
    fn perform(&self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        self.change(&mut lock(&self.life), op, act)
    }
}

impl Disk {
    fn change(&self, life: &mut Life, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        let done = state.perform(life, op, act);
        if state.traced {
            state.trace(life, op, done);
        }
        done
    }

    /// A process at this disk.
    #[must_use]
    pub fn lane(self: &Arc<Self>, faults: Faults) -> Arc<Lane> {
        Arc::new(Lane { disk: self.clone(), life: Mutex::new(Life::new(faults)) })
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        lock(&self.state).off
    }
}

impl Lane {
    /// The process is killed here and now; if its faults say so, the whole machine with it.
    pub fn die(&self) {
        let mut life = lock(&self.life);
        life.dead = true;
        lock(&self.disk.state).off |= life.faults.takes_power;
    }

    /// Whether it was killed, or has no power.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.life).dead || self.disk.is_off()
    }

    /// Whether a change or a sync of its failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        lock(&self.life).failed
    }

    /// Its changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        lock(&self.life).changes
    }
}

impl Simulated for Lane {
    fn perform(&self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        self.disk.change(&mut lock(&self.life), op, act)
    }

    fn is_left_out(&self, mechanism: Mechanism) -> bool {
        lock(&self.disk.state).forgotten == Forgotten::Mechanism(mechanism)
    }
}

impl State {
    /// Tells a change and what became of it: `SEAWORTHY_SIM_TRACE=1` shows how a seed breaks a promise.
    fn trace(&self, life: &Life, op: &Op<'_>, done: Result<(), Errno>) {
        let shown = match op {
            Op::Write { file, offset, bytes } => format!("write {} {offset}+{}", self.image.path_of(*file), bytes.len()),
            Op::Resize { file, length } => format!("resize {} {length}", self.image.path_of(*file)),
            Op::Sync { file } => format!("sync {}", self.image.path_of(*file)),
            other => format!("{other:?}"),
        };
        println!("{:>5} {shown}{}", life.changes, if done.is_ok() { "" } else { "   FAILED" });
    }

    fn perform(&mut self, life: &mut Life, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        if life.dead || self.off {
            return Err(Errno::IO);
        }
        life.changes += 1;
        if life.changes >= life.faults.dies_at {
            life.dead = true;
            self.off |= life.faults.takes_power;
            self.tear(op, act);
            return Err(Errno::IO);
        }
        let refused = self.refuse(life, op, act);
        life.failed |= refused.is_err();
        refused?;
        self.done(op, act, usize::MAX)
    }

    /// The fault that is due, if one is.
    fn refuse(&mut self, life: &mut Life, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        let sync = matches!(op, Op::Sync { .. } | Op::SyncAll);
        if sync && life.changes >= life.faults.sync_fails_at {
            life.faults.sync_fails_at = u64::MAX;
            if let Op::Sync { file } = op {
                self.image.fail_sync(*file, &mut self.random);
            }
            return Err(Errno::IO);
        }
        if !sync && life.changes >= life.faults.change_fails_at {
            life.faults.change_fails_at = u64::MAX;
            self.tear(op, act);
            return Err(Errno::IO);
        }
        if life.faults.full.contains(&life.changes)
            && matches!(op, Op::Write { .. } | Op::Open { .. } | Op::Folder { .. } | Op::Link { .. })
        {
            self.tear(op, act);
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    /// Of a write that fails, a part may be done; of anything else, nothing.
    fn tear(&mut self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) {
        if let Op::Write { bytes, .. } = op {
            let count = self.random.below(bytes.len() as u64 + 1) as usize;
            self.done(op, act, count).unwrap();
        }
    }

    fn done(&mut self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>, count: usize) -> Result<(), Errno> {
        let number = act(count)?;
        match op {
            // beside the disk lies what nothing rests on: it is made again
            _ if !self.image.holds(op) => {}
            Op::Sync { file } => self.sync(*file),
            _ => self.image.apply(op, number, count),
        }
        Ok(())
    }

    fn sync(&mut self, number: u64) {
        let is_forgotten = match self.forgotten {
            Forgotten::Nothing | Forgotten::Mechanism(_) => false,
            Forgotten::Files(part) => self.image.is_file(number) && self.image.path_of(number).contains(part),
            Forgotten::Folders(part) => !self.image.is_file(number) && self.image.path_of(number).ends_with(part),
            Forgotten::Late => {
                let due = std::mem::replace(&mut self.late, vec![number]);
                due.into_iter().for_each(|number| self.image.sync(number));
                return;
            }
        };
        if !is_forgotten {
            self.image.sync(number);
        }
    }
}

pub(crate) fn write_tree(dir: &Path, tree: &Tree) {
    // parents come before what they hold
    for (path, bytes) in tree {
        let path = dir.join(path);
        match bytes {
            Some(bytes) => {
                std::fs::write(&path, bytes).unwrap();
                if path.components().any(|part| part.as_os_str() == "blobs") {
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
                }
            }
            None => {
                std::fs::create_dir(&path).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
    }
}

fn read_tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    each(dir, "", &mut |path, file| {
        tree.insert(path.to_owned(), if file.is_dir() { None } else { Some(std::fs::read(file).unwrap()) });
    });
    tree
}

pub(crate) fn read_image(dir: &Path) -> Image {
    let mut image = Image::new(std::fs::metadata(dir).unwrap().ino());
    each(dir, "", &mut |path, file| {
        let number = |path: &Path| std::fs::symlink_metadata(path).unwrap().ino();
        let name = path.rsplit('/').next().unwrap();
        let bytes = if file.is_dir() { None } else { Some(std::fs::read(file).unwrap()) };
        image.put(number(file.parent().unwrap()), name, number(file), bytes);
    });
    image
}

fn each(dir: &Path, prefix: &str, visit: &mut dyn FnMut(&str, &Path)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        visit(&path, &entry.path());
        if entry.file_type().unwrap().is_dir() {
            each(&entry.path(), &path, visit);
        }
    }
}
