//! The shipped example end to end: the demo, reuse, each variant that must be stopped, and an auditor's copy.
//!
//! in: the finished demo ([`Demo`]); out: what the product says when something in it changed.
//! Each variant is one change; its control is the same workspace without it.

use std::path::Path;
use std::process::Command;

use seaworthy_core::digest::Digest;
use seaworthy_core::ports::{EvidenceSource, PortError};
use seaworthy_store::catalog::Catalog;
use seaworthy_store::log::LogReader;

use crate::workspace::{Demo, Finished, copy_folder, example};

#[test]
fn the_demo_ends_in_a_certified_model() {
    let demo = Demo::new();
    let (stdout, stderr) = demo.story();
    assert!(stdout.contains("succeeded: 5 committed, 0 reused, 5 steps"), "{stdout}{stderr}");
    assert!(stdout.lines().any(|line| line == "verified"), "{stdout}");
    assert!(stderr.contains("seaworthy lineage show model:employment@1"), "it says where to look:\n{stderr}");
    assert_eq!(demo.events_of("model.registered").len(), 1);

    let verified = demo.ok(&["verify", "model:employment@1", "--deep"]);
    assert!(verified.stdout.contains("trust: file"), "{}", verified.stdout);
    assert!(verified.stdout.contains("s3://data-lake/raw/"), "the chain ends at its source:\n{}", verified.stdout);
    let shown = demo.ok(&["models", "show", "employment@1"]).stdout;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let rows: [&[&str]; 9] = [
        &["aliases", "candidate"],
        &["responsible", "engineer"],
        &["metric", "value", "95", "%", "interval", "unit", "n"],
        &["accuracy", "0."],
        &["integrity", "score", "1.0000"],
        &["performance", "1.0000", "1.0000", "bound", "0.0500,", "measured"],
        &["gate", "model_performance", "passed:", "17", "of", "17", "checks,"],
        &["signed", "by", "spiffe://"],
        &["deployment", "release", "1", "pending-canary"],
    ];
    for row in rows {
        let found = lines.iter().any(|line| line.len() >= row.len() && line.iter().zip(row).all(|(said, want)| said.starts_with(want)));
        assert!(found, "no line {row:?} in:\n{shown}");
    }
    assert!(!shown.contains(['{', '}']), "raw json is for --json:\n{shown}");
    let json: serde_json::Value = serde_json::from_str(&demo.ok(&["models", "show", "employment@1", "--json"]).stdout).unwrap();
    let accuracy = json["metrics"]["performance"]["metrics"]["accuracy"]["value"].as_f64().unwrap();
    assert!(shown.contains(&format!("{accuracy:.4}")), "{accuracy} in:\n{shown}");
    for output in json["trained_on"].as_array().unwrap() {
        assert!(shown.contains(output["digest"].as_str().unwrap()), "{output} in:\n{shown}");
    }
    let lineage = demo.ok(&["lineage", "show", "model:employment@candidate"]).stdout;
    for text in ["train_model", "preprocess/train", "ingest_data"] {
        assert!(lineage.contains(text), "no `{text}` in:\n{lineage}");
    }
}

#[test]
fn evidence_is_exported_and_its_trust_file_is_enough() {
    let demo = Demo::new();
    let evidence = demo.base().join("evidence");
    demo.ok(&["attest", "export", "model:employment@1", "-o", evidence.to_str().unwrap()]);
    for name in ["model/model.onnx", "model/model.sig", "log/vkey", "trust.json", "trusted_root.json"] {
        assert!(std::fs::metadata(evidence.join(name)).is_ok_and(|file| file.len() > 0), "no {name}");
    }
    let count = |name: &str| std::fs::read_dir(evidence.join(name)).unwrap().count();
    assert!(count("bundles") >= 10, "{} bundles", count("bundles"));
    assert_eq!(count("keys"), 3, "user, runner, root");
    let signature: serde_json::Value = serde_json::from_slice(&std::fs::read(evidence.join("model/model.sig")).unwrap()).unwrap();
    assert!(signature["mediaType"].as_str().unwrap().starts_with("application/vnd.dev.sigstore.bundle"), "{signature}");

    let trust = evidence.join("trust.json");
    let verified = stranger(&demo, &demo.dir, &["verify", "model:employment@1", "--trust", trust.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("trust: file"), "{}", verified.stdout);
}

#[test]
fn nothing_changed_reuses_all_five_steps() {
    let demo = Demo::new();
    let again = demo.ok(&["run", "workflow.yaml"]);
    assert!(again.stdout.contains("0 committed, 5 reused, 5 steps"), "{}", again.stdout);
    assert_eq!(registered(&demo), 1, "no second version");
    demo.ok(&["verify", "model:employment@1"]);
}

#[test]
fn a_changed_input_is_refused_by_the_lock() {
    let demo = Demo::new();
    demo.vary("changed-input");
    let runs = demo.events_of("run.started").len();
    let refused = demo.refused(&["run", "workflow.yaml"], 1, "lock/changed");
    assert!(refused.stderr.contains("`source:ingest_data` changed"), "{}", refused.stderr);
    assert!(refused.stderr.contains("seaworthy lock --update source:ingest_data"), "{}", refused.stderr);
    assert_eq!(demo.events_of("run.started").len(), runs, "nothing began");
    // locking again moves no pin that is not named
    demo.ok(&["lock"]);
    demo.refused(&["run", "workflow.yaml"], 1, "lock/changed");
    // control: put back, it runs
    copy_folder(&example().join("data"), &demo.dir.join("data"));
    demo.ok(&["run", "workflow.yaml"]);
}

#[test]
fn a_poisoned_batch_is_stopped_by_the_gate() {
    let demo = Demo::new();
    demo.vary("poisoned-batch");
    demo.ok(&["lock", "--update", "source:ingest_data"]);
    denied_at_ingest(&demo, "violations.range is 2000, wanted at most 100");
}

#[test]
fn a_batch_just_over_the_bound_is_denied() {
    let demo = Demo::new();
    demo.vary("batch-just-over");
    demo.ok(&["lock", "--update", "source:ingest_data"]);
    denied_at_ingest(&demo, "rows_violating_fraction is 0.002525, wanted at most 0.0025");
}

/// The control of the batches above: one row less, and nothing stops it.
#[test]
fn a_batch_at_the_bound_passes() {
    let demo = Demo::new();
    demo.vary("batch-at-bound");
    demo.ok(&["lock", "--update", "source:ingest_data"]);
    let run = demo.ok(&["run", "workflow.yaml"]);
    assert!(run.stdout.contains("succeeded: 5 committed, 0 reused"), "{}", run.stdout);
    assert_eq!(registered(&demo), 2);
    demo.ok(&["verify", "model:employment@2"]);
}

/// The same bytes are signed once, and may be validated again: for another reason to trust them, or by another release of the checks.
#[test]
fn a_model_of_the_same_bytes_is_validated_and_registered_again() {
    let demo = Demo::new();
    let settings = demo.dir.join("seaworthy.yaml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let uncached = "secure_ml_pipeline/deploy_model: {cache: false}\n  secure_ml_pipeline/validate_model:\n    cache: false\n";
    let varied = text.replace("secure_ml_pipeline/validate_model:\n", uncached);
    assert_ne!(text, varied);
    std::fs::write(&settings, varied).unwrap();
    demo.ok(&["lock", "--update", "settings"]);
    let run = demo.ok(&["run", "workflow.yaml"]);
    assert!(run.stdout.contains("2 committed, 3 reused"), "{}", run.stdout);
    assert_eq!(registered(&demo), 2);
    for version in ["model:employment@2", "model:employment@1"] {
        demo.ok(&["verify", version]);
    }
}

#[test]
fn a_worse_model_is_stopped_and_not_registered() {
    let demo = Demo::new();
    demo.vary("worse-model");
    demo.ok(&["lock", "--update", "settings"]);
    let denied = demo.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    for text in ["gate `model_performance` said no", "metrics.accuracy.value is 0.79", "metrics.auc.value is 0.86", "would pass:"] {
        assert!(denied.stderr.contains(text), "no `{text}` in:\n{}", denied.stderr);
    }
    assert!(denied.stdout.contains("denied: 1 committed, 2 reused"), "only training ran: {}", denied.stdout);
    assert_eq!(registered(&demo), 1, "a denied model is no version");
    demo.refused(&["verify", "model:employment@2"], 4, "employment@2");
    demo.ok(&["verify", "log"]);
}

/// An advisory gate lets its step commit, but certifies nothing: registering follows the answer, not the level.
#[test]
fn a_model_that_an_advisory_gate_refused_is_not_registered() {
    let demo = Demo::new();
    demo.vary("worse-model");
    demo.edit("policies/model_performance/gate.yaml", "level: hard-mandatory", "level: advisory");
    demo.ok(&["lock", "--update", "settings", "--update", "gate:model_performance"]);
    let validated = |demo: &Demo| demo.events_of("step.committed").iter().filter(|event| event["step"]["step"] == "validate_model").count();
    let before = validated(&demo);
    let refused = demo.refused(&["run", "workflow.yaml"], 1, "authz/denied");
    assert!(refused.stderr.contains("guard-model-gated"), "{}", refused.stderr);
    assert_eq!(validated(&demo), before + 1, "control: the gate itself stopped nothing");
    assert_eq!(registered(&demo), 1, "a refused model is no version");
    let denied = demo.events_of("authorization.decided").pop().unwrap();
    assert_eq!((&denied["action"], &denied["resource"]["gated"]), (&"promote_model".into(), &false.into()), "{denied}");
    demo.ok(&["verify", "log"]);
}

#[test]
fn weights_among_the_code_are_not_trained() {
    let demo = Demo::new();
    demo.vary("laundered-model");
    demo.ok(&["lock", "--update", "code:src/"]);
    let refused = demo.refused(&["run", "workflow.yaml"], 1, "train/weights-in-code");
    assert!(refused.stderr.contains("lookup.dat"), "the file is named: {}", refused.stderr);
    assert_eq!(registered(&demo), 1);
    assert!(demo.events_of("step.committed").iter().filter(|event| event["step"]["step"] == "train_model").count() == 1);

    // control: nothing in the script itself would have stopped it
    let (inputs, outputs) = (demo.base().join("in"), demo.base().join("out"));
    std::fs::create_dir_all(&inputs).unwrap();
    let trained = Command::new("/usr/bin/env")
        .args(["python3", "train.py"])
        .current_dir(demo.dir.join("src"))
        .env("SEAWORTHY_INPUTS", &inputs)
        .env("SEAWORTHY_OUTPUTS", &outputs)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let model = std::fs::read(outputs.join("model/model.onnx")).unwrap();
    assert_eq!(model, std::fs::read(demo.dir.join("src/lookup.dat")).unwrap());
}

#[test]
fn a_copy_verifies_on_another_machine_with_the_trust_file_alone() {
    let demo = Demo::new();
    let trust = demo.ok(&["trust", "export"]).stdout;
    let elsewhere = demo.base().join("elsewhere");
    copy_folder(&demo.dir, &elsewhere.join("copy"));
    std::fs::write(elsewhere.join("trust.json"), trust).unwrap();
    let verify = ["verify", "model:employment@candidate", "--deep", "--workspace", "copy", "--trust", "trust.json"];
    let verified = stranger(&demo, &elsewhere, &verify);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("trust: file"), "{}", verified.stdout);

    // control: another workspace's trust file does not do
    let other = crate::workspace::Tiny::new();
    std::fs::write(elsewhere.join("trust.json"), other.ok(&["trust", "export"]).stdout).unwrap();
    let refused = stranger(&demo, &elsewhere, &verify);
    assert_eq!(refused.code, 4, "{}{}", refused.stdout, refused.stderr);
}

/// A log without the registrations: what a forger makes the index from, with a checksum that is right.
struct WithoutModels(LogReader);

impl EvidenceSource for WithoutModels {
    fn size(&self) -> Result<u64, PortError> {
        self.0.size()
    }
    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError> {
        let entry = self.0.entry(index)?;
        let text = String::from_utf8_lossy(&entry);
        let hidden = ["model.registered", "model.aliased", "deployment.recorded"];
        if hidden.iter().any(|code| text.contains(&format!("\"code\":\"{code}\""))) { self.0.entry(0) } else { Ok(entry) }
    }
    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError> {
        self.0.bundle(pae)
    }
    fn checkpoint(&self) -> Result<String, PortError> {
        self.0.checkpoint()
    }
    fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, PortError> {
        self.0.inclusion_proof(index)
    }
    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError> {
        self.0.bundle_digests()
    }
}

#[test]
fn a_doctored_index_gives_no_version_or_release_a_second_time() {
    let demo = Demo::new();
    demo.vary("batch-at-bound");
    demo.ok(&["lock", "--update", "source:ingest_data"]);
    let log = LogReader::open(&demo.state().join("log")).unwrap();
    let mut index = Catalog::open(&demo.state().join("catalog.db")).unwrap();
    index.rebuild(&WithoutModels(log)).unwrap();
    // control: who asks the index registers version 1 and release 1 again, which `verify` refuses for ever
    // (crates/trust/tests/it/attacks.rs: `verify/version-twice`, `verify/release-rollback`)
    assert_eq!((index.next_version("employment").unwrap(), index.next_release("employment").unwrap()), (1, 1));
    drop(index);
    let doctored = Catalog::open(&demo.state().join("catalog.db")).unwrap();
    assert!(doctored.models().unwrap().is_empty(), "its checksum is right: it is opened as it is");
    drop(doctored);

    demo.ok(&["run", "workflow.yaml"]);
    let versions: Vec<_> = demo.events_of("model.registered").iter().map(|event| event["version"].clone()).collect();
    let releases: Vec<_> = demo.events_of("deployment.recorded").iter().map(|event| event["release"].clone()).collect();
    assert_eq!((versions, releases), (vec![1.into(), 2.into()], vec![1.into(), 2.into()]));
    demo.ok(&["verify", "model:employment@2"]);
}

/// Stopped at the first step: nothing of the new batch is committed, no code has seen it.
fn denied_at_ingest(demo: &Demo, reason: &str) {
    let committed = demo.events_of("step.committed").len();
    let denied = demo.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    assert!(denied.stderr.contains("gate `data_schema_v2` said no"), "{}", denied.stderr);
    assert!(denied.stderr.contains(reason), "no `{reason}` in:\n{}", denied.stderr);
    assert!(denied.stderr.contains("would pass:"), "{}", denied.stderr);
    assert_eq!(demo.events_of("step.committed").len(), committed);
    assert_eq!(registered(demo), 1);
}

fn registered(demo: &Demo) -> usize {
    demo.events_of("model.registered").len()
}

/// The same command by somebody who has neither keys, nor trust file, nor memory of earlier checkpoints.
fn stranger(demo: &Demo, dir: &Path, arguments: &[&str]) -> Finished {
    let nobody = demo.base().join("nobody");
    let mut command = demo.command_in(dir, arguments);
    command.env("XDG_CONFIG_HOME", &nobody).env("XDG_STATE_HOME", &nobody).env("XDG_CACHE_HOME", &nobody);
    Finished::of(&command.output().unwrap())
}
