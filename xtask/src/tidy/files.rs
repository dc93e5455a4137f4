//! Files: opening comment, length, names of modules, macros.
//!
//! in: the sources; out: complaints.
//! **Invariant:** a file that is longer than the limit is on the list of exceptions, with the reason, or refused.

use super::Complaint;
use crate::tables::Source;

const LINES_MAX: usize = 800;
const MACROS_MAX: usize = 3;

/// Flat tables and generated files may be longer: path and reason.
const LONG: &[(&str, &str)] = &[];

const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut macros = Vec::new();
    for source in sources {
        let path = source.path.as_str();
        if !source.text.starts_with("//!") {
            complaints.push(Complaint::new(path, "the file does not start with `//!`: purpose, in and out, invariant"));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX && !LONG.iter().any(|(long, _)| *long == path) {
            complaints.push(Complaint::new(path, format!("{lines} lines; at most {LINES_MAX}")));
        }
        let mut parts = path.trim_end_matches(".rs").split('/');
        if let Some(name) = parts.find(|part| BANNED_NAMES.contains(part)) {
            complaints.push(Complaint::new(path, format!("`{name}` says nothing; name the module after a noun of the product")));
        }
        let needle = ["macro_rules", "! "].concat();
        macros.extend(source.text.matches(needle.as_str()).map(|_| path));
    }
    if macros.len() > MACROS_MAX {
        complaints.push(Complaint::new(&macros.join(", "), format!("{} macros by example; at most {MACROS_MAX}", macros.len())));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_found() {
        let count = |path: &str, text: &str| check(&[Source { path: path.to_owned(), text: text.to_owned() }]).len();
        assert_eq!(count("crates/a/src/plan.rs", "//! A plan.\n"), 0);
        assert_eq!(count("crates/a/src/plan.rs", "fn x() {}\n"), 1);
        assert_eq!(count("crates/a/src/plan.rs", &format!("//! A plan.\n{}", "\n".repeat(800))), 1);
        assert_eq!(count("crates/a/src/utils.rs", "//! A.\n"), 1);
        assert_eq!(count("crates/a/src/common/x.rs", "//! A.\n"), 1);
        assert_eq!(count("crates/a/src/plan.rs", &format!("//! A.\n{}", ["macro_rules", "! x {}\n"].concat().repeat(4))), 1);
    }
}
