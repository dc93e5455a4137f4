//! The integrity score: its arithmetic, and that it cannot be gamed.

use proptest::prelude::*;
use seaworthy_inspect::checks::{drift, explain, performance};
use seaworthy_inspect::model::Task;
use seaworthy_inspect::score::{Part, REQUIRED, ScoreInputs, WEIGHT_MIN, integrity_score, run, within};
use serde_json::json;

use crate::support::{data, model};

#[test]
fn parts_fall_linearly_from_their_bound_to_twice_it() {
    for (measured, value) in
        [(0.0, 1.0), (0.25, 1.0), (0.375, 0.5), (0.5, 0.0), (9.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, 0.0), (-1.0, 1.0)]
    {
        assert_eq!(within(measured, 0.25), value, "{measured}");
    }
    assert_eq!((within(0.1, 0.0), within(0.1, f64::NAN), within(0.1, -1.0)), (0.0, 0.0, 0.0));
}

#[test]
fn a_real_validation_scores() {
    let (rows, known, model) = (data("cancer.csv"), data("cancer_background.parquet"), model("gb"));
    let held_out = performance::run(&model, &rows, "target", Task::Binary).unwrap();
    let training = performance::run(&model, &known, "target", Task::Binary).unwrap();
    let drifted = drift::run(&known, &known, &[]).unwrap();
    let explained = explain::run(&model, &rows, &known, "target", "shap").unwrap();
    let inputs = ScoreInputs {
        chain: Some(true),
        performance: Some(&held_out),
        performance_on_reference: Some(&training),
        drift: Some(&drifted),
        explain: Some(&explained),
    };
    let report = run(&inputs).unwrap();
    assert_eq!(report.facts["complete"], json!(true));
    let full = report.facts["value"].as_f64().unwrap();
    assert!(full > 0.0 && full <= 1.0, "{full}");
    assert_eq!(run(&ScoreInputs { chain: Some(false), ..inputs }).unwrap().facts["value"], json!(0.0));
    for (name, less) in [
        ("chain", ScoreInputs { chain: None, ..inputs }),
        ("performance", ScoreInputs { performance_on_reference: None, ..inputs }),
        ("drift", ScoreInputs { drift: None, ..inputs }),
        ("explanation", ScoreInputs { explain: None, ..inputs }),
    ] {
        let report = run(&less).unwrap();
        assert_eq!(
            (report.facts["complete"].clone(), report.facts["value"].clone(), report.facts["missing"].clone()),
            (json!(false), json!(0.0), json!([name]))
        );
    }
}

fn part(name: &str, value: f64, weight: f64) -> Part {
    Part { value, weight, ..Part::holds(name, true) }
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::collection::vec((0.0..=1.0_f64, -1.0..10.0_f64), REQUIRED.len())
        .prop_map(|drawn| drawn.into_iter().zip(REQUIRED).map(|((value, weight), name)| part(name, value, weight)).collect())
}

proptest! {
    #[test]
    fn lowering_a_part_never_raises_the_score(parts in parts(), at in 0..REQUIRED.len(), share in 0.0..=1.0_f64) {
        let mut lower = parts.clone();
        lower[at].value *= share;
        prop_assert!(integrity_score(&lower, &REQUIRED).value <= integrity_score(&parts, &REQUIRED).value);
    }

    #[test]
    fn leaving_out_a_part_never_raises_the_score(parts in parts(), at in 0..REQUIRED.len()) {
        let mut fewer = parts.clone();
        fewer.remove(at);
        let score = integrity_score(&fewer, &REQUIRED);
        prop_assert!(!score.complete && score.value <= integrity_score(&parts, &REQUIRED).value);
    }

    #[test]
    fn adding_or_repeating_a_part_never_raises_the_score(parts in parts(), value in -1.0..2.0_f64, name in "[a-z]{1,8}|chain") {
        let mut more = parts.clone();
        more.push(part(&name, value, 1.0));
        prop_assert!(integrity_score(&more, &REQUIRED).value <= integrity_score(&parts, &REQUIRED).value);
    }

    #[test]
    fn no_weight_silences_a_part(value in 0.0..1.0_f64, weight in prop_oneof![Just(0.0), Just(-5.0), Just(f64::NAN), Just(f64::NEG_INFINITY), 0.0..0.5_f64]) {
        let parts: Vec<Part> = REQUIRED.iter().map(|name| part(name, if *name == "drift" { value } else { 1.0 }, weight)).collect();
        prop_assert!(integrity_score(&parts, &REQUIRED).value <= value.powf(WEIGHT_MIN));
    }
}
