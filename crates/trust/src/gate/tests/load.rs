//! Folders that must not load, each beside the one that does.

use super::*;

#[test]
fn policies_that_could_pass_without_evidence_do_not_load() {
    let refused = [
        ("default allow := true\n", "default of true"),
        ("default table := {\"a\": [true]}\n", "default of true"),
        ("default result := {\"checks\": {}, \"deny\": set()}\n", "no default"),
        ("x := http.send({\"url\": \"http://a\"})\n", "`http.send` is not allowed"),
        ("x := time.now_ns()\n", "`time.now_ns` is not allowed"),
        ("x := rand.intn(\"a\", 10)\n", "`rand.intn` is not allowed"),
        ("x := opa.runtime()\n", "`opa.runtime` is not allowed"),
        ("x := numbers.range(1, 1000000000)\n", "`numbers.range` is not allowed"),
        ("x if print(\"a\")\n", "`print` is not allowed"),
        ("x := no_such_function(1)\n", "`no_such_function` is not allowed"),
        ("x if not count(input.flags)\n", "`not` over a call"),
        ("x if not is_number(object.get(input.label, \"a\", null))\n", "`not` over a call"),
        ("x if not contains(lower(input.label), \"a\")\n", "`not` over a call"),
        ("x := data.seaworthy.other\n", "is not defined"),
        ("x if not data.bounds.qualty_min\n", "is not defined"),
        ("x := data.bounds[input.label]\n", "is not defined"),
        ("x := data\n", "is not defined"),
        ("x := input.qualty\n", "is not in the contract"),
        ("x := input[\"qualty\"]\n", "is not in the contract"),
        ("x := input.quality.value\n", "is not in the contract"),
        ("x if input.label >= 0.5\n", "no number by the contract"),
        ("x if \"0.9\" < input.quality\n", "no number by the contract"),
        ("x if checks with input as {}\n", "replace the evidence"),
        ("x := sprintf(\"%999999999d\", [1])\n", "literal format"),
        ("x := sprintf(input.label, [1])\n", "literal format"),
        ("count := 1\n", "may not be named"),
        ("x := chekcs\n", "no rule and no declared variable"),
        ("x if input.flags[i]\n", "no rule and no declared variable"),
        ("x if { some data in [1]; data == 1 }\n", "rebound"),
        ("f(input) := 1\n", "rebound"),
    ];
    assert!(load(&format!("{RESULT}{CHECK}")).is_ok(), "the control loads");
    for (text, part) in refused {
        let error = load(&format!("{RESULT}{CHECK}\n{text}")).err().unwrap_or_else(|| panic!("loaded: {text}"));
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert_eq!(error.code(), "gate/policy_refused", "{text}");
    }
}

#[test]
fn texts_that_are_no_gate_do_not_load() {
    let deep = format!("{RESULT}{CHECK}\nx := {}1{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let chain = format!("{RESULT}{CHECK}\nx := 1{}\n", "\n+ 1".repeat(20_000));
    let ladder = format!("{RESULT}{CHECK}\nx := {}1{}\n", format!("(1{} + ", " + 1".repeat(60)).repeat(30), ")".repeat(30));
    let negations = format!("{RESULT}{CHECK}\nx := {}1\n", "-".repeat(900));
    let refused = [
        "".to_owned(),
        "package seaworthy.gate".to_owned(),
        "package seaworthy.gate\nresult { true }".to_owned(),
        format!("{}\nallow {{ input.quality > 0 }}", RESULT),
        format!("package seaworthy.gates\n{CHECK}\nresult := {{\"checks\": checks, \"deny\": set()}}"),
        format!("import data.bounds as b\n{RESULT}{CHECK}"),
        RESULT.to_owned(),
        format!("{RESULT}{CHECK}\nx := chekcs\n"),
        format!("{RESULT}{CHECK}\n#{}\n", "x".repeat(300_000)),
        format!("{RESULT}{CHECK}\nx if {{ input := {{\"quality\": 1}}; input.quality == 1 }}\n"),
        deep,
        chain,
        ladder,
        negations,
    ];
    for text in refused {
        let shown: String = text.chars().take(300).collect();
        assert!(load(&text).is_err(), "loaded: {shown}");
    }
    let aliased = RESULT.replace("package seaworthy.gate\n", "package seaworthy.gate\nimport data.bounds as b\n");
    assert_eq!(load(&format!("{aliased}{CHECK}")).err().unwrap().code(), "gate/policy_refused");
}

#[test]
fn specs_that_ask_for_nothing_or_for_what_is_not_there_do_not_load() {
    let refused = [
        ("gate: tiny", "gate: other", "folder"),
        ("level: hard-mandatory", "level: optional", "optional"),
        ("{quality_min: 0.5}", "{quality_min: high}", "number"),
        ("{quality_min: 0.5}", "{quality_min: 0.5, qualty_max: 1}", "read by no check"),
        ("{quality_min: 0.5}", "{quality_max: 0.5}", "quality_min"),
        ("path: quality,", "path: qualty,", "not in the contract"),
        ("path: quality,", "path: label,", "another type"),
        ("at_least: quality_min,", "at_least: quality_min, at_most: quality_min,", "one of"),
        ("at_least: quality_min,", "at_leats: quality_min,", "at_leats"),
        ("fix: raise the quality", "fix: ''", "fix"),
        ("fix: raise the quality", "when: {label: [a]}, fix: x", "discriminator"),
        ("level:", "level: advisory\nlevel:", "duplicate key"),
    ];
    for (from, to, part) in refused {
        assert!(SPEC.contains(from));
        let mut files = files(&format!("{RESULT}{CHECK}"));
        files.insert(SPEC_FILE.to_owned(), SPEC.replace(from, to).into_bytes());
        let error = Gate::load("tiny", &files, Digest::of(b"")).err().unwrap_or_else(|| panic!("loaded: {to}"));
        assert!(error.to_string().contains(part), "{to}: {error}");
    }
}

#[test]
fn folders_with_a_file_too_many_or_too_few_do_not_load() {
    let whole = files(&format!("{RESULT}{CHECK}"));
    for name in whole.keys() {
        let mut fewer = whole.clone();
        fewer.remove(name);
        assert_eq!(Gate::load("tiny", &fewer, Digest::of(b"")).err().unwrap().code(), "gate/file_missing");
    }
    for extra in ["gate2.rego", "cases/a/b.json", "cases/a.rego", "cases/.json", "../gate.yaml", "/gate.yaml", ".git"] {
        let mut more = whole.clone();
        more.insert(extra.to_owned(), Vec::new());
        assert_eq!(Gate::load("tiny", &more, Digest::of(b"")).err().unwrap().code(), "gate/file_unknown", "{extra}");
    }
    let cases = [
        r#"{"name": "a", "expect": "pass"}"#,
        r#"{"name": "a", "expect": "pass", "deny_checks": ["quality"], "input": {}}"#,
        r#"{"name": "a", "expect": "deny", "input": {}}"#,
        r#"{"name": "a", "expect": "maybe", "input": {}}"#,
        r#"{"name": "a", "expect": "pass", "input": {}, "input": {}}"#,
    ];
    for case in cases {
        let mut more = whole.clone();
        more.insert("cases/a.json".to_owned(), case.as_bytes().to_vec());
        assert_eq!(Gate::load("tiny", &more, Digest::of(b"")).err().unwrap().code(), "gate/case_invalid", "{case}");
    }
}
