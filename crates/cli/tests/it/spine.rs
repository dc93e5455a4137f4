//! The main job on a tiny workspace: run, reuse, verify here and elsewhere.

use crate::workspace::Tiny;

#[test]
fn a_workflow_runs_and_its_chain_verifies() {
    let tiny = Tiny::new();
    let run = tiny.ok(&["run", "workflow.yaml"]);
    assert!(run.stdout.contains("succeeded: 3 committed, 0 reused"), "{}", run.stdout);
    tiny.ok(&["verify", "log"]);
    let id = run_id(&tiny);
    let verified = tiny.ok(&["verify", &format!("run:{id}")]);
    assert!(verified.stdout.contains("s3://lake/raw/"), "the chain ends at its source:\n{}", verified.stdout);
    assert!(verified.stdout.contains("assurance: L0 · signer: a process of its own (same user) · witnesses: 0"), "{}", verified.stdout);
}

#[test]
fn unchanged_steps_are_reused_and_changed_ones_run() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let again = tiny.ok(&["run", "workflow.yaml"]);
    assert!(again.stdout.contains("0 committed, 3 reused"), "{}", again.stdout);
    tiny.edit("src/total.sh", "sum=0", "sum=1");
    tiny.ok(&["lock", "--update", "code:src/"]);
    let changed = tiny.ok(&["run", "workflow.yaml"]);
    assert!(changed.stdout.contains("2 committed, 1 reused"), "the code folder is one artifact of two steps: {}", changed.stdout);
    tiny.ok(&["verify", &format!("run:{}", run_id(&tiny))]);
}

#[test]
fn a_copy_verifies_elsewhere_with_only_the_trust_file() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let id = run_id(&tiny);
    let trust = tiny.ok(&["trust", "export"]).stdout;
    let elsewhere = tiny.base().join("elsewhere");
    copy(&tiny.dir.join(".seaworthy"), &elsewhere.join(".seaworthy"));
    std::fs::write(elsewhere.join("trust.json"), trust).unwrap();
    let mut command = tiny.command_in(&elsewhere, &["verify", &format!("run:{id}"), "--trust", "trust.json"]);
    command.env("XDG_CONFIG_HOME", tiny.base().join("nobody")).env("XDG_STATE_HOME", tiny.base().join("nobody"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("trust: file"), "{text}");

    // without any trust file of one's own, the workspace's copy proves nothing, and that is said
    let mut command = tiny.command_in(&elsewhere, &["verify", &format!("run:{id}")]);
    command.env("XDG_CONFIG_HOME", tiny.base().join("nobody")).env("XDG_STATE_HOME", tiny.base().join("nobody"));
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("unproven"), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn steps_see_nothing_but_what_they_declared() {
    let tiny = Tiny::unlocked();
    tiny.write(
        "src/double.sh",
        b"set -u
mkdir -p $SEAWORTHY_OUTPUTS/doubled
{ echo id,value
if cat /etc/shadow 2>/dev/null; then echo 1,1; fi
if ls /root/.ssh 2>/dev/null; then echo 2,1; fi
if env | grep -q XDG_CONFIG_HOME; then echo 3,1; fi
if touch $SEAWORTHY_INPUTS/raw/x 2>/dev/null; then echo 4,1; fi
echo 0,0
} > $SEAWORTHY_OUTPUTS/doubled/numbers.csv
",
    );
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    let total = tiny.events_of("step.committed").pop().unwrap();
    assert_eq!(total["outputs"][0]["name"], "total/total");
    // control: the same probes find something outside the sandbox
    assert!(std::path::Path::new("/etc/shadow").exists());
}

#[test]
fn an_input_may_be_called_as_the_code_is() {
    let tiny = Tiny::unlocked();
    for (file, from, to) in [
        ("seaworthy.yaml", "[double/doubled], outputs", "[double/code], outputs"),
        ("seaworthy.yaml", "{doubled: dataset}", "{code: dataset}"),
        ("src/double.sh", "OUTPUTS/doubled", "OUTPUTS/code"),
        ("src/total.sh", "INPUTS/doubled", "INPUTS/code"),
    ] {
        tiny.edit(file, from, to);
    }
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    assert_eq!(tiny.events_of("step.committed").pop().unwrap()["inputs"][0]["name"], "double/code");
}

#[test]
fn a_failing_step_says_why_and_nothing_after_it_runs() {
    let tiny = Tiny::unlocked();
    tiny.write("src/double.sh", b"echo the reason is here >&2\nexit 7\n");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let failed = tiny.refused(&["run", "workflow.yaml"], 1, "step/failed");
    assert!(failed.stderr.contains("the reason is here"), "{}", failed.stderr);
    assert!(failed.stderr.contains("exited with 7"), "{}", failed.stderr);
    assert!(tiny.events_of("step.started").iter().all(|event| event["step"]["step"] != "total"));
    tiny.ok(&["verify", "log"]);
}

pub fn run_id(tiny: &Tiny) -> String {
    let started = tiny.events_of("run.started");
    started.last().unwrap()["run"].as_str().unwrap().to_owned()
}

pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
