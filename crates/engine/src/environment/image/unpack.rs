//! Unpacks the layers of an image, one over the other, into a new folder.
//!
//! in: layers in order with what was promised of them, who opens their blobs, an empty folder; out: [`Unpacked`].
//! **Invariant:** the folder is to be used only if this succeeds: then every layer's blob and archive had the digests that the manifest and
//! the configuration promise.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use seaworthy_core::digest::Digest;
use seaworthy_core::limits::WORKER_TIME_S_DEFAULT;
use seaworthy_core::ports::{Job, Workers};
use seaworthy_core::worker::{Compression, Request};

use super::super::error::EnvironmentError;
use super::error::ImageError;
use super::layer::Worked;
use super::listing::Listing;
use super::tree::{Dropped, Refused, Tree};

/// One layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layer {
    /// Of the blob.
    pub(super) digest: Digest,
    /// Of the blob.
    pub(super) size: u64,
    /// How the blob is compressed.
    pub(super) compression: Compression,
    /// Of the archive that the blob decompresses to.
    pub(super) diff_id: Digest,
}

/// What a folder holds now.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) listing: Listing,
    pub(super) dropped: Dropped,
}

/// Opens the blob of a layer, after it was hashed through that very descriptor.
pub(super) type OpenBlob<'a> = &'a (dyn Fn(&Layer) -> Result<File, ImageError> + 'a);

/// Unpacks `layers` into the empty folder at `path`, and makes the folder `workdir` of the image if no layer did.
pub(super) fn unpack(
    layers: &[Layer],
    (open, workers): (OpenBlob<'_>, &dyn Workers),
    workdir: &str,
    folder: OwnedFd,
    path: &Path,
) -> Result<Unpacked, ImageError> {
    let mut tree = Tree::new(folder);
    for (index, layer) in layers.iter().enumerate() {
        workers.prepare(1);
        one(&mut tree, layer, (&open(layer)?, workers), index + 1, path)?;
    }
    let fault = |refused| fault(refused, layers.len(), path);
    tree.ensure(workdir.as_bytes()).map_err(fault)?;
    let (listing, dropped) = tree.finish().map_err(fault)?;
    Ok(Unpacked { listing, dropped })
}

fn one(tree: &mut Tree, layer: &Layer, (blob, workers): (&File, &dyn Workers), number: usize, path: &Path) -> Result<(), ImageError> {
    let request = Request::Layer { compression: layer.compression };
    let descriptors = [blob.as_fd()];
    let time_max = Duration::from_secs(WORKER_TIME_S_DEFAULT);
    let begun = workers.begin(&Job { request: &request, files: &descriptors, time_max, stop: &|| false });
    let working = begun.map_err(|fault| EnvironmentError::Worker { what: format!("layer {number}"), fault })?;
    let mut entries = Worked::new(working, layer.size, layer.compression);
    // the worker ends with the archive's very end, so what is hashed is all of it
    tree.layer(&mut entries).map_err(|refused| fault(refused, number, path))?;
    let found = entries.digest();
    if found == layer.diff_id {
        return Ok(());
    }
    Err(ImageError::digest(format!("the archive of layer {number} (its diffID)"), &layer.diff_id, &found))
}

fn fault(refused: Refused, layer: usize, path: &Path) -> ImageError {
    match refused {
        Refused::Entry(reason) => ImageError::Layer { layer, reason },
        Refused::Disk(source) => ImageError::Io { what: "unpack into", path: path.to_path_buf(), source },
    }
}
