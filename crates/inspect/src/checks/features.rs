//! From a table to the rows a model takes: model, table, label → feature columns in the model's order.
//!
//! The order comes from the model's metadata `feature_names`, or from one input of the graph a column; else from the columns of
//! the data without the label, in file order, which only holds if their number is the model's.
//!
//! **Invariant:** a feature is never guessed: a missing one, or one that holds no numbers, is an error that names it.

use super::CheckError;
use crate::model::{FeatureSource, Matrix, Model, ModelError};
use crate::table::{Batch, ColumnKind, Dataset, TableError};

/// Features of a model in a table.
pub(super) struct Features {
    /// Names in the model's order.
    pub(super) names: Vec<String>,
    /// Places of the columns in the table.
    pub(super) places: Vec<usize>,
    /// From where the order is known.
    pub(super) source: FeatureSource,
}

impl Features {
    pub(super) fn of(model: &Model, data: &Dataset, label: &str) -> Result<Self, CheckError> {
        let source = model.feature_source();
        let names: Vec<String> = match model.features() {
            Some(names) => names.to_vec(),
            None => data.columns().iter().map(|column| column.name.clone()).filter(|name| name != label).collect(),
        };
        if let Some(wanted) = model.n_features().filter(|wanted| *wanted != names.len()) {
            let reason = format!(
                "it takes {wanted} features, the data has {} columns besides the label, and the model does not name its features",
                names.len()
            );
            return Err(ModelError::Shape { reason }.into());
        }
        if names.iter().any(|name| name == label) {
            return Err(ModelError::Shape { reason: format!("the label `{label}` is among its features") }.into());
        }
        let mut places = Vec::with_capacity(names.len());
        for name in &names {
            let place = data.column_place(name).map_err(|_| ModelError::MissingFeature { feature: name.clone() })?;
            let kind = data.columns().get(place).map_or(ColumnKind::Empty, |column| column.kind);
            if !kind.is_numeric() && kind != ColumnKind::Empty {
                return Err(TableError::NotNumeric { column: name.clone(), found: format!("{} values", kind.name()) }.into());
            }
            places.push(place);
        }
        Ok(Self { names, places, source })
    }

    /// Rows of a batch whose first columns are the features; nulls are NaN. Only those rows that `keep` names.
    pub(super) fn matrix(&self, batch: &Batch, keep: impl Fn(usize) -> bool) -> Matrix {
        let columns: Vec<Vec<Option<f64>>> = (0..self.places.len()).map(|place| batch.numbers(place)).collect();
        let mut values = Vec::with_capacity(batch.rows() * columns.len());
        for row in (0..batch.rows()).filter(|row| keep(*row)) {
            values.extend(columns.iter().map(|column| column.get(row).copied().flatten().unwrap_or(f64::NAN)));
        }
        Matrix { columns: columns.len(), values }
    }
}
