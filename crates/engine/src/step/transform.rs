//! Transform and train: the user's own program, confined, between verified inputs and collected outputs.
//!
//! in: an authorized step; out: its outputs in the store, what the sandbox enforced, its captured output.
//! **Invariant:** the program sees only its declared inputs, its code, its parameters and its environment; nothing but its declared outputs comes out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seaworthy_core::artifact::{ArtifactKind, ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::limits;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::{Step, StepKind};
use seaworthy_core::workflow::retry::RetryCause;
use seaworthy_sandbox::{Exit, Limits, Mount, Outcome, SandboxError, Spec};
use seaworthy_store::artifacts::NewFile;
use serde_json::json;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::progress::StepState;
use crate::resume::StagedOutput;
use crate::runtime::Resolved;
use crate::step::ways::Ways;
use crate::step::{BodyContext, BodyOutcome, damaged};

/// Where a step finds its parameters.
const PARAMS: &str = "/params/params.json";

/// Bytes of a file of training code at most: weights may hide behind any length of text.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// File endings under which weights are kept; a training step's code may hold none of them (laundering, threats.md §6).
const WEIGHT_ENDINGS: [&str; 16] =
    ["onnx", "pkl", "pickle", "joblib", "npz", "npy", "pt", "pth", "safetensors", "h5", "hdf5", "keras", "pb", "ubj", "tflite", "gguf"];

pub(crate) fn body<'a>(context: &BodyContext<'a>, planned: &PlannedStep) -> Result<BodyOutcome<'a>, EngineError> {
    let step = &planned.step;
    let scratch = Scratch::new(context);
    let spec = specify(context, planned, &scratch)?;
    let ways = Ways::of(context, planned)?;
    let (outcome, traffic) = ways.run(spec, planned)?;
    let mut outcome = outcome.map_err(|e| not_run(step, &e, context.run.cancel.is_cancelled()))?;
    let mut kept = BodyOutcome::new(context.batch()?);
    keep_output(step, &outcome, &mut kept)?;
    kept.sandbox = json!({"enforced": outcome.enforced, "usage": outcome.usage});
    if let (Some(traffic), Some(fields)) = (traffic, kept.sandbox.as_object_mut()) {
        fields.insert("egress".to_owned(), json!(traffic));
    }
    if let Err(error) = refuse_bad_exit(step, &outcome) {
        // what a failed program printed is kept too
        kept.batch.commit().map_err(|e| EngineError::internal("store/put", e))?;
        return Err(error);
    }
    environment_of(context, step)?.check_files()?;
    if let Ok(outputs) = &mut outcome.outputs {
        ways.refuse_secrets(step, outputs)?;
    }
    collect(step, outcome, &mut kept)?;
    Ok(kept)
}

fn specify(context: &BodyContext<'_>, planned: &PlannedStep, scratch: &Scratch<'_>) -> Result<Spec, EngineError> {
    let step = &planned.step;
    let environment = environment_of(context, step)?;
    let tell = |what: &str| context.run.tell(context.id, StepState::Running, what);
    let setting = environment.setting(&context.engine.artifacts, &context.engine.settings.environments, &context.run.cancel, &tell)?;
    let argv = step.run.clone().or_else(|| Some(setting.command).filter(|command| !command.is_empty())).ok_or_else(|| {
        let message = format!("step `{}` has nothing to run", step.name);
        EngineError::configuration("step/no-command", message, "give it `run: [python, script.py]` in seaworthy.yaml")
    })?;
    let mut mounts = setting.mounts;
    let mut names = BTreeSet::new();
    for input in context.inputs {
        let short = input.name.rsplit('/').next().unwrap_or(&input.name);
        if !names.insert(short.to_owned()) {
            let message = format!("step `{}` has two inputs called `{short}`", step.name);
            return Err(EngineError::configuration("step/input-name", message, "rename one of the outputs"));
        }
        mounts.extend(scratch.show(&input.artifact, short)?);
    }
    let workdir = match &step.code {
        Some(code) => {
            let artifact = store_code(context, step, code)?;
            mounts.push(Mount { source: scratch.checkout(&artifact, "code")?, target: "/code".to_owned(), exec: true });
            "/code".to_owned()
        }
        None => setting.workdir.unwrap_or_else(|| "/tmp".to_owned()),
    };
    Ok(Spec {
        profile: context.engine.settings.profile,
        argv,
        env: variables(setting.env),
        workdir,
        hostname: "step".to_owned(),
        mounts,
        links: setting.links,
        texts: std::iter::once((PARAMS.to_owned(), params_of(step)?)).chain(setting.texts).collect(),
        outputs: step.outputs.keys().map(ToString::to_string).collect(),
        limits: limits_of(step),
        devices: Vec::new(),
        places_in_words: true,
        capture: step.logging,
    })
}

/// An environment's variables over those of every step, but for what the product says.
fn variables(environment: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = [("SEAWORTHY_INPUTS", "/in"), ("SEAWORTHY_OUTPUTS", "/out"), ("SEAWORTHY_PARAMS", PARAMS)];
    let usual = [("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin"), ("TMPDIR", "/tmp"), ("TZ", "UTC")];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    usual.map(owned).into_iter().chain(environment).chain(ours.map(owned)).collect()
}

fn environment_of<'a>(context: &BodyContext<'a>, step: &Step) -> Result<&'a Resolved, EngineError> {
    let container = step.container.as_deref().unwrap_or("host");
    let known = context.run.found.environments.get(container);
    known.ok_or_else(|| EngineError::internal("environment/missing", format!("environment `{container}` was not resolved")))
}

fn limits_of(step: &Step) -> Limits {
    let resources = step.resources;
    Limits {
        memory_bytes: resources.memory_bytes.unwrap_or(limits::STEP_MEMORY_BYTES_DEFAULT),
        cpu_milli: resources.cpu_milli,
        processes: resources.processes.unwrap_or(limits::STEP_PROCESSES_DEFAULT),
        disk_bytes: resources.disk_bytes.unwrap_or(limits::STEP_DISK_BYTES_DEFAULT),
        timeout: Duration::from_secs(step.timeout_s.unwrap_or(limits::STEP_TIMEOUT_S_DEFAULT)),
        log_bytes: limits::STEP_LOG_BYTES_MAX,
        output_files: limits::OUTPUT_FILES_MAX,
    }
}

/// The code as pinned, in the store; the checkout that the step sees is made from there.
fn store_code(context: &BodyContext<'_>, step: &Step, code: &str) -> Result<ArtifactRef, EngineError> {
    let folder =
        context.run.found.code.get(code).ok_or_else(|| EngineError::internal("code/missing", format!("code `{code}` was not hashed")))?;
    let artifact = context.run.store_code(folder)?;
    let makes_model = step.outputs.values().any(|output| output.kind == ArtifactKind::Model);
    if step.kind == StepKind::Train || makes_model {
        refuse_weights(context, step, &folder.manifest)?;
    }
    Ok(artifact)
}

/// Ready-made weights beside the training code would make every later signature true and meaningless: files that are
/// named like weights, or that are no text, stop the step. Weights encoded as text get past this: see the threat model.
fn refuse_weights(context: &BodyContext<'_>, step: &Step, manifest: &Manifest) -> Result<(), EngineError> {
    for entry in manifest.entries() {
        let ending = Path::new(&entry.name).extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        if !WEIGHT_ENDINGS.contains(&ending.as_str()) && is_text(context.engine, entry)? {
            continue;
        }
        let message = format!(
            "the code of step `{}`, which makes a model, holds `{}`, which looks like ready-made weights: training code is text",
            step.name, entry.name
        );
        let hint = "a base model or other binary comes in through an ingest step, so that it has a source and a signature";
        return Err(EngineError::body("train/weights-in-code", message, hint));
    }
    Ok(())
}

/// Whether a file is UTF-8 without NUL, to its end; one too long to be looked at is no text.
fn is_text(engine: &Engine, entry: &ManifestEntry) -> Result<bool, EngineError> {
    if entry.size > TEXT_BYTES_MAX {
        return Ok(false);
    }
    let damaged = |e: &dyn std::fmt::Display| EngineError::integrity("store/damaged", e.to_string(), "run `seaworthy verify`");
    let mut bytes = Vec::new();
    let reader = engine.artifacts.open_blob(&entry.digest).map_err(|e| damaged(&e))?;
    reader.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
    Ok(std::str::from_utf8(&bytes).is_ok() && !bytes.contains(&0))
}

/// `$SEAWORTHY_PARAMS`: the parameters as one JSON file; their values stand in the provenance.
fn params_of(step: &Step) -> Result<String, EngineError> {
    String::from_utf8(seaworthy_core::json_strict::to_canonical(&step.params)).map_err(|e| EngineError::internal("engine/params", e))
}

/// The checkouts of one attempt, removed when the attempt is over.
struct Scratch<'a> {
    engine: &'a Engine,
    /// Where they lie, and how their names begin.
    place: (PathBuf, String),
    made: RefCell<Vec<PathBuf>>,
}

impl<'a> Scratch<'a> {
    fn new(context: &BodyContext<'a>) -> Self {
        let id = context.id;
        let place = (context.run.scratch_dir().to_path_buf(), format!("{}-{}", id.step, id.attempt));
        Self { engine: context.engine, place, made: RefCell::default() }
    }

    /// An input at `/in/<short>`: its few files one by one, or a tree of them.
    fn show(&self, artifact: &ArtifactRef, short: &str) -> Result<Vec<Mount>, EngineError> {
        let target = format!("/in/{short}");
        let manifest = self.engine.artifacts.manifest(&artifact.digest).map_err(|e| damaged(&e))?;
        match self.engine.artifacts.single_files(&manifest).map_err(|e| damaged(&e))? {
            Some(files) => {
                let mount = |(name, file): (String, File)| Mount { source: file.into(), target: format!("{target}/{name}"), exec: false };
                Ok(files.into_iter().map(mount).collect())
            }
            None => Ok(vec![Mount { source: self.tree(&manifest, &format!("in-{short}"))?, target, exec: false }]),
        }
    }

    fn checkout(&self, artifact: &ArtifactRef, name: &str) -> Result<OwnedFd, EngineError> {
        self.tree(&self.engine.artifacts.manifest(&artifact.digest).map_err(|e| damaged(&e))?, name)
    }

    fn tree(&self, manifest: &Manifest, name: &str) -> Result<OwnedFd, EngineError> {
        let (dir, prefix) = &self.place;
        let dir = dir.join(format!("{prefix}-{name}"));
        let folder = self.engine.artifacts.checkout(manifest, &dir).map_err(|e| damaged(&e))?;
        self.made.borrow_mut().push(dir);
        Ok(folder)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // left-overs are removed with the run's folder, or by the next run; nothing rests on them
        self.made.borrow().iter().for_each(|dir| drop(seaworthy_store::artifacts::remove_checkout(dir)));
    }
}

/// Why there was no outcome: the user's doing, the machine's, or a stop in the middle of the launch.
fn not_run(step: &Step, error: &SandboxError, cancelled: bool) -> EngineError {
    match error {
        SandboxError::Survivors { .. } => EngineError::internal(error.code(), error),
        _ if cancelled => {
            let message = format!("`{}` was stopped while it was being started ({error})", step.name);
            EngineError::body("step/cancelled", message, "run again to continue")
        }
        SandboxError::Setup { .. } | SandboxError::InitLost { .. } => EngineError::internal(error.code(), error),
        SandboxError::Unsupported(_) | SandboxError::Spec { .. } | SandboxError::Exec { .. } => {
            EngineError::configuration(error.code(), error.to_string(), error.hint())
        }
    }
}

/// `logging: enabled` keeps bounded stdout and stderr as byproducts.
fn keep_output(step: &Step, outcome: &Outcome, kept: &mut BodyOutcome<'_>) -> Result<(), EngineError> {
    if step.logging {
        for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
            let digest = kept.batch.bytes(&stream.bytes).map_err(|e| EngineError::internal("store/put", e))?;
            kept.byproducts.insert(name.to_owned(), digest);
        }
    }
    Ok(())
}

fn refuse_bad_exit(step: &Step, outcome: &Outcome) -> Result<(), EngineError> {
    let name = &step.name;
    let tail = last_lines(&outcome.stderr.bytes);
    match outcome.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => {
            let error = EngineError::body("step/failed", format!("`{name}` exited with {code}: {tail}"), "mend the program and run again");
            Err(EngineError { retry: u8::try_from(code).ok().map(RetryCause::Exit), ..error })
        }
        Exit::Signal(signal) => Err(EngineError::body(
            "step/killed",
            format!("`{name}` was killed by signal {signal}: {tail}"),
            "SIGSYS (31) means a system call the sandbox does not allow",
        )
        .retryable(RetryCause::Killed)),
        Exit::OutOfMemory => {
            let error = EngineError::body("step/out-of-memory", format!("`{name}` used all its memory"), "raise `resources: {memory: …}`");
            Err(error.retryable(RetryCause::OutOfMemory))
        }
        Exit::TimedOut => {
            let error = EngineError::body("step/timed-out", format!("`{name}` ran out of time"), "raise `timeout:`");
            Err(error.retryable(RetryCause::TimedOut))
        }
        Exit::Cancelled => Err(EngineError::body("step/cancelled", format!("`{name}` was stopped"), "run again to continue")),
    }
}

/// The end of a program's stderr on one line, control characters escaped so that nothing forges our own output.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ");
    let clean: String = tail.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let skip = clean.chars().count().saturating_sub(400);
    clean.chars().skip(skip).collect()
}

/// Copies and hashes what the sandbox collected, once.
fn collect(step: &Step, outcome: Outcome, kept: &mut BodyOutcome<'_>) -> Result<(), EngineError> {
    let collected = outcome.outputs.map_err(|e| EngineError::body(e.code(), e.to_string(), e.hint()))?;
    for output in collected {
        let Some((name, spec)) = step.outputs.iter().find(|(name, _)| name.as_str() == output.name) else { continue };
        if output.files.is_empty() {
            let message = format!("`{}` wrote nothing to output `{name}`", step.name);
            return Err(EngineError::body("step/output-missing", message, "write to $SEAWORTHY_OUTPUTS/<name>/"));
        }
        let files =
            output.files.into_iter().map(|file| NewFile { name: file.path, file: file.file, executable: file.executable }).collect();
        let (_, artifact) = kept
            .batch
            .files(files)
            .map_err(|e| EngineError::body("step/output", e.to_string(), "check the names and sizes of the outputs"))?;
        kept.outputs.push(StagedOutput { name: name.clone(), kind: spec.kind, artifact });
    }
    if kept.outputs.len() != step.outputs.len() {
        let message = format!("`{}` left {} of {} declared outputs", step.name, kept.outputs.len(), step.outputs.len());
        return Err(EngineError::body("step/output-missing", message, "write to $SEAWORTHY_OUTPUTS/<name>/"));
    }
    Ok(())
}
