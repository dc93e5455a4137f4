//! The images of this user: added once, found by name or digest, unpacked when a step needs them.
//!
//! in: references; out: [`Image`]s, their trees, and what a sandbox is shown.
//! Layout: blobs in `CACHE/images/store`, a store of artifacts like any other; a name is a small file in the state of this user.
//! **Invariant:** an image is its manifest's digest; everything else is read from blobs that are hashed while they are read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::limits::IMAGE_DOCUMENT_BYTES_MAX;
use seaworthy_core::ports::Workers;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::Artifacts;
use serde::{Deserialize, Serialize};

use super::super::cache::make_private;
use super::super::host_tree::Places;
use super::super::memo::remember_bytes;
use super::super::setting::Setting;
use super::archive::ArchiveSource;
use super::credentials::Credential;
use super::document::{self, Descriptor, ImageConfig};
use super::error::ImageError;
use super::kept::{ImageTree, Wanted};
use super::reference::{Reference, Remote};
use super::registry::{Registry, RegistrySettings};
use super::source::{Layout, Source, Verified, manifest, read, unwrap};
use super::unpack::Layer;

/// A command without a path that says so is looked for here.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NO_NAME: &str = "a name is letters, digits and `._-/:@`, and does not begin like a path";

/// An image whose blobs are here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// What this user calls it; empty if it has no name.
    pub name: String,
    /// Where it came from.
    pub from: String,
    /// The digest of its manifest: what names it.
    pub manifest: Digest,
    /// The digest of its configuration.
    pub config: Digest,
    /// Digests and bytes of its layers' blobs, lowest first.
    pub layers: Vec<(Digest, u64)>,
    /// How it wants to be run.
    pub run: ImageConfig,
    promised: Vec<Layer>,
}

/// A name, and what became of it.
#[derive(Debug)]
pub struct Listed {
    /// What this user calls it.
    pub name: String,
    /// The image, or what is wrong with it.
    pub image: Result<Image, ImageError>,
}

/// What `image add` is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Add<'a> {
    /// The name to give it; its reference if none.
    pub name: Option<&'a str>,
    /// Which of several images.
    pub tag: Option<&'a str>,
    /// Never reach a registry.
    pub offline: bool,
    /// The digest that is wanted, whatever the reference says now.
    pub pinned: Option<Digest>,
    /// How registries are reached.
    pub registry: Option<&'a RegistrySettings>,
    /// The file with credentials of registries.
    pub credentials: Option<&'a Path>,
}

/// The images of one user.
#[derive(Debug)]
pub struct Images {
    store: Artifacts,
    cache_dir: PathBuf,
    state_dir: PathBuf,
    workers: Arc<dyn Workers>,
}

/// A name, as it is written down.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    from: String,
    manifest: Digest,
    media_type: String,
}

impl Images {
    /// Opens them; the folders are made if they are not there.
    pub fn open(places: Places<'_>, workers: Arc<dyn Workers>) -> Result<Self, ImageError> {
        let folder = places.cache_dir.join("images");
        make_private(&folder)?;
        let store = Artifacts::open(&folder.join("store"))?;
        Ok(Self { store, cache_dir: places.cache_dir.to_path_buf(), state_dir: places.state_dir.to_path_buf(), workers })
    }

    fn places(&self) -> Places<'_> {
        Places { cache_dir: &self.cache_dir, state_dir: &self.state_dir }
    }

    /// Fetches the image that `reference` names, every blob verified while it is stored, and gives it a name. `base` is where relative
    /// paths begin.
    pub fn add(&self, reference: &str, base: &Path, add: Add<'_>) -> Result<Image, ImageError> {
        let parsed = Reference::parse(reference)?;
        if let Some(name) = add.name.filter(|name| !may_be_given(name)) {
            return Err(ImageError::Reference { text: name.escape_debug().to_string(), reason: NO_NAME.to_owned() });
        }
        let mut source: Box<dyn Source> = match &parsed {
            Reference::Path(path) => {
                let path = base.join(path);
                if path.is_dir() { Box::new(Layout::open(&path)?) } else { Box::new(ArchiveSource::open(&path)?) }
            }
            Reference::Registry(_) if add.offline => return Err(ImageError::Offline { name: reference.to_owned() }),
            Reference::Registry(remote) => {
                let credential = add.credentials.map(|file| Credential::read(file, &remote.registry)).transpose()?.flatten();
                // a digest that the reference says itself is never overruled: if the pin is another one, that is said below
                let remote = Remote { digest: remote.digest.or(add.pinned), ..remote.clone() };
                Box::new(Registry::new(&remote, add.registry.unwrap_or(&RegistrySettings::default()), credential)?)
            }
            Reference::Name(name) => return Err(ImageError::Unknown { name: name.clone() }),
        };
        let (descriptor, bytes, found) = manifest(source.as_mut(), add.tag)?;
        if let Some(pinned) = add.pinned.filter(|pinned| *pinned != descriptor.digest) {
            return Err(ImageError::digest(format!("the image `{reference}`"), &pinned, &descriptor.digest));
        }
        let config = read(source.as_mut(), &found.config, "the configuration")?;
        let run = document::config(&config)?;
        document::layers(&found, &run)?;
        for (index, layer) in found.layers.iter().enumerate() {
            self.keep(source.as_mut(), layer, index + 1)?;
        }
        self.store.put_bytes(&config)?;
        self.store.put_bytes(&bytes)?;
        let from = match &parsed {
            Reference::Path(path) => base.join(path).canonicalize().map_err(ImageError::io("find", path))?.display().to_string(),
            Reference::Registry(_) | Reference::Name(_) => reference.to_owned(),
        };
        let name = add.name.map_or_else(|| from.clone(), str::to_owned);
        let named = Named { name, from, manifest: descriptor.digest, media_type: descriptor.media_type };
        self.remember(&named)?;
        self.image(named)
    }

    /// The image that settings name: found by its name, read anew from its path, or fetched if it is of a registry and not here.
    pub fn resolve(&self, reference: &str, base: &Path, add: Add<'_>) -> Result<Image, ImageError> {
        match Reference::parse(reference)? {
            // what a path holds is compared with the pin, like a source
            Reference::Path(_) => self.add(reference, base, Add { pinned: None, ..add }),
            Reference::Name(_) => self.find(reference),
            Reference::Registry(_) => match self.find(reference) {
                Err(ImageError::Unknown { .. }) => self.add(reference, base, add),
                found => found,
            },
        }
    }

    /// The same for settings of a workspace: a path leads to something below it, so that who has the workspace has what it names.
    pub fn resolve_in_workspace(&self, reference: &str, workspace: &Path, add: Add<'_>) -> Result<Image, ImageError> {
        if let Reference::Path(path) = Reference::parse(reference)? {
            let refuse = |reason: &str| ImageError::Reference { text: reference.escape_debug().to_string(), reason: reason.to_owned() };
            if !path.components().all(|part| matches!(part, Component::CurDir | Component::Normal(_))) {
                return Err(refuse(
                    "in settings a path lies below the workspace: no absolute one, no `..` (`image add` gives others a name)",
                ));
            }
            let real = |path: &Path| path.canonicalize().map_err(ImageError::io("find", path));
            if !real(&workspace.join(&path))?.starts_with(real(workspace)?) {
                return Err(refuse("a link leads it out of the workspace (`image add` gives what lies elsewhere a name)"));
            }
        }
        self.resolve(reference, workspace, add)
    }

    fn keep(&self, source: &mut dyn Source, layer: &Descriptor, number: usize) -> Result<(), ImageError> {
        let what = format!("layer {number}");
        if self.store.contains(&layer.digest) {
            // the bound of what it may unpack to follows from its size
            let size = self.store.open_blob(&layer.digest)?.size();
            let says = || ImageError::document("the manifest", format!("it says {} bytes of {what}, which has {size}", layer.size));
            return if size == layer.size { Ok(()) } else { Err(says()) };
        }
        let mut reader = Verified::new(source.open(layer)?, layer, &what);
        match self.store.put_reader(&mut reader, layer.size) {
            Ok(_) => Ok(()),
            Err(StoreError::Io { source, .. }) => Err(unwrap(source, &what)),
            Err(fault) => Err(fault.into()),
        }
    }

    fn remember(&self, named: &Named) -> Result<(), ImageError> {
        let place = self.name_place(&named.name);
        if self::named(&place).as_ref() == Some(named) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(named).map_err(|e| ImageError::document("the name", e.to_string()))?;
        make_private(&self.names())?;
        Ok(remember_bytes(&self.names(), &place, &bytes)?)
    }

    fn names(&self) -> PathBuf {
        self.state_dir.join("images")
    }

    fn name_place(&self, name: &str) -> PathBuf {
        self.names().join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    /// All of them, sorted by name; one that is broken says why, and does not hide the others.
    pub fn list(&self) -> Vec<Listed> {
        self.known().into_values().map(|named| Listed { name: named.name.clone(), image: self.image(named) }).collect()
    }

    fn known(&self) -> BTreeMap<String, Named> {
        let entries = fs::read_dir(self.names()).into_iter().flatten().flatten();
        entries.filter_map(|entry| named(&entry.path())).map(|named| (named.name.clone(), named)).collect()
    }

    /// The image of that name, or with that manifest digest (`sha256:…`).
    pub fn find(&self, name: &str) -> Result<Image, ImageError> {
        let unknown = || ImageError::Unknown { name: name.to_owned() };
        if let Some(digest) = document::digest(name) {
            let named = self.known().into_values().find(|named| named.manifest == digest).ok_or_else(unknown)?;
            return self.image(named);
        }
        let named = named(&self.name_place(name)).filter(|named| named.name == name).ok_or_else(unknown)?;
        self.image(named)
    }

    fn image(&self, named: Named) -> Result<Image, ImageError> {
        let missing = |fault| match fault {
            StoreError::Missing { .. } => ImageError::Unknown { name: named.name.clone() },
            fault => fault.into(),
        };
        let limit = usize::try_from(IMAGE_DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX);
        let bytes = self.store.read_blob(&named.manifest, limit).map_err(missing)?;
        let found = document::manifest(&bytes, &named.media_type)?;
        let run = document::config(&self.store.read_blob(&found.config.digest, limit).map_err(missing)?)?;
        let promised = document::layers(&found, &run)?;
        if promised.iter().any(|layer| !self.store.contains(&layer.digest)) {
            return Err(ImageError::Unknown { name: named.name });
        }
        Ok(Image {
            layers: promised.iter().map(|layer| (layer.digest, layer.size)).collect(),
            name: named.name,
            from: named.from,
            manifest: named.manifest,
            config: found.config.digest,
            run,
            promised,
        })
    }

    /// The two documents of an image: its manifest, and its configuration.
    pub fn documents(&self, image: &Image) -> Result<[Vec<u8>; 2], ImageError> {
        let limit = usize::try_from(IMAGE_DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX);
        Ok([self.store.read_blob(&image.manifest, limit)?, self.store.read_blob(&image.config, limit)?])
    }

    /// The image's tree, unpacked if it is not there, hashed if anybody touched it.
    pub fn tree(&self, image: &Image) -> Result<ImageTree, ImageError> {
        let open = |layer: &Layer| Ok(self.store.verified_file(&layer.digest)?);
        let wanted =
            Wanted { manifest: image.manifest, layers: &image.promised, workdir: &image.run.workdir, open: &open, workers: &*self.workers };
        ImageTree::open(&wanted, self.places())
    }
}

/// Whether people may give this name: it says nothing of a digest, and is no path.
fn may_be_given(name: &str) -> bool {
    match Reference::parse(name) {
        Ok(Reference::Registry(remote)) => remote.digest.is_none(),
        Ok(Reference::Name(name)) => document::digest(&name).is_none(),
        Ok(Reference::Path(_)) | Err(_) => false,
    }
}

fn named(place: &Path) -> Option<Named> {
    seaworthy_core::json_strict::parse_typed(&fs::read(place).ok()?).ok()
}

impl Image {
    /// What a sandbox is shown: the tree as its root, the image's variables, working folder and command.
    pub fn setting(&self, tree: &ImageTree) -> Result<Setting, ImageError> {
        let (mounts, links) = tree.show()?;
        let mut env = self.run.env.clone();
        env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
        // those are the product's to say
        env.retain(|key, _| !key.starts_with("SEAWORTHY_"));
        let workdir = if self.run.workdir.is_empty() { None } else { tree.resolved(&self.run.workdir) };
        let command = [self.run.entrypoint.as_slice(), &self.run.cmd].concat();
        Ok(Setting { mounts, links, texts: Vec::new(), env, workdir, command })
    }
}
