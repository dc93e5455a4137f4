//! Diagnostics: every fault of a workflow file, its settings file and the plan they make, each with its place and a hint.
//!
//! in: faults by code and place; out: [`Diagnostics`], sorted by file and line, without doubles.
//! **Invariant:** every code stands in [`CODES`]; every position lies inside its file; no text of a literal secret is shown.

use std::fmt;

use serde::Serialize;

use super::places::{FileLines, FileRole, Place, Position, SourceMap};
use crate::limits::DIAGNOSTICS_MAX;

/// Every code with what it means, for documents and tests.
pub const CODES: &[(&str, &str)] = &[
    ("lock/changed", "what is pinned differs from what is there now"),
    ("lock/format", "the lock file is not what `seaworthy lock` writes"),
    ("lock/missing", "something the plan needs has no pin in the lock"),
    ("lock/unresolved", "something the plan needs was not found, so that its pin cannot be checked"),
    ("lock/unused", "the lock holds a pin that the plan does not need"),
    ("plan/ambiguous-input", "two inputs of a step would have the same name in its inputs folder"),
    ("plan/cycle", "steps that need each other in a circle"),
    ("plan/held-out-in-training", "a training step can see the data that its model is validated on"),
    ("plan/missing-key", "a step does not say enough to be run"),
    ("plan/unknown-environment", "a container that the table of environments does not have"),
    ("plan/unknown-workflow", "no workflow of that name in the file"),
    ("plan/unmapped-source", "a remote source that no entry of `sources` maps to a folder"),
    ("plan/unvalidated-model", "a deploy step whose model no validate step examines"),
    ("secrets/provider", "a secret of a provider that this release cannot ask"),
    ("secrets/reference", "text that refers to no secret"),
    ("workflow/dev-only", "a setting that only the environment dev may have"),
    ("workflow/duplicate-key", "the same key twice in one mapping"),
    ("workflow/duplicate-name", "two workflows, or two steps of a workflow, with the same name"),
    ("workflow/encoding", "the file is not UTF-8"),
    ("workflow/key-in-both-files", "the same key of a step in the workflow file and in the settings file"),
    ("workflow/limit", "a bound of the product is exceeded"),
    ("workflow/literal-secret", "a value that looks like a credential"),
    ("workflow/misplaced-key", "a key that has no meaning in a step of this kind"),
    ("workflow/missing-key", "a key that must be there is not"),
    ("workflow/missing-project", "no project registration outside dev"),
    ("workflow/name", "text that cannot be a name"),
    ("workflow/path", "a path that leaves the workspace, or is absolute"),
    ("workflow/type", "a value of the wrong type or shape"),
    ("workflow/unknown-key", "a key that does not exist"),
    ("workflow/unknown-reference", "a name that nothing in the files carries"),
    ("workflow/unsupported", "a feature that this release does not have"),
    ("workflow/value", "a value that is not one of those allowed"),
    ("workflow/yaml", "the text is not YAML, or uses a part of YAML that workflow files may not use"),
];

/// How bad a diagnostic is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Allowed, but worth a look; or not yet complete enough to plan.
    Warning,
    /// Refused.
    Error,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// Stable code, for instance `workflow/unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one line.
    pub message: String,
    /// What to do about it, one line; may be empty.
    pub hint: String,
    /// Path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// One past the last character.
    pub end: Position,
    /// The text of the line.
    pub source_line: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{}:{}:{}: {severity}[{}]: {}", self.file, self.line, self.column, self.code, self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// All faults that were found.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// True if anything is refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// True if nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All of them, by file, line and column.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Adds those of `other`; of two at the same place with the same code and message the worse one stays.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        self.sort();
        self
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.code, d.message.clone());
            key(a).cmp(&key(b)).then(b.severity.cmp(&a.severity))
        });
        self.list.dedup_by(|a, b| (a.code, &a.file, a.line, a.column, &a.message) == (b.code, &b.file, b.line, b.column, &b.message));
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|diagnostic| writeln!(f, "{diagnostic}"))
    }
}

/// A fault before its place is turned into file, line and text.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Fault {
    pub(crate) fn error(code: &'static str, place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, place, message: message.into(), hint: hint.into() }
    }
}

/// What must not be shown: a literal secret and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Masked {
    pub(crate) place: Place,
    pub(crate) text: String,
}

const MASK: &str = "********";

/// Turns faults into diagnostics: positions clamped, lines quoted, secrets masked; at most [`DIAGNOSTICS_MAX`], errors first.
pub(crate) fn render(mut faults: Vec<Fault>, map: &SourceMap, masked: &[Masked]) -> Diagnostics {
    if faults.len() > DIAGNOSTICS_MAX {
        faults.sort_by_key(|fault| (std::cmp::Reverse(fault.severity), fault.place.file, fault.place.start));
        let more = faults.len() - DIAGNOSTICS_MAX;
        if let Some(last) = faults.get_mut(DIAGNOSTICS_MAX) {
            *last = Fault {
                code: "workflow/limit",
                message: format!("{more} more faults are not shown"),
                hint: "mend those above first".to_owned(),
                ..last.clone()
            };
        }
        faults.truncate(DIAGNOSTICS_MAX + 1);
    }
    let mut diagnostics = Diagnostics::default();
    for fault in faults {
        let file = map.file(fault.place.file);
        let start = file.clamp(fault.place.start);
        let end = file.clamp(fault.place.end).max(start);
        let hide = |text: String| {
            masked.iter().filter(|secret| !secret.text.is_empty()).fold(text, |text, secret| text.replace(&secret.text, MASK))
        };
        diagnostics.push(Diagnostic {
            code: fault.code,
            severity: fault.severity,
            message: hide(one_line(&fault.message)),
            hint: hide(one_line(&fault.hint)),
            file: file.path.clone(),
            line: start.line,
            column: start.column,
            end,
            source_line: masked_line(file, fault.place.file, start.line, masked),
        });
    }
    diagnostics.sort();
    diagnostics
}

/// The line's text, the columns of secrets in it replaced.
fn masked_line(file: &FileLines, role: FileRole, line: usize, masked: &[Masked]) -> String {
    let mut characters: Vec<char> = file.line(line).chars().collect();
    for secret in masked.iter().filter(|secret| secret.place.file == role) {
        let (start, end) = (secret.place.start, secret.place.end);
        if line < start.line || line > end.line {
            continue;
        }
        let from = if line == start.line { start.column.saturating_sub(1) } else { 0 };
        let to = if line == end.line { end.column.saturating_sub(1) } else { characters.len() };
        for character in characters.iter_mut().take(to).skip(from) {
            *character = '*';
        }
    }
    characters.into_iter().collect()
}

/// User input may hold line breaks and other control characters: none reaches a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `, did you mean …` for the nearest of `known`, if one is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 100 {
        return None;
    }
    let bound = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// At most 60 characters of user input, for messages.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if text.chars().count() > 60 {
        short.push('…');
    }
    format!("`{short}`")
}
