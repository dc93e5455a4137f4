//! Tables made from the sources: error codes with their meaning, and audit events with their fields.
//!
//! in: the text of every source file; out: Markdown pages.
//! **Invariant:** a code that a `code()` function or a reason gives stands in the table; the meaning is the variant's own comment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::process::root;

/// A source file: its path from the root, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every Rust file of `crates/` and `xtask/`, sorted by path.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root().join(folder), folder, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, name: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            if entry.file_name() != "target" {
                collect(&entry.path(), &path, found);
            }
        } else if path.ends_with(".rs")
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(Source { path, text });
        }
    }
}

/// Where a code comes from, and what it means.
#[derive(Default)]
struct Code {
    crates: BTreeSet<String>,
    meanings: BTreeSet<String>,
}

/// The page of error codes.
pub(crate) fn error_codes(sources: &[Source]) -> Result<String, String> {
    let mut codes: BTreeMap<String, Code> = BTreeMap::new();
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        let text = without_tests(&source.text);
        let meanings = variant_comments(text);
        for (variants, code) in code_arms(text) {
            let entry = codes.entry(code).or_default();
            entry.crates.insert(crate_of(&source.path));
            entry.meanings.extend(variants.iter().filter_map(|variant| meanings.get(variant.as_str()).cloned()));
        }
        for (code, meaning) in listed(text).into_iter().chain(constructed(text)) {
            let entry = codes.entry(code).or_default();
            entry.crates.insert(crate_of(&source.path));
            entry.meanings.extend(meaning);
        }
    }
    // codes of reasons and findings, written where they are given: any literal with the noun of a known code
    let nouns: BTreeSet<String> = codes.keys().filter_map(|code| Some(code.split_once('/')?.0.to_owned())).collect();
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        for code in literals(without_tests(&source.text)).filter(|code| code.split_once('/').is_some_and(|(noun, _)| nouns.contains(noun)))
        {
            codes.entry(code.to_owned()).or_default().crates.insert(crate_of(&source.path));
        }
    }
    if codes.len() < 20 {
        return Err(format!("only {} error codes found: the scanner of `cargo xtask gen` is broken", codes.len()));
    }
    let mut page = "# Error codes\n\n<!-- made by `cargo xtask gen` from the code -->\n\nEvery error carries a stable code, what was found, and a hint. Codes are never reused for something else.\n\n| code | crate | meaning |\n|---|---|---|\n".to_owned();
    for (code, entry) in codes {
        let join = |set: BTreeSet<String>, with: &str| set.into_iter().collect::<Vec<_>>().join(with);
        page.push_str(&format!("| `{code}` | {} | {} |\n", join(entry.crates, ", "), meaning(entry.meanings)));
    }
    Ok(page)
}

/// The page of audit events, from the enum itself.
pub(crate) fn events(sources: &[Source]) -> Result<String, String> {
    let source = sources.iter().find(|source| source.path == "crates/core/src/event.rs").ok_or("crates/core/src/event.rs is gone")?;
    let (_, body) = source.text.split_once("pub enum EventKind {").ok_or("`EventKind` is gone")?;
    let body = body.split("\n}").next().unwrap_or(body);
    let mut page = "# Audit events\n\n<!-- made by `cargo xtask gen` from crates/core/src/event.rs -->\n\nEvery event is a leaf of the log, in canonical JSON, with `time_ms`, `principal`, `code` and the fields below. Fields may be added, never changed.\n\n| code | meaning | fields |\n|---|---|---|\n".to_owned();
    for (code, meaning, fields) in event_variants(body) {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        page.push_str(&format!("| `{code}` | {meaning} | {} |\n", fields.join(", ")));
    }
    Ok(page)
}

/// Code, comment and fields of every variant with a `rename`.
pub(crate) fn event_variants(body: &str) -> Vec<(String, String, Vec<String>)> {
    let mut variants: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut comment = String::new();
    for line in body.lines() {
        let depth = line.len() - line.trim_start().len();
        let text = line.trim();
        if let (Some(words), 4) = (text.strip_prefix("///"), depth) {
            comment.push_str(words);
        } else if let Some(code) = text.strip_prefix("#[serde(rename = \"").and_then(|rest| rest.split('"').next()) {
            variants.push((code.to_owned(), std::mem::take(&mut comment).trim().to_owned(), Vec::new()));
        } else if let (Some((field, _)), 8, Some(last)) = (text.split_once(':'), depth, variants.last_mut())
            && !text.starts_with("///")
            && !text.starts_with("#[")
        {
            last.2.push(field.trim_start_matches("pub ").to_owned());
        }
    }
    variants
}

fn is_product(path: &str) -> bool {
    path.starts_with("crates/")
        && path.contains("/src/")
        && !path.contains("/src/bin/")
        && !path.contains("tests")
        && !path.starts_with("crates/testkit")
}

fn crate_of(path: &str) -> String {
    path.split('/').nth(1).unwrap_or("").to_owned()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Comments of enum variants, by name: the lines of `///` before `Name {`, `Name(`, `Name,`.
fn variant_comments(text: &str) -> BTreeMap<&str, String> {
    let mut comments = BTreeMap::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        let name = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
        if !comment.is_empty() && name.starts_with(|c: char| c.is_ascii_uppercase()) {
            comments.insert(name, comment.join(" ").trim_end_matches('.').to_owned());
        }
        comment.clear();
    }
    comments
}

/// Arms of `match` in functions called `code`: the variants on the left, the code on the right.
fn code_arms(text: &str) -> Vec<(Vec<String>, String)> {
    let mut arms = Vec::new();
    for body in text.split("fn code(").skip(1) {
        let body = body.split("\n    }").next().unwrap_or(body);
        let mut variants: Vec<String> = Vec::new();
        for line in body.lines() {
            let left = line.split("=>").next().unwrap_or(line);
            variants.extend(left.split("Self::").skip(1).filter_map(|rest| {
                Some(rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?.to_owned())
                    .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
            }));
            for code in line.split('"').skip(1).step_by(2).filter(|text| is_code(text)) {
                arms.push((std::mem::take(&mut variants), code.to_owned()));
            }
        }
    }
    arms
}

/// Codes in tables `("code", "meaning"),` and in fields `code: "…"` or constants.
fn listed(text: &str) -> Vec<(String, Option<String>)> {
    let mut codes = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        if let ([code, meaning], true) = (quoted.as_slice(), line.starts_with("(\""))
            && is_code(code)
        {
            codes.push(((*code).to_owned(), Some((*meaning).to_owned())));
        } else if line.starts_with("code: \"") {
            codes.extend(quoted.iter().filter(|code| is_code(code)).map(|code| ((*code).to_owned(), None)));
        }
    }
    codes
}

/// Codes of errors that are made where they happen, `EngineError::body("step/failed", "…")`: the message is their meaning.
fn constructed(text: &str) -> Vec<(String, Option<String>)> {
    let mut codes = Vec::new();
    for kind in ["EngineError::", "Failure::"] {
        for call in text.split(kind).skip(1) {
            let call: String = call.split(';').next().unwrap_or_default().chars().take(600).collect();
            let quoted: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
            let [code, rest @ ..] = quoted.as_slice() else { continue };
            if !is_code(code) {
                continue;
            }
            let message = rest.first().filter(|message| message.contains(' '));
            codes.push(((*code).to_owned(), message.map(|message| without_placeholders(message))));
        }
    }
    codes
}

/// A message template for people: `{…}` becomes `…`.
fn without_placeholders(template: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_u32;
    for c in template.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                text.push('…');
            }
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

/// Every text in quotes that has the form of a code, outside comments.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|literal| is_code(literal))
}

/// Comments of all variants with the code; a reason of a decision has none, it explains itself where it is given.
fn meaning(comments: BTreeSet<String>) -> String {
    if comments.is_empty() {
        return "the message says what was found".to_owned();
    }
    comments.into_iter().collect::<Vec<_>>().join(" · ").replace('|', "\\|")
}

/// `noun/words`, in lower case.
pub(crate) fn is_code(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
            && !part.ends_with('-')
    };
    text.split_once('/').is_some_and(|(noun, rest)| part(noun) && part(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_their_comments_are_found() {
        let text = "enum E {\n    /// Gone.\n    #[error(\"x\")]\n    Missing { a: u8 },\n    /// Two\n    /// lines.\n    Other(u8),\n}\nimpl E {\n    fn code(&self) -> &'static str {\n        match self {\n            Self::Missing { .. } => \"store/missing\",\n            Self::Other(_)\n            | Self::Missing { .. } => \"store/other-one\",\n        }\n    }\n}\n";
        let meanings = variant_comments(text);
        assert_eq!((meanings["Missing"].as_str(), meanings["Other"].as_str()), ("Gone", "Two lines"));
        let arms = code_arms(text);
        assert_eq!(arms[0], (vec!["Missing".to_owned()], "store/missing".to_owned()));
        assert_eq!(arms[1].0, ["Other", "Missing"]);
        assert_eq!(listed("    (\"plan/cycle\", \"a circle\"),\n    code: \"authz/no_permit\".to_owned(),")[1].0, "authz/no_permit");
        assert!(!is_code("a/b/c") && !is_code("src/Main") && !is_code("text"));
    }

    #[test]
    fn events_are_read_with_their_fields() {
        let body = "\n    /// A run begins.\n    #[serde(rename = \"run.started\")]\n    RunStarted {\n        /// The run.\n        #[serde(default, skip_serializing_if = \"Option::is_none\")]\n        run: Option<RunId>,\n    },\n";
        assert_eq!(event_variants(body), [("run.started".to_owned(), "A run begins.".to_owned(), vec!["run".to_owned()])]);
    }
}
