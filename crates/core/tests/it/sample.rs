//! The sample of product.md parses exactly as it stands, and every word of it means what the documents say.

use seaworthy_core::plan;
use seaworthy_core::workflow::model::{EnvironmentSource, StepKind, Workspace};
use seaworthy_core::workflow::{Severity, SourceText, SourceTexts, parse};

pub(crate) const SAMPLE: &str = include_str!("sample.yaml");
pub(crate) const SETTINGS: &str = include_str!("sample.seaworthy.yaml");

pub(crate) fn sources(workflow: &str, settings: Option<&str>) -> SourceTexts {
    let file = |path: &str, text: &str| SourceText { path: path.to_owned(), text: text.to_owned() };
    SourceTexts { workflow: file("demo/workflow.yaml", workflow), settings: settings.map(|text| file("demo/seaworthy.yaml", text)) }
}

pub(crate) fn sample() -> Workspace {
    let (workspace, diagnostics) = parse(&sources(SAMPLE, Some(SETTINGS)));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    workspace.unwrap()
}

#[test]
fn the_sample_means_what_the_documents_say() {
    let workspace = sample();
    assert_eq!(workspace.environment.as_str(), "staging");
    assert_eq!(workspace.project.as_ref().unwrap().owner, "user:u7f3a");
    let [workflow] = workspace.workflows.as_slice() else { panic!("one workflow") };
    assert_eq!(workflow.name.as_str(), "secure_ml_pipeline");
    let [ingest, preprocess, train, validate, deploy] = workflow.steps.as_slice() else { panic!("five steps") };

    assert_eq!(ingest.kind, StepKind::Ingest);
    assert_eq!(ingest.source.as_deref(), Some("s3://data-lake/raw/"));
    assert_eq!(workspace.local_source("s3://data-lake/raw/").as_deref(), Some("./data/raw/"));
    assert_eq!(ingest.integrity_check.as_deref(), Some("sha256"));
    assert_eq!(ingest.policy_gate.as_ref().unwrap().as_str(), "data_schema_v2");
    assert_eq!(ingest.schema.as_deref(), Some("schemas/employment.yaml"));

    assert_eq!(preprocess.kind, StepKind::Transform);
    assert_eq!(preprocess.container.as_deref(), Some("secure_preproc:2026.06"));
    assert!(preprocess.sandbox && preprocess.logging && preprocess.cache && !preprocess.ephemeral);
    assert_eq!(preprocess.run.as_deref(), Some(&["python".to_owned(), "prepare.py".to_owned()][..]));
    assert_eq!(preprocess.inputs.as_ref().unwrap()[0].to_string(), "ingest_data/raw");

    assert_eq!(train.kind, StepKind::Train);
    assert!(train.ephemeral && train.data_provenance_enforced && train.sandbox && train.logging);
    let python = EnvironmentSource::Python("envs/train/requirements.lock".to_owned());
    assert_eq!(workspace.environment_source(train.container.as_deref()), Some(&python));

    assert_eq!(validate.kind, StepKind::Validate);
    assert_eq!(validate.explainability.as_deref(), Some("shap"));
    assert!(validate.drift_detection);
    assert_eq!(validate.policy_gate.as_ref().unwrap().as_str(), "model_performance");
    assert_eq!((validate.label.as_deref(), validate.task.as_deref()), (Some("employed"), Some("binary")));

    assert_eq!(deploy.kind, StepKind::Deploy);
    assert!(deploy.canary);
    assert_eq!(deploy.monitoring.as_deref(), Some("real_time"));
    assert_eq!(deploy.rollback_on.as_deref(), Some("anomaly_detected"));
}

#[test]
fn the_sample_plans_in_its_order_and_deploys_the_validated_model() {
    let plan = plan::build(&sample(), "secure_ml_pipeline").unwrap();
    let names: Vec<&str> = plan.steps.iter().map(|planned| planned.step.name.as_str()).collect();
    assert_eq!(names, ["ingest_data", "preprocess", "train_model", "validate_model", "deploy_model"]);
    let needs: Vec<&[usize]> = plan.steps.iter().map(|planned| planned.needs.as_slice()).collect();
    assert_eq!(needs, [&[][..], &[0], &[1], &[1, 2], &[2, 3]]);
    let inputs: Vec<String> = plan.steps[4].inputs.iter().map(ToString::to_string).collect();
    assert_eq!(inputs, ["train_model/model"]);
    assert_eq!((plan.workflow_file.as_str(), plan.settings_file.as_deref()), ("workflow.yaml", Some("seaworthy.yaml")));
    assert_eq!(plan.digest(), plan::build(&sample(), "secure_ml_pipeline").unwrap().digest());
    let mut other = plan.clone();
    other.steps[2].step.params = serde_json::json!({"depth": 3});
    assert_ne!(plan.digest(), other.digest());
}

#[test]
fn the_sample_alone_parses_and_says_what_is_missing() {
    let (workspace, diagnostics) = parse(&sources(SAMPLE, None));
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let workspace = workspace.expect("the sample alone parses");
    assert_eq!(workspace.environment.as_str(), "dev");
    let faults = plan::build(&workspace, "secure_ml_pipeline").expect_err("it cannot be run without a command");
    assert!(faults.has_errors());
    let warned: Vec<_> = diagnostics.iter().map(|d| (d.code, d.line, &d.message)).collect();
    let refused: Vec<_> = faults.iter().map(|d| (d.code, d.line, &d.message)).collect();
    assert_eq!(warned, refused, "parsing warns of exactly what planning refuses");
    assert!(diagnostics.iter().all(|d| d.severity == Severity::Warning) && faults.iter().all(|d| d.severity == Severity::Error));
}
