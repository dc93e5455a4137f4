//! What `container:` stands for: a locked Python environment, or the curated host closure; resolved once a run.
//!
//! in: a name and the settings' table; out: [`Resolved`]: a digest for the pin, descriptors for provenance, mounts for the sandbox.
//! **Invariant:** what a step sees is what the digest covers. OCI images are refused until the release that unpacks them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, openat};
use seaworthy_core::artifact::ArtifactRef;
use seaworthy_core::attestation::subject;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_core::workflow::model::EnvironmentSource;
use seaworthy_sandbox::{Cancel, ClosureFile, Mount, Profile};
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::{self, Artifacts, NewFile};
use serde_json::json;

use crate::environment::{self, EnvironmentError, HostFiles, IndexSettings, Interpreter, Provision, Requirements, Seen, Setting, Watch};
use crate::error::EngineError;

/// How environments are found and built.
#[derive(Clone, Debug)]
pub struct EnvironmentSettings {
    /// Candidates for the Python interpreter, best first.
    pub interpreters: Vec<PathBuf>,
    /// `$XDG_CACHE_HOME/seaworthy`.
    pub cache_dir: PathBuf,
    /// `$XDG_STATE_HOME/seaworthy`: what is remembered of untouched interpreters.
    pub state_dir: PathBuf,
    /// Never reach the package index.
    pub offline: bool,
    /// How to reach it otherwise.
    pub index: IndexSettings,
    /// How tightly the steps are confined; what downloads their wheels is confined alike.
    pub profile: Profile,
}

/// An environment of this run.
#[derive(Debug)]
pub struct Resolved {
    /// The pin.
    pub digest: Digest,
    /// For people.
    pub from: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Python(Box<LockedPython>),
    Host { closure: Vec<ClosureFile>, artifact: ArtifactRef, watch: Watch },
}

/// A locked Python environment: its wheels are in the store, unpacked only if a step really runs.
#[derive(Debug)]
struct LockedPython {
    requirements: Requirements,
    interpreter: Interpreter,
    wheels: ArtifactRef,
    tree: OnceLock<Digest>,
    /// The host's files that Python is shown with: found and hashed for the first step that really runs.
    host: OnceLock<HostFiles>,
}

impl LockedPython {
    fn host(&self) -> Result<HostFiles, EngineError> {
        if let Some(found) = self.host.get() {
            return Ok(found.clone());
        }
        let found = HostFiles::with(&self.interpreter).map_err(|e| failed(&e))?;
        Ok(self.host.get_or_init(|| found).clone())
    }
}

/// Resolves `name` through the settings' table of environments.
pub fn resolve(
    name: &str,
    source: Option<&EnvironmentSource>,
    workspace_dir: &Path,
    artifacts: &Artifacts,
    settings: &EnvironmentSettings,
) -> Result<Resolved, EngineError> {
    match source {
        Some(EnvironmentSource::Python(lock)) => python(workspace_dir, lock, artifacts, settings),
        Some(EnvironmentSource::Host) => host(artifacts, settings),
        None if name == "host" => host(artifacts, settings),
        Some(EnvironmentSource::Oci(image)) => {
            let message = format!("container `{name}` is the OCI image `{image}`, which this release cannot run");
            Err(EngineError::configuration("environment/oci", message, "use a locked Python environment or `host`"))
        }
        None => {
            let message = format!("nothing says what container `{name}` is");
            let hint = format!("add to seaworthy.yaml: environments: {{\"{name}\": {{python: envs/requirements.lock}}}}");
            Err(EngineError::configuration("environment/unknown", message, hint))
        }
    }
}

fn python(workspace_dir: &Path, lock: &str, artifacts: &Artifacts, settings: &EnvironmentSettings) -> Result<Resolved, EngineError> {
    let path = workspace_dir.join(lock);
    let text = seaworthy_store::workspace::config_file(&path)
        .map_err(|e| EngineError::configuration("environment/lock", e.to_string(), "write it with `pip-compile --generate-hashes`"))?;
    let requirements = Requirements::parse(&text).map_err(|e| failed(&e))?;
    let interpreter = environment::find_interpreter_remembered(&settings.interpreters, &settings.state_dir).map_err(|e| failed(&e))?;
    let cancel = Cancel::new();
    let with = provision(&interpreter, artifacts, settings, None, &cancel);
    let resolved = environment::resolve(&requirements, &with).map_err(|e| failed(&e))?;
    let (major, minor, patch) = interpreter.version;
    let from = format!("{lock} on python {major}.{minor}.{patch}");
    let python = LockedPython { requirements, interpreter, wheels: resolved.wheels_artifact, tree: OnceLock::new(), host: OnceLock::new() };
    Ok(Resolved { digest: resolved.digest, from, kind: Kind::Python(Box::new(python)) })
}

fn provision<'a>(
    interpreter: &'a Interpreter,
    artifacts: &'a Artifacts,
    settings: &'a EnvironmentSettings,
    known: Option<Digest>,
    cancel: &'a Cancel,
) -> Provision<'a> {
    let online = !settings.offline;
    let profile = settings.profile.for_provisioning();
    Provision { interpreter, artifacts, cache_dir: settings.cache_dir.as_path(), online, index: &settings.index, known, profile, cancel }
}

/// The host closure is an artifact like any other: its files are in the store, so that a chain can show them.
fn host(artifacts: &Artifacts, settings: &EnvironmentSettings) -> Result<Resolved, EngineError> {
    let closure = seaworthy_sandbox::host_closure().map_err(|e| EngineError::configuration(e.code(), e.to_string(), e.hint()))?;
    host_of(closure, artifacts, settings)
}

fn host_of(closure: Vec<ClosureFile>, artifacts: &Artifacts, settings: &EnvironmentSettings) -> Result<Resolved, EngineError> {
    let files = closure.iter().filter(|file| !file.is_dir);
    let seen: Vec<(String, Seen)> = files
        .map(|file| Ok((artifact_name(file), Seen::before_hashing(&file.source)?)))
        .collect::<std::io::Result<_>>()
        .map_err(|e| unreadable_host(&e))?;
    let stored = |digest: &Digest| artifacts.manifest(digest).is_ok();
    let digest = environment::host_files_remembered(&closure, &settings.state_dir, stored, || store_host(artifacts, &closure))
        .map_err(|e: HostFault| e.0)?;
    let manifest = artifacts.manifest(&digest).map_err(|e| unreadable_host(&e))?;
    let artifact = manifest.reference();
    let digests: BTreeMap<&str, Digest> = manifest.entries().iter().map(|entry| (entry.name.as_str(), entry.digest)).collect();
    let watched = seen.into_iter().map(|(name, seen)| {
        let digest = digests.get(name.as_str()).copied();
        digest.map(|digest| (seen, digest)).ok_or_else(|| unreadable_host(&format!("`{name}` was not hashed")))
    });
    let watch = Watch::new(watched.collect::<Result<_, _>>()?);
    Ok(Resolved {
        digest: artifact.digest,
        from: "the host's loader, C library, shell and coreutils".to_owned(),
        kind: Kind::Host { closure, artifact, watch },
    })
}

/// Hashes the closure's files, and stores them if this store has never seen them.
fn store_host(artifacts: &Artifacts, closure: &[ClosureFile]) -> Result<Digest, HostFault> {
    let open = || closure.iter().filter(|file| !file.is_dir).map(open_file).collect::<std::io::Result<Vec<NewFile>>>();
    let refused = |e: StoreError| HostFault(unreadable_host(&e));
    let (_, artifact) = artifacts::hash_files(open()?).map_err(refused)?;
    if !artifacts.contains(&artifact.digest) {
        artifacts.put_files(open()?).map_err(refused)?;
    }
    Ok(artifact.digest)
}

/// Why the host's files could not be read or kept.
struct HostFault(EngineError);

impl From<std::io::Error> for HostFault {
    fn from(cause: std::io::Error) -> Self {
        Self(unreadable_host(&cause))
    }
}

fn unreadable_host(cause: &dyn std::fmt::Display) -> EngineError {
    EngineError::configuration("environment/host", cause.to_string(), "the host's own programs must be readable")
}

fn open_file(file: &ClosureFile) -> std::io::Result<NewFile> {
    Ok(NewFile { name: artifact_name(file), file: File::open(&file.source)?, executable: true })
}

fn artifact_name(file: &ClosureFile) -> String {
    file.target.to_string_lossy().trim_start_matches('/').to_owned()
}

fn failed(error: &EnvironmentError) -> EngineError {
    EngineError::configuration(error.code(), error.to_string(), error.hint())
}

fn changed(message: &str) -> EngineError {
    EngineError::integrity("environment/host-changed", message, "run again when nobody changes the system's programs")
}

impl Resolved {
    /// What provenance says about it: the artifact that the store holds, and what makes up the pin.
    #[must_use]
    pub fn descriptors(&self) -> Vec<ResourceDescriptor> {
        let mut descriptor = match &self.kind {
            Kind::Python(python) => {
                let mut descriptor = subject("environment", &python.wheels);
                descriptor.annotations.insert("interpreter".to_owned(), json!(python.interpreter.digest.hex()));
                if let Some(tree) = python.tree.get() {
                    descriptor.annotations.insert("tree".to_owned(), json!(tree.hex()));
                }
                descriptor
            }
            Kind::Host { artifact, .. } => subject("environment", artifact),
        };
        descriptor.annotations.insert("environment".to_owned(), json!(self.digest.hex()));
        vec![descriptor]
    }

    /// Refuses what a step made if a file of the host that it was shown is not what was hashed: microseconds if none was touched.
    pub fn check_files(&self) -> Result<(), EngineError> {
        let watch = match &self.kind {
            Kind::Host { watch, .. } => Some(watch),
            Kind::Python(python) => python.host.get().map(HostFiles::watch),
        };
        match watch.and_then(Watch::changed) {
            None => Ok(()),
            Some(path) => Err(changed(&format!("`{}` of this machine changed while the run was going on", path.display()))),
        }
    }

    /// The same for the interpreter's standard library, thousands of files: about 10 ms, so it is asked once before a model is
    /// registered and once at the end of a run, and only if a step of this environment has run.
    pub fn check_interpreter(&self, settings: &EnvironmentSettings) -> Result<(), EngineError> {
        let Kind::Python(python) = &self.kind else { return Ok(()) };
        if python.host.get().is_none() {
            return Ok(());
        }
        let path = &python.interpreter.path;
        let now = environment::find_interpreter_remembered(std::slice::from_ref(path), &settings.state_dir).map_err(|e| failed(&e))?;
        if now.digest == python.interpreter.digest {
            return Ok(());
        }
        Err(changed(&format!("the interpreter `{}` or its library changed while the run was going on", path.display())))
    }

    /// Mounts, links and variables that show it to a sandbox; a Python tree is unpacked if need be, and hashed in any case.
    pub fn setting(&self, artifacts: &Artifacts, settings: &EnvironmentSettings) -> Result<Setting, EngineError> {
        match &self.kind {
            Kind::Host { closure, .. } => host_setting(closure),
            Kind::Python(python) => {
                let cancel = Cancel::new();
                let with = provision(&python.interpreter, artifacts, settings, Some(python.wheels.digest), &cancel);
                let resolved = environment::resolve(&python.requirements, &with).map_err(|e| failed(&e))?;
                let environment = resolved.realise_on(&with, python.host()?).map_err(|e| failed(&e))?;
                if environment.digest != self.digest {
                    let message = format!(
                        "the environment changed while the run was going on: {} became {}",
                        self.digest.short(),
                        environment.digest.short()
                    );
                    return Err(EngineError::integrity("environment/changed", message, "run again when nobody changes the interpreter"));
                }
                // two steps of one environment find the same tree
                python.tree.get_or_init(|| environment.tree.dir_hash);
                environment.setting().map_err(|e| failed(&e))
            }
        }
    }
}

fn host_setting(closure: &[ClosureFile]) -> Result<Setting, EngineError> {
    let mut setting = Setting::default();
    // folders (locales) are left out: the digest covers files
    for file in closure.iter().filter(|file| !file.is_dir) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let source = openat(CWD, &file.source, flags, Mode::empty()).map_err(|e| {
            EngineError::configuration(
                "environment/host",
                format!("`{}`: {e}", file.source.display()),
                "the host's own programs must be readable",
            )
        })?;
        setting.mounts.push(Mount { source, target: file.target.to_string_lossy().into_owned(), exec: true });
    }
    Ok(setting)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test plays whoever changes the host")]
mod tests {
    use std::fs;

    use super::*;

    /// An environment `host` of two files of ours; the folder goes with the guard.
    fn environment(dir: &Path) -> Resolved {
        let closure = ["shell", "library"].map(|name| {
            fs::write(dir.join(name), format!("{name} 1")).unwrap();
            ClosureFile { source: dir.join(name), target: Path::new("/bin").join(name), is_dir: false }
        });
        let settings = EnvironmentSettings {
            interpreters: Vec::new(),
            cache_dir: dir.join("cache"),
            state_dir: dir.join("state"),
            offline: true,
            index: IndexSettings::default(),
            profile: Profile::Strict,
        };
        let artifacts = Artifacts::open(&dir.join("store")).unwrap();
        host_of(closure.to_vec(), &artifacts, &settings).unwrap()
    }

    #[test]
    fn a_host_file_that_changed_during_the_run_is_found() {
        let dir = std::env::temp_dir().join(format!("seaworthy-host-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        let host = environment(&dir);
        host.check_files().unwrap();
        // control: touched, but the same bytes
        fs::write(dir.join("shell"), "shell 1").unwrap();
        host.check_files().unwrap();
        // other bytes of the same length, and the old times put back: only the change time tells
        let times = fs::metadata(dir.join("library")).unwrap();
        fs::write(dir.join("library"), "library 2").unwrap();
        let file = fs::File::options().write(true).open(dir.join("library")).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
        let after = fs::metadata(dir.join("library")).unwrap();
        assert_eq!((after.len(), after.modified().unwrap()), (times.len(), times.modified().unwrap()), "control: size and time agree");
        let error = host.check_files().unwrap_err();
        assert_eq!(error.code, "environment/host-changed");
        assert!(error.message.contains("library"), "{}", error.message);
        fs::write(dir.join("library"), "library 1").unwrap();
        host.check_files().unwrap();
        fs::remove_file(dir.join("shell")).unwrap();
        assert_eq!(host.check_files().unwrap_err().code, "environment/host-changed");
        fs::remove_dir_all(&dir).unwrap();
    }

    /// `cargo test -p seaworthy-engine --lib -- --ignored --nocapture looking_at_the_host` prints the figure.
    #[test]
    #[ignore = "a measurement"]
    fn looking_at_the_host() {
        let closure = seaworthy_sandbox::host_closure().unwrap();
        let files = closure.iter().filter(|file| !file.is_dir);
        let watch = Watch::new(files.map(|file| (Seen::before_hashing(&file.source).unwrap(), Digest::of(b""))).collect());
        let started = std::time::Instant::now();
        for _ in 0..1_000 {
            assert_eq!(watch.changed(), None);
        }
        println!("{} files: {:?} a look", watch.len(), started.elapsed() / 1_000);
    }
}
