//! `models show` for people: who answers for it, what it was made from, how good it is, what the gates said.
//!
//! in: a [`ModelVersion`], its lineage, who holds which key; out: lines.
//! **Invariant:** shows what the statements say and nothing else; a shape of metrics that is not known is shown as name and value.

use std::collections::BTreeMap;

use seaworthy_core::attestation::time::Timestamp;
use seaworthy_store::catalog::ModelVersion;
use seaworthy_store::lineage::LineageNode;
use serde_json::{Map, Value};

use crate::names::Names;
use crate::render;

/// Rows of a table of one check at most; `--json` has all.
const ROWS_MAX: usize = 40;

/// What `models show` shows.
pub(crate) struct ModelPage<'a> {
    pub(crate) model: &'a ModelVersion,
    pub(crate) ancestors: &'a LineageNode,
    /// Key hint → principal, from the trust file.
    pub(crate) holders: BTreeMap<String, String>,
    pub(crate) names: Names,
}

impl ModelPage<'_> {
    pub(crate) fn show(&self) {
        self.head();
        self.training_data();
        self.lineage();
        for (check, facts) in self.model.metrics.iter().filter(|(check, _)| check.as_str() != "score") {
            metrics(check, facts);
        }
        self.score();
        self.gates();
        for deployment in &self.model.deployments {
            self.line(&format!("deployment release {} {} [leaf {}]", deployment.release, deployment.state, deployment.index));
        }
        self.line(&format!("model.sig {}", self.model.signature));
        self.line(&format!("approval  {}", self.model.approval));
    }

    fn line(&self, text: &str) {
        render::line(&self.names.spell(text));
    }

    fn head(&self) {
        let model = self.model;
        self.line(&format!("model {}@{}", model.model, model.version));
        self.line(&format!("  artifact              {}", model.digest));
        self.line(&format!(
            "  aliases               {}",
            if model.aliases.is_empty() { "none".to_owned() } else { model.aliases.join(", ") }
        ));
        self.line(&format!("  responsible engineer  {}", model.responsible.as_deref().unwrap_or("unknown")));
        self.line(&format!("  registered            {} [leaf {}]", Timestamp(model.registered_ms), model.index));
        self.line(&format!("  registered by         {}", model.principal));
        self.line(&format!("  trained by            {}", model.trained_by));
        self.line(&format!("  validated by          {}", model.validated_by));
    }

    /// What the training read, with each signature over it and who made it.
    fn training_data(&self) {
        self.line("training data");
        for data in &self.model.trained_on {
            self.line(&format!("  {} {} {}", data.kind, data.name, data.digest));
            let signatures = self.model.training_signatures.get(&data.digest.hex()).map(Vec::as_slice).unwrap_or_default();
            if signatures.is_empty() {
                self.line("    no signature");
            }
            for signature in signatures {
                let holder = self.holders.get(&signature.key).map_or("a key that the trust file does not have", String::as_str);
                let key: String = signature.key.chars().take(12).collect();
                self.line(&format!("    signed by {holder}, key {key}, {} [leaf {}]", signature.predicate_type, signature.index));
            }
        }
    }

    /// Every artifact behind the model, each once.
    fn lineage(&self) {
        let mut artifacts = Vec::new();
        collect(self.ancestors, &mut artifacts);
        self.line("made from");
        for (digest, label) in artifacts {
            self.line(&format!("  {digest} {label}"));
        }
    }

    fn score(&self) {
        let facts = self.model.metrics.get("score");
        match self.model.score {
            Some(score) => self.line(&format!("integrity score {score:.4}")),
            None if facts.is_some() => self.line("integrity score incomplete"),
            None => {}
        }
        let parts = facts.and_then(|facts| facts.get("parts")).and_then(Value::as_object);
        let mut table = Table::new(["part", "value", "weight", "from"]);
        for (name, part) in parts.into_iter().flatten() {
            let evidence = part.get("evidence").and_then(Value::as_object).map(words).unwrap_or_default();
            table.row([name.clone(), number(part.get("value")), number(part.get("weight")), evidence]);
        }
        table.show();
        let missing = facts.and_then(|facts| facts.get("missing")).and_then(Value::as_array);
        for name in missing.into_iter().flatten() {
            self.line(&format!("  missing: {}", text(name)));
        }
    }

    fn gates(&self) {
        for gate in &self.model.gates {
            let verdict = if gate.decision.pass { "passed" } else { "denied" };
            let passed = gate.decision.checks.values().filter(|check| check.pass).count();
            let of = gate.decision.checks.len();
            self.line(&format!(
                "gate {} {verdict}: {passed} of {of} checks, policy {} [leaf {}]",
                gate.decision.gate,
                gate.decision.policy.short(),
                gate.index
            ));
            let mut table = Table::new(["", "check", "measured", "wanted"]);
            for (name, check) in &gate.decision.checks {
                let verdict = if check.pass { "ok" } else { "FAIL" }.to_owned();
                // gates say `MEASURED, at least WANTED`; what does not is shown as the bare bound
                let wanted = check.message.split_once(", ").map_or_else(|| number(Some(&check.want)), |(_, wanted)| wanted.to_owned());
                table.row([verdict, name.clone(), number(Some(&check.got)), wanted]);
            }
            table.show();
            for reason in &gate.decision.reasons {
                self.line(&format!("  {}: {}", reason.rule, reason.message));
            }
        }
    }
}

fn collect<'a>(node: &'a LineageNode, artifacts: &mut Vec<(&'a str, String)>) {
    if let Some(digest) = node.id.strip_prefix("artifact:").filter(|digest| !artifacts.iter().any(|(known, _)| known == digest)) {
        let leaf = node.index.map(|leaf| format!(" [leaf {leaf}]")).unwrap_or_default();
        artifacts.push((digest, format!("{}{leaf}", node.label)));
    }
    for child in &node.children {
        collect(child, artifacts);
    }
}

/// The facts of one check: a table of metrics with intervals, one of plain values, one for each list by feature.
fn metrics(check: &str, facts: &Value) {
    let Some(facts) = facts.as_object() else {
        render::line(&format!("{check} {}", text(facts)));
        return;
    };
    let rows = facts.get("rows").or_else(|| facts.get("rows_current")).or_else(|| facts.get("rows_explained"));
    let n = rows.map(|rows| number(Some(rows))).unwrap_or_default();
    render::line(check);
    let mut table = Table::new(["metric", "value", "95 % interval", "unit", "n"]);
    for (name, value) in facts.get("metrics").and_then(Value::as_object).into_iter().flatten() {
        let interval = match (value.get("low"), value.get("high")) {
            (Some(low), Some(high)) => format!("{} to {}", number(Some(low)), number(Some(high))),
            _ => String::new(),
        };
        table.row([name.clone(), number(value.get("value")), interval, unit(name).to_owned(), n.clone()]);
    }
    for (name, value) in facts.iter().filter(|(name, value)| name.as_str() != "metrics" && !is_long(value)) {
        let value = value.as_object().map_or_else(|| number(Some(value)), words);
        table.row([name.clone(), value, String::new(), unit(name).to_owned(), String::new()]);
    }
    table.show();
    for (name, value) in facts.iter().filter(|(name, value)| name.as_str() != "metrics" && is_long(value)) {
        if let Some(entries) = value.as_object() {
            by_entry(name, entries);
        }
    }
}

/// More than a line of values.
fn is_long(value: &Value) -> bool {
    value.as_object().is_some_and(|entries| entries.len() > 4 || entries.values().any(Value::is_object))
}

/// A list by feature: of numbers, largest first, or of rows of numbers.
fn by_entry(title: &str, entries: &Map<String, Value>) {
    render::line(&format!("  {title}"));
    let columns: Vec<String> = entries.values().find_map(Value::as_object).map(|first| first.keys().cloned().collect()).unwrap_or_default();
    let mut sorted: Vec<(&String, &Value)> = entries.iter().collect();
    sorted.sort_by(|one, two| weight(two.1).total_cmp(&weight(one.1)));
    let mut rows: Vec<Vec<String>> = vec![["name".to_owned()].into_iter().chain(columns.iter().cloned()).collect()];
    if columns.is_empty() {
        rows = vec![vec!["name".to_owned(), "value".to_owned()]];
    }
    for (name, value) in sorted.iter().take(ROWS_MAX) {
        let cells = columns.iter().map(|column| number(value.get(column)));
        let cells: Vec<String> = if columns.is_empty() { vec![number(Some(value))] } else { cells.collect() };
        rows.push([(*name).clone()].into_iter().chain(cells).collect());
    }
    aligned("    ", &rows);
    if let Some(more) = sorted.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        render::line(&format!("    and {more} more: --json has all"));
    }
}

/// What a list is sorted by: its number, or the distance that drift is judged by.
fn weight(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.get("psi").and_then(Value::as_f64)).unwrap_or(0.0)
}

/// What a metric of ours is measured in.
fn unit(metric: &str) -> &'static str {
    match metric {
        "accuracy" | "balanced_accuracy" | "f1" | "macro_f1" | "drifted_fraction" | "top_share" => "share",
        "auc" => "probability",
        "brier" => "squared error",
        "log_loss" => "nats",
        "r2" => "share of variance",
        "mae" | "rmse" => "unit of the label",
        "features" | "columns_changed" | "drifted" => "columns",
        "rows" | "rows_without_label" | "rows_current" | "rows_reference" | "rows_explained" | "background_rows" => "rows",
        _ => "",
    }
}

fn words(entries: &Map<String, Value>) -> String {
    let said: Vec<String> = entries.iter().map(|(name, value)| format!("{name} {}", number(Some(value)))).collect();
    said.join(", ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number for people: counts whole, the rest to four places, the very small and large by their exponent.
fn number(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(real) if number.is_f64() => decimal(real),
            _ => number.to_string(),
        },
        Some(Value::Array(items)) => items.iter().map(|item| number(Some(item))).collect::<Vec<_>>().join(" "),
        Some(other) => text(other),
    }
}

fn decimal(real: f64) -> String {
    let size = real.abs();
    if real == 0.0 || (1e-3..1e6).contains(&size) { format!("{real:.4}") } else { format!("{real:.2e}") }
}

/// Rows under a head, two spaces in.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Nothing if there is no row below the head.
    fn show(&self) {
        if self.rows.len() > 1 {
            aligned("  ", &self.rows);
        }
    }
}

fn aligned(indent: &str, rows: &[Vec<String>]) {
    // a cell is one line, whatever a gate or a check wrote into it
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cell.replace(['\n', '\t'], " ")).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        render::line(&format!("{indent}{}", cells.join("  ").trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_for_people() {
        for (real, said) in
            [(0.0, "0.0000"), (0.8249, "0.8249"), (4.379770442186491e-15, "4.38e-15"), (25_000_000.0, "2.50e7"), (-1.5, "-1.5000")]
        {
            assert_eq!(decimal(real), said);
        }
    }
}
