//! The host's and an interpreter's closure, used.
//!
//! In: interpreters of this machine. Out: Python runs inside, without the host's packages.
//!
//! **Invariant:** what the closure does not list is not there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{drive, script, text};

const IMPORTS: &str = "import ctypes, ssl, sqlite3, lzma, bz2, zlib, hashlib, sys, os, multiprocessing
import site
print(sys.executable)
print(sum(len(os.listdir(path)) for path in site.getsitepackages() if os.path.isdir(path)))
print(multiprocessing.get_context('fork').Pool(2).map(abs, [-1, 2]))";

fn interpreters() -> Vec<String> {
    let mut found = vec!["/usr/bin/python3".to_owned()];
    // The one a developer uses, wherever it is.
    if let Ok(output) = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output() {
        found.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    found.retain(|path| Path::new(path).is_file());
    found.sort();
    found.dedup();
    found
}

#[test]
fn python_runs_without_the_hosts_packages() {
    let interpreters = interpreters();
    assert!(!interpreters.is_empty(), "no Python here");
    for python in interpreters {
        let mut described = script("");
        described["argv"] = json!([python, "-c", IMPORTS]);
        described["closures"] = json!(["host", python]);
        let outcome = drive(&described);
        assert_eq!(outcome["exit"], json!({"code": 0}), "{python}: {outcome}");
        let printed = text(&outcome, "stdout");
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[1..], ["0", "[1, 2]"], "{python}: {printed}");
    }
}

#[test]
fn the_host_closure_shows_no_more_than_it_lists() {
    let outcome = drive(&script("ls /usr/bin /usr/sbin /etc /home /root /opt 2>/dev/null | sort; command -v python3 curl perl"));
    let listed = text(&outcome, "stdout");
    assert!(listed.contains("cat\n") && listed.contains("sh\n"), "{listed}");
    for name in ["python3", "curl", "perl", "sudo", "mount", "passwd"] {
        assert!(!listed.lines().any(|line| line.ends_with(name)), "{name}: {listed}");
    }
}
