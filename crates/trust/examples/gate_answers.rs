//! Decides about generated inputs and prints what a foreign Rego engine needs to check the answers.
//!
//! in: a count and a seed on the command line; out: JSON lines: first one `{gate, rego, bounds}` a shipped gate, then
//! `{gate, input, pass, contract}` for each generated input (`contract`: the input fits the contract).
//! **Invariant:** the same count and seed print the same lines.

use std::io::Write as _;

use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict::to_canonical;
use seaworthy_trust::gate::{Gate, builtin};
use serde_json::{Value, json};

/// A small generator (splitmix64): the lines must not depend on anything but the seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(3_000), |text| text.parse())?;
    let mut chance = Chance(arguments.next().map_or(Ok(1), |text| text.parse())?);
    let mut out = std::io::stdout().lock();
    let mut gates = Vec::new();
    for (name, files) in builtin() {
        let gate = Gate::load(name, &files, Digest::of(name.as_bytes()))?;
        let rego = files.get("gate.rego").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        writeln!(out, "{}", json!({"gate": name, "rego": rego, "bounds": gate.spec().bounds}))?;
        gates.push(gate);
    }
    for turn in 0..count {
        let Some(gate) = gates.get(turn % gates.len().max(1)) else { break };
        let Some(case) = gate.cases().get(chance.below(gate.cases().len())) else { continue };
        let mut input = case.input.clone();
        for _ in 0..chance.below(4) {
            change(&mut input, &mut chance);
        }
        let decision = gate.decide(&to_canonical(&input), &case.expectation(gate));
        let contract = decision.reasons.iter().all(|reason| reason.code != "gate/contract" && reason.code != "gate/expectation");
        writeln!(out, "{}", json!({"gate": gate.name(), "input": input, "pass": decision.pass, "contract": contract}))?;
    }
    Ok(())
}

/// Changes one part somewhere in `value`.
fn change(value: &mut Value, chance: &mut Chance) {
    let deeper = chance.below(8) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let place = chance.below(fields.len());
            let Some(name) = fields.keys().nth(place).cloned() else { return };
            if chance.below(12) == 0 {
                fields.remove(&name);
            } else if let Some(inner) = fields.get_mut(&name) {
                change(inner, chance);
            }
        }
        Value::Number(number) if chance.below(4) > 0 => {
            let n = number.as_f64().unwrap_or_default();
            let whole = number.is_i64() || number.is_u64();
            let choices = [n + 1.0, n - 1.0, n * 2.0, n / 2.0, 0.0, 1.0, n * 0.99, n * 1.01, n + 0.001, -n];
            let new = choices.get(chance.below(choices.len())).copied().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
            let rounded = new.round() as i64;
            *value = if whole { json!(rounded) } else { json!(new) };
        }
        Value::Bool(flag) if chance.below(3) > 0 => *flag = !*flag,
        _ => {
            let others = [json!(null), json!(true), json!(0), json!("0.99"), json!([]), json!({}), json!("zzz"), json!([1])];
            *value = others.get(chance.below(others.len())).cloned().unwrap_or_default();
        }
    }
}
