//! Test program of the sandbox, never shipped: `drive` runs a sandbox described in JSON on standard input and prints what
//! came of it; `attack NAME` tries one attack from where it stands and prints `BLOCKED`, `ALLOWED` or `INCONCLUSIVE`.
//!
//! In: arguments, standard input. Out: JSON or one verdict line.
//!
//! **Invariant:** an attack prints `ALLOWED` only if it saw the effect.
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::print_stderr, reason = "its output is its result")]
#![expect(clippy::disallowed_methods, reason = "a program of attacks writes, executes and exits as it likes")]
#![expect(clippy::cast_possible_truncation, reason = "constant structures of the kernel")]

#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod confined;
#[cfg(target_os = "linux")]
mod drive;
#[cfg(target_os = "linux")]
mod effects;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod verdict;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    seaworthy_sandbox::init_main();
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["noop"] => ExitCode::SUCCESS,
        ["drive"] => drive::drive(),
        ["preflight", profile] => drive::preflight(profile),
        ["whoami"] => {
            println!("{}", kernel::user().1);
            ExitCode::SUCCESS
        }
        ["recluse", how, file] => match confined::attempt_all(how, std::path::Path::new(file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        ["attack", name, arguments @ ..] => match attack::attack(name, arguments) {
            Some(verdict) => {
                println!("{verdict}");
                ExitCode::SUCCESS
            }
            None => unknown(name),
        },
        ["behave", name, rest @ ..] => match attack::behave(name, rest.first().copied().unwrap_or_default()) {
            Some(code) => ExitCode::from(code),
            None => unknown(name),
        },
        _ => unknown(""),
    }
}

#[cfg(target_os = "linux")]
fn unknown(name: &str) -> ExitCode {
    eprintln!("`{name}`: usage: sandbox-probe noop|whoami|drive|recluse confined|landlock|seccomp|loose FILE|attack NAME …|behave NAME …");
    ExitCode::from(2)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the sandbox needs Linux");
    ExitCode::from(2)
}
