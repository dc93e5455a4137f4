//! A folder signed and checked on its own: `model.sig` as any OpenSSF tool writes and reads it.
//!
//! in: names, digests, sizes and modes that the caller found (it does the reading); out: the bundle's bytes, or every difference.
//! **Invariant:** nothing but `model.sig` at the root is left out, whatever the signer's list of ignored paths says.

use std::io::Read;

use seaworthy_core::artifact::{Manifest, ManifestEntry, ManifestError};
use seaworthy_core::attestation::ReadError;
use seaworthy_core::attestation::manifest::{self, ListedFile, ManifestClaim, SIGNATURE_FILE, Subject};
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::envelope::{Bundle, EnvelopeError};
use seaworthy_core::ports::KeyRole;

use super::bundle::{BundleError, verify_signature};
use crate::keys::{LocalSigner, PublicKey, SignError};

/// Why a folder was not signed, or its signature not even compared.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The files make no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signer refused.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Not a bundle.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The signature does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Not a manifest that can be checked here.
    #[error(transparent)]
    Claim(#[from] ReadError),
}

impl FolderError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Manifest(cause) => cause.code(),
            Self::Sign(cause) => cause.code(),
            Self::Envelope(cause) => cause.code(),
            Self::Bundle(cause) => cause.code(),
            Self::Claim(_) => "verify/payload",
        }
    }
}

/// One file that is not as signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// Signed, not there.
    Missing(String),
    /// There, not signed.
    Unsigned(String),
    /// Other bytes.
    Changed(String),
    /// Other mode, in octal: signed, found.
    Mode(String, u32, u32),
}

/// A folder whose signature holds, compared with what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedFolder {
    /// What was signed.
    pub claim: ManifestClaim,
    /// Everything that differs; empty means that the folder is exactly what was signed.
    pub differences: Vec<Difference>,
}

/// Hashes one file through `buffer`, which the caller keeps for the next one.
pub fn hash_file(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Hasher::new(), 0_u64);
    loop {
        let read = match reader.read(buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(read) => read,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

/// Signs a folder: the bytes of `model.sig`. A `model.sig` among the entries is left out, as everywhere.
pub fn sign_folder(signer: &LocalSigner, role: KeyRole, name: &str, entries: Vec<ManifestEntry>) -> Result<Vec<u8>, FolderError> {
    let manifest = Manifest::new(without_signature(entries))?;
    Ok(signer.sign_manifest(role, name, &manifest, Subject::Model)?.to_json())
}

/// Checks `model.sig`, ours or a peer's, and compares it with the files found.
pub fn verify_folder(signature: &[u8], key: &PublicKey, found: Vec<ManifestEntry>) -> Result<CheckedFolder, FolderError> {
    let bundle = Bundle::from_json(signature)?;
    verify_signature(&bundle, key)?;
    let claim = manifest::from_payload(&bundle.payload)?;
    let found = Manifest::new(without_signature(found))?;
    let differences = compare(&claim.files, found.entries());
    Ok(CheckedFolder { claim, differences })
}

fn without_signature(mut entries: Vec<ManifestEntry>) -> Vec<ManifestEntry> {
    entries.retain(|entry| entry.name != SIGNATURE_FILE);
    entries
}

/// Both lists are in manifest order with unique names, but the order is not that of the names' bytes: hence a map.
fn compare(signed: &[ListedFile], found: &[ManifestEntry]) -> Vec<Difference> {
    let mut open: std::collections::HashMap<&str, &ManifestEntry> = found.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let mut differences = Vec::new();
    for file in signed {
        let Some(entry) = open.remove(file.name.as_str()) else {
            differences.push(Difference::Missing(file.name.clone()));
            continue;
        };
        if entry.digest != file.digest || file.size.is_some_and(|size| size != entry.size) {
            differences.push(Difference::Changed(file.name.clone()));
        } else if let Some(mode) = file.mode.filter(|mode| *mode != entry.mode) {
            differences.push(Difference::Mode(file.name.clone(), mode, entry.mode));
        }
    }
    differences
        .extend(found.iter().filter(|entry| open.contains_key(entry.name.as_str())).map(|entry| Difference::Unsigned(entry.name.clone())));
    differences
}

#[cfg(test)]
mod tests {
    use seaworthy_core::principal::runner_id;

    use super::*;
    use crate::keys::PrivateKey;

    fn entry(name: &str, bytes: &[u8]) -> ManifestEntry {
        let (digest, size) = hash_file(&mut &*bytes, &mut [0; 3]).unwrap();
        assert_eq!(digest, Digest::of(bytes));
        ManifestEntry { name: name.to_owned(), digest, size, mode: 0o644 }
    }

    fn files() -> Vec<ManifestEntry> {
        vec![entry("model.onnx", b"weights"), entry("a/labels.json", b"[0,1]"), entry(".git/config", b"x")]
    }

    #[test]
    fn a_folder_is_what_was_signed_and_every_change_is_named() {
        let key = PrivateKey::generate(KeyRole::Runner).unwrap();
        let public = key.public();
        let signer = LocalSigner::new("o", runner_id("w", "dev")).with_key(KeyRole::Runner, key).unwrap();
        let signature = sign_folder(&signer, KeyRole::Runner, "employment", files()).unwrap();
        let check = |found: Vec<ManifestEntry>| verify_folder(&signature, &public, found).unwrap().differences;

        assert_eq!(check(files()), []);
        assert_eq!(check([files(), vec![entry("model.sig", &signature)]].concat()), [], "the signature itself");
        let name = |text: &str| text.to_owned();
        assert_eq!(check(files().split_off(1)), [Difference::Missing(name("model.onnx"))]);
        assert_eq!(check([files(), vec![entry(".github/evil.py", b"")]].concat()), [Difference::Unsigned(name(".github/evil.py"))]);
        assert_eq!(check([files(), vec![entry("a/model.sig", b"")]].concat()), [Difference::Unsigned(name("a/model.sig"))]);
        let mut changed = files();
        changed[0] = entry("model.onnx", b"Weights");
        assert_eq!(check(changed), [Difference::Changed(name("model.onnx"))]);
        let mut executable = files();
        executable[0].mode = 0o755;
        assert_eq!(check(executable), [Difference::Mode(name("model.onnx"), 0o644, 0o755)]);
        let mut renamed = files();
        renamed[0].name = name("Model.onnx");
        assert_eq!(check(renamed), [Difference::Missing(name("model.onnx")), Difference::Unsigned(name("Model.onnx"))]);

        let other = PrivateKey::generate(KeyRole::Runner).unwrap().public();
        assert_eq!(verify_folder(&signature, &other, files()).unwrap_err().code(), "verify/untrusted-key");
        for at in [40, signature.len() / 2, signature.len() - 20] {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            assert!(verify_folder(&flipped, &public, files()).is_err(), "byte {at}");
        }
    }
}
