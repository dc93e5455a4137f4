//! The simulated signer of a log: an Ed25519 key, the rule of one root a size, and a memory that may be lost.
//!
//! in: requests for checkpoints; out: notes, or refusals. **Invariant:** as long as it remembers, it signs no second root of a size.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::note::{Checkpoint, KeyKind, Note, NoteSignature, VerifierKey};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, PortError, Signer};

/// A signer of the log `name`.
pub struct SimulatedSigner {
    key: SigningKey,
    vkey: VerifierKey,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    signed: BTreeMap<u64, (Digest, String)>,
    /// Requests until it is gone.
    left: u64,
    /// It signs, and dies before it has answered.
    answers: bool,
}

impl SimulatedSigner {
    /// A signer that is there for as many requests as one likes.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let vkey = VerifierKey::new(name, KeyKind::Ed25519, key.verifying_key().to_bytes()).unwrap();
        let memory = Memory { left: u64::MAX, answers: true, ..Memory::default() };
        Self { key, vkey, memory: Mutex::new(memory) }
    }

    /// It dies after so many requests; `answers`: the last thing it signs still reaches who asked.
    pub fn dies_after(&self, requests: u64, answers: bool) {
        let mut memory = self.lock();
        (memory.left, memory.answers) = (requests, answers);
    }

    /// Whether it has died.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.lock().left == 0
    }

    /// Another process with the same key: it remembers nothing.
    pub fn forget(&self) {
        self.lock().signed.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign(&self, request: &CheckpointRequest) -> String {
        let CheckpointRequest { origin, size, root } = request.clone();
        let text = Checkpoint { origin, size, root, extensions: Vec::new() }.to_text();
        let bytes = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        let signature = NoteSignature { name: self.vkey.name().to_owned(), key_id: self.vkey.key_id(), bytes };
        Note { text, signatures: vec![signature] }.format()
    }
}

fn gone() -> PortError {
    PortError::new("ask the signer", "it is gone")
}

impl Signer for SimulatedSigner {
    fn attest(&self, _: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        Err(PortError::new("sign a statement", "this signer signs checkpoints only"))
    }

    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        let mut memory = self.lock();
        if memory.left == 0 {
            return Err(gone());
        }
        memory.left -= 1;
        if let Some((root, note)) = memory.signed.get(&request.size) {
            let refused = || PortError::new("sign a checkpoint", format!("another root of size {} was signed", request.size));
            return if *root == request.root { Ok(note.clone()) } else { Err(refused()) };
        }
        if memory.signed.last_key_value().is_some_and(|(size, _)| request.size < *size) {
            return Err(PortError::new("sign a checkpoint", "a larger one was signed"));
        }
        let note = self.sign(request);
        memory.signed.insert(request.size, (request.root, note.clone()));
        if memory.left == 0 && !memory.answers { Err(gone()) } else { Ok(note) }
    }

    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        let memory = self.lock();
        if memory.left == 0 {
            return Err(gone());
        }
        Ok(memory.signed.get(&request.size).filter(|(root, _)| *root == request.root).map(|(_, note)| note.clone()))
    }

    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        let note = Note::parse(note.as_bytes()).map_err(|error| PortError::new("read a note", error))?;
        let holds = |line: &NoteSignature| {
            let signature = Signature::from_slice(&line.bytes);
            signature.is_ok_and(|signature| self.key.verifying_key().verify_strict(note.text.as_bytes(), &signature).is_ok())
        };
        Ok(note.of_key(&self.vkey).any(holds))
    }

    fn public_key(&self, _: KeyRole) -> Result<Vec<u8>, PortError> {
        Err(PortError::new("give a key", "this signer has no SubjectPublicKeyInfo"))
    }
}
