//! The example's gates: its own bounds, its cases, no mutation that passes.

use std::collections::BTreeMap;
use std::path::Path;

use seaworthy_core::digest::Digest;
use seaworthy_trust::gate::{Gate, mutate_input, mutate_policy, test_cases};

pub(crate) fn load(root: &str, name: &str) -> (Gate, BTreeMap<String, Vec<u8>>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(root).join(name);
    let mut files = BTreeMap::new();
    for (folder, prefix) in [(root.clone(), ""), (root.join("cases"), "cases/")] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            files.insert(format!("{prefix}{}", entry.file_name().to_str().unwrap()), std::fs::read(entry.path()).unwrap());
        }
    }
    (Gate::load(name, &files, Digest::of(name.as_bytes())).unwrap(), files)
}

#[test]
fn every_case_gets_its_answer_and_no_mutation_passes() {
    for name in ["data_schema_v2", "model_performance"] {
        let (gate, files) = load("examples/secure-ml-pipeline/policies", name);
        let wrong: Vec<_> = test_cases(&gate, gate.cases())
            .into_iter()
            .filter(|case| !case.ok)
            .map(|case| format!("{}: {}", case.name, case.message))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        let (_, shipped) = load("policies", name);
        for same in ["gate.rego", "contract.json"] {
            assert!(files[same] == shipped[same], "{name}/{same} is not the shipped one: only the bounds are this workspace's own");
        }
        let passing = gate.cases().iter().filter(|case| case.deny_checks.is_empty());
        let inputs: Vec<_> = passing.map(|case| mutate_input(&gate, &case.name, &case.input, &case.expectation(&gate))).collect();
        assert!(inputs.len() >= 3);
        let reports = inputs.into_iter().chain([mutate_policy(&gate, gate.cases())]);
        for report in reports {
            assert!(report.ok(), "{name} {} {}: {} {:#?}", report.mutated, report.case, report.fault, report.survivors);
        }
    }
}
