//! Images in one tar file: an OCI layout (`oci-archive`), or what `docker save` writes (`docker-archive`).
//!
//! in: the file; out: a [`Source`]. What `docker save` wrote has no manifest of the OCI's: one is made of its parts, always the same for the same image.
//! **Invariant:** nothing is unpacked to look for it: entries are read where they lie; a name that stands twice is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::json_strict;
use seaworthy_core::limits::{IMAGE_DOCUMENT_BYTES_MAX, IMAGE_LAYER_BYTES_MAX, IMAGE_LAYERS_MAX};
use seaworthy_core::worker::Compression;
use serde::Deserialize;
use serde_json::json;

use super::document::{self, Descriptor, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use super::error::ImageError;
use super::source::{Source, blob_name, check_layout};
use super::stream::compression_of;
use super::tar::{Archive, Kind};

/// Entries of the outer archive.
const ENTRIES_MAX: usize = 16 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;

/// A file within the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    offset: u64,
    size: u64,
}

/// An archive whose table of contents was read.
pub(super) struct ArchiveSource {
    path: PathBuf,
    file: File,
    places: BTreeMap<String, Place>,
    /// Blobs by digest, where `docker save` gave them other names.
    named: BTreeMap<Digest, Place>,
    /// The manifest that was made.
    made: Option<Vec<u8>>,
}

/// One image in `manifest.json`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A plain file: opening a pipe would wait for somebody to write into it, and devices have no end.
fn open_regular(path: &Path) -> Result<File, ImageError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(ImageError::os("open", path))?;
    let stat = fstat(&file).map_err(ImageError::os("examine", path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        return Ok(file.into());
    }
    Err(ImageError::document(format!("`{}`", path.display()), "it is neither a layout folder nor a regular file"))
}

impl ArchiveSource {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let mut file = open_regular(path)?;
        let mut head = Vec::new();
        (&mut file).take(4).read_to_end(&mut head).map_err(ImageError::io("read", path))?;
        let what = format!("`{}`", path.display());
        if compression_of(&head) != Compression::None {
            return Err(ImageError::document(what, "it is compressed as a whole: decompress it first (`gzip -d`, `zstd -d`)"));
        }
        file.rewind().map_err(ImageError::io("read", path))?;
        let places = contents(&file).map_err(|error| ImageError::document(what, error.to_string()))?;
        Ok(Self { path: path.to_path_buf(), file, places, named: BTreeMap::new(), made: None })
    }

    fn place(&self, name: &str) -> Result<Place, ImageError> {
        let missing = || ImageError::document(format!("`{}`", self.path.display()), format!("it holds no `{}`", name.escape_debug()));
        self.places.get(name).copied().ok_or_else(missing)
    }

    fn reader(&self, place: Place) -> Result<impl Read + use<>, ImageError> {
        let mut file = self.file.try_clone().map_err(ImageError::io("read", &self.path))?;
        file.seek(SeekFrom::Start(place.offset)).map_err(ImageError::io("read", &self.path))?;
        Ok(file.take(place.size))
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let place = self.place(name)?;
        if place.size > IMAGE_DOCUMENT_BYTES_MAX {
            return Err(ImageError::document(format!("`{name}`"), format!("it has more than {IMAGE_DOCUMENT_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        self.reader(place)?.read_to_end(&mut bytes).map_err(ImageError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Makes the manifest of what `docker save` wrote.
    fn make(&mut self, tag: Option<&str>) -> Result<Descriptor, ImageError> {
        let saved = saved(&self.small("manifest.json")?, tag)?;
        if saved.layers.len() > IMAGE_LAYERS_MAX {
            return Err(ImageError::document("`manifest.json`", format!("the image has more than {IMAGE_LAYERS_MAX} layers")));
        }
        let place = self.place(&saved.config)?;
        let config = self.hash(place)?;
        if let Some(promised) = promised(&saved.config).filter(|promised| *promised != config) {
            return Err(ImageError::digest("the configuration", &promised, &config));
        }
        self.named.insert(config, place);
        let mut layers = Vec::new();
        for name in &saved.layers {
            let place = self.place(name)?;
            let digest = self.hash(place)?;
            self.named.insert(digest, place);
            let mut head = Vec::new();
            self.reader(place)?.take(4).read_to_end(&mut head).map_err(ImageError::io("read", &self.path))?;
            let ending = match compression_of(&head) {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            layers.push(json!({"mediaType": format!("{OCI_LAYER}{ending}"), "digest": format!("sha256:{digest}"), "size": place.size}));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": format!("sha256:{config}"), "size": place.size},
            "layers": layers,
        });
        let bytes = json_strict::to_canonical(&manifest);
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        self.made = Some(bytes);
        Ok(Descriptor { media_type: OCI_MANIFEST.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() })
    }

    fn hash(&self, place: Place) -> Result<Digest, ImageError> {
        if place.size > IMAGE_LAYER_BYTES_MAX {
            return Err(ImageError::document("`manifest.json`", format!("a layer has more than {IMAGE_LAYER_BYTES_MAX} bytes")));
        }
        let mut reader = self.reader(place)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = reader.read(&mut buffer).map_err(ImageError::io("read", &self.path))?;
            match buffer.get(..count).filter(|chunk| !chunk.is_empty()) {
                Some(chunk) => hasher.update(chunk),
                None => return Ok(hasher.finish()),
            }
        }
    }
}

impl Source for ArchiveSource {
    fn root(&mut self, tag: Option<&str>) -> Result<Descriptor, ImageError> {
        if self.places.contains_key("oci-layout") {
            check_layout(&self.small("oci-layout")?)?;
            return document::choose(&document::index(&self.small("index.json")?, None)?, tag);
        }
        if self.places.contains_key("manifest.json") {
            return self.make(tag);
        }
        let what = format!("`{}`", self.path.display());
        Err(ImageError::document(what, "it is neither an OCI layout (`oci-layout`) nor what `docker save` writes (`manifest.json`)"))
    }

    fn open<'a>(&'a mut self, blob: &Descriptor) -> Result<Box<dyn Read + 'a>, ImageError> {
        if let Some(made) = self.made.as_ref().filter(|made| Digest::of(made) == blob.digest) {
            return Ok(Box::new(Cursor::new(made.clone())));
        }
        let place = match self.named.get(&blob.digest) {
            Some(place) => *place,
            None => self.place(&blob_name(blob))?,
        };
        Ok(Box::new(self.reader(place)?))
    }
}

/// Names of files, and where their bytes lie. A symbolic link to another file of the archive counts as that file: `docker save` of old
/// wrote a layer that stands twice once.
fn contents(file: &File) -> io::Result<BTreeMap<String, Place>> {
    let refuse = |what: &str| Err(io::Error::other(what.to_owned()));
    let mut archive = Archive::new(BufReader::with_capacity(CHUNK_BYTES, file));
    let (mut places, mut links) = (BTreeMap::new(), Vec::new());
    while let Some(entry) = archive.next()? {
        let name = String::from_utf8_lossy(entry.path.strip_prefix(b"./").unwrap_or(&entry.path)).into_owned();
        let twice = match entry.kind {
            Kind::File => places.insert(name, Place { offset: archive.offset(), size: entry.size }).is_some(),
            Kind::SymbolicLink => {
                links.push((name, String::from_utf8_lossy(&entry.target).into_owned()));
                false
            }
            Kind::Folder => false,
            Kind::HardLink | Kind::Device | Kind::Fifo => return refuse("it holds something that is neither file nor folder"),
        };
        if twice {
            return refuse("a name stands twice in it");
        }
        if places.len() + links.len() > ENTRIES_MAX {
            return refuse("it has too many entries");
        }
    }
    for (name, target) in links {
        if let Some(place) = beside(&name, &target).and_then(|target| places.get(&target)).copied()
            && places.insert(name, place).is_some()
        {
            return refuse("a name stands twice in it");
        }
    }
    Ok(places)
}

/// What a link in the folder of `name` leads to.
fn beside(name: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "" | "." => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn saved(bytes: &[u8], tag: Option<&str>) -> Result<Saved, ImageError> {
    let what = "`manifest.json`";
    let all: Vec<Saved> = json_strict::parse_typed(bytes).map_err(|e| ImageError::document(what, e.to_string()))?;
    // `app:1` calls `docker.io/library/app:1`, and so does `1`
    let is = |known: &String, tag: &str| known.strip_suffix(tag).is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', ':']));
    let called = |saved: &&Saved| tag.is_none_or(|tag| saved.repo_tags.iter().flatten().any(|known| is(known, tag)));
    let mut named = all.iter().filter(called);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => Err(ImageError::document(what, "it has no such image")),
        (Some(_), Some(_)) => {
            let tags: Vec<&str> = all.iter().filter_map(|saved| saved.repo_tags.as_ref()?.first()).map(String::as_str).collect();
            Err(ImageError::document(what, format!("it has several images ({}): choose one with `--tag`", tags.join(", "))))
        }
    }
}

/// `HEX.json`, or `blobs/sha256/HEX`.
fn promised(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.strip_suffix(".json").unwrap_or(last).parse().ok()
}
