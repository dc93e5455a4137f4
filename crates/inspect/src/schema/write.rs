//! Rules → schema text that parses back to the same rules.
//!
//! **Invariant:** the text depends on the rules alone: same rules, same bytes.

use std::fmt::Write;

use serde_json::Value;

use super::{Bounds, ColumnRule, DataSchema, DataType};
use crate::table::timestamp_text;

impl DataSchema {
    /// Writes the schema as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        if self.rows_min.is_some() || self.rows_max.is_some() {
            let parts: Vec<String> = [("min", self.rows_min), ("max", self.rows_max)]
                .into_iter()
                .filter_map(|(key, value)| value.map(|value| format!("{key}: {value}")))
                .collect();
            push(&mut text, format_args!("rows: {{{}}}\n", parts.join(", ")));
        }
        push(&mut text, format_args!("extra_columns: {}\ncolumns:\n", self.extra_columns));
        for rule in &self.columns {
            push(&mut text, format_args!("  {}: {{{}}}\n", quoted(&rule.name), rule_parts(rule).join(", ")));
        }
        text
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // writing to a String cannot fail
    let _ = text.write_fmt(arguments);
}

/// A JSON string is a YAML double-quoted scalar; plain words stay bare.
fn quoted(text: &str) -> String {
    let mut bytes = text.bytes();
    let bare =
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic()) && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let keyword = matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if bare && !keyword { text.to_owned() } else { escape(text) }
}

fn escape(text: &str) -> String {
    let json = Value::String(text.to_owned()).to_string();
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        // characters that JSON leaves as they are but YAML may fold or refuse
        if matches!(character, '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            push(&mut escaped, format_args!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn rule_parts(rule: &ColumnRule) -> Vec<String> {
    let mut parts = vec![format!("type: {}", rule.data_type.name())];
    if !rule.nullable {
        parts.push(String::from("nullable: false"));
    }
    if let Some(fraction) = rule.max_null_fraction {
        parts.push(format!("max_null_fraction: {fraction}"));
    }
    match rule.bounds {
        Bounds::None => {}
        Bounds::Integer { min, max } => push_bounds(&mut parts, min.map(|v| v.to_string()), max.map(|v| v.to_string())),
        Bounds::Number { min, max } => push_bounds(&mut parts, min.map(|v| format!("{v:?}")), max.map(|v| format!("{v:?}"))),
        Bounds::Timestamp { min, max } => {
            push_bounds(&mut parts, min.map(|v| escape(&timestamp_text(v))), max.map(|v| escape(&timestamp_text(v))))
        }
    }
    if let Some(categories) = &rule.categories {
        let spelled: Vec<String> = categories
            .iter()
            .map(|category| match rule.data_type {
                DataType::String => escape(category),
                DataType::Timestamp => escape(&category.parse().map(timestamp_text).unwrap_or_default()),
                _ => category.clone(),
            })
            .collect();
        parts.push(format!("categories: [{}]", spelled.join(", ")));
    }
    if let Some(pattern) = &rule.pattern {
        parts.push(format!("pattern: {}", escape(pattern.0.as_str())));
    }
    if rule.unique {
        parts.push(String::from("unique: true"));
    }
    if !rule.required {
        parts.push(String::from("required: false"));
    }
    parts
}

fn push_bounds(parts: &mut Vec<String>, min: Option<String>, max: Option<String>) {
    parts.extend(min.map(|min| format!("min: {min}")));
    parts.extend(max.map(|max| format!("max: {max}")));
}
