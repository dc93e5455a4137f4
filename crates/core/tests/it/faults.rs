//! Faults: one table of small changes to the sample, each with the code, the place and the words of its diagnostic.

use seaworthy_core::plan;
use seaworthy_core::workflow::{CODES, Diagnostics, Severity, parse};

use crate::sample::{SAMPLE, SETTINGS, sources};

/// What a case replaces, by what, and the diagnostic it must give: code, the text that must stand at its place, words of message or hint.
struct Case {
    old: &'static str,
    new: &'static str,
    code: &'static str,
    at: &'static str,
    says: &'static str,
}

const fn case(old: &'static str, new: &'static str, code: &'static str, at: &'static str, says: &'static str) -> Case {
    Case { old, new, code, at, says }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // keys and values of the workflow file
    case("policy_gate: data", "polcy_gate: data", "workflow/unknown-key", "polcy_gate", "did you mean `policy_gate`?"),
    case("sandbox: true", "zzz: true", "workflow/unknown-key", "zzz", "known keys: "),
    case("sandbox: true", "sandbox: yes", "workflow/type", "yes", "true or false"),
    case("sandbox: true", "sandbox: \"true\"", "workflow/type", "\"true\"", "without quotes"),
    case("sandbox: true", "sandbox: false", "workflow/dev-only", "false", "environment: dev"),
    case("logging: enabled", "logging: disabled", "workflow/dev-only", "disabled", "staging"),
    case("logging: enabled", "logging: enabeld", "workflow/value", "enabeld", "did you mean `enabled`?"),
    case("integrity_check: sha256", "integrity_check: md5", "workflow/value", "md5", "sha256"),
    case("explainability: shap", "explainability: shape", "workflow/value", "shape", "did you mean `shap`?"),
    case("container: secure_preproc:2026.06", "container: secure_preproc", "workflow/value", "secure_preproc", "always carries a tag"),
    case("source: s3://data-lake/raw/", "source: ftp://data-lake/raw/", "workflow/value", "ftp://", "s3://"),
    case("source: s3://data-lake/raw/", "source: s3://data-lake/../etc/", "workflow/path", "s3://", ".."),
    case("canary: true", "canary: true\n          label: x", "workflow/misplaced-key", "label", "validate"),
    case("- preprocess:", "- ingest_data:", "workflow/duplicate-name", "ingest_data", "line 4"),
    case("- preprocess:", "- pre process:", "workflow/name", "pre process", "rename"),
    case("name: secure_ml_pipeline", "nam: secure_ml_pipeline", "workflow/unknown-key", "nam", "did you mean `name`?"),
    case("workflows:", "workflow:", "workflow/unknown-key", "workflow", "did you mean `workflows`?"),
    case("workflows:", "environment: dev\nworkflows:", "workflow/misplaced-key", "environment", "seaworthy.yaml"),
    case("          sandbox: true\n", "          sandbox: true\n          sandbox: true\n", "workflow/duplicate-key", "sandbox", "line 10"),
    case("sandbox: true", "timeout: 10", "workflow/type", "10", "10m"),
    case("sandbox: true", "timeout: 10m\n          resources: {memory: 4}", "workflow/type", "4", "4GiB"),
    case("sandbox: true", "resources: {memroy: 4GiB}", "workflow/unknown-key", "memroy", "did you mean `memory`?"),
    case("sandbox: true", "retries: 3", "workflow/type", "3", "a mapping"),
    case("sandbox: true", "retries: {on: [timed-out]}", "workflow/missing-key", "{on", "`max`"),
    case("sandbox: true", "retries: {max: 3}", "workflow/missing-key", "{max", "`on`"),
    case("sandbox: true", "retries: {max: 0, on: [killed]}", "workflow/type", "0", "1 to 100"),
    case("sandbox: true", "retries: {max: 3, on: []}", "workflow/value", "[]", "no cause"),
    case("sandbox: true", "retries: {max: 3, on: [timedout]}", "workflow/value", "timedout", "did you mean `timed-out`?"),
    case("sandbox: true", "retries: {max: 3, on: [exit-0]}", "workflow/value", "exit-0", "causes of a retry"),
    case("sandbox: true", "retries: {max: 3, backof: 1s, on: [killed]}", "workflow/unknown-key", "backof", "did you mean `backoff`?"),
    case("sandbox: true", "retries: {max: 3, backoff: 1, on: [killed]}", "workflow/type", "1", "a duration"),
    case("canary: true", "canary: true\n          retries: {max: 1, on: [killed]}", "workflow/misplaced-key", "retries", "train"),
    case("sandbox: true", "run: [python]", "workflow/key-in-both-files", "run:", "line 10"),
    case("sandbox: true", "needs: [ingest_dta]", "workflow/unknown-reference", "ingest_dta", "did you mean `ingest_data`?"),
    case("sandbox: true", "needs: [validate_model]", "plan/cycle", "[validate_model]", "`preprocess` → "),
    case("sandbox: true", "egress: [\"pypi.org\"]", "workflow/value", "\"pypi.org\"", "host:port"),
    case("sandbox: true", "egress: [\"127.0.0.1:443\"]", "workflow/value", "\"127.0.0.1:443\"", "loopback"),
    case("sandbox: true", "egress: [\"169.254.169.254:80\"]", "workflow/value", "\"169.254.169.254:80\"", "link-local"),
    case("sandbox: true", "egress: [\"pypі.org:443\"]", "workflow/value", "\"pypі.org:443\"", "xn--"),
    case("canary: true", "canary: true\n          egress: [\"pypi.org:443\"]", "workflow/misplaced-key", "egress", "train"),
    case("sandbox: true", "secrets: [\"secret://vault/db#user\"]", "secrets/provider", "\"secret://vault", "secret://file/NAME"),
    case("sandbox: true", "secrets: [db]", "secrets/reference", "db", "secret://file/NAME"),
    case("sandbox: true", "isolation: gvisor", "workflow/unsupported", "gvisor", "isolation: sandbox"),
    case("sandbox: true", "isolation: microvm", "workflow/unsupported", "microvm", "isolation: sandbox"),
    case("explainability: shap", "explainability: lime", "workflow/unsupported", "lime", "*Examine*"),
    case("sandbox: true", "params: {password: hunter2}", "workflow/literal-secret", "hunter2", "secret://"),
    case("sandbox: true", "params: {note: AKIAIOSFODNN7EXAMPLE}", "workflow/literal-secret", "AKIA", "AWS"),
    // the part of YAML that may be used
    case("sandbox: true", "sandbox: &a true", "workflow/yaml", "&a", "anchors"),
    case("sandbox: true", "sandbox: !!bool true", "workflow/yaml", "!!bool", "tags"),
    case("sandbox: true", "sandbox: *nothing", "workflow/yaml", "*nothing", "not YAML"),
    case("sandbox: true", "sandbox: [true", "workflow/yaml", "", "not YAML"),
    case("sandbox: true", "sandbox: true # \u{202e}", "workflow/yaml", "\u{202e}", "U+202E"),
    case("workflows:", "---\na: b\n---\nworkflows:", "workflow/yaml", "", "second document"),
    case("sandbox: true", "? [a]\n          : b", "workflow/yaml", "[a]", "key must be plain text"),
    // the settings file
    case("environment: staging", "enviroment: staging", "workflow/unknown-key", "enviroment", "did you mean `environment`?"),
    case("project: {", "# ", "workflow/missing-project", "", "add `project:"),
    case("owner: user:u7f3a, ", "", "workflow/missing-key", "project", "owner"),
    case("owner: user:u7f3a", "owner: u7f3a", "workflow/value", "u7f3a", "user:"),
    case("risk_class: high", "risk_class: hihg", "workflow/value", "hihg", "did you mean `high`?"),
    case("\"s3://data-lake/\"", "data-lake", "workflow/value", "data-lake", "prefix"),
    case("\"s3://data-lake/\": ./data/", "\"s3://data-lake/\": https://minio/data", "workflow/unsupported", "s3://data-lake/raw/", "no folder"),
    case("\"s3://data-lake/\": ./data/", "\"s3://other/\": ./data/", "plan/unmapped-source", "s3://data-lake/raw/", "sources"),
    case("{python: envs/train/requirements.lock}", "{pyton: envs/train/requirements.lock}", "workflow/unknown-key", "pyton", "did you mean `python`?"),
    case("{python: envs/train/requirements.lock}", "{python: ../requirements.lock}", "workflow/path", "../", "below the workspace"),
    case("\"ml_training:2026.06\": {", "\"ml_trainig:2026.06\": {", "plan/unknown-environment", "ml_training:2026.06", "did you mean `ml_trainig:2026.06`?"),
    case("secure_ml_pipeline/train_model:", "secure_ml_pipeline/train_modle:", "workflow/unknown-reference", "secure_ml_pipeline/train_modle", "did you mean `secure_ml_pipeline/train_model`?"),
    case("run: [python, train.py]", "run: python train.py", "workflow/type", "python train.py", "[python, train.py]"),
    case("run: [python, train.py]", "run: []", "workflow/value", "[]", "names no program"),
    case("run: [python, train.py], ", "", "plan/missing-key", "train_model", "`run`"),
    case("inputs: [preprocess/train]", "inputs: [preprocess/tain]", "workflow/unknown-reference", "preprocess/tain", "did you mean `preprocess/train`?"),
    case("inputs: [preprocess/train]", "inputs: [preproces/train]", "workflow/unknown-reference", "preproces/train", "did you mean `preprocess`?"),
    case("inputs: [preprocess/train]", "inputs: [train]", "workflow/type", "train", "step/output"),
    case("inputs: [preprocess/train]", "inputs: [preprocess/holdout]", "plan/held-out-in-training", "preprocess/holdout", "split the data"),
    case("inputs: [preprocess/train]", "inputs: [preprocess/train, preprocess/holdout]", "plan/held-out-in-training", "preprocess/holdout", "validate_model"),
    case("data: preprocess/holdout", "data: ingest_data/raw", "plan/held-out-in-training", "preprocess/train", "made from `ingest_data/raw`"),
    case("outputs: {model: {type: model, name: employment}}", "outputs: {model: model}", "workflow/missing-key", "model", "registered"),
    case("outputs: {raw: dataset}", "outputs: {raw: datset}", "workflow/value", "datset", "did you mean `dataset`?"),
    case("model: train_model/model,", "model: preprocess/train,", "workflow/type", "preprocess/train", "must name a model"),
    case("task: binary", "task: clustering", "workflow/value", "clustering", "multiclass"),
    case("label: employed, ", "", "plan/missing-key", "validate_model", "`label`"),
    case("code: src/, run: [python, train.py]", "code: /src, run: [python, train.py]", "workflow/path", "/src", "below the workspace"),
];

fn all(workflow: &str, settings: &str) -> Diagnostics {
    let (workspace, diagnostics) = parse(&sources(workflow, Some(settings)));
    assert_eq!(workspace.is_none(), diagnostics.has_errors());
    let Some(workspace) = workspace else { return diagnostics };
    let Some(name) = workspace.workflows.first().map(|workflow| workflow.name.to_string()) else {
        return diagnostics;
    };
    plan::build(&workspace, &name).err().unwrap_or_default()
}

/// The case applied to whichever file holds its text.
fn changed(case: &Case) -> (String, String) {
    let in_workflow = SAMPLE.contains(case.old);
    assert!(in_workflow || SETTINGS.contains(case.old), "{}: not in the sample", case.old);
    if in_workflow {
        (SAMPLE.replacen(case.old, case.new, 1), SETTINGS.to_owned())
    } else {
        (SAMPLE.to_owned(), SETTINGS.replacen(case.old, case.new, 1))
    }
}

#[test]
fn every_fault_has_its_code_place_line_and_hint() {
    assert!(all(SAMPLE, SETTINGS).is_empty(), "the control has no fault");
    let mut wrong = Vec::new();
    for case in CASES {
        let (workflow, settings) = changed(case);
        let diagnostics = all(&workflow, &settings);
        let found = diagnostics.iter().find(|d| d.code == case.code && (d.message.contains(case.says) || d.hint.contains(case.says)));
        let Some(found) = found else {
            wrong.push(format!("`{}`: no {} that says `{}` in\n{diagnostics}", case.new, case.code, case.says));
            continue;
        };
        assert_eq!(found.severity, Severity::Error);
        let file = if found.file.ends_with("workflow.yaml") { &workflow } else { &settings };
        let line = file.lines().nth(found.line - 1).unwrap_or("");
        if case.code != "workflow/literal-secret" {
            assert_eq!(found.source_line, line, "{}", case.new);
            let there: String = line.chars().skip(found.column - 1).collect();
            if !there.starts_with(case.at) {
                wrong.push(format!("{}: {found} points at `{there}`", case.new));
            }
        }
        assert!(!found.hint.is_empty() && !found.message.contains('\n'), "{found}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Faults that leave something unnamed, and so give others.
const WITH_CONSEQUENCES: &[&str] = &["workflow/name", "workflow/duplicate-name", "workflow/unknown-key", "workflow/unknown-reference"];

#[test]
fn one_fault_gives_one_error() {
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| !WITH_CONSEQUENCES.contains(&case.code)) {
        let (workflow, settings) = changed(case);
        let diagnostics = all(&workflow, &settings);
        if diagnostics.iter().filter(|d| d.severity == Severity::Error).count() != 1 {
            wrong.push(format!("`{}` gives\n{diagnostics}", case.new));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_of_both_files_are_reported_at_once() {
    let workflow = SAMPLE
        .replace("policy_gate: data", "polcy_gate: data")
        .replace("sandbox: true", "sandbox: maybe")
        .replace("canary: true", "canary: 3");
    let settings = SETTINGS
        .replace("risk_class: high", "risk_class: hihg")
        .replace("inputs: [preprocess/train]", "inputs: [preprocess/nothing]")
        .replace("task: binary", "task: 7");
    let (workspace, diagnostics) = parse(&sources(&workflow, Some(&settings)));
    assert!(workspace.is_none());
    let found: Vec<_> = diagnostics.iter().map(|d| (d.file.as_str(), d.line, d.code)).collect();
    let expected = [
        ("demo/seaworthy.yaml", 2, "workflow/value"),
        ("demo/seaworthy.yaml", 10, "workflow/unknown-reference"),
        ("demo/seaworthy.yaml", 11, "workflow/value"),
        ("demo/workflow.yaml", 7, "workflow/unknown-key"),
        ("demo/workflow.yaml", 10, "workflow/type"),
        ("demo/workflow.yaml", 21, "workflow/type"),
    ];
    assert_eq!(found, expected, "{diagnostics}");
}

#[test]
fn no_diagnostic_shows_a_literal_secret() {
    let token = ["ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    for secret in ["hunter2-hunter2", &token] {
        let line = format!(
            "sandbox: true\n          params: {{password: {secret}, other: 1}}\n          polcy: {{x: {secret}}}\n          kind: {secret}"
        );
        let diagnostics = all(&SAMPLE.replace("sandbox: true", &line), SETTINGS);
        assert!(diagnostics.iter().any(|d| d.code == "workflow/literal-secret"));
        let text = serde_json::to_string(&diagnostics).unwrap() + &diagnostics.to_string();
        let shown = diagnostics.iter().any(|d| d.code == "workflow/literal-secret" && d.source_line.contains("****"));
        assert!(shown, "{diagnostics}");
        if secret == token {
            assert!(!text.contains(secret), "{text}");
        } else {
            let at_password: Vec<_> = diagnostics.iter().filter(|d| d.line == 11).collect();
            assert!(at_password.iter().all(|d| !d.source_line.contains(secret) && !d.message.contains(secret)), "{diagnostics}");
        }
    }
}

#[test]
fn dev_may_switch_guards_off_and_needs_no_registration() {
    let workflow = SAMPLE.replace("sandbox: true", "sandbox: false").replace("logging: enabled", "logging: disabled");
    let settings = SETTINGS.replace("environment: staging", "environment: dev").replace("project: {", "# ");
    assert!(all(&workflow, &settings).is_empty());
    let staging = all(&workflow, &settings.replace("environment: dev", "environment: staging"));
    assert_eq!(staging.iter().map(|d| d.code).collect::<Vec<_>>(), ["workflow/missing-project", "workflow/dev-only", "workflow/dev-only"]);
}

#[test]
fn bounds_of_size_depth_and_steps_are_kept() {
    let deep = |levels: usize| SAMPLE.replace("sandbox: true", &format!("params: {{a: {}{}}}", "[".repeat(levels), "]".repeat(levels)));
    let codes = |text: &str| all(text, SETTINGS).iter().map(|d| d.code).collect::<Vec<_>>();
    assert_eq!(codes(&deep(50)), [] as [&str; 0]);
    assert_eq!(codes(&deep(64)), ["workflow/limit"]);
    assert!(codes(&deep(100_000)).iter().any(|code| ["workflow/limit", "workflow/yaml"].contains(code)));
    assert_eq!(codes(&format!("{SAMPLE}#{}", "x".repeat(4 * 1024 * 1024))), ["workflow/limit"]);
    let many =
        |count: usize| format!("workflows:\n- name: w\n  steps:\n{}", (0..count).map(|i| format!("  - s{i}:\n")).collect::<String>());
    let (_, diagnostics) = parse(&sources(&many(10_001), None));
    assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["workflow/limit"]);
    assert!(parse(&sources(&many(10_000), None)).0.is_some());
}

#[test]
fn bytes_that_are_not_utf8_are_refused_at_their_place() {
    let error = seaworthy_core::workflow::decode("w.yaml", b"a: b\nc: \xff\xfe\n").unwrap_err();
    let found: Vec<_> = error.iter().map(|d| (d.code, d.line, d.column)).collect();
    assert_eq!(found, [("workflow/encoding", 2, 4)]);
}

#[test]
fn codes_are_unique_sorted_and_the_only_ones() {
    assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
    for case in CASES {
        assert!(CODES.iter().any(|(code, _)| *code == case.code), "{}", case.code);
    }
}
