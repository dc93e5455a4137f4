//! Strict YAML: text → tree with places.
//!
//! **Invariant:** one document; anchors, aliases, tags, duplicate keys, depth over the bound and keys that are no scalar are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use seaworthy_core::limits::{CONFIG_FILE_BYTES_MAX, DEPTH_MAX};

use super::SchemaFault;

/// Where something stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    fn of(span: Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }

    pub(super) fn fault(self, message: impl Into<String>) -> SchemaFault {
        SchemaFault { line: self.line, column: self.column, message: message.into() }
    }
}

/// A node of the tree.
#[derive(Debug)]
pub(super) enum Node {
    Scalar { text: String, plain: bool, place: Place },
    List { items: Vec<Node>, place: Place },
    Map { entries: Vec<(String, Place, Node)>, place: Place },
}

impl Node {
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Scalar { place, .. } | Self::List { place, .. } | Self::Map { place, .. } => *place,
        }
    }

    /// Parses one document.
    pub(super) fn parse(text: &str) -> Result<Self, SchemaFault> {
        let start = Place { line: 1, column: 1 };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(start.fault(format!("longer than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let mut reader = NodeReader { parser: Parser::new_from_str(text) };
        let mut root = None;
        while let Some((event, place)) = reader.next()? {
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => return Err(place.fault("more than one document")),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => root = Some(reader.node(event, place, 0)?),
            }
        }
        root.ok_or_else(|| start.fault("the schema is empty"))
    }
}

struct NodeReader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> NodeReader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Place)>, SchemaFault> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, Place::of(span)))),
            Some(Err(error)) => {
                let marker = error.marker();
                Err(Place { line: marker.line(), column: marker.col() + 1 }.fault(error.info().to_owned()))
            }
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, SchemaFault> {
        if depth > DEPTH_MAX {
            return Err(place.fault(format!("nested deeper than {DEPTH_MAX}")));
        }
        match event {
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(place.fault("tags are not allowed"))
            }
            Event::Alias(_) => Err(place.fault("aliases are not allowed")),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if anchor != 0 => {
                Err(place.fault("anchors are not allowed"))
            }
            Event::Scalar(text, style, ..) => Ok(Node::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, place }),
            Event::SequenceStart(..) => self.list(place, depth),
            Event::MappingStart(..) => self.map(place, depth),
            _ => Err(place.fault("a value is missing")),
        }
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<Node, SchemaFault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None => return Err(place.fault("the list does not end")),
                Some((Event::SequenceEnd, _)) => return Ok(Node::List { items, place }),
                Some((event, at)) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, place: Place, depth: usize) -> Result<Node, SchemaFault> {
        let mut entries: Vec<(String, Place, Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        loop {
            let key = match self.next()? {
                None => return Err(place.fault("the map does not end")),
                Some((Event::MappingEnd, _)) => return Ok(Node::Map { entries, place }),
                Some((event, at)) => self.node(event, at, depth + 1)?,
            };
            let Node::Scalar { text, place: at, .. } = key else { return Err(key.place().fault("a key must be a scalar")) };
            if !seen.insert(text.clone()) {
                return Err(at.fault(format!("key `{text}` stands twice")));
            }
            let Some((event, value_at)) = self.next()? else { return Err(at.fault(format!("key `{text}` has no value"))) };
            let value = self.node(event, value_at, depth + 1)?;
            entries.push((text, at, value));
        }
    }
}
