//! SLSA provenance v1: which step of which run made these artifacts, from what, confined how.
//!
//! in: [`Provenance`]; out: a statement whose subjects are all outputs of one step attempt.
//! **Invariant:** `invocationId` is the step attempt and nothing else, so that provenance of one attempt is never
//! accepted for another.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::time::Timestamp;
use super::{PROVENANCE, ReadError};
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};
use crate::id::StepRunId;

/// Build type of a step that reads a source.
pub const BUILD_INGEST: &str = "https://seaworthy.dev/attestation/ingest/v1";
/// Build type of any other step.
pub const BUILD_STEP: &str = "https://seaworthy.dev/attestation/step/v1";
/// Build type of a step that yields a model.
pub const BUILD_TRAIN: &str = "https://seaworthy.dev/attestation/train/v1";

/// Name prefix of dependencies made by another step: `input:preprocess/train`.
pub const INPUT: &str = "input:";
/// Name prefix of what an ingest step read from outside: `source:ingest_data`.
pub const SOURCE: &str = "source:";
/// Name prefix of a gate's folder: `policy:data_schema_v2`.
pub const POLICY: &str = "policy:";
/// Name of the code folder.
pub const CODE: &str = "code";
/// Name of the environment.
pub const ENVIRONMENT: &str = "environment";
/// Name of the lock file.
pub const LOCK: &str = "lock";
/// Name of the workflow file.
pub const WORKFLOW: &str = "workflow";
/// Name of the data schema.
pub const SCHEMA: &str = "schema";

/// What a build type says about a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BuildType {
    /// Reads a source.
    #[serde(rename = "https://seaworthy.dev/attestation/ingest/v1")]
    Ingest,
    /// Any other step.
    #[serde(rename = "https://seaworthy.dev/attestation/step/v1")]
    Step,
    /// Yields a model.
    #[serde(rename = "https://seaworthy.dev/attestation/train/v1")]
    Train,
}

/// The workflow file a step comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowRef {
    /// Where it stood, for people.
    pub uri: String,
    /// Digest of its bytes.
    pub digest: WorkflowDigest,
}

/// Digest set of the workflow file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDigest {
    /// SHA-256.
    pub sha256: Digest,
}

/// What the user chose.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalParameters {
    /// The workflow file.
    pub workflow: WorkflowRef,
    /// `workflow/step`.
    pub step: String,
    /// The step's parameters.
    pub params: Value,
}

/// What the runner added.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalParameters {
    /// The confinement as enforced, not as wished.
    pub sandbox: Value,
    /// The environment variables' allow-list or its digest.
    pub environment_variables: Value,
    /// Seed given to the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Device it ran on, for instance `cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `any`, `committed`, `signed` or `reviewed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_integrity: Option<String>,
}

/// Everything that a provenance says of one step attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct Provenance {
    /// Kind of step.
    pub build_type: BuildType,
    /// What the user chose.
    pub external: ExternalParameters,
    /// What the runner added.
    pub internal: InternalParameters,
    /// Everything the step read: inputs, source, code, environment, lock, workflow, policies, schema.
    pub dependencies: Vec<ResourceDescriptor>,
    /// SPIFFE id of the runner.
    pub builder: String,
    /// The step attempt.
    pub invocation: StepRunId,
    /// Start, claimed.
    pub started: Timestamp,
    /// End, claimed.
    pub finished: Timestamp,
    /// Logs, metrics, traces.
    pub byproducts: Vec<ResourceDescriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BuildDefinition {
    build_type: BuildType,
    external_parameters: ExternalParameters,
    internal_parameters: InternalParameters,
    resolved_dependencies: Vec<ResourceDescriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
    byproducts: Vec<ResourceDescriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Builder {
    id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    started_on: Timestamp,
    finished_on: Timestamp,
}

impl Provenance {
    /// The statement about `subjects`, the outputs of the attempt.
    #[must_use]
    pub fn statement(&self, subjects: Vec<ResourceDescriptor>) -> Statement {
        let predicate = Predicate {
            build_definition: BuildDefinition {
                build_type: self.build_type,
                external_parameters: self.external.clone(),
                internal_parameters: self.internal.clone(),
                resolved_dependencies: self.dependencies.clone(),
            },
            run_details: RunDetails {
                builder: Builder { id: self.builder.clone() },
                metadata: Metadata { invocation_id: self.invocation.to_string(), started_on: self.started, finished_on: self.finished },
                byproducts: self.byproducts.clone(),
            },
        };
        super::statement(PROVENANCE, subjects, &predicate)
    }

    /// Reads a provenance of ours.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let Predicate { build_definition: build, run_details: run } = super::predicate(statement, PROVENANCE)?;
        let invocation: StepRunId =
            run.metadata.invocation_id.parse().map_err(|cause: crate::id::StepRunIdError| ReadError::Malformed(cause.to_string()))?;
        let step = format!("{}/{}", invocation.workflow, invocation.step);
        if build.external_parameters.step != step {
            return Err(ReadError::Inconsistent(format!("step is `{}`, but the attempt is of `{step}`", build.external_parameters.step)));
        }
        if run.metadata.finished_on < run.metadata.started_on {
            return Err(ReadError::Inconsistent("finished before it started".to_owned()));
        }
        if statement.subject.is_empty() {
            return Err(ReadError::Subject("none".to_owned()));
        }
        Ok(Self {
            build_type: build.build_type,
            external: build.external_parameters,
            internal: build.internal_parameters,
            dependencies: build.resolved_dependencies,
            builder: run.builder.id,
            invocation,
            started: run.metadata.started_on,
            finished: run.metadata.finished_on,
            byproducts: run.byproducts,
        })
    }

    /// The dependency of this name.
    #[must_use]
    pub fn dependency(&self, name: &str) -> Option<&ResourceDescriptor> {
        self.dependencies.iter().find(|dependency| dependency.name.as_deref() == Some(name))
    }
}
