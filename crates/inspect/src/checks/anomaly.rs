//! `anomaly`: which rows look like nothing around them? Table → rows flagged, and the strangest ones.
//!
//! Per numeric column the robust z-score (x − median) / scale, where the scale is the largest of MAD / 0.6745 (Iglewicz,
//! Hoaglin, 1993), inter-quartile range / 1.349 and inter-decile range / 2.563: each is the standard deviation of normal data,
//! each bears 10 % of foreign values, and the largest bears skew. Where all are 0 and the column is continuous, the mean
//! absolute deviation × 1.2533 stands for it. Columns with at most [`DISCRETE_MAX`] distinct numbers hold codes or counts: their
//! scale is at least the standard deviation, and their values are also scored by their share; texts and booleans by share alone. A row's score is the largest of |z| / [`Z_MAX`] and ln(share) / ln([`SHARE_MIN`]) over
//! its columns; it is flagged above 1. Nulls have no score: they are the schema's matter. Medians, and shares of numbers, come
//! from a seeded sample of up to 100,000 values a column, exact below that.
//!
//! What this sees: values far outside a column's bulk and categories almost nobody has (a strange code that many rows share is
//! the matter of schema and drift). What it does not see: poisoning by
//! plausible values; that needs the trusted reference of later checks.
//!
//! **Invariant:** two streaming passes; memory is bounded whatever the number of rows and columns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use seaworthy_core::finding::{CheckReport, Finding, RowRef, Severity};
use seaworthy_core::limits::FINDING_ROWS_MAX;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::{CheckError, fraction, report};
use crate::random::Reservoir;
use crate::table::{Batch, ColumnKind, Dataset};

/// Name of the check.
pub const ID: &str = "anomaly";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Robust z-score above which a cell is strange.
pub const Z_MAX: f64 = 10.0;
/// Share of a category below which a cell is strange.
pub const SHARE_MIN: f64 = 0.0005;
/// A number column with at most so many distinct values holds codes or counts.
pub const DISCRETE_MAX: usize = 50;
/// Seed of the samples.
pub const SEED: u64 = 0x5ea_0003;
/// Values sampled a column, at most, and over all columns.
const SAMPLE_MAX: usize = 100_000;
const VALUES_MAX: usize = 20_000_000;
/// A column with more distinct texts than this holds identifiers or prose: its texts have no score.
const CATEGORIES_MAX: usize = 2_000;
/// Distinct texts over all columns.
const TEXTS_MAX: usize = 4_000_000;

/// What was learned of a column.
enum Profile {
    Numbers(NumberProfile),
    Categories(HashMap<u64, f64>),
    None,
}

/// What was learned of a column of numbers.
struct NumberProfile {
    median: f64,
    /// `None` where no scale can be told.
    scale: Option<f64>,
    /// Values that occur, by their bits, with their share; only where they are few.
    shares: Option<HashMap<u64, f64>>,
    /// Share of a value that the sample lacks.
    unseen: f64,
}

impl NumberProfile {
    /// `None` if the column says nothing: it is constant.
    #[expect(clippy::cast_precision_loss, reason = "the size of a sample")]
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for value in &values {
            *counts.entry(value.to_bits()).or_default() += 1;
            if counts.len() > DISCRETE_MAX {
                break;
            }
        }
        let total = u64::try_from(values.len()).unwrap_or(u64::MAX);
        let shares = (counts.len() <= DISCRETE_MAX)
            .then(|| counts.into_iter().map(|(bits, count)| (bits, fraction(count, total))).collect::<HashMap<_, _>>());
        values.retain(|value| value.is_finite());
        let median = quantile(&values, 10);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        let range = |low: usize, high: usize| quantile(&values, high) - quantile(&values, low);
        let spread = (quantile(&distances, 10) / 0.6745).max(range(5, 15) / 1.349).max(range(2, 18) / 2.563);
        let count = values.len().max(1) as f64;
        let scale = if shares.is_some() {
            // most rows of a column of codes may share one code: quantiles are no measure then of how far apart codes lie
            let mean = values.iter().sum::<f64>() / count;
            spread.max((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
        } else if spread > 0.0 {
            spread
        } else {
            distances.iter().sum::<f64>() / count * 1.2533
        };
        let scale = Some(scale).filter(|scale| *scale > 0.0 && scale.is_finite());
        (scale.is_some() || shares.as_ref().is_some_and(|shares| shares.len() > 1)).then(|| Self {
            median,
            scale,
            shares,
            unseen: fraction(1, total),
        })
    }

    fn score(&self, value: f64) -> f64 {
        let far = self.scale.map_or(0.0, |scale| (value - self.median).abs() / scale / Z_MAX);
        let rare = self.shares.as_ref().map_or(0.0, |shares| rarity(shares.get(&value.to_bits()).copied().unwrap_or(self.unseen)));
        far.max(rare)
    }
}

/// 1 at [`SHARE_MIN`], more below.
fn rarity(share: f64) -> f64 {
    if share > 0.0 { share.ln() / SHARE_MIN.ln() } else { 0.0 }
}

/// What is gathered of a column.
enum Gathered {
    Numbers(Reservoir<f64>),
    Categories(HashMap<u64, u64>, u64),
    None,
}

/// A row and its score; ordered by score, then by place.
#[derive(PartialEq)]
struct Strange {
    score: f64,
    file: usize,
    row: u64,
    column: usize,
}

impl Eq for Strange {}

impl PartialOrd for Strange {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Strange {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then_with(|| (other.file, other.row).cmp(&(self.file, self.row)))
    }
}

/// Runs the check. The label, if any, is left out of the scores.
pub fn run(data: &Dataset, label: Option<&str>) -> Result<CheckReport, CheckError> {
    let label_place = label.map(|label| data.column_place(label)).transpose()?;
    let profiles = learn(data, label_place)?;
    let mut strangest: BinaryHeap<Reverse<Strange>> = BinaryHeap::new();
    let (mut rows, mut flagged) = (0, 0);
    let mut by_column = vec![0_u64; profiles.len()];
    for batch in data.batches() {
        let batch = batch?;
        rows += u64::try_from(batch.rows()).unwrap_or(u64::MAX);
        for (row, (score, column)) in scores(&batch, &profiles).into_iter().enumerate() {
            if score <= 1.0 {
                continue;
            }
            flagged += 1;
            if let Some(count) = by_column.get_mut(column) {
                *count += 1;
            }
            strangest.push(Reverse(Strange { score, file: batch.file(), row: batch.row(row), column }));
            if strangest.len() > FINDING_ROWS_MAX {
                strangest.pop();
            }
        }
    }
    let share = fraction(flagged, rows);
    let scored = profiles.iter().filter(|profile| !matches!(profile, Profile::None)).count();
    let facts = [("rows", json!(rows)), ("rows_flagged", json!(flagged)), ("fraction", json!(share)), ("columns_scored", json!(scored))];
    let parameters = [
        ("z_max", json!(Z_MAX)),
        ("share_min", json!(SHARE_MIN)),
        ("discrete_max", json!(DISCRETE_MAX)),
        ("seed", json!(SEED)),
        ("label", json!(label)),
    ];
    let mut report = report(ID, &parameters, &facts);
    report.findings.extend((flagged > 0).then(|| finding(data, strangest, flagged, share, &by_column)));
    Ok(report)
}

fn learn(data: &Dataset, label: Option<usize>) -> Result<Vec<Profile>, CheckError> {
    let size = (VALUES_MAX / data.columns().len().max(1)).clamp(200, SAMPLE_MAX);
    let mut gathered: Vec<Gathered> = data
        .columns()
        .iter()
        .enumerate()
        .map(|(place, column)| match column.kind {
            _ if Some(place) == label => Gathered::None,
            ColumnKind::Integer | ColumnKind::Number => Gathered::Numbers(Reservoir::new(size, SEED)),
            ColumnKind::String | ColumnKind::Boolean => Gathered::Categories(HashMap::new(), 0),
            ColumnKind::Empty | ColumnKind::Timestamp | ColumnKind::Nested => Gathered::None,
        })
        .collect();
    let categories = (TEXTS_MAX / data.columns().len().max(1)).clamp(16, CATEGORIES_MAX);
    for batch in data.batches() {
        let batch = batch?;
        for (place, gathered) in gathered.iter_mut().enumerate() {
            gather(&batch, place, gathered, categories);
        }
    }
    Ok(gathered
        .into_iter()
        .map(|gathered| match gathered {
            Gathered::Numbers(sample) => NumberProfile::of(sample.into_kept()).map_or(Profile::None, Profile::Numbers),
            Gathered::Categories(counts, total) => {
                Profile::Categories(counts.into_iter().map(|(hash, count)| (hash, fraction(count, total))).collect())
            }
            Gathered::None => Profile::None,
        })
        .collect())
}

fn gather(batch: &Batch, place: usize, gathered: &mut Gathered, categories: usize) {
    match gathered {
        Gathered::None => {}
        Gathered::Numbers(sample) => batch.numbers(place).into_iter().flatten().for_each(|value| sample.offer(|| value + 0.0)),
        Gathered::Categories(counts, total) => {
            for text in batch.texts(place).iter().flatten() {
                *total += 1;
                *counts.entry(xxh3_64(text.as_bytes())).or_default() += 1;
            }
            if counts.len() > categories {
                *gathered = Gathered::None;
            }
        }
    }
}

/// The quantile at so many twentieths: the mean of the two order statistics around it.
fn quantile(sorted: &[f64], twentieths: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
    f64::midpoint(at(last * twentieths / 20), at((last * twentieths).div_ceil(20)))
}

/// For each row of the batch its largest score and the column it comes from.
fn scores(batch: &Batch, profiles: &[Profile]) -> Vec<(f64, usize)> {
    let mut best = vec![(0.0_f64, 0); batch.rows()];
    let raise = |best: &mut (f64, usize), score: f64, column: usize| {
        if score > best.0 {
            *best = (score, column);
        }
    };
    for (column, profile) in profiles.iter().enumerate() {
        match profile {
            Profile::None => {}
            Profile::Numbers(profile) => {
                for (best, value) in best.iter_mut().zip(batch.numbers(column)) {
                    if let Some(value) = value {
                        raise(best, profile.score(value + 0.0), column);
                    }
                }
            }
            Profile::Categories(shares) => {
                for (best, text) in best.iter_mut().zip(batch.texts(column)) {
                    let share = text.and_then(|text| shares.get(&xxh3_64(text.as_bytes())).copied());
                    if let Some(share) = share {
                        raise(best, rarity(share), column);
                    }
                }
            }
        }
    }
    best
}

fn finding(data: &Dataset, strangest: BinaryHeap<Reverse<Strange>>, flagged: u64, share: f64, by_column: &[u64]) -> Finding {
    let name = |column: usize| data.columns().get(column).map_or("", |column| column.name.as_str());
    let mut rows: Vec<Strange> = strangest.into_iter().map(|Reverse(strange)| strange).collect();
    rows.sort_by(|a, b| b.cmp(a));
    let mut columns: Vec<(u64, &str)> =
        by_column.iter().enumerate().filter(|(_, count)| **count > 0).map(|(column, count)| (*count, name(column))).collect();
    columns.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let columns: BTreeMap<&str, u64> = columns.into_iter().take(20).map(|(count, name)| (name, count)).collect();
    let top = rows.first().map_or("", |strange| name(strange.column));
    Finding {
        check: ID.to_owned(),
        severity: Severity::Warning,
        subject: String::from("rows"),
        message: format!("{flagged} rows ({:.3} %) hold values far from the rest; the strangest in column `{top}`", share * 100.0),
        evidence: BTreeMap::from([(String::from("rows_flagged"), json!(flagged)), (String::from("by_column"), json!(columns))]),
        rows: rows
            .into_iter()
            // an infinite value has an infinite score, which JSON cannot say
            .map(|strange| RowRef { file: data.file_name(strange.file).to_owned(), index: strange.row, score: strange.score.min(f64::MAX) })
            .collect(),
    }
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({
        "z_max": Z_MAX, "share_min": SHARE_MIN, "discrete_max": DISCRETE_MAX, "seed": SEED, "sample_max": SAMPLE_MAX,
        "values_max": VALUES_MAX, "categories_max": CATEGORIES_MAX, "texts_max": TEXTS_MAX
    })
}
