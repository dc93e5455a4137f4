//! Mutates a passing input: each path deleted, nulled, retyped, emptied, flipped, moved across its bounds, or given
//! another digest; keys doubled and added.
//!
//! in: a gate and a passing input; out: the mutants that still pass.
//! **Invariant:** the input as it stands must pass, otherwise the report says so and counts nothing.

use seaworthy_core::json_strict;
use serde_json::{Map, Number, Value, json};

use super::super::contract::{Node, join};
use super::super::spec::{Demand, at};
use super::super::{Expectation, Gate};
use super::{Mutation, MutationReport};

/// A document with one thing changed.
struct Mutant {
    mutation: Mutation,
    bytes: Vec<u8>,
}

/// Mutates `input`, which must pass, and lists every mutant that passes as well.
#[must_use]
pub fn mutate_input(gate: &Gate, case: &str, input: &Value, expected: &Expectation) -> MutationReport {
    let mut report = MutationReport {
        gate: gate.name().to_owned(),
        mutated: "input",
        case: case.to_owned(),
        total: 0,
        refused: 0,
        survivors: Vec::new(),
        fault: String::new(),
    };
    let decision = gate.decide(&json_strict::to_canonical(input), expected);
    if !decision.pass {
        report.fault = format!("the input of `{case}` does not pass: there is nothing to mutate");
        return report;
    }
    let mut mutants = Vec::new();
    visit(gate, input, input, &mut Vec::new(), &mut mutants);
    across_bounds(gate, input, &mut mutants);
    doubled_keys(input, &mut mutants);
    report.total = mutants.len();
    for mutant in mutants {
        if gate.decide(&mutant.bytes, expected).pass {
            report.survivors.push(mutant.mutation);
        }
    }
    judged(gate, input, expected, &decision.checks, &mut report);
    report.survivors.sort();
    report
}

fn visit(gate: &Gate, root: &Value, value: &Value, path: &mut Vec<String>, out: &mut Vec<Mutant>) {
    let mut put = |change: String, new: Value| {
        if new != *value {
            push(out, root, path, change, Some(new));
        }
    };
    put("null".to_owned(), Value::Null);
    for other in retyped(value) {
        put(format!("retype to {}", short(&other)), other);
    }
    for (change, other) in within_type(value) {
        put(change, other);
    }
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    for (change, other) in gate.contract.chosen(root, &names).map(|node| by_contract(node, value)).unwrap_or_default() {
        put(change, other);
    }
    if !path.is_empty() {
        push(out, root, path, "delete".to_owned(), None);
    }
    match value {
        Value::Object(fields) => {
            let mut extended = fields.clone();
            extended.insert("added".to_owned(), json!(1));
            push(out, root, path, "add a key".to_owned(), Some(Value::Object(extended)));
            for (name, inner) in fields {
                path.push(name.clone());
                visit(gate, root, inner, path, out);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push(index.to_string());
                visit(gate, root, inner, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The same place with a value of every other type.
fn retyped(value: &Value) -> Vec<Value> {
    let all = [json!(true), json!(0), json!(1), json!(0.5), json!(""), json!("1"), json!([]), json!({})];
    let mut others: Vec<Value> = all.into_iter().filter(|other| std::mem::discriminant(other) != std::mem::discriminant(value)).collect();
    others.push(json!([value]));
    others.push(json!({ "value": value }));
    if !value.is_string() {
        others.push(Value::String(value.to_string()));
    }
    others
}

/// Values of the same type that mean nothing or the opposite.
fn within_type(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Bool(flag) => vec![("flip".to_owned(), Value::Bool(!flag))],
        Value::String(_) => vec![("empty".to_owned(), json!(""))],
        Value::Array(_) => vec![("empty".to_owned(), json!([]))],
        Value::Object(_) => vec![("empty".to_owned(), json!({}))],
        Value::Number(_) => ["1e300", "-1e300", "9007199254740993", "-9007199254740993"]
            .into_iter()
            .filter_map(|text| Some((format!("number {text}"), Value::Number(text.parse::<Number>().ok()?))))
            .collect(),
        Value::Null => Vec::new(),
    }
}

/// Values just outside what the contract allows, and other digests.
fn by_contract(node: &Node, value: &Value) -> Vec<(String, Value)> {
    match node {
        Node::Digest { .. } => digests(value),
        Node::Choice(choices) => choices
            .iter()
            .flat_map(|choice| [choice.to_uppercase(), format!("{choice} "), choice.replace('a', "\u{0430}")])
            .filter(|other| !choices.contains(other))
            .map(|other| (format!("unknown choice {}", short(&json!(other))), json!(other)))
            .collect(),
        Node::Number { min, max, integer } => {
            [(*min, -1.0), (*max, 1.0)].into_iter().map(|(edge, side)| (format!("outside {edge}"), beyond(edge, side, *integer))).collect()
        }
        _ => Vec::new(),
    }
}

fn digests(value: &Value) -> Vec<(String, Value)> {
    let text = value.as_str().unwrap_or_default();
    let first = if text.starts_with('0') { "1" } else { "0" };
    let flipped: String = first.chars().chain(text.chars().skip(1)).collect();
    let mut others = vec![
        ("zero digest".to_owned(), json!("0".repeat(64))),
        ("other digest".to_owned(), json!(flipped)),
        ("short digest".to_owned(), json!(text.chars().take(63).collect::<String>())),
    ];
    if text.chars().any(|c| c.is_ascii_alphabetic()) {
        others.push(("digest in upper case".to_owned(), json!(text.to_uppercase())));
    }
    others
}

/// Each number with a bound, moved to the bound's failing side.
fn across_bounds(gate: &Gate, input: &Value, out: &mut Vec<Mutant>) {
    for (name, check) in gate.spec.required(input) {
        let Some(value) = at(input, &check.path).filter(|value| value.is_number()) else {
            continue;
        };
        let (bound, side, label) = match gate.spec.demand(check) {
            Ok(Demand::AtLeast(label, bound)) => (bound, -1.0, label),
            Ok(Demand::AtMost(label, bound)) => (bound, 1.0, label),
            _ => continue,
        };
        let path: Vec<String> = check.path.split('.').map(str::to_owned).collect();
        let integer = value.is_i64() || value.is_u64();
        let moved = beyond(bound.as_f64().unwrap_or_default(), side, integer);
        push(out, input, &path, format!("across {label} of {name}"), Some(moved));
    }
}

/// Where the policy alone judges a number, one side of what it wanted must be denied.
fn judged(
    gate: &Gate,
    input: &Value,
    expected: &Expectation,
    checks: &std::collections::BTreeMap<String, seaworthy_core::decision::GateCheck>,
    report: &mut MutationReport,
) {
    for (name, check) in gate.spec.required(input) {
        let want = checks.get(name).and_then(|check| check.want.as_f64());
        let (Ok(Demand::Judged), Some(want)) = (gate.spec.demand(check), want) else {
            continue;
        };
        let path: Vec<String> = check.path.split('.').map(str::to_owned).collect();
        let passes = |side: f64| {
            let moved = replaced(input, &path, Some(beyond(want, side, false)));
            gate.decide(&json_strict::to_canonical(&moved), expected).pass
        };
        report.total += 1;
        if passes(-1.0) && passes(1.0) {
            let change = format!("either side of what {name} wanted");
            report.survivors.push(Mutation { place: check.path.clone(), change });
        }
    }
}

/// The document with its first key given twice, as lenient readers take it.
fn doubled_keys(input: &Value, out: &mut Vec<Mutant>) {
    let Some(fields) = input.as_object() else {
        return;
    };
    let text = String::from_utf8_lossy(&json_strict::to_canonical(input)).into_owned();
    for (name, value) in fields {
        let rest: String = text.chars().skip(1).collect();
        let bytes = format!("{{{}:{value},{rest}", json!(name)).into_bytes();
        out.push(Mutant { mutation: Mutation { place: name.clone(), change: "duplicate key".to_owned() }, bytes });
    }
}

/// A number a little beyond `edge`: by one for integers, else by a millionth.
fn beyond(edge: f64, side: f64, integer: bool) -> Value {
    if integer {
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates; edges lie within 2^53")]
        let moved = (edge + side).round() as i64;
        return json!(moved);
    }
    json!(edge + side * (edge.abs() * 1e-6).max(1e-9))
}

fn push(out: &mut Vec<Mutant>, root: &Value, path: &[String], change: String, new: Option<Value>) {
    let place = path.iter().fold(String::new(), |place, name| join(&place, name));
    let bytes = json_strict::to_canonical(&replaced(root, path, new));
    out.push(Mutant { mutation: Mutation { place, change }, bytes });
}

/// `value` with the part at `path` replaced, or removed.
fn replaced(value: &Value, path: &[String], new: Option<Value>) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return new.unwrap_or(Value::Null);
    };
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(name, _)| *name != first || !rest.is_empty() || new.is_some())
                .map(|(name, inner)| {
                    let inner = if name == first { replaced(inner, rest, new.clone()) } else { inner.clone() };
                    (name.clone(), inner)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(index, _)| index.to_string() != *first || !rest.is_empty() || new.is_some())
            .map(|(index, inner)| if index.to_string() == *first { replaced(inner, rest, new.clone()) } else { inner.clone() })
            .collect(),
        other => other.clone(),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
