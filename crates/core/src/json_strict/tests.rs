//! Tests of [`crate::json_strict`], data-driven, with the attacks on it.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn what_a_lenient_parser_takes_is_refused() {
    let deep_ok = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let deep = format!("[{deep_ok}]");
    let refused: [(&[u8], &str); 15] = [
        (br#"{"a":1,"a":2}"#, "duplicate key `a`"),
        (br#"{"x":[{"a":1,"\u0061":2}]}"#, "duplicate key `a`"),
        (b"{} {}", "trailing characters"),
        (b"1 x", "trailing characters"),
        (b"1e400", "number out of range"),
        (b"[-1e400]", "number out of range"),
        (b"NaN", "expected value"),
        (b"[Infinity]", "expected value"),
        (b"\"\xff\"", "invalid unicode"),
        (br#""\ud800""#, "lone leading surrogate"),
        (b"[01]", "invalid number"),
        (b"[1,]", "trailing comma"),
        (b"", "EOF"),
        (b"\xef\xbb\xbf{}", "expected value"),
        (deep.as_bytes(), "nested deeper than 64"),
    ];
    for (document, reason) in refused {
        let shown = String::from_utf8_lossy(document);
        let error = parse(document).expect_err(&shown);
        assert!(error.reason.contains(reason) || error.reason.contains("hex escape"), "{shown}: {error}");
    }
    // controls: the same shapes without the fault
    for document in [r#"{"a":1,"b":2}"#, " {} ", "1e300", r#""\ud83d\ude00""#, deep_ok.as_str()] {
        parse(document.as_bytes()).expect(document);
    }
    // and the attack that works without this module: serde_json keeps the last of two keys
    assert_eq!(serde_json::from_slice::<Value>(br#"{"a":1,"a":2}"#).unwrap(), json!({"a": 2}));
}

#[test]
fn the_offset_points_at_the_fault() {
    let error = parse(b"{\n  \"a\": 1,\n  \"a\": 2\n}").unwrap_err();
    assert!((12..=20).contains(&error.offset), "{error:?}");
    assert_eq!(parse(b"[1, x]").unwrap_err().offset, 4);
}

#[test]
fn depth_is_bounded_without_overflowing_the_stack() {
    let hostile = "[".repeat(1_000_000);
    assert!(parse(hostile.as_bytes()).unwrap_err().reason.contains("nested deeper"));
}

#[test]
fn canonical_text_is_sorted_compact_and_finite() {
    let value = parse(br#"{ "b" : [1.0, 2e3, -0.0, 18446744073709551615], "a" : {"\u00e9":"\u0001\n\"\\\u007f", "Z":null} }"#).unwrap();
    let expected = "{\"a\":{\"Z\":null,\"é\":\"\\u0001\\n\\\"\\\\\u{7f}\"},\"b\":[1.0,2000.0,-0.0,18446744073709551615]}";
    assert_eq!(String::from_utf8(to_canonical(&value)).unwrap(), expected);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(to_canonical_of(&std::collections::BTreeMap::from([("x", Some(vec![bad]))])).is_err());
        // the control: serde_json alone writes null
        assert_eq!(serde_json::to_string(&bad).unwrap(), "null");
    }
    assert_eq!(to_canonical_of(&("a", 1.5f32, Some(2), ())).unwrap(), br#"["a",1.5,2,null]"#);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_reads_back_and_is_a_fixed_point(value in any_json()) {
        let text = to_canonical(&value);
        let again = parse(&text).unwrap();
        prop_assert_eq!(&again, &value);
        prop_assert_eq!(to_canonical(&again), text.clone());
        prop_assert_eq!(to_canonical_of(&value).unwrap(), text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = parse(&bytes) {
            prop_assert_eq!(parse(&to_canonical(&value)).unwrap(), value);
        }
    }
}
