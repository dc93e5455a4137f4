//! The rules of the tree that the compiler does not know: edges between crates, walls, sizes, names, the stage table.
//!
//! in: sources, manifests, the lock file, ARCHITECTURE.md; out: complaints, each with its file.
//! **Invariant:** every rule is a pure function over texts, with a test that shows a tree which breaks it.

mod book;
mod edges;
mod files;
mod stages;
mod walls;

use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::process::root;
use crate::tables::{self, Source};

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    pub(crate) file: String,
    pub(crate) message: String,
}

impl Complaint {
    pub(crate) fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into() }
    }
}

/// Everything that the rules look at.
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
    /// Crate name without prefix → text of its Cargo.toml.
    pub(crate) manifests: Vec<(String, String)>,
    pub(crate) lock: String,
    pub(crate) architecture: String,
    pub(crate) summary: String,
    /// Paths of pages below docs/src.
    pub(crate) pages: Vec<String>,
}

/// Runs every rule on the tree.
pub(crate) fn run() -> Outcome {
    let complaints = complaints(&tree()?);
    complaints.iter().for_each(|complaint| eprintln!("tidy: {}: {}", complaint.file, complaint.message));
    match complaints.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} complaints")),
    }
}

fn tree() -> Result<Tree, String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"));
    let mut manifests = vec![("xtask".to_owned(), read("xtask/Cargo.toml")?)];
    for entry in fs::read_dir(root().join("crates")).map_err(|error| error.to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        manifests.push((name.clone(), read(&format!("crates/{name}/Cargo.toml"))?));
    }
    manifests.sort();
    let mut pages = Vec::new();
    pages_below(&root().join("docs/src"), "", &mut pages);
    Ok(Tree {
        sources: tables::sources(),
        manifests,
        lock: read("Cargo.lock")?,
        architecture: read("ARCHITECTURE.md")?,
        summary: read("docs/src/SUMMARY.md")?,
        pages,
    })
}

fn pages_below(folder: &Path, prefix: &str, pages: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            pages_below(&entry.path(), &format!("{name}/"), pages);
        } else if name.ends_with(".md") {
            pages.push(name);
        }
    }
}

fn complaints(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    complaints.extend(edges::check(&tree.manifests));
    complaints.extend(edges::check_lock(&tree.lock));
    complaints.extend(files::check(&tree.sources));
    complaints.extend(walls::check(&tree.sources));
    complaints.extend(stages::check(&tree.architecture, &tree.sources));
    complaints.extend(book::check(&tree.summary, &tree.pages));
    complaints.sort();
    complaints
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let complaints = super::complaints(&super::tree().expect("the tree can be read"));
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
