//! What is said of a machine that lacks a piece, and of a program that cannot be pid 1.
//!
//! In: this machine, and one made poorer by a namespace. Out: the missing piece by name.
//!
//! **Invariant:** a refusal tells the setting to change.

use std::process::Command;

use seaworthy_sandbox::{Cancel, Limits, Profile, Spec};
use serde_json::{Value, json};

use crate::harness::{self, PROBE, drive, probe};

fn preflight(command: &mut Command) -> Value {
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

#[test]
fn this_machine_has_what_ordinary_users_need() {
    let found = preflight(Command::new(PROBE).args(["preflight", "no-cgroup"]));
    assert!(found["facilities"]["landlock_abi"].as_u64().is_some_and(|abi| abi >= 1), "{found}");
}

#[test]
fn without_user_namespaces_the_setting_is_named() {
    let words = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" preflight no-cgroup";
    let found = preflight(Command::new("unshare").args(["-Ur", "sh", "-c", words, PROBE]));
    assert_eq!(found["code"], "sandbox/unsupported", "{found}");
    assert!(found["missing"].to_string().contains("user.max_user_namespaces"), "{found}");
}

/// The settings look fine here; only the attempt shows it.
#[test]
fn a_run_without_user_namespaces_is_refused_not_weakened() {
    let words = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" drive";
    let mut described = probe(&["noop"]);
    described["profile"] = json!("no-cgroup");
    let outcome = harness::drive_by(Command::new("unshare").args(["-Ur", "sh", "-c", words, PROBE]), &described);
    assert_eq!(outcome["error"]["code"], "sandbox/unsupported", "{outcome}");
}

/// This test harness has a main of its own; as pid 1 it would run every test again.
#[test]
fn a_program_without_init_main_is_refused() {
    let spec = Spec {
        profile: Profile::NoCgroup,
        argv: vec!["/noop".into()],
        env: [].into(),
        workdir: "/tmp".into(),
        hostname: "step".into(),
        mounts: Vec::new(),
        links: Vec::new(),
        texts: Vec::new(),
        outputs: Vec::new(),
        limits: Limits {
            memory_bytes: 1 << 26,
            cpu_milli: None,
            processes: 4,
            disk_bytes: 1 << 20,
            timeout: std::time::Duration::from_secs(5),
            log_bytes: 100,
            output_files: 1,
        },
        devices: Vec::new(),
        places_in_words: false,
        capture: true,
    };
    let error = seaworthy_sandbox::run(spec, &Cancel::new()).unwrap_err();
    assert_eq!(error.code(), "sandbox/spec", "{error}");
}

/// Eight at once from one process: nobody sees another, and each has a host user of its own.
#[test]
fn runs_do_not_meet() {
    let mut described = harness::script("echo mine > /out/out/x; ls /out/out | wc -l; ls /proc | grep -c '^[0-9]'");
    described["parallel"] = json!(8);
    let outcomes = drive(&described);
    let mut users = Vec::new();
    for outcome in outcomes.as_array().unwrap() {
        assert_eq!(outcome["exit"], json!({"code": 0}), "{outcome}");
        let printed = harness::text(outcome, "stdout");
        let seen: Vec<u32> = printed.lines().map(|line| line.trim().parse().unwrap()).collect();
        assert!(seen[0] == 1 && seen[1] <= 4, "{printed}");
        users.push(outcome["enforced"]["uid_map"][1].as_u64().unwrap());
    }
    if harness::is_root() {
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len(), 8, "one host user a run");
    }
}
