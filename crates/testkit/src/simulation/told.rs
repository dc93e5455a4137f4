//! What the world was told, and must find again.
//!
//! in: every acknowledgement; out: what must be there now, exactly or at least.

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_store::journal::Record;

/// Everything that was acknowledged.
#[derive(Default)]
pub(crate) struct Told {
    /// Leaves by index.
    pub(crate) leaves: BTreeMap<u64, Vec<u8>>,
    /// Records of the journal in their order; the first so many of them were waited for.
    pub(crate) records: Vec<Record>,
    pub(crate) durable: usize,
    /// A journal that may have been begun anew, without that having been told.
    pub(crate) renewal: bool,
    /// Blobs.
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    /// The file that is replaced whole: what may be in it.
    pub(crate) file: Vec<Option<Vec<u8>>>,
}

impl Told {
    /// How many things.
    pub(crate) fn count(&self) -> u64 {
        (self.leaves.len() + self.records.len() + self.blobs.len()) as u64
    }

    /// A leaf was acknowledged, or read.
    pub(crate) fn leaf(&mut self, index: u64, entry: Vec<u8>) {
        self.leaves.insert(index, entry);
    }

    /// What the file may hold: the last that was acknowledged, or what was being written.
    pub(crate) fn file_begins(&mut self, bytes: &[u8]) {
        if self.file.is_empty() {
            self.file.push(None);
        }
        self.file.push(Some(bytes.to_vec()));
    }

    pub(crate) fn file_done(&mut self) {
        let last = self.file.pop();
        self.file = last.into_iter().collect();
    }

    /// Nothing but what is on the disk is left; whatever that is, it stays.
    pub(crate) fn power_was_cut(&mut self) {
        // what is found of it is taken over when the journal is opened next
    }
}
