//! A table → the schema it satisfies.
//!
//! What is inferred is what was seen: types; whether nulls occurred; smallest and largest value of integers, numbers and
//! timestamps; the values of string columns with at most [`CATEGORIES_INFERRED_MAX`] of them. Uniqueness, patterns and row
//! bounds are never inferred.
//!
//! **Invariant:** a table has no violation of the schema inferred from it, unless it holds infinite numbers or a JSON column
//! of mixed types, which no schema allows.

use std::collections::BTreeSet;

use super::parse::canonical;
use super::{Bounds, ColumnRule, DataSchema, DataType, SchemaError};
use crate::table::{Batch, Column, ColumnKind, Dataset, parse_integer, parse_timestamp, timestamp_text};

/// String columns with more values than this get no list of categories.
const CATEGORIES_INFERRED_MAX: usize = 50;
/// Longest text, in bytes, that is still taken for a category.
const CATEGORY_BYTES_MAX: usize = 200;

struct Learned {
    rule: ColumnRule,
    nulls: u64,
    categories: Option<BTreeSet<String>>,
}

impl DataSchema {
    /// Learns a schema in one pass over the table.
    pub fn infer(data: &Dataset) -> Result<Self, SchemaError> {
        let mut learned = Vec::with_capacity(data.columns().len());
        for column in data.columns() {
            let data_type = match column.kind {
                ColumnKind::Integer => DataType::Integer,
                ColumnKind::Number => DataType::Number,
                ColumnKind::Boolean => DataType::Boolean,
                ColumnKind::Timestamp => DataType::Timestamp,
                ColumnKind::String | ColumnKind::Empty => DataType::String,
                ColumnKind::Nested => return Err(SchemaError::Nested { column: column.name.clone() }),
            };
            let categories = (column.kind == ColumnKind::String).then(BTreeSet::new);
            learned.push(Learned { rule: ColumnRule::new(&column.name, data_type), nulls: 0, categories });
        }
        let mut absent = vec![false; learned.len()];
        for batch in data.batches() {
            let batch = batch?;
            for (place, (column, absent)) in learned.iter_mut().zip(&mut absent).enumerate() {
                if matches!(batch.column(place), Column::Absent) {
                    *absent = true;
                } else {
                    column.learn(&batch, place);
                }
            }
        }
        let columns = learned
            .into_iter()
            .zip(absent)
            .map(|(column, absent)| {
                let mut rule = column.rule;
                rule.nullable = column.nulls > 0 || data.rows() == 0;
                rule.required = !absent;
                rule.bounds = writable(rule.bounds);
                rule.categories = column.categories.filter(|categories| !categories.is_empty());
                rule
            })
            .collect();
        Ok(Self { columns, extra_columns: false, rows_min: None, rows_max: None })
    }
}

/// Drops bounds that ISO 8601 text of this product cannot express (before 1678, after 2261).
fn writable(bounds: Bounds) -> Bounds {
    let keep = |bound: Option<i64>| bound.filter(|value| parse_timestamp(&timestamp_text(*value)) == Some(*value));
    match bounds {
        Bounds::Timestamp { min, max } => Bounds::Timestamp { min: keep(min), max: keep(max) },
        other => other,
    }
}

impl Learned {
    fn learn(&mut self, batch: &Batch, place: usize) {
        match self.rule.data_type {
            DataType::Integer | DataType::Timestamp => {
                for value in whole(batch, place, self.rule.data_type) {
                    match value {
                        None => self.nulls += 1,
                        Some(value) => self.widen_whole(value),
                    }
                }
            }
            DataType::Number => {
                for value in batch.numbers(place) {
                    match value {
                        None => self.nulls += 1,
                        Some(value) => self.widen_number(value),
                    }
                }
            }
            DataType::String | DataType::Boolean => {
                for text in batch.texts(place) {
                    match text {
                        None => self.nulls += 1,
                        Some(text) => self.learn_text(&text),
                    }
                }
            }
        }
    }

    fn widen_whole(&mut self, value: i64) {
        let (low, high) = match self.rule.bounds {
            Bounds::Integer { min: Some(min), max: Some(max) } | Bounds::Timestamp { min: Some(min), max: Some(max) } => {
                (min.min(value), max.max(value))
            }
            _ => (value, value),
        };
        let (min, max) = (Some(low), Some(high));
        self.rule.bounds =
            if self.rule.data_type == DataType::Integer { Bounds::Integer { min, max } } else { Bounds::Timestamp { min, max } };
    }

    fn widen_number(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let (low, high) = match self.rule.bounds {
            Bounds::Number { min: Some(min), max: Some(max) } => (min.min(value), max.max(value)),
            _ => (value, value),
        };
        self.rule.bounds = Bounds::Number { min: Some(low), max: Some(high) };
    }

    fn learn_text(&mut self, text: &str) {
        if let Some(categories) = &mut self.categories {
            if !categories.contains(text) {
                categories.insert(text.to_owned());
            }
            if categories.len() > CATEGORIES_INFERRED_MAX || text.len() > CATEGORY_BYTES_MAX {
                self.categories = None;
            }
        }
    }
}

/// Integers, or microseconds of timestamps.
fn whole(batch: &Batch, place: usize, data_type: DataType) -> Vec<Option<i64>> {
    let parse = if data_type == DataType::Integer { parse_integer } else { parse_timestamp };
    match batch.column(place) {
        Column::Integers(array) => array.iter().collect(),
        Column::Timestamps(array) => array.iter().collect(),
        Column::Texts(array) | Column::Strings(array) => array.iter().map(|cell| cell.and_then(parse)).collect(),
        _ => batch
            .texts(place)
            .iter()
            .map(|cell| cell.as_ref().and_then(|text| canonical(data_type, text)).and_then(|text| parse_integer(&text)))
            .collect(),
    }
}
