//! The run: a plan becomes evidence. The narrative is [`run_plan`]; everything else here serves it.
//!
//! in: a plan whose pins were found and compared with the lock; out: [`RunReport`].
//! **Invariant:** no step starts before every step it needs has committed; nothing is done before it is recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::artifact::ArtifactRef;
use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::event::EventKind;
use seaworthy_core::id::{Attempt, RunId, StepRunId};
use seaworthy_core::lock::Lock;
use seaworthy_core::plan::{Plan, PlannedStep};
use seaworthy_core::ports::{AttestRequest, KeyRole, Leaf};
use seaworthy_sandbox::Cancel;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts;
use seaworthy_store::disk::{Mechanism, is_left_out};
use seaworthy_store::journal::{JournalError, Record, State, StepName};
use seaworthy_store::scratch::ScratchFolder;
use serde_json::{Value, json};

use crate::authorize::{GatePin, authorize_all};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::inputs::Committed;
use crate::pins::{FoundPins, PinnedFolder, code_rules};
use crate::progress::{Progress, StepState, StepUpdate};
use crate::report::{RunReport, RunState};
use crate::resume::{History, is_under_way};
use crate::{retry, schedule, secrets, step};

/// Said in the ends of a run that was stopped by a file without a recorded request.
const UNRECORDED: &str = "unrecorded";

/// What a run needs besides the engine.
pub struct RunInput<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What it rests on, already compared with the lock.
    pub found: &'a FoundPins,
    /// The lock.
    pub lock: &'a Lock,
    /// The lock file's bytes.
    pub lock_bytes: &'a [u8],
    /// Continue exactly this run, and begin no other.
    pub resume: Option<&'a RunId>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Watches it.
    pub progress: &'a dyn Progress,
}

/// Runs a plan to its end, or continues the run of it that a crash left unfinished.
pub fn run_plan(engine: &Engine, input: &RunInput<'_>) -> Result<RunReport, EngineError> {
    let identity = RunIdentity::of(input);
    let secrets = secrets::versions(&*engine.ports.secrets, input.plan)?;
    let begun = begin(engine, &identity, input.resume)?;
    store_texts(engine, input, begun.history.has_begun(&identity.key))?;
    authorize_run(engine, input, &identity, &begun.run, begun.continued)?;
    let run = RunContext::new(engine, input, begun, secrets);
    run.progress.run_started(&run.id.0, &run.step_names());

    let ends = schedule::run_steps(&run, |planned| attempt(&run, planned));

    let report = RunReport::new(&run, ends);
    if let Err(changed) = run.check_interpreters() {
        end_run(&run, RunState::Failed)?;
        return Err(changed);
    }
    end_run(&run, report.state)?;
    Ok(report)
}

/// A run that is this process' alone.
struct Begun {
    run: RunId,
    continued: bool,
    history: History,
    scratch: ScratchFolder,
}

/// Finds the run of this plan that a crash left, or begins a new one. One that another process is at is refused; so is another one than
/// the `wanted`.
fn begin(engine: &Engine, identity: &RunIdentity, wanted: Option<&RunId>) -> Result<Begun, EngineError> {
    let left = |history: &History| match history.unfinished_run(&identity.key, wanted) {
        Some(run) if is_under_way(engine, &run, &identity.plan, &identity.lock)? => Ok::<_, EngineError>(Some(run)),
        _ => Ok(None),
    };
    engine.catch_up()?;
    let mut history = History::load(engine)?;
    if let Some(run) = left(&history)? {
        let scratch = alone_on(engine, &run)?;
        // as it stands now that nobody else writes about it
        engine.catch_up()?;
        history = History::load(engine)?;
        if left(&history)?.as_ref() == Some(&run) {
            return Ok(Begun { run, continued: true, history, scratch });
        }
    }
    if let Some(wanted) = wanted {
        let message = format!("run {wanted} cannot be continued: it has ended, or it rests on another plan, lock or data than is here now");
        let hint = "`seaworthy runs show` tells which; `seaworthy run` begins a new run, which reuses every finished step";
        return Err(EngineError::configuration("run/not-resumable", message, hint));
    }
    let run = engine.new_run_id()?;
    let scratch = alone_on(engine, &run)?;
    Ok(Begun { run, continued: false, history, scratch })
}

/// The run's folder, locked while this process is at it.
fn alone_on(engine: &Engine, run: &RunId) -> Result<ScratchFolder, EngineError> {
    let folder = ScratchFolder::new(&engine.settings.scratch_dir, &run.0).map_err(|e| EngineError::internal("store/scratch", e))?;
    folder.ok_or_else(|| {
        let message = format!("run {run} of this plan is going on in another process");
        EngineError::configuration("run/in-progress", message, "wait for it, or stop it with `seaworthy runs cancel`")
    })
}

/// A step to its end: each attempt is executed, and recorded if it did not commit; the next one only for a cause that the step declares.
fn attempt(run: &RunContext<'_>, planned: &PlannedStep) -> (StepState, Option<EngineError>, String) {
    let mut id = match run.next_id(planned) {
        Ok(id) => id,
        Err(error) => return (StepState::Failed, Some(error), String::new()),
    };
    let mut failed = run.history.failed_attempts(&run.id, &planned.step.name);
    if run.continued && retry::is_used_up(planned, failed) {
        let error = retry::used_up(planned, failed);
        run.tell_error(&id, StepState::Failed, &error);
        return (StepState::Failed, Some(error), String::new());
    }
    loop {
        let error = match step::execute(run, planned, &id) {
            Ok(end) => {
                let state = if end.reused { StepState::Reused } else { StepState::Committed };
                run.tell(&id, state, &end.detail);
                return (state, None, end.detail);
            }
            Err(error) => run.explain_stop(error),
        };
        failed = failed.saturating_add(1);
        let (state, journal_state) = ended_as(&error);
        let recorded = record_end(run, &id, journal_state, &error);
        let wait = retry::wait_before_next(planned, &error, failed).filter(|_| recorded.is_ok() && !run.cancel.is_cancelled());
        let Some(wait) = wait else {
            let error = recorded.err().unwrap_or(error);
            run.tell_error(&id, state, &error);
            return (state, Some(error), String::new());
        };
        run.tell(&id, StepState::Waiting, &format!("[{}]; tries again in {} s", error.code, wait.as_secs()));
        if !retry::wait(&run.cancel, wait) {
            let error = run.explain_stop(retry::stopped(planned));
            run.tell_error(&id, StepState::Cancelled, &error);
            return (StepState::Cancelled, Some(error), String::new());
        }
        id.attempt = id.attempt.saturating_add(1);
    }
}

fn ended_as(error: &EngineError) -> (StepState, State) {
    use crate::error::FaultKind;
    match (error.kind, error.code.as_str()) {
        (FaultKind::Denied, _) => (StepState::Denied, State::Denied),
        (_, "step/timed-out") => (StepState::TimedOut, State::TimedOut),
        (_, "step/cancelled" | "step/cancelled-unrecorded") => (StepState::Cancelled, State::Cancelled),
        _ => (StepState::Failed, State::Failed),
    }
}

fn record_end(run: &RunContext<'_>, id: &StepRunId, state: State, error: &EngineError) -> Result<(), EngineError> {
    let name = state.as_str().to_ascii_lowercase();
    let kind = EventKind::StepEnded { step: id.clone(), state: name, error: error.code.clone() };
    run.engine.record(&[run.engine.event(&run.engine.runner().id, kind)])?;
    run.journal(id, state, json!({"code": error.code}))
}

/// What makes two runs the same run: the plan, the lock, and everything found.
struct RunIdentity {
    plan: Digest,
    lock: Digest,
    key: Digest,
}

impl RunIdentity {
    fn of(input: &RunInput<'_>) -> Self {
        let plan = input.plan.digest();
        let lock = Digest::of(input.lock_bytes);
        let found: BTreeMap<&String, String> = input.found.pins.iter().map(|(name, pin)| (name, pin.digest.hex())).collect();
        let key = json!({"plan": plan.hex(), "lock": lock.hex(), "found": found});
        Self { plan, lock, key: Digest::of(&seaworthy_core::json_strict::to_canonical(&key)) }
    }
}

/// The texts a run rests on are artifacts too, so that `verify` needs no workspace files. Those that are there already are made durable with
/// the others, unless a run that rested on them `has_begun`: whoever put them there may have been killed before they were.
fn store_texts(engine: &Engine, input: &RunInput<'_>, has_begun: bool) -> Result<(), EngineError> {
    let failed = |e: StoreError| EngineError::internal("store/put", e);
    let plan = seaworthy_core::json_strict::to_canonical_of(input.plan).map_err(|e| EngineError::internal("engine/plan", e))?;
    let texts = input.found.texts.values().map(Vec::as_slice);
    let schemas = input.found.schemas.values().map(String::as_bytes);
    let policies = input.found.gates.values().flat_map(|gate| gate.files.values()).map(Vec::as_slice);
    let manifests: Vec<Vec<u8>> = input.found.gates.values().map(|gate| gate.manifest.to_bytes()).collect();
    let all = texts.chain(schemas).chain(policies).chain(manifests.iter().map(Vec::as_slice)).chain([input.lock_bytes, plan.as_slice()]);
    let missing: Vec<&[u8]> = all.filter(|bytes| !has_begun || !engine.artifacts.contains(&Digest::of(bytes))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut batch = engine.artifacts.batch().map_err(failed)?;
    for bytes in missing {
        batch.bytes(bytes).map_err(failed)?;
    }
    batch.commit().map_err(failed)
}

/// The user's signed request and the decision on it become leaves before anything runs; a continued run has one of each more.
fn authorize_run(engine: &Engine, input: &RunInput<'_>, identity: &RunIdentity, run: &RunId, continued: bool) -> Result<(), EngineError> {
    let question = AuthorizationRequest {
        principal: engine.user(),
        action: Action::RunWorkflow,
        resource: Resource::Workflow { name: input.plan.workflow.to_string() },
        environment: engine.settings.environment.clone(),
    };
    let mut nonce = [0_u8; 16];
    engine.ports.entropy.fill(&mut nonce)?;
    let statement = RunRequest {
        run: run.clone(),
        plan: identity.plan,
        lock: identity.lock,
        workflow: workflow_file(input.found)?.1,
        environment: input.plan.environment.clone(),
        nonce: hex_encode(&nonce),
        signer: engine.ports.signer.isolation(),
    }
    .statement();
    let bundle = engine.ports.signer.attest(&AttestRequest { role: KeyRole::User, statement: &statement, step: None })?;
    let request = bundle.pae_digest();
    let public_key = engine.ports.signer.public_key(KeyRole::User)?;
    if continued {
        // whoever goes on with a run asks for it too, and says how its keys are kept now
        return authorize_all(engine, None, &[question], &[Leaf::Attestation { bundle, public_key }]);
    }
    let started = EventKind::RunStarted { run: run.clone(), request, plan: identity.plan };
    let intent = [Leaf::Attestation { bundle, public_key }, engine.event(&engine.settings.user, started)];
    authorize_all(engine, None, &[question], &intent)?;
    let record = Record::of_run(engine.now_ms(), run.clone(), State::RunStarted, json!({"plan": identity.key.hex()}));
    engine.journal.append(&[record]).map(drop).map_err(|e| unjournaled(&e))
}

fn unjournaled(error: &JournalError) -> EngineError {
    if error.is_integrity() {
        return EngineError::integrity("journal/damaged", error.to_string(), error.hint());
    }
    EngineError::new(crate::error::FaultKind::Internal, "journal/append", error.to_string(), error.hint())
}

/// Name and digest of the workflow file the plan was made from.
pub(crate) fn workflow_file(found: &FoundPins) -> Result<(&str, Digest), EngineError> {
    let file = found.texts.iter().find(|(name, _)| name.starts_with("workflow:"));
    file.map(|(name, bytes)| (name.as_str(), Digest::of(bytes)))
        .ok_or_else(|| EngineError::internal("engine/workflow", "the workflow file was not hashed"))
}

fn end_run(run: &RunContext<'_>, state: RunState) -> Result<(), EngineError> {
    let engine = run.engine;
    let kind = EventKind::RunEnded { run: run.id.clone(), state: state.as_str().to_owned(), cancelled_by: run.cancelled_by() };
    engine.record(&[engine.event(&engine.runner().id, kind)])?;
    let record = Record::of_run(engine.now_ms(), run.id.clone(), State::RunEnded, json!({"state": state.as_str()}));
    engine.journal.append_lazy(&[record]).map_err(|e| unjournaled(&e))?;
    engine.catch_up()
}

/// One run in progress, as its steps see it.
pub(crate) struct RunContext<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) plan: &'a Plan,
    pub(crate) found: &'a FoundPins,
    pub(crate) lock: &'a Lock,
    pub(crate) lock_digest: Digest,
    pub(crate) id: RunId,
    /// An earlier process began it.
    pub(crate) continued: bool,
    pub(crate) history: History,
    pub(crate) committed: Committed,
    pub(crate) cancel: Cancel,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) model: Mutex<Option<(String, u64)>>,
    /// Whose request the file was that asked this run to stop; [`UNRECORDED`] if the log has none.
    stop: OnceLock<String>,
    started_ms: u64,
    stored: Mutex<BTreeMap<Digest, ()>>,
    /// Locked while the run is alive: nobody else continues it.
    scratch: ScratchFolder,
    /// The version of each secret when the run began, by reference.
    pub(crate) secrets: BTreeMap<String, String>,
}

impl<'a> RunContext<'a> {
    fn new(engine: &'a Engine, input: &RunInput<'a>, begun: Begun, secrets: BTreeMap<String, String>) -> Self {
        let Begun { run: id, continued, history, scratch } = begun;
        Self {
            engine,
            plan: input.plan,
            found: input.found,
            lock: input.lock,
            lock_digest: Digest::of(input.lock_bytes),
            id,
            continued,
            history,
            committed: Committed::default(),
            cancel: input.cancel.clone(),
            progress: input.progress,
            model: Mutex::new(None),
            stop: OnceLock::new(),
            started_ms: engine.now_ms(),
            stored: Mutex::new(BTreeMap::new()),
            scratch,
            secrets,
        }
    }

    fn step_names(&self) -> Vec<String> {
        self.plan.steps.iter().map(|planned| planned.step.name.to_string()).collect()
    }

    /// The next attempt: above every number that the journal has, or the log. A power cut may take records of the journal whose attempts
    /// the log knows: no barrier waits for them.
    fn next_id(&self, planned: &PlannedStep) -> Result<StepRunId, EngineError> {
        let step = planned.step.name.clone();
        let mut attempt = self.history.next_attempt(&self.id, &step);
        if self.continued && !is_left_out(Mechanism::AttemptNumber) {
            let name = StepName { workflow: self.plan.workflow.clone(), step: step.clone() };
            let logged = self.engine.query(|catalog| catalog.newest_attempt(&self.id, &name))?;
            attempt = attempt.max(Attempt::try_from(logged).unwrap_or(Attempt::MAX).saturating_add(1));
        }
        Ok(StepRunId { run: self.id.clone(), workflow: self.plan.workflow.clone(), step, attempt })
    }

    /// Whoever ran the steps must still be what was hashed when the run began.
    pub(crate) fn check_interpreters(&self) -> Result<(), EngineError> {
        self.found.environments.values().try_for_each(|found| found.check_interpreter(&self.engine.settings.environments))
    }

    /// Somebody left the wish to stop: fails safe, so the run stops even if no request is recorded, and its ends say so.
    pub(crate) fn cancel_as_asked(&self) {
        let by = self.engine.cancel_requested_by(&self.id).ok().flatten();
        self.stop.get_or_init(|| by.map_or_else(|| UNRECORDED.to_owned(), |principal| principal.0));
        self.cancel.cancel();
    }

    fn cancelled_by(&self) -> Option<String> {
        self.cancel.is_cancelled().then(|| self.stop.get().cloned().unwrap_or_else(|| "interrupt".to_owned()))
    }

    fn explain_stop(&self, mut error: EngineError) -> EngineError {
        if error.code == "step/cancelled" && self.stop.get().is_some_and(|by| by == UNRECORDED) {
            "step/cancelled-unrecorded".clone_into(&mut error.code);
            error.message.push_str(": a file asked for it, but no request is recorded in the log");
            "see who can write into .seaworthy; run again to continue".clone_into(&mut error.hint);
        }
        error
    }

    /// The lock has exactly the digest that was found.
    pub(crate) fn is_pinned(&self, pin: &str) -> bool {
        match (self.lock.pins.get(pin), self.found.pins.get(pin)) {
            (Some(locked), Some(found)) => locked.digest == found.digest,
            _ => false,
        }
    }

    pub(crate) fn gate_pin(&self, planned: &PlannedStep) -> Option<GatePin> {
        let name = planned.step.policy_gate.as_ref()?;
        self.found.gates.get(name.as_str()).map(|gate| step::gate_pin(name.as_str(), gate))
    }

    /// Stores a pinned code folder once a run; it must still be what was pinned.
    pub(crate) fn store_code(&self, folder: &PinnedFolder) -> Result<ArtifactRef, EngineError> {
        let mut stored = self.stored.lock().map_err(|_| EngineError::internal("engine/poisoned", "a thread died storing code"))?;
        if stored.contains_key(&folder.artifact.digest) {
            return Ok(folder.artifact.clone());
        }
        let unreadable = |e: StoreError| EngineError::configuration("code/unreadable", e.to_string(), "it must hold regular files only");
        // even if it is there: whoever put it there may have been killed before it was durable
        let root = artifacts::open_folder(&folder.path).map_err(unreadable)?;
        let artifact = self.engine.artifacts.put_folder(root, &code_rules()).map_err(unreadable)?.1;
        if artifact.digest != folder.artifact.digest {
            let message = format!("`{}` changed while the run was going on", folder.path.display());
            return Err(EngineError::integrity("code/changed", message, "run again when nobody writes to it"));
        }
        stored.insert(artifact.digest, ());
        Ok(artifact)
    }

    /// The folder of this run's checkouts.
    pub(crate) fn scratch_dir(&self) -> &Path {
        self.scratch.dir()
    }

    /// A journal record that needs no barrier of its own: the log already has what matters.
    pub(crate) fn journal(&self, id: &StepRunId, state: State, data: Value) -> Result<(), EngineError> {
        let record = Record::of_step(self.engine.now_ms(), id, state, data);
        self.engine.journal.append_lazy(&[record]).map(drop).map_err(|e| unjournaled(&e))
    }

    /// A journal record that is durable when this returns.
    pub(crate) fn journal_durable(&self, id: &StepRunId, state: State, data: Value) -> Result<(), EngineError> {
        let record = Record::of_step(self.engine.now_ms(), id, state, data);
        self.engine.journal.append(&[record]).map(drop).map_err(|e| unjournaled(&e))
    }

    pub(crate) fn tell(&self, id: &StepRunId, state: StepState, detail: &str) {
        self.progress.step(&self.update(id, state, detail));
    }

    fn tell_error(&self, id: &StepRunId, state: StepState, error: &EngineError) {
        let mut update = self.update(id, state, &error.message);
        update.code = Some(error.code.clone());
        update.reasons.clone_from(&error.reasons);
        self.progress.step(&update);
    }

    fn update(&self, id: &StepRunId, state: StepState, detail: &str) -> StepUpdate {
        StepUpdate {
            run: self.id.0.clone(),
            step: id.step.to_string(),
            attempt: id.attempt,
            state,
            elapsed_ms: self.engine.now_ms().saturating_sub(self.started_ms),
            detail: detail.to_owned(),
            code: None,
            reasons: Vec::new(),
        }
    }
}
