//! What a step sees of the host: the sandbox's closure of files, hashed, and shown as a copy that was made once. Without namespaces a copy
//! cannot stand where programs look for their loader and libraries: there the files themselves are shown, looked at before and after.
//!
//! in: the closures that the sandbox crate computes; out: [`HostFiles`]: mounts, and a digest for the attestation.
//! **Invariant:** every file that is shown is in the digest, but the standard library, which the interpreter's own digest covers, and which
//! alone is mounted from the host itself where all else is a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, stat};
use seaworthy_core::artifact::{Manifest, ManifestEntry};
use seaworthy_core::digest::Digest;
use seaworthy_sandbox::{ClosureFile, Mount, Profile, host_closure, interpreter_closure};
use seaworthy_store::artifacts::{NewFile, hash_files};

use super::error::EnvironmentError;
use super::host_tree::{Kept, Places, SealedTree, Source, Wanted};
use super::interpreter::Interpreter;
use super::memo::manifest_remembered;
use super::seal::Identity;
use super::setting::{Setting, folder_mount, variables};

/// Folders within folders of a locale.
const DEPTH_MAX: usize = 8;

/// The environment `host`, or the host's part of a Python environment.
#[derive(Debug)]
pub struct HostFiles {
    shown: Shown,
    digest: Digest,
    /// The standard library, and what hides parts of it.
    over: Vec<ClosureFile>,
}

/// How its files are shown.
#[derive(Debug)]
enum Shown {
    /// As one tree of ours.
    Copied(SealedTree),
    /// Each at its own place.
    InPlace(InPlace),
}

impl HostFiles {
    /// The files of `closure` that are no folders: what `manifest` says of them is what a step will see.
    pub fn plain(closure: &[ClosureFile], manifest: Manifest, profile: Profile, places: Places<'_>) -> Result<Self, EnvironmentError> {
        let sources = plain_sources(closure)?;
        let wanted = Wanted { manifest, empty: BTreeSet::new() };
        if profile.layers().namespaces {
            return Self::copied(wanted, &sources, Vec::new(), places);
        }
        let files = InPlace::look(&sources)?;
        // hashed again if anybody touched them since the manifest was made
        let now = manifest_remembered("host", &sources, places.state_dir, || hash(open(&sources, |_| Ok(true))?))?;
        files.still_are(&wanted.manifest, &now)?;
        Ok(Self { digest: wanted.digest(), shown: Shown::InPlace(files), over: Vec::new() })
    }

    /// Loader, C and C++ runtime, a shell and small programs, with an interpreter and the libraries of its extension modules.
    pub fn with(interpreter: &Interpreter, profile: Profile, places: Places<'_>) -> Result<Self, EnvironmentError> {
        let mut closure = host_closure()?;
        closure.extend(interpreter_closure(&interpreter.path)?);
        let (sources, mut over) = spread(closure, &interpreter.stdlib)?;
        let in_place = if profile.layers().namespaces { None } else { Some(InPlace::look(&sources)?) };
        let manifest = manifest_remembered("python", &sources, places.state_dir, || hash(open(&sources, is_executable)?))?;
        let empty =
            over.iter().filter(|file| file.source == interpreter.stdlib).map(|file| name_of(&file.target)).collect::<Result<_, _>>()?;
        let wanted = Wanted { manifest, empty };
        let Some(files) = in_place else { return Self::copied(wanted, &sources, over, places) };
        files.check()?;
        over.extend(led_out_of(&interpreter.stdlib)?);
        Ok(Self { digest: wanted.digest(), shown: Shown::InPlace(files), over })
    }

    fn copied(wanted: Wanted, sources: &Sources, over: Vec<ClosureFile>, places: Places<'_>) -> Result<Self, EnvironmentError> {
        let digest = wanted.digest();
        let fetch = |entry: &ManifestEntry| {
            let path = sources.get(&entry.name).ok_or_else(|| EnvironmentError::Changed { path: Path::new("/").join(&entry.name) })?;
            let file = File::open(path).map_err(EnvironmentError::io("open", path))?;
            Ok(Source { file, path: path.clone() })
        };
        let tree = SealedTree::open(wanted, &Kept { places, kind: "host", name: digest, fetch: &fetch })?;
        tree.refuse_noexec()?;
        Ok(Self { shown: Shown::Copied(tree), digest, over })
    }

    /// Names the files and their places.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How a sandbox shows the host's part of a Python environment; looks whether anybody touched the copy.
    pub fn setting(&self) -> Result<Setting, EnvironmentError> {
        Ok(Setting { mounts: self.mounts()?, env: variables(), ..Setting::default() })
    }

    /// Whether what was shown still is what was hashed.
    pub fn check(&self) -> Result<(), EnvironmentError> {
        match &self.shown {
            Shown::Copied(tree) => tree.check(),
            Shown::InPlace(files) => files.check(),
        }
    }

    /// Whether each file is shown where it lies, for a sandbox without namespaces.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        matches!(self.shown, Shown::InPlace(_))
    }

    /// The mounts alone, for the environment `host`.
    pub fn mounts(&self) -> Result<Vec<Mount>, EnvironmentError> {
        let mut mounts = match &self.shown {
            Shown::Copied(tree) => tree.mounts()?,
            Shown::InPlace(files) => files.mounts()?,
        };
        for file in &self.over {
            mounts.push(folder_mount(&file.source, &file.target.to_string_lossy(), true)?);
        }
        Ok(mounts)
    }
}

/// The host's own files, as they stood when their bytes were last known.
#[derive(Debug)]
struct InPlace {
    files: Vec<(PathBuf, Identity)>,
}

impl InPlace {
    fn look(sources: &Sources) -> Result<Self, EnvironmentError> {
        let paths: BTreeSet<&PathBuf> = sources.values().collect();
        let look = |path: &PathBuf| {
            let real = std::fs::canonicalize(path).map_err(EnvironmentError::io("examine", path))?;
            let found = stat(&real).map_err(EnvironmentError::os("examine", &real))?;
            Ok((real, Identity::of(&found)))
        };
        Ok(Self { files: paths.into_iter().map(look).collect::<Result<_, EnvironmentError>>()? })
    }

    fn still_are(&self, wanted: &Manifest, now: &Manifest) -> Result<(), EnvironmentError> {
        let changed = now.entries().iter().zip(wanted.entries()).find(|(now, wanted)| now != wanted);
        if let Some((entry, _)) = changed {
            return Err(EnvironmentError::Changed { path: Path::new("/").join(&entry.name) });
        }
        if now.entries().len() != wanted.entries().len() {
            return Err(EnvironmentError::Changed { path: PathBuf::from("/usr") });
        }
        self.check()
    }

    fn check(&self) -> Result<(), EnvironmentError> {
        for (path, identity) in &self.files {
            if !stat(path).is_ok_and(|found| Identity::of(&found) == *identity) {
                return Err(EnvironmentError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }

    /// Each file as a program at its own place, and no other file than the one that was looked at.
    fn mounts(&self) -> Result<Vec<Mount>, EnvironmentError> {
        let mount = |(path, identity): &(PathBuf, Identity)| {
            let mount = folder_mount(path, &path.to_string_lossy(), true)?;
            let found = fstat(&mount.source).map_err(EnvironmentError::os("examine", path))?;
            if Identity::of(&found) == *identity { Ok(mount) } else { Err(EnvironmentError::Changed { path: path.clone() }) }
        };
        self.files.iter().map(mount).collect()
    }
}

/// What links at the top of a standard library lead to outside of it (Debian's `sitecustomize`): its digest covers their bytes.
fn led_out_of(stdlib: &Path) -> Result<Vec<ClosureFile>, EnvironmentError> {
    let mut led = Vec::new();
    for entry in std::fs::read_dir(stdlib).map_err(EnvironmentError::io("list", stdlib))? {
        let entry = entry.map_err(EnvironmentError::io("list", stdlib))?;
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let target = std::fs::canonicalize(entry.path()).ok().filter(|target| is_link && target.is_file() && !target.starts_with(stdlib));
        led.extend(target.map(|target| ClosureFile { source: target.clone(), target, is_dir: false }));
    }
    Ok(led)
}

type Sources = BTreeMap<String, PathBuf>;

/// The closure as single files by name, and what is mounted over them.
fn spread(closure: Vec<ClosureFile>, stdlib: &Path) -> Result<(Sources, Vec<ClosureFile>), EnvironmentError> {
    let (mut sources, mut over) = (Sources::new(), Vec::new());
    for file in closure {
        if file.source == stdlib || file.source == Path::new("/dev/null") {
            over.push(file);
        } else if file.is_dir {
            spread_folder(&file.source, &name_of(&file.target)?, 0, &mut sources).map_err(EnvironmentError::io("list", &file.source))?;
        } else if !file.target.starts_with(stdlib) {
            // what lies in the standard library is seen there
            sources.insert(name_of(&file.target)?, file.source);
        }
    }
    Ok((sources, over))
}

fn spread_folder(folder: &Path, name: &str, depth: usize, sources: &mut Sources) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("it is nested too deeply"));
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let below = entry.file_name().into_string().map_err(|_| io::Error::other("it holds a name that is not UTF-8"))?;
        let (path, name) = (entry.path(), format!("{name}/{below}"));
        // links are shown as what they lead to
        if path.is_dir() {
            spread_folder(&path, &name, depth + 1, sources)?;
        } else {
            sources.insert(name, path);
        }
    }
    Ok(())
}

fn name_of(target: &Path) -> Result<String, EnvironmentError> {
    let name = target.to_str().ok_or_else(|| EnvironmentError::io("name", target)(io::Error::other("its name is not UTF-8")))?;
    Ok(name.trim_start_matches('/').to_owned())
}

/// What the environment `host` shows: every file of `closure` as a program. Its digest is the pin.
pub fn closure_manifest(closure: &[ClosureFile], state_dir: &Path) -> Result<Manifest, EnvironmentError> {
    manifest_remembered("host", &plain_sources(closure)?, state_dir, || hash(closure_files(closure)?))
}

/// The same files, opened for the store.
pub fn closure_files(closure: &[ClosureFile]) -> Result<Vec<NewFile>, EnvironmentError> {
    open(&plain_sources(closure)?, |_| Ok(true))
}

fn plain_sources(closure: &[ClosureFile]) -> Result<Sources, EnvironmentError> {
    let files = closure.iter().filter(|file| !file.is_dir);
    files.map(|file| Ok((name_of(&file.target)?, file.source.clone()))).collect()
}

fn is_executable(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.permissions().mode() & 0o111 != 0)
}

fn open(sources: &Sources, executable: impl Fn(&File) -> io::Result<bool>) -> Result<Vec<NewFile>, EnvironmentError> {
    let open = |(name, path): (&String, &PathBuf)| {
        let opened = File::open(path).and_then(|file| Ok(NewFile { name: name.clone(), executable: executable(&file)?, file }));
        opened.map_err(EnvironmentError::io("open", path))
    };
    sources.iter().map(open).collect()
}

fn hash(files: Vec<NewFile>) -> Result<Manifest, EnvironmentError> {
    Ok(hash_files(files)?.0)
}
