//! What a signer in a process of its own is asked and answers: typed, bounded, one answer a request.
//!
//! in: bytes of a stream; out: [`Frame`]s, [`Request`]s, [`Answer`]s. A frame is its length (four bytes, big-endian), the version
//! of this protocol (one byte, part of the length), and one strict JSON document.
//! **Invariant:** no raw bytes to sign can be expressed; a frame over its bound is skipped without being kept.

use std::borrow::Cow;
use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Statement;
use seaworthy_core::json_strict;
use seaworthy_core::limits::SIGNER_REQUEST_BYTES_MAX;
use seaworthy_core::ports::{KeyRole, SignerIsolation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of this protocol: the first byte of every frame.
pub const VERSION: u8 = 1;
/// Bytes before a frame's content.
pub const HEAD_BYTES: usize = 4;

/// What may be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// Who are you? Must be asked first by whoever wants to check the keys.
    Hello {},
    /// Sign a statement.
    Attest(Attest<'a>),
    /// Sign a checkpoint.
    Checkpoint {
        /// Log origin.
        origin: String,
        /// Tree size.
        size: u64,
        /// Root hash.
        root: Digest,
    },
    /// Sign the same checkpoint once more, if you remember having signed it.
    Again {
        /// Log origin.
        origin: String,
        /// Tree size.
        size: u64,
        /// Root hash.
        root: Digest,
    },
    /// Remember that this checkpoint is signed: the whole note, which must be your log's.
    Remember {
        /// Body and signature lines.
        note: String,
    },
    /// What have you signed?
    Status {},
}

/// A statement to sign.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attest<'a> {
    /// The key wanted.
    pub role: KeyRole,
    /// `run/workflow/step#attempt`, if it belongs to one.
    pub step: Option<String>,
    /// The statement: the signer makes the payload of it.
    pub statement: Cow<'a, Statement>,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// To `hello`.
    Hello(Hello),
    /// A signature over the payload that the signer made of the statement.
    Signed {
        /// DER, in hex.
        signature: String,
        /// hex(sha256(PEM SPKI)) of the key.
        key_hint: String,
        /// SHA256(PAE) of what was signed.
        pae: Digest,
    },
    /// The whole note.
    Checkpoint {
        /// Body and signature line.
        note: String,
    },
    /// To `remember`.
    Remembered {},
    /// To `status`.
    Status(Status),
    /// The policy says no, or the request is none.
    Refused {
        /// Stable code.
        code: String,
        /// One line.
        message: String,
    },
    /// The signer could not start, and ends.
    Failed {
        /// Stable code.
        code: String,
        /// One line.
        message: String,
        /// What to do.
        hint: String,
        /// The exit code of a command that fails for this.
        exit_code: u8,
    },
}

/// Who a signer is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The log it signs for.
    pub origin: String,
    /// Role → SubjectPublicKeyInfo (DER) in hex.
    pub keys: BTreeMap<KeyRole, String>,
    /// How it is kept apart from this peer.
    pub isolation: SignerIsolation,
}

/// What a signer did in this life.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Signatures by role.
    pub signed: BTreeMap<KeyRole, u64>,
    /// Requests refused.
    pub refused: u64,
    /// Size of the newest checkpoint signed.
    pub size: Option<u64>,
    /// Whether its memory is kept from the swap.
    pub memory_locked: bool,
}

/// A frame with `message` in it.
pub fn frame(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes.push(VERSION);
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len().saturating_sub(HEAD_BYTES)).unwrap_or(u32::MAX);
    for (place, byte) in bytes.iter_mut().zip(length.to_be_bytes()) {
        *place = byte;
    }
    Ok(bytes)
}

/// Reads the content of a frame.
pub fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    match content.split_first() {
        Some((&VERSION, document)) => json_strict::parse_typed(document).map_err(|error| error.to_string()),
        Some((other, _)) => Err(format!("version {other} of the protocol, expected {VERSION}")),
        None => Err("an empty frame".to_owned()),
    }
}

/// One frame of a stream.
#[derive(PartialEq, Eq, Debug)]
pub enum Frame {
    /// Its content: version and document.
    Content(Vec<u8>),
    /// It announced so many bytes, more than may be; they are skipped.
    TooLarge(usize),
}

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    skip: usize,
}

impl Frames {
    /// Bytes that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.bytes.len()
    }

    /// Takes what was read.
    pub fn push(&mut self, read: &[u8]) {
        let skipped = self.skip.min(read.len());
        self.skip -= skipped;
        self.bytes.extend_from_slice(read.get(skipped..).unwrap_or_default());
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let head: [u8; HEAD_BYTES] = self.bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        let length = usize::try_from(u32::from_be_bytes(head)).ok()?;
        let there = self.bytes.len() - HEAD_BYTES;
        if length > SIGNER_REQUEST_BYTES_MAX {
            let now = length.min(there);
            self.skip = length - now;
            self.bytes.drain(..HEAD_BYTES + now);
            return Some(Frame::TooLarge(length));
        }
        if there < length {
            return None;
        }
        let rest = self.bytes.split_off(HEAD_BYTES + length);
        let whole = std::mem::replace(&mut self.bytes, rest);
        Some(Frame::Content(whole.get(HEAD_BYTES..).unwrap_or_default().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_frames_however_it_arrives() {
        let asked = frame(&Request::Status {}).unwrap();
        let too_long = u32::try_from(SIGNER_REQUEST_BYTES_MAX + 1).unwrap();
        let stream: Vec<u8> = [&asked[..], &too_long.to_be_bytes()].concat();
        for chunk in [1, 3, 7, 1000] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in stream.chunks(chunk) {
                frames.push(piece);
                found.extend(std::iter::from_fn(|| frames.next_frame()));
            }
            assert_eq!(found, [Frame::Content(asked[4..].to_vec()), Frame::TooLarge(SIGNER_REQUEST_BYTES_MAX + 1)]);
            // what the long frame announced is skipped, and the next one is read
            for _ in 0..=SIGNER_REQUEST_BYTES_MAX / (1 << 20) {
                frames.push(&vec![b'x'; (1 << 20).min(frames.skip)]);
                assert!(frames.bytes.is_empty(), "nothing of it is kept");
            }
            frames.push(&asked);
            assert_eq!(frames.next_frame(), Some(Frame::Content(asked[4..].to_vec())));
        }
    }

    #[test]
    fn what_is_no_request_of_this_version_is_refused() {
        assert!(matches!(read::<Request<'_>>(&frame(&Request::Hello {}).unwrap()[4..]), Ok(Request::Hello {})));
        for content in [
            &b""[..],
            b"\x02{\"status\":{}}",
            b"\x01",
            b"\x01{}",
            b"\x01{\"sign\":\"raw bytes\"}",
            b"\x01{\"status\":{},\"hello\":{}}",
            b"\x01{\"status\":{\"more\":1}}",
            b"\x01{\"attest\":{\"role\":\"runner\",\"step\":null,\"statement\":\"raw\"}}",
            b"\x01{\"attest\":{\"role\":\"king\",\"step\":null,\"statement\":{\"subject\":[],\"predicateType\":\"x\",\"predicate\":{}}}}",
            b"\x01{\"checkpoint\":{\"origin\":\"o\",\"size\":-1,\"root\":\"00\"}}",
            b"\x01{\"checkpoint\":{\"origin\":\"o\",\"origin\":\"p\",\"size\":1,\"root\":\"00\"}}",
            b"\x01{\"status\":{}} ,",
        ] {
            assert!(read::<Request<'_>>(content).is_err(), "{}", String::from_utf8_lossy(content));
        }
    }
}
