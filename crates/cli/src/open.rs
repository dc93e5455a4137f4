//! Opening a workspace: for running (keys, writable log) or for reading (a copy without keys will do).
//!
//! in: settings and a folder; out: an [`Engine`], or a [`Reading`] view.
//! **Invariant:** reading never writes into the workspace and needs no private key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::Name;
use seaworthy_core::ports::{Clock as _, EvidenceSource as _, Leaf, Recorder as _, Signer, Workers};
use seaworthy_engine::engine::{Engine, EngineSettings, Parts, Ports};
use seaworthy_engine::environment::Search;
use seaworthy_engine::launcher::SandboxLauncher;
use seaworthy_engine::runtime::EnvironmentSettings;
use seaworthy_engine::signer::ProcessSigner;
use seaworthy_engine::workers::Pool;
use seaworthy_sandbox::Profile;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::Artifacts;
use seaworthy_store::catalog::{Catalog, CatalogError};
use seaworthy_store::journal::Journal;
use seaworthy_store::log::{Log, LogReader};
use seaworthy_store::workspace::{EnvironmentPaths, Workspace};
use seaworthy_trust::attest::TrustRoot;
use seaworthy_trust::authz::Authorizer;

use crate::arguments::Confinement;
use crate::commands::load::Loaded;
use crate::failure::Failure;
use crate::keystore::Keystore;
use crate::last_seen::LastSeen;
use crate::ports::{SystemClock, SystemEntropy};
use crate::secretstore::SecretStore;
use crate::settings::Settings;
use crate::signing;

/// A workspace environment, open for running.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) keystore: Keystore,
    signer: Arc<ProcessSigner>,
    seen: LastSeen,
}

impl Running {
    /// Waits for the signer, which starts while the workspace is opened: what keeps it from starting is said here.
    pub(crate) fn await_signer(&self) -> Result<(), Failure> {
        self.signer.greet().map_err(|e| signing::failure(&e))
    }

    /// Remembers the log as it is now, outside the workspace, so that nobody takes back what was just recorded.
    pub(crate) fn remember(&self) {
        if let Err(cause) = self.engine.log().settle() {
            crate::render::note(&format!(
                "note: the log's files are behind its write-ahead record ({cause}); the next command makes them good"
            ));
        }
        match self.engine.log().snapshot() {
            Ok(log) => self.seen.write(log.state()),
            Err(cause) => crate::render::note(&format!("note: the log could not be remembered ({cause})")),
        }
    }
}

/// A workspace environment, open for reading.
pub(crate) struct Reading {
    pub(crate) workspace: Workspace,
    pub(crate) environment: Name,
    pub(crate) paths: EnvironmentPaths,
    pub(crate) log: LogReader,
    pub(crate) artifacts: Artifacts,
    pub(crate) keystore: Keystore,
}

/// Opens everything a run needs. The workspace state and the keys must exist; the signer may still be starting.
pub(crate) fn running(settings: &Settings, loaded: &Loaded, confinement: &Confinement, parallel: usize) -> Result<Running, Failure> {
    // the longest that a run without work does: beside everything else
    let search =
        if loaded.needs_python() { Search::begin(pythons(settings, confinement), settings.state_dir.clone()) } else { Search::default() };
    open(settings, &loaded.dir, &loaded.workspace.environment, confinement, parallel, search)
}

/// The same without a workflow file: the environment is known.
pub(crate) fn running_in(
    settings: &Settings,
    dir: &Path,
    environment: &Name,
    confinement: &Confinement,
    parallel: usize,
) -> Result<Running, Failure> {
    open(settings, dir, environment, confinement, parallel, Search::default())
}

fn open(
    settings: &Settings,
    dir: &Path,
    environment: &Name,
    confinement: &Confinement,
    parallel: usize,
    search: Search,
) -> Result<Running, Failure> {
    let workspace = Workspace::create(dir).map_err(|e| state(&e))?;
    let paths = workspace.environment(environment).map_err(|e| state(&e))?;
    let keystore = Keystore::new(settings, workspace.id(), environment);
    let seen = LastSeen::of(settings, &keystore.origin(), dir, environment.as_str());
    let process = Arc::new(signing::of_runs(settings, &keystore)?);
    let signer: Arc<dyn Signer> = process.clone();
    let trust = keystore
        .trust()?
        .ok_or_else(|| Failure::configuration("trust/missing", "there is no trust file", "`seaworthy keys create` makes one"))?;
    let log = open_log(&paths, &keystore, &process, &seen)?;
    publish_trust(&paths, &trust)?;
    let (authorizer, authz_policies) = authorizer(dir)?;
    let parts = Parts {
        artifacts: Artifacts::open(&paths.store).map_err(|e| Failure::configuration("store/open", e.to_string(), e.hint()))?,
        journal: Journal::open(&paths.journal).map_err(|e| Failure::integrity("journal/open", e))?,
        catalog: Catalog::open(&paths.catalog).map_err(|e| Failure::integrity("catalog/open", e))?,
        authorizer: Arc::new(authorizer),
        authz_policies,
        log: Arc::new(log),
        trust,
    };
    let profile = profile(confinement)?;
    let workers: Arc<dyn Workers> = Arc::new(Pool::new());
    let engine_settings = EngineSettings {
        workspace_dir: dir.to_owned(),
        workspace_id: workspace.id().to_owned(),
        environment: environment.to_string(),
        scratch_dir: paths.root.join("scratch"),
        cancel_dir: cancel_dir(&paths),
        profile,
        parallel_max: parallel,
        environments: environment_settings(settings, confinement, profile, search, workers.clone()),
        user: keystore.user()?,
        private_dirs: vec![settings.config_dir.clone()],
    };
    let newest = parts.log.snapshot().map_err(|e| Failure::integrity("log/read", e))?;
    process.continue_from(newest.note()).map_err(|e| signing::failure(&e))?;
    let launcher = Arc::new(SandboxLauncher);
    let secrets = Arc::new(SecretStore::of(&keystore));
    let ports = Ports { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), signer, workers, launcher, secrets };
    Ok(Running { engine: Engine::new(engine_settings, ports, parts), keystore, signer: process, seen })
}

/// Opens the log; a new one begins with the workspace's creation, but not where this user has seen one before.
fn open_log(paths: &EnvironmentPaths, keystore: &Keystore, signer: &Arc<ProcessSigner>, seen: &LastSeen) -> Result<Log, Failure> {
    let origin = keystore.origin();
    let new = !paths.log.join("checkpoint").exists() && !paths.log.join("wal").exists();
    seen.refuse_rollback(&paths.log, !new)?;
    if new {
        signer.greet().map_err(|e| signing::failure(&e))?;
        Log::create(&paths.log, &origin, &**signer).map_err(|e| Failure::configuration("log/create", e.to_string(), e.hint()))?;
    }
    let log = Log::open(&paths.log, &origin, signer.clone() as Arc<dyn Signer>).map_err(|e| Failure::integrity(e.code(), e))?;
    if log.size().map_err(|e| Failure::integrity("log/read", e))? == 0 {
        signer.greet().map_err(|e| signing::failure(&e))?;
        let kind =
            EventKind::WorkspaceCreated { workspace: keystore.workspace_id().to_owned(), environment: keystore.environment().to_owned() };
        let event = Event { time_ms: SystemClock.now_unix_ms(), principal: keystore.user()?, kind };
        log.record(&[Leaf::Event(event)]).map_err(|e| Failure::internal("log/append", e))?;
    }
    Ok(log)
}

/// Reads a file that a command was given, `-` being standard input; one over `bytes_max` is refused.
pub(crate) fn input(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let refused = |cause: String| Failure::usage(format!("`{}`: {cause}", file.display()), "name a file, or - for standard input");
    let source: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(|e| refused(e.to_string()))?)
    };
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
    if bytes.len() > bytes_max { Err(refused(format!("it is longer than {bytes_max} bytes"))) } else { Ok(bytes) }
}

/// A copy of the trust file in the workspace lets others verify "unproven": it vouches for nothing by itself.
pub(crate) fn publish_trust(paths: &EnvironmentPaths, trust: &TrustRoot) -> Result<(), Failure> {
    let path = trust_copy(paths);
    let bytes = trust.to_json();
    if std::fs::read(&path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    seaworthy_store::workspace::write_atomic(&path, &bytes, 0o644).map_err(|e| state(&e))
}

fn trust_copy(paths: &EnvironmentPaths) -> PathBuf {
    paths.root.join("trust.json")
}

/// Where another process leaves the wish to stop a run.
pub(crate) fn cancel_dir(paths: &EnvironmentPaths) -> PathBuf {
    paths.root.join("cancel")
}

fn state(error: &StoreError) -> Failure {
    let hint = error.hint();
    Failure::configuration("workspace/state", error.to_string(), hint)
}

/// Built-in Cedar policies, and the workspace's own in `policies/authz/*.cedar` with the digest of exactly what was read.
fn authorizer(dir: &Path) -> Result<(Authorizer, Option<Digest>), Failure> {
    let refused =
        |e: seaworthy_trust::authz::AuthzLoadError| Failure::configuration("authz/policies", e.to_string(), "mend policies/authz/");
    let folder = dir.join("policies/authz");
    if !folder.is_dir() {
        return Ok((Authorizer::builtin().map_err(refused)?, None));
    }
    let files = seaworthy_engine::pins::read_gate_folder(&folder)?;
    let digest = seaworthy_engine::pins::gate_manifest(&files)?.reference().digest;
    let texts: Vec<(String, String)> =
        files.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned())).collect();
    let named: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Ok((Authorizer::with_workspace(&named).map_err(refused)?, Some(digest)))
}

/// The profiles of provisioning have the network of the host: no step may ask for them.
fn profile(confinement: &Confinement) -> Result<Profile, Failure> {
    let Some(name) = &confinement.profile else { return Ok(Profile::Strict) };
    let known = name.parse().ok().filter(|profile: &Profile| matches!(profile, Profile::Strict | Profile::NoCgroup | Profile::Landlock));
    known.ok_or_else(|| {
        let hint = "strict, no-cgroup or landlock; `seaworthy sandbox explain` tells what each leaves open";
        Failure::usage(format!("no profile for steps is called `{name}`"), hint)
    })
}

fn pythons(settings: &Settings, confinement: &Confinement) -> Vec<PathBuf> {
    confinement.python.clone().map_or_else(|| settings.pythons.clone(), |python| vec![python])
}

fn environment_settings(
    settings: &Settings,
    confinement: &Confinement,
    profile: Profile,
    search: Search,
    workers: Arc<dyn Workers>,
) -> EnvironmentSettings {
    EnvironmentSettings {
        interpreters: pythons(settings, confinement),
        search,
        cache_dir: settings.cache_dir.clone(),
        state_dir: settings.state_dir.clone(),
        offline: confinement.offline,
        index: settings.index.clone(),
        profile,
        workers,
    }
}

/// Opens a workspace environment for reading.
pub(crate) fn reading(settings: &Settings, dir: &Path) -> Result<Reading, Failure> {
    let workspace = Workspace::open(dir).map_err(|e| {
        Failure::configuration(
            "workspace/no-state",
            format!("nothing has run in `{}` yet: {e}", dir.display()),
            "`seaworthy run workflow.yaml` first, or name the folder with --workspace",
        )
    })?;
    let environment = environment_of(settings, &workspace)?;
    let paths = workspace.paths(&environment);
    if !paths.log.exists() {
        let message = format!("nothing has run in environment `{environment}` of this workspace yet");
        return Err(Failure::configuration("workspace/no-state", message, "`seaworthy run workflow.yaml` first"));
    }
    let keystore = Keystore::new(settings, workspace.id(), &environment);
    Ok(Reading {
        log: LogReader::open(&paths.log).map_err(|e| Failure::integrity("log/open", e))?,
        artifacts: Artifacts::open_read_only(&paths.store).map_err(|e| state(&e))?,
        paths,
        workspace,
        environment,
        keystore,
    })
}

impl Reading {
    /// The trust file: `--trust`, the user's own, or the workspace's copy; and whether it came from outside the workspace.
    pub(crate) fn trust(&self, given: Option<&Path>) -> Result<(TrustRoot, bool), Failure> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path).map_err(|e| {
                Failure::configuration(
                    "trust/missing",
                    format!("`{}`: {e}", path.display()),
                    "`seaworthy trust export` writes one; pass it with --trust",
                )
            })?;
            TrustRoot::parse(&bytes).map_err(|e| Failure::configuration("trust/invalid", format!("`{}`: {e}", path.display()), e.hint()))
        };
        if let Some(path) = given {
            return Ok((read(path)?, true));
        }
        match self.keystore.trust()? {
            Some(trust) => Ok((trust, true)),
            None => Ok((read(&trust_copy(&self.paths))?, false)),
        }
    }

    /// The index, made in memory from the log: a reader trusts no index it finds.
    pub(crate) fn catalog(&self) -> Result<Catalog, Failure> {
        let size = self.log.size().map_err(|e| Failure::integrity("log/read", e))?;
        Catalog::in_memory(&self.log, size).map_err(|e| catalog_failure(&e))
    }
}

/// A question to the index that it could not answer.
pub(crate) fn catalog_failure(error: &CatalogError) -> Failure {
    let exit_code = match error {
        CatalogError::Unknown { .. } => crate::failure::USAGE,
        error if error.is_integrity() => crate::failure::INTEGRITY,
        _ => crate::failure::INTERNAL,
    };
    Failure::new(exit_code, error.code(), error.to_string(), error.hint())
}

/// `--environment`, or the only one that has state.
fn environment_of(settings: &Settings, workspace: &Workspace) -> Result<Name, Failure> {
    if let Some(name) = &settings.environment {
        return Name::new(name).map_err(|e| Failure::usage(e.to_string(), "for instance staging"));
    }
    let mut known = workspace.environments().map_err(|e| state(&e))?;
    match (known.pop(), known.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Failure::configuration(
            "workspace/no-state",
            "nothing has run in this workspace yet",
            "`seaworthy run workflow.yaml` first",
        )),
        (Some(last), false) => {
            let names: Vec<String> = known.iter().chain([&last]).map(ToString::to_string).collect();
            Err(Failure::usage(format!("this workspace has several environments: {}", names.join(", ")), "choose one with --environment"))
        }
    }
}
