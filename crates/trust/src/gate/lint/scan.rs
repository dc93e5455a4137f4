//! A look at the policy's text before it is parsed: what would make a deep syntax tree is refused, since the parser and the
//! interpreter walk trees by recursion and a deep one would end the process.
//!
//! in: Rego text; out: nothing, or the line at fault.
//! **Invariant:** within one expression at most [`CHAIN_MAX`] operators, dots and brackets follow each other on one level,
//! and at most [`NESTED_MAX`] brackets are open at once.

use super::Fault;

const CHAIN_MAX: usize = 64;
const NESTED_MAX: usize = 32;
const OPERATORS: &[u8] = b"+-*/%&|<>=!.";

/// Refuses text that parses into a deep tree.
pub(in crate::gate) fn refuse_deep(policy: &str) -> Result<(), Fault> {
    let bytes = policy.as_bytes();
    // the links of the expression at hand, and those of the ones around it
    let (mut links, mut outer) = (0_usize, Vec::new());
    let (mut at, mut line) = (0, 1);
    let mut last = b' ';
    while let Some(&byte) = bytes.get(at) {
        let length = match byte {
            b'"' | b'`' => text_length(bytes, at, byte),
            b'#' => bytes.iter().skip(at).take_while(|b| **b != b'\n').count(),
            _ => 1,
        };
        match byte {
            b'\n' => {
                let next = bytes.iter().skip(at).find(|b| !b.is_ascii_whitespace()).copied().unwrap_or(b' ');
                let goes_on = |byte| OPERATORS.contains(&byte) || byte == b'[' || byte == b'#';
                if !OPERATORS.contains(&last) && !goes_on(next) {
                    links = 0;
                }
            }
            b',' | b';' => links = 0,
            b'(' | b'[' | b'{' => {
                outer.push(links + 1);
                links = 0;
            }
            b')' | b']' | b'}' => links = outer.pop().unwrap_or(0),
            byte if OPERATORS.contains(&byte) => links += 1,
            _ => {}
        }
        if links > CHAIN_MAX || outer.len() > NESTED_MAX {
            let message = format!("an expression has more than {CHAIN_MAX} operators in a row or {NESTED_MAX} open brackets");
            return Err(Fault { line, message });
        }
        if !byte.is_ascii_whitespace() && byte != b'#' {
            last = byte;
        }
        let passed = bytes.iter().skip(at).take(length).filter(|b| **b == b'\n').count();
        line = line.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        at += length;
    }
    Ok(())
}

/// The length of a text or raw text that begins at `at`, with both its quotes.
fn text_length(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut escaped = false;
    for (index, byte) in bytes.iter().skip(at).enumerate().skip(1) {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' if quote == b'"' => escaped = true,
            byte if byte == quote => return index + 1,
            _ => {}
        }
    }
    bytes.len() - at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_read_and_deep_expressions_refused() {
        let flat = "x if {\n\ta.b + c.d == \"+++ ((((\"\n\tnot d\n}\n# (((( +++\ny := {\"a\": f(1 + 2), \"b\": [1, 2]}\n".repeat(2_000);
        assert_eq!(refuse_deep(&flat), Ok(()));
        let deep = [
            format!("x := 1{}", " + 1".repeat(100)),
            format!("x := 1{}", "\n+ 1".repeat(100)),
            format!("x := 1{}", " +\n1".repeat(100)),
            format!("x := 1{}", "\n# c\n+ 1".repeat(100)),
            format!("x := f(1){}", " + f(1)".repeat(100)),
            format!("x := a{}", "[0]".repeat(100)),
            format!("x := a{}", ".b".repeat(100)),
            format!("x := {}1", "-".repeat(100)),
            format!("x := {}1{}", "(".repeat(100), ")".repeat(100)),
            format!("x := {}\"a\"{}", "[".repeat(100), "]".repeat(100)),
            format!("x := \"a\"{}", " == `+`".repeat(100)),
        ];
        for text in deep {
            assert!(refuse_deep(&text).is_err(), "{text}");
        }
    }
}
