//! The write-ahead log: one file of checksummed records, one record a group commit.
//!
//! in: records; out: bytes, and back.
//! **Invariant:** the first record is the *base*: no entries, only the checkpoint up to which every file is durable. Each
//! further record starts at the size at which the one before ended.
//! **Invariant:** only what follows the last intact record may be dropped, and only if no intact record follows it.

use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::merkle::tile::push_entry;

use super::LogError;

/// Name of the file.
pub(super) const WAL: &str = "wal";
const MAGIC: &[u8; 8] = b"swlogrec";
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
    /// The signed checkpoint after it.
    pub(super) checkpoint: String,
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
    pub(super) fn encode(&self) -> Result<Vec<u8>, LogError> {
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
        let mut record = MAGIC.to_vec();
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
fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let mut cursor = Cursor(bytes);
    if cursor.array::<8>()? != MAGIC {
        return None;
    }
    let length = cursor.length()?;
    let sum = Digest::from_bytes(*cursor.array()?);
    let body = cursor.bytes(length)?;
    if checksum(body) != sum {
        return None;
    }
    Some((Record::decode(body)?, HEAD + length))
}

/// Reads records from the start of `bytes`. An intact record behind damage is an error: it was acknowledged, and so were
/// the ones before it.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, LogError> {
    let mut scan = Scan::default();
    let mut rest = bytes;
    while let Some((record, length)) = first(rest) {
        scan.records.push(record);
        scan.intact += length;
        rest = rest.get(length..).unwrap_or_default();
    }
    scan.torn = !rest.is_empty();
    let behind = rest.windows(MAGIC.len()).enumerate().skip(1).filter(|(_, window)| window == MAGIC);
    for (at, _) in behind {
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
}
