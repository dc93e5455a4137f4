//! Tests of gates: the shipped ones, policies that must not load, answers that must not pass, inputs that must not be read.

mod answers;
mod inputs;
mod load;
mod shipped;

use super::*;

const SPEC: &str = "
gate: tiny
description: for tests
level: hard-mandatory
bounds: {quality_min: 0.5}
checks:
  quality: {path: quality, at_least: quality_min, fix: raise the quality}
";

const CONTRACT: &str = r#"{
  "type": "object",
  "properties": {
    "quality": {"type": "number", "minimum": 0, "maximum": 1},
    "label": {"type": "string", "minLength": 1, "maxLength": 20},
    "subject": {"type": "string", "format": "sha256", "x-expect": "subject"},
    "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 0, "maxItems": 3}
  },
  "required": ["quality", "label", "subject", "flags"],
  "additionalProperties": false
}"#;

const RESULT: &str = r#"package seaworthy.gate
result := {"checks": checks, "deny": deny}
deny contains "label" if input.label == "bad"
"#;

const CHECK: &str = r#"checks := {"quality": {
    "pass": input.quality >= data.bounds.quality_min, "got": input.quality, "want": data.bounds.quality_min, "message": "m"
}}"#;

fn files(policy: &str) -> GateFiles {
    [(SPEC_FILE, SPEC), (CONTRACT_FILE, CONTRACT), (POLICY_FILE, policy)]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
        .collect()
}

fn load(policy: &str) -> Result<Gate, GateLoadError> {
    Gate::load("tiny", &files(policy), Digest::of(b"tiny"))
}

fn tiny() -> Gate {
    load(&format!("{RESULT}{CHECK}")).unwrap_or_else(|error| panic!("{error}"))
}

fn subject() -> Digest {
    Digest::of(b"subject")
}

fn good_input() -> Value {
    serde_json::json!({"quality": 0.75, "label": "fine", "subject": subject().hex(), "flags": [true]})
}

fn decide(gate: &Gate, input: &[u8]) -> seaworthy_core::decision::GateDecision {
    gate.decide(input, &Expectation::new(subject()))
}

fn codes(decision: &seaworthy_core::decision::GateDecision) -> Vec<&str> {
    assert_eq!(decision.pass, decision.reasons.is_empty());
    assert!(decision.reasons.iter().all(|r| !r.rule.is_empty() && !r.message.is_empty() && !r.hint.is_empty()));
    decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

/// What the same policy text answers in the bare engine, with defaults: the control.
fn bare(policy: &str, input: &str, rule: &str) -> regorus::Value {
    let mut engine = regorus::Engine::new();
    engine.add_policy("p.rego".to_owned(), policy.to_owned()).unwrap();
    engine.add_data_json(r#"{"bounds": {"quality_min": 0.5}}"#).unwrap();
    engine.set_input_json(input).unwrap();
    engine.eval_rule(format!("data.seaworthy.gate.{rule}")).unwrap()
}
