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
    let outcome =
        outputs("mkdir -p b/c && echo 1 > b/c/x && echo 22 > a && chmod 755 a && mkdir empty");
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
    assert_eq!(
        (&outcome["exit"], &outcome["outputs"][0]["files"][0]["path"]),
        (&json!({"code": 3}), &json!("log"))
    );
}

#[test]
fn everything_but_plain_files_is_refused_by_name() {
    let python = "import os,socket; ";
    let by_python = |text: &str| format!("/usr/bin/python3 -c '{python}{text}'");
    let cases = [
        (
            "ln -s /etc/passwd link".to_owned(),
            "sandbox/output-kind",
            "out/link",
        ),
        ("ln -s / link".to_owned(), "sandbox/output-kind", "out/link"),
        (
            "mkdir d && echo 1 > x && ln x d/second".to_owned(),
            "sandbox/output-kind",
            "hard link",
        ),
        (
            "ln /in/data linked || ln -s x linked".to_owned(),
            "sandbox/output-kind",
            "out/linked",
        ),
        (
            by_python("os.mkfifo(\"pipe\")"),
            "sandbox/output-kind",
            "out/pipe",
        ),
        (
            by_python("socket.socket(socket.AF_UNIX).bind(\"sock\")"),
            "sandbox/output-kind",
            "out/sock",
        ),
        (
            by_python("open(\"a\\nb\",\"w\")"),
            "sandbox/output-name",
            "\\n",
        ),
        (
            by_python("open(\"a\\x1b[2J\",\"w\")"),
            "sandbox/output-name",
            "\\x1b",
        ),
        (
            by_python("open(b\"\\xff\",\"w\")"),
            "sandbox/output-name",
            "\\xff",
        ),
        (
            by_python("open(\"a\\u202eb\",\"w\")"),
            "sandbox/output-name",
            "direction mark",
        ),
        (
            by_python(
                "os.truncate(os.open(\"sparse\",65),60*2**20); os.truncate(os.open(\"second\",65),60*2**20)",
            ),
            "sandbox/output-limit",
            "bytes",
        ),
        (
            by_python("[open(str(i),\"w\") for i in range(150)]"),
            "sandbox/output-limit",
            "100 files",
        ),
        (
            by_python("os.makedirs(\"/\".join([\"d\"]*40))"),
            "sandbox/output-limit",
            "nested",
        ),
        (
            "echo 1 > x && chmod 0 x && mkdir d && echo > d/y && chmod 0 d".to_owned(),
            "",
            "",
        ),
    ];
    for (text, code, told) in cases {
        let mut described = script(&format!("cd /out/out && {text}"));
        described["closures"] = json!(["host", "/usr/bin/python3"]);
        let outcome = drive(&described);
        if code.is_empty() {
            // Root reads it all the same; an ordinary user gets an error that names it. Never a silent hole.
            let (files, error) = (
                &outcome["outputs"][0]["files"],
                &outcome["outputs"]["error"]["code"],
            );
            assert!(
                files.as_array().is_some_and(|files| files.len() == 2)
                    || error == "sandbox/output-read",
                "{outcome}"
            );
            continue;
        }
        assert_eq!(
            outcome["outputs"]["error"]["code"], code,
            "{text}: {outcome}"
        );
        let message = outcome["outputs"]["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{text}: {message}");
    }
}

#[test]
fn one_file_cannot_pass_the_size_limit() {
    let mut described = script(
        "/usr/bin/python3 -c 'import os; os.truncate(os.open(\"/out/out/x\",65),10*2**40)'; echo $?",
    );
    described["closures"] = json!(["host", "/usr/bin/python3"]);
    let outcome = drive(&described);
    assert_ne!(outcome["stdout"]["text"], "0\n", "{outcome}");
}

#[test]
fn only_declared_outputs_exist() {
    let mut described = probe(&["attack", "create-in", "/out", "/out/other"]);
    described["outputs"] = json!(["one", "two"]);
    let outcome = drive(&described);
    assert!(
        outcome["stdout"]["text"]
            .as_str()
            .unwrap()
            .starts_with("BLOCKED"),
        "{outcome}"
    );
    let names: Vec<&Value> = outcome["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| &output["name"])
        .collect();
    assert_eq!(names, ["one", "two"]);
}
