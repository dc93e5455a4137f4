//! OCI images without a container engine: fetched, verified, unpacked and shown to a step as its root.
//!
//! in: a layout folder, an archive, an image of a registry; out: [`Images`], [`Image`], [`ImageTree`].
//! `reference` reads names, `source`, `archive` and `registry` fetch, `document` reads manifests and configurations, `layer`, `stream` and `tar` take a layer apart in a
//! worker, `tree` lays layers over each other, `listing` says what a tree must hold, `kept` keeps it in the cache, `images` is
//! what others see.
//! **Invariant:** nothing of an image is used that does not follow from the digest of its manifest.

mod archive;
mod credentials;
mod document;
mod error;
mod images;
mod kept;
mod layer;
mod listing;
mod reference;
mod registry;
mod source;
mod stream;
mod tar;
mod tree;
mod unpack;

#[cfg(test)]
mod tests;

pub use document::ImageConfig;
pub use error::ImageError;
pub use images::{Add, Image, Images, Listed};
pub use kept::ImageTree;
pub(crate) use layer::take_apart;
pub use registry::RegistrySettings;
pub use tree::Dropped;
