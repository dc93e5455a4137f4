//! Faults of workflow files, with the line they stand on.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use seaworthy_core::workflow::{Diagnostic, Diagnostics, Severity};

use crate::render;
use crate::settings::Settings;

/// Shows every diagnostic: as text on stderr, or as JSON lines on stdout.
pub(crate) fn diagnostics(settings: &Settings, diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.iter() {
        if settings.json {
            render::json_line(&serde_json::json!({"event": "diagnostic", "diagnostic": diagnostic}));
        } else {
            render::note(&text(diagnostic));
        }
    }
}

fn text(diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let source = render::clean(&diagnostic.source_line);
    let start = byte_of(&source, diagnostic.column.saturating_sub(1));
    let end_column = if diagnostic.end.line == diagnostic.line { diagnostic.end.column } else { usize::MAX };
    let end = byte_of(&source, end_column.saturating_sub(1)).max(start);
    let snippet = Snippet::source(source.as_str())
        .path(diagnostic.file.as_str())
        .line_start(diagnostic.line.max(1))
        .annotation(AnnotationKind::Primary.span(start..end));
    let mut group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code).element(snippet);
    if !diagnostic.hint.is_empty() {
        group = group.element(Level::HELP.message(diagnostic.hint.as_str()));
    }
    Renderer::plain().render(&[group]).to_string()
}

/// Byte offset of the `column`th character (from 0), at most the text's end.
fn byte_of(text: &str, column: usize) -> usize {
    text.char_indices().nth(column).map_or(text.len(), |(byte, _)| byte)
}
