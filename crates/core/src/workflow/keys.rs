//! The keys of a step: the one table from which reading, suggestions and the JSON schema are made.
//!
//! in: nothing; out: [`STEP_KEYS`].
//! **Invariant:** a key stands here once; what is not here is refused.

use super::model::StepKind::{self, Deploy, Ingest, Train, Transform, Validate};

/// The shape of a key's value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Shape {
    /// Text that is not empty.
    Text,
    /// `true` or `false`.
    Flag,
    /// A [`crate::id::Name`].
    Name,
    /// A path below the workspace.
    Path,
    /// A local path or a URI.
    Source,
    /// `NAME:TAG` or `host`.
    Container,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of arguments.
    Argv,
    /// A list of step names.
    Names,
    /// A list of `host:port`.
    Destinations,
    /// A list of `secret://file/NAME`.
    Secrets,
    /// `step/output`.
    Output,
    /// A list of `step/output`.
    OutputList,
    /// Outputs by name.
    Outputs,
    /// Any mapping.
    Params,
    /// Bounds.
    Resources,
    /// A duration such as `10m`.
    Duration,
    /// How often, after how long and for which causes a body is tried again.
    Retries,
}

/// One key.
pub(crate) struct StepKey {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// The kinds of step in which it means something.
    pub(crate) kinds: &'static [StepKind],
    pub(crate) about: &'static str,
}

const ANY: &[StepKind] = &[Ingest, Transform, Train, Validate, Deploy];
const BODY: &[StepKind] = &[Transform, Train];

pub(crate) const KINDS: &[&str] = &["ingest", "transform", "train", "validate", "deploy"];
pub(crate) const SWITCH: &[&str] = &["enabled", "disabled"];
pub(crate) const ISOLATIONS: &[&str] = &["sandbox", "gvisor", "microvm"];
pub(crate) const TASKS: &[&str] = &["binary", "multiclass", "regression"];
pub(crate) const EXPLAINERS: &[&str] = &["shap", "lime"];
pub(crate) const CODE_INTEGRITY: &[&str] = &["any", "committed", "signed", "reviewed"];
pub(crate) const OUTPUT_TYPES: &[&str] = &["dataset", "model", "report"];
pub(crate) const RISK_CLASSES: &[&str] = &["minimal", "limited", "high", "unacceptable"];
pub(crate) const RESOURCE_KEYS: &[&str] = &["memory", "cpu", "processes", "disk", "sent", "received"];
pub(crate) const RETRY_KEYS: &[&str] = &["max", "backoff", "on"];
pub(crate) const SETTINGS_KEYS: &[&str] = &["environment", "project", "sources", "environments", "steps"];
pub(crate) const PROJECT_KEYS: &[&str] = &["name", "owner", "deputy", "purpose", "risk_class", "residency", "data_classes"];

const fn key(name: &'static str, shape: Shape, kinds: &'static [StepKind], about: &'static str) -> StepKey {
    StepKey { name, shape, kinds, about }
}

/// Every key of a step.
#[rustfmt::skip]
pub(crate) const STEP_KEYS: &[StepKey] = &[
    key("kind", Shape::Choice(KINDS), ANY, "what the step does, if its keys do not say it"),
    key("source", Shape::Source, &[Ingest], "where the data come from: a local path, or s3://, az://, gs://, https:// mapped by `sources` of the settings file"),
    key("integrity_check", Shape::Choice(&["sha256"]), &[Ingest], "every file is hashed and the dataset signed; the digest must equal the lock's"),
    key("schema", Shape::Path, &[Ingest], "data schema below the workspace; without one it is inferred and pinned"),
    key("policy_gate", Shape::Name, ANY, "the gate in `policies/` that must pass before the step commits"),
    key("container", Shape::Container, ANY, "locked environment NAME:TAG, or host; outside the table of `environments` it is refused"),
    key("sandbox", Shape::Flag, ANY, "confinement; true unless the environment is dev"),
    key("isolation", Shape::Choice(ISOLATIONS), BODY, "how the step is walled off: sandbox; gvisor and microvm are refused in this release"),
    key("logging", Shape::Choice(SWITCH), ANY, "keep bounded standard output and error; disabled only in dev"),
    key("env", Shape::Choice(&["ephemeral"]), ANY, "the writable file system is thrown away afterwards"),
    key("data_provenance", Shape::Choice(&["enforce", "verify"]), ANY, "enforce: refuse inputs whose chain does not end at a trusted, signed source"),
    key("run", Shape::Argv, BODY, "the command as a list of arguments; never a shell line"),
    key("code", Shape::Path, BODY, "folder of the code below the workspace"),
    key("code_integrity", Shape::Choice(CODE_INTEGRITY), BODY, "what is demanded of the code's history"),
    key("params", Shape::Params, BODY, "parameters, given to the step as a JSON file"),
    key("inputs", Shape::OutputList, &[Transform, Train, Validate, Deploy], "outputs of other steps that this step reads, as step/output"),
    key("outputs", Shape::Outputs, &[Ingest, Transform, Train, Validate], "what the step makes, by name"),
    key("needs", Shape::Names, ANY, "steps that must commit first; without needs and inputs: the step before"),
    key("model", Shape::Output, &[Validate, Deploy], "the model, as step/output"),
    key("data", Shape::Output, &[Validate], "the held-out data, as step/output"),
    key("reference", Shape::Output, &[Validate], "the training data that drift is measured against, as step/output"),
    key("label", Shape::Text, &[Validate], "the column that the model predicts"),
    key("task", Shape::Choice(TASKS), &[Validate], "what the model predicts"),
    key("explainability", Shape::Choice(EXPLAINERS), &[Validate], "how the model's answers are explained"),
    key("drift_detection", Shape::Choice(SWITCH), &[Validate], "compare the held-out data with the reference"),
    key("canary", Shape::Flag, &[Deploy], "start with a small share of traffic"),
    key("monitoring", Shape::Choice(&["real_time"]), &[Deploy], "the gateway's monitors and the sentinel"),
    key("rollback_on", Shape::Choice(&["anomaly_detected"]), &[Deploy], "return to the last known good version by itself"),
    key("egress", Shape::Destinations, BODY, "hosts the step may reach by TLS through the proxy in $HTTPS_PROXY, as host:port; everything else is not there"),
    key("secrets", Shape::Secrets, BODY, "secrets the step may read, as secret://file/NAME; each is the file $SEAWORTHY_SECRETS/NAME"),
    key("resources", Shape::Resources, ANY, "bounds: memory, cpu, processes, disk; sent and received for bytes of `egress`"),
    key("cache", Shape::Flag, ANY, "reuse outputs when nothing changed; true by default"),
    key("timeout", Shape::Duration, ANY, "the longest the step may run, for instance 10m"),
    key("retries", Shape::Retries, BODY, "try the body again: max times, for the causes in `on` (timed-out, out-of-memory, killed, exit-N), waiting `backoff`, twice as long each time"),
];

/// The key of that name.
pub(crate) fn step_key(name: &str) -> Option<&'static StepKey> {
    STEP_KEYS.iter().find(|key| key.name == name)
}
