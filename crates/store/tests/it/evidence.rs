//! A log in memory, for tests of what reads it.

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement, leaf_body};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::json_strict;
use seaworthy_core::ports::{EvidenceSource, PortError};
use seaworthy_core::principal::PrincipalId;

#[derive(Default, Clone)]
pub(crate) struct MemoryLog {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) bundles: BTreeMap<Digest, Vec<u8>>,
}

impl MemoryLog {
    pub(crate) fn event(&mut self, kind: EventKind) {
        let time_ms = 1_700_000_000_000 + self.entries.len() as u64;
        self.event_by("spiffe://w.seaworthy.internal/staging/runner", time_ms, kind);
    }

    pub(crate) fn event_by(&mut self, principal: &str, time_ms: u64, kind: EventKind) {
        let event = Event { time_ms, principal: PrincipalId(principal.into()), kind };
        self.entries.push(json_strict::to_canonical_of(&event).unwrap());
    }

    pub(crate) fn statement(&mut self, statement: &Statement) -> Digest {
        let bundle = Bundle {
            payload: statement.to_payload(),
            signature: Digest::of(&statement.to_payload()).as_bytes().to_vec(),
            key_hint: "k".repeat(64),
            log_proof: None,
        };
        self.entries.push(leaf_body(&bundle, b"not a real key"));
        let pae = bundle.pae_digest();
        self.bundles.insert(pae, bundle.to_json());
        pae
    }

    pub(crate) fn first(&self, leaves: usize) -> Self {
        Self { entries: self.entries[..leaves].to_vec(), bundles: self.bundles.clone() }
    }
}

impl EvidenceSource for MemoryLog {
    fn size(&self) -> Result<u64, PortError> {
        Ok(self.entries.len() as u64)
    }

    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError> {
        self.entries.get(index as usize).cloned().ok_or_else(|| PortError::new("read the log", "no such leaf"))
    }

    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.bundles.get(pae).cloned())
    }

    fn checkpoint(&self) -> Result<String, PortError> {
        Err(PortError::new("read the checkpoint", "a log in memory has none"))
    }

    fn inclusion_proof(&self, _index: u64) -> Result<Vec<Digest>, PortError> {
        Err(PortError::new("prove", "a log in memory has no tree"))
    }

    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError> {
        Ok(self.bundles.keys().copied().collect())
    }
}
