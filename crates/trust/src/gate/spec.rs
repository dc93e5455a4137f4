//! `gate.yaml`: which checks a gate must answer, where their evidence lies, by which bounds, and how binding the gate is.
//!
//! in: YAML text and the contract; out: a [`GateSpec`].
//! **Invariant:** every path exists in the contract wherever its check is required, with a type that fits its demand; every
//! bound named exists.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::decision::EnforcementLevel;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::contract::Node;
use super::yaml;

/// What `gate.yaml` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// The gate's name; also its folder's.
    pub gate: String,
    /// What the gate is for, for people.
    pub description: String,
    /// How binding it is.
    pub level: EnforcementLevel,
    /// The numbers a workspace may change, seen by the policy as `data.bounds`.
    pub bounds: BTreeMap<String, Number>,
    /// The checks that must be present and pass.
    pub checks: BTreeMap<String, CheckSpec>,
}

/// One required check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    /// Dotted path in the input at which the check's `got` must stand.
    pub path: String,
    /// The name of a bound that `got` must not be below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// The name of a bound that `got` must not be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<String>,
    /// The value `got` must have. Without any of the three the policy alone judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// Only where the input's discriminator has one of these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Vec<Value>>,
    /// What would make it pass.
    pub fix: String,
}

/// What the engine itself demands of a check's `got`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Demand<'a> {
    AtLeast(&'a str, &'a Number),
    AtMost(&'a str, &'a Number),
    Equals(&'a Value),
    Judged,
}

/// A `gate.yaml` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct SpecError(pub(super) String);

fn fault<T>(text: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(text.into()))
}

impl GateSpec {
    /// Reads `gate.yaml` of the gate `name`.
    pub(super) fn parse(name: &str, text: &str, contract: &Node) -> Result<Self, SpecError> {
        let document = yaml::parse(text).map_err(|error| SpecError(error.to_string()))?;
        let spec: Self = serde_json::from_value(document).map_err(|error| SpecError(error.to_string()))?;
        if spec.gate != name {
            return fault(format!("`gate: {}` stands in the folder of `{name}`", spec.gate));
        }
        if spec.checks.is_empty() {
            return fault("`checks` names no check: such a gate would ask for nothing");
        }
        for bound in spec.bounds.values() {
            if !bound.as_f64().is_some_and(f64::is_finite) {
                return fault(format!("bound {bound} is no finite number"));
            }
        }
        for (check, demand) in &spec.checks {
            spec.examine(check, demand, contract).map_err(|SpecError(text)| SpecError(format!("check `{check}`: {text}")))?;
        }
        Ok(spec)
    }

    fn examine(&self, name: &str, check: &CheckSpec, contract: &Node) -> Result<(), SpecError> {
        if name.is_empty() || check.fix.trim().is_empty() {
            return fault("a check has a name and a `fix`");
        }
        let given = self.given(check, contract)?;
        let path: Vec<&str> = check.path.split('.').collect();
        let resolution = contract.resolve(&path, given);
        if resolution.nodes.is_empty() || !resolution.total {
            return fault(format!("path `{}` is not in the contract in every case the check is required", check.path));
        }
        let demand = self.demand(check)?;
        for node in resolution.nodes {
            let fits = match (demand, node) {
                (Demand::AtLeast(..) | Demand::AtMost(..), Node::Number { .. })
                | (Demand::Equals(Value::Bool(_)), Node::Bool { .. })
                | (Demand::Equals(Value::Number(_)), Node::Number { .. })
                | (Demand::Equals(Value::String(_)), Node::Text { .. } | Node::Choice(_) | Node::Digest { .. }) => true,
                (Demand::Judged, node) => !matches!(node, Node::Object(_) | Node::Array { .. }),
                _ => false,
            };
            if !fits {
                return fault(format!("path `{}` has another type than the check demands", check.path));
            }
        }
        Ok(())
    }

    /// The discriminator values of `when`, all of them known to the contract's root.
    fn given<'a>(&self, check: &'a CheckSpec, contract: &Node) -> Result<Option<&'a [Value]>, SpecError> {
        let mut conditions = check.when.iter();
        let Some((on, values)) = conditions.next() else {
            return Ok(None);
        };
        let union = contract.root_union().filter(|union| &union.on == on);
        match union {
            Some(union) if conditions.next().is_none() && !values.is_empty() => {
                let known = |value: &Value| union.cases.iter().any(|(tag, _)| tag == value);
                match values.iter().find(|value| !known(value)) {
                    Some(value) => fault(format!("`when` names {value}, which the contract does not know")),
                    None => Ok(Some(values)),
                }
            }
            _ => fault("`when` names the discriminator of the contract's root and nothing else"),
        }
    }

    /// What the engine demands of `check`.
    pub(super) fn demand<'a>(&'a self, check: &'a CheckSpec) -> Result<Demand<'a>, SpecError> {
        let bound = |name: &'a String| self.bounds.get(name).ok_or_else(|| SpecError(format!("bound `{name}` is not under `bounds`")));
        match (&check.at_least, &check.at_most, &check.equals) {
            (Some(name), None, None) => Ok(Demand::AtLeast(name, bound(name)?)),
            (None, Some(name), None) => Ok(Demand::AtMost(name, bound(name)?)),
            (None, None, Some(value)) => Ok(Demand::Equals(value)),
            (None, None, None) => Ok(Demand::Judged),
            _ => fault("state one of `at_least`, `at_most`, `equals`"),
        }
    }

    /// The checks required for this input.
    pub(super) fn required<'a>(&'a self, input: &'a Value) -> impl Iterator<Item = (&'a String, &'a CheckSpec)> {
        self.checks
            .iter()
            .filter(|(_, check)| check.when.iter().all(|(on, values)| input.get(on).is_some_and(|value| values.contains(value))))
    }

    /// Refuses bounds that neither a check nor the policy reads: most often a misspelt name.
    pub(super) fn refuse_unused(&self, read_by_policy: &BTreeSet<String>) -> Result<(), SpecError> {
        let named: BTreeSet<&String> = self.checks.values().flat_map(|check| [&check.at_least, &check.at_most]).flatten().collect();
        match self.bounds.keys().find(|name| !named.contains(name) && !read_by_policy.contains(*name)) {
            Some(name) => fault(format!("bound `{name}` is read by no check")),
            None => Ok(()),
        }
    }
}

/// The value at a dotted path.
pub(super) fn at<'a>(input: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(input, |value, name| value.get(name))
}
