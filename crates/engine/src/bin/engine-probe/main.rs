//! Test program, never shipped: becomes pid 1 of the sandboxes that the tests start, and a worker with a deliberate hole. The
//! tests' own `main` belongs to the test harness.
//!
//! In: how it was started. Out: what the shipped program does there, but for files that begin with [`holes::MARK`]: a worker
//! does as they say, after it was confined.
#![cfg_attr(target_os = "linux", expect(clippy::print_stdout, reason = "its output is its result"))]
#![cfg_attr(target_os = "linux", expect(clippy::disallowed_methods, reason = "a program of attacks writes and executes as it likes"))]

#[cfg(target_os = "linux")]
mod holes;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    seaworthy_sandbox::init_main();
    if seaworthy_sandbox::worker::is_worker() {
        return holes::serve();
    }
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, targets, file] = words.as_slice()
        && word == "loose"
    {
        println!("{}", holes::attack_loose(targets, std::path::Path::new(file)));
    }
    std::process::ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() {}
