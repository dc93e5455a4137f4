//! Policies that answer badly: each must deny, beside the answer that passes.

use std::time::{Duration, Instant};

use seaworthy_core::json_strict::to_canonical;

use super::*;

const HEAD: &str = "package seaworthy.gate\n";

fn answer(policy: &str) -> seaworthy_core::decision::GateDecision {
    let gate = load(policy).unwrap_or_else(|error| panic!("{policy}\n{error}"));
    decide(&gate, &to_canonical(&good_input()))
}

fn check(pass: &str, got: &str, want: &str) -> String {
    format!(r#"{{"quality": {{"pass": {pass}, "got": {got}, "want": {want}, "message": "m"}}}}"#)
}

#[test]
fn only_positive_evidence_passes() {
    let honest = check("input.quality >= data.bounds.quality_min", "input.quality", "data.bounds.quality_min");
    let result = |checks: &str, deny: &str| format!("{HEAD}result := {{\"checks\": {checks}, \"deny\": {deny}}}\n");
    assert!(answer(&result(&honest, "set()")).pass, "the control passes");

    let cases = [
        (result(&check("true", "0.9", "data.bounds.quality_min"), "set()"), "gate/check_disagrees"),
        (result(&check("true", "\"0.75\"", "data.bounds.quality_min"), "set()"), "gate/check_disagrees"),
        (result(&check("true", "input.quality", "0.1"), "set()"), "gate/check_disagrees"),
        (result(&check("false", "input.quality", "data.bounds.quality_min"), "set()"), "gate/check_disagrees"),
        (result(&check("\"true\"", "input.quality", "data.bounds.quality_min"), "set()"), "gate/result_shape"),
        (result(&check("1", "input.quality", "data.bounds.quality_min"), "set()"), "gate/result_shape"),
        (result(&check("null", "input.quality", "data.bounds.quality_min"), "set()"), "gate/result_shape"),
        (result("{}", "set()"), "gate/check_missing"),
        (result("{\"quality\": true}", "set()"), "gate/result_shape"),
        (result("{\"quality\": {\"pass\": true}}", "set()"), "gate/result_shape"),
        (result("[]", "set()"), "gate/result_shape"),
        (result("true", "set()"), "gate/result_shape"),
        (result(&honest, "{\"a\"}"), "gate/denied"),
        (result(&honest, "{{\"rule\": \"r\", \"message\": \"m\"}}"), "gate/denied"),
        (result(&honest, "{}"), "gate/result_shape"),
        (result(&honest, "[]"), "gate/result_shape"),
        (result(&honest, "false"), "gate/result_shape"),
        (result(&honest, "null"), "gate/result_shape"),
        (format!("{HEAD}result := {honest}\n"), "gate/result_shape"),
        (format!("{HEAD}result := true\n"), "gate/result_shape"),
        (format!("{HEAD}result := {{\"checks\": {honest}}}\n"), "gate/result_shape"),
        (format!("{HEAD}result := {{\"checks\": {honest}, \"deny\": set(), \"allow\": true}}\n"), "gate/result_shape"),
        (format!("{HEAD}result := {{\"checks\": {honest}, \"deny\": set()}} if input.label == \"never\"\n"), "gate/undefined"),
        (format!("{HEAD}result := {{\"checks\": {honest}, \"deny\": set()}} if input.flags[2]\n"), "gate/undefined"),
        (format!("{HEAD}result := {{\"checks\": {honest}, \"deny\": {{1 / (input.quality - 0.75)}}}}\n"), "gate/policy_error"),
        (
            format!("{HEAD}result := {{\"checks\": {honest}, \"deny\": set()}}\nresult := {{\"checks\": {{}}, \"deny\": set()}}\n"),
            "gate/policy_error",
        ),
    ];
    for (policy, code) in cases {
        let decision = answer(&policy);
        assert!(!decision.pass, "{policy}");
        assert_eq!(codes(&decision)[0], code, "{policy}: {:?}", decision.reasons);
    }
}

#[test]
fn a_policy_that_refers_to_itself_denies() {
    let policy = format!("{RESULT}{CHECK}\ndeny contains \"x\" if p\np if q\nq if p\n");
    assert_eq!(codes(&answer(&policy)), ["gate/policy_error"]);
}

#[test]
fn an_extra_check_is_not_accepted() {
    let policy = format!("{RESULT}checks := object.union(honest, {{\"other\": honest.quality}})\n{}", CHECK.replace("checks", "honest"));
    assert_eq!(codes(&answer(&policy)), ["gate/check_unknown"]);
}

#[test]
fn a_policy_without_end_is_stopped() {
    let list = format!("[{}]", (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(",\n"));
    let policy =
        format!("{RESULT}{CHECK}\nl := {list}\ndeny contains \"x\" if {{ some a in l; some b in l; some c in l; (a + b) + c == -1 }}\n");
    let start = Instant::now();
    assert_eq!(codes(&answer(&policy)), ["gate/timeout"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn shapes_that_fail_open_in_rego_do_not_here() {
    // the controls: with the evidence missing, the bare engine lets each of these pass
    let open = [
        ("default allow := true\nallow := false if input.quality < 0.5\n", "allow", "true"),
        ("allow if not too_low\ntoo_low if input.quality < 0.5\n", "allow", "true"),
        ("deny contains \"low\" if input.quality < 0.5\n", "deny", "[]"),
    ];
    for (policy, rule, passing) in open {
        let naive = bare(&format!("{HEAD}{policy}"), "{}", rule).to_json_str().unwrap();
        assert_eq!(naive, passing, "the control: {policy}");
    }
    assert!(load(&format!("{RESULT}{CHECK}\n{}", open[0].0)).is_err());
    for (policy, ..) in &open[1..] {
        let gate = load(&format!("{RESULT}{CHECK}\n{policy}")).unwrap();
        assert!(decide(&gate, &to_canonical(&good_input())).pass);
        assert_eq!(codes(&decide(&gate, b"{}"))[0], "gate/contract");
    }
}

#[test]
fn a_failed_check_says_rule_evidence_and_way_out() {
    let mut input = good_input();
    input["quality"] = serde_json::json!(0.25);
    let decision = decide(&tiny(), &to_canonical(&input));
    let reason = &decision.reasons[0];
    assert_eq!((reason.code.as_str(), reason.rule.as_str()), ("gate/check_failed", "quality"));
    assert_eq!(reason.message, "quality is 0.25, wanted at least 0.5 (quality_min)");
    assert_eq!(reason.hint, "raise the quality");
    assert_eq!(decision.checks["quality"].got, serde_json::json!(0.25));
    assert!(!decision.checks["quality"].pass);
}
