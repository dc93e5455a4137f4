//! Walls: what the sources of a crate may not name, because its capability does not include it.
//!
//! in: the sources (without tests); out: complaints.
//! **Invariant:** core is pure; trust and inspect touch neither files nor sockets nor processes; only sandbox has `unsafe`.

use super::Complaint;
use crate::tables::Source;

/// Crate and what its sources may not contain.
const WALLS: &[(&str, &[&str])] = &[
    (
        "core",
        &["std::fs", "std::net", "std::process", "std::env", "std::thread", "SystemTime", "Instant::now", "getrandom", "tokio", "axum"],
    ),
    ("trust", &["std::fs", "std::net", "std::process", "std::env::var", "UnixStream", "TcpStream", "tokio"]),
    ("inspect", &["std::net", "std::process", "fs::write", "File::create", "TcpListener", "tokio"]),
    ("store", &["std::process", "std::net", "tokio"]),
    ("sandbox", &["tokio", "TcpListener"]),
    ("engine", &["TcpListener", "UnixListener"]),
    ("gateway", &["std::process", "seaworthy_sandbox"]),
    ("control", &["std::process"]),
];

/// The only crate whose sources may expect the lint on unsafe code.
const UNSAFE: &str = "sandbox";

pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        let name = source.path.split('/').nth(1).unwrap_or("");
        let forbidden = WALLS.iter().find(|(wall, _)| *wall == name).map_or(&[][..], |(_, words)| words);
        let text = source.text.split("#[cfg(test)]").next().unwrap_or("");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in forbidden.iter().filter(|word| code.contains(*word)) {
                let message = format!("line {}: `{word}` is beyond the wall of `{name}` (xtask/src/tidy/walls.rs says why)", number + 1);
                complaints.push(Complaint::new(&source.path, message));
            }
            if name != UNSAFE && code.contains("unsafe_code") {
                complaints.push(Complaint::new(&source.path, format!("line {}: unsafe code belongs to `{UNSAFE}` alone", number + 1)));
            }
        }
    }
    complaints
}

/// Library and binary sources; tests and probes are no part of the product.
fn is_product(path: &str) -> bool {
    path.starts_with("crates/")
        && path.contains("/src/")
        && !path.contains("/src/bin/")
        && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_is_found_and_a_test_is_none() {
        let count = |path: &str, text: &str| check(&[Source { path: path.to_owned(), text: text.to_owned() }]).len();
        assert_eq!(count("crates/core/src/a.rs", "use std::fs;\n"), 1);
        assert_eq!(count("crates/core/src/a.rs", "// std::fs is not for core\n"), 0);
        assert_eq!(count("crates/core/src/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }\n"), 0);
        assert_eq!(count("crates/core/tests/it/a.rs", "use std::fs;\n"), 0);
        assert_eq!(count("crates/engine/src/a.rs", "#![expect(unsafe_code, reason = \"x\")]\n"), 1);
        assert_eq!(count("crates/sandbox/src/a.rs", "#![expect(unsafe_code, reason = \"x\")]\n"), 0);
    }
}
