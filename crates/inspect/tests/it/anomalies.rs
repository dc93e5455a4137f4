//! Anomalies: what must stand out, and what must not.

use seaworthy_inspect::checks::anomaly;
use serde_json::json;

use crate::support::{data, text_data};

fn plain(rows: u32) -> String {
    let row = |row: u32| {
        format!("{},{},{}\n", 20 + row * 7 % 60, f64::from(row * 13 % 100) / 10.0, if row.is_multiple_of(3) { "x" } else { "y" })
    };
    format!("age,amount,kind\n{}", (0..rows).map(row).collect::<String>())
}

#[test]
fn honest_rows_are_not_flagged() {
    assert_eq!(anomaly::run(&text_data("t.csv", &plain(5_000)).unwrap(), None).unwrap().facts["rows_flagged"], json!(0));
    let report = anomaly::run(&data("drift_reference.csv"), None).unwrap();
    assert_eq!(report.facts["rows_flagged"], json!(0));
}

#[test]
fn planted_rows_are_ranked_first() {
    let text = plain(5_000) + "999,5,x\n40,1e9,y\n41,3,never-seen\n40,inf,x\n";
    let report = anomaly::run(&text_data("t.csv", &text).unwrap(), None).unwrap();
    assert_eq!((report.facts["rows_flagged"].clone(), report.facts["fraction"].clone()), (json!(4), json!(4.0 / 5_004.0)));
    let rows: Vec<u64> = report.findings[0].rows.iter().map(|row| row.index).collect();
    assert_eq!(rows, [5_003, 5_001, 5_000, 5_002]);
    assert!(report.findings[0].rows.iter().all(|row| row.score > 1.0 && row.score.is_finite()));
    // control: without the planted rows nothing is flagged, and as a label the column is not looked at
    let text = plain(5_000) + "999,5,x\n";
    assert_eq!(anomaly::run(&text_data("t.csv", &text).unwrap(), Some("age")).unwrap().facts["rows_flagged"], json!(0));
}

#[test]
fn identifiers_constants_and_wide_tables_are_borne() {
    let ids: String = (0..3_000).map(|row| format!("id-{row},7,\n")).collect();
    let report = anomaly::run(&text_data("t.csv", &format!("id,same,none\n{ids}")).unwrap(), None).unwrap();
    assert_eq!(report.facts["rows_flagged"], json!(0));
    let columns = 20_000;
    let header = (0..columns).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",");
    let row = |value: u32| (0..columns).map(|column| (value + column % 3).to_string()).collect::<Vec<_>>().join(",");
    let text = format!("{header}\n{}\n", (0..40).map(row).collect::<Vec<_>>().join("\n"));
    assert_eq!(anomaly::run(&text_data("w.csv", &text).unwrap(), None).unwrap().facts["rows"], json!(40));
}
