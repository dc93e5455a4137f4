//! Tests of gates: the shipped ones, and attacks on the machinery.

use super::*;

fn shipped() -> Vec<Gate> {
    builtin()
        .iter()
        .map(|(name, files)| {
            Gate::load(name, files, Digest::of(name.as_bytes()))
                .unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

#[test]
fn shipped_gates_satisfy_their_cases() {
    for gate in shipped() {
        let results = test_cases(&gate, gate.cases());
        assert!(results.len() > 20);
        let failed: Vec<String> = results
            .iter()
            .filter(|r| !r.ok)
            .map(|r| format!("{}: {} {:?}", r.name, r.message, r.decision.reasons))
            .collect();
        assert!(failed.is_empty(), "{}: {failed:#?}", gate.name());
    }
}

#[test]
fn no_mutant_of_passing_evidence_passes() {
    for gate in shipped() {
        for case in gate
            .cases()
            .iter()
            .filter(|case| case.deny_checks.is_empty())
        {
            let report = mutate_input(&gate, &case.name, &case.input, &case.expectation(&gate));

            assert!(report.ok(), "{report:#?}");
        }
    }
}

#[test]
fn no_mutant_of_a_shipped_policy_goes_unnoticed() {
    for gate in shipped() {
        let report = mutate_policy(&gate, gate.cases());
        eprintln!(
            "{}: {} mutants, {} refused",
            report.gate, report.total, report.refused
        );
        assert!(report.ok(), "{report:#?}");
    }
}
