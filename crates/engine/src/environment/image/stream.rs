//! From a compressed layer to its tar archive.
//!
//! in: a layer's blob; out: [`Decoder`], which reads as the archive.
//! **Invariant:** memory is the same for every layer: a buffer, and at most 128 MiB that zstd asks for.
//! **Invariant:** a blob has one meaning: what follows the last gzip member or zstd frame is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use seaworthy_core::worker::Compression;

const CHUNK_BYTES: usize = 256 * 1024;
/// What zstd's own decoder takes unasked: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a layer is compressed, by its first bytes.
pub(super) fn compression_of(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Reads a layer as its archive.
pub(super) enum Decoder {
    None(BufReader<File>),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<File>>),
}

impl Decoder {
    pub(super) fn new(blob: File, compression: Compression) -> io::Result<Self> {
        let reader = BufReader::with_capacity(CHUNK_BYTES, blob);
        Ok(match compression {
            Compression::None => Self::None(reader),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Refuses what follows the end.
    pub(super) fn finish(self) -> io::Result<()> {
        let mut rest = match self {
            Self::None(reader) => reader,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        if rest.fill_buf()?.is_empty() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "something follows the compressed data"))
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
