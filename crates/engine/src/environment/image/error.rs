//! Why an image could not be had.
//!
//! in: faults of references, documents, layers, registries; out: [`ImageError`] with a stable code and a hint.
//! **Invariant:** bytes that are not what a digest promised are [`ImageError::Digest`], whoever sent them.

use std::io;
use std::path::{Path, PathBuf};

use seaworthy_core::digest::Digest;
use seaworthy_store::StoreError;

use super::super::error::EnvironmentError;

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A text that names no image.
    #[error("`{text}` names no image: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// No image of that name was added.
    #[error("there is no image `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// An index, manifest, configuration or archive that is not what the specification says.
    #[error("{what} is refused: {reason}")]
    Document {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The image is for other machines.
    #[error("the image is for {offered}, this machine is {wanted}")]
    Platform {
        /// This machine's.
        wanted: String,
        /// The image's.
        offered: String,
    },
    /// Bytes that are not what was promised.
    #[error("{what} is not what was promised: {promised}, but it is {found}")]
    Digest {
        /// What was read.
        what: String,
        /// Digest or size.
        promised: String,
        /// Digest or size.
        found: String,
    },
    /// A layer with an entry that is not taken, or that is no archive.
    #[error("layer {layer} of the image is refused: {reason}")]
    Layer {
        /// Counted from 1.
        layer: usize,
        /// The entry, and why.
        reason: String,
    },
    /// A registry that did not answer, or not as the specification says.
    #[error("the registry `{registry}` {reason}")]
    Registry {
        /// Host and port.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// Not here, and going online is not allowed.
    #[error("the image `{name}` is not here and the run is offline")]
    Offline {
        /// The reference.
        name: String,
    },
    /// The operating system said no.
    #[error("could not {what} `{}`: {source}", .path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The cache or the store failed.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

impl ImageError {
    /// Stable code for people and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "image/reference",
            Self::Unknown { .. } => "image/unknown",
            Self::Document { .. } => "image/document",
            Self::Platform { .. } => "image/platform",
            Self::Digest { .. } => "image/digest",
            Self::Layer { .. } => "image/layer",
            Self::Registry { .. } => "image/registry",
            Self::Offline { .. } => "image/offline",
            Self::Io { .. } => "image/io",
            Self::Environment(error) => error.code(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Reference { .. } => {
                "name a folder or archive (`./image.tar`), or an image of a registry (`registry.example/team/app:1.2`)"
            }
            Self::Unknown { .. } => "`seaworthy image list` shows what is here; `seaworthy image add SOURCE --name NAME` adds one",
            Self::Document { .. } => "write the image anew with the tool that made it, as an OCI layout or `docker save` archive",
            Self::Platform { .. } => "name an image, or an index, that has this platform",
            Self::Digest { .. } => "fetch the image again; if that does not help, whoever keeps it has changed or damaged it",
            Self::Layer { .. } => {
                "look at the image: no ordinary build tool writes this; build it anew, and do not run it elsewhere either"
            }
            Self::Registry { .. } => "check the name and the network; credentials stand in the file that `--credentials` names (mode 0600)",
            Self::Offline { .. } => "`seaworthy image add` while online, or run without `--offline`",
            Self::Io { .. } => "check that it exists, its permissions, and free space of the cache folder",
            Self::Environment(error) => return error.hint(),
        };
        hint.to_owned()
    }

    /// Whether bytes were not what a digest says: an integrity failure, not a wish that cannot be met.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        matches!(self, Self::Digest { .. } | Self::Layer { .. } | Self::Environment(EnvironmentError::Tampered { .. }))
    }

    pub(super) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    pub(super) fn os(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let wrap = Self::io(what, path);
        move |errno| wrap(errno.into())
    }

    pub(super) fn document(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Document { what: what.into(), reason: reason.into() }
    }

    pub(super) fn digest(what: impl Into<String>, promised: &Digest, found: &Digest) -> Self {
        Self::Digest { what: what.into(), promised: format!("sha256:{promised}"), found: format!("sha256:{found}") }
    }
}

impl From<StoreError> for ImageError {
    fn from(error: StoreError) -> Self {
        Self::Environment(EnvironmentError::Store(error))
    }
}
