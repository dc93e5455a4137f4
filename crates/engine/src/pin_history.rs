//! What pins said before: a name whose line was removed from the lock is not a new one.
//!
//! in: names that the lock does not have; out: the last pin of each that the log knows.
//! **Invariant:** a lock that the log names and the store cannot show is an error, never "was not pinned".

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::digest::Digest;
use seaworthy_core::event::EventKind;
use seaworthy_core::limits::CONFIG_FILE_BYTES_MAX;
use seaworthy_core::lock::Lock;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::proven;
use crate::resume;

/// The last pin of a name that the log knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarlierPin {
    /// The leaf that says so: a moved pin, or the beginning of a run with that lock.
    pub leaf: u64,
    /// What it said; a leaf of an earlier release may not have it.
    pub digest: Option<Digest>,
}

/// The last pin of each of `names` that a `lock.updated` leaf or the lock of a run says.
pub fn earlier(engine: &Engine, names: &BTreeSet<String>) -> Result<BTreeMap<String, EarlierPin>, EngineError> {
    let mut known = BTreeMap::new();
    let mut locks: BTreeMap<Digest, Lock> = BTreeMap::new();
    for (leaf, event) in proven::events(engine, &["lock.updated", "run.started"])? {
        match event.kind {
            EventKind::LockUpdated { pin, digest, .. } if names.contains(&pin) => {
                known.insert(pin, EarlierPin { leaf, digest });
            }
            EventKind::RunStarted { request, .. } => {
                let digest = resume::requested(engine, &request)?
                    .ok_or_else(|| unknown(leaf, &"the user's request for it is missing or is not the one that was logged"))?
                    .lock;
                if let std::collections::btree_map::Entry::Vacant(place) = locks.entry(digest) {
                    place.insert(lock_of(engine, leaf, &digest)?);
                }
                let pins = locks.get(&digest).into_iter().flat_map(|lock| &lock.pins);
                known.extend(
                    pins.filter(|(name, _)| names.contains(*name))
                        .map(|(name, pin)| (name.clone(), EarlierPin { leaf, digest: Some(pin.digest) })),
                );
            }
            _ => {}
        }
    }
    Ok(known)
}

/// The lock that a run was requested with; in dev there may have been none.
fn lock_of(engine: &Engine, leaf: u64, digest: &Digest) -> Result<Lock, EngineError> {
    if *digest == Digest::of(b"") {
        return Ok(Lock::default());
    }
    let bytes = engine.artifacts.read_blob(digest, CONFIG_FILE_BYTES_MAX).map_err(|e| unknown(leaf, &e))?;
    let text = String::from_utf8(bytes).map_err(|e| unknown(leaf, &e))?;
    Lock::parse(&text).map_err(|e| unknown(leaf, &e))
}

fn unknown(leaf: u64, cause: &dyn std::fmt::Display) -> EngineError {
    let message = format!("what the run of leaf {leaf} had pinned is not known: {cause}");
    EngineError::integrity("lock/history", message, "restore .seaworthy from a copy, or name each pin with `seaworthy lock --update NAME`")
}
