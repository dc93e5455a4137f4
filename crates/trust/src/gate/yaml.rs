//! A strict reader for the small YAML of `gate.yaml`.
//!
//! in: text; out: a JSON value.
//! **Invariant:** anchors, aliases, tags, duplicate keys, nulls, keys that are not plain text, more than one document and
//! nesting over the limit are refused; `yes`, `on` and the like are text, never booleans.

use saphyr_parser::{Event, Parser, ScalarStyle};
use seaworthy_core::limits::DEPTH_MAX;
use serde_json::{Map, Number, Value};

/// Text that is not strict YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) reason: String,
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 1 };
    reader.expect(|event| matches!(event, Event::StreamStart), "expected the start of the text")?;
    reader.expect(|event| matches!(event, Event::DocumentStart(_)), "the file is empty")?;
    let first = reader.next()?;
    let value = reader.value(first, 0)?;
    reader.expect(|event| matches!(event, Event::DocumentEnd), "expected the end of the document")?;
    reader.expect(|event| matches!(event, Event::StreamEnd), "a second document is not read")?;
    Ok(value)
}

impl<'a> Reader<'a> {
    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, YamlError> {
        Err(YamlError { line: self.line, reason: reason.into() })
    }

    fn next(&mut self) -> Result<Event<'a>, YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(YamlError { line: error.marker().line(), reason: error.info().to_owned() }),
            None => self.fault("the text ends too early"),
        }
    }

    fn expect(&mut self, wanted: impl Fn(&Event<'a>) -> bool, reason: &str) -> Result<(), YamlError> {
        let event = self.next()?;
        if wanted(&event) { Ok(()) } else { self.fault(reason) }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, YamlError> {
        if depth > DEPTH_MAX {
            return self.fault(format!("nested deeper than {DEPTH_MAX}"));
        }
        match event {
            Event::Alias(_) => self.fault("an alias (`*name`) is not read"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if anchor != 0 => {
                self.fault("an anchor (`&name`) is not read")
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                self.fault("a tag (`!name`) is not read")
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.plain(&text),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => self.sequence(depth),
            Event::MappingStart(..) => self.mapping(depth),
            _ => self.fault("expected a value"),
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                event => items.push(self.value(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut fields = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(key, _, 0, None) => key.into_owned(),
                _ => return self.fault("a key must be plain text"),
            };
            if fields.contains_key(&key) {
                return self.fault(format!("duplicate key `{key}`"));
            }
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            fields.insert(key, value);
        }
    }

    fn plain(&self, text: &str) -> Result<Value, YamlError> {
        match text {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "" | "~" | "null" | "Null" | "NULL" => {
                return self.fault("a null is not read: state a value");
            }
            _ => {}
        }
        let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        match serde_json::from_str::<Number>(text) {
            Ok(number) if numeric => Ok(Value::Number(number)),
            _ => Ok(Value::String(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_a_gate_needs() {
        let text = "a: 1\nb: {c: 0.5, d: [x, \"1\", true]}\ne: >\n  two\n  lines\nf: yes\ng: -2\n";
        let wanted = json!({"a": 1, "b": {"c": 0.5, "d": ["x", "1", true]}, "e": "two lines\n", "f": "yes", "g": -2});
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let cases = [
            ("a: 1\na: 2", "duplicate key"),
            ("a: &x 1\nb: *x", "anchor"),
            ("a: !!str 1", "tag"),
            ("a: ~", "null"),
            ("a:", "null"),
            ("a: 1\n---\nb: 2", "document"),
            ("? [x]\n: 1", "plain text"),
            ("", ""),
            ("a: [1", ""),
        ];
        for (text, part) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.reason.contains(part), "{text:?}: {error}");
        }
        assert!(parse(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_err());
    }
}
