//! Compiled Python: made once an environment, shown to all its steps, so that none compiles what it imports.
//!
//! in: an [`Environment`], the store, the folders of this user; out: [`Bytecode`]: a checked tree of `.pyc` files, an artifact of the store.
//! Layout: `CACHE/bytecode/<artifact digest>/<path of the source>.cpython-3N.pyc`, seen at `/env/pycache`.
//! **Invariant:** what is shown was compiled in a sandbox that sees the interpreter and the packages and nothing else, from files that were
//! hashed before and untouched afterwards. Which artifact that was is remembered in the state of this user, where no step writes; its bytes are never believed.
//!
//! The files are of the kind `unchecked-hash`: the interpreter asks for neither time nor bytes of a source. Times are those of unpacking,
//! different for every copy; and sources are named by the very digests that name what is compiled, so there is nothing to check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::digest::Digest;
use seaworthy_core::limits::OUTPUT_FILES_MAX;
use seaworthy_sandbox::{Cancel, CollectedFile, Exit, Limits, Mount, Outcome, Profile, Spec};
use seaworthy_store::artifacts::{Artifacts, FolderRules, NewFile, hash_folder, open_folder};

use super::error::EnvironmentError;
use super::host_tree::{Kept, Places, SealedTree, Source, Wanted};
use super::memo::{is_unchanged, recall_bytecode, remember_bytecode, signature};
use super::provision::{Environment, last_lines};
use super::setting::{PACKAGES, Setting, interpreter_setting};

const MIB: u64 = 1024 * 1024;
/// Counts changes in what is compiled, and how.
const LAYOUT: u32 = 1;
const OUTPUT: &str = "pycache";
/// Where a step sees it.
const SHOWN: &str = "/env/pycache";
/// The folder of the cache.
const KIND: &str = "bytecode";
/// Folders that steps seldom or never import from: compiled when they are.
const LEFT_OUT: &str = "test|tests|idlelib|lib2to3|turtledemo|ensurepip";

/// What compiling stands on.
#[derive(Debug)]
pub struct Compile<'a> {
    /// Keeps what is compiled.
    pub artifacts: &'a Artifacts,
    /// Where it is unpacked, and where it is remembered.
    pub places: Places<'a>,
    /// How tightly the compiler is confined: as the steps are.
    pub profile: Profile,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// The compiled Python of an environment.
#[derive(Debug)]
pub struct Bytecode {
    tree: SealedTree,
    artifact: ArtifactRef,
}

impl Bytecode {
    /// Finds what was compiled for `environment` before, if all of it is there; [`None`] if nothing is.
    pub fn known(environment: &Environment, with: &Compile<'_>) -> Result<Option<Self>, EnvironmentError> {
        let remembered = recall_bytecode(with.places.state_dir, &name(environment)?);
        let Some(manifest) = remembered.and_then(|artifact| stored(&artifact, with)) else { return Ok(None) };
        match Self::open(manifest, with) {
            // a blob of it is damaged: compiling heals the store
            Err(EnvironmentError::Store(_)) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Compiles: some seconds. The artifact is in the store afterwards, and remembered.
    pub fn compile(environment: &Environment, with: &Compile<'_>) -> Result<Self, EnvironmentError> {
        let manifest = compile(environment, with)?;
        let bytecode = Self::open(manifest, with)?;
        // not remembering costs time, nothing else
        let _ = remember_bytecode(with.places.state_dir, &name(environment)?, &bytecode.artifact.digest);
        Ok(bytecode)
    }

    /// The sandbox of the compiler: no network, no inputs, no code of a step, no keys; of what it sees it imports the standard library alone.
    pub fn spec(environment: &Environment, profile: Profile) -> Result<Spec, EnvironmentError> {
        let Setting { mut mounts, links, texts, mut env, .. } = interpreter_setting(&environment.interpreter, &environment.host)?;
        let source = environment.folder.try_clone().map_err(EnvironmentError::io("open", "the unpacked environment"))?;
        mounts.push(Mount { source, target: environment.packages()?, exec: false });
        env.insert("PYTHONPYCACHEPREFIX".to_owned(), format!("/out/{OUTPUT}"));
        env.insert("HOME".to_owned(), "/tmp".to_owned());
        env.insert("TMPDIR".to_owned(), "/tmp".to_owned());
        Ok(Spec {
            profile,
            argv: argv(environment)?,
            env,
            // empty and read-only: `-m` looks for modules there first
            workdir: if profile.layers().namespaces { "/empty" } else { "/in" }.to_owned(),
            hostname: "compile".to_owned(),
            mounts,
            links,
            texts,
            outputs: vec![OUTPUT.to_owned()],
            limits: limits(),
            devices: Vec::new(),
            places_in_words: true,
            capture: true,
        })
    }

    fn open(manifest: Manifest, with: &Compile<'_>) -> Result<Self, EnvironmentError> {
        let artifact = manifest.reference();
        let fetch =
            |entry: &ManifestEntry| Ok(Source { file: with.artifacts.verified_file(&entry.digest)?, path: PathBuf::from(&entry.name) });
        let kept = Kept { places: with.places, kind: KIND, name: artifact.digest, fetch: &fetch };
        let tree = SealedTree::open(Wanted { manifest, empty: BTreeSet::new() }, &kept)?;
        Ok(Self { tree, artifact })
    }

    /// Names it.
    #[must_use]
    pub fn artifact(&self) -> &ArtifactRef {
        &self.artifact
    }

    /// Whether what was shown still is what was hashed.
    pub fn check(&self) -> Result<(), EnvironmentError> {
        self.tree.check()
    }

    /// Adds it to what a sandbox shows; looks whether anybody touched it.
    pub fn show(&self, setting: &mut Setting) -> Result<(), EnvironmentError> {
        setting.mounts.push(self.tree.mount(SHOWN)?);
        setting.env.insert("PYTHONPYCACHEPREFIX".to_owned(), SHOWN.to_owned());
        Ok(())
    }
}

/// What decides the compiled bytes: the environment (wheels, interpreter), where the interpreter lies (a `.pyc` is found by the path of its
/// source, and holds it) and where the packages do, and this file.
fn name(environment: &Environment) -> Result<Digest, EnvironmentError> {
    let (digest, stdlib) = (environment.digest, environment.interpreter.stdlib.display());
    let mut text = format!("seaworthy bytecode {LAYOUT}\nenvironment {digest}\nstandard library {stdlib}\n");
    let packages = environment.packages()?;
    if packages != PACKAGES {
        text.push_str(&format!("packages {packages}\n"));
    }
    Ok(Digest::of(text.as_bytes()))
}

/// The artifact, if the store holds all of it, or can be given it.
fn stored(artifact: &Digest, with: &Compile<'_>) -> Option<Manifest> {
    let whole = |manifest: &Manifest| manifest.entries().iter().all(|entry| with.artifacts.contains(&entry.digest));
    with.artifacts.manifest(artifact).ok().filter(whole).or_else(|| taken_from_cache(artifact, with))
}

/// Another workspace of this user had it compiled: the cached tree goes into this store, if it has the digest that was remembered.
fn taken_from_cache(artifact: &Digest, with: &Compile<'_>) -> Option<Manifest> {
    let folder = open_folder(&with.places.cache_dir.join(KIND).join(artifact.hex())).ok()?;
    let rules = FolderRules { bytes_max: limits().disk_bytes, ..FolderRules::default() };
    let (_, found) = hash_folder(&folder, &rules).ok()?;
    if found.digest != *artifact {
        return None;
    }
    let (manifest, stored) = with.artifacts.put_folder(&folder, &rules).ok()?;
    (stored.digest == *artifact).then_some(manifest)
}

fn compile(environment: &Environment, with: &Compile<'_>) -> Result<Manifest, EnvironmentError> {
    let interpreter = &environment.interpreter;
    let changed = || EnvironmentError::Changed { path: interpreter.path.clone() };
    let look = || signature(interpreter).map_err(EnvironmentError::io("examine", &interpreter.path));
    let before = look()?;
    if !is_unchanged(interpreter, with.places.state_dir) {
        return Err(changed());
    }
    raise_open_files();
    let outcome = seaworthy_sandbox::run(Bytecode::spec(environment, with.profile)?, with.cancel)?;
    let files = compiled(environment, outcome)?;
    // what was compiled is what was hashed: a change that was undone meanwhile is seen too
    environment.host.check()?;
    if !environment.is_untouched()? || look()? != before {
        return Err(changed());
    }
    let new = files.into_iter().map(|file| NewFile { name: file.path, file: file.file, executable: false }).collect();
    Ok(with.artifacts.put_files(new)?.0)
}

/// What the compiler left, which is to be `.pyc` files of the environment and nothing else.
fn compiled(environment: &Environment, outcome: Outcome) -> Result<Vec<CollectedFile>, EnvironmentError> {
    let failed = |reason: String| Err(EnvironmentError::Compile { reason });
    // 1: some files do not compile; packages bring templates that are no Python
    if !matches!(outcome.exit, Exit::Code(0 | 1)) {
        return failed(format!("it ended with {:?}: {}", outcome.exit, last_lines(&outcome.stderr.bytes)));
    }
    let outputs = outcome.outputs.map_err(|error| EnvironmentError::Compile { reason: error.to_string() })?;
    let files: Vec<CollectedFile> = outputs.into_iter().filter(|output| output.name == OUTPUT).flat_map(|output| output.files).collect();
    if files.is_empty() {
        return failed(format!("nothing came of it: {}", last_lines(&outcome.stdout.bytes)));
    }
    let packages = environment.packages()?;
    let below = |folder: &Path, path: &str| Path::new("/").join(path).starts_with(folder);
    let ours = |path: &str| {
        Path::new(path).extension().is_some_and(|ending| ending == "pyc")
            && (below(&environment.interpreter.stdlib, path) || below(Path::new(&packages), path))
    };
    match files.iter().find(|file| !ours(&file.path)) {
        Some(other) => failed(format!("it left `{}`", other.path)),
        None => Ok(files),
    }
}

fn argv(environment: &Environment) -> Result<Vec<String>, EnvironmentError> {
    let interpreter = &environment.interpreter;
    let stdlib = interpreter.stdlib.to_string_lossy();
    // anchored: a standard library that itself lies below a folder `tests` is compiled all the same
    let packages = environment.packages()?;
    let left_out = format!("^({}|{})/(.*/)?({LEFT_OUT})/", escaped(&stdlib), escaped(&packages));
    let mut argv = vec![interpreter.path.to_string_lossy().into_owned()];
    argv.extend("-S -s -m compileall -q -j 1 --invalidation-mode unchecked-hash -x".split(' ').map(str::to_owned));
    argv.extend([left_out, stdlib.into_owned(), packages]);
    Ok(argv)
}

/// `text` as a regular expression of Python that matches just it.
fn escaped(text: &str) -> String {
    let special = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_';
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 2048 * MIB,
        cpu_milli: None,
        processes: 64,
        disk_bytes: 1024 * MIB,
        timeout: Duration::from_secs(600),
        log_bytes: 64 * 1024,
        output_files: OUTPUT_FILES_MAX,
    }
}

/// Each collected file is held open until the store has it: some thousands, where a shell often grants 1,024. If more is not to be had,
/// collecting says so.
fn raise_open_files() {
    let present = getrlimit(Resource::Nofile);
    let wanted = present.maximum.map_or(OUTPUT_FILES_MAX as u64, |most| most.min(OUTPUT_FILES_MAX as u64));
    if present.current.is_some_and(|current| current < wanted) {
        // collecting says so if it was needed
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: present.maximum });
    }
}
