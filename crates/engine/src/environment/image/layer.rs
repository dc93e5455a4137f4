//! One layer, apart: a worker decompresses it and reads its archive, this process takes the entries and hashes all of it.
//!
//! in: in the worker a layer's blob, here the worker's parts; out: [`Entry`]s in order with their content, the digest of the archive.
//! A part is bytes of the archive around its entries, what the archive says of its next entry, or content of that entry: put together
//! again the first and the last are the archive, byte for byte.
//! **Invariant:** the digest is of what was really given out as content, whatever the worker says of it.
//! **Invariant:** memory does not depend on the layer.

use std::fs::File;
use std::io::{self, Read};

use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::limits::{IMAGE_BOMB_FLOOR_BYTES, IMAGE_RATIO_MAX};
use seaworthy_core::ports::Working;
use seaworthy_core::worker::{Answer, Compression, PartKind, Reply, words};

use super::stream::Decoder;
use super::tar::{Archive, Entry};
use crate::environment::worked::take;
use crate::workers::SendPart;

const CHUNK_BYTES: usize = 256 * 1024;

/// In the worker: reads the whole layer and sends its parts.
pub(crate) fn take_apart(blob: File, compression: Compression, send: SendPart<'_>) -> io::Result<()> {
    let decoder = Decoder::new(blob, compression)?;
    let mut archive = Archive::new(Tee { input: decoder, send, pending: Vec::new(), kind: PartKind::Frame });
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Some(entry) = archive.next()? {
        let tee = archive.input();
        tee.flush()?;
        (tee.send)(PartKind::Entry, &entry.to_bytes())?;
        tee.kind = PartKind::Content;
        while archive.read(&mut buffer)? > 0 {}
        let tee = archive.input();
        tee.flush()?;
        tee.kind = PartKind::Frame;
    }
    archive.input().flush()?;
    archive.into_input().input.finish()
}

/// Passes on what is read.
struct Tee<'a> {
    input: Decoder,
    send: SendPart<'a>,
    pending: Vec<u8>,
    kind: PartKind,
}

impl Tee<'_> {
    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            (self.send)(self.kind, &self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }
}

/// Here: what a worker makes of a layer.
pub(super) struct Worked<'a> {
    working: Box<dyn Working + 'a>,
    part: Vec<u8>,
    at: usize,
    /// Content of the entry at hand that did not come yet.
    left: u64,
    ended: bool,
    hasher: Hasher,
    total: u64,
    total_max: u64,
}

/// What came.
enum Came {
    Entry(Entry),
    Content,
    End,
}

impl<'a> Worked<'a> {
    pub(super) fn new(working: Box<dyn Working + 'a>, blob_bytes: u64, compression: Compression) -> Self {
        let total_max = match compression {
            Compression::None => blob_bytes,
            Compression::Gzip | Compression::Zstd => blob_bytes.saturating_mul(IMAGE_RATIO_MAX).max(IMAGE_BOMB_FLOOR_BYTES),
        };
        Self { working, part: Vec::new(), at: 0, left: 0, ended: false, hasher: Hasher::new(), total: 0, total_max }
    }

    /// Of the whole archive, once it was read to its end.
    pub(super) fn digest(self) -> Digest {
        self.hasher.finish()
    }

    fn pull(&mut self) -> io::Result<Came> {
        loop {
            if self.ended {
                return Ok(Came::End);
            }
            self.at = 0;
            match self.working.next(&mut self.part).map_err(io::Error::other)? {
                Reply::Part(PartKind::Entry) => {
                    let entry = Entry::from_bytes(&self.part).ok_or_else(|| invalid("the worker's entry cannot be read"))?;
                    self.part.clear();
                    return Ok(Came::Entry(entry));
                }
                Reply::Part(PartKind::Frame) => {
                    self.count()?;
                    self.part.clear();
                }
                Reply::Part(PartKind::Content) => {
                    self.count()?;
                    let came = self.part.len() as u64;
                    self.left = self.left.checked_sub(came).ok_or_else(|| invalid("the worker sends more than an entry has"))?;
                    return Ok(Came::Content);
                }
                Reply::Answer(Answer::Unpacked {}) => self.ended = true,
                Reply::Answer(Answer::Refused { message, .. }) => return Err(invalid(&words(&message))),
                Reply::Answer(_) => return Err(invalid("the worker answers something else")),
            }
        }
    }

    fn count(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            // one could go on for ever with them
            return Err(invalid("the worker sends parts of nothing"));
        }
        self.hasher.update(&self.part);
        self.total = self.total.saturating_add(self.part.len() as u64);
        if self.total > self.total_max {
            return Err(invalid(&format!("it unpacks to more than {} bytes, which is out of proportion", self.total_max)));
        }
        Ok(())
    }

    /// The next entry; what is left of the one before is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            match self.pull()? {
                Came::Content => {}
                _ if self.left > 0 => return Err(invalid("the worker ends within a file")),
                Came::Entry(entry) => {
                    self.left = entry.size;
                    return Ok(Some(entry));
                }
                Came::End => return Ok(None),
            }
        }
    }

    /// Content of the entry that [`next`](Self::next) gave; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() {
            if self.left == 0 {
                return Ok(0);
            }
            let Came::Content = self.pull()? else { return Err(invalid("the worker ends within a file")) };
        }
        Ok(take(&self.part, &mut self.at, buffer))
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
