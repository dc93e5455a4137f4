//! Everything a run stands on, opened once: store, log, journal, catalog, keys, policies.
//!
//! in: an opened workspace environment and the ports; out: [`Engine`].
//! **Invariant:** the engine holds no policy of its own: decisions come from trust, bytes from store.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::artifact::Manifest;
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::revocation::Revocation;
use seaworthy_core::digest::Digest;
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::{RunId, StepRunId};
use seaworthy_core::merkle;
use seaworthy_core::ports::{AttestRequest, Clock, Entropy, EvidenceSource as _, KeyRole, Leaf, Recorder as _, Signer, Workers};
use seaworthy_core::principal::{Principal, PrincipalId, PrincipalKind, runner_id, step_id};
use seaworthy_sandbox::Profile;
use seaworthy_store::artifacts::Artifacts;
use seaworthy_store::catalog::{Catalog, CatalogError};
use seaworthy_store::journal::Journal;
use seaworthy_store::log::Log;
use seaworthy_trust::attest::TrustRoot;
use seaworthy_trust::authz::Authorizer;

use crate::error::{EngineError, FaultKind};
use crate::launcher::Launcher;
use crate::runtime::EnvironmentSettings;
use crate::secrets::SecretSource;

/// What a run needs from the outside world.
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Keys.
    pub signer: Arc<dyn Signer>,
    /// Readers of what nobody vouches for.
    pub workers: Arc<dyn Workers>,
    /// What runs the bodies of steps.
    pub launcher: Arc<dyn Launcher>,
    /// The user's secrets.
    pub secrets: Arc<dyn SecretSource>,
}

/// Settings that the command line resolved.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Folder of the workflow file.
    pub workspace_dir: PathBuf,
    /// Random id of the workspace.
    pub workspace_id: String,
    /// dev, staging, prod …
    pub environment: String,
    /// Folder of run-time scratch (checkouts), on the store's file system.
    pub scratch_dir: PathBuf,
    /// Folder where another process asks a run to stop, by a file of the run's name.
    pub cancel_dir: PathBuf,
    /// Confinement of steps.
    pub profile: Profile,
    /// Steps that may run at the same time.
    pub parallel_max: usize,
    /// How environments are found and built.
    pub environments: EnvironmentSettings,
    /// The user who asks, as an opaque id.
    pub user: PrincipalId,
    /// Folders that hold keys: never a step's source or code, whatever a workflow says.
    pub private_dirs: Vec<PathBuf>,
}

/// One environment of one workspace, opened for running.
pub struct Engine {
    pub(crate) settings: EngineSettings,
    pub(crate) artifacts: Artifacts,
    pub(crate) log: Arc<Log>,
    pub(crate) journal: Journal,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) ports: Ports,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) authz_policies: Option<Digest>,
    pub(crate) trust: TrustRoot,
}

/// The opened parts, handed over by the command line.
pub struct Parts {
    /// Artifacts.
    pub artifacts: Artifacts,
    /// The log, writable.
    pub log: Arc<Log>,
    /// The journal.
    pub journal: Journal,
    /// The index.
    pub catalog: Catalog,
    /// Cedar policies.
    pub authorizer: Arc<Authorizer>,
    /// Digest of the workspace's own among them, for their pin; absent if it has none.
    pub authz_policies: Option<Digest>,
    /// Whose signatures count.
    pub trust: TrustRoot,
}

impl Engine {
    /// Puts the opened parts together.
    #[must_use]
    pub fn new(settings: EngineSettings, ports: Ports, parts: Parts) -> Self {
        Self {
            settings,
            artifacts: parts.artifacts,
            log: parts.log,
            journal: parts.journal,
            catalog: Mutex::new(parts.catalog),
            ports,
            authorizer: parts.authorizer,
            authz_policies: parts.authz_policies,
            trust: parts.trust,
        }
    }

    /// The log, for readers.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The artifacts, for readers.
    #[must_use]
    pub const fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// Whose signatures count.
    #[must_use]
    pub const fn trust(&self) -> &TrustRoot {
        &self.trust
    }

    /// The same without a quorum: what was logged a moment ago has no cosignature yet, and could never get one while the run goes
    /// on. The quorum binds whoever verifies afterwards.
    pub(crate) fn trust_during_run(&self) -> TrustRoot {
        TrustRoot { quorum: 0, ..self.trust.clone() }
    }

    /// Brings the index up to the log.
    pub(crate) fn catch_up(&self) -> Result<(), EngineError> {
        self.query_mut(|catalog| catalog.catch_up(&*self.log).map(drop))
    }

    /// Asks the index. It only finds; who acts on an answer checks the leaf it names.
    pub(crate) fn query<T>(&self, ask: impl FnOnce(&Catalog) -> Result<T, CatalogError>) -> Result<T, EngineError> {
        self.query_mut(|catalog| ask(catalog))
    }

    fn query_mut<T>(&self, ask: impl FnOnce(&mut Catalog) -> Result<T, CatalogError>) -> Result<T, EngineError> {
        let mut catalog = self.catalog.lock().map_err(|_| EngineError::internal("engine/poisoned", "a thread died holding the catalog"))?;
        ask(&mut catalog).map_err(|e| {
            let kind = if e.is_integrity() { FaultKind::Integrity } else { FaultKind::Internal };
            EngineError::new(kind, e.code(), e.to_string(), e.hint())
        })
    }

    /// The event of a leaf, proven to be in a tree that this log's key signed: index and files only say where to look.
    pub(crate) fn proven_event(&self, index: u64) -> Result<Event, EngineError> {
        let unproven = |cause: &dyn std::fmt::Display| {
            EngineError::integrity("log/unproven", format!("leaf {index} cannot be relied on: {cause}"), "run `seaworthy verify log`")
        };
        let (log, signed) = crate::proven::signed(self)?;
        let entry = log.entry(index)?;
        let proof = log.inclusion_proof(index)?;
        merkle::verify_inclusion(&merkle::leaf_hash(&entry), index, signed.size, &proof, &signed.root).map_err(|e| unproven(&e))?;
        seaworthy_core::json_strict::parse_typed(&entry).map_err(|e| unproven(&e))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.ports.clock.now_unix_ms()
    }

    pub(crate) fn is_dev(&self) -> bool {
        self.settings.environment == "dev"
    }

    pub(crate) fn user(&self) -> Principal {
        Principal { id: self.settings.user.clone(), kind: PrincipalKind::User }
    }

    pub(crate) fn runner(&self) -> Principal {
        Principal { id: runner_id(&self.settings.workspace_id, &self.settings.environment), kind: PrincipalKind::Runner }
    }

    pub(crate) fn step_principal(&self, id: &StepRunId) -> Principal {
        Principal { id: step_id(&self.settings.workspace_id, &self.settings.environment, id), kind: PrincipalKind::Step }
    }

    pub(crate) fn event(&self, principal: &PrincipalId, kind: EventKind) -> Leaf {
        Leaf::Event(Event { time_ms: self.now_ms(), principal: principal.clone(), kind })
    }

    /// Appends `leaves` durably in one group commit. No record, no action.
    pub(crate) fn record(&self, leaves: &[Leaf]) -> Result<Vec<u64>, EngineError> {
        Ok(self.log.record(leaves)?)
    }

    /// Decides one action of the command line (moving a pin, cancelling) and records the decision before its effect.
    pub fn authorize_user(&self, action: Action, resource: Resource) -> Result<(), EngineError> {
        let request = AuthorizationRequest { principal: self.user(), action, resource, environment: self.settings.environment.clone() };
        crate::authorize::authorize_all(self, None, std::slice::from_ref(&request), &[])
    }

    /// Asks the run that leaf `started` began to stop: authorized and recorded before anybody tells it.
    pub fn request_cancel(&self, run: &RunId, started: u64) -> Result<(), EngineError> {
        let unknown = || {
            let message = format!("leaf {started} does not say that run {run} was allowed and began");
            EngineError::integrity("runs/unknown", message, "run `seaworthy verify log`")
        };
        let EventKind::RunStarted { run: began, .. } = self.proven_event(started)?.kind else { return Err(unknown()) };
        // the decision on the run, the user's request and the beginning are one commit, in this order
        let decided = self.proven_event(started.checked_sub(2).ok_or_else(unknown)?)?.kind;
        let EventKind::AuthorizationDecided { action: Action::RunWorkflow, resource, .. } = decided else { return Err(unknown()) };
        if began != *run {
            return Err(unknown());
        }
        let request = AuthorizationRequest {
            principal: self.user(),
            action: Action::CancelRun,
            resource,
            environment: self.settings.environment.clone(),
        };
        let asked = self.event(&self.settings.user, EventKind::RunCancelRequested { run: run.clone() });
        crate::authorize::authorize_all(self, None, std::slice::from_ref(&request), &[asked])
    }

    /// Who asked `run` to stop, by the newest proven request in the log.
    pub(crate) fn cancel_requested_by(&self, run: &RunId) -> Result<Option<PrincipalId>, EngineError> {
        let events = crate::proven::events(self, &["run.cancel_requested"])?;
        let about = |kind: &EventKind| matches!(kind, EventKind::RunCancelRequested { run: asked } if asked == run);
        Ok(events.into_iter().rev().find(|(_, event)| about(&event.kind)).map(|(_, event)| event.principal))
    }

    /// The user's key signs the manifest of a source that is being pinned: its owner vouches for exactly these bytes.
    pub fn vouch_for_source(&self, uri: &str, manifest: &Manifest) -> Result<(), EngineError> {
        let statement = manifest::statement(uri, manifest, Subject::Folder);
        let bundle = self.ports.signer.attest(&AttestRequest { role: KeyRole::User, statement: &statement, step: None })?;
        let public_key = self.ports.signer.public_key(KeyRole::User)?;
        self.record(&[Leaf::Attestation { bundle, public_key }]).map(drop)
    }

    /// Records what the root key revokes with its event, in one commit. The root key is no key of a run: it is handed in for this alone.
    pub fn revoke_key(&self, root: &dyn Signer, revocation: &Revocation, role: &str) -> Result<(), EngineError> {
        let statement = revocation.statement();
        let bundle = root.attest(&AttestRequest { role: KeyRole::Root, statement: &statement, step: None })?;
        let public_key = root.public_key(KeyRole::Root)?;
        let kind = EventKind::KeyChanged { role: role.to_owned(), change: "revoked".to_owned(), key: revocation.target.hex() };
        self.record(&[Leaf::Attestation { bundle, public_key }, self.event(&self.settings.user, kind)]).map(drop)
    }

    /// Takes a changed trust file over, so that what follows in this process is verified against it.
    pub fn replace_trust(&mut self, trust: TrustRoot) {
        self.trust = trust;
    }

    /// Records an event of the command line (a moved pin, a new key).
    pub fn record_user_event(&self, kind: EventKind) -> Result<(), EngineError> {
        self.record(&[self.event(&self.settings.user, kind)]).map(drop)
    }

    pub(crate) fn new_run_id(&self) -> Result<RunId, EngineError> {
        let mut random = [0_u8; 3];
        self.ports.entropy.fill(&mut random)?;
        let millis = self.now_ms() & 0xfff_ffff_ffff;
        Ok(RunId(format!("r{millis:011x}{}", &seaworthy_core::digest::hex_encode(&random).chars().take(5).collect::<String>())))
    }
}
