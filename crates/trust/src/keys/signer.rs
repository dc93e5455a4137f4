//! The signer that holds keys in this process: typed requests in, signatures out, by its own policy.
//!
//! in: [`AttestRequest`], [`CheckpointRequest`]; out: a [`Bundle`], a checkpoint note.
//! **Invariant:** never signs raw bytes; a role signs only its predicate types, only the log key signs checkpoints and only
//! of its own origin, provenance only for the attempt it was asked for, and what names a runner only for its own.

use std::collections::BTreeMap;

use seaworthy_core::artifact::Manifest;
use seaworthy_core::attestation::{
    self, DEPLOYMENT, INTEGRITY_SCORE, MANIFEST, PROVENANCE, RELEASE, REVOCATION, RUN_REQUEST, ReadError, SVR, TEST_RESULT, VSA,
};
use seaworthy_core::envelope::{self, Bundle, PAYLOAD_TYPE, ResourceDescriptor, Statement};
use seaworthy_core::id::StepRunId;
use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, PortError, Signer, SignerIsolation};
use seaworthy_core::principal::PrincipalId;

use super::{Algorithm, KeyError, PrivateKey};
use crate::transparency;

/// The levels of assurance that approvals state, as [`crate::attest::Assurance`] has them.
const LEVEL_0: &str = "SEAWORTHY_ASSURANCE_L0";
const LEVEL_1: &str = "SEAWORTHY_ASSURANCE_L1";
/// How the manifest of a finished body is named, before its attempt.
const STAGED: &str = "staged:";

/// Whether keys of `role` may sign statements of this type: the signer's policy, and the verifier's.
#[must_use]
pub fn may_sign(role: KeyRole, predicate_type: &str) -> bool {
    match role {
        // a source's owner signs its manifest with a user key
        KeyRole::User => matches!(predicate_type, RUN_REQUEST | MANIFEST),
        KeyRole::Runner => {
            matches!(predicate_type, MANIFEST | PROVENANCE | TEST_RESULT | SVR | VSA | RELEASE | DEPLOYMENT | INTEGRITY_SCORE)
        }
        KeyRole::Root => matches!(predicate_type, REVOCATION | VSA),
        KeyRole::Log => false,
    }
}

/// Why the signer refused.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No key of that role here.
    #[error("no {0:?} key here")]
    NoKey(KeyRole),
    /// The role may not sign this type.
    #[error("a {role:?} key does not sign `{predicate_type}`")]
    Role {
        /// The role.
        role: KeyRole,
        /// The type.
        predicate_type: String,
    },
    /// The statement is not what its type says.
    #[error("the statement is refused: {0}")]
    Statement(#[from] ReadError),
    /// Provenance of another attempt.
    #[error("provenance of `{found}` for a request of `{want}`")]
    Attempt {
        /// In the statement.
        found: String,
        /// In the request.
        want: String,
    },
    /// Provenance in another runner's name.
    #[error("provenance in the name of `{0}`, which is not this runner")]
    Builder(String),
    /// A checkpoint of another log.
    #[error("this signer holds the key of `{own}`, not of `{asked}`")]
    Origin {
        /// The signer's log.
        own: String,
        /// The log asked for.
        asked: String,
    },
    /// A claim about this signer that is not its own.
    #[error("the request says about this signer what it does not say about itself")]
    Isolation,
    /// An approval of a level that this signer cannot answer for.
    #[error("an approval at level `{0}`, for which this signer cannot answer")]
    Level(String),
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SignError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoKey(_) => "sign/no-key",
            Self::Role { .. } => "sign/role",
            Self::Statement(_) => "sign/statement",
            Self::Attempt { .. } => "sign/attempt",
            Self::Builder(_) => "sign/builder",
            Self::Origin { .. } => "sign/origin",
            Self::Isolation => "sign/isolation",
            Self::Level(_) => "sign/level",
            Self::Key(cause) => cause.code(),
        }
    }
}

/// Keys in the memory of this process.
#[derive(Debug)]
pub struct LocalSigner {
    origin: String,
    runner_id: PrincipalId,
    keys: BTreeMap<KeyRole, Held>,
}

/// A private key, and how bundles name it.
#[derive(Debug)]
struct Held {
    key: PrivateKey,
    hint: String,
}

impl LocalSigner {
    /// A signer without keys, for the log of `origin` and the runner of this SPIFFE id.
    #[must_use]
    pub fn new(origin: impl Into<String>, runner_id: PrincipalId) -> Self {
        Self { origin: origin.into(), runner_id, keys: BTreeMap::new() }
    }

    /// Adds the key of `role`.
    pub fn with_key(mut self, role: KeyRole, key: PrivateKey) -> Result<Self, KeyError> {
        let want = Algorithm::of(role);
        if key.public().algorithm() != want {
            return Err(KeyError::Algorithm { role, want });
        }
        let hint = key.public().hint()?;
        self.keys.insert(role, Held { key, hint });
        Ok(self)
    }

    fn held(&self, role: KeyRole) -> Result<&Held, SignError> {
        self.keys.get(&role).ok_or(SignError::NoKey(role))
    }

    /// Signs a statement if the policy lets this role. The keys are in the asking process, so no statement may say otherwise.
    pub fn sign_statement(&self, role: KeyRole, statement: &Statement, step: Option<&StepRunId>) -> Result<Bundle, SignError> {
        self.sign_kept_apart(role, statement, step, None)
    }

    /// The same for a signer that is kept apart like this from whoever asks: a run request may say exactly that, or nothing.
    pub(super) fn sign_kept_apart(
        &self,
        role: KeyRole,
        statement: &Statement,
        step: Option<&StepRunId>,
        isolation: Option<&SignerIsolation>,
    ) -> Result<Bundle, SignError> {
        if !may_sign(role, &statement.predicate_type) {
            return Err(SignError::Role { role, predicate_type: statement.predicate_type.clone() });
        }
        well_formed(statement)?;
        self.check_claim(role, statement, step, isolation)?;
        seal(self.held(role)?, statement.to_payload())
    }

    /// Signs the manifest of a folder without building its statement as a value tree.
    pub fn sign_manifest(
        &self,
        role: KeyRole,
        name: &str,
        manifest: &Manifest,
        of: attestation::manifest::Subject,
    ) -> Result<Bundle, SignError> {
        if !may_sign(role, MANIFEST) {
            return Err(SignError::Role { role, predicate_type: MANIFEST.to_owned() });
        }
        seal(self.held(role)?, attestation::manifest::payload(name, manifest, of)?)
    }

    fn check_claim(
        &self,
        role: KeyRole,
        statement: &Statement,
        step: Option<&StepRunId>,
        isolation: Option<&SignerIsolation>,
    ) -> Result<(), SignError> {
        match statement.predicate_type.as_str() {
            PROVENANCE => {
                let provenance = attestation::provenance::Provenance::read(statement)?;
                let want = step.map_or_else(|| "no step".to_owned(), StepRunId::to_string);
                let found = provenance.invocation.to_string();
                if found != want {
                    return Err(SignError::Attempt { found, want });
                }
                self.own_name(role, provenance.builder)
            }
            MANIFEST => {
                let want = step.map_or_else(|| "no step".to_owned(), StepRunId::to_string);
                let staged = statement.subject.iter().filter_map(|subject| subject.name.as_deref()?.strip_prefix(STAGED));
                if let Some(found) = staged.into_iter().find(|found| *found != want) {
                    return Err(SignError::Attempt { found: found.to_owned(), want });
                }
                Ok(attestation::manifest::read(statement).map(drop)?)
            }
            TEST_RESULT => Ok(attestation::test_result::TestResult::read(statement).map(drop)?),
            SVR => self.own_name(role, attestation::svr::GateResult::read(statement)?.verifier),
            VSA => {
                let approval = attestation::vsa::Approval::read(statement)?;
                approval.levels.iter().try_for_each(|level| own_level(role, level, isolation))?;
                self.own_name(role, approval.verifier)
            }
            RELEASE => Ok(attestation::release::Release::read(statement).map(drop)?),
            DEPLOYMENT => Ok(attestation::deployment::DeploymentClaim::read(statement).map(drop)?),
            INTEGRITY_SCORE => Ok(attestation::integrity_score::IntegrityScore::read(statement).map(drop)?),
            REVOCATION => Ok(attestation::revocation::Revocation::read(statement).map(drop)?),
            _ => {
                let request = attestation::run_request::RunRequest::read(statement)?;
                let fits = request.signer.is_none() || request.signer.as_ref() == isolation;
                if fits { Ok(()) } else { Err(SignError::Isolation) }
            }
        }
    }

    /// The runner's key signs in the name of its own runner alone.
    fn own_name(&self, role: KeyRole, name: String) -> Result<(), SignError> {
        if role != KeyRole::Runner || name == self.runner_id.0 { Ok(()) } else { Err(SignError::Builder(name)) }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Hints of the keys that are here.
    pub(super) fn key_hints(&self) -> BTreeMap<KeyRole, String> {
        self.keys.iter().map(|(role, held)| (*role, held.hint.clone())).collect()
    }

    /// Whether this signer's log key signed a note.
    pub fn signed_by_log(&self, note: &str) -> Result<bool, SignError> {
        Ok(transparency::is_signed_by(note, &self.origin, &self.held(KeyRole::Log)?.key.public()))
    }

    /// Signs a checkpoint of this signer's own log.
    pub fn sign_checkpoint(&self, request: &CheckpointRequest) -> Result<String, SignError> {
        if request.origin != self.origin {
            return Err(SignError::Origin { own: self.origin.clone(), asked: request.origin.clone() });
        }
        let (origin, extensions) = (request.origin.clone(), Vec::new());
        let checkpoint = Checkpoint { origin, size: request.size, root: request.root, extensions };
        Ok(transparency::sign_note(&checkpoint.to_text(), &self.origin, &self.held(KeyRole::Log)?.key)?)
    }
}

/// Of the levels of assurance a signer signs what it can answer for: the lowest, and the next one if it is itself what that
/// demands. Whether the log has witnesses is for whoever verifies to see.
fn own_level(role: KeyRole, level: &str, isolation: Option<&SignerIsolation>) -> Result<(), SignError> {
    let known = level == LEVEL_0 || (level == LEVEL_1 && isolation.is_some_and(SignerIsolation::is_out_of_reach));
    if known || role == KeyRole::Root { Ok(()) } else { Err(SignError::Level(level.chars().take(60).collect())) }
}

/// What in-toto demands of every statement: a subject, and a digest of each.
fn well_formed(statement: &Statement) -> Result<(), ReadError> {
    let subjects = &statement.subject;
    let named = |subject: &ResourceDescriptor| !subject.digest.is_empty() && subject.digest.values().all(|hex| !hex.is_empty());
    if subjects.is_empty() || !subjects.iter().all(named) {
        return Err(ReadError::Subject("expected at least one subject, each with a digest".to_owned()));
    }
    Ok(())
}

fn seal(held: &Held, payload: Vec<u8>) -> Result<Bundle, SignError> {
    if payload.is_empty() {
        return Err(SignError::Statement(attestation::ReadError::Malformed("there is nothing to sign".to_owned())));
    }
    let signature = held.key.sign(&envelope::pae(PAYLOAD_TYPE, &payload))?;
    Ok(Bundle { payload, signature, key_hint: held.hint.clone(), log_proof: None })
}

impl Signer for LocalSigner {
    fn attest(&self, request: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        let signed = self.sign_statement(request.role, request.statement, request.step);
        signed.map_err(|cause| PortError::new("sign a statement", format!("{} ({})", cause, cause.code())))
    }

    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        let signed = self.sign_checkpoint(request);
        signed.map_err(|cause| PortError::new("sign a checkpoint", format!("{} ({})", cause, cause.code())))
    }

    fn checkpoint_again(&self, _: &CheckpointRequest) -> Result<Option<String>, PortError> {
        Ok(None) // it remembers nothing: see the service
    }

    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        self.signed_by_log(note).map_err(|cause| PortError::new("check a checkpoint", format!("{} ({})", cause, cause.code())))
    }

    fn public_key(&self, role: KeyRole) -> Result<Vec<u8>, PortError> {
        let read = || Ok::<_, SignError>(self.held(role)?.key.public().to_der()?);
        read().map_err(|cause| PortError::new("read a public key", format!("{} ({})", cause, cause.code())))
    }
}
