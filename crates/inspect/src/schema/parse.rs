//! Schema text → rules. See [`super`] for the form.
//!
//! **Invariant:** a schema with any fault yields no rules.

use std::collections::BTreeSet;

use regex::RegexBuilder;

use super::node::{Node, Place};
use super::{Bounds, ColumnRule, DataSchema, DataType, Pattern, SchemaError, SchemaFault};
use crate::table::{COLUMNS_MAX, nearest, parse_boolean, parse_integer, parse_number, parse_timestamp};

/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Values of one `categories` list.
const CATEGORIES_MAX: usize = 100_000;
const TOP_KEYS: [&str; 3] = ["columns", "extra_columns", "rows"];
const COLUMN_KEYS: [&str; 9] = ["type", "nullable", "max_null_fraction", "min", "max", "categories", "pattern", "unique", "required"];

impl DataSchema {
    /// Parses a schema; on failure every fault is listed.
    pub fn parse_yaml(text: &str) -> Result<Self, SchemaError> {
        let root = Node::parse(text).map_err(|fault| SchemaError::Faults { faults: vec![fault] })?;
        let mut faults = Vec::new();
        let schema = read_schema(root, &mut faults);
        if faults.is_empty() { Ok(schema) } else { Err(SchemaError::Faults { faults }) }
    }
}

type Faults = Vec<SchemaFault>;

fn read_schema(root: Node, faults: &mut Faults) -> DataSchema {
    let mut schema = DataSchema { columns: Vec::new(), extra_columns: false, rows_min: None, rows_max: None };
    let place = root.place();
    let Node::Map { entries, .. } = root else {
        faults.push(place.fault("a schema is a map with the key `columns`"));
        return schema;
    };
    let mut has_columns = false;
    for (key, at, value) in entries {
        match key.as_str() {
            "columns" => {
                has_columns = true;
                schema.columns = read_columns(value, faults);
            }
            "extra_columns" => schema.extra_columns = read_boolean(&key, &value, faults).unwrap_or(false),
            "rows" => (schema.rows_min, schema.rows_max) = read_rows(value, faults),
            _ => faults.push(unknown_key(&key, at, &TOP_KEYS)),
        }
    }
    if !has_columns {
        faults.push(place.fault("the key `columns` is missing"));
    }
    schema
}

fn unknown_key(key: &str, at: Place, known: &[&str]) -> SchemaFault {
    match nearest(key, known.iter().copied()) {
        Some(near) => at.fault(format!("unknown key `{key}`; did you mean `{near}`?")),
        None => at.fault(format!("unknown key `{key}`; known are {}", known.join(", "))),
    }
}

fn read_rows(value: Node, faults: &mut Faults) -> (Option<u64>, Option<u64>) {
    let place = value.place();
    let Node::Map { entries, .. } = value else {
        faults.push(place.fault("`rows` is a map with `min`, `max` or both"));
        return (None, None);
    };
    let (mut min, mut max) = (None, None);
    for (key, at, value) in entries {
        let slot = match key.as_str() {
            "min" => &mut min,
            "max" => &mut max,
            _ => {
                faults.push(unknown_key(&key, at, &["min", "max"]));
                continue;
            }
        };
        *slot = scalar(&value).and_then(|text| text.parse().ok());
        if slot.is_none() {
            faults.push(value.place().fault(format!("`{key}` must be a whole number of rows")));
        }
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        faults.push(place.fault(format!("`min` {min} is above `max` {max}")));
    }
    (min, max)
}

fn read_columns(value: Node, faults: &mut Faults) -> Vec<ColumnRule> {
    let place = value.place();
    let Node::Map { entries, .. } = value else {
        faults.push(place.fault("`columns` is a map from column name to rules"));
        return Vec::new();
    };
    if entries.is_empty() {
        faults.push(place.fault("`columns` names no column"));
    }
    if entries.len() > COLUMNS_MAX {
        faults.push(place.fault(format!("more than {COLUMNS_MAX} columns")));
        return Vec::new();
    }
    entries.into_iter().filter_map(|(name, at, value)| read_column(&name, at, value, faults)).collect()
}

fn read_column(name: &str, at: Place, value: Node, faults: &mut Faults) -> Option<ColumnRule> {
    let Node::Map { entries, .. } = value else {
        faults.push(at.fault(format!("the rules of column `{name}` are a map with the key `type`")));
        return None;
    };
    let Some(kind) = entries.iter().find(|(key, ..)| key == "type") else {
        faults.push(at.fault(format!("column `{name}` has no `type`")));
        return None;
    };
    let word = scalar(&kind.2).unwrap_or_default();
    let Some(data_type) = DataType::ALL.into_iter().find(|known| known.name() == word) else {
        let known = DataType::ALL.map(DataType::name);
        let near = nearest(word, known.into_iter()).map(|near| format!("; did you mean `{near}`?"));
        faults.push(
            kind.2.place().fault(format!("unknown type `{word}`{}", near.unwrap_or_else(|| format!("; known are {}", known.join(", "))))),
        );
        return None;
    };
    let mut rule = ColumnRule::new(name, data_type);
    let (mut min, mut max) = (None, None);
    for (key, at, value) in &entries {
        match key.as_str() {
            "type" => {}
            "nullable" => rule.nullable = read_boolean(key, value, faults).unwrap_or(true),
            "unique" => rule.unique = read_boolean(key, value, faults).unwrap_or(false),
            "required" => rule.required = read_boolean(key, value, faults).unwrap_or(true),
            "max_null_fraction" => rule.max_null_fraction = read_fraction(value, faults),
            "categories" => rule.categories = read_categories(data_type, value, faults),
            "pattern" => rule.pattern = read_pattern(data_type, value, faults),
            "min" => min = Some(value),
            "max" => max = Some(value),
            _ => faults.push(unknown_key(key, *at, &COLUMN_KEYS)),
        }
    }
    if !rule.nullable && rule.max_null_fraction.is_some_and(|fraction| fraction > 0.0) {
        faults.push(at.fault(format!("column `{name}` is not nullable and yet has a `max_null_fraction`")));
    }
    rule.bounds = read_bounds(name, at, data_type, (min, max), faults);
    Some(rule)
}

fn scalar(value: &Node) -> Option<&str> {
    if let Node::Scalar { text, .. } = value { Some(text) } else { None }
}

fn read_boolean(key: &str, value: &Node, faults: &mut Faults) -> Option<bool> {
    let found = match value {
        Node::Scalar { text, plain: true, .. } if text == "true" => Some(true),
        Node::Scalar { text, plain: true, .. } if text == "false" => Some(false),
        _ => None,
    };
    if found.is_none() {
        faults.push(value.place().fault(format!("`{key}` must be true or false")));
    }
    found
}

fn read_fraction(value: &Node, faults: &mut Faults) -> Option<f64> {
    let found = scalar(value).and_then(parse_number).filter(|fraction| (0.0..=1.0).contains(fraction));
    if found.is_none() {
        faults.push(value.place().fault("`max_null_fraction` must be a number from 0 to 1"));
    }
    found
}

fn read_pattern(data_type: DataType, value: &Node, faults: &mut Faults) -> Option<Pattern> {
    if data_type != DataType::String {
        faults.push(value.place().fault(format!("`pattern` does not apply to type `{}`", data_type.name())));
        return None;
    }
    let Some(text) = scalar(value) else {
        faults.push(value.place().fault("`pattern` must be a regular expression"));
        return None;
    };
    match RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(regex) => Some(Pattern(regex)),
        Err(error) => {
            let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
            faults.push(value.place().fault(format!("`pattern` is no regular expression: {reason}")));
            None
        }
    }
}

/// The one spelling of a value of a type, for comparing categories.
pub(crate) fn canonical(data_type: DataType, text: &str) -> Option<String> {
    match data_type {
        DataType::String => Some(text.to_owned()),
        DataType::Integer => parse_integer(text).map(|value| value.to_string()),
        DataType::Number => parse_number(text).filter(|value| value.is_finite()).map(number_text),
        DataType::Boolean => parse_boolean(text).map(|value| value.to_string()),
        DataType::Timestamp => parse_timestamp(text).map(|value| value.to_string()),
    }
}

/// The one spelling of a finite number; `-0` is `0`.
pub(crate) fn number_text(value: f64) -> String {
    format!("{:?}", value + 0.0)
}

fn read_categories(data_type: DataType, value: &Node, faults: &mut Faults) -> Option<BTreeSet<String>> {
    let Node::List { items, place } = value else {
        faults.push(value.place().fault("`categories` must be a list"));
        return None;
    };
    if items.is_empty() || items.len() > CATEGORIES_MAX {
        faults.push(place.fault(format!("`categories` must list 1 to {CATEGORIES_MAX} values")));
    }
    let mut categories = BTreeSet::new();
    for item in items {
        match scalar(item).and_then(|text| canonical(data_type, text)) {
            Some(category) => {
                categories.insert(category);
            }
            None => faults.push(item.place().fault(format!("a category is not of type `{}`", data_type.name()))),
        }
    }
    Some(categories)
}

fn read_bounds(name: &str, at: Place, data_type: DataType, (min, max): (Option<&Node>, Option<&Node>), faults: &mut Faults) -> Bounds {
    if min.is_none() && max.is_none() {
        return Bounds::None;
    }
    let crossed = |faults: &mut Faults| faults.push(at.fault(format!("column `{name}` has a `min` above its `max`")));
    match data_type {
        DataType::Integer | DataType::Timestamp => {
            let parse = if data_type == DataType::Integer { parse_integer } else { parse_timestamp };
            let (min, max) = (bound(min, parse, data_type, faults), bound(max, parse, data_type, faults));
            if min.zip(max).is_some_and(|(min, max)| min > max) {
                crossed(faults);
            }
            if data_type == DataType::Integer { Bounds::Integer { min, max } } else { Bounds::Timestamp { min, max } }
        }
        DataType::Number => {
            let parse = |text: &str| parse_number(text).filter(|value| value.is_finite());
            let (min, max) = (bound(min, parse, data_type, faults), bound(max, parse, data_type, faults));
            if min.zip(max).is_some_and(|(min, max)| min > max) {
                crossed(faults);
            }
            Bounds::Number { min, max }
        }
        DataType::String | DataType::Boolean => {
            faults.push(at.fault(format!("column `{name}`: `min` and `max` do not apply to type `{}`", data_type.name())));
            Bounds::None
        }
    }
}

fn bound<T>(value: Option<&Node>, parse: impl Fn(&str) -> Option<T>, data_type: DataType, faults: &mut Faults) -> Option<T> {
    let value = value?;
    let found = scalar(value).and_then(parse);
    if found.is_none() {
        faults.push(value.place().fault(format!("a bound must be of type `{}`", data_type.name())));
    }
    found
}
