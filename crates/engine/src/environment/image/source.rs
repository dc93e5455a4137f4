//! Where images come from: the trait of all sources, and the OCI image layout in a folder.
//!
//! in: a folder, a file, a registry; out: the image's first descriptor, and blobs by descriptor.
//! **Invariant:** no source is believed: whoever reads a blob counts and hashes it ([`Verified`]).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use seaworthy_core::digest::Hasher;
use seaworthy_core::json_strict;
use seaworthy_core::limits::IMAGE_DOCUMENT_BYTES_MAX;
use serde::Deserialize;

use super::document::{self, Descriptor, ImageManifest};
use super::error::ImageError;

/// Indexes within indexes.
const NESTED_MAX: usize = 3;

/// Somewhere that images are kept.
pub(super) trait Source {
    /// The image, or an index of images; `tag` chooses among several.
    fn root(&mut self, tag: Option<&str>) -> Result<Descriptor, ImageError>;

    /// The bytes of a blob, unverified.
    fn open<'a>(&'a mut self, blob: &Descriptor) -> Result<Box<dyn Read + 'a>, ImageError>;
}

/// The manifest for this machine, and its bytes.
pub(super) fn manifest(source: &mut dyn Source, tag: Option<&str>) -> Result<(Descriptor, Vec<u8>, ImageManifest), ImageError> {
    let mut at = source.root(tag)?;
    for _ in 0..NESTED_MAX {
        let bytes = read(source, &at, "the manifest")?;
        if !at.is_index() {
            let manifest = document::manifest(&bytes, &at.media_type)?;
            return Ok((at, bytes, manifest));
        }
        at = document::choose(&document::index(&bytes, Some(&at.media_type))?, None)?;
    }
    Err(ImageError::document("the index", "indexes are nested too deeply"))
}

/// All of a small blob, verified.
pub(super) fn read(source: &mut dyn Source, blob: &Descriptor, what: &str) -> Result<Vec<u8>, ImageError> {
    if blob.size > IMAGE_DOCUMENT_BYTES_MAX {
        return Err(ImageError::document(what, format!("it has more than {IMAGE_DOCUMENT_BYTES_MAX} bytes")));
    }
    let mut bytes = Vec::new();
    let mut reader = Verified::new(source.open(blob)?, blob, what);
    reader.read_to_end(&mut bytes).map_err(|error| unwrap(error, what))?;
    Ok(bytes)
}

/// Passes bytes on, and fails where they stop being what the descriptor says: behind its size, or at the end.
pub(super) struct Verified<'a, R> {
    inner: R,
    blob: &'a Descriptor,
    what: &'a str,
    hasher: Option<Hasher>,
    read: u64,
}

impl<'a, R: Read> Verified<'a, R> {
    pub(super) fn new(inner: R, blob: &'a Descriptor, what: &'a str) -> Self {
        Self { inner, blob, what, hasher: Some(Hasher::new()), read: 0 }
    }

    fn other_size(&self, found: String) -> io::Error {
        let promised = format!("{} bytes", self.blob.size);
        io::Error::other(ImageError::Digest { what: self.what.to_owned(), promised, found })
    }
}

impl<R: Read> Read for Verified<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read = self.read.saturating_add(count as u64);
        if self.read > self.blob.size {
            return Err(self.other_size("longer".to_owned()));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.read < self.blob.size {
            return Err(self.other_size(format!("{} bytes", self.read)));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.blob.digest => Err(io::Error::other(ImageError::digest(self.what, &self.blob.digest, &found))),
            // the end again
            _ => Ok(0),
        }
    }
}

/// Gives a fault that a reader carried back as itself.
pub(super) fn unwrap(error: io::Error, what: &str) -> ImageError {
    match error.downcast::<ImageError>() {
        Ok(fault) => fault,
        Err(source) => ImageError::Io { what: "read", path: PathBuf::from(what), source },
    }
}

/// An OCI image layout (image-spec, image-layout.md).
pub(super) struct Layout {
    path: PathBuf,
    root: OwnedFd,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

/// `oci-layout`.
pub(super) fn check_layout(bytes: &[u8]) -> Result<(), ImageError> {
    let what = "`oci-layout`";
    let file: LayoutFile = json_strict::parse_typed(bytes).map_err(|e| ImageError::document(what, e.to_string()))?;
    if file.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    Err(ImageError::document(what, format!("the layout has version `{}`, not 1", file.image_layout_version.escape_debug())))
}

/// Where a layout keeps a blob.
pub(super) fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/sha256/{}", blob.digest)
}

impl Layout {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(ImageError::os("open", path))?;
        let layout = Self { path: path.to_path_buf(), root };
        check_layout(&layout.small("oci-layout")?)?;
        Ok(layout)
    }

    /// A regular file within the folder; no link leads out.
    fn file(&self, name: &str) -> Result<File, ImageError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let place = self.path.join(name);
        let file = openat2(&self.root, name, flags, Mode::empty(), resolve).map_err(ImageError::os("open", &place))?;
        let stat = fstat(&file).map_err(ImageError::os("examine", &place))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ImageError::document(format!("`{}`", place.display()), "it is no regular file"));
        }
        Ok(file.into())
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let read = self.file(name)?.take(IMAGE_DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(ImageError::io("read", self.path.join(name)))?;
        if bytes.len() as u64 > IMAGE_DOCUMENT_BYTES_MAX {
            return Err(ImageError::document(format!("`{name}`"), format!("it has more than {IMAGE_DOCUMENT_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }
}

impl Source for Layout {
    fn root(&mut self, tag: Option<&str>) -> Result<Descriptor, ImageError> {
        document::choose(&document::index(&self.small("index.json")?, None)?, tag)
    }

    fn open<'a>(&'a mut self, blob: &Descriptor) -> Result<Box<dyn Read + 'a>, ImageError> {
        Ok(Box::new(self.file(&blob_name(blob))?))
    }
}
