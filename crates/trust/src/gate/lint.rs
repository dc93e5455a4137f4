//! What a gate's Rego may not contain: refused when the gate is loaded, before any input is seen.
//!
//! in: the parsed module, the contract, the names of the bounds; out: the bounds it reads, or every fault with its line.
//! **Invariant:** only listed, pure, bounded built-ins are called; only `input` paths of the contract and `data.bounds` of
//! `gate.yaml` are read; nothing passes by default; no `not` swallows an undefined argument.

mod locals;
mod scan;

use std::collections::BTreeSet;

use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleAssign, RuleHead, Span};
use seaworthy_core::limits::DEPTH_MAX;

use super::contract::Node;
pub(super) use scan::refuse_deep;

/// The package every gate declares, and the rule the engine reads.
pub(super) const PACKAGE: &str = "seaworthy.gate";
pub(super) const ENTRY: &str = "result";

/// Pure, deterministic, bounded by their arguments; everything else is refused by name.
const BUILTINS: [&str; 50] = [
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "indexof",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "lower",
    "max",
    "min",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "product",
    "regex.match",
    "replace",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "substring",
    "sum",
    "trim",
    "trim_space",
    "type_name",
    "union",
    "upper",
];

/// One thing a gate's policy may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) message: String,
}

struct Linter<'a> {
    contract: &'a Node,
    bounds: &'a BTreeSet<&'a str>,
    rules: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// Names the rule at hand binds itself.
    locals: BTreeSet<String>,
    read: BTreeSet<String>,
    faults: Vec<Fault>,
    depth: usize,
}

/// Examines `module`; on success the names of the bounds that it reads.
pub(super) fn lint(module: &Module, contract: &Node, bounds: &BTreeSet<&str>) -> Result<BTreeSet<String>, Vec<Fault>> {
    let mut linter = Linter {
        contract,
        bounds,
        rules: BTreeSet::new(),
        functions: BTreeSet::new(),
        locals: BTreeSet::new(),
        read: BTreeSet::new(),
        faults: Vec::new(),
        depth: 0,
    };
    linter.module(module);
    if linter.faults.is_empty() { Ok(linter.read) } else { Err(linter.faults) }
}

/// A reference as its root and its parts; `None` stands for a part known only when evaluated.
struct Path<'a> {
    root: &'a str,
    parts: Vec<Option<String>>,
    indices: Vec<&'a Expr>,
}

fn path_of(expr: &Expr) -> Option<Path<'_>> {
    match expr {
        Expr::Var { span, .. } => Some(Path { root: span.text(), parts: Vec::new(), indices: Vec::new() }),
        Expr::RefDot { refr, field, .. } => {
            let mut path = path_of(refr)?;
            path.parts.push(Some(field.0.text().to_owned()));
            Some(path)
        }
        Expr::RefBrack { refr, index, .. } => {
            let mut path = path_of(refr)?;
            match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => {
                    path.parts.push(value.as_string().ok().map(|text| text.to_string()));
                }
                other => {
                    path.parts.push(None);
                    path.indices.push(other);
                }
            }
            Some(path)
        }
        _ => None,
    }
}

impl Linter<'_> {
    fn fault(&mut self, span: &Span, message: impl Into<String>) {
        self.faults.push(Fault { line: span.line, message: message.into() });
    }

    fn module(&mut self, module: &Module) {
        if module.package.refr.span().text() != PACKAGE {
            self.fault(&module.package.span, format!("the package must be `{PACKAGE}`"));
        }
        if !module.rego_v1 {
            self.fault(&module.package.span, "only Rego v1 is read");
        }
        for import in &module.imports {
            if import.refr.span().text() != "rego.v1" {
                self.fault(&import.span, "only `import rego.v1` is allowed: write `data.bounds` and `input` out");
            }
        }
        for rule in &module.policy {
            self.declare(rule);
        }
        if !self.rules.contains(ENTRY) {
            self.fault(&module.package.span, format!("no rule `{ENTRY}`: the gate would answer nothing"));
        }
        for rule in &module.policy {
            self.rule(rule);
        }
    }

    fn declare(&mut self, rule: &Rule) {
        let (refr, function) = match rule {
            Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => (refr, true),
            Rule::Spec { head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. }, .. } => (refr, false),
            Rule::Default { refr, args, .. } => (refr, !args.is_empty()),
        };
        let Some(path) = path_of(refr) else {
            return self.fault(rule.span(), "this rule has no plain name");
        };
        let name = path.root.to_owned();
        let shadows = BUILTINS.iter().any(|builtin| builtin.split('.').next() == Some(name.as_str()));
        if shadows || name.starts_with("__") || ["input", "data"].contains(&name.as_str()) {
            self.fault(rule.span(), format!("a rule may not be named `{name}`"));
        }
        if function && !path.parts.is_empty() {
            self.fault(rule.span(), "a function has a plain name");
        }
        if function {
            self.functions.insert(name)
        } else {
            self.rules.insert(name)
        };
    }

    fn rule(&mut self, rule: &Rule) {
        self.locals = locals::declared(rule);
        match rule {
            Rule::Default { span, value, refr, .. } => {
                if path_of(refr).is_some_and(|path| path.root == ENTRY) {
                    self.fault(span, format!("`{ENTRY}` has no default: without evidence it must stay undefined"));
                }
                if holds_true(value) {
                    self.fault(span, "a default of true passes without evidence");
                }
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.head(refr);
                        self.assign(assign.as_ref());
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.head(refr);
                        if let Some(key) = key {
                            self.expr(key);
                        }
                    }
                    RuleHead::Func { args, assign, .. } => {
                        args.iter().for_each(|arg| self.refuse_rebinding(arg));
                        args.iter().for_each(|arg| self.expr(arg));
                        self.assign(assign.as_ref());
                    }
                }
                for body in bodies {
                    self.assign(body.assign.as_ref());
                    self.query(&body.query);
                }
            }
        }
    }

    /// The indices of a rule's head are expressions; its root is the rule itself.
    fn head(&mut self, refr: &Ref<Expr>) {
        if let Some(path) = path_of(refr) {
            path.indices.iter().for_each(|index| self.expr(index));
        }
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    fn query(&mut self, query: &Query) {
        for stmt in &query.stmts {
            self.statement(stmt);
        }
    }

    fn statement(&mut self, stmt: &LiteralStmt) {
        if !stmt.with_mods.is_empty() {
            self.fault(&stmt.span, "`with` would replace the evidence");
        }
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => vars.iter().for_each(|var| self.refuse_name(var)),
            Literal::SomeIn { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.refuse_rebinding(key);
                    self.expr(key);
                }
                self.refuse_rebinding(value);
                self.expr(value);
                self.expr(collection);
            }
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { span, expr } => {
                if swallows_undefined(expr) {
                    self.fault(span, "`not` over a call is true when an argument is undefined: assign the argument first");
                }
                self.expr(expr);
            }
            Literal::Every { key, value, domain, query, .. } => {
                key.iter().chain([value]).for_each(|name| self.refuse_name(name));
                self.expr(domain);
                self.query(query);
            }
        }
    }

    /// A variable named `input` or `data` would stand before the evidence.
    fn refuse_rebinding(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => self.refuse_name(span),
            Expr::Array { items, .. } => items.iter().for_each(|item| self.refuse_rebinding(item)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| self.refuse_rebinding(value)),
            _ => {}
        }
    }

    fn refuse_name(&mut self, span: &Span) {
        if ["input", "data"].contains(&span.text()) {
            self.fault(span, format!("`{}` may not be rebound", span.text()));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if self.depth >= DEPTH_MAX {
            return self.fault(expr.span(), format!("nested deeper than {DEPTH_MAX}"));
        }
        self.depth += 1;
        self.expr_inner(expr);
        self.depth -= 1;
    }

    fn expr_inner(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.expr(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.expr(key);
                self.expr(value);
                self.query(query);
            }
            Expr::Call { span, fcn, params, .. } => self.call(span, fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BoolExpr { span, op, lhs, rhs, .. } => {
                if matches!(op, BoolOp::Lt | BoolOp::Le | BoolOp::Ge | BoolOp::Gt) {
                    self.ordered(span, lhs);
                    self.ordered(span, rhs);
                }
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::AssignExpr { lhs, rhs, .. } => {
                self.refuse_rebinding(lhs);
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    fn call(&mut self, span: &Span, fcn: &Expr, params: &[Ref<Expr>]) {
        let name = fcn.span().text();
        if name == "sprintf" {
            self.format(span, params);
        }
        if !BUILTINS.contains(&name) && !self.functions.contains(name) {
            self.fault(span, format!("function `{name}` is not allowed in a gate"));
        }
        params.iter().for_each(|param| self.expr(param));
    }

    /// Widths in a format would let one number fill the memory.
    fn format(&mut self, span: &Span, params: &[Ref<Expr>]) {
        let plain = match params.first().map(Ref::as_ref) {
            Some(Expr::String { value, .. } | Expr::RawString { value, .. }) => value.as_string().is_ok_and(|text| {
                let mut rest = text.split('%').skip(1);
                rest.all(|verb| verb.is_empty() || verb.starts_with(['v', 's', 'd']))
            }),
            _ => false,
        };
        if !plain {
            self.fault(span, "`sprintf` needs a literal format of %v, %s and %d only");
        }
    }

    fn reference(&mut self, expr: &Expr) {
        let Some(path) = path_of(expr) else {
            // a reference into the value of a call or a literal: examine what it is made of
            return self.parts(expr);
        };
        match path.root {
            "input" => self.input(expr, &path),
            "data" => self.data(expr, &path),
            name if self.rules.contains(name) || self.locals.contains(name) => {}
            name => self.fault(expr.span(), format!("`{name}` is no rule and no declared variable")),
        }
        path.indices.iter().for_each(|index| self.expr(index));
    }

    fn parts(&mut self, expr: &Expr) {
        match expr {
            Expr::RefDot { refr, .. } => self.expr(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.expr(index);
            }
            _ => {}
        }
    }

    fn input(&mut self, expr: &Expr, path: &Path<'_>) {
        let known: Vec<&str> = path.parts.iter().map_while(Option::as_deref).collect();
        if self.contract.resolve(&known, None).nodes.is_empty() {
            self.fault(expr.span(), format!("`{}` is not in the contract", expr.span().text()));
        }
    }

    fn data(&mut self, expr: &Expr, path: &Path<'_>) {
        let parts: Vec<Option<&str>> = path.parts.iter().map(Option::as_deref).collect();
        match parts.as_slice() {
            [Some("bounds"), Some(name)] if self.bounds.contains(name) => {
                self.read.insert((*name).to_owned());
            }
            _ => self.fault(expr.span(), format!("`{}` is not defined: only `data.bounds.NAME` is", expr.span().text())),
        }
    }

    /// Rego orders values of different types, so that a text is always above a number.
    fn ordered(&mut self, span: &Span, side: &Expr) {
        let number = match side {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Array { .. }
            | Expr::Set { .. }
            | Expr::Object { .. }
            | Expr::ArrayCompr { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. } => false,
            _ => match path_of(side) {
                Some(path) if path.root == "input" => {
                    let known: Option<Vec<&str>> = path.parts.iter().map(Option::as_deref).collect();
                    known.is_none_or(|known| {
                        let nodes = self.contract.resolve(&known, None).nodes;
                        nodes.iter().all(|node| matches!(node, Node::Number { .. }))
                    })
                }
                _ => true,
            },
        };
        if !number {
            self.fault(span, format!("`{}` is ordered but is no number by the contract", side.span().text()));
        }
    }
}

/// A true anywhere in a default's value.
fn holds_true(expr: &Expr) -> bool {
    match expr {
        Expr::Bool { span, .. } => span.text() == "true",
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().any(|item| holds_true(item)),
        Expr::Object { fields, .. } => fields.iter().any(|(_, key, value)| holds_true(key) || holds_true(value)),
        Expr::Null { .. } | Expr::Number { .. } | Expr::String { .. } | Expr::RawString { .. } => false,
        _ => true,
    }
}

/// A call with a reference among its arguments: undefined there makes `not` true.
fn swallows_undefined(expr: &Expr) -> bool {
    match expr {
        Expr::Call { params, .. } => params.iter().any(|param| refers(param)),
        Expr::BoolExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } | Expr::BinExpr { lhs, rhs, .. } => {
            swallows_undefined(lhs) || swallows_undefined(rhs)
        }
        Expr::Membership { value, collection, .. } => swallows_undefined(value) || swallows_undefined(collection),
        Expr::UnaryExpr { expr, .. } => swallows_undefined(expr),
        _ => false,
    }
}

fn refers(expr: &Expr) -> bool {
    match expr {
        Expr::RefDot { .. } | Expr::RefBrack { .. } => true,
        Expr::Call { params, .. } => params.iter().any(|param| refers(param)),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().any(|item| refers(item)),
        Expr::Object { fields, .. } => fields.iter().any(|(_, _, value)| refers(value)),
        Expr::ArithExpr { lhs, rhs, .. } | Expr::BinExpr { lhs, rhs, .. } | Expr::BoolExpr { lhs, rhs, .. } => refers(lhs) || refers(rhs),
        Expr::UnaryExpr { expr, .. } => refers(expr),
        _ => false,
    }
}
