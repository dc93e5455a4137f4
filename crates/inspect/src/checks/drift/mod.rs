//! `drift`: has the population moved? Reference table, current table → per feature how far its distributions lie apart.
//!
//! Each column that both tables have is compared: numbers by the population stability index (PSI) over the reference's deciles
//! and the two-sample Kolmogorov–Smirnov statistic D, everything else by PSI over categories and the chi-square test. P-values
//! become q-values by Benjamini–Hochberg. A feature has drifted if q < 0.05 **and** the effect is large enough to matter: PSI ≥
//! 0.1 or D ≥ 0.1; PSI ≥ 0.25 or D ≥ 0.25 is severe. So severity follows the size of the effect, not the number of rows.
//!
//! **Invariant:** a column that one table lacks, or whose kind changed, counts as drifted, never as nothing.

mod category;
mod numeric;

use std::collections::BTreeMap;

use seaworthy_core::finding::{CheckReport, Finding, Severity};
use serde_json::{Value, json};

use super::{CheckError, fraction, report};
use crate::special::benjamini_hochberg;
use crate::table::{ColumnKind, Dataset};
use category::Categories;
use numeric::Numbers;

/// Name of the check.
pub const ID: &str = "drift";
/// Version of the check: raise it when the same input is reported on differently.
pub const VERSION: u32 = 1;
/// Largest q-value of a drifted feature.
pub const Q_MAX: f64 = 0.05;
/// Least PSI, and least D, of a drifted feature.
pub const EFFECT_MODERATE: f64 = 0.1;
/// Least PSI, and least D, of a severely drifted feature.
pub const EFFECT_SEVERE: f64 = 0.25;
/// Least share of a bin in the PSI, so that an empty bin stays finite.
pub const SHARE_FLOOR: f64 = 1e-4;
/// Features listed one by one among the facts: those with the largest PSI.
const FEATURES_LISTED_MAX: usize = 1_000;

/// What is compared of one column.
enum Compared {
    Numbers(Box<Numbers>),
    Categories(Categories),
}

/// How far the two distributions of a feature lie apart.
struct Distance {
    psi: f64,
    p: f64,
    /// Further statistics by name.
    more: Vec<(&'static str, f64)>,
    /// D, where it is defined.
    ks: Option<f64>,
}

struct Feature {
    name: String,
    q: f64,
    distance: Distance,
}

impl Feature {
    /// `None` if it has not drifted.
    fn severity(&self) -> Option<Severity> {
        let effect = self.distance.psi.max(self.distance.ks.unwrap_or(0.0));
        (self.q < Q_MAX && effect >= EFFECT_MODERATE).then_some(if effect >= EFFECT_SEVERE { Severity::Error } else { Severity::Warning })
    }
}

/// Runs the check; columns named in `ignore` (the label, ids) are left out.
pub fn run(reference: &Dataset, current: &Dataset, ignore: &[String]) -> Result<CheckReport, CheckError> {
    for (data, what) in [(reference, "the reference"), (current, "the current data")] {
        if data.rows() == 0 {
            return Err(CheckError::NoRows { what });
        }
    }
    let kept = |name: &str| !ignore.iter().any(|ignored| ignored == name);
    let (pairs, mut findings, changed) = pair_columns(reference, current, &kept);
    let features = compare(reference, current, pairs)?;
    let total = features.len() + changed;
    if total == 0 {
        return Err(CheckError::NothingToCompare);
    }
    findings.extend(features.iter().filter_map(|feature| feature.severity().map(|severity| drifted_finding(feature, severity))));
    let drifted = features.iter().filter(|feature| feature.severity().is_some()).count() + changed;
    let max = |of: fn(&Distance) -> f64| features.iter().map(|feature| of(&feature.distance)).fold(0.0, f64::max);
    // a column that vanished or appeared has moved as far as the index can say
    let max_psi = if changed > 0 { max(|d| d.psi).max(2.0 * (1.0 - SHARE_FLOOR) * (1.0 / SHARE_FLOOR).ln()) } else { max(|d| d.psi) };
    let facts = [
        ("features", json!(total)),
        ("drifted", json!(drifted)),
        ("drifted_fraction", json!(fraction(u64::try_from(drifted).unwrap_or(0), u64::try_from(total).unwrap_or(0)))),
        ("max_psi", json!(max_psi)),
        ("max_ks", json!(max(|d| d.ks.unwrap_or(0.0)))),
        ("columns_changed", json!(changed)),
        ("rows_reference", json!(reference.rows())),
        ("rows_current", json!(current.rows())),
        ("by_feature", by_feature(&features)),
    ];
    let parameters = [
        ("ignore", json!(ignore)),
        ("q_max", json!(Q_MAX)),
        ("effect_moderate", json!(EFFECT_MODERATE)),
        ("effect_severe", json!(EFFECT_SEVERE)),
        ("share_floor", json!(SHARE_FLOOR)),
        ("exact_rows_max", json!(numeric::EXACT_MAX)),
        ("seed", json!(numeric::SEED)),
    ];
    let mut report = report(ID, &parameters, &facts);
    report.findings = findings;
    Ok(report)
}

type Pair = (String, usize, usize, Compared);

/// Columns to compare; findings for those that cannot be, and their number.
fn pair_columns(reference: &Dataset, current: &Dataset, kept: &dyn Fn(&str) -> bool) -> (Vec<Pair>, Vec<Finding>, usize) {
    let mut findings = Vec::new();
    let mut pairs = Vec::new();
    let places: BTreeMap<&str, usize> = current.columns().iter().enumerate().map(|(place, column)| (column.name.as_str(), place)).collect();
    let known: std::collections::HashSet<&str> = reference.columns().iter().map(|column| column.name.as_str()).collect();
    let numbers = reference.columns().len();
    for (place, column) in reference.columns().iter().enumerate().filter(|(_, column)| kept(&column.name)) {
        let found = places.get(column.name.as_str()).and_then(|place| current.columns().get(*place).map(|column| (*place, column.kind)));
        match found {
            None => findings.push(changed_finding(&column.name, "is in the reference and not in the current data")),
            Some((other, kind)) => match compared(column.kind, kind, numbers) {
                Some(compared) => pairs.push((column.name.clone(), place, other, compared)),
                None if column.kind == kind => {}
                None => findings.push(changed_finding(&column.name, &format!("was {} and is {}", column.kind.name(), kind.name()))),
            },
        }
    }
    for column in current.columns().iter().filter(|column| kept(&column.name) && !known.contains(column.name.as_str())) {
        findings.push(changed_finding(&column.name, "is in the current data and not in the reference"));
    }
    let changed = findings.len();
    (pairs, findings, changed)
}

/// How two kinds are compared; `None` if they are not: timestamps always move, nested values are not looked into.
fn compared(reference: ColumnKind, current: ColumnKind, columns: usize) -> Option<Compared> {
    use ColumnKind::{Boolean, Empty, Integer, Number, String};
    match (reference, current) {
        (Integer | Number, Integer | Number | Empty) | (Empty, Integer | Number) => {
            Some(Compared::Numbers(Box::new(Numbers::new(columns))))
        }
        (String | Boolean | Empty, String | Boolean | Empty) => Some(Compared::Categories(Categories::default())),
        _ => None,
    }
}

fn compare(reference: &Dataset, current: &Dataset, mut pairs: Vec<Pair>) -> Result<Vec<Feature>, CheckError> {
    for side in [Side::Reference, Side::Current] {
        read(reference, current, side, &mut pairs, |compared, side, batch, place| match compared {
            Compared::Numbers(numbers) => numbers.sample(side, &batch.numbers(place)),
            Compared::Categories(categories) => categories.count(side, &batch.texts(place)),
        })?;
    }
    for (_, _, _, compared) in &mut pairs {
        if let Compared::Numbers(numbers) = compared {
            numbers.set_bins();
        }
    }
    if pairs.iter().any(|pair| matches!(&pair.3, Compared::Numbers(numbers) if !numbers.is_exact())) {
        for side in [Side::Reference, Side::Current] {
            read(reference, current, side, &mut pairs, |compared, side, batch, place| {
                if let Compared::Numbers(numbers) = compared {
                    numbers.bin(side, &batch.numbers(place));
                }
            })?;
        }
    }
    let distances: Vec<Distance> = pairs
        .iter_mut()
        .map(|(_, _, _, compared)| match compared {
            Compared::Numbers(numbers) => numbers.distance(),
            Compared::Categories(categories) => categories.distance(),
        })
        .collect();
    let q = benjamini_hochberg(&distances.iter().map(|distance| distance.p).collect::<Vec<_>>());
    Ok(pairs.into_iter().zip(distances).zip(q).map(|(((name, ..), distance), q)| Feature { name, q, distance }).collect())
}

/// Which table rows belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Reference,
    Current,
}

impl Side {
    fn seat(self) -> usize {
        match self {
            Self::Reference => 0,
            Self::Current => 1,
        }
    }
}

/// One pass over one of the tables.
fn read(
    reference: &Dataset,
    current: &Dataset,
    side: Side,
    pairs: &mut [Pair],
    mut take: impl FnMut(&mut Compared, Side, &crate::table::Batch, usize),
) -> Result<(), CheckError> {
    let (data, columns): (&Dataset, Vec<usize>) = match side {
        Side::Reference => (reference, pairs.iter().map(|pair| pair.1).collect()),
        Side::Current => (current, pairs.iter().map(|pair| pair.2).collect()),
    };
    for batch in data.batches_of(columns) {
        let batch = batch?;
        for (place, pair) in pairs.iter_mut().enumerate() {
            take(&mut pair.3, side, &batch, place);
        }
    }
    Ok(())
}

/// Σ (p − q) ln(p / q) with shares floored at [`SHARE_FLOOR`].
fn psi(reference: &[f64], current: &[f64]) -> f64 {
    let (n, m): (f64, f64) = (reference.iter().sum(), current.iter().sum());
    reference
        .iter()
        .zip(current)
        .map(|(a, b)| {
            let (p, q) = ((a / n.max(1.0)).max(SHARE_FLOOR), (b / m.max(1.0)).max(SHARE_FLOOR));
            (p - q) * (p / q).ln()
        })
        .sum()
}

fn changed_finding(name: &str, what: &str) -> Finding {
    Finding {
        check: ID.to_owned(),
        severity: Severity::Error,
        subject: format!("column:{name}"),
        message: format!("column `{name}` {what}"),
        evidence: BTreeMap::new(),
        rows: Vec::new(),
    }
}

fn statistics(feature: &Feature) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::from([
        (String::from("psi"), json!(feature.distance.psi)),
        (String::from("p"), json!(feature.distance.p)),
        (String::from("q"), json!(feature.q)),
    ]);
    named.extend(feature.distance.ks.map(|ks| (String::from("ks"), json!(ks))));
    named.extend(feature.distance.more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    named
}

fn drifted_finding(feature: &Feature, severity: Severity) -> Finding {
    let ks = feature.distance.ks.map(|ks| format!(", D {ks:.3}")).unwrap_or_default();
    Finding {
        check: ID.to_owned(),
        severity,
        subject: format!("column:{}", feature.name),
        message: format!("column `{}` has moved: PSI {:.3}{ks}, q {:.2e}", feature.name, feature.distance.psi, feature.q),
        evidence: statistics(feature),
        rows: Vec::new(),
    }
}

fn by_feature(features: &[Feature]) -> Value {
    let mut order: Vec<&Feature> = features.iter().collect();
    order.sort_by(|a, b| b.distance.psi.total_cmp(&a.distance.psi).then_with(|| a.name.cmp(&b.name)));
    let listed: BTreeMap<&str, Value> =
        order.into_iter().take(FEATURES_LISTED_MAX).map(|feature| (feature.name.as_str(), json!(statistics(feature)))).collect();
    json!(listed)
}

/// Every bound and seed that a report depends on.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({
        "q_max": Q_MAX, "effect_moderate": EFFECT_MODERATE, "effect_severe": EFFECT_SEVERE, "share_floor": SHARE_FLOOR,
        "features_listed_max": FEATURES_LISTED_MAX, "numeric": numeric::parameters(), "category": category::parameters()
    })
}
