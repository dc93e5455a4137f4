//! The variables that a rule declares itself, so that a misspelt name is noticed.
//!
//! in: a rule; out: every name bound in it by an argument, `:=`, `some` or `every`.
//! **Invariant:** only declarations count; a name that is merely used declares nothing.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Literal, Query, Ref, Rule, RuleAssign, RuleHead};

type Names = BTreeSet<String>;

/// Every name that `rule` binds, anywhere in it.
pub(super) fn declared(rule: &Rule) -> Names {
    let mut names = Names::from(["_".to_owned()]);
    match rule {
        Rule::Default { args, value, .. } => {
            args.iter().for_each(|arg| bind(arg, &mut names));
            walk(value, &mut names);
        }
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { assign, .. } => value(assign.as_ref(), &mut names),
                RuleHead::Set { key, .. } => key.iter().for_each(|key| walk(key, &mut names)),
                RuleHead::Func { args, assign, .. } => {
                    args.iter().for_each(|arg| bind(arg, &mut names));
                    value(assign.as_ref(), &mut names);
                }
            }
            for body in bodies {
                value(body.assign.as_ref(), &mut names);
                query(&body.query, &mut names);
            }
        }
    }
    names
}

fn value(assign: Option<&RuleAssign>, names: &mut Names) {
    if let Some(assign) = assign {
        walk(&assign.value, names);
    }
}

/// The variables of a pattern.
fn bind(pattern: &Expr, names: &mut Names) {
    match pattern {
        Expr::Var { span, .. } => {
            names.insert(span.text().to_owned());
        }
        Expr::Array { items, .. } => items.iter().for_each(|item| bind(item, names)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| bind(value, names)),
        _ => {}
    }
}

fn query(query: &Query, names: &mut Names) {
    for stmt in &query.stmts {
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => names.extend(vars.iter().map(|var| var.text().to_owned())),
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().for_each(|key| bind(key, names));
                bind(value, names);
                walk(collection, names);
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { lhs, .. } = expr.as_ref() {
                    bind(lhs, names);
                }
                walk(expr, names);
            }
            Literal::NotExpr { expr, .. } => walk(expr, names),
            Literal::Every { key, value, domain, query: inner, .. } => {
                names.extend(key.iter().chain([value]).map(|name| name.text().to_owned()));
                walk(domain, names);
                query_of(inner, names);
            }
        }
    }
}

fn query_of(inner: &Ref<Query>, names: &mut Names) {
    query(inner, names);
}

/// Finds the queries of comprehensions.
fn walk(expr: &Expr, names: &mut Names) {
    match expr {
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            walk(term, names);
            query_of(query, names);
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            walk(key, names);
            walk(value, names);
            query_of(query, names);
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } | Expr::Call { params: items, .. } => {
            items.iter().for_each(|item| walk(item, names));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
            walk(key, names);
            walk(value, names);
        }),
        Expr::UnaryExpr { expr, .. } => walk(expr, names),
        Expr::BoolExpr { lhs, rhs, .. }
        | Expr::BinExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            walk(lhs, names);
            walk(rhs, names);
        }
        Expr::Membership { key, value, collection, .. } => {
            key.iter().for_each(|key| walk(key, names));
            walk(value, names);
            walk(collection, names);
        }
        Expr::RefDot { refr, .. } => walk(refr, names),
        Expr::RefBrack { refr, index, .. } => {
            walk(refr, names);
            walk(index, names);
        }
        Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. } | Expr::Var { .. } => {}
    }
}
