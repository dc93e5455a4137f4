//! Schemas: strict parsing, inference, and the check.

use seaworthy_inspect::checks::data_schema;
use seaworthy_inspect::schema::DataSchema;
use serde_json::{Value, json};

use crate::support::{bytes_file, data, open, text_data};

const SCHEMA: &str = "
rows: {min: 2, max: 100}
columns:
  id: {type: string, pattern: '^[0-9]{3}$', unique: true, nullable: false}
  age: {type: integer, min: 0, max: 120}
  weight: {type: number, min: 0.5, max_null_fraction: 0.25}
  sex: {type: integer, categories: [1, 2]}
  when: {type: timestamp, min: 2026-01-01, required: false}
  ok: {type: boolean, nullable: false}
";

fn violations(text: &str, name: &str) -> (Value, u64, Vec<String>) {
    let data = text_data(name, text).unwrap();
    let report = data_schema::run(&data, &DataSchema::parse_yaml(SCHEMA).unwrap()).unwrap();
    let messages = report.findings.iter().map(|finding| finding.message.clone()).collect();
    (report.facts["violations"].clone(), report.facts["rows_violating"].as_u64().unwrap(), messages)
}

fn only(wanted: &[(&str, u64)]) -> Value {
    let mut all = json!({"types": 0, "nulls": 0, "range": 0, "category": 0, "unique": 0, "missing_columns": 0, "unexpected_columns": 0});
    for (name, count) in wanted {
        all[*name] = json!(count);
    }
    all
}

#[test]
fn each_rule_counts_what_breaks_it() {
    let good = "001,30,70.5,1,2026-02-01,true\n002,31,71,2,,false\n003,32,72,2,,false\n";
    let cases: Vec<(&str, String, Value, u64)> = vec![
        ("good", String::new(), only(&[]), 0),
        ("type", String::from("004,x,1,1,,true\n"), only(&[("types", 1)]), 1),
        ("huge integer", String::from("004,99999999999999999999,1,1,,true\n"), only(&[("types", 1)]), 1),
        ("infinite", String::from("004,1,inf,1,,true\n"), only(&[("types", 1)]), 1),
        ("1e400", String::from("004,1,1e400,1,,true\n"), only(&[("types", 1)]), 1),
        ("null", String::from("004,1,1,1,,\n"), only(&[("nulls", 1)]), 1),
        ("range", String::from("004,121,0.1,1,2025-12-31,true\n"), only(&[("range", 3)]), 1),
        ("category", String::from("004,1,1,3,,true\n005,1,1,2.0,,true\n"), only(&[("category", 1)]), 1),
        ("pattern", String::from("04,1,1,1,,true\n"), only(&[("types", 1)]), 1),
        ("unique", String::from("003,1,1,1,,true\n"), only(&[("unique", 1)]), 1),
        ("nulls over the bound", String::from("004,1,NaN,1,,true\n005,1,,1,,true\n"), only(&[("nulls", 1)]), 0),
        (
            "several in one row",
            String::from("003,-1,x,9,,\n"),
            only(&[("types", 1), ("range", 1), ("category", 1), ("nulls", 1), ("unique", 1)]),
            1,
        ),
    ];
    for (name, more, wanted, rows) in cases {
        let (found, violating, messages) = violations(&format!("id,age,weight,sex,when,ok\n{good}{more}"), "t.csv");
        assert_eq!(found, wanted, "{name}: {messages:?}");
        assert_eq!(violating, rows, "{name}");
        assert_eq!(messages.is_empty(), name == "good", "{name}");
    }
}

#[test]
fn columns_and_rows_are_counted() {
    let (found, _, messages) = violations("id,age,weight,sex,extra\n001,1,1,1,1\n", "t.csv");
    assert_eq!(found, only(&[("missing_columns", 1), ("unexpected_columns", 1), ("range", 1)]), "{messages:?}");
}

#[test]
fn json_strings_are_no_numbers() {
    let rows =
        "{\"id\":\"001\",\"age\":\"30\",\"weight\":1,\"sex\":1,\"ok\":true}\n{\"id\":2,\"age\":30,\"weight\":1.5,\"sex\":1,\"ok\":true}\n";
    let (found, violating, _) = violations(rows, "t.jsonl");
    assert_eq!((found, violating), (only(&[("types", 2)]), 2));
}

#[test]
fn a_column_missing_in_one_file_is_missing() {
    let schema = DataSchema::parse_yaml("columns: {a: {type: integer}}").unwrap();
    let files = vec![("1.csv", bytes_file(b"a\n1\n")), ("2.csv", bytes_file(b"A\n1\n"))];
    let report = data_schema::run(&open(files).unwrap(), &schema).unwrap();
    assert_eq!(report.facts["violations"]["missing_columns"], json!(1));
    assert_eq!(report.facts["violations"]["unexpected_columns"], json!(1));
}

#[test]
fn offending_rows_are_named_with_their_file_and_at_most_a_hundred() {
    let schema = DataSchema::parse_yaml("columns: {a: {type: integer, max: 0}}").unwrap();
    let many = format!("a\n{}", "5\n".repeat(9_000));
    let files = vec![("1.csv", bytes_file(b"a\n0\n7\n")), ("2.csv", bytes_file(many.as_bytes()))];
    let report = data_schema::run(&open(files).unwrap(), &schema).unwrap();
    let rows = &report.findings[0].rows;
    assert_eq!((rows.len(), rows[0].file.as_str(), rows[0].index, rows[1].file.as_str(), rows[1].index), (100, "1.csv", 1, "2.csv", 0));
    assert_eq!(report.facts["rows_violating"], json!(9_001));
    assert_eq!(report.facts["rows_violating_fraction"], json!(9_001.0 / 9_002.0));
}

#[test]
fn faults_are_reported_all_at_once_with_their_place() {
    let text = "colums: {}\nrows: {min: x}\ncolumns:\n  a: {type: integr}\n  b: {type: integer, pattern: x, nulable: true, min: 5, max: 1}\n  c: {type: boolean, min: 0}\n  d: {}\n";
    let error = DataSchema::parse_yaml(text).unwrap_err().to_string();
    for part in [
        "line 1, column 1: unknown key `colums`; did you mean `columns`?",
        "line 2, column 13: `min` must be a whole number of rows",
        "line 4, column 13: unknown type `integr`; did you mean `integer`?",
        "`pattern` does not apply to type `integer`",
        "unknown key `nulable`; did you mean `nullable`?",
        "column `b` has a `min` above its `max`",
        "column `c`: `min` and `max` do not apply to type `boolean`",
        "column `d` has no `type`",
    ] {
        assert!(error.contains(part), "`{error}` lacks `{part}`");
    }
}

#[test]
fn lenient_yaml_is_refused() {
    for (text, part) in [
        ("", "empty"),
        ("columns: {a: {type: integer}, a: {type: string}}", "stands twice"),
        ("columns: {a: &x {type: integer}}", "anchors"),
        ("columns: {a: {type: !!str integer}}", "tags"),
        ("a: 1\n---\nb: 2\n", "document"),
        ("columns: [a]", "map"),
        ("columns: {a: {type: string, pattern: '('}}", "no regular expression"),
        ("columns: {a: {type: string, pattern: '((a{1000}){1000}){1000}'}}", "no regular expression"),
        ("columns: {a: {type: number, max_null_fraction: 1.5}}", "from 0 to 1"),
        ("columns: {a: {type: number, nullable: 'true'}}", "true or false"),
        ("columns: {a: {type: integer, max: 1.5}}", "bound"),
    ] {
        let error = DataSchema::parse_yaml(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: `{error}` lacks `{part}`");
    }
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    assert!(DataSchema::parse_yaml(&deep).is_err());
}

#[test]
fn an_inferred_schema_holds_for_its_table_and_round_trips() {
    for name in ["cancer.csv", "wine_background.parquet", "drift_reference.csv"] {
        let data = data(name);
        let schema = DataSchema::infer(&data).unwrap();
        let text = schema.to_yaml();
        assert_eq!(DataSchema::parse_yaml(&text).unwrap(), schema, "{text}");
        let report = data_schema::run(&data, &schema).unwrap();
        assert_eq!(report.facts["violations_total"], json!(0), "{name}");
        assert!(report.findings.is_empty());
    }
    let odd = text_data(
        "o.csv",
        "\"a: b\",true,\"\"\"q\"\"\",é\u{85},t,big\n\"x, y\",yes,{z},\"- 1\",1999-12-31T23:59:59.5Z,1e300\n,no,',\"#\",2000-01-01,-0.0\n",
    )
    .unwrap();
    let schema = DataSchema::infer(&odd).unwrap();
    assert_eq!(DataSchema::parse_yaml(&schema.to_yaml()).unwrap(), schema, "{}", schema.to_yaml());
    assert_eq!(data_schema::run(&odd, &schema).unwrap().facts["violations_total"], json!(0));
}
