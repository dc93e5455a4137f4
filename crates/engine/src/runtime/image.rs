//! A container that is an OCI image.
//!
//! in: the settings' reference; out: [`ImageRoot`]: the image's digest for the pin, its documents in the store for provenance, its tree for
//! the sandbox.
//! **Invariant:** the pin is the digest of the image's manifest, from which everything else follows.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::attestation::subject;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_store::artifacts::Artifacts;
use serde_json::json;

use super::{EnvironmentSettings, never_shown};
use crate::environment::Setting;
use crate::environment::image::{Add, Image, ImageError, ImageTree, Images, RegistrySettings};
use crate::error::EngineError;

/// An image whose blobs are here; unpacked only if a step really runs.
#[derive(Debug)]
pub(super) struct ImageRoot {
    images: Images,
    image: Image,
    /// Its manifest and configuration, in the store of the workspace.
    artifact: ArtifactRef,
    ready: Mutex<Option<ImageTree>>,
}

impl ImageRoot {
    /// Finds the image, or adds it.
    pub(super) fn find(
        reference: &str,
        pinned: Option<Digest>,
        workspace_dir: &Path,
        artifacts: &Artifacts,
        settings: &EnvironmentSettings,
    ) -> Result<Self, EngineError> {
        let images = Images::open(settings.places(), settings.workers.clone()).map_err(|e| failed(&e))?;
        let registry = RegistrySettings {
            ca_file: settings.index.ca_file.clone(),
            proxy: settings.index.proxy.clone(),
            ..RegistrySettings::default()
        };
        let add = Add { offline: settings.offline, pinned, registry: Some(&registry), ..Add::default() };
        let image = images.resolve_in_workspace(reference, workspace_dir, add);
        let image = image.map_err(|e| failed(&e))?;
        let documents = images.documents(&image).map_err(|e| failed(&e))?;
        let artifact = keep(&documents, artifacts)?;
        Ok(Self { images, image, artifact, ready: Mutex::new(None) })
    }

    pub(super) fn digest(&self) -> Digest {
        self.image.manifest
    }

    /// What provenance says: the documents, which the store holds, the layers that they name, and what they were unpacked to.
    pub(super) fn descriptor(&self) -> ResourceDescriptor {
        let mut descriptor = subject("environment", &self.artifact);
        let layers: Vec<String> = self.image.layers.iter().map(|(digest, _)| format!("sha256:{digest}")).collect();
        descriptor.annotations.insert("image".to_owned(), json!(format!("sha256:{}", self.image.manifest)));
        descriptor.annotations.insert("layers".to_owned(), json!(layers));
        if let Some(tree) = self.ready().as_ref() {
            descriptor.annotations.insert("tree".to_owned(), json!(tree.digest().hex()));
        }
        descriptor
    }

    /// What a sandbox is shown; unpacked for the first step, looked at for the others.
    pub(super) fn setting(&self, tell: &dyn Fn(&str)) -> Result<Setting, EngineError> {
        let mut ready = self.ready();
        let tree = match ready.take() {
            Some(tree) => tree,
            None => {
                tell("looking at the image's files, or unpacking them, once");
                self.images.tree(&self.image).map_err(|e| failed(&e))?
            }
        };
        self.image.setting(ready.insert(tree)).map_err(|e| failed(&e))
    }

    /// Refuses what a step made if somebody changed the image's files while it ran.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        self.ready().as_ref().ok_or_else(never_shown)?.check().map_err(|e| failed(&e))
    }

    fn ready(&self) -> MutexGuard<'_, Option<ImageTree>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores the documents, unless they are there.
fn keep(documents: &[Vec<u8>; 2], artifacts: &Artifacts) -> Result<ArtifactRef, EngineError> {
    let internal = |e: &dyn std::fmt::Display| EngineError::internal("store/put", e);
    let entry = |(name, bytes): (&str, &Vec<u8>)| ManifestEntry {
        name: name.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        mode: 0o644,
    };
    let [manifest, config] = documents;
    let entries = [("manifest.json", manifest), ("config.json", config)].map(entry);
    let listed = Manifest::new(entries.into()).map_err(|e| internal(&e))?;
    let reference = listed.reference();
    if artifacts.manifest(&reference.digest).is_ok() {
        return Ok(reference);
    }
    for document in documents {
        artifacts.put_bytes(document).map_err(|e| internal(&e))?;
    }
    artifacts.put_manifest(&listed).map_err(|e| internal(&e))
}

fn failed(error: &ImageError) -> EngineError {
    if error.is_integrity() {
        return EngineError::integrity(error.code(), error.to_string(), error.hint());
    }
    EngineError::configuration(error.code(), error.to_string(), error.hint())
}
