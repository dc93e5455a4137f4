//! The catalog: what it answers, and that nothing but the log decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use seaworthy_core::action::{Action, Resource};
use seaworthy_core::artifact::{ArtifactKind, Manifest, ManifestEntry};
use seaworthy_core::attestation::integrity_score::{IntegrityScore, ScorePart};
use seaworthy_core::attestation::manifest::{Subject, statement as manifest_statement};
use seaworthy_core::attestation::subject;
use seaworthy_core::attestation::test_result::TestResult;
use seaworthy_core::decision::{Decision, EnforcementLevel, GateDecision, Reason};
use seaworthy_core::digest::Digest;
use seaworthy_core::event::{EventKind, OutputRef};
use seaworthy_core::finding::CheckReport;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_store::catalog::{Catalog, named, verify};
use seaworthy_store::journal::StepName;
use seaworthy_store::lineage::{Direction, LineageNode, lineage};
use serde_json::json;

use crate::evidence::MemoryLog;
use crate::scratch::{Scratch, flip, remove, write};

fn step(run: &str, step: &str, attempt: u32) -> StepRunId {
    StepRunId { run: RunId(run.into()), workflow: Name::new("w").unwrap(), step: Name::new(step).unwrap(), attempt }
}

fn folder(name: &str) -> Manifest {
    Manifest::new(vec![ManifestEntry { name: name.into(), digest: Digest::of(name.as_bytes()), size: 9, mode: 0o644 }]).unwrap()
}

fn output(name: &str, kind: ArtifactKind) -> OutputRef {
    let kind = serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
    OutputRef { name: name.into(), kind, digest: folder(name).reference().digest }
}

fn gate(pass: bool) -> GateDecision {
    let reason = Reason { code: "gate/check_failed".into(), rule: "auc".into(), message: "low".into(), hint: "train".into() };
    GateDecision {
        gate: "model_performance".into(),
        pass,
        level: EnforcementLevel::HardMandatory,
        checks: BTreeMap::new(),
        reasons: if pass { vec![] } else { vec![reason] },
        policy: Digest::of(b"policy"),
        input: Digest::of(b"input"),
    }
}

fn commit(
    log: &mut MemoryLog,
    step: StepRunId,
    inputs: &[OutputRef],
    outputs: &[OutputRef],
    statements: Vec<Digest>,
    reused_from: Option<StepRunId>,
) {
    if reused_from.is_none() {
        log.event(EventKind::StepStarted { step: step.clone() });
    }
    let cache_key = Digest::of(step.step.as_str().as_bytes());
    log.event(EventKind::StepCommitted { step, cache_key, inputs: inputs.to_vec(), outputs: outputs.to_vec(), statements, reused_from });
}

/// One good run up to a deployed model, one that reuses a step, one that is denied.
fn story() -> MemoryLog {
    let mut log = MemoryLog::default();
    let (raw, train, model) = (
        output("ingest/raw", ArtifactKind::Dataset),
        output("prepare/train", ArtifactKind::Dataset),
        output("train/model", ArtifactKind::Model),
    );
    log.event(EventKind::WorkspaceCreated { workspace: "0123456789abcdef".into(), environment: "staging".into() });
    let start = |log: &mut MemoryLog, run: &str| {
        log.event_by(
            "user:p-1",
            1_700_000_000_000,
            EventKind::RunStarted { run: RunId(run.into()), request: Digest::of(b"request"), plan: Digest::of(b"plan") },
        )
    };
    start(&mut log, "r1");
    let signed = log.statement(&manifest_statement("ingest/raw", &folder("ingest/raw"), Subject::Folder));
    commit(&mut log, step("r1", "ingest", 1), &[], std::slice::from_ref(&raw), vec![signed], None);
    let signed = log.statement(&manifest_statement("prepare/train", &folder("prepare/train"), Subject::Folder));
    commit(&mut log, step("r1", "prepare", 1), std::slice::from_ref(&raw), std::slice::from_ref(&train), vec![signed], None);
    commit(&mut log, step("r1", "train", 1), std::slice::from_ref(&train), std::slice::from_ref(&model), vec![], None);
    let about = subject("train/model", &folder("train/model").reference());
    let report = CheckReport {
        check: "evaluation".into(),
        parameters: BTreeMap::new(),
        facts: BTreeMap::from([("auc".into(), json!(0.91))]),
        findings: vec![],
    };
    let tested = log.statement(&TestResult::of(&[report], vec![], None).statement(vec![about.clone()]));
    let part = ScorePart { name: "drift".into(), required: true, measured: Some(0.1), bound: Some(0.2), score: Some(0.75) };
    let scored = log.statement(&IntegrityScore::of(vec![part], vec![]).statement(about));
    log.event(EventKind::GateDecided { step: step("r1", "validate", 1), decision: gate(true) });
    commit(&mut log, step("r1", "validate", 1), std::slice::from_ref(&model), &[], vec![tested, scored], None);
    let signature = log.statement(&manifest_statement("model", &folder("train/model"), Subject::Model));
    log.event(EventKind::ModelRegistered {
        model: "m".into(),
        version: 1,
        digest: model.digest,
        signature,
        approval: Digest::of(b"vsa"),
        trained_by: step("r1", "train", 1),
        validated_by: step("r1", "validate", 1),
    });
    log.event(EventKind::ModelAliased { model: "m".into(), alias: "live".into(), version: 1 });
    log.event(EventKind::DeploymentRecorded {
        model: "m".into(),
        version: 1,
        release: 1,
        state: "pending-canary".into(),
        statement: Digest::of(b"d"),
    });
    log.event(EventKind::RunEnded { run: RunId("r1".into()), state: "succeeded".into(), cancelled_by: None });
    start(&mut log, "r2");
    commit(&mut log, step("r2", "ingest", 1), &[], &[raw], vec![], Some(step("r1", "ingest", 1)));
    let reasons = vec![Reason { code: "authz/no_permit".into(), rule: "-".into(), message: "no".into(), hint: "-".into() }];
    let resource = Resource::Workflow { name: "w".into() };
    log.event(EventKind::AuthorizationDecided {
        step: Some(step("r2", "prepare", 1)),
        action: Action::RunStep,
        resource,
        decision: Decision::Deny { reasons },
    });
    log.event(EventKind::StepEnded { step: step("r2", "prepare", 1), state: "denied".into(), error: "authz/denied".into() });
    log.event(EventKind::RunEnded { run: RunId("r2".into()), state: "denied".into(), cancelled_by: None });
    log
}

fn open(path: &Path, log: &MemoryLog) -> Catalog {
    let mut catalog = Catalog::open(path).unwrap();
    catalog.catch_up(log).unwrap();
    catalog
}

#[test]
fn runs_models_and_outcomes_are_found() {
    let scratch = Scratch::new();
    let log = story();
    let catalog = open(&scratch.path("catalog.db"), &log);
    let runs = catalog.runs(10).unwrap();
    assert_eq!(
        runs.iter().map(|run| (&*run.run, &*run.state, run.committed, run.steps)).collect::<Vec<_>>(),
        [("r2", "denied", 1, 2), ("r1", "succeeded", 4, 4)]
    );
    let run = catalog.run(&RunId("r2".into())).unwrap();
    assert_eq!((run.summary.principal.as_str(), run.denials.len(), run.attempts.len()), ("user:p-1", 1, 2));
    assert_eq!(run.attempts[1].error.as_deref(), Some("authz/denied"));
    assert!(run.attempts[0].outcome.as_ref().unwrap().reused_from.is_some());
    assert_eq!(catalog.run(&RunId("none".into())).unwrap_err().code(), "catalog/unknown");

    let model = catalog.model("m@live").unwrap();
    assert_eq!((model.version, model.score, &model.metrics["evaluation"]["auc"]), (1, Some(0.75), &json!(0.91)));
    assert_eq!((model.responsible.as_deref(), model.aliases, model.deployments.len()), (Some("user:p-1"), vec!["live".to_owned()], 1));
    assert_eq!(model.trained_on.iter().map(|input| &*input.name).collect::<Vec<_>>(), ["prepare/train"]);
    assert_eq!(model.training_signatures.values().map(Vec::len).collect::<Vec<_>>(), [1], "the training data's signature");
    assert_eq!(model.gates.len(), 1);
    assert_eq!(catalog.models().unwrap()[0].aliases, BTreeMap::from([("live".into(), 1)]));
    assert_eq!((catalog.next_version("m").unwrap(), catalog.next_version("other").unwrap()), (2, 1));
    assert_eq!((catalog.next_release("m").unwrap(), catalog.next_release("other").unwrap()), (2, 1));
    assert_eq!(catalog.resolve("m@1").unwrap(), catalog.resolve("m@live").unwrap());
    for unknown in ["m", "m@2", "m@gone", "x@1", "", "@"] {
        assert_eq!(catalog.resolve(unknown).unwrap_err().code(), "catalog/unknown", "{unknown}");
    }
    let train = StepName { workflow: Name::new("w").unwrap(), step: Name::new("train").unwrap() };
    let outcome = catalog.committed(&RunId("r1".into()), &train).unwrap().unwrap();
    let leaf: seaworthy_core::event::Event = serde_json::from_slice(&log.entries[outcome.index as usize]).unwrap();
    assert!(matches!(leaf.kind, EventKind::StepCommitted { step, .. } if step == outcome.step));
    assert!(catalog.committed(&RunId("r2".into()), &train).unwrap().is_none());
    // the one whose body ran, not the one that reused it
    let ingest = catalog.committed_by_cache_key(&Digest::of(b"ingest")).unwrap().unwrap();
    assert_eq!(ingest.step, step("r1", "ingest", 1));
    assert!(catalog.committed_by_cache_key(&Digest::of(b"other")).unwrap().is_none());
}

fn nodes(tree: &LineageNode, into: &mut Vec<String>) {
    into.push(format!("{} {}{}", tree.relation, tree.id.split(':').next().unwrap(), if tree.repeated { " again" } else { "" }));
    tree.children.iter().for_each(|child| nodes(child, into));
}

#[test]
fn lineage_walks_both_ways() {
    let log = story();
    let catalog = Catalog::in_memory(&log, log.entries.len() as u64).unwrap();
    let ids = |tree: &LineageNode| {
        let mut open = vec![tree];
        let mut found = BTreeSet::new();
        while let Some(node) = open.pop() {
            found.insert(node.id.clone());
            open.extend(&node.children);
        }
        found
    };
    let raw = format!("artifact:{}", folder("ingest/raw").reference().digest);
    let up = lineage(&catalog, "model:m@live", Direction::Ancestors).unwrap();
    let above = ids(&up);
    assert!(above.contains(&raw) && above.contains("run:r1") && above.contains("step:r1/w/train#1"), "{above:?}");
    assert!(!above.contains("deployment:m#1"));
    let down = ids(&lineage(&catalog, &raw, Direction::Descendants).unwrap());
    assert!(down.contains("model:m@1") && down.contains("deployment:m#1") && !down.contains("step:r1/w/ingest#1"), "{down:?}");
    let from_run = ids(&lineage(&catalog, "r1", Direction::Descendants).unwrap());
    assert!(from_run.contains("model:m@1") && from_run.contains("step:r2/w/ingest#1"));
    let mut lines = Vec::new();
    nodes(&lineage(&catalog, &raw, Direction::Ancestors).unwrap(), &mut lines);
    assert_eq!(lines, [" artifact", "made step", "ran run", "reused step", "ran run", "reused_by step again"]);
    let tree = serde_json::to_value(&up).unwrap();
    assert_eq!((&tree["kind"], &tree["children"][0]["relation"]), (&json!("model"), &json!("registered_as")));
    assert_eq!(lineage(&catalog, "artifact:00", Direction::Ancestors).unwrap_err().code(), "catalog/unknown");
}

#[test]
fn everything_named_is_kept_and_a_lost_bundle_stops_the_count() {
    let mut log = story();
    let names = named(&log).unwrap();
    for artifact in ["ingest/raw", "prepare/train", "train/model"] {
        assert!(names.contains(&folder(artifact).reference().digest));
        // the files too: the manifest statement lists them
        assert!(names.contains(&Digest::of(artifact.as_bytes())));
    }
    let lost = *log.bundles.keys().next().unwrap();
    log.bundles.remove(&lost);
    assert_eq!(named(&log).unwrap_err().code(), "catalog/evidence");
}

#[test]
fn a_log_that_was_rolled_back_or_rewritten_is_noticed() {
    let scratch = Scratch::new();
    let log = story();
    let mut catalog = open(&scratch.path("catalog.db"), &log);
    assert_eq!(catalog.catch_up(&log.first(10)).unwrap_err().code(), "catalog/rolled-back");
    let mut other = log.clone();
    let last = other.entries.len() - 1;
    other.entries[last] = log.entries[0].clone();
    other.entries.push(log.entries[1].clone());
    let fault = catalog.catch_up(&other).unwrap_err();
    assert!(fault.is_integrity() && fault.code() == "catalog/rewritten");
    assert_eq!(catalog.catch_up(&log).unwrap(), 0, "control");
}

#[test]
fn a_flipped_byte_anywhere_in_the_files_is_reported_and_healed() {
    let scratch = Scratch::new();
    let log = story();
    let path = scratch.path("catalog.db");
    let dump = open(&path, &log).logical_dump().unwrap();
    assert_eq!(verify(&path, &log), []);
    for (name, stride) in [("catalog.db", 997), ("catalog.sum", 1)] {
        let path_of = scratch.path(name);
        let length = std::fs::metadata(&path_of).unwrap().len() as usize;
        for at in (0..length).step_by(stride) {
            flip(&path_of, at);
            assert!(!verify(&path, &log).is_empty(), "{name} {at}");
            flip(&path_of, at);
        }
    }
    assert_eq!(verify(&path, &log), []);
    // who opens a changed catalog for work makes it again
    flip(&path, 5000);
    assert_eq!(open(&path, &log).logical_dump().unwrap(), dump);
    assert_eq!(verify(&path, &log), []);
    remove(&path);
    assert!(!verify(&path, &log).is_empty(), "its checksum is there");
    remove(&scratch.path("catalog.sum"));
    assert_eq!(verify(&path, &log), [], "a catalog can be made again: having none is no fault");
}

#[test]
fn a_changed_row_is_named_even_if_the_checksum_was_renewed() {
    let scratch = Scratch::new();
    let log = story();
    let path = scratch.path("catalog.db");
    open(&path, &log);
    let changes = [
        "UPDATE aliases SET version = 7",
        "DELETE FROM gates",
        "INSERT INTO models SELECT model, 2, idx, digest, signature, approval, principal, registered_ms, trained_by, validated_by FROM models",
        "UPDATE cursor SET next = 999",
        "CREATE TRIGGER evil AFTER INSERT ON runs BEGIN DELETE FROM denials; END",
        "CREATE TABLE more (x)",
    ];
    let good = std::fs::read(&path).unwrap();
    for change in changes {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        let sum = |bytes: &[u8]| format!("blake3:{}\n", blake3::hash(bytes));
        write(&scratch.path("catalog.sum"), sum(&std::fs::read(&path).unwrap()).as_bytes());
        assert!(!verify(&path, &log).is_empty(), "{change}");
        write(&path, &good);
        write(&scratch.path("catalog.sum"), sum(&good).as_bytes());
        assert_eq!(verify(&path, &log), [], "control");
    }
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("UPDATE runs SET state = 'succeeded' WHERE run = 'r2'").unwrap();
    drop(db);
    let faults = verify(&path, &log);
    assert!(faults.iter().any(|fault| fault.message.contains("the log does not say") && fault.message.contains("r2")), "{faults:?}");
}

#[test]
fn many_processes_index_the_same_log() {
    let scratch = Scratch::new();
    let log = story();
    let path = scratch.path("catalog.db");
    std::thread::scope(|scope| {
        for start in 0..6 {
            let (path, log) = (&path, &log);
            scope.spawn(move || {
                let mut catalog = Catalog::open(path).unwrap();
                for leaves in (start..=log.entries.len()).step_by(5) {
                    // another may be ahead already; then this shorter log looks rolled back
                    let done = catalog.catch_up(&log.first(leaves));
                    assert!(done.is_ok() || done.is_err_and(|fault| fault.code() == "catalog/rolled-back"));
                }
                catalog.catch_up(log).unwrap();
            });
        }
    });
    assert_eq!(verify(&path, &log), []);
    assert_eq!(Catalog::open_read_only(&path).unwrap().cursor().unwrap(), log.entries.len() as u64);
}

fn any_event() -> impl Strategy<Value = EventKind> {
    let id = (0..3_u8, 0..3_u8, 1..3_u32).prop_map(|(run, name, attempt)| step(&format!("r{run}"), &format!("s{name}"), attempt));
    let run = (0..3_u8).prop_map(|run| RunId(format!("r{run}")));
    let artifact = (0..5_u8).prop_map(|i| output(&format!("a{i}"), ArtifactKind::Dataset));
    let artifacts = || prop::collection::vec(artifact.clone(), 0..3);
    prop_oneof![
        run.clone().prop_map(|run| EventKind::RunStarted { run, request: Digest::of(b"q"), plan: Digest::of(b"p") }),
        (run, "[a-z'\n\\\\]{1,8}").prop_map(|(run, state)| EventKind::RunEnded { run, state, cancelled_by: None }),
        id.clone().prop_map(|step| EventKind::StepStarted { step }),
        (id.clone(), "[a-z]{1,4}").prop_map(|(step, state)| EventKind::StepEnded { step, state, error: "x/y".into() }),
        (id.clone(), artifacts(), artifacts(), prop::option::of(id.clone())).prop_map(|(step, inputs, outputs, reused_from)| {
            EventKind::StepCommitted {
                cache_key: Digest::of(step.step.as_str().as_bytes()),
                step,
                inputs,
                outputs,
                statements: vec![],
                reused_from,
            }
        }),
        (id.clone(), any::<bool>()).prop_map(|(step, pass)| EventKind::GateDecided { step, decision: gate(pass) }),
        (1..4_u64, id.clone(), id).prop_map(|(version, trained_by, validated_by)| EventKind::ModelRegistered {
            model: "m".into(),
            version,
            digest: Digest::of(&[version as u8]),
            signature: Digest::of(b"s"),
            approval: Digest::of(b"a"),
            trained_by,
            validated_by
        }),
        (0..2_u8, 1..4_u64).prop_map(|(alias, version)| EventKind::ModelAliased { model: "m".into(), alias: format!("a{alias}"), version }),
        (1..4_u64, 1..9_u64).prop_map(|(version, release)| EventKind::DeploymentRecorded {
            model: "m".into(),
            version,
            release,
            state: "x".into(),
            statement: Digest::of(b"d")
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn however_it_was_indexed_the_catalog_is_the_same(
        events in prop::collection::vec(any_event(), 0..40),
        cuts in prop::collection::vec(0_usize..41, 0..6),
        noise in prop::collection::vec((0_usize..40, prop::collection::vec(any::<u8>(), 0..40)), 0..3),
    ) {
        let scratch = Scratch::new();
        let mut log = MemoryLog::default();
        for (position, event) in events.into_iter().enumerate() {
            log.event(event);
            for (at, bytes) in &noise {
                if *at == position {
                    log.entries.push(bytes.clone());
                }
            }
            if position % 7 == 3 {
                log.statement(&manifest_statement("a", &folder(&format!("a{position}")), Subject::Folder));
            }
        }
        let path = scratch.path("catalog.db");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(log.entries.len())).collect();
        cuts.sort_unstable();
        for cut in cuts {
            Catalog::open(&path).unwrap().catch_up(&log.first(cut)).unwrap();
        }
        let mut catalog = open(&path, &log);
        let dump = catalog.logical_dump().unwrap();
        prop_assert_eq!(&Catalog::in_memory(&log, log.entries.len() as u64).unwrap().logical_dump().unwrap(), &dump);
        prop_assert_eq!(verify(&path, &log), vec![]);
        catalog.rebuild(&log).unwrap();
        prop_assert_eq!(&catalog.logical_dump().unwrap(), &dump);
        prop_assert_eq!(verify(&path, &log), vec![]);
        for run in catalog.runs(100).unwrap() {
            catalog.run(&RunId(run.run.clone())).unwrap();
            for direction in [Direction::Ancestors, Direction::Descendants] {
                lineage(&catalog, &format!("run:{}", run.run), direction).unwrap();
            }
        }
        for model in catalog.models().unwrap() {
            catalog.model(&format!("m@{}", model.versions[0])).unwrap();
        }
    }
}
