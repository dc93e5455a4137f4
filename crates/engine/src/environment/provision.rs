//! From a lock file to wheels in the store to an environment.
//!
//! in: [`Requirements`], [`Provision`] (interpreter, store, cache, index settings); out: [`Environment`].
//! The only program that runs is the interpreter's own pip, confined, with the network of the host and the lock as its only input;
//! it may download, nothing else.
//! **Invariant:** every wheel is named by the lock and hashes to one of its hashes, checked here and not by pip; each package has exactly one wheel.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_core::artifact::{ArtifactRef, Manifest};
use seaworthy_core::digest::Digest;
use seaworthy_core::limits::WHEELS_MAX;
use seaworthy_core::ports::Workers;
use seaworthy_sandbox::{Cancel, CollectedFile, Enforced, Exit, Limits, Outcome, Profile, Spec};
use seaworthy_store::artifacts::{Artifacts, NewFile};

use super::cache::{StoredWheel, hint_path, make_private, random_name, realise};
use super::digest::environment_digest;
use super::error::EnvironmentError;
use super::host::HostFiles;
use super::host_tree::Places;
use super::interpreter::Interpreter;
use super::memo::is_unchanged;
use super::requirements::Requirements;
use super::seal::Seal;
use super::setting::{BIN, Setting, folder_mount, interpreter_setting};
use super::wheel::{WheelName, same_version, shown};

const MIB: u64 = 1024 * 1024;
const OUTPUT: &str = "wheels";
/// Where the lock is seen in the sandbox.
const LOCK_FOLDER: &str = "/lock";
/// Where the distribution's wheel of pip is seen, and the certificates: places of our own, since the host's are one read-only tree.
const PIP_FOLDER: &str = "/pip";
const CERTIFICATES: &str = "/certificates.pem";
/// What a resolver needs of the host; those that are not there are left out.
const NETWORK_FILES: [&str; 4] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf"];

/// What pip reads of the host where it is there; without namespaces it would be there, and closed.
const HOST_FILES: [&str; 3] = ["/etc/os-release", "/etc/debian_version", "/etc/mime.types"];

/// How to reach the package index. Nothing of it comes from the lock.
#[derive(Clone, Debug, Default)]
pub struct IndexSettings {
    /// `https://…/simple`; pip's own default if absent.
    pub index_url: Option<String>,
    /// Certificates to believe, one PEM file; pip's own if absent.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port`.
    pub proxy: Option<String>,
    /// Seconds for the whole download; 900 if 0.
    pub timeout_s: u64,
    /// Bytes of all wheels together (they pass through memory); 4 GiB if 0.
    pub bytes_max: u64,
}

/// What provisioning stands on.
#[derive(Debug)]
pub struct Provision<'a> {
    /// Who will run the code, and whose pip downloads it.
    pub interpreter: &'a Interpreter,
    /// Keeps the wheels.
    pub artifacts: &'a Artifacts,
    /// `$XDG_CACHE_HOME/seaworthy`.
    pub cache_dir: &'a Path,
    /// `$XDG_STATE_HOME/seaworthy`.
    pub state_dir: &'a Path,
    /// Whether the index may be asked.
    pub online: bool,
    /// How.
    pub index: &'a IndexSettings,
    /// The artifact that earlier held the wheels of this lock, if the caller knows; only a hint.
    pub known: Option<Digest>,
    /// How tightly the download is confined: [`Profile::for_provisioning`] of the steps' profile.
    pub profile: Profile,
    /// Stops the download.
    pub cancel: &'a Cancel,
    /// Read the wheels.
    pub workers: &'a dyn Workers,
}

/// A locked Python environment, ready to be shown to a sandbox.
#[derive(Debug)]
pub struct Environment {
    /// Names it: wheels, interpreter, layout.
    pub digest: Digest,
    /// The artifact of the wheels, in the store.
    pub wheels_artifact: ArtifactRef,
    /// Its wheels, sorted by file name.
    pub wheels: Vec<StoredWheel>,
    /// The unpacked tree as it was hashed just now.
    pub tree: ArtifactRef,
    /// Who runs it.
    pub interpreter: Interpreter,
    /// What was enforced while downloading; `None` if the store had the wheels.
    pub downloaded: Option<Enforced>,
    /// The files of the host that it is shown with.
    pub host: Arc<HostFiles>,
    pub(super) folder: OwnedFd,
    /// How the unpacked tree stood while it was hashed.
    seal: Seal,
}

/// The wheels of a lock, in the store: enough to name the environment, for a lock file or to reuse outputs by digest.
#[derive(Debug)]
pub struct Resolved {
    /// Names the environment: wheels, interpreter, layout.
    pub digest: Digest,
    /// The artifact of the wheels, in the store.
    pub wheels_artifact: ArtifactRef,
    /// Its wheels, sorted by file name.
    pub wheels: Vec<StoredWheel>,
    /// What was enforced while downloading; `None` if the store had the wheels.
    pub downloaded: Option<Enforced>,
}

/// Gets the environment that `requirements` locks: [`resolve`], then [`Resolved::realise`].
pub fn provision(requirements: &Requirements, with: &Provision<'_>) -> Result<Environment, EnvironmentError> {
    resolve(requirements, with)?.realise(with)
}

/// Finds the wheels in the store or downloads them. Does not read wheels that the store has: [`Resolved::realise`] does.
pub fn resolve(requirements: &Requirements, with: &Provision<'_>) -> Result<Resolved, EnvironmentError> {
    let hint = hint_path(with.cache_dir, &requirements.digest(), &with.interpreter.digest);
    // nothing to ask the index for
    let empty = if requirements.entries().is_empty() { Some(no_wheels(with.artifacts)?) } else { None };
    let stored = empty.into_iter().chain(with.known).chain(read_hint(&hint)).find_map(|digest| stored_wheels(requirements, with, &digest));
    let (manifest, wheels, downloaded) = match stored {
        Some((manifest, wheels)) => (manifest, wheels, None),
        None => {
            let (manifest, enforced) = download(requirements, with)?;
            let wheels = match_wheels(requirements, with.interpreter, &manifest)?;
            write_hint(&hint, &manifest.reference().digest)?;
            (manifest, wheels, Some(enforced))
        }
    };
    let digests: Vec<Digest> = wheels.iter().map(|wheel| wheel.digest).collect();
    let digest = environment_digest(&digests, with.interpreter);
    Ok(Resolved { digest, wheels_artifact: manifest.reference(), wheels, downloaded })
}

/// The artifact of an empty lock; it is written, at the price of a barrier, only if the store has it not yet or not whole.
fn no_wheels(artifacts: &Artifacts) -> Result<Digest, EnvironmentError> {
    let known = Manifest::new(Vec::new()).ok().map(|manifest| manifest.reference().digest);
    match known.filter(|digest| artifacts.manifest(digest).is_ok()) {
        Some(digest) => Ok(digest),
        None => Ok(artifacts.put_files(Vec::new())?.1.digest),
    }
}

impl Environment {
    /// Whether the unpacked tree is as it was when its bytes were hashed: no file or folder has another inode, size, mode or time.
    /// What that trusts: see `seal`.
    pub fn is_untouched(&self) -> Result<bool, EnvironmentError> {
        self.seal.holds(&self.folder, Path::new("the unpacked environment"))
    }
}

impl Provision<'_> {
    /// Where trees are kept and remembered.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        Places { cache_dir: self.cache_dir, state_dir: self.state_dir }
    }

    /// The host's files for this interpreter; an error if it is no longer what its digest says.
    pub fn host_files(&self) -> Result<HostFiles, EnvironmentError> {
        let host = HostFiles::with(self.interpreter, self.profile, self.places())?;
        // the copies were made after the interpreter was hashed
        if is_unchanged(self.interpreter, self.state_dir) {
            Ok(host)
        } else {
            Err(EnvironmentError::Changed { path: self.interpreter.path.clone() })
        }
    }
}

impl Resolved {
    /// Unpacks the wheels, or finds the tree in the cache; hashes every byte of both.
    pub fn realise(self, with: &Provision<'_>) -> Result<Environment, EnvironmentError> {
        let host = Arc::new(with.host_files()?);
        self.realise_on(with, host)
    }

    /// The same with the host's files found and hashed before: they are the same for every step of a run.
    pub fn realise_on(self, with: &Provision<'_>, host: Arc<HostFiles>) -> Result<Environment, EnvironmentError> {
        let tree = realise(&self.wheels, with.artifacts, with.cache_dir, &self.digest, &with.interpreter.stdlib, with.workers)?;
        Ok(Environment {
            digest: self.digest,
            wheels_artifact: self.wheels_artifact,
            wheels: self.wheels,
            tree: tree.reference,
            interpreter: with.interpreter.clone(),
            downloaded: self.downloaded,
            host,
            folder: tree.folder,
            seal: tree.seal,
        })
    }
}

/// The wheels of an earlier download, if the store still has them all and they are those of this lock.
fn stored_wheels(requirements: &Requirements, with: &Provision<'_>, artifact: &Digest) -> Option<(Manifest, Vec<StoredWheel>)> {
    let manifest = with.artifacts.manifest(artifact).ok()?;
    let wheels = match_wheels(requirements, with.interpreter, &manifest).ok()?;
    wheels.iter().all(|wheel| with.artifacts.contains(&wheel.digest)).then_some((manifest, wheels))
}

/// Each wheel belongs to a package of the lock, by name, version, hash and tags; each package has one wheel.
fn match_wheels(requirements: &Requirements, interpreter: &Interpreter, manifest: &Manifest) -> Result<Vec<StoredWheel>, EnvironmentError> {
    let mut open: BTreeMap<&str, ()> = requirements.entries().iter().map(|entry| (entry.name.as_str(), ())).collect();
    let mut wheels = Vec::new();
    for file in manifest.entries() {
        let name = WheelName::parse(&file.name)?;
        let refuse = |reason: &str| EnvironmentError::wheel(&file.name, reason);
        let wanted = requirements.get(&name.project).ok_or_else(|| refuse("the lock has no such package"))?;
        if !wanted.hashes.contains(&file.digest) {
            return Err(refuse(&format!("its hash `{}` is not in the lock", file.digest)));
        }
        if !same_version(&name.version, &wanted.version) {
            return Err(refuse(&format!("the lock pins version {}", wanted.version)));
        }
        if !interpreter.accepts(&name) {
            return Err(refuse(&format!("it is not for {} on {}", interpreter.abi_tag, interpreter.platform)));
        }
        if open.remove(wanted.name.as_str()).is_none() {
            return Err(refuse("the package has two wheels"));
        }
        wheels.push(StoredWheel { file: file.name.clone(), digest: file.digest, size: file.size });
    }
    match open.keys().next() {
        None => Ok(wheels),
        Some(missing) => Err(EnvironmentError::Download { reason: format!("no wheel came for `{missing}`") }),
    }
}

fn download(requirements: &Requirements, with: &Provision<'_>) -> Result<(Manifest, Enforced), EnvironmentError> {
    if !with.online {
        let missing =
            requirements.entries().iter().map(|entry| format!("{}=={}", entry.name, entry.version)).take(3).collect::<Vec<_>>().join(", ");
        return Err(EnvironmentError::Offline { missing: format!("{} packages ({missing}, …)", requirements.entries().len()) });
    }
    let lock = LockFolder::new(with.cache_dir, &requirements.canonical())?;
    let spec = spec(with, &lock)?;
    let outcome = seaworthy_sandbox::run(spec, with.cancel)?;
    if outcome.exit != Exit::Code(0) {
        return Err(EnvironmentError::Download { reason: failure(&outcome) });
    }
    let outputs = outcome.outputs.map_err(|error| EnvironmentError::Download { reason: error.to_string() })?;
    let files: Vec<CollectedFile> = outputs.into_iter().filter(|output| output.name == OUTPUT).flat_map(|output| output.files).collect();
    let new = files.into_iter().map(|file| NewFile { name: file.path, file: file.file, executable: false }).collect();
    let (manifest, _) = with.artifacts.put_files(new)?;
    Ok((manifest, outcome.enforced))
}

fn spec(with: &Provision<'_>, lock: &LockFolder) -> Result<Spec, EnvironmentError> {
    let interpreter = with.interpreter;
    let pip = interpreter.bundled_pip().ok_or_else(|| EnvironmentError::Interpreter {
        tried: vec![format!("`{}`: it has no pip of its own (ensurepip); on Debian install python3-pip-whl", interpreter.path.display())],
    })?;
    let Setting { mut mounts, links, texts, mut env, .. } = interpreter_setting(interpreter, &with.host_files()?)?;
    mounts.push(folder_mount(&lock.path, LOCK_FOLDER, false)?);
    let mut inside = pip.clone();
    if !pip.starts_with(&interpreter.stdlib) {
        inside = Path::new(PIP_FOLDER).join(pip.file_name().unwrap_or_default());
        mounts.push(folder_mount(&pip, &inside.to_string_lossy(), false)?);
    }
    let host: &[&str] = if with.profile.layers().namespaces { &[] } else { &HOST_FILES };
    let network = NETWORK_FILES.iter().chain(host).map(|file| (Path::new(file), *file));
    let certificates = with.index.ca_file.as_deref().map(|file| (file, CERTIFICATES));
    for (file, target) in network.chain(certificates) {
        if let Some(real) = fs::canonicalize(file).ok().filter(|real| real.is_file()) {
            mounts.push(folder_mount(&real, target, false)?);
        }
    }
    // as a virtual environment it does not look into the host's packages, whose names show without namespaces
    let program = if with.profile.layers().namespaces { interpreter.path.to_string_lossy().into_owned() } else { format!("{BIN}/python3") };
    let bytes = if with.index.bytes_max == 0 { 4 * 1024 * MIB } else { with.index.bytes_max };
    let timeout = Duration::from_secs(if with.index.timeout_s == 0 { 900 } else { with.index.timeout_s });
    env.insert("HOME".to_owned(), "/tmp".to_owned());
    env.insert("TMPDIR".to_owned(), "/tmp".to_owned());
    Ok(Spec {
        profile: with.profile,
        argv: argv(program, &inside.join("pip"), with.index),
        env,
        workdir: "/tmp".to_owned(),
        hostname: "provision".to_owned(),
        mounts,
        links,
        texts,
        outputs: vec![OUTPUT.to_owned()],
        // the wheels pass through memory twice: where pip unpacks its download, and in the output folder
        limits: Limits {
            memory_bytes: bytes.saturating_mul(2).saturating_add(1024 * MIB),
            cpu_milli: None,
            processes: 64,
            disk_bytes: bytes,
            timeout,
            log_bytes: 256 * 1024,
            output_files: WHEELS_MAX,
        },
        devices: Vec::new(),
        places_in_words: true,
        capture: true,
    })
}

fn argv(program: String, pip: &Path, index: &IndexSettings) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut argv = vec![program, text(pip)];
    // --isolated: no configuration file and no PIP_ variable; --no-deps: the lock is complete
    let fixed = "download --isolated --disable-pip-version-check --no-input --no-cache-dir --no-color --progress-bar=off \
                 --require-hashes --only-binary=:all: --no-deps --quiet --retries=3";
    argv.extend(fixed.split_ascii_whitespace().map(str::to_owned));
    if let Some(url) = &index.index_url {
        argv.push(format!("--index-url={url}"));
    }
    if index.ca_file.is_some() {
        argv.push(format!("--cert={CERTIFICATES}"));
    }
    if let Some(proxy) = &index.proxy {
        argv.push(format!("--proxy={proxy}"));
    }
    argv.push(format!("--dest=/out/{OUTPUT}"));
    argv.push(format!("--requirement={LOCK_FOLDER}/requirements.txt"));
    argv
}

/// How pip ended, and the last lines that it said.
fn failure(outcome: &Outcome) -> String {
    format!("pip ended with {:?}: {}", outcome.exit, last_lines(&outcome.stderr.bytes))
}

/// What a program said last, without control characters.
pub(super) fn last_lines(said: &[u8]) -> String {
    let lines: Vec<String> = String::from_utf8_lossy(said).lines().filter(|line| !line.trim().is_empty()).map(shown).collect();
    lines.iter().skip(lines.len().saturating_sub(4)).cloned().collect::<Vec<_>>().join(" | ")
}

/// The lock in a folder of its own, removed afterwards.
struct LockFolder {
    path: PathBuf,
}

impl LockFolder {
    fn new(cache_dir: &Path, text: &str) -> Result<Self, EnvironmentError> {
        let path = cache_dir.join("envs").join(format!("lock-{}", random_name(cache_dir)?));
        make_private(&path)?;
        let folder = Self { path };
        write_new(&folder.path.join("requirements.txt"), text)?;
        let mode = |path: &Path, mode| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(EnvironmentError::io("set the mode of", path))
        };
        mode(&folder.path, 0o755)?;
        Ok(folder)
    }
}

impl Drop for LockFolder {
    fn drop(&mut self) {
        // a folder left behind holds only a copy of the lock
        let _ = seaworthy_store::artifacts::remove_checkout(&self.path);
    }
}

/// A new file, readable by all: it is shown to a sandbox whose user is another.
fn write_new(path: &Path, text: &str) -> Result<(), EnvironmentError> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(EnvironmentError::io("create", path))?;
    file.write_all(text.as_bytes()).map_err(EnvironmentError::io("write", path))?;
    file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(EnvironmentError::io("set the mode of", path))
}

fn read_hint(path: &Path) -> Option<Digest> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write_hint(path: &Path, artifact: &Digest) -> Result<(), EnvironmentError> {
    let folder = path.parent().unwrap_or(path);
    make_private(folder)?;
    let new = folder.join(format!("new-{}.wheels", random_name(folder)?));
    write_new(&new, &format!("{artifact}\n"))?;
    rustix::fs::rename(&new, path).map_err(EnvironmentError::os("rename", &new))
}
