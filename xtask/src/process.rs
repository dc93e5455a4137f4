//! Spawned commands: run to their end, their output shown as it comes, its last lines kept.
//!
//! in: a program and its arguments; out: success, or a sentence that names the command.
//! **Invariant:** commands run in the root of the workspace; a failed one is never silent.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::Outcome;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder of build results.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Any program, in the root of the workspace.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// Runs to the end; output goes where ours goes.
pub(crate) fn run(mut command: Command) -> Outcome {
    eprintln!("+ {}", shown(&command));
    let status = command.status().map_err(|error| format!("`{}` cannot be started: {error}", shown(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(&command))) }
}

/// Runs to the end, and returns standard output; standard error goes where ours goes.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    eprintln!("+ {}", shown(&command));
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("`{}` cannot be started: {error}", shown(&command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shown(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{}` wrote something that is not UTF-8", shown(&command)))
}

/// Runs to the end, shows all output, and returns the lines that `keep` chooses.
pub(crate) fn run_keeping(mut command: Command, keep: fn(&str) -> bool) -> (Vec<String>, Outcome) {
    eprintln!("+ {}", shown(&command));
    let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return (Vec::new(), Err(format!("`{}` cannot be started: {error}", shown(&command)))),
    };
    let kept = Arc::new(Mutex::new(Vec::new()));
    let out = child.stdout.take().map(|stream| std::thread::spawn(copy(stream, std::io::stdout(), keep, Arc::clone(&kept))));
    let err = child.stderr.take().map(|stream| std::thread::spawn(copy(stream, std::io::stderr(), keep, Arc::clone(&kept))));
    let status = child.wait();
    for thread in [out, err].into_iter().flatten() {
        // a panicked copier has printed why
        _ = thread.join();
    }
    let kept = kept.lock().map(|lines| lines.clone()).unwrap_or_default();
    let outcome = match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed: {status}", shown(&command))),
        Err(error) => Err(format!("`{}` was lost: {error}", shown(&command))),
    };
    (kept, outcome)
}

fn copy(
    stream: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    keep: fn(&str) -> bool,
    kept: Arc<Mutex<Vec<String>>>,
) -> impl FnOnce() + Send + 'static {
    move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            // a closed terminal is no reason to stop the tests
            _ = writeln!(to, "{line}");
            if keep(&line)
                && let Ok(mut lines) = kept.lock()
            {
                lines.push(line);
            }
        }
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
