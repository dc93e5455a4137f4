//! Unpacks the layers of an image, one over the other, into a new folder.
//!
//! in: layers in order with what was promised of them, who opens their blobs, an empty folder; out: [`Unpacked`].
//! **Invariant:** the folder is to be used only if this succeeds: then every layer's blob and archive had the digests that the manifest and
//! the configuration promise.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use seaworthy_core::digest::Digest;

use super::error::ImageError;
use super::listing::Listing;
use super::stream::{Compression, decompress};
use super::tar::Archive;
use super::tree::{Dropped, Refused, Tree};

/// One layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layer {
    /// Of the blob.
    pub(super) digest: Digest,
    /// Of the blob.
    pub(super) size: u64,
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

/// Opens the blob of a layer; the reader fails at its end if the bytes are others.
pub(super) type OpenBlob<'a> = &'a (dyn Fn(&Layer) -> Result<Box<dyn Read + Send>, ImageError> + 'a);

/// Unpacks `layers` into the empty folder at `path`, and makes the folder `workdir` of the image if no layer did.
pub(super) fn unpack(layers: &[Layer], open: OpenBlob<'_>, workdir: &str, folder: OwnedFd, path: &Path) -> Result<Unpacked, ImageError> {
    let mut tree = Tree::new(folder);
    for (index, layer) in layers.iter().enumerate() {
        one(&mut tree, layer, open(layer)?, index + 1, path)?;
    }
    let fault = |refused| fault(refused, layers.len(), path);
    tree.ensure(workdir.as_bytes()).map_err(fault)?;
    let (listing, dropped) = tree.finish().map_err(fault)?;
    Ok(Unpacked { listing, dropped })
}

fn one(tree: &mut Tree, layer: &Layer, blob: Box<dyn Read + Send>, number: usize, path: &Path) -> Result<(), ImageError> {
    let found = std::thread::scope(|scope| {
        let mut stream = decompress(scope, blob, layer.size, layer.compression);
        let mut archive = Archive::new(&mut stream);
        // the archive reads to its very end, so what is hashed is all of it
        tree.layer(&mut archive).map(|()| stream.digest())
    });
    let found = found.map_err(|refused| fault(refused, number, path))?;
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
