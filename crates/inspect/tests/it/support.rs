//! Fixtures and temporary files of the tests.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use seaworthy_inspect::model::{Matrix, Model, load};
use seaworthy_inspect::table::{DataFile, Dataset, TableError};
use serde_json::Value;

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(crate) fn model(name: &str) -> Model {
    let name = format!("{name}.onnx");
    load(&name, &std::fs::read(fixture(&name)).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn data(name: &str) -> Dataset {
    open(vec![(name, File::open(fixture(name)).unwrap())]).unwrap()
}

pub(crate) fn open(files: Vec<(&str, File)>) -> Result<Dataset, TableError> {
    Dataset::open(files.into_iter().map(|(name, file)| DataFile { name: name.to_owned(), file }).collect())
}

/// An unnamed file with these bytes.
pub(crate) fn bytes_file(bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("seaworthy-inspect-{}-{:x}", std::process::id(), xx(bytes)));
    let mut options = File::options();
    let mut file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    let reopened = File::open(&path).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own temporary file")]
    std::fs::remove_file(&path).ok();
    reopened
}

/// A name that differs between threads and contents.
fn xx(bytes: &[u8]) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    std::thread::current().id().hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn text_data(name: &str, text: &str) -> Result<Dataset, TableError> {
    open(vec![(name, bytes_file(text.as_bytes()))])
}

/// Every column but `leave_out`, row-major; nulls are NaN.
pub(crate) fn matrix(data: &Dataset, leave_out: &str) -> Matrix {
    let places: Vec<usize> = (0..data.columns().len()).filter(|place| data.columns()[*place].name != leave_out).collect();
    let mut values = Vec::new();
    for batch in data.batches_of(places.clone()) {
        let batch = batch.unwrap();
        let columns: Vec<Vec<Option<f64>>> = (0..places.len()).map(|place| batch.numbers(place)).collect();
        for row in 0..batch.rows() {
            values.extend(columns.iter().map(|column| column[row].unwrap_or(f64::NAN)));
        }
    }
    Matrix { columns: places.len(), values }
}

pub(crate) fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: number of values");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let scale = wanted.abs().max(1.0);
        assert!((found - wanted).abs() <= tolerance * scale, "{what}[{place}]: {found} is not {wanted} within {tolerance}");
    }
}
