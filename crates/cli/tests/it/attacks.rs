//! Somebody with write access to the workspace, but without keys: forged, edited, exchanged, rolled-back and deleted state.
//!
//! Every attack stands beside its control: what the naive reader of the same files would have believed, or the untouched case.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::event::Event;
use seaworthy_core::ports::{EvidenceSource as _, KeyRole, Leaf, Recorder as _};
use seaworthy_core::principal::runner_id;
use seaworthy_store::artifacts::Artifacts;
use seaworthy_store::journal::{Journal, Record, State};
use seaworthy_store::log::{Log, LogReader};
use seaworthy_trust::keys::{LocalSigner, PrivateKey};
use serde_json::{Value, json};

use crate::spine::{copy, run_id};
use crate::workspace::Tiny;

/// A workspace whose data break the schema; locked, not run.
fn bad_batch() -> Tiny {
    let tiny = Tiny::unlocked();
    let rows: String = (0..200).map(|id| format!("{id},{}\n", if id % 4 == 0 { 5000 } else { 100 })).collect();
    tiny.write("data/raw/numbers.csv", format!("id,value\n{rows}").as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

fn replace_folder(with: &Path, at: &Path) {
    if at.exists() {
        std::fs::remove_dir_all(at).unwrap();
    }
    copy(with, at);
    private(at);
}

/// Writes the `wal` as a flush leaves it: the files alone hold the leaves and bundles now, nothing mends them.
fn flushed(tiny: &Tiny) {
    let dir = tiny.state().join("log");
    let log = LogReader::open(&dir).unwrap();
    let mut body = log.state().size.to_be_bytes().to_vec();
    body.extend([0; 8]);
    body.extend(u32::try_from(log.note().len()).unwrap().to_be_bytes());
    body.extend(log.note().as_bytes());
    let length = u64::try_from(body.len()).unwrap().to_be_bytes();
    let sum = Digest::of(&[length.as_slice(), &body].concat());
    let wal = [b"swlogrec".as_slice(), &length[4..], sum.as_bytes(), &body].concat();
    std::fs::write(dir.join("wal"), wal).unwrap();
    tiny.ok(&["verify", "log"]);
}

/// Folders of the state are for their owner alone.
fn private(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            private(&path);
        }
    }
}

/// Everything this user has seen so far is forgotten, as on another machine.
fn forget(tiny: &Tiny) {
    drop(std::fs::remove_dir_all(tiny.base().join("state/seaworthy/checkpoints")));
}

fn records(tiny: &Tiny) -> Vec<Record> {
    Journal::open(&tiny.state().join("journal")).unwrap().load().unwrap()
}

fn append(tiny: &Tiny, record: Record) {
    let journal = Journal::open(&tiny.state().join("journal")).unwrap();
    journal.append(&[record]).unwrap();
    assert_eq!(journal.audit(), [], "control: the chain of the journal has no key, the forger continues it");
}

#[test]
fn reports_forged_in_the_journal_pass_no_gate() {
    let tiny = bad_batch();
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let staged = records(&tiny).into_iter().find(|record| record.state == State::Staged).unwrap();
    let genuine = tiny.base().join("journal");
    copy(&tiny.state().join("journal"), &genuine);

    let forged = forge_reports(&tiny, &staged.data);
    for seal in [staged.data["seal"].clone(), Value::Null] {
        replace_folder(&genuine, &tiny.state().join("journal"));
        let attempt = staged.attempt + 1;
        append(&tiny, Record { attempt, data: json!({"staged": forged, "seal": seal}), ..staged.clone() });
        tiny.refused(&["run", "workflow.yaml"], 4, "journal/forged");
    }
    assert!(tiny.events_of("step.committed").is_empty(), "nothing was committed on forged reports");

    // a seal of another attempt covers this one no more than none
    replace_folder(&genuine, &tiny.state().join("journal"));
    append(&tiny, Record { attempt: staged.attempt + 7, ..staged.clone() });
    tiny.refused(&["run", "workflow.yaml"], 4, "journal/forged");

    // control: the genuine record is believed; the body does not run again, the gate decides on the real reports
    replace_folder(&genuine, &tiny.state().join("journal"));
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let bodies = records(&tiny).iter().filter(|record| record.state == State::Staged).count();
    assert_eq!(bodies, 1);
}

/// The reports as they would be of a spotless batch, in the store, and the staged step that names them.
fn forge_reports(tiny: &Tiny, data: &Value) -> Value {
    let store = Artifacts::open(&tiny.state().join("store")).unwrap();
    let blob: Digest = data["staged"]["reports"]["blob"].as_str().unwrap().parse().unwrap();
    let mut reports: Value = serde_json::from_slice(&store.read_blob(&blob, 1 << 20).unwrap()).unwrap();
    assert_ne!(reports[0]["facts"]["violations"], 0);
    for (name, value) in [("violations", json!(0)), ("rows_violating", json!(0)), ("rows_violating_fraction", json!(0.0))] {
        reports[0]["facts"][name] = value;
    }
    let bytes = seaworthy_core::json_strict::to_canonical(&reports);
    let mut batch = store.batch().unwrap();
    let artifact = batch.document("reports.json", &bytes).unwrap();
    batch.commit().unwrap();
    let mut staged = data["staged"].clone();
    staged["reports"] = json!({"blob": Digest::of(&bytes).hex(), "artifact": artifact});
    staged
}

#[test]
fn a_run_that_only_the_journal_knows_is_not_continued() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let began = records(&tiny).into_iter().find(|record| record.state == State::RunStarted).unwrap();
    let first = run_id(&tiny);
    for run in ["../../../escaped", &first, "r0000000000000000"] {
        let mut forged = Record { run: seaworthy_core::id::RunId(run.to_owned()), ..began.clone() };
        if run == first {
            forged.data["forged"] = json!(true);
        }
        append(&tiny, forged);
        tiny.ok(&["run", "workflow.yaml"]);
        assert_ne!(run_id(&tiny), run, "a new run with a request of its own began");
    }
    let requests = tiny.events_of("run.started");
    assert_eq!(requests.len(), 4);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn a_log_of_the_forgers_own_gets_no_signature() {
    let tiny = bad_batch();
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let dir = tiny.state().join("log");
    let reader = LogReader::open(&dir).unwrap();
    let origin = reader.state().origin.clone();
    let first: Event = serde_json::from_slice(&reader.entry(0).unwrap()).unwrap();
    drop(reader);

    // the denial never happened: a log with another key, in perfect order
    let forger = LocalSigner::new(origin.clone(), runner_id("0123456789abcdef", "staging"));
    let forger = Arc::new(forger.with_key(KeyRole::Log, PrivateKey::generate(KeyRole::Log).unwrap()).unwrap());
    std::fs::remove_dir_all(&dir).unwrap();
    Log::create(&dir, &origin, &*forger).unwrap();
    let log = Log::open(&dir, &origin, forger).unwrap();
    log.record(&[Leaf::Event(first)]).unwrap();
    drop(log);
    std::fs::remove_file(tiny.state().join("catalog.db")).unwrap();
    assert_eq!(seaworthy_store::log::audit(&dir), [], "control: whoever checks files and roots alone believes it");

    tiny.refused(&["run", "workflow.yaml"], 4, "verify/log-rollback");
    forget(&tiny);
    let before = std::fs::read(dir.join("checkpoint")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 4, "not signed by this log's key");
    tiny.refused(&["lock", "--update", "all"], 4, "not signed by this log's key");
    assert_eq!(std::fs::read(dir.join("checkpoint")).unwrap(), before, "the forgery was not extended");
    tiny.refused(&["verify", "log"], 4, "verify/checkpoint-unsigned");
}

#[test]
fn a_log_put_back_to_an_older_state_is_refused() {
    let tiny = bad_batch();
    let older = tiny.base().join("older");
    copy(&tiny.dir.join(".seaworthy"), &older);
    tiny.refused(&["run", "workflow.yaml"], 1, "gate/denied");
    let newer = tiny.base().join("newer");
    copy(&tiny.dir.join(".seaworthy"), &newer);

    // the run itself remembered what it recorded: nobody needs to have verified
    replace_folder(&older, &tiny.dir.join(".seaworthy"));
    tiny.refused(&["run", "workflow.yaml"], 4, "verify/log-rollback");
    tiny.refused(&["verify", "log"], 4, "verify/log-rollback");
    std::fs::remove_dir_all(tiny.state().join("log")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 4, "verify/log-rollback");

    // control: who has seen nothing cannot know, and the newer state is fine
    replace_folder(&newer, &tiny.dir.join(".seaworthy"));
    tiny.ok(&["verify", "log"]);
    replace_folder(&older, &tiny.dir.join(".seaworthy"));
    forget(&tiny);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn what_was_seen_and_cannot_be_read_is_no_first_meeting() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.ok(&["verify", "log"]);
    for entry in std::fs::read_dir(tiny.base().join("state/seaworthy/checkpoints")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"\xff").unwrap();
    }
    tiny.refused(&["verify", "log"], 3, "verify/last-seen");
    tiny.refused(&["run", "workflow.yaml"], 3, "verify/last-seen");
    forget(&tiny);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn an_exchanged_workspace_does_not_vouch_for_itself() {
    let (tiny, attacker) = (Tiny::new(), Tiny::new());
    tiny.ok(&["run", "workflow.yaml"]);
    attacker.ok(&["run", "workflow.yaml"]);
    // control: somebody who never saw the workspace is told that this proves nothing
    replace_folder(&attacker.dir.join(".seaworthy"), &tiny.dir.join(".seaworthy"));
    let mut stranger = tiny.command(&["verify", "log"]);
    stranger.env("XDG_STATE_HOME", tiny.base().join("nobody"));
    let output = stranger.output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("unproven"));

    tiny.refused(&["verify", "log"], 4, "verify/log-exchanged");
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/missing");
}

#[test]
fn an_edited_trust_copy_changes_nothing() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let copy = tiny.state().join("trust.json");
    let honest = std::fs::read(&copy).unwrap();
    let attacker = Tiny::new();
    attacker.ok(&["run", "workflow.yaml"]);
    std::fs::copy(attacker.state().join("trust.json"), &copy).unwrap();
    let verified = tiny.ok(&["verify", "log"]);
    assert!(verified.stdout.contains("trust: file"), "{}", verified.stdout);
    tiny.ok(&["run", "workflow.yaml"]);
    assert_eq!(std::fs::read(&copy).unwrap(), honest, "the next run publishes the user's own again");
    // control: as the trust file it would refuse this log
    let theirs = attacker.state().join("trust.json");
    assert_eq!(tiny.run(&["verify", "log", "--trust", theirs.to_str().unwrap()]).code, 4);
}

#[test]
fn deleted_and_swapped_evidence_is_named() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let run = format!("run:{}", run_id(&tiny));
    let files = tiny.state_files();
    let below = |part: &str| -> Vec<PathBuf> { files.iter().filter(|path| path.to_string_lossy().contains(part)).cloned().collect() };

    flushed(&tiny);
    for bundle in below("/log/bundles/") {
        let kept = std::fs::read(&bundle).unwrap();
        std::fs::remove_file(&bundle).unwrap();
        tiny.refused(&["verify", &run], 4, "verify/bundle-missing");
        std::fs::write(&bundle, kept).unwrap();
    }

    let output = tiny.events_of("step.committed")[2]["outputs"][0]["digest"].as_str().unwrap().to_owned();
    let manifest = below(&output).pop().expect("the manifest's blob");
    let other = files.iter().find(|path| path.parent() != manifest.parent() && path.to_string_lossy().contains("/store/")).unwrap();
    let (a, b) = (std::fs::read(&manifest).unwrap(), std::fs::read(other).unwrap());
    overwrite(&manifest, &b);
    overwrite(other, &a);
    tiny.refused(&["verify", &run], 4, "NOT VERIFIED");
    tiny.refused(&["verify", "log"], 4, "NOT VERIFIED");
    overwrite(&manifest, &a);
    overwrite(other, &b);
    tiny.ok(&["verify", "log"]);
}

fn overwrite(path: &Path, bytes: &[u8]) {
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}

#[test]
fn a_catalog_from_elsewhere_makes_no_run_reuse_anything() {
    let (tiny, other) = (Tiny::new(), Tiny::new());
    tiny.ok(&["run", "workflow.yaml"]);
    other.ok(&["run", "workflow.yaml"]);
    other.ok(&["run", "workflow.yaml"]);
    let take = |name: &str| std::fs::copy(other.state().join(name), tiny.state().join(name)).unwrap();
    // without its checksum it is made again from the log
    take("catalog.db");
    tiny.refused(&["verify", "log"], 4, "NOT VERIFIED");
    let run = tiny.ok(&["run", "workflow.yaml"]);
    assert!(run.stdout.contains("3 reused"), "{}", run.stdout);
    let commits = tiny.events_of("step.committed").len();
    take("catalog.db");
    take("catalog.sum");
    let run = tiny.run(&["run", "workflow.yaml"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert_eq!(tiny.events_of("step.committed").len(), commits, "nothing was committed on its word");
    // control: made again from the log, everything is found as before
    tiny.ok(&["catalog", "rebuild"]);
    let again = tiny.ok(&["run", "workflow.yaml"]);
    assert!(again.stdout.contains("3 reused"), "{}", again.stdout);
}

/// A workspace that has run; `enforce` would read the whole log, and find every edit.
fn unenforced() -> Tiny {
    let tiny = Tiny::unlocked();
    tiny.edit("workflow.yaml", "data_provenance: enforce", "logging: enabled");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    tiny
}

/// The files of leaves now say that the last step made what the first did.
fn edit_the_last_outcome(tiny: &Tiny) -> Value {
    let commits = tiny.events_of("step.committed");
    let (raw, total) = (&commits[0]["outputs"][0]["digest"], &commits[2]["outputs"][0]["digest"]);
    flushed(tiny);
    for path in tiny.state_files().iter().filter(|path| path.to_string_lossy().contains("/log/tile/entries/")) {
        let text = std::fs::read(path).unwrap();
        let (from, to) = (total.as_str().unwrap().as_bytes(), raw.as_str().unwrap().as_bytes());
        let mut changed = text.clone();
        for at in 0..text.len().saturating_sub(from.len()) {
            if text[at..].starts_with(from) {
                changed[at..at + to.len()].copy_from_slice(to);
            }
        }
        overwrite(path, &changed);
    }
    raw.clone()
}

#[test]
fn an_edited_leaf_is_not_reused() {
    let tiny = unenforced();
    behind_the_edge(&tiny);
    let raw = edit_the_last_outcome(&tiny);
    assert_eq!(last_outcome(&tiny), raw, "control: who does not ask for a proof believes it");
    tiny.refused(&["run", "workflow.yaml"], 4, "log/unproven");
}

/// Moves pins there and back until every outcome is in a full file: those are not compared when the log is opened.
fn behind_the_edge(tiny: &Tiny) {
    let files = ["seaworthy.yaml", "workflow.yaml", "src/total.sh", "schemas/numbers.yaml"];
    let honest: Vec<String> = files.iter().map(|file| tiny.read(file)).collect();
    let size = || LogReader::open(&tiny.state().join("log")).unwrap().state().size;
    for round in 0.. {
        for (file, text) in files.iter().zip(&honest) {
            let comment = if size() < 256 { format!("# {round}\n") } else { String::new() };
            tiny.write(file, format!("{text}{comment}").as_bytes());
        }
        let done = size() >= 256;
        tiny.ok(&["lock", "--update", "all"]);
        if done {
            return;
        }
    }
}

/// What the newest outcome says the last step made, as the files have it.
fn last_outcome(tiny: &Tiny) -> Value {
    let log = LogReader::open(&tiny.state().join("log")).unwrap();
    let read: Vec<Value> = (0..log.state().size).filter_map(|leaf| serde_json::from_slice(&log.entry(leaf).unwrap()).ok()).collect();
    read.iter().rfind(|leaf| leaf["code"] == "step.committed").unwrap()["outputs"][0]["digest"].clone()
}

#[test]
fn an_edited_entry_at_the_right_edge_is_refused_when_the_log_is_opened() {
    let tiny = unenforced();
    let raw = edit_the_last_outcome(&tiny);
    assert_eq!(last_outcome(&tiny), raw, "control: who does not compare believes it");
    let before = std::fs::read(tiny.state().join("log/checkpoint")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 4, "log/corrupt");
    assert_eq!(std::fs::read(tiny.state().join("log/checkpoint")).unwrap(), before, "nothing was appended");
}

#[test]
fn an_edited_lock_is_refused() {
    let tiny = Tiny::new();
    let lock: Value = serde_json::from_str(&tiny.read("seaworthy.lock")).unwrap();
    let pinned = lock["pins"]["code:src/"]["digest"].as_str().unwrap().to_owned();
    let honest = tiny.read("seaworthy.lock");
    tiny.edit("seaworthy.lock", &pinned, &"0".repeat(64));
    tiny.refused(&["run", "workflow.yaml"], 1, "code:src/");
    tiny.write("seaworthy.lock", honest.replacen("\"pins\"", "\"pins\": {}, \"pins\"", 1).as_bytes());
    tiny.refused(&["run", "workflow.yaml"], 3, "lock/invalid");
    tiny.write("seaworthy.lock", honest.as_bytes());
    tiny.ok(&["run", "workflow.yaml"]);
}

#[test]
fn authorization_policies_are_pinned_like_gates() {
    const POLICY: &[u8] = b"@id(\"extra\") permit (principal is User, action == Action::\"update_lock\", resource is Pin);\n";
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.write("policies/authz/extra.cedar", POLICY);
    tiny.refused(&["run", "workflow.yaml"], 1, "`authz` is not pinned");
    // control: reviewed and pinned, it counts
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.edit("policies/authz/extra.cedar", "extra", "other");
    tiny.refused(&["run", "workflow.yaml"], 1, "`authz` changed");
    std::fs::remove_dir_all(tiny.dir.join("policies/authz")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 1, "`authz` was not found");
}

#[test]
fn no_step_reads_the_folder_of_keys() {
    let tiny = Tiny::new();
    for source in [tiny.base().join("config"), tiny.base().to_owned()] {
        tiny.edit("seaworthy.yaml", "{'s3://lake/': ./data/}", &format!("{{'s3://lake/raw/': {}}}", source.display()));
        tiny.refused(&["lock", "--update", "all"], 3, "source/private");
        tiny.edit("seaworthy.yaml", &format!("{{'s3://lake/raw/': {}}}", source.display()), "{'s3://lake/': ./data/}");
    }
    // by a link on the way
    std::os::unix::fs::symlink(tiny.base().join("config"), tiny.dir.join("link")).unwrap();
    tiny.edit("seaworthy.yaml", "{'s3://lake/': ./data/}", "{'s3://lake/raw/': ./link/seaworthy/}");
    tiny.refused(&["lock", "--update", "all"], 3, "source/private");
    // control: the untouched workspace runs
    tiny.edit("seaworthy.yaml", "{'s3://lake/raw/': ./link/seaworthy/}", "{'s3://lake/': ./data/}");
    tiny.ok(&["run", "workflow.yaml"]);
}

#[test]
fn what_a_step_prints_moves_no_cursor() {
    let tiny = Tiny::unlocked();
    tiny.write("src/double.sh", b"printf '\\033[2Jall \\302\\233 good \\342\\200\\256\\n' >&2\nexit 7\n");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let failed = tiny.refused(&["run", "workflow.yaml"], 1, "step/failed");
    assert!(failed.stderr.contains("all "), "control: the text itself is shown: {}", failed.stderr);
    for bad in ['\u{1b}', '\u{9b}', '\u{202e}'] {
        assert!(!failed.stderr.contains(bad) && !failed.stdout.contains(bad), "{:?}", failed.stderr);
    }
}

#[test]
fn ready_made_weights_are_refused_whatever_the_step_is_called() {
    let text = "# a comment\n".repeat(8 * 1024);
    let hidden = [text.as_bytes(), &[0, 159, 146, 150]].concat();
    for (name, bytes) in [("src/weights.onnx", b"x".as_slice()), ("src/late.py", &hidden)] {
        let tiny = Tiny::unlocked();
        tiny.write(name, bytes);
        tiny.edit("seaworthy.yaml", "outputs: {doubled: dataset}", "outputs: {doubled: {type: model, name: laundered}}");
        tiny.ok(&["keys", "create"]);
        tiny.ok(&["lock"]);
        tiny.refused(&["run", "workflow.yaml"], 1, "train/weights-in-code");
        // control: beside code that makes no model they are a file like any other
        tiny.edit("seaworthy.yaml", "outputs: {doubled: {type: model, name: laundered}}", "outputs: {doubled: dataset}");
        tiny.ok(&["lock", "--update", "settings"]);
        tiny.ok(&["run", "workflow.yaml"]);
    }
}

/// The copy of the host's files lies in the user's cache, which nobody protects: what was put there is never executed.
#[test]
fn a_shell_exchanged_in_the_cache_between_two_runs_never_runs() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let host = tiny.base().join("cache/seaworthy/host");
    let trees: Vec<PathBuf> = std::fs::read_dir(&host).unwrap().map(|tree| tree.unwrap().path()).collect();
    let [tree] = trees.as_slice() else { panic!("{trees:?}") };
    let (shell, echo) = (tree.join("usr/bin/sh"), std::fs::read(tree.join("usr/bin/echo")).unwrap());
    let honest = std::fs::read(&shell).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&shell, bytes).unwrap();
        std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o555)).unwrap();
    };
    let another_attempt = |text: &str| {
        tiny.write("src/note.txt", text.as_bytes());
        tiny.ok(&["lock", "--update", "all"]);
    };
    put(&echo);
    another_attempt("the step's code is another: its body really runs");
    let refused = tiny.refused(&["run", "workflow.yaml"], 3, "environment/tampered");
    assert!(
        refused.stderr.contains("`usr/bin/sh` was changed") || refused.stdout.contains("`usr/bin/sh` was changed"),
        "{}",
        refused.stderr
    );
    // control: with the shell's own bytes back, hashed again, the same run goes through
    put(&honest);
    tiny.ok(&["run", "workflow.yaml"]);
    // and a folder that was deleted is only a copy less
    seaworthy_store::artifacts::remove_checkout(tree).unwrap();
    another_attempt("once more");
    tiny.ok(&["run", "workflow.yaml"]);
    assert_eq!(std::fs::read(&shell).unwrap(), honest);
}
