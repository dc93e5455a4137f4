//! Reading the log: every leaf hashed, every statement checked under a trusted key, every event parsed.
//!
//! in: [`EvidenceSource`], [`TrustRoot`]; out: [`LogIndex`], and faults for what does not hold.
//! **Invariant:** only statements whose bundle, leaf, signature, role and predicate hold enter the index.

use std::collections::{BTreeMap, HashMap};

use seaworthy_core::attestation::deployment::DeploymentClaim;
use seaworthy_core::attestation::integrity_score::IntegrityScore;
use seaworthy_core::attestation::manifest::ManifestClaim;
use seaworthy_core::attestation::provenance::Provenance;
use seaworthy_core::attestation::release::Release;
use seaworthy_core::attestation::revocation::{Revocation, Revoked};
use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::attestation::svr::GateResult;
use seaworthy_core::attestation::test_result::TestResult;
use seaworthy_core::attestation::vsa::Approval;
use seaworthy_core::attestation::{self as predicates, ReadError};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, LeafBody, ResourceDescriptor, Statement, leaf_body};
use seaworthy_core::event::Event;
use seaworthy_core::json_strict;
use seaworthy_core::merkle;
use seaworthy_core::ports::{EvidenceSource, KeyRole};
use seaworthy_core::principal::PrincipalId;

use super::report::{Fault, hint};
use crate::attest::bundle::verify_signature;
use crate::attest::trust_root::{TrustRoot, TrustedKey};
use crate::keys::{PublicKey, may_sign};

/// Unreadable leaves after which reading stops.
const UNREADABLE_MAX: u32 = 100;

/// A statement, read as what its predicate type says.
#[derive(Debug)]
pub(crate) enum Claim {
    Manifest(ManifestClaim),
    Provenance(Box<Provenance>),
    Tests(TestResult),
    Gate(Box<GateResult>),
    Approval(Approval),
    Release(Release),
    Deployment(DeploymentClaim),
    Score(IntegrityScore),
    Revocation(Revocation),
    Request(RunRequest),
}

impl Claim {
    fn read(statement: &Statement) -> Result<Self, ReadError> {
        match statement.predicate_type.as_str() {
            predicates::MANIFEST => predicates::manifest::read(statement).map(Self::Manifest),
            predicates::PROVENANCE => Provenance::read(statement).map(|claim| Self::Provenance(Box::new(claim))),
            predicates::TEST_RESULT => TestResult::read(statement).map(Self::Tests),
            predicates::SVR => GateResult::read(statement).map(|claim| Self::Gate(Box::new(claim))),
            predicates::VSA => Approval::read(statement).map(Self::Approval),
            predicates::RELEASE => Release::read(statement).map(Self::Release),
            predicates::DEPLOYMENT => DeploymentClaim::read(statement).map(Self::Deployment),
            predicates::INTEGRITY_SCORE => IntegrityScore::read(statement).map(Self::Score),
            predicates::REVOCATION => Revocation::read(statement).map(Self::Revocation),
            predicates::RUN_REQUEST => RunRequest::read(statement).map(Self::Request),
            other => Err(ReadError::Unsupported(format!("predicate type `{}`", other.chars().take(120).collect::<String>()))),
        }
    }

    /// What people call it.
    pub(crate) const fn noun(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Provenance(_) => "provenance",
            Self::Tests(_) => "test result",
            Self::Gate(_) => "gate result",
            Self::Approval(_) => "approval",
            Self::Release(_) => "release",
            Self::Deployment(_) => "deployment",
            Self::Score(_) => "integrity score",
            Self::Revocation(_) => "revocation",
            Self::Request(_) => "run request",
        }
    }
}

/// A statement in the log whose signature holds.
#[derive(Debug)]
pub(crate) struct Attested {
    pub(crate) leaf: u64,
    pub(crate) pae: Digest,
    pub(crate) subject: Vec<ResourceDescriptor>,
    pub(crate) claim: Claim,
    pub(crate) hint: String,
    pub(crate) principal: PrincipalId,
    /// Why it counts no more, if it does not.
    pub(crate) revoked: Option<String>,
}

impl Attested {
    /// Whether the artifact of this digest is among its subjects.
    pub(crate) fn is_about(&self, artifact: &Digest) -> bool {
        self.subject.iter().any(|subject| predicates::artifact_of(subject).as_ref() == Some(artifact))
    }
}

/// The log, read once.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    /// Leaf hashes; `None` where an entry could not be read.
    pub(crate) leaves: Vec<Option<Digest>>,
    pub(crate) statements: Vec<Attested>,
    pub(crate) by_pae: HashMap<Digest, usize>,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) revocations: Vec<(u64, Revocation)>,
    pub(crate) faults: Vec<Fault>,
    /// Statements of a key that an earlier leaf revoked: faults of the log, and of whatever rests on them.
    pub(crate) signed_late: Vec<Fault>,
    /// False if some bundle is missing: a revocation may hide in it.
    pub(crate) complete: bool,
}

impl LogIndex {
    /// Reads everything that the checkpoint covers.
    pub(crate) fn read(source: &dyn EvidenceSource, trust: &TrustRoot, size: u64) -> Self {
        let mut index = Self { complete: true, ..Self::default() };
        let keys = match trust.public_keys() {
            Ok(keys) => keys,
            Err(cause) => {
                index.fault("verify/trust", cause.to_string(), None, None);
                BTreeMap::new()
            }
        };
        let mut unreadable = 0;
        for leaf in 0..size {
            match source.entry(leaf) {
                Ok(entry) => {
                    index.leaves.push(Some(merkle::leaf_hash(&entry)));
                    index.entry(source, &keys, leaf, &entry);
                }
                Err(cause) => {
                    index.leaves.push(None);
                    index.complete = false;
                    index.fault("verify/leaf-missing", format!("leaf {leaf} cannot be read: {cause}"), Some(leaf), None);
                    unreadable += 1;
                    // a checkpoint may claim any size: what is not there is not asked for for ever
                    if unreadable == UNREADABLE_MAX {
                        break;
                    }
                }
            }
        }
        index.apply_revocations(size);
        index
    }

    pub(crate) fn fault(&mut self, code: &'static str, message: String, leaf: Option<u64>, digest: Option<Digest>) {
        self.faults.push(Fault { code, message, hint: hint(code), leaf, digest });
    }

    /// The statement of this name, if it is in the log and holds.
    pub(crate) fn statement(&self, pae: &Digest) -> Option<&Attested> {
        self.by_pae.get(pae).and_then(|at| self.statements.get(*at))
    }

    fn entry(&mut self, source: &dyn EvidenceSource, keys: &Keys<'_>, leaf: u64, entry: &[u8]) {
        match LeafBody::parse(entry) {
            Some(body) => match attested(source, keys, leaf, entry, &body) {
                Ok(attested) => self.insert(attested),
                Err((code, message)) => {
                    self.complete &= !code.starts_with("verify/bundle-");
                    self.fault(code, format!("leaf {leaf}: {message}"), Some(leaf), Some(body.pae));
                }
            },
            None => match event(entry) {
                Ok(event) => self.events.push((leaf, event)),
                Err(cause) => self.fault("verify/leaf-malformed", format!("leaf {leaf}: {cause}"), Some(leaf), None),
            },
        }
    }

    fn insert(&mut self, attested: Attested) {
        if let Claim::Revocation(revocation) = &attested.claim {
            // log order decides: a key already revoked here revokes nothing, a key revoked later still has
            let dead = self.revocations.iter().any(|(_, earlier)| {
                earlier.kind == Revoked::Key && earlier.target.hex() == attested.hint && earlier.effective_log_index <= attested.leaf
            });
            if !dead {
                self.revocations.push((attested.leaf, revocation.clone()));
            }
        }
        // a statement signed and logged twice is the same statement: the first leaf is its place
        self.by_pae.entry(attested.pae).or_insert(self.statements.len());
        self.statements.push(attested);
    }

    /// A key's signatures count below the effective index, and one made after the revocation itself is a fault of the log; a revoked statement counts no more once the checkpoint has
    /// passed that index.
    fn apply_revocations(&mut self, size: u64) {
        let mut after = Vec::new();
        for (at, revocation) in &self.revocations {
            for statement in &mut self.statements {
                let hit = match revocation.kind {
                    Revoked::Key => {
                        revocation.target.hex() == statement.hint
                            && statement.leaf >= revocation.effective_log_index
                            && !matches!(statement.claim, Claim::Revocation(_))
                    }
                    Revoked::Statement => revocation.target == statement.pae && revocation.effective_log_index < size,
                    Revoked::Artifact => false,
                };
                if hit {
                    statement.revoked = Some(format!("revoked by leaf {at} from leaf {} on", revocation.effective_log_index));
                    // before the revocation somebody honest may have signed; after it nobody has
                    if revocation.kind == Revoked::Key && statement.leaf > *at {
                        after.push((*at, statement.leaf, statement.pae, statement.hint.chars().take(12).collect::<String>()));
                    }
                }
            }
        }
        let code = "verify/key-revoked";
        for (at, leaf, pae, key) in after {
            let message = format!("leaf {leaf}: statement {pae} is signed by key {key}, which leaf {at} revoked");
            self.signed_late.push(Fault { code, message, hint: hint(code), leaf: Some(leaf), digest: Some(pae) });
        }
    }

    /// The revocation of an artifact, if the checkpoint has passed its index.
    pub(crate) fn artifact_revoked(&self, artifact: &Digest) -> Option<u64> {
        let size = u64::try_from(self.leaves.len()).unwrap_or(u64::MAX);
        let revoked = self.revocations.iter().find(|(_, revocation)| {
            revocation.kind == Revoked::Artifact && revocation.target == *artifact && revocation.effective_log_index < size
        });
        revoked.map(|(at, _)| *at)
    }
}

type Keys<'a> = BTreeMap<String, (&'a TrustedKey, PublicKey)>;
type Refusal = (&'static str, String);

/// One attestation leaf: its bundle, the key, the leaf rebuilt, the signature, the role, the claim; in that order.
fn attested(source: &dyn EvidenceSource, keys: &Keys<'_>, leaf: u64, entry: &[u8], body: &LeafBody) -> Result<Attested, Refusal> {
    let pae = body.pae;
    let stored = source.bundle(&pae).map_err(|cause| ("verify/bundle-missing", format!("bundle {pae} cannot be read: {cause}")))?;
    let stored = stored.ok_or_else(|| ("verify/bundle-missing", format!("bundle {pae} is not there")))?;
    let bundle = Bundle::from_json(&stored).map_err(|cause| ("verify/bundle-malformed", format!("bundle {pae}: {cause}")))?;
    if !body.is_of(&bundle) {
        return Err(("verify/bundle-mismatch", format!("bundle {pae} is not what the leaf was made of")));
    }
    let refuse_key = |why: &str| {
        let key: String = bundle.key_hint.chars().take(12).collect();
        ("verify/untrusted-key", format!("statement {pae} is signed by key {key}, {why}"))
    };
    let (trusted, key) = keys.get(&bundle.key_hint).ok_or_else(|| refuse_key("which the trust file does not have"))?;
    if leaf < trusted.from {
        return Err(refuse_key("which the trust file has only for later leaves"));
    }
    if let Some(until) = trusted.until.filter(|until| leaf >= *until) {
        let (_, message) = refuse_key(&format!("which counts no more from leaf {until} on"));
        return Err(("verify/key-revoked", message));
    }
    let spki = key.to_der().map_err(|cause| ("verify/untrusted-key", cause.to_string()))?;
    if leaf_body(&bundle, &spki) != entry {
        return Err(("verify/leaf-mismatch", format!("the leaf is not the one that bundle {pae} and its key give")));
    }
    verify_signature(&bundle, key).map_err(|cause| (cause.code(), format!("statement {pae}: {cause}")))?;
    let statement = Statement::from_payload(&bundle.payload).map_err(|cause| ("verify/payload", format!("statement {pae}: {cause}")))?;
    let kind: String = statement.predicate_type.chars().take(120).collect();
    if !may_sign(trusted.role, &kind) {
        let role = role_name(trusted.role);
        return Err(("verify/wrong-role", format!("statement {pae} of type `{kind}` is signed by a {role} key")));
    }
    let claim = Claim::read(&statement).map_err(|cause| ("verify/payload", format!("statement {pae}: {cause}")))?;
    Ok(Attested {
        leaf,
        pae,
        subject: statement.subject,
        claim,
        hint: bundle.key_hint,
        principal: trusted.principal.clone(),
        revoked: None,
    })
}

/// The word for a role in messages.
pub(crate) const fn role_name(role: KeyRole) -> &'static str {
    match role {
        KeyRole::User => "user",
        KeyRole::Runner => "runner",
        KeyRole::Log => "log",
        KeyRole::Root => "root",
    }
}

/// An event leaf: strict JSON, canonical, and nothing in it that this version does not know.
fn event(entry: &[u8]) -> Result<Event, String> {
    let value = json_strict::parse(entry).map_err(|cause| cause.to_string())?;
    if json_strict::to_canonical(&value) != entry {
        return Err("event is not in canonical form".to_owned());
    }
    let event: Event = serde_json::from_value(value.clone()).map_err(|cause| format!("no known event: {cause}"))?;
    match serde_json::to_value(&event) {
        Ok(again) if again == value => Ok(event),
        _ => Err("event has fields that this version does not know".to_owned()),
    }
}
