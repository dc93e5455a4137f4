//! Strict JSON: what is signed or decided on is parsed without leniency, and written canonically.
//!
//! **Invariant:** duplicate keys, trailing data, depth over [`crate::limits::DEPTH_MAX`] and non-finite numbers are refused.

use serde_json::Value;

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("json refused at byte {offset}: {reason}")]
pub struct JsonError {
    /// Byte offset, if known, else 0.
    pub offset: usize,
    /// What is wrong, one line.
    pub reason: String,
}

/// Writes `value` canonically: keys sorted by bytes, no spaces, shortest numbers.
#[must_use]
pub fn to_canonical(value: &Value) -> Vec<u8> {
    // serde_json without `preserve_order` keeps object keys in a BTreeMap, hence sorted
    value.to_string().into_bytes()
}
