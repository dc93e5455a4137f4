//! Between the log and its signer: having checkpoints signed, knowing one's own, and finishing a commit that died in between.
//!
//! in: sizes and roots, or an intent that a `wal` ends with; out: notes that the log's key has signed.
//! **Invariant:** what is to be signed is in the `wal` before the signer is asked: if the signature is lost on its way, the
//! same is asked for again, and no other root of that size.
//! **Invariant:** an intent found in the files was written by anybody. It is finished only if the signer remembers having
//! signed exactly that, and is cut off otherwise: no leaf that somebody wrote into the files gets a signature.

use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::{CheckpointRequest, Signer};

use super::LogError;
use super::edge::Edge;
use super::wal::{Intent, Record};
use super::writer::CHECKPOINT;

/// The checkpoint of `edge`, not signed.
pub(super) fn unsigned(origin: &str, edge: &Edge) -> Checkpoint {
    Checkpoint { origin: origin.to_owned(), size: edge.size(), root: edge.root(), extensions: Vec::new() }
}

/// Has a checkpoint signed and checks that it is the one asked for.
pub(super) fn sign(signer: &dyn Signer, wanted: &Checkpoint) -> Result<String, LogError> {
    let note = signer.checkpoint(&request(wanted)).map_err(|error| LogError::Signer { cause: error.to_string() })?;
    asked_for(note, wanted)
}

fn request(wanted: &Checkpoint) -> CheckpointRequest {
    CheckpointRequest { origin: wanted.origin.clone(), size: wanted.size, root: wanted.root }
}

fn asked_for(note: String, wanted: &Checkpoint) -> Result<String, LogError> {
    match Checkpoint::parse(note.as_bytes()) {
        Ok((signed, _)) if signed == *wanted => Ok(note),
        Ok(_) => Err(LogError::Signer { cause: "it signed another checkpoint than the one asked for".to_owned() }),
        Err(error) => Err(LogError::Signer { cause: error.to_string() }),
    }
}

/// Refuses a checkpoint that this log's key did not sign: to extend it would be to sign whatever somebody wrote before it.
pub(super) fn own(signer: &dyn Signer, note: &str) -> Result<(), LogError> {
    let (checkpoint, _) = Checkpoint::parse(note.as_bytes())?;
    if signer.is_signed_by_log(note).map_err(|error| LogError::Signer { cause: error.to_string() })? {
        return Ok(());
    }
    Err(LogError::corrupt(CHECKPOINT, format!("the state of {} leaves is not signed by this log's key", checkpoint.size)))
}

/// The record that an intent behind `edge` becomes if the signer signed it before; `None` if it did not.
pub(super) fn finish(signer: &dyn Signer, origin: &str, edge: &Edge, intent: Intent) -> Result<Option<Record>, LogError> {
    let record = intent.record;
    if record.before != edge.size() || record.entries.is_empty() {
        return Ok(None);
    }
    let mut edge = edge.clone();
    for entry in &record.entries {
        edge.push(entry, &mut Vec::new())?;
    }
    let wanted = unsigned(origin, &edge);
    if wanted.to_text() != record.checkpoint {
        return Ok(None);
    }
    let again = signer.checkpoint_again(&request(&wanted)).map_err(|error| LogError::Signer { cause: error.to_string() })?;
    let Some(note) = again else { return Ok(None) };
    let note = asked_for(note, &wanted)?;
    own(signer, &note)?;
    Ok(Some(Record { checkpoint: note, ..record }))
}
