//! Credentials of registries: a private file, and nothing else.
//!
//! in: a file; out: the [`Credential`] of one registry.
//! Form: `{"HOST": {"username": …, "password": …}}`, or what `docker login` and `podman login` write (`{"auths": {"HOST": {"auth": BASE64}}}`).
//! **Invariant:** a file that another user may read is refused; nothing of it is ever shown.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use seaworthy_core::json_strict;
use serde_json::Value;

use super::error::ImageError;

const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A name and a password.
pub(super) struct Credential {
    /// As they are sent.
    encoded: String,
}

impl Credential {
    /// Of `registry`; none if the file does not name it.
    pub(super) fn read(path: &Path, registry: &str) -> Result<Option<Self>, ImageError> {
        let what = || format!("`{}`", path.display());
        let mut file = File::open(path).map_err(ImageError::io("open", path))?;
        let stat = file.metadata().map_err(ImageError::io("examine", path))?;
        if stat.mode() & 0o077 != 0 {
            return Err(ImageError::document(what(), "others may read it: `chmod 600` it, and change the passwords in it"));
        }
        let mut bytes = Vec::new();
        (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(ImageError::io("read", path))?;
        // why it cannot be read would show some of it
        let refuse = |reason: &str| ImageError::document(what(), reason);
        let value = json_strict::parse(&bytes).map_err(|_| refuse("it is no JSON"))?;
        if value.get("credHelpers").is_some() || value.get("credsStore").is_some_and(|store| store != "") {
            return Err(refuse("it leaves its credentials to a helper, which is not run: write them down in a file of their own"));
        }
        let Some(entry) = value.get("auths").unwrap_or(&value).get(registry) else { return Ok(None) };
        let text = |key| entry.get(key).and_then(Value::as_str);
        let encoded = match (text("username"), text("password"), text("auth")) {
            (Some(name), Some(password), _) if !name.contains(':') => BASE64_STANDARD.encode(format!("{name}:{password}")),
            (_, _, Some(auth)) if BASE64_STANDARD.decode(auth).is_ok_and(|pair| pair.contains(&b':')) => auth.to_owned(),
            _ => return Err(refuse("its entry has neither `username` and `password` nor `auth`")),
        };
        Ok(Some(Self { encoded }))
    }

    /// What authenticates with it.
    pub(super) fn header(&self) -> String {
        format!("Basic {}", self.encoded)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credential(…)")
    }
}
