//! What a step sees of the host: the sandbox's closure of files, hashed.
//!
//! in: the closures that the sandbox crate computes; out: [`HostFiles`]: mounts, and a digest for the attestation.
//! **Invariant:** every file that is mounted is in the digest, but the standard library, which the interpreter's own digest covers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_sandbox::{ClosureFile, Mount, host_closure, interpreter_closure};

use super::error::EnvironmentError;
use super::interpreter::{Interpreter, file_digest, hash_tree};
use super::setting::{Setting, open_path, variables};
use super::watch::{Seen, Watch};

/// The environment `host`, or the host's part of a Python environment.
#[derive(Clone, Debug)]
pub struct HostFiles {
    files: BTreeMap<PathBuf, ClosureFile>,
    digest: Digest,
    watch: Watch,
}

impl HostFiles {
    /// Loader, C and C++ runtime, a shell and small programs.
    pub fn plain() -> Result<Self, EnvironmentError> {
        Self::hashed(host_closure()?, None)
    }

    /// The same, with an interpreter and the libraries of its extension modules.
    pub fn with(interpreter: &Interpreter) -> Result<Self, EnvironmentError> {
        let mut files = host_closure()?;
        files.extend(interpreter_closure(&interpreter.path)?);
        Self::hashed(files, Some(&interpreter.stdlib))
    }

    fn hashed(files: Vec<ClosureFile>, stdlib: Option<&Path>) -> Result<Self, EnvironmentError> {
        let files: BTreeMap<PathBuf, ClosureFile> = files.into_iter().map(|file| (file.target.clone(), file)).collect();
        let (mut known, mut watched) = (BTreeMap::new(), Vec::new());
        let mut hasher = Hasher::new();
        hasher.update(b"seaworthy host files 1\n");
        for (target, file) in &files {
            let digest = match known.get(&file.source) {
                Some(digest) => *digest,
                None => {
                    let read = EnvironmentError::io("read", &file.source);
                    let found = Seen::before_hashing(&file.source).and_then(|seen| Ok((seen, source_digest(file, stdlib)?)));
                    let (seen, digest) = found.map_err(read)?;
                    // folders are compared with the interpreter at the end of a run
                    watched.extend(digest.filter(|_| !file.is_dir).map(|digest| (seen, digest)));
                    digest
                }
            };
            known.insert(file.source.clone(), digest);
            let digest = digest.map_or_else(|| "-".to_owned(), |digest| digest.hex());
            hasher.update(format!("{digest} {}\n", target.display()).as_bytes());
        }
        Ok(Self { files, digest: hasher.finish(), watch: Watch::new(watched) })
    }

    /// Names the files and their places.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The files, to be looked at again when a step has run.
    #[must_use]
    pub const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// How a sandbox shows the environment `host`.
    pub fn setting(&self) -> Result<Setting, EnvironmentError> {
        Ok(Setting { mounts: self.mounts()?, links: Vec::new(), env: variables() })
    }

    pub(super) fn mounts(&self) -> Result<Vec<Mount>, EnvironmentError> {
        let mount = |file: &ClosureFile| {
            let target = file.target.to_string_lossy().into_owned();
            Ok(Mount { source: open_path(&file.source)?, target, exec: true })
        };
        self.files.values().map(mount).collect()
    }
}

/// `None` for what is hidden and for what another digest covers.
fn source_digest(file: &ClosureFile, stdlib: Option<&Path>) -> std::io::Result<Option<Digest>> {
    if Some(file.source.as_path()) == stdlib || file.source == Path::new("/dev/null") {
        Ok(None)
    } else if file.is_dir {
        let mut tree = Hasher::new();
        hash_tree(&file.source, "", 0, &mut tree)?;
        Ok(Some(tree.finish()))
    } else {
        file_digest(&file.source).map(Some)
    }
}
