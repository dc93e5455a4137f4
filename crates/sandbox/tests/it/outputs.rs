//! 47: what a step may leave behind.
//!
//! In: scripts that write outputs. Out: files, or the refusal that names the culprit.
//!
//! **Invariant:** a refusal never comes with files.

use serde_json::{Value, json};

use crate::harness::{drive, probe, script};

fn outputs(text: &str) -> Value {
    drive(&script(&format!("cd /out/out && {text}")))
}

#[test]
fn plain_files_arrive_sorted() {
    let outcome = outputs("mkdir -p b/c && echo 1 > b/c/x && echo 22 > a && chmod 755 a && mkdir empty");
    assert_eq!(
        outcome["outputs"],
        json!([{"name": "out", "files": [
            {"path": "a", "size": 3, "executable": true, "start": "22\n"},
            {"path": "b/c/x", "size": 2, "executable": false, "start": "1\n"},
        ]}]),
        "{outcome}"
    );
}

#[test]
fn outputs_are_collected_from_failed_steps_too() {
    let outcome = outputs("echo 1 > log; exit 3");
    assert_eq!((&outcome["exit"], &outcome["outputs"][0]["files"][0]["path"]), (&json!({"code": 3}), &json!("log")));
}

/// Shell line, code, part of the message. `py` runs the rest in Python.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str)] = &[
    ("ln -s /etc/passwd link", "sandbox/output-kind", "out/link"),
    ("ln -s / link", "sandbox/output-kind", "out/link"),
    ("mkdir d && echo 1 > x && ln x d/second", "sandbox/output-kind", "hard link"),
    ("py os.mkfifo('pipe')", "sandbox/output-kind", "out/pipe"),
    ("py socket.socket(socket.AF_UNIX).bind('sock')", "sandbox/output-kind", "out/sock"),
    (r"py open('a\nb','w')", "sandbox/output-name", r"\n"),
    (r"py open('a\x1b[2J','w')", "sandbox/output-name", r"\x1b"),
    (r"py open(b'\xff','w')", "sandbox/output-name", r"\xff"),
    (r"py open('a\u202eb','w')", "sandbox/output-name", "direction mark"),
    ("py [os.truncate(os.open(name,65),60*2**20) for name in ('a','b')]", "sandbox/output-limit", "bytes"),
    ("py [open(str(i),'w') for i in range(150)]", "sandbox/output-limit", "100 files"),
    ("py os.makedirs('/'.join(['d']*40))", "sandbox/output-limit", "nested"),
];

fn written(line: &str) -> Value {
    let Some(python) = line.strip_prefix("py ") else {
        return outputs(line);
    };
    let mut described = script("");
    described["argv"] = json!(["/usr/bin/python3", "-c", format!("import os, socket; {python}")]);
    described["workdir"] = json!("/out/out");
    described["env"] = json!({"PYTHONUTF8": "1"});
    described["closures"] = json!(["host", "/usr/bin/python3"]);
    drive(&described)
}

#[test]
fn everything_but_plain_files_is_refused_by_name() {
    for (line, code, told) in REFUSED {
        let outcome = written(line);
        assert_eq!(outcome["exit"], json!({"code": 0}), "{line}: {outcome}");
        assert_eq!(outcome["outputs"]["error"]["code"], *code, "{line}: {outcome}");
        let message = outcome["outputs"]["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{line}: {message}");
    }
}

/// Root reads it all the same; an ordinary user gets an error that names it. Never a silent hole.
#[test]
fn what_cannot_be_read_is_not_skipped() {
    let outcome = outputs("echo 1 > x && mkdir d && echo 1 > d/y && chmod 0 x d");
    let files = outcome["outputs"][0]["files"].as_array().map(Vec::len);
    let code = &outcome["outputs"]["error"]["code"];
    assert!(files == Some(2) || code == "sandbox/output-read", "{outcome}");
}

/// 45: an input has one name, in its own place.
#[test]
fn inputs_cannot_be_linked_into_outputs() {
    let mut described = script("ln /probe /out/out/linked");
    described["outputs"] = json!(["out"]);
    let outcome = drive(&described);
    assert_ne!(outcome["exit"], json!({"code": 0}), "{outcome}");
    assert_eq!(outcome["outputs"], json!([{"name": "out", "files": []}]));
}

#[test]
fn one_file_cannot_pass_the_size_limit() {
    let mut described = script("/usr/bin/python3 -c 'import os; os.truncate(os.open(\"/out/out/x\",65),10*2**40)'; echo $?");
    described["closures"] = json!(["host", "/usr/bin/python3"]);
    let outcome = drive(&described);
    assert_ne!(outcome["stdout"]["text"], "0\n", "{outcome}");
}

#[test]
fn only_declared_outputs_exist() {
    let mut described = probe(&["attack", "create-in", "/out", "/out/other"]);
    described["outputs"] = json!(["one", "two"]);
    let outcome = drive(&described);
    assert!(outcome["stdout"]["text"].as_str().unwrap().starts_with("BLOCKED"), "{outcome}");
    let names: Vec<&Value> = outcome["outputs"].as_array().unwrap().iter().map(|output| &output["name"]).collect();
    assert_eq!(names, ["one", "two"]);
}
