//! Gates: a Rego policy with a closed input contract that must say *pass*, with evidence.
//!
//! in: a folder `NAME/{gate.yaml, contract.json, gate.rego, cases/*.json}` and an input document; out: a
//! [`GateDecision`](seaworthy_core::decision::GateDecision).
//! **Invariant:** a gate passes only if the input fits the contract, every required check is present with `pass == true`
//! and the evidence the engine itself finds in the input, and no deny stands. Undefined, error and time-out deny.

mod builtin;
mod cases;
mod check;
mod contract;
mod decide;
mod lint;
mod mutate;
mod spec;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use seaworthy_core::limits::{CONFIG_FILE_BYTES_MAX, POLICY_BYTES_MAX};
use serde_json::Value;

pub use builtin::builtin;
pub use cases::{Case, CaseResult, Expected, test_cases};
pub use check::{CheckReport, check_gate};
pub use decide::Expectation;
pub use mutate::{Mutation, MutationReport, mutate_input, mutate_policy};
pub use spec::{CheckSpec, GateSpec};

/// The files of a gate's folder by their path in it.
pub type GateFiles = BTreeMap<String, Vec<u8>>;

const SPEC_FILE: &str = "gate.yaml";
const CONTRACT_FILE: &str = "contract.json";
const POLICY_FILE: &str = "gate.rego";

/// A gate that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateLoadError {
    /// A file that a gate needs is not there.
    #[error("gate `{gate}`: `{file}` is missing")]
    Missing {
        /// Gate name.
        gate: String,
        /// File name.
        file: String,
    },
    /// A file that no gate has.
    #[error("gate `{gate}`: `{file}` does not belong into a gate's folder")]
    Unknown {
        /// Gate name.
        gate: String,
        /// File name.
        file: String,
    },
    /// A file is too large or no UTF-8.
    #[error("gate `{gate}`: `{file}`: {reason}")]
    File {
        /// Gate name.
        gate: String,
        /// File name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// `gate.yaml` is at fault.
    #[error("gate `{gate}`: gate.yaml: {reason}")]
    Spec {
        /// Gate name.
        gate: String,
        /// What is wrong.
        reason: String,
    },
    /// `contract.json` is at fault.
    #[error("gate `{gate}`: contract.json: {reason}")]
    Contract {
        /// Gate name.
        gate: String,
        /// What is wrong.
        reason: String,
    },
    /// `gate.rego` does not parse or compile.
    #[error("gate `{gate}`: gate.rego: {reason}")]
    Policy {
        /// Gate name.
        gate: String,
        /// The engine's words.
        reason: String,
    },
    /// `gate.rego` does what a gate may not.
    #[error("gate `{gate}`: gate.rego: {}", faults.join("; "))]
    Lint {
        /// Gate name.
        gate: String,
        /// `line N: what`, one a fault.
        faults: Vec<String>,
    },
    /// A case is at fault.
    #[error("gate `{gate}`: cases/{case}: {reason}")]
    Case {
        /// Gate name.
        gate: String,
        /// File name.
        case: String,
        /// What is wrong.
        reason: String,
    },
}

impl GateLoadError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "gate/file_missing",
            Self::Unknown { .. } => "gate/file_unknown",
            Self::File { .. } => "gate/file_refused",
            Self::Spec { .. } => "gate/spec_invalid",
            Self::Contract { .. } => "gate/contract_invalid",
            Self::Policy { .. } => "gate/policy_syntax",
            Self::Lint { .. } => "gate/policy_refused",
            Self::Case { .. } => "gate/case_invalid",
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Unknown { .. } => {
                "a gate's folder holds gate.yaml, contract.json, gate.rego, cases/*.json and perhaps README.md"
            }
            Self::File { .. } => "keep the file below its limit and in UTF-8",
            Self::Spec { .. } => "see `gate.yaml` in docs/src/guides/write-a-gate.md",
            Self::Contract { .. } => "see `contract.json` in docs/src/guides/write-a-gate.md",
            Self::Policy { .. } | Self::Lint { .. } => "see `gate.rego` in docs/src/guides/write-a-gate.md",
            Self::Case { .. } => "see `cases` in docs/src/guides/write-a-gate.md",
        }
    }
}

/// A loaded gate.
pub struct Gate {
    spec: GateSpec,
    contract: contract::Node,
    contract_document: Value,
    engine: regorus::Engine,
    policy: String,
    cases: Vec<Case>,
    digest: Digest,
}

impl Gate {
    /// Loads the folder of the gate `name`, whose digest the caller has computed.
    pub fn load(name: &str, files: &GateFiles, digest: Digest) -> Result<Self, GateLoadError> {
        refuse_unknown(name, files)?;
        let gate = || name.to_owned();
        let contract_document = json_strict::parse(text_of(name, files, CONTRACT_FILE, CONFIG_FILE_BYTES_MAX)?.as_bytes())
            .map_err(|error| GateLoadError::Contract { gate: gate(), reason: error.to_string() })?;
        let contract =
            contract::parse(&contract_document).map_err(|error| GateLoadError::Contract { gate: gate(), reason: error.to_string() })?;
        let spec = GateSpec::parse(name, text_of(name, files, SPEC_FILE, CONFIG_FILE_BYTES_MAX)?, &contract)
            .map_err(|error| GateLoadError::Spec { gate: gate(), reason: error.to_string() })?;
        let policy = text_of(name, files, POLICY_FILE, POLICY_BYTES_MAX)?.to_owned();
        let engine = prepare(&spec, &contract, &policy)?;
        let mut cases = Vec::new();
        for (path, bytes) in files {
            if let Some(file) = path.strip_prefix("cases/") {
                let case =
                    Case::parse(file, bytes).map_err(|reason| GateLoadError::Case { gate: gate(), case: file.to_owned(), reason })?;
                cases.push(case);
            }
        }
        Ok(Self { spec, contract, contract_document, engine, policy, cases, digest })
    }

    /// The same gate with another policy text, for mutation.
    fn with_policy(&self, policy: &str) -> Result<Self, GateLoadError> {
        Ok(Self {
            spec: self.spec.clone(),
            contract: self.contract.clone(),
            contract_document: self.contract_document.clone(),
            engine: prepare(&self.spec, &self.contract, policy)?,
            policy: policy.to_owned(),
            cases: Vec::new(),
            digest: self.digest,
        })
    }

    /// The gate's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.gate
    }

    /// The digest of the folder, as given when it was loaded.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What `gate.yaml` says.
    #[must_use]
    pub const fn spec(&self) -> &GateSpec {
        &self.spec
    }

    /// The contract's document, a JSON Schema.
    #[must_use]
    pub const fn contract(&self) -> &Value {
        &self.contract_document
    }

    /// The cases of the folder, by file name.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }
}

fn refuse_unknown(gate: &str, files: &GateFiles) -> Result<(), GateLoadError> {
    for path in files.keys() {
        let case = path.strip_prefix("cases/").and_then(|rest| rest.strip_suffix(".json"));
        let known = [SPEC_FILE, CONTRACT_FILE, POLICY_FILE, "README.md"].contains(&path.as_str());
        if !known && !case.is_some_and(|case| !case.is_empty() && !case.contains('/')) {
            return Err(GateLoadError::Unknown { gate: gate.to_owned(), file: path.clone() });
        }
    }
    Ok(())
}

fn text_of<'a>(gate: &str, files: &'a GateFiles, file: &str, bytes_max: usize) -> Result<&'a str, GateLoadError> {
    let (gate, file) = (gate.to_owned(), file.to_owned());
    let Some(bytes) = files.get(&file) else {
        return Err(GateLoadError::Missing { gate, file });
    };
    if bytes.len() > bytes_max {
        return Err(GateLoadError::File { gate, file, reason: format!("is larger than {bytes_max} bytes") });
    }
    std::str::from_utf8(bytes).map_err(|_| GateLoadError::File { gate, file, reason: "is not UTF-8".to_owned() })
}

/// Parses, examines and compiles the policy, with the bounds as its data.
fn prepare(spec: &GateSpec, contract: &contract::Node, policy: &str) -> Result<regorus::Engine, GateLoadError> {
    let refused = |reason: String| GateLoadError::Policy { gate: spec.gate.clone(), reason: decide::one_line(&reason) };
    let faulty = |faults: Vec<lint::Fault>| GateLoadError::Lint {
        gate: spec.gate.clone(),
        faults: faults.iter().map(|fault| format!("line {}: {}", fault.line, fault.message)).collect(),
    };
    lint::refuse_deep(policy).map_err(|fault| faulty(vec![fault]))?;
    let mut engine = regorus::Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.add_policy(POLICY_FILE.to_owned(), policy.to_owned()).map_err(|error| refused(error.to_string()))?;
    let names: BTreeSet<&str> = spec.bounds.keys().map(String::as_str).collect();
    let read = match engine.get_modules().as_slice() {
        [module] => lint::lint(module, contract, &names),
        _ => return Err(refused("holds no module".to_owned())),
    };
    let read = read.map_err(faulty)?;
    spec.refuse_unused(&read).map_err(|error| GateLoadError::Spec { gate: spec.gate.clone(), reason: error.to_string() })?;
    let bounds = serde_json::json!({ "bounds": spec.bounds });
    engine.add_data_json(&bounds.to_string()).map_err(|error| refused(error.to_string()))?;
    engine.compile_with_entrypoint(&decide::entry().into()).map_err(|error| refused(error.to_string()))?;
    Ok(engine)
}

#[cfg(test)]
mod tests;
