//! Pins: what a plan rests on, hashed as it is now and held against `seaworthy.lock`.
//!
//! in: a plan and the workspace folder; out: [`FoundPins`], and a refusal that names every difference.
//! **Invariant:** outside dev a run starts only if every pin is present and equal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::digest::Digest;
use seaworthy_core::lock::{self, Lock, Pin, PinKind};
use seaworthy_core::plan::Plan;
use seaworthy_core::workflow::Severity;
use seaworthy_core::workflow::model::{StepKind, Workspace};
use seaworthy_store::artifacts::{self, FolderRules, HardLinks, NewFile};
use seaworthy_trust::gate::{self, Gate};

use crate::code;
use crate::engine::Engine;
use crate::error::{EngineError, FaultKind};
use crate::runtime::{self, Resolved};

/// Pin of the workspace's own authorization policies.
const AUTHZ_PIN: &str = "authz";

/// A folder that was hashed for its pin.
#[derive(Clone, Debug)]
pub struct PinnedFolder {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its files.
    pub manifest: Manifest,
    /// Its digests.
    pub artifact: ArtifactRef,
    /// The git commit that is checked out around it, as a claim.
    pub commit: Option<String>,
}

/// A gate that was loaded and tested for its pin.
pub struct PinnedGate {
    /// The gate, ready to decide.
    pub gate: Gate,
    /// Its files, for the store.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The folder's manifest.
    pub manifest: Manifest,
    /// The folder's digests.
    pub artifact: ArtifactRef,
    /// The lock has exactly this digest.
    pub pinned: bool,
}

/// Everything the plan rests on, as it is now.
#[derive(Default)]
pub struct FoundPins {
    /// By pin name, as `lock::required_pins` names them.
    pub pins: BTreeMap<String, Pin>,
    /// Ingest step → its source.
    pub sources: BTreeMap<String, PinnedFolder>,
    /// Code path → folder.
    pub code: BTreeMap<String, PinnedFolder>,
    /// Gate name → gate.
    pub gates: BTreeMap<String, PinnedGate>,
    /// Container name → environment.
    pub environments: BTreeMap<String, Resolved>,
    /// Ingest step → schema text; absent if none is written yet.
    pub schemas: BTreeMap<String, String>,
    /// The workflow's and the settings' bytes by pin name.
    pub texts: BTreeMap<String, Vec<u8>>,
}

/// The files of a plan and where they are.
pub struct PlanFiles<'a> {
    /// The parsed workspace.
    pub workspace: &'a Workspace,
    /// The plan.
    pub plan: &'a Plan,
    /// Name and bytes of the workflow file.
    pub workflow_file: (&'a str, &'a [u8]),
    /// Bytes of the settings file.
    pub settings_file: Option<&'a [u8]>,
}

/// Where a plan's files are, and which folders no step may read.
struct Place<'a> {
    workspace_dir: &'a Path,
    private_dirs: &'a [PathBuf],
}

impl<'a> Place<'a> {
    fn of(engine: &'a Engine) -> Self {
        Self { workspace_dir: &engine.settings.workspace_dir, private_dirs: &engine.settings.private_dirs }
    }
}

/// What [`look`] saw without keys, and what it could not.
#[derive(Default)]
pub struct Seen {
    /// By pin name, as it is now.
    pub pins: BTreeMap<String, Pin>,
    /// Pin name → why it could not be hashed.
    pub unreadable: BTreeMap<String, String>,
}

/// Hashes what `files.plan` rests on as [`find`] does, but opens nothing for writing and builds nothing: environments are left out.
#[must_use]
pub fn look(workspace_dir: &Path, private_dirs: &[PathBuf], files: &PlanFiles<'_>, lock: &Lock) -> Seen {
    let place = Place { workspace_dir, private_dirs };
    let mut found = FoundPins::default();
    let mut unreadable = BTreeMap::new();
    let mut take = |name: String, outcome: Result<(), EngineError>| {
        if let Err(error) = outcome {
            unreadable.insert(name, error.message);
        }
    };
    add_texts(&mut found, files);
    take(AUTHZ_PIN.to_owned(), add_authz(&place, &mut found));
    for planned in &files.plan.steps {
        let step = &planned.step;
        if step.kind == StepKind::Ingest {
            take(format!("source:{}", step.name), add_source(&place, &mut found, files.workspace, step));
            take(format!("schema:{}", step.name), add_schema(&place, &mut found, step));
        }
        if let Some(code) = &step.code {
            take(format!("code:{code}"), add_code(&place, &mut found, code));
        }
        if let Some(name) = &step.policy_gate {
            take(format!("gate:{name}"), add_gate(&place, &mut found, name.as_str(), lock));
        }
    }
    Seen { pins: found.pins, unreadable }
}

/// The workspace's own authorization policies, if it has any.
fn add_authz(place: &Place<'_>, found: &mut FoundPins) -> Result<(), EngineError> {
    let folder = place.workspace_dir.join("policies/authz");
    if folder.is_dir() {
        let digest = gate_manifest(&read_gate_folder(&folder)?)?.reference().digest;
        found.pins.insert(AUTHZ_PIN.to_owned(), Pin { kind: PinKind::Gate, digest, from: "policies/authz".to_owned() });
    }
    Ok(())
}

/// Hashes everything `files.plan` rests on; an environment that is not there yet is built.
pub fn find(engine: &Engine, files: &PlanFiles<'_>, lock: &Lock) -> Result<FoundPins, EngineError> {
    let place = Place::of(engine);
    let mut found = FoundPins::default();
    add_texts(&mut found, files);
    if let Some(digest) = engine.authz_policies {
        found.pins.insert(AUTHZ_PIN.to_owned(), Pin { kind: PinKind::Gate, digest, from: "policies/authz".to_owned() });
    }
    for planned in &files.plan.steps {
        let step = &planned.step;
        if step.kind == StepKind::Ingest {
            add_source(&place, &mut found, files.workspace, step)?;
            add_schema(&place, &mut found, step)?;
        }
        code::check_level(step)?;
        if let Some(code) = &step.code {
            add_code(&place, &mut found, code)?;
        }
        if let Some(name) = &step.policy_gate {
            add_gate(&place, &mut found, name.as_str(), lock)?;
        }
        if step.run.is_some() || runs_a_program(step.kind) {
            add_environment(engine, &mut found, files.workspace, step.container.as_deref(), lock)?;
        }
    }
    Ok(found)
}

/// Every pin the plan needs, and that of the authorization policies if there are any or the lock says that there were.
#[must_use]
pub fn required(plan: &Plan, lock: &Lock, found: &BTreeMap<String, Pin>) -> Vec<(String, PinKind)> {
    let mut pins = lock::required_pins(plan);
    if found.contains_key(AUTHZ_PIN) || lock.pins.contains_key(AUTHZ_PIN) {
        pins.push((AUTHZ_PIN.to_owned(), PinKind::Gate));
    }
    pins
}

/// Refuses on any difference outside dev; in dev returns them as warnings.
pub fn check(plan: &Plan, lock: &Lock, found: &FoundPins) -> Result<Vec<lock::LockDifference>, EngineError> {
    let differences = lock::compare(lock, &found.pins, &required(plan, lock, &found.pins));
    if !lock::refuses(&differences, &plan.environment) {
        return Ok(differences);
    }
    let blocking = differences.iter().filter(|difference| difference.severity(&plan.environment) == Severity::Error);
    let messages: Vec<String> = blocking.clone().map(lock::LockDifference::message).collect();
    let hint = blocking.map(lock::LockDifference::hint).next().unwrap_or_default();
    Err(EngineError::new(FaultKind::Denied, "lock/changed", messages.join("; "), hint))
}

fn add_texts(found: &mut FoundPins, files: &PlanFiles<'_>) {
    let (name, bytes) = files.workflow_file;
    let pin = format!("workflow:{name}");
    found.pins.insert(pin.clone(), Pin { kind: PinKind::Workflow, digest: Digest::of(bytes), from: name.to_owned() });
    found.texts.insert(pin, bytes.to_vec());
    if let Some(bytes) = files.settings_file {
        found
            .pins
            .insert("settings".to_owned(), Pin { kind: PinKind::Workflow, digest: Digest::of(bytes), from: "seaworthy.yaml".to_owned() });
        found.texts.insert("settings".to_owned(), bytes.to_vec());
    }
}

fn add_source(
    place: &Place<'_>,
    found: &mut FoundPins,
    workspace: &Workspace,
    step: &seaworthy_core::workflow::model::Step,
) -> Result<(), EngineError> {
    let uri = step.source.clone().ok_or_else(|| {
        let message = format!("ingest step `{}` names no source", step.name);
        EngineError::configuration("source/missing", message, "give it `source:` in the workflow")
    })?;
    let path = source_path(place.workspace_dir, workspace, &uri)?;
    let folder = hash_folder(place, &path, &FolderRules::default())?;
    let pin = Pin { kind: PinKind::Source, digest: folder.artifact.digest, from: uri };
    found.pins.insert(format!("source:{}", step.name), pin);
    found.sources.insert(step.name.to_string(), folder);
    Ok(())
}

/// Where a source's bytes are on this machine: a path below the workspace, an absolute path, or what `sources:` maps its prefix to.
pub fn source_path(workspace_dir: &Path, workspace: &Workspace, uri: &str) -> Result<PathBuf, EngineError> {
    let longest = workspace.sources.iter().filter(|(prefix, _)| uri.starts_with(prefix.as_str())).max_by_key(|(prefix, _)| prefix.len());
    let local = match longest {
        Some((prefix, target)) => format!("{}/{}", target.trim_end_matches('/'), uri.strip_prefix(prefix.as_str()).unwrap_or_default()),
        None => uri.strip_prefix("file://").unwrap_or(uri).to_owned(),
    };
    if local.contains("://") {
        let message = format!("this release reads folders and files only; nothing maps `{uri}` to one");
        let hint = format!("add to seaworthy.yaml: sources: {{\"{uri}\": ./data/}}");
        return Err(EngineError::configuration("source/unmapped", message, hint));
    }
    if Path::new(&local).components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        let message = format!("source `{uri}` leads to `{local}`, which climbs out with `..`");
        return Err(EngineError::configuration("source/path", message, "name a folder below the workspace, or an absolute path"));
    }
    Ok(workspace_dir.join(local))
}

fn add_schema(place: &Place<'_>, found: &mut FoundPins, step: &seaworthy_core::workflow::model::Step) -> Result<(), EngineError> {
    let relative = step.schema.clone().unwrap_or_else(|| format!("schemas/{}.inferred.yaml", step.name));
    let path = place.workspace_dir.join(&relative);
    let text = match seaworthy_store::workspace::config_file(&path) {
        Ok(text) => text,
        Err(error) if step.schema.is_some() => {
            let message = format!("schema `{relative}` cannot be read: {error}");
            return Err(EngineError::configuration("schema/unreadable", message, "write it, or drop `schema:` to have one inferred"));
        }
        Err(_) => return Ok(()),
    };
    let pin = Pin { kind: PinKind::Schema, digest: Digest::of(text.as_bytes()), from: relative };
    found.pins.insert(format!("schema:{}", step.name), pin);
    found.schemas.insert(step.name.to_string(), text);
    Ok(())
}

fn add_code(place: &Place<'_>, found: &mut FoundPins, code: &str) -> Result<(), EngineError> {
    if found.code.contains_key(code) {
        return Ok(());
    }
    let mut folder = hash_folder(place, &place.workspace_dir.join(code), &code_rules())?;
    folder.commit = code::claimed_commit(&folder.path);
    found.pins.insert(format!("code:{code}"), Pin { kind: PinKind::Code, digest: folder.artifact.digest, from: code.to_owned() });
    found.code.insert(code.to_owned(), folder);
    Ok(())
}

/// A workspace's gate folder shadows a built-in one only if the lock pins it (in dev: always).
fn add_gate(place: &Place<'_>, found: &mut FoundPins, name: &str, lock: &Lock) -> Result<(), EngineError> {
    if found.gates.contains_key(name) {
        return Ok(());
    }
    let pin_name = format!("gate:{name}");
    let folder = place.workspace_dir.join("policies").join(name);
    let (files, from) = if folder.is_dir() {
        (read_gate_folder(&folder)?, format!("policies/{name}"))
    } else if let Some((_, files)) = gate::builtin().into_iter().find(|(builtin, _)| *builtin == name) {
        (files, "built-in".to_owned())
    } else {
        let message = format!("no gate is called `{name}`: there is neither policies/{name} nor a built-in one");
        return Err(EngineError::configuration("gate/unknown", message, "built in are data_schema_v2 and model_performance"));
    };
    let manifest = gate_manifest(&files)?;
    let artifact = manifest.reference();
    let digest = artifact.digest;
    let loaded = Gate::load(name, &files, digest).map_err(|e| EngineError::configuration(e.code(), e.to_string(), e.hint()))?;
    let pinned = lock.pins.get(&pin_name).is_some_and(|pin| pin.digest == digest);
    found.pins.insert(pin_name, Pin { kind: PinKind::Gate, digest, from });
    found.gates.insert(name.to_owned(), PinnedGate { gate: loaded, files, manifest, artifact, pinned });
    Ok(())
}

/// The manifest of a gate's files.
pub fn gate_manifest(files: &BTreeMap<String, Vec<u8>>) -> Result<Manifest, EngineError> {
    let entries = files.iter().map(|(name, bytes)| ManifestEntry {
        name: name.clone(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        mode: 0o644,
    });
    Manifest::new(entries.collect()).map_err(|e| EngineError::configuration("gate/folder", e.to_string(), "rename the file"))
}

/// Reads a gate's folder, with the bounds of trust.
pub fn read_gate_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
    use std::io::Read as _;
    let mut files = BTreeMap::new();
    let root = artifacts::open_folder(folder).map_err(|e| unreadable(folder, &e))?;
    for NewFile { name, file, .. } in artifacts::folder_files(root, &FolderRules::default()).map_err(|e| unreadable(folder, &e))? {
        let mut bytes = Vec::new();
        let limit = seaworthy_core::limits::GATE_INPUT_BYTES_MAX;
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| unreadable(folder, &e))?;
        if bytes.len() > limit {
            return Err(unreadable(&folder.join(&name), &format!("it has more than {limit} bytes")));
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

/// Such a step that says no command runs the one of its image.
pub(crate) fn runs_a_program(kind: StepKind) -> bool {
    matches!(kind, StepKind::Transform | StepKind::Train)
}

fn add_environment(
    engine: &Engine,
    found: &mut FoundPins,
    workspace: &Workspace,
    container: Option<&str>,
    lock: &Lock,
) -> Result<(), EngineError> {
    let name = container.unwrap_or("host");
    if found.environments.contains_key(name) {
        return Ok(());
    }
    let engine_settings = &engine.settings;
    let environment = runtime::resolve(
        name,
        workspace.environments.get(name),
        lock.pins.get(&format!("environment:{name}")),
        &engine_settings.workspace_dir,
        &engine.artifacts,
        &engine_settings.environments,
    )?;
    let pin = Pin { kind: PinKind::Environment, digest: environment.digest, from: environment.from.clone() };
    found.pins.insert(format!("environment:{name}"), pin);
    found.environments.insert(name.to_owned(), environment);
    Ok(())
}

/// A workflow that names a folder with keys would have a step read them.
fn refuse_private(place: &Place<'_>, path: &Path) -> Result<(), EngineError> {
    let real = path.canonicalize().map_err(|e| unreadable(path, &e))?;
    let mut private = place.private_dirs.iter().filter_map(|dir| dir.canonicalize().ok());
    match private.find(|dir| real.starts_with(dir) || dir.starts_with(&real)) {
        None => Ok(()),
        Some(dir) => {
            let message = format!("`{}` and the folder of keys `{}` are one inside the other", path.display(), dir.display());
            Err(EngineError::configuration("source/private", message, "no step reads keys: name a folder that holds none"))
        }
    }
}

fn hash_folder(place: &Place<'_>, path: &Path, rules: &FolderRules) -> Result<PinnedFolder, EngineError> {
    refuse_private(place, path)?;
    let root = artifacts::open_folder(path).map_err(|e| unreadable(path, &e))?;
    let (manifest, artifact) = artifacts::hash_folder(root, rules).map_err(|e| unreadable(path, &e))?;
    if manifest.entries().is_empty() {
        let message = format!("`{}` holds no files", path.display());
        return Err(EngineError::configuration(
            "source/empty",
            message,
            "check the path; `sources:` in seaworthy.yaml maps URIs to folders",
        ));
    }
    Ok(PinnedFolder { path: path.to_owned(), manifest, artifact, commit: None })
}

/// What is left out of a code folder: what the interpreter writes beside the code.
pub(crate) fn code_rules() -> FolderRules {
    FolderRules { ignore: BTreeSet::from(["__pycache__".to_owned()]), hard_links: HardLinks::Accept, ..FolderRules::default() }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> EngineError {
    let message = format!("`{}` cannot be read: {cause}", path.display());
    EngineError::configuration("source/unreadable", message, "it must exist and hold regular files only: no links, devices or pipes")
}
