//! References to secrets: a workflow names them, and never holds them.
//!
//! in: `secret://file/NAME` as text; out: [`SecretRef`], or why not.
//! **Invariant:** a reference says where a secret is kept and how it is called, nothing of what it is.

use core::fmt;

use crate::id::Name;

/// A secret of the user's own folder of secrets; the one provider of this release.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretRef {
    /// Its name: of the file in the folder, and of the file that a step sees.
    pub name: Name,
}

/// Text that refers to no secret of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    /// Not of the form.
    #[error("it is not secret://file/NAME")]
    Form,
    /// A provider that this release cannot ask.
    #[error("no secret can be had from `{provider}` in this release")]
    Provider {
        /// Which.
        provider: String,
    },
}

impl SecretRefError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form => "secrets/reference",
            Self::Provider { .. } => "secrets/provider",
        }
    }

    /// What to write instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "write secret://file/NAME, and give it a value with `seaworthy secrets set NAME`"
    }
}

impl SecretRef {
    /// Reads `secret://file/NAME`.
    pub fn parse(text: &str) -> Result<Self, SecretRefError> {
        let (provider, name) = text.strip_prefix("secret://").and_then(|rest| rest.split_once('/')).ok_or(SecretRefError::Form)?;
        if provider != "file" {
            let known =
                !provider.is_empty() && provider.len() <= 40 && provider.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            return Err(if known { SecretRefError::Provider { provider: provider.to_owned() } } else { SecretRefError::Form });
        }
        // one that begins with a dot or an underscore could be taken for a file of ours
        let name = Name::new(name).ok().filter(|name| name.as_str().starts_with(|c: char| c.is_ascii_alphanumeric()));
        name.map(|name| Self { name }).ok_or(SecretRefError::Form)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "secret://file/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_form() {
        let read = |text: &str| SecretRef::parse(text);
        assert_eq!(read("secret://file/db-password").unwrap().to_string(), "secret://file/db-password");
        for text in [
            "",
            "db",
            "secret://",
            "secret://file",
            "secret://file/",
            "secret://file/a/b",
            "secret://file/../x",
            "secret://file/a#b",
            "secret:///x",
            "secret://file/.x",
        ] {
            assert_eq!(read(text), Err(SecretRefError::Form), "{text}");
        }
        for text in ["secret://vault/db#user", "secret://env/TOKEN"] {
            assert_eq!(read(text).unwrap_err().code(), "secrets/provider", "{text}");
        }
    }
}
