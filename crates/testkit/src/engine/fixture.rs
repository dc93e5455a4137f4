//! What every story of the engine rests on: a workflow with its pins, keys and a trust file, made once.
//!
//! in: the name of a plan; out: [`Fixture`]. **Invariant:** nothing in it depends on a seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::digest::Digest;
use seaworthy_core::id::Name;
use seaworthy_core::lock::{Lock, Pin, PinKind};
use seaworthy_core::note::KeyKind;
use seaworthy_core::plan::{self, Plan};
use seaworthy_core::ports::KeyRole;
use seaworthy_core::principal::{PrincipalId, runner_id};
use seaworthy_core::workflow::{self, SourceText, SourceTexts};
use seaworthy_engine::pins::{FoundPins, PinnedFolder, PinnedGate, gate_manifest};
use seaworthy_engine::runtime::Resolved;
use seaworthy_store::artifacts::{self, FolderRules};
use seaworthy_trust::attest::{TrustRoot, TrustedKey, TrustedLog};
use seaworthy_trust::authz::Authorizer;
use seaworthy_trust::gate::{self, Gate};
use seaworthy_trust::keys::{LocalSigner, PrivateKey};
use seaworthy_trust::transparency;

/// The workspace's id: it is part of names that are signed.
pub(crate) const WORKSPACE: &str = "00112233445566aa";
/// The log's origin.
pub(crate) const ORIGIN: &str = "00112233445566aa.seaworthy.internal/staging/log";
/// The environment of all stories.
pub(crate) const ENVIRONMENT: &str = "staging";

const SCHEMA: &str = "columns:\n  id: {type: integer, unique: true}\n  value: {type: integer, min: 0, max: 1000}\n";

/// A source that passes its gate, two bodies beside each other, one that joins them.
const PLAIN: (&str, &str) = (
    "workflows:
  - name: sim
    steps:
      - take: {source: s3://lake/good/, integrity_check: sha256, policy_gate: data_schema_v2}
      - left: {logging: enabled}
      - right: {sandbox: true}
      - join: {sandbox: true}
",
    "  sim/take: {schema: schemas/numbers.yaml, outputs: {raw: dataset}}
  sim/left: {run: [body, works], inputs: [take/raw], outputs: {left: dataset}}
  sim/right: {run: [body, stumbles], inputs: [take/raw], outputs: {right: dataset}, retries: {max: 5, backoff: 1s, on: [exit-75, timed-out]}}
  sim/join: {run: [body, works], inputs: [left/left, right/right], outputs: {out: dataset, more: dataset}, cache: false}
",
);

/// The same, with a source that its gate refuses, a body that always fails, and steps that wait for these in vain.
const TROUBLED: (&str, &str) = (
    "workflows:
  - name: sim
    steps:
      - take: {source: s3://lake/good/, integrity_check: sha256, policy_gate: data_schema_v2}
      - odd: {source: s3://lake/bad/, integrity_check: sha256, policy_gate: data_schema_v2}
      - left: {logging: enabled}
      - broken: {logging: enabled}
      - never: {sandbox: true}
      - join: {sandbox: true}
",
    "  sim/take: {schema: schemas/numbers.yaml, outputs: {raw: dataset}}
  sim/odd: {schema: schemas/numbers.yaml, outputs: {raw: dataset}, needs: []}
  sim/left: {run: [body, works], inputs: [take/raw], outputs: {out: dataset}}
  sim/broken: {run: [body, breaks], inputs: [take/raw], outputs: {out: dataset}}
  sim/never: {run: [body, works], inputs: [odd/raw], outputs: {out: dataset}}
  sim/join: {run: [body, works], inputs: [left/out], outputs: {out: dataset}}
",
);

/// Real programs between a real source and its end.
const REAL: (&str, &str) = (
    "workflows:
  - name: sim
    steps:
      - take: {source: s3://lake/good/, integrity_check: sha256, policy_gate: data_schema_v2}
      - left: {logging: enabled}
      - right: {sandbox: true}
      - join: {sandbox: true}
",
    "  sim/take: {schema: schemas/numbers.yaml, outputs: {raw: dataset}}
  sim/left: {run: [sh, -c, 'sort -r $SEAWORTHY_INPUTS/raw/* > $SEAWORTHY_OUTPUTS/left/made.csv'], inputs: [take/raw], outputs: {left: dataset}}
  sim/right: {run: [sh, -c, 'wc < $SEAWORTHY_INPUTS/raw/numbers.csv > $SEAWORTHY_OUTPUTS/right/made.txt'], inputs: [take/raw], outputs: {right: dataset}}
  sim/join: {run: [sh, -c, 'cat $SEAWORTHY_INPUTS/*/* > $SEAWORTHY_OUTPUTS/out/made.txt'], inputs: [left/left, right/right], outputs: {out: dataset}, cache: false}
",
);

const SETTINGS: &str = "environment: staging
project: {name: sim, owner: 'user:somebody', purpose: tests, risk_class: minimal, residency: [EU], data_classes: [none]}
sources: {'s3://lake/': ./data/}
steps:
";

/// A plan and all that it rests on.
pub struct Fixture {
    pub(crate) plan: Plan,
    pub(crate) found: FoundPins,
    pub(crate) lock: Lock,
    pub(crate) lock_bytes: Vec<u8>,
    pub(crate) trust: TrustRoot,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) dir: PathBuf,
    /// Its environment is shown to nobody.
    pub(crate) simulated: bool,
    /// How the plan ends where nothing goes wrong: learned from the first story.
    pub(crate) expected: super::Expected,
}

impl Fixture {
    /// Steps that all succeed.
    #[must_use]
    pub fn plain(dir: &Path) -> Self {
        Self::of(PLAIN, dir)
    }

    /// Steps of which some are denied, fail or are skipped.
    #[must_use]
    pub fn troubled(dir: &Path) -> Self {
        Self::of(TROUBLED, dir)
    }

    /// Steps with programs that really run.
    #[must_use]
    pub fn real(dir: &Path) -> Self {
        Self::of(REAL, dir)
    }

    /// `dir` gets the sources.
    fn of((workflow, steps): (&str, &str), dir: &Path) -> Self {
        let settings = format!("{SETTINGS}{steps}");
        let texts = SourceTexts {
            workflow: SourceText { path: "workflow.yaml".to_owned(), text: workflow.to_owned() },
            settings: Some(SourceText { path: "seaworthy.yaml".to_owned(), text: settings.clone() }),
        };
        let (workspace, faults) = workflow::parse(&texts);
        let workspace = workspace.unwrap_or_else(|| panic!("{faults:?}"));
        assert!(!faults.has_errors(), "{faults:?}");
        let plan = plan::build(&workspace, "sim").unwrap_or_else(|faults| panic!("{faults:?}"));
        let mut found = FoundPins::default();
        pin_text(&mut found, "workflow:workflow.yaml", workflow);
        pin_text(&mut found, "settings", &settings);
        for planned in &plan.steps {
            let name = planned.step.name.to_string();
            if planned.step.source.is_some() {
                pin_source(&mut found, dir, &name);
            }
            if planned.step.policy_gate.is_some() && found.gates.is_empty() {
                pin_gate(&mut found);
            }
        }
        let environment = environment();
        found.pins.insert("environment:host".to_owned(), pin(PinKind::Environment, environment.digest, "simulated"));
        found.environments.insert("host".to_owned(), Resolved::simulated(environment));
        let lock = Lock { pins: found.pins.clone() };
        Self {
            lock_bytes: lock.to_text().into_bytes(),
            plan,
            found,
            lock,
            trust: trust(),
            authorizer: Arc::new(Authorizer::builtin().unwrap()),
            dir: dir.to_owned(),
            simulated: true,
            expected: super::Expected::new(),
        }
    }
}

fn pin(kind: PinKind, digest: Digest, from: &str) -> Pin {
    Pin { kind, digest, from: from.to_owned() }
}

fn pin_text(found: &mut FoundPins, name: &str, text: &str) {
    found.pins.insert(name.to_owned(), pin(PinKind::Workflow, Digest::of(text.as_bytes()), name));
    found.texts.insert(name.to_owned(), text.as_bytes().to_vec());
}

fn pin_source(found: &mut FoundPins, dir: &Path, step: &str) {
    let which = if step == "odd" { "bad" } else { "good" };
    let path = dir.join("data").join(which);
    std::fs::create_dir_all(&path).unwrap();
    let value = |id: u64| if which == "bad" { 5_000 + id } else { 100 + id % 50 };
    let rows: String = (0..120).map(|id| format!("{id},{}\n", value(id))).collect();
    std::fs::write(path.join("numbers.csv"), format!("id,value\n{rows}")).unwrap();
    let (manifest, artifact) = artifacts::hash_folder(artifacts::open_folder(&path).unwrap(), &FolderRules::default()).unwrap();
    found.pins.insert(format!("source:{step}"), pin(PinKind::Source, artifact.digest, &format!("s3://lake/{which}/")));
    found.sources.insert(step.to_owned(), PinnedFolder { path, manifest, artifact, commit: None });
    found.pins.insert(format!("schema:{step}"), pin(PinKind::Schema, Digest::of(SCHEMA.as_bytes()), "schemas/numbers.yaml"));
    found.schemas.insert(step.to_owned(), SCHEMA.to_owned());
}

fn pin_gate(found: &mut FoundPins) {
    let name = "data_schema_v2";
    let (_, files) = gate::builtin().into_iter().find(|(builtin, _)| *builtin == name).unwrap();
    let manifest = gate_manifest(&files).unwrap();
    let artifact = manifest.reference();
    let gate = Gate::load(name, &files, artifact.digest).unwrap();
    found.pins.insert(format!("gate:{name}"), pin(PinKind::Gate, artifact.digest, "built-in"));
    found.gates.insert(name.to_owned(), PinnedGate { gate, files, manifest, artifact, pinned: true });
}

/// What stands for the host's files.
pub(crate) const ENVIRONMENT_FILE: (&str, &[u8]) = ("nothing", b"no files at all\n");

fn environment() -> ArtifactRef {
    let (name, bytes) = ENVIRONMENT_FILE;
    let entry = ManifestEntry { name: name.to_owned(), digest: Digest::of(bytes), size: bytes.len() as u64, mode: 0o644 };
    Manifest::new(vec![entry]).unwrap().reference()
}

const ROLES: [(KeyRole, u8); 4] = [(KeyRole::User, 1), (KeyRole::Runner, 2), (KeyRole::Log, 3), (KeyRole::Root, 4)];

fn key(role: KeyRole) -> PrivateKey {
    let (_, seed) = ROLES.into_iter().find(|(known, _)| *known == role).unwrap();
    PrivateKey::from_seed(role, &[seed; 32]).unwrap()
}

/// Who asks for runs.
pub(crate) fn user() -> PrincipalId {
    PrincipalId("user:p-0011223344556677".to_owned())
}

/// All keys, in this process.
pub(crate) fn signer() -> LocalSigner {
    let signer = LocalSigner::new(ORIGIN, runner_id(WORKSPACE, ENVIRONMENT));
    [KeyRole::User, KeyRole::Runner, KeyRole::Log].into_iter().fold(signer, |signer, role| signer.with_key(role, key(role)).unwrap())
}

fn trust() -> TrustRoot {
    let principal = |role| match role {
        KeyRole::Runner => runner_id(WORKSPACE, ENVIRONMENT),
        _ => user(),
    };
    let keys = [KeyRole::User, KeyRole::Runner, KeyRole::Root];
    let keys = keys.map(|role| TrustedKey::new(role, principal(role), &key(role).public(), 0).unwrap()).to_vec();
    let vkey = transparency::verifier_key(ORIGIN, KeyKind::Ed25519, &key(KeyRole::Log).public()).unwrap().to_string();
    TrustRoot {
        version: 1,
        workspace: WORKSPACE.to_owned(),
        environment: Name::new(ENVIRONMENT).unwrap(),
        log: TrustedLog { origin: ORIGIN.to_owned(), vkey },
        keys,
        witnesses: Vec::new(),
        quorum: 0,
        sources: Vec::new(),
        minimum_release: BTreeMap::new(),
    }
}
