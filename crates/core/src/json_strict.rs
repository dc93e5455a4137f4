//! Strict JSON: what is signed or decided on is parsed without leniency, and written canonically.
//!
//! in: bytes; out: a [`Value`] or a type, or the byte at which the document was refused.
//! **Invariant:** duplicate keys (after unescaping, at any level), trailing data, depth over [`crate::limits::DEPTH_MAX`],
//! invalid UTF-8 and numbers without a finite value are refused. Canonical text has keys sorted by their UTF-8 bytes, no
//! spaces and the shortest decimal that reads back as the same number.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::limits::DEPTH_MAX;

mod finite;

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("json refused at byte {offset}: {reason}")]
pub struct JsonError {
    /// Byte offset, if known, else 0.
    pub offset: usize,
    /// What is wrong, one line.
    pub reason: String,
}

/// Parses one document strictly.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_typed(bytes)
}

/// Parses one document strictly into `T`. Unknown fields are `T`'s affair (`deny_unknown_fields`).
pub fn parse_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| refused(bytes, &error))
}

/// Reads the document once without building anything: refuses what serde_json alone would let pass.
fn check(bytes: &[u8]) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| refused(bytes, &error))
}

fn refused(bytes: &[u8], error: &serde_json::Error) -> JsonError {
    let before: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let text = error.to_string();
    // serde_json appends the position, which `offset` already says
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    JsonError { offset: (before + error.column().saturating_sub(1)).min(bytes.len()), reason }
}

/// A visitor that keeps nothing but the keys of the objects it is inside of.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        if number.is_finite() { Ok(()) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Key(key)) = fields.next_key()? {
            if let Some(twice) = seen.replace(key) {
                let shown: String = twice.chars().take(80).collect();
                return Err(de::Error::custom(format!("duplicate key `{shown}`")));
            }
            fields.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// An object key, borrowed where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Writes `value` canonically: keys sorted by bytes, no spaces, shortest numbers.
#[must_use]
pub fn to_canonical(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text.into_bytes()
}

/// Serialises `value` canonically; a float that is not finite is refused (serde_json would write `null`).
pub fn to_canonical_of<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    let refused = |reason: String| JsonError { offset: 0, reason };
    finite::check(value).map_err(|error| refused(error.to_string()))?;
    let value = serde_json::to_value(value).map_err(|error| refused(error.to_string()))?;
    Ok(to_canonical(&value))
}

/// Sorts explicitly: whether serde_json's own map is sorted depends on features of unrelated crates.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (position, (key, item)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                push_string(key, text);
                text.push(':');
                write_canonical(item, text);
            }
            text.push('}');
        }
        Value::String(string) => push_string(string, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

/// Appends `string` as a JSON string: only `"`, `\` and controls below U+0020 are escaped.
pub(crate) fn push_string(string: &str, text: &mut String) {
    use std::fmt::Write as _;
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            // writing to a String cannot fail
            control if control < ' ' => _ = write!(text, "\\u{:04x}", u32::from(control)),
            plain => text.push(plain),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests;
