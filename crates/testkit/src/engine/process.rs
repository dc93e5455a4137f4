//! One simulated process: it opens the workspace as `seaworthy run` does, runs the plan, and tells how it ended.
//!
//! in: a fixture, the disk, simulated ports; out: how far it came.
//! **Invariant:** an error is met only where a fault was put.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::Name;
use seaworthy_core::ports::{EvidenceSource as _, Leaf, Recorder as _, Signer, Workers};
use seaworthy_engine::engine::{Engine, EngineSettings, Parts, Ports as EnginePorts};
use seaworthy_engine::environment::{IndexSettings, Search};
use seaworthy_engine::launcher::Launcher;
use seaworthy_engine::progress::{Progress, StepState};
use seaworthy_engine::report::RunReport;
use seaworthy_engine::run::{RunInput, run_plan};
use seaworthy_engine::runtime::EnvironmentSettings;
use seaworthy_engine::secrets::NoSecrets;
use seaworthy_sandbox::{Cancel, Profile};
use seaworthy_store::artifacts::Artifacts;
use seaworthy_store::catalog::Catalog;
use seaworthy_store::journal::{Journal, State};
use seaworthy_store::log::Log;
use seaworthy_store::workspace::{EnvironmentPaths, Workspace};

use super::End;
use super::fixture::{ENVIRONMENT, ENVIRONMENT_FILE, Fixture, ORIGIN, WORKSPACE, user};
use super::ports::{InProcess, Ports};
use super::world::{Known, World};

/// Where a process works: the workspace on the disk, and what lies beside it.
#[derive(Clone)]
pub(crate) struct Where {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Scratch folders, the index, wishes to stop: nothing rests on them.
    pub(crate) beside: PathBuf,
}

/// What went wrong, in words.
pub(crate) type Error = String;

/// The parts of a workspace, open.
pub(crate) struct Open {
    pub(crate) paths: EnvironmentPaths,
    pub(crate) engine: Engine,
}

/// The ports, as the engine takes them.
pub(crate) struct Given {
    pub(crate) clock: Arc<dyn seaworthy_core::ports::Clock>,
    pub(crate) entropy: Arc<dyn seaworthy_core::ports::Entropy>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) workers: Arc<dyn Workers>,
}

impl Where {
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join(".seaworthy").join(ENVIRONMENT).join("log")
    }

    pub(crate) fn catalog(&self) -> PathBuf {
        self.beside.join("catalog.db")
    }
}

fn said<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, Error> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Opens everything as `seaworthy run` does, in its order.
pub(crate) fn open(fixture: &Fixture, at: &Where, given: Given, parallel: usize) -> Result<Open, Error> {
    let workspace = said("opening the workspace", Workspace::create(&at.root))?;
    let paths = said("opening the environment", workspace.environment(&Name::new(ENVIRONMENT).unwrap()))?;
    if !paths.log.join("checkpoint").exists() && !paths.log.join("wal").exists() {
        said("making the log", Log::create(&paths.log, ORIGIN, &*given.signer))?;
    }
    let log = said("opening the log", Log::open(&paths.log, ORIGIN, given.signer.clone()))?;
    if said("reading the log", log.size())? == 0 {
        let kind = EventKind::WorkspaceCreated { workspace: WORKSPACE.to_owned(), environment: ENVIRONMENT.to_owned() };
        let event = Event { time_ms: given.clock.now_unix_ms(), principal: user(), kind };
        said("beginning the log", log.record(&[Leaf::Event(event)]))?;
    }
    let artifacts = said("opening the store", Artifacts::open(&paths.store))?;
    let (name, bytes) = ENVIRONMENT_FILE;
    let environment = fixture.found.pins.get("environment:host").map(|pin| pin.digest);
    if environment.is_some_and(|digest| artifacts.manifest(&digest).is_err()) && fixture.simulated {
        let mut batch = said("storing", artifacts.batch())?;
        said("storing", batch.document(name, bytes))?;
        said("storing", batch.commit())?;
    }
    let parts = Parts {
        artifacts,
        journal: said("opening the journal", Journal::open(&paths.journal))?,
        catalog: said("opening the index", Catalog::open(&at.catalog()))?,
        authorizer: fixture.authorizer.clone(),
        authz_policies: None,
        log: Arc::new(log),
        trust: fixture.trust.clone(),
    };
    let Given { clock, entropy, signer, launcher, workers } = given;
    let settings = settings(fixture, at, parallel, workers.clone());
    let secrets = Arc::new(NoSecrets);
    let ports = EnginePorts { clock, entropy, signer, workers, launcher, secrets };
    Ok(Open { paths, engine: Engine::new(settings, ports, parts) })
}

fn settings(fixture: &Fixture, at: &Where, parallel: usize, workers: Arc<dyn Workers>) -> EngineSettings {
    let environments = EnvironmentSettings {
        interpreters: Vec::new(),
        cache_dir: fixture.dir.join("cache"),
        state_dir: fixture.dir.join("state"),
        offline: true,
        index: IndexSettings::default(),
        search: Search::default(),
        profile: Profile::Strict,
        workers,
    };
    EngineSettings {
        workspace_dir: fixture.dir.clone(),
        workspace_id: WORKSPACE.to_owned(),
        environment: ENVIRONMENT.to_owned(),
        scratch_dir: at.beside.join("scratch"),
        cancel_dir: at.beside.join("cancel"),
        profile: Profile::Strict,
        parallel_max: parallel,
        environments,
        user: user(),
        private_dirs: Vec::new(),
    }
}

/// Runs the plan.
pub(crate) fn run(fixture: &Fixture, engine: &Engine, progress: &dyn Progress) -> Result<RunReport, Error> {
    let input = RunInput {
        plan: &fixture.plan,
        found: &fixture.found,
        lock: &fixture.lock,
        lock_bytes: &fixture.lock_bytes,
        resume: None,
        cancel: Cancel::new(),
        progress,
    };
    run_plan(engine, &input).map_err(|error| format!("{}: {}", error.code, error.message))
}

/// How the steps of a run ended, whatever it took.
pub(crate) fn end_of(report: &RunReport) -> End {
    let state = |state| match state {
        StepState::Committed | StepState::Reused => "committed",
        StepState::Denied => "denied",
        StepState::Skipped => "skipped",
        StepState::Failed => "failed",
        _ => "otherwise",
    };
    // a detail of a committed step names its outputs with their digests
    let detail = |step: &seaworthy_engine::report::StepReport| match state(step.state) {
        "committed" => step.detail.clone(),
        _ => step.code.clone().unwrap_or_default(),
    };
    report.steps.iter().map(|step| (step.step.clone(), (state(step.state), detail(step)))).collect()
}

/// The life of one process under faults: what it was not told by the fault is a broken promise.
pub(crate) fn live(fixture: &Fixture, at: &Where, ports: &Arc<Ports>, runs: u64, rivals: bool) {
    for _ in 0..runs {
        let outcome = once(fixture, at, ports);
        let disturbed = ports.under.lane().is_dead() || ports.under.lane().has_failed() || ports.met.load(Ordering::Relaxed) > 0;
        match outcome {
            _ if disturbed => return,
            Err(error) if rivals && error.starts_with("run/in-progress") => return,
            Err(error) => return ports.world.with(|seen| seen.broken("what is not disturbed succeeds", error)),
            Ok(end) => {
                if fixture.expected.get().is_some_and(|expected| *expected != end) {
                    ports.world.with(|seen| seen.broken("what is not disturbed ends the same", format!("{end:?}")));
                    return;
                }
                let expected = fixture.expected.get_or_init(|| end);
                if std::env::var_os("SEAWORTHY_SIM_TRACE").is_some() {
                    println!("{expected:?}");
                }
            }
        }
    }
}

fn once(fixture: &Fixture, at: &Where, ports: &Arc<Ports>) -> Result<End, Error> {
    let given = Given {
        clock: ports.clone(),
        entropy: ports.clone(),
        signer: ports.clone(),
        launcher: ports.clone(),
        workers: Arc::new(InProcess),
    };
    let parallel = 1 + usize::try_from(ports.under.below(2)).unwrap();
    let open = open(fixture, at, given, parallel)?;
    see_leaves(&open, &ports.world)?;
    let known = known(fixture, &open.paths.journal, &ports.world)?;
    *ports.known.lock().unwrap() = known;
    let report = run(fixture, &open.engine, &**ports)?;
    if !ports.under.lane().is_dead() {
        ports.world.with(|seen| drop(seen.ended.insert(report.run.clone(), report.state.as_str().to_owned())));
    }
    said("settling the log", open.engine.log().settle())?;
    Ok(end_of(&report))
}

/// What an opened log shows stays: it has neither hole nor fork.
pub(crate) fn see_leaves(open: &Open, world: &World) -> Result<(), Error> {
    let log = said("reading the log", open.engine.log().snapshot())?;
    let size = said("reading the log", log.size())?;
    let leaves = (0..size).map(|index| said("reading the log", log.entry(index))).collect::<Result<Vec<_>, _>>()?;
    world.with(|seen| {
        let changed = seen.leaves.iter().enumerate().find(|(index, known)| leaves.get(*index) != Some(*known));
        let found = changed.map(|(index, _)| format!("{index} of {}, now {size}", seen.leaves.len()));
        match found {
            Some(found) => seen.broken("a leaf stays what it was, where it was", found),
            None => seen.leaves = leaves,
        }
    });
    Ok(())
}

pub(crate) fn known(fixture: &Fixture, journal: &Path, world: &World) -> Result<Known, Error> {
    let journal = said("reading the journal", Journal::open_read_only(journal))?;
    let records = said("reading the journal", journal.records())?;
    let staged = records.into_iter().filter(|record| record.state == State::Staged);
    let steps = staged.filter_map(|record| Some((record.run.0, record.step?.step.to_string()))).collect();
    let reusable = |step: &str| fixture.plan.steps.iter().any(|planned| planned.step.name.as_str() == step && planned.step.cache);
    Ok(Known { steps, bodies: world.with(|seen| seen.finished_bodies(&reusable)) })
}
