//! Every attack on a chain, with the code it must fail with.
//!
//! Control: `an_honest_chain_verifies`, from the same draft. Each attack here is that draft or world with one forgery, signed
//! and recorded consistently wherever the attacker could, so that nothing else is wrong.

use std::collections::BTreeSet;

use seaworthy_core::action::Action;
use seaworthy_core::attestation::manifest::{self, Subject};
use seaworthy_core::attestation::revocation::{Revocation, Revoked};
use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::attestation::{blob, subject};
use seaworthy_core::decision::{Decision, EnforcementLevel, Reason};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement, leaf_body};
use seaworthy_core::event::EventKind;
use seaworthy_core::note::Checkpoint;
use seaworthy_trust::attest::chain::FAULTS;
use seaworthy_trust::attest::{VerifyOptions, verify_signature};
use seaworthy_trust::transparency::verify_checkpoint;
use serde_json::json;

use crate::chain::{codes, honest, options, verify, verify_with};
use crate::world::{Draft, Item, Keys, World, attempt, deployment, name, placeholder, set};

const MODEL: &str = "model:employment@candidate";

/// What is forged, the code it must fail with, the forgery.
type Attack<T> = (&'static str, &'static str, fn(&mut T));

/// Forgeries of what was signed or recorded: the log itself is honest about them.
const FORGED_DRAFTS: &[Attack<Draft>] = &[
    ("provenance of another step", "verify/wrong-step", |d| {
        set(d.statement("provenance train_model"), "/runDetails/metadata/invocationId", json!(attempt("preprocess").to_string()));
        set(d.statement("provenance train_model"), "/buildDefinition/externalParameters/step", json!("secure_ml_pipeline/preprocess"));
    }),
    ("provenance of another attempt", "verify/wrong-step", |d| {
        let other = attempt("train_model").to_string().replace("#1", "#2");
        set(d.statement("provenance train_model"), "/runDetails/metadata/invocationId", json!(other));
    }),
    ("provenance of another run", "verify/wrong-step", |d| {
        let other = attempt("train_model").to_string().replace("r0192f00000000001", "r0192f00000000009");
        set(d.statement("provenance train_model"), "/runDetails/metadata/invocationId", json!(other));
    }),
    ("provenance in another runner's name", "verify/wrong-builder", |d| {
        set(d.statement("provenance train_model"), "/runDetails/builder/id", json!("spiffe://w1.seaworthy.internal/prod/runner"));
    }),
    ("provenance about another artifact", "verify/wrong-subject", |d| {
        let other = subject("train_model/model", &d.reference("report"));
        d.statement("provenance train_model").subject = vec![other];
    }),
    ("subject names swapped", "verify/wrong-subject", |d| {
        let statement = d.statement("provenance preprocess");
        let names: Vec<_> = statement.subject.iter().map(|s| s.name.clone()).collect();
        statement.subject[0].name.clone_from(&names[1]);
        statement.subject[1].name.clone_from(&names[0]);
    }),
    ("root of other bytes under the right artifact", "verify/wrong-subject", |d| {
        let other = d.reference("holdout").root.hex();
        d.statement("provenance train_model").subject[0].digest.insert("sha256".to_owned(), other);
    }),
    ("dirHash missing: names unbound", "verify/wrong-subject", |d| {
        d.statement("provenance train_model").subject[0].digest.remove("dirHash");
    }),
    ("files renamed under an equal root", "verify/wrong-subject", |d| {
        // same bytes in the same order under other names: root equal, dirHash and artifact digest not
        let renamed = d.artifact("renamed", &[("a.parquet", b"PAR1 same"), ("z.parquet", b"PAR1 other")]);
        assert_eq!(renamed.root, d.reference("train").root, "the attack needs an equal root");
        d.statement("provenance preprocess").subject[0].digest.insert("dirHash".to_owned(), renamed.dir_hash.hex());
    }),
    ("an input its provenance does not name", "verify/wrong-inputs", |d| {
        let statement = d.statement("provenance train_model");
        statement.predicate["buildDefinition"]["resolvedDependencies"]
            .as_array_mut()
            .unwrap()
            .retain(|d| d["name"] != "input:preprocess/train");
    }),
    ("a dependency twice", "verify/wrong-inputs", |d| {
        let list = d.statement("provenance train_model").predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
        let first = list[0].clone();
        list.push(first);
    }),
    ("an input that nothing made", "verify/input-unverified", |d| {
        let planted = d.artifact("planted", &[("a.parquet", b"PAR1 planted")]);
        swap_input(d, "train_model", "preprocess/train", &planted);
    }),
    ("another lock than asked for", "verify/wrong-request", |d| {
        d.blobs.insert(Digest::of(b"other lock"), b"other lock".to_vec());
        swap_dependency(d, "provenance train_model", "lock", &Digest::of(b"other lock"));
    }),
    ("another workflow file than asked for", "verify/wrong-request", |d| {
        d.blobs.insert(Digest::of(b"other workflow"), b"other workflow".to_vec());
        swap_dependency(d, "provenance train_model", "workflow", &Digest::of(b"other workflow"));
    }),
    ("a request for another run", "verify/wrong-request", |d| set(d.statement("request"), "/run", json!("r0192f00000000009"))),
    ("a request for another environment", "verify/wrong-request", |d| set(d.statement("request"), "/environment", json!("prod"))),
    ("a request for another plan", "verify/wrong-request", |d| d.statement("request").subject[0] = blob("plan", &Digest::of(b"other"))),
    ("no request at all", "verify/wrong-request", |d| {
        d.items.retain(|item| !matches!(item, Item::Event(EventKind::RunStarted { .. })));
    }),
    ("the run request is signed by the runner", "verify/wrong-role", |d| key_of(d, "request", "runner")),
    ("provenance signed by a user", "verify/wrong-role", |d| key_of(d, "provenance train_model", "user")),
    ("provenance signed by an untrusted key", "verify/untrusted-key", |d| key_of(d, "provenance train_model", "stranger")),
    ("a duplicated key in a payload", "verify/payload", |d| {
        raw(d, "provenance train_model", |text| text.replacen("\"buildType\"", "\"buildType\":\"x\",\"buildType\"", 1));
    }),
    ("data after a payload", "verify/payload", |d| raw(d, "provenance train_model", |text| format!("{text} {{}}"))),
    ("another payload shape under our predicate type", "verify/payload", |d| {
        d.statement("provenance train_model").predicate = json!({"buildDefinition": {}});
    }),
    ("a predicate type nobody signs here", "verify/wrong-role", |d| {
        d.statement("provenance train_model").predicate_type = "https://example.com/other/v1".to_owned();
    }),
    ("a test result in the place of the provenance", "verify/provenance-missing", |d| {
        let tests = d.statement("tests validate_model").clone();
        *d.statement("provenance train_model") = tests;
    }),
    ("a test result about an artifact the step never saw", "verify/wrong-subject", |d| {
        let raw = subject("ingest_data/raw", &d.reference("raw"));
        d.statement("tests validate_model").subject = vec![raw];
    }),
    ("a dataset without manifest", "verify/statement-missing", |d| drop_from_commit(d, "preprocess", "manifest train")),
    ("an outcome that names no provenance", "verify/provenance-missing", |d| drop_from_commit(d, "train_model", "provenance train_model")),
    ("an outcome that names a statement never logged", "verify/statement-missing", |d| {
        let EventKind::StepCommitted { statements, .. } = d.commit("train_model") else { unreachable!() };
        statements.push(Digest::of(b"nothing"));
    }),
    ("a statement logged after the outcome that names it", "verify/order", |d| {
        let statement = d.items.remove(d.position("provenance train_model"));
        d.items.push(statement);
        // the digest is known beforehand; the placeholder would not be
        let Item::Statement { statement, .. } = d.items.last().unwrap().clone() else { unreachable!() };
        let pae = seaworthy_core::envelope::Bundle {
            payload: statement.to_payload(),
            signature: vec![],
            key_hint: String::new(),
            log_proof: None,
        };
        let EventKind::StepCommitted { statements, .. } = d.commit("train_model") else { unreachable!() };
        statements.iter_mut().filter(|s| **s == placeholder("provenance train_model")).for_each(|s| *s = pae.pae_digest());
    }),
    ("a step nobody allowed", "verify/unauthorized", |d| {
        d.items.retain(|item| !is_authorization(item, "train_model"));
    }),
    ("a step that was denied", "verify/unauthorized", |d| {
        for item in &mut d.items {
            if let Item::Event(EventKind::AuthorizationDecided { step: Some(step), decision, .. }) = item
                && step.step.as_str() == "train_model"
            {
                *decision = Decision::Deny { reasons: vec![reason()] };
            }
        }
    }),
    ("an artifact read that was denied", "verify/unauthorized", |d| {
        let at = d.items.iter().position(|item| is_authorization(item, "train_model")).unwrap();
        let Item::Event(EventKind::AuthorizationDecided { step, resource, .. }) = d.items[at].clone() else { unreachable!() };
        let decision = Decision::Deny { reasons: vec![reason()] };
        d.items.insert(at, Item::Event(EventKind::AuthorizationDecided { step, action: Action::ReadArtifact, resource, decision }));
    }),
    ("authorized only after it had started", "verify/unauthorized", |d| {
        let at = d.items.iter().position(|item| is_authorization(item, "train_model")).unwrap();
        d.items.swap(at, at + 1);
    }),
    ("a gate failed, but the step committed", "verify/gate-failed", |d| {
        for kind in d.events("gate.decided") {
            let EventKind::GateDecided { decision, .. } = kind else { unreachable!() };
            if decision.gate == "model_performance" {
                decision.pass = false;
                decision.reasons = vec![reason()];
            }
        }
    }),
    ("a gate failed softly, without override", "verify/gate-failed", |d| {
        for kind in d.events("gate.decided") {
            let EventKind::GateDecided { decision, .. } = kind else { unreachable!() };
            decision.pass = false;
            decision.reasons = vec![reason()];
            decision.level = EnforcementLevel::SoftMandatory;
        }
    }),
    ("a gate never asked", "verify/gate-missing", |d| {
        d.items.retain(|item| !matches!(item, Item::Event(EventKind::GateDecided { decision, .. }) if decision.gate == "data_schema_v2"));
    }),
    ("a gate that decided by another policy", "verify/gate-missing", |d| {
        for kind in d.events("gate.decided") {
            let EventKind::GateDecided { decision, .. } = kind else { unreachable!() };
            decision.policy = Digest::of(b"lenient policy");
        }
    }),
    ("a signed gate result with another measurement", "verify/gate-missing", |d| {
        set(d.statement("svr validate_model"), "/seaworthy_decision/checks/bound/got", json!(0.99));
    }),
    ("a validation that does not name its gate's policy", "verify/gate-missing", |d| {
        let list = d.statement("tests validate_model").predicate["configuration"].as_array_mut().unwrap();
        list.retain(|dependency| dependency["name"] != "policy:model_performance");
    }),
    ("a validation that hides which data it used", "verify/wrong-inputs", |d| {
        let list = d.statement("tests validate_model").predicate["configuration"].as_array_mut().unwrap();
        list.retain(|dependency| dependency["name"] != "input:preprocess/holdout");
    }),
    ("a validation under another lock", "verify/wrong-request", |d| {
        let list = d.statement("tests validate_model").predicate["configuration"].as_array_mut().unwrap();
        list.iter_mut()
            .filter(|dependency| dependency["name"] == "lock")
            .for_each(|lock| lock["digest"]["sha256"] = json!(Digest::of(b"x").hex()));
    }),
    ("a validation whose test result is withheld", "verify/gate-missing", |d| {
        drop_from_commit(d, "validate_model", "tests validate_model")
    }),
    ("a deployment of a model that nothing made", "verify/input-unverified", |d| {
        let planted = d.reference("report").digest;
        let EventKind::StepCommitted { inputs, .. } = d.commit("deploy_model") else { unreachable!() };
        inputs[0].digest = planted;
    }),
    ("an integrity score that is not its product", "verify/payload", |d| set(d.statement("score"), "/score", json!(0.99))),
    ("a step that committed twice", "verify/double-commit", |d| {
        let EventKind::StepCommitted { step, cache_key, inputs, outputs, statements, .. } = d.commit("train_model").clone() else {
            unreachable!()
        };
        let step = seaworthy_core::id::StepRunId { attempt: 2, ..step };
        d.event(EventKind::StepCommitted { step, cache_key, inputs, outputs, statements, reused_from: None });
    }),
    ("model.sig of other bytes", "verify/wrong-subject", |d| {
        let report = d.artifacts["report"].0.clone();
        *d.statement("model.sig") = manifest::statement("employment", &report, Subject::Model);
    }),
    ("model.sig under another name", "verify/wrong-subject", |d| d.statement("model.sig").subject[0].name = Some("fraud".to_owned())),
    ("model.sig that leaves out files", "verify/wrong-subject", |d| {
        set(d.statement("model.sig"), "/serialization/ignore_paths", json!(["model.sig", ".git"]));
    }),
    ("model.sig without dirHash", "verify/wrong-subject", |d| {
        d.statement("model.sig").subject[0].digest.remove("dirHash");
    }),
    ("an approval of another version", "verify/wrong-subject", |d| {
        set(d.statement("vsa"), "/resourceUri", json!("seaworthy:model:employment@2"))
    }),
    ("an approval that did not pass", "verify/payload", |d| set(d.statement("vsa"), "/verificationResult", json!("FAILED"))),
    ("an approval of statements never logged", "verify/statement-missing", |d| {
        set(d.statement("vsa"), "/inputAttestations/0/digest/sha256", json!(Digest::of(b"nothing").hex()));
    }),
    ("a release of other bytes", "verify/wrong-subject", |d| {
        let other = subject("employment", &d.reference("report"));
        d.statement("release").subject = vec![other];
    }),
    ("a model that its training never committed", "verify/provenance-missing", |d| {
        for kind in d.events("model.registered") {
            let EventKind::ModelRegistered { trained_by, .. } = kind else { unreachable!() };
            *trained_by = attempt("preprocess");
        }
    }),
    ("a model validated by a step that never read it", "verify/not-validated", |d| {
        for kind in d.events("model.registered") {
            let EventKind::ModelRegistered { validated_by, .. } = kind else { unreachable!() };
            *validated_by = attempt("preprocess");
        }
    }),
    ("a model signed before its validation", "verify/not-validated", |d| {
        let signature = d.items.remove(d.position("model.sig"));
        d.items.insert(1, signature);
    }),
    ("a deployment of another index than its statement", "verify/wrong-subject", |d| {
        for kind in d.events("deployment.recorded") {
            let EventKind::DeploymentRecorded { release, .. } = kind else { unreachable!() };
            *release = 7;
        }
    }),
    ("a deployment replayed under a lower release index", "verify/release-rollback", |d| {
        let about = subject("employment", &d.reference("model"));
        for release in [5, 2] {
            let statement =
                d.sign(&format!("deployment {release}"), "runner", deployment(1, release).statement(vec![about.clone()].remove(0)));
            let (model, state) = ("employment".to_owned(), "pending-canary".to_owned());
            d.event(EventKind::DeploymentRecorded { model, version: 1, release, state, statement });
        }
    }),
    ("a deployment replayed under the same release index", "verify/release-rollback", |d| {
        let again = d.events("deployment.recorded")[0].clone();
        d.event(again);
    }),
    ("an alias to a version never registered", "verify/alias-unregistered", |d| {
        d.event(EventKind::ModelAliased { model: "employment".to_owned(), alias: "candidate".to_owned(), version: 9 });
    }),
    ("a version registered twice", "verify/version-twice", |d| {
        let again = d.events("model.registered")[0].clone();
        d.event(again);
    }),
    ("a source without digest", "verify/wrong-inputs", |d| {
        let list = d.statement("provenance ingest_data").predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
        for dependency in list.iter_mut().filter(|d| d["name"] == "source:ingest_data") {
            dependency.as_object_mut().unwrap().remove("digest");
            dependency.as_object_mut().unwrap().remove("annotations");
        }
    }),
    ("a log of another workspace", "verify/wrong-workspace", |d| {
        let Item::Event(kind) = &mut d.items[0] else { unreachable!() };
        *kind = EventKind::WorkspaceCreated { workspace: "w2".to_owned(), environment: "staging".to_owned() };
    }),
    ("the runner's key was compromised before the training", "verify/key-revoked", |d| {
        // revoked from leaf 5 on: everything signed later counts no more
        revoke(d, "root", Revoked::Key, Keys::new().hint("runner").parse().unwrap(), 5);
    }),
    ("the training's provenance was revoked", "verify/key-revoked", |d| {
        let target = placeholder("provenance train_model");
        revoke(d, "root", Revoked::Statement, target, 0);
    }),
    ("the training data was revoked", "verify/revoked", |d| {
        let target = d.reference("train").digest;
        revoke(d, "root", Revoked::Artifact, target, 0);
    }),
    ("a revocation by the runner", "verify/wrong-role", |d| {
        let target = d.reference("train").digest;
        revoke(d, "runner", Revoked::Artifact, target, 0);
    }),
];

fn reason() -> Reason {
    let text = || "x".to_owned();
    Reason { code: "gate/check_failed".to_owned(), rule: text(), message: text(), hint: text() }
}

fn is_authorization(item: &Item, wanted: &str) -> bool {
    matches!(item, Item::Event(EventKind::AuthorizationDecided { step: Some(step), .. }) if step.step.as_str() == wanted)
}

fn key_of(draft: &mut Draft, id: &str, wanted: &'static str) {
    let Item::Statement { key, .. } = draft.item(id) else { unreachable!() };
    *key = wanted;
}

fn raw(draft: &mut Draft, id: &str, edit: impl Fn(String) -> String) {
    let Item::Statement { payload, statement, .. } = draft.item(id) else { unreachable!() };
    *payload = Some(edit(String::from_utf8(statement.to_payload()).unwrap()).into_bytes());
}

fn drop_from_commit(draft: &mut Draft, step: &str, id: &str) {
    let EventKind::StepCommitted { statements, .. } = draft.commit(step) else { unreachable!() };
    statements.retain(|statement| *statement != placeholder(id));
}

fn swap_dependency(draft: &mut Draft, id: &str, dependency: &str, digest: &Digest) {
    let list = draft.statement(id).predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
    for found in list.iter_mut().filter(|found| found["name"] == dependency) {
        found["digest"]["sha256"] = json!(digest.hex());
    }
}

fn swap_input(draft: &mut Draft, step: &str, input: &str, other: &seaworthy_core::artifact::ArtifactRef) {
    let swapped = serde_json::to_value(subject(&format!("input:{input}"), other)).unwrap();
    let list = draft.statement(&format!("provenance {step}")).predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
    *list.iter_mut().find(|found| found["name"] == format!("input:{input}")).unwrap() = swapped;
    let EventKind::StepCommitted { inputs, .. } = draft.commit(step) else { unreachable!() };
    inputs.iter_mut().filter(|read| read.name == input).for_each(|read| read.digest = other.digest);
}

fn revoke(draft: &mut Draft, key: &'static str, kind: Revoked, target: Digest, effective_log_index: u64) {
    let revocation = Revocation { kind, target, reason: "test".to_owned(), effective_log_index };
    draft.sign("revocation", key, revocation.statement());
}

#[test]
fn every_forged_draft_is_refused_with_its_code() {
    let keys = Keys::new();
    for (attack, code, forge) in FORGED_DRAFTS {
        let reference = if attack.starts_with("a deployment of a model") { "run:r0192f00000000001" } else { MODEL };
        let mut draft = Draft::sample();
        forge(&mut draft);
        let world = World::record(&draft, &keys);
        assert!(naive(&world, &keys), "{attack}: no attack, signatures alone give it away");
        let report = verify(&world, reference);
        assert!(!report.ok, "{attack}: not refused");
        assert!(
            codes(&report).contains(code),
            "{attack}: wanted {code}, found {:?}",
            report.faults.iter().map(|f| (f.code, &f.message)).collect::<Vec<_>>()
        );
        for fault in &report.faults {
            assert!(!fault.hint.is_empty() && !fault.message.contains('\n'), "{attack}: {fault:?}");
        }
    }
}

/// Attacks on what is stored: the draft is honest.
const FORGED_WORLDS: &[Attack<World>] = &[
    ("a bundle dropped", "verify/bundle-missing", |w| {
        let pae = w.paes["provenance train_model"];
        w.bundles.remove(&pae);
    }),
    ("a bundle in the place of another", "verify/bundle-mismatch", |w| {
        let (a, b) = (w.paes["provenance train_model"], w.paes["provenance preprocess"]);
        let other = w.bundles[&b].clone();
        w.bundles.insert(a, other);
    }),
    ("a checkpoint that is no note", "verify/checkpoint-malformed", |w| w.checkpoint = w.checkpoint.replace('\u{2014}', "-")),
    ("a checkpoint with a failing line of the log key", "verify/checkpoint-signature", |w| {
        let line = w.checkpoint.lines().last().unwrap().to_owned();
        let end: String = line.chars().rev().take(8).collect::<String>().chars().rev().collect();
        let forged = line.replace(
            &end,
            &end.chars()
                .map(|c| {
                    if c == 'A' {
                        'B'
                    } else if c == '=' {
                        c
                    } else {
                        'A'
                    }
                })
                .collect::<String>(),
        );
        w.checkpoint = format!("{}{forged}\n", w.checkpoint);
    }),
    ("an entry that cannot be read", "verify/leaf-missing", |w| {
        let state = w.checkpoint.clone();
        w.entries.truncate(5);
        w.checkpoint = state;
    }),
    ("a bundle that is no bundle", "verify/bundle-malformed", |w| {
        let pae = w.paes["provenance train_model"];
        w.bundles.insert(pae, b"{}".to_vec());
    }),
    ("a signature of another statement, leaf and all", "verify/signature", |w| {
        let keys = Keys::new();
        let other = Bundle::from_json(&w.bundles[&w.paes["provenance preprocess"]]).unwrap();
        replace_bundle(w, "provenance train_model", &keys, "runner", |bundle| bundle.signature.clone_from(&other.signature));
    }),
    ("a leaf that names another key than signed", "verify/leaf-mismatch", |w| {
        replace_bundle(w, "provenance train_model", &Keys::new(), "user", |_| ());
    }),
    ("a trust file changed by hand after parsing", "verify/trust", |w| w.trust.keys[0].hint = "x".to_owned()),
    ("a blob dropped", "verify/blob-missing", |w| {
        let digest = w.artifacts["model"].0.entries()[0].digest;
        w.blobs.remove(&digest);
    }),
    ("a leaf dropped at the end", "verify/root-mismatch", |w| drop(w.entries.pop())),
    ("a leaf dropped and signed again by another key", "verify/checkpoint-unsigned", |w| {
        w.entries.pop();
        w.sign_checkpoint(&Keys::new(), "other log");
    }),
    ("a self-consistent log signed again by another key", "verify/checkpoint-unsigned", |w| w.sign_checkpoint(&Keys::new(), "other log")),
    ("a log of another origin", "verify/checkpoint-origin", |w| w.checkpoint = w.checkpoint.replacen("w1.", "w2.", 1)),
    ("two leaves swapped", "verify/root-mismatch", |w| w.entries.swap(3, 4)),
    ("two leaves swapped, and the log signed again", "verify/unauthorized", |w| {
        let at = w.entries.iter().position(|entry| String::from_utf8_lossy(entry).contains("step.started")).unwrap();
        w.entries.swap(at, at - 1);
        w.sign_checkpoint(&Keys::new(), "log");
    }),
    ("an event with a field nobody knows", "verify/leaf-malformed", |w| {
        let text = String::from_utf8(w.entries[0].clone()).unwrap().replacen("\"environment\"", "\"a\":1,\"environment\"", 1);
        w.entries[0] = text.into_bytes();
        w.sign_checkpoint(&Keys::new(), "log");
    }),
    ("an event with a key twice", "verify/leaf-malformed", |w| {
        let text = String::from_utf8(w.entries[0].clone()).unwrap().replacen("{\"code\"", "{\"code\":\"x\",\"code\"", 1);
        w.entries[0] = text.into_bytes();
        w.sign_checkpoint(&Keys::new(), "log");
    }),
    ("a quorum of witnesses that never signed", "verify/witness-quorum", |w| w.trust.quorum = 1),
    ("a model below the floor of the trust file", "verify/release-below-minimum", |w| {
        w.trust.minimum_release.insert(name("employment"), 2);
    }),
    ("a source whose owner signed nothing", "verify/source-unsigned", |w| {
        w.trust.sources[0].key = Keys::new().hint("root");
    }),
    ("a key trusted only from later leaves on", "verify/untrusted-key", |w| {
        w.trust.keys[1].from = 10;
    }),
    ("the right key in the trust file under another role", "verify/wrong-role", |w| {
        w.trust.keys[1].role = seaworthy_core::ports::KeyRole::User;
    }),
    ("a trust file of another environment", "verify/wrong-workspace", |w| w.trust.environment = name("prod")),
];

/// Changes a bundle and writes a leaf that agrees with it, under a key of the attacker's choice; the log is signed again.
fn replace_bundle(world: &mut World, id: &str, keys: &Keys, key: &str, edit: impl Fn(&mut Bundle)) {
    let pae = world.paes[id];
    let mut bundle = Bundle::from_json(&world.bundles[&pae]).unwrap();
    edit(&mut bundle);
    let leaf = usize::try_from(world.leaves[id]).unwrap();
    world.entries[leaf] = leaf_body(&bundle, &keys.0[key].public().to_der().unwrap());
    world.bundles.insert(pae, bundle.to_json());
    world.sign_checkpoint(keys, "log");
}

/// What a verifier without our rules checks: signatures under the keys the bundles name, and the root. The control: it lets
/// every forged draft pass.
fn naive(world: &World, keys: &Keys) -> bool {
    let known: Vec<_> = keys.0.values().map(seaworthy_trust::keys::PrivateKey::public).collect();
    let signed = world.bundles.values().all(|bytes| {
        let bundle = Bundle::from_json(bytes).unwrap();
        known.iter().any(|key| verify_signature(&bundle, key).is_ok())
    });
    signed && verify_checkpoint(world.checkpoint.as_bytes(), &world.trust).is_ok_and(|verified| verified.checkpoint == world.state())
}

#[test]
fn every_code_has_an_attack() {
    let drafts = FORGED_DRAFTS.iter().map(|(_, code, _)| *code);
    let worlds = FORGED_WORLDS.iter().map(|(_, code, _)| *code);
    // each has a test of its own
    let others = ["verify/inclusion", "verify/log-rollback", "verify/log-fork", "verify/not-found", "verify/stale", "verify/blob-mismatch"];
    let attacked: BTreeSet<&str> = drafts.chain(worlds).chain(others).collect();
    let known: BTreeSet<&str> = FAULTS.into_iter().map(|(code, _)| code).collect();
    assert_eq!(attacked, known);
}

#[test]
fn every_forged_world_is_refused_with_its_code() {
    for (attack, code, forge) in FORGED_WORLDS {
        let mut world = honest();
        forge(&mut world);
        let report = verify(&world, MODEL);
        assert!(!report.ok, "{attack}: not refused");
        assert!(
            codes(&report).contains(code),
            "{attack}: wanted {code}, found {:?}",
            report.faults.iter().map(|f| (f.code, &f.message)).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_flipped_byte_of_a_bundle_is_reported() {
    let world = honest();
    for (number, pae) in world.bundles.keys().enumerate() {
        let bytes = world.bundles[pae].len();
        // a spread of offsets, another in each bundle, and both ends
        for at in (0..bytes).filter(|at| (at + number * 37) % 211 == 0 || *at < 4 || bytes - at < 4) {
            let mut forged = world.clone();
            forged.bundles.get_mut(pae).unwrap()[at] ^= 1;
            let report = verify(&forged, "log");
            assert!(!report.ok, "byte {at} of bundle {pae}");
            assert!(report.faults.iter().any(|fault| fault.digest == Some(*pae)), "byte {at} of bundle {pae}: {:?}", report.faults);
        }
    }
}

#[test]
fn a_flipped_byte_of_a_leaf_or_blob_names_it() {
    let world = honest();
    for leaf in 0..world.entries.len() {
        for at in [0, world.entries[leaf].len() / 2, world.entries[leaf].len() - 1] {
            let mut forged = world.clone();
            forged.entries[leaf][at] ^= 1;
            let report = verify(&forged, "log");
            assert!(codes(&report).contains(&"verify/root-mismatch"));
            let named: BTreeSet<u64> = report.faults.iter().filter_map(|fault| fault.leaf).collect();
            assert!(named.contains(&(leaf as u64)), "leaf {leaf} byte {at}: {:?}", report.faults);
        }
    }
    let report = verify(&world, MODEL);
    assert!(report.ok);
    let mut unread = 0;
    for digest in world.blobs.keys() {
        let mut forged = world.clone();
        let blob = forged.blobs.get_mut(digest).unwrap();
        let last = blob.len() - 1;
        blob[last] ^= 1;
        let report = verify_with(&forged, &format!("run:{}", crate::world::run()), &VerifyOptions { deep: true, ..options() });
        if report.ok {
            unread += 1;
            continue;
        }
        assert!(
            report.faults.iter().any(|fault| fault.code == "verify/blob-mismatch" && fault.digest == Some(*digest)),
            "{digest}: {:?}",
            report.faults
        );
    }
    assert_eq!(unread, 0, "a blob that nobody hashes");
}

#[test]
fn a_flipped_proof_is_reported_although_the_root_is_right() {
    struct Tampered(World);
    impl seaworthy_core::ports::EvidenceSource for Tampered {
        fn size(&self) -> Result<u64, seaworthy_core::ports::PortError> {
            self.0.size()
        }
        fn entry(&self, index: u64) -> Result<Vec<u8>, seaworthy_core::ports::PortError> {
            self.0.entry(index)
        }
        fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, seaworthy_core::ports::PortError> {
            self.0.bundle(pae)
        }
        fn checkpoint(&self) -> Result<String, seaworthy_core::ports::PortError> {
            self.0.checkpoint()
        }
        fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, seaworthy_core::ports::PortError> {
            let mut proof = self.0.inclusion_proof(index)?;
            if index == 4 {
                proof[0] = Digest::of(b"flipped");
            }
            Ok(proof)
        }
        fn bundle_digests(&self) -> Result<Vec<Digest>, seaworthy_core::ports::PortError> {
            self.0.bundle_digests()
        }
    }
    let tampered = Tampered(honest());
    let report = seaworthy_trust::attest::verify_chain(&tampered, &tampered.0, &tampered.0.trust, &"log".parse().unwrap(), &options());
    assert_eq!(codes(&report), ["verify/inclusion"]);
    assert_eq!(report.faults[0].leaf, Some(4));
}

#[test]
fn a_log_that_was_rewritten_since_it_was_seen_is_refused() {
    let keys = Keys::new();
    let world = honest();
    let seen = |checkpoint: Checkpoint| VerifyOptions { last_seen: Some(checkpoint), ..options() };
    let before = World::record(&Draft { items: Draft::sample().items[..20].to_vec(), ..Draft::sample() }, &keys).state();
    assert!(verify_with(&world, "log", &seen(before.clone())).ok);
    assert!(verify_with(&world, "log", &seen(world.state())).ok);

    let shorter = World::record(&Draft { items: Draft::sample().items[..19].to_vec(), ..Draft::sample() }, &keys);
    assert!(codes(&verify_with(&shorter, "log", &seen(before.clone()))).contains(&"verify/log-rollback"));

    let mut draft = Draft::sample();
    draft.items.insert(3, Item::Event(EventKind::LockUpdated { pin: "x".to_owned(), lock: Digest::of(b"x"), digest: None, before: None }));
    let rewritten = World::record(&draft, &keys);
    assert!(verify(&rewritten, "log").ok, "the control: without a memory the rewritten log is believed");
    assert_eq!(codes(&verify_with(&rewritten, "log", &seen(before))), ["verify/log-fork"]);
}

#[test]
fn a_checkpoint_of_an_absurd_size_is_refused_in_time() {
    let keys = Keys::new();
    let mut world = honest();
    world.sign_checkpoint_of(&keys, "log", &Checkpoint { size: u64::MAX, ..world.state() });
    let report = verify(&world, "log");
    assert!(codes(&report).contains(&"verify/leaf-missing"));
    assert!(report.faults.len() < 300, "{}", report.faults.len());
}

#[test]
fn references_to_nothing_are_refused() {
    let world = honest();
    for reference in ["model:employment@2", "model:employment@live", "model:fraud@1", "run:r0192f00000000009"] {
        assert_eq!(codes(&verify(&world, reference)), ["verify/not-found"], "{reference}");
    }
    let nothing = format!("artifact:{}", Digest::of(b"nothing"));
    assert_eq!(codes(&verify(&world, &nothing)), ["verify/blob-missing", "verify/input-unverified"]);
    let planted = format!("artifact:{}", world.artifacts["code"].1.digest);
    assert_eq!(codes(&verify(&world, &planted)), ["verify/input-unverified"]);
}

/// A revoked key's earlier signatures still count, its later ones do not, and what nobody rests on does not fail.
#[test]
fn revocation_is_a_matter_of_log_positions() {
    let keys = Keys::new();
    let revoked_at = |effective: u64| {
        let mut draft = Draft::sample();
        revoke(&mut draft, "root", Revoked::Key, keys.hint("runner").parse().unwrap(), effective);
        verify(&World::record(&draft, &keys), MODEL)
    };
    let end = Draft::sample().items.len() as u64;
    assert!(revoked_at(end).ok, "everything was signed before");
    let training = World::record(&Draft::sample(), &keys).leaves["provenance train_model"];
    assert!(codes(&revoked_at(training)).contains(&"verify/key-revoked"));
    let report = revoked_at(training + 1);
    let named = World::record(&Draft::sample(), &keys).paes["provenance train_model"];
    assert!(!report.faults.iter().any(|fault| fault.digest == Some(named)), "signed before the effective index");

    let mut later = Draft::sample();
    revoke(&mut later, "root", Revoked::Key, keys.hint("user").parse().unwrap(), end);
    let request = RunRequest {
        run: seaworthy_core::id::RunId("r0192f00000000003".to_owned()),
        plan: Digest::of(b"plan"),
        lock: Digest::of(b"lock"),
        workflow: Digest::of(b"workflow"),
        environment: name("staging"),
        nonce: "ff112233445566778899aabbccddeeff".to_owned(),
        signer: None,
    };
    let request: Statement = request.statement();
    let request = later.sign("late request", "user", request);
    let late = seaworthy_core::id::RunId("r0192f00000000003".to_owned());
    later.event(EventKind::RunStarted { run: late.clone(), request, plan: Digest::of(b"plan") });
    let mut step = attempt("preprocess");
    step.run = late;
    later.start(&step, "transform");
    let EventKind::StepCommitted { cache_key, inputs, outputs, .. } = later.commit("preprocess").clone() else { unreachable!() };
    let reused_from = Some(attempt("preprocess"));
    later.event(EventKind::StepCommitted { step, cache_key, inputs, outputs, statements: vec![], reused_from });
    let world = World::record(&later, &keys);
    assert!(verify(&world, MODEL).ok, "the earlier run stands");
    assert_eq!(codes(&verify(&world, "run:r0192f00000000003")), ["verify/key-revoked"]);
    assert_eq!(codes(&verify(&world, "log")), ["verify/key-revoked"], "in the log it is a fault by itself");
}
