//! What a workflow and its settings file say, after parsing and before planning.
//!
//! **Invariant:** names are checked [`Name`]s; maps are ordered, so that everything derived is deterministic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::ArtifactKind;
use crate::id::Name;
use crate::workflow::retry::Retries;

/// The workflow file and the settings file, merged.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workspace {
    /// dev, staging, prod, or a name of the user's.
    pub environment: Name,
    /// The registration; required outside dev.
    pub project: Option<Project>,
    /// URI prefix → folder or endpoint.
    pub sources: BTreeMap<String, String>,
    /// `NAME:TAG` → how to get it.
    pub environments: BTreeMap<String, EnvironmentSource>,
    /// The workflows in file order.
    pub workflows: Vec<Workflow>,
    /// Where everything stands in the files (empty if the workspace did not come from files).
    #[serde(skip)]
    pub places: super::places::SourceMap,
}

impl Workspace {
    /// The entry of `sources` with the longest prefix of `source`: the prefix and what it maps to.
    #[must_use]
    pub fn source_mapping(&self, source: &str) -> Option<(&str, &str)> {
        let fits = self.sources.iter().filter(|(prefix, _)| source.starts_with(prefix.as_str()));
        fits.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, target)| (prefix.as_str(), target.as_str()))
    }

    /// Where `source` lies on this machine, as a path that may be relative to the workspace; `None` if it is remote and nothing maps it to a folder.
    #[must_use]
    pub fn local_source(&self, source: &str) -> Option<String> {
        if !source.contains("://") {
            return Some(source.to_owned());
        }
        let (prefix, target) = self.source_mapping(source).filter(|(_, target)| !target.contains("://"))?;
        let rest = source.strip_prefix(prefix)?.trim_start_matches('/');
        Some(if rest.is_empty() { target.to_owned() } else { format!("{}/{rest}", target.trim_end_matches('/')) })
    }

    /// What `container:` means; a step without one, and the name `host`, run in the host closure.
    #[must_use]
    pub fn environment_source(&self, container: Option<&str>) -> Option<&EnvironmentSource> {
        match container {
            None | Some("host") => Some(&EnvironmentSource::Host),
            Some(name) => self.environments.get(name),
        }
    }
}

/// Who owns the workflow, and what for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Project {
    /// Project name.
    pub name: Name,
    /// Responsible principal, `user:<id>`.
    pub owner: String,
    /// Stand-in.
    pub deputy: Option<String>,
    /// One sentence.
    pub purpose: String,
    /// minimal, limited, high or unacceptable.
    pub risk_class: String,
    /// Countries or regions where the data may be.
    pub residency: Vec<String>,
    /// Classes of data used.
    pub data_classes: Vec<String>,
}

/// What `container: NAME:TAG` resolves to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentSource {
    /// A locked Python environment: path of a `requirements.lock` with hashes, below the workspace.
    Python(String),
    /// The curated host closure.
    Host,
    /// An OCI image: a path below the workspace, a name that `image add` gave, or an image of a registry with its host.
    Oci(String),
}

/// One workflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workflow {
    /// Its name.
    pub name: Name,
    /// Steps in file order.
    pub steps: Vec<Step>,
}

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Takes data in from a source.
    Ingest,
    /// Runs a command over inputs.
    Transform,
    /// A transform that declares an output of type model.
    Train,
    /// Examines a model on held-out data.
    Validate,
    /// Registers and deploys.
    Deploy,
}

impl StepKind {
    /// The kind as it is written in files, leaves and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Transform => "transform",
            Self::Train => "train",
            Self::Validate => "validate",
            Self::Deploy => "deploy",
        }
    }
}

/// One step: the union of its keys in both files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: Name,
    /// Kind, from its keys or from `kind:`.
    pub kind: StepKind,
    /// `source:` URI or path (ingest).
    pub source: Option<String>,
    /// `integrity_check:` (only sha256).
    pub integrity_check: Option<String>,
    /// `policy_gate:` names.
    pub policy_gate: Option<Name>,
    /// `container:` NAME:TAG.
    pub container: Option<String>,
    /// `sandbox:`; true unless dev says otherwise.
    pub sandbox: bool,
    /// `logging:` enabled?
    pub logging: bool,
    /// `env: ephemeral`?
    pub ephemeral: bool,
    /// `data_provenance: enforce`?
    pub data_provenance_enforced: bool,
    /// `explainability:` shap or lime.
    pub explainability: Option<String>,
    /// `drift_detection:` enabled?
    pub drift_detection: bool,
    /// `canary:`.
    pub canary: bool,
    /// `monitoring:`.
    pub monitoring: Option<String>,
    /// `rollback_on:`.
    pub rollback_on: Option<String>,
    /// `run:` argv.
    pub run: Option<Vec<String>>,
    /// `code:` folder below the workspace.
    pub code: Option<String>,
    /// `schema:` file below the workspace (ingest).
    pub schema: Option<String>,
    /// `inputs:` as `step/output`; `None` if not written.
    pub inputs: Option<Vec<OutputName>>,
    /// `outputs:` by name.
    pub outputs: BTreeMap<Name, OutputSpec>,
    /// `needs:`; `None` if not written.
    pub needs: Option<Vec<Name>>,
    /// `params:` any JSON-like value.
    pub params: Value,
    /// `isolation:` what walls the step off; anything but `sandbox` is refused by this release at plan time.
    pub isolation: Option<String>,
    /// `egress:` host:port, each in the one form of [`crate::egress::Destination`], sorted.
    pub egress: Vec<String>,
    /// `secrets:` references, each in the one form of [`crate::secret::SecretRef`], sorted.
    pub secrets: Vec<String>,
    /// `resources:`.
    pub resources: Resources,
    /// `cache:`; true by default.
    pub cache: bool,
    /// `timeout:` seconds.
    pub timeout_s: Option<u64>,
    /// `retries:`; absent from the plan's digest if not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// `model:` (validate).
    pub model: Option<OutputName>,
    /// `data:` held-out data (validate).
    pub data: Option<OutputName>,
    /// `reference:` training data (validate).
    pub reference: Option<OutputName>,
    /// `label:` column (validate).
    pub label: Option<String>,
    /// `task:` binary, multiclass or regression (validate).
    pub task: Option<String>,
    /// `code_integrity:` any, committed, signed or reviewed.
    pub code_integrity: CodeIntegrity,
}

/// `step/output`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OutputName {
    /// The producing step.
    pub step: Name,
    /// The output.
    pub output: Name,
}

impl std::fmt::Display for OutputName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.step, self.output)
    }
}

/// What an output is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Kind.
    pub kind: ArtifactKind,
    /// Registry name, for models.
    pub model_name: Option<Name>,
}

/// Bounds on a step's process tree.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processors, in thousandths.
    pub cpu_milli: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Bytes of scratch and output.
    pub disk_bytes: Option<u64>,
    /// Bytes that connections may send; absent from the plan's digest if not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Bytes that connections may receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
}

/// What the workspace demands of a step's code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeIntegrity {
    /// Any bytes; the digest is recorded.
    #[default]
    Any,
    /// A clean git commit.
    Committed,
    /// A signed commit.
    Signed,
    /// A second person's review.
    Reviewed,
}
