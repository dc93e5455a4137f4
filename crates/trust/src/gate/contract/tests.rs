//! Contracts that must not load, and documents that must not pass, each beside one that does.

use serde_json::json;

use super::*;

fn contract() -> Value {
    json!({
        "$defs": {"fraction": {"type": "number", "minimum": 0, "maximum": 1}},
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8},
            "subject": {"type": "string", "format": "sha256", "x-expect": "subject"},
            "rows": {"type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_000_000_u64},
            "share": {"$ref": "#/$defs/fraction"},
            "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        },
        "required": ["name", "subject", "rows", "share", "flags"],
        "oneOf": [
            {"properties": {"task": {"const": "a"}, "x": {"type": "string", "enum": ["u", "v"]}}, "required": ["task", "x"]},
            {"properties": {"task": {"const": "b"}}, "required": ["task"]},
        ],
        "unevaluatedProperties": false,
    })
}

fn document() -> Value {
    json!({"name": "n", "subject": "1".repeat(64), "rows": 3, "share": 0.5, "flags": [true], "task": "a", "x": "u"})
}

#[test]
fn a_document_that_fits_has_no_violation_and_names_its_digest() {
    let findings = parse(&contract()).unwrap().examine(&document());
    assert_eq!(findings.violations, []);
    assert_eq!((findings.digests[0].path.as_str(), findings.digests[0].name.as_str()), ("subject", "subject"));
}

#[test]
fn every_single_fault_is_a_violation() {
    let node = parse(&contract()).unwrap();
    let faults = [
        ("name", json!("")),
        ("name", json!("123456789")),
        ("name", json!(1)),
        ("name", json!(null)),
        ("subject", json!("0")),
        ("subject", json!("A".repeat(64))),
        ("subject", json!("0".repeat(64))),
        ("rows", json!(-1)),
        ("rows", json!(1.5)),
        ("rows", json!(3.0)),
        ("rows", json!("3")),
        ("rows", json!(9_007_199_254_740_993_u64)),
        ("share", json!(1.000_001)),
        ("share", json!(-0.1)),
        ("share", json!(true)),
        ("share", json!([0.5])),
        ("flags", json!([])),
        ("flags", json!([true, true, true])),
        ("flags", json!([1])),
        ("flags", json!({})),
        ("task", json!("A")),
        ("task", json!("b")),
        ("task", json!("c")),
        ("task", json!(["a"])),
        ("x", json!("U")),
        ("x", json!("\u{0443}")),
        ("extra", json!(1)),
    ];
    for (key, value) in faults {
        let mut broken = document();
        broken[key] = value;
        assert!(!node.examine(&broken).violations.is_empty(), "{broken}");
    }
    for key in document().as_object().unwrap().keys() {
        let mut broken = document();
        broken.as_object_mut().unwrap().remove(key);
        assert!(!node.examine(&broken).violations.is_empty(), "without {key}");
    }
}

#[test]
fn open_or_unbounded_contracts_do_not_load() {
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let field = |schema: Value| object(json!({"a": schema}), json!(["a"]));
    let faults = [
        json!([]),
        json!({"type": "string", "minLength": 0, "maxLength": 1}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": true}),
        object(json!({}), json!([])),
        object(json!({"a": {"type": "boolean"}}), json!([])),
        object(json!({"a": {"type": "boolean"}}), json!(["a", "b"])),
        object(json!({"a": {"type": "boolean"}}), json!(["a", "a"])),
        object(json!({"a.b": {"type": "boolean"}}), json!(["a.b"])),
        field(json!({"type": "null"})),
        field(json!({"type": ["string", "null"], "minLength": 1, "maxLength": 2})),
        field(json!({})),
        field(json!(true)),
        field(json!({"type": "number", "minimum": 0})),
        field(json!({"type": "number", "minimum": 2, "maximum": 1})),
        field(json!({"type": "number", "minimum": 0, "maximum": 1, "exclusiveMaximum": 1})),
        field(json!({"type": "string"})),
        field(json!({"type": "string", "minLength": 0, "maxLength": 4, "pattern": "a"})),
        field(json!({"type": "string", "format": "email"})),
        field(json!({"type": "array", "items": {"type": "boolean"}, "minItems": 0})),
        field(json!({"$ref": "#/$defs/absent"})),
        field(json!({"const": null})),
        field(json!({"type": "boolean", "nullable": true})),
        json!({"$defs": {"a": {"$ref": "#/$defs/a"}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}},
               "required": ["a"], "additionalProperties": false}),
    ];
    assert!(parse(&field(json!({"type": "boolean"}))).is_ok(), "the control loads");
    for contract in faults {
        assert!(parse(&contract).is_err(), "{contract}");
    }
    let mut same_tag = contract();
    same_tag["oneOf"][1]["properties"]["task"]["const"] = json!("a");
    assert!(parse(&same_tag).is_err());
    let mut shadowed = contract();
    shadowed["oneOf"][1] = json!({"properties": {"task": {"const": "b"}, "name": {"type": "boolean"}}, "required": ["task", "name"]});
    assert!(parse(&shadowed).is_err());
}

#[test]
fn paths_resolve_through_alternatives() {
    let node = parse(&contract()).unwrap();
    assert!(node.resolve(&["rows"], None).total);
    assert!(!node.resolve(&["x"], None).total);
    assert!(node.resolve(&["x"], Some(&[json!("a")])).total);
    assert!(node.resolve(&["y"], None).nodes.is_empty());
}
