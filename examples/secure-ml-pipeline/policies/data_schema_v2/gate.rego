# Answers every check of gate.yaml with evidence. The engine compares `got` and `want` with the input and the bounds, and
# passes only if every check passes and `deny` is empty.
package seaworthy.gate

result := {"checks": checks, "deny": deny}

checks := {
	"source_pinned": exactly(input.source.pinned, true),
	"schema_declared": exactly(input.schema.declared, true),
	"rows": at_least(input.rows, data.bounds.rows_min),
	"columns": at_least(input.columns, data.bounds.columns_min),
	"types": at_most(input.violations.types, data.bounds.types_max),
	"nulls": at_most(input.violations.nulls, data.bounds.nulls_max),
	"range": at_most(input.violations.range, data.bounds.range_max),
	"category": at_most(input.violations.category, data.bounds.category_max),
	"unique": at_most(input.violations.unique, data.bounds.unique_max),
	"missing_columns": at_most(input.violations.missing_columns, data.bounds.missing_columns_max),
	"unexpected_columns": at_most(input.violations.unexpected_columns, data.bounds.unexpected_columns_max),
	"rows_violating": at_most(input.rows_violating_fraction, data.bounds.violating_fraction_max),
	"anomalies": at_most(input.anomalies.fraction, data.bounds.anomalies_fraction_max),
}

# Evidence that contradicts itself is no evidence: a fraction must name its count, to half a row.
deny contains {"rule": "rows_violating_consistent", "message": message} if {
	abs((input.rows_violating_fraction * input.rows) - input.rows_violating) >= 0.5
	message := "rows_violating_fraction does not follow from rows_violating and rows"
}

deny contains {"rule": "anomalies_consistent", "message": message} if {
	abs((input.anomalies.fraction * input.rows) - input.anomalies.rows_flagged) >= 0.5
	message := "anomalies.fraction does not follow from anomalies.rows_flagged and rows"
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
