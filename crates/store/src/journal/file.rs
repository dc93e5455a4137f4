//! The journal's file: locked for each append, its tail read again when another process wrote.
//!
//! in: records; out: bytes after the last good record, and records read back.
//! **Invariant:** bytes are only ever added after the last good record; only an incomplete last one is cut off.
//! **Invariant:** nothing is added but to the file that has the journal's name while its lock is held: one that another process
//! has begun anew meanwhile (see `renew`) is let go, and the new one read from its start.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, statat};
use rustix::io::Errno;
use seaworthy_core::digest::Digest;

use super::fence::{Fence, Pending};
use super::record::{Decoded, Record, decode, encode};
use super::{JournalError, RECORD_BYTES_MAX};
use crate::barrier;
use crate::disk::{self, ftruncate, mkdirat, openat};
use crate::folders::{self, lock};

pub(super) const FILE_NAME: &str = "journal";
const TITLE: &[u8] = b"seaworthy journal 1\n";
/// Bytes of one journal at most: more is not read into memory.
const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// How often in a row the file may be replaced while its lock is waited for.
const REPLACED_MAX: usize = 1_000;

/// What is known of the file up to the last good record.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) offset: u64,
    seq: u64,
    chain: Digest,
    fence: Fence,
}

/// Records as they will stand after a [`Tail`], not written yet.
pub(super) struct Prepared {
    pub(super) bytes: Vec<u8>,
    seq: u64,
    chain: Digest,
    pending: Pending,
}

impl Tail {
    /// After the title.
    pub(super) fn start() -> Self {
        Self { offset: TITLE.len() as u64, seq: 0, chain: Digest::of(TITLE), fence: Fence::default() }
    }

    pub(super) fn prepare(&self, records: &[Record]) -> Result<Prepared, JournalError> {
        let mut pending = Pending::default();
        let (mut seq, mut chain) = (self.seq, self.chain);
        let mut bytes = Vec::with_capacity(records.len() * 512);
        for record in records {
            self.fence.check(record, &mut pending)?;
            let record = Record { seq, ..record.clone() };
            let refuse = |reason| JournalError::Record { run: record.run.to_string(), reason };
            chain = encode(&record, &chain, &mut bytes).map_err(refuse)?;
            seq += 1;
        }
        Ok(Prepared { bytes, seq, chain, pending })
    }
}

#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) tail: Tail,
    writable: bool,
    /// Whether the file's name is known to survive a power cut; whoever gave it that name may have died before it was.
    pub(super) named: bool,
    /// What was read at opening, for the first who asks, and how far that went.
    pub(super) opened: Option<(Vec<Record>, u64)>,
}

impl JournalFile {
    pub(super) fn open(dir: &Path) -> Result<Self, JournalError> {
        match mkdirat(CWD, dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fault("create", dir)(errno)),
        }
        keep_name(dir)?;
        let path = dir.join(FILE_NAME);
        let file = open_file(&path, OFlags::RDWR | OFlags::CREATE)?;
        let mut journal = Self::new(path, file, true);
        let mut records = Vec::new();
        journal.locked(|journal| {
            journal.title(dir)?;
            journal.catch_up(&mut |record| records.push(record))
        })?;
        journal.opened = Some((records, journal.tail.offset));
        Ok(journal)
    }

    pub(super) fn open_read_only(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE_NAME);
        let file = open_file(&path, OFlags::RDONLY)?;
        Ok(Self::new(path, file, false))
    }

    /// Nothing of it is read yet.
    pub(super) fn new(path: PathBuf, file: File, writable: bool) -> Self {
        Self { path, file, tail: Tail::start(), writable, named: false, opened: None }
    }

    pub(super) fn append(&mut self, records: &[Record], wait: bool) -> Result<u64, JournalError> {
        self.must_be_writable()?;
        self.locked(|journal| {
            journal.catch_up(&mut |_| {})?;
            let prepared = journal.tail.prepare(records)?;
            journal.write(prepared, wait)
        })
    }

    pub(super) fn must_be_writable(&self) -> Result<(), JournalError> {
        if self.writable { Ok(()) } else { Err(JournalError::ReadOnly { path: self.path.clone() }) }
    }

    /// All records. Those that opening has just read and verified are not read again, unless something was appended since.
    pub(super) fn records(&mut self) -> Result<Vec<Record>, JournalError> {
        match self.opened.take() {
            Some((records, offset)) if self.has_the_name()? && self.length()? == offset => Ok(records),
            _ => self.load(),
        }
    }

    /// Reads everything from the start; another process may be appending, so under the lock.
    pub(super) fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        if self.writable {
            return self.locked(Self::load_locked);
        }
        if !self.has_the_name()? {
            self.reopen()?;
        }
        self.load_locked()
    }

    /// The same for who has the lock.
    pub(super) fn load_locked(&mut self) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        let before = std::mem::replace(&mut self.tail, Tail::start());
        let done = self.catch_up(&mut |record| records.push(record));
        if done.is_err() {
            self.tail = before;
        }
        done.map(|()| records)
    }

    /// Writes the title of a new file; one that was torn is completed.
    fn title(&mut self, dir: &Path) -> Result<(), JournalError> {
        if self.length()? >= TITLE.len() as u64 {
            return Ok(());
        }
        let mut begun = Vec::new();
        self.read_from(0, &mut begun)?;
        if !TITLE.starts_with(&begun) {
            return Err(self.damaged(0, "it does not begin like a journal"));
        }
        self.write_title()?;
        let folder = File::open(dir).map_err(io_fault("open", dir))?;
        barrier::sync_each(&[&self.file, &folder]).map_err(io_fault("sync", &self.path))?;
        self.named = true;
        Ok(())
    }

    pub(super) fn write_title(&mut self) -> Result<(), JournalError> {
        self.write_at(0, TITLE)
    }

    /// Reads what was appended since, by us or by others; cuts off an incomplete last record.
    pub(super) fn catch_up(&mut self, sink: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        let length = self.length()?;
        // of a journal without records the title is looked at each time
        if length == self.tail.offset && self.tail.seq > 0 {
            return Ok(());
        }
        if length < self.tail.offset {
            return Err(self.damaged(length, "it is shorter than it was"));
        }
        if length > JOURNAL_BYTES_MAX {
            return Err(self.damaged(JOURNAL_BYTES_MAX, "it is longer than a journal may be"));
        }
        let mut bytes = Vec::new();
        let start = if self.tail.seq == 0 { 0 } else { self.tail.offset };
        self.read_from(start, &mut bytes)?;
        let mut rest = bytes.as_slice();
        if start == 0 {
            rest = rest.strip_prefix(TITLE).ok_or_else(|| self.damaged(0, "it does not begin like a journal"))?;
        }
        while !rest.is_empty() {
            match decode(rest, &self.tail.chain) {
                Decoded::Whole(record, size, chain) => {
                    self.take(&record, size, chain)?;
                    sink(*record);
                    rest = rest.get(size..).unwrap_or_default();
                }
                Decoded::Torn => return self.cut(),
                // a file system may have made the file longer before the bytes came: nothing but zeros follows
                Decoded::Damaged(_) if rest.iter().all(|byte| *byte == 0) => return self.cut(),
                Decoded::Damaged(reason) => return Err(self.damaged(self.tail.offset, &reason)),
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record, size: usize, chain: Digest) -> Result<(), JournalError> {
        if record.seq != self.tail.seq {
            return Err(self.damaged(self.tail.offset, "a record has the number of another"));
        }
        self.tail.fence.admit(record).map_err(|fault| self.damaged(self.tail.offset, &fault.to_string()))?;
        self.tail.offset += size as u64;
        self.tail.seq += 1;
        self.tail.chain = chain;
        Ok(())
    }

    fn cut(&self) -> Result<(), JournalError> {
        if !self.writable {
            return Ok(());
        }
        self.shorten().map_err(io_fault("cut the torn end of", &self.path))
    }

    /// Writes all good records once more, where they stand.
    fn write_again(&mut self) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        self.read_from(0, &mut bytes)?;
        let good = usize::try_from(self.tail.offset).ok().and_then(|end| bytes.get(..end)).unwrap_or_default();
        self.write_at(0, good)
    }

    /// Back to the last good record, durably: what is appended next without waiting must not mix with what stood here.
    fn shorten(&self) -> std::io::Result<()> {
        ftruncate(&self.file, self.tail.offset)?;
        barrier::sync(&self.file)
    }

    pub(super) fn write(&mut self, prepared: Prepared, wait: bool) -> Result<u64, JournalError> {
        let written = self.write_at(self.tail.offset, &prepared.bytes);
        let durable = written.and_then(|()| if wait { self.sync() } else { Ok(()) });
        if let Err(fault) = durable {
            // what cannot be cut off now is a torn end that the next append cuts off, or whole records that were never acknowledged
            _ = self.shorten();
            // a failed barrier may have cost records before it, which were not waited for: no later one would take them to the disk
            _ = self.write_again();
            return Err(fault);
        }
        self.tail.fence.settle(prepared.pending);
        (self.tail.seq, self.tail.chain) = (prepared.seq, prepared.chain);
        self.tail.offset += prepared.bytes.len() as u64;
        Ok(self.tail.seq)
    }

    /// The first time also the file's name: without it, its records would not be found after a power cut.
    fn sync(&mut self) -> Result<(), JournalError> {
        if self.named {
            return barrier::sync(&self.file).map_err(io_fault("sync", &self.path));
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let folder = File::open(dir).map_err(io_fault("open", dir))?;
        barrier::sync_each(&[&self.file, &folder]).map_err(io_fault("sync", &self.path))?;
        self.named = true;
        Ok(())
    }

    pub(super) fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let done = self.lock().and_then(|()| work(self));
        flock(&self.file, FlockOperation::Unlock).map_err(fault("unlock", &self.path))?;
        done
    }

    /// Waits for the lock on the file that has the journal's name. The lock is the file's, not the name's: who waited for the
    /// lock of a file that was replaced meanwhile waits again, for that of the new one.
    fn lock(&mut self) -> Result<(), JournalError> {
        for _ in 0..REPLACED_MAX {
            lock(&self.file, FlockOperation::LockExclusive).map_err(fault("lock", &self.path))?;
            if self.has_the_name()? {
                return Ok(());
            }
            self.reopen()?;
        }
        Err(fault("lock", &self.path)(Errno::BUSY))
    }

    /// Whether the journal's path names the very file that is open.
    fn has_the_name(&self) -> Result<bool, JournalError> {
        let named = statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW).map_err(fault("examine", &self.path))?;
        let open = fstat(&self.file).map_err(fault("examine", &self.path))?;
        Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino))
    }

    /// Turns to the file that has the journal's name now, of which nothing is known.
    fn reopen(&mut self) -> Result<(), JournalError> {
        let file = open_file(&self.path, if self.writable { OFlags::RDWR } else { OFlags::RDONLY })?;
        *self = Self::new(std::mem::take(&mut self.path), file, self.writable);
        Ok(())
    }

    pub(super) fn length(&self) -> Result<u64, JournalError> {
        let stat = fstat(&self.file).map_err(fault("examine", &self.path))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn read_from(&mut self, offset: u64, bytes: &mut Vec<u8>) -> Result<(), JournalError> {
        let path = &self.path;
        self.file.seek(SeekFrom::Start(offset)).map_err(io_fault("seek in", path))?;
        (&self.file).take(JOURNAL_BYTES_MAX).read_to_end(bytes).map_err(io_fault("read", path))?;
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let path = &self.path;
        self.file.seek(SeekFrom::Start(offset)).map_err(io_fault("seek in", path))?;
        disk::write_all(&self.file, bytes).map_err(io_fault("write", path))
    }

    fn damaged(&self, offset: u64, reason: &str) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), offset, reason: reason.to_owned() }
    }
}

/// The folder's own name is durable before anything is in it.
fn keep_name(dir: &Path) -> Result<(), JournalError> {
    let kept = folders::folder(dir).and_then(|folder| folders::keep_name(&folder, dir));
    kept.map_err(|error| JournalError::Io { what: "make durable", path: dir.to_path_buf(), source: std::io::Error::other(error) })
}

fn open_file(path: &Path, flags: OFlags) -> Result<File, JournalError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(fault("open", path))
}

pub(super) fn fault(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> JournalError {
    move |errno| JournalError::Io { what, path: path.to_path_buf(), source: errno.into() }
}

pub(super) fn io_fault(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    move |source| JournalError::Io { what, path: path.to_path_buf(), source }
}

const _: () = assert!((RECORD_BYTES_MAX as u64) < JOURNAL_BYTES_MAX, "one record must fit");
