//! Private keys at rest: age files, to an X25519 identity (headless) or under a passphrase (scrypt).
//!
//! in: plain key bytes, or sealed bytes and what opens them; out: the other.
//! **Invariant:** plain bytes live only in wiped buffers; what does not open yields no partial bytes.

use std::io::{Read, Write};

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::KeyError;

/// Bytes of a sealed key file: a key is a few hundred.
const SEALED_BYTES_MAX: u64 = 64 * 1024;

/// An X25519 identity in a 0600 file: opens what was sealed to it.
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A fresh identity.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads `AGE-SECRET-KEY-1…`, comments and blank lines skipped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.parse().map(Self).map_err(|cause: &str| KeyError::Sealed(cause.to_owned())),
            _ => Err(KeyError::Sealed("expected one identity".to_owned())),
        }
    }

    /// `AGE-SECRET-KEY-1…`; wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// `age1…`: what others seal to.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }
}

/// Seals `plain` to the recipient `age1…`.
pub fn seal_to(recipient: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let recipient: age::x25519::Recipient = recipient.parse().map_err(|cause: &str| KeyError::Sealed(cause.to_owned()))?;
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(|cause| KeyError::Sealed(cause.to_string()))?;
    seal(encryptor, plain)
}

/// Seals `plain` under a passphrase; takes a second or two by design.
pub fn seal_with_passphrase(passphrase: Zeroizing<String>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    seal(age::Encryptor::with_user_passphrase(secret(passphrase)), plain)
}

/// Opens what [`seal_to`] sealed.
pub fn open_with_identity(identity: &Identity, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    open(&identity.0, sealed)
}

/// Opens what [`seal_with_passphrase`] sealed.
pub fn open_with_passphrase(passphrase: Zeroizing<String>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    open(&age::scrypt::Identity::new(secret(passphrase)), sealed)
}

fn secret(mut passphrase: Zeroizing<String>) -> SecretString {
    SecretString::from(std::mem::take(&mut *passphrase))
}

fn seal(encryptor: age::Encryptor, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut sealed = Vec::new();
    let write = || {
        let mut writer = encryptor.wrap_output(&mut sealed)?;
        writer.write_all(plain)?;
        writer.finish().map(drop)
    };
    write().map_err(|cause| KeyError::Sealed(cause.to_string()))?;
    Ok(sealed)
}

fn open(identity: &dyn age::Identity, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let refuse = |cause: &dyn std::fmt::Display| KeyError::Sealed(cause.to_string());
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(|cause| refuse(&cause))?;
    let reader = decryptor.decrypt(std::iter::once(identity)).map_err(|cause| refuse(&cause))?;
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.take(SEALED_BYTES_MAX).read_to_end(&mut plain).map_err(|cause| refuse(&cause))?;
    Ok(plain)
}
