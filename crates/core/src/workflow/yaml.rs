//! The part of YAML that workflow files use: mappings, sequences and scalars, with their places.
//!
//! in: a file's text; out: a [`Node`] tree, or faults.
//! **Invariant:** anchors, aliases, tags, a second document, duplicate keys, control characters, more than
//! [`crate::limits::DEPTH_MAX`] levels and more than [`crate::limits::CONFIG_FILE_BYTES_MAX`] bytes are refused.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::diagnostics::{Fault, quoted};
use super::places::{FileLines, FileRole, Place, Position};
use crate::limits::{CONFIG_FILE_BYTES_MAX, DEPTH_MAX};

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text; `plain` if written without quotes, so that `true` and `3` are more than text.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys in file order.
    Mapping(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What a plain scalar means in YAML's core schema.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Plain {
    Null,
    Flag(bool),
    Integer(i64),
    Float(f64),
    Text,
}

impl Node {
    /// What kind of value this is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Scalar { text, plain } => match resolve(text, *plain) {
                Plain::Null => "nothing".to_owned(),
                Plain::Flag(_) => format!("the truth value {}", quoted(text)),
                Plain::Integer(_) | Plain::Float(_) => format!("the number {}", quoted(text)),
                Plain::Text => format!("the text {}", quoted(text)),
            },
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain } if resolve(text, *plain) == Plain::Null)
    }
}

/// Resolves a scalar by the core schema of YAML 1.2 (section 10.3); quoted scalars are always text.
pub(super) fn resolve(text: &str, plain: bool) -> Plain {
    if !plain {
        return Plain::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Flag(true),
        "false" | "False" | "FALSE" => return Plain::Flag(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Plain::Text;
    }
    if let Ok(number) = text.parse::<i64>() {
        return Plain::Integer(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Plain::Float(number),
        _ => Plain::Text,
    }
}

/// Reads one file.
pub(super) fn read(role: FileRole, text: &str, lines: &FileLines, faults: &mut Vec<Fault>) -> Option<Node> {
    let reader = Reader { role, lines, parser: Parser::new_from_str(text), duplicates: Vec::new() };
    match reader.document(text) {
        Ok((node, duplicates)) => {
            faults.extend(duplicates);
            Some(node)
        }
        Err(fault) => {
            faults.push(*fault);
            None
        }
    }
}

type Read<T> = Result<T, Box<Fault>>;

struct Reader<'a> {
    role: FileRole,
    lines: &'a FileLines,
    parser: Parser<'a, StrInput<'a>>,
    duplicates: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn document(mut self, text: &str) -> Read<(Node, Vec<Fault>)> {
        self.check_text(text)?;
        let mut node = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                _ if node.is_some() => {
                    return Err(self.refuse(span, "a second document in the file", "write one document, without a second `---`"));
                }
                event => node = Some(self.node(event, span, 1)?),
            }
        }
        let place = self.place(Span::default());
        let empty = Node { place, value: Value::Scalar { text: String::new(), plain: true } };
        Ok((node.unwrap_or(empty), self.duplicates))
    }

    /// Size and characters: what is refused before the text is scanned.
    fn check_text(&self, text: &str) -> Read<()> {
        let start = Position { line: 1, column: 1 };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            let message = format!("the file has {} bytes; at most {CONFIG_FILE_BYTES_MAX} are read", text.len());
            let place = Place { file: self.role, start, end: start };
            return Err(Box::new(Fault::error("workflow/limit", place, message, "split the workflow")));
        }
        let mut at = start;
        let mut previous = '\0';
        for character in text.chars() {
            if refused_character(character) {
                let place = Place { file: self.role, start: at, end: Position { column: at.column + 1, ..at } };
                let message = format!("the character U+{:04X} is not allowed", u32::from(character));
                let hint = "remove it: control and text-direction characters can hide what a file says";
                return Err(Box::new(Fault::error("workflow/yaml", place, message, hint)));
            }
            match character {
                '\n' if previous == '\r' => {}
                '\n' | '\r' => at = Position { line: at.line + 1, column: 1 },
                _ => at.column += 1,
            }
            previous = character;
        }
        Ok(())
    }

    fn next(&mut self) -> Read<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let span = Span::empty(*error.marker());
                Err(self.refuse(span, &format!("not YAML: {}", error.info()), "check indentation, quotes and brackets at this line"))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Read<Node> {
        if depth > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Box::new(Fault::error("workflow/limit", self.place(span), message, "flatten the value")));
        }
        let start = self.place(span);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor > 0 {
            return Err(self.refuse(span, "anchors (`&name`) are not allowed", "write the value where it is used"));
        }
        if tag {
            return Err(self.refuse(span, "tags (`!name`) are not allowed", "remove the tag; quote the value to make it text"));
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                Ok(Node { place: start, value })
            }
            Event::SequenceStart(..) => self.sequence(start, depth),
            Event::MappingStart(..) => self.mapping(start, depth),
            Event::Alias(_) => Err(self.refuse(span, "aliases (`*name`) are not allowed", "write the value where it is used")),
            _ => Err(self.refuse(span, "not YAML: a value is missing", "check indentation at this line")),
        }
    }

    fn sequence(&mut self, start: Place, depth: usize) -> Read<Node> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node { place: self.until(start, span), value: Value::Sequence(items) });
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, start: Place, depth: usize) -> Read<Node> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node { place: self.until(start, span), value: Value::Mapping(entries) });
            }
            let node = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, .. } = node.value else {
                return Err(self.refuse(span, "a key must be plain text", "write `key: value`"));
            };
            if let Some(line) = seen.get(&text) {
                let message = format!("the key {} stands twice in this mapping", quoted(&text));
                let hint = format!("the first one is at line {line}; remove one of them");
                self.duplicates.push(Fault::error("workflow/duplicate-key", node.place, message, hint));
            }
            seen.entry(text.clone()).or_insert(node.place.start.line);
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((Key { text, place: node.place }, value));
        }
    }

    fn refuse(&self, span: Span, message: &str, hint: &str) -> Box<Fault> {
        Box::new(Fault::error("workflow/yaml", self.place(span), message, hint))
    }

    fn place(&self, span: Span) -> Place {
        let position = |line: usize, column: usize| self.lines.clamp(Position { line: line.max(1), column: column + 1 });
        let start = position(span.start.line(), span.start.col());
        let end = position(span.end.line(), span.end.col()).max(start);
        Place { file: self.role, start, end }
    }

    fn until(&self, start: Place, end: Span) -> Place {
        Place { end: self.place(end).end.max(start.end), ..start }
    }
}

/// Control characters other than tab and line ends; characters that change the direction of text or cannot be seen.
fn refused_character(c: char) -> bool {
    let hidden = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    hidden || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}
