//! The profile without namespaces: places, limits, what is attested, what is left behind.
//!
//! In: scripts. Out: what they saw; the report.
//!
//! **Invariant:** what it cannot stop is in the report by number.

use serde_json::json;

use crate::harness::{self, drive, script, text};

fn described(line: &str) -> serde_json::Value {
    let mut described = script(line);
    described["profile"] = json!("landlock");
    described["closures"] = json!([]);
    for (host, place) in
        [("/usr", "/usr"), ("/bin", "/bin"), ("/lib", "/lib"), ("/lib64", "/lib64"), ("/etc/ld.so.cache", "/etc/ld.so.cache")]
    {
        if std::path::Path::new(host).exists() {
            described["mounts"].as_array_mut().unwrap().push(json!([host, place, true]));
        }
    }
    described["env"]["SEAWORTHY_INPUTS"] = json!("/in");
    described["env"]["SEAWORTHY_OUTPUTS"] = json!("/out");
    described["env"]["TMPDIR"] = json!("/tmp");
    described
}

#[test]
fn places_are_found_by_the_variables_and_results_are_collected() {
    let folder = harness::scratch("landlock");
    std::fs::write(folder.join("data"), "seen\n").unwrap();
    let line = "cat $SEAWORTHY_INPUTS/d/data && cp $SEAWORTHY_INPUTS/d/data $SEAWORTHY_OUTPUTS/out/copy && pwd && echo $SEAWORTHY_OUTPUTS";
    let mut wanted = described(line);
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&folder), "/in/d", false]));
    let outcome = drive(&wanted);
    assert_eq!(outcome["exit"], json!({"code": 0}), "{outcome}");
    let printed = text(&outcome, "stdout");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((lines[0], outcome["outputs"][0]["files"][0]["start"].as_str()), ("seen", Some("seen\n")), "{outcome}");
    let view = lines[2].strip_suffix("/out").unwrap();
    assert_eq!(lines[1], format!("{view}/tmp"));
    assert!(!std::path::Path::new(view).exists(), "its folder is gone when it is over");
}

#[test]
fn the_report_says_that_there_were_no_namespaces_and_what_was_open() {
    let outcome = drive(&described("true"));
    let enforced = &outcome["enforced"];
    assert_eq!((&enforced["namespaces"], &enforced["network"]), (&json!([]), &json!("none")), "{outcome}");
    assert!(enforced["gaps"].to_string().contains("no namespaces"), "{enforced}");
    let open = enforced["not_stopped"].as_array().unwrap();
    assert!(open.contains(&json!(6)) && open.contains(&json!(50)) && !open.contains(&json!(2)), "{enforced}");
    assert_eq!(open.contains(&json!(45)), !harness::is_root(), "{enforced}");
}

/// A host file that everybody may read, and one of the launching user's own.
#[test]
fn nothing_is_read_that_was_not_shown() {
    let secret = harness::scratch("landlock-secret").join("key");
    std::fs::write(&secret, "key").unwrap();
    for path in ["/etc/hostname", "/etc/passwd", "/proc/self/status", secret.to_str().unwrap()] {
        let outcome = drive(&described(&format!("cat {path}")));
        assert_ne!(outcome["exit"], json!({"code": 0}), "{path}: {outcome}");
    }
    // control: without the sandbox each can be read
    assert!(std::fs::read("/etc/passwd").is_ok() && std::fs::read(&secret).is_ok());
}

#[test]
fn a_folder_closed_by_the_step_is_removed_all_the_same() {
    let outcome = drive(&described("mkdir -p $TMPDIR/a/b && chmod 0 $TMPDIR/a && echo $TMPDIR"));
    let printed = text(&outcome, "stdout");
    assert!(printed.contains("seaworthy-step-") && !std::path::Path::new(printed.trim()).exists(), "{outcome}");
}
