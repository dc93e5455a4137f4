//! The user's secrets: one sealed file each, outside every workspace, beside the keys of the same environment.
//!
//! in: the configuration folder; out: values for steps that declare them.
//! **Invariant:** files of mode 0600, sealed to an identity of their own; a value is never in an argument, a variable or a message.

use std::path::{Path, PathBuf};

use seaworthy_core::digest::hex_encode;
use seaworthy_core::id::Name;
use seaworthy_core::limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};
use seaworthy_engine::error::EngineError;
use seaworthy_engine::secrets::{KeptSecret, SecretSource};
use seaworthy_trust::keys::{Identity, open_with_identity, seal_to};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::keystore::{self, Keystore};

const ENDING: &str = ".age";
/// Characters of a version, which stands before the value in the sealed file.
const VERSION_CHARS: usize = 32;

/// The folder of secrets of one workspace environment.
#[derive(Debug, Clone)]
pub(crate) struct SecretStore {
    dir: PathBuf,
    environment: String,
}

impl SecretStore {
    pub(crate) fn of(keystore: &Keystore) -> Self {
        Self { dir: keystore.dir().join("secrets"), environment: keystore.environment().to_owned() }
    }

    pub(crate) fn environment(&self) -> &str {
        &self.environment
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.dir.join(format!("{name}{ENDING}"))
    }

    fn identity_path(&self) -> PathBuf {
        self.dir.join("identity.txt")
    }

    /// Names that have a value, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, Failure> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(&self.dir, &error)),
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().and_then(|file| file.strip_suffix(ENDING)).map(str::to_owned))
            .filter(|name| Name::new(name.as_str()).is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Sets a value. The same value again keeps its version, so that nothing runs anew for it.
    pub(crate) fn set(&self, name: &Name, value: &[u8]) -> Result<(), Failure> {
        let length = value.trim_ascii().len();
        if length < SECRET_BYTES_MIN || value.len() > SECRET_BYTES_MAX {
            let hint = format!(
                "at least {SECRET_BYTES_MIN} bytes, without which it could not be told from other text, at most {SECRET_BYTES_MAX}"
            );
            return Err(Failure::configuration("secrets/size", format!("the value of `{name}` has {length} bytes"), hint));
        }
        if self.path(name).is_file() && self.open(name)?.value.as_slice() == value {
            return Ok(());
        }
        seaworthy_store::workspace::private_folder(&self.dir).map_err(|e| unwritable(&self.dir, &e))?;
        let mut random = [0_u8; VERSION_CHARS / 2];
        getrandom::fill(&mut random).map_err(|e| Failure::internal("secrets/random", e))?;
        let mut plain = Zeroizing::new(Vec::with_capacity(VERSION_CHARS + value.len()));
        plain.extend_from_slice(hex_encode(&random).as_bytes());
        plain.extend_from_slice(value);
        let sealed = seal_to(&self.identity()?.recipient(), &plain).map_err(|e| Failure::internal("secrets/seal", e))?;
        write(&self.path(name), &sealed)
    }

    /// Removes a value; false if there was none.
    pub(crate) fn remove(&self, name: &Name) -> Result<bool, Failure> {
        let path = self.path(name);
        seaworthy_store::workspace::remove_file(&path).map_err(|e| unwritable(&path, &e))
    }

    /// The identity that all are sealed to; made when the first is set.
    fn identity(&self) -> Result<Identity, Failure> {
        let path = self.identity_path();
        if !path.is_file() {
            write(&path, Identity::generate().to_text().as_bytes())?;
        }
        let text = keystore::read_private(&path)?;
        Identity::parse(&String::from_utf8_lossy(&text))
            .map_err(|e| Failure::configuration("secrets/identity", e.to_string(), "restore the folder of secrets, or set them anew"))
    }

    fn open(&self, name: &Name) -> Result<KeptSecret, Failure> {
        let path = self.path(name);
        if !path.is_file() {
            let message = format!("there is no secret `{name}` for environment `{}`", self.environment);
            return Err(Failure::configuration("secrets/missing", message, format!("`seaworthy secrets set {name}` asks for its value")));
        }
        let sealed = keystore::read_private(&path)?;
        let damaged = |cause: String| {
            Failure::configuration(
                "secrets/unreadable",
                format!("`{}`: {cause}", path.display()),
                format!("`seaworthy secrets set {name}` sets it anew"),
            )
        };
        let plain = open_with_identity(&self.identity()?, &sealed).map_err(|e| damaged(e.to_string()))?;
        let (version, value) = plain.split_at_checked(VERSION_CHARS).ok_or_else(|| damaged("it is cut".to_owned()))?;
        let version = std::str::from_utf8(version).map_err(|e| damaged(e.to_string()))?.to_owned();
        Ok(KeptSecret { version, value: Zeroizing::new(value.to_vec()) })
    }
}

impl SecretSource for SecretStore {
    fn read(&self, name: &Name) -> Result<KeptSecret, EngineError> {
        self.open(name).map_err(|failure| EngineError::configuration(&failure.code, failure.message, failure.hint))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    seaworthy_store::workspace::write_atomic(path, bytes, 0o600).map_err(|e| unwritable(path, &e))
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::configuration("secrets/unreadable", format!("`{}`: {cause}", path.display()), "the configuration folder must be yours")
}

fn unwritable(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    let hint = "the configuration folder must be yours and writable";
    Failure::configuration("secrets/unwritable", format!("`{}`: {cause}", path.display()), hint)
}
