//! Test program of the sandbox, never shipped: `drive` runs a sandbox described in JSON on standard input and prints what
//! came of it; `attack NAME` tries one attack from where it stands and prints `BLOCKED`, `ALLOWED` or `INCONCLUSIVE`.
//!
//! In: arguments, standard input. Out: JSON or one verdict line.
//!
//! **Invariant:** an attack prints `ALLOWED` only if it saw the effect.
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::print_stderr, reason = "its output is its result")]

mod drive;

use std::process::ExitCode;

fn main() -> ExitCode {
    seaworthy_sandbox::init_main();
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["noop"] => ExitCode::SUCCESS,
        ["drive"] => drive::drive(),
        _ => {
            eprintln!("usage: sandbox-probe noop|drive|attack NAME");
            ExitCode::from(2)
        }
    }
}
