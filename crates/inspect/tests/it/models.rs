//! Models: predictions against scikit-learn's own, and hostile bytes.

use seaworthy_inspect::model::{FeatureSource, Matrix, ModelError, Output, load};

use crate::support::{assert_close, data, expected, fixture, matrix, model, numbers};

/// Exported parameters are 32-bit: the difference to the 64-bit library is theirs, relative to max(1, |value|).
const TOLERANCE: f64 = 1e-6;
/// A linear model on features up to 1,500 without a scaler: rounding its coefficients to 32 bits moves the sums by that much.
const TOLERANCE_UNSCALED: f64 = 5e-6;

#[test]
fn predictions_equal_the_library() {
    let expected = expected();
    for (name, wanted) in expected["models"].as_object().unwrap() {
        let model = model(name);
        let data = data(&format!("{}.csv", wanted["data"].as_str().unwrap()));
        let prediction = model.predict(&matrix(&data, "target")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tolerance = if name == "logreg3" { TOLERANCE_UNSCALED } else { TOLERANCE };
        assert_close(name, &prediction.scores.values, &numbers(&wanted["scores"]), tolerance);
        if let Some(classes) = wanted.get("classes") {
            assert_eq!(model.output(), Output::Classes, "{name}");
            assert_eq!(serde_json::json!(model.classes()), *classes, "{name}");
            let labels: Vec<&str> = prediction.labels.iter().map(|label| model.classes()[*label].as_str()).collect();
            assert_eq!(serde_json::json!(labels), wanted["labels"], "{name}");
        } else {
            assert_eq!(model.output(), Output::Values, "{name}");
        }
    }
}

#[test]
fn feature_names_come_from_metadata_only_where_the_model_has_them() {
    assert_eq!(model("rf").feature_source(), FeatureSource::Metadata);
    assert_eq!(model("rf").features().unwrap()[0], "mean_radius");
    assert_eq!(model("gb").feature_source(), FeatureSource::Data);
    assert_eq!(model("gb").n_features(), Some(10));
    assert!(model("gb").trees().is_some() && model("logreg").linear().is_some() && model("mlp").trees().is_none());
}

#[test]
fn a_missing_value_follows_the_tree() {
    let model = model("imputed_tree");
    let mut rows = matrix(&data("cancer.csv"), "target");
    rows.values[3] = f64::NAN;
    assert!(model.predict(&rows).unwrap().scores.values.iter().all(|score| score.is_finite()), "the imputer fills it");
}

#[test]
fn rows_of_another_width_are_refused() {
    let error = model("rf").predict(&Matrix { columns: 9, values: vec![0.0; 18] }).unwrap_err();
    assert_eq!(error.code(), "model/shape");
}

#[test]
fn an_unknown_operator_is_named() {
    let bytes = std::fs::read(fixture("logreg.onnx")).unwrap();
    // field 4 of a node, six bytes long
    let at = bytes.windows(8).position(|window| window == b"\x22\x06Scaler").unwrap();
    let mut renamed = bytes.clone();
    renamed[at + 2..at + 8].copy_from_slice(b"Mangle");
    assert_eq!(load("m.onnx", &renamed).unwrap_err(), ModelError::UnknownOperator { operator: String::from("ai.onnx.ml.Mangle") });
    assert_eq!(load("model.pkl", &bytes).unwrap_err().code(), "model/format");
    assert_eq!(load("m.onnx", b"").unwrap_err().code(), "model/malformed");
}

/// 2,000 mutations: bytes changed, cut, doubled. Each loads or is an error; what loads predicts or is an error.
#[test]
fn mutated_models_never_panic() {
    let mut seed = 0x5ea_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap()
    };
    let originals: Vec<(Vec<u8>, Matrix)> =
        [("gb", "cancer"), ("logreg", "cancer"), ("mlp", "cancer"), ("et3", "wine"), ("imputed_tree", "cancer"), ("linear", "diabetes")]
            .iter()
            .map(|(name, table)| {
                (std::fs::read(fixture(&format!("{name}.onnx"))).unwrap(), matrix(&data(&format!("{table}.csv")), "target"))
            })
            .collect();
    let (mut refused, mut ran) = (0, 0);
    for round in 0..2_000 {
        let (original, rows) = &originals[round % originals.len()];
        let mut bytes = original.clone();
        for _ in 0..=next() % 4 {
            let at = next() % bytes.len();
            match next() % 4 {
                0 => bytes[at] = u8::try_from(next() % 256).unwrap(),
                1 => bytes[at] ^= 1 << (next() % 8),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let tail = bytes[at..].to_vec();
                    bytes.extend_from_slice(&tail[..tail.len().min(64)]);
                }
            }
        }
        match load("m.onnx", &bytes).and_then(|model| model.predict(rows)) {
            Ok(_) => ran += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 500 && ran > 100, "{refused} refused, {ran} ran: the mutations must reach both");
}
