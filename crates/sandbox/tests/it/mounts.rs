//! How mounts are placed.
//!
//! In: folders with traps. Out: placed beneath the private root, or refused.
//!
//! **Invariant:** what lies in one mount never decides where another lands.

use std::fs;

use serde_json::json;

use crate::harness::{self, drive, probe, script, text};

#[test]
fn a_link_in_one_mount_does_not_lead_another() {
    let folder = harness::scratch("trap");
    std::os::unix::fs::symlink("/usr", folder.join("way")).unwrap();
    fs::create_dir(folder.join("plain")).unwrap();
    fs::write(folder.join("plain/data"), "outer").unwrap();
    let inner = folder.join("inner");
    fs::write(&inner, "inner").unwrap();
    let (folder, inner) = (harness::string(&folder), harness::string(&inner));
    for (target, code) in [("/in/plain/data", json!({"code": 0})), ("/in/way/bin/cat", json!(null)), ("/in/new", json!(null))] {
        let mut described = script(&format!("cat {target}"));
        let mounts = described["mounts"].as_array_mut().unwrap();
        mounts.push(json!([inner, target, false]));
        mounts.push(json!([folder, "/in", false]));
        let outcome = drive(&described);
        assert_eq!(outcome["exit"], code, "{target}: {outcome}");
        if code.is_null() {
            assert_eq!(outcome["error"]["code"], "sandbox/setup", "{target}: {outcome}");
        } else {
            assert_eq!(text(&outcome, "stdout"), "inner", "the inner mount lies on top");
        }
    }
}

#[test]
fn places_of_the_sandbox_itself_are_refused() {
    for target in ["/proc/self", "/dev/null", "/out/out/x", "/tmp/x", "/in/../etc", "relative"] {
        let mut described = probe(&["noop"]);
        described["mounts"].as_array_mut().unwrap().push(json!([harness::PROBE, target, false]));
        assert_eq!(drive(&described)["error"]["code"], "sandbox/spec", "{target}");
    }
}

#[test]
fn what_is_not_executable_cannot_be_executed() {
    let mut described = probe(&["noop"]);
    described["mounts"][0][2] = json!(false);
    assert_eq!(drive(&described)["error"]["code"], "sandbox/exec");
}

#[test]
fn small_files_are_there_and_nobody_can_change_them() {
    let mut described =
        script("cat /params/p.json; (echo x >/params/p.json || chmod 600 /params/p.json || rm -f /params/p.json) 2>/dev/null");
    described["texts"] = json!([["/params/p.json", "{\"a\":1}"]]);
    let outcome = drive(&described);
    assert_eq!((text(&outcome, "stdout").as_str(), &outcome["exit"]), ("{\"a\":1}", &json!({"code": 1})), "{outcome}");
    for (place, content) in [("/out/out/x", "x".to_owned()), ("/tmp/../x", "x".to_owned()), ("/x", "x".repeat(9 << 20))] {
        described["texts"] = json!([[place, content]]);
        assert_eq!(drive(&described)["error"]["code"], "sandbox/spec", "{place}");
    }
    // none takes the place of what a mount brings
    described["texts"] = json!([["/bin/sh", "x"]]);
    assert_eq!(drive(&described)["error"]["code"], "sandbox/setup");
}
