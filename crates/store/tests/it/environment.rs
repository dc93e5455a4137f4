//! A whole environment on disk: store, log, journal, catalog. Whatever byte is changed, one of the audits says so.

use std::path::Path;
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement, key_hint};
use seaworthy_core::event::{Event, EventKind, OutputRef};
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::ports::{EvidenceSource, Leaf, Recorder};
use seaworthy_core::principal::PrincipalId;
use seaworthy_store::artifacts::{Artifacts, NewFile};
use seaworthy_store::barrier;
use seaworthy_store::catalog::{Catalog, named, verify};
use seaworthy_store::journal::{Journal, Record, State, unfinished_digests};
use seaworthy_store::log::{Log, LogReader, audit};
use seaworthy_store::workspace::{EnvironmentPaths, Workspace};
use serde_json::{Value, json};

use crate::scratch::{Scratch, files_below, flip};
use crate::signer::TestSigner;

const ORIGIN: &str = "seaworthy.test/staging";

fn event(kind: EventKind) -> Leaf {
    Leaf::Event(Event { time_ms: 1_700_000_000_000, principal: PrincipalId("user:p-1".into()), kind })
}

/// Makes an environment with one committed step and returns what it was.
fn environment(scratch: &Scratch) -> (Workspace, EnvironmentPaths, Log) {
    let workspace = Workspace::create(&scratch.path("")).unwrap();
    let paths = workspace.environment(&Name::new("staging").unwrap()).unwrap();
    let signer = TestSigner::new(ORIGIN, [7; 32]);
    Log::create(&paths.log, ORIGIN, &signer).unwrap();
    let log = Log::open(&paths.log, ORIGIN, Arc::new(signer)).unwrap();
    log.record(&[event(EventKind::WorkspaceCreated { workspace: workspace.id().into(), environment: "staging".into() })]).unwrap();

    let store = Artifacts::open(&paths.store).unwrap();
    let journal = Journal::open(&paths.journal).unwrap();
    let run = RunId("r1".into());
    let step = StepRunId { run: run.clone(), workflow: Name::new("w").unwrap(), step: Name::new("s").unwrap(), attempt: 1 };
    let before = barrier::count_of_thread();
    // as the engine does it: what only finds work one state earlier does not wait
    let data = scratch.write("in/data.csv", b"a,b\n1,2\n");
    let file = NewFile { name: "data.csv".into(), file: std::fs::File::open(data).unwrap(), executable: false };
    journal.append_lazy(&[Record::of_run(1, run.clone(), State::RunStarted, json!({"plan": Digest::of(b"plan")}))]).unwrap();
    journal.append_lazy(&[Record::of_step(1, &step, State::Started, Value::Null)]).unwrap();
    let (_, artifact) = store.put_files(vec![file]).unwrap();
    journal.append(&[Record::of_step(1, &step, State::Staged, json!({"data": artifact.digest}))]).unwrap();
    let statement: Statement = serde_json::from_value(json!({
        "subject": [{"name": "s/data", "digest": {"sha256": artifact.root}, "annotations": {"artifact": artifact.digest}}],
        "predicateType": "https://example.com/claim", "predicate": {"x": 1}
    }))
    .unwrap();
    let bundle = Bundle { payload: statement.to_payload(), signature: vec![1; 70], key_hint: key_hint(b"a key"), log_proof: None };
    let output = OutputRef { name: "s/data".into(), kind: "dataset".into(), digest: artifact.digest };
    let outcome = EventKind::StepCommitted {
        step: step.clone(),
        cache_key: Digest::of(b"key"),
        inputs: vec![],
        outputs: vec![output],
        statements: vec![bundle.pae_digest()],
        reused_from: None,
    };
    log.record(&[
        event(EventKind::RunStarted { run: run.clone(), request: Digest::of(b"q"), plan: Digest::of(b"plan") }),
        Leaf::Attestation { bundle, public_key: b"a key".to_vec() },
        event(outcome),
    ])
    .unwrap();
    assert!(barrier::count_of_thread() - before <= 4, "{} barriers", barrier::count_of_thread() - before);
    journal.append_lazy(&[Record::of_step(1, &step, State::Committed, Value::Null)]).unwrap();
    log.record(&[event(EventKind::RunEnded { run: run.clone(), state: "succeeded".into(), cancelled_by: None })]).unwrap();
    journal.append(&[Record::of_run(1, run, State::RunEnded, Value::Null)]).unwrap();
    Catalog::open(&paths.catalog).unwrap().catch_up(&log).unwrap();
    log.flush().unwrap();
    (workspace, paths, log)
}

/// Everything that any part of the environment has to say against itself.
fn faults(root: &Path) -> Vec<String> {
    let workspace = match Workspace::open(root) {
        Ok(workspace) => workspace,
        Err(fault) => return vec![fault.to_string()],
    };
    let staging = Name::new("staging").unwrap();
    let paths = workspace.paths(&staging);
    let mut faults: Vec<String> = audit(&paths.log).into_iter().map(|fault| format!("{fault:?}")).collect();
    match Artifacts::open_read_only(&paths.store).and_then(|store| store.audit()) {
        Ok(found) => faults.extend(found.into_iter().map(|fault| format!("{fault:?}"))),
        Err(fault) => faults.push(fault.to_string()),
    }
    match Journal::open_read_only(&paths.journal) {
        Ok(journal) => faults.extend(journal.audit().into_iter().map(|fault| format!("{fault:?}"))),
        Err(fault) => faults.push(fault.to_string()),
    }
    match LogReader::open(&paths.log) {
        Ok(log) => {
            faults.extend(workspace.audit(&staging, &log).into_iter().map(|fault| format!("{fault:?}")));
            faults.extend(verify(&paths.catalog, &log).into_iter().map(|fault| format!("{fault:?}")));
        }
        Err(fault) => faults.push(fault.to_string()),
    }
    faults
}

#[test]
fn a_flipped_byte_in_every_file_of_an_environment_is_reported() {
    let scratch = Scratch::new();
    let (_, paths, log) = environment(&scratch);
    drop(log);
    let root = scratch.path("");
    assert_eq!(faults(&root), Vec::<String>::new());
    let mut flips = 0;
    for path in files_below(&scratch.path(".seaworthy")) {
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        // the last lines of a checkpoint are its signature, which needs the key
        let signed = path == paths.log.join("checkpoint");
        let places = if signed { vec![0] } else { vec![0, length / 3, length / 2, length.saturating_sub(1)] };
        for at in places.into_iter().filter(|at| *at < length) {
            flip(&path, at);
            assert!(!faults(&root).is_empty(), "nobody noticed byte {at} of {}", path.display());
            flip(&path, at);
            flips += 1;
        }
    }
    assert!(flips >= 20, "{flips}");
    assert_eq!(faults(&root), Vec::<String>::new(), "control: all as it was");
}

#[test]
fn gc_keeps_what_the_log_names_and_what_is_under_way() {
    let scratch = Scratch::new();
    let (_, paths, log) = environment(&scratch);
    let store = Artifacts::open(&paths.store).unwrap();
    let journal = Journal::open(&paths.journal).unwrap();
    let committed = store.blob_names().unwrap();
    let file = NewFile { name: "b".into(), file: std::fs::File::open(scratch.write("in/b", b"b")).unwrap(), executable: false };
    let (_, staged) = store.put_files(vec![file]).unwrap();
    let step = StepRunId { run: RunId("r2".into()), workflow: Name::new("w").unwrap(), step: Name::new("s").unwrap(), attempt: 1 };
    journal.append(&[Record::of_step(1, &step, State::Staged, json!({"outputs": {"b": staged.digest}}))]).unwrap();
    let garbage = store.put_bytes(b"garbage").unwrap();
    let mut names = named(&log).unwrap();
    names.extend(unfinished_digests(&journal.load().unwrap()));
    let report = store.gc(&names, false).unwrap();
    assert_eq!(report.removed, [garbage]);
    let left = store.blob_names().unwrap();
    assert!(committed.iter().all(|digest| left.contains(digest)) && left.contains(&staged.digest) && left.contains(&Digest::of(b"b")));
    // control: without the journal's word the staged output would have gone
    let careless = store.gc(&named(&log).unwrap(), true).unwrap();
    assert_eq!(careless.removed.len(), 2);
    assert!(log.size().unwrap() > 0);
}
