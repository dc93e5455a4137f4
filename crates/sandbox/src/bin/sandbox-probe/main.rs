//! Test program of the sandbox, never shipped: `drive` runs a sandbox described in JSON on standard input and prints what
//! came of it; `attack NAME` tries one attack from where it stands and prints `BLOCKED`, `ALLOWED` or `INCONCLUSIVE`.
//!
//! In: arguments, standard input. Out: JSON or one verdict line.
//!
//! **Invariant:** an attack prints `ALLOWED` only if it saw the effect.
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::print_stderr, reason = "its output is its result")]
#![expect(clippy::disallowed_methods, reason = "a program of attacks writes, executes and exits as it likes")]

#[cfg(target_os = "linux")]
mod confined;
#[cfg(target_os = "linux")]
mod drive;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    seaworthy_sandbox::init_main();
    if let Some(code) = seaworthy_sandbox::attack::attack_main() {
        return ExitCode::from(code);
    }
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["noop"] => ExitCode::SUCCESS,
        ["drive"] => drive::drive(),
        ["preflight", profile] => drive::preflight(profile),
        ["recluse", how, file] => match confined::attempt_all(how, std::path::Path::new(file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        ["attack" | "behave", ..] => ExitCode::from(seaworthy_sandbox::attack::act(&words)),
        ["battery", profile, prefix @ ..] => drive::battery(profile, prefix),
        _ => unknown(""),
    }
}

#[cfg(target_os = "linux")]
fn unknown(name: &str) -> ExitCode {
    eprintln!(
        "`{name}`: usage: sandbox-probe noop|drive|battery PROFILE [PREFIX…]|recluse confined|landlock|seccomp|loose FILE|attack NAME …|behave NAME …"
    );
    ExitCode::from(2)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the sandbox needs Linux");
    ExitCode::from(2)
}
