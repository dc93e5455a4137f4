//! `data_schema`: does a table obey its schema? Table, schema → counts of violations and the first rows that have them.
//!
//! One streaming pass; more only where a `unique` rule over very many rows would not fit memory.
//!
//! **Invariant:** a row counts once in `rows_violating`, however many of its cells are at fault.
//! **Invariant:** memory does not grow with rows but for one bit a row and a bounded set of hashes.

mod cell;
mod unique;

use std::collections::BTreeMap;

use seaworthy_core::finding::{CheckReport, Finding, RowRef, Severity};
use seaworthy_core::limits::FINDING_ROWS_MAX;
use serde_json::{Value, json};

use super::{CheckError, fraction, report};
use crate::schema::{ColumnRule, DataSchema};
use crate::table::{Batch, Dataset};
use cell::violations_of;
use unique::UniqueSets;

/// Name of the check.
pub const ID: &str = "data_schema";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Findings listed; further ones are only counted.
const FINDINGS_MAX: usize = 1_000;

/// What a cell can break.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rule {
    Type,
    Null,
    Range,
    Category,
    Pattern,
    Unique,
}

impl Rule {
    /// Name in the evidence of a finding.
    fn name(self) -> &'static str {
        match self {
            Self::Type => "types",
            Self::Null => "nulls",
            Self::Range => "range",
            Self::Category => "category",
            Self::Pattern => "pattern",
            Self::Unique => "unique",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Type => "are not of the declared type",
            Self::Null => "are null",
            Self::Range => "lie outside the declared range",
            Self::Category => "are none of the declared categories",
            Self::Pattern => "do not match the declared pattern",
            Self::Unique => "repeat an earlier value",
        }
    }
}

/// Violations of one rule in one column.
#[derive(Default)]
struct Tally {
    count: u64,
    rows: Vec<RowRef>,
}

/// Everything counted so far.
struct Count<'a> {
    data: &'a Dataset,
    tallies: BTreeMap<(usize, Rule), Tally>,
    /// Cells that are null, a column of the schema each.
    nulls: Vec<u64>,
    /// One bit for each row of the table.
    violating: Vec<u64>,
}

impl Count<'_> {
    fn add(&mut self, column: usize, rule: Rule, batch: &Batch, row: usize, row_of_table: u64) {
        let tally = self.tallies.entry((column, rule)).or_default();
        tally.count += 1;
        if tally.rows.len() < FINDING_ROWS_MAX {
            tally.rows.push(RowRef { file: self.data.file_name(batch.file()).to_owned(), index: batch.row(row), score: 1.0 });
        }
        let word = usize::try_from(row_of_table / 64).unwrap_or(usize::MAX);
        if word >= self.violating.len() {
            self.violating.resize(word.saturating_add(1), 0);
        }
        if let Some(bits) = self.violating.get_mut(word) {
            *bits |= 1 << (row_of_table % 64);
        }
    }

    fn rows_violating(&self) -> u64 {
        self.violating.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    fn total(&self, rule: Rule) -> u64 {
        self.tallies.iter().filter(|((_, of), _)| *of == rule).map(|(_, tally)| tally.count).sum()
    }
}

/// Runs the check.
pub fn run(data: &Dataset, schema: &DataSchema) -> Result<CheckReport, CheckError> {
    let places: Vec<Option<usize>> =
        schema.columns.iter().map(|rule| data.columns().iter().position(|column| column.name == rule.name)).collect();
    let mut count = Count { data, tallies: BTreeMap::new(), nulls: vec![0; schema.columns.len()], violating: Vec::new() };
    let rows = scan(data, schema, &places, &mut count)?;
    let mut findings = column_findings(schema, data);
    let missing = findings.iter().filter(|finding| finding.evidence.contains_key("missing")).count();
    let unexpected = findings.len() - missing;
    let excess_nulls = null_findings(schema, &count, rows, &mut findings);
    let rows_out = rows_finding(schema, rows, &mut findings);
    for ((column, rule), tally) in &count.tallies {
        if let Some(declared) = schema.columns.get(*column) {
            findings.push(cell_finding(declared, *rule, tally));
        }
    }
    // a pattern narrows the type, and a number of rows outside its bounds is a range that does not hold
    let violations: BTreeMap<&str, Value> = BTreeMap::from([
        ("types", json!(count.total(Rule::Type) + count.total(Rule::Pattern))),
        ("nulls", json!(count.total(Rule::Null) + excess_nulls)),
        ("range", json!(count.total(Rule::Range) + rows_out)),
        ("category", json!(count.total(Rule::Category))),
        ("unique", json!(count.total(Rule::Unique))),
        ("missing_columns", json!(missing)),
        ("unexpected_columns", json!(unexpected)),
    ]);
    let total: u64 = violations.values().filter_map(Value::as_u64).sum();
    let violating = count.rows_violating();
    let facts = [
        ("rows", json!(rows)),
        ("columns", json!(data.columns().len())),
        ("files", json!(data.file_names().count())),
        ("violations", json!(violations)),
        ("violations_total", json!(total)),
        ("rows_violating", json!(violating)),
        ("rows_violating_fraction", json!(fraction(violating, rows))),
        ("findings_total", json!(findings.len())),
    ];
    let mut report = report(ID, &[("columns", json!(schema.columns.len())), ("extra_columns", json!(schema.extra_columns))], &facts);
    findings.truncate(FINDINGS_MAX);
    report.findings = findings;
    Ok(report)
}

/// Counts violations of cells; returns the number of rows read.
fn scan(data: &Dataset, schema: &DataSchema, places: &[Option<usize>], count: &mut Count<'_>) -> Result<u64, CheckError> {
    let wanted: Vec<usize> = places.iter().flatten().copied().collect();
    let declared: Vec<(usize, &ColumnRule)> =
        schema.columns.iter().enumerate().filter(|(column, _)| places.get(*column).copied().flatten().is_some()).collect();
    let mut sets = UniqueSets::new(declared.iter().filter(|(_, rule)| rule.unique).count(), data.rows());
    let mut rows = 0;
    for pass in 0..sets.passes() {
        sets.begin(pass);
        rows = 0;
        for batch in data.batches_of(wanted.clone()) {
            let batch = batch?;
            let mut set = 0;
            for (place, (column, rule)) in declared.iter().enumerate() {
                if pass == 0 {
                    let nulls =
                        violations_of(&batch, place, rule, |row, broken| count.add(*column, broken, &batch, row, rows + offset(row)));
                    if let Some(sum) = count.nulls.get_mut(*column) {
                        *sum += nulls;
                    }
                }
                if rule.unique {
                    sets.repeats(set, &batch, place, |row| count.add(*column, Rule::Unique, &batch, row, rows + offset(row)));
                    set += 1;
                }
            }
            rows += offset(batch.rows());
        }
    }
    Ok(rows)
}

fn offset(row: usize) -> u64 {
    u64::try_from(row).unwrap_or(u64::MAX)
}

fn cell_finding(declared: &ColumnRule, rule: Rule, tally: &Tally) -> Finding {
    Finding {
        check: ID.to_owned(),
        severity: Severity::Error,
        subject: format!("column:{}", declared.name),
        message: format!("{} cells of column `{}` {}", tally.count, declared.name, rule.sentence()),
        evidence: BTreeMap::from([(String::from("rule"), json!(rule.name())), (String::from("count"), json!(tally.count))]),
        rows: tally.rows.clone(),
    }
}

fn finding(subject: String, message: String, evidence: &[(&str, Value)]) -> Finding {
    let evidence = evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Finding { check: ID.to_owned(), severity: Severity::Error, subject, message, evidence, rows: Vec::new() }
}

/// Missing and unexpected columns. A column is missing if any file lacks it.
fn column_findings(schema: &DataSchema, data: &Dataset) -> Vec<Finding> {
    let mut findings = Vec::new();
    let by_name: BTreeMap<&str, usize> = data.columns().iter().enumerate().map(|(place, column)| (column.name.as_str(), place)).collect();
    for rule in schema.columns.iter().filter(|rule| rule.required) {
        let place = by_name.get(rule.name.as_str());
        let lacking: Vec<&str> = data
            .file_names()
            .enumerate()
            .filter(|(file, _)| place.is_none_or(|place| !data.file_has(*file, *place)))
            .map(|(_, name)| name)
            .take(10)
            .collect();
        if let Some(first) = lacking.first() {
            let message = format!("required column `{}` is missing in `{first}`", rule.name);
            findings.push(finding(format!("column:{}", rule.name), message, &[("missing", json!(lacking))]));
        }
    }
    if !schema.extra_columns {
        let known: std::collections::HashSet<&str> = schema.columns.iter().map(|rule| rule.name.as_str()).collect();
        for column in data.columns().iter().filter(|column| !known.contains(column.name.as_str())) {
            let message = format!("column `{}` is not in the schema", column.name);
            findings.push(finding(format!("column:{}", column.name), message, &[("unexpected", json!(column.name))]));
        }
    }
    findings
}

/// Columns whose share of nulls is over their bound; returns the number of nulls beyond the bounds.
fn null_findings(schema: &DataSchema, count: &Count<'_>, rows: u64, findings: &mut Vec<Finding>) -> u64 {
    let mut excess = 0;
    for (rule, nulls) in schema.columns.iter().zip(&count.nulls) {
        let Some(max) = rule.max_null_fraction else { continue };
        let found = fraction(*nulls, rows);
        if found > max && rule.nullable {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a count of rows, at least 0"
            )]
            let allowed = (max * rows as f64).floor() as u64;
            excess += nulls.saturating_sub(allowed);
            let message = format!("{found:.6} of column `{}` is null, at most {max} is allowed", rule.name);
            findings.push(finding(
                format!("column:{}", rule.name),
                message,
                &[("rule", json!("nulls")), ("null_fraction", json!(found)), ("max", json!(max))],
            ));
        }
    }
    excess
}

fn rows_finding(schema: &DataSchema, rows: u64, findings: &mut Vec<Finding>) -> u64 {
    let out = schema.rows_min.is_some_and(|min| rows < min) || schema.rows_max.is_some_and(|max| rows > max);
    if out {
        let message = format!("the table has {rows} rows, outside the declared bounds");
        findings.push(finding(
            String::from("table"),
            message,
            &[("rows", json!(rows)), ("min", json!(schema.rows_min)), ("max", json!(schema.rows_max))],
        ));
    }
    u64::from(out)
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({"findings_max": FINDINGS_MAX, "hashes_max": unique::HASHES_MAX})
}
