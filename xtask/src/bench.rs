//! The table of measurements: what we promise about speed, measured beside the tools that others use.
//!
//! in: [`GROUPS`], one file a group; out: one table on standard output, and in `target/bench/table.md`.
//! **Invariant:** what is compared is measured in turns within one run; a target that is missed fails the command.
//! **Invariant:** a group that cannot be measured fails too: nothing is left out in silence.
//!
//! `--smoke` measures without peers, with small sizes and bounds that only catch a collapse.

mod chain;
mod confinement;
mod crashes;
mod fan;
mod folder;
mod image;
mod log;
mod measure;
mod overhead;
mod peers;
mod plan;
mod signer;
mod verify;
mod workers;
mod workspace;

use std::path::PathBuf;

use crate::Outcome;
use crate::process::{cargo, output, run as run_command, target};

/// In a smoke measurement a time may be so many times over its target, since CI's machines are slow and shared.
const SMOKE_SLACK: f64 = 20.0;

type Group = fn(&Bench) -> Result<Vec<Row>, String>;

/// Add yours here: name, whether it belongs to `--smoke`, what measures.
const GROUPS: &[(&str, bool, Group)] = &[
    ("plan", true, plan::measure),
    ("log", true, log::measure),
    ("rerun", true, chain::rerun),
    ("verify", true, verify::measure),
    ("signer", true, signer::measure),
    ("image", true, image::measure),
    ("workers", true, workers::measure),
    ("crashes", true, crashes::measure),
    ("fan", false, fan::measure),
    ("overhead", false, overhead::measure),
    ("confinement", false, confinement::measure),
    ("folder", false, folder::measure),
    ("chain", false, chain::against_metaflow),
];

/// What a group needs to know.
pub(crate) struct Bench {
    smoke: bool,
    /// Throw-away folder of all groups.
    dir: PathBuf,
    /// The release build of the product.
    binary: PathBuf,
}

impl Bench {
    /// `full`, or `small` in a smoke measurement.
    fn pick<T>(&self, full: T, small: T) -> T {
        if self.smoke { small } else { full }
    }

    /// A measured value that must be at most `bound`.
    fn at_most(&self, what: &str, value: f64, unit: &str, bound: f64) -> Row {
        let bound = if self.smoke { bound * SMOKE_SLACK } else { bound };
        let (ours, target) = (format!("{} {unit}", figure(value)), format!("≤ {} {unit}", figure(bound)));
        Row { what: what.to_owned(), ours, peer: String::new(), ratio: None, target, met: Some(value <= bound) }
    }

    /// A measured value that must be at least `bound`.
    fn at_least(&self, what: &str, value: f64, unit: &str, bound: f64) -> Row {
        let bound = if self.smoke { bound / SMOKE_SLACK } else { bound };
        let (ours, target) = (format!("{} {unit}", figure(value)), format!("≥ {} {unit}", figure(bound)));
        Row { what: what.to_owned(), ours, peer: String::new(), ratio: None, target, met: Some(value >= bound) }
    }
}

/// A line of the table.
struct Row {
    what: String,
    ours: String,
    peer: String,
    ratio: Option<f64>,
    target: String,
    met: Option<bool>,
}

impl Row {
    /// Ours beside a peer's, in the same unit, the smaller the better; with a target, the peer must need so many times more.
    fn ratio(what: &str, ours: f64, peer: (&str, f64), unit: &str, at_least: Option<f64>) -> Self {
        let ratio = peer.1 / ours;
        Self {
            what: what.to_owned(),
            ours: format!("{} {unit}", figure(ours)),
            peer: format!("{} {unit} ({})", figure(peer.1), peer.0),
            ratio: Some(ratio),
            target: at_least.map_or_else(String::new, |bound| format!("≥ {bound}×")),
            met: at_least.map(|bound| ratio >= bound),
        }
    }

    /// A figure that helps to read the others.
    fn plain(what: &str, value: f64, unit: &str) -> Self {
        let ours = format!("{} {unit}", figure(value));
        Self { what: what.to_owned(), ours, peer: String::new(), ratio: None, target: String::new(), met: None }
    }
}

/// Runs every group, or those that are named; all of them, even if one fails.
pub(crate) fn run(smoke: bool, only: &[&str]) -> Outcome {
    if let Some(unknown) = only.iter().find(|name| GROUPS.iter().all(|(known, ..)| known != *name)) {
        let known: Vec<&str> = GROUPS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("no group of measurements is called `{unknown}`; there are {}", known.join(", ")));
    }
    let bench = Bench { smoke, dir: target().join("bench"), binary: target().join("release/seaworthy") };
    std::fs::create_dir_all(&bench.dir).map_err(|error| format!("{}: {error}", bench.dir.display()))?;
    run_command(cargo(&["build", "--release", "--quiet", "-p", "seaworthy"]))?;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (name, in_smoke, group) in GROUPS {
        if (smoke && !in_smoke) || (!only.is_empty() && !only.contains(name)) {
            continue;
        }
        eprintln!("--- bench: {name} (load {})", load());
        match group(&bench) {
            Ok(found) => rows.extend(found),
            Err(message) => failed.push(format!("{name}: {message}")),
        }
    }
    let table = table(&rows);
    println!("\n{table}");
    std::fs::write(bench.dir.join("table.md"), &table).map_err(|error| format!("{}: {error}", bench.dir.display()))?;
    failed.extend(
        rows.iter().filter(|row| row.met == Some(false)).map(|row| format!("missed: {}: {} ({})", row.what, shown(row), row.target)),
    );
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("measured with a load of {} at the end\n\n", load());
    text.push_str("| measurement | ours | peer | ratio | target | met |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{}×", figure(ratio)));
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        text.push_str(&format!("| {} | {} | {} | {ratio} | {} | {met} |\n", row.what, row.ours, row.peer, row.target));
    }
    text
}

fn shown(row: &Row) -> String {
    row.ratio.map_or_else(|| row.ours.clone(), |ratio| format!("{}×", figure(ratio)))
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The machine's load: who reads the table must know whether it was idle.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Runs an example of a crate, in release, and returns the keys and values of the last JSON object it printed.
fn example(package: &str, name: &str, arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
    let base = ["run", "--release", "--quiet", "-p", package, "--example", name, "--"];
    let text = output(cargo(&[&base, arguments].concat()))?;
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    line.map(pairs).ok_or_else(|| format!("the example `{name}` printed no line of JSON"))
}

fn number(pairs: &[(String, String)], key: &str) -> Result<f64, String> {
    let found = pairs.iter().find(|(known, _)| known == key).and_then(|(_, value)| value.parse().ok());
    found.ok_or_else(|| format!("no number `{key}` was printed"))
}

/// Keys and values of a flat JSON object of numbers and plain texts.
fn pairs(line: &str) -> Vec<(String, String)> {
    let inner = line.trim().trim_start_matches('{').trim_end_matches('}');
    inner
        .split(',')
        .filter_map(|pair| pair.split_once(':'))
        .map(|(key, value)| (key.trim().trim_matches('"').to_owned(), value.trim().trim_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_objects_are_read() {
        let pairs = pairs("{\"steps\": 10, \"ratio\":1.5}");
        assert_eq!(pairs, [("steps".to_owned(), "10".to_owned()), ("ratio".to_owned(), "1.5".to_owned())]);
        assert_eq!(number(&pairs, "ratio"), Ok(1.5));
        number(&pairs, "rati").unwrap_err();
    }

    #[test]
    fn a_missed_target_shows() {
        let bench = |smoke| Bench { smoke, dir: PathBuf::new(), binary: PathBuf::new() };
        assert_eq!(bench(false).at_most("x", 51.0, "ms", 50.0).met, Some(false));
        assert_eq!(bench(true).at_most("x", 51.0, "ms", 50.0).met, Some(true));
        assert_eq!(bench(true).at_most("x", 1001.0, "ms", 50.0).met, Some(false));
        assert_eq!(bench(false).at_least("x", 9_999.0, "/s", 10_000.0).met, Some(false));
        assert_eq!(Row::ratio("x", 1.0, ("peer", 11.9), "s", Some(12.0)).met, Some(false));
        assert_eq!(Row::ratio("x", 1.0, ("peer", 12.0), "s", Some(12.0)).met, Some(true));
        assert!(table(&[Row::ratio("x", 1.0, ("peer", 11.9), "s", Some(12.0))]).contains("| NO |"));
    }
}
