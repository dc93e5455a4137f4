//! Drift against SciPy, and what must and must not count as drift.

use seaworthy_inspect::checks::drift;
use seaworthy_inspect::special::{chi2_sf, kolmogorov_sf};
use serde_json::json;

use crate::support::{data, expected, text_data};

/// Both sides compute in f64 from the same numbers.
const TOLERANCE: f64 = 1e-9;

#[test]
fn tail_probabilities_equal_scipy() {
    let special = &expected()["special"];
    for case in special["chi2_sf"].as_array().unwrap() {
        let (x, k, wanted) = (case[0].as_f64().unwrap(), case[1].as_f64().unwrap(), case[2].as_f64().unwrap());
        assert!((chi2_sf(x, k) - wanted).abs() < TOLERANCE, "chi2 {x} {k}: {} {wanted}", chi2_sf(x, k));
    }
    for case in special["kolmogorov_sf"].as_array().unwrap() {
        let (x, wanted) = (case[0].as_f64().unwrap(), case[1].as_f64().unwrap());
        assert!((kolmogorov_sf(x) - wanted).abs() < TOLERANCE, "kolmogorov {x}: {} {wanted}", kolmogorov_sf(x));
    }
}

#[test]
fn statistics_equal_scipy() {
    let report = drift::run(&data("drift_reference.csv"), &data("drift_current.csv"), &[]).unwrap();
    let found = &report.facts["by_feature"];
    for (feature, wanted) in expected()["drift"].as_object().unwrap() {
        for (statistic, wanted) in wanted.as_object().unwrap() {
            let (found, wanted) = (found[feature][statistic].as_f64().unwrap(), wanted.as_f64().unwrap());
            assert!((found - wanted).abs() < TOLERANCE, "{feature} {statistic}: {found} is not {wanted}");
        }
    }
    let drifted: Vec<&str> = report.findings.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(drifted, ["column:shifted", "column:scaled", "column:kind_moved"]);
    assert_eq!((report.facts["features"].clone(), report.facts["drifted"].clone()), (json!(6), json!(3)));
    assert_eq!(report.facts["drifted_fraction"], json!(0.5));
}

#[test]
fn a_table_does_not_drift_from_itself() {
    for name in ["drift_reference.csv", "wine_background.parquet"] {
        let report = drift::run(&data(name), &data(name), &[]).unwrap();
        assert_eq!((report.facts["drifted"].clone(), report.facts["max_psi"].clone()), (json!(0), json!(0.0)), "{name}");
    }
}

#[test]
fn columns_that_come_go_or_change_kind_count_as_drifted() {
    let rows = |cells: &[&str]| cells.iter().map(|cell| format!("{cell}\n")).collect::<String>();
    let reference = text_data("r.csv", &format!("a,b,c\n{}", rows(&["1,1,x"; 50]))).unwrap();
    let current = text_data("c.csv", &format!("a,b,d\n{}", rows(&["1,z,x"; 50]))).unwrap();
    let report = drift::run(&reference, &current, &[]).unwrap();
    assert_eq!(
        (report.facts["features"].clone(), report.facts["drifted"].clone(), report.facts["columns_changed"].clone()),
        (json!(4), json!(3), json!(3))
    );
    assert!(report.facts["max_psi"].as_f64().unwrap() > 10.0);
    let ignored: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
    assert_eq!(drift::run(&reference, &current, &ignored).unwrap_err().code(), "check/nothing-to-compare");
}

#[test]
fn nulls_that_appear_are_drift() {
    let reference: String = (0..400).map(|row| format!("{row},x\n")).collect();
    let current: String = (0..400).map(|row| if row % 2 == 0 { String::from(",x\n") } else { format!("{row},x\n") }).collect();
    let report = drift::run(
        &text_data("r.csv", &format!("a,b\n{reference}")).unwrap(),
        &text_data("c.csv", &format!("a,b\n{current}")).unwrap(),
        &[],
    )
    .unwrap();
    assert_eq!(report.facts["drifted"], json!(1), "{:?}", report.facts);
    let gone: String = "NaN,x\n".repeat(400);
    let report =
        drift::run(&text_data("r.csv", &format!("a,b\n{reference}")).unwrap(), &text_data("c.csv", &format!("a,b\n{gone}")).unwrap(), &[])
            .unwrap();
    assert_eq!(report.facts["drifted"], json!(1), "{:?}", report.facts);
}

#[test]
fn identifiers_do_not_look_like_drift() {
    let ids = |from: u32| (from..from + 3_000).map(|id| format!("id{id}\n")).collect::<String>();
    let report = drift::run(
        &text_data("r.csv", &format!("a\n{}", ids(0))).unwrap(),
        &text_data("c.csv", &format!("a\n{}", ids(9_000))).unwrap(),
        &[],
    )
    .unwrap();
    assert_eq!(report.facts["drifted"], json!(0));
}

#[test]
fn a_new_category_with_weight_is_drift() {
    let reference: String = "a\n".repeat(500) + &"b\n".repeat(500);
    let current: String = "a\n".repeat(500) + &"b\n".repeat(350) + &"evil\n".repeat(150);
    let report =
        drift::run(&text_data("r.csv", &format!("k\n{reference}")).unwrap(), &text_data("c.csv", &format!("k\n{current}")).unwrap(), &[])
            .unwrap();
    assert_eq!(report.facts["drifted"], json!(1));
}
