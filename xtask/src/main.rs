//! `cargo xtask`: the one developer tool. Standard library only, so that it builds in a second.
//!
//! in: a command; out: what the command does, and an exit code: 0 if all is well, 1 if not, 2 for wrong usage.
//! **Invariant:** what CI runs is what a developer runs: `.ci/run` calls `cargo xtask ci` and nothing else.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool of the developer: it spawns, reads the environment, writes and prints"
)]

mod bench;
mod ci;
mod generate;
mod interop;
mod process;
mod sim;
mod tables;
mod tidy;

use std::process::ExitCode;

/// What a command yields: nothing, or why it failed.
type Outcome = Result<(), String>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check            format, clippy with warnings denied, tidy
  test [ARGS…]     every test of the workspace, documentation tests too; ARGS go to the runner
  gen [--check]    schemas, command line reference, tables of error codes and events
  bench [--smoke] [GROUP…]
                   the table of measurements, beside other people's tools; --smoke: small, without them
  sim N [FROM] [--engine]
                   N stories of the simulator from that seed on: the store on a disk that dies, loses its power, fails and fills up;
                   or the engine over it, with bodies, a signer, a clock and rivals that do the like
  cuts [N]         a real run, its power cut at every change of the disk, each with N states (4) that are neither whole nor lost
  interop          other people's tools against ours, in throw-away environments below target/interop
  drill            simulated attacks with the time to their detection
  demo             the main job: the example, run and verified
  tidy             only the rules of the tree
  ci               check, gen --check, test, interop, demo, bench --smoke; each timed, a summary at the end";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["check"] => ci::check(),
        ["test", rest @ ..] => ci::test(rest).map(|_| ()),
        ["gen"] => generate::run(false),
        ["gen", "--check"] => generate::run(true),
        ["bench", "--smoke", groups @ ..] => bench::run(true, groups),
        ["bench", groups @ ..] => bench::run(false, groups),
        ["sim", rest @ ..] => sim::main(rest),
        ["cuts"] => sim::cuts("4"),
        ["cuts", torn] => sim::cuts(torn),
        ["interop"] => interop::run(),
        ["drill"] => Err("there are no drills yet: they come with *Operate*".to_owned()),
        ["demo"] => ci::demo(),
        ["tidy"] => tidy::run(),
        ["ci"] => ci::ci(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
