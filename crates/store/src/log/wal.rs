//! The write-ahead log: one file of checksummed records, one record a group commit.
//!
//! in: records; out: bytes, and back.
//! **Invariant:** the first record is the *base*: no entries, only the checkpoint up to which every file is durable. Each
//! further record starts at the size at which the one before ended.
//! **Invariant:** only what follows the last intact record may be dropped, and only if no intact record follows it.
//!
//! A commit is two parts with one barrier behind both: the *intent* (leaves, and the checkpoint's text without a signature),
//! written before the signer is asked, and the *signature*. Together they are one record. An intent alone is none: see
//! [`super::signing`].

use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::merkle::tile::push_entry;

use super::LogError;

/// Name of the file.
pub(super) const WAL: &str = "wal";
const MAGIC: &[u8; 8] = b"swlogrec";
/// What is to be signed, and the signature for it.
const INTENT: &[u8; 8] = b"swlogint";
const SIGNATURE: &[u8; 8] = b"swlogsig";
/// Magic, length, checksum.
const HEAD: usize = 8 + 4 + 32;

/// One group commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    /// Leaves before it.
    pub(super) before: u64,
    /// New leaves.
    pub(super) entries: Vec<Vec<u8>>,
    /// New attestation bundles by SHA256(PAE).
    pub(super) bundles: Vec<(Digest, Vec<u8>)>,
    /// The signed checkpoint after it; of an intent, its text alone.
    pub(super) checkpoint: String,
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Whole,
    Intent,
    Signature,
}

/// A commit at the end of a `wal` for which no signature is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Intent {
    /// What was to be committed; its checkpoint is not signed.
    pub(super) record: Record,
    /// Bytes it takes.
    pub(super) bytes: usize,
}

/// What a `wal` holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The intact records.
    pub(super) records: Vec<Record>,
    /// Bytes they take.
    pub(super) intact: usize,
    /// Whether bytes follow that are no record: a commit that was never acknowledged, or damage.
    pub(super) torn: bool,
    /// The first of these bytes, if they are what was to be signed.
    pub(super) intent: Option<Intent>,
}

impl Scan {
    /// The last record that is known to be durable while a writer works: one is written only after the barrier of the one
    /// before, and one that adds nothing and has the same checkpoint says just that.
    pub(super) fn confirmed(&self) -> Option<&Record> {
        if self.is_confirmed() { self.records.last() } else { self.records.iter().rev().nth(1) }
    }

    /// The last record confirms the one before, or is the base, which is durable from the beginning.
    pub(super) fn is_confirmed(&self) -> bool {
        match self.records.as_slice() {
            [.., previous, last] => last.entries.is_empty() && last.checkpoint == previous.checkpoint,
            _ => true,
        }
    }
}

impl Record {
    /// A record of its own.
    pub(super) fn encode(&self) -> Result<Vec<u8>, LogError> {
        self.encode_as(MAGIC)
    }

    /// The part before the signature; the checkpoint has none yet.
    pub(super) fn encode_intent(&self) -> Result<Vec<u8>, LogError> {
        self.encode_as(INTENT)
    }

    /// The part with the signature.
    pub(super) fn encode_signature(&self) -> Result<Vec<u8>, LogError> {
        Self { before: self.before, checkpoint: self.checkpoint.clone(), ..Self::default() }.encode_as(SIGNATURE)
    }

    fn encode_as(&self, magic: &[u8; 8]) -> Result<Vec<u8>, LogError> {
        let mut body = self.before.to_be_bytes().to_vec();
        push_length(&mut body, self.entries.len())?;
        for entry in &self.entries {
            push_entry(&mut body, entry)?;
        }
        push_length(&mut body, self.bundles.len())?;
        for (pae, bundle) in &self.bundles {
            body.extend_from_slice(pae.as_bytes());
            push_length(&mut body, bundle.len())?;
            body.extend_from_slice(bundle);
        }
        push_length(&mut body, self.checkpoint.len())?;
        body.extend_from_slice(self.checkpoint.as_bytes());
        let mut record = magic.to_vec();
        push_length(&mut record, body.len())?;
        record.extend_from_slice(checksum(&body).as_bytes());
        record.append(&mut body);
        Ok(record)
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        let before = u64::from_be_bytes(*cursor.array()?);
        let mut record = Self { before, ..Self::default() };
        for _ in 0..cursor.length()? {
            let length = u16::from_be_bytes(*cursor.array()?);
            record.entries.push(cursor.bytes(usize::from(length))?.to_vec());
        }
        for _ in 0..cursor.length()? {
            let pae = Digest::from_bytes(*cursor.array()?);
            let length = cursor.length()?;
            record.bundles.push((pae, cursor.bytes(length)?.to_vec()));
        }
        let length = cursor.length()?;
        record.checkpoint = String::from_utf8(cursor.bytes(length)?.to_vec()).ok()?;
        cursor.0.is_empty().then_some(record)
    }
}

fn push_length(bytes: &mut Vec<u8>, length: usize) -> Result<(), LogError> {
    let length = u32::try_from(length).map_err(|_| LogError::Leaf { reason: "a commit over 4 GiB".to_owned() })?;
    bytes.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Covers the length too: it is the length of what is hashed, and hashed in front of it.
fn checksum(body: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&u64::try_from(body.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(body);
    hasher.finish()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(head)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(*self.array()?)).ok()
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
}

/// The record at the start of `bytes` and its length, if it is intact.
fn first(bytes: &[u8]) -> Option<(Kind, Record, usize)> {
    let mut cursor = Cursor(bytes);
    let kind = match cursor.array::<8>()? {
        MAGIC => Kind::Whole,
        INTENT => Kind::Intent,
        SIGNATURE => Kind::Signature,
        _ => return None,
    };
    let length = cursor.length()?;
    let sum = Digest::from_bytes(*cursor.array()?);
    let body = cursor.bytes(length)?;
    if checksum(body) != sum {
        return None;
    }
    Some((kind, Record::decode(body)?, HEAD + length))
}

/// The signed checkpoint of `intent` at the start of `bytes`, and its length.
fn signature_of(intent: &Record, bytes: &[u8]) -> Option<(String, usize)> {
    let (kind, signature, length) = first(bytes)?;
    let bare = signature.entries.is_empty() && signature.bundles.is_empty() && signature.before == intent.before;
    let fits = kind == Kind::Signature && bare && signature.checkpoint.starts_with(&intent.checkpoint);
    fits.then_some((signature.checkpoint, length))
}

/// Reads records from the start of `bytes`. An intact record behind damage is an error: it was acknowledged, and so were
/// the ones before it.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, LogError> {
    let mut scan = Scan::default();
    let mut rest = bytes;
    let mut behind = 1;
    while let Some((kind, mut record, mut length)) = first(rest) {
        match kind {
            Kind::Whole => {}
            Kind::Intent => match signature_of(&record, rest.get(length..).unwrap_or_default()) {
                Some((checkpoint, more)) => {
                    record.checkpoint = checkpoint;
                    length += more;
                }
                None => {
                    behind = length;
                    scan.intent = Some(Intent { record, bytes: length });
                    break;
                }
            },
            // what it belonged to is not there
            Kind::Signature => break,
        }
        scan.records.push(record);
        scan.intact += length;
        rest = rest.get(length..).unwrap_or_default();
    }
    scan.torn = !rest.is_empty();
    // neither half of a commit shows that what is before it was acknowledged: one barrier stands behind both, and a power cut
    // may keep the second and lose the first
    let found = rest.windows(MAGIC.len()).enumerate().skip(behind).filter(|(_, window)| window == MAGIC);
    for (at, _) in found {
        if rest.get(at..).and_then(first).is_some() {
            let reason = format!("the record at byte {} is damaged and an intact one follows it", scan.intact);
            return Err(LogError::corrupt(WAL, reason));
        }
    }
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(before: u64) -> Record {
        Record {
            before,
            entries: vec![b"one".to_vec(), vec![], vec![7; 300]],
            bundles: vec![(Digest::of(b"x"), b"{}".to_vec())],
            checkpoint: format!("checkpoint {before}"),
        }
    }

    #[test]
    fn records_read_back_and_any_cut_keeps_the_ones_before() {
        let records = [record(0), record(3), record(6)];
        let encoded: Vec<_> = records.iter().map(|record| record.encode().unwrap()).collect();
        let bytes = encoded.concat();
        let whole = scan(&bytes).unwrap();
        assert_eq!((whole.records.as_slice(), whole.intact, whole.torn), (records.as_slice(), bytes.len(), false));
        let last = encoded[0].len() + encoded[1].len();
        for cut in last..bytes.len() {
            let part = scan(&bytes[..cut]).unwrap();
            assert_eq!((part.records.as_slice(), part.intact), (&records[..2], last), "cut at {cut}");
            assert_eq!(part.torn, cut > last);
        }
    }

    #[test]
    fn damage_before_the_tail_is_an_error_and_in_the_tail_a_tear() {
        let records = [record(0), record(3), record(6)];
        let encoded: Vec<_> = records.iter().map(|record| record.encode().unwrap()).collect();
        let bytes = encoded.concat();
        let last = encoded[0].len() + encoded[1].len();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            match scan(&flipped) {
                Err(error) => assert!(at < last && error.code() == "log/corrupt", "byte {at}: {error}"),
                Ok(scan) => assert!(at >= last && scan.torn && scan.records == records[..2], "byte {at}"),
            }
        }
    }

    fn parts(before: u64) -> (Vec<u8>, Vec<u8>, Record) {
        let unsigned = record(before);
        let signed = Record { checkpoint: format!("{}\n— signed\n", unsigned.checkpoint), ..unsigned.clone() };
        (unsigned.encode_intent().unwrap(), signed.encode_signature().unwrap(), signed)
    }

    #[test]
    fn an_intent_and_its_signature_are_one_record_and_an_intent_alone_is_none() {
        let base = record(0).encode().unwrap();
        let (intent, signature, signed) = parts(3);
        let whole = [base.as_slice(), &intent, &signature].concat();
        let read = scan(&whole).unwrap();
        assert_eq!((read.records.as_slice(), read.torn, read.intent), ([record(0), signed].as_slice(), false, None));
        for cut in base.len()..whole.len() {
            let read = scan(&whole[..cut]).unwrap();
            let intended = cut >= base.len() + intent.len();
            assert_eq!((read.records.len(), read.intact, read.torn), (1, base.len(), cut > base.len()), "cut at {cut}");
            assert_eq!(read.intent, intended.then(|| Intent { record: record(3), bytes: intent.len() }), "cut at {cut}");
        }
        // a signature of something else, or of nothing, is none
        for other in [parts(6).1, Record { checkpoint: "other".to_owned(), ..record(3) }.encode_signature().unwrap()] {
            let read = scan(&[base.as_slice(), &intent, &other].concat()).unwrap();
            assert!((read.records.len(), read.torn, read.intent.is_some()) == (1, true, true));
            let read = scan(&[base.as_slice(), &other].concat()).unwrap();
            assert!((read.records.len(), read.torn, read.intent.is_some()) == (1, true, false));
        }
    }

    /// A power cut keeps pages in any order: until the barrier the second part may be there without the first.
    #[test]
    fn a_damaged_intent_is_a_tear_until_something_follows_its_signature() {
        let base = record(0).encode().unwrap();
        let (intent, signature, signed) = parts(3);
        let mut damaged = intent.clone();
        damaged[intent.len() / 2] ^= 1;
        let read = scan(&[base.as_slice(), &damaged, &signature].concat()).unwrap();
        assert_eq!((read.records.len(), read.torn, read.intent), (1, true, None));
        let confirmation = Record { before: 6, checkpoint: signed.checkpoint, ..Record::default() }.encode().unwrap();
        let error = scan(&[base.as_slice(), &damaged, &signature, &confirmation].concat()).unwrap_err();
        assert_eq!(error.code(), "log/corrupt");
        // what stands inside an intent is no record behind it
        let nested = Record { entries: vec![base.clone()], ..record(3) };
        let read = scan(&[base.as_slice(), &nested.encode_intent().unwrap()].concat()).unwrap();
        assert!(read.intent.is_some());
    }
}
