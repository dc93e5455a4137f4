//! What `container:` stands for: a locked Python environment, an OCI image, or the curated host closure; resolved once a run.
//!
//! in: a name and the settings' table; out: [`Resolved`]: a digest for the pin, descriptors for provenance, mounts for the sandbox.
//! **Invariant:** what a step sees is what the digest covers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_core::artifact::{ArtifactRef, Manifest};
use seaworthy_core::attestation::subject;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_core::lock::Pin;
use seaworthy_core::ports::Workers;
use seaworthy_core::workflow::model::EnvironmentSource;
use seaworthy_sandbox::{Cancel, ClosureFile, Profile};
use seaworthy_store::artifacts::Artifacts;
use serde_json::json;

use crate::environment::{
    self, Bytecode, Compile, Environment, EnvironmentError, HostFiles, IndexSettings, Interpreter, Places, Provision, Requirements, Search,
    Setting,
};
use crate::error::EngineError;

mod image;

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
    /// The search for the interpreter, if it has begun.
    pub search: Search,
    /// How tightly the steps are confined; what downloads their wheels is confined alike.
    pub profile: Profile,
    /// Read wheels and images.
    pub workers: Arc<dyn Workers>,
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
    Image(Box<image::ImageRoot>),
    Host(Box<HostClosure>),
    /// Shown without being looked at: for the simulator alone.
    #[cfg(feature = "simulate")]
    Simulated(Box<ArtifactRef>),
}

/// A locked Python environment: its wheels are in the store, unpacked only if a step really runs.
#[derive(Debug)]
struct LockedPython {
    requirements: Requirements,
    interpreter: Interpreter,
    wheels: ArtifactRef,
    /// Unpacked, copied and hashed for the first step that really runs; after that only looked at.
    ready: Mutex<Option<Environment>>,
    /// Compiled, or found compiled, for the first step that really runs.
    compiled: Mutex<Compiled>,
    /// Whether a step was shown it.
    shown: AtomicBool,
}

/// What steps are spared of compiling.
#[derive(Debug)]
enum Compiled {
    Untried,
    All(Box<Bytecode>),
    /// It failed, which was told; steps compile for themselves.
    Nothing,
}

/// The environment `host`: its files are in the store, copied into a tree only if a step really runs.
#[derive(Debug)]
struct HostClosure {
    closure: Vec<ClosureFile>,
    manifest: Manifest,
    /// Of the manifest.
    artifact: ArtifactRef,
    ready: Mutex<Option<HostFiles>>,
}

impl LockedPython {
    /// A half-made environment is never kept, so what a panic left behind is whole.
    fn ready(&self) -> MutexGuard<'_, Option<Environment>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compiled(&self) -> MutexGuard<'_, Compiled> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the compiled files to `setting`, compiling them if nobody has: steps that wait here share one build.
    ///
    /// What was touched, in the cache or on the host, is refused; any other failure is told and costs the steps time, nothing else.
    fn show_compiled(
        &self,
        environment: &Environment,
        with: &Compile<'_>,
        tell: &dyn Fn(&str),
        setting: &mut Setting,
    ) -> Result<(), EnvironmentError> {
        let mut compiled = self.compiled();
        if matches!(*compiled, Compiled::Untried) {
            let found = Bytecode::known(environment, with).and_then(|known| match known {
                Some(known) => Ok(known),
                None => {
                    tell("compiling the environment's Python, once");
                    Bytecode::compile(environment, with)
                }
            });
            *compiled = match found {
                Ok(bytecode) => Compiled::All(Box::new(bytecode)),
                Err(touched @ (EnvironmentError::Tampered { .. } | EnvironmentError::Changed { .. })) => return Err(touched),
                // the step itself will end as cancelled
                Err(_) if with.cancel.is_cancelled() => return Ok(()),
                Err(error) => {
                    tell(&format!("{error}; each step compiles what it imports"));
                    Compiled::Nothing
                }
            };
        }
        match &*compiled {
            Compiled::All(bytecode) => bytecode.show(setting),
            Compiled::Untried | Compiled::Nothing => Ok(()),
        }
    }
}

/// Resolves `name` through the settings' table of environments. An image that is not here is fetched by the digest that the lock pins, if
/// it pins one: a run never follows a tag that moved.
pub fn resolve(
    name: &str,
    source: Option<&EnvironmentSource>,
    pinned: Option<&Pin>,
    workspace_dir: &Path,
    artifacts: &Artifacts,
    settings: &EnvironmentSettings,
) -> Result<Resolved, EngineError> {
    match source {
        Some(EnvironmentSource::Python(lock)) => python(workspace_dir, lock, artifacts, settings),
        Some(EnvironmentSource::Host) => host(artifacts, settings),
        None if name == "host" => host(artifacts, settings),
        Some(EnvironmentSource::Oci(_)) if !settings.profile.layers().namespaces => {
            let message = format!("container `{name}` is an image: without namespaces an image cannot be a step's root");
            let hint = "use `--profile strict` or `no-cgroup`, or a locked Python environment (`python:`) instead of the image";
            Err(EngineError::configuration("sandbox/unsupported", message, hint))
        }
        Some(EnvironmentSource::Oci(reference)) => {
            // a pin of another reference says nothing of this one
            let pinned = pinned.filter(|pin| pin.from == *reference).map(|pin| pin.digest);
            let image = image::ImageRoot::find(reference, pinned, workspace_dir, artifacts, settings)?;
            Ok(Resolved { digest: image.digest(), from: reference.clone(), kind: Kind::Image(Box::new(image)) })
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
    let interpreter = settings.search.interpreter(&settings.interpreters, &settings.state_dir).map_err(|e| failed(&e))?;
    let cancel = Cancel::new();
    let with = provision(&interpreter, artifacts, settings, None, &cancel);
    let resolved = environment::resolve(&requirements, &with).map_err(|e| failed(&e))?;
    let (major, minor, patch) = interpreter.version;
    let from = format!("{lock} on python {major}.{minor}.{patch}");
    let python = LockedPython {
        requirements,
        interpreter,
        wheels: resolved.wheels_artifact,
        ready: Mutex::new(None),
        compiled: Mutex::new(Compiled::Untried),
        shown: AtomicBool::new(false),
    };
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
    let Places { cache_dir, state_dir } = settings.places();
    Provision {
        interpreter,
        artifacts,
        cache_dir,
        state_dir,
        online,
        index: &settings.index,
        known,
        profile,
        cancel,
        workers: &*settings.workers,
    }
}

/// The host closure is an artifact like any other: its files are in the store, so that a chain can show them.
fn host(artifacts: &Artifacts, settings: &EnvironmentSettings) -> Result<Resolved, EngineError> {
    let closure = seaworthy_sandbox::host_closure().map_err(|e| EngineError::configuration(e.code(), e.to_string(), e.hint()))?;
    let manifest = environment::closure_manifest(&closure, &settings.state_dir).map_err(|e| failed(&e))?;
    let artifact = manifest.reference();
    let digest = artifact.digest;
    if artifacts.manifest(&digest).is_err() {
        let files = environment::closure_files(&closure).map_err(|e| failed(&e))?;
        let (_, stored) = artifacts.put_files(files).map_err(|e| EngineError::internal("store/put", e))?;
        if stored.digest != digest {
            return Err(changed("the host's programs changed while they were stored"));
        }
    }
    Ok(Resolved {
        digest,
        from: "the host's loader, C library, shell and coreutils".to_owned(),
        kind: Kind::Host(Box::new(HostClosure { closure, manifest, artifact, ready: Mutex::new(None) })),
    })
}

/// Nothing to compare with is no success.
fn never_shown() -> EngineError {
    EngineError::internal("environment/missing", "no step was shown this environment")
}

fn changed(message: &str) -> EngineError {
    EngineError::integrity("environment/host-changed", message, "run again when nobody changes the system's programs")
}

fn failed(error: &EnvironmentError) -> EngineError {
    EngineError::configuration(error.code(), error.to_string(), error.hint())
}

impl Resolved {
    /// An environment for the simulator: steps are shown the host's `/usr` as it is, and `artifact` stands for it in what is signed.
    #[cfg(feature = "simulate")]
    #[must_use]
    pub fn simulated(artifact: ArtifactRef) -> Self {
        Self { digest: artifact.digest, from: "the host's own /usr, not looked at".to_owned(), kind: Kind::Simulated(Box::new(artifact)) }
    }

    /// What provenance says about it: the artifact that the store holds, and what makes up the pin.
    #[must_use]
    pub fn descriptors(&self) -> Vec<ResourceDescriptor> {
        let mut descriptor = match &self.kind {
            Kind::Python(python) => {
                let mut descriptor = subject("environment", &python.wheels);
                descriptor.annotations.insert("interpreter".to_owned(), json!(python.interpreter.digest.hex()));
                if let Some(environment) = python.ready().as_ref() {
                    descriptor.annotations.insert("tree".to_owned(), json!(environment.tree.dir_hash.hex()));
                    descriptor.annotations.insert("host".to_owned(), json!(environment.host.digest().hex()));
                }
                if let Compiled::All(bytecode) = &*python.compiled() {
                    descriptor.annotations.insert("bytecode".to_owned(), json!(bytecode.artifact().digest.hex()));
                }
                descriptor
            }
            Kind::Image(image) => image.descriptor(),
            Kind::Host(host) => subject("environment", &host.artifact),
            #[cfg(feature = "simulate")]
            Kind::Simulated(artifact) => subject("environment", artifact),
        };
        descriptor.annotations.insert("environment".to_owned(), json!(self.digest.hex()));
        vec![descriptor]
    }

    /// Mounts, links and variables that show it to a sandbox. For the first step, what is shown is unpacked or copied if need be, and hashed
    /// in any case; for later ones it is hashed again if anybody touched it. `cancel` stops the compiling, `tell` hears of it.
    pub fn setting(
        &self,
        artifacts: &Artifacts,
        settings: &EnvironmentSettings,
        cancel: &Cancel,
        tell: &dyn Fn(&str),
    ) -> Result<Setting, EngineError> {
        match &self.kind {
            Kind::Host(host) => host.setting(settings).map_err(|e| failed(&e)),
            #[cfg(feature = "simulate")]
            Kind::Simulated(_) => Setting::unchecked().map_err(|e| failed(&e)),
            Kind::Image(image) => image.setting(tell),
            Kind::Python(python) => {
                python.shown.store(true, Ordering::SeqCst);
                let mut ready = python.ready();
                // what other steps were shown stays known whatever comes of this: their ends are compared with it
                let (untouched, host) = match &*ready {
                    Some(environment) => (environment.is_untouched().map_err(|e| failed(&e))?, Some(environment.host.clone())),
                    None => (false, None),
                };
                if !untouched {
                    *ready = Some(self.realise(python, artifacts, settings, host)?);
                }
                let environment = ready.as_ref().ok_or_else(never_shown)?;
                let mut setting = environment.setting().map_err(|e| failed(&e))?;
                let with = Compile { artifacts, places: settings.places(), profile: settings.profile, cancel };
                // copies that root makes for a step's user lie elsewhere for every step: what was compiled would not be found
                if settings.profile.layers().namespaces || !rustix::process::geteuid().is_root() {
                    python.show_compiled(environment, &with, tell, &mut setting).map_err(|e| failed(&e))?;
                }
                Ok(setting)
            }
        }
    }

    /// Refuses what a step made if the copies that it was shown are not what was hashed: somebody changed the cache while it ran.
    pub fn check_files(&self) -> Result<(), EngineError> {
        let checked = match &self.kind {
            Kind::Image(image) => return image.check(),
            Kind::Host(host) => host.ready().as_ref().ok_or_else(never_shown)?.check(),
            #[cfg(feature = "simulate")]
            Kind::Simulated(_) => return Ok(()),
            Kind::Python(python) => python.ready().as_ref().ok_or_else(never_shown)?.host.check(),
        };
        checked.map_err(|e| failed(&e))
    }

    /// Refuses an interpreter whose standard library, which alone is shown from the host itself, is not what was hashed. Thousands of
    /// files: about 10 ms, so it is asked once before a model is registered and once at the end of a run, and only if a step of this
    /// environment has run. So are the compiled files, as many, besides the look before each step.
    pub fn check_interpreter(&self, settings: &EnvironmentSettings) -> Result<(), EngineError> {
        let Kind::Python(python) = &self.kind else { return Ok(()) };
        if !python.shown.load(Ordering::SeqCst) {
            return Ok(());
        }
        if let Compiled::All(bytecode) = &*python.compiled() {
            bytecode.check().map_err(|e| failed(&e))?;
        }
        if environment::is_unchanged(&python.interpreter, &settings.state_dir) {
            return Ok(());
        }
        let path = &python.interpreter.path;
        Err(changed(&format!("the interpreter `{}` or its library changed while the run was going on", path.display())))
    }

    fn realise(
        &self,
        python: &LockedPython,
        artifacts: &Artifacts,
        settings: &EnvironmentSettings,
        host: Option<Arc<HostFiles>>,
    ) -> Result<Environment, EngineError> {
        let cancel = Cancel::new();
        let with = provision(&python.interpreter, artifacts, settings, Some(python.wheels.digest), &cancel);
        let resolved = environment::resolve(&python.requirements, &with).map_err(|e| failed(&e))?;
        let host = host.map_or_else(|| with.host_files().map(Arc::new), Ok).map_err(|e| failed(&e))?;
        let environment = resolved.realise_on(&with, host).map_err(|e| failed(&e))?;
        if environment.digest == self.digest {
            return Ok(environment);
        }
        let message =
            format!("the environment changed while the run was going on: {} became {}", self.digest.short(), environment.digest.short());
        Err(EngineError::integrity("environment/changed", message, "run again when nobody changes the interpreter"))
    }
}

impl EnvironmentSettings {
    fn places(&self) -> Places<'_> {
        Places { cache_dir: &self.cache_dir, state_dir: &self.state_dir }
    }
}

impl HostClosure {
    fn ready(&self) -> MutexGuard<'_, Option<HostFiles>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setting(&self, settings: &EnvironmentSettings) -> Result<Setting, EnvironmentError> {
        let mut ready = self.ready();
        let files = match ready.take() {
            Some(files) => files,
            None => HostFiles::plain(&self.closure, self.manifest.clone(), settings.profile, settings.places())?,
        };
        Ok(Setting { mounts: ready.insert(files).mounts()?, ..Setting::default() })
    }
}
