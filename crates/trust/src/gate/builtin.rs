//! The gates shipped with the product.
//!
//! in: `/policies` of the repository, embedded; out: their files.
//! **Invariant:** a test compares this list with the folders on disk, so that no file is forgotten.

use super::GateFiles;

macro_rules! gate {
    ($name:literal: $($file:literal),* $(,)?) => {
        ($name, &[$(($file, include_bytes!(concat!("../../../../policies/", $name, "/", $file)).as_slice())),*])
    };
}

type Embedded = (&'static str, &'static [(&'static str, &'static [u8])]);

const GATES: [Embedded; 2] = [
    gate!("data_schema_v2":
        "cases/deny_anomalies.json",
        "cases/deny_category.json",
        "cases/deny_empty.json",
        "cases/deny_few_rows.json",
        "cases/deny_hidden_anomalies.json",
        "cases/deny_hidden_half_anomaly.json",
        "cases/deny_hidden_half_row.json",
        "cases/deny_hidden_part_anomaly.json",
        "cases/deny_hidden_part_row.json",
        "cases/deny_hidden_rows.json",
        "cases/deny_many_kinds.json",
        "cases/deny_missing_column.json",
        "cases/deny_null.json",
        "cases/deny_nulls.json",
        "cases/deny_other_gate.json",
        "cases/deny_other_schema.json",
        "cases/deny_other_subject.json",
        "cases/deny_range.json",
        "cases/deny_schema_inferred.json",
        "cases/deny_source_unpinned.json",
        "cases/deny_text_for_number.json",
        "cases/deny_types.json",
        "cases/deny_unexpected_column.json",
        "cases/deny_unique.json",
        "cases/deny_violations_missing.json",
        "cases/pass_at_bounds.json",
        "cases/pass_clean.json",
        "cases/pass_rounded_fraction.json",
        "contract.json",
        "gate.rego",
        "gate.yaml",
    ),
    gate!("model_performance":
        "cases/deny_accuracy.json",
        "cases/deny_additivity.json",
        "cases/deny_auc.json",
        "cases/deny_balanced_accuracy.json",
        "cases/deny_baseline.json",
        "cases/deny_baseline_margin.json",
        "cases/deny_baseline_metric.json",
        "cases/deny_brier.json",
        "cases/deny_drift.json",
        "cases/deny_drift_count.json",
        "cases/deny_drift_half.json",
        "cases/deny_drift_off.json",
        "cases/deny_drift_part.json",
        "cases/deny_drift_switched.json",
        "cases/deny_explainability_off.json",
        "cases/deny_f1.json",
        "cases/deny_interval_above.json",
        "cases/deny_interval_below.json",
        "cases/deny_log_loss.json",
        "cases/deny_metrics_missing.json",
        "cases/deny_multiclass.json",
        "cases/deny_multiclass_baseline.json",
        "cases/deny_null_metric.json",
        "cases/deny_other_data.json",
        "cases/deny_other_reference.json",
        "cases/deny_other_subject.json",
        "cases/deny_reference_rows.json",
        "cases/deny_regression.json",
        "cases/deny_regression_mean.json",
        "cases/deny_rows.json",
        "cases/deny_score.json",
        "cases/deny_score_incomplete.json",
        "cases/deny_task_swapped.json",
        "cases/deny_top_share.json",
        "cases/pass_binary.json",
        "cases/pass_binary_at_bounds.json",
        "cases/pass_drift_rounded.json",
        "cases/pass_multiclass.json",
        "cases/pass_multiclass_at_bounds.json",
        "cases/pass_regression.json",
        "cases/pass_regression_at_bounds.json",
        "contract.json",
        "gate.rego",
        "gate.yaml",
    ),
];

/// Name and files of every shipped gate.
#[must_use]
pub fn builtin() -> Vec<(&'static str, GateFiles)> {
    GATES.iter().map(|(name, files)| (*name, files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect())).collect()
}
