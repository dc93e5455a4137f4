//! Kinds of columns, and how text becomes a value: cell text → kind, value.
//!
//! **Invariant:** a kind never loses a character of an identifier: `007`, `+5` and integers beyond 64 bits are strings.

use arrow_array::types::TimestampMicrosecondType;
use arrow_cast::parse::Parser;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ColumnKind {
    /// Only nulls.
    Empty,
    /// 64-bit integers.
    Integer,
    /// Floating-point numbers, integers among them.
    Number,
    /// True or false.
    Boolean,
    /// Instants, microseconds from 1970 UTC.
    Timestamp,
    /// Text, and whatever does not fit one other kind.
    String,
    /// Lists, structures, bytes: no check looks into them.
    Nested,
}

impl ColumnKind {
    /// The narrowest kind that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Empty, kind) | (kind, Self::Empty) => kind,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (Self::Nested, _) | (_, Self::Nested) => Self::Nested,
            _ => Self::String,
        }
    }

    /// The word used in schemas and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::String => "string",
            Self::Nested => "nested",
        }
    }

    /// Whether its cells are used as numbers.
    #[must_use]
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Number | Self::Boolean)
    }
}

/// How the cells of a column are written in its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// With the type of the file format (Parquet; JSON columns of one type).
    Native,
    /// As untyped text (CSV).
    Text,
    /// As the JSON text of each cell, for JSON columns whose cells differ in type.
    Json,
}

/// Kind of one cell of untyped text. Empty text and `NaN` say nothing about the kind of the others.
pub(crate) fn kind_of_text(text: &str) -> ColumnKind {
    let Some(first) = text.bytes().next() else { return ColumnKind::Empty };
    match first {
        b'0'..=b'9' | b'-' | b'.' => {
            if parse_integer(text).is_some() {
                ColumnKind::Integer
            } else if parse_number(text).is_some() {
                ColumnKind::Number
            } else if parse_timestamp(text).is_some() {
                ColumnKind::Timestamp
            } else {
                ColumnKind::String
            }
        }
        b't' | b'f' | b'T' | b'F' if parse_boolean(text).is_some() => ColumnKind::Boolean,
        b'n' | b'N' | b'i' | b'I' if parse_number(text).is_some() => ColumnKind::Number,
        _ => ColumnKind::String,
    }
}

/// Whether untyped text stands for a missing value.
pub(crate) fn is_null_text(text: &str) -> bool {
    text.is_empty()
}

/// A decimal integer within 64 bits, without leading zeros or plus sign.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits == "0" || (!digits.starts_with('0') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { text.parse().ok() } else { None }
}

/// A decimal number. `NaN`, `inf` and `Infinity` in usual spellings are numbers that are not finite.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" | "-nan" | "-NaN" => return Some(f64::NAN),
        "inf" | "Inf" | "Infinity" => return Some(f64::INFINITY),
        "-inf" | "-Inf" | "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bytes = digits.as_bytes();
    let starts_well = match (bytes.first(), bytes.get(1)) {
        (Some(b'0'), Some(second)) => matches!(second, b'.' | b'e' | b'E'),
        (Some(b'1'..=b'9' | b'0'), _) => true,
        (Some(b'.'), Some(second)) => second.is_ascii_digit(),
        _ => false,
    };
    // an integer that does not fit 64 bits is an identifier, not a measurement
    let integer = bytes.iter().all(u8::is_ascii_digit);
    if !starts_well || (integer && parse_integer(text).is_none()) {
        return None;
    }
    text.parse().ok()
}

pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// An ISO 8601 date or date and time, as microseconds from 1970 UTC; without an offset it is taken as UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes.len() > 40 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    TimestampMicrosecondType::parse(text)
}

/// ISO 8601 text of an instant in microseconds from 1970 UTC.
pub(crate) fn timestamp_text(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    // days to civil date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, micro) = (rest / 1_000_000, rest % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = if micro == 0 { String::new() } else { format!(".{micro:06}") };
    format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_narrowest_kind_that_keeps_it() {
        let cases = [
            ("0", ColumnKind::Integer),
            ("-12", ColumnKind::Integer),
            ("9223372036854775807", ColumnKind::Integer),
            ("9223372036854775808", ColumnKind::String),
            ("007", ColumnKind::String),
            ("+5", ColumnKind::String),
            ("0.5", ColumnKind::Number),
            (".5", ColumnKind::Number),
            ("1e3", ColumnKind::Number),
            ("1e400", ColumnKind::Number),
            ("NaN", ColumnKind::Number),
            ("-inf", ColumnKind::Number),
            ("", ColumnKind::Empty),
            ("True", ColumnKind::Boolean),
            ("Trueish", ColumnKind::String),
            ("2026-06-01", ColumnKind::Timestamp),
            ("2026-06-01T12:00:00Z", ColumnKind::Timestamp),
            ("2026-13-01", ColumnKind::String),
            ("1-2", ColumnKind::String),
            ("-", ColumnKind::String),
            ("1_000", ColumnKind::String),
            ("0x10", ColumnKind::String),
            ("é", ColumnKind::String),
        ];
        for (text, kind) in cases {
            assert_eq!(kind_of_text(text), kind, "{text}");
        }
    }

    #[test]
    fn kinds_join_to_the_wider() {
        assert_eq!(ColumnKind::Integer.join(ColumnKind::Number), ColumnKind::Number);
        assert_eq!(ColumnKind::Empty.join(ColumnKind::Boolean), ColumnKind::Boolean);
        assert_eq!(ColumnKind::Boolean.join(ColumnKind::Integer), ColumnKind::String);
        assert_eq!(ColumnKind::String.join(ColumnKind::Nested), ColumnKind::Nested);
    }

    #[test]
    fn timestamps_round_trip() {
        for text in [
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:34:56Z",
            "2026-11-21T00:00:00.000001Z",
            "1700-03-01T00:00:00Z",
        ] {
            assert_eq!(parse_timestamp(text).map(timestamp_text).as_deref(), Some(text));
        }
        assert_eq!(parse_timestamp("2026-06-01"), parse_timestamp("2026-06-01T00:00:00Z"));
        assert_eq!(parse_timestamp("2026-06-01T02:00:00+02:00"), parse_timestamp("2026-06-01T00:00:00Z"));
    }
}
