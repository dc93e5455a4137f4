//! The example's workflow and settings, and the variant of the settings.

use std::path::Path;

use seaworthy_core::plan;
use seaworthy_core::workflow::{SourceText, SourceTexts, parse};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

const EXAMPLE: &str = "examples/secure-ml-pipeline";

#[test]
fn the_workflow_is_the_sample_word_for_word_and_plans_without_a_word() {
    let workflow = read(&format!("{EXAMPLE}/workflow.yaml"));
    assert_eq!(workflow, read("crates/core/tests/it/sample.yaml"));
    for settings in [format!("{EXAMPLE}/seaworthy.yaml"), format!("{EXAMPLE}/variants/worse-model/seaworthy.yaml")] {
        let text = |path: &str, text: String| SourceText { path: path.to_owned(), text };
        let sources =
            SourceTexts { workflow: text("workflow.yaml", workflow.clone()), settings: Some(text("seaworthy.yaml", read(&settings))) };
        let (workspace, diagnostics) = parse(&sources);
        assert!(diagnostics.is_empty(), "{settings}: {diagnostics}");
        let plan = plan::build(&workspace.unwrap(), "secure_ml_pipeline");
        assert!(plan.is_ok(), "{settings}: {}", plan.unwrap_err());
    }
}

#[test]
fn the_worse_model_differs_in_its_parameters_alone() {
    let (good, worse) = (read(&format!("{EXAMPLE}/seaworthy.yaml")), read(&format!("{EXAMPLE}/variants/worse-model/seaworthy.yaml")));
    let more: Vec<&str> = worse.lines().filter(|line| !good.contains(line)).collect();
    assert_eq!(more, ["    params: {n_estimators: 12, max_depth: 2}"]);
    assert_eq!(worse.lines().count(), good.lines().count() + 1);
}
