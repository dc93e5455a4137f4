//! The documents of an image: index, manifest, configuration (OCI image-spec 1.1, and Docker's image manifest 2.2, which it came from).
//!
//! in: JSON; out: [`Descriptor`]s, [`ImageManifest`], [`ImageConfig`].
//! **Invariant:** a document has one meaning: no key twice, no other media type than its descriptor says, never layers and manifests at once.

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use seaworthy_core::limits::{IMAGE_LAYER_BYTES_MAX, IMAGE_LAYERS_MAX};
use seaworthy_core::worker::Compression;
use serde::Deserialize;
use serde_json::Value;

use super::error::ImageError;
use super::unpack::Layer;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Where a layout says what a manifest is called.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const ENV_MAX: usize = 4096;

/// Names a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    fn is_image(&self) -> bool {
        self.is_index() || matches!(self.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// What a layout calls it.
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

/// A machine that an image is for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

impl Platform {
    /// This machine's, in Go's words, which the specification uses.
    pub(super) fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)
    }
}

/// What a manifest names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ImageManifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What an image says about how it is run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageConfig {
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Begins the command.
    pub entrypoint: Vec<String>,
    /// Ends it, unless another is given.
    pub cmd: Vec<String>,
    /// Working folder, absolute; empty if the image has none.
    pub workdir: String,
    /// The user it asks for: steps never are who they ask to be.
    pub user: String,
    pub(super) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u64,
    media_type: Option<String>,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
struct RawConfig {
    architecture: String,
    os: String,
    config: Option<RawRun>,
    rootfs: RawRoot,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// `sha256:HEX` and nothing else.
pub(super) fn digest(text: &str) -> Option<Digest> {
    text.strip_prefix("sha256:")?.parse().ok()
}

fn descriptor(raw: RawDescriptor, what: &str) -> Result<Descriptor, ImageError> {
    let digest =
        digest(&raw.digest).ok_or_else(|| ImageError::document(what, format!("`{}` is no SHA-256 digest", raw.digest.escape_debug())))?;
    if raw.urls.is_some_and(|urls| !urls.is_empty()) {
        return Err(ImageError::document(what, "a blob is to be fetched from elsewhere (`urls`)"));
    }
    let annotations = raw.annotations.unwrap_or_default();
    Ok(Descriptor { media_type: raw.media_type, digest, size: raw.size, platform: raw.platform, annotations })
}

/// The manifests of an index that are images.
pub(super) fn index(bytes: &[u8], wanted: Option<&str>) -> Result<Vec<Descriptor>, ImageError> {
    let what = "the index";
    let value = unambiguous(bytes, what)?;
    let raw: RawIndex = serde_json::from_value(value).map_err(|e| ImageError::document(what, e.to_string()))?;
    check_kind(what, raw.schema_version, raw.media_type.as_deref(), wanted)?;
    let all: Result<Vec<Descriptor>, ImageError> = raw.manifests.into_iter().map(|raw| descriptor(raw, what)).collect();
    Ok(all?.into_iter().filter(Descriptor::is_image).collect())
}

/// The manifest of an image.
pub(super) fn manifest(bytes: &[u8], wanted: &str) -> Result<ImageManifest, ImageError> {
    let what = "the manifest";
    let value = unambiguous(bytes, what)?;
    let raw: RawManifest = serde_json::from_value(value).map_err(|e| ImageError::document(what, e.to_string()))?;
    check_kind(what, raw.schema_version, raw.media_type.as_deref(), Some(wanted))?;
    if raw.layers.len() > IMAGE_LAYERS_MAX {
        return Err(ImageError::document(what, format!("it has more than {IMAGE_LAYERS_MAX} layers")));
    }
    let layers: Result<Vec<Descriptor>, ImageError> = raw.layers.into_iter().map(|raw| descriptor(raw, what)).collect();
    let layers = layers?;
    if layers.iter().any(|layer| layer.size > IMAGE_LAYER_BYTES_MAX) {
        return Err(ImageError::document(what, format!("a layer has more than {IMAGE_LAYER_BYTES_MAX} bytes")));
    }
    Ok(ImageManifest { config: descriptor(raw.config, what)?, layers })
}

/// A document that is a manifest to one reader and an index to another (CVE-2021-41190) is neither.
fn unambiguous(bytes: &[u8], what: &str) -> Result<Value, ImageError> {
    let value = json_strict::parse(bytes).map_err(|e| ImageError::document(what, e.to_string()))?;
    let has = |key| value.get(key).is_some();
    if has("manifests") && (has("layers") || has("config")) {
        return Err(ImageError::document(what, "it is a manifest and an index at once"));
    }
    Ok(value)
}

fn check_kind(what: &str, version: u64, found: Option<&str>, wanted: Option<&str>) -> Result<(), ImageError> {
    if version != 2 {
        return Err(ImageError::document(what, format!("its schema version is {version}, not 2")));
    }
    match (found, wanted) {
        (Some(found), Some(wanted)) if found != wanted => {
            Err(ImageError::document(what, format!("it was announced as `{wanted}`, but says that it is `{}`", found.escape_debug())))
        }
        _ => Ok(()),
    }
}

/// The configuration, for this machine alone.
pub(super) fn config(bytes: &[u8]) -> Result<ImageConfig, ImageError> {
    let what = "the configuration";
    let refuse = |reason: String| ImageError::document(what, reason);
    let raw: RawConfig = json_strict::parse_typed(bytes).map_err(|e| refuse(e.to_string()))?;
    let (offered, wanted) = (Platform { architecture: raw.architecture, os: raw.os }, Platform::here());
    if offered != wanted {
        return Err(ImageError::Platform { wanted: wanted.to_string(), offered: offered.to_string() });
    }
    if raw.rootfs.kind != "layers" {
        return Err(refuse("its root file system is not made of layers".to_owned()));
    }
    let diff_ids: Option<Vec<Digest>> = raw.rootfs.diff_ids.iter().map(|text| digest(text)).collect();
    let run = raw.config.unwrap_or_default();
    let workdir = run.working_dir.unwrap_or_default();
    if !workdir.is_empty() && !workdir.starts_with('/') {
        return Err(refuse("its working folder is not absolute".to_owned()));
    }
    Ok(ImageConfig {
        env: variables(&run.env.unwrap_or_default()).map_err(refuse)?,
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        workdir,
        user: run.user.unwrap_or_default(),
        diff_ids: diff_ids.ok_or_else(|| refuse("a diffID is no SHA-256 digest".to_owned()))?,
    })
}

fn variables(list: &[String]) -> Result<BTreeMap<String, String>, String> {
    if list.len() > ENV_MAX {
        return Err(format!("it has more than {ENV_MAX} variables"));
    }
    let split = |text: &String| {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty() && !text.contains('\0'))?;
        Some((key.to_owned(), value.to_owned()))
    };
    list.iter().map(|text| split(text).ok_or_else(|| format!("`{}` is no variable", text.escape_debug()))).collect()
}

/// The layers as the manifest and the configuration promise them together.
pub(super) fn layers(manifest: &ImageManifest, config: &ImageConfig) -> Result<Vec<Layer>, ImageError> {
    if manifest.layers.len() != config.diff_ids.len() {
        let reason = format!("it has {} layers, the configuration {} diffIDs", manifest.layers.len(), config.diff_ids.len());
        return Err(ImageError::document("the manifest", reason));
    }
    let promised = |(layer, diff_id): (&Descriptor, &Digest)| {
        let compression = compression(&layer.media_type).ok_or_else(|| {
            ImageError::document("the manifest", format!("layers of the type `{}` are not taken", layer.media_type.escape_debug()))
        })?;
        Ok(Layer { digest: layer.digest, size: layer.size, compression, diff_id: *diff_id })
    };
    manifest.layers.iter().zip(&config.diff_ids).map(promised).collect()
}

fn compression(media_type: &str) -> Option<Compression> {
    match media_type {
        OCI_LAYER | "application/vnd.docker.image.rootfs.diff.tar" => Some(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

/// The one manifest for this machine, or the one that is called `tag`.
pub(super) fn choose(found: &[Descriptor], tag: Option<&str>) -> Result<Descriptor, ImageError> {
    let here = Platform::here();
    let called = |one: &Descriptor| tag.is_none_or(|tag| one.ref_name() == Some(tag));
    let named: Vec<Descriptor> = found.iter().filter(|one| called(one)).cloned().collect();
    let fits = |one: &&Descriptor| one.platform.as_ref().is_none_or(|platform| *platform == here);
    let fitting: Vec<&Descriptor> = named.iter().filter(fits).collect();
    match (fitting.as_slice(), named.is_empty()) {
        ([one], _) => Ok((*one).clone()),
        // variants of one machine: the first is the most general
        ([first, ..], _) if fitting.iter().all(|one| one.platform.is_some() && one.ref_name() == first.ref_name()) => Ok((*first).clone()),
        ([], false) => {
            let offered: Vec<String> = named.iter().filter_map(|one| Some(one.platform.as_ref()?.to_string())).collect();
            Err(ImageError::Platform { wanted: here.to_string(), offered: offered.join(", ") })
        }
        ([], true) => {
            Err(ImageError::document("the index", format!("it has no image called `{}`", tag.unwrap_or_default().escape_debug())))
        }
        (several, _) => {
            let tags: Vec<&str> = several.iter().filter_map(|one| one.ref_name()).collect();
            Err(ImageError::document("the index", format!("it has several images ({}): choose one with `--tag`", tags.join(", "))))
        }
    }
}
