//! The simulated disk: a real folder in which the real store works, and beside it what would be left of it after a power cut.
//!
//! in: the store's changes, one by one, and the faults of a seed; out: the changes done, refused or torn, and the folder after a crash.
//! **Invariant:** after the crash nothing reaches the folder any more: what the dying process still tries fails.
//! **Invariant:** every change that the store makes is seen here: the folder and its image are compared.

use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;
use seaworthy_store::disk::{Op, Simulated};

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
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { dies_at: u64::MAX, full: 0..0, sync_fails_at: u64::MAX, change_fails_at: u64::MAX };
}

/// A disk, for one thread.
pub struct Disk {
    dir: PathBuf,
    state: RefCell<State>,
}

struct State {
    image: Image,
    random: Random,
    faults: Faults,
    forgotten: Forgotten,
    late: Vec<u64>,
    changes: u64,
    dead: bool,
    failed: bool,
    traced: bool,
}

impl Disk {
    /// An empty disk in the empty folder `dir`.
    #[must_use]
    pub fn new(dir: &Path, random: Random, forgotten: Forgotten) -> Rc<Self> {
        let image = Image::new(std::fs::metadata(dir).unwrap().ino());
        Self::with(dir, image, random, forgotten)
    }

    fn with(dir: &Path, image: Image, random: Random, forgotten: Forgotten) -> Rc<Self> {
        let state = State {
            image,
            random,
            faults: Faults::NONE,
            forgotten,
            late: Vec::new(),
            changes: 0,
            dead: false,
            failed: false,
            traced: std::env::var_os("SEAWORTHY_SIM_TRACE").is_some(),
        };
        Rc::new(Self { dir: dir.to_owned(), state: RefCell::new(state) })
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new life with these faults; the changes are counted anew.
    pub fn revive(&self, faults: Faults) {
        let mut state = self.state.borrow_mut();
        (state.faults, state.changes, state.dead, state.failed) = (faults, 0, false, false);
    }

    /// Says something in the trace.
    pub fn tell(&self, text: &str) {
        if self.state.borrow().traced {
            println!("{text}");
        }
    }

    /// Changes in this life.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state.borrow().changes
    }

    /// Whether the process died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.borrow().dead
    }

    /// Whether a change or a sync failed in this life.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state.borrow().failed
    }

    /// The disk after a power cut, in the new folder `dir`: everything on it is durable.
    #[must_use]
    pub fn cut_power(&self, dir: &Path, cut: Cut) -> Rc<Self> {
        let mut state = self.state.borrow_mut();
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
        let shown = self.state.borrow().image.shown();
        let real = read_tree(&self.dir);
        shown.keys().chain(real.keys()).find(|path| shown.get(*path) != real.get(*path)).cloned()
    }
}

impl Simulated for Disk {
    fn perform(&self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        let mut state = self.state.borrow_mut();
        let done = state.perform(op, act);
        if state.traced {
            state.trace(op, done);
        }
        done
    }
}

impl State {
    /// Tells a change and what became of it: `SEAWORTHY_SIM_TRACE=1` shows how a seed breaks a promise.
    fn trace(&self, op: &Op<'_>, done: Result<(), Errno>) {
        let shown = match op {
            Op::Write { file, offset, bytes } => format!("write {} {offset}+{}", self.image.path_of(*file), bytes.len()),
            Op::Resize { file, length } => format!("resize {} {length}", self.image.path_of(*file)),
            Op::Sync { file } => format!("sync {}", self.image.path_of(*file)),
            other => format!("{other:?}"),
        };
        println!("{:>5} {shown}{}", self.changes, if done.is_ok() { "" } else { "   FAILED" });
    }

    fn perform(&mut self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        if self.dead {
            return Err(Errno::IO);
        }
        self.changes += 1;
        if self.changes >= self.faults.dies_at {
            self.dead = true;
            self.tear(op, act);
            return Err(Errno::IO);
        }
        let refused = self.refuse(op, act);
        self.failed |= refused.is_err();
        refused?;
        self.done(op, act, usize::MAX)
    }

    /// The fault that is due, if one is.
    fn refuse(&mut self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        let sync = matches!(op, Op::Sync { .. } | Op::SyncAll);
        if sync && self.changes >= self.faults.sync_fails_at {
            self.faults.sync_fails_at = u64::MAX;
            if let Op::Sync { file } = op {
                self.image.fail_sync(*file, &mut self.random);
            }
            return Err(Errno::IO);
        }
        if !sync && self.changes >= self.faults.change_fails_at {
            self.faults.change_fails_at = u64::MAX;
            self.tear(op, act);
            return Err(Errno::IO);
        }
        if self.faults.full.contains(&self.changes)
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
        let image = &mut self.image;
        match op {
            Op::Open { folder, name, truncate } => match image.named(*folder, name) {
                None => image.make(*folder, name, number, false),
                Some(_) if *truncate => image.resize(number, 0),
                Some(_) => {}
            },
            Op::Folder { folder, name } => image.make(*folder, name, number, true),
            Op::Write { file, offset, bytes } => image.write(*file, *offset, bytes.get(..count).unwrap_or(bytes)),
            Op::Resize { file, length } => image.resize(*file, *length),
            Op::Rename { from, to } => {
                let moved = image.named(from.0, from.1);
                image.name(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), moved)]);
            }
            Op::Link { from, to } => {
                let linked = image.named(from.0, from.1);
                image.name(vec![(to.0, to.1.to_owned(), linked)]);
            }
            Op::Unlink { folder, name } => image.name(vec![(*folder, (*name).to_owned(), None)]),
            Op::Sync { file } => self.sync(*file),
            Op::SyncAll => self.image.sync_all(),
        }
        Ok(())
    }

    fn sync(&mut self, number: u64) {
        let is_forgotten = match self.forgotten {
            Forgotten::Nothing => false,
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

fn write_tree(dir: &Path, tree: &Tree) {
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

fn read_image(dir: &Path) -> Image {
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
