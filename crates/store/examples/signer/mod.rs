//! A signer with one Ed25519 key in memory: for tests, the bench and fixtures, never for a real log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use seaworthy_core::envelope::Bundle;
use seaworthy_core::note::{Checkpoint, KeyKind, Note, NoteSignature, VerifierKey};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, PortError, Signer};

/// One key, one name.
pub(crate) struct TestSigner {
    key: SigningKey,
    vkey: VerifierKey,
}

impl TestSigner {
    /// A signer for the log called `name`.
    pub(crate) fn new(name: &str, seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key().to_bytes();
        let vkey = VerifierKey::new(name, KeyKind::Ed25519, public).unwrap_or_else(|error| unreachable!("{error}"));
        Self { key, vkey }
    }

    /// The verifier key.
    #[allow(dead_code, reason = "the bench does not print it")]
    pub(crate) fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }

    /// The key in the text form that Go's and other note tools read.
    #[allow(dead_code, reason = "only the fixture writes it out")]
    pub(crate) fn secret_text(&self) -> String {
        let typed = [[1].as_slice(), &self.key.to_bytes()].concat();
        format!("PRIVATE+KEY+{}+{:08x}+{}", self.vkey.name(), self.vkey.key_id(), STANDARD.encode(typed))
    }
}

impl Signer for TestSigner {
    fn attest(&self, _: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        Err(PortError::new("sign a statement", "this signer signs checkpoints only"))
    }

    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        let CheckpointRequest { origin, size, root } = request.clone();
        let text = Checkpoint { origin, size, root, extensions: Vec::new() }.to_text();
        let bytes = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        let signature = NoteSignature { name: self.vkey.name().to_owned(), key_id: self.vkey.key_id(), bytes };
        Ok(Note { text, signatures: vec![signature] }.format())
    }

    fn checkpoint_again(&self, _: &CheckpointRequest) -> Result<Option<String>, PortError> {
        Ok(None) // it remembers nothing
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
