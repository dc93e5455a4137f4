//! A whole synthetic workspace in memory: keys, log, bundles, blobs, and the draft that a test may forge before it is signed.
//!
//! The draft is what an engine would record for ingest → preprocess → train → validate → deploy. Statements are referred to
//! by placeholder, so that a forged statement can still be the one that every event names: only the forgery itself is wrong.
#![allow(dead_code, reason = "shared by tests and examples, each of which uses a part")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use p256::ecdsa::signature::Signer as _;
use seaworthy_core::action::{Action, Resource};
use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::attestation::deployment::DeploymentClaim;
use seaworthy_core::attestation::integrity_score::{IntegrityScore, ScorePart};
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::provenance::*;
use seaworthy_core::attestation::release::Release;
use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::attestation::svr::GateResult;
use seaworthy_core::attestation::test_result::TestResult;
use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::attestation::vsa::Approval;
use seaworthy_core::attestation::{blob, subject};
use seaworthy_core::decision::{Decision, EnforcementLevel, GateCheck, GateDecision};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, PAYLOAD_TYPE, ResourceDescriptor, Statement, leaf_body, pae};
use seaworthy_core::event::{Event, EventKind, OutputRef};
use seaworthy_core::finding::CheckReport;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::json_strict::to_canonical;
use seaworthy_core::lock::{Lock, Pin, PinKind};
use seaworthy_core::merkle;
use seaworthy_core::note::{Checkpoint, KeyKind, Note, NoteSignature};
use seaworthy_core::ports::{ByteSource, EvidenceSource, KeyRole, PortError, SignerIsolation};
use seaworthy_core::principal::{PrincipalId, runner_id};
use seaworthy_trust::attest::{SourceOwner, TrustRoot, TrustedKey, TrustedLog, TrustedWitness};
use seaworthy_trust::keys::PrivateKey;
use seaworthy_trust::transparency::verifier_key;
use serde_json::{Value, json};

pub(crate) const WORKSPACE: &str = "w1";
pub(crate) const ORIGIN: &str = "w1.seaworthy.internal/staging";
pub(crate) const SOURCE_URI: &str = "s3://data-lake/raw/";
const START_MS: u64 = 1_795_300_000_000;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn run() -> RunId {
    RunId("r0192f00000000001".to_owned())
}

pub(crate) fn attempt(step: &str) -> StepRunId {
    StepRunId { run: run(), workflow: name("secure_ml_pipeline"), step: name(step), attempt: 1 }
}

/// The placeholder by which events and statements name statement `id`.
pub(crate) fn placeholder(id: &str) -> Digest {
    Digest::of(format!("placeholder {id}").as_bytes())
}

/// One leaf before it is signed.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Statement { id: String, key: &'static str, statement: Statement, payload: Option<Vec<u8>> },
    Event(EventKind),
}

/// Keys by the name a draft uses.
pub(crate) struct Keys(pub(crate) BTreeMap<&'static str, PrivateKey>);

impl Keys {
    pub(crate) fn new() -> Self {
        let key = |role, seed| PrivateKey::from_seed(role, &[seed; 32]).unwrap();
        Self(BTreeMap::from([
            ("user", key(KeyRole::User, 1)),
            ("runner", key(KeyRole::Runner, 2)),
            ("root", key(KeyRole::Root, 3)),
            ("log", key(KeyRole::Log, 4)),
            ("stranger", key(KeyRole::Runner, 5)),
            ("other log", key(KeyRole::Log, 6)),
            ("witness a", key(KeyRole::Log, 7)),
            ("witness b", key(KeyRole::Log, 8)),
        ]))
    }

    pub(crate) fn hint(&self, key: &str) -> String {
        self.0[key].public().hint().unwrap()
    }
}

/// What would be recorded, in order, with the blobs it names.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) items: Vec<Item>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) artifacts: BTreeMap<&'static str, (Manifest, ArtifactRef)>,
}

/// The recorded workspace: what a verifier is given.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) bundles: BTreeMap<Digest, Vec<u8>>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) checkpoint: String,
    /// Stored proofs, as tiles would give them: of the entries when the checkpoint was signed.
    pub(crate) proofs: Vec<Vec<Digest>>,
    pub(crate) trust: TrustRoot,
    /// SHA256(PAE) by the draft's id.
    pub(crate) paes: BTreeMap<String, Digest>,
    /// Leaf by the draft's id.
    pub(crate) leaves: BTreeMap<String, u64>,
    pub(crate) artifacts: BTreeMap<&'static str, (Manifest, ArtifactRef)>,
}

impl Draft {
    fn file(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        digest
    }

    pub(crate) fn artifact(&mut self, id: &'static str, files: &[(&str, &[u8])]) -> ArtifactRef {
        let entry = |(name, bytes): &(&str, &[u8])| {
            let size = bytes.len() as u64;
            ManifestEntry { name: (*name).to_owned(), digest: self.file(bytes), size, mode: 0o644 }
        };
        let manifest = Manifest::new(files.iter().map(entry).collect()).unwrap();
        self.blobs.insert(manifest.reference().digest, manifest.to_bytes());
        let reference = manifest.reference();
        self.artifacts.insert(id, (manifest, reference.clone()));
        reference
    }

    pub(crate) fn reference(&self, id: &str) -> ArtifactRef {
        self.artifacts[id].1.clone()
    }

    fn dependency(&self, name: &str, artifact: &str) -> ResourceDescriptor {
        subject(name, &self.reference(artifact))
    }

    fn output(&self, name: &str, kind: &str, artifact: &str) -> OutputRef {
        OutputRef { name: name.to_owned(), kind: kind.to_owned(), digest: self.reference(artifact).digest }
    }

    pub(crate) fn event(&mut self, kind: EventKind) {
        self.items.push(Item::Event(kind));
    }

    pub(crate) fn sign(&mut self, id: &str, key: &'static str, statement: Statement) -> Digest {
        self.items.push(Item::Statement { id: id.to_owned(), key, statement, payload: None });
        placeholder(id)
    }

    /// The statement of this id, to forge.
    pub(crate) fn statement(&mut self, id: &str) -> &mut Statement {
        let found = self.items.iter_mut().find_map(|item| match item {
            Item::Statement { id: own, statement, .. } if own == id => Some(statement),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no statement {id}"))
    }

    /// The item of this id.
    pub(crate) fn item(&mut self, id: &str) -> &mut Item {
        let at = self.position(id);
        &mut self.items[at]
    }

    pub(crate) fn position(&self, id: &str) -> usize {
        self.items.iter().position(|item| matches!(item, Item::Statement { id: own, .. } if own == id)).unwrap()
    }

    /// The events of a code, to forge.
    pub(crate) fn events(&mut self, code: &str) -> Vec<&mut EventKind> {
        let of_code = |kind: &&mut EventKind| serde_json::to_value(&**kind).unwrap()["code"] == code;
        let events = self.items.iter_mut().filter_map(|item| match item {
            Item::Event(kind) => Some(kind),
            Item::Statement { .. } => None,
        });
        events.filter(of_code).collect()
    }

    /// The commit of a step, to forge.
    pub(crate) fn commit(&mut self, wanted: &str) -> &mut EventKind {
        let mut commits = self.events("step.committed");
        let at = commits.iter().position(|kind| matches!(kind, EventKind::StepCommitted { step, .. } if step.step.as_str() == wanted));
        commits.swap_remove(at.unwrap())
    }

    /// Starts a step attempt: authorized, then started.
    pub(crate) fn start(&mut self, step: &StepRunId, kind: &str) {
        let name = format!("{}/{}", step.workflow, step.step);
        let resource = Resource::Step { name, kind: kind.to_owned(), sandboxed: true, profile: "strict".to_owned() };
        let decision = Decision::Allow { policies: vec!["builtin/run_step".to_owned()] };
        self.event(EventKind::AuthorizationDecided { step: Some(step.clone()), action: Action::RunStep, resource, decision });
        self.event(EventKind::StepStarted { step: step.clone() });
    }
}

pub(crate) fn gate(name: &str, policy: &ArtifactRef, got: f64) -> GateDecision {
    let check = GateCheck { pass: true, got: json!(got), want: json!(0.78), message: format!("{got} is enough") };
    GateDecision {
        gate: name.to_owned(),
        pass: true,
        level: EnforcementLevel::HardMandatory,
        checks: BTreeMap::from([("bound".to_owned(), check)]),
        reasons: vec![],
        policy: policy.digest,
        input: Digest::of(b"gate input"),
    }
}

fn report(check: &str) -> CheckReport {
    let facts = BTreeMap::from([("rows".to_owned(), json!(20_000)), ("auc".to_owned(), json!(0.123_456_789_012_345_67))]);
    CheckReport { check: check.to_owned(), parameters: BTreeMap::new(), facts, findings: vec![] }
}

struct Step<'a> {
    name: &'a str,
    kind: BuildType,
    dependencies: Vec<ResourceDescriptor>,
    inputs: Vec<OutputRef>,
    outputs: Vec<(&'a str, &'a str, &'static str)>,
    /// Further statements: id, key, statement.
    statements: Vec<(String, Statement)>,
    gate: Option<GateDecision>,
}

impl Draft {
    fn provenance(&self, step: &StepRunId, kind: BuildType, dependencies: Vec<ResourceDescriptor>) -> Provenance {
        let workflow = Digest::of(WORKFLOW_TEXT);
        Provenance {
            build_type: kind,
            external: ExternalParameters {
                workflow: WorkflowRef { uri: "workflow.yaml".to_owned(), digest: WorkflowDigest { sha256: workflow } },
                step: format!("{}/{}", step.workflow, step.step),
                params: json!({"depth": 6}),
            },
            internal: InternalParameters {
                sandbox: json!({"profile": "strict", "landlock_abi": 6}),
                environment_variables: json!(["SEAWORTHY_INPUTS", "SEAWORTHY_OUTPUTS"]),
                seed: Some(7),
                device: Some("cpu".to_owned()),
                code_integrity: Some("any".to_owned()),
            },
            dependencies,
            builder: runner_id(WORKSPACE, "staging").0,
            invocation: step.clone(),
            started: Timestamp(START_MS),
            finished: Timestamp(START_MS + 1_234),
            byproducts: vec![],
        }
    }

    fn common(&self) -> Vec<ResourceDescriptor> {
        vec![
            self.dependency(ENVIRONMENT, "environment"),
            blob(LOCK, &Digest::of(&self.lock_text())),
            blob(WORKFLOW, &Digest::of(WORKFLOW_TEXT)),
        ]
    }

    fn lock_text(&self) -> Vec<u8> {
        let digest = self.reference("source").digest;
        let pin = Pin { kind: PinKind::Source, digest, from: SOURCE_URI.to_owned() };
        Lock { pins: BTreeMap::from([("source:ingest_data".to_owned(), pin)]) }.to_text().into_bytes()
    }

    /// Records a whole step as the engine does: statements and outcome in one group.
    fn step(&mut self, step: Step<'_>) {
        let id = attempt(step.name);
        self.start(&id, "transform");
        let mut statements = Vec::new();
        for (_, kind, artifact) in step.outputs.iter().filter(|(_, kind, _)| *kind == "dataset") {
            let manifest = self.artifacts[artifact].0.clone();
            let output = step.outputs.iter().find(|output| output.2 == *artifact).unwrap().0;
            assert_eq!(*kind, "dataset");
            statements.push(self.sign(&format!("manifest {artifact}"), "runner", manifest::statement(output, &manifest, Subject::Folder)));
        }
        let outputs: Vec<OutputRef> = step.outputs.iter().map(|(name, kind, artifact)| self.output(name, kind, artifact)).collect();
        let made: Vec<_> = step.outputs.iter().map(|(name, _, artifact)| self.dependency(name, artifact)).collect();
        if !made.is_empty() {
            let provenance = self.provenance(&id, step.kind, step.dependencies).statement(made.clone());
            statements.push(self.sign(&format!("provenance {}", step.name), "runner", provenance));
        }
        for (id, statement) in step.statements {
            statements.push(self.sign(&id, "runner", statement));
        }
        if let Some(decision) = step.gate {
            // a validation makes nothing: its gate speaks of the model
            let about = if made.is_empty() { vec![self.dependency("train_model/model", "model")] } else { made };
            let result = GateResult { verifier: runner_id(WORKSPACE, "staging").0, time: Timestamp(START_MS), decision: decision.clone() };
            statements.push(self.sign(&format!("svr {}", step.name), "runner", result.statement(about)));
            self.event(EventKind::GateDecided { step: id.clone(), decision });
        }
        let cache_key = Digest::of(step.name.as_bytes());
        self.event(EventKind::StepCommitted { step: id, cache_key, inputs: step.inputs, outputs, statements, reused_from: None });
    }

    /// The whole sample workflow, recorded.
    pub(crate) fn sample() -> Self {
        Self::signed_by(None)
    }

    /// The same, with what the signer of the request said about itself.
    pub(crate) fn signed_by(signer: Option<SignerIsolation>) -> Self {
        let mut draft = Self { items: Vec::new(), blobs: BTreeMap::new(), artifacts: BTreeMap::new() };
        draft.bytes();
        draft.event(EventKind::WorkspaceCreated { workspace: WORKSPACE.to_owned(), environment: "staging".to_owned() });
        let request = RunRequest {
            run: run(),
            plan: Digest::of(b"plan"),
            lock: Digest::of(&draft.lock_text()),
            workflow: Digest::of(WORKFLOW_TEXT),
            environment: name("staging"),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
            signer,
        };
        let request = draft.sign("request", "user", request.statement());
        draft.event(EventKind::RunStarted { run: run(), request, plan: Digest::of(b"plan") });
        draft.ingest_and_preprocess();
        draft.train_and_validate();
        draft.deploy();
        draft.event(EventKind::RunEnded { run: run(), state: "succeeded".to_owned(), cancelled_by: None });
        draft
    }

    fn bytes(&mut self) {
        self.artifact("source", &[("part-0.parquet", b"PAR1 source rows")]);
        self.artifact("raw", &[("part-0.parquet", b"PAR1 rows"), ("sub/part-1.parquet", b"PAR1 more rows")]);
        self.artifact("train", &[("a.parquet", b"PAR1 same"), ("b.parquet", b"PAR1 other")]);
        self.artifact("holdout", &[("a.parquet", b"PAR1 holdout")]);
        self.artifact("model", &[("model.onnx", b"onnx weights"), ("labels.json", b"[0,1]")]);
        self.artifact("report", &[("report.json", b"{}")]);
        self.artifact("code", &[("train.py", b"print('train')")]);
        self.artifact("environment", &[("wheels/numpy.whl", b"PK wheel")]);
        self.artifact("policy schema", &[("gate.rego", b"package seaworthy"), ("gate.yaml", b"level: hard-mandatory")]);
        self.artifact("policy performance", &[("gate.rego", b"package seaworthy2")]);
        self.artifact("schema", &[("employment.yaml", b"columns: []")]);
        self.file(WORKFLOW_TEXT);
        let lock = self.lock_text();
        self.file(&lock);
    }

    fn ingest_and_preprocess(&mut self) {
        let mut source = self.dependency("source:ingest_data", "source");
        source.uri = Some(SOURCE_URI.to_owned());
        let schema = self.dependency(SCHEMA, "schema");
        let policy = self.dependency("policy:data_schema_v2", "policy schema");
        let tests = TestResult::of(&[report("data_schema")], vec![schema.clone()], None);
        let tests = tests.statement(vec![self.dependency("ingest_data/raw", "raw")]);
        self.step(Step {
            name: "ingest_data",
            kind: BuildType::Ingest,
            dependencies: [self.common(), vec![source, schema, policy]].concat(),
            inputs: vec![self.output(SCHEMA, "schema", "schema")],
            outputs: vec![("ingest_data/raw", "dataset", "raw")],
            statements: vec![("tests ingest_data".to_owned(), tests)],
            gate: Some(gate("data_schema_v2", &self.reference("policy schema"), 0.99)),
        });
        self.step(Step {
            name: "preprocess",
            kind: BuildType::Step,
            dependencies: [self.common(), vec![self.dependency("input:ingest_data/raw", "raw"), self.dependency(CODE, "code")]].concat(),
            inputs: vec![self.output("ingest_data/raw", "dataset", "raw"), self.output(CODE, "code", "code")],
            outputs: vec![("preprocess/train", "dataset", "train"), ("preprocess/holdout", "dataset", "holdout")],
            statements: vec![],
            gate: None,
        });
    }

    fn train_and_validate(&mut self) {
        self.step(Step {
            name: "train_model",
            kind: BuildType::Train,
            dependencies: [self.common(), vec![self.dependency("input:preprocess/train", "train"), self.dependency(CODE, "code")]].concat(),
            inputs: vec![self.output("preprocess/train", "dataset", "train"), self.output(CODE, "code", "code")],
            outputs: vec![("train_model/model", "model", "model")],
            statements: vec![],
            gate: None,
        });
        let model = self.dependency("train_model/model", "model");
        let part = |name: &str, score| ScorePart {
            name: name.to_owned(),
            required: true,
            measured: Some(0.01),
            bound: Some(0.1),
            score: Some(score),
        };
        let score = IntegrityScore::of(vec![part("chain", 1.0), part("drift", 0.93), part("performance", 0.71)], vec![model.clone()]);
        let inputs = [
            ("train_model/model", "model", "model"),
            ("preprocess/holdout", "dataset", "holdout"),
            ("preprocess/train", "dataset", "train"),
        ];
        let policy = self.dependency("policy:model_performance", "policy performance");
        let read = inputs.iter().map(|(name, _, artifact)| self.dependency(&format!("input:{name}"), artifact)).collect();
        let lock = [blob(LOCK, &Digest::of(&self.lock_text())), blob(WORKFLOW, &Digest::of(WORKFLOW_TEXT))].to_vec();
        // it makes nothing: what it read stands in the configuration of its test result
        let configuration = [read, vec![policy], lock].concat();
        let tests = TestResult::of(&[report("performance"), report("drift")], configuration, Some(&self.reference("report")));
        self.step(Step {
            name: "validate_model",
            kind: BuildType::Step,
            dependencies: vec![],
            inputs: inputs.iter().map(|(name, kind, artifact)| self.output(name, kind, artifact)).collect(),
            outputs: vec![],
            statements: vec![
                ("tests validate_model".to_owned(), tests.statement(vec![model.clone()])),
                ("score".to_owned(), score.statement(model)),
            ],
            gate: Some(gate("model_performance", &self.reference("policy performance"), 0.81)),
        });
    }

    fn deploy(&mut self) {
        let id = attempt("deploy_model");
        self.start(&id, "deploy");
        let (model, reference) = self.artifacts["model"].clone();
        let about = || subject("employment", &reference);
        let signature = self.sign("model.sig", "runner", manifest::statement("employment", &model, Subject::Model));
        let approval = Approval {
            verifier: runner_id(WORKSPACE, "staging").0,
            time: Timestamp(START_MS),
            resource: "model:employment@1".to_owned(),
            policy: self.dependency("model_performance", "policy performance"),
            inputs: ["provenance train_model", "tests validate_model", "score", "svr validate_model"].map(placeholder).to_vec(),
            levels: vec!["SEAWORTHY_ASSURANCE_L0".to_owned()],
        };
        let approval = self.sign("vsa", "runner", approval.statement(about()));
        let release = self.sign("release", "runner", Release { model: name("employment"), version: 1 }.statement(about()));
        let claim = deployment(1, 1);
        let statement = self.sign("deployment", "runner", claim.statement(about()));
        let model = || "employment".to_owned();
        let (trained_by, validated_by) = (attempt("train_model"), attempt("validate_model"));
        self.event(EventKind::ModelRegistered {
            model: model(),
            version: 1,
            digest: reference.digest,
            signature,
            approval,
            trained_by,
            validated_by,
        });
        self.event(EventKind::ModelAliased { model: model(), alias: "candidate".to_owned(), version: 1 });
        let state = "pending-canary".to_owned();
        self.event(EventKind::DeploymentRecorded { model: model(), version: 1, release: 1, state, statement });
        let statements = vec![signature, approval, release, statement];
        let inputs = vec![self.output("train_model/model", "model", "model")];
        let cache_key = Digest::of(b"deploy");
        self.event(EventKind::StepCommitted { step: id, cache_key, inputs, outputs: vec![], statements, reused_from: None });
    }
}

pub(crate) const WORKFLOW_TEXT: &[u8] = b"workflows:\n  - name: secure_ml_pipeline\n";

pub(crate) fn deployment(version: u64, release: u64) -> DeploymentClaim {
    DeploymentClaim {
        environment: name("staging"),
        model: name("employment"),
        version,
        release_index: release,
        minimum_release_index: 0,
        state: "pending-canary".to_owned(),
        replaces: None,
    }
}

pub(crate) fn trust(keys: &Keys) -> TrustRoot {
    let key =
        |role, name: &str, principal: &str| TrustedKey::new(role, PrincipalId(principal.to_owned()), &keys.0[name].public(), 0).unwrap();
    let vkey = |name: &str, kind, key: &str| verifier_key(name, kind, &keys.0[key].public()).unwrap().to_string();
    let witness = |name: &str, key: &str| TrustedWitness { name: name.to_owned(), vkey: vkey(name, KeyKind::Cosignature, key) };
    let root = TrustRoot {
        version: 1,
        workspace: WORKSPACE.to_owned(),
        environment: name("staging"),
        log: TrustedLog { origin: ORIGIN.to_owned(), vkey: vkey(ORIGIN, KeyKind::Ed25519, "log") },
        keys: vec![
            key(KeyRole::User, "user", "user:p-0011223344556677"),
            key(KeyRole::Runner, "runner", &runner_id(WORKSPACE, "staging").0),
            key(KeyRole::Root, "root", "user:p-8899aabbccddeeff"),
        ],
        witnesses: vec![witness("witness-a", "witness a"), witness("witness-b", "witness b")],
        quorum: 0,
        sources: vec![SourceOwner { prefix: "s3://data-lake/".to_owned(), key: keys.hint("user") }],
        minimum_release: BTreeMap::new(),
    };
    TrustRoot::parse(&root.to_json()).unwrap()
}

fn raw_sign(key: &PrivateKey, message: &[u8]) -> Vec<u8> {
    match key {
        PrivateKey::P256(key) => {
            let signature: p256::ecdsa::DerSignature = key.sign(message);
            signature.as_bytes().to_vec()
        }
        PrivateKey::Ed25519(key) => ed25519_dalek::Signer::sign(key, message).to_bytes().to_vec(),
    }
}

/// Puts the real digests in the place of placeholders.
fn resolve(text: &[u8], paes: &BTreeMap<String, Digest>) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let text = paes.iter().fold(text.to_owned(), |text, (id, pae)| text.replace(&placeholder(id).hex(), &pae.hex()));
    text.into_bytes()
}

impl World {
    /// Signs and records a draft.
    pub(crate) fn record(draft: &Draft, keys: &Keys) -> Self {
        let mut world = Self {
            entries: Vec::new(),
            bundles: BTreeMap::new(),
            blobs: draft.blobs.clone(),
            checkpoint: String::new(),
            proofs: Vec::new(),
            trust: trust(keys),
            paes: BTreeMap::new(),
            leaves: BTreeMap::new(),
            artifacts: draft.artifacts.clone(),
        };
        for (at, item) in draft.items.iter().enumerate() {
            let leaf = at as u64;
            match item {
                Item::Event(kind) => {
                    let principal = runner_id(WORKSPACE, "staging");
                    let event = Event { time_ms: START_MS + leaf, principal, kind: kind.clone() };
                    let text = to_canonical(&serde_json::to_value(&event).unwrap());
                    world.entries.push(resolve(&text, &world.paes));
                }
                Item::Statement { id, key, statement, payload } => {
                    let payload = resolve(payload.as_ref().unwrap_or(&statement.to_payload()), &world.paes);
                    let key = &keys.0[key];
                    let signature = raw_sign(key, &pae(PAYLOAD_TYPE, &payload));
                    let bundle = Bundle { payload, signature, key_hint: key.public().hint().unwrap(), log_proof: None };
                    world.paes.insert(id.clone(), bundle.pae_digest());
                    world.leaves.insert(id.clone(), leaf);
                    world.entries.push(leaf_body(&bundle, &key.public().to_der().unwrap()));
                    world.bundles.insert(bundle.pae_digest(), bundle.to_json());
                }
            }
        }
        world.sign_checkpoint(keys, "log");
        world
    }

    pub(crate) fn tree(&self) -> Vec<Digest> {
        self.entries.iter().map(|entry| merkle::leaf_hash(entry)).collect()
    }

    pub(crate) fn state(&self) -> Checkpoint {
        let size = self.entries.len() as u64;
        Checkpoint { origin: ORIGIN.to_owned(), size, root: merkle::root_of(&self.tree()), extensions: vec![] }
    }

    pub(crate) fn sign_checkpoint(&mut self, keys: &Keys, key: &str) {
        self.sign_checkpoint_of(keys, key, &self.state());
        self.proofs = self.prove();
    }

    pub(crate) fn sign_checkpoint_of(&mut self, keys: &Keys, key: &str, state: &Checkpoint) {
        let text = state.to_text();
        let key = &keys.0[key];
        let key_id = verifier_key(ORIGIN, KeyKind::Ed25519, &key.public()).unwrap().key_id();
        let signature = NoteSignature { name: ORIGIN.to_owned(), key_id, bytes: raw_sign(key, text.as_bytes()) };
        self.checkpoint = Note { text, signatures: vec![signature] }.format();
    }

    pub(crate) fn cosign(&mut self, keys: &Keys, name: &str, key: &str, time_s: u64) {
        let mut note = Note::parse(self.checkpoint.as_bytes()).unwrap();
        let key = &keys.0[key];
        let key_id = verifier_key(name, KeyKind::Cosignature, &key.public()).unwrap().key_id();
        let signature = raw_sign(key, &seaworthy_core::note::cosignature_message(time_s, &note.text));
        let bytes = seaworthy_core::note::join_cosignature(time_s, &signature.try_into().unwrap());
        note.signatures.push(NoteSignature { name: name.to_owned(), key_id, bytes });
        self.checkpoint = note.format();
    }

    fn prove(&self) -> Vec<Vec<Digest>> {
        let leaves = self.tree();
        let read = |node: merkle::Node| -> Result<Digest, merkle::MerkleError> {
            let width = 1_usize << node.level;
            let start = usize::try_from(node.index).unwrap() * width;
            Ok(merkle::root_of(&leaves[start..start + width]))
        };
        let size = leaves.len() as u64;
        (0..size).map(|leaf| merkle::inclusion_proof(leaf, size, read).unwrap()).collect()
    }
}

impl EvidenceSource for World {
    fn size(&self) -> Result<u64, PortError> {
        Ok(self.entries.len() as u64)
    }

    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError> {
        let entry = self.entries.get(usize::try_from(index).unwrap());
        entry.cloned().ok_or_else(|| PortError::new("read an entry", "it is not there"))
    }

    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.bundles.get(pae).cloned())
    }

    fn checkpoint(&self) -> Result<String, PortError> {
        Ok(self.checkpoint.clone())
    }

    fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, PortError> {
        let proof = self.proofs.get(usize::try_from(index).unwrap());
        proof.cloned().ok_or_else(|| PortError::new("prove an entry", "its tile is not there"))
    }

    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError> {
        Ok(self.bundles.keys().copied().collect())
    }
}

impl ByteSource for World {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, PortError> {
        Ok(self.blobs.get(digest).map(|bytes| Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>))
    }
}

/// A value's text, for edits by path.
pub(crate) fn set(statement: &mut Statement, pointer: &str, value: Value) {
    *statement.predicate.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
}
