//! Edges between crates, and crates that must never be linked.
//!
//! in: the manifests and Cargo.lock; out: complaints.
//! **Invariant:** an edge that is not listed here is refused; siblings never import each other.

use super::Complaint;

/// Crate → crates that it may depend on. `testkit` is for tests alone.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("sandbox", &["core"]),
    ("trust", &["core"]),
    ("inspect", &["core"]),
    ("store", &["core"]),
    ("engine", &["core", "sandbox", "trust", "inspect", "store"]),
    ("gateway", &["core", "trust", "inspect", "store"]),
    ("control", &["core", "sandbox", "trust", "inspect", "store", "engine", "gateway"]),
    ("cli", &["core", "sandbox", "trust", "inspect", "store", "engine", "gateway", "control"]),
    ("testkit", &["core", "sandbox", "trust", "store", "engine"]),
    ("xtask", &[]),
];

/// Crates with another TLS or crypto provider than ring, or that a framework-free core must not see.
const BANNED: &[&str] =
    &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "schannel", "security-framework", "datafusion", "polars"];

/// Prefix of our crates' names in manifests.
const PREFIX: &str = "seaworthy-";

pub(super) fn check(manifests: &[(String, String)]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (name, text) in manifests {
        let file = if name == "xtask" { "xtask/Cargo.toml".to_owned() } else { format!("crates/{name}/Cargo.toml") };
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
            complaints.push(Complaint::new(
                &file,
                format!("the crate `{name}` has no entry in the list of allowed edges (xtask/src/tidy/edges.rs)"),
            ));
            continue;
        };
        for (section, dependency) in dependencies(text) {
            let test_only = section.starts_with("dev-");
            let ours = dependency.strip_prefix(PREFIX);
            let fine = match ours {
                Some(other) => allowed.contains(&other) || (test_only && other == "testkit"),
                None => name != "xtask",
            };
            if !fine {
                complaints.push(Complaint::new(&file, format!("`{name}` must not depend on `{dependency}` ({section})")));
            }
        }
    }
    complaints
}

/// Section and name of every dependency.
fn dependencies(text: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            header.clone_into(&mut section);
            let table = section.rsplit_once("dependencies.");
            if let Some((_, name)) = table.filter(|_| section.contains("dependencies.")) {
                found.push((section.clone(), name.to_owned()));
            }
        } else if section.ends_with("dependencies")
            && !line.starts_with('#')
            && let Some((key, _)) = line.split_once('=')
        {
            let name = key.trim().split('.').next().unwrap_or("").trim_matches('"');
            found.push((section.clone(), name.to_owned()));
        }
    }
    found
}

pub(super) fn check_lock(lock: &str) -> Vec<Complaint> {
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    names.filter(|name| BANNED.contains(name)).map(|name| Complaint::new("Cargo.lock", format!("the crate `{name}` is banned"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_edges_and_banned_crates_are_found() {
        let manifest = |name: &str, text: &str| check(&[(name.to_owned(), text.to_owned())]).len();
        assert_eq!(manifest("store", "[dependencies]\nseaworthy-core.workspace = true\nsha2 = \"1\"\n"), 0);
        assert_eq!(manifest("store", "[dependencies]\nseaworthy-trust.workspace = true\n"), 1);
        assert_eq!(manifest("store", "[dependencies.seaworthy-trust]\nworkspace = true\n"), 1);
        assert_eq!(manifest("store", "[target.'cfg(unix)'.dependencies]\nseaworthy-engine = { path = \"x\" }\n"), 1);
        assert_eq!(manifest("store", "[dev-dependencies]\nseaworthy-testkit.workspace = true\n"), 0);
        assert_eq!(manifest("store", "[dependencies]\nseaworthy-testkit.workspace = true\n"), 1);
        assert_eq!(manifest("xtask", "[dependencies]\nanyhow = \"1\"\n"), 1);
        assert_eq!(manifest("newcomer", ""), 1);
        assert_eq!(check_lock("[[package]]\nname = \"ring\"\n[[package]]\nname = \"openssl-sys\"\n").len(), 1);
    }
}
