//! The command line as a contract: names, exit codes, errors with code and hint.

use crate::workspace::Tiny;

#[test]
fn every_command_explains_itself() {
    let tiny = Tiny::unlocked();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = tiny.ok(&arguments).stdout;
        let first = help.lines().next().unwrap();
        assert!(!first.is_empty() && !first.starts_with("Usage"), "{command:?} has no purpose:\n{help}");
        assert!(help.contains("Usage: seaworthy"), "{command:?}");
        assert!(help.contains("Example"), "{command:?} has no example:\n{help}");
        let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        // a description that goes on in the next line is indented further
        let named =
            below.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        open.extend(named.map(|name| command.iter().cloned().chain([name.to_owned()]).collect()));
        seen += 1;
    }
    assert!(seen > 35, "only {seen} commands were found");
    assert!(tiny.ok(&["--version"]).stdout.starts_with("seaworthy "));
}

/// One message: a code, no number of the operating system, no panic, and what to do next.
#[test]
fn whatever_is_missing_is_one_clear_message() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let bare = tiny.base().join("bare");
    std::fs::create_dir(&bare).unwrap();
    let bare = bare.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["--workspace", "/nonexistent", "runs", "list"], 3, "workspace/missing"),
        (&["--workspace", bare, "runs", "list"], 3, "workspace/no-state"),
        (&["--workspace", bare, "keys", "list"], 3, "workflow/unreadable"),
        (&["plan", "nothing.yaml"], 3, "workflow/unreadable"),
        (&["lock", "nothing.yaml"], 3, "workflow/unreadable"),
        (&["verify", "nonsense"], 2, "cli/usage"),
        (&["models", "show", "nope@1"], 2, "catalog/unknown"),
        (&["lineage", "show", "run:r0"], 2, "catalog/unknown"),
        (&["attest", "export", "run:r0", "-o", "evidence"], 2, "cli/usage"),
        (&["verify", "log", "--trust", "/nonexistent"], 3, "trust/missing"),
        (&["trust", "import", "nothing.json"], 2, "cli/usage"),
    ];
    let clear = |arguments: &[&str], exit: i32, code: &str| {
        let refused = tiny.refused(arguments, exit, &format!("error[{code}]: "));
        assert_eq!(refused.stderr.matches("error[").count(), 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("\n  hint: "), "{}", refused.stderr);
        assert!(!refused.stderr.contains("os error") && !refused.stderr.contains("panicked"), "{}", refused.stderr);
    };
    for (arguments, exit, code) in cases {
        clear(arguments, exit, code);
    }
    assert!(!tiny.dir.join("evidence").join("bundles").exists(), "nothing is exported about nothing");
    // an identity that others can read opens nothing
    use std::os::unix::fs::PermissionsExt as _;
    let state = tiny.base().join("config/seaworthy");
    let folder = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let identity = folder.join("staging/keys/identity.txt");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o644)).unwrap();
    clear(&["run", "workflow.yaml"], 3, "keys/mode");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    tiny.ok(&["run", "workflow.yaml"]);
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
fn what_plan_says_a_step_reaches_is_what_the_step_finds() {
    let tiny = Tiny::unlocked();
    let text = tiny.ok(&["plan", "workflow.yaml", "--reach"]).stdout;
    assert!(text.contains("double  r w .  body: yours; code src/; hosts: none; secrets: none"), "{text}");
    let shown: serde_json::Value = serde_json::from_str(&tiny.ok(&["plan", "workflow.yaml", "--reach", "--json"]).stdout).unwrap();
    let total = &shown["reach"][2];
    assert_eq!(
        (&total["step"], &total["reads"]),
        (&"total".into(), &serde_json::json!([{"step": "double", "output": "doubled"}])),
        "{shown}"
    );
    assert_eq!((&shown["reach"][0]["body"], &shown["reach"][0]["source"]), (&"seaworthy".into(), &"s3://lake/raw/".into()));
    tiny.ok(&["keys", "create"]);
    // the body ends well only if its inputs are exactly these; the control names one more
    for (inputs, code) in [("doubled raw ", 1), ("doubled ", 0)] {
        let body = format!(
            "set -eu\n[ \"$(ls $SEAWORTHY_INPUTS | tr '\\n' ' ')\" = '{inputs}' ]\ncp -r $SEAWORTHY_INPUTS/doubled/. $SEAWORTHY_OUTPUTS/total\n"
        );
        tiny.write("src/total.sh", body.as_bytes());
        tiny.ok(&["lock", "--update", "all"]);
        assert_eq!(tiny.run(&["run", "workflow.yaml"]).code, code, "{inputs}");
    }
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

#[test]
fn a_name_is_shown_beside_its_id_and_stands_in_no_file_of_the_workspace() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let run = crate::spine::run_id(&tiny);
    let id = tiny.events_of("run.started")[0]["principal"].as_str().unwrap().to_owned();
    // a new id is known by the name of its own user's account
    let account = std::process::Command::new("id").arg("-un").output().unwrap();
    let account = String::from_utf8_lossy(&account.stdout).trim().to_owned();
    assert_eq!(tiny.ok(&["keys", "name"]).stdout.trim(), format!("{account} ({id})"));

    tiny.ok(&["keys", "name", &id, "Ada Lovelace"]);
    let named = format!("Ada Lovelace ({id})");
    let reference = format!("run:{run}");
    for command in [vec!["runs", "show", &run], vec!["lineage", "show", &reference], vec!["verify", &reference]] {
        let shown = tiny.ok(&command).stdout;
        assert!(shown.contains(&named), "{command:?}\n{shown}");
        let mut as_json = command.clone();
        as_json.push("--json");
        assert!(!tiny.ok(&as_json).stdout.contains("Lovelace"), "{command:?}: names are for people");
    }
    for file in tiny.state_files() {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"Lovelace"), "{} holds the name", file.display());
    }

    tiny.ok(&["keys", "name", &id, "--forget"]);
    assert!(!tiny.ok(&["runs", "show", &run]).stdout.contains("Lovelace"));
    tiny.refused(&["keys", "name", "somebody", "Ada"], 2, "is no id of a principal");
    tiny.refused(&["keys", "name", &id], 2, "needs a name");
    tiny.refused(&["keys", "name", &id, "A\u{1b}[31m"], 2, "cannot be shown");
}

#[test]
fn a_step_that_leaves_no_outputs_tells_its_fault_once() {
    let tiny = Tiny::new();
    tiny.write("src/total.sh", b"true\n");
    tiny.ok(&["lock", "--update", "code:src/"]);
    let failed = tiny.refused(&["run", "workflow.yaml"], 1, "step/output-missing");
    assert_eq!(failed.stderr.matches("wrote nothing to output `total`").count(), 1, "{}", failed.stderr);
    assert_eq!(failed.stderr.matches("hint:").count(), 1, "{}", failed.stderr);
}

#[test]
fn a_fault_of_the_store_is_told_first_and_once_and_nothing_above_it_says_ok() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    // control: without the fault every line says what was proven
    let good = tiny.ok(&["verify", "log"]).stdout;
    assert!(good.starts_with("ok   log: verified"), "{good}");
    let blob = tiny.state_files().into_iter().find(|file| file.starts_with(tiny.state().join("store/blobs"))).unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    crate::flips::overwrite(&blob, &bytes);
    // both streams as a terminal shows them
    let shell = format!("{} verify log 2>&1", env!("CARGO_BIN_EXE_seaworthy"));
    let mut command = tiny.command(&[]);
    let environment: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned())).collect();
    command = std::process::Command::new("sh");
    let output = command.args(["-c", &shell]).current_dir(&tiny.dir).envs(environment).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{shown}");
    let path = blob.strip_prefix(tiny.state()).unwrap().display().to_string();
    assert!(shown.starts_with(&format!("error[verify/state]: `{path}`")), "{shown}");
    assert_eq!(shown.matches(&path).count(), 1, "{shown}");
    assert!(shown.contains("FAIL log: not verified") && shown.contains("state: 1 file told above"), "{shown}");
    assert!(shown.trim_end().ends_with("NOT VERIFIED"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&tiny.refused(&["verify", "log", "--json"], 4, "").stdout).unwrap();
    assert_eq!(json["ok"], false);
}
