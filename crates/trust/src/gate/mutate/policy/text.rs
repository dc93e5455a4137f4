//! Splits Rego text into the tokens that a mutation may change.
//!
//! in: Rego text; out: words, numbers and operators with their place.
//! **Invariant:** nothing inside a comment, a text or a raw text is a token.

/// A word, number or operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
    pub(super) line: u32,
}

const OPERATORS: [&str; 16] = [":=", ">=", "<=", "==", "!=", ">", "<", "+", "-", "*", "/", "%", "|", "&", "=", ":"];

/// All tokens of `source` in order.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest.chars().next() {
            Some('#') => rest.find('\n').unwrap_or(rest.len()),
            Some('"') => quoted(rest),
            Some('`') => raw(rest),
            Some(first) if first.is_alphanumeric() || first == '_' => {
                let length = word(rest, first.is_ascii_digit());
                push(&mut found, rest, at, length, line);
                length
            }
            Some(first) => match OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
                Some(operator) => {
                    push(&mut found, rest, at, operator.len(), line);
                    operator.len()
                }
                None => first.len_utf8(),
            },
            None => break,
        };
        let passed = rest.get(..length).unwrap_or(rest);
        line += u32::try_from(passed.matches('\n').count()).unwrap_or(0);
        at += length;
    }
    found
}

fn push<'a>(found: &mut Vec<Token<'a>>, rest: &'a str, start: usize, length: usize, line: u32) {
    if let Some(text) = rest.get(..length) {
        found.push(Token { text, start, line });
    }
}

/// The length of a word, or of a number with its fraction and exponent.
fn word(rest: &str, number: bool) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_' || (number && c == '.');
    rest.find(|c| !part(c)).unwrap_or(rest.len())
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw(rest: &str) -> usize {
    rest.char_indices().skip(1).find(|(_, c)| *c == '`').map_or(rest.len(), |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_a_token() {
        let source = "# a >= b\nx if { not y >= 0.5 } # true\nz := \"a \\\" >= 1\"\nw := `>= 2`\nv != 1";
        let texts: Vec<&str> = tokens(source).iter().map(|token| token.text).collect();
        assert_eq!(texts, ["x", "if", "not", "y", ">=", "0.5", "z", ":=", "w", ":=", "v", "!=", "1"]);
        assert!(tokens(source).iter().all(|token| source.get(token.start..).unwrap().starts_with(token.text)));
        assert_eq!(tokens(source).last().unwrap().line, 5);
    }
}
