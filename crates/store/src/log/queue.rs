//! Leaves that wait for the next group commit.
//!
//! in: the leaves of each call, encoded once; out: a record of all that fits, and for every call the indexes of its leaves.
//! **Invariant:** a statement is in the log under one signature only.

use std::collections::HashMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{key_hint, leaf_body};
use seaworthy_core::json_strict;
use seaworthy_core::limits::LOG_ENTRY_BYTES_MAX;
use seaworthy_core::ports::Leaf;

use super::LogError;
use super::disk::Folder;
use super::pending::Pending;
use super::reader::bundle_path;
use super::wal::Record;

/// Bytes of entries and bundles that one group commit gathers; a single call may bring more.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Leaves of one call, encoded.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Vec<u8>>,
    bundles: Vec<(Digest, Vec<u8>)>,
    bytes: usize,
}

/// The indexes of a call's leaves.
pub(super) type Outcome = Result<Vec<u64>, LogError>;

/// Calls that wait, and what came of those that did.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: Vec<(u64, Batch)>,
    pub(super) finished: HashMap<u64, Outcome>,
    pub(super) next_ticket: u64,
    /// One of the callers commits for all.
    pub(super) leading: bool,
}

impl Batch {
    pub(super) fn encode(leaves: &[Leaf]) -> Result<Self, LogError> {
        let mut batch = Self::default();
        for leaf in leaves {
            let entry = match leaf {
                Leaf::Event(event) => json_strict::to_canonical_of(event).map_err(|error| LogError::Leaf { reason: error.reason })?,
                Leaf::Attestation { bundle, public_key } => {
                    if bundle.key_hint != key_hint(public_key) {
                        return Err(LogError::Leaf { reason: "the bundle names another key than the one given".into() });
                    }
                    let stored = seaworthy_core::envelope::Bundle { log_proof: None, ..bundle.clone() }.to_json();
                    batch.bytes += stored.len();
                    batch.bundles.push((bundle.pae_digest(), stored));
                    leaf_body(bundle, public_key)
                }
            };
            if entry.len() > LOG_ENTRY_BYTES_MAX {
                return Err(LogError::EntryTooLong { bytes: entry.len() });
            }
            batch.bytes += entry.len();
            batch.entries.push(entry);
        }
        Ok(batch)
    }

    /// Adds this batch to the commit, unless one of its statements is in the log under another signature.
    pub(super) fn join(self, record: &mut Record, pending: &Pending, folder: &Folder) -> Outcome {
        let mut new: Vec<(Digest, Vec<u8>)> = Vec::new();
        for (pae, bundle) in self.bundles {
            let here = record.bundles.iter().chain(&new).find(|(known, _)| *known == pae).map(|(_, known)| known.clone());
            let path = bundle_path(&pae);
            let known = match here.or_else(|| pending.get(&path).map(|known| known.to_vec())) {
                Some(known) => Some(known),
                None => folder.read(&path)?,
            };
            match known {
                Some(known) if known == bundle => {}
                Some(_) => return Err(LogError::OtherSignature { pae }),
                None => new.push((pae, bundle)),
            }
        }
        record.bundles.append(&mut new);
        let first = record.before + u64::try_from(record.entries.len()).unwrap_or(u64::MAX);
        let indexes = (first..).take(self.entries.len()).collect();
        record.entries.extend(self.entries);
        Ok(indexes)
    }
}

impl Queue {
    /// The waiting batches, up to the bound of a group.
    pub(super) fn take_group(&mut self) -> Vec<(u64, Batch)> {
        let mut bytes = 0;
        let mut fits = |(_, batch): &(u64, Batch)| {
            bytes += batch.bytes;
            bytes <= GROUP_BYTES_MAX
        };
        let count = self.waiting.iter().take_while(|waiting| fits(waiting)).count().max(1).min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }
}
