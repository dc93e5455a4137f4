//! The command line reference: what `seaworthy --help` says, and every command's help below it.
//!
//! in: the binary; out: one Markdown page.
//! **Invariant:** every command that a help text lists has its own section; no section is written by hand.

use crate::process::{cargo, output};

const DEPTH_MAX: usize = 4;

/// The page.
pub(crate) fn reference() -> Result<String, String> {
    let mut page = "# Command line\n\n<!-- made by `cargo xtask gen`: change the help texts in crates/cli, not this page -->\n".to_owned();
    section(&[], &mut page)?;
    Ok(page)
}

fn section(path: &[&str], page: &mut String) -> Result<(), String> {
    let help = help(path)?;
    let title = std::iter::once("seaworthy").chain(path.iter().copied()).collect::<Vec<_>>().join(" ");
    page.push_str(&format!("\n## `{title}`\n\n```text\n{}\n```\n", help.trim_end()));
    if path.len() < DEPTH_MAX {
        for command in commands(&help) {
            section(&[path, &[command]].concat(), page)?;
        }
    }
    Ok(())
}

fn help(path: &[&str]) -> Result<String, String> {
    let arguments = [&["run", "--quiet", "-p", "seaworthy", "--"], path, &["--help"]].concat();
    let mut command = cargo(&arguments);
    // the width of the terminal must not show in a committed page
    command.env("COLUMNS", "100").env_remove("CLICOLOR_FORCE").env("NO_COLOR", "1");
    let text = output(command)?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n"))
}

/// Names in the list under `Commands:`.
fn commands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| line.trim() != "Commands:").skip(1).take_while(|line| !line.trim().is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_found_in_a_help_text() {
        let help =
            "Does\n\nUsage: x\n\nCommands:\n  run     Runs\n          and more\n  models  Lists\n  help    Prints\n\nOptions:\n  -h\n";
        assert_eq!(super::commands(help), ["run", "models"]);
        assert!(super::commands("Usage: x\n\nOptions:\n  -h\n").is_empty());
    }
}
