//! Prints or writes the JSON schemas of the two files.
//!
//! in: `--write DIR`, `--check DIR`, or nothing; out: the schemas below DIR, or on standard output.
//! **Invariant:** `--check` changes nothing and fails if a committed schema is stale.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a tool of the developer, not of the product")]

use std::path::Path;
use std::process::ExitCode;

use seaworthy_core::workflow::schema;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let schemas = [("workflow.schema.json", schema::workflow_schema()), ("settings.schema.json", schema::settings_schema())];
    let mut fresh = true;
    for (name, schema) in schemas {
        let text = schema::to_text(&schema);
        match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => print!("{text}"),
            ["--write", folder] => {
                if let Err(error) = std::fs::write(Path::new(folder).join(name), text) {
                    eprintln!("{name}: {error}");
                    fresh = false;
                }
            }
            ["--check", folder] if std::fs::read_to_string(Path::new(folder).join(name)).is_ok_and(|there| there == text) => {}
            ["--check", _] => {
                eprintln!("{name} is stale: run `cargo xtask gen`");
                fresh = false;
            }
            _ => {
                eprintln!("usage: schema [--write DIR | --check DIR]");
                return ExitCode::from(2);
            }
        }
    }
    if fresh { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
