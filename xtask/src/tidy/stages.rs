//! The tables of ARCHITECTURE.md against the code: modules, types and event codes exist, and none is missing.
//!
//! in: ARCHITECTURE.md and the sources; out: complaints.
//! **Invariant:** every public module of a crate stands in the stage table or in the table of the vocabulary; every event
//! code of `EventKind` stands in the stage table; every invariant names a test that exists.

use std::collections::BTreeSet;

use super::Complaint;
use crate::tables::{Source, event_variants};

const FILE: &str = "ARCHITECTURE.md";

/// Crates whose modules must be told about. The others are still empty, or no part of the product.
const TOLD: &[&str] = &["core", "sandbox", "trust", "inspect", "store", "engine", "gateway", "control"];

pub(super) fn check(architecture: &str, sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let stages = rows(architecture, "## Stages");
    let vocabulary = rows(architecture, "## Vocabulary and support");
    if stages.len() < 5 {
        complaints.push(Complaint::new(FILE, "the stage table under `## Stages` is missing or too short"));
    }
    let mut told = BTreeSet::new();
    for row in stages.iter().map(|row| row.get(1)).chain(vocabulary.iter().map(|row| row.first())) {
        for module in ticked(row.map_or("", String::as_str)) {
            if !module_exists(&module, sources) {
                complaints.push(Complaint::new(FILE, format!("there is no module `{module}`")));
            }
            told.insert(module);
        }
    }
    for row in &stages {
        for name in row.get(2).map(|cell| ticked(cell)).unwrap_or_default() {
            if !type_exists(&name, sources) {
                complaints.push(Complaint::new(FILE, format!("there is no type `{name}`")));
            }
        }
    }
    let later = rows(architecture, "## Stages to come");
    complaints.extend(events(&[stages.as_slice(), later.as_slice()].concat(), sources));
    complaints.extend(invariants(&rows(architecture, "## Invariants"), sources));
    complaints.extend(missing_modules(&told, sources));
    complaints
}

/// Cells of the table under a heading, without its first two lines.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| line.trim() != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let table = lines.filter(|line| line.starts_with('|')).skip(2);
    table.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Words between backticks.
fn ticked(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// `core::workflow` is crates/core/src/workflow.rs or crates/core/src/workflow/mod.rs; `::name` after that may be a function.
fn module_exists(module: &str, sources: &[Source]) -> bool {
    let mut parts = module.split("::");
    let Some(name) = parts.next() else { return false };
    let rest: Vec<&str> = parts.collect();
    let base = format!("crates/{name}/src/{}", rest.join("/"));
    let files = [format!("{base}.rs"), format!("{base}/mod.rs")];
    if sources.iter().any(|source| files.contains(&source.path)) {
        return true;
    }
    let Some((function, folder)) = rest.split_last().filter(|(_, folder)| !folder.is_empty()) else { return false };
    let base = format!("crates/{name}/src/{}", folder.join("/"));
    let files = [format!("{base}.rs"), format!("{base}/mod.rs")];
    let signature = format!("fn {function}");
    sources.iter().any(|source| files.contains(&source.path) && source.text.contains(&signature))
}

/// A struct, enum, trait or type alias of that name.
fn type_exists(name: &str, sources: &[Source]) -> bool {
    let name = name.split('<').next().unwrap_or(name);
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    sources.iter().any(|source| {
        ["struct ", "enum ", "trait ", "type "].iter().any(|keyword| {
            let needle = format!("{keyword}{name}");
            source.text.match_indices(&needle).any(|(at, _)| source.text.get(at + needle.len()..).is_some_and(ends))
        })
    })
}

/// Codes in the table exist, and every code is in the table.
fn events(stages: &[Vec<String>], sources: &[Source]) -> Vec<Complaint> {
    let body = sources.iter().find(|source| source.path == "crates/core/src/event.rs").map_or("", |source| source.text.as_str());
    let body = body.split_once("pub enum EventKind {").map_or("", |(_, body)| body).split("\n}").next().unwrap_or("");
    let known: BTreeSet<String> = event_variants(body).into_iter().map(|(code, ..)| code).collect();
    let told: BTreeSet<String> = stages.iter().filter_map(|row| row.get(4)).flat_map(|cell| ticked(cell)).collect();
    let strange = told.difference(&known).map(|code| Complaint::new(FILE, format!("there is no event `{code}`")));
    let missing = known.difference(&told).map(|code| Complaint::new(FILE, format!("the event `{code}` stands in no stage")));
    strange.chain(missing).collect()
}

/// The last cell of an invariant names its tests as `path::function`, or says `not yet` and why.
fn invariants(rows: &[Vec<String>], sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for row in rows {
        let cell = row.last().map_or("", String::as_str);
        let tests = ticked(cell);
        if tests.is_empty() && !cell.starts_with("not yet") {
            complaints.push(Complaint::new(FILE, format!("the invariant {} names no test", row.first().map_or("", String::as_str))));
        }
        for test in tests {
            let found = test.split_once("::").is_some_and(|(path, function)| {
                sources.iter().any(|source| source.path == path && source.text.contains(&format!("fn {function}(")))
            });
            if !found {
                complaints.push(Complaint::new(FILE, format!("there is no test `{test}`")));
            }
        }
    }
    complaints
}

/// Modules that a crate's lib.rs declares and neither table names (or names a part of).
fn missing_modules(told: &BTreeSet<String>, sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for name in TOLD {
        let path = format!("crates/{name}/src/lib.rs");
        let text = sources.iter().find(|source| source.path == path).map_or("", |source| source.text.as_str());
        for module in text.lines().filter_map(declared) {
            let full = format!("{name}::{module}");
            let inside = format!("{full}::");
            if !told.iter().any(|known| *known == full || known.starts_with(&inside)) {
                complaints.push(Complaint::new(FILE, format!("the module `{full}` stands in no table")));
            }
        }
    }
    complaints
}

/// The name in `mod name;`, public or not.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        vec![
            file("crates/core/src/lib.rs", "pub mod plan;\npub mod event;\n"),
            file("crates/core/src/plan/mod.rs", "pub struct Plan;\npub fn build() {}\n"),
            file(
                "crates/core/src/event.rs",
                "pub enum EventKind {\n    /// Begins.\n    #[serde(rename = \"run.started\")]\n    RunStarted {\n        run: u8,\n    },\n}\n",
            ),
        ]
    }

    fn document(row: &str) -> String {
        let filler = "| x | `core::plan` | – | – | – |\n".repeat(4);
        format!(
            "## Stages\n\n| stage | module | in → out | decides | events |\n|---|---|---|---|---|\n{row}\n{filler}\n## Vocabulary and support\n\n| module | about |\n|---|---|\n| `core::event` | events |\n"
        )
    }

    #[test]
    fn what_does_not_exist_and_what_is_not_told_is_found() {
        let good = "| plan | `core::plan::build` | `Plan` → – | – | `run.started` |";
        assert_eq!(check(&document(good), &sources()), []);
        for (bad, word) in [
            (good.replace("plan::build", "plan::bild"), "core::plan::bild"),
            (good.replace("`Plan`", "`Plam`"), "Plam"),
            (good.replace("run.started", "run.begun"), "run.begun"),
            (good.replace("`run.started`", "–"), "run.started"),
        ] {
            let complaints = check(&document(&bad), &sources());
            assert!(complaints.iter().any(|complaint| complaint.message.contains(word)), "{bad}: {complaints:?}");
        }
        let invariant =
            |test: &str| format!("{}\n## Invariants\n\n| # | invariant | test |\n|---|---|---|\n| 1 | x | {test} |\n", document(good));
        assert_eq!(check(&invariant("`crates/core/src/plan/mod.rs::build`"), &sources()), []);
        assert_eq!(check(&invariant("not yet: no gateway"), &sources()), []);
        assert_eq!(check(&invariant("`crates/core/src/plan/mod.rs::gone`"), &sources()).len(), 1);
        assert_eq!(check(&invariant(""), &sources()).len(), 1);
        let untold = document(good).replace("`core::event`", "`core::plan`");
        assert!(check(&untold, &sources()).iter().any(|complaint| complaint.message.contains("core::event")));
        assert!(!check("", &sources()).is_empty());
    }
}
