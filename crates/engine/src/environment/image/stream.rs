//! From a compressed layer to its tar archive: decompressed beside what reads it, bounded, hashed.
//!
//! in: a reader of the blob; out: [`Stream`], which knows the digest of all that was read.
//! **Invariant:** memory is the same for every layer: a few chunks, and at most 128 MiB that zstd asks for.
//! **Invariant:** a blob has one meaning: what follows the last gzip member or zstd frame is refused.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::bufread::MultiGzDecoder;
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::limits::{IMAGE_BOMB_FLOOR_BYTES, IMAGE_RATIO_MAX};

const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait to be read.
const AHEAD: usize = 4;
/// What zstd's own decoder takes unasked: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

type Chunk = io::Result<Vec<u8>>;

/// What was decompressed, in order.
pub(super) struct Stream {
    chunks: Receiver<Chunk>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Hasher,
    ended: bool,
    total: u64,
    total_max: u64,
}

/// Decompresses `blob` in a thread of `scope`.
pub(super) fn decompress<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    blob: Box<dyn Read + Send + 'env>,
    blob_bytes: u64,
    compression: Compression,
) -> Stream {
    let (full, chunks) = sync_channel(AHEAD);
    let (empty, used) = channel();
    scope.spawn(move || {
        let reader = BufReader::with_capacity(CHUNK_BYTES, blob);
        let outcome = match compression {
            Compression::None => forward(reader, &full, &used).map(drop),
            Compression::Gzip => forward(MultiGzDecoder::new(reader), &full, &used).and_then(|decoder| nothing_left(decoder.into_inner())),
            Compression::Zstd => zstd::stream::read::Decoder::with_buffer(reader)
                .and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map(|()| decoder))
                .and_then(|decoder| forward(decoder, &full, &used))
                .and_then(|decoder| nothing_left(decoder.finish())),
        };
        if let Err(error) = outcome {
            // whoever reads has stopped, and knows why
            let _ = full.send(Err(error));
        }
    });
    let total_max = match compression {
        Compression::None => blob_bytes,
        Compression::Gzip | Compression::Zstd => blob_bytes.saturating_mul(IMAGE_RATIO_MAX).max(IMAGE_BOMB_FLOOR_BYTES),
    };
    Stream { chunks, empty, chunk: Vec::new(), at: 0, hasher: Hasher::new(), ended: false, total: 0, total_max }
}

/// Reads to the end, chunk by chunk, in buffers that come back.
fn forward<R: Read>(mut reader: R, full: &SyncSender<Chunk>, used: &Receiver<Vec<u8>>) -> io::Result<R> {
    loop {
        let mut chunk = used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let mut filled = 0;
        while let Some(room) = chunk.get_mut(filled..).filter(|room| !room.is_empty()) {
            match reader.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.truncate(filled);
        // an empty chunk would look like the end before what follows it was looked at
        if filled == 0 || full.send(Ok(chunk)).is_err() || filled < CHUNK_BYTES {
            return Ok(reader);
        }
    }
}

fn nothing_left<R: BufRead>(mut reader: R) -> io::Result<()> {
    if reader.fill_buf()?.is_empty() { Ok(()) } else { Err(invalid("something follows the compressed data")) }
}

impl Stream {
    /// Of everything that was read.
    pub(super) fn digest(self) -> Digest {
        self.hasher.finish()
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let chunk = match self.chunks.recv() {
            Ok(chunk) => chunk?,
            // every chunk was read, and no fault came after the last
            Err(_) => Vec::new(),
        };
        self.hasher.update(&chunk);
        self.total = self.total.saturating_add(chunk.len() as u64);
        if self.total > self.total_max {
            return Err(invalid(&format!("it unpacks to more than {} bytes, which is out of proportion", self.total_max)));
        }
        let used = std::mem::replace(&mut self.chunk, chunk);
        // the other side has ended
        let _ = self.empty.send(used);
        self.at = 0;
        self.ended = self.chunk.is_empty();
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() && !self.ended {
            self.next_chunk()?;
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
