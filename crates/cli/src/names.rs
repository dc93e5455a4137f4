//! The reader's own names for principals. Leaves hold opaque ids only; who is behind one stands here, where it can be changed and erased.
//!
//! in: `names.json` in the user's configuration folder; out: text in which every id that the table knows reads `NAME (id)`.
//! **Invariant:** names are never written into a workspace, a leaf or `--json`: they are for the eyes of this reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

/// Name of the table.
const FILE: &str = "names.json";
/// Characters of a name.
const NAME_CHARS_MAX: usize = 80;
/// How ids of principals begin.
const ID_PREFIXES: [&str; 3] = ["user:", "root:", "spiffe://"];

/// Id → name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    path: PathBuf,
    table: BTreeMap<String, String>,
}

impl Names {
    /// The table of this user for display: one that cannot be read is said, and names nobody.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self::read(&settings.config_dir).unwrap_or_else(|failure| {
            render::note(&format!("note: principals are shown by their ids only: {}", failure.message));
            Self::default()
        })
    }

    /// The table of this user; one that is not there is empty.
    pub(crate) fn read(config_dir: &Path) -> Result<Self, Failure> {
        let path = config_dir.join(FILE);
        let invalid = |cause: &dyn std::fmt::Display| {
            Failure::configuration(
                "names/invalid",
                format!("`{}`: {cause}", path.display()),
                "mend the file, or remove it: it holds names only",
            )
        };
        let table = match std::fs::read(&path) {
            Ok(bytes) => seaworthy_core::json_strict::parse_typed(&bytes).map_err(|e| invalid(&e))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(invalid(&error)),
        };
        Ok(Self { path, table })
    }

    /// All entries, by id.
    pub(crate) const fn entries(&self) -> &BTreeMap<String, String> {
        &self.table
    }

    /// Names `id`, or changes its name.
    pub(crate) fn set(&mut self, id: &str, name: &str) -> Result<(), Failure> {
        if !ID_PREFIXES.iter().any(|prefix| id.len() > prefix.len() && id.starts_with(prefix)) || id.contains(char::is_whitespace) {
            let hint = "ids look like user:p-659a8bd9ce83aab6; `seaworthy runs show` and `seaworthy trust export` show them";
            return Err(Failure::usage(format!("`{id}` is no id of a principal"), hint));
        }
        let plain =
            !name.trim().is_empty() && name.chars().count() <= NAME_CHARS_MAX && render::clean(name) == name && !name.contains('\n');
        if !plain {
            return Err(Failure::usage("that name cannot be shown", format!("one line of at most {NAME_CHARS_MAX} characters")));
        }
        self.table.insert(id.to_owned(), name.trim().to_owned());
        self.write()
    }

    /// Erases the name of `id`; false if it had none.
    pub(crate) fn forget(&mut self, id: &str) -> Result<bool, Failure> {
        let known = self.table.remove(id).is_some();
        if known {
            self.write()?;
        }
        Ok(known)
    }

    /// Names a key's holder unless the table has a name for it.
    pub(crate) fn set_default(&mut self, id: &str, name: &str) -> Result<(), Failure> {
        if self.table.contains_key(id) { Ok(()) } else { self.set(id, name) }
    }

    fn write(&self) -> Result<(), Failure> {
        let unwritable = |e: &dyn std::fmt::Display| {
            let message = format!("`{}`: {e}", self.path.display());
            Failure::configuration("names/unwritable", message, "the configuration folder must be yours and writable")
        };
        let text = format!("{:#}\n", serde_json::json!(self.table));
        if let Some(folder) = self.path.parent().filter(|folder| !folder.is_dir()) {
            seaworthy_store::workspace::private_folder(folder).map_err(|e| unwritable(&e))?;
        }
        seaworthy_store::workspace::write_atomic(&self.path, text.as_bytes(), 0o600).map_err(|e| unwritable(&e))
    }

    /// `text` with `NAME (id)` for every id that the table knows.
    pub(crate) fn spell(&self, text: &str) -> String {
        let mut spelled = text.to_owned();
        for (id, name) in &self.table {
            spelled = spell_one(&spelled, id, name);
        }
        spelled
    }
}

/// Only whole ids are spelled: `user:p-12` is not in `user:p-123`, and a runner's id not in its steps'.
fn spell_one(text: &str, id: &str, name: &str) -> String {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '#' | '@');
    let mut spelled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(id) {
        let inside = before.chars().next_back().is_some_and(goes_on) || after.chars().next().is_some_and(goes_on);
        spelled.push_str(before);
        spelled.push_str(&if inside { id.to_owned() } else { format!("{name} ({id})") });
        rest = after;
    }
    spelled.push_str(rest);
    spelled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::spell_one;

    #[test]
    fn only_whole_ids_are_spelled() {
        let spell = |text: &str| spell_one(text, "user:p-12", "Ada");
        assert_eq!(spell("by user:p-12, and user:p-12"), "by Ada (user:p-12), and Ada (user:p-12)");
        for other in ["user:p-123", "root/user:p-12", "user:p-12/step", "xuser:p-12"] {
            assert_eq!(spell(other), other);
        }
    }
}
