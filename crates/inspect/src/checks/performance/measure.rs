//! Metrics of weighted rows: predictions, labels, weights → numbers.
//!
//! A resample of the bootstrap is the same rows under other weights, so each metric is written once, for weights.
//!
//! **Invariant:** NaN stands for undefined and leaves this folder as absence.
#![expect(clippy::indexing_slicing, reason = "all lists of a sample have one entry a row, kept by push")]
#![expect(clippy::cast_precision_loss, reason = "sums of rows stay below 2^53")]

use crate::model::Prediction;

/// Probabilities are clipped to this before their logarithm, as scikit-learn did for f64.
pub(super) const CLIP: f64 = 1e-15;

/// A metric and its interval.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What was predicted and what was true.
pub(super) enum Sample {
    Values(Values),
    Classes(Classes),
}

/// Regression.
#[derive(Default)]
pub(super) struct Values {
    truth: Vec<f64>,
    predicted: Vec<f64>,
}

/// Classification.
pub(super) struct Classes {
    classes: usize,
    truth: Vec<usize>,
    predicted: Vec<usize>,
    /// Log loss of each row.
    loss: Vec<f64>,
    /// Probability of the second class; only for two classes.
    score: Vec<f64>,
    /// Rows by falling score; made when first measured.
    order: std::cell::OnceCell<Vec<usize>>,
}

impl Sample {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Values(values) => values.truth.len(),
            Self::Classes(classes) => classes.truth.len(),
        }
    }

    pub(super) fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Values(_) => &["r2", "mae", "rmse"],
            Self::Classes(classes) if classes.classes == 2 => &["accuracy", "balanced_accuracy", "auc", "f1", "log_loss", "brier"],
            Self::Classes(_) => &["accuracy", "macro_f1", "log_loss"],
        }
    }

    /// The metrics in the order of [`Self::names`].
    pub(super) fn measure(&self, weights: &[u32]) -> Vec<f64> {
        match self {
            Self::Values(values) => values.measure(weights),
            Self::Classes(classes) if classes.classes == 2 => classes.binary(weights),
            Self::Classes(classes) => classes.multiclass(weights),
        }
    }

    /// The metric and value of the model that knows only how often each label occurs here.
    pub(super) fn baseline(&self) -> (&'static str, f64) {
        match self {
            Self::Values(values) => {
                let n = values.truth.len() as f64;
                let mean = values.truth.iter().sum::<f64>() / n;
                ("rmse", (values.truth.iter().map(|truth| (truth - mean).powi(2)).sum::<f64>() / n).sqrt())
            }
            Self::Classes(classes) => {
                let mut counts = vec![0_usize; classes.classes];
                classes.truth.iter().for_each(|class| counts[*class] += 1);
                ("accuracy", counts.into_iter().max().unwrap_or(0) as f64 / classes.truth.len() as f64)
            }
        }
    }
}

impl Values {
    pub(super) fn push(&mut self, labels: &[f64], prediction: &Prediction) -> Result<(), String> {
        if prediction.scores.columns != 1 || prediction.scores.values.len() != labels.len() {
            return Err(format!("it predicts {} values a row, a regression has one", prediction.scores.columns));
        }
        if let Some(strange) = prediction.scores.values.iter().find(|value| !value.is_finite()) {
            return Err(format!("it predicts {strange}"));
        }
        self.truth.extend_from_slice(labels);
        self.predicted.extend_from_slice(&prediction.scores.values);
        Ok(())
    }

    fn measure(&self, weights: &[u32]) -> Vec<f64> {
        let (mut n, mut sum, mut absolute, mut squared) = (0.0, 0.0, 0.0, 0.0);
        for ((truth, predicted), weight) in self.truth.iter().zip(&self.predicted).zip(weights) {
            let (weight, error) = (f64::from(*weight), truth - predicted);
            n += weight;
            sum += weight * truth;
            absolute += weight * error.abs();
            squared += weight * error * error;
        }
        let mean = sum / n;
        let total: f64 = self.truth.iter().zip(weights).map(|(truth, weight)| f64::from(*weight) * (truth - mean).powi(2)).sum();
        vec![if total > 0.0 { 1.0 - squared / total } else { f64::NAN }, absolute / n, (squared / n).sqrt()]
    }
}

impl Classes {
    pub(super) fn new(classes: usize) -> Self {
        Self { classes, truth: Vec::new(), predicted: Vec::new(), loss: Vec::new(), score: Vec::new(), order: std::cell::OnceCell::new() }
    }

    pub(super) fn push(&mut self, labels: &[f64], prediction: &Prediction) -> Result<(), String> {
        let columns = prediction.scores.columns;
        if columns != self.classes || prediction.scores.rows() != labels.len() || prediction.labels.len() != labels.len() {
            return Err(format!("it gives {columns} scores a row for {} classes", self.classes));
        }
        for ((label, predicted), scores) in labels.iter().zip(&prediction.labels).zip(prediction.scores.iter()) {
            // rounding may carry a probability past 0 or 1 by a little
            let sum: f64 = scores.iter().sum();
            if scores.iter().any(|score| !(-1e-6..=1.0 + 1e-6).contains(score)) || (sum - 1.0).abs() > 1e-4 {
                return Err(String::from("its scores are no probabilities, so log loss and Brier score are undefined"));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "labels are places of classes here")]
            let truth = *label as usize;
            self.truth.push(truth);
            self.predicted.push(*predicted);
            self.loss.push(-(scores[truth] / sum).clamp(CLIP, 1.0 - CLIP).ln());
            if self.classes == 2 {
                self.score.push(scores[1].clamp(0.0, 1.0));
            }
        }
        Ok(())
    }

    /// Weighted counts of (truth, predicted).
    fn confusion(&self, weights: &[u32]) -> Vec<f64> {
        let mut counts = vec![0.0; self.classes * self.classes];
        for ((truth, predicted), weight) in self.truth.iter().zip(&self.predicted).zip(weights) {
            counts[truth * self.classes + predicted] += f64::from(*weight);
        }
        counts
    }

    fn log_loss(&self, weights: &[u32], n: f64) -> f64 {
        self.loss.iter().zip(weights).map(|(loss, weight)| loss * f64::from(*weight)).sum::<f64>() / n
    }

    fn binary(&self, weights: &[u32]) -> Vec<f64> {
        let counts = self.confusion(weights);
        let (tn, fp, fn_, tp) = (counts[0], counts[1], counts[2], counts[3]);
        let n = tn + fp + fn_ + tp;
        let f1 = if tp + fp + fn_ > 0.0 { 2.0 * tp / (2.0 * tp + fp + fn_) } else { f64::NAN };
        let brier = self
            .score
            .iter()
            .zip(&self.truth)
            .zip(weights)
            .map(|((score, truth), weight)| (score - *truth as f64).powi(2) * f64::from(*weight))
            .sum::<f64>()
            / n;
        let balanced = f64::midpoint(tn / (tn + fp), tp / (tp + fn_));
        vec![(tn + tp) / n, balanced, self.auc(weights), f1, self.log_loss(weights, n), brier]
    }

    /// Area under the ROC curve: share of pairs in the right order, ties half.
    fn auc(&self, weights: &[u32]) -> f64 {
        let order = self.order.get_or_init(|| {
            let mut order: Vec<usize> = (0..self.score.len()).collect();
            order.sort_by(|a, b| self.score[*b].total_cmp(&self.score[*a]));
            order
        });
        let (mut above, mut pairs, mut negatives) = (0.0, 0.0, 0.0);
        let mut start = 0;
        while start < order.len() {
            let score = self.score[order[start]];
            let (mut positive, mut negative) = (0.0, 0.0);
            while start < order.len() && self.score[order[start]].total_cmp(&score).is_eq() {
                let row = order[start];
                *(if self.truth[row] == 1 { &mut positive } else { &mut negative }) += f64::from(weights[row]);
                start += 1;
            }
            pairs += negative * (above + positive / 2.0);
            above += positive;
            negatives += negative;
        }
        if above > 0.0 && negatives > 0.0 { pairs / (above * negatives) } else { f64::NAN }
    }

    fn multiclass(&self, weights: &[u32]) -> Vec<f64> {
        let counts = self.confusion(weights);
        let k = self.classes;
        let n: f64 = counts.iter().sum();
        let right: f64 = (0..k).map(|class| counts[class * k + class]).sum();
        let mut f1 = Vec::with_capacity(k);
        for class in 0..k {
            let row: f64 = (0..k).map(|other| counts[class * k + other]).sum();
            let column: f64 = (0..k).map(|other| counts[other * k + class]).sum();
            // a class that neither occurs nor is predicted has no F1
            if row + column > 0.0 {
                f1.push(2.0 * counts[class * k + class] / (row + column));
            }
        }
        vec![right / n, f1.iter().sum::<f64>() / f1.len() as f64, self.log_loss(weights, n)]
    }
}
