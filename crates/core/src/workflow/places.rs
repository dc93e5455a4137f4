//! Where things stand in the files: the side table that gives plan faults their line and column.
//!
//! in: file texts and spans from the reader; out: [`Place`]s by key, and the text of a line.
//! **Invariant:** a place always lies inside its file: line 1 to the number of lines, column 1 to the line's length plus one.

use std::collections::BTreeMap;

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// Path, as people should see it.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// A position: line and column count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Which of the two files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileRole {
    /// The workflow file.
    Workflow,
    /// The settings file beside it.
    Settings,
}

/// A span in one of the two files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file.
    pub file: FileRole,
    /// First character.
    pub start: Position,
    /// One past the last character.
    pub end: Position,
}

/// A file, cut into lines as YAML counts them (LF, CR LF and lone CR end a line).
#[derive(Clone, Debug, Default)]
pub(crate) struct FileLines {
    pub(crate) path: String,
    lines: Vec<String>,
    /// Characters of each line.
    lengths: Vec<usize>,
}

impl FileLines {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let unified = text.replace("\r\n", "\n");
        let lines: Vec<String> = unified.split(['\n', '\r']).map(str::to_owned).collect();
        let lengths = lines.iter().map(|line| line.chars().count()).collect();
        Self { path: path.to_owned(), lines, lengths }
    }

    /// The text of `line` (from 1), without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        line.checked_sub(1).and_then(|index| self.lines.get(index)).map_or("", String::as_str)
    }

    /// `position`, moved into the file if it lies outside.
    pub(crate) fn clamp(&self, position: Position) -> Position {
        let line = position.line.clamp(1, self.lines.len().max(1));
        let past_end = line.checked_sub(1).and_then(|index| self.lengths.get(index)).map_or(1, |length| length + 1);
        let column = if position.line > self.lines.len() { past_end } else { position.column.clamp(1, past_end) };
        Position { line, column }
    }
}

/// Where the steps, keys and references of a [`super::model::Workspace`] stand.
///
/// Keys are `workflow`, `workflow/step`, `workflow/step.key` and `workflow/step.key[3]`. Two maps are always equal: places
/// say where something stands, not what it means.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    pub(crate) workflow: FileLines,
    pub(crate) settings: Option<FileLines>,
    pub(crate) places: BTreeMap<String, Place>,
}

impl PartialEq for SourceMap {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl SourceMap {
    /// Path of the workflow file; empty if the workspace did not come from one.
    #[must_use]
    pub fn workflow_path(&self) -> &str {
        &self.workflow.path
    }

    /// Path of the settings file, if there was one.
    #[must_use]
    pub fn settings_path(&self) -> Option<&str> {
        self.settings.as_ref().map(|file| file.path.as_str())
    }

    /// The place of the first of `keys` that has one, else the start of the workflow file.
    #[must_use]
    pub fn place(&self, keys: &[&str]) -> Place {
        let start = Position { line: 1, column: 1 };
        let fallback = Place { file: FileRole::Workflow, start, end: start };
        keys.iter().find_map(|key| self.places.get(*key)).copied().unwrap_or(fallback)
    }

    pub(crate) fn file(&self, role: FileRole) -> &FileLines {
        match (role, &self.settings) {
            (FileRole::Settings, Some(settings)) => settings,
            _ => &self.workflow,
        }
    }
}
