//! Attacks on the sandbox, run by the very program that ships: what `seaworthy sandbox selftest` and the tests try.
//!
//! In: a program of ours started with [`WORD`]. Out: a verdict line, or a behaviour that the launcher must cope with; in the
//! process that started it, [`battery::run`]: every numbered attack with what came of it.
//!
//! **Invariant:** an attack prints `ALLOWED` only if it saw the effect.
//! **Invariant:** none is tried outside of a sandbox that would spoil the machine if it succeeded.

pub mod battery;
mod effects;
mod kernel;
mod launcher;
mod list;
pub mod table;
pub mod verdict;
mod world;

use std::io::Write as _;

pub use kernel::{executable_memory, kill, seize};

/// First argument by which a program of ours becomes an attacker, or the launcher of one.
pub const WORD: &str = "seaworthy-attack";
/// Variable set where attacks may succeed without harm.
const MARK: &str = "SEAWORTHY_ATTACK";

/// To be called in `main`, right after [`crate::init_main`]. Does nothing in an ordinary process; in one started with [`WORD`] it
/// attacks, and returns the exit code to end with.
pub fn attack_main() -> Option<u8> {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (first, rest) = words.split_first()?;
    if first != WORD {
        return None;
    }
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    Some(act(&words))
}

/// Where a place of the sandbox lies: without namespaces somewhere on the host, which the variables tell.
fn place(path: &str) -> String {
    for (top, name) in [("/out", "SEAWORTHY_OUTPUTS"), ("/in", "SEAWORTHY_INPUTS"), ("/tmp", "TMPDIR")] {
        let below = path.strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let base = std::env::vars_os().find(|(variable, _)| variable == name);
        if let (Some(below), Some((_, base))) = (below, base) {
            return format!("{}{below}", base.to_string_lossy());
        }
    }
    path.to_owned()
}

/// Attacks, behaves badly, or launches who does. 2 for words that mean nothing.
pub fn act(words: &[&str]) -> u8 {
    match words {
        ["launch"] => launcher::launch(),
        ["attack", name, arguments @ ..] => {
            let inside = std::env::vars_os().any(|(variable, _)| variable == MARK);
            let placed: Vec<String> = arguments.iter().map(|word| if inside { place(word) } else { (*word).to_owned() }).collect();
            match list::attack(name, &placed.iter().map(String::as_str).collect::<Vec<_>>()) {
                Some(verdict) => say(&verdict.to_string()),
                None => 2,
            }
        }
        ["behave", name, arguments @ ..] => list::behave(name, arguments.first().copied().unwrap_or_default()).unwrap_or(2),
        _ => 2,
    }
}

/// One line of data.
fn say(line: &str) -> u8 {
    u8::from(writeln!(std::io::stdout().lock(), "{line}").is_err())
}
