//! The lock file of a Python environment, read strictly.
//!
//! in: text of a `requirements.lock`; out: [`Requirements`]: name, version and file hashes of every package.
//! Accepted is what `pip-compile --generate-hashes` writes: `name==version` with `--hash=sha256:…`, comments, continuations.
//! **Invariant:** every entry is pinned to one version and carries at least one sha256; nothing that names an index, a path, a URL or another file gets through.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::digest::Digest;
use seaworthy_core::limits::{CONFIG_FILE_BYTES_MAX, WHEELS_MAX};

use super::error::EnvironmentError;

const COMPILE: &str = "write the lock with `pip-compile --generate-hashes --strip-extras --no-emit-index-url --no-annotate --no-header`";
const PIN: &str = "pin one version: `name==1.2.3 --hash=sha256:…`";
const SETTINGS: &str = "the index is a setting of the runner, not of the lock: remove the line";

/// One package at one version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// Name, normalised as the index does (lower case, runs of `-_.` are one `-`).
    pub name: String,
    /// Version as written.
    pub version: String,
    /// SHA-256 of the files that may be taken.
    pub hashes: BTreeSet<Digest>,
}

/// A whole lock file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirements {
    entries: Vec<Requirement>,
}

impl Requirements {
    /// Reads a lock file. Stops at the first fault.
    pub fn parse(text: &str) -> Result<Self, EnvironmentError> {
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(fault(1, "", "the file is over 4 MiB", COMPILE));
        }
        let mut entries = BTreeMap::new();
        for (line, logical) in logical_lines(text)? {
            let requirement = parse_entry(line, &logical)?;
            if entries.len() >= WHEELS_MAX {
                return Err(fault(line, &logical, "too many packages", "split the environment"));
            }
            if entries.contains_key(&requirement.name) {
                return Err(fault(line, &logical, "the package is there twice", "keep one of the two lines"));
            }
            entries.insert(requirement.name.clone(), requirement);
        }
        Ok(Self { entries: entries.into_values().collect() })
    }

    /// All entries, sorted by name.
    #[must_use]
    pub fn entries(&self) -> &[Requirement] {
        &self.entries
    }

    /// The entry of the package with this normalised name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Requirement> {
        self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok().and_then(|at| self.entries.get(at))
    }

    /// The same lock in one canonical form: what pip is given, so that it reads nothing that we did not.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&entry.name);
            text.push_str("==");
            text.push_str(&entry.version);
            for hash in &entry.hashes {
                text.push_str(" --hash=sha256:");
                text.push_str(&hash.hex());
            }
            text.push('\n');
        }
        text
    }

    /// Names what the lock pins: the digest of [`Self::canonical`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }
}

/// A package name as the index compares it.
#[must_use]
pub fn normalise(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if "-_.".contains(c) {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out
}

/// Joins continued lines, drops comments and blank lines; each with the number of its first line.
fn logical_lines(text: &str) -> Result<Vec<(usize, String)>, EnvironmentError> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.split('\n').enumerate() {
        let number = index + 1;
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        if raw.chars().any(|c| c.is_control() && c != '\t') {
            return Err(fault(number, raw, "control characters", COMPILE));
        }
        let comment = raw.trim_start().starts_with('#');
        let (body, continued) = match raw.strip_suffix('\\') {
            Some(body) if !comment => (body, true),
            _ => (raw, false),
        };
        let body = if comment { "" } else { body.split(" #").next().unwrap_or_default() };
        // pip ends an open continuation at a comment; here that would silently cut a requirement short
        if comment && open.is_some() {
            return Err(fault(number, raw, "a comment inside a continued line", COMPILE));
        }
        let (first, mut joined) = open.take().unwrap_or((number, String::new()));
        joined.push_str(body);
        joined.push(' ');
        if continued {
            open = Some((first, joined));
        } else if !joined.trim().is_empty() {
            lines.push((first, joined.trim().to_owned()));
        }
    }
    match open {
        Some((first, joined)) => Err(fault(first, &joined, "the line continues after the end of the file", COMPILE)),
        None => Ok(lines),
    }
}

fn parse_entry(line: usize, text: &str) -> Result<Requirement, EnvironmentError> {
    let refuse = |reason, hint| Err(fault(line, text, reason, hint));
    if !text.is_ascii() {
        return refuse("characters outside ASCII", COMPILE);
    }
    if text.starts_with("--hash") {
        return refuse("a hash without a package", "end the line before it with `\\`");
    }
    if text.starts_with('-') {
        return refuse("an option instead of a package", SETTINGS);
    }
    if text.contains(';') {
        return refuse(
            "an environment marker",
            "compile the lock on the Python version it is for: markers would make one lock mean several environments",
        );
    }
    if text.contains("://") || text.contains('@') || text.starts_with(['.', '/']) {
        return refuse("a URL or path instead of a pinned version", PIN);
    }
    let mut words = text.split_ascii_whitespace();
    let mut pin = words.next().unwrap_or_default().to_owned();
    let mut hashes = BTreeSet::new();
    for word in words {
        if let Some(hash) = word.strip_prefix("--hash=") {
            let Some(Ok(digest)) = hash.strip_prefix("sha256:").map(str::parse) else {
                return refuse("a hash that is not `sha256:` and 64 lowercase hex digits", COMPILE);
            };
            hashes.insert(digest);
        } else if word.starts_with('-') {
            return refuse("an option beside the package", SETTINGS);
        } else if hashes.is_empty() {
            pin.push_str(word); // `name == version` with blanks
        } else {
            return refuse("text after the hashes", COMPILE);
        }
    }
    let Some((name, version)) = pin.split_once("==") else {
        return refuse("no pinned version", PIN);
    };
    if !is_version(version) {
        return refuse("not exactly one version", PIN);
    }
    let name = name.split_once('[').map_or(name, |(name, _extras)| name);
    if !is_name(name) {
        return refuse("not a package name", PIN);
    }
    if hashes.is_empty() {
        return refuse("no hash", COMPILE);
    }
    Ok(Requirement { name: normalise(name), version: version.to_owned(), hashes })
}

fn is_name(name: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 128
        && alphanumeric(name.chars().next())
        && alphanumeric(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_version(version: &str) -> bool {
    version.len() <= 128
        && version.starts_with(|c: char| c.is_ascii_digit() || c == 'v')
        && version.chars().all(|c| c.is_ascii_alphanumeric() || ".!+-_".contains(c))
}

fn fault(line: usize, text: &str, reason: &'static str, hint: &'static str) -> EnvironmentError {
    let text = text.chars().filter(|c| !c.is_control()).take(100).collect();
    EnvironmentError::Requirements { line, text, reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:9acb47f6afd73f60dc1df93bb801b472f05ff42fa6c84167d25cb206be1fbf4a";

    #[test]
    fn what_pip_compile_writes_is_read() {
        let text = format!(
            "# made by pip-compile\n\nTyping_Extensions==4.16.0 \\\n    --hash={HASH} \\\n    --hash={}\n    # via onnx\nruamel.yaml[jinja2] == 0.18 --hash={HASH} # why\r\n",
            HASH.replace("9a", "0b")
        );
        let lock = Requirements::parse(&text).unwrap();
        let found: Vec<_> = lock.entries().iter().map(|e| (e.name.as_str(), e.version.as_str(), e.hashes.len())).collect();
        assert_eq!(found, [("ruamel-yaml", "0.18", 1), ("typing-extensions", "4.16.0", 2)]);
        assert!(lock.get("ruamel-yaml").is_some() && lock.get("ruamel").is_none());
        assert_eq!(Requirements::parse(&lock.canonical()).unwrap(), lock);
    }

    #[test]
    fn an_empty_lock_is_an_environment_without_packages() {
        assert!(Requirements::parse("# nothing\n").unwrap().entries().is_empty());
    }

    #[test]
    fn whatever_does_not_pin_is_refused_with_its_line() {
        // (line, text, part of the reason); `H` stands for a good hash
        let cases = [
            (1, "six", "no pinned version"),
            (1, "six==1.17.0", "no hash"),
            (1, "six>=1.17.0 --hash=H", "no pinned version"),
            (1, "six==1.*  --hash=H", "one version"),
            (1, "six===1.17.0 --hash=H", "one version"),
            (1, "six==1.17.0,!=1.18 --hash=H", "one version"),
            (1, "six==1.17.0 --hash=md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"),
            (1, "six==1.17.0 --hash=sha256:9ACB47F6AFD73F60DC1DF93BB801B472F05FF42FA6C84167D25CB206BE1FBF4A", "sha256"),
            (1, "six==1.17.0 --hash=sha256:9acb", "sha256"),
            (2, "\nsix==1.17.0 ; python_version < '3.12' --hash=H", "marker"),
            (1, "--index-url https://evil.example/simple", "option"),
            (1, "-r other.txt", "option"),
            (1, "-e .", "option"),
            (1, "six==1.17.0 --no-binary :all: --hash=H", "option"),
            (1, "six @ https://evil.example/six.whl --hash=H", "URL"),
            (1, "./six-1.17.0-py2.py3-none-any.whl --hash=H", "URL"),
            (1, "https://evil.example/six-1.17.0.whl --hash=H", "URL"),
            (3, "six==1.17.0 --hash=H\n\nSix==1.17.0 --hash=H", "twice"),
            (3, "a.b==1 --hash=H\n\na_-b==1 --hash=H", "twice"),
            (1, "six==1.17.0 --hash=H extra", "after the hashes"),
            (1, "--hash=H", "without a package"),
            (1, "six==1.17.0 \\", "continues"),
            (2, "six==1.17.0 \\\n# cut\n --hash=H", "comment inside"),
            (1, "s\u{456}x==1.17.0 --hash=H", "ASCII"),
            (1, "six==1.17.0\u{b}--hash=H", "control"),
            (1, "-six==1 --hash=H", "option"),
            (1, "six_==1 --hash=H", "package name"),
        ];
        for (line, text, reason) in cases {
            let error = Requirements::parse(&text.replace("=H", &format!("={HASH}"))).expect_err(text);
            assert_eq!(error.code(), "environment/requirements", "{text}");
            assert!(!error.hint().is_empty());
            let message = error.to_string();
            assert!(message.starts_with(&format!("line {line} ")) && message.contains(reason), "{text:?}: {message}");
        }
    }
}
