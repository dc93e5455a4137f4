//! How a worker is asked and answers, in bytes.
//!
//! A request: number (u64), bytes of its text (u32), descriptors (u32), all big-endian; the descriptors, each packet of them
//! beside one byte; the text, JSON. From the worker: frames of one byte for what it is, its length (u32), its bytes.
//! **Invariant:** every length is held against its bound before anything is made for it.

use std::io::{self, Read, Write};

use seaworthy_core::limits::{WORKER_ANSWER_BYTES_MAX, WORKER_FILES_MAX, WORKER_PART_BYTES_MAX, WORKER_REQUEST_BYTES_MAX};
use seaworthy_core::worker::{Answer, PartKind, WorkerIsolation};
use serde::{Deserialize, Serialize};

/// Bytes before a request.
pub(super) const HEAD_BYTES: usize = 16;
/// Bytes before a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 5;

/// What stands before a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) bytes: usize,
    pub(super) files: usize,
}

impl Head {
    pub(super) fn write(self) -> Option<[u8; HEAD_BYTES]> {
        let bytes = u32::try_from(self.bytes).ok().filter(|_| self.bytes <= WORKER_REQUEST_BYTES_MAX)?;
        let files = u32::try_from(self.files).ok().filter(|_| self.files <= WORKER_FILES_MAX)?;
        let mut head = [0; HEAD_BYTES];
        let all = self.number.to_be_bytes().into_iter().chain(bytes.to_be_bytes()).chain(files.to_be_bytes());
        head.iter_mut().zip(all).for_each(|(place, byte)| *place = byte);
        Some(head)
    }

    pub(super) fn read(head: [u8; HEAD_BYTES]) -> Option<Self> {
        let (number, rest) = head.split_first_chunk::<8>()?;
        let (bytes, files) = rest.split_first_chunk::<4>()?;
        let bytes = usize::try_from(u32::from_be_bytes(*bytes)).ok().filter(|bytes| *bytes <= WORKER_REQUEST_BYTES_MAX)?;
        let files = usize::try_from(u32::from_be_bytes(files.try_into().ok()?)).ok().filter(|files| *files <= WORKER_FILES_MAX)?;
        Some(Self { number: u64::from_be_bytes(*number), bytes, files })
    }
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The first: how far the worker is kept apart.
    Hello,
    Answer,
    Part(PartKind),
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Hello, Self::Answer, Self::Part(PartKind::Frame), Self::Part(PartKind::Entry), Self::Part(PartKind::Content)];

    const fn byte(self) -> u8 {
        match self {
            Self::Hello => b'h',
            Self::Answer => b'a',
            Self::Part(PartKind::Frame) => b'f',
            Self::Part(PartKind::Entry) => b'e',
            Self::Part(PartKind::Content) => b'c',
        }
    }

    /// The kind and length of the frame that begins so, if it may be.
    pub(super) fn read(head: [u8; FRAME_HEAD_BYTES]) -> Option<(Self, usize)> {
        let [kind, length @ ..] = head;
        let kind = Self::ALL.into_iter().find(|known| known.byte() == kind)?;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let most = match kind {
            Self::Answer => WORKER_ANSWER_BYTES_MAX,
            Self::Hello | Self::Part(_) => WORKER_PART_BYTES_MAX,
        };
        (length <= most).then_some((kind, length))
    }
}

/// An answer and what it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) number: u64,
    pub(super) answer: Answer,
}

/// What a worker can say of itself; the rest is known to whoever started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) landlock: u32,
    pub(super) system_calls: u32,
}

impl Hello {
    pub(super) fn with(&self, namespaces: &[&str], own_user: bool) -> WorkerIsolation {
        WorkerIsolation {
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            own_user,
            landlock: self.landlock,
            system_calls: self.system_calls,
            memory_bytes: seaworthy_core::limits::WORKER_MEMORY_BYTES_MAX,
        }
    }
}

pub(super) fn write_frame(to: &mut dyn Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut head = [kind.byte(), 0, 0, 0, 0];
    head.iter_mut().skip(1).zip(length.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    to.write_all(&head)?;
    to.write_all(bytes)
}

/// Exactly as many bytes as there is room for; false if it ended before the first.
pub(super) fn read_whole(from: &mut dyn Read, room: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_written_and_held_to_their_bounds() {
        for (bytes, files) in [(0, 0), (17, 3), (WORKER_REQUEST_BYTES_MAX, WORKER_FILES_MAX)] {
            let head = Head { number: 7, bytes, files };
            assert_eq!(Head::read(head.write().unwrap()), Some(head));
        }
        assert_eq!(Head { number: 7, bytes: WORKER_REQUEST_BYTES_MAX + 1, files: 0 }.write(), None);
        assert_eq!(Head { number: 7, bytes: 0, files: WORKER_FILES_MAX + 1 }.write(), None);
        assert_eq!(Head::read([0xff; HEAD_BYTES]), None);
    }

    #[test]
    fn frames_of_unknown_kind_or_beyond_their_bound_are_none() {
        for kind in Kind::ALL {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, kind, b"xyz").unwrap();
            assert_eq!(Kind::read(bytes[..FRAME_HEAD_BYTES].try_into().unwrap()), Some((kind, 3)));
            assert_eq!(Kind::read([kind.byte(), 0xff, 0xff, 0xff, 0xff]), None, "{kind:?} of 4 GiB");
        }
        assert_eq!(Kind::read([b'x', 0, 0, 0, 1]), None);
    }
}
