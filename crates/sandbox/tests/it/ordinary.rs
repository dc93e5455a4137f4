//! The sandbox of an ordinary user. As root these become user 65534 first.
//!
//! In: `setpriv`, or whoever runs the tests. Out: the same walls, the gaps named.
//!
//! **Invariant:** without a cgroup `strict` refuses.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::harness::{self, PROBE, drive_by, is_root, script, text};

/// A launcher that is no root, with a copy of the probe that it may read.
pub(crate) fn launcher() -> (Command, String) {
    static COPY: OnceLock<String> = OnceLock::new();
    let path = COPY.get_or_init(|| {
        let copy = harness::string(&harness::scratch("ordinary").join("probe"));
        // By another process: a descriptor open for writing here could be inherited by a test's child meanwhile, and
        // the copy not be executed ("text file busy").
        assert!(Command::new("cp").args([PROBE, &copy]).status().unwrap().success());
        copy
    });
    let path = path.clone();
    if !is_root() {
        return (Command::new(&path), path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &path]);
    (command, path)
}

fn described(path: &str, words: &[&str]) -> serde_json::Value {
    let mut described = harness::probe(words);
    described["profile"] = json!("no-cgroup");
    described["mounts"][0][0] = json!(path);
    described
}

#[test]
fn an_ordinary_user_is_walled_in_as_well() {
    let (_, path) = launcher();
    for words in [
        &["attack", "create-in", "/", "/usr", "/out"][..],
        &["attack", "foreign-processes"],
        &["attack", "netlink"],
        &["attack", "route", "127.0.0.2:1"],
        &["attack", "unshare-user"],
        &["attack", "clone3-user"],
        &["attack", "mount"],
        &["attack", "capabilities-left"],
        &["attack", "keyctl"],
        &["attack", "list", "/tmp"],
        &["attack", "fork-many", "200"],
        &["attack", "eat-memory", "900"],
        &["attack", "fill", "/tmp", "100"],
        &["attack", "memfd-exec"],
    ] {
        let (mut command, _) = launcher();
        let outcome = drive_by(command.arg("drive"), &described(&path, words));
        let verdict = text(&outcome, "stdout");
        if words[1] == "route" {
            // The loopback is the step's own; nothing of the host listens on it.
            assert!(verdict.starts_with("ALLOWED"), "{outcome}");
            continue;
        }
        assert!(verdict.starts_with("BLOCKED"), "{words:?}: {outcome}");
    }
}

#[test]
fn the_gaps_are_named() {
    let (mut command, path) = launcher();
    let mut wanted = described(&path, &[]);
    wanted["argv"] = script("")["argv"].clone();
    let outcome = drive_by(command.arg("drive"), &wanted);
    assert_eq!(outcome["exit"], json!({"code": 0}), "{outcome}");
    let gaps = outcome["enforced"]["gaps"].to_string();
    assert!(gaps.contains("memory is bounded for each process alone"), "{gaps}");
    assert!(gaps.contains("launching user"), "{gaps}");
    assert_eq!(outcome["enforced"]["cgroup"], json!(null));
}

/// An ordinary user can download too; that the download had the network, and no cgroup, is said.
#[test]
fn provisioning_needs_no_cgroup_where_steps_have_none() {
    let (_, path) = launcher();
    for (profile, reaches) in [("provision-no-cgroup", true), ("no-cgroup", false)] {
        let (mut command, _) = launcher();
        let mut wanted = described(&path, &[]);
        wanted["argv"] = script("grep -c : /proc/net/dev")["argv"].clone();
        wanted["closures"] = json!(["host"]);
        wanted["profile"] = json!(profile);
        let outcome = drive_by(command.arg("drive"), &wanted);
        assert!(outcome["error"].is_null(), "{outcome}");
        assert_eq!(outcome["enforced"]["profile"], profile, "{outcome}");
        assert_eq!(outcome["enforced"]["network"], if reaches { "host" } else { "none" });
        let gaps = outcome["enforced"]["gaps"].to_string();
        assert!(gaps.contains("memory is bounded for each process alone"), "{gaps}");
        assert_eq!(gaps.contains("the network of the host can be reached"), reaches, "{gaps}");
    }
}

#[test]
fn strict_refuses_without_a_cgroup() {
    let (mut command, path) = launcher();
    let mut wanted = described(&path, &["noop"]);
    wanted["profile"] = json!("strict");
    let outcome = drive_by(command.arg("drive"), &wanted);
    if outcome["exit"] == json!({"code": 0}) && !is_root() {
        println!("this user has a delegated cgroup");
        return;
    }
    assert_eq!(outcome["error"]["code"], "sandbox/unsupported", "{outcome}");
    assert!(outcome["error"]["hint"].as_str().unwrap().contains("--profile no-cgroup"), "{outcome}");
}

/// An ordinary launcher's mounts are found again by path: another file of that name must not take the place of the one
/// that was opened.
#[test]
fn a_swapped_mount_is_noticed() {
    let (mut command, path) = launcher();
    let folder = harness::scratch("swapped");
    let victim = folder.join("data");
    fs::write(&victim, "first").unwrap();
    let mut wanted = described(&path, &["attack", "read", "/in/data"]);
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&victim), "/in/data", false]));
    let control = drive_by(command.arg("drive"), &wanted);
    assert!(text(&control, "stdout").starts_with("ALLOWED"), "{control}");
    let (mut command, _) = launcher();
    wanted["replace_after_opening"] = json!(harness::string(&victim));
    let outcome = drive_by(command.arg("drive"), &wanted);
    assert_eq!(outcome["error"]["code"], "sandbox/setup", "{outcome}");
}
