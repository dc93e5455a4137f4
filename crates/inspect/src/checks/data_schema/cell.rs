//! Cells against the rule of their column: batch, rule → each violated rule with its row.
//!
//! Type first: a cell of the wrong type breaks only that. NaN counts as null; an infinite number is of no declared type.
//!
//! **Invariant:** JSON `"12"` is no integer and JSON `12` is no string; CSV cells are whatever their text can be.

use std::collections::BTreeSet;

use super::Rule;
use crate::schema::{Bounds, ColumnRule, DataType, number_text};
use crate::table::{Batch, Column, parse_boolean, parse_integer, parse_number, parse_timestamp};

/// What is left of a cell after its type was looked at.
enum Cell<'a> {
    Null,
    Wrong,
    Whole(i64),
    Number(f64),
    Boolean(bool),
    Text(&'a str),
}

/// Reports each violation of `rule` in the column at `place`; returns the number of nulls.
pub(super) fn violations_of(batch: &Batch, place: usize, rule: &ColumnRule, mut report: impl FnMut(usize, Rule)) -> u64 {
    let mut nulls = 0;
    let mut check = |row: usize, cell: Cell<'_>| {
        if matches!(cell, Cell::Null) {
            nulls += 1;
            if !rule.nullable {
                report(row, Rule::Null);
            }
        } else {
            check_cell(rule, &cell, |broken| report(row, broken));
        }
    };
    let wanted = rule.data_type;
    match batch.column(place) {
        // a file without the column is reported as such, not cell by cell
        Column::Absent => {}
        Column::Empty => (0..batch.rows()).for_each(|row| check(row, Cell::Null)),
        Column::Nested(_) => (0..batch.rows()).for_each(|row| check(row, Cell::Wrong)),
        Column::Integers(array) => {
            array.iter().enumerate().for_each(|(row, cell)| check(row, cell.map_or(Cell::Null, |value| of_integer(wanted, value))))
        }
        Column::Numbers(array) => {
            array.iter().enumerate().for_each(|(row, cell)| check(row, cell.map_or(Cell::Null, |value| of_number(wanted, value))))
        }
        Column::Booleans(array) => array.iter().enumerate().for_each(|(row, cell)| {
            check(row, cell.map_or(Cell::Null, |value| if wanted == DataType::Boolean { Cell::Boolean(value) } else { Cell::Wrong }));
        }),
        Column::Timestamps(array) => array.iter().enumerate().for_each(|(row, cell)| {
            check(row, cell.map_or(Cell::Null, |value| if wanted == DataType::Timestamp { Cell::Whole(value) } else { Cell::Wrong }));
        }),
        Column::Strings(array) => {
            array.iter().enumerate().for_each(|(row, cell)| check(row, cell.map_or(Cell::Null, |text| of_string(wanted, text))))
        }
        Column::Texts(array) => {
            array.iter().enumerate().for_each(|(row, cell)| check(row, cell.map_or(Cell::Null, |text| of_text(wanted, text))))
        }
        Column::Json(array) => array.iter().enumerate().for_each(|(row, cell)| match cell {
            None => check(row, Cell::Null),
            Some(json) if json.starts_with('"') => match serde_json::from_str::<String>(json) {
                Ok(text) => check(row, of_string(wanted, &text)),
                Err(_) => check(row, Cell::Wrong),
            },
            Some(_) if wanted == DataType::String || wanted == DataType::Timestamp => check(row, Cell::Wrong),
            Some(json) => check(row, of_text(wanted, json)),
        }),
    }
    nulls
}

fn of_integer<'a>(wanted: DataType, value: i64) -> Cell<'a> {
    match wanted {
        DataType::Integer => Cell::Whole(value),
        #[expect(clippy::cast_precision_loss, reason = "an integer in a column declared as number is compared as f64")]
        DataType::Number => Cell::Number(value as f64),
        _ => Cell::Wrong,
    }
}

fn of_number<'a>(wanted: DataType, value: f64) -> Cell<'a> {
    if value.is_nan() {
        return Cell::Null;
    }
    match wanted {
        DataType::Number if value.is_finite() => Cell::Number(value),
        // integers with nulls arrive as floats from many writers
        DataType::Integer => whole_of(value).map_or(Cell::Wrong, Cell::Whole),
        _ => Cell::Wrong,
    }
}

/// The integer that a float is exactly, if it is one below 2^53.
fn whole_of(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

fn of_string(wanted: DataType, text: &str) -> Cell<'_> {
    match wanted {
        DataType::String => Cell::Text(text),
        DataType::Timestamp => parse_timestamp(text).map_or(Cell::Wrong, Cell::Whole),
        _ => Cell::Wrong,
    }
}

fn of_text(wanted: DataType, text: &str) -> Cell<'_> {
    match wanted {
        DataType::String => Cell::Text(text),
        DataType::Integer => {
            parse_integer(text).map_or_else(|| parse_number(text).map_or(Cell::Wrong, |value| of_number(wanted, value)), Cell::Whole)
        }
        DataType::Number => parse_number(text).map_or(Cell::Wrong, |value| of_number(wanted, value)),
        DataType::Boolean => parse_boolean(text).map_or(Cell::Wrong, Cell::Boolean),
        DataType::Timestamp => parse_timestamp(text).map_or(Cell::Wrong, Cell::Whole),
    }
}

fn check_cell(rule: &ColumnRule, cell: &Cell<'_>, mut broken: impl FnMut(Rule)) {
    if matches!(cell, Cell::Wrong | Cell::Null) {
        return broken(Rule::Type);
    }
    if out_of_range(rule.bounds, cell) {
        broken(Rule::Range);
    }
    if rule.categories.as_ref().is_some_and(|categories| !is_category(categories, cell)) {
        broken(Rule::Category);
    }
    if let (Some(pattern), Cell::Text(text)) = (&rule.pattern, cell)
        && !pattern.0.is_match(text)
    {
        broken(Rule::Pattern);
    }
}

fn out_of_range(bounds: Bounds, cell: &Cell<'_>) -> bool {
    match (bounds, cell) {
        (Bounds::Integer { min, max } | Bounds::Timestamp { min, max }, Cell::Whole(value)) => {
            min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max)
        }
        (Bounds::Number { min, max }, Cell::Number(value)) => min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max),
        _ => false,
    }
}

fn is_category(categories: &BTreeSet<String>, cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Text(text) => categories.contains(*text),
        Cell::Whole(value) => categories.contains(&value.to_string()),
        Cell::Number(value) => categories.contains(&number_text(*value)),
        Cell::Boolean(value) => categories.contains(if *value { "true" } else { "false" }),
        Cell::Null | Cell::Wrong => false,
    }
}
