//! The simulated ports of one process: a launcher that plays bodies, a signer that may be gone, a clock that jumps, chance by seed.
//!
//! in: calls of the engine; out: answers, each a place where the process may die and another may go on.
//! **Invariant:** a process that is dead gets no answer any more, starts nothing and signs nothing.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::id::StepRunId;
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, Clock, Entropy, Job, KeyRole, PortError, Signer, Workers, Working};
use seaworthy_core::worker::{Answer, Reply, WorkerFault, WorkerIsolation};
use seaworthy_engine::launcher::Launcher;
use seaworthy_engine::progress::{Progress, StepState, StepUpdate};
use seaworthy_engine::turns::Turns as _;
use seaworthy_engine::workers::perform;
use seaworthy_sandbox::{
    Cancel, CapturedStream, CollectedFile, CollectedOutput, Enforced, Exit, Mount, Outcome, Profile, SandboxError, Spec, Usage, Ways,
};
use seaworthy_trust::keys::LocalSigner;

use super::turns::Under;
use super::world::{Body, Known, World};

/// What may go wrong at the ports of one process.
#[derive(Clone, Debug)]
pub(crate) struct PortFaults {
    /// The launch at which the process dies, and where in it: before, in the middle of, or after the body.
    pub(crate) dies_at_launch: Option<(u64, u64)>,
    /// Requests until the signer is gone.
    pub(crate) signatures: u64,
    /// One body in so many is killed, runs out of memory, or cannot be started.
    pub(crate) mishaps: u64,
    /// Bodies that return 75 in this life.
    pub(crate) stumbles: u64,
}

impl PortFaults {
    pub(crate) const NONE: Self = Self { dies_at_launch: None, signatures: u64::MAX, mishaps: 0, stumbles: 0 };
}

/// The ports of one process.
pub(crate) struct Ports {
    pub(crate) under: Arc<Under>,
    pub(crate) world: Arc<World>,
    pub(crate) signer: Arc<LocalSigner>,
    /// Checkpoints that a signer remembers: it outlives the process if it is a service.
    pub(crate) memory: Arc<Mutex<Vec<(u64, Digest, String)>>>,
    pub(crate) faults: Mutex<PortFaults>,
    pub(crate) launches: AtomicU64,
    /// What had finished when the process began.
    pub(crate) known: Mutex<Known>,
    /// A fault other than death was met.
    pub(crate) met: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ports {
    fn is_dead(&self) -> bool {
        self.under.lane().is_dead()
    }

    fn meets_a_fault(&self) {
        self.met.fetch_add(1, Ordering::Relaxed);
    }

    /// One request to the signer; it may be the last one.
    fn ask_signer(&self) -> Result<(), PortError> {
        if self.is_dead() {
            return Err(PortError::new("ask the signer", "this process is dead"));
        }
        let mut faults = lock(&self.faults);
        if faults.signatures == 0 {
            self.meets_a_fault();
            return Err(PortError::new("ask the signer", "it is gone"));
        }
        faults.signatures -= 1;
        Ok(())
    }
}

impl Clock for Ports {
    fn now_unix_ms(&self) -> u64 {
        self.under.perhaps_pass(12);
        self.world.now_ms()
    }
}

impl Entropy for Ports {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), PortError> {
        let bytes = self.under.bytes(buffer.len());
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

impl Signer for Ports {
    fn attest(&self, request: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        self.under.perhaps_pass(6);
        self.ask_signer()?;
        self.signer.attest(request)
    }

    /// Asked under the lock of the log: nobody else goes on here.
    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        self.ask_signer()?;
        let mut memory = lock(&self.memory);
        if let Some((_, root, note)) = memory.iter().find(|(size, ..)| *size == request.size) {
            let refused = || PortError::new("sign a checkpoint", format!("another root of size {} was signed", request.size));
            return if *root == request.root { Ok(note.clone()) } else { Err(refused()) };
        }
        let note = self.signer.checkpoint(request)?;
        memory.push((request.size, request.root, note.clone()));
        Ok(note)
    }

    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        self.ask_signer()?;
        let memory = lock(&self.memory);
        Ok(memory.iter().find(|(size, root, _)| (*size, *root) == (request.size, request.root)).map(|(.., note)| note.clone()))
    }

    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        self.signer.is_signed_by_log(note)
    }

    fn public_key(&self, role: KeyRole) -> Result<Vec<u8>, PortError> {
        self.signer.public_key(role)
    }
}

/// Workers that are no processes: what they would do is done here.
#[derive(Debug)]
pub(crate) struct InProcess;

struct Done(Option<Answer>);

impl Workers for InProcess {
    fn prepare(&self, _count: usize) {}

    fn begin<'a>(&self, job: &Job<'a>) -> Result<Box<dyn Working + 'a>, WorkerFault> {
        let files = job.files.iter().map(|file| File::from(file.try_clone_to_owned().unwrap())).collect();
        let answer = perform(job.request, files, &mut |_, _| Ok(())).unwrap();
        Ok(Box::new(Done(Some(answer))))
    }

    fn isolation(&self) -> Option<WorkerIsolation> {
        None
    }
}

impl Working for Done {
    fn next(&mut self, _part: &mut Vec<u8>) -> Result<Reply, WorkerFault> {
        Ok(Reply::Answer(self.0.take().unwrap()))
    }
}

impl Launcher for Ports {
    fn launch(&self, id: &StepRunId, spec: Spec, _ways: Ways<'_>, cancel: &Cancel) -> Result<Outcome, SandboxError> {
        let lost = || SandboxError::Setup { stage: "starting it".into(), source: std::io::Error::other("its launcher is dead") };
        if self.is_dead() {
            return Err(lost());
        }
        let number = self.launches.fetch_add(1, Ordering::Relaxed) + 1;
        let dies = lock(&self.faults).dies_at_launch.filter(|(at, _)| *at == number).map(|(_, place)| place);
        if dies == Some(0) {
            self.under.lane().die();
            return Err(lost());
        }
        let body = (id.step.to_string(), shown(&spec.mounts));
        self.world.with(|seen| seen.launch(id, &body, &lock(&self.known)));
        for _ in 0..self.under.below(4) {
            // it takes its time, in which others go on, and everybody may die
            self.under.pass(Duration::ZERO);
        }
        if dies == Some(1) {
            self.under.lane().die();
        }
        if self.is_dead() {
            // the sandbox of a dead launcher is dead: `a_killed_launcher_takes_the_step_along`
            self.world.with(|seen| seen.killed_alive += 1);
            return Err(lost());
        }
        if cancel.is_cancelled() {
            return Ok(outcome(Exit::Cancelled, Ok(Vec::new())));
        }
        let exit = self.ending(&spec)?;
        if exit == Exit::Code(0) {
            self.world.with(|seen| *seen.ended_well.entry(body.clone()).or_default() += 1);
        }
        if dies == Some(2) {
            self.under.lane().die();
            return Err(lost());
        }
        let outputs = spec.outputs.iter().map(|name| output(&body, name)).collect();
        Ok(outcome(exit, Ok(outputs)))
    }
}

impl Ports {
    fn ending(&self, spec: &Spec) -> Result<Exit, SandboxError> {
        let mut faults = lock(&self.faults);
        if faults.mishaps > 0 && self.under.below(faults.mishaps) == 0 {
            self.meets_a_fault();
            return match self.under.below(4) {
                0 => Err(SandboxError::Setup { stage: "starting it".into(), source: std::io::Error::other("no more processes") }),
                1 => Ok(Exit::OutOfMemory),
                2 => Ok(Exit::TimedOut),
                _ => Ok(Exit::Signal(9)),
            };
        }
        match spec.argv.get(1).map(String::as_str) {
            Some("breaks") => Ok(Exit::Code(3)),
            Some("stumbles") if faults.stumbles > 0 => {
                faults.stumbles -= 1;
                Ok(Exit::Code(75))
            }
            _ => Ok(Exit::Code(0)),
        }
    }
}

/// What a body sees of its inputs: names and bytes.
pub(crate) fn shown(mounts: &[Mount]) -> Digest {
    let mut all = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.target.starts_with("/in/")) {
        all.extend_from_slice(mount.target.as_bytes());
        let mut file = File::from(mount.source.try_clone().unwrap());
        file.rewind().unwrap();
        file.read_to_end(&mut all).unwrap();
    }
    Digest::of(&all)
}

/// What a body writes follows from what it sees.
fn output(body: &Body, name: &str) -> CollectedOutput {
    let text = format!("{} {} {name}\n", body.0, body.1.hex());
    let file = rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let files = vec![CollectedFile { path: "made.txt".to_owned(), file, size: text.len() as u64, executable: false }];
    CollectedOutput { name: name.to_owned(), files }
}

fn outcome(exit: Exit, outputs: Result<Vec<CollectedOutput>, seaworthy_sandbox::CollectError>) -> Outcome {
    let enforced = Enforced {
        profile: Profile::Strict,
        namespaces: Vec::new(),
        landlock_abi: 0,
        seccomp_allowed: 0,
        seccomp_instructions: 0,
        cgroup: None,
        no_new_privs: true,
        uid_map: None,
        gid_map: None,
        network: "none".to_owned(),
        kernel: "simulated".to_owned(),
        gaps: vec!["nothing was run".to_owned()],
        devices: Vec::new(),
        not_stopped: Vec::new(),
    };
    let said = CapturedStream { bytes: b"played\n".to_vec(), total: 7, truncated: false };
    Outcome { exit, stdout: said, stderr: CapturedStream::default(), outputs, enforced, usage: Usage::default() }
}

impl Progress for Ports {
    fn run_started(&self, _run: &str, _steps: &[String]) {}

    /// What the user is told is a promise, unless the process that says it is dead.
    fn step(&self, update: &StepUpdate) {
        if self.is_dead() {
            return;
        }
        let step = (update.run.clone(), update.step.clone());
        match update.state {
            // said after the STAGED record is durable
            StepState::Attesting => _ = self.world.with(|seen| seen.finished.insert(step)),
            StepState::Committed => _ = self.world.with(|seen| seen.committed.insert((step.0, step.1, update.attempt))),
            _ => {}
        }
    }
}
