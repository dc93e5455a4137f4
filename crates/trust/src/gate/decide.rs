//! The decision of a gate about one input.
//!
//! in: the input's bytes and the digests the engine knows; out: a [`GateDecision`], never an error.
//! **Invariant:** strict parse, then contract, then expected digests, then the policy within its time; after that every
//! required check is compared with the evidence the engine reads from the input itself. The first stage that fails denies.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use seaworthy_core::decision::{GateCheck, GateDecision, Reason};
use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use seaworthy_core::limits::{GATE_INPUT_BYTES_MAX, GATE_TIME_MS_MAX};
use serde_json::Value;

use super::Gate;
use super::contract::{Bound, kind_of};
use super::lint::{ENTRY, PACKAGE};
use super::spec::{CheckSpec, Demand, at};

/// Tries at one evaluation, since the time limit is wall time on a machine that may be busy.
const TRIES: u32 = 4;
/// Work units of the interpreter between two looks at the time.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// The digests the input must name: what the engine knows to be under judgement.
///
/// The contract binds a path to a name by `x-expect`; a bound path whose name is not here denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    digests: BTreeMap<String, Digest>,
}

impl Expectation {
    /// Expects `subject` under the name `subject`.
    #[must_use]
    pub fn new(subject: Digest) -> Self {
        Self { digests: BTreeMap::from([("subject".to_owned(), subject)]) }
    }

    /// Expects `digest` under `name`, for instance `data`, `reference` or `schema`.
    #[must_use]
    pub fn with(mut self, name: &str, digest: Digest) -> Self {
        self.digests.insert(name.to_owned(), digest);
        self
    }

    /// What a test case expects: the digests as its own input names them.
    pub(super) fn of_case(gate: &Gate, input: &Value) -> Self {
        let found = gate.contract.examine(input).digests;
        Self { digests: found.into_iter().map(|bound| (bound.name, bound.digest)).collect() }
    }
}

/// The rule that the engine reads.
pub(super) fn entry() -> String {
    format!("data.{PACKAGE}.{ENTRY}")
}

/// What the policy answered, before the engine has compared anything.
struct Answer {
    checks: BTreeMap<String, Value>,
    deny: Vec<Value>,
}

impl Gate {
    /// Decides about `input`. Every error is a failed decision with its reason.
    #[must_use]
    pub fn decide(&self, input: &[u8], expected: &Expectation) -> GateDecision {
        let mut decision = GateDecision {
            gate: self.spec.gate.clone(),
            pass: false,
            level: self.spec.level,
            checks: BTreeMap::new(),
            reasons: Vec::new(),
            policy: self.digest,
            input: Digest::of(input),
        };
        let document = match self.admit(input, expected, &mut decision) {
            Ok(document) => document,
            Err(reasons) => {
                decision.reasons = reasons;
                return decision;
            }
        };
        match self.evaluate(&document) {
            Ok(answer) => self.compare(&document, answer, &mut decision),
            Err(reason) => decision.reasons.push(reason),
        }
        decision.pass = decision.reasons.is_empty();
        decision
    }

    /// The document, if it may be judged at all.
    fn admit(&self, input: &[u8], expected: &Expectation, decision: &mut GateDecision) -> Result<Value, Vec<Reason>> {
        let refused = |message: String| {
            let hint = "write the input as strict JSON within the limits of docs/src/concepts/gates.md";
            vec![reason("gate/input_refused", "input", message, hint)]
        };
        if input.len() > GATE_INPUT_BYTES_MAX {
            return Err(refused(format!("the input is larger than {GATE_INPUT_BYTES_MAX} bytes")));
        }
        let document = json_strict::parse(input).map_err(|error| refused(error.to_string()))?;
        decision.input = Digest::of(&json_strict::to_canonical(&document));
        let findings = self.contract.examine(&document);
        if !findings.violations.is_empty() {
            let hint = "supply the evidence exactly as the gate's contract.json asks for it";
            let violations = findings.violations.into_iter().map(|violation| {
                let place = if violation.path.is_empty() { "the input".to_owned() } else { violation.path };
                reason("gate/contract", "contract", format!("`{place}` {}", violation.message), hint)
            });
            return Err(violations.collect());
        }
        let foreign: Vec<Reason> = findings.digests.iter().filter_map(|bound| foreign(bound, expected)).collect();
        if foreign.is_empty() { Ok(document) } else { Err(foreign) }
    }

    /// Runs the policy; a panic or a time-out inside it is an error.
    fn evaluate(&self, document: &Value) -> Result<Answer, Reason> {
        let hint = "the gate itself is at fault: run `seaworthy policy test` on it";
        let failed = |code: &str, message: &str| reason(code, ENTRY, one_line(message), hint);
        let mut outcome = Err(failed("gate/timeout", "was not evaluated"));
        for _ in 0..TRIES {
            // the engine is a copy, so that a panic leaves nothing broken behind
            outcome = catch_unwind(AssertUnwindSafe(|| self.run(document)))
                .unwrap_or_else(|_| Err(Failure::Error("the policy engine failed".to_owned())))
                .map_err(|failure| match failure {
                    Failure::Time => failed("gate/timeout", &format!("the policy ran longer than {GATE_TIME_MS_MAX} ms")),
                    Failure::Error(text) => failed("gate/policy_error", &text),
                    Failure::Undefined => failed("gate/undefined", &format!("`{}` is undefined", entry())),
                    Failure::Shape(text) => failed("gate/result_shape", &text),
                });
            if !matches!(&outcome, Err(reason) if reason.code == "gate/timeout") {
                break;
            }
        }
        outcome
    }

    fn run(&self, document: &Value) -> Result<Answer, Failure> {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: Duration::from_millis(GATE_TIME_MS_MAX),
            check_interval: CHECK_INTERVAL,
        });
        let canonical = json_strict::to_canonical(document);
        let text = std::str::from_utf8(&canonical).map_err(|error| Failure::Error(error.to_string()))?;
        engine.set_input_json(text).map_err(|error| Failure::Error(error.to_string()))?;
        let value = engine.eval_rule(entry()).map_err(|error| Failure::of(&error))?;
        Answer::read(&value)
    }

    /// Compares the policy's answer with the evidence and fills in checks and reasons.
    fn compare(&self, document: &Value, answer: Answer, decision: &mut GateDecision) {
        let mut answers = answer.checks;
        for (name, check) in self.spec.required(document) {
            match answers.remove(name) {
                Some(answer) => match self.check(name, check, document, &answer) {
                    Ok((check, reasons)) => {
                        decision.checks.insert(name.clone(), check);
                        decision.reasons.extend(reasons);
                    }
                    Err(reason) => decision.reasons.push(reason),
                },
                None => decision.reasons.push(reason(
                    "gate/check_missing",
                    name,
                    format!("the policy did not answer the required check `{name}`"),
                    &check.fix,
                )),
            }
        }
        for name in answers.keys() {
            let message = format!("the policy answered `{name}`, which gate.yaml does not ask for here");
            decision.reasons.push(reason("gate/check_unknown", name, message, "declare the check in gate.yaml"));
        }
        decision.reasons.extend(answer.deny.iter().map(denial));
    }

    /// One required check: the policy's verdict, and the engine's own reading of the evidence.
    fn check(&self, name: &str, check: &CheckSpec, document: &Value, answer: &Value) -> Result<(GateCheck, Vec<Reason>), Reason> {
        let shape = |what: &str| {
            let message = format!("check `{name}` {what}: wanted exactly {{pass, got, want, message}}");
            reason("gate/result_shape", name, message, "the gate itself is at fault: run `seaworthy policy test` on it")
        };
        let fields = answer.as_object().filter(|fields| fields.len() == 4);
        let fields = fields.ok_or_else(|| shape(&format!("is {}", kind_of(answer))))?;
        let pass = fields.get("pass").and_then(Value::as_bool).ok_or_else(|| shape("has no boolean `pass`"))?;
        let message = fields.get("message").and_then(Value::as_str).ok_or_else(|| shape("has no text `message`"))?;
        let claimed = fields.get("got").ok_or_else(|| shape("has no `got`"))?;
        let want = fields.get("want").ok_or_else(|| shape("has no `want`"))?;
        let found = at(document, &check.path).ok_or_else(|| {
            let message = format!("`{}` is not in the input", check.path);
            reason("gate/evidence_missing", name, message, &check.fix)
        })?;
        let demand = self.spec.demand(check).map_err(|fault| {
            let hint = "the gate itself is at fault: run `seaworthy policy check` on it";
            reason("gate/spec", name, format!("what check `{name}` demands is not known: {fault}"), hint)
        })?;
        let mut reasons = Vec::new();
        let mut disagree = |message: String| {
            let hint = "the gate's policy and its gate.yaml contradict each other: correct one of them";
            reasons.push(reason("gate/check_disagrees", name, message, hint));
        };
        if !same(claimed, found) {
            disagree(format!("the policy says `{}` is {claimed}, but the input says {found}", check.path));
        }
        if let Some(bound) = wanted(demand).filter(|bound| !same(bound, want)) {
            disagree(format!("the policy wanted {want}, but gate.yaml says {bound}"));
        }
        let meets = meets(demand, found);
        if meets.is_some_and(|meets| meets != pass) {
            disagree(format!("the policy says pass = {pass}, but {}", evidence(check, demand, found)));
        }
        if !pass || meets == Some(false) {
            let text = if demand == Demand::Judged { one_line(message) } else { evidence(check, demand, found) };
            reasons.push(reason("gate/check_failed", name, text, &check.fix));
        }
        let pass = reasons.is_empty();
        let check = GateCheck { pass, got: found.clone(), want: want.clone(), message: one_line(message) };
        Ok((check, reasons))
    }
}

enum Failure {
    Time,
    Undefined,
    Error(String),
    Shape(String),
}

impl Failure {
    fn of(error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        if text.contains("execution exceeded time limit") { Self::Time } else { Self::Error(text) }
    }
}

impl Answer {
    /// Exactly `{checks: {name: …}, deny: set}`.
    fn read(value: &regorus::Value) -> Result<Self, Failure> {
        if *value == regorus::Value::Undefined {
            return Err(Failure::Undefined);
        }
        let shape = |text: &str| Failure::Shape(format!("`{ENTRY}` {text}: wanted {{\"checks\": object, \"deny\": set}}"));
        let fields = value.as_object().map_err(|_| shape("is no object"))?;
        let field = |name: &str| fields.get(&regorus::Value::from(name));
        if fields.len() != 2 {
            return Err(shape("has other fields"));
        }
        let checks = field("checks").ok_or_else(|| shape("has no `checks`"))?;
        checks.as_object().map_err(|_| shape("has `checks` that are no object"))?;
        let deny = field("deny").ok_or_else(|| shape("has no `deny`"))?;
        deny.as_set().map_err(|_| shape("has a `deny` that is no set"))?;
        Ok(Self { checks: plain(checks)?, deny: plain(deny)? })
    }
}

fn plain<T: serde::de::DeserializeOwned>(value: &regorus::Value) -> Result<T, Failure> {
    let text = value.to_json_str().map_err(|error| Failure::Shape(error.to_string()))?;
    json_strict::parse_typed(text.as_bytes()).map_err(|error| Failure::Shape(error.to_string()))
}

/// A digest that is not the one under judgement.
fn foreign(bound: &Bound, expected: &Expectation) -> Option<Reason> {
    let message = match expected.digests.get(&bound.name) {
        Some(digest) if *digest == bound.digest => return None,
        Some(digest) => format!("`{}` is {}, but {} is under judgement", bound.path, bound.digest.short(), digest.short()),
        None => format!("`{}` is bound to `{}`, of which the engine knows no digest", bound.path, bound.name),
    };
    Some(reason("gate/expectation", &bound.path, message, "supply evidence about exactly the artifact under judgement"))
}

/// A `deny` entry `{rule, message}`; anything else denies as well.
fn denial(entry: &Value) -> Reason {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let rule = text("rule").unwrap_or("deny");
    let message = text("message").map_or_else(|| one_line(&entry.to_string()), one_line);
    reason("gate/denied", rule, message, "correct the evidence: the policy refuses it whatever the checks say")
}

/// The value that `want` must show.
fn wanted(demand: Demand<'_>) -> Option<Value> {
    match demand {
        Demand::AtLeast(_, bound) | Demand::AtMost(_, bound) => Some(Value::Number(bound.clone())),
        Demand::Equals(value) => Some(value.clone()),
        Demand::Judged => None,
    }
}

/// Whether the evidence meets the demand; `None` where the policy alone judges.
fn meets(demand: Demand<'_>, found: &Value) -> Option<bool> {
    let number = |value: &serde_json::Number| value.as_f64();
    match demand {
        Demand::AtLeast(_, bound) => Some(found.as_f64().zip(number(bound)).is_some_and(|(got, min)| got >= min)),
        Demand::AtMost(_, bound) => Some(found.as_f64().zip(number(bound)).is_some_and(|(got, max)| got <= max)),
        Demand::Equals(value) => Some(same(value, found)),
        Demand::Judged => None,
    }
}

/// `path is GOT, wanted at least BOUND (name)`.
fn evidence(check: &CheckSpec, demand: Demand<'_>, found: &Value) -> String {
    let path = &check.path;
    match demand {
        Demand::AtLeast(name, bound) => {
            format!("{path} is {found}, wanted at least {bound} ({name})")
        }
        Demand::AtMost(name, bound) => {
            format!("{path} is {found}, wanted at most {bound} ({name})")
        }
        Demand::Equals(value) => format!("{path} is {found}, wanted {value}"),
        Demand::Judged => format!("{path} is {found}"),
    }
}

/// Equal as JSON values, numbers by their value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b),
        _ => a == b,
    }
}

fn reason(code: &str, rule: &str, message: impl Into<String>, hint: &str) -> Reason {
    Reason { code: code.to_owned(), rule: rule.to_owned(), message: message.into(), hint: hint.to_owned() }
}

/// Text without line breaks or other control characters.
pub(super) fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
