//! Signed notes, verifier keys, checkpoints and cosignatures: C2SP signed-note, tlog-checkpoint, tlog-cosignature, all v1.
//!
//! in: text; out: [`Note`], [`VerifierKey`], [`Checkpoint`], and the bytes that are signed.
//! **Invariant:** what parses here formats back to the same bytes. No key signs or verifies here: that is trust's.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::{Digest, hex_encode};
use crate::limits::NOTE_SIGNATURES_MAX;

/// Bytes of one note, signatures included.
pub const NOTE_BYTES_MAX: usize = 1_000_000;

/// Why a text is no note, key or checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// No signed note.
    #[error("signed note refused: {0}")]
    Note(&'static str),
    /// No verifier key.
    #[error("verifier key refused: {0}")]
    Key(&'static str),
    /// The note's text is no checkpoint.
    #[error("checkpoint refused: {0}")]
    Checkpoint(&'static str),
    /// A signature that is no timestamped one.
    #[error("cosignature refused: {0}")]
    Cosignature(&'static str),
}

/// One signature line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// The first four bytes of SHA256(name ‖ 0x0A ‖ type ‖ public key), big-endian.
    pub key_id: u32,
    /// What follows the key id: the signature proper.
    pub bytes: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.key_id.to_be_bytes().as_slice(), &self.bytes].concat();
        writeln!(f, "— {} {}", self.name, STANDARD.encode(blob))
    }
}

/// A text with signatures; none of them is checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What is signed: ends in a newline.
    pub text: String,
    /// All signature lines, in order.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a signed note with 1 to [`NOTE_SIGNATURES_MAX`] signature lines.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Note("it is longer than 1000000 bytes"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Note("it is not UTF-8"))?;
        check_text(note)?;
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Note("no blank line before the signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Note("it does not end in a newline"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == NOTE_SIGNATURES_MAX {
                return Err(NoteError::Note("it has more than 64 signatures"));
            }
            signatures.push(signature_line(line)?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The note as text: [`Self::parse`] gives back the same.
    #[must_use]
    pub fn format(&self) -> String {
        let lines: String = self.signatures.iter().map(ToString::to_string).collect();
        format!("{}\n{lines}", self.text)
    }

    /// The signatures that claim to be of `key`. If one of them fails, the whole note is to be refused.
    pub fn of_key<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a NoteSignature> {
        let id = key.key_id();
        self.signatures.iter().filter(move |signature| signature.key_id == id && signature.name == key.name)
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.chars().any(|character| character < ' ' && character != '\n') {
        return Err(NoteError::Note("it has a control character"));
    }
    Ok(())
}

fn signature_line(line: &str) -> Result<NoteSignature, NoteError> {
    let refused = NoteError::Note("a signature line is malformed");
    let (name, blob) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(refused.clone())?;
    let blob = STANDARD.decode(blob).map_err(|_| refused.clone())?;
    match blob.split_first_chunk::<4>() {
        Some((id, bytes)) if is_key_name(name) && !bytes.is_empty() => {
            Ok(NoteSignature { name: name.to_owned(), key_id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
        }
        _ => Err(refused),
    }
}

/// Not empty, no Unicode space, no plus, no control.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The four-byte key id of a key: `typed_key` is the type byte followed by the public key.
#[must_use]
pub fn key_id(name: &str, typed_key: &[u8]) -> u32 {
    let [a, b, c, d, ..] = *full_key_id(name, typed_key).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn full_key_id(name: &str, typed_key: &[u8]) -> Digest {
    Digest::of(&[name.as_bytes(), b"\n", typed_key].concat())
}

/// What a key signs, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// 0x01: Ed25519 over the note's text.
    Ed25519,
    /// 0x04: Ed25519 over a [`cosignature_message`].
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A verifier key: its text form is `name+hash+base64(type ‖ public key)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifierKey {
    /// A key called `name`; the 32 bytes are not yet known to be a point of the curve.
    pub fn new(name: impl Into<String>, kind: KeyKind, public: [u8; 32]) -> Result<Self, NoteError> {
        let name = name.into();
        if is_key_name(&name) { Ok(Self { name, kind, public }) } else { Err(NoteError::Key("its name is malformed")) }
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The raw Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The id that stands in signature lines.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        key_id(&self.name, &self.typed())
    }

    /// All 32 bytes of which the key id is the start: `logId.keyId` in a Sigstore bundle.
    #[must_use]
    pub fn log_id(&self) -> Digest {
        full_key_id(&self.name, &self.typed())
    }

    fn typed(&self) -> Vec<u8> {
        [[self.kind.byte()].as_slice(), &self.public].concat()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = hex_encode(&self.key_id().to_be_bytes());
        write!(f, "{}+{id}+{}", self.name, STANDARD.encode(self.typed()))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("expected `name+hash+key`"));
        };
        let typed = STANDARD.decode(key).map_err(|_| NoteError::Key("the key is no base64"))?;
        let (kind, public) = match typed.split_first() {
            Some((1, public)) => (KeyKind::Ed25519, public),
            Some((4, public)) => (KeyKind::Cosignature, public),
            _ => return Err(NoteError::Key("its type is neither 01 (Ed25519) nor 04 (cosignature)")),
        };
        let public = public.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(name, kind, public)?;
        // covers the hash, its case and any other spelling
        if key.to_string() == text { Ok(key) } else { Err(NoteError::Key("its hash is not that of name and key")) }
    }
}

/// The state of a log: what its key and its witnesses sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root of the tree of that size.
    pub root: Digest,
    /// Further lines; the specification advises against them.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The text of the note, to be signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let extensions: String = self.extensions.iter().flat_map(|line| [line, "\n"]).collect();
        format!("{}\n{}\n{}\n{extensions}", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads the text of a note.
    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let lines = text.strip_suffix('\n').ok_or(NoteError::Checkpoint("it does not end in a newline"))?;
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Checkpoint("expected the lines origin, size, root"));
        };
        let size: u64 = size.parse().map_err(|_| NoteError::Checkpoint("its size is no number"))?;
        let root = STANDARD.decode(root).ok().and_then(|root| <[u8; 32]>::try_from(root).ok());
        let root = Digest::from_bytes(root.ok_or(NoteError::Checkpoint("its root is no base64 of 32 bytes"))?);
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(NoteError::Checkpoint("it has an empty line"));
        }
        let checkpoint = Self { origin: origin.to_owned(), size, root, extensions };
        // refuses leading zeros and a plus sign
        if checkpoint.to_text() == text { Ok(checkpoint) } else { Err(NoteError::Checkpoint("its size is not plain")) }
    }

    /// Reads a whole note: the checkpoint and the note with its signatures, none of them checked.
    pub fn parse(note: &[u8]) -> Result<(Self, Note), NoteError> {
        let note = Note::parse(note)?;
        Ok((Self::from_text(&note.text)?, note))
    }
}

/// What a witness signs: `cosignature/v1`, its time in seconds since 1970, and the note's text.
#[must_use]
pub fn cosignature_message(time_s: u64, note_text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{note_text}").into_bytes()
}

/// Takes a cosignature apart: time in seconds since 1970, and the Ed25519 signature.
pub fn split_cosignature(bytes: &[u8]) -> Result<(u64, [u8; 64]), NoteError> {
    let refused = NoteError::Cosignature("expected 8 bytes of time and 64 of signature");
    let (time, signature) = bytes.split_first_chunk::<8>().ok_or(refused.clone())?;
    Ok((u64::from_be_bytes(*time), signature.try_into().map_err(|_| refused)?))
}

/// The opposite of [`split_cosignature`].
#[must_use]
pub fn join_cosignature(time_s: u64, signature: &[u8; 64]) -> Vec<u8> {
    [time_s.to_be_bytes().as_slice(), signature].concat()
}

#[cfg(test)]
mod tests;
