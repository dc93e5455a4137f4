//! What the whole log says, proven: every entry goes into the root that this log's key signed.
//!
//! in: the codes of events; out: those events, in log order.
//! **Invariant:** nothing is said of a log whose entries do not hash to its signed checkpoint: an edited or missing entry is an error.

use std::sync::Arc;

use seaworthy_core::event::Event;
use seaworthy_core::json_strict;
use seaworthy_core::merkle::{Frontier, leaf_hash};
use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::PortError;
use seaworthy_store::log::LogReader;
use seaworthy_trust::transparency;

use crate::engine::Engine;
use crate::error::EngineError;

/// The log as it is now, and its checkpoint under this log's key.
pub(crate) fn signed(engine: &Engine) -> Result<(Arc<LogReader>, Checkpoint), EngineError> {
    let log = engine.log.snapshot().map_err(PortError::from)?;
    let verified = transparency::verify_checkpoint(log.note().as_bytes(), &engine.trust_during_run())
        .map_err(|e| unproven(&format!("the log cannot be relied on: {e}")))?;
    Ok((log, verified.checkpoint))
}

/// All events of these codes, with the indexes of their leaves.
pub(crate) fn events(engine: &Engine, codes: &[&str]) -> Result<Vec<(u64, Event)>, EngineError> {
    let (log, checkpoint) = signed(engine)?;
    let marks: Vec<String> = codes.iter().map(|code| format!("\"code\":\"{code}\"")).collect();
    let mut tree = Frontier::default();
    let mut found = Vec::new();
    for entry in log.entries(0..checkpoint.size) {
        let (index, entry) = entry.map_err(PortError::from)?;
        tree.push(leaf_hash(&entry));
        // leaves are canonical: an event of this code holds exactly these bytes
        if std::str::from_utf8(&entry).is_ok_and(|text| marks.iter().any(|mark| text.contains(mark))) {
            found.push((index, entry));
        }
    }
    if tree.root() != checkpoint.root {
        return Err(unproven("its entries do not hash to its signed root"));
    }
    let mut events = Vec::with_capacity(found.len());
    for (index, entry) in found {
        let event = json_strict::parse_typed(&entry).map_err(|e| unproven(&format!("leaf {index} cannot be read: {e}")))?;
        events.push((index, event));
    }
    Ok(events)
}

fn unproven(message: &str) -> EngineError {
    EngineError::integrity("log/unproven", message, "run `seaworthy verify log`")
}
