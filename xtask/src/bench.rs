//! The table of measurements: each entry is an example of a crate that prints one line of JSON.
//!
//! in: [`ENTRIES`]; out: a table on standard output.
//! **Invariant:** an entry measures ratios or medians within one run; it fails if the thing measured does not work.

use crate::Outcome;
use crate::process::{cargo, output, root};

/// One measurement.
struct Entry {
    /// What is measured.
    name: &'static str,
    /// The crate and its example.
    package: &'static str,
    example: &'static str,
    /// Arguments of the full measurement, and of the small one.
    full: &'static [&'static str],
    smoke: &'static [&'static str],
}

/// Add yours here; the example's last line on standard output is a flat JSON object.
const ENTRIES: &[Entry] = &[Entry {
    name: "parse and plan 1,000 steps (bound: 100 ms)",
    package: "seaworthy-core",
    example: "parse_bench",
    full: &["1000"],
    smoke: &["1000"],
}];

/// Runs every entry; all of them, even if one fails.
pub(crate) fn run(smoke: bool) -> Outcome {
    let mut failed = Vec::new();
    let mut table = Vec::new();
    for entry in ENTRIES {
        let source = root().join("crates").join(entry.package.trim_start_matches("seaworthy-"));
        if !source.join("examples").join(format!("{}.rs", entry.example)).is_file() {
            failed.push(format!("the example `{}` is gone", entry.example));
            continue;
        }
        let arguments = if smoke { entry.smoke } else { entry.full };
        let base = ["run", "--release", "--quiet", "-p", entry.package, "--example", entry.example, "--"];
        match output(cargo(&[&base, arguments].concat())) {
            Ok(text) => match text.lines().rev().find(|line| line.starts_with('{')) {
                Some(line) => table.push((entry.name, pairs(line))),
                None => failed.push(format!("`{}` printed no line of JSON", entry.example)),
            },
            Err(message) => failed.push(message),
        }
    }
    println!("\n| measurement | value |\n|---|---|");
    for (name, pairs) in table {
        for (key, value) in pairs {
            println!("| {name}: {key} | {value} |");
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
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
    #[test]
    fn flat_objects_are_read() {
        let pairs = super::pairs("{\"steps\": 10, \"ratio\":1.5}");
        assert_eq!(pairs, [("steps".to_owned(), "10".to_owned()), ("ratio".to_owned(), "1.5".to_owned())]);
    }
}
