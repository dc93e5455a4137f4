//! `seaworthy log`: leaves, proofs, checkpoint; and the two halves of having it cosigned by witnesses.
//!
//! **Invariant:** no cosignature is published that does not hold under a witness key of the trust file. No private key is opened.

use std::path::Path;
use std::sync::Arc;

use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::json_strict;
use seaworthy_core::note::{self, NOTE_BYTES_MAX, Note, NoteSignature};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, EvidenceSource as _, KeyRole, PortError, Signer};
use seaworthy_store::log::{Log as WritableLog, LogError, LogReader};
use seaworthy_trust::attest::TrustRoot;
use seaworthy_trust::transparency::{self, CheckpointError, VerifiedCheckpoint};
use serde_json::{Value, json};

use crate::arguments::Log;
use crate::failure::{CONFIGURATION, Failure, INTEGRITY, USAGE};
use crate::open::{self, Reading};
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Log) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let log = &reading.log;
    let broken = |e| Failure::integrity("log/read", e);
    match command {
        Log::Checkpoint => render::bytes(log.checkpoint().map_err(broken)?.as_bytes()),
        Log::Prove { index } => {
            let size = log.size().map_err(broken)?;
            if *index >= size {
                return Err(Failure::usage(format!("the log has {size} leaves, none is number {index}"), "leaves count from 0"));
            }
            render::bytes(log.prove(*index).map_err(|e| Failure::integrity("log/read", e))?.as_bytes());
        }
        Log::Show { from, count } => {
            let size = log.size().map_err(broken)?;
            for index in *from..size.min(from.saturating_add(*count)) {
                show(settings, index, &log.entry(index).map_err(broken)?);
            }
        }
        Log::Consistency { from } => render::bytes(add_checkpoint(log, *from)?.as_bytes()),
        Log::Publish { file } => publish(settings, &reading, file)?,
    }
    Ok(0)
}

fn show(settings: &Settings, index: u64, entry: &[u8]) {
    let value = json_strict::parse(entry).unwrap_or(Value::Null);
    if settings.json {
        render::json_line(&json!({"index": index, "entry": value}));
        return;
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("kind") == "hashedrekord" {
        render::line(&format!("{index:>6}  attestation"));
    } else {
        render::line(&format!("{index:>6}  {:<24} {}", text("code"), text("principal")));
    }
}

/// The body of an add-checkpoint request.
fn add_checkpoint(log: &LogReader, from: u64) -> Result<String, Failure> {
    let state = log.state();
    if from > state.size {
        let message = format!("the log has {} leaves, fewer than {from}", state.size);
        let hint = "a witness that cosigned more leaves than there are saw another log, or this one was rolled back: `seaworthy verify log`, and keep both checkpoints";
        return Err(Failure::new(USAGE, "log/shorter", message, hint));
    }
    log.cosignature_request(from).map_err(|e| Failure::integrity(e.code(), e))
}

/// Checks what witnesses answered and puts it under the current checkpoint.
fn publish(settings: &Settings, reading: &Reading, file: &Path) -> Result<(), Failure> {
    let answer = open::input(file, NOTE_BYTES_MAX)?;
    let (trust, from_outside) = reading.trust(None)?;
    if !from_outside {
        render::note("the witnesses are those of the workspace's own copy of the trust file, which proves nothing");
    }
    let demanded = trust.quorum;
    // one witness after the other: too few so far is no reason to refuse
    let trust = TrustRoot { quorum: 0, ..trust };
    let refused = |e: CheckpointError| Failure::new(INTEGRITY, e.code(), e.to_string(), e.hint());
    transparency::verify_checkpoint(reading.log.note().as_bytes(), &trust).map_err(refused)?;
    let current = Note::parse(reading.log.note().as_bytes()).map_err(|e| Failure::integrity("log/read", e))?;
    let mut cosigned = current.clone();
    for signature in signatures(&answer, &current)? {
        if !current.signatures.contains(&signature) {
            known(&trust, &signature)?;
            checked(&trust, &current, &signature, reading.log.state().size)?;
            renew(&mut cosigned, signature);
        }
    }
    let verified = transparency::verify_checkpoint(cosigned.format().as_bytes(), &trust).map_err(refused)?;
    if cosigned == current {
        render::note("the checkpoint has these signatures already");
    } else {
        let log = WritableLog::open(&reading.paths.log, &trust.log.origin, Arc::new(AlreadySigned::of(&trust, &current)?))
            .map_err(|e| Failure::integrity(e.code(), e))?;
        log.publish(&cosigned.format()).map_err(|e| not_published(&e))?;
    }
    report(settings, &verified, demanded);
    Ok(())
}

/// The signatures of an answer: lines alone, or a whole note, which must be of the current checkpoint.
fn signatures(answer: &[u8], current: &Note) -> Result<Vec<NoteSignature>, Failure> {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_end_matches('\n');
    if let Ok(size) = text.trim().parse::<u64>() {
        let message = format!("this is no cosignature: the witness says that it cosigned {size} leaves last");
        return Err(Failure::usage(message, format!("ask again: `seaworthy log consistency --from {size}`")));
    }
    let whole = if text.contains("\n\n") { format!("{text}\n") } else { format!("{}\n{text}\n", current.text) };
    let given = Note::parse(whole.as_bytes()).map_err(|e| {
        let hint = "expected lines `— NAME BASE64` as a witness answers them with status 200";
        Failure::new(USAGE, "log/no-cosignature", e.to_string(), hint)
    })?;
    if given.text != current.text {
        let message = "the note is of another checkpoint than the log's current one";
        return Err(Failure::new(USAGE, "log/other-checkpoint", message, AGAIN));
    }
    Ok(given.signatures)
}

const AGAIN: &str = "ask the witness again: `seaworthy log consistency --from SIZE`, SIZE being what it cosigned last";

/// Refuses a line of a key that is no witness of the trust file.
fn known(trust: &TrustRoot, signature: &NoteSignature) -> Result<(), Failure> {
    let keys = trust.witness_keys().map_err(|e| Failure::configuration(e.code(), e.to_string(), e.hint()))?;
    let named: Vec<_> = keys.iter().filter(|key| key.name() == signature.name).collect();
    if named.iter().any(|key| key.key_id() == signature.key_id) {
        return Ok(());
    }
    let message = if named.is_empty() {
        format!("`{}` is no witness of your trust file", signature.name)
    } else {
        format!("`{}` signed with another key than the one in your trust file", signature.name)
    };
    let hint = "if you trust it, add its verifier key: `seaworthy trust export > f`, edit `witnesses`, `seaworthy trust import f`";
    Err(Failure::new(CONFIGURATION, "log/unknown-witness", message, hint))
}

/// Refuses a line that does not hold on this checkpoint.
fn checked(trust: &TrustRoot, current: &Note, signature: &NoteSignature, size: u64) -> Result<(), Failure> {
    let mut note = current.clone();
    note.signatures.push(signature.clone());
    transparency::verify_checkpoint(note.format().as_bytes(), trust).map(|_| ()).map_err(|e| {
        let message = format!("the cosignature of `{}` does not hold on checkpoint {size} ({e})", signature.name);
        Failure::new(INTEGRITY, "log/cosignature", message, format!("it is forged, or of another checkpoint; {AGAIN}"))
    })
}

/// Adds a cosignature; of several of one key the newest stays.
fn renew(note: &mut Note, signature: NoteSignature) {
    let time = |signature: &NoteSignature| note::split_cosignature(&signature.bytes).map_or(0, |(time_s, _)| time_s);
    let same = |other: &NoteSignature| other.name == signature.name && other.key_id == signature.key_id;
    if note.signatures.iter().any(|other| same(other) && time(other) >= time(&signature)) {
        return;
    }
    note.signatures.retain(|other| !same(other));
    note.signatures.push(signature);
}

fn not_published(error: &LogError) -> Failure {
    match error {
        LogError::Signer { .. } => Failure::new(USAGE, "log/other-checkpoint", "the log has moved on meanwhile", AGAIN),
        error => Failure::new(INTEGRITY, error.code(), error.to_string(), error.hint()),
    }
}

fn report(settings: &Settings, verified: &VerifiedCheckpoint, demanded: usize) {
    let size = verified.checkpoint.size;
    if settings.json {
        let witnesses: Vec<Value> = verified.cosigned.iter().map(|by| json!({"witness": by.witness, "time_s": by.time_s})).collect();
        render::json(&json!({"size": size, "cosigned": witnesses, "quorum": demanded}));
        return;
    }
    for by in &verified.cosigned {
        render::line(&format!("{} cosigned checkpoint {size} at {}", by.witness, Timestamp(by.time_s.saturating_mul(1_000))));
    }
    render::line(&format!("{} cosignatures, {demanded} demanded", verified.cosigned.len()));
}

/// The signer of a log to which nothing is appended: it opens no key, and knows one checkpoint by the line that the trust
/// file's log key has signed (verified before this is made).
struct AlreadySigned {
    note: Note,
}

impl AlreadySigned {
    fn of(trust: &TrustRoot, current: &Note) -> Result<Self, Failure> {
        let key = trust.log_key().map_err(|e| Failure::configuration(e.code(), e.to_string(), e.hint()))?;
        Ok(Self { note: Note { text: current.text.clone(), signatures: current.of_key(&key).cloned().collect() } })
    }

    fn refuse<T>() -> Result<T, PortError> {
        Err(PortError::new("publishing signatures", "opens no key"))
    }
}

impl Signer for AlreadySigned {
    fn attest(&self, _: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        Self::refuse()
    }

    fn checkpoint(&self, _: &CheckpointRequest) -> Result<String, PortError> {
        Self::refuse()
    }

    fn checkpoint_again(&self, _: &CheckpointRequest) -> Result<Option<String>, PortError> {
        Err(PortError::new("finish an interrupted commit", "this command opens no key: `seaworthy run` again first"))
    }

    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        let found = Note::parse(note.as_bytes()).map_err(|e| PortError::new("read a checkpoint", e))?;
        Ok(found.text == self.note.text && self.note.signatures.iter().all(|line| found.signatures.contains(line)))
    }

    fn public_key(&self, _: KeyRole) -> Result<Vec<u8>, PortError> {
        Self::refuse()
    }
}
