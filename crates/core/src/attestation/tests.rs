//! Every predicate: what a builder writes its reader reads, and nothing else.

use serde_json::{Value, json};

use super::deployment::DeploymentClaim;
use super::integrity_score::{IntegrityScore, ScorePart};
use super::manifest::Subject;
use super::provenance::{BuildType, ExternalParameters, InternalParameters, Provenance, WorkflowDigest, WorkflowRef};
use super::release::Release;
use super::revocation::{Revocation, Revoked};
use super::run_request::RunRequest;
use super::svr::GateResult;
use super::test_result::{Outcome, TestResult};
use super::time::Timestamp;
use super::vsa::Approval;
use super::*;
use crate::artifact::{Manifest, ManifestEntry};
use crate::decision::{EnforcementLevel, GateCheck, GateDecision, Reason};
use crate::finding::{CheckReport, Finding, Severity};
use crate::id::{Name, RunId, StepRunId};
use crate::ports::{SignerIsolation, SignerMode};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn manifest() -> Manifest {
    let entry = |name: &str| ManifestEntry { name: name.to_owned(), digest: digest(name), size: 3, mode: 0o644 };
    Manifest::new(["B.bin", "a/x", "a-b/x", "a.d/x", "a.txt", "é.bin"].map(entry).to_vec()).unwrap()
}

fn model() -> ResourceDescriptor {
    subject("employment", &manifest().reference())
}

fn attempt() -> StepRunId {
    StepRunId {
        run: RunId("r0192f00000000000".to_owned()),
        workflow: Name::new("wf").unwrap(),
        step: Name::new("train").unwrap(),
        attempt: 1,
    }
}

fn provenance() -> Provenance {
    Provenance {
        build_type: BuildType::Train,
        external: ExternalParameters {
            workflow: WorkflowRef { uri: "workflow.yaml".to_owned(), digest: WorkflowDigest { sha256: digest("workflow") } },
            step: "wf/train".to_owned(),
            params: json!({"depth": 3}),
        },
        internal: InternalParameters {
            sandbox: json!({"profile": "strict"}),
            environment_variables: json!(["SEAWORTHY_INPUTS"]),
            seed: Some(7),
            device: None,
            code_integrity: Some("any".to_owned()),
        },
        dependencies: vec![subject("input:preprocess/train", &manifest().reference()), blob("lock", &digest("lock"))],
        builder: "spiffe://w.seaworthy.internal/staging/runner".to_owned(),
        invocation: attempt(),
        started: Timestamp(1_795_300_526_123),
        finished: Timestamp(1_795_300_526_124),
        byproducts: vec![],
    }
}

fn gate(pass: bool) -> GateDecision {
    let check = GateCheck { pass, got: json!(0.91), want: json!(0.9), message: "accuracy".to_owned() };
    let reason =
        Reason { code: "gate/check_failed".to_owned(), rule: "accuracy".to_owned(), message: "low".to_owned(), hint: "train".to_owned() };
    GateDecision {
        gate: "model_performance".to_owned(),
        pass,
        level: EnforcementLevel::HardMandatory,
        checks: BTreeMap::from([("accuracy".to_owned(), check)]),
        reasons: if pass { vec![] } else { vec![reason] },
        policy: digest("policy"),
        input: digest("input"),
    }
}

fn report(check: &str, severity: Option<Severity>) -> CheckReport {
    let finding = severity.map(|severity| Finding {
        check: check.to_owned(),
        severity,
        subject: "column:AGEP".to_owned(),
        message: "out of range".to_owned(),
        evidence: BTreeMap::new(),
        rows: vec![],
    });
    let facts = BTreeMap::from([("rows".to_owned(), json!(100))]);
    CheckReport { check: check.to_owned(), parameters: BTreeMap::new(), facts, findings: finding.into_iter().collect() }
}

fn part(name: &str, required: bool, score: Option<f64>) -> ScorePart {
    ScorePart { name: name.to_owned(), required, measured: score, bound: Some(0.1), score }
}

fn approval() -> Approval {
    Approval {
        verifier: "spiffe://w.seaworthy.internal/staging/runner".to_owned(),
        time: Timestamp(5),
        resource: "model:employment@1".to_owned(),
        policy: blob("model_performance", &digest("policy")),
        inputs: vec![digest("a"), digest("b")],
        levels: vec!["SEAWORTHY_ASSURANCE_L0".to_owned()],
    }
}

fn deployment() -> DeploymentClaim {
    DeploymentClaim {
        environment: Name::new("staging").unwrap(),
        model: Name::new("employment").unwrap(),
        version: 1,
        release_index: 3,
        minimum_release_index: 2,
        state: "pending-canary".to_owned(),
        replaces: Some(digest("before")),
    }
}

fn run_request() -> RunRequest {
    RunRequest {
        run: RunId("r0192f00000000000".to_owned()),
        plan: digest("plan"),
        lock: digest("lock"),
        workflow: digest("workflow"),
        environment: Name::new("staging").unwrap(),
        nonce: "00112233445566778899aabbccddeeff".to_owned(),
        signer: None,
    }
}

fn revocation() -> Revocation {
    Revocation { kind: Revoked::Key, target: digest("key"), reason: "lost".to_owned(), effective_log_index: 12 }
}

fn release() -> Release {
    Release { model: Name::new("employment").unwrap(), version: 1 }
}

type Reader = fn(&Statement) -> Result<(), ReadError>;

/// One statement of every predicate type with its reader.
fn all() -> Vec<(Statement, Reader)> {
    let tests = TestResult::of(&[report("data_schema", None)], vec![], Some(&manifest().reference()));
    let result = GateResult { verifier: "spiffe://r".to_owned(), time: Timestamp(1), decision: gate(true) };
    vec![
        (manifest::statement("employment", &manifest(), Subject::Model), |s| manifest::read(s).map(drop)),
        (provenance().statement(vec![model()]), |s| Provenance::read(s).map(drop)),
        (tests.statement(vec![model()]), |s| TestResult::read(s).map(drop)),
        (result.statement(vec![model()]), |s| GateResult::read(s).map(drop)),
        (approval().statement(model()), |s| Approval::read(s).map(drop)),
        (release().statement(model()), |s| Release::read(s).map(drop)),
        (deployment().statement(model()), |s| DeploymentClaim::read(s).map(drop)),
        (IntegrityScore::of(vec![part("drift", true, Some(0.5))], vec![]).statement(model()), |s| IntegrityScore::read(s).map(drop)),
        (revocation().statement(), |s| Revocation::read(s).map(drop)),
        (run_request().statement(), |s| RunRequest::read(s).map(drop)),
    ]
}

#[test]
fn every_predicate_round_trips_and_no_reader_takes_another_type() {
    let all = all();
    assert_eq!(all.len(), PREDICATES.len());
    for (i, (statement, _)) in all.iter().enumerate() {
        let bytes = statement.to_payload();
        let back = Statement::from_payload(&bytes).unwrap();
        assert_eq!(&back, statement);
        for (j, (_, read)) in all.iter().enumerate() {
            assert_eq!(read(&back).is_ok(), i == j, "{} read as {}", statement.predicate_type, PREDICATES[j]);
        }
    }
}

#[test]
fn an_unknown_field_anywhere_in_a_predicate_is_refused() {
    for (statement, read) in all() {
        let mut extra = statement.clone();
        extra.predicate.as_object_mut().unwrap().insert("zz".to_owned(), Value::Null);
        assert!(read(&extra).is_err(), "{}", statement.predicate_type);
    }
}

#[test]
fn every_field_of_a_predicate_that_is_dropped_or_nulled_is_noticed() {
    // optional by design
    let optional = ["url", "seaworthy_facts", "replaces", "score"];
    for (statement, read) in all() {
        for key in statement.predicate.as_object().unwrap().keys().filter(|key| !optional.contains(&key.as_str())) {
            let mut without = statement.clone();
            without.predicate.as_object_mut().unwrap().remove(key);
            assert!(read(&without).is_err(), "{} without {key}", statement.predicate_type);
            let mut nulled = statement.clone();
            nulled.predicate[key] = Value::Null;
            assert!(read(&nulled).is_err(), "{} with {key}: null", statement.predicate_type);
        }
    }
}

#[test]
fn typed_claims_come_back_equal() {
    let statement = |s: Statement| Statement::from_payload(&s.to_payload()).unwrap();
    assert_eq!(Provenance::read(&statement(provenance().statement(vec![model()]))), Ok(provenance()));
    assert_eq!(Approval::read(&statement(approval().statement(model()))), Ok(approval()));
    assert_eq!(DeploymentClaim::read(&statement(deployment().statement(model()))), Ok(deployment()));
    assert_eq!(Revocation::read(&statement(revocation().statement())), Ok(revocation()));
    assert_eq!(RunRequest::read(&statement(run_request().statement())), Ok(run_request()));
    assert_eq!(Release::read(&statement(release().statement(model()))), Ok(release()));
    for pass in [true, false] {
        let result = GateResult { verifier: "spiffe://r".to_owned(), time: Timestamp(1), decision: gate(pass) };
        assert_eq!(GateResult::read(&statement(result.statement(vec![model()]))), Ok(result));
    }
}

#[test]
fn subjects_name_the_artifact() {
    let artifact = manifest().reference();
    let subject = subject("train/model", &artifact);
    assert_eq!(artifact_of(&subject), Some(artifact.digest));
    assert_eq!(sha256_of(&subject), Some(artifact.root));
    assert_eq!(dir_hash_of(&subject), Some(artifact.dir_hash));
}

#[test]
fn the_streamed_manifest_payload_is_the_statements_own() {
    for of in [Subject::Model, Subject::Folder] {
        let streamed = manifest::payload("employment", &manifest(), of).unwrap();
        assert_eq!(String::from_utf8(streamed.clone()), String::from_utf8(manifest::statement("employment", &manifest(), of).to_payload()));
        let read = manifest::from_payload(&streamed).unwrap();
        assert_eq!(read.manifest().unwrap(), manifest());
        assert_eq!(Ok(read), manifest::read(&Statement::from_payload(&streamed).unwrap()));
    }
}

#[test]
fn a_manifest_that_lies_about_its_subject_is_refused() {
    let good = manifest::statement("employment", &manifest(), Subject::Model);
    let change = |edit: &dyn Fn(&mut Statement)| {
        let mut changed = good.clone();
        edit(&mut changed);
        (manifest::read(&changed), manifest::from_payload(&changed.to_payload()))
    };
    type Edit = &'static dyn Fn(&mut Statement);
    let edits: [(&str, Edit); 9] = [
        ("name", &|s| s.predicate["resources"][0]["name"] = json!("C.bin")),
        ("digest", &|s| s.predicate["resources"][0]["digest"] = json!(digest("other").hex())),
        ("mode", &|s| s.predicate["resources"][0]["mode"] = json!("0755")),
        ("size", &|s| s.predicate["resources"][0]["size"] = json!(4)),
        ("dropped", &|s| drop(s.predicate["resources"].as_array_mut().unwrap().pop())),
        ("order", &|s| s.predicate["resources"].as_array_mut().unwrap().swap(0, 1)),
        ("root", &|s| drop(s.subject[0].digest.insert("sha256".to_owned(), digest("x").hex()))),
        ("dirHash", &|s| drop(s.subject[0].digest.insert("dirHash".to_owned(), digest("x").hex()))),
        ("link", &|s| s.predicate["resources"][0]["type"] = json!("symlink")),
    ];
    let (read, fast) = change(&|_| ());
    assert!(read.is_ok() && fast.is_ok());
    for (name, edit) in edits {
        let (read, fast) = change(edit);
        assert!(read.is_err(), "{name}");
        assert!(fast.is_err(), "{name} in the fast reader");
    }
}

#[test]
fn a_peers_manifest_without_sizes_reads_but_is_not_ours() {
    let mut peer = manifest::statement("employment", &manifest(), Subject::Model);
    for resource in peer.predicate["resources"].as_array_mut().unwrap() {
        for field in ["mode", "size", "type"] {
            resource.as_object_mut().unwrap().remove(field);
        }
    }
    assert!(manifest::read(&peer).is_err(), "the artifact digest cannot be recomputed");
    peer.subject[0].annotations.clear();
    peer.subject[0].digest.remove("dirHash");
    let claim = manifest::read(&peer).unwrap();
    assert_eq!(claim.files.len(), 6);
    assert!(claim.manifest().is_err());
}

#[test]
fn duplicate_keys_are_refused_by_the_fast_reader_too() {
    let text = String::from_utf8(manifest::payload("employment", &manifest(), Subject::Model).unwrap()).unwrap();
    assert!(manifest::from_payload(text.as_bytes()).is_ok());
    for (from, to) in [
        ("\"name\":\"B.bin\"", "\"name\":\"B.bin\",\"name\":\"B.bin\""),
        ("\"predicateType\"", "\"predicateType\":\"x\",\"predicateType\""),
        ("\"method\"", "\"method\":\"files\",\"method\""),
        ("\"sha256\":", "\"sha256\":\"0\",\"sha256\":"),
    ] {
        let doubled = text.replacen(from, to, 1);
        assert_ne!(doubled, text, "{from}");
        assert!(manifest::from_payload(doubled.as_bytes()).is_err(), "{from}");
        assert!(Statement::from_payload(doubled.as_bytes()).is_err(), "{from}");
    }
}

#[test]
fn the_test_result_follows_from_the_worst_finding() {
    for (severities, outcome) in [
        (vec![None, Some(Severity::Info)], Outcome::Passed),
        (vec![None, Some(Severity::Warning)], Outcome::Warned),
        (vec![Some(Severity::Warning), Some(Severity::Error)], Outcome::Failed),
        (vec![Some(Severity::Critical)], Outcome::Failed),
    ] {
        let reports: Vec<_> = severities.iter().enumerate().map(|(i, severity)| report(&format!("c{i}"), *severity)).collect();
        let result = TestResult::of(&reports, vec![], None);
        assert_eq!(result.outcome(), outcome);
        let mut statement = result.statement(vec![model()]);
        assert_eq!(TestResult::read(&statement), Ok(result));
        statement.predicate["result"] = json!(if outcome == Outcome::Passed { "FAILED" } else { "PASSED" });
        assert!(TestResult::read(&statement).is_err());
    }
}

#[test]
fn claims_that_contradict_themselves_are_refused() {
    let mut other_step = provenance();
    other_step.external.step = "wf/preprocess".to_owned();
    assert!(Provenance::read(&other_step.statement(vec![model()])).is_err());
    let mut backwards = provenance();
    backwards.finished = Timestamp(0);
    assert!(Provenance::read(&backwards.statement(vec![model()])).is_err());
    assert!(Provenance::read(&provenance().statement(vec![])).is_err());

    let mut forged = GateResult { verifier: "spiffe://r".to_owned(), time: Timestamp(1), decision: gate(false) }.statement(vec![model()]);
    forged.predicate["properties"] = json!(["SEAWORTHY_MODEL_PERFORMANCE_GATE_PASSED"]);
    assert!(GateResult::read(&forged).is_err());

    let mut failed = approval().statement(model());
    failed.predicate["verificationResult"] = json!("FAILED");
    assert!(Approval::read(&failed).is_err());

    let low = DeploymentClaim { release_index: 1, ..deployment() };
    assert!(DeploymentClaim::read(&low.statement(model())).is_err());

    let mut inflated = IntegrityScore::of(vec![part("drift", true, Some(0.5))], vec![]);
    assert_eq!(inflated.score, Some(0.5));
    inflated.score = Some(0.9);
    assert!(IntegrityScore::read(&inflated.statement(model())).is_err());
    assert_eq!(IntegrityScore::of(vec![part("drift", true, None)], vec![]).score, None);
    assert_eq!(IntegrityScore::of(vec![part("a", true, Some(0.5)), part("b", false, None)], vec![]).score, Some(0.5));

    let weak = RunRequest { nonce: "00".to_owned(), ..run_request() };
    assert!(RunRequest::read(&weak.statement()).is_err());
    let keys = std::collections::BTreeMap::from([(crate::ports::KeyRole::Log, "ab".repeat(32))]);
    let kept_apart = SignerIsolation { mode: SignerMode::Process, landlock: 7, system_calls: 30, keys };
    let request = RunRequest { signer: Some(kept_apart), ..run_request() };
    assert_eq!(RunRequest::read(&request.statement()).unwrap(), request);
    let mut more = request.statement();
    more.predicate["signer"]["mode"] = json!("hardware");
    assert!(RunRequest::read(&more).is_err(), "no mode that this version does not know");
}

#[test]
fn step_attempts_have_one_text() {
    assert_eq!(attempt().to_string().parse(), Ok(attempt()));
    for text in ["", "r/wf/train", "r/wf/train#01", "/wf/train#1", "r/wf/train/x#1", "r/wf#1", "r/wf/tr ain#1", "r/wf/train#-1"] {
        assert!(text.parse::<StepRunId>().is_err(), "{text}");
    }
}
