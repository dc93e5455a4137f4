//! The shipped gates: their cases, and no mutant that survives.

use std::collections::BTreeSet;

use super::*;

fn shipped() -> Vec<Gate> {
    builtin()
        .iter()
        .map(|(name, files)| Gate::load(name, files, Digest::of(name.as_bytes())).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

#[test]
fn shipped_gates_satisfy_their_cases() {
    for gate in shipped() {
        let results = test_cases(&gate, gate.cases());
        assert!(results.len() > 20);
        let failed: Vec<String> =
            results.iter().filter(|r| !r.ok).map(|r| format!("{}: {} {:?}", r.name, r.message, r.decision.reasons)).collect();
        assert!(failed.is_empty(), "{}: {failed:#?}", gate.name());
    }
}

#[test]
fn no_mutant_of_passing_evidence_passes() {
    for gate in shipped() {
        for case in gate.cases().iter().filter(|case| case.deny_checks.is_empty()) {
            let report = mutate_input(&gate, &case.name, &case.input, &case.expectation(&gate));

            assert!(report.ok(), "{report:#?}");
        }
    }
}

#[test]
fn no_mutant_of_a_shipped_policy_goes_unnoticed() {
    for gate in shipped() {
        let report = mutate_policy(&gate, gate.cases());
        assert!(report.ok(), "{report:#?}");
    }
}

#[test]
fn every_file_of_policies_is_embedded() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut folders = 0;
    for (name, files) in builtin() {
        folders += 1;
        let mut found = GateFiles::new();
        for (folder, prefix) in [(root.join(name), ""), (root.join(name).join("cases"), "cases/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let file = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
                    found.insert(file, std::fs::read(path).unwrap());
                }
            }
        }
        assert!(files == found, "{name}: builtin.rs does not list what lies in policies/{name}");
    }
    assert_eq!(std::fs::read_dir(root).unwrap().count(), folders);
}

#[test]
fn a_gate_whose_cases_are_few_lets_mutants_live() {
    // the control of the mutation test: with one passing case alone, most mutants go unnoticed
    for gate in shipped() {
        let passing: Vec<Case> = gate.cases().iter().filter(|case| case.deny_checks.is_empty()).take(1).cloned().collect();
        let report = mutate_policy(&gate, &passing);
        assert!(!report.ok() && !report.survivors.is_empty());
    }
}

/// Every digest that a contract binds must be the one the engine knows: evidence about another schema judges nothing.
#[test]
fn evidence_under_another_schema_data_or_reference_is_refused() {
    let mut refused = BTreeSet::new();
    for gate in shipped() {
        let case = gate.cases().iter().find(|case| case.deny_checks.is_empty()).unwrap();
        let (input, known) = (seaworthy_core::json_strict::to_canonical(&case.input), case.expectation(&gate));
        assert!(gate.decide(&input, &known).pass, "control: under the pinned digests it passes");
        for name in ["schema", "data", "reference"] {
            let other = gate.decide(&input, &known.clone().with(name, Digest::of(b"another")));
            if !other.pass {
                assert_eq!(codes(&other), ["gate/expectation"], "{name}: {:?}", other.reasons);
                refused.insert((gate.name().to_owned(), name));
            }
        }
    }
    let wanted = [("data_schema_v2", "schema"), ("model_performance", "data"), ("model_performance", "reference")];
    assert_eq!(refused, wanted.into_iter().map(|(gate, name)| (gate.to_owned(), name)).collect());
}

/// `cargo test -p seaworthy-trust --release -- --ignored --nocapture decision_time` prints the figure.
#[test]
#[ignore = "a measurement"]
fn decision_time() {
    for gate in shipped() {
        let case = &gate.cases().iter().find(|case| case.deny_checks.is_empty()).unwrap();
        let (input, expected) = (seaworthy_core::json_strict::to_canonical(&case.input), case.expectation(&gate));
        let mut times: Vec<u128> = (0..500)
            .map(|_| {
                let start = std::time::Instant::now();
                assert!(gate.decide(&input, &expected).pass);
                start.elapsed().as_micros()
            })
            .collect();
        times.sort_unstable();
        println!("{}: p50 {} us, p99 {} us", gate.name(), times[250], times[495]);
    }
}

#[test]
fn a_check_reports_what_is_wrong() {
    for (name, files) in builtin() {
        let report = check_gate(name, &files, Digest::of(b"x"));
        assert!(report.ok && report.cases_pass > 2 && report.cases_deny > 15, "{report:?}");
        let mut untested = files.clone();
        untested.retain(|path, _| !path.starts_with("cases/"));
        assert_eq!(check_gate(name, &untested, Digest::of(b"x")).problems[0].code, "gate/untested");
        assert_eq!(check_gate("other", &files, Digest::of(b"x")).problems[0].code, "gate/spec_invalid");
    }
}

/// The guide's example is a gate.
#[test]
fn the_gate_of_the_guide_loads_and_decides() {
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guides/write-a-gate.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let block = |kind: &str, holding: &str| {
        let mut blocks = guide.split("```").filter_map(|text| text.strip_prefix(kind));
        blocks.find(|text| text.contains(holding)).unwrap().to_owned()
    };
    let number = r#"{"type": "number", "minimum": 0, "maximum": 60}"#;
    let contract = format!(
        r#"{{"type": "object",
        "properties": {{"latency": {{"type": "object", "properties": {{"p50": {number}, "p99": {number}}},
                        "required": ["p50", "p99"], "additionalProperties": false}}}},
        "required": ["latency"], "additionalProperties": false}}"#
    );
    let files: GateFiles =
        [(SPEC_FILE, block("yaml", "gate: latency")), (CONTRACT_FILE, contract), (POLICY_FILE, block("rego", "package"))]
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.into_bytes()))
            .collect();
    let gate = Gate::load("latency", &files, Digest::of(b"")).unwrap_or_else(|error| panic!("{error}"));
    let ask = |text: &str| gate.decide(text.as_bytes(), &Expectation::new(Digest::of(b"")));
    assert!(ask(r#"{"latency": {"p50": 0.01, "p99": 0.05}}"#).pass);
    let slow = ask(r#"{"latency": {"p50": 0.08, "p99": 0.06}}"#);
    assert_eq!(slow.reasons.iter().map(|r| r.rule.as_str()).collect::<Vec<_>>(), ["p99", "order"]);
}

/// The example's copies differ from the shipped gates in bounds and cases only, and are tested as strictly.
#[test]
fn the_gates_of_the_example_hold() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline/policies");
    for (name, shipped) in builtin() {
        let mut files: GateFiles =
            shipped.keys().filter(|path| !path.starts_with("cases/")).map(|path| (path.clone(), Vec::new())).collect();
        for (path, bytes) in &mut files {
            *bytes = std::fs::read(root.join(name).join(path)).unwrap();
        }
        for path in [CONTRACT_FILE, POLICY_FILE] {
            assert!(files[path] == shipped[path], "{name}/{path} differs from the shipped one");
        }
        for entry in std::fs::read_dir(root.join(name).join("cases")).unwrap() {
            let path = entry.unwrap().path();
            files.insert(format!("cases/{}", path.file_name().unwrap().to_str().unwrap()), std::fs::read(path).unwrap());
        }
        let gate = Gate::load(name, &files, Digest::of(b"x")).unwrap_or_else(|error| panic!("{error}"));
        let failed: Vec<_> = test_cases(&gate, gate.cases()).into_iter().filter(|r| !r.ok).map(|r| (r.name, r.message)).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        let report = mutate_policy(&gate, gate.cases());
        assert!(report.ok(), "{report:#?}");
    }
}
