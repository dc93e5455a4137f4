//! What is on a simulated disk: for each file and folder what is durable, and what was changed since.
//!
//! in: changes in their order; out: one of the states that a power cut may leave.
//!
//! The model promises less than the file systems that we know of (ext4 in its default mode, XFS, btrfs). Until a file is synced, each of its
//! sectors is, independently, as it was at any moment since the last sync; so is its length, which grows only with the bytes before it. Until
//! a folder is synced, each of its changes may be there or not; a rename is one change, there wholly or not at all. A name does not make its
//! file durable, nor a file its name. A failed sync of a file leaves any part of it on the disk and forgets the rest: a later sync does not
//! write it any more.
//! **Invariant:** what was synced is never lost, and what was never written never appears.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use seaworthy_store::disk::Op;

use crate::random::Random;

/// Bytes that reach the disk wholly or not at all.
pub const SECTOR: usize = 512;

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub struct File {
    durable: Vec<u8>,
    /// What the system shows without the pending changes, where that is no longer what is durable.
    shown: Option<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { length: usize },
}

/// A change of names: each `(folder, name)` gets a file or loses it; all of them or none.
type Naming = Vec<(u64, String, Option<u64>)>;

/// Names of a folder: durable and shown.
#[derive(Clone, Debug, Default)]
struct Folder {
    durable: BTreeMap<String, u64>,
    shown: BTreeMap<String, u64>,
}

/// The whole disk.
#[derive(Clone, Debug, Default)]
pub struct Image {
    root: u64,
    files: HashMap<u64, File>,
    folders: HashMap<u64, Folder>,
    /// Changes of names that no sync has made durable, in their order.
    namings: Vec<Naming>,
}

/// A tree of files and folders, by path.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// How a power cut treats what is not durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// All of it is lost.
    Nothing,
    /// All of it is there.
    Everything,
    /// Each part by chance.
    Any,
}

impl File {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.pending.push(Change::Write { offset: offset as usize, bytes: bytes.to_vec() });
    }

    fn resize(&mut self, length: u64) {
        self.pending.push(Change::Resize { length: length as usize });
    }

    /// What the system shows.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        let mut bytes = self.shown.clone().unwrap_or_else(|| self.durable.clone());
        self.pending.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }

    fn sync(&mut self) {
        // what an earlier failed sync forgot stays forgotten, but for the sectors written again
        let after = self.after(&mut |_, count| count);
        if self.shown.is_some() {
            self.shown = Some(self.shown());
        }
        self.durable = after;
        self.pending.clear();
    }

    fn fail_sync(&mut self, random: &mut Random) {
        let shown = self.shown();
        self.durable = self.cut(Cut::Any, random);
        self.shown = Some(shown);
        self.pending.clear();
    }

    /// What a power cut leaves.
    fn cut(&self, cut: Cut, random: &mut Random) -> Vec<u8> {
        match cut {
            Cut::Nothing => self.durable.clone(),
            Cut::Everything => self.after(&mut |_, count| count),
            Cut::Any => self.after(&mut |_, count| random.below(count as u64 + 1) as usize),
        }
    }

    /// The file if of each sector (`None`: of the length) the first so many changes have reached the disk.
    fn after(&self, choose: &mut dyn FnMut(Option<usize>, usize) -> usize) -> Vec<u8> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        let kept_length = choose(None, self.pending.len());
        let mut length = self.durable.len();
        let mut shown = self.shown.clone().unwrap_or_else(|| self.durable.clone());
        let mut sectors: BTreeMap<usize, Vec<(usize, Vec<u8>)>> = BTreeMap::new();
        for (at, change) in self.pending.iter().enumerate() {
            let before = shown.len();
            change.apply(&mut shown);
            if at < kept_length {
                length = shown.len();
            }
            let (start, end) = match change {
                Change::Write { offset, bytes } => ((*offset).min(before), offset + bytes.len()),
                Change::Resize { length } => ((*length).min(before), (*length).max(before)),
            };
            for sector in start / SECTOR..end.div_ceil(SECTOR) {
                let bytes = shown.get(sector * SECTOR..shown.len().min((sector + 1) * SECTOR)).unwrap_or_default().to_vec();
                sectors.entry(sector).or_default().push((at, bytes));
            }
        }
        let mut result = self.durable.clone();
        let mut whole = self.durable.len();
        for (sector, versions) in sectors {
            let kept = choose(Some(sector), versions.len());
            let Some((_, bytes)) = kept.checked_sub(1).and_then(|last| versions.get(last)) else { continue };
            let start = sector * SECTOR;
            if start <= whole {
                whole = whole.max(start + bytes.len());
            }
            if result.len() < start + SECTOR {
                result.resize(start + SECTOR, 0);
            }
            result[start..start + SECTOR].fill(0);
            result[start..start + bytes.len()].copy_from_slice(bytes);
        }
        result.resize(length.min(whole), 0);
        result
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: new } => {
                let end = offset + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(new);
            }
            Self::Resize { length } => bytes.resize(*length, 0),
        }
    }
}

impl Image {
    /// An empty disk whose root folder has this number.
    #[must_use]
    pub fn new(root: u64) -> Self {
        let mut image = Self { root, ..Self::default() };
        image.folders.insert(root, Folder::default());
        image
    }

    /// A file that is durable with these bytes, or a folder, under a durable name.
    pub fn put(&mut self, folder: u64, name: &str, number: u64, bytes: Option<Vec<u8>>) {
        let parent = self.folders.entry(folder).or_default();
        parent.durable.insert(name.to_owned(), number);
        parent.shown.insert(name.to_owned(), number);
        match bytes {
            Some(durable) => drop(self.files.insert(number, File { durable, ..File::default() })),
            None => drop(self.folders.insert(number, Folder::default())),
        }
    }

    /// Numbers of all files and folders.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.files.keys().chain(self.folders.keys()).copied().collect()
    }

    /// Whether a change is one of this disk, or of what lies elsewhere.
    #[must_use]
    pub fn holds(&self, op: &Op<'_>) -> bool {
        let (file, folder) = (|number| self.files.contains_key(number), |number| self.folders.contains_key(number));
        match op {
            Op::Open { folder: number, .. } | Op::Folder { folder: number, .. } | Op::Unlink { folder: number, .. } => folder(number),
            Op::Write { file: number, .. } | Op::Resize { file: number, .. } => file(number),
            Op::Rename { from, to } | Op::Link { from, to } => folder(&from.0) && folder(&to.0),
            Op::Sync { file: number } => file(number) || folder(number),
            Op::SyncAll => true,
        }
    }

    /// A change of this disk that was done; of a write, the first `count` bytes. `number`: what was opened or made.
    pub fn apply(&mut self, op: &Op<'_>, number: u64, count: usize) {
        match op {
            Op::Open { folder, name, truncate } => match self.named(*folder, name) {
                None => self.make(*folder, name, number, false),
                Some(_) if *truncate => self.resize(number, 0),
                Some(_) => {}
            },
            Op::Folder { folder, name } => self.make(*folder, name, number, true),
            Op::Write { file, offset, bytes } => self.write(*file, *offset, bytes.get(..count).unwrap_or(bytes)),
            Op::Resize { file, length } => self.resize(*file, *length),
            Op::Rename { from, to } => {
                let moved = self.named(from.0, from.1);
                self.name(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), moved)]);
            }
            Op::Link { from, to } => {
                let linked = self.named(from.0, from.1);
                self.name(vec![(to.0, to.1.to_owned(), linked)]);
            }
            Op::Unlink { folder, name } => self.name(vec![(*folder, (*name).to_owned(), None)]),
            Op::Sync { file } => self.sync(*file),
            Op::SyncAll => self.sync_all(),
        }
    }

    /// The number under a name, as the system shows it.
    #[must_use]
    pub fn named(&self, folder: u64, name: &str) -> Option<u64> {
        self.folders.get(&folder)?.shown.get(name).copied()
    }

    /// Whether this is a file, and no folder.
    #[must_use]
    pub fn is_file(&self, number: u64) -> bool {
        self.files.contains_key(&number)
    }

    /// A path that leads to it, as the system shows it: for faults that are aimed.
    #[must_use]
    pub fn path_of(&self, number: u64) -> String {
        self.walk(&|folder| &folder.shown).into_iter().find(|(_, found)| *found == number).map_or_else(String::new, |(path, _)| path)
    }

    /// A new file or folder under a name.
    pub fn make(&mut self, folder: u64, name: &str, number: u64, is_folder: bool) {
        if is_folder {
            self.folders.insert(number, Folder::default());
        } else {
            self.files.insert(number, File::default());
        }
        self.name(vec![(folder, name.to_owned(), Some(number))]);
    }

    /// Bytes written.
    pub fn write(&mut self, file: u64, offset: u64, bytes: &[u8]) {
        self.files.get_mut(&file).expect("a file of this disk").write(offset, bytes);
    }

    /// Another length.
    pub fn resize(&mut self, file: u64, length: u64) {
        self.files.get_mut(&file).expect("a file of this disk").resize(length);
    }

    /// Names change together.
    pub fn name(&mut self, naming: Naming) {
        for (folder, name, number) in &naming {
            let shown = &mut self.folders.get_mut(folder).expect("a folder of this disk").shown;
            match number {
                Some(number) => drop(shown.insert(name.clone(), *number)),
                None => drop(shown.remove(name)),
            }
        }
        self.namings.push(naming);
    }

    /// A file's bytes, or a folder's names, are durable.
    pub fn sync(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            return file.sync();
        }
        // a rename from another folder is durable in both: it is one change; and no change of a name overtakes an earlier one
        let (mut done, mut open, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        for naming in std::mem::take(&mut self.namings).into_iter().rev() {
            if naming.iter().any(|part| part.0 == number || names.contains(&(part.0, part.1.clone()))) {
                names.extend(naming.iter().map(|part| (part.0, part.1.clone())));
                done.push(naming);
            } else {
                open.push(naming);
            }
        }
        self.namings = open.into_iter().rev().collect();
        self.keep(done.into_iter().rev().collect());
    }

    /// The sync of a file fails.
    pub fn fail_sync(&mut self, number: u64, random: &mut Random) {
        if let Some(file) = self.files.get_mut(&number) {
            file.fail_sync(random);
        }
    }

    /// Everything is durable.
    pub fn sync_all(&mut self) {
        self.files.values_mut().for_each(File::sync);
        let namings = std::mem::take(&mut self.namings);
        self.keep(namings);
    }

    fn keep(&mut self, namings: Vec<Naming>) {
        for (folder, name, number) in namings.into_iter().flatten() {
            let durable = &mut self.folders.get_mut(&folder).expect("a folder of this disk").durable;
            match number {
                Some(number) => drop(durable.insert(name, number)),
                None => drop(durable.remove(&name)),
            }
        }
    }

    /// What the system shows.
    #[must_use]
    pub fn shown(&self) -> Tree {
        self.tree(&|folder| &folder.shown, &mut |file| file.shown())
    }

    /// What a power cut leaves.
    #[must_use]
    pub fn cut(&self, cut: Cut, random: &mut Random) -> Tree {
        let mut after = self.clone();
        let survive = |random: &mut Random| match cut {
            Cut::Nothing => false,
            Cut::Everything => true,
            Cut::Any => random.one_in(2),
        };
        let kept = std::mem::take(&mut after.namings).into_iter().filter(|_| survive(random)).collect();
        after.keep(kept);
        after.tree(&|folder| &folder.durable, &mut |file| file.cut(cut, random))
    }

    fn tree(&self, names: &dyn Fn(&Folder) -> &BTreeMap<String, u64>, bytes: &mut dyn FnMut(&File) -> Vec<u8>) -> Tree {
        let walked = self.walk(names).into_iter();
        walked.map(|(path, number)| (path, self.files.get(&number).map(&mut *bytes))).collect()
    }

    fn walk(&self, names: &dyn Fn(&Folder) -> &BTreeMap<String, u64>) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), self.root)];
        while let Some((path, number)) = open.pop() {
            for (name, number) in self.folders.get(&number).map(names).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                found.push((path.clone(), *number));
                open.push((path, *number));
            }
        }
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(value: u8, count: usize) -> Vec<u8> {
        vec![value; count * SECTOR]
    }

    /// The states that cuts of this file leave.
    fn states(file: &File) -> Vec<Vec<u8>> {
        let mut random = Random::new(7);
        let mut found: Vec<Vec<u8>> = (0..2_000).map(|_| file.cut(Cut::Any, &mut random)).collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn sectors_and_length_reach_the_disk_in_any_order_until_a_sync() {
        let mut file = File { durable: pages(1, 2), ..File::default() };
        file.write(0, &pages(2, 2));
        assert_eq!(states(&file).len(), 4, "each of two sectors old or new");
        file.sync();
        assert_eq!(states(&file), [pages(2, 2)]);
        file.write(2 * SECTOR as u64, &pages(3, 1));
        let grown = states(&file);
        assert_eq!(grown.len(), 2, "not there, or there with its bytes");
        file.write(3 * SECTOR as u64, &pages(4, 1));
        let grown = states(&file);
        assert_eq!(grown.len(), 3, "no sector without the one before it");
        file.resize(SECTOR as u64);
        assert!(states(&file).contains(&pages(2, 1)) && states(&file).contains(&pages(2, 2)));
        file.sync();
        assert_eq!((states(&file), file.shown()), (vec![pages(2, 1)], pages(2, 1)));
    }

    #[test]
    fn a_failed_sync_forgets_and_a_later_one_brings_nothing_back() {
        let mut lost = 0;
        for seed in 0..64 {
            let mut file = File { durable: pages(1, 1), ..File::default() };
            file.write(0, &pages(2, 1));
            file.fail_sync(&mut Random::new(seed));
            assert_eq!(file.shown(), pages(2, 1), "the system goes on showing it");
            file.sync();
            let left = file.cut(Cut::Everything, &mut Random::new(seed));
            lost += usize::from(left == pages(1, 1));
            assert!(left == pages(1, 1) || left == pages(2, 1));
            // what is written again is on the disk again
            file.write(0, &[2]);
            file.sync();
            assert_eq!(file.cut(Cut::Nothing, &mut Random::new(seed)), pages(2, 1));
        }
        assert!(lost > 10, "{lost}");
    }

    #[test]
    fn a_name_and_its_file_are_made_durable_each_by_its_own_sync() {
        let mut random = Random::new(1);
        let mut image = Image::new(1);
        image.make(1, "tmp", 2, false);
        image.write(2, 0, b"bytes");
        image.sync(1);
        assert_eq!(image.cut(Cut::Nothing, &mut random), Tree::from([("tmp".into(), Some(vec![]))]), "the name alone");
        image.sync(2);
        image.name(vec![(1, "tmp".into(), None), (1, "final".into(), Some(2))]);
        let (old, new) = (Tree::from([("tmp".into(), Some(b"bytes".to_vec()))]), Tree::from([("final".into(), Some(b"bytes".to_vec()))]));
        let seen: std::collections::BTreeSet<_> = (0..50).map(|_| image.cut(Cut::Any, &mut random)).collect();
        assert_eq!(seen, std::collections::BTreeSet::from([old, new.clone()]), "a rename is there or not");
        image.sync(1);
        assert_eq!(image.cut(Cut::Nothing, &mut random), new);
        image.make(1, "folder", 3, true);
        image.make(3, "inner", 4, false);
        image.sync(3);
        assert_eq!(image.cut(Cut::Nothing, &mut random), new, "a folder without a name is nowhere");
    }
}
