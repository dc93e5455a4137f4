//! The command line as a contract: names, exit codes, errors with code and hint.

use crate::workspace::Tiny;

#[test]
fn every_command_explains_itself() {
    let tiny = Tiny::unlocked();
    let commands: [&[&str]; 17] = [
        &["init"],
        &["demo"],
        &["plan"],
        &["lock"],
        &["run"],
        &["runs", "list"],
        &["runs", "show"],
        &["runs", "cancel"],
        &["models", "list"],
        &["models", "show"],
        &["lineage", "show"],
        &["verify"],
        &["trust", "export"],
        &["log", "show"],
        &["attest", "export"],
        &["policy", "mutate"],
        &["keys", "rotate"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let help = tiny.ok(&arguments);
        assert!(help.stdout.contains("Usage: seaworthy"), "{command:?}");
    }
    assert!(tiny.ok(&["--version"]).stdout.starts_with("seaworthy "));
}

#[test]
fn faults_of_a_workflow_are_all_shown_with_place_and_hint() {
    let tiny = Tiny::unlocked();
    tiny.edit("workflow.yaml", "policy_gate:", "polcy_gate:");
    tiny.edit("workflow.yaml", "sandbox: true", "sandbox: maybe");
    let refused = tiny.refused(&["plan", "workflow.yaml"], 3, "did you mean `policy_gate`?");
    assert!(refused.stderr.contains("workflow/unknown-key"), "{}", refused.stderr);
    assert!(refused.stderr.contains("workflow.yaml:7"), "{}", refused.stderr);
    assert!(refused.stderr.contains("sandbox"), "{}", refused.stderr);
}

#[test]
fn errors_have_a_code_a_hint_and_their_exit_code() {
    let tiny = Tiny::unlocked();
    tiny.refused(&["run", "nothing.yaml"], 3, "workflow/unreadable");
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/missing");
    tiny.refused(&["runs", "list"], 3, "workspace/no-state");
    tiny.refused(&["frobnicate"], 2, "unrecognized subcommand");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.refused(&["runs", "show", "r0"], 2, "there is no run `r0`");
    tiny.refused(&["verify", "model:nothing@1"], 4, "nothing");
    tiny.refused(&["log", "prove", "99999"], 2, "leaves");
}

#[test]
fn lists_and_lineage_tell_what_happened() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let id = crate::spine::run_id(&tiny);
    assert!(tiny.ok(&["runs", "list"]).stdout.contains(&id));
    let shown = tiny.ok(&["runs", "show", &id]).stdout;
    for step in ["ingest", "double", "total"] {
        assert!(shown.contains(step), "{shown}");
    }
    let lineage = tiny.ok(&["lineage", "show", &format!("run:{id}")]).stdout;
    assert!(lineage.contains("double") && lineage.contains("ingest"), "{lineage}");
    let json = tiny.ok(&["runs", "list", "--json"]).stdout;
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
    tiny.ok(&["catalog", "rebuild"]);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn garbage_collection_removes_nothing_that_the_log_names() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.ok(&["store", "gc"]);
    tiny.ok(&["verify", &format!("run:{}", crate::spine::run_id(&tiny))]);
    tiny.ok(&["verify", "log"]);
}

#[test]
fn a_level_of_code_integrity_that_cannot_be_checked_is_refused() {
    let tiny = Tiny::unlocked();
    tiny.ok(&["keys", "create"]);
    tiny.edit("seaworthy.yaml", "run: [sh, total.sh]", "run: [sh, total.sh], code_integrity: committed");
    tiny.refused(&["lock"], 3, "code/integrity-unsupported");
    // control: what can be checked is accepted
    tiny.edit("seaworthy.yaml", "code_integrity: committed", "code_integrity: any");
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
}

#[test]
fn a_rotated_key_signs_what_follows_and_the_old_one_keeps_what_it_signed() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let before = tiny.ok(&["keys", "list"]).stdout;
    for role in ["runner", "user"] {
        tiny.ok(&["keys", "rotate", role]);
    }
    assert_ne!(tiny.ok(&["keys", "list"]).stdout, before);
    tiny.edit("seaworthy.yaml", "purpose: tests", "purpose: rotation");
    tiny.ok(&["lock", "--update", "settings"]);
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.ok(&["verify", &format!("run:{}", crate::spine::run_id(&tiny))]);
    tiny.ok(&["verify", "log"]);
    assert_eq!(tiny.events_of("key.changed").len(), 2);
    tiny.refused(&["keys", "rotate", "log"], 2, "a log's key is its identity");
}
