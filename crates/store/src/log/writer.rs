//! Appending: group commit behind one write-ahead record and one durable barrier.
//!
//! in: leaves; out: their indexes, once they are durable.
//! **Invariant:** the order is intent, signature, barrier, acknowledgement, files, checkpoint file. A crash between any two of
//! them leaves a `wal` from which opening the log makes the same files.
//! **Invariant:** only what this log's key has signed is extended: no leaf that somebody wrote into the files gets a signature.
//! **Invariant:** after a failed barrier the handle takes nothing more: what is on the disk is unknown. Nor after a failed
//! signature: whether it was made is unknown.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::OFlags;
use seaworthy_core::digest::Digest;
use seaworthy_core::merkle::empty_root;
use seaworthy_core::merkle::tile::Tile;
use seaworthy_core::note::{Checkpoint, NoteSignature};
use seaworthy_core::ports::{EvidenceSource, Leaf, PortError, Recorder, Signer};

use super::LogError;
use super::disk::{FILE_BYTES_MAX, Files, Folder, io_error, prefix};
use super::edge::{Edge, partial};
use super::pending::{Bell, Pending};
use super::queue::{Batch, Outcome, Queue};
use super::reader::{LogReader, bundle_path};
use super::signing::{finish, own, sign, unsigned};
use super::wal::{Record, Scan, WAL, scan};
use crate::{barrier, disk};

/// Name of the checkpoint file.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Bytes of the `wal` beyond which all files are made durable and it starts anew: every opening reads it whole.
const WAL_BYTES_MAX: u64 = if cfg!(test) { 256 * 1024 } else { 1024 * 1024 };
/// From this many files on, one sync of the whole file system is cheaper than one a file.
const SINGLE_SYNCS_MAX: usize = 1_024;

/// A log open for appending. Its files follow a moment after each commit: see [`Log::settle`].
pub struct Log {
    shared: Arc<Shared>,
    /// Writes the files while others work; begins with the first commit.
    publisher: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    dir: PathBuf,
    origin: String,
    signer: Arc<dyn Signer>,
    folder: Arc<Folder>,
    queue: Mutex<Queue>,
    done: Condvar,
    state: Mutex<State>,
    /// The last snapshot taken, for as long as nothing was appended.
    view: Mutex<Option<Arc<LogReader>>>,
    flushing: AtomicBool,
    bell: Bell,
}

struct State {
    edge: Edge,
    checkpoint: String,
    wal: File,
    wal_bytes: u64,
    /// Files written since the last flush.
    dirty: BTreeSet<String>,
    /// Those of them that are durable already.
    synced: BTreeSet<String>,
    /// Files that are not written yet.
    pending: Pending,
    /// The files are behind the `wal`: they could not all be written.
    behind: bool,
    halted: Option<String>,
}

impl Log {
    /// Makes an empty log in `dir`, which may exist but holds no log yet, with a signed checkpoint of size 0.
    pub fn create(dir: &Path, origin: &str, signer: &dyn Signer) -> Result<(), LogError> {
        let shown = dir.to_string_lossy();
        disk::make_folders(dir).map_err(|error| io_error("create the folder", &shown, error))?;
        let folder = Folder::open(dir)?;
        let _lock = folder.lock()?;
        if folder.read(WAL)?.is_some() || folder.read(CHECKPOINT)?.is_some() {
            return Err(LogError::Exists { dir: shown.into_owned() });
        }
        let empty = Checkpoint { origin: origin.to_owned(), size: 0, root: empty_root(), extensions: Vec::new() };
        let checkpoint = sign(signer, &empty)?;
        // the wal first: with it a log can be opened, without it there is none, so that a beginning that died is begun again
        let base = Record { checkpoint: checkpoint.clone(), ..Record::default() }.encode()?;
        let file = folder.write_aside(&base)?;
        barrier::sync(&file).map_err(|error| io_error("sync", WAL, error))?;
        folder.rename_aside(WAL)?;
        // the folder's own name is in its parent
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        barrier::group(|group| {
            group.sync(folder.fd())?;
            File::open(parent).and_then(|parent| group.sync(&parent))
        })
        .map_err(|error| io_error("sync", WAL, error))?;
        folder.replace(CHECKPOINT, checkpoint.as_bytes())
    }

    /// Opens the log for appending and finishes what a crash left behind. The origin must be the one it was made with.
    pub fn open(dir: &Path, origin: &str, signer: Arc<dyn Signer>) -> Result<Self, LogError> {
        let folder = Arc::new(Folder::open(dir)?);
        let lock = folder.lock()?;
        let state = State::load(&folder, origin, &*signer)?;
        drop(lock);
        let shared = Shared {
            dir: dir.to_owned(),
            origin: origin.to_owned(),
            signer,
            folder,
            queue: Mutex::default(),
            done: Condvar::new(),
            state: Mutex::new(state),
            view: Mutex::default(),
            flushing: AtomicBool::new(false),
            bell: Bell::default(),
        };
        Ok(Self { shared: Arc::new(shared), publisher: Mutex::default() })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Folder {
        &self.shared.folder
    }

    /// A consistent view of the log as it is now, for proofs and verification.
    pub fn snapshot(&self) -> Result<Arc<LogReader>, LogError> {
        self.shared.snapshot()
    }

    /// The C2SP tlog-proof text of leaf `index`.
    pub fn prove(&self, index: u64) -> Result<String, LogError> {
        self.snapshot()?.prove(index)
    }

    /// Puts a checkpoint with further signatures (witnesses') in the place of the current one. Its text must be the same, and
    /// no key's signature may be missing; a witness' may be a newer one of the same key.
    pub fn publish(&self, note: &str) -> Result<(), LogError> {
        self.shared.publish(note)?;
        self.settle()
    }

    /// Makes every file durable and starts the `wal` anew. Not needed for durability of leaves.
    pub fn flush(&self) -> Result<(), LogError> {
        let shared = &*self.shared;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = shared.folder.lock()?;
        state.refresh(&shared.folder, &shared.origin, &*shared.signer)?;
        state.flush(&shared.folder)
    }

    /// [`Self::flush`], then done.
    pub fn close(self) -> Result<(), LogError> {
        self.flush()
    }

    /// Writes the files that are not written yet, for readers who do not know the `wal`. Dropping the log does the same.
    pub fn settle(&self) -> Result<(), LogError> {
        self.shared.settle()
    }

    /// Appends all leaves in one durable group commit, with those of other threads, and returns the index of each.
    pub fn append(&self, leaves: &[Leaf]) -> Outcome {
        let outcome = self.shared.append(leaves);
        self.wake_publisher();
        outcome
    }

    fn wake_publisher(&self) {
        if disk::is_of_one_thread() {
            return;
        }
        let mut publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        if publisher.is_none() {
            let (shared, disk) = (self.shared.clone(), disk::inherit());
            let thread = std::thread::Builder::new().name("log-files".to_owned());
            // without the thread the files are written when the log is settled or dropped
            *publisher = thread.spawn(move || disk.work(|| shared.publish_files())).ok();
        }
        self.shared.bell.ring();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.bell.end();
        let publisher = self.publisher.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // a thread that died left the files to whoever opens the log next, and so does a disk that takes no more
        _ = publisher.map(std::thread::JoinHandle::join);
        _ = self.shared.settle();
    }
}

impl Shared {
    fn snapshot(&self) -> Result<Arc<LogReader>, LogError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.behind || !state.is_newest(&self.folder)? {
            drop(state);
            return Ok(Arc::new(LogReader::open(&self.dir)?));
        }
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = view.as_ref().filter(|reader| reader.note() == state.checkpoint) {
            return Ok(reader.clone());
        }
        // what this handle committed last, and nobody after it: neither `wal` nor checkpoint file need be read
        let reader = Arc::new(LogReader::at(&self.folder, &state.checkpoint, &state.pending)?);
        *view = Some(reader.clone());
        Ok(reader)
    }

    fn settle(&self) -> Result<(), LogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.is_empty() {
            return Ok(());
        }
        let _lock = self.folder.lock()?;
        state.refresh(&self.folder, &self.origin, &*self.signer)?;
        state.write_pending(&self.folder)
    }

    /// The thread's work: one file at a time, so that nobody who commits waits for more than one.
    fn publish_files(&self) {
        while self.bell.wait() {
            while !self.bell.is_over() && self.publish_file().unwrap_or(false) {}
            _ = self.flush_if_long(WAL_BYTES_MAX);
        }
    }

    fn publish_file(&self) -> Result<bool, LogError> {
        #[cfg(test)]
        if self.folder.fault.after.load(Ordering::SeqCst) != 0 {
            return Ok(false); // injected faults are counted: only the test's own writes may meet them
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.is_empty() {
            return Ok(false);
        }
        let _lock = self.folder.lock()?;
        state.refresh(&self.folder, &self.origin, &*self.signer)?;
        let written = state.pending.write_one(&self.folder);
        state.behind |= written.is_err();
        written
    }

    fn publish(&self, note: &str) -> Result<(), LogError> {
        let (checkpoint, parsed) = Checkpoint::parse(note.as_bytes())?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.folder.lock()?;
        state.refresh(&self.folder, &self.origin, &*self.signer)?;
        let (current, signed) = Checkpoint::parse(state.checkpoint.as_bytes())?;
        let renewed = |old: &NoteSignature| {
            old.name != self.origin && parsed.signatures.iter().any(|new| new.name == old.name && new.key_id == old.key_id)
        };
        let kept = signed.signatures.iter().all(|signature| parsed.signatures.contains(signature) || renewed(signature));
        if current != checkpoint || !kept {
            return Err(LogError::Signer { cause: "the note is not the current checkpoint with more signatures".into() });
        }
        let record = Record { before: current.size, checkpoint: note.to_owned(), ..Record::default() };
        state.append(&self.folder, &self.origin, &record)
    }

    fn append(&self, leaves: &[Leaf]) -> Outcome {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        let batch = Batch::encode(leaves)?;
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, batch));
        loop {
            if let Some(outcome) = queue.finished.remove(&ticket) {
                return outcome;
            }
            if queue.leading {
                queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.leading = true;
            let (tickets, batches): (Vec<_>, Vec<_>) = queue.take_group().into_iter().unzip();
            drop(queue);
            let outcomes = self.commit(batches);
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.leading = false;
            queue.finished.extend(tickets.into_iter().zip(outcomes));
            self.done.notify_all();
            drop(queue);
            // the thread does it in time, unless there is none; a flush that fails halts the handle, and the leaves are safe
            _ = self.flush_if_long(4 * WAL_BYTES_MAX);
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts the `wal` anew if it is long. Most files are synced before the lock is taken: apart from the checkpoint no
    /// file ever changes once it has its name.
    fn flush_if_long(&self, bytes_max: u64) -> Result<(), LogError> {
        let (early, size) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.wal_bytes <= bytes_max || state.behind || self.flushing.swap(true, Ordering::SeqCst) {
                return Ok(());
            }
            // what is not written cannot be synced; nothing is lost by waiting, since the wal goes on holding it
            let written = self.folder.lock().and_then(|_lock| {
                state.refresh(&self.folder, &self.origin, &*self.signer)?;
                state.write_pending(&self.folder)
            });
            if let Err(error) = written {
                self.flushing.store(false, Ordering::SeqCst);
                return Err(error);
            }
            // partial tiles may be gone by then, if another handle flushes; full ones and bundles stay
            let stays = |path: &&String| *path != CHECKPOINT && Tile::parse(path).is_none_or(|tile| tile.is_full());
            let early = state.dirty.iter().filter(stays).cloned().collect::<BTreeSet<_>>();
            (early, state.edge.size())
        };
        let synced = barrier::group(|group| sync_all(&self.folder, group, &early, size));
        let done = synced.and_then(|()| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let _lock = self.folder.lock()?;
            state.refresh(&self.folder, &self.origin, &*self.signer)?;
            state.synced = early;
            let flushed = state.flush(&self.folder);
            state.synced.clear();
            flushed
        });
        self.flushing.store(false, Ordering::SeqCst);
        if let Err(error) = &done {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.halted.get_or_insert_with(|| error.to_string());
        }
        done
    }

    fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome> {
        let count = batches.len();
        self.try_commit(batches).unwrap_or_else(|error| vec![Err(error); count])
    }

    fn try_commit(&self, batches: Vec<Batch>) -> Result<Vec<Outcome>, LogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.folder.lock()?;
        state.refresh(&self.folder, &self.origin, &*self.signer)?;
        let mut record = Record { before: state.edge.size(), ..Record::default() };
        let outcomes: Vec<Outcome> = batches.into_iter().map(|batch| batch.join(&mut record, &state.pending, &self.folder)).collect();
        if record.entries.is_empty() {
            return Ok(outcomes);
        }
        state.commit(&self.folder, &self.origin, &*self.signer, record)?;
        Ok(outcomes)
    }
}

/// Files to be written, in order; the checkpoint is the last.
pub(super) type Writes = Vec<(String, Vec<u8>)>;

/// Applies records to `edge` and gives the files that this fills or changes; of partial tiles those of the last checkpoint.
pub(super) fn apply(edge: &mut Edge, records: &[Record], origin: &str) -> Result<Writes, LogError> {
    apply_with(edge, records, origin, false)
}

/// The same; with `all_partials`, also those of every checkpoint in between whose tile is still not full.
fn apply_with(edge: &mut Edge, records: &[Record], origin: &str, all_partials: bool) -> Result<Writes, LogError> {
    let mut full = Vec::new();
    let mut writes = Writes::new();
    let mut sizes = BTreeSet::new();
    let first = edge.size();
    let mut checked = None;
    for record in records {
        let start = edge.size();
        if record.before != start {
            let reason = format!("a record starts at leaf {}, expected {start}", record.before);
            return Err(LogError::corrupt(WAL, reason));
        }
        if record.entries.is_empty() && record.bundles.is_empty() && checked == Some(&record.checkpoint) {
            // it only says that the one before is durable
            continue;
        }
        for entry in &record.entries {
            edge.push(entry, &mut full)?;
        }
        checked = Some(&record.checkpoint);
        let (checkpoint, _) = Checkpoint::parse(record.checkpoint.as_bytes())?;
        if checkpoint.origin != origin {
            return Err(LogError::Origin { expected: origin.to_owned(), found: checkpoint.origin });
        }
        if (checkpoint.size, checkpoint.root) != (edge.size(), edge.root()) {
            return Err(LogError::corrupt(WAL, format!("the checkpoint of size {} does not fit its leaves", edge.size())));
        }
        writes.extend(record.bundles.iter().map(|(pae, bundle)| (bundle_path(pae), bundle.clone())));
        if !record.entries.is_empty() {
            sizes.insert(edge.size());
        }
    }
    writes.extend(full.into_iter().map(|(tile, bytes)| (tile.path(), bytes)));
    for (wide, bytes) in edge.partials() {
        let wanted = sizes.iter().copied().filter(|size| all_partials || *size == edge.size());
        let unchanged = partial(wide.level, first);
        let tiles: BTreeSet<Tile> = wanted
            .filter_map(|size| partial(wide.level, size))
            .filter(|tile| tile.index == wide.index && Some(*tile) != unchanged)
            .collect();
        for tile in tiles {
            writes.push((tile.path(), prefix(&bytes, wide, tile)?));
        }
    }
    if let Some(last) = records.last() {
        writes.push((CHECKPOINT.to_owned(), last.checkpoint.clone().into_bytes()));
    }
    Ok(writes)
}

/// How the checkpoint file stands to the records: `Ok(true)` if it is the last one's.
pub(super) fn checkpoint_is_last(scan: &Scan, on_disk: Option<&[u8]>) -> Result<bool, LogError> {
    let Some(on_disk) = on_disk.filter(|bytes| !bytes.is_empty()) else { return Ok(false) };
    match scan.records.iter().rposition(|record| record.checkpoint.as_bytes() == on_disk) {
        Some(position) => Ok(position + 1 == scan.records.len()),
        None if scan.torn => Err(LogError::corrupt(WAL, "a record that was acknowledged is damaged")),
        None => Err(LogError::corrupt(CHECKPOINT, "it is none of those that the wal holds")),
    }
}

/// The base's own checkpoint is an older one than what follows it.
fn without_old_checkpoint(writes: &mut Writes) {
    let last = writes.iter().rposition(|(path, _)| path == CHECKPOINT);
    let mut position = 0;
    writes.retain(|(path, _)| {
        position += 1;
        path != CHECKPOINT || Some(position - 1) == last
    });
}

/// The bytes of an intent that stands behind `start` bytes.
fn bytes_of_intent(wal: &[u8], start: u64, length: usize) -> &[u8] {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    wal.get(start..start.saturating_add(length)).unwrap_or_default()
}

fn are_there(folder: &Folder, writes: &Writes) -> Result<bool, LogError> {
    for (path, bytes) in writes {
        if folder.read(path)?.as_ref() != Some(bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes those that are not there as they should be.
fn write_missing(folder: &Folder, writes: &Writes) -> Result<(), LogError> {
    for (path, bytes) in writes {
        if folder.read(path)?.as_ref() != Some(bytes) {
            folder.replace(path, bytes)?;
        }
    }
    Ok(())
}

impl State {
    /// Reads the state from the files up to the base and from the `wal` beyond it, and writes the files that are missing.
    fn load(folder: &Arc<Folder>, origin: &str, signer: &dyn Signer) -> Result<Self, LogError> {
        let opened = folder.open_file(WAL, OFlags::RDWR | OFlags::APPEND);
        let wal = opened.map_err(|error| io_error("open", WAL, error))?;
        let bytes_read = folder.read(WAL)?.unwrap_or_default();
        let mut scan = scan(&bytes_read)?;
        let intent = scan.intent.take();
        let Some((base, rest)) = scan.records.split_first() else {
            return Err(LogError::corrupt(WAL, "it does not start with an intact record"));
        };
        if !checkpoint_is_last(&scan, folder.read(CHECKPOINT)?.as_deref())? {
            // whoever wrote the last record may have died before its barrier: no checkpoint is published that a power cut
            // could take back
            folder.sync_wal(&wal)?;
        }
        let mut edge = Edge::load(&Files::on_disk(folder.clone()), base.before)?;
        let mut writes = apply(&mut edge, std::slice::from_ref(base), origin)?;
        let mut before = edge.clone();
        writes.extend(apply(&mut edge, rest, origin)?);
        without_old_checkpoint(&mut writes);
        let complete = are_there(folder, &writes)?;
        if !complete {
            // nobody knows which checkpoints had been published when the files were lost: each of them gets its partial tiles again
            writes.extend(apply_with(&mut before, rest, origin, true)?);
            without_old_checkpoint(&mut writes);
        }
        let last = scan.records.last().unwrap_or(base);
        own(signer, &last.checkpoint)?;
        let finished = match intent {
            Some(intent) => {
                let bytes = intent.bytes;
                finish(signer, origin, &edge, intent)?.map(|record| (record, bytes))
            }
            None => None,
        };
        let mut state = Self {
            edge,
            checkpoint: last.checkpoint.clone(),
            wal,
            wal_bytes: u64::try_from(scan.intact).unwrap_or(u64::MAX),
            dirty: BTreeSet::new(),
            synced: BTreeSet::new(),
            pending: Pending::default(),
            behind: false,
            halted: None,
        };
        if scan.torn {
            let intact = state.wal_bytes + finished.as_ref().map_or(0, |(_, bytes)| u64::try_from(*bytes).unwrap_or(u64::MAX));
            disk::ftruncate(&state.wal, intact).map_err(|error| io_error("cut the torn end of", WAL, error))?;
        }
        if rest.is_empty() {
            // nothing was committed behind this base: whoever gave it its name may have died before the name was durable
            folder.keep_names()?;
        }
        let confirmed = scan.is_confirmed() && finished.is_none();
        let complete = complete && finished.is_none();
        if let Some((record, bytes)) = finished {
            // its barrier may have failed: what the disk has forgotten of it, only another write brings there
            folder.write_again(WAL, state.wal_bytes, bytes_of_intent(&bytes_read, state.wal_bytes, bytes))?;
            let signature = record.encode_signature()?;
            folder.write_all(&state.wal, &signature).map_err(|error| io_error("append to", WAL, error))?;
            folder.sync_wal(&state.wal)?;
            writes.extend(apply(&mut state.edge, std::slice::from_ref(&record), origin)?);
            without_old_checkpoint(&mut writes);
            state.wal_bytes += u64::try_from(bytes + signature.len()).unwrap_or(u64::MAX);
            state.checkpoint = record.checkpoint;
        }
        if !confirmed {
            state.confirm(folder)?;
        }
        if !complete {
            write_missing(folder, &writes)?;
        }
        write_missing(folder, &state.edge.torn_beginnings(folder)?)?;
        state.dirty.extend(writes.into_iter().map(|(path, _)| path));
        Ok(state)
    }

    /// Takes in what other handles did since, and finishes what could not be written before. The lock is held.
    fn refresh(&mut self, folder: &Arc<Folder>, origin: &str, signer: &dyn Signer) -> Result<(), LogError> {
        if let Some(cause) = &self.halted {
            return Err(LogError::Halted { cause: cause.clone() });
        }
        let length = self.wal.metadata().map_err(|error| io_error("look at", WAL, error))?.len();
        if self.behind || length < self.wal_bytes || !folder.is_same(WAL, &self.wal)? {
            *self = Self::load(folder, origin, signer)?;
            return Ok(());
        }
        if length == self.wal_bytes {
            return Ok(());
        }
        let bytes = folder.read(WAL)?.unwrap_or_default();
        let tail = usize::try_from(self.wal_bytes).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
        let scan = scan(tail)?;
        let written = !scan.torn && checkpoint_is_last(&scan, folder.read(CHECKPOINT)?.as_deref()).unwrap_or(false);
        if !written {
            *self = Self::load(folder, origin, signer)?;
            return Ok(());
        }
        if let Some(last) = scan.records.last() {
            own(signer, &last.checkpoint)?;
        }
        let writes = apply(&mut self.edge, &scan.records, origin)?;
        self.dirty.extend(writes.into_iter().map(|(path, _)| path));
        // theirs could only be written after ours
        self.pending = Pending::default();
        self.wal_bytes = length;
        if let Some(last) = scan.records.last() {
            self.checkpoint.clone_from(&last.checkpoint);
        }
        Ok(())
    }

    /// One durable commit: intent, signature, barrier. An error means: not acknowledged. The lock is held and the state is
    /// fresh; the checkpoint of `record` is made here.
    fn commit(&mut self, folder: &Arc<Folder>, origin: &str, signer: &dyn Signer, mut record: Record) -> Result<(), LogError> {
        let mut edge = self.edge.clone();
        for entry in &record.entries {
            edge.push(entry, &mut Vec::new())?;
        }
        let wanted = unsigned(origin, &edge);
        record.checkpoint = wanted.to_text();
        let intended = self.write(folder, self.wal_bytes, &record.encode_intent()?)?;
        record.checkpoint = sign(signer, &wanted).inspect_err(|error| self.halted = Some(error.to_string()))?;
        // from here on the intent stays: what is signed is finished, by whoever opens the log next
        let written = record.encode_signature().and_then(|bytes| self.write(folder, intended, &bytes));
        let grown = written.inspect_err(|error| self.halted = Some(error.to_string()))?;
        self.make_durable(folder, origin, &record, (intended, grown))
    }

    /// Signatures for the present checkpoint, as [`Self::commit`].
    fn append(&mut self, folder: &Arc<Folder>, origin: &str, record: &Record) -> Result<(), LogError> {
        let start = self.wal_bytes;
        let grown = self.write(folder, start, &record.encode()?)?;
        self.make_durable(folder, origin, record, (start, grown))
    }

    /// Writes at the end of the `wal`, which is at `start`, and gives the new end; leaves nothing behind if it fails.
    fn write(&mut self, folder: &Folder, start: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let grown = start.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if grown > FILE_BYTES_MAX {
            return Err(LogError::Leaf { reason: "a commit over 1 GiB".to_owned() });
        }
        if let Err(error) = folder.write_all(&self.wal, bytes) {
            let error = io_error("append to", WAL, error);
            if disk::ftruncate(&self.wal, start).is_err() {
                self.halted = Some(error.to_string());
            }
            return Err(error);
        }
        Ok(grown)
    }

    /// The barrier behind a record that is written. If it fails, the `wal` ends before its signature.
    fn make_durable(&mut self, folder: &Arc<Folder>, origin: &str, record: &Record, ends: (u64, u64)) -> Result<(), LogError> {
        let (unsigned_end, end) = ends;
        let mut edge = self.edge.clone();
        let writes = apply(&mut edge, std::slice::from_ref(record), origin).inspect_err(|error| {
            self.halted = Some(error.to_string());
        })?;
        if let Err(error) = folder.sync_wal(&self.wal) {
            self.halted = Some(error.to_string());
            // so that nobody takes the record for durable; if this fails too, it is in the log without acknowledgement
            _ = disk::ftruncate(&self.wal, unsigned_end);
            return Err(error);
        }
        self.edge = edge;
        self.checkpoint.clone_from(&record.checkpoint);
        self.wal_bytes = end;
        self.confirm(folder)?;
        // acknowledged from here on: what fails now is made good from the wal
        self.dirty.extend(writes.iter().map(|(path, _)| path.clone()));
        self.pending.add(writes, self.edge.size());
        if self.pending.is_too_much() {
            _ = self.write_pending(folder);
        }
        Ok(())
    }

    /// Says in the `wal`, without a barrier, that the record before is durable: readers take it even while the next is written.
    fn confirm(&mut self, folder: &Folder) -> Result<(), LogError> {
        let bytes = Record { before: self.edge.size(), checkpoint: self.checkpoint.clone(), ..Record::default() }.encode()?;
        match folder.write_all(&self.wal, &bytes) {
            Ok(()) => self.wal_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            // without it the record stands as well, but nothing may follow a torn one
            Err(error) if disk::ftruncate(&self.wal, self.wal_bytes).is_err() => self.halted = Some(error.to_string()),
            Err(_) => {}
        }
        Ok(())
    }

    fn write_pending(&mut self, folder: &Folder) -> Result<(), LogError> {
        let written = self.pending.write_all(folder);
        self.behind |= written.is_err();
        written
    }

    /// Nobody has committed since this handle did, or looked.
    fn is_newest(&self, folder: &Folder) -> Result<bool, LogError> {
        let length = self.wal.metadata().map_err(|error| io_error("look at", WAL, error))?.len();
        Ok(length == self.wal_bytes && folder.is_same(WAL, &self.wal)?)
    }

    /// Syncs every file written since the last flush, then starts the `wal` with a new base.
    fn flush(&mut self, folder: &Arc<Folder>) -> Result<(), LogError> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let flushed = self.write_pending(folder).and_then(|()| self.flush_files(folder));
        if let Err(error) = &flushed {
            self.halted = Some(error.to_string());
        }
        flushed
    }

    fn flush_files(&mut self, folder: &Arc<Folder>) -> Result<(), LogError> {
        let base = Record { before: self.edge.size(), checkpoint: self.checkpoint.clone(), ..Record::default() };
        let bytes = base.encode()?;
        let late = self.dirty.difference(&std::mem::take(&mut self.synced)).cloned().collect();
        barrier::group(|group| {
            sync_all(folder, group, &late, self.edge.size())?;
            let file = folder.write_aside(&bytes)?;
            let failed = |error| io_error("sync", WAL, error);
            group.sync(&file).map_err(failed)?;
            folder.rename_aside(WAL)?;
            group.sync(folder.fd()).map_err(failed)
        })?;
        let opened = folder.open_file(WAL, OFlags::RDWR | OFlags::APPEND);
        self.wal = opened.map_err(|error| io_error("open", WAL, error))?;
        self.wal_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        for tile in std::mem::take(&mut self.dirty).iter().filter_map(|path| Tile::parse(path)) {
            if tile.is_full() {
                folder.remove_partials(tile);
            }
        }
        Ok(())
    }
}

/// Makes files durable, with the folders that name them. Narrower partial tiles are left out: they are the beginnings of
/// wider ones, and no reader that has the newest checkpoint needs them.
fn sync_all(folder: &Folder, group: &barrier::Group, paths: &BTreeSet<String>, size: u64) -> Result<(), LogError> {
    let newest =
        |path: &&String| Tile::parse(path).is_none_or(|tile| tile.is_full() || Tile::in_tree(tile.level, tile.index, size) == Some(tile));
    let paths: Vec<&str> = paths.iter().filter(newest).map(String::as_str).collect();
    #[cfg(target_os = "linux")]
    if paths.len() > SINGLE_SYNCS_MAX {
        return group.sync_file_system(folder.fd()).map_err(|error| io_error("sync", ".", error));
    }
    let failed = |path: &str, error: &dyn std::fmt::Display| io_error("sync", path, error);
    let open = |path: &str| folder.open_file(path, OFlags::RDONLY).map_err(|error| failed(path, &error));
    let parents = paths.iter().flat_map(|path| path.match_indices('/').filter_map(|(at, _)| path.get(..at)));
    let folders: BTreeSet<&str> = parents.chain(["."]).collect();
    #[cfg(target_os = "linux")]
    for path in &paths {
        // starts the writing of all files, so that the first sync commits what the others would wait for one by one
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(open(path)?, 0, None, advice).map_err(|error| failed(path, &error))?;
    }
    for path in &paths {
        group.sync(&open(path)?).map_err(|error| {
            // the disk may have forgotten what is still shown: it goes, and is made again from the wal
            folder.remove(path);
            failed(path, &error)
        })?;
    }
    for path in folders {
        group.sync(&open(path)?).map_err(|error| failed(path, &error))?;
    }
    Ok(())
}

impl Recorder for Log {
    fn record(&self, leaves: &[Leaf]) -> Result<Vec<u64>, PortError> {
        Ok(self.append(leaves)?)
    }
}

/// Each call answers for the log as it is then; take a [`Log::snapshot`] where several answers must fit together.
impl EvidenceSource for Log {
    fn size(&self) -> Result<u64, PortError> {
        self.snapshot()?.size()
    }
    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError> {
        self.snapshot()?.entry(index)
    }
    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError> {
        self.snapshot()?.bundle(pae)
    }
    fn checkpoint(&self) -> Result<String, PortError> {
        self.snapshot()?.checkpoint()
    }
    fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, PortError> {
        self.snapshot()?.inclusion_proof(index)
    }
    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError> {
        self.snapshot()?.bundle_digests()
    }
}
