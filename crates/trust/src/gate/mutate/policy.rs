//! Mutates the Rego text: each operator, constant and `not` changed, each rule and each line of a body taken away.
//!
//! in: a gate and its cases; out: the mutants that no case notices.
//! **Invariant:** the cases must hold for the gate as it stands, otherwise the report says so and counts nothing.

mod text;

use regorus::unstable::{Expr, Module, Query, Rule, Span};

use super::super::cases::test_case;
use super::super::{Case, Gate};
use super::{Mutation, MutationReport};
use text::{Token, tokens};

/// A piece of the text and what stands in its place.
struct Edit {
    start: usize,
    end: usize,
    line: u32,
    change: String,
    with: String,
}

/// Mutates the gate's policy and lists every mutant that `cases` do not notice.
#[must_use]
pub fn mutate_policy(gate: &Gate, cases: &[Case]) -> MutationReport {
    let mut report = MutationReport {
        gate: gate.name().to_owned(),
        mutated: "policy",
        case: String::new(),
        total: 0,
        refused: 0,
        survivors: Vec::new(),
        fault: String::new(),
    };
    if let Some(case) = cases.iter().find(|case| !test_case(gate, case).ok) {
        report.fault = format!("case `{}` does not hold: mutants would tell nothing", case.name);
        return report;
    }
    let mut edits = token_edits(&gate.policy);
    let mut engine = gate.engine.clone();
    for module in engine.get_modules() {
        edits.extend(rule_edits(module, &gate.policy));
    }
    for edit in edits {
        let Some(mutant) = apply(&gate.policy, &edit) else {
            continue;
        };
        report.total += 1;
        match gate.with_policy(&mutant) {
            Err(_) => report.refused += 1,
            Ok(mutated) if cases.iter().any(|case| !test_case(&mutated, case).ok) => {}
            Ok(_) => {
                report.survivors.push(Mutation { place: format!("line {}", edit.line), change: edit.change });
            }
        }
    }
    report.survivors.sort();
    report
}

fn apply(policy: &str, edit: &Edit) -> Option<String> {
    Some(format!("{}{}{}", policy.get(..edit.start)?, edit.with, policy.get(edit.end..)?))
}

/// Operators, booleans, numbers and `not`.
fn token_edits(policy: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    for token in tokens(policy) {
        for with in alternatives(&token) {
            edits.push(Edit {
                start: token.start,
                end: token.start + token.text.len(),
                line: token.line,
                change: if with.is_empty() { format!("`{}` removed", token.text) } else { format!("`{}` to `{with}`", token.text) },
                with,
            });
        }
    }
    edits
}

fn alternatives(token: &Token<'_>) -> Vec<String> {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    match token.text {
        ">=" => list(&[">", "<", "<=", "==", "!="]),
        ">" => list(&[">=", "<", "<=", "==", "!="]),
        "<=" => list(&["<", ">", ">=", "==", "!="]),
        "<" => list(&["<=", ">", ">=", "==", "!="]),
        "==" => list(&["!="]),
        "!=" => list(&["=="]),
        "+" => list(&["-", "*"]),
        "-" => list(&["+"]),
        "*" => list(&["+", "/"]),
        "/" => list(&["*"]),
        "|" => list(&["&"]),
        "&" => list(&["|"]),
        "true" => list(&["false"]),
        "false" => list(&["true"]),
        "not" => list(&[""]),
        number => match number.parse::<f64>() {
            Ok(n) if n.is_finite() && number.starts_with(|c: char| c.is_ascii_digit()) => {
                [n + 1.0, n * 2.0, 0.0, n - 1.0].iter().filter(|other| **other != n).map(ToString::to_string).collect()
            }
            _ => Vec::new(),
        },
    }
}

/// Each rule deleted, and each line of each body replaced by `true`.
fn rule_edits(module: &Module, policy: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    for rule in &module.policy {
        edits.extend(edit(rule.span(), "rule deleted", "", policy));
        if let Rule::Spec { bodies, .. } = rule.as_ref() {
            for body in bodies {
                query_edits(&body.query, policy, &mut edits);
            }
        }
    }
    edits
}

fn query_edits(query: &Query, policy: &str, edits: &mut Vec<Edit>) {
    for stmt in &query.stmts {
        edits.extend(edit(&stmt.span, "line taken away", "true", policy));
        if let regorus::unstable::Literal::Every { query, .. } = &stmt.literal {
            query_edits(query, policy, edits);
        }
        if let regorus::unstable::Literal::Expr { expr, .. } = &stmt.literal
            && let Expr::AssignExpr { rhs, .. } = expr.as_ref()
        {
            comprehension_edits(rhs, policy, edits);
        }
    }
}

fn comprehension_edits(expr: &Expr, policy: &str, edits: &mut Vec<Edit>) {
    if let Expr::ArrayCompr { query, .. } | Expr::SetCompr { query, .. } | Expr::ObjectCompr { query, .. } = expr {
        query_edits(query, policy, edits);
    }
}

fn edit(span: &Span, change: &str, with: &str, policy: &str) -> Option<Edit> {
    let (start, end) = (usize::try_from(span.start).ok()?, usize::try_from(span.end).ok()?);
    let shown: String = policy.get(start..end)?.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = shown.chars().take(60).collect();
    Some(Edit { start, end, line: span.line, change: format!("{change}: `{shown}`"), with: with.to_owned() })
}
