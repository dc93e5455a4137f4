# Answers every check of gate.yaml with evidence. The engine compares `got` and `want` with the input and the bounds, and
# passes only if every check passes and `deny` is empty.
package seaworthy.gate

result := {"checks": object.union(common, by_task[input.task]), "deny": deny}

common := {
	"rows": at_least(input.data.rows, data.bounds.rows_min),
	"reference_rows": at_least(input.reference.rows, data.bounds.reference_rows_min),
	"drift_features": at_least(input.drift.features, data.bounds.drift_features_min),
	"drifted_fraction": at_most(input.drift.drifted_fraction, data.bounds.drifted_fraction_max),
	"max_psi": at_most(input.drift.max_psi, data.bounds.psi_max),
	"explained_features": at_least(input.explainability.features, data.bounds.explained_features_min),
	"additivity": at_most(input.explainability.additivity_error, data.bounds.additivity_error_max),
	"top_share": at_most(input.explainability.top_share, data.bounds.top_share_max),
	"score_complete": exactly(input.score.complete, true),
	"score": at_least(input.score.value, data.bounds.score_min),
}

by_task.binary := {
	"accuracy": at_least(input.metrics.accuracy.value, data.bounds.accuracy_min),
	"balanced_accuracy": at_least(input.metrics.balanced_accuracy.value, data.bounds.balanced_accuracy_min),
	"auc": at_least(input.metrics.auc.value, data.bounds.auc_min),
	"f1": at_least(input.metrics.f1.value, data.bounds.f1_min),
	"log_loss": at_most(input.metrics.log_loss.value, data.bounds.log_loss_max),
	"brier": at_most(input.metrics.brier.value, data.bounds.brier_max),
	"beats_baseline": at_least(input.metrics.accuracy.low, accuracy_wanted),
}

by_task.multiclass := {
	"accuracy": at_least(input.metrics.accuracy.value, data.bounds.accuracy_min),
	"macro_f1": at_least(input.metrics.macro_f1.value, data.bounds.macro_f1_min),
	"multiclass_log_loss": at_most(input.metrics.log_loss.value, data.bounds.multiclass_log_loss_max),
	"beats_baseline": at_least(input.metrics.accuracy.low, accuracy_wanted),
}

by_task.regression := {
	"r2": at_least(input.metrics.r2.value, data.bounds.r2_min),
	"mae": at_most(input.metrics.mae.value, data.bounds.mae_max),
	"rmse": at_most(input.metrics.rmse.value, data.bounds.rmse_max),
	"beats_mean": at_most(input.metrics.rmse.high, input.baseline.value * (1 - data.bounds.baseline_margin_min)),
}

# The baseline's error is 1 - accuracy; a share of it must go.
accuracy_wanted := input.baseline.value + (data.bounds.baseline_margin_min * (1 - input.baseline.value))

# Evidence that contradicts itself is no evidence.
deny contains {"rule": "interval_consistent", "message": message} if {
	some name, estimate in input.metrics
	not ordered(estimate)
	message := sprintf("metrics.%v does not lie within its interval", [name])
}

deny contains {"rule": "drift_consistent", "message": message} if {
	abs((input.drift.drifted_fraction * input.drift.features) - input.drift.drifted) >= 0.5
	message := "drift.drifted_fraction does not follow from drift.drifted and drift.features"
}

ordered(estimate) if {
	estimate.low <= estimate.value
	estimate.value <= estimate.high
}

at_least(got, want) := {
	"pass": got >= want,
	"got": got,
	"want": want,
	"message": sprintf("%v, at least %v", [got, want]),
}

at_most(got, want) := {
	"pass": got <= want,
	"got": got,
	"want": want,
	"message": sprintf("%v, at most %v", [got, want]),
}

exactly(got, want) := {
	"pass": got == want,
	"got": got,
	"want": want,
	"message": sprintf("%v, exactly %v", [got, want]),
}
